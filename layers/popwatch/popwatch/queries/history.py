"""Reading what History holds of a period: days and hours added up, samples for the rest, transitions of targets.

A whole day is read from its one item a batch, the rest of the period (and a day that a batch has not added up) from
hours, and what has not been added up yet, or is less than an hour, from samples. A past fleet may have had more or
fewer batches, so each number of batches that was ever in use is asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

from popwatch.aws.store import Store, SweepMark
from popwatch.decisions.schedule import SILENT_AFTER, batch_of
from popwatch.model.health import State, Transition
from popwatch.model.plain import from_plain
from popwatch.model.records import Note, Record
from popwatch.model.text import iso
from popwatch.model.totals import Totals
from popwatch.reports.availability import Period
from popwatch.reports.totals import add_up, merge_by_target

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
THREADS = 16
"""Reads under way at once."""

TotalsByTarget = Mapping[str, Totals]
Stretch = tuple[datetime, datetime]
Read = Callable[[int, int, datetime, datetime], Iterable[tuple[datetime, Any]]]


def read_totals(store: Store, mark: SweepMark, period: Period) -> TotalsByTarget:
    """What the tests of each target in a period add up to."""
    days, hours, samples = stretches(mark, period, store.oldest_sample)
    batches = _all_batches(mark)
    with ThreadPoolExecutor(THREADS) as pool:
        of_batches = [pool.submit(_read_batch, store, batch, days, hours) for batch in batches]
        of_samples = _read_stretches(pool, batches, store.read_samples, samples)
        parts = [part for found in of_batches for part in found.result()]
    return merge_by_target([*map(_totals_by_target, parts), add_up(results for _, results in of_samples)])


def _read_batch(
    store: Store, batch: tuple[int, int], days: Sequence[Stretch], hours: Sequence[Stretch]
) -> list[Mapping[str, Any]]:
    """The totals of one batch: days, and hours, those of days that it has not added up among them."""
    of_days = [part for stretch in days for part in store.read_days(*batch, *stretch)]
    found = {day for day, _ in of_days}
    missing = [stretch for whole in days for stretch in _without(whole, found)]
    of_hours = [part for stretch in [*hours, *missing] for part in store.read_hours(*batch, *stretch)]
    return [totals for _, totals in (*of_days, *of_hours)]


def _without(whole: Stretch, found: set[datetime]) -> Iterator[Stretch]:
    """What is left of some days without those found, in as few stretches as it takes."""
    begin, end = whole
    for day in sorted(day for day in found if begin <= day < end):
        if begin < day:
            yield begin, day
        begin = day + DAY
    if begin < end:
        yield begin, end


def _read_stretches(
    pool: ThreadPoolExecutor, batches: Iterable[tuple[int, int]], read: Read, wanted: Sequence[Stretch]
) -> list[tuple[datetime, Mapping[str, Any]]]:
    """What `read` finds in those stretches, of each batch."""
    asked = [pool.submit(_read_all, read, *batch, *stretch) for stretch in wanted for batch in batches]
    return [part for found in asked for part in found.result()]


def _read_all(read: Read, count: int, number: int, begin: datetime, end: datetime) -> list[Any]:
    return list(read(count, number, begin, end))


def read_samples(store: Store, mark: SweepMark, target_id: str, period: Period) -> list[tuple[datetime, Any]]:
    """Each sample of one target in a period, oldest first, with its tick."""
    with ThreadPoolExecutor(THREADS) as pool:
        asked = [
            pool.submit(_read_one, store.read_samples, batch, target_id, [(period.begin, period.end)])
            for batch in _batches_of(mark, target_id)
        ]
        return sorted((part for found in asked for part in found.result()), key=itemgetter(0))


def read_samples_of_all(
    store: Store, mark: SweepMark, target_ids: set[str], period: Period
) -> dict[str, list[tuple[datetime, Any]]]:
    """Each sample of those targets in a period, oldest first, with its tick."""
    batches = _all_batches(mark)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = _read_stretches(pool, batches, store.read_samples, [(period.begin, period.end)])
    found: dict[str, list[tuple[datetime, Any]]] = {}
    for tick, results in sorted(parts, key=itemgetter(0)):
        for target_id in target_ids & results.keys():
            found.setdefault(target_id, []).append((tick, results[target_id]))
    return found


def read_steps(
    store: Store, mark: SweepMark, target_id: str, period: Period, *, by_day: bool
) -> list[tuple[datetime, Totals]]:
    """What the tests of one target add up to in each hour of a period, or in each day, with the middle of it.

    What has not been added up yet is one more step, of its samples.
    """
    parts = stretches(mark, period, store.oldest_sample)
    with ThreadPoolExecutor(THREADS) as pool:
        asked = [
            pool.submit(_read_steps, store, batch, target_id, parts, by_day=by_day)
            for batch in _batches_of(mark, target_id)
        ]
        return sorted((step for found in asked for step in found.result()), key=itemgetter(0))


def _read_steps(
    store: Store,
    batch: tuple[int, int],
    target_id: str,
    parts: tuple[Sequence[Stretch], Sequence[Stretch], Sequence[Stretch]],
    *,
    by_day: bool,
) -> list[tuple[datetime, Totals]]:
    days, hours, samples = parts
    whole = _read_one(store.read_days, batch, target_id, days) if by_day else []
    found = {day for day, _ in whole}
    missing = [stretch for stretch in days for stretch in _without(stretch, found)]
    steps = [(day + DAY / 2, from_plain(Totals, totals)) for day, totals in whole]
    by_hour = _read_one(store.read_hours, batch, target_id, [*hours, *missing])
    steps += [(hour + HOUR / 2, from_plain(Totals, totals)) for hour, totals in by_hour]
    for begin, end in samples:
        results = [{target_id: sample} for _, sample in _read_one(store.read_samples, batch, target_id, [(begin, end)])]
        steps += [(begin + (end - begin) / 2, totals) for totals in add_up(results).values()]
    return steps


def _read_one(
    read: Callable[[int, int, datetime, datetime, str], Iterable[tuple[datetime, Any]]],
    batch: tuple[int, int],
    target_id: str,
    wanted: Sequence[Stretch],
) -> list[tuple[datetime, Any]]:
    """What `read` finds of one target in those stretches of its batch."""
    parts = (part for stretch in wanted for part in read(*batch, *stretch, target_id))
    return [(moment, found[target_id]) for moment, found in parts if target_id in found]


def _all_batches(mark: SweepMark) -> list[tuple[int, int]]:
    """Every batch that was ever in use."""
    return [(count, number) for count in sorted(map(int, mark.layouts)) for number in range(count)]


def _batches_of(mark: SweepMark, target_id: str) -> list[tuple[int, int]]:
    """The batches that a target has ever been of."""
    return [(count, batch_of(target_id, count)) for count in map(int, mark.layouts)]


def read_transitions(store: Store, records: Iterable[Record], period: Period) -> dict[str, list[Transition]]:
    """The transitions since the period's begin of those targets that have had any since then."""
    changed = [
        record.target_id for record in records if record.health.since is None or record.health.since > period.begin
    ]

    def read(target_id: str) -> list[Transition]:
        return transitions_of(store.read_events(target_id, period.begin, ["transition"]))

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(changed, pool.map(read, changed), strict=True))


