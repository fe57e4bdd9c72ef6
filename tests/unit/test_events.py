"""`judge`: the alerts beside down and recovered, and those that are held back. States stay true throughout."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.decisions.early_warnings import are_too_many, is_steady, with_change
from popwatch.decisions.judging import changes_nothing, judge
from popwatch.model.health import UNTESTED, Alert, AlertEvent, Health, Judgement, State
from popwatch.model.interventions import Acknowledgement, Silence
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Policy
from popwatch.model.windows import OnceWindow

START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PASSED = Outcome(START, Phase.QUIT, rtt_ms=12.5)
FAILED = Outcome(START, Phase.GREETING, error=ErrorCode.TIMED_OUT, reason="no-greeting")
DEGRADED = replace(PASSED, failed_addresses=("192.0.2.8: refused",))
NO_FLAPPING = Policy(flap_per_hour=0)
FLAPPY = Policy(failures_per_alert=1, flap_per_hour=6)


def run(outcomes: Iterable[Outcome], policy: Policy, health: Health = UNTESTED, parent: str = "") -> list[Judgement]:
    """A judgement each minute."""
    found = []
    for minute, outcome in enumerate(outcomes):
        judgement = judge(health, outcome, policy, START + minute * MINUTE, parent)
        found.append(judgement)
        health = judgement.health
    return found


def events_of(judgements: Iterable[Judgement]) -> list[str]:
    """The event of each judgement's alert, `-` where it has none."""
    return [judgement.alert.event.value if judgement.alert else "-" for judgement in judgements]


UP = judge(UNTESTED, PASSED, NO_FLAPPING, START - MINUTE).health


@pytest.mark.parametrize(
    ("outcomes", "policy", "event", "number", "outage"),
    [
        ([FAILED] * 3, NO_FLAPPING, AlertEvent.DOWN, 1, 2 * MINUTE),
        ([FAILED] * 3 + [PASSED], NO_FLAPPING, AlertEvent.RECOVERED, 0, 3 * MINUTE),
        ([FAILED, PASSED] * 3 + [FAILED], FLAPPY, AlertEvent.FLAPPING, 7, timedelta()),
        ([FAILED, PASSED] * 4 + [PASSED] * 20, FLAPPY, AlertEvent.STEADY, 0, timedelta()),
        ([FAILED, PASSED] * 3 + [FAILED] * 21, FLAPPY, AlertEvent.STEADY, 0, 20 * MINUTE),
        ([DEGRADED] * 3, NO_FLAPPING, AlertEvent.DEGRADED, 0, timedelta()),
        ([DEGRADED] * 3 + [PASSED], NO_FLAPPING, AlertEvent.RESTORED, 0, timedelta()),
    ],
)
def test_alert_says_what_it_counts_when_and_how_long_it_has_failed(
    outcomes: list[Outcome], policy: Policy, event: AlertEvent, number: int, outage: timedelta
) -> None:
    """`down` counts alerts, `flapping` changes, others nothing; the time is the test's."""
    assert run(outcomes, policy, UP)[-1].alert == Alert(event, number, START + (len(outcomes) - 1) * MINUTE, outage)


