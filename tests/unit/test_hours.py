"""Hours added up from samples."""

from datetime import UTC, datetime

import pytest

from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.samples import rtt_of, sample_of
from popwatch.model.totals import BUCKET_RATIO, Totals, percentile
from popwatch.reports.totals import add_up, merge

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_samples_are_terse() -> None:
    """A pass is its rtt to three digits, a failure its error and reason."""
    assert sample_of(Outcome(NOON, Phase.QUIT, rtt_ms=51.2345)) == 51.2
    failed = Outcome(NOON, Phase.CONNECT, error=ErrorCode.CANNOT_CONNECT, reason="refused")
    assert sample_of(failed) == {"error": "cannot-connect", "reason": "refused"}


def test_samples_say_what_does_not_count() -> None:
    """A failure in maintenance or in doubt is marked; a pass with failing addresses keeps its rtt."""
    failed = Outcome(NOON, Phase.CONNECT, error=ErrorCode.CANNOT_CONNECT, reason="unreachable")
    seen = {"error": "cannot-connect", "reason": "unreachable"}
    assert sample_of(failed, maintenance=True) == {**seen, "maintenance": True}
    assert sample_of(failed, inconclusive=True) == {**seen, "inconclusive": True}
    half = sample_of(Outcome(NOON, Phase.QUIT, rtt_ms=5.0, failed_addresses=("192.0.2.8: refused",)))
    assert half == {"rtt_ms": 5.0, "degraded": 1}
    assert [rtt_of(half), rtt_of(7), rtt_of(seen), rtt_of(None)] == [5.0, 7.0, None, None]


def test_what_does_not_count_is_apart() -> None:
    """Failures in maintenance and in doubt are neither passes nor failures; half up is a pass."""
    seen = {"error": "timed-out", "reason": "x"}
    samples = [1.0, {"rtt_ms": 2.0, "degraded": 1}, seen, {**seen, "maintenance": True}, {**seen, "inconclusive": True}]
    total = add_up({"a": sample} for sample in samples)["a"]
    assert (total.tests, total.passes, total.failures) == (5, 2, {"timed-out": 1})
    assert (total.in_maintenance, total.inconclusive, total.degraded) == (1, 1, 1)


def test_hours_make_days() -> None:
    """Merged hours count what their samples count; the p95 is within a bucket."""
    samples = [{"a": float(rtt)} for rtt in range(1, 101)] + [{"a": {"error": "timed-out"}}] * 3
    whole = add_up(samples)["a"]
    merged = merge(add_up(part)["a"] for part in (samples[:50], samples[50:90], samples[90:]))
    assert (merged.tests, merged.passes, merged.failures) == (whole.tests, whole.passes, whole.failures)
    assert (merged.rtt_min_ms, merged.rtt_max_ms, merged.buckets) == (1.0, 100.0, whole.buckets)
    assert merged.rtt_mean_ms == pytest.approx(50.5, rel=0.01)
    assert merged.rtt_p95_ms == pytest.approx(95.0, rel=0.06)


def test_nothing_merges_to_nothing() -> None:
    """No hours, no figures."""
    assert merge([]) == Totals()
    assert percentile({}, 0.5) is None


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


def test_no_percentile_lies_beyond_what_was_measured() -> None:
    """A bucket's middle may; the least and the greatest are known exactly."""
    totals = merge(add_up([{"t": 23.5}, {"t": 23.4}]).values())
    assert totals.percentile(0.99) == 23.5
    assert Totals().percentile(0.5) is None
