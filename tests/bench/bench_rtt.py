"""How true is `rtt_ms`? 500 targets in one batch, a greeting after 50 ms, one core shared with a busy process.

The prober's process and one that does nothing but burn CPU are pinned to one core; the server runs on another. The
truth is the server's own realtime stamp, taken as it hands the greeting to the kernel, less the moment of the `connect`
call. The error is what `rtt_ms` says beyond that.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from popwatch.prober import Prober
from popwatch.targets import parse_target
from stubs import stub

TARGETS, ROUNDS = 500, 5


class TimedSocket(socket.socket):
    """A socket that notes when it began to connect to a port."""

    began: dict[int, float] = {}  # noqa: RUF012 - shared on purpose

    def connect_ex(self, address: Any) -> int:
        """Note the moment, and connect."""
        TimedSocket.began[address[1]] = time.time()
        return super().connect_ex(address)


def main() -> None:
    """Print the error's percentiles, by the kernel's stamps and by the loop's clock."""
    cores = sorted(os.sched_getaffinity(0))
    socket.socket = TimedSocket  # type: ignore[misc]
    print(f"{TARGETS} targets at once, a greeting after 50 ms, the prober and a busy process on core {cores[0]}")
    print(f"error of rtt_ms in ms, {ROUNDS} rounds")
    print(f"{'clock':<8}{'p50':>9}{'p99':>9}{'max':>9}{'tests':>9}")
    for name, stamps in (("kernel", True), ("loop", False)):
        errors = [abs(error) for _ in range(ROUNDS) for error in measure(cores, kernel_stamps=stamps)]
        p99 = statistics.quantiles(errors, n=100)[98]
        print(f"{name:<8}{statistics.median(errors):>9.3f}{p99:>9.3f}{max(errors):>9.3f}{len(errors):>9}")


def measure(cores: list[int], *, kernel_stamps: bool) -> list[float]:
    """One batch: the error of each passed test, in ms."""
    with stub("0.05", TARGETS) as server:
        targets = [parse_target({"target_id": str(port), "host": "127.0.0.1", "port": port}) for port in server.ports]
        os.sched_setaffinity(server.process.pid, set(cores[1:]) or set(cores))
        os.sched_setaffinity(0, {cores[0]})
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            run = Prober(kernel_stamps=kernel_stamps).run(targets)
            outcomes = {target.port: outcome for arrivals in run for target, outcome in arrivals}
        finally:
            busy.kill()
            busy.wait()
            os.sched_setaffinity(0, set(cores))
        greeted = server.stop()
    return [
        outcome.rtt_ms - (greeted[port] - TimedSocket.began[port]) * 1000
        for port, outcome in outcomes.items()
        if outcome.rtt_ms is not None
    ]


if __name__ == "__main__":
    main()
