"""What should have been done by now: targets to test, alerts to send. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from popwatch.decisions.judging import TICK
from popwatch.model.health import FAILING, State
from popwatch.model.records import Record
from popwatch.model.targets import Target
from popwatch.model.text import natural_order, utc
from popwatch_cli.doctor.rules.findings import Finding, FindingKind, broken, targets_that, warning

GRACE = timedelta(minutes=3)
"""How much later than planned a test may come: a missed tick, and the next one."""

SAMPLES_READ = timedelta(minutes=15)
"""How far back samples are read; they say nothing of a target that is tested less often than that."""


@dataclass(frozen=True, slots=True)
class TestedFleet:
    """The targets, their records, and the ids of those that were tested in the last minutes (`tested`)."""

    targets: Mapping[str, Target]
    records: Mapping[str, Record]
    tested: Set[str]
    last_tick: datetime | None


def check_targets(fleet: TestedFleet, now: datetime) -> Iterator[Finding]:
    """Targets that sweeps should have tested and have not. No findings if there are no sweeps."""
    if fleet.last_tick is None:
        return
    active = [target for target in fleet.targets.values() if target.policy.enabled]
    untested = [target.target_id for target in active if not _was_tested(fleet, target.target_id)]
    if untested:
        yield warning(
            FindingKind.NEVER_TESTED,
            f"{targets_that(untested, one='has', many='have')} not been tested yet, although sweeps are running.",
            "This is not a fault of a target that was just added: the next sweep tests it. If the finding remains "
            "after two minutes, see the function's log.",
            untested,
        )
    overdue = [target.target_id for target in active if _is_overdue(fleet, target, now)]
    if overdue:
        yield broken(
            FindingKind.OVERDUE,
            f"{targets_that(overdue, one='is', many='are')} overdue: sweeps are running but do not test "
            f"{'it' if len(overdue) == 1 else 'them'}.",
            "See the function's log and the dead letters: a batch fails, or waits in the queue.",
            overdue,
        )


def check_pending_alerts(records: Iterable[Record], timeout: timedelta, now: datetime) -> Iterator[Finding]:
    """Alerts that are still in the outbox after the function's timeout and two ticks, which would have sent them."""
    since = now - timeout - 2 * TICK
    late = {
        record.target_id: min(entry.committed_at for entry in record.outbox)
        for record in records
        if any(entry.message and entry.committed_at < since for entry in record.outbox)
    }
    if late:
        names = sorted(late, key=natural_order)
        yield broken(
            FindingKind.ALERTS_PENDING,
            f"{targets_that(names, one='has an alert', many='have alerts')} pending since {utc(min(late.values()))}: "
            "no one has been notified.",
            "The next sweep tries again. If the finding remains, the function's log shows what AWS refuses.",
            names,
        )


def _was_tested(fleet: TestedFleet, name: str) -> bool:
    record = fleet.records.get(name)
    state = record.health.state if record else State.UNTESTED
    return name in fleet.tested or state not in (State.UNTESTED, State.SUSPENDED) or bool(record and record.tick)


def _is_overdue(fleet: TestedFleet, target: Target, now: datetime) -> bool:
    """Whether a test is missing.

    The record of a failing target has the time of its next test. The record of a target that is up is not written at
    each test, so its samples decide, if it is tested often enough and was up all the time.
    """
    record = fleet.records.get(target.target_id)
    if record is None or fleet.last_tick is None or fleet.last_tick < now - GRACE:
        return False
    due = record.health.next_test_at
    if record.health.state in FAILING and due:
        return due < now - GRACE
    tested_often = timedelta(seconds=target.policy.delay_up) + GRACE <= SAMPLES_READ
    up_all_the_time = record.health.since is not None and record.health.since < now - SAMPLES_READ
    return record.health.state is State.UP and tested_often and up_all_the_time and target.target_id not in fleet.tested
