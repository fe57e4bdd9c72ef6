"""`judge`: a target's new health after a test's outcome. Pure; the clock is an argument. docs/outages.md has the rules.

A target is `untested` until its first test. A passed test makes it `up`, and ends whatever run of failures there was.
Failed tests make it `warn`, and from `failures_per_alert` in a row `down`, with an alert then and each time that so
many more have failed; once `max_alerts` have been sent the next failure makes it `lost`, without further alerts until
it recovers, which takes `passes_per_recovery` passed tests in a row. In maintenance failures do not count, and the
state before it is kept until a test passes; a suspended target starts over as `untested`.

The state always follows the tests; alerts may be held. While the target that it depends on fails, or while it flaps, a
`down` alert is held, and sent at the first failed test after that. Maintenance and silences hold everything. An
acknowledged outage causes no more `down` alerts. The recovery from an alerted or acknowledged outage is always sent, if
need be when the hold is over. One judgement has one alert at most; a second one that is due is sent at the next test,
the recovery first. If there are too many alerts, they are held (see `throttling`).
"""

from dataclasses import fields, replace
from datetime import datetime, timedelta
from math import ceil
from operator import attrgetter
from typing import assert_never

from popwatch.decisions.early_warnings import (
    are_too_many,
    due_warnings,
    earlier_warning,
    find_expiring_certificate,
    is_steady,
    with_change,
    with_warnings,
)
from popwatch.decisions.throttling import throttle
from popwatch.model.health import (
    FAILING,
    UNTESTED,
    Alert,
    AlertEvent,
    EndedOutage,
    Health,
    Judgement,
    LoginFailure,
    Recovery,
    State,
    Transition,
)
from popwatch.model.outcomes import LoginVerdict, Outcome
from popwatch.model.posture import pending_finding
from popwatch.model.targets import Policy
from popwatch.model.time_limits import DAY

TICK = timedelta(seconds=60)
"""The time between two ticks: the shortest that EventBridge Scheduler's `rate` takes."""

_values_to_compare = attrgetter(*(field.name for field in fields(Health) if not field.name.startswith("last_good_")))
"""The values of a health without its last passed test, which each passed test changes."""


def judge(
    health: Health,
    outcome: Outcome,
    policy: Policy,
    now: datetime,
    failing_parent: str = "",
    *,
    silenced: bool = False,
    to_next_tick: timedelta = TICK,
) -> Judgement:
    """The judgement of `outcome`, of a test that began at `now`, on `health` under `policy`.

    `failing_parent` is the target that this one depends on, if that was failing when the test was planned. `silenced`
    says that the target has been silenced since: the outcome counts, and the alerts that it would cause are held.
    `to_next_tick` is as `time_to_next_test` has it.
    """
    if policy.in_maintenance(now):
        return _maintain(health, outcome, policy, now)
    before = _resumed(health)
    if before.login_failed and not before.failures:  # in maintenance only: the run that may begin now has none yet
        before = replace(before, login_failed=False, login_failure=None)
    if leaves_login_unconfirmed(before, outcome, policy):
        after = replace(
            _with_tried_login(before, outcome, now),
            next_test_at=now + time_to_next_test(before, policy, to_next_tick),
            passes_in_outage=before.passes_in_outage + 1,
        )
        return Judgement(after, _transition(health, after, now, outcome))
    if before.ended_outage and not policy.alert_recovery:  # no recovery is due any more
        before = replace(before, ended_outage=None)
    if outcome.passed:
        after, event = _pass(before, outcome, policy, now, silenced=silenced)
    else:
        after, event = _fail(_with_login(before, outcome, now), policy, now, failing_parent, silenced=silenced)
    since = _since(health, after.state, now)
    if after.state in FAILING:
        after = replace(after, since=since, next_test_at=now + time_to_next_test(after, policy, to_next_tick))
    elif after.since != since:  # every test of every target gets here, and `replace` costs microseconds
        after = replace(after, since=since)
    judged = Judgement(after, _transition(health, after, now, outcome), _alert(event, before, after, policy, now))
    return throttle(before, judged, policy, now, silenced=silenced)


