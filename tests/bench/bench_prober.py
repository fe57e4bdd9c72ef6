"""What a test costs, side by side: popwatch's prober, other programs, and a client in C as the limit of the machine.

Every server is the bench's own stub in C on an address of the loopback; all clients take turns in each round, so that a
busy time of the machine affects all alike. CPU time is of the client's process (of its children for check_pop and
xymonnet, whose start is part of it); the stub's is not in it. Shown are the least, the middle and the greatest of the
rounds. With dead servers 5 % are silent and 5 % refuse, and the deadline is 5 seconds. The memory of a test in flight,
its target's included, is what the process's peak grows by for each beyond the first hundred, silent servers only.
"""

import statistics
import sys
from collections.abc import Iterator, Mapping

from tests.bench.clients.job import Job
from tests.bench.fast_stub import fast_stub
from tests.bench.peers import MissingError, Peer, Run, blackbox, check_pop, limit, python_client, xymonnet
from tests.bench.stubs import tls_stub

SIZES, ROUNDS, GOALS_AT = (10, 100, 1000, 10_000), 3, 1000
OURS, BARE = "popwatch", "bare Python loop"
PEERS: Mapping[str, Peer] = {
    "C client": limit,
    BARE: python_client("bare"),
    OURS: python_client("popwatch"),
    "xymonnet": xymonnet,
    "asyncio streams": python_client("asyncio"),
    "asyncio protocols": python_client("protocols"),
    "poplib, 100 threads": python_client("poplib"),
    "blackbox_exporter": blackbox,
    "check_pop": check_pop,
}
LIMITS = ("C client", "xymonnet", BARE)
"""In C, or without judgement: popwatch is not expected to take less."""

SLOW = {"check_pop": 300, "blackbox_exporter": 1000}
"""The most tests of a run of what takes a process or a request for each."""


DEADLINE, GRACE = 5.0, 1.0
"""Seconds of a test with dead servers about, and how much later a batch may end."""

FEW_TESTS, BATCH_SIZES = 100, (300, 900)


def main() -> None:
    """Print the tables."""
    print(f"Python {sys.version.split()[0]}, {ROUNDS} rounds; CPU microseconds a test: least / middle / greatest")
    heading()
    with fast_stub() as server:
        for size in SIZES:
            job = Job(size, server.port)
            runs = compare(f"{size:,} healthy", job, list(PEERS))
            if size == GOALS_AT:
                middles = {name: middle(found, part(job, name)) for name, found in runs.items()}
        ends = {}
        for size in SIZES:
            job = Job(size, server.port, server.silent_port, deadline=DEADLINE)
            found = compare(f"{size:,}, 10 % dead", job, [OURS, "asyncio streams"] if size == GOALS_AT else [OURS])
            ends[size] = max(run.wall for run in found[OURS])
        held = list(memory(server.silent_port))
    with tls_stub() as secured:
        job = Job(300, secured.ports[0], authority=secured.authority)
        compare("300 with TLS", job, [OURS, "asyncio streams", "poplib, 100 threads"])
    for goal in goals(middles):
        print(goal)
    latest = max(wall for size, wall in ends.items() if size <= GOALS_AT)
    reached = "met" if latest <= DEADLINE + GRACE else "missed"
    whole = f"{latest:.2f} at most up to {GOALS_AT:,} targets; {ends[SIZES[-1]]:.2f} for {SIZES[-1]:,}, 900 at a time"
    print(f"Goal, dead servers keep no batch beyond {DEADLINE:g} + {GRACE:g} seconds: {reached}, {whole}.")
    reached = "met" if max(held) <= 1.25 * min(held) else "missed"
    shown = " and ".join(f"{kilobytes:.1f} KB at {size}" for size, kilobytes in zip(BATCH_SIZES, held, strict=True))
    print(f"Goal, memory of a test in flight is the same however many there are: {reached}, {shown} at once.")


def heading() -> None:
    """Print the table's head."""
    names = f"{'CPU us a test':>20}{'tests/CPU s':>13}{'tests/s':>9}{'wall s':>8}{'peak MB':>9}"
    print(f"{'servers':<18}{'client':<22}{names}")


def goals(middles: Mapping[str, float]) -> Iterator[str]:
    """What became of the goals, by the middle CPU time of each with as many healthy servers as GOALS_AT says."""
    ours, others = middles[OURS], {name: cpu for name, cpu in middles.items() if name not in (*LIMITS, OURS)}
    ahead = [name for name, cpu in others.items() if cpu <= ours]
    yield f"Goal, less than each of {', '.join(others)}: {f'missed, {ahead} take less' if ahead else 'met'}."
    if LIMITS[0] in middles:
        times = ours / middles[LIMITS[0]]
        bare = middles[BARE] / middles[LIMITS[0]]
        yield f"Goal, at most 2 times the C client: {'met' if times <= 2 else 'missed'}, it is {times:.1f} times."
        yield f"The same calls from a bare loop in Python: {bare:.1f} times. The rest is judgement, times and outcomes."


def memory(silent_port: int) -> Iterator[float]:
    """KB that each test in flight takes beyond the first few, for each of the sizes."""
    peaks = {}
    for size in (FEW_TESTS, *BATCH_SIZES):
        job = Job(size, silent_port, deadline=2.0)
        peaks[size] = statistics.median(PEERS[OURS](job).peak_mb for _ in range(ROUNDS)) * 1024
    for size in BATCH_SIZES:
        yield (peaks[size] - peaks[FEW_TESTS]) / (size - FEW_TESTS)


def compare(what: str, job: Job, names: list[str]) -> dict[str, list[Run]]:
    """Print a row for each client; the clients take turns. The runs of each that is installed here."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    missing: dict[str, str] = {}
    for _ in range(ROUNDS):
        for name in names:
            if name not in missing:
                try:
                    runs[name].append(PEERS[name](part(job, name)))
                except MissingError as error:
                    missing[name] = str(error)
    for name in names:
        if name in missing:
            print(f"{what:<18}{name:<22}skipped: {missing[name]}")
        else:
            show(what, name, part(job, name), runs[name])
    return {name: found for name, found in runs.items() if name not in missing}


def middle(runs: list[Run], job: Job) -> float:
    """The middle CPU time of some runs, in microseconds a test."""
    return statistics.median(run.cpu for run in runs) / job.tests * 1e6


def part(job: Job, name: str) -> Job:
    """The job, or as much of it as a slow client does in reasonable time."""
    return Job(min(job.tests, SLOW.get(name, job.tests)), job.port, job.silent_port, job.deadline, job.authority)


def show(what: str, name: str, job: Job, runs: list[Run]) -> None:
    """One row, with a word if not all passed that should."""
    healthy = job.tests if not job.silent_port else sum(number % 20 > 1 for number in range(job.tests))
    cpus = sorted(run.cpu / job.tests * 1e6 for run in runs)
    middle, wall = statistics.median(cpus), statistics.median(run.wall for run in runs)
    peak = max(run.peak_mb for run in runs)
    shown = f"{cpus[0]:.0f} / {middle:.0f} / {cpus[-1]:.0f}"
    failed = max(healthy - run.passed for run in runs)
    row = f"{what:<18}{name:<22}{shown:>20}{1e6 / middle:>13,.0f}{job.tests / wall:>9,.0f}{wall:>8.2f}"
    print(f"{row}{f'{peak:.1f}' if peak else '-':>9}{f'  {failed} healthy ones failed' if failed else ''}", flush=True)


if __name__ == "__main__":
    main()
