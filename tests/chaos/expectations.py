"""What the docs say of one test: from the state expected of a target, what may follow. Written from them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tests.chaos.facts import Configured, Judged, Policy, Tested

HOUR, DAY = timedelta(hours=1), timedelta(hours=24)
OF_ADDRESSES, OF_ROUND_TRIPS = ("degraded", "restored"), ("slow", "normal")
OF_SERVERS = (*OF_ADDRESSES, *OF_ROUND_TRIPS, "certificate", "posture")
OUTAGE = frozenset({"down", "lost"})
FAILING = frozenset({"warn", "down", "lost"})
SKEW = timedelta(seconds=5)
"""How far clocks may be apart, and how long it may take until a write is in the evidence."""

TestTimes = tuple[datetime, datetime]
"""A test's tick and its clock: the docs do not say which of the two begins an outage."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An outage that has ended, and people know of: since when it failed, and how many alerts there were."""

    since: TestTimes
    alerts: int


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """What is true of a target after the tests that count."""

    state: str = "untested"
    failures: int = 0
    alerts: int = 0
    since: TestTimes | None = None
    """The first failed test of the outage."""
    held: str | None = None
    """The state in which maintenance found it, or to which a passed test in it brought it."""
    alert_held: bool = False
    """A `down` alert came due while something held it back."""
    alerted: int = 0
    """The failure with which the last `down` alert was sent."""
    passes: int = 0
    """The passed tests in a row of an outage that more of them must end."""
    failed_within: bool = False
    """A test has failed in maintenance since the last passed one."""
    unsent_recovery: Ended | None = None
    """The outage of which a recovery is still to be sent."""
    flapping: bool = False
    """An alert has said that it flaps."""
    unsure_if_flapping: bool = False
    """It may be the other way round: what would have said so was held, as there were too many messages."""
    changes: tuple[datetime, ...] = ()
    """The times of the tests at which it went from passed to failed or back."""
    throttled: bool = False
    """A message has said that its messages are held, as there were too many."""
    full_at: datetime | None = None
    """When its allowance of messages is full again."""
    login_failed: bool = False
    """A login has failed since the last passed test that says something of it."""
    unsure_passes: int = 0
    """Passed tests that are in the row beside `passes`, or say nothing."""

    @property
    def fails(self) -> bool:
        """Whether its last test failed, in maintenance too."""
        state = self.held if self.state == "maintenance" else self.state
        return state in FAILING or (self.state == "maintenance" and self.failed_within)


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
class ParentState:
    """What is known of the target that one depends on, when a test of that one was planned."""

    may_fail: bool = False
    must_fail: bool = False


def within(time: datetime | None, span: TestTimes | None) -> bool:
    """Whether a time, in whole seconds, may be that of a test; a skewed clock may be behind its tick."""
    return time is not None and span is not None and min(span) - timedelta(seconds=1) <= time <= max(span)


def expect(
    expected: ExpectedState, tested: Tested, parent: ParentState, present: Sequence[Configured], judged_at: datetime
) -> list[Expectation]:
    """What a test may cause: docs/outages.md.

    `present` are the configurations that the target may have had when its judgement was committed: if the test brings
    an alert, or ends an outage without one, their interventions hold. There is more than one expectation where it is
    not known which of them it was, whether the parent failed when the test was planned, or whether an hour has just
    passed.
    """
    found: list[Expectation] = []
    for planned in _judge(expected, tested, parent, silenced=False):
        ends_unknown = tested.passed and (expected.held or expected.state) in OUTAGE and not expected.alerts
        ends_unknown = ends_unknown and not planned.after.failures
        if planned.event is None and not ends_unknown:
            found.append(planned)
            continue
        for one in present:
            if one.policy is None or not one.policy.enabled:
                continue
            policy = replace(tested.policy, silenced=one.silenced(tested.at), acknowledged=one.policy.acknowledged)
            begin, end = tested.at - SKEW, judged_at + SKEW
            held = {one.silenced(begin), one.silenced(end), one.silenced(judged_at), one.silenced(tested.at)}
            if one.changes_within(begin, end):
                held = {False, True}
            for silenced in held:
                found += _judge(expected, replace(tested, policy=policy), parent, silenced=silenced)
    return found


