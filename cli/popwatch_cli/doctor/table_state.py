"""What the checks need from an installation's tables: targets, records, the samples of the last hours."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cached_property

from popwatch.aws.store import SWEEP_ID, StatusTable, Store
from popwatch.decisions.schedule import batch_count, batch_of
from popwatch.model.credential_state import CredentialState
from popwatch.model.targets import Item, Target
from popwatch.model.text import iso
from popwatch.queries.history import THREADS, read_totals
from popwatch.queries.status import batches_of
from popwatch.reports.availability import Period
from popwatch_cli.doctor.rules.overdue import SAMPLES_READ, TestedFleet
from popwatch_cli.doctor.rules.sweeps import LOOKBACK, Gap, baseline_target, gaps_between
from popwatch_cli.installation import Installation
from popwatch_cli.target_items import targets_of

EVENTS_READ = timedelta(days=7)
"""How far back History is read for items that cannot be read."""

MAX_READ = 1000
"""Targets whose events are read for that: a query each, so more would take minutes."""


class NotKnownError(Exception):
    """A check has nothing to go by; the text says why, as the end of `UNKNOWN ...: ...`."""


class TableState:
    """What the tables hold at one time. Each part is read once, and again only if AWS refused it."""

    def __init__(self, installation: Installation, now: datetime) -> None:
        self._installation, self._now = installation, now

    @cached_property
    def _store(self) -> Store:
        """The tables that sweeps write."""
        return self._installation.store

    @cached_property
    def items(self) -> Mapping[str, Item]:
        """The items of the Targets table, `_defaults` included."""
        return self._installation.target_table.read()

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        """The targets."""
        return targets_of(self.items, self._now)

    @property
    def batches(self) -> int:
        """The number of batches that the fleet is split into."""
        return batch_count(sum(target.policy.enabled for target in self.targets.values()))

    @cached_property
    def status(self) -> StatusTable:
        """The checkpoint of the last sweep, the targets' records, and how logins went."""
        return self._store.read_status()

    @cached_property
    def credential_users(self) -> Mapping[str, list[str]]:
        """The targets that are tested, and log in, with each credential, by its name."""
        users: dict[str, list[str]] = defaultdict(list)
        for target in self.targets.values():
            if target.policy.login and target.policy.enabled and not target.problems:
                users[target.policy.login].append(target.target_id)
        return users

    @property
    def credential_states(self) -> list[CredentialState]:
        """How logins with these credentials went."""
        return [self.status.credentials[name] for name in self.credential_users if name in self.status.credentials]

    @property
    def checkpoint_damage(self) -> str:
        """Why the tick of the checkpoint counts as none; empty if it does not."""
        if self.status.checkpoint.tick:
            return ""
        return next((why for (_, key), why in self._store.damaged.items() if key == f"{SWEEP_ID} tick"), "")

    @property
    def damaged(self) -> Mapping[tuple[str, str], str]:
        """What cannot be read: of Targets, of Status, and of what people are shown of History in the last days."""
        checkpoint, records = self.status.checkpoint, self.status.records
        self._store.read_targets()
        _ = self.fleet
        self._store.read_gaps(self._now - EVENTS_READ, self._now)
        read_totals(self._store, checkpoint, Period(self._now - EVENTS_READ, self._now))
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._read_events, sorted(records)[:MAX_READ]))
        return self._store.damaged

    def _read_events(self, target_id: str) -> None:
        for _ in self._store.read_events(target_id, self._now - EVENTS_READ):
            pass

    @cached_property
    def fleet(self) -> TestedFleet:
        """The targets, with their records and last tests."""
        checkpoint, records = self.status.checkpoint, self.status.records
        since, until = self._now - SAMPLES_READ, self._now + timedelta(minutes=1)
        # the key of samples holds the number of batches, which may have changed in the meantime
        recent = {int(count) for count, used in checkpoint.batch_counts.items() if used >= iso(since)}
        batch_counts = recent | {batches_of(checkpoint)}
        tested = {
            name
            for count in batch_counts
            for number in range(count)
            for _, results in self._store.read_samples(count, number, since, until)
            for name in results
        }
        return TestedFleet(self.targets, records, tested, checkpoint.tick)

    @property
    def gaps(self) -> list[Gap]:
        """Where nothing was tested in the last hours, by the samples of one target's batch. Raises NotKnownError."""
        checkpoint, records = self.status.checkpoint, self.status.records
        target = baseline_target(self.targets.values(), records)
        if target is None or checkpoint.tick is None:
            raise NotKnownError("no target is up, and only the tests of such a target show gaps")
        up_since = records[target.target_id].health.since or self._now
        since = max(self._now - LOOKBACK, up_since)
        ticks = {tick for count in checkpoint.batch_counts for tick in self._ticks(int(count), target.target_id, since)}
        return gaps_between(ticks, target.policy.delay_up, since, min(checkpoint.tick, self._now))

    def _ticks(self, count: int, target_id: str, since: datetime) -> Iterator[datetime]:
        found = self._store.read_samples(count, batch_of(target_id, count), since, self._now)
        return (tick for tick, _ in found)
