"""The plan of a sweep: which targets are tested now, which before the next tick, which are switched off. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from popwatch.decisions.batches import Batch, PlannedTest
from popwatch.decisions.schedule import LARGEST_BATCH, TICK, batch_count, next_due
from popwatch.model.health import FAILING, State
from popwatch.model.outcomes import DETAIL_SHOWN
from popwatch.model.records import Record
from popwatch.model.targets import Target
from popwatch.model.text import clean


@dataclass(frozen=True, slots=True)
class Plan:
    """What a tick asks for. `now` and `later` are batches still to be cut by the number of each target's batch."""

    now: Batch
    later: tuple[Batch, ...]
    to_suspend: tuple[PlannedTest, ...]
    states: Mapping[State, int]

    @property
    def batches(self) -> int:
        """The number of batches that the fleet is cut into."""
        return self.now.batches


def plan(
    tick: datetime,
    after: datetime | None,
    targets: Mapping[str, Target],
    records: Mapping[str, Record],
    defaults: Mapping[str, Any],
    *,
    largest_batch: int = LARGEST_BATCH,
) -> Plan:
    """The plan for `tick`, when `after` was the last tick completed (`None`: there was none)."""
    circles = in_circles(targets)
    tests = [
        PlannedTest(target, records.get(name) or Record(name), _failing_parent(target, targets, records, circles))
        for name, target in targets.items()
    ]
    due: dict[datetime, list[PlannedTest]] = {tick: []}
    for test in tests:
        moment = _due(test, after or tick - TICK, tick)
        if moment:
            due.setdefault(moment, []).append(test)
    count = batch_count(sum(test.target.policy.enabled for test in tests), largest_batch)
    batches = [Batch(moment, tick + TICK, count, 0, tuple(found), defaults) for moment, found in sorted(due.items())]
    return Plan(
        now=batches[0],
        later=tuple(batches[1:]),
        to_suspend=tuple(test for test in tests if _is_newly_off(test)),
        states=Counter(
            State.SUSPENDED if not test.target.policy.enabled else test.record.health.state for test in tests
        ),
    )


def without_target(targets: Mapping[str, Target], records: Iterable[Record]) -> list[Record]:
    """The records whose targets their user has removed."""
    return [record for record in records if record.target_id not in targets]


def unknown_fields(targets: Iterable[Target]) -> tuple[str, list[str]]:
    """The fields that no target has, as `target: field`, each cut, under a short name that changes when they do."""
    found = sorted(f"{target.target_id}: {name}" for target in targets for name in target.unknown_fields)
    digest = blake2b("\n".join(found).encode("utf-8", "replace"), digest_size=8).hexdigest() if found else ""
    return digest, [clean(told, DETAIL_SHOWN) for told in found]


def in_circles(targets: Mapping[str, Target]) -> set[str]:
    """The targets that depend on themselves by way of others; such a dependence holds no alert back."""
    seen: set[str] = set()
    found: set[str] = set()
    for name in targets:
        path: list[str] = []
        while name in targets and name not in seen:
            seen.add(name)
            path.append(name)
            name = targets[name].policy.depends_on  # noqa: PLW2901 - a walk that begins there
        if name in path:
            found.update(path[path.index(name) :])
    return found


def _failing_parent(
    target: Target, targets: Mapping[str, Target], records: Mapping[str, Record], circles: Collection[str]
) -> str:
    """The target that it depends on, if that fails. One that is off, in maintenance or gone explains nothing."""
    parent = targets.get(target.policy.depends_on)
    if parent is None or not parent.policy.enabled or target.target_id in circles:
        return ""
    record = records.get(parent.target_id)
    return parent.target_id if record and record.health.state in FAILING else ""


def _due(test: PlannedTest, after: datetime, tick: datetime) -> datetime | None:
    record = test.record
    return next_due(record.target_id, record.health, test.target.policy, tested=record.tick, after=after, tick=tick)


def _is_newly_off(test: PlannedTest) -> bool:
    return not test.target.policy.enabled and test.record.health.state is not State.SUSPENDED
