"""What a client of the bench has to do, given as JSON in its first argument, and how it reports."""

import json
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

FIRST = IPv4Address("127.1.0.1")


@dataclass(frozen=True, slots=True)
class Job:
    """So many tests of the servers on `port` of 127.1.0.1, 127.1.0.2, ...

    With a `silent_port`, one of twenty is silent and one refuses: nothing listens on port 1. With an `authority` (PEM)
    all are at 127.0.0.1 and speak TLS.
    """

    tests: int
    port: int
    silent_port: int = 0
    deadline: float = 10.0
    authority: str = ""

    @classmethod
    def given(cls) -> Self:
        """The job of this process."""
        return cls(**json.loads(sys.argv[1]))

    def servers(self) -> list[tuple[str, int]]:
        """Where each server is."""
        ports = {0: self.silent_port, 1: 1} if self.silent_port else {}
        host = "127.0.0.1" if self.authority else None
        return [(host or str(FIRST + number), ports.get(number % 20, self.port)) for number in range(self.tests)]

    def context(self) -> ssl.SSLContext | None:
        """A context for TLS, or None for a plain job."""
        return ssl.create_default_context(cadata=self.authority) if self.authority else None


def report(run: Callable[[], int]) -> None:
    """Run, and print how many passed, seconds of wall and CPU time, and the process's peak memory in KB."""
    wall, cpu = time.perf_counter(), time.process_time()
    passed = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text().splitlines()  # `ru_maxrss` has the parent's memory in it
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(passed, f"{wall:.6f} {cpu:.6f}", peak)
