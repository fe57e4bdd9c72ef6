"""How things stand, as people see it: one row per target, the worst first. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from popwatch.health import Health, State
from popwatch.outcomes import ErrorCode
from popwatch.records import Record
from popwatch.schedule import next_slot
from popwatch.targets import Target

SEVERITY = (State.LOST, State.DOWN, State.WARN, State.UNTESTED, State.MAINTENANCE, State.SUSPENDED, State.UP)
"""The states, worst first: the order of every list of targets."""

Sample = tuple[datetime, Any]
"""The tick of a test, and what the samples hold of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A target as it stands: its health, and its last test, which failed if it has an `error`."""

    target: Target
    health: Health
    tested_at: datetime | None = None
    rtt_ms: float | None = None
    error: ErrorCode | None = None
    reason: str = ""
    detail: str = ""
    next_test_at: datetime | None = None

    @property
    def state(self) -> State:
        """Its state; a target that has been switched off is suspended even before a sweep has noticed."""
        return self.health.state if self.target.policy.enabled else State.SUSPENDED


def stand(
    targets: Mapping[str, Target], records: Mapping[str, Record], samples: Mapping[str, Sample], now: datetime
) -> list[Row]:
    """A row for each target; `samples` are the newest of each, which may be newer than its record."""
    rows = [_row(target, records.get(name) or Record(name), samples.get(name), now) for name, target in targets.items()]
    return sorted(rows, key=lambda row: (SEVERITY.index(row.state), row.target.group, row.target.name))


def _row(target: Target, record: Record, sample: Sample | None, now: datetime) -> Row:
    health, outcome = record.health, record.outcome
    next_test_at = _next_test_at(target, health, now)
    if sample and (record.tick is None or sample[0] > record.tick or outcome is None):
        tested_at, found = sample
        if isinstance(found, Mapping):
            error = ErrorCode(found["error"])
            return Row(target, health, tested_at, None, error, str(found.get("reason", "")), "", next_test_at)
        return Row(target, health, tested_at, float(found), next_test_at=next_test_at)
    if outcome is None:
        return Row(target, health, next_test_at=next_test_at)
    return Row(target, health, record.tick, outcome.rtt_ms, outcome.error, outcome.reason, outcome.detail, next_test_at)


def _next_test_at(target: Target, health: Health, now: datetime) -> datetime | None:
    if not target.policy.enabled:
        return None
    return health.next_test_at or next_slot(target.target_id, target.policy.delay_up, now)
