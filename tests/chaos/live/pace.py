"""Time that passes fast: a minute of the schedule takes some seconds, for popwatch and for the campaign alike."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from tests.fast_clock import Clock

MEASURED_SECONDS = 0.3
"""CPU time for which the machine's load is measured."""

USUAL_LOAD, LONGEST = 2.0, 5.0
"""How many processes of the tests share a core, and how many times as long as with those a minute takes at most."""

USUAL_MINUTE = 3.0
"""Real seconds of a minute of the schedule, if the machine is not busy."""

BEHIND = timedelta(hours=3)
"""About how far the campaign's clock is behind the real one as it begins: more than a round takes."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Real seconds of a minute, and of what a stack counts by the real clock: some `times` the usual ones.

    `reserve` is the end of an invocation's time that is kept for commits, `timeout` the function's, `test` a test's.
    """

    times: float = 1.0

    @classmethod
    def of_machine(cls) -> Self:
        """A pace at which processes come to their work, however busy the machine is with other things."""
        wall, cpu = time.monotonic(), time.process_time()
        while time.process_time() < cpu + MEASURED_SECONDS:
            pass
        load = (time.monotonic() - wall) / MEASURED_SECONDS
        return cls(min(LONGEST, max(1.0, load / USUAL_LOAD)))

    @property
    def minute(self) -> float:
        """A minute of the schedule."""
        return USUAL_MINUTE * self.times

    @property
    def timeout(self) -> int:
        """The function's timeout."""
        return round(16 * self.times)

    @property
    def reserve(self) -> float:
        """What is kept for commits."""
        return 7.0 * self.times

    @property
    def test(self) -> float:
        """The deadline of a test."""
        return 2.0 * self.times

    @property
    def speed(self) -> float:
        """How much faster than the real clock."""
        return 60.0 / self.minute

    def clock(self) -> Clock:
        """A clock that begins some hours ago, a quarter of an hour before an hour is over.

        Whoever reads the tables by the real clock, as an acknowledgement does, may not find records of the future.
        """
        began = datetime.now(UTC).replace(minute=45, second=0, microsecond=0) - BEHIND
        return Clock.starting(began, self.speed)
