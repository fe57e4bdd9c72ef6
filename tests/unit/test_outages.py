"""docs/outages.md: what an outage is, what holds an alert back, what is sent then, and each figure of the texts."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.alerts.rendering import render
from popwatch.decisions.judging import changes_nothing, delay_seconds, judge, suspend
from popwatch.decisions.planning import plan
from popwatch.model.health import FAILING, UNTESTED, AlertEvent, Health, State
from popwatch.model.interventions import Acknowledgement, Silence
from popwatch.model.messages import AlertMessage
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.records import Record
from popwatch.model.samples import Sample
from popwatch.model.serialization import deserialize, serialize
from popwatch.model.targets import Policy, Target, parse_target
from popwatch.model.text import duration, utc
from popwatch.model.windows import OnceWindow
from popwatch.reports.availability import Outage, Period, Span, durations, spans, total
from popwatch.reports.status import NewestTests, target_status_to_json, target_statuses
from popwatch_cli.rehearsal.past_tests import Parent, all_failing_as_planned

START = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PASSED = Outcome(START, Phase.QUIT, rtt_ms=12.5)
FAILED = Outcome(START, Phase.GREETING, error=ErrorCode.TIMED_OUT, reason="no-greeting", detail="It said nothing.")
NO_FLAPPING = Policy(flap_per_hour=0)
UP = judge(UNTESTED, PASSED, NO_FLAPPING, START - HOUR).health
NIGHT = OnceWindow(START + 10 * MINUTE, START + 8 * HOUR)


def after_tests(
    outcomes: str, policy: Policy = NO_FLAPPING, health: Health = UP, start: datetime = START, parent: str = ""
) -> tuple[Health, list[AlertMessage]]:
    """The health and the alerts after tests a minute apart: `x` failed, `.` passed."""
    found: list[AlertMessage] = []
    target = replace(parse_target({"target_id": "a", "host": "pop.example.net"}), policy=policy)
    for minute, letter in enumerate(outcomes):
        now, outcome = start + minute * MINUTE, PASSED if letter == "." else FAILED
        judgement = judge(health, outcome, policy, now, parent)
        if judgement.alert:
            found.append(render(target, health, judgement, outcome, now))
        health = judgement.health
    return health, found


def silenced_at(now: datetime, policy: Policy) -> Policy:
    """The policy with a silence of the minute that begins now."""
    return replace(policy, silence=Silence(OnceWindow(now, now + MINUTE)))


def events(messages: Iterable[AlertMessage]) -> list[str]:
    return [f"{message.event} {message.attributes.get('alert_number', '')}".strip() for message in messages]


def rows(message: AlertMessage) -> dict[str, str]:
    """The labelled lines of an email."""
    return {line[:13].strip(): line[14:].strip() for line in message.email.splitlines() if line[:14].endswith(" ")}


SILENCED = replace(NO_FLAPPING, silence=Silence(NIGHT))
MAINTAINED = replace(NO_FLAPPING, maintenance=(NIGHT,))
IN_THE_NIGHT = START + HOUR
LOST = "x" * 10


@pytest.mark.parametrize("policy", [MAINTAINED, SILENCED], ids=["maintenance", "silence"])
class TestPassedTestWithinAHold:
    """A passed test ends an outage, whatever holds its alerts."""

    def test_target_that_was_lost_passes_within_and_fails_anew_is_alerted(self, policy: Policy) -> None:
        """Its first outage is closed, and the second one has an alert of its own."""
        lost, _ = after_tests(LOST, policy)
        assert lost.state is State.LOST
        within, sent = after_tests("..", policy, lost, IN_THE_NIGHT)
        assert (within.state, sent) == (State.MAINTENANCE, [])
        after, sent = after_tests("xxx", policy, within, NIGHT.end)
        assert (after.state, events(sent)) == (State.DOWN, ["recovered 3", "down 1"])
        assert rows(sent[1])["Failing for"] == "2 min, 3 failed tests in a row"
        assert rows(sent[1])["Failing since"] == "2026-11-24 06:00:00 UTC"
        assert rows(sent[1])["Last good"] == "2026-11-23 23:01:00 UTC, 12.5 ms"

    def test_two_failures_before_and_one_after_a_night_of_passes_are_two_brief_failures(self, policy: Policy) -> None:
        """The first failed test after it is the first of another run: no one is alerted."""
        warn, _ = after_tests("xx", policy)
        within, _ = after_tests("." * 3, policy, warn, IN_THE_NIGHT)
        after, sent = after_tests("x", policy, within, NIGHT.end)
        assert (after.state, after.failures, after.failing_since, sent) == (State.WARN, 1, NIGHT.end, [])

    def test_recovery_that_was_held_says_how_long_the_outage_was(self, policy: Policy) -> None:
        """From its first failed test to the first passed one, eleven minutes, not until the end of the night."""
        down, _ = after_tests("xxx", policy)
        within, sent = after_tests("." * 5, policy, down, START + 11 * MINUTE)
        assert sent == []
        _, [recovered] = after_tests(".", policy, within, NIGHT.end)
        assert recovered.subject == "UP again: a (pop.example.net:110), was down 11 min until 11-23 22:11Z"
        assert "a was UP again at 2026-11-23 22:11:00 UTC. It had been down for 11 min." in recovered.email
        assert rows(recovered)["Passed at"] == "2026-11-23 22:11:00 UTC"
        assert rows(recovered)["Outage"] == "3 failed tests in a row, 1 alert"
        assert rows(recovered)["Last good"] == "2026-11-23 21:00:00 UTC, 12.5 ms"
        assert recovered.sms.endswith("after 11 min at 11-23 22:11Z, rtt 12.5 ms")

    def test_recovery_that_comes_with_a_failed_test_says_both(self, policy: Policy) -> None:
        """It is about the outage that ended; the newest test is not hidden."""
        down, _ = after_tests("xxx", policy)
        within, _ = after_tests(".", policy, down, IN_THE_NIGHT)
        _, [recovered] = after_tests("x", policy, within, NIGHT.end)
        text = " ".join(recovered.email.split())
        assert "Its newest test, at 2026-11-24 06:00:00 UTC, failed: The remote device timed out" in text
        assert recovered.attributes["event"] == "recovered"
        assert "error" not in recovered.attributes

    def test_outage_without_a_pass_goes_on_after_it(self, policy: Policy) -> None:
        """What failed in it does not count, and is said: the same outage, with its numbers."""
        down, _ = after_tests("xxxx", policy)
        within, _ = after_tests("x" * 5, policy, down, IN_THE_NIGHT)
        after, [second] = after_tests("xx", policy, within, NIGHT.end)
        assert (after.failing_since, after.failures, events([second])) == (START, 6, ["down 2"])
        assert rows(second)["Failing for"] == "8 h 1 min, 6 failed tests in a row, 5 more in maintenance"

    def test_acknowledgement_does_not_hold_the_next_outage(self, policy: Policy) -> None:
        """Acknowledged, silenced for the repair, repaired; what fails after that is another outage."""
        known = replace(policy, acknowledged=Acknowledgement(START, START))
        down, _ = after_tests("xxx", known)
        within, _ = after_tests("..", known, down, IN_THE_NIGHT)
        _, sent = after_tests("xxxx", known, within, NIGHT.end)
        assert events(sent) == ["recovered", "down 1"]

    def test_outage_that_was_neither_alerted_nor_acknowledged_ends_without_a_word(self, policy: Policy) -> None:
        """No alert said that it was down, so none says that it is up."""
        down, _ = after_tests("xxx", replace(policy, depends_on=("gateway",)), parent="gateway")
        within, _ = after_tests(".", policy, down, IN_THE_NIGHT)
        assert after_tests(".x", policy, within, NIGHT.end)[1] == []

    def test_suspending_closes_it_all(self, policy: Policy) -> None:
        """Nothing of before is sent after `popwatch resume`."""
        down, _ = after_tests("xxx", policy)
        within, _ = after_tests(".", policy, down, IN_THE_NIGHT)
        assert after_tests("..", NO_FLAPPING, suspend(within, NIGHT.end).health, NIGHT.end)[1] == []

    def test_each_pass_within_it_writes_no_record(self, policy: Policy) -> None:
        """Only the first, which ends a run: the bill of a silence is that of a quiet night."""
        down, _ = after_tests("xxx", policy)
        within, _ = after_tests(".", policy, down, IN_THE_NIGHT)
        assert changes_nothing(within, judge(within, PASSED, policy, IN_THE_NIGHT + MINUTE))

    def test_degraded_tests_are_in_a_row_only_without_a_full_one_between(self, policy: Policy) -> None:
        """Two before, a full pass within, one after: not three in a row."""
        degraded, health = replace(PASSED, failed_addresses=("192.0.2.8: refused",)), UP
        for now, outcome in (
            (START, degraded),
            (START + MINUTE, degraded),
            (IN_THE_NIGHT, PASSED),
            (NIGHT.end, degraded),
        ):
            judgement = judge(health, outcome, policy, now)
            assert judgement.alert is None
            health = judgement.health

    def test_reports_end_the_outage_with_the_pass(self, policy: Policy) -> None:
        """An outage that ended within it, and one after it, are two, each of its own length."""
        health, transitions = UP, []
        history = [("xxx", START), ("." * 3, IN_THE_NIGHT), ("xxxx.", NIGHT.end)]
        for outcomes, start in history:
            for minute, letter in enumerate(outcomes):
                outcome = PASSED if letter == "." else FAILED
                judgement = judge(health, outcome, policy, start + minute * MINUTE)
                transitions += [judgement.transition] if judgement.transition else []
                health = judgement.health
        period = Period(START - HOUR, NIGHT.end + HOUR)
        found = durations(spans(transitions, health.state, health.since, period)).outages
        assert [(outage.begin, outage.end) for outage in found] == [
            (START, IN_THE_NIGHT),
            (NIGHT.end, NIGHT.end + 4 * MINUTE),
        ]

    def test_reports_end_it_before_the_maintenance_is_over(self, policy: Policy) -> None:
        """As soon as the passed test is known."""
        down, _ = after_tests("xxx", policy)
        within, _ = after_tests(".", policy, down, IN_THE_NIGHT)
        first = judge(UP, FAILED, policy, START).transition
        third = judge(after_tests("xx", policy)[0], FAILED, policy, START + 2 * MINUTE).transition
        begun = judge(down, PASSED, policy, IN_THE_NIGHT).transition
        assert first
        assert third
        assert begun
        found = spans(
            [first, third, begun],
            within.state,
            within.since,
            Period(START, IN_THE_NIGHT + HOUR),
            run_ended=within.run_ended_at,
        )
        assert durations(found).outages == (Outage(START, IN_THE_NIGHT, HOUR, error="timed-out", reason="no-greeting"),)


class TestAcknowledgement:
    """It holds for the outage that it acknowledged."""

    def test_acknowledged_brief_failure_was_not_an_outage(self) -> None:
        """Fewer failed tests than `failures_per_alert`: nothing is sent."""
        known = replace(NO_FLAPPING, acknowledged=Acknowledgement(START, START))
        assert after_tests("xx.", known)[1] == []

    def test_alert_that_was_due_is_sent_once_the_acknowledgement_is_gone(self) -> None:
        """Somebody removes the field by hand: nothing holds it any more."""
        known = replace(NO_FLAPPING, acknowledged=Acknowledgement(START, START))
        down, sent = after_tests("xxxx", known)
        assert sent == []
        assert events(after_tests("xxxx", NO_FLAPPING, down, START + 4 * MINUTE)[1]) == ["down 1", "down 2"]


class TestNextAlert:
    """The next alert is a full count after the last one, however late that was."""

    CHILD = replace(NO_FLAPPING, depends_on=("gateway",))

    def test_second_alert_is_a_full_count_after_a_held_first(self) -> None:
        """Not a minute after it, as the second alert would be due at once."""
        held, sent = after_tests("x" * 5, self.CHILD, parent="gateway")
        assert sent == []
        after, sent = after_tests("x" * 8, self.CHILD, held, START + 5 * MINUTE)
        assert events(sent) == ["down 1", "down 2", "down 3"]
        assert [rows(message)["Failing for"] for message in sent] == [
            "5 min, 6 failed tests in a row",
            "8 min, 9 failed tests in a row",
            "11 min, 12 failed tests in a row",
        ]
        assert after.state is State.LOST

    def test_text_says_when_the_next_alert_follows(self) -> None:
        """Three failed tests later, and so it is."""
        held, _ = after_tests("x" * 5, self.CHILD, parent="gateway")
        _, [first] = after_tests("x", self.CHILD, held, START + 5 * MINUTE)
        assert "Alert 2 of 3 follows in about 3 min" in " ".join(first.email.split())

    def test_record_of_an_earlier_version_goes_on_at_multiples(self) -> None:
        """It does not know at which failure its last alert was sent: those versions sent them at multiples."""
        old = {"state": "down", "failures": 4, "alerts_sent": 1, "failing_since": "2026-11-23T22:00:00Z"}
        health = deserialize(Health, old)
        assert events(after_tests("xxxx", NO_FLAPPING, health, START + 4 * MINUTE)[1]) == ["down 2"]
        held = deserialize(Health, old | {"held": True, "failures": 7})
        assert events(after_tests("xxxx", NO_FLAPPING, held, START + 7 * MINUTE)[1]) == ["down 2", "down 3"]


class TestSilencedAParent:
    """A parent goes on holding while its own tests fail."""

    CHILD = parse_target({"target_id": "child", "host": "a.example.net", "depends_on": "gateway"})

    def holds(self, gateway: Target | None, health: Health) -> bool:
        """Whether the child's test is planned as one behind a failing parent."""
        targets = {"child": self.CHILD} | ({"gateway": gateway} if gateway else {})
        records = {"gateway": Record("gateway", 1, START, health)}
        tests = plan(START + MINUTE, START, targets, records, {}).now.tests
        [found] = [test.failing_parent for test in tests if test.target.target_id == "child"]
        return found == "gateway"

    GATEWAY = parse_target({"target_id": "gateway", "host": "b.example.net"})

    @pytest.mark.parametrize("before", ["xxx", "x", ""])
    def test_silencing_a_failing_gateway_holds_its_children_until_it_passes(self, before: str) -> None:
        """Whether it failed before the silence, or begins to within it."""
        down, _ = after_tests(before, SILENCED)
        failing, _ = after_tests("xx", SILENCED, down, IN_THE_NIGHT)
        assert failing.state is State.MAINTENANCE
        assert self.holds(self.GATEWAY, failing)
        assert not self.holds(self.GATEWAY, after_tests(".", SILENCED, failing, IN_THE_NIGHT + HOUR)[0])

    def test_replay_holds_behind_a_silenced_gateway_too(self) -> None:
        """As the sweep did: its failures in maintenance do not count, and explain those of its children."""
        samples = [(START, Sample(error=ErrorCode.TIMED_OUT, in_maintenance=True)), (START + MINUTE, Sample(12.5))]
        gateway = Parent("gateway", samples)
        found = [all_failing_as_planned([gateway], START + minute * MINUTE) for minute in range(3)]
        assert found == ["", "gateway", ""]

    def test_replay_holds_while_all_of_several_fail(self) -> None:
        """As planning does."""
        first = Parent("a", [(START, Sample(error=ErrorCode.TIMED_OUT))])
        second = Parent("b", [(START, Sample(12.5)), (START + MINUTE, Sample(error=ErrorCode.TIMED_OUT))])
        found = [all_failing_as_planned([first, second], START + minute * MINUTE) for minute in range(1, 3)]
        assert found == ["", "a, b"]

    def test_suspended_or_removed_parent_holds_nothing(self) -> None:
        """Its tests say nothing any more."""
        down, _ = after_tests("xxx")
        assert self.holds(self.GATEWAY, down)
        off = replace(self.GATEWAY, policy=replace(NO_FLAPPING, enabled=False))
        assert not self.holds(off, down)
        assert not self.holds(None, down)


