"""What the importers share: the result of an import, warnings on what was not imported, durations, ids, addresses."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from popwatch.model.fields import TlsMode
from popwatch_cli.files.entries import FileEntry, FileError
from popwatch_cli.target_items import mistakes_of, shown

POP3_PORTS = {110: TlsMode.NONE, 995: TlsMode.IMPLICIT}
"""POP3's ports (RFC 1939, RFC 8314). A check of another port is imported only if something in the file says POP3."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
# at most nine digits: a longer number is a mistake, and converting a very long one would take seconds
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d|w|y)")
_NOT_IN_IDS = re.compile(r"[^\w.]+")

MAX_TARGETS = 100_000
"""As many as one stack can watch."""

LONGEST_IMPORTED_NAME = 100
"""Characters of the field `name`."""

DELAYS = (10, 86_400)
TEST_SECONDS = (1, 60)

LONGEST_IMPORTED_ID = 120
"""Characters of an id, of 128 that it may have: so a number still fits behind it."""

MAX_WARNINGS = 200_000

MAX_LISTED = 10
"""Lines, services and targets that a warning names; of others it gives the number."""

NAMES, _VERB = "\0", "\1"
"""In a sentence the place of the names that it is about, and of `is` or `are`; no text that is shown has these."""

MAX_STEPS = 30_000_000
"""Names, characters of commands, and inherited directives, each of which counts `DIRECTIVE`, that a file expands to."""

DIRECTIVE = 16
"""Steps of an inherited directive, which takes some 170 bytes of memory; so two million of them are too many."""


@dataclass(slots=True)
class Budget:
    """What reading a file may cost: a short file can expand to gigabytes by what it repeats."""

    left: int = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Raise FileError if there have been too many steps."""
        self.left -= steps
        if self.left < 0:
            raise FileError(["The file expands to too much: its templates, groups or macros repeat what is long."])


class Place(NamedTuple):
    """A line of a file; the file's name is empty if only one file is read."""

    file: str
    line: int


@dataclass(slots=True)
class ImportWarnings:
    """Sentences on what was not imported, or was changed, each with the lines that it is about.

    Raises FileError for more than `MAX_WARNINGS`.
    """

    _places: dict[str, dict[Place, None]] = field(default_factory=dict)
    _names: dict[str, dict[str, None]] = field(default_factory=dict)
    _budget: Budget = field(default_factory=lambda: Budget(MAX_WARNINGS))

    def add(self, place: Place, sentence: str, name: str = "") -> None:
        """Add a sentence for a line, and maybe a name; the same sentence is shown once, with all lines and names.

        The names stand where it has `NAMES`; otherwise they are those of services, at its end.
        """
        self._budget.spend(1)
        self._places.setdefault(sentence, {})[place] = None
        if name:
            self._names.setdefault(sentence, {})[name] = None

    def add_not_imported(self, place: Place, name: str, reason: str, job: str = "") -> None:
        """Add that what a name is for is not imported; all names of the same reason, and job, are one sentence."""
        of = f" of the job {job}" if job else ""
        self.add(place, f"{NAMES}{of} {_VERB} not imported: {reason}", name)

    def __iter__(self) -> Iterator[str]:
        """The sentences in the order of their first lines."""
        texts = ((min(places), self._text(sentence), sorted(places)) for sentence, places in self._places.items())
        for _, text, places in sorted(texts):
            yield f"{_list_of(places)}: {text}"

    def _text(self, sentence: str) -> str:
        """A sentence with the names that it is about."""
        names = [*self._names.get(sentence, ())]
        if not names:
            return sentence
        if NAMES in sentence:
            return sentence.replace(NAMES, _some(names)).replace(_VERB, "is" if len(names) == 1 else "are")
        return f"{sentence} {'Service' if len(names) == 1 else 'Services'}: {_some(names)}."

    def places(self) -> set[Place]:
        """All lines that a sentence is about."""
        return {place for places in self._places.values() for place in places}


