"""Which tests log in, and what a test that did not says of an outage of the login. No I/O."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popwatch.alerts.tokens import AlertContext
from popwatch.decisions.judging import changes_nothing, judge, time_to_next_test
from popwatch.decisions.login_attempts import (
    after_login,
    begin_attempt,
    may_use,
    next_attempt_at,
    why_it_waits,
    with_skipped_login,
)
from popwatch.decisions.schedule import is_login_due, login_postponed_until, longest_time_to_alert, next_due
from popwatch.model.credential_state import CredentialState
from popwatch.model.health import UNTESTED, Health, LoginFailure, State
from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict, Outcome, Phase
from popwatch.model.targets import Policy, parse_target
from popwatch.model.windows import OnceWindow

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = Policy(login="monitor")
UP = Health(State.UP, NOON - timedelta(hours=1))
GREETED = Outcome(NOON, Phase.QUIT, rtt_ms=12.5)


def logged_in(verdict: LoginVerdict, login_delay: int | None = None) -> Outcome:
    """The outcome of a test that tried to log in."""
    result = LoginResult(verdict, login_delay=login_delay)
    if verdict in (LoginVerdict.FAILED, LoginVerdict.UNCLEAR):
        return Outcome(NOON, Phase.LOGIN, ErrorCode.PROTOCOL, "login-failed", login=result)
    return replace(GREETED, login=result)


def logins(policy: Policy, health: Health, minutes: int) -> list[datetime]:
    """The ticks at which a target that is up logs in."""
    found = []
    for number in range(minutes):
        tick = NOON + number * MINUTE
        due = next_due("a", health, policy, tested_tick=None, after=tick - MINUTE, tick=tick)
        if due and is_login_due("a", health, policy, tick, tick):
            found.append(tick)
    return found


@given(st.integers(10, 900), st.integers(60, 3600), st.one_of(st.just(0), st.integers(1, 4000)))
def test_logins_are_as_far_apart_as_they_must_be(delay_up: int, login_every: int, login_delay: int) -> None:
    """Never sooner than the server's LOGIN-DELAY, and as often as the target asks for, to a tick and a slot."""
    policy = replace(POLICY, delay_up=delay_up, login_every=login_every)
    wanted = max(login_every, login_delay + 60 if login_delay else 0)
    between = [after - before for before, after in pairwise(logins(policy, replace(UP, login_delay=login_delay), 400))]
    assert all(each >= timedelta(seconds=login_delay) for each in between)
    assert all(each <= timedelta(seconds=wanted + max(60, delay_up)) + MINUTE for each in between)
    assert all(each >= timedelta(seconds=wanted) - MINUTE for each in between)


@pytest.mark.long
@given(st.integers(60, 3600), st.integers(1, 4000), st.integers(0, 100))
def test_the_first_logins_of_a_target_are_as_far_apart(login_every: int, login_delay: int, failed: int) -> None:
    """Of a new target, and of one that has recovered: the next slot may come sooner than the server wants."""
    policy = replace(POLICY, login_every=login_every)
    health, tested, found, out = UNTESTED, None, list[datetime](), 10 + failed % 3
    for minute in range(400):
        tick = NOON + minute * MINUTE
        due = next_due("a", health, policy, tested_tick=tested, after=tick - MINUTE, tick=tick)
        if not due:
            continue
        outcome = GREETED
        if is_login_due("a", health, policy, due, due, between_ticks=due != tick):
            found.append(due)
            out -= len(found) > 1 and out > 0  # the second login fails, and some after it
            verdict = LoginVerdict.FAILED if 10 > out > 5 else LoginVerdict.PASSED
            outcome = logged_in(verdict, login_delay)
        health, tested = judge(health, replace(outcome, started_at=due), policy, due).health, due
    kept = min(timedelta(seconds=login_delay), 15 * MINUTE)  # after a failed login in part
    assert all(after - before >= kept for before, after in pairwise(found))


def test_a_login_in_its_slot_is_not_stored() -> None:
    """Each would be a write: the time of one outside the slots is kept as it is."""
    new = judge(UNTESTED, logged_in(LoginVerdict.PASSED, 150), POLICY, NOON).health
    later = judge(new, logged_in(LoginVerdict.PASSED, 150), POLICY, NOON + 9 * MINUTE)
    assert new.login_at == NOON
    assert changes_nothing(new, later)


