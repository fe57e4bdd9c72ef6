"""The plan of a sweep: which targets are tested now, which before the next tick, which are switched off. Pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from popwatch.decisions.batches import Batch, PlannedTest
from popwatch.decisions.judging import TICK
from popwatch.decisions.schedule import LARGEST_BATCH, batch_count, is_due, late_seconds_of, next_due, own_late_seconds
from popwatch.model.health import State
from popwatch.model.outcomes import DETAIL_SHOWN
from popwatch.model.records import Record
from popwatch.model.targets import Target, config_fingerprint
from popwatch.model.text import clean


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done at a tick. `now` and `later` are not yet cut into the batches that the targets belong to."""

    now: Batch
    later: tuple[Batch, ...]
    to_suspend: tuple[PlannedTest, ...]
    states: Mapping[State, int]

    @property
    def batches(self) -> int:
        """The number of batches into which the fleet is cut."""
        return self.now.batches


def plan(
    tick: datetime,
    after: datetime | None,
    targets: Mapping[str, Target],
    records: Mapping[str, Record],
    defaults: Mapping[str, Any],
    *,
    largest_batch: int = LARGEST_BATCH,
    late_seconds: int = 0,
) -> Plan:
    """The plan for `tick`; `after` is the last completed tick, or None if there was none.

    `late_seconds` is how long after the tick its sweep began.
    """
    cyclic = in_cycles(targets)
    tests = [
        _planned_test(target, records.get(name) or Record(name), watched_parents(target, targets, cyclic), records)
        for name, target in targets.items()
    ]
    due: defaultdict[tuple[datetime, int], list[PlannedTest]] = defaultdict(list)
    now: list[PlannedTest] = []
    for test in tests:
        due_at = _due(test, after or tick - TICK, tick)
        if due_at is None:
            continue
        late = _late_seconds(test, tick, due_at, late_seconds)
        if due_at == tick and late == late_seconds:
            now.append(test)
        else:
            due[due_at, late].append(test)
    count = batch_count(sum(test.target.policy.enabled for test in tests), largest_batch)
    return Plan(
        now=Batch(tick, tick + TICK, count, 0, tuple(now), defaults, late_seconds=late_seconds),
        later=tuple(
            Batch(due_at, tick + TICK, count, 0, tuple(due[due_at, late]), defaults, late_seconds=late)
            for due_at, late in sorted(due)
        ),
        to_suspend=tuple(test for test in tests if _is_newly_suspended(test)),
        states=Counter(
            State.SUSPENDED if not test.target.policy.enabled else test.record.health.state for test in tests
        ),
    )


def plan_requested(
    request: Collection[str],
    now: datetime,
    targets: Mapping[str, Target],
    records: Mapping[str, Record],
    defaults: Mapping[str, Any],
    *,
    largest_batch: int = LARGEST_BATCH,
) -> list[Batch]:
    """The batches of tests that someone has asked for, by `own_late_seconds`; suspended targets are left out.

    Like those of a plan they are not yet cut into the batches that the targets belong to.
    """
    cyclic = in_cycles(targets)
    count = batch_count(sum(target.policy.enabled for target in targets.values()), largest_batch)
    by_late_seconds: defaultdict[int, list[PlannedTest]] = defaultdict(list)
    for name in request:
        target = targets.get(name)
        if target is None or not target.policy.enabled:
            continue
        record = records.get(name) or Record(name)
        test = _planned_test(target, record, watched_parents(target, targets, cyclic), records)
        began = record.outcome.started_at if record.outcome else None
        by_late_seconds[own_late_seconds(record.health, record.tick, began)].append(test)
    batches = []
    for late, tests in sorted(by_late_seconds.items()):
        tick = now.replace(microsecond=0) - timedelta(seconds=late)
        batches.append(
            Batch(tick, _tick_after(tick), count, 0, tuple(tests), defaults, late_seconds=late, requested=True)
        )
    return batches


def at_free_second(requested: Batch, taken: Collection[datetime]) -> Batch:
    """The batch at the first second from its tick on that is not `taken`, and later than what was judged last."""
    second = timedelta(seconds=1)
    tick = max([requested.tick, *(test.record.tick + second for test in requested.tests if test.record.tick)])
    while tick in taken:
        tick += second
    return replace(requested, tick=tick, next_tick=_tick_after(tick))


def counts_if_failed(test: PlannedTest, tick: datetime) -> bool:
    """Whether a test that someone has asked for is one that was due, so that its failure counts."""
    record = test.record
    due = is_due(record.target_id, record.health, test.target.policy, record.tick, tick)
    return due or _has_changed(test)


def without_target(targets: Mapping[str, Target], records: Iterable[Record]) -> list[Record]:
    """The records whose targets the user has removed."""
    return [record for record in records if record.target_id not in targets]


