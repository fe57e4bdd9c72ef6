"""How things stand, as people see it: one row per target, the worst first. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from popwatch.decisions.schedule import SILENT_AFTER, longest_notice, next_slot
from popwatch.model.health import Health, State
from popwatch.model.interventions import Acknowledgement, Silence
from popwatch.model.outcomes import DETAIL_SHOWN, ErrorCode
from popwatch.model.records import Record
from popwatch.model.samples import is_inconclusive, rtt_of
from popwatch.model.targets import Target
from popwatch.model.text import clean, iso, utc

SEVERITY = (State.LOST, State.DOWN, State.WARN, State.UNTESTED, State.MAINTENANCE, State.SUSPENDED, State.UP)
"""The states, worst first: the order of every list of targets."""

Sample = tuple[datetime, Any]
"""The tick of a test, and what the samples hold of it."""


class Verdict(IntEnum):
    """What a fleet_status comes to: the exit code of commands, as monitoring plugins have it."""

    WELL = 0
    WARN = 1
    DOWN = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target as it stands: its health, and its last test, which failed if it has an `error`.

    An `inconclusive` test failed, perhaps because of the monitor's own network, and was not judged.
    """

    target: Target
    health: Health
    tested_at: datetime | None = None
    rtt_ms: float | None = None
    error: ErrorCode | None = None
    reason: str = ""
    detail: str = ""
    next_test_at: datetime | None = None
    inconclusive: bool = False

    @property
    def state(self) -> State:
        """Its state; a target that has been switched off is suspended even before a sweep has noticed."""
        return self.health.state if self.target.policy.enabled else State.SUSPENDED

    @property
    def acknowledgement(self) -> Acknowledgement | None:
        """Who knows of the present outage, if anybody does."""
        return self.target.policy.acknowledgement_of(self.health.failing_since)

    def silence(self, now: datetime) -> Silence | None:
        """The silence that it is under, if it is."""
        silence = self.target.policy.silence
        return silence if silence and silence.window.contains(now) else None

    def certificate_days(self, now: datetime) -> int | None:
        """Days until its certificate expires, if it has shown one."""
        expires = self.health.certificate_expires
        return (expires - now) // timedelta(days=1) if expires else None

    def verdict(self) -> Verdict:
        """What it comes to; an outage that somebody has acknowledged is a warning."""
        match self.state:
            case State.DOWN | State.LOST:
                return Verdict.WARN if self.acknowledgement else Verdict.DOWN
            case State.WARN:
                return Verdict.WARN
            case _:
                return Verdict.WELL

    def remarks(self, now: datetime) -> list[str]:
        """What else there is to know of it, a few words each."""
        policy, health, silence, known = self.target.policy, self.health, self.silence(now), self.acknowledgement
        days = self.certificate_days(now)
        warn_from = max(policy.certificate_warn_days, default=0)
        found = [
            f"caused by {clean(health.caused_by, 128)}" if health.caused_by else "",
            f"acknowledged{_told(known.by, known.why)}" if known else "",
            f"silenced until {utc(silence.window.end)}{_told(silence.by, silence.why)}" if silence else "",
            "flapping" if health.flapping else "",
            "half up" if health.degraded_tests else "",
            "not judged: nearly all targets failed at once" if self.inconclusive else "",
            _of_certificate(days) if days is not None and days <= warn_from else "",
        ]
        return [remark for remark in found if remark]


def verdict(rows: Sequence[TargetStatus], swept_at: datetime | None, now: datetime) -> Verdict:
    """What all of them come to; unknown if popwatch itself has stopped."""
    if has_stopped(swept_at, now):
        return Verdict.UNKNOWN
    return max((row.verdict() for row in rows), default=Verdict.WELL)


def has_stopped(swept_at: datetime | None, now: datetime) -> bool:
    """Whether no sweep has been completed of late."""
    return swept_at is None or now - swept_at > SILENT_AFTER


