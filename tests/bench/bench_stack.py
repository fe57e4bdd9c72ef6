"""A whole sweep on the local stack: 1,000 targets, 5 % silent, 5 % refused, `max_test_seconds` 10.

The deployed function is invoked for a tick, cuts it into batches, and the queue has them tested. Printed are, for each
of some ticks: the wall time from the invocation until the samples of all targets lie in History, and of the function's
processes the CPU per target and the peak memory.
"""

import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.stubs import stub
from tests.e2e.deployed import Deployed

TARGETS, TICKS = 1000, 4
PROJECT = Path(__file__).parents[2]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the table."""
    print(f"{TARGETS} targets on the local stack, 5 % silent, 5 % refused, deadline 10 s")
    print(f"{'tick':<6}{'wall s':>9}{'CPU us/target':>15}{'peak MB':>9}{'processes':>11}{'samples':>9}")
    with (
        stub("0.0") as good,
        stub("silent") as silent,
        tempfile.TemporaryDirectory() as folder,
        Deployed.running(PROJECT, Path(folder)) as stack,
    ):
        stack.put_targets(
            {"target_id": "_defaults", "max_test_seconds": 10, "delay_lost": 60},
            *(
                {"target_id": f"t{n}", "host": "127.0.0.1", "port": port_of(n, good.ports[0], silent.ports[0])}
                for n in range(TARGETS)
            ),
        )
        start = datetime.now(UTC).replace(microsecond=0)
        for number in range(TICKS):
            measure(stack, number, start + timedelta(minutes=number))


def port_of(number: int, good: int, silent: int) -> int:
    """Of twenty targets one is silent and one refuses: nothing listens on port 1."""
    return {0: silent, 1: 1}.get(number % 20, good)


def measure(stack: Deployed, number: int, at: datetime) -> None:
    """One tick, printed. The first one writes the state of every target, which was untested."""
    before = cpu_seconds(stack)
    began = time.monotonic()
    assert stack.tick(at) is None
    stack.wait_for("all samples", lambda: count_samples(stack, at) >= TARGETS, seconds=120)
    wall = time.monotonic() - began
    cpu = (cpu_seconds(stack) - before) / TARGETS * 1e6
    processes = stack.process_ids()
    peak = max(memory_mb(process) for process in processes)
    samples = count_samples(stack, at)
    print(f"{number + 1:<6}{wall:>9.2f}{cpu:>15.0f}{peak:>9.1f}{len(processes):>11}{samples:>9}")


def count_samples(stack: Deployed, at: datetime) -> int:
    """Targets whose result of this tick is in History."""
    until = at + timedelta(seconds=1)
    return sum(len(results) for batch in range(2) for _, results in stack.store.read_samples(2, batch, at, until))


def cpu_seconds(stack: Deployed) -> float:
    """The CPU time of the function's processes so far."""
    fields = (Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split() for process in stack.process_ids())
    return sum(int(field[11]) + int(field[12]) for field in fields) / TICKS_PER_SECOND


def memory_mb(process: int) -> float:
    """The most memory that a process has held."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
