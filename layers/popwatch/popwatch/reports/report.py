"""A report of a period: availability, outages and round-trip times per target, per group and in all. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from popwatch.model.outcomes import Certificate
from popwatch.model.records import InterventionEvent, Record
from popwatch.model.targets import Target
from popwatch.model.text import clean_whole, counted, duration, iso, natural_order
from popwatch.model.totals import Totals
from popwatch.reports.availability import Durations, Outage, Period, Span, TargetAvailability, total
from popwatch.reports.status import posture_findings
from popwatch.reports.totals import merge

REMOVED_NAMED = 20
"""Removed targets that a report names."""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """The figures of one target, of a group of `targets` targets, or of all of them.

    Only a target has `spans`, `interventions`, and the days until its first certificate expires, counted
    from when the report was made; `expiring_certificate` is the one that alerts warn of already. `posture` is what its
    server offers or permits and should not, each with the mechanism or the port that it is about.
    """

    name: str
    group: str
    targets: int
    durations: Durations
    totals: Totals
    target_id: str = ""
    spans: Sequence[Span] = ()
    interventions: Sequence[InterventionEvent] = ()
    certificate_days: int | None = None
    expiring_certificate: Certificate | None = None
    posture: Sequence[str] = ()

    @property
    def rtt_ms(self) -> tuple[float | None, ...]:
        """The p50, p95 and p99 of its round-trip times, each within 5 %."""
        return self.totals.percentiles_ms


@dataclass(frozen=True, slots=True)
class FleetReport:
    """A line for each target, the least available first, one for each group, and one for all (`whole`).

    `missing` are sentences that say which part of the period is not known, and why.
    """

    period: Period
    made_at: datetime
    targets: Sequence[ReportLine]
    groups: Sequence[ReportLine]
    whole: ReportLine
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ReportInput:
    """What the tables hold, by target: its record, its period, and what people did about it."""

    records: Mapping[str, Record]
    periods: Mapping[str, TargetAvailability]
    interventions: Mapping[str, Sequence[InterventionEvent]] = field(default_factory=dict)


def make_report(
    period: Period, targets: Mapping[str, Target], known: ReportInput, now: datetime, missing: Sequence[str] = ()
) -> FleetReport:
    """The report on those targets."""
    lines = [_line(target, known, period, now) for target in targets.values()]
    lines.sort(key=lambda line: (_availability_or_one(line.durations), natural_order(line.name)))
    names = sorted({line.group for line in lines} - {""}, key=natural_order)
    groups = [_sum([line for line in lines if line.group == name], name) for name in names]
    return FleetReport(period, now, lines, groups, _sum(lines, ""), missing)


def missing_parts(period: Period, now: datetime, history_kept: timedelta) -> list[str]:
    """A sentence about the part of a period that is older than what History keeps; none if nothing is."""
    oldest = now - history_kept
    if period.begin >= oldest:
        return []
    return [
        f"Transitions and totals are kept for {counted(history_kept.days, 'day')}. Before {oldest:%Y-%m-%d %H:%M} UTC, "
        "only the state that lasted until then is known; the rest counts as untested."
    ]


def unwatched_parts(period: Period, gaps: Sequence[tuple[datetime, datetime]]) -> list[str]:
    """A sentence about the times in which popwatch itself had stopped; none if it had not."""
    parts = [min(end, period.end) - max(begin, period.begin) for begin, end in gaps]
    if not parts:
        return []
    return [
        f"popwatch itself had stopped for {duration(sum(parts, timedelta()))} of this period: nothing was tested, and "
        "targets that were up before count as untested."
    ]


def removed_parts(target_ids: Iterable[str], tested: Iterable[str]) -> list[str]:
    """A sentence that names the targets that were `tested` in a period and have been removed since; none without."""
    removed = sorted(set(tested).difference(target_ids), key=natural_order)
    if not removed:
        return []
    names = ", ".join(map(clean_whole, removed[:REMOVED_NAMED]))
    more = f" and {len(removed) - REMOVED_NAMED} more" if len(removed) > REMOVED_NAMED else ""
    return [
        f"Tested in this period, removed since, and not in any of the figures: {names}{more}. "
        "`popwatch history ID` shows each of them."
    ]


def report_to_json(report: FleetReport) -> dict[str, Any]:
    """The report for programs: seconds, milliseconds, shares from 0 to 1, null where there is no value."""
    return {
        "begin": iso(report.period.begin),
        "end": iso(report.period.end),
        "made_at": iso(report.made_at),
        "missing": list(report.missing),
        "whole": line_to_json(report.whole),
        "groups": [line_to_json(line) for line in report.groups],
        "targets": [
            line_to_json(line)
            | {"outages": [outage_to_json(outage) for outage in line.durations.outages]}
            | {"notes": [intervention_to_json(event) for event in line.interventions]}
            | {"posture": list(line.posture)}
            for line in report.targets
        ],
    }


def line_to_json(line: ReportLine) -> dict[str, Any]:
    """The figures of one line."""
    p50, p95, p99 = line.rtt_ms
    found, totals = line.durations, line.totals
    return {
        "target_id": line.target_id or None,
        "name": line.name or None,
        "group": line.group or None,
        "targets": line.targets,
        "availability": found.availability,
        "up_seconds": found.up.total_seconds(),
        "down_seconds": found.down.total_seconds(),
        "maintenance_seconds": found.maintenance.total_seconds(),
        "untested_seconds": found.untested.total_seconds(),
        "suspended_seconds": found.suspended.total_seconds(),
        "inconclusive_seconds": found.inconclusive.total_seconds(),
        "outage_count": len(found.outages),
        "mttr_seconds": _seconds(found.mttr),
        "mtbf_seconds": _seconds(found.mtbf),
        "brief_failures": found.brief_failures,
        "brief_seconds": found.brief.total_seconds(),
        "tests": totals.tests,
        "passes": totals.passes,
        "failures": dict(totals.failures),
        "failed_in_maintenance": totals.in_maintenance,
        "inconclusive": totals.inconclusive,
        "half_up": totals.degraded,  # the older name stays, since programs read it
        "rtt_p50_ms": p50,
        "rtt_p95_ms": p95,
        "rtt_p99_ms": p99,
        "rtt_mean_ms": totals.rtt_mean_ms,
        "rtt_max_ms": totals.rtt_max_ms,
        "certificate_days": line.certificate_days,
    }


def outage_to_json(outage: Outage) -> dict[str, Any]:
    """An outage for programs."""
    return {
        "begin": iso(outage.begin),
        "end": None if outage.goes_on else iso(outage.end),
        "down_seconds": outage.down.total_seconds(),
        "begun_before": outage.begun_before,
        "goes_on": outage.goes_on,
        "error": outage.error or None,
        "reason": outage.reason or None,
    }


def intervention_to_json(event: InterventionEvent) -> dict[str, Any]:
    """An event for programs."""
    return {
        "action": event.action.value,
        "at": iso(event.at),
        "by": event.by or None,
        "why": event.why or None,
        "until": iso(event.until) if event.until else None,
    }


def _line(target: Target, known: ReportInput, period: Period, now: datetime) -> ReportLine:
    name = target.target_id
    found, health = known.periods[name], known.records.get(name, Record(name)).health
    expires = health.certificate_expires
    return ReportLine(
        name=target.name,
        group=target.group,
        targets=1,
        durations=found.durations,
        totals=found.totals,
        target_id=name,
        spans=found.spans,
        interventions=[event for event in known.interventions.get(name, ()) if event.at < period.end],
        certificate_days=(expires - now) // timedelta(days=1) if expires else None,
        expiring_certificate=health.expiring_certificate,
        posture=posture_findings(health.posture),
    )


def _sum(lines: Sequence[ReportLine], name: str) -> ReportLine:
    return ReportLine(
        name, name, len(lines), total([line.durations for line in lines]), merge(line.totals for line in lines)
    )


def _availability_or_one(found: Durations) -> float:
    return 1.0 if found.availability is None else found.availability


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()