def _judge(expected: ExpectedState, tested: Tested, parent: ParentState, *, silenced: bool) -> list[Expectation]:
    """What a test may cause under its policy; `silenced` since it was planned, it brings no message."""
    more = range(1, expected.unsure_passes + 1) if tested.passed else ()
    variants = [expected, *(replace(expected, passes=expected.passes + it, unsure_passes=0) for it in more)]
    found = [one for variant in variants for one in _judge_certain(variant, tested, parent, silenced=silenced)]
    if may_say_nothing(expected, tested):  # what can be seen does not say which it was
        found = [replace(one, after=replace(one.after, login_failed=True)) for one in found]
    return found


def _judge_certain(
    expected: ExpectedState, tested: Tested, parent: ParentState, *, silenced: bool
) -> list[Expectation]:
    """The same where it is certain how many tests have passed in a row."""
    if expected.state == "suspended":
        expected = ExpectedState()
    if tested.login_failed:
        expected = replace(expected, login_failed=True)
    says_nothing = may_say_nothing(expected, tested)
    if tested.policy.silenced:
        after = [_in_maintenance(expected, tested)]
        if says_nothing:
            after = _maybe_open_in_maintenance(expected, after[0], tested.policy)
        return [Expectation(frozenset({"maintenance"}), one) for one in after]
    if expected.state == "maintenance":
        expected = replace(expected, state=expected.held or "untested", held=None)
    found = _without_login(expected, tested, parent, silenced=silenced) if says_nothing else []
    if not tested.policy.alert_recovery:
        expected = replace(expected, unsent_recovery=None)
    if tested.passed:
        changed = bool(expected.failures) and not _goes_on(expected, tested.policy)
    else:
        changed = not expected.failures and expected.state != "untested"
    for counted in _with_change(expected, tested) if changed else [expected]:
        if tested.passed:
            likely = [_passed(counted, tested.policy, silenced=silenced)]
        else:
            likely = _failed(counted, tested, parent, silenced=silenced)
        if not silenced:
            likely = [it for one in likely for it in (one, *_of_flapping(one, tested, counted))]
            likely += [about for one in likely for about in _of_server(one, tested)]
        found += [it for one in likely for it in _of_too_many(one, tested, counted, silenced=silenced)]
    return [_unsure(one) if any(_differ_in_flapping(one, other) for other in found) else one for one in found]


def _with_change(expected: ExpectedState, tested: Tested) -> list[ExpectedState]:
    """The state with a change from passed to failed or back; of who has been steady until then it does not count.

    Within a few seconds of the time from which it is steady, and where it may flap, both are possible.
    """
    limit = tested.policy.flap_per_hour
    if not limit:
        return [expected]
    recent = tuple(at for at in expected.changes if at >= tested.at - HOUR - SKEW)
    changed = replace(expected, changes=(*recent, tested.at))
    may_flap = expected.flapping or expected.unsure_if_flapping
    last, steady_from = max(expected.changes, default=None), tested.at - 2 * HOUR / limit
    if not may_flap or (last and last > steady_from + SKEW):
        return [changed]
    certain = expected.flapping and not expected.unsure_if_flapping and (last is None or last < steady_from - SKEW)
    # Of two that nothing can be seen of the first is taken: later it had better know of a change too many than too few.
    return [expected] if certain else [changed, expected]


def _without_login(
    expected: ExpectedState, tested: Tested, parent: ParentState, *, silenced: bool
) -> list[Expectation]:
    """What a passed test without an accepted login may mean beside: nothing, or one more failure.

    It is one where the credential waits, or another target tries it first.
    """
    more = min(expected.unsure_passes + 1, tested.policy.passes_per_recovery - 1)
    left = Expectation(frozenset({expected.state}), replace(expected, unsure_passes=more))
    if tested.login:
        return [left]
    failed = replace(tested, passed=False, login_failed=True)
    return [left, *_judge_certain(expected, failed, parent, silenced=silenced)]


def _maybe_open_in_maintenance(expected: ExpectedState, ended: ExpectedState, policy: Policy) -> list[ExpectedState]:
    """The same in maintenance; what can be seen does not say which it was."""
    before = expected if expected.state == "maintenance" else replace(expected, held=expected.state)
    left = replace(before, state="maintenance", passes=0)
    passes = min(expected.unsure_passes + before.passes + 1, policy.passes_per_recovery - 1)
    after = [ended, left, replace(left, failed_within=True)]
    return [replace(one, login_failed=True, passes=0, unsure_passes=passes) for one in after]


def may_say_nothing(expected: ExpectedState, tested: Tested) -> bool:
    """Whether a passed test may say nothing of a run in which a login failed, as none was accepted in it.

    When it does is left to the oracle: that depends on whether the target can log in.
    """
    return tested.passed and expected.login_failed and bool(tested.policy.login) and tested.login != "accepted"