class TestDependence:
    """A target whose parent fails: its alerts are held, and sent if it still fails once the parent is back."""

    CHILD = replace(NO_FLAPPING, depends_on=("gateway",))

    def test_alerts_are_held_while_the_parent_fails(self) -> None:
        """The child goes down, its failure has a cause, and no alert is sent."""
        judgements = run([FAILED] * 12, self.CHILD, UP, parent="gateway")
        last = judgements[-1].health
        assert events_of(judgements) == ["-"] * 12
        assert (last.state, last.caused_by, last.alerts_sent, last.alert_held) == (State.DOWN, "gateway", 0, True)

    def test_child_that_still_fails_is_alerted_at_its_next_test(self) -> None:
        """The parent is back, the child is not: alert 1 comes at once, further ones a full count later each."""
        held = run([FAILED] * 4, self.CHILD, UP, parent="gateway")[-1].health
        assert events_of(run([FAILED] * 8, self.CHILD, held)) == ["down", "-", "-", "down", "-", "-", "down", "-"]

    def test_child_that_is_back_with_its_parent_is_never_alerted(self) -> None:
        """No alert said that it was down, so none says that it is up."""
        held = run([FAILED] * 4, self.CHILD, UP, parent="gateway")[-1].health
        assert events_of(run([PASSED, PASSED], self.CHILD, held)) == ["-", "-"]

    def test_an_alert_waits_for_the_parents_own_test(self) -> None:
        """With `failures_per_alert: 1` the parent may not have been tested yet, so the first failure is held."""
        policy = replace(self.CHILD, failures_per_alert=1)
        assert events_of(run([FAILED, FAILED], policy, UP)) == ["-", "down"]

    def test_recovery_of_an_alerted_outage_is_sent_though_the_parent_fails(self) -> None:
        """`down` alerts are held, recoveries never."""
        down = run([FAILED] * 3, self.CHILD, UP)[-1].health
        assert events_of(run([PASSED], self.CHILD, down, parent="gateway")) == ["recovered"]


class TestAcknowledgement:
    """An acknowledged outage brings no more alerts, except the one that it has ended."""

    def known(self, outage: datetime) -> Policy:
        return replace(NO_FLAPPING, acknowledged=Acknowledgement(outage, outage))

    def test_no_more_alerts_but_the_recovery(self) -> None:
        """Acknowledged after alert 1, the outage ends with `recovered`."""
        down = run([FAILED] * 3, NO_FLAPPING, UP)[-1].health
        assert events_of(run([FAILED] * 9 + [PASSED], self.known(START), down)) == ["-"] * 9 + ["recovered"]

    def test_recovery_is_sent_even_if_no_alert_was_sent(self) -> None:
        """Whoever acknowledged it in warn wants to know when it ends."""
        warn = run([FAILED], NO_FLAPPING, UP)[-1].health
        assert events_of(run([FAILED] * 5 + [PASSED], self.known(START), warn)) == ["-"] * 5 + ["recovered"]

    def test_without_alerts_no_recovery_is_sent_either(self) -> None:
        """`max_alerts` 0 never alerts, acknowledged or not."""
        warn = run([FAILED], NO_FLAPPING, UP)[-1].health
        assert events_of(run([PASSED], replace(self.known(START), max_alerts=0), warn)) == ["-"]

    def test_another_outage_is_alerted_as_usual(self) -> None:
        """An acknowledgement is of one outage only."""
        assert events_of(run([FAILED] * 3, self.known(START - timedelta(hours=1)), UP)) == ["-", "-", "down"]


