"""What must have been recorded and sent: written from the docs alone, and importing nothing of popwatch.

A campaign hands over facts: the tests that ran, the writes and messages that took effect, how each invocation ended.
`Audit` walks them in the order in which they happened, expects of each target what the docs say (see `expectations`),
and reports what is wrong. What the docs leave open is open here too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Any

from tests.chaos.expectations import (
    DAY,
    FAILING,
    SKEW,
    Expectation,
    ExpectedState,
    ParentState,
    TestTimes,
    allowance_interval,
    expect,
    may_say_nothing,
    within,
)
from tests.chaos.facts import (
    MINUTE,
    TOPICS,
    AlertId,
    AlertRecorded,
    Began,
    Configured,
    CredentialChanged,
    Ended,
    Fact,
    Failed,
    FaultFree,
    Finding,
    Forgotten,
    Judged,
    LoginChanged,
    LoginTried,
    NotAccepted,
    ParametersGone,
    PasswordChanged,
    Planned,
    Policy,
    PostureAsked,
    PostureKept,
    PublishedText,
    Refused,
    Requeued,
    Sampled,
    Sent,
    ServerChanged,
    Tested,
    TickCompleted,
    Totalled,
    TransitionRecorded,
)

STABLE = timedelta(minutes=10)
"""How long a target must be unchanged before each of its tests is expected: a sweep may have read its old state."""


@dataclass(slots=True)
class ExpectedAlert:
    """An alert that must be sent to each topic, and each time that it was."""

    order: int
    invocation: int
    target: str
    event: str
    number: int
    since: TestTimes
    sent: dict[str, list[Sent]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    recorded: dict[str, list[int]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    missed: bool = False

    def is_sent_by(self, alert: AlertId) -> bool:
        """Whether a message reports this alert."""
        same = (alert.target, alert.event, alert.number) == (self.target, self.event, self.number)
        return same and within(alert.since, self.since)

    def __str__(self) -> str:
        return f"{self.event} {self.number} of the outage since {self.since[0]:%Y-%m-%d %H:%M:%S}"


@dataclass(slots=True)
class Change:
    """A transition that must be recorded, once."""

    order: int
    target: str
    tick: datetime
    version: int
    previous: str
    state: str
    recorded: int = 0
    missed: bool = False


@dataclass(slots=True)
class Verdict:
    """What an audit counted, and what it found wrong."""

    findings: list[Finding] = field(default_factory=list)
    transitions_expected: int = 0
    transitions_found: int = 0
    alerts_expected: int = 0
    alerts_found: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    """Those that were expected, by event."""
    alerts_by_topic: Counter[str] = field(default_factory=Counter)
    """Those that were found, by topic."""
    tests: int = 0
    samples: int = 0
    judged: Counter[str] = field(default_factory=Counter)
    """What the oracle judged, by kind."""
    duplicates: Counter[str] = field(default_factory=Counter)
    """Messages of alerts that were sent again to a topic for a permitted reason, by that reason."""


class Audit:
    """Walks the facts. Records each error and continues from the actual state, so that it is reported once."""

    def __init__(self) -> None:
        self.verdict = Verdict()
        self.expected_states: dict[str, ExpectedState] = defaultdict(ExpectedState)
        self.versions: dict[str, int] = defaultdict(int)
        self.judged: dict[str, list[Judged]] = defaultdict(list)
        self.tests: dict[int, dict[str, Tested]] = defaultdict(dict)
        self.pending: dict[int, dict[str, Tested]] = defaultdict(dict)
        self.sampled: dict[int, set[str]] = defaultdict(set)
        self.samples: dict[str, dict[str, Sampled]] = defaultdict(dict)
        self.hours: dict[tuple[str, datetime], Totalled] = {}
        self.last_tests: dict[str, list[datetime]] = defaultdict(list)
        self.configured: dict[str, Configured] = {}
        self.configurations: dict[str, list[Configured]] = defaultdict(list)
        self.planned: dict[str, datetime] = {}
        self.retests: dict[int, list[tuple[Judged, Policy]]] = defaultdict(list)
        self.forgotten: dict[str, datetime] = {}
        self.failing_changed: dict[str, datetime] = {}
        self.alerts: dict[str, list[ExpectedAlert]] = defaultdict(list)
        self.changes: dict[tuple[str, datetime, int], Change] = {}
        self.ends: dict[int, Ended] = {}
        self.older: set[int] = set()
        self.planned_by_older: dict[tuple[str, datetime], int] = {}
        self.written: dict[str, int] = defaultdict(lambda: -1)
        self.began: dict[int, int] = {}
        self.planned_since: dict[tuple[str, datetime], int] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys((Failed, NotAccepted, PublishedText, ServerChanged), lambda _: None),
            **dict.fromkeys((LoginChanged, PasswordChanged, CredentialChanged), lambda _: None),
            **dict.fromkeys((ParametersGone, LoginTried, PostureAsked, PostureKept), lambda _: None),
            Began: self._on_begin,
            Tested: self._on_test,
            Judged: self._on_judgement,
            Forgotten: self._on_forgetting,
            TransitionRecorded: self._on_record,
            Sent: self._on_message,
            AlertRecorded: self._on_alert_recorded,
            Configured: lambda fact: self.configured.update({fact.target: fact}),
            Planned: self._on_plan,
            TickCompleted: self._on_tick_completed,
            Requeued: self._on_requeued,
            Refused: lambda fact: self.refused[fact.invocation].append(fact.order),
            Sampled: self._on_samples,
            Totalled: self._on_totals,
            Ended: self._on_end,
            FaultFree: self._on_fault_free,
        }
        self.refused: dict[int, list[int]] = defaultdict(list)
        self.now = datetime.min.replace(tzinfo=UTC)

    def run(self, facts: Iterable[Fact]) -> Verdict:
        """The verdict on all the facts, which come in their order."""
        facts = list(facts)
        for fact in facts:
            if isinstance(fact, Configured):
                self.configurations[fact.target].append(fact)
        for fact in facts:
            self._handlers[type(fact)](fact)
        self._close()
        return self.verdict

    def _report(self, kind: str, order: int, target: str, text: str) -> None:
        self.verdict.findings.append(Finding(kind, order, target, text))

    # ---- judgements

    def _on_begin(self, fact: Began) -> None:
        self.began[fact.invocation] = fact.order
        if fact.older:
            self.older.add(fact.invocation)

    def _on_test(self, test: Tested) -> None:
        self.verdict.tests += 1
        self.tests[test.invocation][test.target] = test
        self.pending[test.invocation][test.target] = test
        self.last_tests[test.target] = [*self.last_tests[test.target][-1:], test.at]
        self._plan(test.target, test.tick)

    def _on_requeued(self, fact: Requeued) -> None:
        self.pending[fact.invocation].pop(fact.target, None)
        self.tests[fact.invocation].pop(fact.target, None)
        self.retests[fact.invocation] = [it for it in self.retests[fact.invocation] if it[0].target != fact.target]

    def _on_forgetting(self, fact: Forgotten) -> None:
        self.forgotten[fact.target] = fact.at
        for known in (self.expected_states, self.versions, self.judged):
            known.pop(fact.target, None)

    def _on_judgement(self, fact: Judged) -> None:
        expected_state = self.expected_states[fact.target]
        if fact.version != self.versions[fact.target] + 1:
            text = f"version {fact.version} was written over version {self.versions[fact.target]}"
            self._report("overwritten", fact.order, fact.target, text)
        self.versions[fact.target] = fact.version
        self._judge_write(fact, expected_state)
        self.written[fact.target] = fact.order

    def _judge_write(self, fact: Judged, expected_state: ExpectedState) -> None:
        if fact.delivers:
            if (fact.state, fact.failures, fact.alerts) != (
                expected_state.state,
                expected_state.failures,
                expected_state.alerts,
            ):
                self._report("wrong state", fact.order, fact.target, f"a delivery changed {expected_state} into {fact}")
            if fact.invocation in self.older:
                self.expected_states[fact.target] = replace(expected_state, throttled=False, full_at=None)
            return
        self._judge(fact, expected_state)
        self.judged[fact.target].append(fact)

    def _judge(self, fact: Judged, expected_state: ExpectedState) -> None:
        untested = fact.state in {"suspended", "untested"}
        if untested and fact.invocation in self.pending:  # a test that left it so, as it says nothing of the login
            self.pending[fact.invocation].pop(fact.target, None)
        after = ExpectedState(fact.state) if untested else self._judge_test(fact, expected_state)
        self.expected_states[fact.target] = after
        if after.fails != expected_state.fails:
            self.failing_changed[fact.target] = fact.at
        if after.state != expected_state.state:
            change = Change(fact.order, fact.target, fact.tick, fact.version, expected_state.state, after.state)
            self.changes[fact.target, fact.tick, fact.version] = change

    def _judge_test(self, fact: Judged, expected_state: ExpectedState) -> ExpectedState:
        """The expected_state after a judgement, which must be the one that the docs describe."""
        claimed = ExpectedState(fact.state, fact.failures, fact.alerts, expected_state.since or (fact.tick, fact.at))
        test = self.pending[fact.invocation].pop(fact.target, None)
        if test is None:
            text = f"judged {fact.state} with {fact.failures} failures by an invocation that had no test of it to judge"
            self._report(
                "counted twice" if fact.failures > expected_state.failures else "invented",
                fact.order,
                fact.target,
                text,
            )
            return claimed
        latest = max((other.tick for other in self.judged[fact.target]), default=None)
        if latest is not None and fact.tick <= latest and not test.passed:
            self._report(
                "counted twice", fact.order, fact.target, f"a failure was judged for {fact.tick}, after {latest}"
            )
        if self.planned_by_older.get((test.target, test.tick), -1) > self.written[test.target]:
            expected_state = replace(expected_state, throttled=False, full_at=None)  # what it brought of the record
        allowed = expect(expected_state, test, self._parent_of(test), self._present(test, fact.at), fact.at)
        agreeing = sorted(
            (one for one in allowed if one.agrees(fact)), key=lambda one: one.has_alert_of(fact), reverse=True
        )
        expected = agreeing[0] if agreeing else None
        if expected is None:
            self._report(
                "wrong state", fact.order, fact.target, f"{expected_state} and {test} must give {allowed}, not {fact}"
            )
            return claimed
        self._expect_alert(fact, expected)
        self.retests[fact.invocation].append((fact, test.policy))
        return replace(expected.after, state=fact.state)

    def _present(self, test: Tested, until: datetime) -> list[Configured]:
        """The configurations that the target may have had from its test until a time, the first one at its test."""
        known = self.configurations[test.target]
        before = [one for one in known if one.order < test.order]
        since = len(before) - 1
        # What the schedule that it names says is read with the plan only.
        while since > 0 and before[since].by_schedule and before[since].at > test.at - STABLE:
            since -= 1
        return before[max(since, 0) :] + [one for one in known if one.order > test.order and one.at <= until + SKEW]

    def _parent_of(self, test: Tested) -> ParentState:
        """docs/outages.md: alerts are held while all parents fail; one that is off or gone counts for none.

        Whether a target depends on itself through others is left to the oracle.
        """
        if not test.policy.depends_on:
            return ParentState()
        if self._may_be_in_cycle(test.target):
            return ParentState(may_fail=True)
        parents = [self._seen_of(parent, test) for parent in test.policy.depends_on]
        may_all_fail = all(parent & {"fails", "none"} for parent in parents)
        some_fails = any("fails" in parent for parent in parents)
        must_fail = any(parent == {"fails"} for parent in parents) and not any("passes" in it for it in parents)
        return ParentState(may_fail=may_all_fail and some_fails, must_fail=must_fail)

    def _seen_of(self, parent: str, test: Tested) -> set[str]:
        """What a sweep may have seen of a parent."""
        known, expected_state = self.configured.get(parent), self.expected_states.get(parent, ExpectedState())
        if known is None:
            return {"none"}
        changed = max(known.at, self.failing_changed.get(parent, known.at), self.forgotten.get(parent, known.at))
        if changed > test.at - STABLE:
            return {"none", "fails", "passes"}
        if known.policy is None or not known.policy.enabled:
            return {"none"}
        return {"fails"} if expected_state.fails else {"passes"}

    def _may_be_in_cycle(self, target: str) -> bool:
        """Whether a target depends on itself by anything that was ever written."""
        found: set[str] = set()
        left = [target]
        while left:
            name = left.pop()
            for one in self.configurations.get(name, ()):
                new = set(one.policy.depends_on if one.policy else ()) - found
                found |= new
                left += new
        return target in found

    def _expect_alert(self, fact: Judged, expected: Expectation) -> None:
        """The alert of a judgement is expected, whether it is in the record's outbox or not."""
        if not expected.has_alert_of(fact):
            self._report(
                "wrong alert", fact.order, fact.target, f"the outbox has {fact.outbox} where {expected} was due"
            )
        if expected.event and expected.since:
            alert = ExpectedAlert(
                fact.order, fact.invocation, fact.target, expected.event, expected.number, expected.since
            )
            self.alerts[fact.target].append(alert)

    # ---- plans

    def _on_plan(self, fact: Planned) -> None:
        since = self.began.get(fact.invocation, fact.order)
        self.planned_since.setdefault((fact.target, fact.tick), since)
        if fact.invocation in self.older:
            self.planned_by_older[fact.target, fact.tick] = fact.order
        self._plan(fact.target, fact.tick)

    def _plan(self, target: str, tick: datetime) -> None:
        self.planned[target] = max(tick, self.planned.get(target, tick))

    def _on_tick_completed(self, fact: TickCompleted) -> None:
        """A sweep must have planned each slot of an up target, and each failing one whose next test has come."""
        for target, known in self.configured.items():
            expected_state, judged = self.expected_states.get(target), self.judged.get(target)
            if (
                not (expected_state and judged and known.policy and known.policy.enabled)
                or known.at > fact.tick - STABLE
            ):
                continue
            since = self._due_since(expected_state.state, judged[-1], known.policy, fact.tick)
            if since is not None and self.planned.get(target, since - MINUTE) < since:
                text = f"{expected_state.state}, due since {since}, and not planned when {fact.tick} was completed"
                self._report("not tested in time", fact.order, target, text)

    @staticmethod
    def _due_since(state: str, judged: Judged, policy: Policy, tick: datetime) -> datetime | None:
        """The tick at which, or after which, a test must have been planned if the checkpoint is at this one."""
        if state in FAILING:
            due = judged.tick + policy.longest_delay(state)
            seen = judged.at < tick - timedelta(seconds=10)  # a sweep may be late, and have read an older item
            return judged.tick + timedelta(seconds=1) if seen and due <= tick - MINUTE / 2 else None
        wait = policy.longest_delay(state)
        return tick - ceil(wait / MINUTE) * MINUTE + MINUTE if judged.at < tick - wait - STABLE else None

    def _check_retests(self, fact: Ended) -> None:
        """docs/architecture.md, retests: a target due again before the next minute gets a message with that delay."""
        for judged, policy in self.retests.pop(fact.invocation, []):
            due = judged.tick + policy.longest_delay(judged.state)
            next_tick = judged.tick.replace(second=0) + MINUTE
            early = judged.state in FAILING and due < next_tick and fact.at < next_tick - timedelta(seconds=5)
            if early and self.planned[judged.target] < due:
                text = f"{judged.state} at {judged.tick}, and no message sent for its test at {due}"
                self._report("not tested in time", fact.order, judged.target, text)

    # ---- History and SNS

    def _on_record(self, fact: TransitionRecorded) -> None:
        change = self.changes.get((fact.target, fact.tick, fact.version))
        if change is None or (change.previous, change.state) != (fact.previous, fact.state):
            self._report(
                "transition invented", fact.order, fact.target, f"{fact.previous} to {fact.state} at {fact.tick}"
            )
            return
        change.recorded += 1

    def _on_message(self, fact: Sent) -> None:
        for alert in fact.alerts:
            expected = self._expected(alert)
            if expected is None:
                text = f"{alert.event} {alert.number} of the outage since {alert.since}"
                self._report("alert invented", fact.order, alert.target, text)
            else:
                expected.sent[fact.topic].append(fact)

    def _on_alert_recorded(self, fact: AlertRecorded) -> None:
        expected = self._expected(fact.alert)
        for topic in fact.topics:
            if expected is None or not expected.sent[topic]:
                text = f"{fact.alert.event} {fact.alert.number} to the topic {topic}"
                self._report("recorded unsent", fact.order, fact.alert.target, text)
            else:
                expected.recorded[topic].append(fact.order)

    def _expected(self, alert: AlertId) -> ExpectedAlert | None:
        return next((one for one in reversed(self.alerts[alert.target]) if one.is_sent_by(alert)), None)

    def _on_samples(self, fact: Sampled) -> None:
        self.verdict.samples += 1
        for target, passed in fact.passed.items():
            test = self.tests[fact.invocation].get(target)
            held_back = test is not None and test.policy.login and not test.login and not passed
            if test is None or (test.passed != passed and not held_back):
                self._report("wrong sample", fact.order, target, f"passed={passed}, but the test was {test}")
        self.sampled[fact.invocation] |= set(fact.passed)
        batch, key = fact.key
        self.samples[batch][key] = fact

    def _on_totals(self, fact: Totalled) -> None:
        """docs/reports.md: an hour is what its samples add up to; those put meanwhile may be in it or not."""
        self.hours[fact.batch, fact.hour] = fact
        samples = self._samples_of(fact.batch, fact.hour)
        earlier = [sample for sample in samples if sample.at < fact.at - 3 * MINUTE]
        for target in {name for sample in samples for name in sample.passed} | set(fact.totals):
            tests, passes = fact.totals.get(target, (0, 0))
            least, most = (sum(target in sample.passed for sample in found) for found in (earlier, samples))
            passed = sum(sample.passed.get(target, False) for sample in samples)
            if not least <= tests <= most or (least == most and passes != passed):
                text = f"{tests} tests and {passes} passes in the hour {fact.hour}, of {least} to {most} and {passed}"
                self._report("wrong hour", fact.order, target, text)

    def _samples_of(self, batch: str, hour: datetime) -> list[Sampled]:
        prefix = f"{hour:%Y-%m-%dT%H}"
        return [sample for key, sample in self.samples[batch].items() if key.startswith(prefix)]

    def _check_hours(self, fact: FaultFree) -> None:
        """Each hour that has samples is added up five minutes after its end, or after what had stopped that."""
        for batch, samples in self.samples.items():
            for hour in {datetime.fromisoformat(key[:13] + ":00:00+00:00") for key in samples}:
                if hour + 95 * MINUTE < fact.at and (batch, hour) not in self.hours:
                    self._report("hour lost", fact.order, f"batch {batch}", f"{hour} has not been added up")

    # ---- ends

    def _on_end(self, fact: Ended) -> None:
        """An invocation that ends well has judged and recorded every test that it made."""
        self.ends[fact.invocation] = fact
        self.now = fact.at
        unjudged = self.pending.pop(fact.invocation, {})
        tests = self.tests.pop(fact.invocation, {})
        sampled = self.sampled.pop(fact.invocation, set())
        if fact.how != "well":
            self.retests.pop(fact.invocation, None)
            return
        self._check_retests(fact)
        for test in unjudged.values():
            if self._counts(test) and not self._superseded(test):
                expected_state = self.expected_states[test.target]
                self._report("test lost", fact.order, test.target, f"{test} changed nothing of {expected_state}")
        for target in sorted(set(tests) - sampled):
            self._report("sample lost", fact.order, target, f"{tests[target]} is in no samples item")

    def _counts(self, test: Tested) -> bool:
        """Whether a test must be written: anything but a pass of an up target, or maintenance known already."""
        expected_state = self.expected_states[test.target]
        present = self._present(test, self.now)
        if expected_state.state == "suspended" or any(not (one.policy and one.policy.enabled) for one in present):
            return False  # it was planned before that, and a suspended target needs no test
        if may_say_nothing(expected_state, test):
            return False
        if test.policy.silenced:
            return expected_state.state != "maintenance" or not test.passed or expected_state.fails
        return not (test.passed and expected_state.state == "up" and expected_state.unsent_recovery is None)

    def _superseded(self, test: Tested) -> bool:
        """Whether another's judgement came in between: for this tick or a later one, or so late that it is not due."""
        if test.target in self.forgotten and self.forgotten[test.target] >= test.tick:
            return True  # it was planned for a target that has gone since
        others = [other for other in self.judged[test.target] if other.invocation != test.invocation]
        planned = self.planned_since.get((test.target, test.tick), self.began.get(test.invocation, test.order))
        return any(other.tick >= test.tick or other.at >= test.tick or other.order > planned for other in others)

    def _on_fault_free(self, fact: FaultFree) -> None:
        """States are those of the servers, no alert is pending, and tests go on."""
        for target, (policy, answered) in fact.servers.items():
            state = self.expected_states[target].state
            if state not in self._allowed(fact, target, policy, answered):
                self._report(
                    "wrong state", fact.order, target, f"{state} without faults, though its server answers: {answered}"
                )
            idle = fact.at - max(self.last_tests[target], default=fact.since - 1440 * MINUTE)
            self._check_held(fact, target, policy)
            if policy.enabled and idle > policy.longest_wait(state):
                self._report("not tested", fact.order, target, f"{state}, and not tested for {idle}")
        for target in set(self.versions) - set(fact.servers):
            self._report("ghost", fact.order, target, "has a record, though its configuration has gone")
        self._check_delivered(before=fact.since)
        self._check_hours(fact)

    def _check_held(self, fact: FaultFree, target: str, policy: Policy) -> None:
        """A held alert is sent once nothing holds it, and `steady` once a target has not changed for long."""
        expected_state = self.expected_states[target]
        parents = [self.expected_states[name] for name in policy.depends_on if self._is_watched(name)]
        parents_fail = bool(parents) and all(parent.fails for parent in parents)
        if not policy.enabled or policy.silenced:
            return
        unsent = (
            expected_state.alert_held and expected_state.state == "down" and expected_state.alerts < policy.max_alerts
        )
        changed = max(expected_state.changes, default=fact.since)
        rest = 120 * MINUTE / policy.flap_per_hour if policy.flap_per_hour else 0 * MINUTE
        is_steady = changed + rest < fact.at - STABLE
        unsent = unsent and not (expected_state.flapping and not is_steady)
        said = expected_state.flapping and not expected_state.unsure_if_flapping and policy.max_alerts
        if said and is_steady:
            self._report("alert lost", fact.order, target, "no alert that it is steady again")
        elif expected_state.unsent_recovery:
            self._report("alert lost", fact.order, target, "no recovery of an outage that ended under a silence")
        elif expected_state.throttled and expected_state.full_at and policy.max_alerts:
            ends = expected_state.full_at + 3 * allowance_interval(policy.max_alerts) - DAY
            if ends < fact.at - STABLE:
                self._report("alert lost", fact.order, target, f"still throttled, though there was room since {ends}")
        elif unsent and not parents_fail and not within(policy.acknowledged, expected_state.since):
            self._report("alert lost", fact.order, target, "held, though nothing holds it any more")

    def _is_watched(self, name: str) -> bool:
        known = self.configured.get(name)
        return bool(known and known.policy and known.policy.enabled)

    def _allowed(self, fact: FaultFree, target: str, policy: Policy, answered: bool | None) -> frozenset[str]:
        """The states of a target whose server is as it is: a window that has begun or ended shows with a test only."""
        if not policy.enabled:
            return frozenset({"suspended"})
        known, tests, wait = self.configured[target], self.last_tests[target], policy.longest_wait("up")
        of_server = FAILING | {"up"} if answered is None else frozenset({"up"}) if answered else FAILING
        # The last test may not have been committed yet. After a long time without any, the state is that of now.
        seen = [at for at in tests[-2 if tests[-1:] > [fact.at - MINUTE] else -1 :] if at > fact.at - wait] or [fact.at]
        silenced = {known.silenced(time) for at in seen for time in (at - SKEW, at + SKEW)}
        allowed = (frozenset({"maintenance"}) if True in silenced else frozenset()) | (
            of_server if False in silenced else frozenset()
        )
        return allowed | {"suspended", "untested"} if known.at > fact.at - wait else allowed

    def _check_delivered(self, before: datetime | None = None) -> None:
        """Every transition and every alert so far (or until a time) has been delivered."""
        for alert in [alert for several in self.alerts.values() for alert in several]:
            lacking = [topic for topic, sent in alert.sent.items() if not sent]
            if lacking and not alert.missed and (before is None or alert.since[0] < before):
                alert.missed = True
                self._report("alert lost", alert.order, alert.target, f"{alert}, to the topics {lacking}")
        for change in self.changes.values():
            if not change.recorded and not change.missed and (before is None or change.tick < before):
                change.missed = True
                text = f"{change.previous} to {change.state} at {change.tick}"
                self._report("transition lost", change.order, change.target, text)

    def _close(self) -> None:
        verdict = self.verdict
        alerts = [alert for several in self.alerts.values() for alert in several]
        verdict.transitions_expected = len(self.changes)
        verdict.transitions_found = sum(change.recorded > 0 for change in self.changes.values())
        verdict.alerts_expected = len(alerts)
        verdict.alerts = Counter(one.event for one in alerts)
        verdict.alerts_found = sum(all(one.sent.values()) for one in alerts)
        verdict.alerts_by_topic = Counter(topic for one in alerts for topic, sent in one.sent.items() if sent)
        self._check_delivered()
        for one in alerts:
            for sent in one.sent.values():
                for first, again in pairwise(sent):
                    self._explain(one, first, again)

    def _explain(self, alert: ExpectedAlert, first: Sent, again: Sent) -> None:
        """An alert may come twice only if its first sender could not know, or could not record, that SNS had accepted
        it."""
        recorded = min((order for order in alert.recorded[first.topic] if order > first.order), default=None)
        end = self.ends.get(first.invocation)
        refused = any(first.order < order < again.order for order in self.refused[first.invocation])
        if recorded is not None and recorded < again.order and again.invocation != first.invocation:
            self._report(
                "sent twice", again.order, alert.target, f"{alert}, to {again.topic}, though that was in History"
            )
        elif not first.answered:
            self.verdict.duplicates["SNS took it, and its answer was lost"] += 1
        elif end is not None and end.how == "killed" and end.order < again.order:
            self.verdict.duplicates["died between SNS's answer and the write to History"] += 1
        elif refused:
            self.verdict.duplicates["DynamoDB refused that write until retries ran out"] += 1
        else:
            self._report(
                "sent twice",
                again.order,
                alert.target,
                f"{alert}, to {again.topic} by {first.invocation} and {again.invocation}",
            )
