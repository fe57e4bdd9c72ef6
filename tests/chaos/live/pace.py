"""Time that passes fast: a minute of the schedule takes some seconds, for popwatch and for the campaign alike."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that showed `began` at `epoch` (seconds since 1970) and goes `speed` times as fast as the real one."""

    began: str
    epoch: float
    speed: float

    def now(self, skew: float = 0.0) -> datetime:
        """What it shows, or one beside it that is wrong by `skew` seconds."""
        seconds = (time.time() - self.epoch) * self.speed + skew
        return datetime.fromisoformat(self.began) + timedelta(seconds=round(seconds, 3))


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
        return Clock(now.isoformat(), time.time(), self.speed)
