"""Adding up samples into hours and hours into days, so that a monthly report need not read every sample. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from popwatch.model.samples import Sample
from popwatch.model.totals import BUCKET_RATIO, Totals

_T = TypeVar("_T")


def add_up(samples: Iterable[Mapping[str, Sample]]) -> dict[str, Totals]:
    """The totals by target of several samples items."""
    return {target_id: add_up_one(found) for target_id, found in _by_target(samples).items()}


def merge(totals: Iterable[Totals]) -> Totals:
    """The totals of several hours or days, as one."""
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
        buckets=dict(buckets),
    )


def merge_by_target(hours: Iterable[Mapping[str, Totals]]) -> dict[str, Totals]:
    """The totals by target of several hours or days."""
    return {target_id: merge(found) for target_id, found in _by_target(hours).items()}


def add_up_one(samples: Iterable[Sample]) -> Totals:
    """The totals of one target's samples."""
    found = list(samples)
    rtts = sorted(sample.rtt_ms for sample in found if sample.rtt_ms is not None)
    failed = [sample for sample in found if sample.error is not None]
    counted = [sample.error for sample in failed if not (sample.in_maintenance or sample.inconclusive)]
    totals = Totals(
        tests=len(found),
        passes=len(rtts),
        failures=dict(Counter(str(error) for error in counted)),
        inconclusive=sum(sample.inconclusive for sample in failed),
        in_maintenance=sum(sample.in_maintenance for sample in failed),
        degraded=sum(sample.degraded > 0 for sample in found),
    )
    if not rtts:
        return totals
    return replace(
        totals,
        rtt_min_ms=rtts[0],
        rtt_mean_ms=float(f"{sum(rtts) / len(rtts):.3g}"),
        rtt_max_ms=rtts[-1],
        buckets=dict(Counter(str(_bucket(rtt)) for rtt in rtts)),
    )


def _by_target(parts: Iterable[Mapping[str, _T]]) -> dict[str, list[_T]]:
    found: dict[str, list[_T]] = {}
    for part in parts:
        for target_id, entry in part.items():
            found.setdefault(target_id, []).append(entry)
    return found


def _bucket(rtt_ms: float) -> int:
    return math.floor(math.log(max(rtt_ms, 0.001), BUCKET_RATIO))
