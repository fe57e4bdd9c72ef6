"""How a stack's targets stand now, read from its tables: for the command, the page and its API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from popwatch.aws.store import Store, SweepMark
from popwatch.decisions.schedule import batch_of
from popwatch.model.targets import Target, parse_targets
from popwatch.model.text import iso
from popwatch.reports.status import Sample, TargetStatus, Verdict, has_stopped, row_to_json, stand

LATE = timedelta(minutes=2)
"""How much later than its delay a target's last test may lie back."""


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """Targets, worst first, and how far sweeps have come."""

    rows: Sequence[TargetStatus]
    mark: SweepMark

    @property
    def swept_at(self) -> datetime | None:
        """The last tick that was completed."""
        return self.mark.tick


def read_fleet_status(store: Store, now: datetime) -> FleetStatus:
    """Read the tables: two scans, and the newest samples of each batch."""
    defaults, items = store.read_targets()
    mark, records = store.read_records()
    targets = parse_targets(items, defaults)
    return FleetStatus(stand(targets, records, _newest_samples(store, batches_of(mark), targets, now), now), mark)


def batches_of(mark: SweepMark) -> int:
    """The number of batches in use now."""
    newest = max(mark.layouts.values(), default="")
    return max((int(count) for count, used in mark.layouts.items() if used == newest), default=1)


def _newest_samples(store: Store, batches: int, targets: Mapping[str, Target], now: datetime) -> Mapping[str, Sample]:
    """The last test of each target, looked for as far back as its batch's longest delay says that there is one."""
    found: dict[str, Sample] = {}
    for batch in range(batches):
        delays = {
            name: target.policy.delay_up
            for name, target in targets.items()
            if target.policy.enabled and batch_of(name, batches) == batch
        }
        since = now - timedelta(seconds=max(delays.values(), default=0)) - LATE
        for tick, results in store.read_samples_back(batches, batch, since):
            found = {target_id: (tick, sample) for target_id, sample in results.items()} | found
            if delays.keys() <= found.keys():
                break
    return found


def fleet_status_to_json(fleet_status: FleetStatus, found: Verdict, now: datetime) -> dict[str, Any]:
    """A fleet_status as programs get it; `found` is what its targets come to."""
    return {
        "at": iso(now),
        "verdict": found.name.lower(),
        "last_sweep": iso(fleet_status.swept_at) if fleet_status.swept_at else None,
        "stopped": has_stopped(fleet_status.swept_at, now),
        "targets": [row_to_json(row, now) for row in fleet_status.rows],
    }
