"""Targets as YAML: plain data, with the numbers and booleans of YAML 1.2.

A file may come from anyone. So tags are refused, which can construct any Python object, and so are aliases, with which
nine lines expand to gigabytes. In files of other programs, where both are usual, binary strings are accepted, and
aliases count as what they expand to. YAML 1.1, which PyYAML reads, has surprises: `from: 22:00` is the number 1320
there, and `tls: no` is false. Here both are strings.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from popwatch.model.fields import FIELDS_BY_NAME
from popwatch_cli.files.entries import (
    MAX_MISTAKES_READ,
    FileEntry,
    FileError,
    TooManyTargetsError,
    check_room,
    first_repeated,
    to_number,
)
from popwatch_cli.files.yaml_errors import RefusedError, yaml_mistake

MAX_VALUES = 200_000
"""Values of a file that is read as a whole. Parsing takes some 50 microseconds and a kilobyte for each."""

MAX_VALUES_OF_TARGET = 10_000
MAX_VALUES_OF_TARGETS = 1_500_000
"""Values of one target, and of a whole file of targets, which are read one after another."""

DEEPEST = 100
"""Lists and maps within each other. Python's own limit of recursion is not enough: libraries raise it."""

_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_BINARY = "tag:yaml.org,2002:binary"
MERGED = "<<"
"""The name of a map whose names are added to those of the map that it is in (https://yaml.org/type/merge.html)."""


def read_yaml(text: str) -> tuple[list[FileEntry], list[str]]:
    """The entries of a list of targets, or of a map of ids to their fields; and the mistakes of others."""
    entries: list[FileEntry] = []
    mistakes: list[str] = []
    try:
        with _yaml_errors(text):
            for entry in _entries(_Loader(text), mistakes):
                entries.append(entry)  # one by one: those before a mistake are kept
                check_room(entries)
    except TooManyTargetsError:
        raise
    except FileError as error:
        mistakes += error.mistakes
    return entries, mistakes


def read_value(text: str) -> Any:
    """The value of a text such as `[berlin, dovecot]`. Raises FileError."""
    with _yaml_errors(text):
        loader = _Loader(text)
        loader.allow(MAX_VALUES_OF_TARGET)
        return loader.get_single_data()


class Block(dict[str, Any]):
    """A map of a YAML file, with its lines."""

    def __init__(self, values: Mapping[str, Any], line: int, lines: Mapping[str, int]) -> None:
        super().__init__(values)
        self.line, self.lines = line, lines

    def line_of(self, name: str) -> int:
        """The line of a name, or of the map if it does not have that name."""
        return self.lines.get(name, self.line)


def read_blocks(text: str) -> Any:
    """A YAML file as lists, values and, for its maps, blocks. Raises FileError."""
    with _yaml_errors(text):
        loader = _Loader(text)
        loader.is_foreign = True
        loader.allow(MAX_VALUES)
        node = loader.get_single_node()
        loader.expanded = MAX_VALUES
        return _plain(loader, node)


@contextmanager
def _yaml_errors(text: str) -> Iterator[None]:
    """Raise PyYAML's errors as FileError."""
    try:
        yield
    except yaml.YAMLError as error:
        raise FileError([yaml_mistake(error, text)]) from None
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> FileError:
    return FileError(["The file is nested too deeply to be a list of targets."])


def write_yaml(items: Iterable[Mapping[str, Any]]) -> str:
    """A list of targets that `read_yaml` reads again."""
    return yaml.dump(list(items), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


OF_PROMETHEUS = {"scrape_configs", "scrape_config_files", "rule_files", "alerting", "modules"}
"""Names of prometheus.yml and blackbox.yml."""


class _Dumper(yaml.SafeDumper):
    """YAML as people would write it: strings of several lines as blocks."""

    def represent_string(self, text: str) -> Any:
        """A string, in the style that reads best among those that are read back unchanged."""
        style = "|" if "\n" in text else None
        # line breaks of YAML 1.1 and the byte order mark: PyYAML writes them unescaped, and reads them back as blanks
        if any(character in text for character in "\x85\u2028\u2029\ufeff"):
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_string)


class _Loader(yaml.SafeLoader):
    """YAML without tags, without aliases and without the surprises of YAML 1.1."""

    # without PyYAML's own resolvers; those of YAML 1.2 are added below
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._allowed = self.expanded = 0
        self.is_foreign = False

    def allow(self, values: int) -> None:
        """Allow so many values from here on; with them there must not be more than `MAX_VALUES_OF_TARGETS`."""
        self._allowed = min(self._values + values, MAX_VALUES_OF_TARGETS)

    def fetch_more_tokens(self) -> Any:
        """Refuse what is nested too deeply: each token takes PyYAML the longer, the more lists and maps are open."""
        if self.flow_level + len(self.indents) > DEEPEST:
            raise _too_deep()
        return super().fetch_more_tokens()

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases, tags and too many values while the file is parsed, before anything is constructed."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._values += 1
        if self._values > self._allowed:
            raise _refusal("there are too many values from here on; split the file", event)
        if isinstance(event, yaml.AliasEvent):
            if self.is_foreign:
                return super().compose_node(parent, index)
            raise _refusal("aliases (*name) are not accepted; write the value again", event)
        if event.tag is not None and not (self.is_foreign and event.tag == _BINARY):
            raise _refusal(f"tags ({event.tag}) are not accepted; write the value alone", event)
        return super().compose_node(parent, index)

    def construct_number(self, node: Any) -> int | float | str:
        """The number, or the text itself if DynamoDB cannot store the number."""
        return to_number(node.value)