def test_a_test_on_request_logs_in() -> None:
    """Whoever has corrected a password wants to see it tried; but not before the server wants another login."""
    due = [is_login_due("a", UP, POLICY, NOON + minute * MINUTE, NOON, requested=True) for minute in range(60)]
    assert all(due)
    delayed = replace(UP, login_delay=60)
    assert not is_login_due("a", delayed, POLICY, NOON, NOON, requested=True)


def test_tests_between_ticks_do_not_log_in() -> None:
    """The last one of a minute may be a second before the next tick's; after a failed login they do."""
    policy = replace(POLICY, delay_up=25, login_every=60)
    assert is_login_due("a", UP, policy, NOON, NOON)
    assert not is_login_due("a", UP, policy, NOON, NOON, between_ticks=True)
    failing = judge(UP, logged_in(LoginVerdict.FAILED), policy, NOON - MINUTE).health
    assert is_login_due("a", failing, policy, NOON, NOON, between_ticks=True)


def test_the_first_test_logs_in_and_without_a_login_none() -> None:
    """A target that was just added shows at once whether its login works."""
    assert is_login_due("a", UNTESTED, POLICY, NOON, NOON)
    assert not is_login_due("a", UNTESTED, Policy(), NOON, NOON)
    assert logins(Policy(), UP, 60) == []


def test_after_a_failed_login_every_test_logs_in_but_within_the_delay() -> None:
    """Also a clock that was set back holds no login up for ever."""
    failing = judge(UP, logged_in(LoginVerdict.FAILED, 150), POLICY, NOON).health
    assert (failing.login_failed, failing.login_at, failing.login_delay) == (True, NOON, 150)
    assert not is_login_due("a", failing, POLICY, NOON + MINUTE, NOON + MINUTE)
    assert is_login_due("a", failing, POLICY, NOON + 3 * MINUTE, NOON + 3 * MINUTE)
    assert is_login_due("a", failing, POLICY, NOON, NOON - MINUTE)
    undelayed = replace(failing, login_delay=0)
    assert is_login_due("a", undelayed, POLICY, NOON + MINUTE, NOON + MINUTE)


@pytest.mark.parametrize("passes_per_recovery", [1, 3])
@pytest.mark.parametrize("maintenance", [False, True])
@pytest.mark.parametrize("verdict", [LoginVerdict.IN_USE, LoginVerdict.PASSED])
def test_a_login_that_ends_no_outage_keeps_the_delay_too(
    verdict: LoginVerdict, *, maintenance: bool, passes_per_recovery: int
) -> None:
    """A mailbox in use, or the first of several tests that have to pass: the server counts the time from that login."""
    windows = (OnceWindow(NOON + MINUTE, NOON + 5 * MINUTE),) if maintenance else ()
    policy = replace(POLICY, failures_per_alert=1, passes_per_recovery=passes_per_recovery, maintenance=windows)
    health = judge(UP, logged_in(LoginVerdict.FAILED, 150), policy, NOON).health
    health = judge(health, logged_in(verdict, 600), policy, NOON + 3 * MINUTE).health
    assert (health.login_at, health.login_delay) == (NOON + 3 * MINUTE, 600)
    is_open = verdict is LoginVerdict.IN_USE or passes_per_recovery > 1
    postponed = NOON + 13 * MINUTE if is_open else None
    assert login_postponed_until(health, policy) == postponed
    for minutes in (4, 13):
        now = NOON + minutes * MINUTE
        assert not is_open or is_login_due("a", health, policy, now, now) is (now == postponed)


def test_what_a_login_failed_with_is_kept_for_the_outage() -> None:
    """Other tests of it greet, or fail otherwise; with the outage it is forgotten."""
    full = replace(logged_in(LoginVerdict.PASSED), phase=Phase.LOGIN, error=ErrorCode.PROTOCOL, reason="too-full")
    health = judge(UP, full, POLICY, NOON).health
    expected = LoginFailure(NOON, ErrorCode.PROTOCOL, "too-full")
    unreachable = Outcome(NOON, Phase.CONNECT, ErrorCode.CANNOT_CONNECT)
    for minute, outcome in enumerate((GREETED, unreachable, logged_in(LoginVerdict.IN_USE)), 1):
        health = judge(health, outcome, POLICY, NOON + minute * MINUTE).health
        assert health.login_failure == expected
    assert judge(health, logged_in(LoginVerdict.PASSED), POLICY, NOON + 4 * MINUTE).health.login_failure is None
    in_maintenance = replace(POLICY, maintenance=(OnceWindow(NOON, NOON + 9 * MINUTE),))
    assert judge(health, logged_in(LoginVerdict.PASSED), in_maintenance, NOON + 4 * MINUTE).health.login_failure is None
    later = judge(health, logged_in(LoginVerdict.FAILED), in_maintenance, NOON + 4 * MINUTE).health
    assert later.login_failure == LoginFailure(NOON + 4 * MINUTE, ErrorCode.PROTOCOL, "login-failed")