class TestFlapping:
    """Too many changes: one alert, silence, one alert when it is steady."""

    def test_one_alert_instead_of_many_and_one_when_steady(self) -> None:
        """The seventh change within an hour is `flapping`; 20 minutes without one are `steady`."""
        outcomes = [FAILED, PASSED] * 6 + [PASSED] * 30
        events = events_of(run(outcomes, FLAPPY, UP))
        assert events[:6] == ["down", "recovered"] * 3
        assert events[6] == "flapping"
        assert [event for event in events[7:] if event != "-"] == ["steady"]
        assert events.index("steady") == 11 + 20

    def test_states_stay_true(self) -> None:
        """Each change of state is a transition, alerted or not."""
        judgements = run([FAILED, PASSED] * 8, FLAPPY, UP)
        assert all(judgement.transition for judgement in judgements)

    def test_an_alerted_outage_is_closed_though_it_flaps(self) -> None:
        """A `down` that was sent is followed by its `recovered`, even when that change is one too many."""
        policy = Policy(failures_per_alert=1, flap_per_hour=1)
        assert events_of(run([FAILED, PASSED, FAILED, PASSED], policy, UP)) == ["down", "recovered", "flapping", "-"]

    def test_outage_of_a_flapping_target_is_alerted_once_it_is_steady(self) -> None:
        """It stays down: `steady` says so, and alert 1 follows at the next failed test."""
        events = events_of(run([FAILED, PASSED] * 4 + [FAILED] * 30, FLAPPY, UP))
        assert [event for event in events[6:] if event != "-"][:3] == ["flapping", "steady", "down"]

    @pytest.mark.parametrize("failures_per_alert", [1, 3])
    @pytest.mark.parametrize("in_maintenance", [False, True])
    def test_an_outage_right_after_hours_without_a_change(
        self, *, in_maintenance: bool, failures_per_alert: int
    ) -> None:
        """Hours in a maintenance, or without any tests: it has been steady, and the first failed test says so."""
        policy = replace(FLAPPY, failures_per_alert=failures_per_alert)
        health = run([FAILED, PASSED] * 4, policy, UP)[-1].health
        assert health.flapping
        begin, end = START + 8 * MINUTE, START + timedelta(hours=8)
        if in_maintenance:
            silenced = replace(policy, silence=Silence(OnceWindow(begin, end)))
            for minute in range(8, 480):
                health = judge(health, PASSED, silenced, START + minute * MINUTE).health
        events = []
        for minute in range(6):
            judgement = judge(health, FAILED, policy, end + minute * MINUTE)
            health = judgement.health
            events += [judgement.alert.event.value] if judgement.alert else []
        assert events[:2] == ["steady", "down"]

    def test_steadiness_that_could_not_be_sent_is_not_forgotten(self) -> None:
        """A silence that was written meanwhile holds it: it comes with the next test, though that one failed, too."""
        health = run([FAILED, PASSED] * 4, FLAPPY, UP)[-1].health
        end = START + timedelta(hours=1)
        held = judge(health, FAILED, FLAPPY, end, silenced=True)
        assert held.alert is None
        assert events_of([judge(held.health, FAILED, FLAPPY, end + MINUTE)]) == ["steady"]

    def test_steadiness_leaves_nothing_behind(self) -> None:
        """A target that is steady again is judged as one that never flapped."""
        last = run([FAILED, PASSED] * 4 + [PASSED] * 20, FLAPPY, UP)[-1].health
        assert replace(last, allowance_full_at=None) == replace(
            UP, since=START + 7 * MINUTE, last_good_at=START + 27 * MINUTE
        )

    def test_few_changes_are_not_flapping(self) -> None:
        """Six changes in an hour are within the default."""
        assert "flapping" not in events_of(run([FAILED, PASSED] * 3 + [PASSED] * 60, FLAPPY, UP))

    def test_changes_kept_are_few(self) -> None:
        """A record does not grow with the changes."""
        last = run([FAILED, PASSED] * 100, FLAPPY, UP)[-1].health
        assert len(last.changes) == 7

    def test_zero_never_flaps(self) -> None:
        """`flap_per_hour: 0` alerts each change."""
        assert (
            events_of(run([FAILED, PASSED] * 11, replace(NO_FLAPPING, failures_per_alert=1), UP))
            == ["down", "recovered"] * 11
        )


