"""Targets as CSV (RFC 4180): a column for each field; lists and maps are JSON in a cell.

A text that a spreadsheet would take for a formula, or that reading would take for something else, has an apostrophe in
front, which reading takes off again. So has a field's name. Where spreadsheets part cells at `;`, a formula could also
stand behind one, or behind a line end, in the middle of a text: such a text is written as JSON, semicolons escaped.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from popwatch_cli.files.entries import Entry, FileError, load_json

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes a cell for a formula by; the last four are the same signs in full width."""

HIDDEN_FORMULA = re.compile(r"[;\t\r\n][\"'\s]*" + f"[{re.escape(''.join(FORMULA))}]")
"""A formula behind what parts cells, or lines, where cells are parted by semicolons."""

_JSON = ("[", "{", '"')
_GUARDED = (*FORMULA, *_JSON, "'", " ")
"""Beginnings before which an apostrophe is no part of the text."""


def read_csv(text: str) -> list[Entry]:
    """The entries, one for each row under the first, which names the fields. Raises FileError."""
    rows = _rows(text)
    _, first = next(rows, (1, []))
    names = [_name(cell) for cell in first]
    if "" in names:
        raise FileError([f"Line 1: column {names.index('') + 1} has no name: name it, or take it out."])
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise FileError([f"Line 1: the field `{twice}` is there twice."])
    return [_entry(line, names, row) for line, row in rows]


def write_csv(items: Sequence[Mapping[str, Any]]) -> str:
    """A table of targets that `read_csv` reads again."""
    columns = list(dict.fromkeys(name for item in items for name in item))
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(_json(name) if ";" in name else _to_cell(name) for name in columns)
    writer.writerows([_to_cell(item.get(name)) for name in columns] for item in items)
    return output.getvalue()


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, and the line on which it begins. Spreadsheets write `;` where `,` is for decimals."""
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


def _entry(line: int, names: list[str], row: list[str]) -> Entry:
    if len(row) != len(names):
        raise FileError([f"Line {line} has {len(row)} cells, and the first line has {len(names)}."])
    return Entry(line, {name: _value(cell) for name, cell in zip(names, row, strict=True) if cell.strip()})


def _name(cell: str) -> str:
    """A field's name; unlike a value it is always a text."""
    found = _value(cell)
    return found if isinstance(found, str) else cell.strip()


def _value(cell: str) -> object:
    """A cell's value. Blanks around it are nobody's wish, except in texts of several lines."""
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