def _differ_in_flapping(one: Expectation, other: Expectation) -> bool:
    """Whether nothing that can be seen says which of the two it was."""
    seen = [(it.states, it.event, it.after.failures, it.after.alerts) for it in (one, other)]
    return seen[0] == seen[1] and one.after.flapping is not other.after.flapping


def _unsure(expectation: Expectation) -> Expectation:
    return replace(expectation, after=replace(expectation.after, unsure_if_flapping=True))


def _in_maintenance(expected: ExpectedState, tested: Tested) -> ExpectedState:
    """A test in maintenance: one that failed does not count, one that passed ends a run of failures."""
    before = expected if expected.state == "maintenance" else replace(expected, held=expected.state)
    if not tested.passed:
        return replace(before, state="maintenance", failed_within=True, passes=0)
    if _goes_on(replace(before, state=before.held or ""), tested.policy):
        return replace(before, state="maintenance", passes=before.passes + 1)
    return ExpectedState(
        "maintenance",
        held="up",
        unsent_recovery=expected.unsent_recovery or _ended(replace(before, state=before.held or ""), tested.policy),
        flapping=expected.flapping,
        unsure_if_flapping=expected.unsure_if_flapping,
        changes=expected.changes,
        throttled=expected.throttled,
        full_at=expected.full_at,
    )


def _ended(expected: ExpectedState, policy: Policy) -> Ended | None:
    """The outage that a passed test ends, if it was alerted or acknowledged; a brief failure is not an outage."""
    known = policy.alert_recovery and (expected.alerts or within(policy.acknowledged, expected.since))
    return Ended(expected.since, expected.alerts) if expected.state in OUTAGE and known and expected.since else None


def _goes_on(expected: ExpectedState, policy: Policy) -> bool:
    """Whether an outage goes on with a passed test, since more must pass: docs/outages.md, "The recovery"."""
    return expected.state in OUTAGE and expected.passes + 1 < policy.passes_per_recovery


def _passed(expected: ExpectedState, policy: Policy, *, silenced: bool) -> Expectation:
    """`up`, failures 0; an outage that was alerted, or that somebody acknowledged, has a recovery alert."""
    if _goes_on(expected, policy):
        after = replace(expected, passes=expected.passes + 1)
        states = frozenset({expected.state})
        if silenced:
            return Expectation(states, after)
        return _recovery(states, replace(after, unsent_recovery=None), expected.unsent_recovery, policy)
    after = ExpectedState(
        "up", flapping=expected.flapping, unsure_if_flapping=expected.unsure_if_flapping, changes=expected.changes
    )
    ended = _ended(expected, policy)
    if silenced:
        return Expectation(frozenset({"up"}), replace(after, unsent_recovery=expected.unsent_recovery or ended))
    if expected.unsent_recovery:
        after = replace(after, unsent_recovery=ended)
    return _recovery(frozenset({"up"}), after, expected.unsent_recovery or ended, policy)


def _recovery(states: frozenset[str], after: ExpectedState, ended: Ended | None, policy: Policy) -> Expectation:
    """docs/targets.md, `max_alerts`: 0 means no alerts, so that an acknowledged outage then ends without one."""
    if ended and policy.alert_recovery and (ended.alerts or policy.max_alerts):
        return Expectation(states, after, ended.since, "recovered", ended.alerts)
    return Expectation(states, after)


def _failed(expected: ExpectedState, tested: Tested, parent: ParentState, *, silenced: bool) -> list[Expectation]:
    """One more failure; an alert each time that `failures_per_alert` have failed since the last, until `max_alerts`."""
    policy, failures = tested.policy, expected.failures + 1
    since = expected.since or (tested.tick, tested.at)
    after = replace(expected, failures=failures, since=since, passes=0, unsure_passes=0)
    acknowledged = within(policy.acknowledged, since)
    due = expected.alert_held or failures - expected.alerted >= policy.failures_per_alert
    recovery = expected.unsent_recovery if not silenced else None
    if recovery:
        after = replace(after, unsent_recovery=None)
    states = _states(expected, policy, failures, acknowledged)
    if not due or acknowledged or expected.alerts >= policy.max_alerts or states == {"warn"}:
        return [_recovery(states, after, recovery, policy)]
    kept = _recovery(states, replace(after, alert_held=True), recovery, policy)
    alerted = replace(after, alerts=expected.alerts + 1, alerted=failures, alert_held=False)
    if expected.unsure_if_flapping:
        alerted = replace(alerted, flapping=False, unsure_if_flapping=False)
    sent = Expectation(states, alerted, since, "down", alerted.alerts)
    flaps = expected.flapping and not expected.unsure_if_flapping
    if silenced or recovery or flaps or parent.must_fail or (policy.depends_on and failures == 1):
        return [kept]
    return [sent, kept] if parent.may_fail or expected.unsure_if_flapping else [sent]