def leaves_login_unconfirmed(before: Health, outcome: Outcome, policy: Policy) -> bool:
    """Whether a passed test does not end an outage of the login, since no login was accepted.

    A server may greet, or say why it opens no mailbox now, while its mail store does not work.
    """
    if not (outcome.passed and before.has_login_outage and policy.login):
        return False
    return outcome.login is None or outcome.login.verdict is not LoginVerdict.PASSED


def changes_nothing(before: Health, judgement: Judgement) -> bool:
    """Whether a passed test changed nothing but the time and rtt of the last passed test, and causes no alert."""
    return judgement.alert is None and _values_to_compare(judgement.health) == _values_to_compare(before)


def suspend(health: Health, now: datetime) -> Judgement:
    """A target that its user switched off: it is not tested, its failures are forgotten, and no alert is sent."""
    after = replace(_reset(health), state=State.SUSPENDED, since=_since(health, State.SUSPENDED, now))
    return Judgement(after, _transition(health, after, now))


def forget(health: Health, now: datetime) -> Judgement:
    """A target that its user removed: as if it had never been tested; no alert is sent."""
    return Judgement(UNTESTED, _transition(health, UNTESTED, now))


def delay_seconds(health: Health, policy: Policy) -> int:
    """Seconds from a test to the next; once the last alert has been sent, a down target uses `delay_lost`.

    A recovery is confirmed as soon as a failure would be: after `delay_warn`, if that is shorter.
    """
    match health.state:
        case State.UNTESTED | State.UP | State.SUSPENDED | State.MAINTENANCE:
            return policy.delay_up
        case State.WARN:
            return policy.delay_warn
        case State.DOWN | State.LOST:
            is_lost = health.state is State.LOST or health.alerts_sent >= policy.max_alerts
            delay = policy.delay_lost if is_lost else policy.delay_down
            return min(delay, policy.delay_warn) if health.recovery else delay
        case unknown:
            assert_never(unknown)


def time_to_next_test(health: Health, policy: Policy, to_next_tick: timedelta = TICK) -> timedelta:
    """From a test to the next, at the latest: a delay of a minute or more ends at a tick.

    `to_next_tick` is the time from the test to the next tick: less than a minute if it was made between two ticks.
    """
    delay = timedelta(seconds=delay_seconds(health, policy))
    return delay if delay < TICK else to_next_tick + whole_ticks(delay - to_next_tick)


def whole_ticks(time: timedelta) -> timedelta:
    """A time until the next tick after it, from a tick."""
    return ceil(time / TICK) * TICK


def _resumed(health: Health) -> Health:
    """The health that a test outside maintenance is judged on: maintenance and suspension have ended by then."""
    match health.state:
        case State.MAINTENANCE:
            state = health.state_before_maintenance or State.UNTESTED
            return replace(health, state=state, state_before_maintenance=None, run_ended_at=None)
        case State.SUSPENDED:
            return _reset(health)
        case _:
            return health


def _reset(health: Health) -> Health:
    """The health of a target that starts over: keeps only what is known of its certificates and its posture."""
    return Health(
        certificate_expires=health.certificate_expires,
        certificate_warned=health.certificate_warned,
        certificate_warned_of=health.certificate_warned_of,
        expiring_certificate=health.expiring_certificate,
        certificate_warnings=health.certificate_warnings,
        posture=health.posture,
        posture_pending=health.posture_pending,
        posture_seen_at=health.posture_seen_at,
    )


