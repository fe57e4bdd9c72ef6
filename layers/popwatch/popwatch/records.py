"""A target's record: what the Status table holds of it and what travels in a batch message. No I/O.

`to_plain` and `from_plain` are the one way in and out: maps of texts, numbers, truths and lists, as JSON and DynamoDB
both take them, with moments in ISO 8601 (UTC).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from popwatch.alerts import Message
from popwatch.health import UNTESTED, Health, Transition
from popwatch.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Pending:
    """What a commit still owes: the history of a transition, an alert to send.

    `version` is the version of the record that brought it: with the target it names what is owed for good, so that
    doing it twice can be seen. `committed_at` is the wall clock then.
    """

    version: int
    tick: datetime
    committed_at: datetime
    transition: Transition | None = None
    message: Message | None = None


class Action(StrEnum):
    """What somebody did about a target by command."""

    SILENCED = "silenced"
    UNSILENCED = "unsilenced"
    ACKNOWLEDGED = "acknowledged"
    SUSPENDED = "suspended"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class Note:
    """Who did what about a target, when and why; `until` is the end of a silence."""

    action: Action
    at: datetime
    by: str = ""
    why: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One target's health with what makes committing it safe.

    `version` counts the writes of the record, 0 before the first. `tick` is the tick whose test was judged last; a test
    of the same or an earlier tick is not judged again. `writer` names the invocation that wrote last, so that it knows
    its own write when a retried request is answered with a refusal.
    """

    target_id: str
    version: int = 0
    tick: datetime | None = None
    health: Health = UNTESTED
    outcome: Outcome | None = None
    pending: tuple[Pending, ...] = ()
    writer: str = ""

    def without_pending(self, settled: set[int]) -> Self:
        """The record once the pending entries of these versions have been settled, one version on."""
        left = tuple(entry for entry in self.pending if entry.version not in settled)
        return replace(self, version=self.version + 1, pending=left)


def iso(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC, to the second, or finer if it is: `2026-11-23T03:12:00Z`."""
    moment = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return moment.isoformat().removesuffix("+00:00") + "Z"


def to_plain(value: object) -> Any:
    """`value` as maps, lists, texts, numbers and truths; a field that holds its default is left out."""
    kind: Any = type(value)
    return _writer(kind)(value)


def from_plain(kind: Any, plain: Any) -> Any:
    """The `kind` (a dataclass, or a type of one of its fields) that `to_plain` made `plain` of.

    Unknown names are passed over, so that a record written by a newer version can be read. Raises ValueError, KeyError
    or TypeError for what is no such thing.
    """
    return _reader(kind)(plain)


@cache
def _writer(kind: Any) -> Callable[[Any], Any]:
    """What makes a `kind` plain; found once, since a tick writes a record for each target."""
    if is_dataclass(kind):
        defaults = [(known.name, known.default) for known in fields(kind)]
        return lambda value: {
            name: to_plain(entry)
            for name, default in defaults
            if (entry := getattr(value, name)) is not default and entry != default
        }
    if issubclass(kind, Mapping):
        return lambda value: {str(key): to_plain(entry) for key, entry in value.items()}
    if issubclass(kind, tuple | list):
        return lambda value: [to_plain(entry) for entry in value]
    if issubclass(kind, datetime):
        return iso
    if issubclass(kind, timedelta):
        return timedelta.total_seconds
    return attrgetter("value") if issubclass(kind, Enum) else _itself


def _itself(value: object) -> object:
    return value


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What reads a `kind`; found once, since a report reads tens of thousands of totals."""
    if isinstance(kind, UnionType):
        return _reader(next(choice for choice in get_args(kind) if choice is not type(None)))
    origin = get_origin(kind)
    if origin is tuple:
        read_entry = _reader(get_args(kind)[0])
        return lambda plain: tuple(read_entry(entry) for entry in plain)
    if origin is not None:
        return lambda plain: {name: tuple(it) if isinstance(it, list) else it for name, it in plain.items()}
    if is_dataclass(kind):
        make: Any = kind
        readers = {name: _reader(hint) for name, hint in get_type_hints(kind).items()}
        return lambda plain: make(**{name: readers[name](it) for name, it in plain.items() if name in readers})
    if kind is datetime:
        return datetime.fromisoformat
    if kind is timedelta:
        return lambda plain: timedelta(seconds=float(plain))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {member.value: member for member in kind}.__getitem__
    read: Callable[[Any], Any] = kind
    return read
