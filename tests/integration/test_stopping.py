"""Testing that stops in any of many ways is reported; what works is quiet. docs/operating.md shows the table.

With POPWATCH_REWRITE_DOCS=1 in the environment the table is rewritten instead: review the changes. All ways take 20
seconds: each is two stacks over forty minutes, read in all ways that AWS's documents allow.
"""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest

from tests.bench.bench_ticks import play
from tests.cloudwatch import MINUTE, READINGS, Metrics, alarm_times, alarms
from tests.simulated_stack import BEGIN, Stack
from tests.stopping import TARGETS, WAYS, measure, table

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
SHOWN = re.compile(r"(?<=<!-- tests/integration/test_stopping\.py -->\n\n)(\|.*\n)+")

NOT_FAULTS = {"the checkpoint is in the future (a damaged table)", "all targets are removed (not a fault)"}
"""After these all that is due is tested."""


@pytest.mark.long
def test_whatever_stops_is_heard_of() -> None:
    """Each way in which tests are not made fires an alarm within ten minutes, however AWS's documents are
    read."""
    found = [measure(way) for way in WAYS]
    assert len(found) >= 12
    for one in found:
        certain = {name: most for name, (_, most) in one.by.items() if name in ("NoSweepAlarm", "UntestedAlarm")}
        if one.what in NOT_FAULTS:
            assert (one.untested, one.by) == ("nothing", {})
        elif one.untested == "a part":
            assert certain["UntestedAlarm"] <= 11, one
        else:
            assert certain["NoSweepAlarm"] <= 6, one
    rows = "".join(f"{row}\n" for row in table(found))
    text = PAGE.read_text()
    if os.environ.get("POPWATCH_REWRITE_DOCS"):
        PAGE.write_text(SHOWN.sub(lambda _: rows, text))
        return
    assert [match.group() for match in SHOWN.finditer(text)] == [rows]


def test_a_new_stack_does_not_ring() -> None:
    """Its first tick comes minutes after its alarms have been created; after that all is quiet."""
    stack = Stack(TARGETS, tick_second=59)
    stack.run(5, 30)
    for reading in READINGS:
        fired = alarm_times(stack.metrics, BEGIN, BEGIN + 30 * MINUTE, reading, alarms().values())
        assert not any(fired.values()), (reading, fired)


def test_a_new_stack_that_never_tests_is_heard_of() -> None:
    """After the warm-up of the alarm, although there was never any data."""
    for reading in READINGS:
        fired = alarm_times(Metrics(), BEGIN, BEGIN + 30 * MINUTE, reading, [alarms()["NoSweepAlarm"]])
        assert fired == {"NoSweepAlarm": [BEGIN + 10 * MINUTE]}


@pytest.mark.long
@pytest.mark.parametrize("second", [57, 59])
def test_late_ticks_test_everything(second: int) -> None:
    """A fleet of more than one batch that all fails, messages that take up to 20 seconds: every test is made.

    `make bench BENCH=ticks` does the same with up to 20,000 targets, in batches of the usual size.
    """
    row = play(101, second, minutes=13, largest_batch=50)
    assert (row.due, row.made, row.dropped, row.fired) == (101 * 13, 101 * 13, 0, ())
    assert row.alerts > 0


def test_a_message_delivered_twice_counts_once() -> None:
    """The second one tests again, and is not counted: it would hide that as many tests were lost elsewhere."""
    stack = Stack(20, largest_batch=10, copies=2)
    stack.run(0, 3)
    assert {stack.tests_due[BEGIN + minute * MINUTE] for minute in range(3)} == {20}
    assert {stack.tests_made[BEGIN + minute * MINUTE] for minute in range(3)} == {20}


def test_retests_keep_their_delay_by_the_clock() -> None:
    """Every 20 seconds, although each tick comes 57 seconds late: neither in a burst, nor once a minute."""
    stack = Stack(1, tick_second=57, start_seconds=(0.0, 0.0), fields={"delay_up": 20})
    stack.run(0, 4)
    assert stack.tested == [BEGIN + timedelta(seconds=57 + 20 * number) for number in range(len(stack.tested))]
    assert len(stack.tested) == 10
    assert sum(stack.tests_due.values()) == sum(stack.tests_made.values()) + 1, "the last retest is under way"
