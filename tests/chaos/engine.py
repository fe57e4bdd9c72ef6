"""Simulated time: a heap of what happens when, and processes that wait in it instead of in the world.

Everything runs in one thread, as greenlets that give way only where a process waits: for AWS, for a server, for its own
commits. So a campaign is the same for the same seed, whatever the machine does.
"""

import heapq
from collections.abc import Callable
from concurrent.futures import Executor, Future
from itertools import count
from math import ceil
from types import TracebackType
from typing import Any

from greenlet import getcurrent, greenlet


class Killed(BaseException):
    """The process has died; nothing in it can catch this."""


class Engine:
    """The clock, in seconds since the campaign began, and what is still to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._tasks: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._hub = getcurrent()
        self._begun: set[greenlet] = set()

    def at(self, time: float, do: Callable[[], object]) -> None:
        """Have something done at a time, after what was planned for that time before."""
        heapq.heappush(self._tasks, (max(time, self.now), next(self._order), do))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._tasks and self._tasks[0][0] <= until:
            self.now, _, do = heapq.heappop(self._tasks)
            do()
        self.now = until

    def spawn(self, do: Callable[[], object]) -> None:
        """Begin something that may wait."""

        def run() -> None:
            try:
                do()
            finally:
                self._begun.discard(getcurrent())

        begun = greenlet(run, self._hub)
        self._begun.add(begun)
        self.at(self.now, begun.switch)

    def close(self) -> None:
        """End all that still waits, such as the threads of the dead; nothing happens any more."""
        self._tasks.clear()
        for waiting in list(self._begun):
            if waiting:
                waiting.throw(Killed)
        self._begun.clear()

    def wait(self) -> None:
        """Give way until somebody switches back."""
        self._hub.switch()

    def sleep(self, seconds: float) -> None:
        """Wait for so long."""
        self.at(self.now + seconds, getcurrent().switch)
        self._hub.switch()


class Process:
    """One invocation of the function: it has a name, a clock of its own, and may die at any time."""

    def __init__(self, engine: Engine, number: int) -> None:
        self.engine, self.number, self.skew = engine, number, 0.0
        self.dead = False

    def check(self) -> None:
        """The dead do nothing more."""
        if self.dead:
            raise Killed

    def sleep(self, seconds: float) -> None:
        """Wait, and perhaps not live to see the end of it."""
        self.engine.sleep(seconds)
        self.check()

    def wait(self) -> None:
        """Give way until somebody switches back."""
        self.engine.wait()
        self.check()


class Task(Future[Any]):
    """A future that is waited for in simulated time."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process, self._waiting = process, list[greenlet]()

    def finish(self, do: Callable[[], object]) -> None:
        """Do the work; what it raises is the future's, unless the process died of it."""
        try:
            self.set_result(do())
        except Killed:
            return
        except Exception as error:
            self.set_exception(error)
        waiting_for_it, self._waiting = self._waiting, []
        for waiting in waiting_for_it:
            self._process.engine.at(self._process.engine.now, waiting.switch)

    def result(self, timeout: float | None = None) -> Any:
        """The result, waited for: at most for so many seconds, of which the whole ones are simulated."""
        if timeout is not None and not self.done():
            self._wait_until(self._process.engine.now + ceil(timeout))
        elif timeout is None:
            self.join()
        return super().result(0)

    def _wait_until(self, end: float) -> None:
        """Wait until it is over, or a time has come."""
        waiting = getcurrent()
        self._waiting.append(waiting)
        self._process.engine.at(end, lambda: waiting.switch() if waiting in self._waiting else None)
        self._process.wait()
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def join(self) -> None:
        """Wait until it is over, well or not."""
        while not self.done():
            self._waiting.append(getcurrent())
            self._process.wait()


class Threads(Executor):
    """The threads of a process: each task is a greenlet of its own."""

    def __init__(self, process: Process) -> None:
        self._process, self._tasks = process, list[Task]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin a task."""
        self._process.check()
        task = Task(self._process)
        self._tasks.append(task)
        self._process.engine.spawn(lambda: task.finish(lambda: fn(*args, **kwargs)))
        return task

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Killed):
            for task in self._tasks:
                task.join()
