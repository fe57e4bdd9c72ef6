"""The ways in which testing can stop, each put into a simulated stack: when, and by which alarm, people are notified.

`tests/integration/test_stopping.py` holds them against the table in docs/operating.md.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from unittest.mock import patch

from popwatch.aws.store import SWEEP_ID
from popwatch.model.serialization import serialize
from tests.cloudwatch import MINUTE, READINGS, Alarm, Reading, alarm_times, alarms
from tests.simulated_stack import BEGIN, Stack

BREAKS_AT = 20
"""The minute from which on something is wrong: by then the alarms of a new stack have ended their warm-up."""

ENDS_AT = 40
TARGETS, LARGEST_BATCH = 40, 6
"""Eight batches, each of which has targets."""

SECONDS = (0, 59)
"""Ticks come at the beginning of their minute, or at its end."""

LOST_BATCH = 5

ACTIVATION = timedelta(minutes=15)
"""The most by which the metrics of a queue that was not in use come late (AWS: sqs-monitoring-using-cloudwatch)."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way in which testing stops; `breaks` does it to a stack."""

    what: str
    breaks: Callable[[Stack], None]


@dataclass(frozen=True, slots=True)
class AlarmDelays:
    """Which alarms fire, each with the least and the most minutes after the first test that was not made."""

    what: str
    untested: str
    by: Mapping[str, tuple[int, int]]


def _set(**changes: Any) -> Callable[[Stack], None]:
    def breaks(stack: Stack) -> None:
        for name, value in changes.items():
            setattr(stack, name, value)

    return breaks


def _breaking(is_hit: Callable[[Mapping[str, Any]], bool], why: str) -> Callable[[Stack], None]:
    def breaks(event: Mapping[str, Any]) -> None:
        if is_hit(event):
            raise RuntimeError(why)

    return _set(breaks=breaks)


def _is_tick(event: Mapping[str, Any]) -> bool:
    return "scheduled_time" in event


def _batch_of(event: Mapping[str, Any]) -> int | None:
    """The number of the batch of a message, or of the event that carries it."""
    if "Records" in event:
        event = json.loads(event["Records"][0]["body"])
    return event.get("batch")


def _planning_crashes(stack: Stack) -> None:
    stack.patches.append(patch("popwatch.sweep.sweep.plan", side_effect=RuntimeError("a bug in planning")))


def _checkpoint_ahead(stack: Stack) -> None:
    checkpoint = {"target_id": {"S": SWEEP_ID}, "tick": {"S": serialize(BEGIN + timedelta(days=400))}}
    stack.tables.by_name["Status"].put(checkpoint, 0.0)


def _remove_all_targets(stack: Stack) -> None:
    targets = stack.tables.by_name["Targets"]
    for key in list(targets.items):
        targets.delete(key, 0.0)


def _future(tick: datetime) -> str:
    return (tick + timedelta(days=1)).isoformat()


WAYS = (
    Way("the schedule is disabled, deleted, or does not fire", _set(scheduled=False)),
    Way("the function is deleted, or Scheduler may not invoke it", _set(function_exists=False)),
    Way("the function is throttled (account's limit, or a reservation of 0)", _set(throttled=True)),
    Way("the function cannot start (a broken deployment or environment)", _breaking(lambda _: True, "import")),
    Way("the schedule does not pass the time on", _set(payload=lambda _: "<aws.scheduler.scheduled-time>")),
    Way("the schedule passes a time in the future", _set(payload=_future)),
    Way("the tables cannot be read (deleted, or not permitted)", _set(refused="Scan")),
    Way("the tables cannot be written", _set(refused="PutItem")),
    Way("planning crashes", _planning_crashes),
    Way("the checkpoint is in the future (a damaged table)", _checkpoint_ahead),
    Way("the batch queue is deleted, or refuses messages", _set(refused="SendMessage")),
    Way("no batch is received (event source mapping disabled)", _set(consumes_queue=False)),
    Way("all messages are lost", _set(lost=lambda _: True)),
    Way("one batch of eight is always lost", _set(lost=lambda message: _batch_of(message) == LOST_BATCH)),
    Way("one batch of eight always crashes", _breaking(lambda event: _batch_of(event) == LOST_BATCH, "a bug")),
    Way("batches wait too long and are dropped (MaxParallelBatches)", _set(start_seconds=(61.0, 90.0))),
    Way("sweeps work, all batches crash or run out of time", _breaking(lambda event: not _is_tick(event), "time-out")),
    Way("tests never end in time: all are requeued", _set(silent=True)),
    Way("the function's log does not reach CloudWatch", _set(log_reaches_cloudwatch=False)),
    Way("all targets are removed (not a fault)", _remove_all_targets),
)


def measure(way: Way, readings: Iterable[Reading] = READINGS) -> AlarmDelays:
    """Put a fault into stacks whose ticks come early and late, and read their metrics in all ways that AWS allows."""
    watched = list(alarms().values())
    delays: dict[str, list[int | None]] = {alarm.name: [] for alarm in watched}
    missing = 0
    for second in SECONDS:
        stack = Stack(TARGETS, largest_batch=LARGEST_BATCH, tick_second=second, start_seconds=(0.0, 20.0))
        stack.activation = ACTIVATION * second / SECONDS[-1]
        stack.run(0, BREAKS_AT)
        way.breaks(stack)
        stack.run(BREAKS_AT, ENDS_AT)
        # What began before the fault has been made, and the last minutes may be under way.
        ticks = [BEGIN + minute * MINUTE for minute in range(BREAKS_AT, ENDS_AT - 2)]
        expected = 0 if way.breaks is _remove_all_targets else TARGETS
        missing = max(missing, len(ticks) * expected - sum(stack.tests_made[tick] for tick in ticks))
        for reading in readings:
            _listen(stack, BEGIN + timedelta(seconds=second), reading, watched, delays)
    share = missing / ((ENDS_AT - 2 - BREAKS_AT) * TARGETS)
    untested = "nothing" if missing == 0 else "all" if share > 0.99 else "a part"
    by = {
        name: (min(found), max(found))
        for name, times in delays.items()
        if (found := [time for time in times if time is not None]) and len(found) == len(times)
    }
    return AlarmDelays(way.what, untested, by)


def _listen(
    stack: Stack, created: datetime, reading: Reading, watched: list[Alarm], delays: dict[str, list[int | None]]
) -> None:
    """Evaluate the alarms each minute, at the second at which they were created."""
    broken = BEGIN + BREAKS_AT * MINUTE
    for name, times in alarm_times(stack.metrics, created, BEGIN + ENDS_AT * MINUTE, reading, watched).items():
        assert not [time for time in times if time < broken], f"{name} fired in a stack that works"
        delays[name].append(ceil((times[0] - broken) / MINUTE) if times else None)


def table(found: Iterable[AlarmDelays]) -> list[str]:
    """The rows of the table in docs/operating.md."""
    return [
        "| what stops | not tested | reported after minutes, by |",
        "|---|---|---|",
        *(f"| {one.what} | {one.untested} | {_alarms(one.by)} |" for one in found),
    ]


def _alarms(by: Mapping[str, tuple[int, int]]) -> str:
    """The alarms in the order in which they fire."""
    order = sorted(by.items(), key=lambda entry: (entry[1], entry[0]))
    return ", ".join(f"{_span(*span)} `{name}`" for name, span in order) or "no alarm"


def _span(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least}-{most}"
