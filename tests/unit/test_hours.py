"""Hours added up from samples."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict, Outcome, Phase
from popwatch.model.samples import Mailbox, Sample, from_stored, sample_of, to_stored
from popwatch.model.totals import BUCKET_RATIO, Totals, percentile
from popwatch.reports.totals import add_up, add_up_one, merge

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FAILED = Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting")


def test_samples_are_terse() -> None:
    """A pass is its rtt to three digits, a failure its error and reason."""
    assert to_stored(sample_of(Outcome(NOON, Phase.QUIT, rtt_ms=51.2345))) == 51.2
    failed = Outcome(NOON, Phase.CONNECT, error=ErrorCode.CANNOT_CONNECT, reason="refused")
    assert to_stored(sample_of(failed)) == {"error": "cannot-connect", "reason": "refused"}


def test_samples_say_what_does_not_count() -> None:
    """A failure in maintenance, or an inconclusive one, is marked; a pass with failing addresses keeps its rtt."""
    failed = Outcome(NOON, Phase.CONNECT, error=ErrorCode.CANNOT_CONNECT, reason="unreachable")
    seen = {"error": "cannot-connect", "reason": "unreachable"}
    assert to_stored(sample_of(failed, maintenance=True)) == {**seen, "maintenance": True}
    assert to_stored(sample_of(failed, inconclusive=True)) == {**seen, "inconclusive": True}
    early = sample_of(failed, uncounted=True)
    assert to_stored(early) == {**seen, "uncounted": True}
    assert from_stored(to_stored(early)) == early
    assert add_up_one([early]).failures == {"cannot-connect": 1}
    degraded = sample_of(Outcome(NOON, Phase.QUIT, rtt_ms=5.0, failed_addresses=("192.0.2.8: refused",)))
    assert to_stored(degraded) == {"rtt_ms": 5.0, "degraded": 1}
    stored = [to_stored(degraded), 7, seen, None]
    assert [from_stored(it).rtt_ms for it in stored] == [5.0, 7.0, None, None]


def test_samples_of_logins_have_the_mailbox() -> None:
    """The figures of STAT, also of a degraded test; what is damaged in them costs only them."""
    login = LoginResult(LoginVerdict.PASSED, 3, 4096)
    passed = sample_of(Outcome(NOON, Phase.QUIT, rtt_ms=5.0, login=login))
    assert to_stored(passed) == {"rtt_ms": 5.0, "messages": 3, "octets": 4096}
    degraded = sample_of(Outcome(NOON, Phase.QUIT, rtt_ms=5.0, login=login, failed_addresses=("192.0.2.8: refused",)))
    for sample in (passed, degraded):
        assert from_stored(to_stored(sample)) == sample
        assert sample.mailbox == Mailbox(3, 4096)
    full = Outcome(NOON, Phase.LOGIN, ErrorCode.PROTOCOL, "mailbox-too-full", login=login)
    assert from_stored(to_stored(sample_of(full))) == sample_of(full)
    assert sample_of(full).mailbox == Mailbox(3, 4096)
    in_use = Outcome(NOON, Phase.QUIT, rtt_ms=5.0, login=LoginResult(LoginVerdict.IN_USE))
    assert to_stored(sample_of(in_use)) == {"rtt_ms": 5.0, "login": "in-use"}
    for damage in ({"messages": -1}, {"octets": True}, {"octets": "x"}, {"messages": None}):
        assert from_stored({"rtt_ms": 5.0, "messages": 3, "octets": 4096} | damage) == Sample(5.0)


@pytest.mark.parametrize(
    ("phase", "verdict", "kept"),
    [
        (Phase.LOGIN, LoginVerdict.FAILED, "failed"),
        (Phase.LOGIN, LoginVerdict.PASSED, "failed"),  # a mailbox that is too full
        (Phase.QUIT, LoginVerdict.UNCLEAR, "failed"),
        (Phase.QUIT, LoginVerdict.IN_USE, None),
    ],
)
def test_samples_of_failures_say_whether_the_login_failed(
    phase: Phase, verdict: LoginVerdict, kept: str | None
) -> None:
    """In a run of such failures only an accepted login counts as passed."""
    failed = Outcome(NOON, phase, ErrorCode.PROTOCOL, "x", login=LoginResult(verdict))
    stored = to_stored(sample_of(failed))
    assert stored == {"error": "protocol", "reason": "x"} | ({"login": kept} if kept else {})
    assert from_stored(stored) == sample_of(failed)


def test_sample_of_a_pass_that_needed_no_login_says_so() -> None:
    """Else it would look like one that proves nothing of the login."""
    sample = sample_of(Outcome(NOON, Phase.QUIT, rtt_ms=5.0), ends_login_run=True)
    assert to_stored(sample) == {"rtt_ms": 5.0, "ends_login_run": True}
    assert from_stored(to_stored(sample)) == sample


@pytest.mark.parametrize(
    "sample",
    [
        Sample(12.5),
        Sample(12.5, uncounted=True),
        Sample(0.0),
        Sample(5.0, degraded=2),
        Sample(error=ErrorCode.TIMED_OUT),
        Sample(error=ErrorCode.PROTOCOL, reason="smtp-greeting"),
        Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting", in_maintenance=True),
        Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting", inconclusive=True),
    ],
)
def test_samples_come_back_as_they_were(sample: Sample) -> None:
    """From the form in which History keeps them."""
    assert from_stored(to_stored(sample)) == sample


@pytest.mark.parametrize("stored", [None, "x", [], {}, {"rtt_ms": "x"}, {"error": "unknown"}, {"error": {}}])
def test_a_damaged_sample_neither_passed_nor_failed(stored: object) -> None:
    """It is read as a test of which no more is known, so that the others can be reported."""
    assert from_stored(stored) == Sample()


def test_what_does_not_count_is_apart() -> None:
    """Inconclusive failures, and those in maintenance, are neither passes nor failures; a degraded pass is a pass."""
    uncounted = [replace(FAILED, in_maintenance=True), replace(FAILED, inconclusive=True)]
    total = add_up_one([Sample(1.0), Sample(2.0, degraded=1), FAILED, *uncounted])
    assert (total.tests, total.passes, total.failures) == (5, 2, {"timed-out": 1})
    assert (total.in_maintenance, total.inconclusive, total.degraded) == (1, 1, 1)


def test_hours_make_days() -> None:
    """Merged hours count what their samples count; the p95 is within a bucket."""
    samples = [{"a": Sample(float(rtt))} for rtt in range(1, 101)] + [{"a": FAILED}] * 3
    whole = add_up(samples)["a"]
    merged = merge(add_up(part)["a"] for part in (samples[:50], samples[50:90], samples[90:]))
    assert (merged.tests, merged.passes, merged.failures) == (whole.tests, whole.passes, whole.failures)
    assert (merged.rtt_min_ms, merged.rtt_max_ms, merged.buckets) == (1.0, 100.0, whole.buckets)
    assert merged.rtt_mean_ms == pytest.approx(50.5, rel=0.01)
    assert merged.percentile(0.95) == pytest.approx(95.0, rel=0.06)


def test_nothing_merges_to_nothing() -> None:
    """No hours, no figures."""
    assert merge([]) == Totals()
    assert percentile({}, 0.5) is None


def test_totals() -> None:
    """Tests, passes, failures by error and the rtt's figures are those of the samples."""
    passes = [{"a": Sample(float(rtt))} for rtt in range(1, 101)]
    fails = [{"a": FAILED}] * 2 + [{"a": Sample(error=ErrorCode.PROTOCOL), "b": Sample(5.0)}]
    totals = add_up([*passes, *fails])
    a = totals["a"]
    assert (a.tests, a.passes, a.failures) == (103, 100, {"timed-out": 2, "protocol": 1})
    assert (a.rtt_min_ms, a.rtt_mean_ms, a.rtt_max_ms) == (1.0, 50.5, 100.0)
    assert a.percentile(0.95) == pytest.approx(95.0, rel=0.05)
    assert sum(a.buckets.values()) == 100
    assert (totals["b"].tests, totals["b"].passes) == (1, 1)


def test_only_failures() -> None:
    """An hour without a pass has no round-trip time."""
    [total] = add_up([{"a": FAILED}]).values()
    assert (total.tests, total.passes, total.rtt_mean_ms, total.buckets) == (1, 0, None, {})


@pytest.mark.parametrize("rtt", [0.05, 0.4, 1.0, 12.3, 999.0, 60_000.0])
def test_buckets_hold_what_they_say(rtt: float) -> None:
    """A round-trip time lies between its bucket's bounds."""
    [bucket] = add_up([{"a": Sample(rtt)}])["a"].buckets
    assert BUCKET_RATIO ** int(bucket) <= rtt < BUCKET_RATIO ** (int(bucket) + 1)


def test_no_percentile_lies_beyond_what_was_measured() -> None:
    """A bucket's middle may; the least and the greatest are known exactly."""
    totals = add_up_one([Sample(23.5), Sample(23.4)])
    assert totals.percentile(0.99) == 23.5
    assert Totals().percentile(0.5) is None
