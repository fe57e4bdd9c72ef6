"""What would happen: the real schedule, judgement and texts, with simulated time. Pure.

`simulate` simulates an outage of a target. `rejudge` judges outcomes of the past again under another policy.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from popwatch.alerts.rendering import render
from popwatch.alerts.tokens import USUAL_STACK
from popwatch.decisions.judging import TICK, judge
from popwatch.decisions.schedule import is_retested_between_ticks, next_due, retest_at
from popwatch.model.health import UNTESTED, AlertEvent, Health, Judgement, State
from popwatch.model.messages import AlertMessage
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Policy, Target

RTT_MS = 50.0
"""The round-trip time of a simulated server in ms, unless the target calls that slow: then half of what it allows."""

MAX_TICKS = 60 * 24 * 14
"""The longest simulation: two weeks."""

LONGEST_MAINTENANCE = timedelta(days=7)
"""How far the end of a maintenance is looked for."""


@dataclass(frozen=True, slots=True)
class SimulatedTest:
    """One simulated test: when it was due, whether it passed, the health after it, and the alert that followed."""

    at: datetime
    passed: bool
    health: Health
    message: AlertMessage | None = None


def simulate(
    target: Target,
    outage: timedelta,
    error: ErrorCode,
    start: datetime,
    *,
    begins_after: timedelta = timedelta(),
    stack: str = USUAL_STACK,
) -> Iterator[SimulatedTest]:
    """Each test from `start`, a tick at which the target passes, until it passes again after an outage.

    It goes on until a recovery that a maintenance holds has been sent. The outage begins at `start` + `begins_after`
    and lasts for `outage`. The texts are those of the stack `stack`. No test is planned while the target is suspended;
    after that it starts over as untested, and one that is suspended at `start` has not passed there.
    """
    rtt_ms = min([RTT_MS, *(limit / 2 for limit in (target.max_rtt_ms, target.policy.slow_rtt_ms) if limit)])
    health, tested_tick, due = UNTESTED, start, None
    began, ended = start + begins_after, start + begins_after + outage
    if target.policy.at(start).enabled:
        health = judge(UNTESTED, _passed(start, rtt_ms), target.policy, start).health
        yield SimulatedTest(start, True, health)
        due = retest_at(health, target.policy, start, start + TICK)
    for number in range(MAX_TICKS):
        tick = start + number * TICK
        # As in a sweep: a tick plans the test of its minute, and retests that are due before the next tick come through
        # the queue. The tick at `start` has been judged above, so only its retest is left.
        if number:
            policy = target.policy.at(tick)
            health = health if policy.enabled else UNTESTED
            due = next_due(target.target_id, health, policy, tested_tick=tested_tick, after=tick - TICK, tick=tick)
        while due is not None:
            outcome = _failed(due, error) if began < due < ended else _passed(due, rtt_ms)
            step = _simulate_test(target, health, outcome, stack, to_next_tick=tick + TICK - due)
            yield step
            if step.health is health:
                break
            health, tested_tick = step.health, due
            pending = health.recovery or health.ended_outage
            if due >= ended and outcome.passed and not pending:
                return
            due = retest_at(health, target.policy, due, tick + TICK)


def _none_fails(_: datetime) -> str:
    return ""


def rejudge(
    policy: Policy,
    outcomes: Iterable[Outcome],
    failing_parent: Callable[[datetime], str] = _none_fails,
    failing_by_then: Callable[[datetime], str] = _none_fails,
) -> Iterator[tuple[datetime, Judgement]]:
    """What these outcomes mean under a policy; each outcome belongs to the tick at its `started_at`.

    `failing_parent` returns the targets that this one depends on if they were failing when a test was planned,
    `failing_by_then` if they are as it is judged, which holds a `down` back too.
    """
    health = UNTESTED
    for outcome in outcomes:
        at = outcome.started_at
        # As before a commit: retests go on for minutes, so whether the parents fail is asked anew.
        is_retest = outcome.error and is_retested_between_ticks(health, policy)
        failing = failing_by_then(at) if is_retest else failing_parent(at)
        judgement = judge(health, outcome, policy, at, failing)
        if judgement.alert and judgement.alert.event in (AlertEvent.DOWN, AlertEvent.THROTTLED):
            judgement = judge(health, outcome, policy, at, failing or failing_by_then(at))
        health = judgement.health
        yield at, judgement


def first_alert(
    steps: Iterable[SimulatedTest], receives: Callable[[AlertMessage], object] = bool
) -> SimulatedTest | None:
    """The simulated test of the first `down` alert of which `receives` is true."""
    downs = ((step, step.message) for step in steps if step.message and step.message.event == AlertEvent.DOWN)
    return next((step for step, message in downs if receives(message)), None)


def _simulate_test(
    target: Target, health: Health, outcome: Outcome, stack: str, *, to_next_tick: timedelta
) -> SimulatedTest:
    """The test and what follows it; the health stays as it is if a suspension began meanwhile: nothing follows then."""
    now = outcome.started_at
    judgement = judge(health, outcome, target.policy, now, to_next_tick=to_next_tick)
    if judgement.alert:  # before it is committed the interventions are read again, whose clock may be ahead
        if not target.policy.at(now).enabled:
            return SimulatedTest(now, outcome.passed, health)
        silenced = target.policy.is_silenced(now)
        judgement = judge(health, outcome, target.policy, now, silenced=silenced, to_next_tick=to_next_tick)
    message = render(target, health, judgement, outcome, now, stack=stack) if judgement.alert else None
    return SimulatedTest(now, outcome.passed, judgement.health, message)


def _passed(now: datetime, rtt_ms: float) -> Outcome:
    return Outcome(now, Phase.QUIT, rtt_ms=rtt_ms, greeting="+OK")


def _failed(now: datetime, error: ErrorCode) -> Outcome:
    return Outcome(now, Phase.CONNECT, error, "simulated", "This is a simulation.")


def without_interventions(target: Target, *, timed: bool = False) -> Target:
    """The target without an acknowledgement, not suspended; unless `timed` not for a time either, nor silenced."""
    kept = target.policy if timed else replace(target.policy, silence=None, suspended=None)
    return replace(target, policy=replace(kept, acknowledged=None, enabled=True))


def without_suppression(target: Target) -> Target:
    """The target without what may suppress its alerts: a bad field, maintenance, its parents, an intervention."""
    policy = replace(without_interventions(target).policy, depends_on=(), maintenance=())
    return replace(target, policy=policy, problems=())


def maintenance_until(policy: Policy, at: datetime) -> datetime | None:
    """When the maintenance or silence of `at` ends, to the minute; None if it goes on for longer than a week."""
    minutes = (at + minute * TICK for minute in range(LONGEST_MAINTENANCE // TICK))
    return next((minute for minute in minutes if not policy.in_maintenance(minute)), None)


def is_lost(steps: Iterable[SimulatedTest]) -> bool:
    """Whether the target became lost, so that no further alerts were sent."""
    return any(step.health.state is State.LOST for step in steps)
