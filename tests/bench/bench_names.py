"""Names at scale: ticks of 800 targets that are names, through a name server that loses and limits packets.

The name server is a thread of this process. Like AWS's resolver it takes 1,024 packets in any second and drops the
rest; beside that it loses 2 % of the questions and 2 % of the answers. Each name has a zone of its own and an address
of the loopback, where the stub server in C greets. A tick is a run of one prober, as in a warm function; the clock of
kept answers goes on by a minute from tick to tick, while the ticks themselves follow one another at once. A test's
start is the time from the beginning of the tick to that of the test; the time of a lookup is its `dns_ms`. CPU time is
of the prober's thread alone.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from popwatch.model.outcomes import Outcome
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober
from tests.bench.clients.job import FIRST
from tests.bench.fast_stub import fast_stub
from tests.name_server import SILENT, NameServer, Zone

NAMES, DEAD, TICKS = 800, 200, 20
LIMIT, LOST = 1024, 0.02
MINUTE = 60.0
CPU_ROUNDS = 3


@dataclass
class Fleet:
    """A prober, its targets, and the clock by which it keeps answers."""

    names: NameServer
    targets: list[Target]
    ipv6: bool
    clock: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.prober = Prober(resolver=self.names.resolver(clock=lambda: self.clock), has_route=lambda *_: self.ipv6)

    def tick(self) -> "Tick":
        """One tick, a minute after the one before."""
        self.clock += MINUTE
        begun, wall, cpu = time.time(), time.perf_counter(), time.thread_time()
        outcomes = {it.target_id: found for arrivals in self.prober.run(self.targets) for it, found in arrivals}
        return Tick(outcomes, begun, time.perf_counter() - wall, time.thread_time() - cpu)


@dataclass
class Tick:
    """What a tick found, when it began, and the seconds of wall and CPU time that it took."""

    outcomes: Mapping[str, Outcome]
    begun: float
    wall: float
    cpu: float

    def failed(self, names: Iterable[str]) -> int:
        """How many of the tests failed."""
        return sum(not self.outcomes[name].passed for name in names)

    def starts(self, names: Iterable[str]) -> list[float]:
        """When the tests began, in seconds of the tick."""
        return [self.outcomes[name].started_at.timestamp() - self.begun for name in names]

    def lookups(self, names: Iterable[str]) -> list[float]:
        """How long the lookups took, in ms."""
        return [self.outcomes[name].dns_ms or 0.0 for name in names]


def main() -> None:
    """Print the tables."""
    good = {f"pop.z{number}.test": [str(FIRST + number)] for number in range(NAMES)}
    print(f"Python {sys.version.split()[0]}")
    with fast_stub() as server:
        every_tick(good, server.port)
        dead_zones(good, server.port)
        changed(server.port)
        name_server_fails(good, server.port)
        cpu(good, server.port)


def targets(names: Iterable[str], port: int) -> list[Target]:
    return [parse_target({"target_id": name, "host": name, "port": port}) for name in names]


def every_tick(good: Mapping[str, list[str]], port: int) -> None:
    """20 ticks of 800 names, without a route for IPv6 and with one."""
    print(f"\n{TICKS} ticks of {NAMES} names; {LIMIT:,} packets a second, {LOST:.0%} lost in each direction")
    print(f"{'':<10}{'tests':>8}{'failed':>8}{'packets':>9}{'most/s':>8}{'dropped':>9}", end="")
    print(f"{'start s p50':>13}{'p99':>7}{'max':>7}{'lookup ms p50':>15}{'p99':>7}{'max':>7}{'tick s':>8}")
    for ipv6 in (False, True):
        with NameServer(good, lost=LOST, limit=LIMIT) as names:
            fleet = Fleet(names, targets(good, port), ipv6)
            ticks = [fleet.tick() for _ in range(TICKS)]
        failed = sum(tick.failed(good) for tick in ticks)
        starts = [start for tick in ticks for start in tick.starts(good)]
        lookups = [ms for tick in ticks for ms in tick.lookups(good)]
        figures = (
            f"{len(starts):>8}{failed:>8}{len(names.times):>9}{most_in_a_second(names.times):>8}{names.dropped:>9}"
        )
        figures += f"{shown(starts, 6, '.2f'):>27}{shown(lookups, 7, '.0f'):>29}"
        print(f"{'IPv4, IPv6' if ipv6 else 'IPv4':<10}{figures}{statistics.median(it.wall for it in ticks):>8.2f}")
        goal(f"none of {len(starts):,} tests fails", met=failed == 0, found=f"{failed} failed")
        goal("no packet beyond the limit", met=names.dropped == 0, found=f"{names.dropped} dropped")


def dead_zones(good: Mapping[str, list[str]], port: int) -> None:
    """600 names that were resolved a minute before, alone and with 200 whose zones are silent."""
    some = list(good)[: NAMES - DEAD]
    zone: Zone = {**good, **{f"pop.dead{number}.test": SILENT for number in range(DEAD)}}
    print(f"\n{len(some)} names, alone and with {DEAD} whose zones do not answer; seconds of the tick")
    print(f"{'dead zones':<12}{'tests':>7}{'failed':>8}{'start p50':>11}{'p99':>7}{'max':>7}{'tick s':>8}")
    p99 = {}
    for dead in (0, DEAD):
        with NameServer(zone, lost=LOST, limit=LIMIT) as names:
            fleet = Fleet(names, targets(some, port), ipv6=False)
            fleet.tick()
            fleet.targets = targets([*(f"pop.dead{number}.test" for number in range(dead)), *some], port)
            ticks = [fleet.tick() for _ in range(5)]
        starts = [start for tick in ticks for start in tick.starts(some)]
        failed = sum(tick.failed(some) for tick in ticks)
        p99[dead] = statistics.median(percentile(tick.starts(some), 99) for tick in ticks)
        wall = statistics.median(tick.wall for tick in ticks)
        print(f"{dead:<12}{len(starts):>7}{failed:>8}{shown(starts, 7, '.2f'):>25}{wall:>8.2f}")
    later = p99[DEAD] - p99[0]
    goal("dead zones begin no other test later, p99 within 0.1 s", met=later < 0.1, found=f"{later:+.3f} s")


def changed(port: int) -> None:
    """An address that changes: how long the old one is still tested."""
    before, after = str(FIRST), str(FIRST + 1)
    old: list[int] = []
    with NameServer({"pop.test": [before]}) as names:
        fleet = Fleet(names, targets(["pop.test"], port), ipv6=False)
        for change in range(5):
            fleet.tick()
            wanted = after if change % 2 == 0 else before
            names.zone = {"pop.test": [wanted]}
            old.append(0)
            while fleet.tick().outcomes["pop.test"].address != wanted:
                old[-1] += 1
    print(f"\nAn address changes between two ticks: {max(old)} ticks test the old one.")
    goal("the new address is tested within two minutes", met=max(old) <= 1, found=f"after {max(old) + 1} ticks at most")


def name_server_fails(good: Mapping[str, list[str]], port: int) -> None:
    """The name server is silent for three ticks."""
    with NameServer(good) as names:
        fleet = Fleet(names, targets(good, port), ipv6=False)
        fleet.tick()
        names.silent = True
        ticks = [fleet.tick() for _ in range(3)]
        names.silent = False
        ticks.append(fleet.tick())
    print("\nThe name server is silent for three ticks, and then answers again")
    print(f"{'tick':<6}{'passed':>8}{'at a kept address':>19}{'oldest s':>10}{'start s max':>13}{'lookup ms max':>15}")
    for number, tick in enumerate(ticks, 1):
        ages = [it.address_age_seconds for it in tick.outcomes.values() if it.address_age_seconds is not None]
        kept = f"{len(ages):>19}{max(ages, default=0):>10.0f}"
        late = f"{max(tick.starts(good)):>13.2f}{max(tick.lookups(good)):>15.0f}"
        print(f"{number:<6}{NAMES - tick.failed(good):>8}{kept}{late}")
    failed = ticks[0].failed(good)
    goal("a silence of one tick fails no test", met=failed == 0, found=f"{failed} failed")


def cpu(good: Mapping[str, list[str]], port: int) -> None:
    """CPU time of a test whose name is asked for, whose answer is kept, and whose host is an address."""
    by_name, by_address = targets(good, port), targets([found[0] for found in good.values()], port)
    figures: dict[str, list[float]] = {"address": [], "kept answer": [], "asked for": []}
    with NameServer(good) as names:
        for _ in range(CPU_ROUNDS):
            fleet = Fleet(names, by_name, ipv6=False)
            measured: list[tuple[str, Callable[[], Tick]]] = [("asked for", fleet.tick), ("kept answer", fleet.tick)]
            for what, tick in measured:
                figures[what].append(tick().cpu)
                fleet.clock -= MINUTE
            fleet.targets = by_address
            figures["address"].append(fleet.tick().cpu)
    print(f"\nCPU microseconds of a test, {NAMES} in a tick: least / middle / greatest of {CPU_ROUNDS} rounds")
    for what, seconds in figures.items():
        each = [it / NAMES * 1e6 for it in sorted(seconds)]
        print(f"  {what:<13}{each[0]:>7.0f}{statistics.median(each):>7.0f}{each[-1]:>7.0f}")


def shown(values: list[float], width: int, form: str) -> str:
    """The middle, the 99th percentile and the greatest."""
    middle, high, most = statistics.median(values), percentile(values, 99), max(values)
    return f"{format(middle, form)}{format(high, form):>{width}}{format(most, form):>{width}}"


def percentile(values: list[float], rank: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[rank - 1]


def most_in_a_second(times: list[float]) -> int:
    """The most packets in any second."""
    most = begin = 0
    for end, time_of_last in enumerate(times):
        while times[begin] <= time_of_last - 1:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def goal(what: str, *, met: bool, found: str) -> None:
    print(f"Goal, {what}: {'met' if met else 'missed'}, {found}.", flush=True)


if __name__ == "__main__":
    main()
