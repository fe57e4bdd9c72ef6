"""Clocks that are faster than the real one, for tests of what takes minutes: theirs, and the deployed function's."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that showed `began` at `epoch` (seconds since 1970) and goes `speed` times as fast as the real one."""

    began: str
    epoch: float
    speed: float

    @classmethod
    def starting(cls, at: datetime, speed: float) -> Self:
        """A clock that shows `at` now."""
        return cls(at.isoformat(), time.time(), speed)

    def now(self, skew: float = 0.0) -> datetime:
        """What it shows, or what a clock shows that is wrong by `skew` seconds."""
        seconds = (time.time() - self.epoch) * self.speed + skew
        return datetime.fromisoformat(self.began).astimezone(UTC) + timedelta(seconds=round(seconds, 3))


@dataclass(frozen=True, slots=True)
class SteppedClock:
    """A clock that stands still, for every process that reads it, until a test sets it: a busy machine changes nothing.

    It shows `began` and the seconds that the file `path` holds.
    """

    began: str
    path: str

    def set(self, seconds: float) -> None:
        """Have it show the time so many seconds after its beginning."""
        written = Path(f"{self.path}.new")
        written.write_text(str(seconds))
        written.replace(self.path)

    def now(self) -> datetime:
        """What it shows."""
        return datetime.fromisoformat(self.began) + timedelta(seconds=float(Path(self.path).read_text()))
