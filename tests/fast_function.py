"""The deployed handler, within the function's own process, by a clock that a test steps.

The function's handler is set to `tests.fast_function.handler`. What runs is the code that was deployed, with three
changes: it asks the test's clock for the time, outcomes bear the time of that clock, and delays of messages are
shorter. Each record that was committed is added to a journal, as a test that polls the table could miss one.
"""

import json
from math import ceil
from pathlib import Path
from typing import Any

from popwatch.model.serialization import serialize
from tests.fast_outcomes import clock, deployed, handler, settings

__all__ = ["handler"]


class FastQueue(deployed.BatchQueue):  # type: ignore[misc]
    """The real queue, with delays in whole real seconds, as SQS takes them."""

    def send(self, work: Any, delay_seconds: int = 0) -> int:
        return int(super().send(work, ceil(delay_seconds / settings["speed"])))


class JournalingStore(deployed.Store):  # type: ignore[misc]
    """The real store, which adds each record that it committed to the journal."""

    def commit(self, record: Any, *expected: Any) -> Any:
        other = super().commit(record, *expected)
        if other is None:
            line = json.dumps(serialize(record)) + "\n"
            with Path(settings["journal"]).open("a", encoding="utf-8") as journal:
                journal.write(line)  # one write, which O_APPEND keeps in one piece
        return other


deployed._clock = clock.now
deployed._sent_at = lambda _: None  # SQS goes by the real time
deployed.BatchQueue, deployed.Store = FastQueue, JournalingStore
