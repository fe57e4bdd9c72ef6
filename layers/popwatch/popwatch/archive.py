"""Reading what History holds of a period: days and hours added up, samples for the rest, transitions of targets.

A whole day is read from its one item a batch, the rest of the period (and a day that was never added up) from hours,
and what has not been added up yet from samples. A past fleet may have had more or fewer batches, so each number of
batches that was ever in use is asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any

from popwatch.availability import Period
from popwatch.health import Transition
from popwatch.hours import HourTotals, add_up, merge_by_target
from popwatch.records import Record, from_plain, iso
from popwatch.schedule import batch_of
from popwatch.store import Store, SweepMark

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
THREADS = 16
"""Reads under way at once."""

Totals = Mapping[str, HourTotals]
Stretch = tuple[datetime, datetime]
Read = Callable[[int, int, datetime, datetime], Iterable[tuple[datetime, Any]]]


def read_totals(store: Store, mark: SweepMark, period: Period) -> Totals:
    """What the tests of each target in a period add up to. Its edges are taken to the whole hour."""
    days, hours, samples = stretches(mark, period)
    with ThreadPoolExecutor(THREADS) as pool:
        read = partial(_read_stretches, pool, mark)
        of_days = [part for stretch in days for part in read(store.read_days, [stretch])]
        found = {day for day, _ in of_days}
        missing = [(day, day + DAY) for stretch in days for day in _days_in(stretch) if day not in found]
        of_hours = read(store.read_hours, [*hours, *missing])
        of_samples = read(store.read_samples, samples)
    parts = [_totals(totals) for _, totals in (*of_days, *of_hours)]
    return merge_by_target([*parts, add_up(results for _, results in of_samples)])


def _read_stretches(
    pool: ThreadPoolExecutor, mark: SweepMark, read: Read, wanted: Sequence[Stretch]
) -> list[tuple[datetime, Mapping[str, Any]]]:
    """What `read` finds in those stretches, of each batch under each number of batches."""
    layouts = [(count, number) for count in sorted(map(int, mark.layouts)) for number in range(count)]
    asked = [pool.submit(_read_all, read, *layout, *stretch) for stretch in wanted for layout in layouts]
    return [part for found in asked for part in found.result()]


def _read_all(read: Read, count: int, number: int, begin: datetime, end: datetime) -> list[Any]:
    return list(read(count, number, begin, end))


def _days_in(stretch: Stretch) -> list[datetime]:
    return [stretch[0] + DAY * step for step in range((stretch[1] - stretch[0]) // DAY)]


def read_samples(store: Store, mark: SweepMark, target_id: str, period: Period) -> list[tuple[datetime, Any]]:
    """Each sample of one target in a period, oldest first, with its tick."""
    read = partial(store.read_samples, only=target_id)
    with ThreadPoolExecutor(THREADS) as pool:
        asked = [
            pool.submit(_read_all, read, count, batch_of(target_id, count), period.begin, period.end)
            for count in map(int, mark.layouts)
        ]
        found = [part for answer in asked for part in answer.result()]
    return sorted(((tick, results[target_id]) for tick, results in found if target_id in results), key=itemgetter(0))


def read_samples_of_all(
    store: Store, mark: SweepMark, target_ids: set[str], period: Period
) -> dict[str, list[tuple[datetime, Any]]]:
    """Each sample of those targets in a period, oldest first, with its tick."""
    with ThreadPoolExecutor(THREADS) as pool:
        parts = _read_stretches(pool, mark, store.read_samples, [(period.begin, period.end)])
    found: dict[str, list[tuple[datetime, Any]]] = {}
    for tick, results in sorted(parts, key=itemgetter(0)):
        for target_id in target_ids & results.keys():
            found.setdefault(target_id, []).append((tick, results[target_id]))
    return found


def read_totals_by_hour(store: Store, mark: SweepMark, target_id: str, period: Period) -> dict[datetime, HourTotals]:
    """The totals of one target for each whole hour of a period that has been added up."""
    found: dict[datetime, HourTotals] = {}
    for count in map(int, mark.layouts):
        for hour, totals in store.read_hours(count, batch_of(target_id, count), _floor(period.begin, HOUR), period.end):
            if target_id in totals:
                found[hour] = from_plain(HourTotals, totals[target_id])
    return found


def read_transitions(store: Store, records: Iterable[Record], period: Period) -> dict[str, list[Transition]]:
    """The transitions since the period's begin of those targets that have had any since then."""
    changed = [
        record.target_id for record in records if record.health.since is None or record.health.since > period.begin
    ]

    def read(target_id: str) -> list[Transition]:
        return [_transition(event) for event in store.read_events(target_id, period.begin, ["transition"])]

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(changed, pool.map(read, changed), strict=True))


def event_to_json(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of `Store.read_events` as programs get it."""
    kept = {name: value for name, value in event.items() if name not in ("pk", "expires_at", "version")}
    return kept | {"tick": iso(event["tick"])}


def stretches(mark: SweepMark, period: Period) -> tuple[list[Stretch], list[Stretch], list[Stretch]]:
    """Which part of a period is read from days, which from hours, and which from samples."""
    added_up = mark.hour + HOUR if mark.hour else period.begin
    begin, end = _floor(period.begin, HOUR), _floor(period.end + HOUR - timedelta(microseconds=1), HOUR)
    hours_end = max(begin, min(end, added_up))
    first, last = _floor(begin + DAY - HOUR, DAY), _floor(hours_end, DAY)
    samples = [(hours_end, period.end)] if hours_end < period.end else []
    if first >= last:
        return [], [(begin, hours_end)] if begin < hours_end else [], samples
    edges = [(begin, first), (last, hours_end)]
    return [(first, last)], [edge for edge in edges if edge[0] < edge[1]], samples


def _totals(plain: Mapping[str, Any]) -> Totals:
    return {target_id: from_plain(HourTotals, found) for target_id, found in plain.items()}


def _transition(event: Mapping[str, Any]) -> Transition:
    found: Transition = from_plain(Transition, event)
    return found


def _floor(moment: datetime, step: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return moment - (moment - epoch) % step
