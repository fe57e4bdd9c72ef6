"""Reading what History holds of a period: totals, samples, transitions and interventions of targets.

Totals come from as few items as possible: whole days (UTC) from days, the hours before and after them from hours, and
what is less than an hour, or has not been added up yet, from samples. The number of batches may have changed in the
period, so History is asked under each number that was ever in use.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeVar

from popwatch.aws.store import Store, SweepCheckpoint, TargetTotals
from popwatch.decisions.schedule import MAX_QUEUE_DELAY, STOPPED_AFTER, batch_of
from popwatch.model.health import FAILING, State, Transition
from popwatch.model.records import EventKind, HistoryEvent, InterventionEvent, PublishedAlert, Record
from popwatch.model.samples import Sample
from popwatch.model.serialization import serialize
from popwatch.model.text import iso
from popwatch.model.time_limits import DAY, HOUR
from popwatch.model.totals import Totals
from popwatch.reports.availability import Period
from popwatch.reports.totals import add_up, add_up_one, merge_by_target

THREADS = 16
"""Reads under way at once."""

_T = TypeVar("_T")

OTHER_EVENTS = (EventKind.ALERT, EventKind.INTERVENTION, EventKind.POSTURE)
"""What is shown of one target beside its transitions."""

Interval = tuple[datetime, datetime]
"""A part of a period: from the first time until just before the second."""

BatchKey = tuple[int, int]
"""A number of batches, and the number of one of them."""

ReadBatch = Callable[[int, int, datetime, datetime], Iterable[tuple[datetime, _T]]]
ReadTarget = Callable[[int, int, datetime, datetime, str], Iterable[tuple[datetime, Mapping[str, _T]]]]


class Intervals(NamedTuple):
    """Which parts of a period are read from days, which from hours, and which from samples."""

    days: Sequence[Interval]
    hours: Sequence[Interval]
    samples: Sequence[Interval]


def read_totals(store: Store, checkpoint: SweepCheckpoint, period: Period) -> TargetTotals:
    """The totals of each target in a period."""
    parts = intervals(checkpoint, period, store.oldest_sample)
    batches = _all_batches(checkpoint)
    with ThreadPoolExecutor(THREADS) as pool:
        added_up = [
            pool.submit(read_added_up, store.read_days, store.read_hours, batch, parts.days, parts.hours)
            for batch in batches
        ]
        samples = _read_intervals(pool, batches, store.read_samples, parts.samples)
        totals = [part for future in added_up for part in future.result()]
    return merge_by_target([*totals, add_up(results for _, results in samples)])


def read_added_up(
    read_days: ReadBatch[_T],
    read_hours: ReadBatch[_T],
    batch: BatchKey,
    days: Sequence[Interval],
    hours: Sequence[Interval],
) -> list[_T]:
    """What a batch has of those days and hours. Days that it lacks are read from their hours.

    A batch lacks a day while an hour of it is late, and when the number of batches changed before that day was over.
    """
    of_days = [part for interval in days for part in read_days(*batch, *interval)]
    lacking = _lacking(days, {day for day, _ in of_days})
    of_hours = [part for interval in [*hours, *lacking] for part in read_hours(*batch, *interval)]
    return [found for _, found in (*of_days, *of_hours)]


def _lacking(days: Iterable[Interval], found: Collection[datetime]) -> list[Interval]:
    """Those intervals of days without the days found, in as few intervals as possible."""
    return [interval for whole in days for interval in _without(whole, found)]


def _without(whole: Interval, found: Collection[datetime]) -> Iterator[Interval]:
    begin, end = whole
    for day in sorted(day for day in found if begin <= day < end):
        if begin < day:
            yield begin, day
        begin = day + DAY
    if begin < end:
        yield begin, end


def _read_intervals(
    pool: ThreadPoolExecutor, batches: Iterable[BatchKey], read: ReadBatch[_T], wanted: Sequence[Interval]
) -> list[tuple[datetime, _T]]:
    """What `read` finds in those intervals, of each batch."""
    futures = [pool.submit(_read_all, read, batch, interval) for interval in wanted for batch in batches]
    return [part for future in futures for part in future.result()]


def _read_all(read: ReadBatch[_T], batch: BatchKey, interval: Interval) -> list[tuple[datetime, _T]]:
    return list(read(*batch, *interval))


def read_samples(
    store: Store, checkpoint: SweepCheckpoint, target_id: str, period: Period
) -> list[tuple[datetime, Sample]]:
    """Each sample of one target in a period, oldest first, with its tick."""
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [
            pool.submit(_read_one, store.read_samples, batch, target_id, [(period.begin, period.end)])
            for batch in batches_of_target(checkpoint, target_id)
        ]
        return sorted((part for future in futures for part in future.result()), key=itemgetter(0))


def read_samples_of_all(
    store: Store, checkpoint: SweepCheckpoint, target_ids: set[str], period: Period
) -> dict[str, list[tuple[datetime, Sample]]]:
    """Each sample of those targets in a period, oldest first, with its tick."""
    batches = {batch for target_id in target_ids for batch in batches_of_target(checkpoint, target_id)}
    with ThreadPoolExecutor(THREADS) as pool:
        parts = _read_intervals(pool, batches, store.read_samples, [(period.begin, period.end)])
    found: dict[str, list[tuple[datetime, Sample]]] = {}
    for tick, results in sorted(parts, key=itemgetter(0)):
        for target_id in target_ids & results.keys():
            found.setdefault(target_id, []).append((tick, results[target_id]))
    return found


def read_buckets(
    store: Store, checkpoint: SweepCheckpoint, target_id: str, period: Period, *, by_day: bool
) -> list[tuple[datetime, Totals]]:
    """The totals of one target in each hour of a period, or in each day, with the middle of that hour or day."""
    parts = intervals(checkpoint, period, store.oldest_sample)
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [
            pool.submit(_read_buckets, store, batch, target_id, parts, by_day=by_day)
            for batch in batches_of_target(checkpoint, target_id)
        ]
        return sorted((bucket for future in futures for bucket in future.result()), key=itemgetter(0))


def _read_buckets(
    store: Store, batch: BatchKey, target_id: str, parts: Intervals, *, by_day: bool
) -> list[tuple[datetime, Totals]]:
    """The buckets of one batch. They are only drawn and added up, so days and hours may follow one another."""
    of_days = _read_one(store.read_days, batch, target_id, parts.days) if by_day else []
    # By hour, all days are lacking, and so read from their hours; by day, only those that the batch does not have.
    lacking = _lacking(parts.days, {day for day, _ in of_days})
    of_hours = _read_one(store.read_hours, batch, target_id, [*parts.hours, *lacking])
    buckets = [(day + DAY / 2, totals) for day, totals in of_days]
    buckets += [(hour + HOUR / 2, totals) for hour, totals in of_hours]
    # Before the first whole hour, and after the last hour that was added up: one bucket each.
    for begin, end in parts.samples:
        samples = _read_one(store.read_samples, batch, target_id, [(begin, end)])
        if samples:
            buckets.append((begin + (end - begin) / 2, add_up_one(sample for _, sample in samples)))
    return buckets


def _read_one(
    read: ReadTarget[_T], batch: BatchKey, target_id: str, wanted: Sequence[Interval]
) -> list[tuple[datetime, _T]]:
    """What `read` finds of one target in those intervals of a batch."""
    parts = (part for interval in wanted for part in read(*batch, *interval, target_id))
    return [(time, found[target_id]) for time, found in parts if target_id in found]


def _all_batches(checkpoint: SweepCheckpoint) -> list[BatchKey]:
    """Every batch that was ever in use."""
    return [(count, number) for count in sorted(map(int, checkpoint.batch_counts)) for number in range(count)]


def batches_of_target(checkpoint: SweepCheckpoint, target_id: str) -> list[BatchKey]:
    """The batches that a target has ever belonged to, one for each number of batches."""
    return [(count, batch_of(target_id, count)) for count in map(int, checkpoint.batch_counts)]


def read_transitions(store: Store, records: Iterable[Record], period: Period) -> dict[str, list[HistoryEvent]]:
    """The transitions since a period began, of those targets that have changed since then."""
    changed = [
        record.target_id for record in records if record.health.since is None or record.health.since > period.begin
    ]
    # A transition is stored by the tick of its test, which begins later: by its lateness and the queue's.
    found = _read_events(store, changed, replace(period, begin=period.begin - MAX_QUEUE_DELAY), EventKind.TRANSITION)
    return {name: within for name, events in found.items() if (within := _since(period.begin, events))}


def read_beginnings(
    store: Store, transitions: Mapping[str, Sequence[HistoryEvent]], period: Period
) -> dict[str, list[Transition]]:
    """The transitions that began a maintenance in which a period begins and after which tests fail, by target.

    They say whether the run of failures began before the maintenance. Each costs a query (0.5 read units).
    """
    first = {name: min(transitions_of(events), key=attrgetter("at")) for name, events in transitions.items()}
    began = {name: at for name, change in first.items() if (at := _maintained_since(change, period))}
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(began, pool.map(partial(_read_beginning, store), began.items()), strict=True))


def _maintained_since(first: Transition, period: Period) -> datetime | None:
    """When the maintenance began that a failed test ends, the first transition of a period, if that was before it."""
    if first.previous is not State.MAINTENANCE or first.state not in FAILING:
        return None
    began = first.at - first.lasted if first.lasted else period.begin
    return began if began < period.begin else None


def _read_beginning(store: Store, target: tuple[str, datetime]) -> list[Transition]:
    target_id, at = target
    # A transition is stored by the tick of its test, which begins later.
    ticks = at - MAX_QUEUE_DELAY, at + timedelta(seconds=1)
    found = transitions_of(store.read_events(target_id, ticks[0], [EventKind.TRANSITION], ticks[1]))
    return [change for change in found if change.at == at]


def _since(begin: datetime, transitions: Iterable[HistoryEvent]) -> list[HistoryEvent]:
    return [event for event in transitions if isinstance(event.what, Transition) and event.what.at >= begin]


def read_interventions(store: Store, records: Iterable[Record], period: Period) -> dict[str, list[InterventionEvent]]:
    """What people did since a period began, about those targets that were not up throughout."""
    concerned = [
        record.target_id
        for record in records
        if record.health.state is not State.UP or record.health.since is None or record.health.since > period.begin
    ]
    events = _read_events(store, concerned, period, EventKind.INTERVENTION)
    return {
        name: [event.what for event in found if isinstance(event.what, InterventionEvent)]
        for name, found in events.items()
    }


def _read_events(
    store: Store, target_ids: Sequence[str], period: Period, kind: EventKind
) -> dict[str, list[HistoryEvent]]:
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda target_id: list(store.read_events(target_id, period.begin, [kind])), target_ids)
        return {target_id: events for target_id, events in zip(target_ids, found, strict=True) if events}


def transitions_of(events: Iterable[HistoryEvent]) -> list[Transition]:
    """The transitions among events."""
    return [event.what for event in events if isinstance(event.what, Transition)]


def event_to_json(event: HistoryEvent) -> dict[str, Any]:
    """An event for programs, under the names that it is stored with; whole numbers have no fraction."""
    fields: dict[str, Any] = serialize(event.what)
    if isinstance(event.what, PublishedAlert):
        alert = event.what
        about = {
            "message_id": alert.message_id,
            "deliveries": serialize(alert.message_ids),
            "sent_at": iso(alert.sent_at),
            "summary": alert.summary,
        }
        fields = about | serialize(alert.message)
    numbers = {name: int(value) for name, value in fields.items() if isinstance(value, float) and value.is_integer()}
    return fields | numbers | {"kind": event.kind.value, "tick": iso(event.tick)}


def read_gaps(store: Store, checkpoint: SweepCheckpoint, period: Period, now: datetime) -> list[Interval]:
    """The times of a period in which popwatch itself had stopped, including one that has not ended."""
    found = store.read_gaps(period.begin, period.end)
    if checkpoint.tick and now - checkpoint.tick > STOPPED_AFTER and checkpoint.tick < period.end:
        found.append((checkpoint.tick, now))
    return found


def intervals(checkpoint: SweepCheckpoint, period: Period, oldest_sample: datetime) -> Intervals:
    """Which parts of a period are read from days, which from hours, and which from samples.

    If a period begins or ends within an hour, its tests in that hour are read from samples. Where samples are not kept
    any more, the hour belongs to the period in which it begins.
    """
    # Hours are added up one after another: before `added_up` there are totals, after it only samples.
    added_up = checkpoint.hour + HOUR if checkpoint.hour else period.begin
    begin, end = _round_up(period.begin, HOUR), round_down(period.end, HOUR)
    if end < oldest_sample:
        end = _round_up(period.end, HOUR)
    end = min(end, added_up)
    if begin >= end:
        return Intervals([], [], [(period.begin, period.end)])
    edges = [(period.begin, begin), (end, period.end)]
    samples = [edge for edge in edges if edge[0] < edge[1] and edge[1] > oldest_sample]
    first, last = _round_up(begin, DAY), round_down(end, DAY)
    if first >= last:
        return Intervals([], [(begin, end)], samples)
    hours = [edge for edge in ((begin, first), (last, end)) if edge[0] < edge[1]]
    return Intervals([(first, last)], hours, samples)


def round_down(time: datetime, step: timedelta) -> datetime:
    """The last time before that, or that time, which is a multiple of `step` in UTC."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return time - (time - epoch) % step


def _round_up(time: datetime, step: timedelta) -> datetime:
    return round_down(time + step - timedelta(microseconds=1), step)
