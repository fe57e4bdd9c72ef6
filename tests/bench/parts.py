"""Where the time of a sweep goes: CPU and wall time by part, each instant in one part only.

A part is some functions of popwatch; what one calls of another part is that one's. What belongs to none is `rest`.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

Place = tuple[Any, str]
"""A class or module, and the name of a function in it."""

REST = "rest"


@dataclass(slots=True)
class Parts:
    """Seconds by part: CPU of all threads, and wall of the main one, whose waiting for the others is in `rest`."""

    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    wall: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: threading.local = field(default_factory=threading.local)

    def watch(self, places: Mapping[str, Iterable[Place]]) -> None:
        """Watch the functions of each part; a place that this popwatch lacks is passed over."""
        for part, owners in places.items():
            for owner, name in owners:
                if hasattr(owner, name):
                    setattr(owner, name, self._watched(part, getattr(owner, name)))

    def watch_steps(self, part: str, owner: Any, name: str) -> None:
        """Watch a generator's steps, without what its caller does between them."""
        steps = getattr(owner, name)

        @wraps(steps)
        def run(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
            found = iter(steps(*args, **kwargs))
            step = self._watched(part, lambda: next(found, None))
            while (value := step()) is not None:
                yield value

        setattr(owner, name, run)

    def measure(self, do: Callable[[], None]) -> None:
        """Do it; its time, less that of the parts, is `rest`, as is the CPU time of threads outside of parts."""
        cpu, inside = time.process_time(), sum(self.cpu.values())
        self._watched(REST, do)()
        self.cpu[REST] += time.process_time() - cpu - (sum(self.cpu.values()) - inside)

    def _watched(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            stack = self._stack()
            self._charge(stack)
            stack.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._charge(stack)
                stack.pop()

        return call

    def _stack(self) -> list[str]:
        if not hasattr(self._threads, "stack"):
            self._threads.stack = list[str]()
        stack: list[str] = self._threads.stack
        return stack

    def _charge(self, stack: list[str]) -> None:
        """Charge the innermost part of this thread with the time since it was last charged."""
        threads = self._threads
        cpu, wall = time.thread_time(), time.perf_counter()
        if stack:
            with self._lock:
                self.cpu[stack[-1]] += cpu - threads.cpu
                if threading.current_thread() is threading.main_thread():
                    self.wall[stack[-1]] += wall - threads.wall
        threads.cpu, threads.wall = cpu, wall
