"""Targets in files: YAML, CSV or JSON lines, by the file's name. Reading reports each mistake with its line."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from popwatch.model.fields import is_blank
from popwatch_cli.errors import UserError
from popwatch_cli.files.certificates import read_certificates
from popwatch_cli.files.csv import read_csv, write_csv
from popwatch_cli.files.entries import FileEntry, FileError, load_json

LARGEST_FILE = 64 * 1024 * 1024
"""Bytes; 100,000 targets with all their fields take less."""

MOST_SEPARATORS = 3_000_000
"""In CSV and JSON lines: values are at most as many, and each takes some hundred bytes of memory once it is read."""

LONGEST_LINE = 3_000_000
"""Characters of a line of JSON: an item of 400 KB, all of it escaped, takes less."""

FORMATS = {".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".jsonl": "lines", ".ndjson": "lines", ".json": "lines"}


CA_FILE = "ca_file"
"""A name that files may have instead of `ca_pem`: a file of certificates, beside the file of targets."""


def read_entries(path: Path) -> list[FileEntry]:
    """The entries of a file, each with an id. Raises FileError."""
    return with_ids(read_fields(path))


def read_fields(path: Path) -> list[FileEntry]:
    """The entries of a file, with the certificates of each `ca_file` as `ca_pem`. Raises FileError."""
    entries = _parse(_format_of(path), read_text(path))
    mistakes: list[str] = []
    found = [_with_certificates(entry, path.parent, mistakes) for entry in entries]
    if mistakes:
        raise FileError(mistakes)
    return found


def _with_certificates(entry: FileEntry, folder: Path, mistakes: list[str]) -> FileEntry:
    """The entry with `ca_pem` for its `ca_file`; what is wrong with that is added to the mistakes."""
    fields = {name: value for name, value in entry.fields.items() if name != CA_FILE}
    written = entry.fields.get(CA_FILE)
    if is_blank(written):
        return replace(entry, fields=fields) if CA_FILE in entry.fields else entry
    line = entry.line_of(CA_FILE)
    if not is_blank(fields.get("ca_pem")):
        mistakes.append(f"Line {line}: there are both `ca_file` and `ca_pem`: leave one out.")
        return entry
    try:
        fields["ca_pem"] = read_certificates(folder / Path(str(written)).expanduser())
    except UserError as error:
        mistakes.append(f"Line {line}: {error}")
    return replace(entry, fields=fields)


def write_entries(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write targets in the format of the file's name. Raises FileError."""
    text = _serialize(_format_of(path), [{"target_id": item["target_id"], **item} for item in items])
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise FileError([f"{path} cannot be written: {error.strerror}."]) from None


def read_text(path: Path) -> str:
    """The text of a file, UTF-8 with or without a byte order mark. Raises FileError."""
    try:
        with path.open("rb") as file:  # a pipe or a device has no size, so no more than the limit is read
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise FileError([f"{path} is larger than {LARGEST_FILE // 1024 // 1024} MB: split it."])
        return content.decode("utf-8-sig")
    except OSError as error:
        raise FileError([f"{path} cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError:
        raise FileError([f"{path} is not UTF-8 text: save it as UTF-8."]) from None


def with_ids(entries: list[FileEntry]) -> list[FileEntry]:
    """The entries, each with a unique id as a string: the key of the table. Raises FileError."""
    line_of_id: dict[str, int] = {}
    mistakes: list[str] = []
    result: list[FileEntry] = []
    for entry in entries:
        written = entry.fields.get("target_id")
        target_id = "" if written is None else str(written).strip()
        line = entry.line_of("target_id")
        if not target_id:
            mistakes.append(f"Line {line}: the field `target_id` is missing: give each target an id of its own.")
        elif target_id in line_of_id:
            mistakes.append(f"Line {line}: `{target_id}` is also on line {line_of_id[target_id]}: ids must differ.")
        line_of_id.setdefault(target_id, line)
        result.append(FileEntry(entry.line, {**entry.fields, "target_id": target_id}, entry.lines))
    if mistakes:
        raise FileError(mistakes)
    return result


def parse_lines(text: Iterable[str]) -> Iterator[FileEntry]:
    """The entries of JSON lines, one object on each line. Raises FileError at the first line that is not one."""
    number = 0
    try:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield _parse_line(number, line)
    except UnicodeDecodeError:
        raise FileError([f"Line {number + 1} or one after it is not UTF-8 text: save it as UTF-8."]) from None


def _parse_line(number: int, line: str) -> FileEntry:
    if len(line) > LONGEST_LINE:
        raise FileError([f"Line {number} is longer than {LONGEST_LINE:,} characters: no target is so large."])
    try:
        fields = load_json(line)
    except (ValueError, RecursionError) as error:
        raise FileError([f"Line {number} is not JSON: {error}."]) from None
    if not isinstance(fields, dict):
        raise FileError([f'Line {number} is not a target: write an object such as {{"host": "pop.example.net"}}.'])
    return FileEntry(number, fields)


def _format_of(path: Path) -> str:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise FileError([f"{path} has none of the endings .yaml, .csv, .jsonl: rename it."]) from None


def _parse(file_format: str, text: str) -> list[FileEntry]:
    match file_format:
        case "yaml":
            from popwatch_cli.files.yaml import read_yaml  # noqa: PLC0415 - `popwatch test` starts without PyYAML

            return read_yaml(text)
        case "csv":
            _check_separators(text, ",;\n")
            return read_csv(text)
        case _:
            _check_separators(text, ",[{")
            # not splitlines: it also splits at line separators such as U+2028, which a JSON string may contain
            return list(parse_lines(io.StringIO(text)))


def _check_separators(text: str, separators: str) -> None:
    """Raise FileError if a file may have so many values that they would fill the memory."""
    if sum(map(text.count, separators)) > MOST_SEPARATORS:
        raise FileError([f"The file has more than {MOST_SEPARATORS:,} values: split it."])


def _serialize(file_format: str, items: list[dict[str, Any]]) -> str:
    match file_format:
        case "yaml":
            from popwatch_cli.files.yaml import write_yaml  # noqa: PLC0415 - `popwatch test` starts without PyYAML

            return write_yaml(items)
        case "csv":
            return write_csv(items)
        case _:
            return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
