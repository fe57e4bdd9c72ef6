"""An alert as it is published: its texts for each kind of receiver, and the attributes that route it. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

Attributes = Mapping[str, str | int | tuple[str, ...]]
"""SNS message attributes by name."""


class Topic(StrEnum):
    """The topics that every alert is published to, one for each kind of receiver. History stores these names."""

    ALERT = "alert"
    SMS = "sms"


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """The message of an alert, or of a summary of many, whose `target_id` is empty.

    `line` is what a summary shows of an alert. `attributes` become SNS message attributes: strings, numbers and lists
    of strings, none of them empty.
    """

    target_id: str
    subject: str
    email: str
    sms: str
    line: str
    attributes: Attributes

    @property
    def event(self) -> str:
        """The value of an `AlertEvent`, or `summary`."""
        event = self.attributes["event"]
        return event[0] if isinstance(event, tuple) else str(event)
