"""The record of an installation, as the oracle reads it: tests, what people wrote, and messages, by target.

It is made of a campaign's facts, and holds nothing that popwatch decided: that a test was committed is known from the
database's log (a write of the target's record by who made the test), and what was sent from SNS's.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tests.chaos import facts
from tests.chaos.record_logins import Logins, Meaning

SKEW = timedelta(seconds=4)
"""Clocks are wrong by three seconds at most."""

HOUR = timedelta(hours=1)
STALE = timedelta(seconds=3)
"""A read may be answered as of so long ago."""

EVER = datetime.max.replace(tzinfo=UTC)
PLANNED_BEFORE = timedelta(minutes=3)
"""A test may have been planned so long before it, with retests in between."""

NEVER = 10**12
"""The order of what has not happened."""

_ID = re.compile(r"Alert (\S+?)/([a-z]+)/(\d+)/(\S+ \S+) UTC: an alert may arrive")
_ID_OF_SMS = re.compile(r": (\S+)/([a-z]+)/(\d+)/(\S+ \S+) UTC$")
EVENTS = {
    "DOWN": "down",
    "UP again": "recovered",
    "FLAPPING": "flapping",
    "STEADY again": "steady",
    "NOT COUNTED AS FLAPPING": "steady",
    "DEGRADED": "degraded",
    "RESTORED": "restored",
    "NOT COUNTED AS DEGRADED": "restored",
    "SLOW": "slow",
    "NORMAL again": "normal",
    "NOT COUNTED AS SLOW": "normal",
    "CERTIFICATE": "certificate",
    "POSTURE": "posture",
    "ALERTS HELD": "throttled",
    "ALERTS RESUMED": "unthrottled",
}
_LINE = re.compile(rf"({'|'.join(EVENTS)})(?: (\d+)/(\d+))? (\S+) \(.*?\): (.*)")


@dataclass(frozen=True, slots=True)
class Test:
    """A test of the servers' log.

    `made_order` is that of the fact that it was made, `committed` that of the write that committed it, if one did.
    """

    target: str
    made_order: int
    began: datetime
    invocation: int
    tick: datetime
    passed: bool
    policy: facts.Policy
    committed: int = NEVER
    planned: datetime = EVER
    """Since when it may have been planned."""
    rtt_ms: float = 0.0
    address: str = ""
    failed_addresses: int = 0
    certificates: tuple[facts.Certificate, ...] = ()
    goes_on: bool = False
    """Whether it passed in an outage that more passed tests must end: docs/outages.md, "The recovery"."""
    login: str = ""
    """What its login came to, by the server's log; empty if it did not log in."""
    login_failed: bool = False
    """Whether it failed at the login."""
    meaning: Meaning = Meaning.DOUBTFUL
    """What it means for a run in which a login failed, if it passed without an accepted login."""
    says_nothing: bool = False
    """Whether it passed without an accepted login in a run in which a login failed: it neither ends nor goes on with
    that."""
    may_end_run: bool = False
    """Whether it is doubtful which of both is so: the target may not have been able to log in."""
    unambiguous: bool = True
    """Whether what people had written as it began says the same of silences as what it was planned with."""

    @property
    def ends_runs(self) -> bool:
        """Whether it is a passed test after which no run is open."""
        return self.passed and not self.goes_on and not self.says_nothing

    @property
    def may_say_nothing(self) -> bool:
        """Whether it says nothing of a run in which a login failed, if there is one."""
        return self.passed and bool(self.policy.login) and self.login != "accepted"

    @property
    def counts(self) -> bool:
        """Whether it is a failed test outside of maintenance and silences."""
        return not self.passed and not self.policy.silenced

    @property
    def order(self) -> int:
        """Its place among the tests of its target."""
        return self.made_order if self.committed == NEVER else self.committed


@dataclass(frozen=True, slots=True)
class Message:
    """What one message says of one target. `id_time` is the time in its id; a line of a summary has none."""

    published: facts.PublishedText
    time: datetime
    target: str
    event: str
    number: int
    id_time: datetime | None
    text: str

    @property
    def order(self) -> int:
        """Its place among the facts."""
        return self.published.order

    @property
    def channel(self) -> str:
        """Where its words are: the topic, or History."""
        return self.published.channel

    @property
    def subject(self) -> str:
        """That of the email."""
        return self.published.subject

    @property
    def summary(self) -> bool:
        """Whether it is one of several in a summary."""
        return self.id_time is None