def _pass(
    before: Health, outcome: Outcome, policy: Policy, now: datetime, *, silenced: bool
) -> tuple[Health, AlertEvent | None]:
    """The health after a passed test, and the event to alert, if any. Of several the first is reported now."""
    recovery = _recovery(before, outcome, policy, now)
    if recovery:
        after = replace(_with_tried_login(before, outcome, now), recovery=recovery, login_failure=None)
        return _report_beside_outage(after, policy, now, silenced=silenced)
    chain, days = outcome.certificates, policy.certificate_warn_days
    after = Health(
        state=State.UP,
        since=before.since,
        last_good_at=now,
        last_good_rtt_ms=outcome.rtt_ms,
        certificate_expires=outcome.certificate_expires,
        certificate_warned=before.certificate_warned,
        certificate_warned_of=before.certificate_warned_of,
        expiring_certificate=find_expiring_certificate(chain, days, now),
        certificate_warnings=before.certificate_warnings or earlier_warning(before, chain, days, now),
        changes=_changes(before, policy, now, changed=before.failures > 0),
        flapping=before.flapping,
        degraded_tests=min(before.degraded_tests + 1, policy.failures_per_alert) if outcome.failed_addresses else 0,
        degraded_alerted=before.degraded_alerted,
        failed_addresses=outcome.failed_addresses,
        untested_addresses=outcome.untested_addresses,
        slow=before.slow,
        slow_tests=_slow_tests(before, outcome, policy),
        login_at=_login_at(before, outcome, now),
        login_delay=_login_delay(before, outcome),
        posture=before.posture,
        posture_pending=before.posture_pending,
        posture_seen_at=before.posture_seen_at,
    )
    ended = _ended_outage(before, policy, now, outcome.rtt_ms)
    due = before.ended_outage or ended
    if silenced:
        return replace(after, ended_outage=due), None
    if due:
        # A recovery with all addresses says that the host is restored too; if only some pass, `restored` is sent later.
        still_degraded = before.degraded_alerted and after.degraded_tests > 0
        later = ended if before.ended_outage else None
        return replace(after, degraded_alerted=still_degraded, ended_outage=later), AlertEvent.RECOVERED
    return (
        _report_flapping(after, policy, now)
        or _report_degraded(after, policy)
        or _report_slow(after, policy)
        or _report_certificate(after, outcome, policy, now)
        or _report_posture(before, after, policy, now)
        or (after, None)
    )


def _recovery(before: Health, outcome: Outcome, policy: Policy, now: datetime) -> Recovery | None:
    """The recovery that a passed test begins or goes on with, if more must pass before the outage has ended.

    `before` is the health outside maintenance. A brief failure ends with the first passed test.
    """
    if policy.passes_per_recovery == 1 or before.state not in (State.DOWN, State.LOST):
        return None
    earlier = before.recovery
    recovery = replace(earlier, passes=earlier.passes + 1) if earlier else Recovery(now, outcome.rtt_ms)
    return recovery if recovery.passes < policy.passes_per_recovery else None


def _ended_outage(before: Health, policy: Policy, now: datetime, rtt_ms: float | None) -> EndedOutage | None:
    """The outage that a passed test ends, if people know of it: it was alerted or acknowledged.

    A run of failures that has not reached `down` is a brief failure, acknowledged or not.
    """
    people_know = before.alerts_sent or policy.acknowledgement_of(before.failing_since)
    if not people_know or not policy.alert_recovery or before.state not in (State.DOWN, State.LOST):
        return None
    return EndedOutage(
        before.failing_since or now,
        before.recovery.began_at if before.recovery else now,
        before.failures,
        before.alerts_sent,
        before.failures_in_maintenance,
        before.recovery.rtt_ms if before.recovery else rtt_ms,
        before.last_good_at,
        before.last_good_rtt_ms,
        before.passes_in_outage,
    )


