"""Maintenance windows: times at which a target is tested and recorded but no alerts are sent. No I/O."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from zoneinfo import ZoneInfo

from popwatch.model.text import did_you_mean

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_MEANT = {"begin": "from", "end": "until", "start": "from", "to": "until", "tz": "timezone", "zone": "timezone"}
"""Names that people write for fields of a window."""

_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")

_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}")
"""The form of a time zone's name. Others must not reach `ZoneInfo`, which imports the name's folders as packages: one
module for each `.` and `/`, until Python's stack is full.
"""


FIRST_YEAR, LAST_YEAR = 2000, 9998
"""Of the times that people may write."""


EXAMPLE_WINDOW = '{days: sun, from: "02:00", until: "04:00"}'
"""How people write a window, in messages."""


@dataclass(frozen=True, slots=True)
class OnceWindow:
    """One window between two times: `start <= now < end`."""

    start: datetime
    end: datetime

    def contains(self, now: datetime) -> bool:
        """Whether the window is open at `now`."""
        return self.start <= now < self.end


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """A window in local time of `zone`, on some days of the week (Monday is 0).

    One whose end is not after its start continues past midnight into the next day.
    """

    days: frozenset[int]
    start: time
    end: time
    zone: tzinfo

    def contains(self, now: datetime) -> bool:
        """Whether the window is open at `now`."""
        # Only the local time of `now` is compared, and no window's start or end is converted to UTC. So a change to or
        # from summer time needs no rule of its own: a local time that is skipped never comes, and one that comes twice
        # is inside the window both times.
        local = now.astimezone(self.zone)
        time_of_day = local.time()
        today = local.weekday()
        yesterday = (today - 1) % 7
        if self.start < self.end:
            return today in self.days and self.start <= time_of_day < self.end
        return (today in self.days and time_of_day >= self.start) or (yesterday in self.days and time_of_day < self.end)


Window = OnceWindow | WeeklyWindow


def parse_window(value: object, zone: tzinfo) -> Window:
    """A window from `{from, until}` (ISO 8601) or `{days, from, until, timezone}`.

    Times without an offset are in `zone`. Raises ValueError with a sentence that says what is wrong.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"a window is a map with `from` and `until`, such as {EXAMPLE_WINDOW}")
    unknown = sorted(str(key) for key in value.keys() - {"days", "from", "until", "timezone"})
    if unknown:
        meant = _MEANT.get(unknown[0]) or unknown[0]
        hint = did_you_mean(meant[:40], ("from", "until", "days", "timezone"))
        raise ValueError(
            f"a window has no field `{unknown[0]}`; it has `from`, `until`, `days` and `timezone`{hint and '.'}{hint}"
        )
    begin, end = (str(value.get(key) or "").strip() for key in ("from", "until"))
    if not begin or not end:
        raise ValueError("a window needs both `from` and `until`")
    if "timezone" in value:
        zone = parse_timezone(value["timezone"])
    if _TIME_OF_DAY.fullmatch(begin) and _TIME_OF_DAY.fullmatch(end):
        days = _parse_days(value.get("days", "daily"))
        return WeeklyWindow(days, _parse_time_of_day(begin), _parse_time_of_day(end), zone)
    if "days" in value:
        raise ValueError("a weekly window needs `from` and `until` as HH:MM")
    window = OnceWindow(parse_time(begin, zone), parse_time(end, zone))
    if window.end <= window.start:
        raise ValueError("a window's `until` must be later than its `from`")
    return window


def parse_timezone(value: object) -> tzinfo:
    """The time zone of an IANA name such as `Europe/Berlin`; raises ValueError for anything else."""
    name = value.strip() if isinstance(value, str) else ""
    with suppress(KeyError, ValueError, OSError):
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    raise ValueError("it must be a time zone of the IANA database, such as Europe/Berlin or UTC")


def parse_time(text: str, zone: tzinfo) -> datetime:
    """A time in UTC from ISO 8601, which is in `zone` if it has no offset; raises ValueError for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "a time must be ISO 8601, such as 2026-11-23T22:00+01:00; in a weekly window `from` and `until` are HH:MM"
        ) from None
    if not FIRST_YEAR <= found.year <= LAST_YEAR:  # others have no equivalent in some time zones
        raise ValueError(f"a time must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    # In UTC, as Python compares two times of one zone by their clocks, which may be wrong when these change.
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


def _parse_time_of_day(text: str) -> time:
    hour, minute = (int(part) for part in text.split(":"))
    if hour == 24:  # 24:00, the end of a day, is 00:00 here: a window that ends then continues to midnight
        if minute:
            raise ValueError("the latest time of a day is 24:00")
        hour = 0
    return time(hour, minute)


def _parse_days(value: object) -> frozenset[int]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple | set | frozenset) or not entries:
        raise ValueError("`days` must be a list such as [mon, tue] or a string such as mon-fri or daily")
    days: set[int] = set()
    for entry in entries:
        for part in str(entry).lower().replace(",", " ").split():
            days |= _parse_day_range(part)
    return frozenset(days)


def _parse_day_range(part: str) -> set[int]:
    if part == "daily":
        return set(range(7))
    ends = [_parse_day(day) for day in part.split("-")]
    match ends:
        case [day]:
            return {day}
        case [first, last]:
            days_after = (last - first) % 7  # from Saturday to Monday (sat-mon) it is 2
            return {(first + day) % 7 for day in range(days_after + 1)}
        case _:
            raise ValueError(f"`{part}` is not a day or a range of days")


def _parse_day(text: str) -> int:
    if text[:3] not in _DAYS:
        hint = did_you_mean(text[:40], _DAYS)
        raise ValueError(
            f"`{text}` is not a day of the week; write mon, tue, wed, thu, fri, sat or sun{hint and '.'}{hint}"
        )
    return _DAYS.index(text[:3])