@dataclass(slots=True)
class Lifetime:
    """A target from when it is configured, or resumed, until that ends: its tests that were committed, in order."""

    target: str
    tests: list[Test]
    end: int = NEVER
    """The order of the write with which popwatch noticed that it is suspended or removed."""

    def test_at(self, second: datetime | None, before: int) -> Test | None:
        """The test that began in a second, before a message: of several the one that was committed last before it."""
        found = [it for it in self.tests if it.began.replace(microsecond=0) == second and it.made_order < before]
        return max(found, key=lambda it: it.committed if it.committed < before else -1, default=None)


@dataclass(slots=True)
class Run:
    """A row of failed tests that count, and the passed tests that end it.

    It takes one passed test, or in an outage as many in a row as the target's `passes_per_recovery` says.
    """

    lifetime: Lifetime
    failed: list[Test]
    uncounted: list[Test]
    """Those that failed in maintenance since the last passed test before it."""
    passes: list[Test]
    """Its newest passed tests, without a failed one after them."""
    between: list[Test]
    """The passed tests of rows that a failed one cut off."""
    ended: bool = False
    doubtful: bool = False
    """Whether it may be the run before it that goes on: it is not certain that one passed test had ended that."""

    @property
    def end(self) -> Test | None:
        """The passed test that ended it: the first of them."""
        return self.passes[0] if self.ended else None

    @property
    def confirmed(self) -> Test | None:
        """The passed test with which it is known that it has ended: the last of them."""
        return self.passes[-1] if self.ended else None

    @property
    def unambiguous(self) -> bool:
        """Whether it is certain which of its tests count."""
        tests = (*self.failed, *self.uncounted, *self.passes, *self.between)
        return not self.doubtful and all(test.unambiguous for test in tests)

    @property
    def is_outage(self) -> bool:
        """Whether enough of its tests failed."""
        return _are_enough(self.failed)

    @property
    def is_certain_outage(self) -> bool:
        """The same without those that may not count."""
        return _are_enough([test for test in self.failed if test.unambiguous])

    @property
    def may_begin(self) -> list[datetime]:
        """The times at which it may have begun: those of its first failed tests until one that counts for certain."""
        certain = next((index for index, test in enumerate(self.failed) if test.unambiguous), len(self.failed))
        return [test.began for test in self.failed[: certain + 1]]

    @property
    def since(self) -> datetime:
        """The time of its first failed test."""
        return self.failed[0].began


