"""Messages about a server that passes: degraded and restored, slow and normal, certificates that expire.

docs/outages.md has when they are sent at all, docs/interventions.md what makes each due. Where it is not said whether a
test counts (in maintenance, or if `failures_per_alert` changed meanwhile), both are allowed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.chaos.facts import Certificate, Finding
from tests.chaos.record import NEVER, SKEW, Lifetime, Message, Test

DAY = timedelta(days=1)
LONGEST_LIFETIME, FIRST_WARNING = timedelta(days=398), timedelta(days=21)
LIMITS, MAX_WARNINGS = 3, 3
"""Of one certificate; of a target within a day."""

CERTAIN = 2
"""Tests more than it takes: one or two may have been overtaken, and then do not count."""

NOT_COUNTED = "NOT COUNTED AS"
"""The beginning of a subject that says nothing of the server."""

_TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC"
_EXPIRES = re.compile(rf"^Expires\s+{_TIME}", re.M)
_EXPIRES_TOO = re.compile(rf"^Expires\s+too\s.*?{_TIME}", re.M | re.S)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two messages that come in turn: the one with enough tests in a row that show it, the other with the contrary."""

    begins: str
    ends: str
    shows: Callable[[Test], bool]
    tests_to_end: Callable[[Test], int]


PAIRS = (
    Pair(
        "degraded",
        "restored",
        lambda test: test.failed_addresses > 0,
        lambda _: 1,
    ),
    Pair(
        "slow",
        "normal",
        lambda test: 0 < test.policy.slow_rtt_ms < test.rtt_ms,
        lambda test: test.policy.failures_per_alert,
    ),
)
CERTIFICATE = "certificate"
EVENTS = (CERTIFICATE, *(event for pair in PAIRS for event in (pair.begins, pair.ends)))


@dataclass(frozen=True, slots=True)
class Reported:
    """The messages of a lifetime about its server, by the test that each came with (its order), and by event."""

    by_test: dict[int, dict[str, Message]]
    explained: set[int]

    def at(self, test: Test, events: Sequence[str]) -> Message | None:
        """The one of these events that came with a test."""
        known = self.by_test.get(test.order, {})
        return next((known[event] for event in events if event in known), None)


def reported(lifetime: Lifetime, messages: Sequence[Message]) -> Reported:
    """What was said of a lifetime, by the time in a message's id; a line of a summary is of one said before."""
    found, explained = Reported(defaultdict(dict), set()), set[int]()
    tests: dict[tuple[str, datetime], Test | None] = {}
    for message in messages:
        if message.event in EVENTS and message.id_time:
            # What History has of it is of the same test, though another one of that second was committed meanwhile.
            of_second = lifetime.test_at(message.id_time, message.order)
            test = tests.setdefault((message.event, message.id_time), of_second)
            if test and test.passed:
                found.by_test[test.order].setdefault(message.event, message)
                found.explained.add(message.order)
    made = {event: [order for order, known in found.by_test.items() if event in known] for event in EVENTS}
    for message in messages:
        if message.event in EVENTS and message.summary and any(it < message.order for it in made[message.event]):
            explained.add(message.order)
    found.explained.update(explained)
    return found