def transitions_of(events: Iterable[Mapping[str, Any]]) -> list[Transition]:
    """The transitions among events of `Store.read_events`."""
    return [from_plain(Transition, event) for event in events if event["kind"] == "transition"]


def event_to_json(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of `Store.read_events` as programs get it."""
    kept = {name: value for name, value in event.items() if name not in ("pk", "expires_at", "version")}
    return kept | {"tick": iso(event["tick"])}


def read_notes(store: Store, records: Iterable[Record], period: Period) -> dict[str, list[Note]]:
    """What people did in a period, or after it, about those targets that were not up throughout."""
    asked = [
        record.target_id
        for record in records
        if record.health.state is not State.UP or record.health.since is None or record.health.since > period.begin
    ]

    def read(target_id: str) -> list[Note]:
        return [from_plain(Note, event) for event in store.read_events(target_id, period.begin, ["note"])]

    with ThreadPoolExecutor(THREADS) as pool:
        return {name: found for name, found in zip(asked, pool.map(read, asked), strict=True) if found}


def read_gaps(store: Store, mark: SweepMark, period: Period, now: datetime) -> list[Stretch]:
    """The times of a period in which popwatch itself had stopped, the present one among them."""
    found = store.read_gaps(period.begin, period.end)
    if mark.tick and now - mark.tick > SILENT_AFTER and mark.tick < period.end:
        found.append((mark.tick, now))
    return found


def stretches(
    mark: SweepMark, period: Period, oldest_sample: datetime
) -> tuple[list[Stretch], list[Stretch], list[Stretch]]:
    """Which part of a period is read from days, which from hours, and which from samples.

    An edge that is no whole hour is read from samples. Where they are gone, an hour belongs to the period in which it
    begins.
    """
    added_up = mark.hour + HOUR if mark.hour else period.begin
    begin, end = _ceil(period.begin, HOUR), _floor(period.end, HOUR)
    if end < oldest_sample:
        end = _ceil(period.end, HOUR)
    end = min(end, added_up)
    if begin >= end:
        return [], [], [(period.begin, period.end)]
    edges = [(period.begin, begin), (end, period.end)]
    samples = [edge for edge in edges if edge[0] < edge[1] and edge[1] > oldest_sample]
    first, last = _ceil(begin, DAY), _floor(end, DAY)
    if first >= last:
        return [], [(begin, end)], samples
    hours = [edge for edge in ((begin, first), (last, end)) if edge[0] < edge[1]]
    return [(first, last)], hours, samples


def _totals_by_target(plain: Mapping[str, Any]) -> TotalsByTarget:
    return {target_id: from_plain(Totals, found) for target_id, found in plain.items()}


def _ceil(moment: datetime, step: timedelta) -> datetime:
    return _floor(moment + step - timedelta(microseconds=1), step)


def _floor(moment: datetime, step: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return moment - (moment - epoch) % step
