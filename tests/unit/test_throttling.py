"""docs/outages.md, "Too many alerts": whatever a server does, a target brings a bounded number of messages."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from popwatch.decisions.judging import changes_nothing, judge, suspend
from popwatch.decisions.throttling import allowance, held_until
from popwatch.model.health import AlertEvent, Health, HeldAlerts, Judgement, State
from popwatch.model.interventions import Silence
from popwatch.model.serialization import deserialize, serialize
from popwatch.model.targets import Policy
from popwatch.model.windows import OnceWindow
from tests.adversary import MOVES, Program, look_ahead, play
from tests.examples import FAILED, HEALTHY, PASSED, START

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLICY = Policy(failures_per_alert=1, max_alerts=1, flap_per_hour=0)
"""Each failed test after a passed one brings `down`, and each passed one after it `recovered`."""

BOUND = 48

Step = tuple[int, Health, Judgement]


def after_each(
    outcomes: str, policy: Policy = POLICY, health: Health = HEALTHY
) -> Iterator[tuple[int, Health, Judgement]]:
    """The number of each test, a minute apart, the health before it and its judgement: `x` failed, `.` passed."""
    for minute, letter in enumerate(outcomes):
        judgement = judge(health, FAILED if letter == "x" else PASSED, policy, START + minute * MINUTE)
        yield minute, health, judgement
        health = judgement.health


def alerts(found: Iterable[Step]) -> list[tuple[int, str]]:
    return [(minute, judgement.alert.event.value) for minute, _, judgement in found if judgement.alert]


def test_beyond_the_allowance_one_message_says_that_the_rest_is_held_and_one_what_it_was() -> None:
    """22 messages, `throttled`, two hours later `unthrottled` with what was held, and the state now."""
    found = list(after_each("x." * 65))
    assert [event for _, event in alerts(found)[:22]] == ["down", "recovered"] * 11
    begins, ends, begins_again = alerts(found)[22:25]
    assert begins == (22, "throttled")
    assert ends == (120, "unthrottled")
    assert begins_again == (121, "throttled")
    _, before, judgement = found[120]
    assert judgement.alert is not None
    assert judgement.alert.held == HeldAlerts(START + 22 * MINUTE, {"down": 50, "recovered": 49}, 1)
    assert judgement.alert.number == 99
    assert held_until(before, POLICY) == START + 120 * MINUTE


def test_state_and_numbers_go_on_as_if_the_alerts_were_sent() -> None:
    """A server that is down for good while its alerts are held: `unthrottled` says so, and its recovery is sent."""
    policy = replace(POLICY, failures_per_alert=3, max_alerts=3)
    found = list(after_each("x" * 250 + ".", policy, replace(HEALTHY, allowance_full_at=START + 22 * HOUR)))
    assert alerts(found) == [(2, "throttled"), (120, "unthrottled"), (250, "recovered")]
    _, _, judgement = found[120]
    assert judgement.alert is not None
    assert judgement.alert.held == HeldAlerts(START + 2 * MINUTE, {"down": 3}, 3)
    assert (judgement.health.state, judgement.health.alerts_sent) == (State.LOST, 3)


def test_a_quiet_target_has_its_whole_allowance_again_after_a_day() -> None:
    """22 messages within minutes, a day without any, and 22 more are sent one by one."""
    *_, (_, _, last) = after_each("x." * 11)
    assert last.health.allowance_full_at == START + 22 * HOUR
    again = judge(last.health, PASSED, POLICY, START + DAY)
    assert again.health.allowance_full_at is None  # and the record need not say so any more
    found = after_each("x." * 12, health=again.health)
    assert [event for _, event in alerts(found)] == ["down", "recovered"] * 11 + ["throttled"]


def test_a_test_that_changes_nothing_is_not_written_while_alerts_are_held() -> None:
    """A held target that passes costs no write a minute, until its hold ends."""
    health = replace(HEALTHY, allowance_full_at=START + 23 * HOUR, throttled=HeldAlerts(START, {"down": 1}, 1))
    found = list(after_each("." * 130, health=health))
    assert [minute for minute, before, judgement in found if not changes_nothing(before, judgement)] == [120]


def test_a_hold_does_not_end_in_a_silence() -> None:
    """It ends with the first test after the silence; in the silence nothing is sent."""
    silenced = replace(POLICY, silence=Silence(OnceWindow(START, START + 3 * HOUR)))
    health = replace(HEALTHY, allowance_full_at=START + 23 * HOUR, throttled=HeldAlerts(START, {"down": 1}, 1))
    found = list(after_each("." * 200, silenced, health))
    assert alerts(found) == [(180, "unthrottled")]


def test_a_silence_written_meanwhile_holds_it_back() -> None:
    """As with every message: it comes with the next test that finds no silence."""
    health = replace(HEALTHY, allowance_full_at=START + 20 * HOUR, throttled=HeldAlerts(START - HOUR, {"down": 1}, 1))
    held = judge(health, PASSED, POLICY, START, silenced=True)
    assert held.alert is None
    assert held.health.throttled == health.throttled
    assert judge(held.health, PASSED, POLICY, START + MINUTE).alert is not None


@pytest.mark.parametrize("outcome", [PASSED, FAILED])
def test_without_alerts_nothing_is_held(outcome: object) -> None:
    """`max_alerts` 0: neither what is held nor that it is."""
    health = replace(HEALTHY, allowance_full_at=START + 20 * HOUR, throttled=HeldAlerts(START - HOUR, {"down": 1}, 1))
    judgement = judge(health, PASSED if outcome is PASSED else FAILED, replace(POLICY, max_alerts=0), START)
    assert judgement.alert is None
    assert judgement.health.throttled is None


def test_suspending_forgets_what_is_held() -> None:
    """It starts over."""
    health = replace(HEALTHY, allowance_full_at=START + 20 * HOUR, throttled=HeldAlerts(START - HOUR, {"down": 1}, 1))
    assert suspend(health, START).health.throttled is None


def test_more_alerts_for_an_outage_make_more_for_a_day() -> None:
    """Who asks for 20 alerts of each outage gets them."""
    assert [allowance(Policy(max_alerts=number)) for number in (1, 3, 4, 20)] == [24, 24, 30, 126]


@pytest.mark.parametrize("hours", [23.2, 40])
def test_a_hold_lasts_two_hours_at_most_also_after_the_allowance_became_smaller(hours: float) -> None:
    """As after messages of a policy with 9 alerts an outage, or with a damaged time."""
    full_at = START + timedelta(hours=hours)
    found = list(after_each("x." * 120, health=replace(HEALTHY, allowance_full_at=full_at)))
    assert alerts(found)[:2] == [(0, "throttled"), (120, "unthrottled")]
    assert held_until(found[1][1], POLICY) == START + 2 * HOUR


def test_what_is_held_is_stored() -> None:
    """And is read again."""
    health = replace(HEALTHY, allowance_full_at=START, throttled=HeldAlerts(START, {"down": 5, "restored": 1}, 3))
    assert deserialize(Health, serialize(health)) == health


programs = st.lists(st.tuples(st.sampled_from(MOVES), st.integers(1, 12)), min_size=1, max_size=8)


class TestAdversary:
    """A server that knows the code and the settings, and chooses each outcome, addresses and certificates included."""

    @pytest.mark.long
    @settings(max_examples=25)
    @given(programs)
    def test_no_program_gets_more_than_the_bound(self, program: Program) -> None:
        """Hypothesis looks for the best day that it can have."""
        found = play(Policy(), program)
        target(float(found.best_day))
        assert found.best_day <= BOUND

    @pytest.mark.long
    def test_looking_ahead_does_not_help(self) -> None:
        """At each test it makes the best of its moves."""
        assert 2 * BOUND / 3 < look_ahead(Policy(), 2, days=1.5).best_day <= BOUND

    @settings(max_examples=15)
    @given(programs, st.integers(1, 12), st.integers(1, 5), st.sampled_from([10, 30, 60]), st.sampled_from([0, 6, 60]))
    def test_the_bound_is_twice_the_allowance_under_any_policy(
        self, program: Program, most: int, failures: int, delay: int, flaps: int
    ) -> None:
        """Short delays bring no more messages."""
        policy = Policy(
            max_alerts=most, failures_per_alert=failures, flap_per_hour=flaps, delay_warn=delay, delay_down=delay
        )
        found = play(policy, program, days=1.2)
        target(float(found.best_day))
        assert found.best_day <= 2 * allowance(policy)


@given(st.text("x.", min_size=1, max_size=400))
def test_every_hold_ends_and_says_what_it_held(outcomes: str) -> None:
    """For each `throttled` one `unthrottled`, at the test that has room, whose counts are those of the alerts held."""
    held: Counter[str] | None = None
    for minute, before, judgement in after_each(outcomes):
        event = judgement.alert.event if judgement.alert else None
        until = held_until(before, POLICY)
        assert (held is not None) is (until is not None)
        if event is AlertEvent.THROTTLED:
            assert held is None
            held = Counter()
        if held is not None and before.is_failing is not judgement.health.is_failing:  # which brings an alert here
            held["down" if judgement.health.is_failing else "recovered"] += 1
        if until is not None:
            has_room = START + minute * MINUTE >= until
            assert event is (AlertEvent.UNTHROTTLED if has_room else None)
        if event is AlertEvent.UNTHROTTLED:
            assert judgement.alert is not None
            assert judgement.alert.held is not None
            assert judgement.alert.held.events == held
            held = None
