"""A month of 200 targets on a simulated clock, swept, recorded and reported: every figure is known beforehand.

October 2026 in Berlin has 745 hours, as summer time ends on the 25th. A sweep every three hours tests each target; what
fails when is written down in `PLANS`, and what the report must say of it in `EXPECTED`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from popwatch.model.outcomes import ErrorCode
from popwatch.reports.report import FleetReport, ReportLine
from popwatch_cli.commands.report import read_report
from popwatch_cli.installation import Installation
from popwatch_cli.options import month_of
from popwatch_cli.output.report_html import to_html
from popwatch_cli.output.report_text import to_csv, to_text
from popwatch_cli.selection import Selection
from tests.in_memory import Inline
from tests.integration.world import World, new_world

BERLIN = ZoneInfo("Europe/Berlin")
STEP = timedelta(hours=3)
BEGIN, END = datetime(2026, 9, 29, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)
TESTS = 31 * 8
"""Sweeps of the month: from 00:00 UTC of the 1st to 21:00 UTC of the 31st."""

HOURS = 745


def day(number: int, hour: int, month: int = 10) -> datetime:
    return datetime(2026, month, number, hour, tzinfo=UTC)


STEADY = [f"steady-{number:03}" for number in range(150)]
FAILING = {f"failing-{number:02}": (day(2 + number % 25, 3 * (number % 8)), 2 + number % 5) for number in range(30)}
"""One outage each: its first failed test, and how many there are."""

BRIEF = {f"brief-{number:02}": day(3 + number, 9) for number in range(10)}
"""One failed test each."""

CLEANED = [f"cleaned-{number}" for number in range(5)]
"""In maintenance each Sunday from 02:00 to 08:00 in Berlin; they fail then, and only then."""

SPECIAL = ("before", "after", "switched-off", "added", "serviced")


def fails(name: str, now: datetime) -> bool:
    """Whether a target's server fails at a sweep."""
    if name in FAILING:
        first, count = FAILING[name]
        return first <= now < first + count * STEP
    if name in BRIEF:
        return now == BRIEF[name]
    if name in CLEANED:
        local = now.astimezone(BERLIN)
        return local.weekday() == 6 and 2 <= local.hour < 8
    windows = {
        "before": (day(30, 12, 9), day(1, 6)),
        "after": (day(31, 15), day(1, 3, 11)),
        "serviced": (day(10, 0), day(11, 0)),
    }
    begin, end = windows.get(name, (now, now))
    return begin <= now < end


@pytest.fixture(scope="module")
def month() -> Iterator[World]:
    """The tables after the month; other DynamoDBs take minutes over so many items."""
    with new_world(endpoint=None, in_memory=True, threads=Inline, stopped_after=STEP) as world:
        defaults = {"delay_up": 10_800, "delay_warn": 10_800, "delay_down": 10_800, "delay_lost": 10_800}
        defaults |= {"failures_per_alert": 2, "flap_per_hour": 0}
        world.put_target("_defaults", host="", timezone="Europe/Berlin", **defaults)
        names = [*STEADY, *FAILING, *BRIEF, *CLEANED, "before", "after", "switched-off", "serviced"]
        for name in names:
            world.put_target(name, group=name.split("-")[0])
        for name in CLEANED:
            world.put_target(name, group="cleaned", maintenance=[{"days": "sun", "from": "02:00", "until": "08:00"}])
        world.put_target(
            "serviced", group="serviced", maintenance=[{"from": "2026-10-10T06:00Z", "until": "2026-10-10T12:00Z"}]
        )
        now = BEGIN
        while now <= END:
            if now == day(11, 0):
                world.put_target("switched-off", group="switched-off", enabled=False)
            if now == day(21, 0):
                world.put_target("added", group="added")
                names.append("added")
            world.failing = {name: ErrorCode.TIMED_OUT for name in names if fails(name, now)}
            world.tick(now)
            now += STEP
        yield world


@pytest.fixture(scope="module")
def report(month: World) -> FleetReport:
    return read_report(Installation("test", {}), month.store, month_of("2026-10", BERLIN), Selection(), END)


def line(report: FleetReport, name: str) -> ReportLine:
    [found] = [line for line in report.targets if line.target_id == name]
    return found


def in_hours(length: timedelta) -> float:
    return length / timedelta(hours=1)


def test_the_month_has_745_hours(report: FleetReport) -> None:
    """It begins and ends at midnight in Berlin, where clocks are put back in between."""
    assert in_hours(report.period.length) == HOURS
    assert len(report.targets) == 200