class TestSilencedMeanwhile:
    """A silence that began after a test was planned: the outcome counts, and what it brings is held."""

    def judged(self, letter: str, health: Health, now: datetime, *, policy: Policy = NO_FLAPPING) -> Health:
        outcome = PASSED if letter == "." else FAILED
        judgement = judge(health, outcome, policy, now, silenced=True)
        assert judgement.alert is None
        return judgement.health

    def test_down_is_sent_after_it(self) -> None:
        """With the next failed test."""
        warn, _ = after_tests("xx")
        held = self.judged("x", warn, START + 2 * MINUTE)
        assert (held.state, held.alerts_sent, held.alert_held) == (State.DOWN, 0, True)
        assert events(after_tests("x", SILENCED, held, NIGHT.end)[1]) == ["down 1"]

    def test_recovery_is_sent_after_it(self) -> None:
        """With the next test, and it says when the outage ended."""
        down, _ = after_tests("xxx")
        held = self.judged(".", down, START + 3 * MINUTE)
        assert held.state is State.UP
        _, [recovered] = after_tests(".", SILENCED, held, NIGHT.end)
        assert "was down 3 min until 11-23 22:03Z" in recovered.subject

    @pytest.mark.parametrize("letters", ["x.x.x.", "......"])
    def test_early_warnings_stay_due(self, letters: str) -> None:
        """Flapping, degraded and certificates are not marked as reported: the next test brings them."""
        policy = Policy(failures_per_alert=1, max_alerts=1, flap_per_hour=6, alert_recovery=False)
        degraded = replace(PASSED, failed_addresses=("192.0.2.8: refused",), certificate_expires=START + HOUR)
        health, _ = after_tests(letters, policy)
        flappy = letters != "......"
        outcome, event = (FAILED, AlertEvent.FLAPPING) if flappy else (degraded, AlertEvent.DEGRADED)
        now = START + 6 * MINUTE
        held = judge(health, outcome, policy, now, silenced=True)
        assert held.alert is None
        later = judge(held.health, outcome, policy, now + MINUTE)
        assert later.alert
        assert later.alert.event is event


