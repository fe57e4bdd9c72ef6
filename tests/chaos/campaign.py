"""A campaign: many installations, each for a day of chaos with fault-free times in between, and the verdict on all of
them.

A finding comes with the seed that shows it again, after the chaos around it has been made as small as still shows it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import process_time
from typing import Protocol

from tests.chaos import postures
from tests.chaos.evidence import Evidence
from tests.chaos.facts import TOPICS, AlertRecorded, Finding, Forgotten, Judged, Sent, Tested, TransitionRecorded
from tests.chaos.faults import CHANGES, OF_PEOPLE, FaultLog
from tests.chaos.model import Audit, Verdict
from tests.chaos.oracle import Oracle
from tests.chaos.world import Code, Upgrade, World

CHAOS_HOURS, CALM_HOURS = 5.5, 0.5
HOURS_PER_DAYS = 300.0
"""For so many hours of a campaign there is one installation of days."""

SHRINKING_SECONDS = 60.0
"""How long a failure is made smaller, of one core."""

USUAL = Code()
"""The product as it is."""

LOST = ("transition lost", "alert lost", "test lost", "sample lost")
INVENTED = ("transition invented", "alert invented", "recorded unsent", "invented")


@dataclass(frozen=True, slots=True)
class Plan:
    """How one installation is run: its seed, its hours of chaos, the faults that are excluded.

    `fault_rates` sets some rates of faults, and the latency of AWS, to find what is rare.
    """

    seed: str
    rounds: tuple[float, ...]
    excluded: frozenset[str] = frozenset()
    code: Code = USUAL
    fault_rates: Mapping[str, float] = field(default_factory=dict)
    upgrade: Upgrade | None = None
    days: bool = False
    """Whether it is one of days, in which postures are tested."""

    @property
    def calm_hours(self) -> float:
        """After each round, without faults."""
        return postures.CALM_HOURS if self.days else CALM_HOURS

    def run(self) -> tuple[World, Verdict]:
        """Run it, and judge it."""
        world = World(self.seed, self.excluded, self.code, self.fault_rates, self.upgrade, self.days)
        for hours in self.rounds:
            world.run(hours, self.calm_hours)
        world.close()
        verdict = Audit().run(world.evidence.facts)
        if not self.upgrade:  # an older version keeps older promises
            oracle = Oracle(world.evidence.facts, world.evidence.times)
            verdict.findings += oracle.run()
            verdict.judged += oracle.counted
        return world, verdict


class Ran(Protocol):
    """What ran, simulated or live, as its figures need it."""

    ticks: int
    faults: FaultLog
    evidence: Evidence
    trace: list[tuple[datetime, int, str]]

    @property
    def invocations(self) -> int:
        """How many there have been."""


@dataclass(slots=True)
class Figures:
    """What a campaign counted."""

    hours: float = 0.0
    cpu_seconds: float = 0.0
    installations: int = 0
    ticks: int = 0
    invocations: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    interventions: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    """What the oracle counted."""
    tests: int = 0
    transitions_expected: int = 0
    transitions_found: int = 0
    alerts_expected: int = 0
    alerts_found: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    alerts_by_topic: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[Plan, Finding]] = field(default_factory=list)

    def add(self, plan: Plan, world: World, verdict: Verdict) -> None:
        """Count one installation."""
        self.hours += sum(plan.rounds) + plan.calm_hours * len(plan.rounds)
        self.findings += [(plan, finding) for finding in verdict.findings]
        self.count(world, verdict)

    def count(self, world: Ran, verdict: Verdict) -> None:
        """Count what it did, and what came of it."""
        self.installations += 1
        self.ticks += world.ticks
        self.invocations += world.invocations
        self.faults += world.faults.counts
        self.interventions += world.faults.interventions
        self.judged += verdict.judged
        self.tests += verdict.tests
        self.transitions_expected += verdict.transitions_expected
        self.transitions_found += verdict.transitions_found
        self.alerts_expected += verdict.alerts_expected
        self.alerts_found += verdict.alerts_found
        self.alerts += verdict.alerts
        self.alerts_by_topic += verdict.alerts_by_topic
        self.duplicates += verdict.duplicates


def plans(seed: str, hours: float) -> Iterator[Plan]:
    """The installations of a campaign: as many as its hours take, and for each `HOURS_PER_DAYS` one of days beside."""
    for number in range(max(1, round(hours / (CHAOS_HOURS + CALM_HOURS)))):
        yield Plan(f"{seed}/{number}", (CHAOS_HOURS,))
    yield from plans_of_days(seed, int(hours // HOURS_PER_DAYS))


def plans_of_days(seed: str, installations: int) -> Iterator[Plan]:
    """Installations in which postures are tested."""
    for number in range(installations):
        yield Plan(f"{seed}/days-{number}", (postures.CHAOS_HOURS,), days=True)


def run(seed: str, hours: float, code: Code = USUAL, fault_rates: Mapping[str, float] | None = None) -> Figures:
    """A campaign's figures; it ends with the first installation in which something is wrong."""
    figures = Figures()
    for plan in plans(seed, hours):
        figures.add(plan, *replace(plan, code=code, fault_rates=fault_rates or {}).run())
        if figures.findings:
            break
    return figures