class TestDegraded:
    """Some of a host's addresses fail: it is up, and an alert says so."""

    def test_alerted_once_when_it_lasts_and_once_when_it_ends(self) -> None:
        """Three degraded tests in a row bring `degraded`, the first full one `restored`."""
        events = events_of(run([DEGRADED] * 5 + [PASSED, PASSED], NO_FLAPPING, UP))
        assert events == ["-", "-", "degraded", "-", "-", "restored", "-"]

    def test_it_is_due_once_somebody_wants_alerts(self) -> None:
        """With `max_alerts` 0 no one is alerted; it is alerted when that is raised, and so is its end."""
        quiet = replace(NO_FLAPPING, max_alerts=0)
        degraded = run([DEGRADED] * 5, quiet, UP)
        assert events_of(degraded) == ["-"] * 5
        alerted = judge(degraded[-1].health, DEGRADED, NO_FLAPPING, START + 5 * MINUTE)
        assert events_of([alerted]) == ["degraded"]
        restored = judge(alerted.health, PASSED, quiet, START + 6 * MINUTE)
        assert events_of([restored, judge(restored.health, PASSED, NO_FLAPPING, START + 7 * MINUTE)]) == [
            "-",
            "restored",
        ]

    def test_it_is_up(self) -> None:
        """Degraded is up, without a transition."""
        judgements = run([DEGRADED] * 5, NO_FLAPPING, UP)
        assert {judgement.health.state for judgement in judgements} == {State.UP}
        assert not any(judgement.transition for judgement in judgements)

    def test_brief_trouble_is_silent(self) -> None:
        """Two degraded tests and a full one send no alert."""
        assert events_of(run([DEGRADED, DEGRADED, PASSED], NO_FLAPPING, UP)) == ["-"] * 3

    def test_failure_between_starts_the_count_anew(self) -> None:
        """Three degraded tests in a row are alerted, and a failed one in between ends a row."""
        assert events_of(run([DEGRADED, DEGRADED, FAILED, DEGRADED, DEGRADED, DEGRADED], NO_FLAPPING, UP)) == [
            "-"
        ] * 5 + ["degraded"]

    def test_recovery_of_all_addresses_needs_no_second_alert(self) -> None:
        """After `degraded` and `down` comes `recovered`, and not `restored` as well."""
        assert events_of(run([DEGRADED] * 3 + [FAILED] * 3 + [PASSED] * 2, NO_FLAPPING, UP))[-3:] == [
            "down",
            "recovered",
            "-",
        ]

    def test_recovery_of_some_addresses_leaves_restored_to_come(self) -> None:
        """It is degraded again as it was before, so that `restored` follows."""
        assert events_of(run([DEGRADED] * 3 + [FAILED] * 3 + [DEGRADED, PASSED], NO_FLAPPING, UP))[-2:] == [
            "recovered",
            "restored",
        ]

    def test_restored_leaves_nothing_behind(self) -> None:
        """A target that is restored is judged as one that was never degraded."""
        last = run([DEGRADED] * 3 + [PASSED], NO_FLAPPING, UP)[-1].health
        assert replace(last, allowance_full_at=None) == replace(UP, last_good_at=START + 3 * MINUTE)

    def test_the_addresses_are_known_as_they_are(self) -> None:
        """The record is written when other addresses fail or are left out, and not while they are the same."""
        other = replace(PASSED, failed_addresses=("192.0.2.9: refused",))
        health = run([DEGRADED] * 3, NO_FLAPPING, UP)[-1].health
        assert changes_nothing(health, judge(health, DEGRADED, NO_FLAPPING, START + 3 * MINUTE))
        judgement = judge(health, other, NO_FLAPPING, START + 3 * MINUTE)
        assert not changes_nothing(health, judgement)
        assert judgement.health.failed_addresses == other.failed_addresses
        assert not changes_nothing(UP, judge(UP, replace(PASSED, untested_addresses=24), NO_FLAPPING, START))
        assert judge(health, FAILED, NO_FLAPPING, START + 3 * MINUTE).health.failed_addresses == ()

    def test_silent_change_is_a_change(self) -> None:
        """A pass from warn sends no alert, and has to be written all the same."""
        health = run([FAILED], NO_FLAPPING, UP)[-1].health
        judgement = judge(health, PASSED, NO_FLAPPING, START + MINUTE)
        assert judgement.alert is None
        assert not changes_nothing(health, judgement)

    def test_long_trouble_writes_nothing_more(self) -> None:
        """Once alerted, a further degraded test changes nothing that would have to be written."""
        health = run([DEGRADED] * 3, NO_FLAPPING, UP)[-1].health
        assert changes_nothing(health, judge(health, DEGRADED, NO_FLAPPING, START + 4 * MINUTE))


