"""How values are written for people: times, durations, counts, and text from outside made safe to show. No I/O."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

UNKNOWN = "-"
"""Written in place of a value that is not known."""

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""The units in which people write durations, by their first letters."""

_UNIT = r"(?:s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?|w(?:eeks?)?)"
_WRITTEN_DURATION = re.compile(rf"(?:\d{{1,12}}{_UNIT})+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_NUMBER = re.compile(r"(\d+)")


def iso(time: datetime) -> str:
    """A time as ISO 8601 in UTC, with a fraction of a second only if it has one: `2026-11-23T03:12:00Z`."""
    time = time if time.tzinfo is UTC else time.astimezone(UTC)
    return time.isoformat().removesuffix("+00:00") + "Z"


def utc(time: datetime) -> str:
    """A time in UTC, to the second: `2026-11-23 03:12:00 UTC`."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(length: timedelta) -> str:
    """A duration in its two largest units: `2 h 5 min`."""
    seconds = max(0, round(length.total_seconds()))
    largest = next((index for index, (_, size) in enumerate(_UNITS) if seconds >= size), len(_UNITS) - 1)
    parts: list[str] = []
    for unit, size in _UNITS[largest : largest + 2]:
        count, seconds = divmod(seconds, size)
        if count or not parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts)


def parse_seconds(text: str) -> int | None:
    """The seconds of a duration such as `1h30m`, without regard to case and blanks; None for any other text."""
    written = "".join(text.lower().split())
    if not _WRITTEN_DURATION.fullmatch(written):
        return None
    return sum(int(count) * _SECONDS[unit] for count, unit in _DURATION_PART.findall(written))


def natural_order(text: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts names as people do: `mail-2` before `mail-10`, and `Mail-3` between them."""
    parts = _NUMBER.split(text.casefold())  # text and numbers by turns
    # Of a number 18 digits count, as Python refuses thousands. (-2, ...) is the end of a name: before any that goes on.
    return (*((int(part[:18]), part) if place % 2 else (-1, part) for place, part in enumerate(parts)), (-2, text))


def did_you_mean(written: str, known: Iterable[str], mark: str = "`") -> str:
    """` Did you mean X?`, with a blank before it, if one of the known words is like the one written; otherwise ""."""
    import difflib  # noqa: PLC0415 - it would slow every cold start, and only mistakes need it

    by_lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(written.lower(), by_lower, n=1)
    return f" Did you mean {mark}{by_lower[close[0]]}{mark}?" if close else ""


def milliseconds(number: float | None) -> str:
    """A number of ms to three digits, without the unit: `12.5`."""
    if number is None:
        return UNKNOWN
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 target`, `3 targets`, `2 batches`; `plural` is the noun with an s unless given."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or f'{noun}s'}"


def how_often(count: int) -> str:
    """How often something was, for people."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def truncate(text: str, limit: int) -> str:
    """The text if it has at most `limit` characters, else its beginning, ending in `...`."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def clean(untrusted: bytes | str, limit: int) -> str:
    """Text from a server or a user, safe for a log, a terminal, an email or a page: one line, cut to `limit`.

    Bytes are read as UTF-8, else as latin-1. Control, format (bidi), surrogate and unassigned characters become `?`.
    """
    text = untrusted if isinstance(untrusted, str) else _decode(untrusted)
    text = text[: limit * 4]  # a bound on the work; room for runs of blanks, which become one
    if not text.isprintable():  # fast path: a look at each character would take a tenth of the CPU time of a test
        text = "".join(map(_visible, text))
    return truncate(" ".join(text.split()), limit)


def clean_whole(untrusted: str) -> str:
    """The same of a text that is not cut, such as an id that people copy."""
    return clean(untrusted, max(len(untrusted), 1))


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    return "?" if unicodedata.category(character)[0] == "C" else character
