"""The message of an alert: its texts for each kind of receiver, and the attributes that route it. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass

Attributes = Mapping[str, str | int | tuple[str, ...]]
"""SNS message attributes by their names."""


@dataclass(frozen=True, slots=True)
class Message:
    """An alert as it is published. `line` is what a summary says of it; a summary has no `target_id`.

    `attributes` become SNS message attributes: texts, numbers and lists of texts, none of them empty.
    """

    target_id: str
    subject: str
    email: str
    sms: str
    line: str
    attributes: Attributes

    @property
    def event(self) -> str:
        """What the message tells: an `AlertEvent`, or `summary`."""
        event = self.attributes["event"]
        return event[0] if isinstance(event, tuple) else str(event)
