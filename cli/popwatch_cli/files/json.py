"""Targets as JSON: lines of objects, an array of them, objects of several lines, or a map of ids to fields."""

import io
import json
import re

from popwatch.model.fields import FIELDS_BY_NAME
from popwatch.model.text import clean
from popwatch_cli.files.entries import JSON, MAX_MISTAKES_READ, FileEntry, FileError, check_room, load_json

LONGEST_LINE = 3_000_000
"""Characters of a line of JSON: an item of 400 KB, all of it escaped, takes less."""

_BLANKS = re.compile(r"[ \t\r\n]*")
_WRITE_OBJECT = 'Write an object such as {"host": "pop.example.net"}.'

_WRONG = {
    "Expecting property name": "a name in double quotes is missing, maybe after a comma too many",
    "Illegal trailing comma": "is a comma too many",
    "Expecting value": "a value is missing, or a text is not in double quotes",
    "Expecting ',' delimiter": "a comma or a bracket is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Extra data": "something follows the object",
    "Unterminated string": "a quote begins and has no end",
    "Invalid control character": r"a text has a line break or a tab: write \n or \t",
    "Invalid \\": r"a backslash begins an escape that there is not: write \\",
}
"""What Python's parser says of a text that is not JSON, and what to say instead."""


def read_json(text: str) -> tuple[list[FileEntry], list[str]]:
    """The entries of JSON lines, of an array of objects, or of objects of several lines; and the mistakes of others."""
    # not splitlines: it also splits at line separators such as U+2028, which a JSON string may contain
    lines = ((number, line) for number, line in enumerate(io.StringIO(text, newline=None), start=1) if line.strip())
    entries: list[FileEntry] = []
    mistakes: list[str] = []
    for number, line in lines:
        if not entries and not mistakes and line.lstrip()[0] == "[":
            return _read_values(text)
        try:
            entries += _by_id(_parse_line(number, line))
        except FileError as error:
            if line.lstrip()[0] == "{" and line.rstrip()[-1] in "{[,":  # it goes on in the next line
                return _read_values(text)
            mistakes += error.mistakes
            if len(mistakes) >= MAX_MISTAKES_READ:
                break
        check_room(entries)
    return entries, mistakes


def _read_values(text: str) -> tuple[list[FileEntry], list[str]]:
    """The entries of an array, or of objects one after another; and the mistakes of others."""
    entries: list[FileEntry] = []
    mistakes: list[str] = []
    place = _after_blanks(text, 0)
    is_array = text[place] == "["
    place, line, counted_to = _after_blanks(text, place + is_array), 1, 0
    while place < len(text) and not (is_array and text[place] == "]") and len(mistakes) < MAX_MISTAKES_READ:
        line, counted_to = line + text.count("\n", counted_to, place), place
        try:
            fields, place = _value_at(text, place, line, mistakes)
        except FileError as error:  # nothing can be read after it
            return entries, [*mistakes, *error.mistakes]
        if isinstance(fields, dict):
            try:
                entries += _by_id(FileEntry(line, fields))
            except FileError as error:
                mistakes += error.mistakes
            check_room(entries)
        elif fields is not None:
            mistakes.append(f"Line {line} is not a target. {_WRITE_OBJECT}")
        place = _after_blanks(text, place)
        if text[place : place + 1] == ",":
            place = _after_blanks(text, place + 1)
        elif is_array and text[place : place + 1] != "]":
            wrong = f"Line {_line_of(text, place)} is not JSON: after a target of the array `,` or `]` is missing."
            return entries, [*mistakes, wrong]
    if is_array and text[place : place + 1] == "]" and text[place + 1 :].strip():
        mistakes.append(f"Line {_line_of(text, place)}: what follows the array is not read.")
    return entries, mistakes


def _by_id(entry: FileEntry) -> list[FileEntry]:
    """The entry, or those of a map of ids to their fields. Raises FileError for a name that holds a list of targets."""
    if not entry.fields or not FIELDS_BY_NAME.keys().isdisjoint(entry.fields):
        return [entry]
    for name, value in entry.fields.items():
        if isinstance(value, list) and any(isinstance(found, dict) for found in value):
            listed = f"`{clean(name, 40)}` holds a list: the array alone is a file, without what is around it"
            raise FileError([f"Line {entry.line}: {listed}."])
    named = [(name, value) for name, value in entry.fields.items() if isinstance(value, dict)]
    if len(named) < len(entry.fields):
        return [entry]
    return [FileEntry(entry.line, {"target_id": name, **value}) for name, value in named]


def _after_blanks(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place


def _line_of(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _value_at(text: str, place: int, line: int, mistakes: list[str]) -> tuple[object, int]:
    """The JSON value at a place, None for one that is wrong in itself; and where it ends. Raises FileError."""
    try:
        return JSON.raw_decode(text, place)
    except json.JSONDecodeError as error:
        raise FileError([f"{_mistake(error, error.lineno)} There may be more mistakes after it."]) from None
    except RecursionError:
        raise FileError([f"Line {line} is nested too deeply to be a target."]) from None
    except ValueError as error:
        mistakes.append(f"Line {line} is not JSON: {error}.")
    try:  # where it ends, since the values after it can be read
        return None, json.JSONDecoder(parse_int=str).raw_decode(text, place)[1]
    except (ValueError, RecursionError):
        raise FileError([]) from None


def _parse_line(number: int, line: str) -> FileEntry:
    if len(line) > LONGEST_LINE:
        raise FileError([f"Line {number} is longer than {LONGEST_LINE:,} characters: no target is so large."])
    try:
        fields = load_json(line)
    except json.JSONDecodeError as error:
        # Without the parser's own line, which is always the first: it reads each line alone.
        whole = "" if number > 1 else " Write each target as an object on a line of its own."
        raise FileError([_mistake(error, number) + whole]) from None
    except RecursionError:
        raise FileError([f"Line {number} is nested too deeply to be a target."]) from None
    except ValueError as error:
        raise FileError([f"Line {number} is not JSON: {error}."]) from None
    if not isinstance(fields, dict):
        raise FileError([f"Line {number} is not a target. {_WRITE_OBJECT}"])
    return FileEntry(number, fields)


def _mistake(error: json.JSONDecodeError, line: int) -> str:
    """A sentence on a line that is not JSON, with the place at which it was seen."""
    wrong = next((said for words, said in _WRONG.items() if error.msg.startswith(words)), error.msg.lower())
    return f"Line {line} is not JSON: at character {error.colno} {wrong}."
