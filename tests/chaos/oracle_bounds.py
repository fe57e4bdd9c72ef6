"""How many messages a target brings, and the hold of too many: docs/outages.md, "Too many alerts"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from tests.chaos.facts import Finding
from tests.chaos.oracle_figures import figures_of
from tests.chaos.record import EVENTS, NEVER, SKEW, Lifetime, Message, Run, Test

DAY = timedelta(days=1)
LATE = timedelta(minutes=30)
"""Messages that a death has left behind may be sent together, so long after their tests."""

SPARE = 2
"""Messages that are left for the beginning and the end of a hold."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """From the test that brought `throttled` to the one that brought `unthrottled`, if that has come.

    It ends without one where no one wants alerts any more.
    """

    begin: Test
    end: Test | None

    def holds_at(self, order: int) -> bool:
        """Whether what comes due with a test is held, or was in place of which one of the two is sent."""
        return self.begin.order <= order <= (self.end.order if self.end else NEVER)


def allowance(max_alerts: int) -> int:
    """How many messages a target may bring at once; as many again come back within a day."""
    return max(24, 6 * (max_alerts + 1))


def throttled(lifetime: Lifetime, messages: Sequence[Message]) -> list[Throttled]:
    """The holds of a lifetime."""
    found: dict[tuple[int, str], Test] = {}
    for message in messages:
        if message.event in ("throttled", "unthrottled"):
            test = lifetime.test_at(figures_of(message.text).tested_at, message.order)
            if test:
                found[test.order, message.event] = test
    inner = sorted(found)
    holds: list[Throttled] = []
    for one, following in pairwise([*inner, None]):
        if one and one[1] == "throttled":
            quiet = [it for it in lifetime.tests if it.order > one[0] and not it.policy.max_alerts]
            ends = [*quiet[:1], *([found[following]] if following and following[1] == "unthrottled" else [])]
            holds.append(Throttled(found[one], min(ends, key=lambda test: test.order, default=None)))
    return holds


REPEATED = timedelta(minutes=15)
"""A message is repeated within this: its sender reaches its timeout, and a test or a sweep finds it in the outbox."""


def too_many(lifetime: Lifetime, messages: Sequence[Message], *, most: int) -> Iterator[Finding]:
    """More messages than an allowance, and what came back of it meanwhile; a day brings twice the allowance at most."""
    each = DAY / most
    first = {(one.event, one.number, one.id_time): one for one in reversed(messages) if one.channel == "alert"}
    sent = sorted(
        (one for one in first.values() if lifetime.tests[0].made_order < one.order < lifetime.end),
        key=lambda it: it.order,
    )
    sent = [one for one in sent if not _may_be_copy(one, sent)]
    for begin, one in enumerate(sent):
        for end in range(begin + most, len(sent)):
            passed = sent[end].time - one.time
            if end - begin + 1 > most + (passed + LATE) / each:
                text = f"{end - begin + 1} within {passed}, of which {most} at once are allowed"
                yield Finding("too many messages", sent[end].order, lifetime.target, text)
                return


def _may_be_copy(message: Message, messages: Iterable[Message]) -> bool:
    """Whether it may repeat a message whose sender died or lost the answer: no id of a summary's line shows it."""
    return any(
        (one.event, one.number) == (message.event, message.number)
        and (one.summary or message.summary)
        and one.order < message.order
        and message.time - one.time < REPEATED
        for one in messages
    )


HEADLINES = {words.lower(): event for words, event in EVENTS.items()}
_HELD = re.compile(r"^Held {2,}((?:.+\n)+?)(?=\S)", re.M)
_COUNT = re.compile(r"(\d+) ([A-Za-z ]+?)(?=,|$)")


def counts_in(words: str) -> Counter[str]:
    """By event, how many a text says: `2 down, 1 up again`."""
    found = _COUNT.findall(" ".join(words.split()))
    return Counter({HEADLINES.get(name.lower(), name): int(number) for number, name in found})


def wrong_counts(hold: Throttled, runs: Sequence[Run], messages: Sequence[Message]) -> Iterator[Finding]:
    """What `unthrottled` says that was held since the first message in whose place `throttled` was sent.

    `runs` are those of the time until then, and must be such that nothing else held their messages.
    """
    begin, end = hold.begin, hold.end
    assert end is not None
    expected: Counter[str] = Counter()
    for run in runs:
        policy = run.failed[0].policy
        failed = sum(test.order <= end.order for test in run.failed)
        downs = min(policy.max_alerts, failed // policy.failures_per_alert)
        before = sum(test.order < begin.order for test in run.failed) // policy.failures_per_alert
        expected["down"] += downs - min(policy.max_alerts, before)
        ended = run.confirmed is not None and begin.order <= run.confirmed.order <= end.order
        expected["recovered"] += bool(downs and ended and policy.alert_recovery)
    for message in messages:
        if message.event == "unthrottled" and not message.summary and end.made_order < message.order:
            text = _HELD.search(message.text)
            if figures_of(message.text).tested_at == end.began.replace(microsecond=0) and text:
                said = counts_in(text[1])
                if +said != +expected:
                    yield Finding("wrong figure", message.order, message.target, f"held {+said}, not {+expected}")
                return


def endless(lifetime: Lifetime, hold: Throttled, is_held: Callable[[Test], bool]) -> Iterator[Finding]:
    """A hold has an end: with the first test, outside of maintenance, at which there is room for its message."""
    each = DAY / allowance(hold.begin.policy.max_alerts)
    longest = (SPARE + 1) * each  # what is kept for the end, and the message that says so
    for test in lifetime.tests:
        if test.order <= hold.begin.order or test.policy.silenced or test.policy.max_alerts == 0:
            continue
        last = hold.end.order if hold.end else NEVER
        if (
            test.order < last
            and test.committed != NEVER
            and test.began - hold.begin.began > longest + SKEW
            and not is_held(test)
        ):
            text = f"throttled since {hold.begin.began}, and a test at {test.began} did not end it"
            yield Finding("hold without an end", test.order, lifetime.target, text)
            return
