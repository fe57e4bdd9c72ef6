"""What a batch costs: 1,000 targets, 5 % silent, 5 % refused, `max_test_seconds` 10, by the prober alone.

Printed are medians of some rounds: wall time, CPU of the prober's process per target, its peak memory; beside it the
same with healthy targets only.
"""

import os
import resource
import statistics
import sys
import time
from collections import Counter

from popwatch.prober import Prober
from popwatch.targets import Target, parse_target
from stubs import stub

TARGETS, ROUNDS = 1000, 3


def main() -> None:
    """Print the table."""
    print(f"{TARGETS} targets, deadline 10 s, medians of {ROUNDS} rounds, Python {sys.version.split()[0]}")
    print(f"{'targets':<28}{'wall s':>9}{'CPU us/target':>15}{'peak MB':>9}  outcomes")
    with stub("0.0") as good, stub("silent") as silent:
        healthy = [target(number, good.ports[0]) for number in range(TARGETS)]
        mixed = [target(number, port_of(number, good.ports[0], silent.ports[0])) for number in range(TARGETS)]
        for name, targets in (("healthy", healthy), ("5 % silent, 5 % refused", mixed)):
            walls, cpus, outcomes = zip(*(measure(targets) for _ in range(ROUNDS)), strict=True)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            shown = ", ".join(f"{count} {reason}" for reason, count in outcomes[0].items())
            print(f"{name:<28}{statistics.median(walls):>9.2f}{statistics.median(cpus):>15.0f}{peak:>9.1f}  {shown}")


def port_of(number: int, good: int, silent: int) -> int:
    """Of twenty targets one is silent and one refuses: nobody listens on port 1."""
    return {0: silent, 1: 1}.get(number % 20, good)


def target(number: int, port: int) -> Target:
    """A target on the loopback."""
    return parse_target({"target_id": f"t{number}", "host": "127.0.0.1", "port": port, "max_test_seconds": 10})


def measure(targets: list[Target]) -> tuple[float, float, Counter[str]]:
    """Wall seconds, CPU microseconds per target, and what came of the targets."""
    began, before = time.monotonic(), sum(os.times()[:2])
    outcomes = Counter(
        "passed" if outcome.passed else outcome.reason for arrivals in Prober().run(targets) for _, outcome in arrivals
    )
    spent = sum(os.times()[:2]) - before
    return time.monotonic() - began, spent / len(targets) * 1e6, outcomes


if __name__ == "__main__":
    main()
