"""What options take: the stack, lengths of time, time zones, periods as people write them."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

import click

from popwatch.model.windows import parse_timezone
from popwatch.reports.availability import Period
from popwatch_cli.errors import UserError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SINCE = "2026-11-24, a moment in ISO 8601, or 7d for a week ago."
"""What options that take a moment say of it."""

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(?:\d+(?:s|min|m|h|d|w))+")
_PART = re.compile(r"(\d+)(s|min|m|h|d|w)")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which stack the user means."""

    stack: str
    local: bool


def parse_span(text: str) -> timedelta:
    """The length of time that `text` says; raises ValueError if it says none, or one of no length."""
    written = "".join(text.lower().split())
    parts = _PART.findall(written) if _SPAN.fullmatch(written) else []
    try:
        span = sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())
    except OverflowError:
        span = timedelta()
    if not span:
        raise ValueError(f"{text[:40]!r} is no length of time: write 90s, 20m, 2h, 1d or 1h30m")
    return span


class Span(click.ParamType):
    """An option that takes a length of time."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The length of time of an option's text."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_span(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


SPAN = Span()


class Zone(click.ParamType):
    """An option that takes a time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:
        """The time zone of an option's text."""
        if isinstance(value, tzinfo):
            return value
        try:
            return parse_timezone(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


ZONE = Zone()


def month_of(text: str, zone: tzinfo) -> Period:
    """The calendar month `2026-10` by the wall clock of `zone`. Raises UserError."""
    try:
        first = date.fromisoformat(f"{text}-01")
        following = (first + timedelta(days=32)).replace(day=1)
    except (ValueError, OverflowError):
        raise UserError(f"{text} is no month: write it as 2026-10.") from None
    return Period(_midnight(first, zone), _midnight(following, zone))


def period_of(since: str, until: str | None, zone: tzinfo, now: datetime) -> Period:
    """From `since` to `until`, or now: each a date or moment in ISO 8601, or a time before now. Raises UserError."""
    begin = _moment(since, zone, now)
    end = min(_moment(until, zone, now), now) if until else now
    if begin >= end:
        raise UserError(f"The period is empty: it begins at {begin:%Y-%m-%d %H:%M} and ends at {end:%Y-%m-%d %H:%M}.")
    return Period(begin, end)


def _moment(text: str, zone: tzinfo, now: datetime) -> datetime:
    try:
        moment = _parse(text, zone, now)
    except OverflowError:
        moment = EPOCH
    if moment <= EPOCH:
        raise UserError(f"{text} is before all time: popwatch knows of nothing before 1970.")
    return moment


def _parse(text: str, zone: tzinfo, now: datetime) -> datetime:
    """The moment that a text says. Raises UserError, or OverflowError for one that no calendar has."""
    try:
        return now - parse_span(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text} is no moment: write 2026-11-24, 2026-11-24T03:12, or 7d for a week ago.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _midnight(day: date, zone: tzinfo) -> datetime:
    """The beginning of a day; where midnight does not exist, the moment at which the clock was put forward."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
