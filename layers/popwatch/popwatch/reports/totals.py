"""Adding up samples into hours and hours into days, so that a report of a month reads neither of them all. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from popwatch.model.samples import is_inconclusive, rtt_of
from popwatch.model.totals import BUCKET_RATIO, Totals, percentile


def add_up(samples: Iterable[Mapping[str, Any]]) -> dict[str, Totals]:
    """The totals by target of samples items' results."""
    return {target_id: _total(found) for target_id, found in _by_target(samples).items()}


def merge(totals: Iterable[Totals]) -> Totals:
    """Totals of hours, or days, as one; its p95 is read from the buckets."""
    found = list(totals)
    failures: Counter[str] = Counter()
    buckets: Counter[str] = Counter()
    for part in found:
        failures.update(part.failures)
        buckets.update(part.buckets)
    passes = sum(part.passes for part in found)
    mean = sum((part.rtt_mean_ms or 0.0) * part.passes for part in found) / passes if passes else None
    return Totals(
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


def merge_by_target(hours: Iterable[Mapping[str, Totals]]) -> dict[str, Totals]:
    """The totals by target of several hours."""
    return {target_id: merge(found) for target_id, found in _by_target(hours).items()}


def _by_target(parts: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for part in parts:
        for target_id, entry in part.items():
            found.setdefault(target_id, []).append(entry)
    return found


def _total(samples: list[Any]) -> Totals:
    rtts = sorted(rtt for rtt in map(rtt_of, samples) if rtt is not None)
    maps = [sample for sample in samples if isinstance(sample, Mapping)]
    failed = [sample for sample in maps if "error" in sample]
    counted = [sample for sample in failed if not (sample.get("maintenance") or sample.get("inconclusive"))]
    totals = Totals(
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
