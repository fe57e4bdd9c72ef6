"""What the page and its API show of targets: read from the tables, as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from operator import attrgetter, itemgetter
from threading import Lock
from typing import Any

from popwatch.aws.store import Store
from popwatch.model.posture import PostureChange
from popwatch.model.records import HistoryEvent, PublishedAlert, Record
from popwatch.model.samples import Sample
from popwatch.model.text import iso
from popwatch.queries.availability import FleetAvailability, InconclusiveTests, read_periods
from popwatch.queries.history import OTHER_EVENTS, event_to_json, read_samples, read_samples_of_all
from popwatch.queries.status import FleetStatus, fleet_status_to_json, read_fleet_status
from popwatch.reports.availability import BY_HOUR, Period, Span, TargetAvailability, by_day, by_hour, known_since
from popwatch.reports.report import outage_to_json
from popwatch.reports.status import CheckStatus, TargetStatus, overall_status, target_status_to_json
from popwatch.reports.totals import add_up_one

TIMELINE = timedelta(days=90)
RECENT = timedelta(hours=24)
BUCKET = timedelta(minutes=5)
"""Round-trip times of the last 24 hours are shown in buckets of this length."""

BY_TEST = timedelta(hours=1)
"""Of a target that has been watched for less than this, the single tests are shown."""

SAMPLES_MAY_BE_LATE = timedelta(minutes=5)
"""How late the samples of a tick may be written."""

MAX_KEPT = 50
"""Targets whose samples of the last 24 hours are kept in memory: reading them each time would be expensive."""

MAX_TIMELINES = 50
MAX_EVENTS = 200

LEFT_OUT = ("attributes", "line", "message_id", "target_id")
"""Fields of an alert that the page does not show."""

ReadReceivers = Callable[[PublishedAlert], Sequence[str] | None]
"""Who receives such an alert by the present subscriptions, masked, or None if that is not known."""


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """A fleet status, and when it was read."""

    at: datetime
    fleet_status: FleetStatus


class Views:
    """The tables as the page shows them. The status is read at most once in `max_age`, however many browsers ask.

    `receivers` is asked about the alerts of a target; the function behind the URL may not read subscriptions, and has
    none.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        *,
        max_age: timedelta,
        receivers: ReadReceivers = lambda _: None,
    ) -> None:
        self._store, self._clock, self._max_age, self._receivers = store, clock, max_age, receivers
        self._last: StatusSnapshot | None = None
        self._lock = Lock()
        self._samples: dict[str, dict[datetime, Sample]] = {}
        self._inconclusive = InconclusiveTests(store)

    def now(self) -> StatusSnapshot:
        """The present status."""
        with self._lock:
            now = self._clock()
            if self._last is None or now - self._last.at >= self._max_age:
                self._last = StatusSnapshot(now, read_fleet_status(self._store, now))
            return self._last

    def status(self) -> dict[str, Any]:
        """All targets, the worst first, and their overall status."""
        snapshot = self.now()
        targets, last_tick = snapshot.fleet_status.targets, snapshot.fleet_status.last_tick
        overall = overall_status(targets, last_tick, snapshot.at) if targets else CheckStatus.UNKNOWN
        return fleet_status_to_json(snapshot.fleet_status, overall, snapshot.at)

    def timelines(self, target_ids: Iterable[str], zone: tzinfo = UTC) -> dict[str, Any]:
        """The last 90 days of some targets, by days of that zone; of at most `MAX_TIMELINES`."""
        snapshot = self.now()
        wanted = set(list(target_ids)[:MAX_TIMELINES])
        found = [status for status in snapshot.fleet_status.targets if status.target.target_id in wanted]
        periods = self._read_periods(snapshot, found).targets
        return self._timelines(snapshot, periods, zone)

    def target(self, target_id: str, zone: tzinfo = UTC) -> dict[str, Any] | None:
        """Everything about one target, or None if there is no such target."""
        snapshot = self.now()
        found = [status for status in snapshot.fleet_status.targets if status.target.target_id == target_id]
        if not found:
            return None
        periods = self._read_periods(snapshot, found)
        period, recent = periods.targets[target_id], Period(snapshot.at - RECENT, snapshot.at)
        others = self._store.read_events(target_id, snapshot.at - TIMELINE, OTHER_EVENTS)
        events = [*periods.transitions.get(target_id, ()), *others]
        events.sort(key=attrgetter("at"), reverse=True)
        return {
            **target_status_to_json(found[0], snapshot.at),
            "timeline": self._timelines(snapshot, {target_id: period}, zone)[target_id],
            "recent": _series(self._recent(snapshot, target_id, recent), recent),
            "outages": [outage_to_json(outage) for outage in reversed(period.durations.outages)],
            "events": [self._event(event) for event in events[:MAX_EVENTS]],
        }

    def _read_periods(self, snapshot: StatusSnapshot, targets: Iterable[TargetStatus]) -> FleetAvailability:
        """The last 90 days of those targets."""
        checkpoint, period = snapshot.fleet_status.checkpoint, Period(snapshot.at - TIMELINE, snapshot.at)
        records = {status.target.target_id: Record(status.target.target_id, health=status.health) for status in targets}
        totals = self._inconclusive.read(checkpoint, records, period, snapshot.at)
        return read_periods(self._store, checkpoint, records, totals, period, now=snapshot.at)

    def _timelines(
        self, snapshot: StatusSnapshot, periods: Mapping[str, TargetAvailability], zone: tzinfo
    ) -> dict[str, Any]:
        """Timelines by target, with the single tests of those that have not been watched for long."""
        since = {target_id: known_since(period.spans) for target_id, period in periods.items()}
        begin = snapshot.at - BY_TEST
        new = {target_id for target_id, known in since.items() if known is None or known > begin}
        checkpoint = snapshot.fleet_status.checkpoint
        tests = read_samples_of_all(self._store, checkpoint, new, Period(begin, snapshot.at)) if new else {}
        found = {target_id: _timeline(period, snapshot.at, zone) for target_id, period in periods.items()}
        for target_id in new:
            found[target_id]["tests"] = [_test(tick, sample) for tick, sample in tests.get(target_id, ())]
        return found

    def _event(self, event: HistoryEvent) -> dict[str, Any]:
        """An event for the page; of an alert what it said, and who receives such a one."""
        fields = {name: value for name, value in event_to_json(event).items() if name not in LEFT_OUT}
        if isinstance(event.what, PublishedAlert):
            fields["receivers"] = self._receivers(event.what)
        if isinstance(event.what, PostureChange):
            fields["text"] = str(event.what)
        return fields

    def _recent(self, snapshot: StatusSnapshot, target_id: str, period: Period) -> list[tuple[datetime, Sample]]:
        """The samples of a target in a period. Of those read before, only the last minutes are read again."""
        with self._lock:
            known = self._samples.pop(target_id, {})
        kept = {tick: sample for tick, sample in known.items() if tick >= period.begin}
        begin = max(kept) - SAMPLES_MAY_BE_LATE if kept else period.begin
        kept |= dict(read_samples(self._store, snapshot.fleet_status.checkpoint, target_id, Period(begin, period.end)))
        with self._lock:
            self._samples[target_id] = kept
            while len(self._samples) > MAX_KEPT:
                del self._samples[next(iter(self._samples))]
        return sorted(kept.items(), key=itemgetter(0))


