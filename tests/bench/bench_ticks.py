"""Ticks that come late in their minute, and messages that take up to 20 seconds to start: is every test made?

A simulated stack runs the function's own handler over 15 ticks; all targets fail, so each test is committed. Scheduler
fires anywhere within a minute (AWS: schedule-types), and SQS and Lambda state no time from a message to its invocation.
Alarms are those of template.yaml, evaluated as CloudWatch's documents allow.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from popwatch.decisions.schedule import LARGEST_BATCH
from tests.cloudwatch import MINUTE, READINGS, alarm_times, alarms
from tests.simulated_stack import BEGIN, Stack

SIZES = (801, 5_000, 20_000)
SECONDS = (0, 30, 57, 59)
START_SECONDS = (0.0, 20.0)
MINUTES = 15
DRAIN_MINUTES = 3
"""After the last tick, until the last message has started."""

EACH_MINUTE = {"delay_up": 60, "delay_warn": 60, "delay_down": 60, "delay_lost": 60}


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the ticks of some minutes; `fired` names the alarms that fired in any reading of AWS's
    documents."""

    targets: int
    second: int
    due: int
    made: int
    dropped: int
    alerts: int
    fired: tuple[str, ...]


def play(targets: int, second: int, minutes: int = MINUTES, largest_batch: int = LARGEST_BATCH) -> Row:
    """A stack of so many targets, all failing, whose ticks come at a second of their minute."""
    stack = Stack(
        targets,
        largest_batch=largest_batch,
        tick_second=second,
        start_seconds=START_SECONDS,
        failing=True,
        fields=EACH_MINUTE,
    )
    stack.run(0, minutes)
    stack.scheduled = False
    stack.run(minutes, minutes + DRAIN_MINUTES)
    until = BEGIN + minutes * MINUTE
    fired = {
        name
        for reading in READINGS
        for name, times in alarm_times(stack.metrics, BEGIN, until, reading, alarms().values()).items()
        if times
    }
    due, made = sum(stack.tests_due.values()), sum(stack.tests_made.values())
    return Row(targets, second, due, made, stack.dropped, stack.alerts, tuple(sorted(fired)))


def lines(rows: Iterable[Row]) -> Iterable[str]:
    """A table."""
    yield "targets  tick at second  tests due  tests made  dropped  alerts  alarms"
    for row in rows:
        fired = ", ".join(row.fired) or "quiet"
        yield f"{row.targets:>7}{row.second:>16}{row.due:>11}{row.made:>12}{row.dropped:>9}{row.alerts:>8}  {fired}"


def main() -> None:
    """Print the table."""
    logging.disable()  # the function's log, of hundreds of invocations
    for line in lines(play(size, second) for size in SIZES for second in SECONDS):
        print(line, flush=True)


if __name__ == "__main__":
    main()
