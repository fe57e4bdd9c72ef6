"""What a file of targets holds: entries with their lines, and values that DynamoDB can hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from popwatch_cli.errors import UserError

MOST_DIGITS = 38
"""What DynamoDB keeps of a number; a longer one would be refused, so it stays a text."""

SMALLEST, GREATEST = 1e-130, 9.99e125
"""Between what sizes DynamoDB keeps a number."""


class FileError(UserError):
    """A file that cannot be read as targets: its mistakes, each with its line."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Entry:
    """A target's fields as written, and the line on which they begin (0: they come from no file).

    `lines` tells the line of each field, where the form has one line for each.
    """

    line: int
    fields: dict[str, object]
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, name: str) -> int:
        """The line of a field, or of the whole target for a field that is missing."""
        return self.lines.get(name, self.line)


def to_number(text: str) -> int | float | str:
    """The number that a text says, or the text itself if DynamoDB cannot hold such a number."""
    digits = text.lstrip("+-")
    if digits.isdecimal():
        return int(text) if len(digits) <= MOST_DIGITS else text
    number = float(text)
    fits = number == 0 or SMALLEST <= abs(number) <= GREATEST
    return number if fits else text


def load_json(text: str) -> Any:
    """A JSON value whose numbers DynamoDB can hold. Raises ValueError, RecursionError."""
    return json.loads(
        text,
        parse_int=to_number,
        parse_float=to_number,
        parse_constant=_refuse_constant,
        object_pairs_hook=_refuse_repeated,
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"`{next(name for name in names if names.count(name) > 1)}` is there twice")
    return found
