"""A whole tick of healthy fleets, and of one with 1 % refusing: where its time goes, and how that grows.

The real sweep with its store, prober, queue and topic; the local stack's AWS and the stub servers are processes of
their own, whose time is not counted. Messages are tested one after the other in the one process, while Lambda runs as
many at once as there are: the wall time is that of a single worker. The fleet has been up before, and every target is
due at every tick. `read` is reading the tables and the items in them; `queue` is writing messages and reading them
again, targets and all; `test` is the prober; `judge` health and samples; `write` records, samples, transitions and
notes of alerts; `alerts` is making and publishing them; `rest` what is left, such as waiting for commits. Shown are the
middles of the ticks, and of the whole the least and the greatest, too. A tick with 1 % down is the first of its
process, which costs some milliseconds, and an alert is due at each first failure. Amazon's DynamoDB Local (.ci/install-
npm) stands in for the local stack's tables where it is installed: what it takes itself is in the wall time of `read`
and `write`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tests import dynamodb_local
from tests.bench.fast_stub import fast_stub
from tests.bench.sweep_fleet import SweepFleet, Tick, local_aws, middle

PARTS = ("read", "plan", "queue", "test", "judge", "write", "alerts", "rest")
TICKS: Mapping[int, int] = {100: 7, 1000: 5, 10_000: 3, 50_000: 2}
"""Ticks of each size after the first, which warms up: fewer where one takes long."""

TICKS_WITHOUT_WARM_UP = 50_000
LOCAL_TICKS: Mapping[int, int] = {100: 5, 1000: 3, 10_000: 2}
GOAL_TARGETS, GOAL_SECONDS = 10_000, 60
NOISE = 1.3
"""A part's cost per target may grow by so much from size to size and still be called linear; below 5 us none counts."""

LEAST_US = 5.0


def main() -> None:
    """Print the tables and the goals."""
    with local_aws() as aws, fast_stub() as server:
        print("The local stack's AWS (MiniStack): CPU microseconds a target, and seconds in all")
        healthy = rounds(SweepFleet(aws, aws, server.port), TICKS, with_down=True)
        for line in [*growth(healthy), *goals(healthy)]:
            print(line)
        missing = dynamodb_local.missing()
        if missing:
            print(f"Tables in DynamoDB Local: not measured, {missing}.")
            return
        with dynamodb_local.running() as dynamodb:
            print("\nThe same with the tables in DynamoDB Local")
            rounds(SweepFleet(dynamodb, aws, server.port), LOCAL_TICKS)


def rounds(fleet: SweepFleet, sizes: Mapping[int, int], *, with_down: bool = False) -> dict[int, list[Tick]]:
    """Grow through the sizes, and print rows for each; the healthy ticks."""
    heading()
    found: dict[int, list[Tick]] = {}
    for count, number in sizes.items():
        fleet.grow(count)
        warm_up = count < TICKS_WITHOUT_WARM_UP
        found[count] = fleet.ticks(number + warm_up)[warm_up:]
        show(f"{count:,}", found[count])
        if with_down:
            fleet.set_down()
            show(f"{count:,}, 1 % down", fleet.ticks(1))
            fleet.set_up()
    return found


def heading() -> None:
    """Print the head of a table."""
    names = "".join(f"{part:>8}" for part in PARTS)
    print(f"{'targets':<19}{'':<5}{names}{'all: least / middle / greatest':>32}{'peak MB':>9}")


def show(what: str, ticks: Sequence[Tick]) -> None:
    """Two rows: CPU time, a target; wall time, of the tick."""
    count = ticks[0].tests
    done = f"  {len(ticks)} ticks, {ticks[0].messages} messages, {ticks[0].alerts} alerts"
    rows = (
        ("CPU", [tick.cpu for tick in ticks], 1e6 / count, 0, f"{max(tick.peak_mb for tick in ticks):>9.0f}{done}"),
        ("wall", [tick.wall for tick in ticks], 1.0, 2, ""),
    )
    for kind, times, factor, digits, end in rows:
        parts, whole = middle(times), sorted(sum(one.values()) * factor for one in times)
        cells = "".join(f"{parts[part] * factor:>8.{digits}f}" for part in PARTS)
        least, mid, greatest = whole[0], whole[len(whole) // 2], whole[-1]
        shown = f"{least:.{digits}f} / {mid:.{digits}f} / {greatest:.{digits}f}"
        print(f"{what if kind == 'CPU' else '':<19}{kind:<5}{cells}{shown:>32}{end}", flush=True)


def per_target_us(ticks: Sequence[Tick]) -> dict[str, float]:
    """CPU microseconds a target, by part."""
    parts = middle([tick.cpu for tick in ticks])
    return {part: parts[part] / ticks[0].tests * 1e6 for part in PARTS}


def growth(found: Mapping[int, Sequence[Tick]]) -> Iterator[str]:
    """How the cost of a target grows from each size to the next, and whether any part's does more than the noise."""
    sizes = list(found)
    costs = {size: per_target_us(ticks) for size, ticks in found.items()}
    steep = []
    yield f"{'CPU a target grows':<24}" + "".join(f"{part:>8}" for part in PARTS)
    for small, large in pairwise(sizes):
        ratios = {part: costs[large][part] / costs[small][part] for part in PARTS if costs[small][part] >= LEAST_US}
        cells = "".join(f"{f'x {ratios[part]:.2f}' if part in ratios else '-':>8}" for part in PARTS)
        yield f"{f'{small:,} to {large:,}':<24}{cells}"
        steep += [f"{part} from {small:,} to {large:,}" for part, ratio in ratios.items() if ratio > NOISE]
    verdict = f"missed by {', '.join(steep)}" if steep else "met"
    yield f"Goal, every part at most linear (a target's cost grows less than {NOISE} times): {verdict}."


def goals(found: Mapping[int, Sequence[Tick]]) -> Iterator[str]:
    """What became of the goals for a tick of ten thousand."""
    ticks = found[GOAL_TARGETS]
    cpu, wall = middle([tick.cpu for tick in ticks]), sum(middle([tick.wall for tick in ticks]).values())
    outside = cpu.total() - cpu["test"]
    yield (
        f"Goal, a tick of {GOAL_TARGETS:,} within half its minute: "
        f"{'met' if wall < GOAL_SECONDS / 2 else 'missed'}, {wall:.1f} s by a single worker; "
        f"{cpu.total():.1f} s of CPU, {outside:.1f} s of them outside of the tests."
    )


if __name__ == "__main__":
    main()
