"""Hours added up from samples."""

from datetime import UTC, datetime

import pytest

from popwatch.hours import BUCKET_RATIO, add_up, sample_of
from popwatch.outcomes import ErrorCode, Outcome, Phase

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_samples_are_terse() -> None:
    """A pass is its rtt to three digits, a failure its error and reason."""
    assert sample_of(Outcome(NOON, Phase.QUIT, rtt_ms=51.2345)) == 51.2
    failed = Outcome(NOON, Phase.CONNECT, error=ErrorCode.CANNOT_CONNECT, reason="refused")
    assert sample_of(failed) == {"error": "cannot-connect", "reason": "refused"}


def test_totals() -> None:
    """Tests, passes, failures by error and the rtt's figures are those of the samples."""
    passes = [{"a": float(rtt)} for rtt in range(1, 101)]
    fails = [{"a": {"error": "timed-out", "reason": "no-greeting"}}] * 2 + [{"a": {"error": "protocol"}, "b": 5}]
    totals = add_up([*passes, *fails])
    a = totals["a"]
    assert (a.tests, a.passes, a.failures) == (103, 100, {"timed-out": 2, "protocol": 1})
    assert (a.rtt_min_ms, a.rtt_mean_ms, a.rtt_max_ms, a.rtt_p95_ms) == (1.0, 50.5, 100.0, 95.0)
    assert sum(a.buckets.values()) == 100
    assert (totals["b"].tests, totals["b"].passes) == (1, 1)


def test_only_failures() -> None:
    """An hour without a pass has no round-trip time."""
    [total] = add_up([{"a": {"error": "timed-out"}}]).values()
    assert (total.tests, total.passes, total.rtt_mean_ms, total.buckets) == (1, 0, None, {})


@pytest.mark.parametrize("rtt", [0.05, 0.4, 1.0, 12.3, 999.0, 60_000.0])
def test_buckets_hold_what_they_say(rtt: float) -> None:
    """A round-trip time lies between its bucket's bounds."""
    [bucket] = add_up([{"a": rtt}])["a"].buckets
    assert BUCKET_RATIO ** int(bucket) <= rtt < BUCKET_RATIO ** (int(bucket) + 1)
