"""Adding up samples into hours and hours into days, so that a report of a month reads neither of them all. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from popwatch.outcomes import Outcome

BUCKET_RATIO = 1.1
"""A bucket of round-trip times is a tenth wider than the one below, so a percentile read from them is within 5 %."""

PERCENTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class HourTotals:
    """What the tests of one target in one hour, or one day, add up to.

    `failures` counts by error code. `inconclusive` tests were not judged, and those `in_maintenance` failed where that
    does not count: neither is a pass or a failure. `degraded` counts passes in which some addresses failed. Round-trip
    times are milliseconds; `buckets` counts them by `floor(log(rtt_ms, BUCKET_RATIO))`, which hours of a month can be
    added up from.
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
    rtt_p95_ms: float | None = None
    buckets: Mapping[str, int] = field(default_factory=dict)

    @property
    def percentiles_ms(self) -> tuple[float | None, ...]:
        """The p50, p95 and p99 of its round-trip times, each within 5 %."""
        return tuple(self.percentile(share) for share in PERCENTILES)

    def percentile(self, share: float) -> float | None:
        """The rtt in ms below which `share` of the passes lie, within 5 %, and within the least and the greatest."""
        found = percentile(self.buckets, share)
        if found is None or self.rtt_min_ms is None or self.rtt_max_ms is None:
            return found
        return min(max(found, self.rtt_min_ms), self.rtt_max_ms)


def sample_of(outcome: Outcome, *, maintenance: bool = False, inconclusive: bool = False) -> object:
    """What a samples item keeps of an outcome: the bare rtt in ms, to three digits; a map of anything but a pass."""
    if outcome.error is None:
        rtt_ms = float(f"{outcome.rtt_ms or 0.0:.3g}")
        failed = len(outcome.failed_addresses)
        return {"rtt_ms": rtt_ms, "degraded": failed} if failed else rtt_ms
    flags = {"maintenance": maintenance, "inconclusive": inconclusive}
    found = {"error": outcome.error.value, "reason": outcome.reason}
    return found | {name: True for name, flag in flags.items() if flag}


def rtt_of(sample: object) -> float | None:
    """The rtt in ms of a sample that passed, or None."""
    value = sample.get("rtt_ms") if isinstance(sample, Mapping) else sample
    return float(value) if isinstance(value, int | float) else None


def is_inconclusive(sample: object) -> bool:
    """Whether a sample is of a test that was not judged."""
    return isinstance(sample, Mapping) and bool(sample.get("inconclusive"))


def add_up(samples: Iterable[Mapping[str, Any]]) -> dict[str, HourTotals]:
    """The totals by target of samples items' results."""
    return {target_id: _total(found) for target_id, found in _by_target(samples).items()}


def merge(totals: Iterable[HourTotals]) -> HourTotals:
    """Totals of hours, or days, as one; its p95 is read from the buckets."""
    found = list(totals)
    failures: Counter[str] = Counter()
    buckets: Counter[str] = Counter()
    for part in found:
        failures.update(part.failures)
        buckets.update(part.buckets)
    passes = sum(part.passes for part in found)
    mean = sum((part.rtt_mean_ms or 0.0) * part.passes for part in found) / passes if passes else None
    return HourTotals(
        tests=sum(part.tests for part in found),
        passes=passes,
        failures=dict(failures),
        inconclusive=sum(part.inconclusive for part in found),
        in_maintenance=sum(part.in_maintenance for part in found),
        degraded=sum(part.degraded for part in found),
        rtt_min_ms=min((part.rtt_min_ms for part in found if part.rtt_min_ms is not None), default=None),
        rtt_mean_ms=None if mean is None else float(f"{mean:.3g}"),
        rtt_max_ms=max((part.rtt_max_ms for part in found if part.rtt_max_ms is not None), default=None),
        rtt_p95_ms=percentile(buckets, 0.95),
        buckets=dict(buckets),
    )


def merge_by_target(hours: Iterable[Mapping[str, HourTotals]]) -> dict[str, HourTotals]:
    """The totals by target of several hours."""
    return {target_id: merge(found) for target_id, found in _by_target(hours).items()}


def percentile(buckets: Mapping[str, int], share: float) -> float | None:
    """The rtt in ms below which `share` of the passes lie, within 5 %; None where there was no pass."""
    rank = math.ceil(share * sum(buckets.values()))
    for bucket in sorted(map(int, buckets)):
        rank -= buckets[str(bucket)]
        if rank <= 0:
            return float(f"{BUCKET_RATIO ** (bucket + 0.5):.3g}")
    return None


def _by_target(parts: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for part in parts:
        for target_id, entry in part.items():
            found.setdefault(target_id, []).append(entry)
    return found


def _total(samples: list[Any]) -> HourTotals:
    rtts = sorted(rtt for rtt in map(rtt_of, samples) if rtt is not None)
    maps = [sample for sample in samples if isinstance(sample, Mapping)]
    failed = [sample for sample in maps if "error" in sample]
    counted = [sample for sample in failed if not (sample.get("maintenance") or sample.get("inconclusive"))]
    totals = HourTotals(
        tests=len(samples),
        passes=len(rtts),
        failures=dict(Counter(str(sample["error"]) for sample in counted)),
        inconclusive=sum(map(is_inconclusive, failed)),
        in_maintenance=sum(bool(sample.get("maintenance")) for sample in failed),
        degraded=sum("degraded" in sample for sample in maps),
    )
    if not rtts:
        return totals
    return replace(
        totals,
        rtt_min_ms=rtts[0],
        rtt_mean_ms=float(f"{sum(rtts) / len(rtts):.3g}"),
        rtt_max_ms=rtts[-1],
        rtt_p95_ms=rtts[math.ceil(0.95 * len(rtts)) - 1],
        buckets=dict(Counter(str(_bucket(rtt)) for rtt in rtts)),
    )


def _bucket(rtt_ms: float) -> int:
    return math.floor(math.log(max(rtt_ms, 0.001), BUCKET_RATIO))
