"""The status of a stack's targets, read from its tables: for the command, the page and its API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from popwatch.aws.store import Store, SweepCheckpoint
from popwatch.decisions.schedule import batch_of
from popwatch.model.records import Record
from popwatch.model.targets import Target, parse_targets
from popwatch.model.text import iso
from popwatch.reports.status import (
    IN_JSON,
    LOGINS,
    CheckStatus,
    NewestTests,
    TargetStatus,
    has_stopped,
    target_status_to_json,
    target_statuses,
)

LATE = timedelta(minutes=2)
"""How much older than its delay a target's last test may be."""

MAILBOX_BACK = timedelta(minutes=10)
"""How far back the last login of a target is looked for: twice the default of `login_every`."""


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The status of targets, the worst first, and how far sweeps have come."""

    targets: Sequence[TargetStatus]
    checkpoint: SweepCheckpoint

    @property
    def last_tick(self) -> datetime | None:
        """The last completed tick."""
        return self.checkpoint.tick


def read_fleet_status(store: Store, now: datetime) -> FleetStatus:
    """Read the tables: two scans, and the newest samples of each batch."""
    defaults, items = store.read_targets()
    found = store.read_status()
    targets = parse_targets(items, defaults, now)
    newest = read_newest_tests(store, found.checkpoint, targets, found.records, now)
    return FleetStatus(target_statuses(targets, found.records, newest, now, found.credentials), found.checkpoint)


def batches_of(checkpoint: SweepCheckpoint) -> int:
    """The number of batches in use now."""
    newest = max(checkpoint.batch_counts.values(), default="")
    return max((int(count) for count, used in checkpoint.batch_counts.items() if used == newest), default=1)


def read_newest_tests(
    store: Store,
    checkpoint: SweepCheckpoint,
    targets: Mapping[str, Target],
    records: Mapping[str, Record],
    now: datetime,
) -> NewestTests:
    """The last test of each target, and its last passed one: its record has neither if the target passes.

    A batch is read back as far as its longest delay before the last completed tick, or until all have been found. The
    last passed test of a target that fails is in its record. Of targets with a login, the last mailbox is looked for as
    well, for MAILBOX_BACK.
    """
    batches = batches_of(checkpoint)
    last_tick = min(checkpoint.tick or now, now)  # popwatch may have missed ticks since, or have stopped
    found = NewestTests()
    for batch in range(batches):
        delays = {
            name: target.policy.delay_up
            for name, target in targets.items()
            if target.policy.enabled and batch_of(name, batches) == batch
        }
        failing = {name for name in delays if name in records and records[name].health.is_failing}
        with_login = {name for name in delays if targets[name].policy.login} - failing
        longest = timedelta(seconds=max(delays.values(), default=0))
        since = last_tick - (max(longest, MAILBOX_BACK) if with_login else longest) - LATE
        found.since.update(dict.fromkeys(delays, since))
        for tick, samples in store.read_samples_back(batches, batch, since):
            for target_id, sample in samples.items():
                found.samples.setdefault(target_id, (tick, sample))
                if sample.rtt_ms is not None:
                    found.passed.setdefault(target_id, tick)
                if sample.login and sample.login in LOGINS and target_id not in found.mailboxes:
                    found.logins.setdefault(target_id, (tick, sample.login))
                if sample.mailbox:
                    found.mailboxes.setdefault(target_id, (tick, sample.mailbox))
            if not with_login <= found.mailboxes.keys():
                continue
            if delays.keys() <= found.samples.keys() and delays.keys() <= found.passed.keys() | failing:
                break
    return found


def fleet_status_to_json(fleet_status: FleetStatus, overall: CheckStatus, now: datetime) -> dict[str, Any]:
    """The status of targets for programs, and the `overall` status."""
    return {
        "at": iso(now),
        "verdict": IN_JSON[overall],
        "last_sweep": iso(fleet_status.last_tick) if fleet_status.last_tick else None,
        "stopped": has_stopped(fleet_status.last_tick, now),
        "targets": [target_status_to_json(target, now) for target in fleet_status.targets],
    }
