"""The invocations of the function as they report themselves: each process holds a connection to the campaign.

A connection that ends in the middle of an invocation is a death, whoever killed the process.
"""

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock, Thread
from typing import Any

from tests.chaos.faults import Faults


@dataclass(slots=True)
class Invocation:
    """One invocation: what for, in which process, which faults it has, and how it ended."""

    number: int
    process_id: int
    tick: str
    body: str
    faults: Faults
    skew: float = 0.0
    over: str = ""


Reported = Callable[[Invocation, dict[str, Any]], None]


class Register:
    """Knows all invocations. `reported` receives what one reports, `ended` how it ended; both with the lock held.

    `begin` makes an invocation of what a process reports.
    """

    def __init__(
        self,
        lock: RLock,
        *,
        begin: Callable[[int, int, str, str], Invocation],
        reported: Reported,
        ended: Callable[[Invocation, str], None],
    ) -> None:
        self.lock, self._begin, self._reported, self._ended = lock, begin, reported, ended
        self.by_number: dict[int, Invocation] = {}
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lines: list[socket.socket] = []
        self._closed = False
        Thread(target=self._accept, daemon=True, name="chaos-register").start()

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        for line in [self._listening, *self._lines]:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    @property
    def running(self) -> list[Invocation]:
        """Those that are not over."""
        return [one for one in list(self.by_number.values()) if not one.over]

    def kill(self, invocation: Invocation, why: str) -> None:
        """SIGKILL of its process: whatever of its calls has not taken effect never will."""
        with self.lock:
            if not invocation.over:
                with suppress(ProcessLookupError):
                    os.kill(invocation.process_id, signal.SIGKILL)
                self._end(invocation, "killed", why)

    def _accept(self) -> None:
        while not self._closed:
            with suppress(OSError):
                line, _ = self._listening.accept()
                self._lines.append(line)
                Thread(target=self._listen, args=(line,), daemon=True, name="chaos-process").start()

    def _listen(self, line: socket.socket) -> None:
        process_id, invocation = 0, None
        with suppress(OSError), line.makefile("rw") as lines:
            for text in lines:
                report = json.loads(text)
                with self.lock:
                    answer: dict[str, Any] = {}
                    match report["what"]:
                        case "process":
                            process_id = report["process_id"]
                        case "begin":
                            invocation = self._begun(process_id, report)
                            answer = {"invocation": invocation.number, "skew": invocation.skew}
                        case "end" if invocation:
                            self._end(invocation, report["how"], report["why"])
                        case _ if invocation and not invocation.over:
                            self._reported(invocation, report)
                lines.write(json.dumps(answer) + "\n")
                lines.flush()
        if invocation and not self._closed:
            with self.lock:
                self._end(invocation, "killed", "its process has gone")

    def _begun(self, process_id: int, report: dict[str, Any]) -> Invocation:
        begun = self._begin(len(self.by_number) + 1, process_id, report["tick"], report["body"])
        self.by_number[begun.number] = begun
        return begun

    def _end(self, invocation: Invocation, how: str, why: str) -> None:
        if not invocation.over:
            invocation.over = how
            self._ended(invocation, why)
