"""Types of options: the stack, durations, time zones, and periods as people write them."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as clock_time
from typing import Any

import click

from popwatch.model.windows import parse_timezone
from popwatch.reports.availability import Period
from popwatch_cli.errors import UserError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SINCE = "Begin: a date, an ISO 8601 time, or an age such as 7d."
"""Help text of `--since`."""

UNTIL = "End, in the same formats. [default: now]"
"""Help text of `--until`."""

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(?:\d+(?:s|min|m|h|d|w))+")
_PART = re.compile(r"(\d+)(s|min|m|h|d|w)")


@dataclass(frozen=True, slots=True)
class StackChoice:
    """Which stack the user has chosen."""

    stack: str
    local: bool


def parse_duration(text: str) -> timedelta:
    """A duration such as `1h30m`. Raises ValueError for anything else, and for zero."""
    written = "".join(text.lower().split())
    parts = _PART.findall(written) if _DURATION.fullmatch(written) else []
    try:
        duration = sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())
    except OverflowError:
        duration = timedelta()
    if not duration:
        raise ValueError(f"{text[:40]!r} is not a duration: write 90s, 20m, 2h, 1d or 1h30m")
    return duration


class DurationOption(click.ParamType):
    """An option that takes a duration."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration that the option's text gives."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


DURATION = DurationOption()


class TimezoneOption(click.ParamType):
    """An option that takes a time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:
        """The time zone that the option's text names."""
        if isinstance(value, tzinfo):
            return value
        try:
            return parse_timezone(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


ZONE = TimezoneOption()


def month_of(text: str, zone: tzinfo) -> Period:
    """The calendar month `2026-10` in local time of `zone`. Raises UserError."""
    try:
        first = date.fromisoformat(f"{text}-01")
        # 32 days after the first of a month is always a day of the next month.
        following = (first + timedelta(days=32)).replace(day=1)
    except (ValueError, OverflowError):
        raise UserError(f"{text} is not a month: write it as 2026-10.") from None
    return Period(_midnight(first, zone), _midnight(following, zone))


def period_of(since: str, until: str | None, zone: tzinfo, now: datetime) -> Period:
    """From `since` to `until`, or to now. Raises UserError.

    Each is a date or time in ISO 8601, or a duration before now.
    """
    begin = _time_of(since, zone, now)
    end = min(_time_of(until, zone, now), now) if until else now
    if begin >= end:
        raise UserError(f"The period is empty: it begins at {begin:%Y-%m-%d %H:%M} and ends at {end:%Y-%m-%d %H:%M}.")
    return Period(begin, end)


def _time_of(text: str, zone: tzinfo, now: datetime) -> datetime:
    try:
        time = _parse(text, zone, now)
    except OverflowError:
        time = EPOCH
    if time <= EPOCH:
        raise UserError(f"{text} is too early: there is no data before 1970.")
    return time


def _parse(text: str, zone: tzinfo, now: datetime) -> datetime:
    """The time that a text gives. Raises UserError, or OverflowError if datetime cannot represent it."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text} is not a time: write 2026-11-24, 2026-11-24T03:12, or 7d for a week ago.") from None
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)


def _midnight(day: date, zone: tzinfo) -> datetime:
    """The beginning of a day."""
    # Some zones change to summer time at midnight, so that 0:00 does not exist. With fold=0 Python takes the offset
    # before the change (PEP 495), and the result is the instant at which the clock goes forward.
    return datetime.combine(day, clock_time(), zone).astimezone(UTC)
