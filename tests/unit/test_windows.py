"""Maintenance windows, once and weekly."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.windows import OnceWindow, parse_timezone, parse_window


def inside(window: object, time: str) -> bool:
    return parse_window(window, UTC).contains(datetime.fromisoformat(time))


def test_once() -> None:
    """A window contains its start and not its end."""
    window = {"from": "2026-11-23T22:00:00Z", "until": "2026-11-24T02:00:00+01:00"}
    assert inside(window, "2026-11-23T22:00:00Z")
    assert inside(window, "2026-11-24T00:59:59Z")
    assert not inside(window, "2026-11-24T01:00:00Z")
    assert not inside(window, "2026-11-23T21:59:59Z")


def test_times_without_offset_are_in_the_targets_zone() -> None:
    """22:00 in Berlin in winter is 21:00 UTC."""
    window = parse_window({"from": "2026-11-23T22:00", "until": "2026-11-23T23:00"}, parse_timezone("Europe/Berlin"))
    assert window.contains(datetime(2026, 11, 23, 21, 30, tzinfo=UTC))
    assert not window.contains(datetime(2026, 11, 23, 22, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        ("2026-11-20T22:30Z", True),  # Friday evening
        ("2026-11-21T01:59Z", True),  # the night after it
        ("2026-11-21T02:00Z", False),
        ("2026-11-21T22:30Z", False),  # Saturday evening
        ("2026-11-23T01:00Z", False),  # Monday morning: there was no window on Sunday
    ],
)
def test_weekly_past_midnight(time: str, is_open: bool) -> None:
    """A window from Friday 22:00 until 02:00 reaches into Saturday and nowhere else."""
    assert inside({"days": ["Mon-Fri"], "from": "22:00", "until": "02:00"}, time) is is_open


def test_weekly_follows_summer_time() -> None:
    """In local time of Berlin, 02:00-04:00 is 01:00-03:00 UTC in winter and 00:00-02:00 UTC in summer."""
    window = {"days": "daily", "from": "02:00", "until": "04:00", "timezone": "Europe/Berlin"}
    assert inside(window, "2026-01-10T02:30Z")
    assert not inside(window, "2026-01-10T00:30Z")
    assert inside(window, "2026-07-10T00:30Z")
    assert not inside(window, "2026-07-10T02:30Z")


def test_weekly_at_a_change_of_time() -> None:
    """A local time that comes twice is inside both times; one that is skipped never is."""
    window = {"days": "sun", "from": "02:15", "until": "02:45", "timezone": "Europe/Berlin"}
    assert [inside(window, f"2026-10-25T{time}Z") for time in ("00:30", "01:00", "01:30")] == [True, False, True]
    assert not any(inside(window, f"2026-03-29T{hour:02}:{minute:02}Z") for hour in range(4) for minute in range(60))


@pytest.mark.parametrize(
    ("window", "word"),
    [
        ("tonight", "map"),
        ({"from": "22:00"}, "both"),
        ({"from": "2026-11-23", "until": "2026-11-22"}, "later"),
        ({"from": "now", "until": "then"}, "ISO 8601"),
        ({"from": "2026-11-23", "until": "9999-12-31T23:59:59-14:00"}, "in the years 2000 to 9998"),
        ({"from": "0001-01-01", "until": "2026-11-23"}, "in the years 2000 to 9998"),
        ({"days": "someday", "from": "22:00", "until": "23:00"}, "someday"),
        ({"days": "mon-fry", "from": "22:00", "until": "23:00"}, "Did you mean `fri`?"),
        ({"day": "mon", "from": "22:00", "until": "23:00"}, "Did you mean `days`?"),
        ({"days": "mon", "from": "22:00", "to": "23:00"}, "Did you mean `until`?"),
        ({"days": [], "from": "22:00", "until": "23:00"}, "days"),
        ({"days": "mon", "from": "2026-11-23T22:00", "until": "2026-11-23T23:00"}, "HH:MM"),
        ({"from": "22:00", "until": "24:30"}, "24:00"),
        ({"from": "22:00", "until": "23:00", "timezone": "Mars/Olympus"}, "time zone"),
        ({"from": "22:00", "until": "23:00", "tz": "UTC"}, "tz"),
    ],
)
def test_what_cannot_be_read_is_named(window: object, word: str) -> None:
    """A window that cannot be read says what is wrong with it."""
    with pytest.raises(ValueError, match=word):
        parse_window(window, UTC)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["days", "from", "until"]), inner),
    max_leaves=6,
)


@given(ANYTHING)
def test_anything_is_a_window_or_a_value_error(value: object) -> None:
    """Whatever an item holds, the result is a window or a ValueError."""
    with suppress(ValueError):
        parse_window(value, UTC).contains(datetime(2026, 11, 23, tzinfo=UTC))


@pytest.mark.parametrize(
    "name", ["a/" * 1000 + "b", "a." * 1000, "../" * 20 + "etc/passwd", "Europe/", "", "zone.tab", "\0"]
)
def test_names_that_are_not_zones(name: str) -> None:
    """Python would import a module for each part of a name, and raise RecursionError for a thousand."""
    with pytest.raises(ValueError, match="time zone of the IANA database"):
        parse_timezone(name)


@pytest.mark.parametrize(
    ("begin", "until", "minutes_utc"),
    [
        ("2027-03-28T02:30", "2027-03-28T04:00", (90, 120)),  # there is no 02:30: 03:30, which is 01:30 UTC
        ("2027-10-31T02:30", "2027-10-31T04:00", (30, 180)),  # the first of two
        ("2027-10-31T02:30+01:00", "2027-10-31T04:00", (90, 180)),
    ],
)
def test_a_single_window_when_clocks_change(begin: str, until: str, minutes_utc: tuple[int, int]) -> None:
    """As docs/targets.md says."""
    window = parse_window({"from": begin, "until": until}, parse_timezone("Europe/Berlin"))
    midnight = datetime.fromisoformat(f"{begin[:10]}T00:00+00:00")
    open_at = [minute for minute in range(24 * 60) if window.contains(midnight + timedelta(minutes=minute))]
    assert (open_at[0], open_at[-1] + 1) == minutes_utc


def test_a_single_window_that_ends_before_it_begins_when_clocks_change() -> None:
    """There is no 02:30, so it would begin at 03:30, and end a quarter of an hour before."""
    with pytest.raises(ValueError, match="later"):
        parse_window({"from": "2027-03-28T02:30", "until": "2027-03-28T03:15"}, parse_timezone("Europe/Berlin"))


def test_a_single_window_from_the_first_to_the_second_of_one_time() -> None:
    """From 02:45 in summer time until 02:15 in winter time: half an hour."""
    written = {"from": "2027-10-31T02:45", "until": "2027-10-31T02:15+01:00"}
    window = parse_window(written, parse_timezone("Europe/Berlin"))
    assert window == OnceWindow(datetime(2027, 10, 31, 0, 45, tzinfo=UTC), datetime(2027, 10, 31, 1, 15, tzinfo=UTC))