def _fail(
    before: Health, policy: Policy, now: datetime, failing_parent: str, *, silenced: bool
) -> tuple[Health, AlertEvent | None]:
    """The health after a failed test, and the event to alert, if any."""
    first = not before.failures and before.state is not State.UNTESTED  # from passed to failed: it counts as a change
    after = replace(
        before,
        failures=before.failures + 1,
        failing_since=before.failing_since or now,
        caused_by=failing_parent,
        changes=_changes(before, policy, now, changed=first),
        degraded_tests=0,
        failed_addresses=(),
        slow_tests=0,
        recovery=None,
        passes_in_outage=_passes_in_outage(before),
    )
    after, event = _report_beside_outage(after, policy, now, silenced=silenced)
    # The first branch that fits decides, so their order is part of the rules. The first two ask `before` for what this
    # failure must not change: a target that was down stays so if `failures_per_alert` has been raised since, and the
    # failure that sends the last alert leaves it `down`: only the next one makes it `lost`.
    exhausted = before.alerts_sent >= policy.max_alerts
    if after.failures < policy.failures_per_alert and before.state not in (State.DOWN, State.LOST):
        after = replace(after, state=State.WARN)
    elif exhausted and before.state in (State.DOWN, State.LOST):
        after = replace(after, state=State.LOST)
    # No alert is due, or none is wanted: of a target with `max_alerts` 0 at its first `down`, or once acknowledged.
    elif not _is_due(before, policy) or exhausted or policy.acknowledgement_of(after.failing_since):
        after = replace(after, state=State.DOWN)
    # Held. At the first failure of a target that depends on another, that one may be down too and not yet tested.
    elif silenced or event or after.flapping or failing_parent or (policy.depends_on and not before.failures):
        after = replace(after, state=State.DOWN, alert_held=True)
    else:
        sent = before.alerts_sent + 1
        after = replace(after, state=State.DOWN, alert_held=False, alerts_sent=sent, alerted_at_failures=after.failures)
        event = AlertEvent.DOWN
    return after, event


def _with_login(before: Health, outcome: Outcome, now: datetime) -> Health:
    """The health before a failed test, with what that says of a login."""
    if outcome.login is None:
        return before
    login_failed = outcome.fails_login or before.login_failed
    failure = before.login_failure
    if outcome.fails_login and outcome.error:
        failure = LoginFailure(now, outcome.error, outcome.reason)
    delay = _login_delay(before, outcome)
    return replace(before, login_failed=login_failed, login_failure=failure, login_at=now, login_delay=delay)


def _with_tried_login(before: Health, outcome: Outcome, now: datetime) -> Health:
    """The health before a passed test that may not end an outage, with when its login was tried, if it was."""
    return replace(before, login_at=_login_at(before, outcome, now), login_delay=_login_delay(before, outcome))


def _login_at(before: Health, outcome: Outcome, now: datetime) -> datetime | None:
    """When the last login outside the target's slots was tried, after a passed test.

    A target that is up logs in at its slots: to store these times would be a write of its record for each.
    """
    return now if outcome.login and before.state is not State.UP else before.login_at


def _login_delay(before: Health, outcome: Outcome) -> int:
    """The LOGIN-DELAY that the server states; a test without a login, or one that got no answer, does not know it."""
    known = outcome.login.login_delay if outcome.login else None
    return before.login_delay if known is None else known


def _passes_in_outage(before: Health) -> int:
    """The passed tests of the outage, with those of a recovery that a failed test cuts off."""
    return before.passes_in_outage + (before.recovery.passes if before.recovery else 0)


def _report_beside_outage(
    after: Health, policy: Policy, now: datetime, *, silenced: bool
) -> tuple[Health, AlertEvent | None]:
    """What is sent during an outage beside its own alerts: the recovery of the one before, flapping."""
    if silenced:
        return after, None
    if after.ended_outage:
        return replace(after, ended_outage=None), AlertEvent.RECOVERED
    return _report_flapping(after, policy, now) or (after, None)


def _is_due(before: Health, policy: Policy) -> bool:
    """Whether the failure after `before` causes a `down` alert: `failures_per_alert` of them since the last one sent.

    So a held alert that goes out late is followed by the next one a full count later. Records of earlier versions do
    not know the failure of the last alert: those versions sent alerts at multiples.
    """
    alerted_at = before.alerted_at_failures
    if before.alerts_sent and not alerted_at:
        alerted_at = before.failures - before.failures % policy.failures_per_alert
    return before.alert_held or before.failures + 1 - alerted_at >= policy.failures_per_alert


def _changes(before: Health, policy: Policy, now: datetime, *, changed: bool) -> tuple[datetime, ...]:
    """The changes with this test; of a target that has been steady until now, they wait until that is reported.

    It may have become steady in a maintenance, or between two tests, and this change is the first one after that.
    """
    was_steady = before.flapping and is_steady(before.changes, now, policy.flap_per_hour)
    return with_change(before.changes, now, policy.flap_per_hour) if changed and not was_steady else before.changes


