"""What the options of `popwatch` itself say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """Which stack the user means."""

    stack: str
    local: bool