def _refusal(problem: str, event: Any) -> RefusedError:
    return RefusedError(problem=problem, problem_mark=event.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_INT, re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(_FLOAT, re.compile(r"^[-+]?(?:0|[1-9][0-9]*)\.[0-9]+$"), list("-+0123456789"))
_Loader.add_constructor(_INT, _Loader.construct_number)
_Loader.add_constructor(_FLOAT, _Loader.construct_number)


def _entries(loader: Any, mistakes: list[str]) -> Iterator[FileEntry]:
    """The entries of a file, each composed and constructed alone: all nodes together would take gigabytes.

    What is wrong with one of them alone is added to the mistakes.
    """
    loader.get_event()  # the stream begins
    if loader.check_event(yaml.StreamEndEvent):
        return
    loader.get_event()  # the document begins
    loader.allow(MAX_VALUES_OF_TARGET)
    event = loader.peek_event()
    if isinstance(event, yaml.CollectionStartEvent) and event.tag is None:
        yield from _entries_of(loader, loader.get_event(), mistakes)
    else:
        loader.compose_node(None, None)
        raise FileError(["The file is not a list of targets: write one `- target_id: ...` for each."])
    loader.get_event()  # the document ends
    if not loader.check_event(yaml.StreamEndEvent):
        raise _refusal("there is more than one document in the file", loader.get_event())


def _entries_of(loader: Any, begin: Any, mistakes: list[str]) -> Iterator[FileEntry]:
    """The entries of the list or map that an event has begun."""
    loader.anchors = {}
    end = yaml.SequenceEndEvent if isinstance(begin, yaml.SequenceStartEvent) else yaml.MappingEndEvent
    while not loader.check_event(end):
        loader.allow(MAX_VALUES_OF_TARGET)
        node = loader.compose_node(None, None)
        value = node if end is yaml.SequenceEndEvent else loader.compose_node(None, None)
        try:
            is_named = end is yaml.MappingEndEvent
            if is_named and isinstance(value, yaml.ScalarNode) and str(node.value) in FIELDS_BY_NAME:
                raise _refusal("this is a field, not a target: write `- ` before the first field of each target", node)
            yield _named_entry(loader, node, value) if is_named else _entry(loader, node, node.start_mark.line + 1)
        except FileError as error:
            mistakes += error.mistakes
            if len(mistakes) >= MAX_MISTAKES_READ:
                raise FileError([]) from None
        loader.anchors = {}
    loader.get_event()


def _named_entry(loader: _Loader, key: Any, node: Any) -> FileEntry:
    """An entry of a map of ids to fields."""
    line = key.start_mark.line + 1
    if not isinstance(key, yaml.ScalarNode):
        raise FileError([f"Line {line}: an id must be a string, not a list or a map."])
    if key.value in OF_PROMETHEUS:
        raise FileError(
            [f"Line {line}: `{key.value}` belongs to Prometheus or its blackbox exporter: add `--from blackbox`."]
        )
    if isinstance(node, yaml.SequenceNode):
        raise FileError([f"Line {line}: `{key.value}` holds a list: the list alone is a file, without this line."])
    entry = _entry(loader, node, line)
    return FileEntry(line, {"target_id": str(key.value), **entry.fields}, entry.lines)


def _entry(loader: _Loader, node: Any, line: int) -> FileEntry:
    if not isinstance(node, yaml.MappingNode):
        raise FileError([f"Line {line} is not a target: write fields such as `host: pop.example.net`."])
    lines = _lines(node)
    values = loader.construct_mapping(node, deep=True)
    return FileEntry(line, {str(name): value for name, value in values.items()}, lines)


def _lines(node: Any) -> dict[str, int]:
    """The line of each name of a map. Raises FileError for a name that is given twice."""
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
    repeated = first_repeated(str(key.value) for key, _ in node.value)
    if repeated is not None:
        raise FileError([f"Line {lines[repeated]}: the field `{repeated}` is given twice."])
    return lines


def _plain(loader: _Loader, node: Any) -> Any:
    loader.expanded -= 1
    if loader.expanded < 0:
        raise _refusal("its aliases expand to too many values", node)
    match node:
        case yaml.MappingNode():
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise _refusal("a name must be a string, not a list or a map", key)
            values = {str(key.value): _plain(loader, value) for key, value in node.value}
            return _merged(Block(values, node.start_mark.line + 1, _lines(node)))
        case yaml.SequenceNode():
            return [_plain(loader, value) for value in node.value]
        case None:
            return None
        case yaml.ScalarNode() if node.tag == _BINARY:
            return loader.construct_yaml_binary(node).decode("latin-1")
        case _:
            return loader.construct_object(node)


def _merged(block: Block) -> Block:
    """The block with the names of the blocks that it merges; its own come first."""
    others = block.pop(MERGED, None)
    for other in others if isinstance(others, list) else [others]:
        if isinstance(other, Block):
            missing = [name for name in other if name not in block]
            block.update({name: other[name] for name in missing})
            block.lines = {**block.lines, **{name: other.line_of(name) for name in missing}}
    return block
