"""Adding up samples into hours, so that a report of a month need not read a month of samples. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from popwatch.outcomes import Outcome

BUCKET_RATIO = 1.1
"""A bucket of round-trip times is a tenth wider than the one below, so a percentile read from them is within 5 %."""


@dataclass(frozen=True, slots=True)
class HourTotals:
    """What the tests of one target in one hour add up to.

    `failures` counts by error code. Round-trip times are milliseconds; `buckets` counts them by
    `floor(log(rtt_ms, BUCKET_RATIO))`, which hours of a month can be added up from.
    """

    tests: int = 0
    passes: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    rtt_min_ms: float | None = None
    rtt_mean_ms: float | None = None
    rtt_max_ms: float | None = None
    rtt_p95_ms: float | None = None
    buckets: Mapping[str, int] = field(default_factory=dict)


def sample_of(outcome: Outcome) -> object:
    """What a samples item keeps of an outcome: the bare rtt in ms, to three digits, or a map of error and reason."""
    if outcome.error is None:
        return float(f"{outcome.rtt_ms or 0.0:.3g}")
    return {"error": outcome.error.value, "reason": outcome.reason}


def add_up(samples: Iterable[Mapping[str, Any]]) -> dict[str, HourTotals]:
    """The totals by target of samples items' results."""
    by_target: dict[str, list[Any]] = {}
    for results in samples:
        for target_id, sample in results.items():
            by_target.setdefault(target_id, []).append(sample)
    return {target_id: _total(found) for target_id, found in by_target.items()}


def _total(samples: list[Any]) -> HourTotals:
    rtts = sorted(float(sample) for sample in samples if not isinstance(sample, Mapping))
    failures = Counter(str(sample["error"]) for sample in samples if isinstance(sample, Mapping))
    if not rtts:
        return HourTotals(len(samples), 0, dict(failures))
    return HourTotals(
        tests=len(samples),
        passes=len(rtts),
        failures=dict(failures),
        rtt_min_ms=rtts[0],
        rtt_mean_ms=float(f"{sum(rtts) / len(rtts):.3g}"),
        rtt_max_ms=rtts[-1],
        rtt_p95_ms=rtts[math.ceil(0.95 * len(rtts)) - 1],
        buckets=dict(Counter(str(_bucket(rtt)) for rtt in rtts)),
    )


def _bucket(rtt_ms: float) -> int:
    return math.floor(math.log(max(rtt_ms, 0.001), BUCKET_RATIO))
