"""Targets as CSV (RFC 4180): a column for each field; lists and maps are JSON in a cell.

People write them as YAML, too, and lists whose entries have no separators with those: `berlin, dovecot`, or, as a comma
in a cell needs quotes around it, `berlin; dovecot` or `berlin | dovecot`.

A spreadsheet runs a cell that begins like a formula (https://owasp.org/www-community/attacks/CSV_Injection). So such a
string gets an apostrophe in front, which reading removes again. So does a string that reading would take for JSON or
for one with such an apostrophe, and so does a field's name. Some spreadsheets split cells at `;`, so that a formula may
also begin after one, or after a line break, in the middle of a string: such a string is written as JSON, with
semicolons escaped.

A cell has no type. A field's own description says what its string stands for; in a field that popwatch does not know, a
cell is a number or a boolean if `export` would write that so, and a string that looks so is written as JSON.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from popwatch.model.fields import FIELDS_BY_NAME
from popwatch.model.text import clean, counted
from popwatch_cli.files.entries import (
    LISTS,
    MAX_MISTAKES_READ,
    FileEntry,
    FileError,
    check_room,
    first_repeated,
    load_json,
    split_list,
)
from popwatch_cli.suggestions import field_hint

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of a cell that make a spreadsheet run it; the last four are the same signs in full width."""

HIDDEN_FORMULA = re.compile(r"[;\t\r\n][\"'\s]*" + f"[{re.escape(''.join(FORMULA))}]")
"""A formula after a character at which a spreadsheet may begin another cell or line."""

MAX_LINES_LISTED = 10

LARGEST_CELL = 1_000_000
"""Characters; Python's own limit is less than certificates may have."""

STRUCTURED = ("list", "list of windows", "map", "string or list")
"""Kinds of fields of which a text that begins with a bracket is a list or a map if it can be read as one."""

SEPARATORS = ",;|\n"
"""What separates the entries of a list that is written as a text in a cell."""

_DELIMITER = re.compile(r"sep=([,;])\r?\n")
"""A first line that gives the delimiter to spreadsheets."""

_WRONG = {
    "unexpected end of data": "a quote begins on it and has no end",
    "expected after": "a cell goes on after its closing quote: a quote inside a cell is written twice",
    "field larger": f"a cell has more than {LARGEST_CELL:,} characters",
}
"""What Python's parser says of a text that is not CSV, and what to say instead."""

_MAYBE_TYPED = re.compile(r"true|false|-?\d{1,40}(?:\.\d{1,40})?(?:e[+-]?\d{1,3})?")

_JSON = ("[", "{", '"')
_GUARDED = (*FORMULA, *_JSON, "'", " ")
"""If one of these follows an apostrophe at the beginning of a cell, the apostrophe is not part of the string."""


def read_csv(text: str) -> tuple[list[FileEntry], list[str]]:
    """The entries, one for each row after the first, which names the fields; and the mistakes of other rows.

    Raises FileError if the first row is wrong, since every other row would be wrong, too.
    """
    mistakes: list[str] = []
    rows = _rows(text, mistakes)
    begin, first = next(rows, (1, []))
    names = [_name(cell) for cell in first]
    if mistakes or (first and _mistakes_of_header(begin, names)):
        raise FileError([*mistakes, *_mistakes_of_header(begin, names)])
    entries: list[FileEntry] = []
    lines_by_size: dict[int, list[int]] = {}
    for line, row in rows:
        if len(row) == len(names):
            entries.append(_entry(line, names, row, mistakes))
            check_room(entries)
            if len(mistakes) >= MAX_MISTAKES_READ:
                break
        else:
            lines_by_size.setdefault(len(row), []).append(line)
    mistakes += [_wrong_size(lines, size, len(names)) for size, lines in lines_by_size.items()]
    return entries, mistakes


def _mistakes_of_header(line: int, names: Sequence[str]) -> list[str]:
    nameless = [str(position) for position, name in enumerate(names, start=1) if not name]
    listed, them = ("column {} has", "it") if len(nameless) == 1 else ("columns {} have", "them")
    mistakes = [f"Line {line}: {listed.format(', '.join(nameless))} no name: name {them}, or remove {them}."]
    mistakes = mistakes if nameless else []
    repeated = first_repeated(filter(None, names))
    if repeated is not None:
        mistakes.append(f"Line {line}: the field `{repeated}` is given twice.")
    meant = next((name for name in names if _plain(name) in ("targetid", "id")), "target_id")
    if "target_id" not in names:
        rename = f"Rename the column `{clean(meant, 40)}` to `target_id`."
        hint = "Its first line must name the fields: target_id,host" if meant == "target_id" else rename
        only = "; its cells are not separated by commas or semicolons" if len(names) == 1 else ""
        mistakes.append(f"Line {line}: there is no column `target_id`{only}. {hint}")
    if mistakes and meant in names:  # otherwise the first line is not one of names
        mistakes += [
            f"Line {line}: the column `{clean(name, 40)}` is not a field. {clean(field_hint(name), 80)}".rstrip()
            for name in dict.fromkeys(names)
            if name and name != meant and name not in FIELDS_BY_NAME
        ]
    return mistakes


