"""What should have been done by now: targets to test, alerts to send. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from popwatch.decisions.schedule import TICK
from popwatch.model.health import FAILING, State
from popwatch.model.records import Record
from popwatch.model.targets import Target
from popwatch.model.text import utc
from popwatch_cli.doctor.rules.findings import Finding, Kind, broken, of_targets, warning

GRACE = timedelta(minutes=3)
"""How much later than planned a test may come: a tick that was missed, and the next."""

LOOKED_BACK = timedelta(minutes=15)
"""How far back samples are read; a target tested less often than that is not missed in them."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The targets, what is known of them, and the last tick at which each was tested in the last minutes (`tested`)."""

    targets: Mapping[str, Target]
    records: Mapping[str, Record]
    tested: Mapping[str, datetime]
    swept_at: datetime | None


def of_due(fleet: Fleet, now: datetime) -> Iterator[Finding]:
    """Targets that sweeps should have tested and have not; nothing to say if there are no sweeps."""
    if fleet.swept_at is None:
        return
    active = [target for target in fleet.targets.values() if target.policy.enabled]
    untested = [target.target_id for target in active if not _was_tested(fleet, target.target_id)]
    if untested:
        yield warning(
            Kind.NEVER_TESTED,
            f"{of_targets(untested, one='has', many='have')} never been tested, though sweeps take place.",
            "New targets are tested by the next sweep. If it stays so after two minutes, see the function's log.",
            untested,
        )
    overdue = [target.target_id for target in active if _is_overdue(fleet, target, now)]
    if overdue:
        yield broken(
            Kind.OVERDUE,
            f"{of_targets(overdue, one='is', many='are')} overdue: sweeps take place, and do not test "
            f"{'it' if len(overdue) == 1 else 'them'}.",
            "See the function's log and the dead letters: a batch fails, or waits in the queue.",
            overdue,
        )


def of_owed(records: Iterable[Record], timeout: timedelta, now: datetime) -> Iterator[Finding]:
    """Alerts that were committed and not told in the function's time and two ticks more, which would make them good."""
    since = now - timeout - 2 * TICK
    late = {
        record.target_id: min(entry.committed_at for entry in record.outbox)
        for record in records
        if any(entry.message and entry.committed_at < since for entry in record.outbox)
    }
    if late:
        names = sorted(late)
        yield broken(
            Kind.ALERTS_OWED,
            f"{of_targets(names, one='has an alert that is', many='have alerts that are')} owed since "
            f"{utc(min(late.values()))} and not told.",
            "The next sweep sends them. If they stay, see the function's log: SNS or DynamoDB refuses something.",
            names,
        )


def _was_tested(fleet: Fleet, name: str) -> bool:
    record = fleet.records.get(name)
    state = record.health.state if record else State.UNTESTED
    return name in fleet.tested or state not in (State.UNTESTED, State.SUSPENDED) or bool(record and record.tick)


def _is_overdue(fleet: Fleet, target: Target, now: datetime) -> bool:
    """Whether a test is due by the record, or by the samples where the target is up and tested often enough."""
    record = fleet.records.get(target.target_id)
    if record is None or fleet.swept_at is None or fleet.swept_at < now - GRACE:
        return False
    due = record.health.next_test_at
    if record.health.state in FAILING and due:
        return due < now - GRACE
    often = timedelta(seconds=target.policy.delay_up) + GRACE <= LOOKED_BACK
    settled = record.health.since is not None and record.health.since < now - LOOKED_BACK
    return record.health.state is State.UP and often and settled and target.target_id not in fleet.tested
