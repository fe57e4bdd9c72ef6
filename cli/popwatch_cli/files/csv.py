"""Targets as CSV (RFC 4180): a column for each field; lists and maps are JSON in a cell.

A spreadsheet runs a cell that begins like a formula (https://owasp.org/www-community/attacks/CSV_Injection). So such a
string gets an apostrophe in front, which reading removes again. So does a string that reading would take for JSON or
for a guarded one, and so does a field's name. Some spreadsheets split cells at `;`, so that a formula may also begin
after one, or after a line break, in the middle of a string: such a string is written as JSON, with semicolons escaped.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from popwatch_cli.files.entries import FileEntry, FileError, first_repeated, load_json

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of a cell that make a spreadsheet run it; the last four are the same signs in full width."""

HIDDEN_FORMULA = re.compile(r"[;\t\r\n][\"'\s]*" + f"[{re.escape(''.join(FORMULA))}]")
"""A formula after a character at which a spreadsheet may begin another cell or line."""

_JSON = ("[", "{", '"')
_GUARDED = (*FORMULA, *_JSON, "'", " ")
"""If one of these follows an apostrophe at the beginning of a cell, the apostrophe is not part of the string."""


def read_csv(text: str) -> list[FileEntry]:
    """The entries: one for each row after the first, which names the fields. Raises FileError."""
    rows = _rows(text)
    _, first = next(rows, (1, []))
    names = [_name(cell) for cell in first]
    if "" in names:
        raise FileError([f"Line 1: column {names.index('') + 1} has no name: name it, or remove it."])
    repeated = first_repeated(names)
    if repeated is not None:
        raise FileError([f"Line 1: the field `{repeated}` is given twice."])
    return [_entry(line, names, row) for line, row in rows]


def write_csv(items: Sequence[Mapping[str, Any]]) -> str:
    """A table of targets that `read_csv` reads again."""
    columns = list(dict.fromkeys(name for item in items for name in item))
    output = io.StringIO()
    writer = csv.writer(output)
    # the first line also decides which delimiter reading expects, so it must not contain bare semicolons
    writer.writerow(_json(name) if ";" in name else _to_cell(name) for name in columns)
    writer.writerows([_to_cell(item.get(name)) for name in columns] for item in items)
    return output.getvalue()


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, and the line on which it begins.

    Where a comma is for decimals, spreadsheets separate cells by semicolons.
    """
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise FileError([f"Line {line} is not CSV: {error}."]) from None


def _entry(line: int, names: list[str], row: list[str]) -> FileEntry:
    if len(row) != len(names):
        raise FileError([f"Line {line} has {len(row)} cells, and the first line has {len(names)}."])
    return FileEntry(line, {name: _value(cell) for name, cell in zip(names, row, strict=True) if cell.strip()})


def _name(cell: str) -> str:
    """A field's name; unlike a value it is always a string."""
    value = _value(cell)
    return value if isinstance(value, str) else cell.strip()


def _value(cell: str) -> object:
    """A cell's value. Blanks around it are removed, except in strings of several lines, where they may be intended."""
    if cell.startswith("'") and cell[1:2] in _GUARDED:
        return cell[1:]
    text = cell if "\n" in cell else cell.strip()
    if text.startswith(_JSON):
        try:
            return load_json(text)
        except (ValueError, RecursionError):
            return text
    return text


def _to_cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str() if HIDDEN_FORMULA.search(value):
            return _json(value)
        case str():
            ambiguous = value.startswith(_GUARDED) and _value(value) != value
            return f"'{value}" if ambiguous or value.startswith(FORMULA) else value
        case list() | dict():
            return _json(value)
        case _:
            return str(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace(";", "\\u003b")