@pytest.mark.parametrize("name", [STEADY[0], STEADY[-1]])
def test_steady_targets_are_up_throughout(report: FleetReport, name: str) -> None:
    """All of the month's hours, all of its tests."""
    found = line(report, name)
    assert (in_hours(found.durations.up), found.durations.availability) == (HOURS, 1.0)
    assert (found.totals.tests, found.totals.passes, found.totals.failures) == (TESTS, TESTS, {})
    assert list(found.rtt_ms) == [pytest.approx(12.5, rel=0.05)] * 3


@pytest.mark.parametrize("name", FAILING)
def test_outages_are_as_long_as_they_were(report: FleetReport, name: str) -> None:
    """From the first failed test to the first passed one: three hours for each failed test."""
    first, count = FAILING[name]
    found = line(report, name)
    [outage] = found.durations.outages
    assert (outage.begin, outage.end) == (first, first + count * STEP)
    assert in_hours(found.durations.down) == 3 * count
    assert found.durations.availability == pytest.approx((HOURS - 3 * count) / HOURS)
    assert (in_hours(found.durations.up), found.durations.mttr) == (HOURS - 3 * count, count * STEP)
    assert found.totals.failures == {"timed-out": count}
    assert found.totals.tests == TESTS


@pytest.mark.parametrize("name", BRIEF)
def test_brief_failures_are_no_outage(report: FleetReport, name: str) -> None:
    """One failed test: up, and shown separately."""
    found = line(report, name)
    assert (found.durations.availability, found.durations.outages) == (1.0, ())
    assert (found.durations.brief_failures, in_hours(found.durations.brief)) == (1, 3)
    assert found.totals.failures == {"timed-out": 1}


@pytest.mark.parametrize("name", CLEANED)
def test_maintenance_is_apart(report: FleetReport, name: str) -> None:
    """Three Sundays of two sweeps and, with the hour that comes twice, one of three: 3 x 6 + 9 hours, 9 failures."""
    found = line(report, name)
    assert (in_hours(found.durations.maintenance), in_hours(found.durations.down)) == (27, 0)
    assert (in_hours(found.durations.up), found.durations.availability) == (HOURS - 27, 1.0)
    assert (found.totals.in_maintenance, found.totals.failures) == (9, {})
    assert found.totals.passes == TESTS - 9


def test_edges_cut_outages(report: FleetReport) -> None:
    """One that began in September counts from midnight in Berlin, one that goes on into November until midnight."""
    before, after = line(report, "before").durations, line(report, "after").durations
    assert (in_hours(before.down), before.outages[0].begun_before) == (8, True)
    assert (in_hours(after.down), after.outages[0].goes_on) == (8, True)


def test_untested_and_suspended_are_not_up(report: FleetReport) -> None:
    """Known for 265 of 745 hours, and for 242 of them: up all of that time."""
    off, added = line(report, "switched-off").durations, line(report, "added").durations
    assert (in_hours(off.up), in_hours(off.suspended), off.availability) == (242, 503, 1.0)
    assert (in_hours(added.untested), in_hours(added.up)) == (482, 263)


def test_maintenance_within_an_outage(report: FleetReport) -> None:
    """A day down with six hours of maintenance in it is 18 hours down, in one outage."""
    found = line(report, "serviced").durations
    assert (in_hours(found.down), in_hours(found.maintenance), len(found.outages)) == (18, 6, 1)


def test_the_whole_is_the_sum(report: FleetReport) -> None:
    """Hours and tests of all targets together."""
    down = sum(3 * count for _, count in FAILING.values()) + 8 + 8 + 18
    whole = report.whole.durations
    assert in_hours(whole.down) == down
    not_counted = whole.maintenance + whole.untested + whole.suspended
    assert in_hours(whole.up) == 200 * HOURS - down - in_hours(not_counted)
    assert len(whole.outages) == 33
    assert report.whole.totals.tests == sum(found.totals.tests for found in report.targets)


def test_groups_are_those_of_their_targets(report: FleetReport) -> None:
    """The failing targets together."""
    [group] = [found for found in report.groups if found.name == "failing"]
    down = sum(3 * count for _, count in FAILING.values())
    assert group.targets == 30
    assert group.durations.availability == pytest.approx((30 * HOURS - down) / (30 * HOURS))


def test_a_month_is_read_from_its_days(month: World) -> None:
    """Not from its samples: the cost depends on the size of 31 days, not on the number of tests."""
    month.store.capacity.read.clear()
    read_report(Installation("test", {}), month.store, month_of("2026-10", BERLIN), Selection(), END)
    assert month.store.capacity.read["History"] < 400


@pytest.mark.parametrize("form", [to_text, to_csv, to_html])
def test_every_form_names_every_target(report: FleetReport, form: object) -> None:
    """Text, CSV and HTML have a line for each."""
    text = form(report, BERLIN)  # type: ignore[operator]
    assert all(name in text for name in (*STEADY, *FAILING, *BRIEF, *CLEANED, *SPECIAL))
