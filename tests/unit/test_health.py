"""`judge`: the table of states that docs/outages.md has, each edge of the states, and invariants over any history."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.decisions.judging import delay_seconds, forget, judge, suspend
from popwatch.model.health import UNTESTED, AlertEvent, Health, Judgement, State, Transition
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Policy
from popwatch.model.windows import OnceWindow
from tests.examples import certificate, certified

START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
REFERENCE = Policy(delay_up=30, delay_warn=30, delay_down=60, delay_lost=30, failures_per_alert=3, max_alerts=3)
PASSED = Outcome(START, Phase.QUIT, rtt_ms=12.5)
FAILED = Outcome(START, Phase.GREETING, error=ErrorCode.TIMED_OUT, reason="no-greeting")


def replay(outcomes: list[Outcome], policy: Policy, health: Health = UNTESTED) -> list[tuple[datetime, Judgement]]:
    """Each judgement of a run of outcomes, with its time, tested at the delays that the health asks for."""
    now, found = START, []
    for outcome in outcomes:
        judgement = judge(health, outcome, policy, now)
        found.append((now, judgement))
        health = judgement.health
        now += timedelta(seconds=delay_seconds(health, policy))
    return found


def up(policy: Policy = REFERENCE) -> Health:
    """The health of a target that has passed its first test."""
    return judge(UNTESTED, PASSED, policy, START - timedelta(hours=1)).health


REFERENCE_TABLE = [
    (1, State.WARN, None, "0:00:00"),
    (2, State.WARN, None, "0:00:30"),
    (3, State.DOWN, 1, "0:01:00"),
    (4, State.DOWN, None, "0:02:00"),
    (5, State.DOWN, None, "0:03:00"),
    (6, State.DOWN, 2, "0:04:00"),
    (7, State.DOWN, None, "0:05:00"),
    (8, State.DOWN, None, "0:06:00"),
    (9, State.DOWN, 3, "0:07:00"),
    (10, State.LOST, None, "0:07:30"),
]


@pytest.mark.parametrize(("failure", "state", "alert", "elapsed"), REFERENCE_TABLE)
def test_reference_table(failure: int, state: State, alert: int | None, elapsed: str) -> None:
    """Failure by failure, state, alert and time are those of the reference."""
    now, judgement = replay([FAILED] * 10, REFERENCE, up())[failure - 1]
    assert judgement.health.state is state
    assert (judgement.alert.number if judgement.alert else None) == alert
    assert str(now - START) == elapsed


def test_first_pass_is_silent() -> None:
    """A target that passes its first test is up, and no alert is sent."""
    judgement = judge(UNTESTED, PASSED, REFERENCE, START)
    assert judgement.health.state is State.UP
    assert judgement.alert is None
    assert judgement.transition is not None
    assert judgement.transition.previous is State.UNTESTED


def test_pass_from_warn_is_silent() -> None:
    """A target that was never down comes back without an alert."""
    *_, (_, judgement) = replay([FAILED, FAILED, PASSED], REFERENCE, up())
    there = START + timedelta(seconds=60)
    assert judgement.health == replace(up(), since=there, last_good_at=there, changes=(START, there))
    assert judgement.alert is None


@pytest.mark.parametrize("failures", [3, 9, 10, 15])
def test_recovery_says_how_long_the_outage_was(failures: int) -> None:
    """A pass from down or lost alerts `recovered`, with the time since the first failure."""
    *_, (now, judgement) = replay([FAILED] * failures + [PASSED], REFERENCE, up())
    assert judgement.alert is not None
    assert judgement.alert.event is AlertEvent.RECOVERED
    assert judgement.alert.outage == now - START
    assert judgement.health.failures == judgement.health.alerts_sent == 0


def test_recovery_may_be_switched_off() -> None:
    """`alert_recovery: false` keeps a recovery quiet."""
    *_, (_, judgement) = replay([FAILED] * 3 + [PASSED], replace(REFERENCE, alert_recovery=False), up())
    assert judgement.transition is not None
    assert judgement.alert is None


def test_no_alerts_at_all() -> None:
    """`max_alerts: 0` goes warn, down, lost and back up in silence."""
    judgements = [judgement for _, judgement in replay([FAILED] * 4 + [PASSED], replace(REFERENCE, max_alerts=0), up())]
    assert [judgement.health.state for judgement in judgements] == [
        State.WARN,
        State.WARN,
        State.DOWN,
        State.LOST,
        State.UP,
    ]
    assert not any(judgement.alert for judgement in judgements)


def test_one_failure_per_alert() -> None:
    """With `failures_per_alert: 1` the first failure is down and alerted."""
    [(_, judgement)] = replay([FAILED], replace(REFERENCE, failures_per_alert=1), up())
    assert judgement.health.state is State.DOWN
    assert judgement.alert is not None
    assert judgement.alert.number == 1


def test_last_good_is_remembered_through_an_outage() -> None:
    """A failing health still knows when its target last passed, and how fast."""
    *_, (_, judgement) = replay([PASSED, FAILED, FAILED], REFERENCE)
    assert (judgement.health.last_good_at, judgement.health.last_good_rtt_ms) == (START, 12.5)


WINDOW = OnceWindow(START + timedelta(minutes=5), START + timedelta(minutes=10))
MAINTAINED = replace(REFERENCE, maintenance=(WINDOW,))


def test_maintenance_counts_no_failures() -> None:
    """Failures in a window send no alert and do not count; the first after it is the first."""
    inside = judge(up(), FAILED, MAINTAINED, WINDOW.start).health
    assert (inside.state, inside.failures) == (State.MAINTENANCE, 0)
    after = judge(inside, FAILED, MAINTAINED, WINDOW.end).health
    assert (after.state, after.failures) == (State.WARN, 1)


def test_outage_from_before_maintenance_recovers_when_it_is_over() -> None:
    """An outage that was alerted before a window is alerted as `recovered` after it, and not inside it."""
    *_, (_, down) = replay([FAILED] * 3, MAINTAINED, up())
    inside = judge(down.health, PASSED, MAINTAINED, WINDOW.start)
    assert (inside.health.state, inside.alert) == (State.MAINTENANCE, None)
    after = judge(inside.health, PASSED, MAINTAINED, WINDOW.end)
    assert after.alert is not None
    assert after.alert.event is AlertEvent.RECOVERED
    assert after.transition is not None
    assert (after.transition.previous, after.transition.state) == (State.MAINTENANCE, State.UP)


def test_suspended_starts_over() -> None:
    """A suspended target forgets its failures; its first test when it is switched on again is judged as untested."""
    *_, (_, down) = replay([FAILED] * 3, REFERENCE, up())
    off = suspend(down.health, START + timedelta(minutes=9))
    assert (off.health.state, off.health.failures, off.alert) == (State.SUSPENDED, 0, None)
    on = judge(off.health, PASSED, REFERENCE, START + timedelta(hours=1))
    assert on.health.state is State.UP
    assert on.alert is None


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(0, 4))
def test_any_history_keeps_the_promises(passes: list[bool], failures_per_alert: int, max_alerts: int) -> None:
    """Alerts are numbered 1, 2, ... up to `max_alerts`; `recovered` follows a `down` and nothing else."""
    policy = replace(REFERENCE, failures_per_alert=failures_per_alert, max_alerts=max_alerts, flap_per_hour=0)
    alerts = 0
    before = UNTESTED
    for now, judgement in replay([PASSED if passed else FAILED for passed in passes], policy):
        if judgement.alert and judgement.alert.event is AlertEvent.DOWN:
            alerts += 1
            assert judgement.alert.number == alerts <= max_alerts
            assert judgement.health.failures == alerts * failures_per_alert
        if judgement.health.state is State.UP:
            assert (judgement.alert is not None) == (alerts > 0)
            alerts = 0
        changed = judgement.health.state is not before.state
        assert (judgement.transition is not None) == changed
        assert judgement.health.since == (now if changed else before.since)
        before = judgement.health


def test_failing_target_is_tested_again_after_the_delay_of_its_state() -> None:
    """Warn, down and, once the last alert has been sent, lost: each has a delay of its own."""
    policy = replace(REFERENCE, delay_warn=20, delay_down=40, delay_lost=50)
    found = [judgement.health.next_test_at for _, judgement in replay([FAILED] * 10, policy, up())]
    seconds = [(due - START).total_seconds() for due in found if due]
    assert seconds == [20, 40, 80, 120, 160, 200, 240, 280, 330, 380]


def test_nothing_is_held_once_an_alert_is_sent() -> None:
    """The health of a target that is down holds its outage and nothing else."""
    policy = replace(REFERENCE, failures_per_alert=1)
    [(_, judgement)] = replay([FAILED], policy, up())
    assert judgement.health == replace(
        up(),
        state=State.DOWN,
        since=START,
        failures=1,
        alerts_sent=1,
        alerted_at_failures=1,
        failing_since=START,
        next_test_at=START + timedelta(seconds=60),
        changes=(START,),
        allowance_full_at=START + timedelta(hours=1),
    )


def test_transition_says_how_long_the_state_before_lasted_and_what_ended_it() -> None:
    """The error and the reason are those of the test; before a first test nothing is known."""
    hour = timedelta(hours=1)
    failed, passed = replay([FAILED, PASSED], REFERENCE, up())
    assert failed[1].transition == Transition(State.UP, State.WARN, START, hour, ErrorCode.TIMED_OUT, "no-greeting")
    assert passed[1].transition == Transition(State.WARN, State.UP, passed[0], timedelta(seconds=30))
    assert judge(UNTESTED, PASSED, REFERENCE, START).transition == Transition(State.UNTESTED, State.UP, START)


def test_maintenance_keeps_what_was_before() -> None:
    """A test that fails inside a window records that the window has begun, and that it failed there."""
    [(_, warn)] = replay([FAILED], MAINTAINED, up())
    begun = judge(warn.health, FAILED, MAINTAINED, WINDOW.start)
    within = replace(
        warn.health,
        state=State.MAINTENANCE,
        state_before_maintenance=State.WARN,
        since=WINDOW.start,
        next_test_at=None,
        failures_in_maintenance=1,
    )
    lasted = WINDOW.start - START
    transition = Transition(State.WARN, State.MAINTENANCE, WINDOW.start, lasted, ErrorCode.TIMED_OUT, FAILED.reason)
    assert begun == Judgement(within, transition)
    later = WINDOW.start + timedelta(minutes=1)
    assert judge(begun.health, FAILED, MAINTAINED, later) == Judgement(replace(within, failures_in_maintenance=2))


def test_passed_test_in_maintenance_leaves_a_target_that_is_up() -> None:
    """The run of failures is over; when is kept until the window's end, for reports."""
    [(_, warn)] = replay([FAILED], MAINTAINED, up())
    begun = judge(warn.health, replace(PASSED, rtt_ms=8.5), MAINTAINED, WINDOW.start)
    assert begun.health == Health(
        State.MAINTENANCE,
        state_before_maintenance=State.UP,
        since=WINDOW.start,
        last_good_at=WINDOW.start,
        last_good_rtt_ms=8.5,
        changes=(START,),
        run_ended_at=WINDOW.start,
    )
    after = judge(begun.health, PASSED, MAINTAINED, WINDOW.end)
    assert after.transition == Transition(
        State.MAINTENANCE, State.UP, WINDOW.end, timedelta(minutes=5), run_ended_at=WINDOW.start
    )
    assert after.health.run_ended_at is None


