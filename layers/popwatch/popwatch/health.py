"""What popwatch believes about a target, and the one function that changes it: `judge`. Pure; the clock is an argument.

A target is `untested` until its first test. A passed test makes it `up`. Failed tests make it `warn`, and from
`failures_per_alert` in a row `down`, with an alert at each multiple; once `max_alerts` have been processed the next
failure makes it `lost`, and nobody is told more until it recovers. During maintenance the state beneath is kept as it
was; a suspended target starts over as `untested`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from popwatch.outcomes import Outcome
from popwatch.targets import Policy


class State(StrEnum):
    """What a target is believed to be in."""

    UNTESTED = "untested"
    UP = "up"
    WARN = "warn"
    DOWN = "down"
    LOST = "lost"
    SUSPENDED = "suspended"
    MAINTENANCE = "maintenance"


class AlertEvent(StrEnum):
    """What an alert tells people."""

    DOWN = "down"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Health:
    """What popwatch believes about one target.

    `failures` counts failed tests in a row and `failing_since` is the first of them; `alerts_sent` counts this
    outage's `down` alerts. `next_test_at` is `None` where the target's own slots decide (see `schedule`). `beneath` is
    the state to come back to when maintenance ends.
    """

    state: State = State.UNTESTED
    since: datetime | None = None
    failures: int = 0
    alerts_sent: int = 0
    failing_since: datetime | None = None
    next_test_at: datetime | None = None
    last_good_at: datetime | None = None
    last_good_rtt_ms: float | None = None
    beneath: State | None = None


UNTESTED = Health()
"""The health of a target that nothing is known of."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state; `lasted` is how long the previous state had lasted, if that is known."""

    previous: State
    state: State
    at: datetime
    lasted: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something to tell people: the `number`-th `down` of an outage, or that it is over (`number` 0).

    `outage` is the time from the first failed test until now.
    """

    event: AlertEvent
    number: int
    at: datetime
    outage: timedelta


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one outcome means: the new health, and what changed, if anything did."""

    health: Health
    transition: Transition | None = None
    alert: Alert | None = None


def judge(health: Health, outcome: Outcome, policy: Policy, now: datetime) -> Judgement:
    """What `outcome`, of a test planned for `now`, makes of `health` under `policy`."""
    if policy.in_maintenance(now):
        return _maintain(health, outcome, now)
    awake = _wake(health)
    after = _pass(outcome, now) if outcome.passed else _fail(awake, policy, now)
    after = replace(after, since=_since(health, after.state, now))
    return Judgement(after, _transition(health, after, now), _alert(awake, after, policy, now))


def suspend(health: Health, now: datetime) -> Judgement:
    """A target that its user switched off: not tested, its run of failures forgotten, nobody told."""
    after = Health(State.SUSPENDED, since=_since(health, State.SUSPENDED, now))
    return Judgement(after, _transition(health, after, now))


def delay_seconds(health: Health, policy: Policy) -> int:
    """Seconds from a test to the next in this health; the last alert processed, a down target waits as a lost one."""
    match health.state:
        case State.UNTESTED | State.UP | State.SUSPENDED | State.MAINTENANCE:
            return policy.delay_up
        case State.WARN:
            return policy.delay_warn
        case State.DOWN:
            return policy.delay_lost if health.alerts_sent >= policy.max_alerts else policy.delay_down
        case State.LOST:
            return policy.delay_lost
        case unknown:
            assert_never(unknown)


def _wake(health: Health) -> Health:
    """The health that a test outside maintenance is judged on."""
    match health.state:
        case State.MAINTENANCE:
            return replace(health, state=health.beneath or State.UNTESTED, beneath=None)
        case State.SUSPENDED:
            return UNTESTED
        case _:
            return health


def _pass(outcome: Outcome, now: datetime) -> Health:
    return Health(State.UP, last_good_at=now, last_good_rtt_ms=outcome.rtt_ms)


def _fail(health: Health, policy: Policy, now: datetime) -> Health:
    failures = health.failures + 1
    failed = replace(health, failures=failures, failing_since=health.failing_since or now)
    alerted_out = health.alerts_sent >= policy.max_alerts
    if failures < policy.failures_per_alert and health.state not in (State.DOWN, State.LOST):
        failed = replace(failed, state=State.WARN)
    elif alerted_out and health.state in (State.DOWN, State.LOST):
        failed = replace(failed, state=State.LOST)
    else:
        due = failures % policy.failures_per_alert == 0 and not alerted_out
        failed = replace(failed, state=State.DOWN, alerts_sent=health.alerts_sent + due)
    return replace(failed, next_test_at=now + timedelta(seconds=delay_seconds(failed, policy)))


def _maintain(health: Health, outcome: Outcome, now: datetime) -> Judgement:
    beneath = health.beneath if health.state is State.MAINTENANCE else _wake(health).state
    after = replace(
        health,
        state=State.MAINTENANCE,
        beneath=beneath,
        since=_since(health, State.MAINTENANCE, now),
        next_test_at=None,
    )
    if outcome.passed:
        after = replace(after, last_good_at=now, last_good_rtt_ms=outcome.rtt_ms)
    return Judgement(after, _transition(health, after, now))


def _since(before: Health, state: State, now: datetime) -> datetime:
    return before.since if before.state is state and before.since else now


def _transition(before: Health, after: Health, now: datetime) -> Transition | None:
    if before.state is after.state:
        return None
    return Transition(before.state, after.state, now, now - before.since if before.since else None)


def _alert(before: Health, after: Health, policy: Policy, now: datetime) -> Alert | None:
    if after.alerts_sent > before.alerts_sent:
        return Alert(AlertEvent.DOWN, after.alerts_sent, now, _outage(after, now))
    if after.state is State.UP and before.alerts_sent and policy.alert_recovery:
        return Alert(AlertEvent.RECOVERED, 0, now, _outage(before, now))
    return None


def _outage(health: Health, now: datetime) -> timedelta:
    return now - health.failing_since if health.failing_since else timedelta()
