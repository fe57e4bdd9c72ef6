"""Maintenance windows: the times at which a target is tested and recorded but nobody is alerted. Words, no I/O."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}")
"""The form of a zone's name. `ZoneInfo` looks for others, too: it imports a module for each `.` and `/`, as deep as it
goes.
"""

_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class OnceWindow:
    """One window between two moments: `start <= now < end`."""

    start: datetime
    end: datetime

    def contains(self, now: datetime) -> bool:
        """Whether the window is open at `now`."""
        return self.start <= now < self.end


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """A window by the wall clock of `zone` on some days (Monday is 0).

    One whose end is not after its start runs past midnight. The wall clock decides across a change to or from summer
    time: 02:30 that does not exist is not waited for, and 02:30 that comes twice is inside twice.
    """

    days: frozenset[int]
    start: time
    end: time
    zone: tzinfo

    def contains(self, now: datetime) -> bool:
        """Whether the window is open at `now`."""
        local = now.astimezone(self.zone)
        today, yesterday = local.weekday(), (local - timedelta(days=1)).weekday()
        clock = local.time()
        if self.start < self.end:
            return today in self.days and self.start <= clock < self.end
        return (today in self.days and clock >= self.start) or (yesterday in self.days and clock < self.end)


Window = OnceWindow | WeeklyWindow


def parse_window(value: object, zone: tzinfo) -> Window:
    """A window from `{from, until}` (ISO 8601) or `{days, from, until, timezone}`.

    Moments without an offset are in `zone`. Raises ValueError with a sentence that says what is wrong.
    """
    if not isinstance(value, Mapping):
        raise ValueError("a window is a map with `from` and `until`")
    unknown = sorted(str(key) for key in value.keys() - {"days", "from", "until", "timezone"})
    if unknown:
        raise ValueError(f"a window has no field `{unknown[0]}`; it has `from`, `until`, `days` and `timezone`")
    begin, end = (str(value.get(key) or "").strip() for key in ("from", "until"))
    if not begin or not end:
        raise ValueError("a window needs both `from` and `until`")
    if "timezone" in value:
        zone = parse_timezone(value["timezone"])
    if _CLOCK.fullmatch(begin) and _CLOCK.fullmatch(end):
        return WeeklyWindow(_parse_days(value.get("days", "daily")), _parse_clock(begin), _parse_clock(end), zone)
    if "days" in value:
        raise ValueError("a weekly window needs `from` and `until` as HH:MM")
    window = OnceWindow(parse_moment(begin, zone), parse_moment(end, zone))
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


def parse_moment(text: str, zone: tzinfo) -> datetime:
    """A moment in ISO 8601, in `zone` if it has no offset; raises ValueError for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "`from` and `until` must be ISO 8601, such as 2026-11-23T22:00+01:00, or HH:MM for a weekly window"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _parse_clock(text: str) -> time:
    hour, minute = (int(part) for part in text.split(":"))
    if hour == 24:
        if minute:
            raise ValueError("the latest time of a day is 24:00")
        hour = 0
    return time(hour, minute)


def _parse_days(value: object) -> frozenset[int]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple | set | frozenset) or not words:
        raise ValueError("`days` must be a list such as [mon, tue] or a word such as mon-fri or daily")
    days: set[int] = set()
    for word in words:
        for part in str(word).lower().replace(",", " ").split():
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
            return {day % 7 for day in range(first, last + 1 if last >= first else last + 8)}
        case _:
            raise ValueError(f"`{part}` is not a day or a range of days")


def _parse_day(word: str) -> int:
    if word[:3] not in _DAYS:
        raise ValueError(f"`{word}` is not a day of the week; write mon, tue, wed, thu, fri, sat or sun")
    return _DAYS.index(word[:3])