class CampaignRecord:
    """Everything that happened in a run."""

    def __init__(self, known: Iterable[facts.Fact], times: Sequence[datetime]) -> None:
        self.facts, self.times = list(known), times
        self.configured: dict[str, list[facts.Configured]] = defaultdict(list)
        self.ended: dict[int, facts.Ended] = {}
        self.began: dict[int, facts.Began] = {}
        self.messages: list[Message] = []
        self.own_sms: list[Message] = []
        """The SMS of outages whose words are the user's own: those end in the alert's id."""
        self.lifetimes: dict[str, list[Lifetime]] = defaultdict(list)
        self.tests: dict[str, list[Test]] = defaultdict(list)
        self.refused: dict[int, list[int]] = defaultdict(list)
        self.requeued: set[tuple[int, str]] = set()
        self.failed: list[facts.Failed] = []
        self.fault_free: list[facts.FaultFree] = []
        self.server_changes: dict[str, list[facts.ServerChanged]] = defaultdict(list)
        self.writes: dict[str, list[facts.Judged | facts.Forgotten]] = defaultdict(list)
        self._planned: dict[tuple[str, datetime], list[facts.Planned]] = defaultdict(list)
        self.logins = Logins(self.facts, times)
        self._sort()
        self._match_commits()

    def _sort(self) -> None:
        for fact in self.facts:
            match fact:
                case facts.Configured():
                    self.configured[fact.target].append(fact)
                case facts.Ended():
                    self.ended[fact.invocation] = fact
                case facts.Began():
                    self.began[fact.invocation] = fact
                case facts.Planned():
                    self._planned[fact.target, fact.tick].append(fact)
                case facts.Judged() | facts.Forgotten():
                    self.writes[fact.target].append(fact)
                case facts.Requeued():
                    self.requeued.add((fact.invocation, fact.target))
                case facts.Refused():
                    self.refused[fact.invocation].append(fact.order)
                case facts.Failed():
                    self.failed.append(fact)
                case facts.ServerChanged():
                    self.server_changes[fact.server].append(fact)
                case facts.FaultFree():
                    self.fault_free.append(fact)
                case facts.PublishedText():
                    self._sort_text(fact)

    def _sort_text(self, published: facts.PublishedText) -> None:
        if published.channel == "sms":
            self.own_sms += self._own_sms_in(published)
        else:
            self.messages += self._messages_in(published)

    def _messages_in(self, published: facts.PublishedText) -> list[Message]:
        time, words = self.times[published.order], " ".join(published.text.split())
        found = _ID.search(words)
        if found:
            target, event, number, since = found.groups()
            at = datetime.fromisoformat(f"{since}+00:00")
            return [Message(published, time, target, event, int(number), at, published.text)]
        lines = (_LINE.fullmatch(line) for line in published.text.splitlines())
        return [
            Message(published, time, line[4], EVENTS[line[1]], int(line[2] or 0), None, line[0])
            for line in lines
            if line
        ]

    def _own_sms_in(self, published: facts.PublishedText) -> list[Message]:
        found = _ID_OF_SMS.search(published.text)
        if found is None:
            return []
        target, event, number, since = found.groups()
        at = datetime.fromisoformat(f"{since}+00:00")
        return [Message(published, self.times[published.order], target, event, int(number), at, published.text)]

    def _match_commits(self) -> None:
        """Each target's lifetimes and the tests in them, by the order of the writes that committed them."""
        made: dict[tuple[int, str, datetime], list[facts.Tested]] = defaultdict(list)
        for fact in self.facts:
            if isinstance(fact, facts.Tested):
                made[fact.invocation, fact.target, fact.tick].append(fact)
        committed: dict[int, int] = {}
        ends: dict[str, list[int]] = defaultdict(list)
        for target, writes in self.writes.items():
            for write in writes:
                if isinstance(write, facts.Forgotten) or write.state in ("suspended", "untested"):
                    ends[target].append(write.order)
                elif not write.delivers:
                    open_tests = [
                        test
                        for test in made[write.invocation, target, write.tick]
                        if test.order < write.order and test.order not in committed
                    ]
                    if open_tests:
                        committed[open_tests[0].order] = write.order
        for tests in made.values():
            for fact in tests:
                planned = self._planned_since(fact)
                what = fact.target, fact.order, fact.at, fact.invocation, fact.tick, fact.passed, fact.policy
                there = self.in_force(fact.target, fact.order)
                unambiguous = there is None or there.silenced(fact.at) == fact.policy.silenced
                of_server = fact.rtt_ms, fact.address, fact.failed_addresses, fact.certificates
                self.tests[fact.target].append(
                    Test(
                        *what,
                        committed.get(fact.order, NEVER),
                        planned,
                        *of_server,
                        login=fact.login,
                        login_failed=fact.login_failed,
                        meaning=self._meaning(fact),
                        unambiguous=unambiguous,
                    )
                )
        for target, all_tests in self.tests.items():
            all_tests.sort(key=lambda test: test.order)
            if any(test.login for test in all_tests):
                found = [_without_login(one) for one in _lifetimes(target, all_tests, ends[target])]
                changed = {test.made_order: test for tests in found for test in tests}
                all_tests[:] = [changed.get(test.made_order, test) for test in all_tests]
            going_on = {
                test.made_order
                for lifetime in _lifetimes(target, all_tests, ends[target])
                for test in _going_on(lifetime)
            }
            all_tests[:] = [replace(test, goes_on=True) if test.made_order in going_on else test for test in all_tests]
            self.lifetimes[target] = list(_lifetimes(target, all_tests, ends[target]))

    def _planned_since(self, test: facts.Tested) -> datetime:
        """The time since which popwatch may have read what it planned a test with."""
        began = [self.began[number].at for number in self.planners(test) if number in self.began]
        return min([*began, max(test.tick.replace(second=0), test.at - HOUR)]) - STALE

    def _meaning(self, test: facts.Tested) -> Meaning:
        says_more = not test.passed or not test.policy.login or test.login == "accepted"
        return Meaning.DOUBTFUL if says_more else self.logins.meaning(test)

    def planners(self, test: facts.Tested | Test) -> set[int]:
        """The invocations that may have planned a test: those that sent it to the queue, or the one that made it."""
        order, target = (test.order, test.target) if isinstance(test, facts.Tested) else (test.made_order, test.target)
        sent = {plan.invocation for plan in self._planned[target, test.tick] if plan.order < order}
        return sent or {test.invocation}

    # ---- what people had written

    def in_force(self, target: str, order: int) -> facts.Configured | None:
        """What was written of a target last before something."""
        known = self.configured[target]
        index = bisect_left([one.order for one in known], order)
        return known[index - 1] if index else None

    def in_force_during(self, target: str, begin: int, end: int) -> list[facts.Configured]:
        """What was written of a target at any time from one fact to another."""
        first = self.in_force(target, begin)
        later = [one for one in self.configured[target] if begin <= one.order < end]
        return [*([first] if first else []), *later]

    def read_for(self, test: Test) -> list[facts.Configured]:
        """What may hold of a target as a test is committed; what a schedule says is read with the plan only."""
        written = self.in_force_during(test.target, test.made_order, test.committed)
        while written and written[0].by_schedule and self.time(written[0].order) > test.planned - SKEW:
            before = self.in_force(test.target, written[0].order)
            if before is None:
                break
            written.insert(0, before)
        return written

    def fleet_changed(self, test: Test, until: int) -> bool:
        """Whether the number of targets changed since a test was planned: its batch may have been another one."""
        since = bisect_left(self.times, self.time(test.made_order) - PLANNED_BEFORE)
        written = [one.order for known in self.configured.values() for one in known if since < one.order < until]
        states = [
            [self.in_force(name, order) for name in self.configured] for order in (since, *(it + 1 for it in written))
        ]
        sizes = {sum(1 for one in state if one and one.policy and one.policy.enabled) for state in states}
        return len(sizes) > 1

    def time(self, order: int) -> datetime:
        """When something was."""
        return self.times[min(order, len(self.times) - 1)]

    def orders_before(self, time: datetime) -> int:
        """What was before a time has an order below this."""
        return bisect_left(self.times, time)

    def orders_until(self, time: datetime) -> int:
        """What was at a time or before has an order below this."""
        order = bisect_right(self.times, time)
        return order if order < len(self.times) else NEVER

    def not_accepted_by(self, invocations: Container[int]) -> list[int]:
        """When SNS did not take a message of one of these invocations."""
        return [it.order for it in self.facts if isinstance(it, facts.NotAccepted) and it.invocation in invocations]

    def writes_between(self, target: str, begin: int, end: int) -> list[facts.Judged]:
        """The writes of a target's record between two facts."""
        return [one for one in self.writes[target] if isinstance(one, facts.Judged) and begin < one.order < end]

    def ended_well(self, invocation: int, before: int = NEVER) -> bool:
        """Whether an invocation came to its end, before a fact, and did all that it had to do."""
        end = self.ended.get(invocation)
        return end is not None and end.how == "well" and end.order < before

    def was_given_back(self, test: Test) -> bool:
        """Whether who made a test gave it back to the queue, not knowing that it was committed, if it was."""
        return (test.invocation, test.target) in self.requeued

    def committed_by_its_end(self, test: Test) -> int:
        """By when a test was committed, also one that changed nothing of the record; NEVER if that is not certain.

        Who made it may have died, or given it back to the queue.
        """
        if test.committed != NEVER or self.was_given_back(test) or not self.ended_well(test.invocation):
            return test.committed
        return self.ended[test.invocation].order