def test_maintenance_that_begins_with_a_failed_test_names_its_error() -> None:
    """The transition into a window carries what the test found, as any other does."""
    begun = judge(up(), FAILED, MAINTAINED, WINDOW.start)
    assert begun.transition is not None
    assert (begun.transition.error, begun.transition.reason) == (ErrorCode.TIMED_OUT, "no-greeting")


def test_maintenance_of_a_suspended_target_leads_back_to_untested() -> None:
    """A target that is switched on within a window starts over after it."""
    off = suspend(up(), START).health
    assert judge(off, FAILED, MAINTAINED, WINDOW.start).health.state_before_maintenance is State.UNTESTED


def test_outage_goes_on_after_maintenance_where_it_was() -> None:
    """A target whose last alert had been sent is lost at its next failure, window or not."""
    *_, (_, down) = replay([FAILED] * 9, REFERENCE, up())
    window = OnceWindow(START + timedelta(minutes=10), START + timedelta(minutes=20))
    policy = replace(REFERENCE, maintenance=(window,))
    inside = judge(down.health, FAILED, policy, window.start).health
    after = judge(inside, FAILED, policy, window.end).health
    assert (after.state, after.failures, after.state_before_maintenance) == (State.LOST, 10, None)


def test_suspension_keeps_the_certificate_only() -> None:
    """It is a transition, and the certificate that a test last saw is still known; a second one changes nothing."""
    expires = START + timedelta(days=90)
    health = judge(UNTESTED, certified(PASSED, certificate(expires)), REFERENCE, START).health
    later = START + timedelta(minutes=9)
    off = suspend(health, later)
    assert off == Judgement(
        Health(State.SUSPENDED, since=later, certificate_expires=expires),
        Transition(State.UP, State.SUSPENDED, later, timedelta(minutes=9)),
    )
    assert suspend(off.health, later + timedelta(minutes=1)) == Judgement(off.health)


def test_first_failure_after_suspension_is_not_a_change() -> None:
    """Nothing is known of the time before, so nothing has changed: it does not count towards flapping."""
    off = suspend(up(), START).health
    assert judge(off, FAILED, REFERENCE, START).health.changes == ()


def test_removed_target_is_forgotten() -> None:
    """Nothing of it is left but the transition, and nothing at all if nothing was known."""
    there = START + timedelta(minutes=3)
    assert forget(up(), there) == Judgement(
        UNTESTED, Transition(State.UP, State.UNTESTED, there, timedelta(hours=1, minutes=3))
    )
    assert forget(UNTESTED, there) == Judgement(UNTESTED)
