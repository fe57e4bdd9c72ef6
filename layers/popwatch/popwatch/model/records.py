"""A target's record: what the Status table holds of it and what travels in a batch message. No I/O.

`to_plain` and `from_plain` are the one way in and out: maps of texts, numbers, truths and lists, as JSON and DynamoDB
both take them, with moments in ISO 8601 (UTC).
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from popwatch.model.health import UNTESTED, Health, Transition
from popwatch.model.messages import Message
from popwatch.model.outcomes import Outcome
from popwatch.model.plain import stored_as


@dataclass(frozen=True, slots=True)
class OutboxEntry:
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
    outbox: tuple[OutboxEntry, ...] = field(default=(), metadata=stored_as("pending"))
    writer: str = ""

    def without(self, delivered: set[int]) -> Self:
        """The record once the outbox entries of these versions have been delivered, one version on."""
        left = tuple(entry for entry in self.outbox if entry.version not in delivered)
        return replace(self, version=self.version + 1, outbox=left)