def unknown_fields(targets: Iterable[Target]) -> tuple[str, list[str]]:
    """A digest of all unknown fields, empty if there are none, and the fields as `target: field`, each cut."""
    found = sorted(f"{target.target_id}: {name}" for target in targets for name in target.unknown_fields)
    digest = blake2b("\n".join(found).encode("utf-8", "replace"), digest_size=8).hexdigest() if found else ""
    return digest, [clean(name, DETAIL_SHOWN) for name in found]


def in_cycles(targets: Mapping[str, Target]) -> set[str]:
    """The targets that depend on themselves, directly or through others: each would hold back the others' alerts."""
    return {name for names in cycles(targets) for name in names}


def cycles(targets: Mapping[str, Target]) -> list[list[str]]:
    """The targets of `in_cycles`, those together that depend on one another; alone who depends on itself only.

    These are the strongly connected components (Tarjan 1972), without recursion, as a chain of targets may be long.
    """
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}  # that is reached from a target, of those whose component is not complete
    incomplete: dict[str, None] = {}
    on_itself: set[str] = set()
    found: list[list[str]] = []
    for start in targets:
        if start in number or not targets[start].policy.depends_on:  # as nearly all: each sweep gets here
            continue
        walk = [(start, _parents(start, targets))]
        while walk:
            name, parents = walk[-1]
            if name not in number:  # reached for the first time
                number[name] = lowest[name] = len(number)
                incomplete[name] = None
            parent = next(parents, None)
            if parent is None:  # all that it depends on has been walked
                walk.pop()
                if walk:
                    below = walk[-1][0]
                    lowest[below] = min(lowest[below], lowest[name])
                # From none of them is an earlier one reached: those from `name` on depend on one another.
                if lowest[name] == number[name]:
                    component = _take_from(incomplete, name)
                    if len(component) > 1 or name in on_itself:
                        found.append(component)
            elif parent not in number:
                walk.append((parent, _parents(parent, targets)))
            elif parent in incomplete:  # a way back; to a complete component there is none
                lowest[name] = min(lowest[name], number[parent])
                if parent == name:
                    on_itself.add(name)
    return found


def _parents(name: str, targets: Mapping[str, Target]) -> Iterator[str]:
    return (parent for parent in targets[name].policy.depends_on if parent in targets)


def _take_from(names: dict[str, None], first: str) -> list[str]:
    """The names from `first` on, which are no longer among `names`."""
    taken = []
    while first in names:
        taken.append(names.popitem()[0])
    return taken


def _planned_test(target: Target, record: Record, parents: Sequence[str], records: Mapping[str, Record]) -> PlannedTest:
    # The last test of each failed, in maintenance or under a silence too.
    failing = all(name in records and records[name].health.is_failing for name in parents)
    return PlannedTest(target, record, ", ".join(parents) if failing else "", tuple(parents))


def watched_parents(target: Target, targets: Mapping[str, Target], cyclic: Collection[str]) -> list[str]:
    """The targets whose failure, if all of them fail, holds back the alerts of this one.

    One that is suspended or removed explains no failure, and neither does a cycle.
    """
    if target.target_id in cyclic:
        return []
    return [name for name in target.policy.depends_on if name in targets and targets[name].policy.enabled]


def _due(test: PlannedTest, after: datetime, tick: datetime) -> datetime | None:
    record, policy = test.record, test.target.policy
    due = next_due(record.target_id, record.health, policy, tested_tick=record.tick, after=after, tick=tick)
    return tick if due != tick and policy.enabled and _has_changed(test) else due


def _late_seconds(test: PlannedTest, tick: datetime, due_at: datetime, late_seconds: int) -> int:
    """How late the test of `due_at` comes: not before its sweep, or its retests would leave out what is due by then."""
    record = test.record
    own = late_seconds_of(
        record.health,
        test.target.policy,
        record.tick,
        record.outcome.started_at if record.outcome else None,
        tick,
        late_seconds=late_seconds,
        max_test_seconds=test.target.max_test_seconds,
    )
    late = max(own, late_seconds - round((due_at - tick).total_seconds()))
    return late_seconds if late == late_seconds or _has_changed(test) else late


def _has_changed(test: PlannedTest) -> bool:
    """Whether its user has changed what matters to the test, which is then made at once, also in `lost`.

    A record of an earlier version does not say as what the target was tested; its next test writes that.
    """
    return bool(test.record.config_fingerprint) and test.record.config_fingerprint != config_fingerprint(test.target)


def _is_newly_suspended(test: PlannedTest) -> bool:
    return not test.target.policy.enabled and test.record.health.state is not State.SUSPENDED


def _tick_after(second: datetime) -> datetime:
    return second.replace(second=0) + TICK
