"""What an installation's tables hold, as the doctor asks: targets, records, the samples of the last hours."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property

from popwatch.aws.store import Store, SweepMark
from popwatch.decisions.schedule import batch_count, batch_of
from popwatch.model.records import Record
from popwatch.model.targets import Target
from popwatch.model.text import iso
from popwatch.queries.status import batches_of
from popwatch_cli.doctor.rules.overdue import LOOKED_BACK, Fleet
from popwatch_cli.doctor.rules.sweeps import LOOKBACK, Gap, gaps_between, witness
from popwatch_cli.installation import Installation
from popwatch_cli.target_items import Item, targets_of


class NotKnownError(Exception):
    """There is nothing to know a thing by; the text says why, as the end of `not known: ...`."""


class Contents:
    """The contents at one moment. Each is asked for once, and again only if AWS refused it."""

    def __init__(self, installation: Installation, now: datetime) -> None:
        self._installation, self._now = installation, now

    @cached_property
    def _store(self) -> Store:
        """The tables that sweeps write."""
        return self._installation.store

    @cached_property
    def items(self) -> Mapping[str, Item]:
        """The items of the Targets table, `_defaults` among them."""
        return self._installation.target_table.read()

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        """The targets."""
        return targets_of(self.items)

    @property
    def batches(self) -> int:
        """The number of batches that the fleet is cut into."""
        return batch_count(sum(target.policy.enabled for target in self.targets.values()))

    @cached_property
    def status(self) -> tuple[SweepMark, Mapping[str, Record]]:
        """The sweep's mark, and the targets' records."""
        return self._store.read_records()

    @cached_property
    def fleet(self) -> Fleet:
        """The targets with what is known of their tests."""
        mark, records = self.status
        since, until = self._now - LOOKED_BACK, self._now + timedelta(minutes=1)
        layouts = {int(count) for count, used in mark.layouts.items() if used >= iso(since)} | {batches_of(mark)}
        tested = {
            name: tick
            for count in layouts
            for number in range(count)
            for tick, results in self._store.read_samples(count, number, since, until)
            for name in results
        }
        return Fleet(self.targets, records, tested, mark.tick)

    @property
    def gaps(self) -> list[Gap]:
        """Where nothing was tested in the last hours, by the samples of one target's batch. Raises NotKnownError."""
        mark, records = self.status
        seen = witness(self.targets.values(), records)
        if seen is None or mark.tick is None:
            raise NotKnownError("no target is up, whose tests would show them")
        up_since = records[seen.target_id].health.since or self._now
        since = max(self._now - LOOKBACK, up_since)
        ticks = {tick for count in mark.layouts for tick in self._ticks(int(count), seen.target_id, since)}
        return gaps_between(ticks, seen.policy.delay_up, since, min(mark.tick, self._now))

    def _ticks(self, count: int, target_id: str, since: datetime) -> Iterator[datetime]:
        found = self._store.read_samples(count, batch_of(target_id, count), since, self._now)
        return (tick for tick, _ in found)
