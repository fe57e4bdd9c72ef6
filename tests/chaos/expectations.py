"""What the docs say of one test: from the state expected of a target, what may follow. Written from them alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tests.chaos.facts import Judged, Policy, Tested

HOUR = timedelta(hours=1)
OUTAGE = frozenset({"down", "lost"})

TestTimes = tuple[datetime, datetime]
"""A test's tick and its clock: the docs do not say which of the two begins an outage."""


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """What is true of a target after the tests that count."""

    state: str = "untested"
    failures: int = 0
    alerts: int = 0
    since: TestTimes | None = None
    """The first failed test of the outage."""
    held: str | None = None
    """The state in which maintenance found it."""
    waiting: bool = False
    """A `down` alert came due while something held it back."""
    flapping: bool = False
    """An alert has said that it flaps."""
    changes: tuple[datetime, ...] = ()
    """The ticks at which it went from passed to failed or back."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a test may lead to: one of several states, what is expected from then on, the alert that is sent."""

    states: frozenset[str]
    after: ExpectedState
    since: TestTimes | None = None
    event: str | None = None
    number: int = 0

    def agrees(self, fact: Judged) -> bool:
        """Whether a record says the same."""
        return fact.state in self.states and (fact.failures, fact.alerts) == (self.after.failures, self.after.alerts)

    def has_alert_of(self, fact: Judged) -> bool:
        """Whether the record has the same alert in its outbox."""
        pending = [(alert.event, alert.number) for alert in fact.outbox]
        return pending == ([(self.event, self.number)] if self.event else [])


@dataclass(frozen=True, slots=True)
class Gateway:
    """What is known of the target that one depends on, when a test of that one was planned."""

    may_fail: bool = False
    must_fail: bool = False


def within(time: datetime | None, span: TestTimes | None) -> bool:
    """Whether a time, in whole seconds, may be that of a test; a skewed clock may be behind its tick."""
    return time is not None and span is not None and min(span) - timedelta(seconds=1) <= time <= max(span)


def expect(expected: ExpectedState, tested: Tested, gateway: Gateway) -> list[Expectation]:
    """What a test may cause: docs/alerts.md; docs/interventions.md, "Silence", "Acknowledge", "Suspend".

    There is more than one where `max_alerts` was raised for a lost target: one sentence has no more alerts until it
    recovers, another one while fewer than `max_alerts` have been sent. And where a run of failures was acknowledged
    before it was down: it may be an outage whose end is alerted, or not an outage. And where the gateway's state when
    the test was planned is not known, or whether an hour has just passed.
    """
    policy = tested.policy
    if expected.state == "suspended":
        expected = ExpectedState()
    if policy.silenced:
        return [Expectation(frozenset({"maintenance"}), replace(expected, held=expected.held or expected.state))]
    if expected.state == "maintenance":
        expected = replace(expected, state=expected.held or "untested", held=None)
    readings = [expected]
    if expected.state == "lost" and expected.alerts < policy.max_alerts:
        readings.append(replace(expected, state="down"))
    if expected.state == "warn" and within(policy.acknowledged, expected.since):
        readings.append(replace(expected, state="down"))
    return [one for reading in readings for one in _read(reading, tested, gateway)]


def _read(expected: ExpectedState, tested: Tested, gateway: Gateway) -> list[Expectation]:
    changed = bool(expected.failures) if tested.passed else not expected.failures and expected.state != "untested"
    if changed and tested.policy.flap_per_hour:
        recent = tuple(tick for tick in expected.changes if tick >= tested.tick - HOUR)
        expected = replace(expected, changes=(*recent, tested.tick))
    likely = [_passed(expected, tested.policy)] if tested.passed else _failed(expected, tested, gateway)
    return [one for expectation in likely for one in (expectation, *_of_flapping(expectation, tested))]


def _passed(expected: ExpectedState, policy: Policy) -> Expectation:
    """`up`, failures 0; an outage that was alerted, or that somebody acknowledged, has a recovery alert.

    docs/targets.md, `max_alerts`: 0 means no alerts, so that an acknowledged outage then ends without an alert.
    """
    after = ExpectedState("up", flapping=expected.flapping, changes=expected.changes)
    acknowledged = within(policy.acknowledged, expected.since)
    if (
        expected.state in OUTAGE
        and policy.alert_recovery
        and (expected.alerts > 0 or (acknowledged and policy.max_alerts > 0))
    ):
        return Expectation(frozenset({"up"}), after, expected.since, "recovered", expected.alerts)
    return Expectation(frozenset({"up"}), after)


def _failed(expected: ExpectedState, tested: Tested, gateway: Gateway) -> list[Expectation]:
    """One more failure in a row; an alert at each multiple of `failures_per_alert` until `max_alerts`."""
    policy, failures = tested.policy, expected.failures + 1
    since = expected.since or (tested.tick, tested.at)
    after = replace(expected, failures=failures, since=since)
    acknowledged = within(policy.acknowledged, since)
    due = expected.waiting or failures % policy.failures_per_alert == 0
    if not due or acknowledged or expected.alerts >= policy.max_alerts or expected.state == "lost":
        return [Expectation(_silently(expected, policy, failures, acknowledged), after)]
    down = frozenset({"down"})
    kept = Expectation(down, replace(after, waiting=True))
    alerted = replace(after, alerts=expected.alerts + 1, waiting=False)
    sent = Expectation(down, alerted, since, "down", alerted.alerts)
    if expected.flapping or gateway.must_fail or (policy.depends_on and failures == 1):
        return [kept]
    return [sent, kept] if gateway.may_fail else [sent]


def _silently(expected: ExpectedState, policy: Policy, failures: int, acknowledged: bool) -> frozenset[str]:
    """The states that a failure without an alert may lead to."""
    outage = expected.state in OUTAGE
    if not outage and failures < policy.failures_per_alert:
        return frozenset({"warn"})
    if acknowledged or policy.max_alerts == 0:
        return frozenset({"down", "lost"})
    if not outage:  # the threshold was lowered below what has been counted: the docs do not say
        return frozenset({"warn", "down"})
    return (
        frozenset({"lost"}) if expected.alerts >= policy.max_alerts or expected.state == "lost" else frozenset({"down"})
    )


def _of_flapping(expectation: Expectation, tested: Tested) -> list[Expectation]:
    """`flapping` or `steady` instead: docs/interventions.md, "Flapping". A recovery always has its own alert."""
    after, limit = expectation.after, tested.policy.flap_per_hour
    if not limit or expectation.event == "recovered":
        return []
    if expectation.event == "down":
        after = replace(after, alerts=after.alerts - 1, waiting=True)
    since = after.since or (tested.tick, tested.at)
    if after.flapping:
        steady = not after.changes or after.changes[-1] <= tested.tick - 2 * HOUR / limit
        ended = replace(after, flapping=False, changes=())
        return [Expectation(expectation.states, ended, since, "steady", after.alerts)] if steady else []
    flaps = replace(after, flapping=True)
    often = len(after.changes) > limit
    return [Expectation(expectation.states, flaps, since, "flapping", after.alerts)] if often else []
