"""How many messages a target brings, and the hold of too many: docs/outages.md, "Too many messages"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from tests.chaos.facts import Finding
from tests.chaos.oracle_figures import figures_of
from tests.chaos.record import NEVER, SKEW, Lifetime, Message, Test

DAY = timedelta(days=1)
LATE = timedelta(minutes=30)
"""Messages that a death has left behind may be sent together, so long after their tests."""

SPARE = 2
"""Messages that are left for the beginning and the end of a hold."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """From the test that brought `throttled` to the one that brought `unthrottled`, if that has come."""

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
    return [
        Throttled(found[one], found[following] if following and following[1] == "unthrottled" else None)
        for one, following in pairwise([*inner, None])
        if one and one[1] == "throttled"
    ]


def too_many(lifetime: Lifetime, messages: Sequence[Message], *, most: int) -> Iterator[Finding]:
    """More messages than an allowance, and what came back of it meanwhile; a day brings twice the allowance at most."""
    each = DAY / most
    first = {(one.event, one.number, one.id_time): one for one in reversed(messages) if one.place == "alert"}
    sent = sorted(
        (one for one in first.values() if lifetime.tests[0].made < one.order < lifetime.end), key=lambda it: it.order
    )
    for begin, one in enumerate(sent):
        for end in range(begin + most, len(sent)):
            passed = sent[end].time - one.time
            if end - begin + 1 > most + (passed + LATE) / each:
                text = f"{end - begin + 1} within {passed}, of which {most} at once are allowed"
                yield Finding("too many messages", sent[end].order, lifetime.target, text)
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