def _lifetimes(target: str, tests: list[Test], ends: list[int]) -> Iterable[Lifetime]:
    """The tests between the ends; one that was not committed is in it if it changed nothing: a pass after a pass."""
    for begin, end in pairwise([-1, *ends, NEVER]):
        kept: list[Test] = []
        for test in tests:
            if begin < test.order < end and (test.committed != NEVER or (test.passed and kept and kept[-1].passed)):
                kept.append(test)
        if kept:
            yield Lifetime(target, kept, end)


def runs(lifetime: Lifetime) -> list[Run]:
    """The runs of a lifetime."""
    found: list[Run] = []
    present: Run | None = None
    uncounted: list[Test] = []
    passes: int | None = None  # in a row, of a run before that may go on; None if none may
    for test in lifetime.tests:
        if test.says_nothing:
            if present and test.committed != NEVER:
                present.between.append(test)
            continue
        if test.passed and present:
            if test.committed == NEVER:  # another test has overtaken it
                continue
            present.passes.append(test)
            needed = test.policy.passes_per_recovery if present.is_certain_outage else 1
            present.ended = len(present.passes) >= needed
            if present.ended:
                passes = _passes(0, test) if present.is_outage and not present.is_certain_outage else None
                passes = 0 if test.may_end_run else passes
                present, uncounted = None, []
        elif test.passed:
            uncounted, passes = [], _passes(passes, test)
        else:
            if present:
                present.between += present.passes
                present.passes.clear()
            passes = passes and 0
            if not test.counts:
                uncounted.append(test)
            elif present:
                present.failed.append(test)
            else:
                present = Run(lifetime, [test], uncounted, [], [], doubtful=passes is not None)
                found.append(present)
    return found


