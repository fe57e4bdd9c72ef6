"""Totals: what the tests of a target in an hour, a day or a month add up to. No I/O."""

import math
from collections.abc import Mapping
from dataclasses import field

from popwatch.model.quick_dataclass import quick_dataclass
from popwatch.model.serialization import DamagedError

BUCKET_RATIO = 1.1
"""A bucket of round-trip times is a tenth wider than the one before it, so percentiles by them are within 5 %."""

LOWEST_BUCKET, HIGHEST_BUCKET = -100, 400
"""In ms as powers of the ratio: from a tenth of a microsecond to a million years."""

PERCENTILES = (0.5, 0.95, 0.99)


@quick_dataclass(frozen=True, slots=True)
class Totals:
    """What the tests of one target in one hour, or one day, add up to.

    `failures` counts by error code. `inconclusive` tests, and those that failed `in_maintenance`, are neither passes
    nor failures. `degraded` counts passes in which some addresses failed. Round-trip times are milliseconds; `buckets`
    counts them by `floor(log(rtt_ms, BUCKET_RATIO))`, so that the counts of hours can be added up to those of a month.
    """

    tests: int = 0
    passes: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    inconclusive: int = 0
    in_maintenance: int = 0
    degraded: int = 0
    rtt_min_ms: float | None = None
    rtt_mean_ms: float | None = None
    rtt_max_ms: float | None = None
    buckets: Mapping[str, int] = field(default_factory=dict)

    @property
    def percentiles_ms(self) -> tuple[float | None, ...]:
        """The p50, p95 and p99 of its round-trip times, each within 5 %."""
        return tuple(self.percentile(share) for share in PERCENTILES)

    def percentile(self, share: float) -> float | None:
        """The rtt in ms below which `share` of the passes are, within 5 %, and within the least and the greatest."""
        found = percentile(self.buckets, share)
        if found is None or self.rtt_min_ms is None or self.rtt_max_ms is None:
            return found
        return min(max(found, self.rtt_min_ms), self.rtt_max_ms)


def check_totals(totals: Totals) -> None:
    """Raise DamagedError for totals whose round-trip times cannot be those of tests."""
    for bucket in totals.buckets:
        if not LOWEST_BUCKET <= int(bucket) <= HIGHEST_BUCKET:
            raise DamagedError(f"{bucket} is not a bucket of round-trip times")


def percentile(buckets: Mapping[str, int], share: float) -> float | None:
    """The rtt in ms below which `share` of the passes are, within 5 %; None without a pass."""
    rank = math.ceil(share * sum(buckets.values()))
    for bucket in sorted(map(int, buckets)):
        rank -= buckets[str(bucket)]
        if rank <= 0:
            return float(f"{BUCKET_RATIO ** (bucket + 0.5):.3g}")
    return None