def _report_flapping(after: Health, policy: Policy, now: datetime) -> tuple[Health, AlertEvent] | None:
    if after.flapping and is_steady(after.changes, now, policy.flap_per_hour):
        return replace(after, flapping=False, changes=()), AlertEvent.STEADY
    if not after.flapping and are_too_many(after.changes, now, policy.flap_per_hour):
        return replace(after, flapping=True), AlertEvent.FLAPPING
    return None


def _report_degraded(after: Health, policy: Policy) -> tuple[Health, AlertEvent] | None:
    if not policy.max_alerts:  # it stays due until somebody wants alerts
        return None
    if after.degraded_alerted and not after.degraded_tests:
        return replace(after, degraded_alerted=False), AlertEvent.RESTORED
    if not after.degraded_alerted and after.degraded_tests >= policy.failures_per_alert:
        return replace(after, degraded_alerted=True), AlertEvent.DEGRADED
    return None


def _slow_tests(before: Health, outcome: Outcome, policy: Policy) -> int:
    """The passed tests in a row that say otherwise than the last alert about long round trips."""
    is_slow = 0 < policy.slow_rtt_ms < (outcome.rtt_ms or 0.0)
    return min(before.slow_tests + 1, policy.failures_per_alert) if is_slow is not before.slow else 0


def _report_slow(after: Health, policy: Policy) -> tuple[Health, AlertEvent] | None:
    if after.slow_tests < policy.failures_per_alert:
        return None
    return replace(after, slow=not after.slow, slow_tests=0), AlertEvent.NORMAL if after.slow else AlertEvent.SLOW


def _report_certificate(
    after: Health, outcome: Outcome, policy: Policy, now: datetime
) -> tuple[Health, AlertEvent] | None:
    """One warning for each limit and each certificate of the chain that was verified.

    With `max_alerts` 0 no one would receive it: it stays due until that is raised.
    """
    if after.expiring_certificate is None or not policy.max_alerts:
        return None
    warnings = due_warnings(outcome.certificates, after.certificate_warnings, policy.certificate_warn_days, now)
    if not warnings:
        return None
    after = replace(
        after,
        certificate_warned=warnings[0].time_left // DAY,
        certificate_warned_of=warnings[0].expires,
        certificate_warnings=with_warnings(after.certificate_warnings, warnings),
    )
    return after, AlertEvent.CERTIFICATE


def was_posture_seen(health: Health, policy: Policy, now: datetime) -> bool:
    """Whether what got worse in a posture was seen again with the last test or so, and the target was up since.

    Else the server may have been mended meanwhile, as by a restart, and is asked again before anything is alerted.
    """
    seen, since = health.posture_seen_at, health.since
    if not health.posture_pending or health.state is not State.UP or seen is None or since is None:
        return False
    return since <= seen and abs(now - seen) <= timedelta(seconds=policy.delay_up) + TICK


def _report_posture(before: Health, after: Health, policy: Policy, now: datetime) -> tuple[Health, AlertEvent] | None:
    """One alert for each change for the worse, one with each test.

    With `max_alerts` 0 no one would receive it: it stays due until that is raised.
    """
    if not policy.max_alerts or not was_posture_seen(before, policy, now):
        return None
    waiting = after.posture_pending[1:]
    seen_at = after.posture_seen_at if waiting else None
    return replace(after, posture_pending=waiting, posture_seen_at=seen_at), AlertEvent.POSTURE


