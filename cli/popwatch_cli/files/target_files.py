"""Targets in files: YAML, CSV or JSON lines, by the file's name. Reading names the line of each mistake."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from popwatch_cli.files.entries import Entry, FileError, load_json

LARGEST_FILE = 64 * 1024 * 1024
"""Bytes; 100,000 targets with all their fields take less."""


SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".jsonl": "lines", ".ndjson": "lines", ".json": "lines"}


def read_entries(path: Path) -> list[Entry]:
    """The entries of a file. Raises FileError."""
    form = _form(path)
    return with_ids(_parse(form, read_text(path)))


def read_text(path: Path) -> str:
    """The text of a file, UTF-8 with or without a BOM. Raises FileError."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise FileError([f"{path} is larger than {LARGEST_FILE // 1024 // 1024} MB: split it."])
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except OSError as error:
        raise FileError([f"{path} cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError:
        raise FileError([f"{path} is not UTF-8 text: save it as UTF-8."]) from None


def write_entries(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write targets in the format that the file's name asks for. Raises FileError."""
    text = _format(_form(path), [{"target_id": item["target_id"], **item} for item in items])
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise FileError([f"{path} cannot be written: {error.strerror}."]) from None


def parse_lines(text: Iterable[str]) -> Iterator[Entry]:
    """The entries of JSON lines, one object a line. Raises FileError at the first that is none."""
    number = 0
    try:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield _parse_line(number, line)
    except UnicodeDecodeError:
        raise FileError([f"Line {number + 1} or one after it is not UTF-8 text: save it as UTF-8."]) from None


def _parse_line(number: int, line: str) -> Entry:
    try:
        fields = load_json(line)
    except (ValueError, RecursionError) as error:
        raise FileError([f"Line {number} is not JSON: {error}."]) from None
    if not isinstance(fields, dict):
        raise FileError([f'Line {number} is not a target: write an object such as {{"host": "pop.example.net"}}.'])
    return Entry(number, fields)


def _form(path: Path) -> str:
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise FileError([f"{path} has none of the endings .yaml, .csv, .jsonl: rename it."]) from None


def _parse(form: str, text: str) -> list[Entry]:
    match form:
        case "yaml":
            from popwatch_cli.files.yaml import read_yaml  # noqa: PLC0415 - `popwatch test` starts without PyYAML

            return read_yaml(text)
        case "csv":
            from popwatch_cli.files.csv import read_csv  # noqa: PLC0415

            return read_csv(text)
        case _:
            return list(parse_lines(io.StringIO(text)))  # not splitlines, which breaks lines inside of JSON's texts


def _format(form: str, items: list[dict[str, Any]]) -> str:
    match form:
        case "yaml":
            from popwatch_cli.files.yaml import write_yaml  # noqa: PLC0415

            return write_yaml(items)
        case "csv":
            from popwatch_cli.files.csv import write_csv  # noqa: PLC0415

            return write_csv(items)
        case _:
            return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def with_ids(entries: list[Entry]) -> list[Entry]:
    """The entries, each with an id of its own as a text: the key of the table. Raises FileError."""
    seen: dict[str, int] = {}
    mistakes: list[str] = []
    found: list[Entry] = []
    for entry in entries:
        written = entry.fields.get("target_id")
        target_id = "" if written is None else str(written).strip()
        line = entry.line_of("target_id")
        if not target_id:
            mistakes.append(f"Line {line}: the field `target_id` is missing: give each target a word of its own.")
        elif target_id in seen:
            mistakes.append(f"Line {line}: `{target_id}` is also on line {seen[target_id]}: ids must differ.")
        seen.setdefault(target_id, line)
        found.append(Entry(entry.line, {**entry.fields, "target_id": target_id}, entry.lines))
    if mistakes:
        raise FileError(mistakes)
    return found
