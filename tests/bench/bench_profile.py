"""One tick of 10,000 healthy targets: the CPU time of its parts, and the functions that take most of it.

Each round is a process of its own over the same tables (the local stack's AWS) and the same stub server; its first tick
warms up. The parts are those of the bench of sweeps. What is given are the middles of the rounds, in CPU seconds. The
functions are those that took most of one more tick under cProfile, without what they call; cProfile makes small
functions look more expensive than they are, and sees the main thread only. How it was before sweeps were made faster is
on [a page of its own](measurements-sweep.md).
"""

from collections.abc import Iterable

from tests.bench.bench_sweep import PARTS
from tests.bench.fast_stub import fast_stub
from tests.bench.sweep_fleet import SweepFleet, local_aws, middle

TARGETS, ROUNDS = 10_000, 3


def main() -> None:
    """Print the tables."""
    with local_aws() as aws, fast_stub() as server:
        fleet = SweepFleet(aws, aws, server.port)
        fleet.grow(TARGETS)
        show_parts(fleet)
        print("\nBy function of its own: seconds, calls")
        show_functions(fleet.profile())


def show_parts(fleet: SweepFleet) -> None:
    """Print the parts of a tick."""
    seconds = middle([fleet.ticks(2)[1].cpu for _ in range(ROUNDS)])
    print(f"{TARGETS:,} targets, {ROUNDS} rounds, CPU seconds of a tick")
    for part in PARTS:
        show(part, seconds[part])
    show("all", seconds.total())
    show("all but the tests", seconds.total() - seconds["test"])


def show(what: str, seconds: float) -> None:
    """One row."""
    print(f"{what:<22}{seconds:>9.2f}", flush=True)


def show_functions(found: Iterable[tuple[str, int, float]]) -> None:
    """A row for each."""
    for name, calls, seconds in found:
        print(f"{seconds:>9.2f}{calls:>12,}  {name}", flush=True)


if __name__ == "__main__":
    main()