def test_after_a_failed_login_a_long_delay_is_kept_in_part() -> None:
    """A server may state a day: its outage would have been alerted on the third."""
    failing = judge(UP, logged_in(LoginVerdict.FAILED, 86_400), POLICY, NOON).health
    assert not is_login_due("a", failing, POLICY, NOON + 14 * MINUTE, NOON + 14 * MINUTE)
    assert is_login_due("a", failing, POLICY, NOON + 15 * MINUTE, NOON + 15 * MINUTE)


@pytest.mark.parametrize("delay_up", [25, 60, 300])
def test_a_retest_does_not_log_in_within_the_delay(delay_up: int) -> None:
    """Of a login that succeeded no time is stored, so one on request could come at once after it, or before it."""
    policy = replace(POLICY, delay_up=delay_up, login_every=300)
    for second in range(0, 600, 10):
        now = NOON + timedelta(seconds=second)
        assert not is_login_due("a", replace(UP, login_delay=60), policy, now, now, between_ticks=True)
    assert is_login_due("a", UNTESTED, policy, NOON, NOON, between_ticks=True)


@given(
    delays=st.tuples(st.integers(10, 900), st.integers(60, 300), st.integers(60, 300)),
    login_delay=st.one_of(st.just(0), st.integers(1, 4000)),
    number=st.integers(1, 3),
    late=st.lists(st.integers(0, 59), min_size=1, max_size=20),
    began=st.integers(0, 5000),
)
@settings(max_examples=80)
def test_an_outage_of_the_login_is_alerted_in_the_stated_time(
    delays: tuple[int, int, int], login_delay: int, number: int, late: list[int], began: int
) -> None:
    """Whatever LOGIN-DELAY the server has stated, and whenever in its minute each tick comes.

    Also from a server that gives no reason, with two attempts in an hour: the other tests fail without one.
    """
    verdict = LoginVerdict.UNCLEAR if began % 2 else LoginVerdict.FAILED
    delay_up, delay_warn, delay_down = delays
    policy = replace(POLICY, delay_up=delay_up, delay_warn=delay_warn, delay_down=delay_down)
    outage = NOON + timedelta(seconds=began)
    health, tested, alerts = replace(UNTESTED if began % 3 else UP, login_delay=login_delay), None, 0
    longest = longest_time_to_alert(policy, 20, number, login_delay=login_delay)
    credential, attempts = CredentialState("monitor", "1", passed_at=NOON), list[datetime]()
    for minute in range(3000):
        tick = NOON + minute * MINUTE
        due = next_due("a", health, policy, tested_tick=tested, after=tick - MINUTE, tick=tick)
        if not due:
            continue
        now = due + timedelta(seconds=late[minute % len(late)])
        logs_in = is_login_due("a", health, policy, due, now, between_ticks=due != tick)
        is_out = now >= outage and logs_in
        outcome = logged_in(LoginVerdict.PASSED, login_delay) if logs_in and not is_out else GREETED
        if is_out and may_use(credential, "1", "a", now):
            attempts.append(now)
            outcome = logged_in(verdict, login_delay)
            trying = begin_attempt(credential, "1", "a", now) or credential
            credential = after_login(trying, "1", "a", LoginResult(verdict), now) or trying
        elif is_out and health.login_failed:
            outcome = with_skipped_login(
                GREETED, health, why_it_waits(credential, "a", next_attempt_at(credential, "a"))
            )
        outcome = replace(outcome, started_at=now)
        judged = judge(health, outcome, policy, now)
        health, tested = judged.health, due
        alerts += judged.alert is not None
        if alerts == number:
            assert now - outage <= longest
            if verdict is LoginVerdict.UNCLEAR:
                assert all(after - before >= timedelta(hours=1) for before, after in pairwise(attempts[1:]))
            return
    raise AssertionError


