"""The deployed handler, within the function's own process, by a clock that a test steps.

The function's handler is set to `tests.fast_function.handler`. What runs is the code that was deployed, with three
changes: it asks the test's clock for the time, outcomes bear the time of that clock, and delays of messages are
shorter. Each record that was committed is added to a journal, as a test that polls the table could miss one.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any

from popwatch.model.serialization import serialize
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


class JournalingStore(_function.Store):  # type: ignore[misc]
    """The real store, which adds each record that it committed to the journal."""

    def commit(self, record: Any, *expected: Any) -> Any:
        other = super().commit(record, *expected)
        if other is None:
            line = json.dumps(serialize(record)) + "\n"
            with Path(_given["journal"]).open("a", encoding="utf-8") as journal:
                journal.write(line)  # one write, which O_APPEND keeps in one piece
        return other


_function._clock = _clock.now
_function.Prober, _function.BatchQueue, _function.Store = FastProber, FastQueue, JournalingStore
