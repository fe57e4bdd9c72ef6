"""What a file of targets holds: entries with their lines, and values that DynamoDB can store."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from popwatch_cli.errors import UserError

# Limits of DynamoDB's numbers; it refuses others with an error that names no field, so they stay strings here.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
MAX_DIGITS = 38
SMALLEST, GREATEST = 1e-130, 9.99e125


MAX_MISTAKES_READ = 1000
"""Mistakes of a file after which no more of it is read: with one on each line they would fill the memory."""

MAX_TARGETS = 50_000
"""Targets of a file: each takes up to some 3 kilobytes and 0.15 milliseconds, however short its line is."""

LISTS = ("tags", "depends_on", "certificate_warn_days", "maintenance", "siblings")
"""Lists whose entries, as people write them on a command line or in a cell, have no separators."""

LISTS_OF_NUMBERS = ("certificate_warn_days", "siblings")

_PLACE = re.compile(r"(?:(?P<file>.+?):? )??[Ll]ines? (?P<line>\d{1,9})\b")
"""Where a sentence is about: `Line 3`, `Lines 3, 6`, `a.csv line 3` or `a.csv: Line 3`."""


class FileError(UserError):
    """A file that cannot be read as targets: its mistakes, each with its line."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class TooManyTargetsError(FileError):
    """A file that is not read on: it has more targets than there is room for."""


class UnreadableFileError(FileError):
    """A file that is not there, or whose content or format cannot be known: nothing in it has been looked at."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A target's fields as written, and the line on which they begin (0 if they are not from a file).

    `lines` has the line of each field, if the format has a line for each; `file` names the file if there are several.
    """

    line: int
    fields: dict[str, object]
    lines: Mapping[str, int] = field(default_factory=dict)
    file: str = ""

    def line_of(self, name: str) -> int:
        """The line of a field, or of the target if the field is missing."""
        return self.lines.get(name, self.line)

    def place_of(self, name: str) -> str:
        """The line of a field as it begins a sentence, with its file if there are several."""
        line = self.line_of(name)
        return f"{self.file} line {line}" if self.file else f"Line {line}"


def check_room(entries: Sequence[FileEntry]) -> None:
    """Raise TooManyTargetsError if these are more targets than a file may have."""
    if len(entries) > MAX_TARGETS:
        raise TooManyTargetsError([f"The file has more than {MAX_TARGETS:,} targets: divide it into several files."])


def to_number(text: str) -> int | float | str:
    """The number that a text represents, or the text itself if DynamoDB cannot store the number."""
    digits = text.lstrip("+-")
    if digits.isdecimal():
        return int(text) if len(digits) <= MAX_DIGITS else text
    number = float(text)
    fits = number == 0 or SMALLEST <= abs(number) <= GREATEST
    return number if fits else text


def split_list(name: str, text: str, separators: str) -> list[int | float | str]:
    """The entries of one of `LISTS` that is written on a line, without blanks at their ends."""
    parts = [part.strip() for part in re.split(f"[{separators}]", text) if part.strip()]
    return [to_number(part) if name in LISTS_OF_NUMBERS and part.isdecimal() else part for part in parts]


def load_json(text: str) -> Any:
    """A JSON value whose numbers DynamoDB can store. Raises ValueError, RecursionError."""
    return JSON.decode(text)


def by_line(mistakes: Iterable[str], files: Iterable[str] = ()) -> list[str]:
    """Sentences by the file and the line that they begin with, those of `files` first; before all, those of no line."""
    found = [(_PLACE.match(mistake), mistake) for mistake in mistakes]
    named = dict.fromkeys([*files, *(place["file"] for place, _ in found if place)])
    order = {file: number for number, file in enumerate(named)}
    places = [(order[place["file"]], int(place["line"])) if place else (-1, 0) for place, _ in found]
    return [found[number][1] for number in sorted(range(len(found)), key=places.__getitem__)]


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that occurs more than once, if there is one."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _refuse_constant(name: str) -> None:
    """Python's parser accepts NaN and Infinity, which JSON does not have (RFC 8259 section 6)."""
    raise ValueError(f"{name} is not a number")


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python's parser would keep the last value of a repeated name, and silently drop the others."""
    repeated = first_repeated(name for name, _ in pairs)
    if repeated is not None:
        raise ValueError(f"`{repeated}` is given twice")
    return dict(pairs)


JSON = json.JSONDecoder(
    parse_int=to_number,
    parse_float=to_number,
    parse_constant=_refuse_constant,
    object_pairs_hook=_refuse_repeated,
)
"""Reads JSON whose numbers DynamoDB can store."""
