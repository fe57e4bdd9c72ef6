"""The deployed handler, within the function's own process, by the campaign's clock and observed by it.

The function's handler is set to `tests.chaos.live.inside.handler`. What runs is the code that was deployed, or for a
planted bug a class in the place of one of its own. The process reports when an invocation begins and ends, and each
test before popwatch receives its outcome; each call to AWS says whose it is.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from threading import Lock
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.endpoint

from tests.chaos.live.calls import HEADER
from tests.fast_clock import Clock

_GIVEN: dict[str, Any] = json.loads(os.environ["CHAOS"])


class Control:
    """The connection to the campaign: each report is answered."""

    def __init__(self, port: int) -> None:
        self._lines = socket.create_connection(("127.0.0.1", port)).makefile("rw")
        self._lock = Lock()
        self.invocation = 0
        self.skew = 0.0

    def report(self, what: str, **more: Any) -> dict[str, Any]:
        """Report something; the answer to it."""
        with self._lock:
            self._lines.write(json.dumps({"what": what, **more}) + "\n")
            self._lines.flush()
            answer: dict[str, Any] = json.loads(self._lines.readline() or "{}")
            return answer


_control = Control(_GIVEN["port"])
_clock = Clock(**_GIVEN["clock"])
_control.report("process", process_id=os.getpid())
_function: Any = import_module("check_targets")


def now() -> datetime:
    """The time by this invocation's clock."""
    return _clock.now(_control.skew)


class WatchedProber(_function.Prober):  # type: ignore[misc]
    """The real prober, over real sockets; each outcome is reported before popwatch gets it."""

    def run(self, *targets: Any, **options: Any) -> Iterator[list[tuple[Any, Any]]]:
        for arrivals in super().run(*targets, **options):
            at = now()
            tests = [
                {
                    "target": target.target_id,
                    "configuration": int(target.tags[0]),
                    "schedules": target.schedules,
                    "began": outcome.started_at.isoformat(),
                    "passed": outcome.passed,
                    "timed_out": outcome.error == "timed-out",
                    "rtt_ms": outcome.rtt_ms,
                    "certificates": [
                        (certificate.expires.isoformat(), certificate.lifetime.total_seconds())
                        for certificate in outcome.certificates
                    ],
                }
                for target, outcome in arrivals
            ]
            if tests:
                _control.report("tested", tests=tests, at=at.isoformat())
            yield [(target, replace(outcome, started_at=at)) for target, outcome in arrivals]


def handler(event: Any, context: Any) -> object:
    """An invocation."""
    records = event.get("Records", [])
    begun = _control.report("begin", body=records[0]["body"] if records else "", tick=event.get("scheduled_time", ""))
    _control.invocation, _control.skew = begun["invocation"], begun["skew"]
    try:
        answer = _function.handler(event, context)
    except Exception as error:
        _control.report("end", how="error", why="".join(str(error).strip().splitlines()[-1:]))
        raise
    failed = isinstance(answer, dict) and answer.get("batchItemFailures")
    _control.report("end", how="error" if failed else "well", why="")
    return answer


def _set_up() -> None:
    _function._clock = now
    _function._sent_at = lambda _: None  # SQS goes by the real time
    _function.Prober = WatchedProber
    _function._probe_postures = lambda *_: ()  # the campaign's model knows no postures
    _function.RESERVE_SECONDS = _GIVEN["reserve"]
    if _GIVEN["bug"]:
        _plant(_GIVEN["bug"])
    settings = _function._settings()
    settings = replace(settings, largest_batch=_GIVEN["largest_batch"])
    _function._settings = lambda: settings
    clock: Any = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / _clock.speed))
    vars(botocore.endpoint)["time"] = clock  # its pauses between attempts pass as fast as all else
    boto3.setup_default_session()
    session: Any = boto3.DEFAULT_SESSION
    session.events.register("before-send", _sign)
    session.events.register("before-parameter-build.dynamodb.PutItem", _keep)
    session.events.register("after-call.dynamodb.PutItem", _report_refusal)
    session.events.register("after-call-error.dynamodb.PutItem", _report_refusal)


def _plant(name: str) -> None:
    code = import_module("tests.chaos.bugs").BUGS[name].code
    _function.Store, _function.AlertTopics, _function.BatchQueue = code.store, code.alert_topics, code.batch_queue
    _function.Sweep = code.sweep


def _sign(request: Any, **_: Any) -> None:
    request.headers[HEADER] = str(_control.invocation)


def _keep(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["put"] = params


def _report_refusal(
    context: dict[str, Any], parsed: Any = None, http_response: Any = None, exception: Any = None, **_: Any
) -> None:
    """An item could not be put, whatever was tried: a condition that did not hold is an answer, not a refusal."""
    refused = exception is not None or http_response.status_code >= 300
    if refused and "Conditional" not in str(parsed and parsed["Error"]["Code"]):
        put = context["put"]
        _control.report("refused", table=put["TableName"], item={"sk": put["Item"].get("sk", {"S": ""})})


_set_up()