def test_recovery_comes_before_a_down_of_the_same_test() -> None:
    """One message for a test: with `failures_per_alert` 1, `down` 1 follows with the next failed test."""
    policy = replace(SILENCED, failures_per_alert=1)
    down, _ = after_tests("x", policy)
    within, _ = after_tests(".", policy, down, IN_THE_NIGHT)
    assert events(after_tests("xxx", policy, within, NIGHT.end)[1]) == ["recovered 1", "down 1", "down 2"]


def test_ended_outage_is_stored_and_read() -> None:
    """An invocation may read what another wrote."""
    down, _ = after_tests("xxx", SILENCED)
    within, _ = after_tests(".", SILENCED, down, IN_THE_NIGHT)
    assert within.ended_outage
    assert deserialize(Health, serialize(within)) == within


@given(
    st.lists(st.tuples(st.sampled_from("x."), st.booleans(), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_every_alerted_outage_is_closed_whatever_holds_it(
    tests: list[tuple[str, bool, bool, bool]], failures_per_alert: int, max_alerts: int
) -> None:
    """Random tests, silences, late silences and failing parents: `down` 1, 2, ... and then one `recovered`.

    Each `recovered` is sent at the latest with the first test outside a hold after the pass that ended the outage.
    """
    policy = replace(NO_FLAPPING, failures_per_alert=failures_per_alert, max_alerts=max_alerts)
    health, open_alerts, since, failures = UP, 0, None, 0
    due = False
    for minute, (letter, silent, late, parent) in enumerate(tests):
        now = START + minute * MINUTE
        within = silenced_at(now, policy) if silent else policy
        outcome = PASSED if letter == "." else FAILED
        judgement = judge(health, outcome, within, now, "gateway" if parent else "", silenced=late)
        health, alert = judgement.health, judgement.alert
        due = due or (letter == "." and open_alerts > 0)
        held = silent or late
        assert not (held and alert)
        recovered = alert is not None and alert.event is AlertEvent.RECOVERED
        assert recovered == (due and not held)
        if recovered:
            due, open_alerts = False, 0
        if letter == ".":
            since, failures = None, 0
        elif not silent:
            since, failures = since or now, failures + 1
        assert (health.failing_since, health.failures) == (since, failures)
        if alert is not None and alert.event is AlertEvent.DOWN:
            open_alerts += 1
            assert alert.number == open_alerts <= max_alerts
            assert since
            assert alert.outage == now - since
            assert failures >= open_alerts * failures_per_alert


@dataclass(frozen=True)
class Found:
    """A test of a history, as a server's log and people's calendar have it."""

    at: datetime
    passed: bool
    silent: bool


def run_before(history: list[Found], end: int) -> tuple[list[Found], int, datetime]:
    """The tests that counted in a row before a test, how many did not as they were silent, and the last passed one."""
    begin = max((number for number in range(end) if history[number].passed), default=-1)
    failed = history[begin + 1 : end]
    counted = [one for one in failed if not one.silent]
    last_good = history[begin].at if begin >= 0 else START - HOUR
    return counted, len(failed) - len(counted), last_good


@given(
    st.lists(st.tuples(st.sampled_from("xxx."), st.sampled_from([False, False, True]), st.booleans()), max_size=60),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_every_figure_is_that_of_the_servers_log(
    tests: list[tuple[str, bool, bool]], failures_per_alert: int, max_alerts: int
) -> None:
    """Since, for, number, failures, in maintenance, last good, length: recomputed from what the server did."""
    policy = replace(NO_FLAPPING, failures_per_alert=failures_per_alert, max_alerts=max_alerts)
    target = replace(parse_target({"target_id": "a", "host": "pop.example.net"}), policy=policy)
    history: list[Found] = []
    health = UP
    sent = 0
    for minute, (letter, silent, parent) in enumerate(tests):
        now = START + minute * MINUTE
        history.append(Found(now, letter == ".", silent))
        outcome = replace(PASSED if letter == "." else FAILED, started_at=now)
        within = silenced_at(now, policy) if silent else policy
        judgement = judge(health, outcome, within, now, "gateway" if parent else "")
        if judgement.alert:
            found = rows(render(target, health, judgement, outcome, now))
            end = minute + 1
            if judgement.alert.event is AlertEvent.RECOVERED:  # the first passed test after the last failed ones
                end = next(
                    number
                    for number in range(minute, -1, -1)
                    if history[number].passed and len(run_before(history, number)[0]) >= failures_per_alert
                )
                assert found["Passed at"] == utc(history[end].at)
            counted, uncounted, last_good = run_before(history, end)
            failed = "1 failed test" if len(counted) == 1 else f"{len(counted)} failed tests in a row"
            figures = f"{failed}, {uncounted} more in maintenance" if uncounted else failed
            assert found["Failing since"] == utc(counted[0].at)
            assert found["Last good"] == f"{utc(last_good)}, 12.5 ms"
            if judgement.alert.event is AlertEvent.RECOVERED:
                assert judgement.alert.outage == history[end].at - counted[0].at
                assert found["Outage"] == f"{figures}, {counted_alerts(sent)}"
                sent = 0
            else:
                sent += 1
                assert judgement.alert.number == sent
                length = duration(now - counted[0].at)
                assert found["Failing for"] == f"{length}, {figures}"
        health = judgement.health


def counted_alerts(number: int) -> str:
    return "1 alert" if number == 1 else f"{number} alerts"


class TestNoRecoveryWanted:
    """`alert_recovery: false`: no recovery is due, so it takes no other message's place."""

    POLICY = replace(SILENCED, failures_per_alert=1, alert_recovery=False)

    def test_next_outage_is_alerted_at_once(self) -> None:
        """After one that ended in a silence."""
        down, _ = after_tests("x", self.POLICY)
        within, _ = after_tests(".", self.POLICY, down, IN_THE_NIGHT)
        assert events(after_tests("x", self.POLICY, within, NIGHT.end)[1]) == ["down 1"]

    def test_restored_is_sent(self) -> None:
        """Of a host that was degraded before its outage: no recovery says so."""
        degraded = replace(UP, degraded_alerted=True, degraded_tests=1)
        down, _ = after_tests("x", self.POLICY, degraded)
        assert events(after_tests(".", self.POLICY, down, START + MINUTE)[1]) == ["restored"]


def test_acknowledgement_by_hand_names_the_outage_as_texts_do() -> None:
    """Texts show whole seconds, records have more."""
    since = START + timedelta(milliseconds=312)
    policy = replace(NO_FLAPPING, acknowledged=Acknowledgement(START, START))
    assert policy.acknowledgement_of(since)
    assert not policy.acknowledgement_of(since + timedelta(seconds=1))


def test_silence_holds_though_the_clock_of_who_began_it_is_ahead() -> None:
    """As soon as the command has returned."""
    policy = replace(NO_FLAPPING, silence=Silence(OnceWindow(START + timedelta(seconds=20), START + HOUR)))
    assert policy.is_silenced(START)
    assert not policy.is_silenced(START - MINUTE)
    assert not policy.is_silenced(START + HOUR)


class TestPassesPerRecovery:
    """`passes_per_recovery`: how many passed tests in a row end an outage; its end is the first of them."""

    POLICY = replace(NO_FLAPPING, passes_per_recovery=3, delay_warn=20, delay_down=60, delay_lost=300)

    def test_state_stays_until_enough_have_passed_and_the_outage_ends_with_the_first(self) -> None:
        """Down at 22:02, the first pass at 22:03, the third at 22:05: three minutes."""
        recovering, sent = after_tests("xxx..", self.POLICY)
        assert (recovering.state, events(sent)) == (State.DOWN, ["down 1"])
        assert recovering.recovery
        assert (recovering.recovery.passes, recovering.recovery.began_at) == (2, START + 3 * MINUTE)
        up, [_, recovered] = after_tests("xxx...", self.POLICY)
        assert (up.state, up.recovery, up.failures) == (State.UP, None, 0)
        assert recovered.subject == "UP again: a (pop.example.net:110), was down 3 min"
        assert rows(recovered)["Passed at"] == "2026-11-23 22:03:00 UTC"
        assert rows(recovered)["Confirmed at"] == "2026-11-23 22:05:00 UTC, 3 passed tests in a row"
        assert rows(recovered)["Outage"] == "3 failed tests in a row, 1 alert"
        assert rows(recovered)["Last good"] == "2026-11-23 21:00:00 UTC, 12.5 ms"

    def test_round_trip_of_a_recovery_is_that_of_the_first_pass(self) -> None:
        """As the time of it."""
        down, _ = after_tests("xxx.", self.POLICY)
        target = replace(parse_target({"target_id": "a", "host": "pop.example.net"}), policy=self.POLICY)
        for minute in (5, 6):
            before, now = down, START + minute * MINUTE
            judgement = judge(before, replace(PASSED, rtt_ms=99.0), self.POLICY, now)
            down = judgement.health
        recovered = render(target, before, judgement, PASSED, now)
        assert recovered
        assert rows(recovered)["Round trip"] == "12.5 ms"
        silenced = replace(self.POLICY, silence=Silence(NIGHT), passes_per_recovery=2)
        within = judge(after_tests("xxx.", silenced)[0], replace(PASSED, rtt_ms=99.0), silenced, IN_THE_NIGHT).health
        assert within.ended_outage
        assert within.ended_outage.rtt_ms == 12.5

    def test_failed_test_during_the_recovery_goes_on_with_the_same_outage(self) -> None:
        """Its count, its alerts and its beginning; how many passed between is said."""
        health, sent = after_tests("xxx..xxx", self.POLICY)
        assert (health.failing_since, health.failures, events(sent)) == (START, 6, ["down 1", "down 2"])
        assert rows(sent[1])["Failing for"] == "7 min, 6 failed tests, 2 passed between them"
        _, [_, _, recovered] = after_tests("xxx..xxx...", self.POLICY)
        assert rows(recovered)["Outage"] == "6 failed tests, 2 passed between them, 2 alerts"
        assert rows(recovered)["Passed at"] == "2026-11-23 22:08:00 UTC"

    def test_brief_failure_ends_with_the_first_pass(self) -> None:
        """It was not an outage."""
        health, sent = after_tests("xx.", self.POLICY)
        assert (health.state, health.recovery, sent) == (State.UP, None, [])

    @pytest.mark.parametrize(("outcomes", "delay"), [("xxx", 60), ("xxx.", 20), ("xxx.x", 60), (LOST + ".", 20)])
    def test_recovery_is_tested_as_soon_as_a_failure(self, outcomes: str, delay: int) -> None:
        """After `delay_warn`, from `lost` too; a failed test ends that."""
        health, _ = after_tests(outcomes, self.POLICY)
        assert delay_seconds(health, self.POLICY) == delay
        assert health.next_test_at == START + (len(outcomes) - 1) * MINUTE + timedelta(seconds=delay)

    def test_recovery_is_no_later_than_the_next_test_would_be(self) -> None:
        """Where failures are tested faster than `delay_warn`."""
        policy = replace(self.POLICY, delay_down=10)
        assert delay_seconds(after_tests("xxx.", policy)[0], policy) == 10

    def test_lowered_number_takes_effect_with_the_next_pass(self) -> None:
        """Set to 1 while it recovers: it is up, since the first of the passes."""
        recovering, _ = after_tests("xxx.", self.POLICY)
        _, [recovered] = after_tests(".", NO_FLAPPING, recovering, START + 9 * MINUTE)
        assert rows(recovered)["Passed at"] == "2026-11-23 22:03:00 UTC"

    def test_outage_changes_twice_however_often_it_passes(self) -> None:
        """From passed to failed, and back: what lies between is not flapping."""
        policy = replace(self.POLICY, flap_per_hour=2)
        health, sent = after_tests("xxx.x.x.x.x.x...", policy)
        assert (len(health.changes), "flapping" in " ".join(events(sent))) == (2, False)

    def test_acknowledged_outage_ends_with_its_recovery(self) -> None:
        """Not with the first pass."""
        policy = replace(self.POLICY, acknowledged=Acknowledgement(START, START))
        assert events(after_tests("xxx.xxx..", policy)[1]) == []
        assert events(after_tests("xxx.xxx...", policy)[1]) == ["recovered"]

    def test_gateway_that_recovers_still_holds_alerts(self) -> None:
        """Its outage goes on; in maintenance too."""
        assert after_tests("xxx.", self.POLICY)[0].is_failing
        assert after_tests(
            ".", replace(self.POLICY, silence=Silence(NIGHT)), after_tests("xxx.", self.POLICY)[0], IN_THE_NIGHT
        )[0].is_failing

    def test_passes_before_within_and_after_a_silence_are_in_a_row(self) -> None:
        """One each: the outage ended with the first, before the silence."""
        policy = replace(SILENCED, passes_per_recovery=3)
        recovering, _ = after_tests("xxx.", policy)
        within, sent = after_tests(".", policy, recovering, IN_THE_NIGHT)
        assert (within.state, sent) == (State.MAINTENANCE, [])
        after, [recovered] = after_tests(".", policy, within, NIGHT.end)
        assert after.state is State.UP
        assert rows(recovered)["Passed at"] == "2026-11-23 22:03:00 UTC"

    def test_failed_test_in_a_silence_does_not_count_and_cuts_the_row_off(self) -> None:
        """Two pass, one fails in the silence, two pass: it is down yet, with the failures of before."""
        policy = replace(SILENCED, passes_per_recovery=3)
        within, _ = after_tests(".x", policy, after_tests("xxx.", policy)[0], IN_THE_NIGHT)
        assert within.failures_in_maintenance == 1
        after, sent = after_tests("..", policy, within, NIGHT.end)
        assert (after.state, after.failures, after.passes_in_outage, sent) == (State.DOWN, 3, 2, [])

    def test_recovery_within_a_silence_is_held(self) -> None:
        """It ended there: the message after it says when."""
        policy = replace(SILENCED, passes_per_recovery=2)
        within, _ = after_tests("..", policy, after_tests("xxx.x", policy)[0], IN_THE_NIGHT)
        assert within.ended_outage
        assert (within.ended_outage.passes_in_outage, within.passes_in_outage) == (1, 0)
        assert within.run_ended_at == within.ended_outage.passed_at == IN_THE_NIGHT
        _, [recovered] = after_tests("x", policy, within, NIGHT.end)
        assert "a was UP again at 2026-11-23 23:00:00 UTC." in recovered.email

    def test_status_shows_it_and_the_last_pass(self) -> None:
        """In words and in JSON, which are the page's too; after a failed test the last pass is that of the samples."""
        target = replace(parse_target({"target_id": "a", "host": "pop.example.net"}), policy=self.POLICY)
        outcome = replace(PASSED, started_at=START + 4 * MINUTE)
        record = Record("a", 5, outcome.started_at, after_tests("xxx..", self.POLICY)[0], outcome)
        [status] = target_statuses({"a": target}, {"a": record}, NewestTests(), NIGHT.start)
        found = target_status_to_json(status, NIGHT.start)
        assert (found["state"], found["passes"], found["passes_per_recovery"]) == ("down", 2, 3)
        assert (status.remarks(NIGHT.start), found["last_good_at"]) == (
            ["recovering: 2 of 3 passed"],
            "2026-11-23T22:04:00Z",
        )
        failed = replace(record, health=after_tests("xxx..x", self.POLICY)[0], outcome=FAILED)
        newest = NewestTests(passed={"a": outcome.started_at})
        [status] = target_statuses({"a": target}, {"a": failed}, newest, NIGHT.start)
        assert (status.remarks(NIGHT.start), status.last_good_at) == ([], outcome.started_at)

    def test_suspending_forgets_it(self) -> None:
        """As all of an outage."""
        assert suspend(after_tests("xxx.", self.POLICY)[0], NIGHT.end).health.recovery is None


@given(
    st.lists(st.tuples(st.sampled_from("xx."), st.sampled_from([False, False, True])), max_size=60),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_outages_of_a_history_are_those_of_the_servers_log(
    tests: list[tuple[str, bool]], failures_per_alert: int, passes_per_recovery: int
) -> None:
    """Begin and end of each outage in reports: recomputed from what the server did, whatever passed in between.

    One `recovered` for each that was alerted, with its length; at the end tests pass, so that none is held any more.
    """
    policy = replace(NO_FLAPPING, failures_per_alert=failures_per_alert, passes_per_recovery=passes_per_recovery)
    health, transitions, expected = UP, [], []
    since: datetime | None = None
    failures, passed = 0, list[datetime]()
    downs, recovered = set[datetime](), list[timedelta]()
    tests = [*tests, *[(".", False)] * (passes_per_recovery + 1)]
    for minute, (letter, silent) in enumerate(tests):
        now = START + minute * MINUTE
        within = silenced_at(now, policy) if silent else policy
        judgement = judge(health, PASSED if letter == "." else FAILED, within, now)
        health = judgement.health
        transitions += [judgement.transition] if judgement.transition else []
        if judgement.alert and judgement.alert.event is AlertEvent.DOWN:
            downs.add(now - judgement.alert.outage)
        elif judgement.alert:
            assert judgement.alert.event is AlertEvent.RECOVERED
            recovered.append(judgement.alert.outage)
        if letter == "x":
            passed = []
            if not silent:
                since, failures = since or now, failures + 1
            continue
        passed.append(now)
        is_outage = failures >= failures_per_alert
        if since and (not is_outage or len(passed) == passes_per_recovery):
            expected += [(since, passed[0])] if is_outage else []
            since, failures = None, 0
    end = START + len(tests) * MINUTE
    assert recovered == [ended - began for began, ended in expected if began in downs]
    period = Period(START, end)
    found = durations(spans(transitions, health.state, health.since, period, run_ended=health.run_ended_at))
    assert [(outage.begin, outage.end) for outage in found.outages] == expected


@given(
    st.lists(st.tuples(st.sampled_from("xx."), st.sampled_from([False, False, True])), min_size=4, max_size=60),
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.integers(1, 59), min_size=1, max_size=4),
)
def test_adjacent_periods_add_up(
    tests: list[tuple[str, bool]], failures_per_alert: int, passes_per_recovery: int, cuts: list[int]
) -> None:
    """Wherever a time is cut, its parts have the same times together, and each has its part of each outage."""
    policy = replace(NO_FLAPPING, failures_per_alert=failures_per_alert, passes_per_recovery=passes_per_recovery)
    health, transitions = UP, []
    for minute, (letter, silent) in enumerate(tests):
        now = START + minute * MINUTE
        within = silenced_at(now, policy) if silent else policy
        judgement = judge(health, PASSED if letter == "." else FAILED, within, now)
        health = judgement.health
        transitions += [judgement.transition] if judgement.transition else []

    def spans_of(begin: datetime, end: datetime) -> list[Span]:
        # As much as is read: the transitions since the period began, and the one that began a maintenance before it.
        since = [change for change in transitions if change.at >= begin]
        before = [change for change in transitions if change.at < begin and change.state is State.MAINTENANCE][-1:]
        read = [*before, *since] if since and since[0].previous is State.MAINTENANCE else since
        return spans(read, health.state, health.since, Period(begin, end), run_ended=health.run_ended_at)

    edges = [START + minute * MINUTE for minute in sorted({0, *(cut for cut in cuts if cut < len(tests)), len(tests)})]
    all_spans = spans_of(edges[0], edges[-1])
    whole, parts = durations(all_spans), [durations(spans_of(*part)) for part in pairwise(edges)]
    for name in ("up", "down", "maintenance", "untested", "brief"):
        assert getattr(total(parts), name) == getattr(whole, name), name
    for (begin, end), part in zip(pairwise(edges), parts, strict=True):
        cut = [(max(it.begin, begin), min(it.end, end), it.begin < begin) for it in whole.outages]
        failing = [(span.begin, span.end) for span in all_spans if span.state in FAILING]
        # One that was in maintenance throughout this part is not an outage of it.
        expected = [it for it in cut if any(first < it[1] and last > it[0] for first, last in failing if it[0] < it[1])]
        assert [(it.begin, it.end, it.begun_before) for it in part.outages] == expected