@dataclass(frozen=True, slots=True)
class Servers:
    """Judges what was said of a lifetime. `unheld`: nothing held the message of a test, and no other came with it.

    `is_unknown` says that what came due with a test may count as sent although it was not: there were too many.
    """

    lifetime: Lifetime
    reported: Reported
    unheld: Callable[[Test], bool]
    is_lost: Callable[[Test], bool]
    """Whether the invocation that made a test died, or gave it back to the queue, and did not commit it."""
    is_unknown: Callable[[Test], bool]
    cleared: Callable[[Test], bool]
    """Whether a `recovered` came with a test, which says that the host is restored, too."""
    before: Sequence[Message]
    """Those about the target from before: what certificates were warned of is kept while it is suspended."""
    held_before: set[datetime]
    """When certificates end that were tested before while there were too many messages: those count as said."""

    def judge(self) -> Iterator[Finding]:
        """What is wrong."""
        for order, known in self.reported.by_test.items():
            test = next(test for test in self.lifetime.tests if test.order == order)
            if not test.policy.max_alerts:
                yield self._finding("alert in spite of a hold", test, f"{[*known]} with max_alerts 0")
            if test.goes_on:
                yield self._finding("message of a server that has not recovered", test, f"{[*known]}")
            yield from self._wrong_headlines(test, known.values())
            if len(known) > 1:
                yield self._finding("two messages with one test", test, f"{[*known]}")
        for pair in PAIRS:
            yield from self._judge_pair(pair)
        yield from self._judge_certificates()

    def _wrong_headlines(self, test: Test, known: Iterable[Message]) -> Iterator[Finding]:
        """Of a message that ends what the target no longer asks to be looked at: docs/interventions.md."""
        is_looked_at = {"restored": test.policy.all_addresses, "normal": test.policy.slow_rtt_ms > 0}
        for message in known:
            says_so = not message.subject.startswith(NOT_COUNTED)
            if message.subject and message.event in is_looked_at and says_so is not is_looked_at[message.event]:
                yield self._finding("wrong text", test, message.subject)

    def _finding(self, kind: str, test: Test, text: str) -> Finding:
        return Finding(kind, test.order, self.lifetime.target, f"{text}, at {test.began}")

    def _judge_pair(self, pair: Pair) -> Iterator[Finding]:
        begun: bool | None = False
        last_change = -1
        for index, test in enumerate(self.lifetime.tests):
            before = [one for one in self.lifetime.tests[: index + 1] if one.order > last_change]
            said = pair.begins != "slow" or test.policy.max_alerts  # that it is slow is shown, and so counts as said
            if self.is_unknown(test) or not said or (pair.ends == "restored" and begun and self.cleared(test)):
                begun = None
            message = self.reported.at(test, (pair.begins, pair.ends))
            if message is not None:
                begins = message.event == pair.begins
                if begun is begins:
                    yield self._finding(f"{pair.begins} and {pair.ends} not in turn", test, message.event)
                least, _ = rows(before, pair, self.is_lost, begins=begins)
                if not self.is_unknown(test) and least < (
                    test.policy.failures_per_alert if begins else pair.tests_to_end(test)
                ):
                    yield self._finding("alert without reason", test, f"{message.event} after {least} tests in a row")
                begun, last_change = begins, test.order
            elif begun is not None and test.passed and self.unheld(test):
                is_due = not begun
                needed = test.policy.failures_per_alert if is_due else pair.tests_to_end(test)
                _, certain = rows(before, pair, self.is_lost, begins=is_due)
                if certain >= needed + CERTAIN:
                    event = pair.begins if is_due else pair.ends
                    yield self._finding(f"{event} not reported", test, f"after {certain} tests in a row")
                    return

    def _judge_certificates(self) -> Iterator[Finding]:
        said: dict[datetime, int] = defaultdict(int)
        earlier = {message.id_time: message for message in self.before if message.event == CERTIFICATE}
        times = [time for time in earlier if time]
        known = self.held_before.union(*(expiries(message)[1] for message in earlier.values()))
        unreported: dict[datetime, int] = defaultdict(int)
        newest = datetime.min.replace(tzinfo=UTC)
        same_days = len({test.policy.certificate_warn_days for test in self.lifetime.tests}) == 1
        for test in self.lifetime.tests:
            if self.is_unknown(test):
                return
            is_new, newest = test.tick > newest, max(test.tick, newest)
            near = [one for one in test.certificates if one.expires - test.began <= first_limit(one, test) + SKEW]
            message = self.reported.at(test, (CERTIFICATE,))
            if message is not None:
                first, named = expiries(message)
                times.append(test.began)
                if not first or not named <= {one.expires.replace(microsecond=0) for one in near}:
                    text = f"a certificate that expires at {sorted(named)}, of {test.certificates}"
                    yield self._finding("alert without reason", test, text)
                for expires in named:
                    said[expires] += expires in first
                if same_days and any(count > LIMITS for count in said.values()):
                    yield self._finding("too many messages", test, f"of one certificate: {dict(said)}")
                if sum(test.began - it < DAY for it in times) > MAX_WARNINGS:
                    yield self._finding("too many messages", test, "about certificates in a day")
            elif test.passed and self.unheld(test) and sum(test.began - it < DAY for it in times) < MAX_WARNINGS:
                for one in near:
                    expires = one.expires.replace(microsecond=0)
                    surely = one.expires - test.began <= first_limit(one, test) - SKEW
                    unreported[expires] += is_new and surely and expires not in said and expires not in known
                    if unreported[expires] > CERTAIN:
                        yield self._finding("certificate not reported", test, f"it expires at {expires}")
                        return


def rows(tests: Sequence[Test], pair: Pair, is_lost: Callable[[Test], bool], *, begins: bool) -> tuple[int, int]:
    """How many of the last tests show it, or the contrary, in a row: that may count, and that do for certain.

    Tests in maintenance may count or not; so a row with one of them is not certain, nor one within which the number of
    tests that it takes has changed, nor are two of one tick two tests, and a lost one is none.
    Those with which an outage went on do not count.
    """
    possible = certain = 0
    sure = True
    last = None
    for test in reversed(tests):
        if test.says_nothing:
            continue
        if test.policy.silenced:
            sure = False
        elif not test.ends_runs:
            break
        elif pair.shows(test) is not begins:
            if test.committed != NEVER:
                break
            sure = False
        else:
            possible += 1
            sure = sure and (last is None or _follows(test, last))
            certain += sure and not is_lost(test)
            last = test
    return possible, certain


def _follows(test: Test, later: Test) -> bool:
    return test.tick < later.tick and test.policy.failures_per_alert == later.policy.failures_per_alert


def first_limit(certificate: Certificate, test: Test) -> timedelta:
    """How long before it expires the first warning of a certificate comes; it never does if no days are wanted."""
    days = test.policy.certificate_warn_days
    if days is not None:
        return max((timedelta(days=max(1, number)) for number in days), default=-10_000 * DAY)
    return min(min(certificate.lifetime, LONGEST_LIFETIME) / 4, FIRST_WARNING)


def expiries(message: Message) -> tuple[set[datetime], set[datetime]]:
    """When the certificate of a message expires, and when all that it names do, in whole seconds."""
    first, others = (
        {datetime.fromisoformat(found).replace(tzinfo=UTC) for found in pattern.findall(message.text)}
        for pattern in (_EXPIRES, _EXPIRES_TOO)
    )
    return first, first | others


def undelivered(found: Reported, messages: Sequence[Message]) -> Iterator[Message]:
    """Messages that History has, and that SNS never took, alone or in a summary."""
    committed = [message for message in messages if message.channel == "alert"]
    for known in found.by_test.values():
        for message in known.values():
            same = (one for one in committed if one.event == message.event)
            if not any(one.summary or one.id_time == message.id_time for one in same):
                yield message
