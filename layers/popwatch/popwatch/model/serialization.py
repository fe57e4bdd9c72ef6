"""Dataclasses as maps of strings, numbers, booleans and lists, as JSON and DynamoDB take them, and back. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from popwatch.model.text import iso, truncate

_T = TypeVar("_T")
_STORED_AS = "stored_as"

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No time that popwatch stores is before this one: arithmetic with the year 1 overflows."""

LARGEST = 2**53
"""Of stored numbers: programs that read popwatch's JSON have them as floats, and larger ones overflow in DynamoDB."""


DAMAGE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading raises of a value that popwatch did not store."""


class DamagedError(ValueError):
    """What is stored is not what popwatch stores."""


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


def deserialize(kind: type[_T], data: object) -> _T:
    """The `kind` (a dataclass, or a type of one of its fields) that `serialize` made `data` of.

    Unknown names are ignored, so that a record written by a newer version can be read. Raises DamagedError if `data`
    is something else: a value of another type, a time without a zone, a number that is none.
    """
    key: Any = kind  # mypy does not know that a class is hashable
    try:
        found: _T = _reader(key)(data)
    except DamagedError:
        raise
    except DAMAGE as error:
        raise DamagedError(
            str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        ) from error
    return found


@cache
def _writer(kind: Any) -> Callable[[Any], Any]:
    """The function that serializes a `kind`; cached, since a tick writes a record for each target."""
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
        return _reader_of_any([choice for choice in get_args(kind) if choice is not type(None)])
    origin, of = get_origin(kind), get_args(kind)
    if origin is tuple:
        read_entry = _reader(of[0])
        return lambda data: tuple(map(read_entry, _expected(list, data)))
    if origin is not None:
        read_name, read_entry = map(_reader, of)
        return lambda data: {read_name(name): read_entry(entry) for name, entry in _expected(dict, data).items()}
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {member.value: member for member in kind}.__getitem__
    return _READERS.get(kind, _itself)


def _reader_of_any(choices: list[Any]) -> Callable[[Any], Any]:
    """The function that reads what may be of several types, by the type that a value has as data."""
    if len(choices) == 1:
        return _reader(choices[0])
    by_type = {list if get_origin(choice) is tuple else choice: _reader(choice) for choice in choices}
    return lambda data: by_type[type(data)](data)


def _dataclass_reader(make: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(make)
    readers = {_stored_name(known): (known.name, _reader(hints[known.name])) for known in fields(make)}

    def read_dataclass(data: Any) -> Any:
        found = {}
        for stored, entry in data.items():
            if stored in readers:
                name, read = readers[stored]
                found[name] = read(entry)
        return make(**found)

    return read_dataclass


def _expected(kind: type[_T], data: object) -> _T:
    if type(data) is not kind:
        raise DamagedError(f"a {type(data).__name__} instead of a {kind.__name__}")
    return data


def _read_string(data: object) -> str:
    return _expected(str, data)


def _read_flag(data: object) -> bool:
    return _expected(bool, data)


def _read_float(data: object) -> float:
    if type(data) not in (int, float) or not abs(data) < LARGEST:  # type: ignore[arg-type]
        raise DamagedError(f"{_short(data)} is not a number")
    return float(data)  # type: ignore[arg-type]


def _read_count(data: object) -> int:
    number = _read_float(data)
    if not number.is_integer():
        raise DamagedError(f"{_short(data)} is not a whole number")
    return int(number)


def _read_time(data: object) -> datetime:
    time = datetime.fromisoformat(_expected(str, data))
    if time.tzinfo is None:
        raise DamagedError(f"{_short(data)} has no time zone")
    time = time.astimezone(UTC)
    if time < EARLIEST:
        raise DamagedError(f"{_short(data)} is before {EARLIEST.year}")
    return time


def _read_length(data: object) -> timedelta:
    return timedelta(seconds=_read_float(data))


def _short(data: object) -> str:
    return truncate(repr(data), 40)


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    str: _read_string,
    bool: _read_flag,
    int: _read_count,
    float: _read_float,
    datetime: _read_time,
    timedelta: _read_length,
}
