"""Dataclasses as maps of strings, numbers, booleans and lists, as JSON and DynamoDB take them, and back. No I/O."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache, partial
from operator import attrgetter
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from popwatch.model.text import iso, truncate
from popwatch.model.time_limits import STORED_AHEAD

_T = TypeVar("_T")
_STORED_AS, _RANGE = "stored_as", "range"

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading raises of a value that popwatch did not store."""


class DamagedError(ValueError):
    """What is stored is not what popwatch stores."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a stored number may be, or the seconds of a length: popwatch computes with it, and never stores another."""

    lowest: float
    highest: float

    def __contains__(self, number: float) -> bool:
        return self.lowest <= number <= self.highest


@dataclass(frozen=True, slots=True)
class TimeRange:
    """What a stored time may be: not before `earliest`, nor further ahead of now than `ahead`, if that is not None.

    Arithmetic with the years 1 and 9999 overflows.
    """

    earliest: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    ahead: timedelta | None = STORED_AHEAD


COUNTS = Range(0, 10**9)
"""Counts, seconds and milliseconds: as seconds they are 31 years."""

LENGTHS = Range(0, timedelta(days=36_525).total_seconds())
"""Lengths of time: a century."""

TIMES = TimeRange()
"""Times at which something was."""


def stored_as(name: str) -> Mapping[str, Any]:
    """The metadata of a dataclass field that is stored under another name than its own.

    A field may be renamed in the code, but never where it is stored: an older version reads the same items and messages
    during an upgrade, and a newer one what the older has left.
    """
    return {_STORED_AS: name}


def within(allowed: Range | TimeRange) -> Mapping[str, Any]:
    """The metadata of a dataclass field whose numbers or times may be others than those of its type as a rule."""
    return {_RANGE: allowed}


def serialize(value: object) -> Any:
    """`value` as maps, lists, strings, numbers and booleans.

    A field that has its default is left out, but for one whose default is made anew each time, such as an empty map.
    """
    kind: Any = type(value)
    return _writer(kind)(value)