@given(st.integers(10, 900), st.one_of(st.just(0), st.integers(1, 4000)), st.integers(1, 5))
@settings(max_examples=80)
def test_an_alert_says_when_the_next_login_and_the_next_alert_are(
    delay_down: int, login_delay: int, failures_per_alert: int
) -> None:
    """No login is sooner, the first test from then on logs in, and the next alert comes after as long as it says."""
    fields = {"delay_down": delay_down, "failures_per_alert": failures_per_alert, "login": "monitor", "max_alerts": 99}
    watched = parse_target({"target_id": "a", "host": "pop.example.net", "tls": "implicit", **fields})
    health, now, logins, stated = UP, NOON, list[datetime](), list[AlertContext]()
    while len(stated) < 3:
        outcome = replace(GREETED, started_at=now)
        if health is UP or is_login_due("a", health, watched.policy, now, now):
            logins.append(now)
            outcome = replace(logged_in(LoginVerdict.FAILED, login_delay), started_at=now)
        judged = judge(health, outcome, watched.policy, now)
        if judged.alert:
            stated.append(AlertContext(watched, health, judged, outcome, now))
        health, now = judged.health, judged.health.next_test_at or now
    for said, after in pairwise(stated):
        next_login = next(login for login in logins if login > said.now)
        late = next_login - (said.next_login_from or said.next_test_at)
        assert timedelta() <= late < time_to_next_test(said.judgement.health, watched.policy)
        assert after.now == said.now + said.next_alert_in


def test_a_target_that_fails_otherwise_is_not_logged_in_to() -> None:
    """The first greeting ends that run; its login is tried at its own time after that."""
    failing = judge(UP, Outcome(NOON, Phase.CONNECT, ErrorCode.CANNOT_CONNECT), POLICY, NOON).health
    assert not is_login_due("a", failing, POLICY, NOON + MINUTE, NOON + MINUTE)
    assert judge(failing, GREETED, POLICY, NOON + MINUTE).health.state is State.UP


@pytest.mark.parametrize(
    "outcome",
    [GREETED, *map(logged_in, (LoginVerdict.LOGIN_DELAY, LoginVerdict.IN_USE, LoginVerdict.REJECTED))],
)
@pytest.mark.parametrize("maintenance", [False, True])
def test_only_an_accepted_login_says_something_of_an_outage_of_the_login(outcome: Outcome, maintenance: bool) -> None:
    """Neither its figures nor its state change, and no alert comes; in maintenance neither."""
    health = UP
    for number in range(3):
        health = judge(health, logged_in(LoginVerdict.FAILED), POLICY, NOON + number * MINUTE).health
    now = NOON + 3 * MINUTE
    windows = (OnceWindow(now - MINUTE, now + MINUTE),) if maintenance else ()
    judged = judge(health, outcome, replace(POLICY, maintenance=windows), now)
    assert judged.alert is None
    assert (judged.health.failures, judged.health.failing_since) == (3, NOON)
    after = judged.health.state_before_maintenance if maintenance else judged.health.state
    assert after is State.DOWN
    assert judged.health.login_failed
    again = judge(judged.health, logged_in(LoginVerdict.FAILED), POLICY, now + MINUTE).health
    assert (again.state, again.failures) == (State.DOWN, 4)
    passed = judge(again, logged_in(LoginVerdict.PASSED), POLICY, now + 2 * MINUTE)
    assert (passed.health.state, passed.health.login_failed) == (State.UP, False)
    assert passed.health.login_at == now + 2 * MINUTE


@pytest.mark.parametrize("before", [UNTESTED, UP])
@pytest.mark.parametrize("maintenance", [False, True])
def test_a_login_that_failed_in_maintenance_begins_no_run(before: Health, maintenance: bool) -> None:
    """The next greeting ends what is known of it, and a run that begins otherwise ends with a greeting."""
    windows = (OnceWindow(NOON - MINUTE, NOON + (MINUTE if not maintenance else 10 * MINUTE)),)
    policy = replace(POLICY, maintenance=windows)
    health = judge(before, logged_in(LoginVerdict.FAILED), policy, NOON).health
    assert (health.state, health.login_failed, health.has_login_outage) == (State.MAINTENANCE, True, False)
    assert is_login_due("a", health, policy, NOON + MINUTE, NOON + MINUTE)
    greeted = judge(health, GREETED, policy, NOON + 5 * MINUTE).health
    expected = State.MAINTENANCE if maintenance else State.UP
    assert (greeted.state, greeted.login_failed, greeted.failures_in_maintenance) == (expected, False, 0)
    unreachable = Outcome(NOON, Phase.CONNECT, ErrorCode.CANNOT_CONNECT)
    failing = judge(health, unreachable, POLICY, NOON + 5 * MINUTE).health
    assert (failing.failures, failing.login_failed) == (1, False)
    assert judge(failing, GREETED, POLICY, NOON + 6 * MINUTE).health.state is State.UP
    refused = judge(health, logged_in(LoginVerdict.FAILED), POLICY, NOON + 5 * MINUTE).health
    assert (refused.failures, refused.has_login_outage) == (1, True)