def _maintain(health: Health, outcome: Outcome, policy: Policy, now: datetime) -> Judgement:
    """The judgement of a test in maintenance: a passed one ends a run of failures, a failed one does not count."""
    before, recovery = _resumed(health), None
    unconfirmed = leaves_login_unconfirmed(before, outcome, policy)
    failed_in_maintenance, passes_in_outage = before.failures_in_maintenance, before.passes_in_outage
    if outcome.passed:
        before = _with_tried_login(before, outcome, now)
        if unconfirmed:
            recovery, passes_in_outage = before.recovery, passes_in_outage + 1
        else:
            recovery = _recovery(before, outcome, policy, now)
    else:
        failed_in_maintenance, passes_in_outage = failed_in_maintenance + 1, _passes_in_outage(before)
        before = _with_login(before, outcome, now)
    in_maintenance = replace(
        before,
        state=State.MAINTENANCE,
        state_before_maintenance=before.state,
        since=_since(health, State.MAINTENANCE, now),
        next_test_at=None,
        failures_in_maintenance=failed_in_maintenance,
        run_ended_at=health.run_ended_at,
        recovery=recovery,
        login_failure=None if recovery else before.login_failure,
        passes_in_outage=passes_in_outage,
    )
    if outcome.passed and not unconfirmed and recovery is None:
        in_maintenance = replace(
            in_maintenance,
            state_before_maintenance=State.UP,
            failures=0,
            failing_since=None,
            alerts_sent=0,
            alerted_at_failures=0,
            alert_held=False,
            caused_by="",
            failures_in_maintenance=0,
            passes_in_outage=0,
            run_ended_at=_run_ended_at(before, now) if before.failures else health.run_ended_at,
            ended_outage=before.ended_outage or _ended_outage(before, policy, now, outcome.rtt_ms),
            degraded_tests=before.degraded_tests if outcome.failed_addresses else 0,
            slow_tests=0,
            login_failed=False,
            login_failure=None,
            last_good_at=now,
            last_good_rtt_ms=outcome.rtt_ms,
        )
    return Judgement(in_maintenance, _transition(health, in_maintenance, now, outcome))


def _run_ended_at(before: Health, now: datetime) -> datetime:
    return before.recovery.began_at if before.recovery else now


def _since(before: Health, state: State, now: datetime) -> datetime:
    return before.since if before.state is state and before.since else now


def _transition(before: Health, after: Health, now: datetime, outcome: Outcome | None = None) -> Transition | None:
    if before.state is after.state:
        return None
    return Transition(
        before.state,
        after.state,
        now,
        lasted=now - before.since if before.since else None,
        error=outcome.error if outcome else None,
        reason=outcome.reason if outcome else "",
        run_ended_at=_run_ended_at(before, now)
        if before.recovery and outcome and not after.failures
        else before.run_ended_at,
    )


def _alert(event: AlertEvent | None, before: Health, after: Health, policy: Policy, now: datetime) -> Alert | None:
    """The alert of an event, if the policy sends alerts of it at all."""
    match event:
        case None:
            return None
        case AlertEvent.DOWN:
            return Alert(event, after.alerts_sent, now, _outage(after, now))
        case AlertEvent.RECOVERED:
            ended = before.ended_outage or _ended_outage(before, policy, now, after.last_good_rtt_ms)
            if ended is None or not policy.alert_recovery or not (policy.max_alerts or ended.alerts_sent):
                return None
            return Alert(event, 0, now, ended.passed_at - ended.failing_since)
        case AlertEvent.FLAPPING:
            number = len(after.changes)
        case AlertEvent.CERTIFICATE:
            number = after.certificate_warned or 0
        case AlertEvent.STEADY | AlertEvent.DEGRADED | AlertEvent.RESTORED | AlertEvent.SLOW | AlertEvent.NORMAL:
            number = 0
        case AlertEvent.POSTURE:
            worse = pending_finding(before.posture_pending[0])
            seen_at = before.posture_seen_at
            return Alert(event, 0, now, timedelta(), worse=worse, worse_seen_at=seen_at) if worse else None
        case AlertEvent.THROTTLED | AlertEvent.UNTHROTTLED:
            raise ValueError("`throttle` makes these alerts")
        case unknown:
            assert_never(unknown)
    return Alert(event, number, now, _outage(after, now)) if policy.max_alerts else None


def _outage(health: Health, now: datetime) -> timedelta:
    return now - health.failing_since if health.failing_since else timedelta()
