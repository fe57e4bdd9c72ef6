"""What is to happen when, in real time, one thing after another."""

import heapq
import time
from collections.abc import Callable
from itertools import count


class TaskSchedule:
    """Things to do at times of the monotonic clock."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Have something done so many seconds from now."""
        heapq.heappush(self._entries, (time.monotonic() + seconds, next(self._order), do))

    def run(self, seconds: float) -> None:
        """Let time pass, and do what comes due."""
        end = time.monotonic() + seconds
        while self._entries and self._entries[0][0] <= end:
            time.sleep(max(0.0, self._entries[0][0] - time.monotonic()))
            heapq.heappop(self._entries)[2]()
        time.sleep(max(0.0, end - time.monotonic()))
