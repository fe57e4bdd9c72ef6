"""The deployed handler, within the function's own process, by a clock that a test steps.

The function's handler is set to `tests.fast_function.handler`. What runs is the code that was deployed, with three
changes: it asks the test's clock for the time, outcomes bear the time of that clock, and delays of messages are
shorter. Each record that DynamoDB took is added to a journal, as a test that polls the table could miss one.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from math import ceil
from typing import Any

import boto3

from tests.fast_clock import SteppedClock

_given: dict[str, Any] = json.loads(os.environ["FAST_CLOCK"])
_clock = SteppedClock(**_given["clock"])
_function: Any = import_module("check_targets")
handler = _function.handler


class FastProber(_function.Prober):  # type: ignore[misc]
    """The real prober, over real sockets, whose outcomes bear the time of the fast clock."""

    def run(self, *targets: Any, **options: Any) -> Iterator[list[tuple[Any, Any]]]:
        for arrivals in super().run(*targets, **options):
            yield [(target, replace(outcome, started_at=_clock.now())) for target, outcome in arrivals]


class FastQueue(_function.BatchQueue):  # type: ignore[misc]
    """The real queue, with delays in whole real seconds, as SQS takes them."""

    def send(self, work: Any, delay_seconds: int = 0) -> int:
        return int(super().send(work, ceil(delay_seconds / _given["speed"])))


def _keep(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["put"] = params


def _journal(context: dict[str, Any], http_response: Any, **_: Any) -> None:
    put = context["put"]
    if http_response.status_code == 200 and put["TableName"] == os.environ["STATUS_TABLE"]:
        line = json.dumps(put["Item"]) + "\n"
        with open(_given["journal"], "a", encoding="utf-8") as journal:  # noqa: PTH123 - one write, which O_APPEND keeps whole
            journal.write(line)


_function._clock = _clock.now
_function.Prober, _function.BatchQueue = FastProber, FastQueue
boto3.setup_default_session()
_events: Any = boto3.DEFAULT_SESSION and boto3.DEFAULT_SESSION.events
_events.register("before-parameter-build.dynamodb.PutItem", _keep)
_events.register("after-call.dynamodb.PutItem", _journal)