def _timeline(period: TargetAvailability, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Availability and number of outages of a period, and the seconds of each day by what they count as.

    Of a target that has not been watched for long, also those of each hour.
    """
    known = known_since(period.spans)
    return {
        "availability": period.durations.availability,
        "outage_count": len(period.durations.outages),
        "known_since": iso(known) if known else None,
        "days": [{"day": f"{day:%Y-%m-%d}", **seconds} for day, seconds in by_day(period.spans, zone)],
    } | ({"hours": _hours(period.spans, known, zone)} if known and known > now - BY_HOUR else {})


def _hours(found: Sequence[Span], known: datetime, zone: tzinfo) -> list[dict[str, Any]]:
    watched = [span for span in found if span.end > known]
    return [{"hour": iso(hour), **seconds} for hour, seconds in by_hour(watched, zone)]


def _test(tick: datetime, sample: Sample) -> dict[str, Any]:
    return {"at": iso(tick), "rtt_ms": sample.rtt_ms, "error": sample.error.value if sample.error else None}


def _series(samples: Sequence[tuple[datetime, Sample]], period: Period) -> dict[str, Any]:
    """Round-trip times by bucket: mean and maximum in ms, null where no test passed; and the number of failed tests."""
    buckets: list[list[Sample]] = [[] for _ in range(int(period.length / BUCKET))]
    for tick, sample in samples:
        position = int((tick - period.begin) / BUCKET)
        if 0 <= position < len(buckets):
            buckets[position].append(sample)
    rtts = [[sample.rtt_ms for sample in bucket if sample.rtt_ms is not None] for bucket in buckets]
    totals = add_up_one(sample for _, sample in samples)
    return {
        "begin": iso(period.begin),
        "step_seconds": BUCKET.total_seconds(),
        "mean_ms": [round(sum(passed) / len(passed), 3) if passed else None for passed in rtts],
        "max_ms": [max(passed, default=None) for passed in rtts],
        "failed": [len(bucket) - len(passed) for bucket, passed in zip(buckets, rtts, strict=True)],
        "tests": totals.tests,
        "passes": totals.passes,
        "percentiles_ms": totals.percentiles_ms,
    }
