"""What the client of the benches of sweeps has to do, given as JSON in its first argument."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SweepJob:
    """So many ticks of a fleet of `targets` in the tables at `dynamodb`; the queue and the topics are at `aws`.

    `first` counts the minutes from noon until the first tick. With `profile` one tick is made under cProfile, and its
    dearest functions are printed.
    """

    targets: int
    ticks: int
    first: int
    dynamodb: str
    aws: str
    queue: str
    topic: str
    sms_topic: str
    profile: bool = False
