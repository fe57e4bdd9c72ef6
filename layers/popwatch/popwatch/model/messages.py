"""An alert as it is published: its texts for each kind of receiver, and the attributes that route it. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass

Attributes = Mapping[str, str | int | tuple[str, ...]]
"""SNS message attributes by name."""


@dataclass(frozen=True, slots=True)
class Message:
    """The message of one alert, or of a summary, which has an empty `target_id`. `line` is the alert's line in a summary.

    `attributes` become SNS message attributes: strings, numbers and lists of strings, none of them empty.
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
