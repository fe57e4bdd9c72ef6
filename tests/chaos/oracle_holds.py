"""What holds a message back, as the table of docs/outages.md has it: whether each hold was there for certain at a test.

Where it cannot be known on which side of a write the committer has read, a hold is possible and not certain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.chaos import facts
from tests.chaos.record import NEVER, SKEW, Message, Record, Run, Test

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Held:
    """Whether something holds a message: `certain` implies `possible`."""

    possible: bool = False
    certain: bool = False

    def __or__(self, other: "Held") -> "Held":
        return Held(self.possible or other.possible, self.certain or other.certain)


def among(held: Iterable[bool]) -> Held:
    """Held for certain if all say so, possibly if one does."""
    all_held = list(held)
    return Held(any(all_held), bool(all_held) and all(all_held))


class Holds:
    """The holds of a run's record; `messages` are those that were sent, by target."""

    def __init__(self, record: Record, messages: dict[str, list[Message]]) -> None:
        self._record, self._messages = record, messages

    def everything(self, target: str, test: Test) -> Held:
        """Maintenance or a silence, also of a test that was under way as it began; suspended; removed."""
        done = self._record.time(test.committed)
        begin, end = test.began - SKEW, done + SKEW
        written = self._record.in_force_during(target, test.made, test.committed)

        def silences(one: facts.Configured) -> Held:
            if one.policy is None or not one.policy.enabled:
                return Held(possible=True, certain=True)
            if one.silence is None:
                return Held()
            since, until = one.silence
            return Held(since < end and begin < until, since < self._record.time(test.made) - SKEW and end < until)

        each = [silences(one) for one in written]
        return Held(any(one.possible for one in each), bool(each) and all(one.certain for one in each))

    def acknowledged(self, run: Run, test: Test) -> Held:
        """The outage was acknowledged before the test was committed."""
        written = self._record.in_force_during(run.lifetime.target, test.made, test.committed)
        return among(one.policy is not None and _names(one.policy, run.since) for one in written)

    def down(self, run: Run, test: Test, passed_before: Held) -> Held:
        """Whatever holds a `down` that is due with a test."""
        target = run.lifetime.target
        first = bool(test.policy.depends_on) and test is run.failed[0]
        held = self.everything(target, test) | self.acknowledged(run, test) | passed_before
        return held | self.parent(test) | Held(first, first)

    def parent(self, test: Test) -> Held:
        """The parent's last test had failed: as the sweep of the minute read it, or before the test was committed."""
        name = test.policy.depends_on
        if not name:
            return Held()
        record, since = self._record, test.planned - SKEW
        tested, done = record.time(test.made), record.time(test.committed)
        possible = among(self._fails(name, time) for time in self._times_of_change(name, since, done)).possible
        certain = among(self._fails(name, time) for time in self._times_of_change(name, tested, done)).certain
        return Held(possible, certain and self._holds_at_all(test, name, since))

    def _times_of_change(self, parent: str, since: datetime, until: datetime) -> list[datetime]:
        """When a parent may have been read, as far as that matters: the beginning, and each write meanwhile."""
        written = [self._record.time(write.order) for write in self._record.writes[parent]]
        return [since, *(one for one in written if since <= one <= until)]

    def _fails(self, parent: str, time: datetime) -> bool:
        """Whether the last test of a parent that was committed before then, in its lifetime, failed."""
        record = self._record
        before = [write for write in record.writes[parent] if record.time(write.order) <= time]
        tests = [
            test for test in record.tests[parent] if test.committed != NEVER and record.time(test.committed) <= time
        ]
        ends = [
            one.order for one in before if isinstance(one, facts.Forgotten) or one.state in ("suspended", "untested")
        ]
        return bool(tests) and not tests[-1].passed and tests[-1].committed > max(ends, default=-1)

    def _holds_at_all(self, test: Test, parent: str, since: datetime) -> bool:
        """Whether the parent was configured, not suspended, and in no cycle, all the time."""
        record = self._record
        orders = [one.order for one in record.configured[parent] if record.time(one.order) >= since]
        begin = min([*orders, test.made])
        for one in record.in_force_during(parent, begin, test.made):
            if one.policy is None or not one.policy.enabled:
                return False
            following, seen = one.policy.depends_on, {parent}
            while following and following not in seen:
                seen.add(following)
                there = record.in_force(following, test.made)
                following = there.policy.depends_on if there and there.policy else ""
            if following:
                return False
        first = record.in_force(parent, begin)
        return first is not None


def _names(policy: facts.Policy, since: datetime) -> bool:
    return policy.acknowledged is not None and abs(policy.acknowledged - since) < SECOND
