"""What holds a message back, as the table of docs/outages.md has it: whether each hold was there for certain at a test.

Where it cannot be known on which side of a write the committer has read, a hold is possible and not certain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.chaos import facts
from tests.chaos.record import SKEW, CampaignRecord, Message, Run, Test

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Certainty:
    """Whether something is so, such as that a message is held: `certain` implies `possible`."""

    possible: bool = False
    certain: bool = False

    def __or__(self, other: "Certainty") -> "Certainty":
        return Certainty(self.possible or other.possible, self.certain or other.certain)


def among(held: Iterable[bool]) -> Certainty:
    """Certain if all say so, possible if one does."""
    all_held = list(held)
    return Certainty(any(all_held), bool(all_held) and all(all_held))


class Holds:
    """The holds of a run's record; `messages` are those that were sent, by target."""

    def __init__(self, record: CampaignRecord, messages: dict[str, list[Message]]) -> None:
        self._record, self._messages = record, messages

    def full_hold(self, test: Test) -> Certainty:
        """Maintenance or a silence, also of a test that was under way as it began; suspended; removed."""
        done = self._record.time(test.committed)
        begin, end = test.began - SKEW, done + SKEW
        written = self._record.read_for(test)

        def silences(one: facts.Configured) -> Certainty:
            if one.policy is None or not one.policy.enabled:
                return Certainty(possible=True, certain=True)
            made = self._record.time(test.made_order) - SKEW
            possible = any(since < end and begin < until for since, until in one.windows)
            return Certainty(possible, any(since < made and end < until for since, until in one.windows))

        each = [silences(one) for one in written]
        return Certainty(any(one.possible for one in each), bool(each) and all(one.certain for one in each))

    def acknowledged(self, run: Run, test: Test) -> Certainty:
        """The outage was acknowledged before the test was committed."""
        written = self._record.in_force_during(run.lifetime.target, test.made_order, test.committed)
        return among(one.policy is not None and _names(one.policy, run.since) for one in written)

    def down(self, run: Run, test: Test, passed_before: Certainty) -> Certainty:
        """Whatever holds a `down` that is due with a test."""
        first = bool(test.policy.depends_on) and test is run.failed[0]
        held = self.full_hold(test) | self.acknowledged(run, test) | passed_before
        return held | self.parent(test) | Certainty(first, first)

    def parent(self, test: Test) -> Certainty:
        """The last test of each parent had failed: as the sweep of the minute read it, or before it was committed."""
        if not test.policy.depends_on:
            return Certainty()
        cycle = self._in_cycle(test)
        each = [self._of_parent(name, test) for name in test.policy.depends_on]
        failing, gone = [fails for fails, _ in each], [none for _, none in each]
        possible = any(one.possible for one in failing) and all(
            fails.possible or none.possible for fails, none in zip(failing, gone, strict=True)
        )
        certain = any(one.certain for one in failing) and all(
            fails.certain or none.certain for fails, none in zip(failing, gone, strict=True)
        )
        return Certainty(possible and not cycle.certain, certain and not cycle.possible)

    def _of_parent(self, name: str, test: Test) -> tuple[Certainty, Certainty]:
        """Whether a parent failed, and whether there was none: it was suspended, or not configured."""
        record, since = self._record, test.planned - SKEW
        tested, done = record.time(test.made_order), record.time(test.committed)
        configured = self._read_since(name, since, test.made_order)
        gone = among(one is None or one.policy is None or not one.policy.enabled for one in configured)
        either = [self._fails(name, time) for time in self._times_of_change(name, since, done)]
        possible = any(one.possible for one in either)
        certain = all(self._fails(name, time).certain for time in self._times_of_change(name, tested, done))
        return Certainty(possible, certain and not gone.possible), gone

    def _read_since(self, name: str, since: datetime, until: int) -> list[facts.Configured | None]:
        """What a sweep may have read of a target; None if it had not been written before."""
        begin = self._record.orders_before(since)
        known = [one for one in self._record.configured[name] if one.order < until]
        earlier = [one for one in known if one.order < begin]
        return [earlier[-1] if earlier else None, *known[len(earlier) :]]

    def _in_cycle(self, test: Test) -> Certainty:
        """Whether the target depends on itself through others, by what a sweep may have read."""
        since = test.planned - SKEW
        read = {name: self._read_since(name, since, test.made_order) for name in self._record.configured}
        parents = {
            name: [set(it.policy.depends_on) if it and it.policy else set() for it in read[name]] for name in read
        }
        possible = {name: set().union(*known) for name, known in parents.items()}
        certain = {name: known[0].intersection(*known[1:]) for name, known in parents.items()}
        return Certainty(_reaches_itself(test.target, possible), _reaches_itself(test.target, certain))

    def _times_of_change(self, parent: str, since: datetime, until: datetime) -> list[datetime]:
        """When a parent may have been read, as far as that matters: the beginning, and each write meanwhile."""
        record = self._record
        orders = range(record.orders_before(since), record.orders_until(until))
        return [since, *(record.time(write.order) for write in record.writes[parent] if write.order in orders)]

    def _fails(self, parent: str, time: datetime) -> Certainty:
        """Whether the last test of a parent that was committed before then, in its lifetime, failed.

        One that passed and did not end an outage is as good as failed.
        """
        record, until = self._record, self._record.orders_until(time)
        tests = [test for test in record.tests[parent] if test.committed < until]
        ends = [
            one.order
            for one in record.writes[parent]
            if one.order < until and (isinstance(one, facts.Forgotten) or one.state in ("suspended", "untested"))
        ]
        if not tests or tests[-1].committed <= max(ends, default=-1):
            return Certainty()
        fails = not tests[-1].ends_runs
        return Certainty(fails or tests[-1].may_end_run, fails)


def _reaches_itself(target: str, parents: Mapping[str, set[str]]) -> bool:
    found: set[str] = set()
    left = [target]
    while left:
        new = parents.get(left.pop(), set()) - found
        found |= new
        left += new
    return target in found


def _names(policy: facts.Policy, since: datetime) -> bool:
    return policy.acknowledged is not None and abs(policy.acknowledged - since) < SECOND
