"""Totals of a period: from days where possible, else from hours and samples, each test exactly once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.aws.store import SweepCheckpoint
from popwatch.decisions.schedule import batch_of
from popwatch.model.samples import Sample
from popwatch.model.time_limits import HOUR
from popwatch.model.totals import Totals
from popwatch.queries.history import intervals, read_totals
from popwatch.reports.availability import Period
from popwatch.reports.totals import add_up
from tests.integration.world import World

DAY = timedelta(days=1)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
LONG_AGO = FIRST - 9 * DAY
ONE = add_up([{"t": Sample(12.5)}])["t"]
MINUTES = st.integers(0, 5 * 24 * 60).map(lambda minutes: FIRST + timedelta(minutes=minutes))


def marked(hour: datetime, *batch_counts: int) -> SweepCheckpoint:
    return SweepCheckpoint(hour + 2 * HOUR, hour, {str(count): "2026-10-09T00:00Z" for count in batch_counts})


def count_tests(world: World, period: Period, *batch_counts: int) -> int:
    return read_totals(world.store, marked(FIRST + 9 * DAY, *batch_counts), period).get("t", Totals()).tests


@given(MINUTES, MINUTES, MINUTES)
def test_every_moment_is_read_once(first: datetime, second: datetime, added_up: datetime) -> None:
    """Days, hours and samples together are exactly the period."""
    if first == second:
        return
    period = Period(min(first, second), max(first, second))
    checkpoint = marked(added_up.replace(minute=0))
    days, hours, samples = intervals(checkpoint, period, LONG_AGO)
    assert sum((end - begin for begin, end in (*days, *hours, *samples)), timedelta()) == period.length
    assert all(period.begin <= begin < end <= period.end for begin, end in (*days, *hours, *samples))
    assert all(time.hour == 0 for interval in days for time in interval)
    assert all(time.minute == 0 for interval in hours for time in interval)
    assert all(end <= added_up.replace(minute=0) + HOUR for _, end in (*days, *hours))


def test_where_samples_are_gone_an_hour_belongs_to_the_period_it_begins_in() -> None:
    """Two months that meet at half past share no hour, and leave none out."""
    half = FIRST + HOUR * 18 + HOUR / 2
    before, after = (
        intervals(marked(FIRST + 9 * DAY), period, FIRST + 9 * DAY)
        for period in (Period(FIRST + 5 * HOUR, half), Period(half, half + HOUR))
    )
    assert before[1:] == ([(FIRST + 5 * HOUR, FIRST + 19 * HOUR)], [])
    assert after[1:] == ([(FIRST + 19 * HOUR, FIRST + 20 * HOUR)], [])


def test_a_fleet_that_grew_during_the_period(world: World) -> None:
    """The morning has one batch, which was never added up to a day; the afternoon has two."""
    for hour in range(12):
        world.store.put_hour(1, 0, FIRST + HOUR * hour, {"t": ONE})
    for hour in range(12, 24):
        world.store.put_hour(2, batch_of("t", 2), FIRST + HOUR * hour, {"t": ONE})
    world.store.put_day(2, batch_of("t", 2), FIRST, {"t": Totals(tests=12, passes=12)})
    assert count_tests(world, Period(FIRST, FIRST + DAY), 1, 2) == 24


def test_a_batch_whose_day_is_missing(world: World) -> None:
    """One batch has its day, the other only has its hours."""
    other = 1 - batch_of("t", 2)
    world.store.put_day(2, other, FIRST, {"other": ONE})
    for hour in range(24):
        world.store.put_hour(2, batch_of("t", 2), FIRST + HOUR * hour, {"t": ONE})
    assert count_tests(world, Period(FIRST, FIRST + DAY), 2) == 24


@pytest.mark.parametrize(("minutes", "tests"), [((0, 60), 60), ((30, 60), 30), ((30, 90), 60), ((10, 15), 5)])
def test_edges_are_exact_while_samples_are_kept(world: World, minutes: tuple[int, int], tests: int) -> None:
    """A period that begins or ends within an hour has exactly its own tests."""
    for minute in range(120):
        world.store.put_samples(1, 0, FIRST + timedelta(minutes=minute), "g", {"t": Sample(12.5)})
    for hour in range(2):
        world.store.put_hour(1, 0, FIRST + HOUR * hour, {"t": Totals(tests=60, passes=60)})
    begin, end = (FIRST + timedelta(minutes=minute) for minute in minutes)
    assert count_tests(world, Period(begin, end), 1) == tests
