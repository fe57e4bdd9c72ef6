"""Simulated outages, and past outcomes judged again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.health import AlertEvent, State
from popwatch.model.outcomes import ErrorCode, LoginVerdict, Outcome, Phase
from popwatch.model.samples import Mailbox, Sample, sample_of
from popwatch.model.targets import Policy, Target, parse_target
from popwatch_cli.rehearsal.past_tests import Parent, compare, runs_of, samples_of_runs, under_limits
from popwatch_cli.rehearsal.simulation import first_alert, is_lost, rejudge, simulate

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FAILED = Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting")


def target(**fields: object) -> Target:
    return parse_target({"target_id": "t", "host": "pop.example.net", **fields})


def play(outage: timedelta, **fields: object) -> list[tuple[int, str, str]]:
    """Seconds since the outage began, state and event of each test."""
    steps = simulate(target(**fields), outage, ErrorCode.TIMED_OUT, START)
    return [
        (int((step.at - START).total_seconds()), step.health.state.value, step.message.event if step.message else "")
        for step in steps
    ]


def test_defaults() -> None:
    """Three failed tests a minute apart, alert 1, recovery at the first test after the outage."""
    assert play(timedelta(minutes=5)) == [
        (0, "up", ""),
        (60, "warn", ""),
        (120, "warn", ""),
        (180, "down", "down"),
        (240, "down", ""),
        (300, "up", "recovered"),
    ]


def test_delays_under_a_minute_go_through_the_queue() -> None:
    """Retests after 20 seconds come between the ticks, as in a sweep; those after a minute at the next tick."""
    found = play(timedelta(minutes=4), delay_warn=20, delay_down=60)
    assert found[:4] == [(0, "up", ""), (60, "warn", ""), (80, "warn", ""), (100, "down", "down")]
    assert found[4:] == [(180, "down", ""), (240, "up", "recovered")]


def test_reference_table() -> None:
    """The reference policy gives the reference table."""
    found = play(
        timedelta(minutes=20),
        delay_up=60,
        delay_warn=30,
        delay_down=60,
        delay_lost=30,
        failures_per_alert=3,
        max_alerts=3,
    )
    failed = [step for step in found if step[1] != "up"][:10]
    assert [state for _, state, _ in failed] == ["warn", "warn", *["down"] * 7, "lost"]
    assert [second - failed[0][0] for second, _, _ in failed] == [0, 30, 60, 120, 180, 240, 300, 360, 420, 450]


def test_a_recovery_that_maintenance_holds() -> None:
    """The simulation goes on until it has been sent: with the first test after the maintenance."""
    window = {"from": "2026-11-24T03:06Z", "until": "2026-11-24T03:30Z"}
    found = play(timedelta(minutes=10), maintenance=[window])
    assert [(second // 60, event) for second, _, event in found if event] == [(3, "down"), (30, "recovered")]


def test_outage_shorter_than_its_notice_is_silent() -> None:
    """An outage of two minutes ends before the third failed test."""
    steps = list(simulate(target(), 2 * MINUTE, ErrorCode.TIMED_OUT, START))
    assert first_alert(steps) is None
    assert not is_lost(steps)
    assert steps[-1].health.state is State.UP


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"failures_per_alert": 1},
        {"delay_up": 300, "delay_warn": 20},
        {"delay_up": 90, "delay_warn": 90},
        {"delay_up": 10},
        {"delay_down": 45, "failures_per_alert": 2},
        {"failures_per_alert": 1, "depends_on": "gateway", "delay_warn": 60, "delay_down": 300},
    ],
)
def test_no_simulation_is_later_than_the_longest_time_to_alert(fields: dict[str, object]) -> None:
    """Whatever the phase of the id, each alert comes within the promised time."""
    for number in range(20):
        tested = parse_target({"target_id": f"t{number}", "host": "h", **fields})
        steps = list(simulate(tested, timedelta(hours=3), ErrorCode.TIMED_OUT, START))
        assert first_alert(steps) is not None
        downs = [step for step in steps if step.message and step.message.event == AlertEvent.DOWN]
        for place, step in enumerate(downs, 1):
            late = step.at - START + timedelta(seconds=tested.max_test_seconds)
            assert late <= longest_time_to_alert(tested.policy, tested.max_test_seconds, place)


def outcomes(pattern: str) -> list[Outcome]:
    """A test each minute: `.` passed, `x` failed."""
    return [
        Outcome(START + MINUTE * minute, Phase.QUIT, None if sign == "." else ErrorCode.TIMED_OUT, rtt_ms=5.0)
        for minute, sign in enumerate(pattern)
    ]


def test_rejudging_is_judging() -> None:
    """The same outcomes cause the same alerts."""
    judged = rejudge(Policy(), outcomes("...xxxx...x.."))
    found = [(int((at - START) / MINUTE), it.alert.event) for at, it in judged if it.alert]
    assert found == [(5, AlertEvent.DOWN), (7, AlertEvent.RECOVERED)]


def test_runs() -> None:
    """From the first failed test to the first passed one, or to the last known test."""
    found = runs_of(outcomes("..xx.x"))
    assert [(int((run.begin - START) / MINUTE), run.length / MINUTE) for run in found] == [(2, 2), (5, 0)]


def test_comparison_tells_noise_from_notice() -> None:
    """With one failure per alert the brief failures are alerted too, and the outage is noticed two minutes earlier.

    Now: alerts 1 to 3, the recovery, and `flapping` at the seventh change, which is the last brief failure.
    """
    pattern = "...x....x.....xxxxxxxxxx....x..."
    samples = [(it.started_at, sample_of(it)) for it in outcomes(pattern)]
    changed = Policy(failures_per_alert=1, flap_per_hour=0)
    found = compare("t", samples, Policy(), changed, timedelta(minutes=5))
    assert len(found.outages) == 1
    assert (found.before.alerts, found.before.noise, found.before.noticed) == (5, 0, (2 * MINUTE,))
    assert (found.after.noise, found.after.noticed) == (3, (timedelta(),))


def test_run_that_goes_on_with_an_alerted_outage_was_noticed_at_once() -> None:
    """One pass between them: two outages by one policy, one by the other, whose alert the second run needs no more."""
    samples = [(it.started_at, sample_of(it)) for it in outcomes("...xxxxxx.xxxxxx...")]
    changed = Policy(passes_per_recovery=2)
    found = compare("t", samples, Policy(), changed, timedelta(minutes=5))
    assert (found.before.alerts, found.before.noticed) == (6, (2 * MINUTE, 2 * MINUTE))
    assert (found.after.alerts, found.after.noticed) == (4, (2 * MINUTE, timedelta()))


def test_tests_above_a_limit_fail() -> None:
    """By the round trip and by the mailbox; what failed by a limit before stays failed, as its figures are not kept."""
    full = Sample(100.0, mailbox=Mailbox(10, 9_000))
    tests = [Sample(100.0), Sample(300.0), Sample(None, ErrorCode.TIMED_OUT, "too-slow"), full]
    samples = [(START + MINUTE * minute, sample) for minute, sample in enumerate(tests)]

    def errors(**limits: float) -> list[str]:
        target = parse_target({"target_id": "t", "host": "pop.example.net", **limits})
        return [sample.reason for _, sample in under_limits(samples, target)]

    assert errors() == ["", "", "too-slow", ""]
    assert errors(max_rtt_ms=200) == ["", "too-slow", "too-slow", ""]
    assert errors(max_messages=9) == errors(max_octets=8_999) == ["", "", "too-slow", "mailbox-too-full"]
    assert errors(max_messages=10, max_octets=9_000) == errors()


def test_limit_makes_an_outage_that_was_none() -> None:
    """Slow for ten minutes: no alert without the limit, and with it one outage, noticed at the third test."""
    tests = [Sample(900.0 if 5 <= minute < 15 else 100.0) for minute in range(20)]
    samples = [(START + MINUTE * minute, sample) for minute, sample in enumerate(tests)]
    limited = under_limits(samples, parse_target({"target_id": "t", "host": "pop.example.net", "max_rtt_ms": 500}))
    found = compare("t", samples, Policy(), Policy(), timedelta(minutes=5), limited=limited)
    assert [(it.begin, it.end) for it in found.outages] == [(START + 5 * MINUTE, START + 15 * MINUTE)]
    assert (found.before.alerts, found.before.noticed) == (0, (None,))
    assert (found.after.alerts, found.after.noticed) == (4, (2 * MINUTE,))


@pytest.mark.parametrize("field", ["max_rtt_ms", "slow_rtt_ms"])
def test_simulated_server_is_no_slower_than_its_target_allows(field: str) -> None:
    """Else a simulation would show passes that the target calls failures, or slow."""
    target = parse_target({"target_id": "t", "host": "pop.example.net", field: 10})
    found = list(simulate(target, timedelta(minutes=4), ErrorCode.TIMED_OUT, START))
    [back] = [step.message for step in found if step.message and step.message.event == AlertEvent.RECOVERED]
    assert "5 ms" in back.email
    assert "50 ms" not in back.email


def test_simulated_recovery_takes_as_many_passes_as_it_must() -> None:
    """After `delay_warn` each; the outage ends with the first."""
    found = play(timedelta(minutes=4), passes_per_recovery=3, delay_warn=20, delay_down=60)
    assert found[-4:] == [(180, "down", ""), (240, "down", ""), (260, "down", ""), (280, "up", "recovered")]


@pytest.mark.parametrize(
    "sample", [replace(FAILED, inconclusive=True), replace(FAILED, uncounted=True), Sample()], ids=str
)
def test_tests_that_did_not_count_are_left_out(sample: Sample) -> None:
    """Neither judged nor part of an outage; a damaged sample ends none."""
    samples = [(START + MINUTE * minute, sample) for minute in range(20)]
    found = compare("t", samples, Policy(), Policy(), MINUTE)
    assert (found.before.alerts, found.outages) == (0, ())
    among = [(at, sample if minute % 2 else FAILED) for minute, (at, _) in enumerate(samples)]
    found = compare("t", among, Policy(), Policy(), MINUTE)
    assert (found.before.alerts, len(found.outages)) == (3, 1)


LOGINS = {
    ".": Sample(12.5, mailbox=Mailbox(1, 100)),
    "o": Sample(12.5, login=LoginVerdict.PASSED),
    "e": Sample(12.5, ends_login_run=True),
    "x": FAILED,
    "f": Sample(error=ErrorCode.PROTOCOL, reason="login-failed", login=LoginVerdict.FAILED),
    "u": Sample(12.5, login=LoginVerdict.IN_USE),
    "g": Sample(12.5),
}
"""Samples of a target that logs in, by their signs; `g` is a greeting alone."""


@pytest.mark.parametrize(
    ("pattern", "runs"),
    [
        ("..fffuffgff..", 1),
        ("..fffoff...", 2),
        ("..fffeff...", 2),
        ("..xxxuxx...", 2),
        ("..xxfuxx...", 1),
        ("ufff..uu.ff.", 2),
    ],
)
def test_only_an_accepted_login_ends_an_outage_of_the_login(pattern: str, runs: int) -> None:
    """As `judge` has it: a run goes on through what proves nothing, for its alerts, its length and its children."""
    policy = Policy(login="monitor", failures_per_alert=2, max_alerts=1)
    samples = [(START + MINUTE * minute, LOGINS[sign]) for minute, sign in enumerate(pattern)]
    found = compare("t", samples, policy, policy, timedelta())
    assert len(found.outages) == runs
    assert found.before.alerts == 2 * runs  # each with a `down` and a `recovered`
    parent = Parent("t", samples_of_runs(samples))
    failing = {at for at, _ in samples if parent.was_failing(at)}
    assert failing == {at for at, _ in samples if any(run.begin <= at < run.end for run in found.outages)}