def _list_of(places: Sequence[Place]) -> str:
    """The lines of places, by file: `Lines 3, 8`, or `mail.cfg line 3; web.cfg lines 1, 2`."""
    by_file: dict[str, list[str]] = {}
    for place in places[:MAX_LISTED]:
        by_file.setdefault(place.file, []).append(str(place.line))
    listed = "; ".join(
        f"{file} {'line' if len(lines) == 1 else 'lines'} {', '.join(lines)}".strip() for file, lines in by_file.items()
    )
    more = f" and {len(places) - MAX_LISTED:,} more" if len(places) > MAX_LISTED else ""
    return (listed if any(by_file) else listed.capitalize()) + more


def _some(names: Sequence[str]) -> str:
    """Some of the names: `a, b and 4,990 more`."""
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


@dataclass(slots=True)
class Ids:
    """The ids of an import, each given once."""

    _taken: dict[str, int] = field(default_factory=dict)

    def new(self, wanted: str, distinction: str = "") -> str:
        """The wanted id; if it is taken, with `distinction` at its end, or else with a number."""
        wanted = wanted[:LONGEST_IMPORTED_ID] or "target"
        if distinction and wanted in self._taken:
            wanted = f"{wanted}-{distinction}"[:LONGEST_IMPORTED_ID]
        number = self._taken[wanted] = self._taken.get(wanted, 0) + 1
        return wanted if number == 1 else self.new(f"{wanted}-{number}")


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import: the targets, and warnings on what was not imported or was changed."""

    entries: Sequence[FileEntry]
    warnings: ImportWarnings


def without_mistakes(entries: Iterable[FileEntry], warnings: ImportWarnings) -> list[FileEntry]:
    """The entries that can be used; a mistake in another one becomes a warning, and does not stop the import."""
    good: list[FileEntry] = []
    for entry in entries:
        mistakes = mistakes_of(entry.fields, {})
        for mistake in mistakes:
            place = Place(entry.file, entry.line_of(mistake.field))
            warnings.add_not_imported(place, shown(entry.fields["target_id"]), mistake.explanation)
        if not mistakes:
            good.append(entry)
    return good


def seconds(value: Any, name: str) -> float:
    """A duration as Go and Prometheus write it, such as `1m30s`. Raises ValueError."""
    text = str(value).strip()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"`{name}` is not a duration: {shown(text)}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def bounded(value: float, limits: tuple[int, int], place: Place, name: str, warnings: ImportWarnings) -> int | float:
    """A number within a field's limits, with a warning if it was not."""
    lowest, highest = limits
    used = min(max(value, lowest), highest)
    if used != value:
        warnings.add(place, f"`{name}` of {value:g} s becomes {used:g} s: popwatch accepts {lowest} to {highest} s.")
    return int(used) if used == int(used) else used


def delays(value: float, place: Place, name: str, warnings: ImportWarnings) -> dict[str, object]:
    """The fields for one interval in all states; none if it is popwatch's default."""
    delay = round(bounded(value, DELAYS, place, name, warnings))
    return {} if delay == 60 else dict.fromkeys(("delay_up", "delay_warn", "delay_down"), delay)


def slug(text: str) -> str:
    """A text as part of an id, in characters that need no quotes in a shell."""
    return _NOT_IN_IDS.sub("-", text.lower()).strip("-._")


def split_address(text: str) -> tuple[str, int | None]:
    """Host and port of `host:port`, `[address]:port` or `host`; the port is None if there is none.

    What does not look so is returned whole, as a host that the checks of fields refuse.
    """
    host, colon, port = text.rpartition(":")
    is_bare_ipv6 = ":" in host and not host.startswith("[")
    if not colon or "]" in port or is_bare_ipv6 or not port.isdecimal() or len(port) > 5:
        return text.strip("[]"), None
    return host.strip("[]"), int(port)