def _plain(name: str) -> str:
    """A name without what people write differently."""
    return re.sub(r"[^a-z]", "", name.lower())


def _wrong_size(lines: Sequence[int], size: int, expected: int) -> str:
    """The mistake of all rows with the same wrong number of cells."""
    listed = ", ".join(map(str, lines[:MAX_LINES_LISTED]))
    more = f" and {len(lines) - MAX_LINES_LISTED} more" if len(lines) > MAX_LINES_LISTED else ""
    word, verb = ("Line", "has") if len(lines) == 1 else ("Lines", "have")
    return f"{word} {listed}{more} {verb} {counted(size, 'cell')}, and the first line has {expected}."


def write_csv(items: Sequence[Mapping[str, Any]]) -> str:
    """A table of targets that `read_csv` reads again."""
    columns = list(dict.fromkeys(name for item in items for name in item))
    output = io.StringIO()
    writer = csv.writer(output)
    # the first line also decides which delimiter reading expects, so it must not contain bare semicolons
    writer.writerow(_json(name) if ";" in name else _to_cell(name) for name in columns)
    writer.writerows([_cell_of(name, item.get(name)) for name in columns] for item in items)
    return output.getvalue()


def _rows(text: str, mistakes: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, and the line on which it begins; a mistake that nothing can be read after.

    Where a comma is for decimals, spreadsheets separate cells by semicolons.
    """
    named = _DELIMITER.match(text)
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=named[1] if named else delimiter, strict=True)
    line = 1
    try:
        if named:
            next(reader)
            line = 2
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        wrong = next((said for words, said in _WRONG.items() if words in str(error)), str(error))
        mistakes.append(f"Line {line} is not CSV: {wrong}. There may be more mistakes after it.")


def _entry(line: int, names: list[str], row: list[str], mistakes: list[str]) -> FileEntry:
    fields: dict[str, object] = {}
    for name, cell in zip(names, row, strict=True):
        if cell.strip():
            try:
                fields[name] = _read(name, cell)
            except ValueError as error:
                mistakes.append(f"Line {line}: {error}")
    return FileEntry(line, fields)


def _read(name: str, cell: str) -> object:
    """The value of a field's cell. Raises ValueError for a list that begins and is none."""
    value = _value(cell)
    field = FIELDS_BY_NAME.get(name)
    is_lines_of_list = name in LISTS and value == cell
    if value != cell.strip() and not is_lines_of_list:
        return value
    if field is None:
        return _typed(cell.strip())
    if field.kind in STRUCTURED and cell.strip().startswith(("[", "{")):  # as `put` takes it
        from popwatch_cli.files.yaml import read_value  # noqa: PLC0415 - loading PyYAML is slow

        with suppress(FileError, RecursionError):
            return read_value(cell.strip())
    return _listed(name, value) if name in LISTS and isinstance(value, str) else value


def _listed(name: str, text: str) -> object:
    """A list that is written with separators, or one entry alone."""
    if not text.startswith(_JSON):
        parts = split_list(name, text, SEPARATORS)
        return parts if len(parts) > 1 else text
    if text.startswith('"'):
        with suppress(ValueError, RecursionError):
            return load_json(f"[{text}]")
    raise ValueError(
        f"the field `{name}` begins as a list or a map and is not one: {clean(text, 60)}. Close its brackets and "
        "quotes, or write its entries with commas alone."
    )


def _typed(text: str) -> object:
    """The value of a cell in a field that popwatch does not know."""
    with suppress(ValueError):
        value = load_json(text) if _MAYBE_TYPED.fullmatch(text) else text
        if not isinstance(value, str) and _to_cell(value) == text:
            return value
    return text


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


def _cell_of(name: str, value: object) -> str:
    """The cell of a field; a string that reading would take for something else is written as JSON."""
    cell = _to_cell(value)
    return _json(value) if isinstance(value, str) and value and not _is_read_as(value, name, cell) else cell


def _is_read_as(value: str, name: str, cell: str) -> bool:
    try:
        return bool(value.strip()) and _read(name, cell) == value
    except ValueError:
        return False


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
