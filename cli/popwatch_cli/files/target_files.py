"""Targets in files: YAML, CSV or JSON lines, by the file's name. Reading reports each mistake with its line."""

import io
import json
import re
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from unicodedata import normalize

from popwatch.model.fields import is_blank
from popwatch.model.text import counted
from popwatch_cli.errors import UserError
from popwatch_cli.files.certificates import read_certificates
from popwatch_cli.files.csv import read_csv, write_csv
from popwatch_cli.files.entries import MAX_MISTAKES_READ, FileEntry, FileError, UnreadableFileError, by_line
from popwatch_cli.files.json import read_json
from popwatch_cli.target_items import all_mistakes, unknown_fields, without_intervention_fields

LARGEST_FILE = 64 * 1024 * 1024
"""Bytes; 50,000 targets with all their fields take less."""

MAX_SEPARATORS = 3_000_000
"""In CSV and JSON lines: values are at most as many, and each takes some hundred bytes of memory once it is read."""

MAX_MISTAKES = 10
"""Lines that are no targets, of a file that may have nothing else."""

STANDARD_INPUT = Path("-")

FORMATS = {".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".jsonl": "lines", ".ndjson": "lines", ".json": "lines"}


CA_FILE = "ca_file"
"""A name that files may have instead of `ca_pem`: a file of certificates, beside the file of targets."""


def read_entries(path: Path) -> list[FileEntry]:
    """The entries of a file, each with an id. Raises FileError."""
    return with_ids(*_read(path))


def read_fields(path: Path) -> list[FileEntry]:
    """The entries of a file, with or without ids; JSON lines unless it is of another format. Raises FileError."""
    found, mistakes = _read(path, "lines")
    if mistakes:
        raise FileError(mistakes)
    return found


def _read(path: Path, otherwise: str = "") -> tuple[list[FileEntry], list[str]]:
    """The entries of a file, with the certificates of each `ca_file` as `ca_pem`; and mistakes. Raises FileError."""
    if path == STANDARD_INPUT or path.is_fifo():
        text = read_given(path)
        file_format = _format_in(text)
    else:
        file_format = _format_of(path, otherwise)
        text = read_given(path)
    entries, mistakes = _parse(file_format, text)
    wrong = _first_of(mistakes)
    return [_with_certificates(entry, path.parent, wrong) for entry in entries], wrong


def _first_of(mistakes: Sequence[str]) -> list[str]:
    """The first mistakes, and the number of others; each is a sentence that begins with its line."""
    if len(mistakes) <= MAX_MISTAKES + 1:
        return list(mistakes)
    place = re.split("[:,]| (?=is|has)", mistakes[MAX_MISTAKES], maxsplit=1)[0]
    others = counted(len(mistakes) - MAX_MISTAKES - 1, "line")
    return [*mistakes[:MAX_MISTAKES], f"{place} and {others} after it cannot be read either."]


def _with_certificates(entry: FileEntry, folder: Path, mistakes: list[str]) -> FileEntry:
    """The entry with `ca_pem` for its `ca_file`; what is wrong with that is added to the mistakes."""
    fields = {name: value for name, value in entry.fields.items() if name != CA_FILE}
    written = entry.fields.get(CA_FILE)
    if is_blank(written):
        return replace(entry, fields=fields) if CA_FILE in entry.fields else entry
    line = entry.line_of(CA_FILE)
    if not is_blank(fields.get("ca_pem")):
        mistakes.append(f"Line {line}: there are both `ca_file` and `ca_pem`: leave one out.")
        return replace(entry, fields=fields)
    try:
        fields["ca_pem"] = read_certificates(folder / Path(str(written)).expanduser())
    except UserError as error:
        mistakes.append(f"Line {line}: {error}")
    return replace(entry, fields=fields)


def read_all_entries(paths: Sequence[Path]) -> list[FileEntry]:
    """The entries of several files together. Raises FileError."""
    if len(paths) == 1:
        return read_entries(paths[0])
    entries: list[FileEntry] = []
    mistakes: list[str] = []
    for path in paths:
        try:
            found, wrong = _read(path)
        except FileError as error:
            found, wrong = [], error.mistakes
        entries += [replace(entry, file=str(path)) for entry in found]
        mistakes += [mistake if mistake.startswith(f"{path} ") else f"{path}: {mistake}" for mistake in wrong]
    return with_ids(entries, mistakes)


def write_entries(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write targets in the format of the file's name. Raises FileError."""
    if path.suffix.lower() not in FORMATS:
        raise FileError([f"{path} has none of the endings .yaml, .csv, .json, which say the format: choose one."])
    text = serialize(_format_of(path), [{"target_id": item["target_id"], **item} for item in items])
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise FileError([f"{path} cannot be written: {error.strerror}."]) from None


def read_text(path: Path) -> str:
    """The text of a file, UTF-8 with or without a byte order mark. Raises FileError."""
    return _decoded(str(path), read_bytes(path))


def read_given(path: Path) -> str:
    """The text of a file that the user named, where `-` is the standard input. Raises FileError."""
    return _decoded(_name_of(path), read_given_bytes(path))


def read_given_bytes(path: Path) -> bytes:
    """The bytes of a file that the user named, where `-` is the standard input. Raises FileError."""
    return _limited(_name_of(path), sys.stdin.buffer) if path == STANDARD_INPUT else read_bytes(path)


def _name_of(path: Path) -> str:
    return "The standard input" if path == STANDARD_INPUT else str(path)


def _decoded(name: str, content: bytes) -> str:
    refuse_wide_text(name, content)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError([f"{name} is not UTF-8 text: save it as UTF-8."]) from None


def refuse_wide_text(name: str, content: bytes) -> None:
    """Raise FileError for a file in UTF-16 or UTF-32, with a byte order mark or with the zeros of its first letters."""
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in content[:4]:
        raise FileError([f"{name} is UTF-16 or UTF-32 text: save it as UTF-8."])


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises FileError."""
    _refuse_folder(path)
    try:
        with path.open("rb") as file:
            return _limited(str(path), file)
    except OSError as error:
        raise UnreadableFileError([f"{path} cannot be read: {error.strerror}."]) from None


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise UnreadableFileError([f"{path} is a folder: name its files."])


def _limited(name: str, file: IO[bytes]) -> bytes:
    """All bytes of a file; of a pipe or a device, which has no size, no more than the limit is read."""
    content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise FileError([f"{name} is larger than {LARGEST_FILE // 1024 // 1024} MB: split it."])
    return content


def with_ids(entries: Sequence[FileEntry], others: Sequence[str] = ()) -> list[FileEntry]:
    """The entries, each with a unique id as a string, the key of the table; in Unicode's NFC and NFD it is the same.

    Raises FileError if an id is missing or repeated, or if there are `others`, mistakes that reading has found: with
    all mistakes, those of the fields as well, by line, and unknown fields, so that one attempt shows them all.
    """
    place_of_id: dict[str, str] = {}
    mistakes = list(others)
    result: list[FileEntry] = []
    for entry in entries:
        written = entry.fields.get("target_id")
        target_id = "" if written is None else str(written).strip()
        place = entry.place_of("target_id")
        if isinstance(written, list | dict | bool):
            mistakes.append(f"{place}: the field `target_id` must be a string.")
        elif not target_id:
            mistakes.append(f"{place}: the field `target_id` is missing: give each target an id of its own.")
        elif normalize("NFC", target_id) in place_of_id:
            other = place_of_id[normalize("NFC", target_id)].removeprefix("Line ")
            also = f"on line {other}" if other.isdecimal() else f"in {other}"
            mistakes.append(f"{place}: `{target_id}` is also {also}: ids must differ.")
        place_of_id.setdefault(normalize("NFC", target_id), place)
        result.append(replace(entry, fields={**entry.fields, "target_id": target_id}))
    if mistakes:
        named = [entry for entry in result if entry.fields["target_id"]]
        unknown = unknown_fields(without_intervention_fields(entry.fields) for entry in named)
        found = by_line([*mistakes, *all_mistakes(named, {})], (entry.file for entry in entries))
        more = len(found) - MAX_MISTAKES_READ
        others = [f"There are {counted(more, 'more mistake')}."] if more > 0 else []
        raise FileError([*found[:MAX_MISTAKES_READ], *others, *unknown])
    return result


def _format_in(text: str) -> str:
    """The format of a text that has no name: JSON begins with a bracket, and the first line of CSV has no `: `."""
    lines = (line.strip() for line in io.StringIO(text) if line.strip())
    first = next((line for line in lines if not line.startswith("#")), "")
    if first.startswith(("{", "[")):
        return "lines"
    is_yaml = first.startswith(("-", "%", "?")) or first.endswith(":") or ": " in first
    return "yaml" if is_yaml or not first else "csv"


def _format_of(path: Path, otherwise: str = "") -> str:
    """The format that a file's name says; `otherwise` if it says none. Raises FileError."""
    _refuse_folder(path)
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        if otherwise:
            return otherwise
        convert = "`popwatch targets convert --from nagios FILE > targets.yaml` writes one from a file of Nagios"
        other = f"; {convert}" if path.suffix.lower() in (".cfg", ".conf") else ""
        raise UnreadableFileError([f"{path} has none of the endings .yaml, .csv, .json: rename it{other}."]) from None


def _parse(file_format: str, text: str) -> tuple[list[FileEntry], list[str]]:
    """The entries of a file, and the mistakes of others in it. Raises FileError."""
    match file_format:
        case "yaml":
            from popwatch_cli.files.yaml import read_yaml  # noqa: PLC0415 - `popwatch test` starts without PyYAML

            return read_yaml(text)
        case "csv":
            _check_separators(text, ",;\n")
            return read_csv(text)
        case _:
            _check_separators(text, ",[{")
            return read_json(text)


def _check_separators(text: str, separators: str) -> None:
    """Raise FileError if a file may have so many values that they would fill the memory."""
    if sum(map(text.count, separators)) > MAX_SEPARATORS:
        raise FileError([f"The file has more than {MAX_SEPARATORS:,} values: split it."])


def serialize(file_format: str, items: list[dict[str, Any]]) -> str:
    """Targets as the text of a file: in `yaml`, `csv` or `lines`."""
    match file_format:
        case "yaml":
            from popwatch_cli.files.yaml import write_yaml  # noqa: PLC0415 - `popwatch test` starts without PyYAML

            return write_yaml(items)
        case "csv":
            return write_csv(items)
        case _:
            return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
