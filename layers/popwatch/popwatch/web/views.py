"""What the page and its API say of targets: read from the tables, as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from threading import Lock
from typing import Any

from popwatch.aws.store import Store
from popwatch.model.samples import rtt_of
from popwatch.model.text import iso
from popwatch.model.totals import Totals
from popwatch.queries.history import Stretch, event_to_json, read_gaps, read_samples, transitions_of
from popwatch.queries.status import FleetStatus, fleet_status_to_json, read_fleet_status
from popwatch.reports.availability import Period, Span, Times, by_day, spans, times
from popwatch.reports.report import outage_to_json
from popwatch.reports.status import TargetStatus, Verdict, row_to_json, verdict
from popwatch.reports.totals import add_up

TIMELINE = timedelta(days=90)
RECENT = timedelta(hours=24)
STEP = timedelta(minutes=5)
"""Round-trip times of the last 24 hours are shown by so many minutes."""

LATEST = timedelta(minutes=5)
"""How much later than others the samples of a tick may be written."""

MOST_KEPT = 50
"""Targets whose samples of the last 24 hours are kept in memory: to read them all each time would cost."""

MOST_TIMELINES = 50
MOST_EVENTS = 200
THREADS = 16

TEXTS = ("email", "sms", "attributes", "line", "message_id", "target_id")
"""What the page does not show of an alert."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A fleet_status, and when it was read."""

    at: datetime
    fleet_status: FleetStatus


class Views:
    """A store as the page reads it. The fleet_status is read at most once in `fresh`, however many look at it."""

    def __init__(self, store: Store, clock: Callable[[], datetime], *, fresh: timedelta) -> None:
        self._store, self._clock, self._fresh = store, clock, fresh
        self._last: Moment | None = None
        self._lock = Lock()
        self._samples: dict[str, dict[datetime, Any]] = {}

    def now(self) -> Moment:
        """How things stand."""
        with self._lock:
            now = self._clock()
            if self._last is None or now - self._last.at >= self._fresh:
                self._last = Moment(now, read_fleet_status(self._store, now))
            return self._last

    def status(self) -> dict[str, Any]:
        """All targets, worst first, and what they come to."""
        moment = self.now()
        rows, swept_at = moment.fleet_status.rows, moment.fleet_status.swept_at
        found = verdict(rows, swept_at, moment.at) if rows else Verdict.UNKNOWN
        return fleet_status_to_json(moment.fleet_status, found, moment.at)

    def timelines(self, target_ids: Iterable[str]) -> dict[str, Any]:
        """The last 90 days of some targets, day by day; of no more than `MOST_TIMELINES`."""
        moment = self.now()
        wanted = set(list(target_ids)[:MOST_TIMELINES])
        rows = [row for row in moment.fleet_status.rows if row.target.target_id in wanted]
        period = Period(moment.at - TIMELINE, moment.at)
        gaps = read_gaps(self._store, moment.fleet_status.mark, period, moment.at)
        with ThreadPoolExecutor(THREADS) as pool:
            lives = pool.map(lambda row: self._spans(row, period, gaps), rows)
            return {row.target.target_id: _timeline(it, times(it)) for row, it in zip(rows, lives, strict=True)}

    def target(self, target_id: str) -> dict[str, Any] | None:
        """Everything of one target, or None if there is none."""
        moment = self.now()
        row = next((row for row in moment.fleet_status.rows if row.target.target_id == target_id), None)
        if row is None:
            return None
        whole = Period(moment.at - TIMELINE, moment.at)
        recent = Period(moment.at - RECENT, moment.at)
        events = sorted(self._store.read_events(target_id, whole.begin), key=lambda event: event["tick"], reverse=True)
        gaps = read_gaps(self._store, moment.fleet_status.mark, whole, moment.at)
        found = spans(transitions_of(events), row.health.state, row.health.since, whole, gaps)
        lived = times(found)
        return {
            **row_to_json(row, moment.at),
            "timeline": _timeline(found, lived),
            "recent": _series(self._recent(moment, target_id, recent), recent),
            "outages": [outage_to_json(outage) for outage in reversed(lived.outages)],
            "events": [_without_texts(event_to_json(event)) for event in events[:MOST_EVENTS]],
        }

    def _recent(self, moment: Moment, target_id: str, period: Period) -> list[tuple[datetime, Any]]:
        """The samples of a target in a period; what was read before is not read again, but for the last minutes."""
        with self._lock:
            known = self._samples.pop(target_id, {})
        kept = {tick: sample for tick, sample in known.items() if tick >= period.begin}
        begin = max(kept) - LATEST if kept else period.begin
        kept |= dict(read_samples(self._store, moment.fleet_status.mark, target_id, Period(begin, period.end)))
        with self._lock:
            self._samples[target_id] = kept
            while len(self._samples) > MOST_KEPT:
                del self._samples[next(iter(self._samples))]
        return sorted(kept.items(), key=itemgetter(0))

    def _spans(self, row: TargetStatus, period: Period, gaps: Sequence[Stretch]) -> list[Span]:
        """The spans of a target in a period; one that has not changed since before it has no transitions to read."""
        since = row.health.since
        changed = since is None or since > period.begin
        events = list(self._store.read_events(row.target.target_id, period.begin, ["transition"])) if changed else []
        return spans(transitions_of(events), row.health.state, since, period, gaps)


def _timeline(found: Sequence[Span], whole: Times) -> dict[str, Any]:
    """Availability and outages of the time, and the seconds of each day by what they count as."""
    return {
        "availability": whole.availability,
        "outage_count": len(whole.outages),
        "days": [{"day": f"{day:%Y-%m-%d}", **seconds} for day, seconds in by_day(found)],
    }


def _series(samples: Sequence[tuple[datetime, Any]], period: Period) -> dict[str, Any]:
    """Round-trip times by steps: the mean and the greatest in ms, and how many tests failed; null where none passed."""
    steps: list[list[Any]] = [[] for _ in range(int(period.length / STEP))]
    for tick, sample in samples:
        position = int((tick - period.begin) / STEP)
        if 0 <= position < len(steps):
            steps[position].append(sample)
    rtts = [[rtt for rtt in map(rtt_of, found) if rtt is not None] for found in steps]
    totals = add_up({"": sample} for _, sample in samples).get("", Totals())
    return {
        "begin": iso(period.begin),
        "step_seconds": STEP.total_seconds(),
        "mean_ms": [round(sum(found) / len(found), 3) if found else None for found in rtts],
        "max_ms": [max(found, default=None) for found in rtts],
        "failed": [len(found) - len(passed) for found, passed in zip(steps, rtts, strict=True)],
        "tests": totals.tests,
        "passes": totals.passes,
        "percentiles_ms": totals.percentiles_ms,
    }


def _without_texts(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in TEXTS}
