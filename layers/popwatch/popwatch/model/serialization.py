"""Dataclasses as maps of strings, numbers, booleans and lists, as JSON and DynamoDB take them, and back. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from popwatch.model.text import iso

_T = TypeVar("_T")
_STORED_AS = "stored_as"


def stored_as(name: str) -> Mapping[str, str]:
    """The metadata of a dataclass field that is stored under another name than its own.

    A field may be renamed in the code, but never where it is stored: an older version reads the same items and messages
    during an upgrade, and a newer one what the older has left.
    """
    return {_STORED_AS: name}


def serialize(value: object) -> Any:
    """`value` as maps, lists, strings, numbers and booleans; a field that has its default is left out."""
    kind: Any = type(value)
    return _writer(kind)(value)


def deserialize(kind: type[_T], plain: object) -> _T:
    """The `kind` (a dataclass, or a type of one of its fields) that `serialize` made `plain` of.

    Unknown names are ignored, so that a record written by a newer version can be read. Raises ValueError, KeyError or
    TypeError if `plain` is something else.
    """
    key: Any = kind  # mypy does not know that a class is hashable
    found: _T = _reader(key)(plain)
    return found


@cache
def _writer(kind: Any) -> Callable[[Any], Any]:
    """The function that makes a `kind` plain; cached, since a tick writes a record for each target."""
    if is_dataclass(kind):
        known_fields = [(known.name, _stored_name(known), known.default) for known in fields(kind)]
        return lambda value: {
            stored: serialize(entry)
            for name, stored, default in known_fields
            if (entry := getattr(value, name)) is not default and entry != default
        }
    if issubclass(kind, Mapping):
        return lambda value: {str(key): serialize(entry) for key, entry in value.items()}
    if issubclass(kind, tuple | list):
        return lambda value: [serialize(entry) for entry in value]
    if issubclass(kind, datetime):
        return iso
    if issubclass(kind, timedelta):
        return timedelta.total_seconds
    return attrgetter("value") if issubclass(kind, Enum) else _itself


def _stored_name(known: "Field[Any]") -> str:
    return str(known.metadata.get(_STORED_AS, known.name))


def _itself(value: object) -> object:
    return value


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """The function that reads a `kind`; cached, since a report reads tens of thousands of totals."""
    if isinstance(kind, UnionType):
        return _reader(next(choice for choice in get_args(kind) if choice is not type(None)))
    origin = get_origin(kind)
    if origin is tuple:
        read_entry = _reader(get_args(kind)[0])
        return lambda plain: tuple(read_entry(entry) for entry in plain)
    if origin is not None:
        return lambda plain: {name: tuple(entry) if isinstance(entry, list) else entry for name, entry in plain.items()}
    if is_dataclass(kind):
        make: Any = kind
        hints = get_type_hints(kind)
        readers = {_stored_name(known): (known.name, _reader(hints[known.name])) for known in fields(kind)}

        def read_dataclass(plain: Any) -> Any:
            found = {}
            for stored, entry in plain.items():
                if stored in readers:
                    name, read = readers[stored]
                    found[name] = read(entry)
            return make(**found)

        return read_dataclass
    if kind is datetime:
        return datetime.fromisoformat
    if kind is timedelta:
        return lambda plain: timedelta(seconds=float(plain))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {member.value: member for member in kind}.__getitem__
    read: Callable[[Any], Any] = kind
    return read
