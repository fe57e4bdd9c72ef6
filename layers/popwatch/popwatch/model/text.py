"""Texts: times and lengths of time as people read them, and what a server said made safe to show. No I/O."""

import unicodedata
from datetime import UTC, datetime, timedelta

UNKNOWN = "-"
"""What stands for a value that there is none of."""


def iso(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC, to the second, or finer if it is: `2026-11-23T03:12:00Z`."""
    moment = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return moment.isoformat().removesuffix("+00:00") + "Z"


def utc(moment: datetime) -> str:
    """A moment in UTC, to the second: `2026-11-23 03:12:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(time: timedelta) -> str:
    """A length of time in its two largest units: `2 h 5 min`."""
    seconds = max(0, round(time.total_seconds()))
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    first = next((index for index, (_, size) in enumerate(units) if seconds >= size), len(units) - 1)
    parts: list[str] = []
    for word, size in units[first : first + 2]:
        count, seconds = divmod(seconds, size)
        if count or not parts:
            parts.append(f"{count} {word}")
    return " ".join(parts)


def milliseconds(time: float | None) -> str:
    """A time in ms to three digits, without the unit: `12.5`."""
    return UNKNOWN if time is None else f"{time:.0f}" if time >= 100 else f"{time:.3g}"


def clean(said: bytes | str, limit: int) -> str:
    """What a server said, fit for a log, a terminal, an email or a page: one line, no control characters, cut.

    Format, bidi and surrogate characters go too. Bytes are read as UTF-8, else as latin-1. What is replaced shows as
    `?`; what is cut ends in `...`.
    """
    text = said if isinstance(said, str) else _decode(said)
    text = text[: limit * 4]
    if not text.isprintable():  # most is, and looking at each character costs a tenth of a test
        text = "".join(map(_visible, text))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _decode(said: bytes) -> str:
    try:
        return said.decode("utf-8")
    except UnicodeDecodeError:
        return said.decode("latin-1")


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    return "?" if unicodedata.category(character)[0] == "C" else character


def cut(text: str, limit: int) -> str:
    """The text if it has at most `limit` characters, else its beginning, ending in `...`."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