def report(figures: Figures) -> str:
    """The figures as they are printed."""
    first = [("hours simulated", figures.hours), ("seconds of one core", figures.cpu_seconds)]
    return table([*first, *rows(figures, Counter(finding.kind for _, finding in figures.findings))])


def rows(figures: Figures, wrong: Counter[str]) -> list[tuple[str, float]]:
    """What was counted, and how often each kind of thing went wrong."""
    wrong = wrong.copy()
    faults = {kind: count for kind, count in figures.faults.items() if kind not in CHANGES + OF_PEOPLE}
    changes = {kind: count for kind, count in figures.faults.items() if kind in CHANGES}
    lost = {kind: wrong.pop(kind, 0) for kind in LOST}
    invented = sum(wrong.pop(kind, 0) for kind in INVENTED)
    return [
        ("installations", figures.installations),
        ("ticks", figures.ticks),
        ("invocations", figures.invocations),
        ("tests", figures.tests),
        ("faults", sum(faults.values())),
        *((f"  {kind.replace('_', ' ')}", count) for kind, count in sorted(faults.items())),
        ("interventions", figures.interventions.total()),
        *((f"  {kind}", count) for kind, count in sorted(figures.interventions.items())),
        ("changes of servers", sum(changes.values())),
        *((f"  {kind.replace('_', ' ')}", count) for kind, count in sorted(changes.items())),
        ("judged by the oracle", figures.judged.total()),
        *((f"  {kind}", count) for kind, count in sorted(figures.judged.items())),
        ("transitions expected", figures.transitions_expected),
        ("transitions found", figures.transitions_found),
        ("alerts expected", figures.alerts_expected),
        *((f"  {event}", count) for event, count in sorted(figures.alerts.items())),
        ("alerts found, on each topic", figures.alerts_found),
        *((f"  on the {topic} topic", figures.alerts_by_topic[topic]) for topic in TOPICS),
        *((kind.replace(" lost", "s lost"), count) for kind, count in lost.items()),
        ("invented", invented),
        ("messages sent twice to a topic, explained", figures.duplicates.total()),
        *((f"  {why}", count) for why, count in sorted(figures.duplicates.items())),
        ("anything else wrong", wrong.total()),
        *((f"  {kind}", count) for kind, count in sorted(wrong.items())),
    ]


def table(named: Iterable[tuple[str, float]]) -> str:
    """Figures under one another."""
    return "\n".join(f"{name:<55}{value:>12,.0f}" for name, value in named)


# ---- a failure, made smaller


