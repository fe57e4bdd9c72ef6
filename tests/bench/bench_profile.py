"""One tick of 10,000 healthy targets by popwatch as it was before its sweeps were made faster, and as it is.

Both trees take turns in each round, over the same tables (the local stack's AWS) and the same stub server, each time in
a process of its own whose first tick warms up; the parts are those of the bench of sweeps. What is given are the
middles of the rounds, in CPU seconds. The functions are those that took most of one more tick under cProfile, without
what they call; cProfile makes small functions look dearer than they are, and sees the main thread only. What was done
between the two is told in [a page of its own](measurements-sweep.md).
"""

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.bench.bench_sweep import PARTS
from tests.bench.fast_stub import fast_stub
from tests.bench.sweep_fleet import PROJECT, SweepFleet, local_aws, middle

BEFORE = "666c473"
"""The last commit before the work on sweeps."""

TARGETS, ROUNDS = 10_000, 3


def main() -> None:
    """Print the tables."""
    with local_aws() as aws, fast_stub() as server, tempfile.TemporaryDirectory() as folder:
        try:
            before = unpack(BEFORE, Path(folder))
        except subprocess.CalledProcessError:
            print(f"Not measured: commit {BEFORE} is not in this clone (git fetch --unshallow).")
            return
        fleet = SweepFleet(aws, aws, server.port)
        fleet.grow(TARGETS)
        compare(fleet, before)
        for what, tree in ((f"Before ({BEFORE})", before), ("Now", PROJECT)):
            print(f"\n{what}, by function of its own: seconds, calls")
            show_functions(fleet.profile(tree))


def unpack(commit: str, folder: Path) -> Path:
    """The tree of a commit, unpacked. Raises CalledProcessError where git does not have it."""
    archive = subprocess.run(
        ["git", "archive", commit, "layers", "functions"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def compare(fleet: SweepFleet, before: Path) -> None:
    """Print the parts of both trees' ticks, and how many times less each takes now."""
    old, new = [], []
    for _ in range(ROUNDS):
        old.append(fleet.ticks(2, before)[1].cpu)
        new.append(fleet.ticks(2)[1].cpu)
    then, now = middle(old), middle(new)
    print(f"{TARGETS:,} targets, {ROUNDS} rounds, CPU seconds of a tick")
    print(f"{'part':<22}{'before':>9}{'now':>9}{'times less':>12}")
    for part in PARTS:
        show(part, then[part], now[part])
    show("all", then.total(), now.total())
    show("all but the tests", then.total() - then["test"], now.total() - now["test"])


def show(what: str, before: float, now: float) -> None:
    """One row."""
    print(f"{what:<22}{before:>9.2f}{now:>9.2f}{f'{before / now:.1f}' if now >= 0.005 else '-':>12}", flush=True)


def show_functions(found: Iterable[tuple[str, int, float]]) -> None:
    """A row for each."""
    for name, calls, seconds in found:
        print(f"{seconds:>9.2f}{calls:>12,}  {name}", flush=True)


if __name__ == "__main__":
    main()
