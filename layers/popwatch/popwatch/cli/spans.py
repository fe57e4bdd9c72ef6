"""Lengths of time as people write them: `90s`, `20m`, `2h`, `1d`, `1h30m`."""

import re
from datetime import timedelta
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(?:\d+(?:s|min|m|h|d|w))+")
_PART = re.compile(r"(\d+)(s|min|m|h|d|w)")


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