def shrink(plan: Plan, finding: Finding, seconds: float = SHRINKING_SECONDS) -> tuple[Plan, World, Finding]:
    """The smallest chaos found, in the time given, in which the same kind of thing goes wrong."""
    deadline = process_time() + seconds
    world, verdict = plan.run()
    best = plan, world, next(one for one in verdict.findings if one.kind == finding.kind)

    def shows(smaller: Plan) -> bool:
        nonlocal best
        if process_time() > deadline:
            return False
        there, judged = smaller.run()
        found = [one for one in judged.findings if one.kind == finding.kind]
        if found:
            best = smaller, there, found[0]
        return bool(found)

    hours = _hours_into(best[1], best[2])
    shows(replace(plan, rounds=(hours + 0.1,)))
    _drop_chunks(list(best[1].faults.names), lambda excluded: shows(replace(best[0], excluded=frozenset(excluded))))
    return best


def _hours_into(world: World, finding: Finding) -> float:
    began = world.time_of(0.0)
    order = min(finding.order, len(world.evidence.times) - 1)
    return (world.evidence.times[order] - began) / timedelta(hours=1)


def _drop_chunks(names: Sequence[str], still_shows: Callable[[Collection[str]], bool]) -> None:
    """Spare chunks of faults, large ones first, as long as it still shows."""
    excluded: set[str] = set()
    size = len(names) // 2
    while size:
        for start in range(0, len(names), size):
            chunk = set(names[start : start + size]) - excluded
            if chunk and still_shows(excluded | chunk):
                excluded |= chunk
        size //= 2


def trace(world: Ran, finding: Finding) -> str:
    """What happened around a finding: of its target, and of every invocation that had to do with it."""
    time = world.evidence.times[min(finding.order, len(world.evidence.times) - 1)]
    of_target = [when for when, _, fact in _facts(world) if finding.target in _targets_of(fact) and when <= time]
    since, until = min(of_target[-8:], default=time) - timedelta(minutes=2), time + timedelta(minutes=5)
    shown = [
        (when, number, _describe(fact))
        for when, number, fact in _facts(world)
        if finding.target in _targets_of(fact) and since <= when <= until
    ]
    concerned = {number for _, number, _ in shown}
    shown += [
        (when, number, what)
        for when, number, what in world.trace
        if since <= when <= until and (number in concerned or (not number and _concerns(what, finding.target)))
    ]
    lines = [
        f"{when:%d %H:%M:%S.%f} {number or '':>6} {what}" for when, number, what in sorted(shown, key=lambda it: it[0])
    ]
    return "\n".join(lines)


def _facts(world: Ran) -> Iterator[tuple[datetime, int, object]]:
    for when, fact in zip(world.evidence.times, world.evidence.facts, strict=True):
        yield when, getattr(fact, "invocation", 0), fact


def _targets_of(fact: object) -> Collection[str]:
    match fact:
        case Sent():
            return [alert.target for alert in fact.alerts]
        case AlertRecorded():
            return [fact.alert.target]
        case Tested() | Judged() | TransitionRecorded() | Forgotten():
            return [fact.target]
        case _:
            return []


def _concerns(what: str, target: str) -> bool:
    return what.startswith(("tick", "minute", f"{target} "))


def _describe(fact: object) -> str:
    match fact:
        case Tested():
            return f"{fact.target} tested for {fact.tick:%H:%M:%S}: {'passed' if fact.passed else 'failed'}"
        case Judged():
            what = (
                "outbox delivered" if fact.delivers else f"{fact.state}, {fact.failures} failures, {fact.alerts} alerts"
            )
            pending = "".join(f", pending {alert.event} {alert.number}" for alert in fact.outbox)
            return f"{fact.target} version {fact.version} for {fact.tick:%H:%M:%S}: {what}{pending}"
        case TransitionRecorded():
            return f"{fact.target} {fact.previous} to {fact.state} put into History"
        case Sent():
            alerts = ", ".join(f"{alert.target} {alert.event} {alert.number}" for alert in fact.alerts)
            return f"SNS took for {fact.topic} {alerts}{'' if fact.answered else ', its answer was lost'}"
        case AlertRecorded():
            return (
                f"{fact.alert.target} {fact.alert.event} {fact.alert.number} recorded as sent to {sorted(fact.topics)}"
            )
        case Forgotten():
            return f"{fact.target} forgotten"
        case _:
            return str(fact)