def deserialize(kind: type[_T], data: object) -> _T:
    """The `kind` (a dataclass, or a type of one of its fields) that `serialize` made `data` of.

    Unknown names are ignored, so that a record written by a newer version can be read. Raises DamagedError if `data`
    is something else: a value of another type, a time without a zone, not a finite number, or not in its range.
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


def check_times(value: object, now: datetime) -> None:
    """Raise DamagedError for a time in a dataclass, at any depth, that is further ahead of `now` than its field allows.

    Where such a time counted, nothing would be tested, sent or shown until then.
    """
    kind: Any = type(value)
    _checker(kind)(value, now)


_Checker = Callable[[Any, datetime], None]


@cache
def _checker(kind: Any, allowed: TimeRange = TIMES) -> _Checker:
    """The function that checks the times in a `kind`; cached like the readers."""
    if kind is datetime:
        return _has_no_time if allowed.ahead is None else partial(_check_time, allowed.ahead)
    if isinstance(kind, UnionType):
        by_type = {get_origin(choice) or choice: _checker(choice, allowed) for choice in get_args(kind)}
        if all(check is _has_no_time for check in by_type.values()):
            return _has_no_time
        return lambda value, now: by_type[type(value)](value, now)
    if get_origin(kind) is tuple:
        check_entry = _checker(get_args(kind)[0], allowed)
        return _has_no_time if check_entry is _has_no_time else partial(_check_entries, check_entry)
    return _checker_of_fields(kind) if is_dataclass(kind) else _has_no_time


def _checker_of_fields(kind: Any) -> _Checker:
    hints = get_type_hints(kind)
    found = ((known.name, _checker(hints[known.name], known.metadata.get(_RANGE, TIMES))) for known in fields(kind))
    checkers = [(attrgetter(name), check) for name, check in found if check is not _has_no_time]

    def check(value: Any, now: datetime) -> None:
        for get, check_field in checkers:
            entry = get(value)
            if entry:  # most times of most records are None
                check_field(entry, now)

    return check


def _check_time(ahead: timedelta, time: datetime, now: datetime) -> None:
    if time - now > ahead:
        raise DamagedError(f"{iso(time)} is {'' if ahead == STORED_AHEAD else 'too far '}in the future")


def _check_entries(check_entry: _Checker, entries: Iterable[Any], now: datetime) -> None:
    for entry in entries:
        check_entry(entry, now)


def _has_no_time(_value: object, _now: datetime) -> None:
    pass


@cache
def _writer(kind: Any) -> Callable[[Any], Any]:
    """The function that serializes a `kind`; cached, since a tick writes a record for each target."""
    if is_dataclass(kind):
        known_fields = [(known.name, _stored_name(known), known.default) for known in fields(kind)]
        return lambda value: {
            stored: serialize(entry)
            for name, stored, default in known_fields
            # Nearly all fields have the very default: `is not` spares most of the comparisons.
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
def _reader(kind: Any, allowed: Range | TimeRange | None = None) -> Callable[[Any], Any]:
    """The function that reads a `kind`; cached, since a report reads tens of thousands of totals.

    `allowed` is what its numbers or times may be, if its field says so (`within`).
    """
    if isinstance(kind, UnionType):
        return _reader_of_any([choice for choice in get_args(kind) if choice is not type(None)], allowed)
    origin, of = get_origin(kind), get_args(kind)
    if origin is tuple:
        read_entry = _reader(of[0], allowed)
        return lambda data: tuple(map(read_entry, _expected(list, data)))
    if origin is not None:
        read_name, read_entry = _reader(of[0]), _reader(of[1], allowed)
        return lambda data: {read_name(name): read_entry(entry) for name, entry in _expected(dict, data).items()}
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {member.value: member for member in kind}.__getitem__
    if kind in _RANGED:
        read, as_a_rule = _RANGED[kind]
        return partial(read, allowed or as_a_rule)
    return _READERS.get(kind, _itself)


def _reader_of_any(choices: list[Any], allowed: Range | TimeRange | None) -> Callable[[Any], Any]:
    """The function that reads what may be of several types, by the type that a value has as data."""
    if len(choices) == 1:
        return _reader(choices[0], allowed)
    by_type = {list if get_origin(choice) is tuple else choice: _reader(choice, allowed) for choice in choices}
    return lambda data: by_type[type(data)](data)


def _dataclass_reader(make: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(make)
    readers = {
        _stored_name(known): (known.name, _reader(hints[known.name], known.metadata.get(_RANGE)))
        for known in fields(make)
    }

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


def _read_float(allowed: Range, data: Any) -> float:
    if type(data) not in (int, float):
        raise DamagedError(f"{_short(data)} is not a number")
    if data not in allowed:  # neither is NaN
        raise DamagedError(f"{_short(data)} is not between {allowed.lowest:g} and {allowed.highest:g}")
    return float(data)


def _read_count(allowed: Range, data: object) -> int:
    number = _read_float(allowed, data)
    if not number.is_integer():
        raise DamagedError(f"{_short(data)} is not a whole number")
    return int(number)


def _read_time(allowed: TimeRange, data: object) -> datetime:
    time = datetime.fromisoformat(_expected(str, data))
    if time.tzinfo is None:
        raise DamagedError(f"{_short(data)} has no time zone")
    time = time.astimezone(UTC)
    if time < allowed.earliest:
        raise DamagedError(f"{_short(data)} is before {allowed.earliest.year}")
    return time


def _read_length(allowed: Range, data: object) -> timedelta:
    return timedelta(seconds=_read_float(allowed, data))


def _short(data: object) -> str:
    return truncate(repr(data), 40)


_READERS: Mapping[Any, Callable[[Any], Any]] = {str: _read_string, bool: _read_flag}

_RANGED: Mapping[Any, tuple[Callable[[Any, Any], Any], Range | TimeRange]] = {
    int: (_read_count, COUNTS),
    float: (_read_float, COUNTS),
    timedelta: (_read_length, LENGTHS),
    datetime: (_read_time, TIMES),
}
"""The types of numbers and times: how they are read, and what they may be as a rule."""