def _passes(before: int | None, passed: Test) -> int | None:
    """How many tests in a row have passed of a run that may go on; None once they are enough to end it.

    One without an accepted login may leave it as it is, and so may one that another test has overtaken.
    """
    if before is None or passed.may_say_nothing or passed.committed == NEVER:
        return before
    return before + 1 if before + 1 < passed.policy.passes_per_recovery else None


def _are_enough(failed: Sequence[Test]) -> bool:
    return any(index >= test.policy.failures_per_alert for index, test in enumerate(failed, 1))


def _without_login(lifetime: Lifetime) -> Iterator[Test]:
    """The passed tests of a lifetime without an accepted login, in runs in which a login failed, as they count.

    docs/outages.md, "Outages of the login". Where it is doubtful whether the run goes on, it may do so until enough
    tests have passed with a login.
    """
    unconfirmed_login = doubt = False
    row = 0
    failed: list[Test] = []
    for test in lifetime.tests:
        if not test.passed:
            failed += [test] if test.counts else []
            unconfirmed_login, row = unconfirmed_login or (test.login_failed and bool(failed)), 0
        elif not (unconfirmed_login and test.may_say_nothing):
            row += test.committed != NEVER
            if doubt:
                yield replace(test, may_end_run=_are_enough(failed), unambiguous=False)
            if row >= (test.policy.passes_per_recovery if _are_enough(failed) else 1):
                unconfirmed_login, doubt, row = False, False, 0
                failed.clear()
        elif test.committed == NEVER:
            yield replace(test, says_nothing=True)
        else:
            meaning = test.meaning if test.unambiguous and not doubt else Meaning.DOUBTFUL
            if row and meaning is Meaning.FAILS:  # the newest login was accepted: what is refused is another target's
                meaning = Meaning.NOTHING
            doubt = meaning is Meaning.DOUBTFUL
            match meaning:
                case Meaning.NOTHING:
                    yield replace(test, says_nothing=True)
                case Meaning.FAILS:
                    failed += [] if test.policy.silenced else [test]
                    yield replace(test, passed=False, login_failed=True)
                case Meaning.DOUBTFUL:
                    row = 0  # it may count as failed
                    yield replace(test, may_end_run=True, unambiguous=False)


def _going_on(lifetime: Lifetime) -> Iterator[Test]:
    """The passed tests of a lifetime with which an outage went on."""
    found = runs(lifetime)
    for test in lifetime.tests:
        if test.passed and not test.says_nothing:
            begun = [run for run in found if run.failed[0].order < test.order]
            confirmed = begun[-1].confirmed if begun else None
            if begun and (confirmed is None or test.order < confirmed.order):
                yield test
