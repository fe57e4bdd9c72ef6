"""Time that passes fast: a minute of the schedule takes some seconds, for popwatch and for the campaign alike."""

from dataclasses import dataclass
from datetime import UTC, datetime

from tests.fast_clock import Clock


@dataclass(frozen=True, slots=True)
class Pace:
    """Real seconds of a minute, and of what a stack counts by the real clock.

    `reserve` is the end of an invocation's time that is kept for commits, `timeout` the function's, `test` a test's.
    """

    minute: float = 3.0
    timeout: int = 16
    reserve: float = 7.0
    test: float = 2.0

    @property
    def speed(self) -> float:
        """How much faster than the real clock."""
        return 60.0 / self.minute

    def clock(self) -> Clock:
        """A clock that begins now, a quarter of an hour before an hour is over."""
        now = datetime.now(UTC).replace(minute=45, second=0, microsecond=0)
        return Clock.starting(now, self.speed)
