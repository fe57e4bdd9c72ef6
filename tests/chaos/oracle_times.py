"""When tests are made, which of them count, and how soon people are notified: docs/outages.md, "Runs" and "How soon".

The stated time is that of docs/interventions.md, "The longest time until an alert".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil

from tests.chaos import facts
from tests.chaos.facts import Finding, Policy
from tests.chaos.record import NEVER, SKEW, STALE, CampaignRecord, Lifetime, Message, Test

MINUTE = timedelta(minutes=1)
LONGEST_TEST = timedelta(seconds=10)
"""By default; `max_test_seconds` says otherwise."""

LONGEST_LOGIN_TEST = timedelta(seconds=20)
"""The same of a target with `login`."""

SLACK = timedelta(seconds=30)
"""For calls to AWS that take their time."""

MESSAGE_TIME = timedelta(seconds=1)
"""Until a message of the queue is received."""

SHORT_SLACK = timedelta(seconds=20)

COOL_DOWN = timedelta(minutes=10)
"""After so long without faults each target is as its server is."""

HARMLESS = ("clock skewed", "stale read", "delayed", "tick doubled", "message doubled")
"""Faults that keep nothing from its time, or only for seconds."""

LATE = timedelta(minutes=6)
"""A message that comes later than this after its tick has come again."""

FEW_CHANGES = 4


@dataclass(frozen=True, slots=True)
class Times:
    """Judges the times of a run; `messages` are those about each target, `counted` what was judged."""

    record: CampaignRecord
    messages: dict[str, list[Message]]
    counted: Counter[str]

    def judge(self) -> Iterator[Finding]:
        """Which tests count."""
        for target, lifetimes in self.record.lifetimes.items():
            for lifetime in lifetimes:
                yield from _count_twice(lifetime)
            yield from self._judge_silent_tests(target)

    def judge_how_soon(self) -> Iterator[Finding]:
        """When tests are made, and people are notified."""
        for target, lifetimes in self.record.lifetimes.items():
            for lifetime in lifetimes:
                yield from self._judge_retests(lifetime)
            yield from self._judge_time_to_alert(target)
            yield from self._judge_changes(target)
        for time in self.record.fault_free:
            yield from self._judge_fault_free(time)

    # ---- which tests count

    def _judge_silent_tests(self, target: str) -> Iterator[Finding]:
        """A test of an invocation that came to its end was committed, unless a later one was, or no one wants it."""
        record = self.record
        for test in record.tests[target]:
            back = (test.invocation, target) in record.requeued
            if test.committed != NEVER or test.passed or back or not record.ended_well(test.invocation):
                continue
            before = record.in_force_during(target, test.made_order, record.ended[test.invocation].order)
            wanted = all(one.policy is not None and one.policy.enabled for one in before)
            if wanted and not self._is_overtaken(test):
                yield Finding("test not committed", test.made_order, target, f"the failure at {test.began}")

    def _is_overtaken(self, test: Test) -> bool:
        """Whether another was made at the same time, or since it was planned, and so late that this one is not due."""
        record, planners = self.record, self.record.planners(test)
        end = record.ended[test.invocation].order
        planned = min(record.began[number].at for number in (*planners, test.invocation)) - STALE
        for write in record.writes[test.target]:  # suspended or removed meanwhile: it has started over
            new = isinstance(write, facts.Forgotten) or write.state in ("suspended", "untested")
            if new and planned < record.time(write.order) and write.order < end:
                return True
        for other in record.tests[test.target]:
            if other is test or not other.committed < end:
                continue
            meanwhile = planned < record.time(other.committed) and planners != {other.invocation}
            at_once = other.passed or other.committed > test.made_order or other.began + SKEW > test.began
            if other.tick >= test.tick or (meanwhile and at_once):
                return True
            if meanwhile and test.tick < other.tick + self._longest_delay(test, other):
                return True
            if meanwhile and test.began < other.began + self._to_retest(other):  # the tick took the target for up
                return True
        return False

    def _to_retest(self, first: Test) -> timedelta:
        """From the first failed test of a run to its retest, if the delay is under a minute; else none."""
        policy = first.policy
        delay = timedelta(seconds=policy.delay_down if policy.failures_per_alert == 1 else policy.delay_warn)
        longest = longest_test(self.record.in_force(first.target, first.made_order))
        return max(delay, longest + MESSAGE_TIME) if delay < MINUTE else timedelta()

    def _longest_delay(self, test: Test, other: Test) -> timedelta:
        """From another test until the next of one that fails: by `delay_lost` once its last alert may have been sent.

        How many alerts there are to be is what that one was planned with.
        """
        written = self.record.in_force_during(
            test.target, test.made_order, test.committed if test.committed != NEVER else test.made_order
        )
        policies = [test.policy, other.policy, *(one.policy for one in written if one.policy)]
        delays = [max(policy.delay_warn, policy.delay_down) for policy in policies]
        numbers = [
            one.number for one in self.messages[test.target] if one.event == "down" and one.order < test.made_order
        ]
        unsaid = any(one.event == "throttled" for one in self.messages[test.target])
        if unsaid or any(number >= policy.max_alerts for number in [*numbers[-4:], 0] for policy in policies):
            delays += [policy.delay_lost for policy in policies]
        if other.policy.silenced or not other.unambiguous:  # in maintenance it is tested as if it were up
            delays += [policy.delay_up for policy in policies]
        return timedelta(seconds=max(delays))

    # ---- how soon

    def _judge_fault_free(self, fault_free: facts.FaultFree) -> Iterator[Finding]:
        """Without faults each target is tested after its delay: at a tick that comes anywhere within a minute."""
        record = self.record
        begin = fault_free.since + COOL_DOWN
        for target, (policy, answered) in fault_free.servers.items():
            if (
                any(record.time(one.order) > fault_free.since for one in record.configured[target])
                or not policy.enabled
            ):
                continue
            failing = (policy.delay_warn, policy.delay_down, policy.delay_lost)
            passing = (policy.delay_up, policy.delay_warn if policy.passes_per_recovery > 1 else 0)
            known = record.in_force(target, fault_free.order)
            held = known and any(since < fault_free.at and fault_free.since < end for since, end in known.windows)
            either = held or answered is None
            delays = passing if answered else (*passing, *failing) if either else failing
            longest = _in_minutes(max(delays)) + MINUTE + SLACK
            made = [record.time(test.made_order) for test in record.tests[target]]
            self.counted["targets without faults"] += 1
            times = [begin, *(at for at in made if begin < at < fault_free.at), fault_free.at]
            for number, (before, after) in enumerate(pairwise(times)):
                # A server that has failed shortly before is taken to be up until its first test.
                first = _in_minutes(policy.delay_up) + MINUTE + SLACK
                if after - before > (longest if number else max(longest, first)):
                    yield Finding("not tested", fault_free.order, target, f"from {before} until {after}, {policy}")
                    break

    def _judge_time_to_alert(self, target: str) -> Iterator[Finding]:
        """People are notified in the stated time that a server fails, if nothing holds that and little went wrong."""
        record = self.record
        for server, changes in record.server_changes.items():
            for before, change, after in zip([None, *changes], changes, [*changes[1:], None], strict=False):
                known = record.in_force(target, change.order)
                if change.answers or known is None or known.policy is None or known.server != server:
                    continue
                end = record.time(change.order) + longest_time(known.policy, longest_test(known)) + SLACK
                rest = (
                    _in_minutes(max(known.policy.delay_up, known.policy.delay_lost, known.policy.delay_down))
                    + 5 * MINUTE
                )
                rest += (known.policy.passes_per_recovery - 1) * (_in_minutes(known.policy.delay_warn) + MINUTE)
                begin = record.time(change.order) - rest
                steady = (before is None or record.time(before.order) < begin) and (
                    after is None or record.time(after.order) > end
                )
                steady = steady and self.was_up(target, known.policy, change.order)
                if not steady or end > record.times[-1] or not self.is_quiet(target, known, begin, end):
                    continue
                self.counted["times to alert"] += 1
                said = [one.time for one in self.messages[target] if one.event == "down" and one.channel == "alert"]
                if not any(record.time(change.order) < time <= end for time in said):
                    text = f"{server} failed at {record.time(change.order)}, and no one was alerted by {end}"
                    yield Finding("outage not reported in time", change.order, target, text)

    def was_up(self, target: str, policy: Policy, order: int) -> bool:
        """Whether no run was open, as one that a login has begun may be for hours."""
        before = [test for test in self.record.tests[target] if test.made_order < order][-1:]
        return not policy.login or all(test.ends_runs and not test.may_end_run for test in before)

    def is_quiet(self, target: str, known: facts.Configured, begin: datetime, end: datetime) -> bool:
        """Whether nothing held the alert, and nothing of weight went wrong."""
        record, policy = self.record, known.policy
        assert policy is not None
        if not policy.enabled or not policy.max_alerts or policy.depends_on or policy.max_rtt_ms:
            return False
        changed = any(begin - MINUTE < record.time(one.order) < end for one in record.configured[target])
        windows = any(since < end and begin < until for since, until in known.windows)
        wrong = self.went_wrong(begin, end)
        other = any(one.event in ("flapping", "throttled") and one.time < end for one in self.messages[target])
        hour = [it for it in record.server_changes[known.server] if begin - 60 * MINUTE < record.time(it.order) < end]
        flaps = policy.flap_per_hour and len(hour) > FEW_CHANGES
        return not (changed or windows or wrong or other or flaps)

    def went_wrong(self, begin: datetime, end: datetime) -> bool:
        """Whether anything of weight went wrong meanwhile."""
        return any(begin < one.at < end and not one.kind.endswith(HARMLESS) for one in self.record.failed)

    def _judge_changes(self, target: str) -> Iterator[Finding]:
        """Whose item says something else of its server is tested at the next tick, whatever its delay."""
        record = self.record
        made = [record.time(test.made_order) for test in record.tests[target]]
        known = record.configured[target]
        for before, one, after in zip(known, known[1:], [*known[2:], None], strict=False):
            if not (before.policy and before.policy.enabled and one.policy and one.policy.enabled):
                continue
            end = one.at + 2 * MINUTE + SLACK
            undisturbed = one.at - MINUTE > before.at and (after is None or after.at > end) and end < record.times[-1]
            changed = _where_tested(before) != _where_tested(one)
            if not changed or not undisturbed or self.went_wrong(one.at - 3 * MINUTE, end):
                continue
            self.counted["changes of where it is tested"] += 1
            if not any(one.at < at < end for at in made):
                yield Finding("not tested", one.order, target, f"from {one.at}, when its server changed, until {end}")

    def _judge_retests(self, lifetime: Lifetime) -> Iterator[Finding]:
        """A short delay is kept by the clock: after the first failed test another one follows, and in a recovery."""
        record = self.record
        for before, test in pairwise(lifetime.tests):
            policy, short = test.policy, timedelta(seconds=test.policy.delay_warn)
            first = before.ends_runs and not before.may_end_run and not test.passed and policy.failures_per_alert > 1
            kept = (first or (test.goes_on and test.unambiguous)) and not policy.silenced and not before.policy.silenced
            # One whose message came again, as its first receiver had died, is followed at the next tick.
            kept = kept and test.began - test.tick < LATE
            if not kept or short >= MINUTE or not record.ended_well(test.invocation):
                continue
            longest = longest_test(record.in_force(lifetime.target, test.made_order))
            end = test.began + max(short, longest) + longest + SHORT_SLACK
            # Of its own message too, which may have waited: it is followed at the next tick then.
            begin = min(record.time(test.made_order) - 3 * MINUTE, test.tick)
            changed = any(begin < record.time(one.order) < end for one in record.configured[lifetime.target])
            if changed or end > record.times[-1] or test.committed == NEVER or self.went_wrong(begin, end):
                continue
            self.counted["short delays"] += 1
            made = [
                it
                for it in record.tests[lifetime.target]
                if it.made_order > test.made_order and record.time(it.made_order) < end
            ]
            if not made:
                yield Finding("not tested", test.order, lifetime.target, f"from {test.began} until {end}")


def _count_twice(lifetime: Lifetime) -> Iterator[Finding]:
    """Of two tests of one tick one counts, and none of an older tick than one that has been committed."""
    latest: Test | None = None
    for test in lifetime.tests:
        if test.committed == NEVER:
            continue
        if latest and not test.passed and test.tick <= latest.tick:
            text = f"a failure of {test.tick}, after one of {latest.tick} had been committed"
            yield Finding("counted twice", test.order, lifetime.target, text)
        latest = test if latest is None or test.tick > latest.tick else latest


def _where_tested(known: facts.Configured) -> tuple[object, ...]:
    """What of an item says where and how it is tested: the usual deadline may be written, or not."""
    fields = {name: value for name, value in known.connection_fields if name != "max_test_seconds"}
    return known.server, fields, longest_test(known)


def longest_test(known: facts.Configured | None) -> timedelta:
    """The deadline of a target's tests."""
    seconds = dict(known.connection_fields).get("max_test_seconds") if known else None
    usual = LONGEST_LOGIN_TEST if known and known.policy and known.policy.login else LONGEST_TEST
    return timedelta(seconds=float(str(seconds))) if seconds else usual


def longest_time(policy: Policy, longest: timedelta) -> timedelta:
    """The longest time from the beginning of an outage to its first alert."""
    warn = timedelta(seconds=policy.delay_warn)
    between = max(warn if warn < MINUTE else _in_minutes(policy.delay_warn), longest)
    return _in_minutes(policy.delay_up) + (policy.failures_per_alert - 1) * between + MINUTE + longest


def _in_minutes(seconds: int) -> timedelta:
    return ceil(timedelta(seconds=seconds) / MINUTE) * MINUTE