def row_to_json(row: TargetStatus, now: datetime) -> dict[str, Any]:
    """A row as programs get it: texts, numbers, truths, moments in ISO 8601 (UTC), and null for what there is not."""
    target, health, policy = row.target, row.health, row.target.policy
    silence, known = row.silence(now), row.acknowledgement
    return {
        "target_id": target.target_id,
        "name": target.name,
        "host": target.host,
        "port": target.port,
        "tls": target.tls.value,
        "group": target.group or None,
        "tags": list(target.tags),
        "state": row.state.value,
        "since": _iso(health.since),
        "failing_since": _iso(health.failing_since),
        "failures": health.failures,
        "alerts_sent": health.alerts_sent,
        "max_alerts": policy.max_alerts,
        "tested_at": _iso(row.tested_at),
        "result": None if row.tested_at is None else "failed" if row.error else "passed",
        "rtt_ms": row.rtt_ms,
        "error": row.error.value if row.error else None,
        "message": row.error.message if row.error else None,
        "reason": row.reason or None,
        "detail": row.detail or None,
        "inconclusive": row.inconclusive,
        "next_test_at": _iso(row.next_test_at),
        "last_good_at": _iso(health.last_good_at),
        "certificate_expires": _iso(health.certificate_expires),
        "certificate_days": row.certificate_days(now),
        "caused_by": health.caused_by or None,
        "flapping": health.flapping,
        "half_up": health.degraded_tests > 0,
        "silenced_until": _iso(silence.window.end) if silence else None,
        "silenced_by": silence.by if silence else None,
        "silenced_why": silence.why if silence else None,
        "acknowledged_by": known.by if known else None,
        "acknowledged_why": known.why if known else None,
        "longest_notice_seconds": int(longest_notice(policy, target.max_test_seconds).total_seconds()),
        "problems": [problem.explanation for problem in target.problems],
        "remarks": row.remarks(now),
    }


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _of_certificate(days: int) -> str:
    return "certificate expired" if days < 0 else f"certificate: {days} days left"


def _told(by: str, why: str) -> str:
    """` by NAME: REASON`, as far as they are known."""
    return f"{f' by {by}' if by else ''}{f': {why}' if why else ''}"


def stand(
    targets: Mapping[str, Target], records: Mapping[str, Record], samples: Mapping[str, Sample], now: datetime
) -> list[TargetStatus]:
    """A row for each target; `samples` are the newest of each, which may be newer than its record."""
    rows = [_row(target, records.get(name) or Record(name), samples.get(name), now) for name, target in targets.items()]
    return sorted(rows, key=lambda row: (SEVERITY.index(row.state), row.target.group, row.target.name))


def _row(target: Target, record: Record, sample: Sample | None, now: datetime) -> TargetStatus:
    health, outcome = record.health, record.outcome
    next_test_at = _next_test_at(target, health, now)
    if sample and (record.tick is None or sample[0] > record.tick or outcome is None):
        return _row_of_sample(target, health, sample, next_test_at)
    if outcome is None:
        return TargetStatus(target, health, next_test_at=next_test_at)
    return TargetStatus(
        target, health, record.tick, outcome.rtt_ms, outcome.error, outcome.reason, outcome.detail, next_test_at
    )


def _row_of_sample(target: Target, health: Health, sample: Sample, next_test_at: datetime | None) -> TargetStatus:
    tested_at, found = sample
    rtt_ms = rtt_of(found)
    if rtt_ms is not None:
        return TargetStatus(target, health, tested_at, rtt_ms, next_test_at=next_test_at)
    error, reason = ErrorCode(found["error"]), clean(str(found.get("reason", "")), DETAIL_SHOWN)
    return TargetStatus(target, health, tested_at, None, error, reason, "", next_test_at, is_inconclusive(found))


def _next_test_at(target: Target, health: Health, now: datetime) -> datetime | None:
    if not target.policy.enabled:
        return None
    return health.next_test_at or next_slot(target.target_id, target.policy.delay_up, now)
