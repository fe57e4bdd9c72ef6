"""Periods as people write them."""

import itertools
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest

from popwatch_cli.errors import UserError
from popwatch_cli.options import month_of, period_of, time_ahead

NOW = datetime(2026, 11, 24, 12, 34, 56, tzinfo=UTC)
KOLKATA = ZoneInfo("Asia/Kolkata")


@pytest.mark.parametrize(
    ("month", "zone", "hours"),
    [
        ("2026-10", ZoneInfo("Europe/Berlin"), 745),
        ("2026-03", ZoneInfo("Europe/Berlin"), 743),
        ("2026-10", UTC, 744),
        ("2028-02", UTC, 29 * 24),
        ("2026-12", KOLKATA, 744),
        ("2026-11", ZoneInfo("America/Havana"), 721),
    ],
)
def test_months_are_as_long_as_they_are(month: str, zone: tzinfo, hours: int) -> None:
    """In local time of the zone, with changes of summer time and leap days."""
    assert month_of(month, zone).length == timedelta(hours=hours)


def test_months_meet() -> None:
    """One ends where the next begins, whatever the offset."""
    for zone in (UTC, KOLKATA, ZoneInfo("America/Havana"), ZoneInfo("Australia/Lord_Howe")):
        months = [month_of(f"{2026 + number // 12}-{number % 12 + 1:02}", zone) for number in range(24)]
        assert all(before.end == after.begin for before, after in itertools.pairwise(months))


@pytest.mark.parametrize("month", ["2026-1", "2026-13", "october", "9999-12", "2026-10-01", ""])
def test_what_is_no_month(month: str) -> None:
    """The error says how to write a month."""
    with pytest.raises(UserError, match="is not a month: write it as 2026-10"):
        month_of(month, UTC)


def test_times_without_a_year_that_python_knows() -> None:
    """The first month began in the year 0 of places ahead of UTC; and no outage is simulated in the year 9999."""
    with pytest.raises(UserError, match="is not a month"):
        month_of("0001-01", KOLKATA)
    with pytest.raises(UserError, match="is too far ahead: write a time of the next 10 years"):
        time_ahead("9999-12-31T23:59", UTC, datetime(2026, 11, 24, tzinfo=UTC))


@pytest.mark.parametrize("since", ["0001-01-01", "9999999d", "1969-12-31"])
@pytest.mark.parametrize("zone", [UTC, KOLKATA])
def test_before_all_time(since: str, zone: tzinfo) -> None:
    """A sentence, not a traceback."""
    with pytest.raises(UserError, match="is too early: there is no data before 1970"):
        period_of(since, None, zone, NOW)


def test_dates_begin_by_the_zone_and_nothing_lies_in_the_future() -> None:
    """A date is its midnight; a period ends now at the latest."""
    found = period_of("2026-11-24", "2030-01-01", KOLKATA, NOW)
    assert (found.begin, found.end) == (datetime(2026, 11, 23, 18, 30, tzinfo=UTC), NOW)


@pytest.mark.parametrize("zone", [UTC, KOLKATA, ZoneInfo("America/New_York")])
def test_after_all_time(zone: tzinfo) -> None:
    """What begins in the year 9999 is not too early, whatever the zone."""
    with pytest.raises(UserError, match="The period is empty: it begins at 9999-12-31"):
        period_of("9999-12-31T23:59", None, zone, NOW)


BERLIN, HAVANA = ZoneInfo("Europe/Berlin"), ZoneInfo("America/Havana")


@pytest.mark.parametrize("text", ["2027-03-28T02:30", "2027-03-28 02:00", "2027-03-28T02:59:59"])
def test_a_time_that_clocks_leave_out(text: str) -> None:
    """At 02:00 it is 03:00: 02:30 is refused, as it is not known what was meant."""
    with pytest.raises(UserError, match=r"does not exist in Europe/Berlin on 2027-03-28: the clocks go forward"):
        time_ahead(text, BERLIN, NOW)
    with pytest.raises(UserError, match="does not exist in Europe/Berlin"):
        period_of(text, None, BERLIN, NOW + timedelta(days=365))


def test_a_time_that_clocks_have_twice() -> None:
    """It is asked which one is meant; with an offset it is clear."""
    with pytest.raises(UserError, match=r"write 2027-10-31T02:30\+02:00 or 2027-10-31T02:30\+01:00"):
        time_ahead("2027-10-31T02:30", BERLIN, NOW)
    with pytest.raises(UserError, match="2:30 comes twice in Europe/Berlin on 2026-10-25"):
        time_ahead("2:30", BERLIN, datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert time_ahead("2027-10-31T02:30+01:00", BERLIN, NOW) == datetime(2027, 10, 31, 1, 30, tzinfo=UTC)
    assert time_ahead("2:30", BERLIN, datetime(2026, 10, 25, 12, tzinfo=UTC)) == datetime(
        2026, 10, 26, 1, 30, tzinfo=UTC
    )
    assert time_ahead("2027-10-31T03:00", BERLIN, NOW) == datetime(2027, 10, 31, 2, 0, tzinfo=UTC)


def test_a_day_whose_midnight_does_not_exist() -> None:
    """A date is the beginning of its day, whatever the clocks do then."""
    found = period_of("2026-03-08", "2026-11-01", HAVANA, NOW)
    assert (found.begin, found.end) == (datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC))
