"""What the readers of other monitors' files share: what was taken, what was left and why, and lengths of time."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from popwatch.model.fields import TlsMode
from popwatch_cli.files.entries import Entry, FileError
from popwatch_cli.target_items import shown

POP3_PORTS = {110: TlsMode.NONE, 995: TlsMode.IMPLICIT}
"""The ports that are POP3's (RFC 1939, RFC 8314). A check of any other port is taken only if something says POP3."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d|w|y)")
_ID_CHARACTERS = re.compile(r"[^\w.]+")

MOST_TARGETS = 100_000
"""As many as one stack takes."""

DELAYS = (10, 86_400)
TEST_SECONDS = (1, 60)


@dataclass(slots=True)
class Notes:
    """Sentences on what was not taken, or not as it was, with the lines that each is about."""

    _lines: dict[str, list[int]] = field(default_factory=dict)

    def add(self, line: int, sentence: str) -> None:
        """Note a sentence for a line; the same sentence of many lines is told once, with all of them."""
        lines = self._lines.setdefault(sentence, [])
        if line not in lines:
            lines.append(line)

    def __iter__(self) -> Iterator[str]:
        """The sentences in the order of their first lines."""
        for sentence, lines in sorted(self._lines.items(), key=lambda note: (min(note[1]), note[0])):
            word = "Line" if len(lines) == 1 else "Lines"
            yield f"{word} {', '.join(map(str, sorted(lines)))}: {sentence}"


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file of another monitor's came to."""

    entries: Sequence[Entry]
    notes: Iterable[str]


def seconds(value: Any, line: int, name: str) -> float:
    """A length of time as Go and Prometheus write it, such as `1m30s`. Raises FileError."""
    text = str(value).strip()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise FileError([f"Line {line}: `{name}` is no length of time: {shown(text)}. Write one such as 30s or 1m30s."])
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def bounded(value: float, limits: tuple[int, int], line: int, name: str, notes: Notes) -> int | float:
    """A number within a field's limits, and a note if it was not."""
    lowest, highest = limits
    taken = min(max(value, lowest), highest)
    if taken != value:
        notes.add(line, f"`{name}` of {value:g} s becomes {taken:g} s: popwatch takes {lowest} to {highest} s.")
    return int(taken) if taken == int(taken) else taken


def delays(value: float, line: int, name: str, notes: Notes) -> dict[str, object]:
    """The fields of one interval for all states, where it is not popwatch's own."""
    taken = round(bounded(value, DELAYS, line, name, notes))
    return {} if taken == 60 else dict.fromkeys(("delay_up", "delay_warn", "delay_down"), taken)


def slug(text: str) -> str:
    """A text as part of an id: what needs no quotes in a shell."""
    return _ID_CHARACTERS.sub("-", text.lower()).strip("-._")


def split_address(text: str) -> tuple[str, int | None]:
    """Host and port of `host:port`, `[address]:port` or `host`; the port is None if there is none."""
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port or (":" in host and not host.startswith("[")):
        return text.strip("[]"), None
    return host.strip("[]"), int(port) if port.isdecimal() and len(port) <= 5 else None