def _states(expected: ExpectedState, policy: Policy, failures: int, acknowledged: bool) -> frozenset[str]:
    """The states that a failure may lead to; the docs leave open which an outage without further alerts has."""
    outage = expected.state in OUTAGE
    if not outage and failures < policy.failures_per_alert:
        return frozenset({"warn"})
    if acknowledged or policy.max_alerts == 0:
        return frozenset({"down", "lost"})
    return frozenset({"lost"}) if outage and expected.alerts >= policy.max_alerts else frozenset({"down"})


def _of_flapping(expectation: Expectation, tested: Tested, before: ExpectedState) -> list[Expectation]:
    """`flapping` or `steady` instead: docs/interventions.md, "Flapping". A recovery always has its own alert."""
    after, limit = expectation.after, tested.policy.flap_per_hour
    if expectation.event == "recovered":
        return []
    if expectation.event == "down":
        after = replace(after, alerts=after.alerts - 1, alerted=before.alerted, alert_held=True)
    since = after.since or (tested.tick, tested.at)
    found: list[Expectation] = []
    if after.flapping or before.unsure_if_flapping:
        ended = replace(after, flapping=False, unsure_if_flapping=False, changes=())
        if not limit or not after.changes or after.changes[-1] <= tested.at - 2 * HOUR / limit + SKEW:
            found.append(Expectation(expectation.states, ended, since, "steady", after.alerts))
    if (not after.flapping or before.unsure_if_flapping) and 0 < limit < len(after.changes):
        flaps = replace(after, flapping=True, unsure_if_flapping=False)
        found.append(Expectation(expectation.states, flaps, since, "flapping", after.alerts))
    return found


def _of_server(expectation: Expectation, tested: Tested) -> list[Expectation]:
    """What a passed test may say of its server beside: whether it is due is left to the oracle."""
    if not tested.passed or expectation.event or expectation.after.failures:
        return []
    about = (tested.tick, tested.at), expectation.after.alerts
    return [_about(expectation, event, *about) for event in OF_SERVERS]


def _of_too_many(
    expectation: Expectation, tested: Tested, before: ExpectedState, *, silenced: bool
) -> list[Expectation]:
    """docs/outages.md, "Too many alerts": instead of the message, `throttled`, nothing, or `unthrottled`.

    Within a few seconds of the time at which there is room, both are possible: clocks differ.
    """
    most = tested.policy.max_alerts
    if tested.older:
        return [_with_allowance(expectation, None, throttled=False)]
    throttled = before.throttled and most > 0
    expectation = _with_allowance(expectation, before.full_at, throttled=throttled)
    if not throttled and expectation.event is None:
        return [expectation]
    each = allowance_interval(most)
    latest = tested.at + DAY - (1 if throttled else 2) * each  # no hold is longer than two messages take to come back
    full_at = min(max(before.full_at or tested.at, tested.at), latest)
    has_room = {full_at + 3 * each - DAY <= tested.at + skew for skew in (-SKEW, SKEW)}
    used = _with_allowance(expectation, full_at + each, throttled=False)
    if not most:
        return [used]
    held = replace(expectation, event=None, number=0)
    about = (tested.tick, tested.at), expectation.after.alerts
    if not throttled:
        begins = _with_allowance(_about(expectation, "throttled", *about), full_at + each, throttled=True)
        return [used if room else begins for room in has_room]
    return [_about(used, "unthrottled", *about) if room and not silenced else held for room in has_room]


def allowance_interval(max_alerts: int) -> timedelta:
    """The time in which the allowance grows by one message."""
    return DAY / max(24, 6 * (max_alerts + 1))


def _with_allowance(expectation: Expectation, full_at: datetime | None, *, throttled: bool) -> Expectation:
    return replace(expectation, after=replace(expectation.after, full_at=full_at, throttled=throttled))


def _about(expectation: Expectation, event: str, since: TestTimes, number: int) -> Expectation:
    return replace(expectation, event=event, since=since, number=number)
