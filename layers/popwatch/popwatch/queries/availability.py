"""Reading a period of one or many targets: where report, history, page and API get their availability from.

They all use `read_periods`, so they cannot differ. It costs a query (0.5 read units) for each target that has changed
since the period began, another one if it began in a maintenance after which tests failed, and one for the times in
which popwatch itself had stopped. Transitions are read until now, not until the end of the period: they say what
became of a run of failures that goes on at its end. The totals are read by the caller, in the cheapest way for what
else it shows: the report by `read_totals`, history from the tests that it draws, the page by `InconclusiveTests`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from threading import Lock
from typing import NamedTuple

from popwatch.aws.store import Store, SweepCheckpoint
from popwatch.model.records import HistoryEvent, Record
from popwatch.model.totals import Totals
from popwatch.queries.history import (
    THREADS,
    BatchKey,
    Interval,
    batches_of_target,
    intervals,
    read_added_up,
    read_beginnings,
    read_gaps,
    read_transitions,
    round_down,
    transitions_of,
)
from popwatch.reports.availability import Period, TargetAvailability, target_availability

READ_LENGTH = timedelta(days=15)
"""Days that are read at once."""

COMPLETE_AFTER = timedelta(minutes=30)
"""How long after its end an hour or day has been added up, even if the message about it was late."""


@dataclass(frozen=True, slots=True)
class FleetAvailability:
    """Targets in a period, with their transitions since it began; `gaps` are when popwatch itself had stopped."""

    targets: Mapping[str, TargetAvailability]
    transitions: Mapping[str, Sequence[HistoryEvent]]
    gaps: Sequence[Interval]


def read_periods(
    store: Store,
    checkpoint: SweepCheckpoint,
    records: Mapping[str, Record],
    totals: Mapping[str, Totals],
    period: Period,
    *,
    now: datetime,
) -> FleetAvailability:
    """Read how those targets were in a period; `totals` are those of their tests in it, by target."""
    gaps = read_gaps(store, checkpoint, period, now)
    transitions = read_transitions(store, records.values(), period)
    beginnings = read_beginnings(store, transitions, period)
    targets = {
        name: target_availability(
            [*beginnings.get(name, ()), *transitions_of(transitions.get(name, ()))],
            record.health,
            totals.get(name, Totals()),
            period,
            gaps,
        )
        for name, record in records.items()
    }
    return FleetAvailability(targets, transitions, gaps)


class Part(NamedTuple):
    """A part of a batch's past that has been added up, by day or by hour."""

    batch: BatchKey
    begin: datetime
    end: datetime
    by_day: bool


class InconclusiveTests:
    """Counts inconclusive tests: all that availability needs to know of tests. Keeps in memory what cannot change.

    The first read of a batch's 90 days costs as much as a report on them: about 2,600 read units for a batch of 500
    targets, 0.0003 US dollars. After that, each read costs at most 75 for the samples that are not added up yet, and
    260 more once an hour for hours: items as large as those of `bench_page`, at 4 KB a half read unit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cached: dict[Part, Counter[str]] = {}
        self._lock = Lock()

    def read(
        self, checkpoint: SweepCheckpoint, target_ids: Iterable[str], period: Period, now: datetime
    ) -> dict[str, Totals]:
        """Totals of those targets in a period that have nothing but the number of inconclusive tests."""
        wanted = set(target_ids)
        batches = {batch for target_id in wanted for batch in batches_of_target(checkpoint, target_id)}
        days, hours, samples = intervals(checkpoint, period, self._store.oldest_sample)
        reads = [(interval, True) for whole in days for interval in _split(whole)] + [(hour, False) for hour in hours]
        parts = [Part(batch, *interval, by_day) for batch in batches for interval, by_day in reads]
        with self._lock, ThreadPoolExecutor(THREADS) as pool:
            missing = [part for part in parts if part not in self._cached]
            known = self._cached | dict(zip(missing, pool.map(self._read_added_up, missing), strict=True))
            recent = pool.map(self._read_samples, [(batch, interval) for batch in batches for interval in samples])
            counts = sum((*(known[part] for part in parts), *recent), Counter[str]())
            self._cached = {part: found for part, found in known.items() if _can_be_cached(part, period, now)}
        return {target_id: Totals(inconclusive=counts[target_id]) for target_id in wanted & counts.keys()}

    def _read_added_up(self, part: Part) -> Counter[str]:
        read_days, read_hours = (partial(self._store.read_inconclusive, kind) for kind in ("days", "hours"))
        interval = [(part.begin, part.end)]
        days, hours = (interval, []) if part.by_day else ([], interval)
        return sum(map(Counter, read_added_up(read_days, read_hours, part.batch, days, hours)), Counter[str]())

    def _read_samples(self, wanted: tuple[BatchKey, Interval]) -> Counter[str]:
        batch, interval = wanted
        found = self._store.read_inconclusive("samples", *batch, *interval)
        return sum((Counter(counts) for _, counts in found), Counter[str]())


def _split(days: Interval) -> Iterator[Interval]:
    """Days cut at fixed dates: the intervals are read at the same time, and from day to day only the outer ones
    change."""
    begin, end = days
    while begin < end:
        cut = min(round_down(begin, READ_LENGTH) + READ_LENGTH, end)
        yield begin, cut
        begin = cut


def _can_be_cached(part: Part, period: Period, now: datetime) -> bool:
    """Whether a part is in the period, which moves on, and was complete when it was read."""
    return part.begin >= period.begin and part.end <= now - COMPLETE_AFTER