@pytest.mark.parametrize("maintenance", [False, True])
def test_a_recovery_waits_for_its_login_while_another_target_is_refused(maintenance: bool) -> None:
    """Its own login was accepted last: no greeting cuts that off or lengthens the outage, nor one that is in use."""
    policy = replace(POLICY, failures_per_alert=1, passes_per_recovery=3)
    health = judge(UP, logged_in(LoginVerdict.FAILED), policy, NOON).health
    assert with_skipped_login(GREETED, health, "refused").error is ErrorCode.PROTOCOL
    health = judge(health, logged_in(LoginVerdict.PASSED), policy, NOON + MINUTE).health
    windows = (OnceWindow(NOON + 2 * MINUTE, NOON + 4 * MINUTE),) if maintenance else ()
    assert health.login_failure is None
    for minute, outcome in enumerate(
        (with_skipped_login(GREETED, health, "refused"), logged_in(LoginVerdict.IN_USE)), 2
    ):
        health = judge(health, outcome, replace(policy, maintenance=windows), NOON + minute * MINUTE).health
        assert (health.failures, health.recovery and health.recovery.passes) == (1, 1)
    for minute, state in ((4, State.DOWN), (5, State.UP)):
        health = judge(health, logged_in(LoginVerdict.PASSED), policy, NOON + minute * MINUTE).health
        assert health.state is state


def test_a_test_that_fails_after_its_login_leaves_an_outage_of_the_login_open() -> None:
    """The mailbox was in use, and QUIT was not answered: no login was accepted in it."""
    failing = judge(UP, logged_in(LoginVerdict.FAILED), POLICY, NOON).health
    result = LoginResult(LoginVerdict.IN_USE)
    failing = judge(failing, Outcome(NOON, Phase.QUIT, ErrorCode.TIMED_OUT, login=result), POLICY, NOON + MINUTE).health
    assert (failing.failures, failing.has_login_outage) == (2, True)
    assert judge(failing, GREETED, POLICY, NOON + 2 * MINUTE).health.failures == 2


def test_a_mailbox_that_is_too_full_stays_so_until_a_login_counts_less() -> None:
    """A greeting says nothing of it."""
    full = replace(logged_in(LoginVerdict.PASSED), phase=Phase.LOGIN, error=ErrorCode.PROTOCOL)
    failing = judge(UP, full, POLICY, NOON).health
    assert failing.login_failed
    assert is_login_due("a", failing, POLICY, NOON + MINUTE, NOON + MINUTE)
    for greeted in (GREETED, logged_in(LoginVerdict.IN_USE)):  # somebody reads mail
        assert judge(failing, greeted, POLICY, NOON + MINUTE).health.failures == 1
    assert judge(failing, logged_in(LoginVerdict.PASSED), POLICY, NOON + MINUTE).health.state is State.UP


def test_without_its_login_a_greeting_ends_it() -> None:
    """Whoever takes `login` away from a target is not left with an outage for ever."""
    failing = judge(UP, logged_in(LoginVerdict.FAILED), POLICY, NOON).health
    assert judge(failing, GREETED, Policy(), NOON + MINUTE).health.state is State.UP


def test_the_delay_that_a_server_states_is_kept() -> None:
    """A test without a login leaves it, and a login that learns of none removes it only if CAPA was answered."""
    stated = judge(UP, logged_in(LoginVerdict.PASSED, 600), POLICY, NOON).health
    assert judge(stated, GREETED, POLICY, NOON).health.login_delay == 600
    assert judge(stated, logged_in(LoginVerdict.PASSED, 0), POLICY, NOON).health.login_delay == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "tls"),
        ({"tls": "implicit", "verify_tls": False}, "verify_tls"),
        ({"tls": "implicit", "tls_min": "1.1"}, "tls_min"),
    ],
)
def test_a_login_needs_tls_that_is_verified(fields: dict[str, object], field: str) -> None:
    """Else the target has a problem, and is never connected to."""
    target = parse_target({"target_id": "a", "host": "pop.example.net", "login": "monitor", **fields})
    assert [problem.field for problem in target.problems] == [field]
    assert parse_target({"target_id": "a", "host": "pop.example.net", "tls": "implicit", "login": "m"}).problems == ()
    assert parse_target({"target_id": "a", "host": "h", "tls": "starttls", "login": "a/b"}).problems[0].field == "login"
