"""Targets in files: YAML, CSV or JSON lines, by the file's name. Reading names the line of each mistake.

YAML is read as data only: no tags, no aliases (which could unfold to any size), and only what YAML 1.2 calls numbers
and truths, so that `from: 22:00` is a time of day and not 1320. CSV that a spreadsheet might take for a formula is
written with an apostrophe in front, which reading takes off again.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from popwatch.cli.errors import UserError

LARGEST_FILE = 64 * 1024 * 1024
"""Bytes; 100,000 targets with all their fields take less."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class FileError(UserError):
    """A file that cannot be read as targets: its mistakes, each with its line."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Entry:
    """A target's fields as written, and the line on which they begin."""

    line: int
    fields: dict[str, object]


def read_entries(path: Path) -> list[Entry]:
    """The entries of a file. Raises FileError."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise FileError([f"{path} is larger than {LARGEST_FILE // 1024 // 1024} MB: split it."])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError([f"{path} cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError:
        raise FileError([f"{path} is not UTF-8 text: save it as UTF-8."]) from None
    entries = _reader(path)(text)
    _check_ids(entries)
    return entries


def write_entries(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write targets in the format that the file's name asks for. Raises FileError."""
    ordered = [_in_order(item) for item in items]
    match _suffix(path):
        case "yaml":
            text = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120) if ordered else "[]\n"
        case "csv":
            text = _to_csv(ordered)
        case _:
            text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ordered)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError([f"{path} cannot be written: {error.strerror}."]) from None


def parse_lines(text: Iterable[str]) -> Iterator[Entry]:
    """The entries of JSON lines, one object a line. Raises FileError at the first that is none."""
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FileError([f"Line {number} is not JSON: {error}."]) from None
        if not isinstance(fields, dict):
            raise FileError([f'Line {number} is not a target: write an object such as {{"host": "pop.example.net"}}.'])
        yield Entry(number, fields)


def _suffix(path: Path) -> str:
    suffixes = {".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".jsonl": "lines", ".ndjson": "lines", ".json": "lines"}
    try:
        return suffixes[path.suffix.lower()]
    except KeyError:
        raise FileError([f"{path} has none of the endings .yaml, .csv, .jsonl: rename it."]) from None


def _reader(path: Path) -> Callable[[str], list[Entry]]:
    match _suffix(path):
        case "yaml":
            return _from_yaml
        case "csv":
            return _from_csv
        case _:
            return lambda text: list(parse_lines(text.splitlines()))


def _check_ids(entries: list[Entry]) -> None:
    """Each entry has an id of its own, as a text: the key of the table."""
    seen: dict[str, int] = {}
    mistakes: list[str] = []
    for entry in entries:
        target_id = str(entry.fields.get("target_id") or "").strip()
        if not target_id:
            mistakes.append(f"Line {entry.line}: the field `target_id` is missing: give each target a word of its own.")
        elif target_id in seen:
            mistakes.append(f"Line {entry.line}: `{target_id}` is also on line {seen[target_id]}: ids must differ.")
        seen.setdefault(target_id, entry.line)
        entry.fields["target_id"] = target_id
    if mistakes:
        raise FileError(mistakes)


class _Loader(yaml.SafeLoader):
    """YAML without aliases and without the surprises of YAML 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases: nine lines of them unfold to gigabytes."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not taken; write the value again", problem_mark=mark
            )
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)\.[0-9]+$"), list("-+0123456789")
)


def _from_yaml(text: str) -> list[Entry]:
    loader = _Loader(text)
    try:
        return _yaml_entries(loader, loader.get_single_node())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FileError([f"Line {line}: {error.problem}."]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise FileError([f"The file is not YAML: {error}."]) from None
    finally:
        loader.dispose()


def _yaml_entries(loader: _Loader, root: Any) -> list[Entry]:
    """A list of targets, or a map of ids to their fields."""
    match root:
        case None:
            return []
        case yaml.SequenceNode():
            return [Entry(node.start_mark.line + 1, _yaml_fields(loader, node)) for node in root.value]
        case yaml.MappingNode():
            pairs = [(str(loader.construct_object(key)), key.start_mark.line + 1, node) for key, node in root.value]
            return [Entry(line, {"target_id": name, **_yaml_fields(loader, node)}) for name, line, node in pairs]
        case _:
            raise FileError(["The file is no list of targets: write one `- target_id: ...` for each."])


def _yaml_fields(loader: _Loader, node: Any) -> dict[str, object]:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise FileError([f"Line {line} is not a target: write fields such as `host: pop.example.net`."])
    names = [str(loader.construct_object(key)) for key, _ in node.value]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise FileError([f"Line {line}: the field `{twice}` is there twice."])
    return {str(name): value for name, value in loader.construct_mapping(node, deep=True).items()}


def _from_csv(text: str) -> list[Entry]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    entries: list[Entry] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise FileError([f"Line {reader.line_num} has another number of cells than the first line."])
            entries.append(Entry(reader.line_num, {name: _cell(cell) for name, cell in row.items() if cell.strip()}))
    except csv.Error as error:
        raise FileError([f"Line {reader.line_num} is not CSV: {error}."]) from None
    return entries


def _cell(cell: str) -> object:
    """A cell's value: lists and maps are JSON; an apostrophe guards what looks like a formula."""
    text = cell.strip()
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text[1:] if text.startswith("'") and text[1:2] in _FORMULA else text


def _to_csv(items: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for item in items for name in item))
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_to_cell(item.get(name, "")) for name in columns] for item in items)
    return output.getvalue()


def _to_cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _in_order(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with its key first, then as it is."""
    return {"target_id": item["target_id"], **item}
