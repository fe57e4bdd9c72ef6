"""What the importers share: the result of an import, notes on what was not imported, durations, ids, addresses."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from popwatch.model.fields import TlsMode
from popwatch_cli.files.entries import FileEntry, FileError
from popwatch_cli.target_items import shown

POP3_PORTS = {110: TlsMode.NONE, 995: TlsMode.IMPLICIT}
"""POP3's ports (RFC 1939, RFC 8314). A check of another port is imported only if something in the file says POP3."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
# at most nine digits: a longer number is a mistake, and converting a very long one would take seconds
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d|w|y)")
_NOT_IN_IDS = re.compile(r"[^\w.]+")

MOST_TARGETS = 100_000
"""As many as one stack can watch."""

DELAYS = (10, 86_400)
TEST_SECONDS = (1, 60)


MOST_NOTES = 200_000

MOST_STEPS = 30_000_000
"""Names, characters of commands, and inherited directives, each of which counts `DIRECTIVE`, that a file expands to."""

DIRECTIVE = 16
"""Steps of an inherited directive, which takes some 170 bytes of memory; so two million of them are too many."""


@dataclass(slots=True)
class Budget:
    """What reading a file may cost: a short file can expand to gigabytes by what it repeats."""

    left: int = MOST_STEPS

    def spend(self, steps: int) -> None:
        """Raise FileError if there have been too many steps."""
        self.left -= steps
        if self.left < 0:
            raise FileError(["The file expands to too much: its templates, groups or macros repeat what is long."])


@dataclass(slots=True)
class Notes:
    """Sentences on what was not imported, or was changed, each with the lines that it is about.

    Raises FileError for more than `MOST_NOTES`.
    """

    _lines: dict[str, dict[int, None]] = field(default_factory=dict)
    _budget: Budget = field(default_factory=lambda: Budget(MOST_NOTES))

    def add(self, line: int, sentence: str) -> None:
        """Note a sentence for a line; the same sentence for many lines is shown once, with all of them."""
        self._budget.spend(1)
        self._lines.setdefault(sentence, {})[line] = None

    def __iter__(self) -> Iterator[str]:
        """The sentences in the order of their first lines."""
        for sentence, lines in sorted(self._lines.items(), key=lambda note: (min(note[1]), note[0])):
            word = "Line" if len(lines) == 1 else "Lines"
            yield f"{word} {', '.join(map(str, sorted(lines)))}: {sentence}"


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import: the targets, and notes on what was not imported."""

    entries: Sequence[FileEntry]
    notes: Iterable[str]


def seconds(value: Any, line: int, name: str) -> float:
    """A duration as Go and Prometheus write it, such as `1m30s`. Raises FileError."""
    text = str(value).strip()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise FileError([f"Line {line}: `{name}` is not a duration: {shown(text)}. Write one such as 30s or 1m30s."])
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def bounded(value: float, limits: tuple[int, int], line: int, name: str, notes: Notes) -> int | float:
    """A number within a field's limits, with a note if it was not."""
    lowest, highest = limits
    used = min(max(value, lowest), highest)
    if used != value:
        notes.add(line, f"`{name}` of {value:g} s becomes {used:g} s: popwatch accepts {lowest} to {highest} s.")
    return int(used) if used == int(used) else used


def delays(value: float, line: int, name: str, notes: Notes) -> dict[str, object]:
    """The fields for one interval in all states; none if it is popwatch's default."""
    delay = round(bounded(value, DELAYS, line, name, notes))
    return {} if delay == 60 else dict.fromkeys(("delay_up", "delay_warn", "delay_down"), delay)


def slug(text: str) -> str:
    """A text as part of an id, in characters that need no quotes in a shell."""
    return _NOT_IN_IDS.sub("-", text.lower()).strip("-._")


def split_address(text: str) -> tuple[str, int | None]:
    """Host and port of `host:port`, `[address]:port` or `host`; the port is None if there is none."""
    host, colon, port = text.rpartition(":")
    is_bare_ipv6 = ":" in host and not host.startswith("[")
    if not colon or "]" in port or is_bare_ipv6:
        return text.strip("[]"), None
    return host.strip("[]"), int(port) if port.isdecimal() and len(port) <= 5 else None
