"""What the tables keep of a target: its record in Status, also sent in batch messages; its events in History. No I/O.

`serialize` and `deserialize` convert them for JSON and DynamoDB, with times in ISO 8601 (UTC).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from popwatch.model.health import UNTESTED, Health, Transition
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import Outcome
from popwatch.model.posture import PostureChange
from popwatch.model.quick_dataclass import quick_dataclass
from popwatch.model.serialization import (
    COUNTS,
    DamagedError,
    Range,
    TimeRange,
    check_times,
    serialize,
    stored_as,
    within,
)
from popwatch.model.time_limits import UNTIL_AHEAD

MAX_BATCHES = 1024
"""The most batches that a stored number may say: a fleet of 800,000 targets has so many, so a larger one is damaged."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """What has been committed but not yet delivered: a transition for History, an alert to send.

    `version` is that of the record which was committed with it: target and version identify the entry, so that a
    second delivery can be recognized. `committed_at` is the time at which the invocation `committed_by` committed or
    claimed it; earlier versions name none. It is `given_up` if SNS refused it, and that invocation does not try again.
    """

    version: int
    tick: datetime
    committed_at: datetime
    transition: Transition | None = None
    message: AlertMessage | None = None
    committed_by: str = ""
    given_up: bool = False


MAX_OUTBOX = 300_000
"""Bytes of a record's outbox as JSON, never less than in DynamoDB, where an item takes 400 KB; the rest is small."""


def bounded(outbox: tuple[OutboxEntry, ...]) -> tuple[tuple[OutboxEntry, ...], int]:
    """An outbox without its oldest messages, as far as it is above `MAX_OUTBOX`, and how many those were.

    A record that is too large cannot be written, and its target's state would stand still. Transitions stay.
    """
    sizes = [len(json.dumps(serialize(entry)).encode()) for entry in outbox]
    excess, kept, dropped = sum(sizes) - MAX_OUTBOX, list[OutboxEntry](), 0
    for entry, size in zip(outbox, sizes, strict=True):
        if excess <= 0 or entry.message is None:
            kept.append(entry)
            continue
        excess, dropped = excess - size, dropped + 1
        if entry.transition:
            kept.append(replace(entry, message=None))
    return tuple(kept), dropped


class Action(StrEnum):
    """An intervention by command."""

    SILENCED = "silenced"
    UNSILENCED = "unsilenced"
    ACKNOWLEDGED = "acknowledged"
    SUSPENDED = "suspended"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class InterventionEvent:
    """What someone did about a target, when and why; `until` is the end of a silence."""

    action: Action
    at: datetime
    by: str = ""
    why: str = ""
    until: datetime | None = field(default=None, metadata=within(TimeRange(ahead=UNTIL_AHEAD)))


@dataclass(frozen=True, slots=True)
class PublishedAlert:
    """An alert that SNS has accepted, alone or as part of a summary, for at least one topic.

    `message_ids` has the id that SNS gave it for each topic; one that is not in it has not accepted it yet.
    """

    message: AlertMessage
    message_ids: Mapping[Topic, str]
    sent_at: datetime
    summary: bool = False

    @property
    def message_id(self) -> str:
        """The id of the alert topic, or of another if that has not accepted it."""
        return self.message_ids.get(Topic.ALERT) or next(iter(self.message_ids.values()))


class EventKind(StrEnum):
    """The kinds of `HistoryEvent`."""

    TRANSITION = "transition"
    ALERT = "alert"
    INTERVENTION = "note"  # its name in the keys of History since the first version
    POSTURE = "posture"


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One item of a target's history.

    `version` is that of the record committed with it; an intervention and a posture have none.
    """

    tick: datetime
    what: Transition | PublishedAlert | InterventionEvent | PostureChange
    version: int = 0

    @property
    def at(self) -> datetime:
        """When it happened, as outages and the status have it: the tick of a test is up to a minute before it."""
        match self.what:
            case Transition() | InterventionEvent():
                return self.what.at
            case PublishedAlert():
                return self.what.sent_at
            case _:
                return self.tick

    @property
    def kind(self) -> EventKind:
        """Which of the four it is."""
        match self.what:
            case Transition():
                return EventKind.TRANSITION
            case PublishedAlert():
                return EventKind.ALERT
            case InterventionEvent():
                return EventKind.INTERVENTION
            case PostureChange():
                return EventKind.POSTURE


@quick_dataclass(frozen=True, slots=True)
class Record:
    """One target's health with what makes committing it safe.

    `version` counts the writes of the record, 0 before the first; a message may have -1. `tick` is the tick whose test
    was judged last; a test of the same or an earlier tick is not judged again. `writer` names the invocation that wrote
    last, so that it can recognize its own write when a repeated request is refused. `config_fingerprint` identifies
    what was tested (see `targets.config_fingerprint`): a target that is another by now is tested at the next tick.
    """

    target_id: str
    version: int = field(default=0, metadata=within(Range(-1, COUNTS.highest)))
    tick: datetime | None = None
    health: Health = UNTESTED
    outcome: Outcome | None = None
    outbox: tuple[OutboxEntry, ...] = field(default=(), metadata=stored_as("pending"))
    writer: str = ""
    config_fingerprint: str = field(default="", metadata=stored_as("tested_as"))


def check_record(record: Record, now: datetime) -> None:
    """Raise DamagedError for a record that popwatch cannot have written by now, although each field could be one's.

    A test, a failure or a commit of the future would keep the target from being tested, or its alert from being sent,
    until then; an alert in the outbox is about its own target.
    """
    for entry in record.outbox:
        if entry.message and (entry.message.target_id != record.target_id or not entry.message.attributes.get("event")):
            raise DamagedError("an alert in its outbox is not one of this target")
    check_times(record, now)
