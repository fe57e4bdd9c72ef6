"""By whom and in which order messages are handed to SNS: docs/outages.md, "In order".

Who tested sends, before its end. Two things excuse it: it has given the test back to the queue, or another invocation
had an earlier message of the target under way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.facts import Finding
from tests.chaos.record import CampaignRecord, Message, Test


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Judges the deliveries of a run; `messages` are those about each target."""

    record: CampaignRecord
    messages: dict[str, list[Message]]
    simulated: bool
    _sent: dict[str, list[tuple[Test, Message, str]]] = field(default_factory=dict)

    def judge(self, test: Test, copies: Sequence[Message], what: str) -> Iterator[Finding]:
        """SNS takes a message after its test; from who made the test, if that one came to its end."""
        sent = [message for message in copies if message.channel == "alert"]
        if not sent:
            yield Finding("alert lost", test.order, test.target, f"{what}: SNS never took it")
            return
        self._sent.setdefault(test.target, []).append((test, sent[0], what))
        if sent[0].order < test.committed:
            yield Finding("alert too early", sent[0].order, test.target, f"{what}: sent before it was committed")
        elif (
            self.record.ended_well(test.invocation)
            and sent[0].order > self.record.ended[test.invocation].order
            and not self._was_given_back(test, sent[0])
            and not self._followed_another(test, sent[0])
        ):
            text = f"{what}: not by who tested, which came to its end"
            yield Finding("alert late", sent[0].order, test.target, text)

    def judge_order(self) -> Iterator[Finding]:
        """The messages of a target come as their tests were committed, unless SNS refused an earlier one."""
        for target, several in self._sent.items():
            known = sorted(several, key=lambda one: one[0].committed)
            for (test, before, what), (_, message, other) in pairwise(known):
                if message.order < before.order and not self._was_refused(test, message):
                    yield Finding("alert overtaken", message.order, target, f"{other} came before {what}")

    def _was_given_back(self, test: Test, sent: Message) -> bool:
        """Who tested did not know that it was committed: who tested that tick anew sends, if that came to its end.

        If its message was doubled, that is whoever claims it first; while that one has it, the other may not send.
        """
        if not self.record.was_given_back(test):
            return False
        end = self.record.ended[test.invocation].order
        anew = [it for it in self.record.tests[test.target] if it.tick == test.tick and it.made_order > test.made_order]
        others = {it.invocation for it in anew if it.made_order < sent.order}
        writes = self.record.writes_between(test.target, test.committed, sent.order)
        first = next((it.invocation for it in writes if it.delivers and it.invocation in others), None)
        responsible = others if first is None else {first}
        ends = [self.record.ended[one].order for one in responsible if self.record.ended_well(one)]
        claimed = min((it.order for it in writes if it.invocation == sent.published.invocation), default=sent.order)
        return not any(end < over < claimed for over in ends)

    def _followed_another(self, test: Test, sent: Message) -> bool:
        """Whoever has an earlier message under way, on any topic, sends what comes behind it, if it ends well."""
        for message in self.messages[test.target]:
            end = self.record.ended.get(message.published.invocation)
            another = message.channel == "alert" or not _is_of_same_alert(message, sent)
            same = message.published.invocation == sent.published.invocation
            before = message.order <= sent.order or (same and _is_of_earlier_outage(message, sent))
            under_way = another and message is not sent and before
            unfinished = end is None or end.order > test.committed
            if under_way and unfinished and (same or end is None or end.how != "well"):
                return True
        return False

    def _was_refused(self, test: Test, later: Message) -> bool:
        """Whether SNS may have refused the message of a test before a later one came."""
        writers = {it.invocation for it in self.record.writes_between(test.target, test.committed, later.order)}
        tried = {test.invocation, *writers}
        if not self.simulated:  # what SNS refuses is not known there, but that its invocation does not end well
            return any(not self.record.ended_well(one) for one in tried)
        return any(test.committed < order < later.order for order in self.record.not_accepted_by(tried))


def _is_of_earlier_outage(one: Message, other: Message) -> bool:
    """By what both say; where the topics of one were left in part, it may be handed over last."""
    return bool(one.id_time and other.id_time and one.id_time < other.id_time)


def _is_of_same_alert(one: Message, other: Message) -> bool:
    """Whether both say the same; the next outage has the same numbers. A line of a summary does not say of which."""
    times = {it.id_time for it in (one, other) if it.id_time}
    return (one.event, one.number) == (other.event, other.number) and len(times) <= 1