class TestSlow:
    """Round trips take longer than `slow_rtt_ms`: it is up, and an alert says so."""

    POLICY = replace(NO_FLAPPING, slow_rtt_ms=1000)
    SLOW = replace(PASSED, rtt_ms=1000.5)
    FAST = replace(PASSED, rtt_ms=1000.0)

    def test_alerted_once_when_it_lasts_and_once_when_it_ends(self) -> None:
        """Three slow tests in a row cause `slow`, three others `normal`; both ways a brief change is ignored."""
        slow, fast = self.SLOW, self.FAST
        events = events_of(
            run([slow, slow, fast, slow, slow, slow, slow, fast, slow, fast, fast, fast], self.POLICY, UP)
        )
        assert events == ["-"] * 5 + ["slow"] + ["-"] * 5 + ["normal"]

    def test_it_is_up(self) -> None:
        """Without a transition, and without a write while it stays so."""
        judgements = run([self.SLOW] * 5, self.POLICY, UP)
        assert {judgement.health.state for judgement in judgements} == {State.UP}
        health = judgements[-1].health
        assert health.slow
        assert changes_nothing(health, judge(health, self.SLOW, self.POLICY, START + 5 * MINUTE))

    def test_a_failed_test_between_starts_the_count_anew(self) -> None:
        """They are not in a row."""
        assert "slow" not in events_of(run([self.SLOW, self.SLOW, FAILED, self.SLOW, self.SLOW], self.POLICY, UP))

    def test_an_outage_between_does_not_end_it(self) -> None:
        """A target that is slow before and after an outage was alerted of being slow once."""
        outcomes = [self.SLOW] * 3 + [FAILED] * 3 + [self.SLOW] * 4 + [self.FAST] * 3
        assert [event for event in events_of(run(outcomes, self.POLICY, UP)) if event != "-"] == [
            *("slow", "down", "recovered", "normal")
        ]

    def test_without_a_limit_nothing_is_slow(self) -> None:
        """After the limit is removed an alert says that it is no longer slow."""
        assert set(events_of(run([self.SLOW] * 5, NO_FLAPPING, UP))) == {"-"}
        slow = run([self.SLOW] * 3, self.POLICY, UP)[-1].health
        assert events_of(run([self.SLOW] * 3, NO_FLAPPING, slow))[-1] == "normal"

    def test_tests_in_maintenance_do_not_count(self) -> None:
        """Neither for slow nor against it."""
        window = OnceWindow(START + 2 * MINUTE, START + 10 * MINUTE)
        policy = replace(self.POLICY, maintenance=(window,))
        events = events_of(run([self.SLOW] * 13, policy, UP))
        assert events.index("slow") == 12


class TestChanges:
    """How changes between passed and failed are counted."""

    HOUR_AGO = START - timedelta(hours=1)

    def test_an_hour_ago_is_no_longer_within_the_hour(self) -> None:
        """Neither counted nor kept."""
        assert not are_too_many((self.HOUR_AGO, START), START, 1)
        assert are_too_many((self.HOUR_AGO + MINUTE, START), START, 1)
        assert with_change((self.HOUR_AGO,), START, 6) == (START,)

    def test_flapping_is_off(self) -> None:
        """With 0 changes an hour none is kept, none is too many, and any target is steady."""
        assert with_change((), START, 0) == ()
        assert not are_too_many((START,), START, 0)
        assert is_steady((START,), START, 0)

    def test_a_target_that_never_changed_is_steady(self) -> None:
        """Whatever the limit is."""
        assert is_steady((), START, 6)


@given(
    st.lists(st.sampled_from([PASSED, FAILED, DEGRADED]), max_size=80),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(0, 7),
    st.lists(st.booleans(), min_size=80, max_size=80),
)
def test_every_alerted_outage_is_closed(
    outcomes: list[Outcome], failures_per_alert: int, max_alerts: int, flap_per_hour: int, parent_fails: list[bool]
) -> None:
    """A passed test leaves no `down` open; numbers run 1, 2, ... up to the limit, whatever happened before."""
    policy = Policy(
        failures_per_alert=failures_per_alert,
        max_alerts=max_alerts,
        flap_per_hour=flap_per_hour,
        depends_on=("gateway",),
    )
    health, open_alerts = UNTESTED, 0
    for minute, outcome in enumerate(outcomes):
        parent = "gateway" if parent_fails[minute] else ""
        judgement = judge(health, outcome, policy, START + minute * MINUTE, parent)
        event = judgement.alert.event if judgement.alert else None
        if event is AlertEvent.DOWN:
            open_alerts += 1
            assert judgement.alert is not None
            assert judgement.alert.number == open_alerts <= max_alerts
        if outcome.passed:
            assert (event is AlertEvent.RECOVERED) == (open_alerts > 0)
            open_alerts = 0
        assert max_alerts or event is None
        health = judgement.health
