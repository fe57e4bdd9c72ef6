"""Bugs that a campaign must find: each one is planted over the product's own classes and breaks one promise.

What a campaign does not find among these, it would not find in the product either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.store import Store, SweepCheckpoint
from popwatch.config import Settings
from popwatch.decisions.batches import PlannedTest, Work
from popwatch.decisions.judging import judge
from popwatch.decisions.planning import Plan
from popwatch.model.health import Judgement, State
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import Outcome
from popwatch.model.records import OutboxEntry, PublishedAlert, Record
from popwatch.model.samples import Sample
from popwatch.model.serialization import serialize
from popwatch.model.totals import Totals
from popwatch.sweep.batch_tester import Results
from popwatch.sweep.committer import Committer, LastGood
from popwatch.sweep.outbox import OutboxDelivery, PendingAlert
from popwatch.sweep.sweep import Dependencies, InvocationStats, Sweep
from tests.chaos.world import Code

Decide = Callable[[Record], tuple[Record, Judgement, AlertMessage | None] | None]


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug, and the kinds of findings of which at least one must result from it."""

    code: Code
    found_as: tuple[str, ...]
    fault_rates: Mapping[str, float] = field(default_factory=dict)


class NoVersionCondition(Store):
    """A commit overwrites whatever is there."""

    def commit(self, record: Record, expected: int, expected_tick: datetime | None = None) -> Record | None:  # noqa: ARG002 - that is the bug
        self._put_status(serialize(record), ("attribute_not_exists(nothing)", {}, {}))
        return None


class TickForgotten(Store):
    """A record that another wrote seems not to have been judged for any tick; its outbox is left alone."""

    def commit(self, record: Record, expected: int, expected_tick: datetime | None = None) -> Record | None:
        there = super().commit(record, expected, expected_tick) if record.tick else self.read_record(record.target_id)
        return replace(there, tick=None) if there else None


class PendingForgotten(Store):
    """The outbox is not in the record that is committed."""

    def commit(self, record: Record, expected: int, expected_tick: datetime | None = None) -> Record | None:
        return super().commit(replace(record, outbox=()), expected, expected_tick)


class LastAlertForgotten(Store):
    """At which failure the last alert was sent is not in the record: the next one comes too soon after a held one."""

    def commit(self, record: Record, expected: int, expected_tick: datetime | None = None) -> Record | None:
        return super().commit(
            replace(record, health=replace(record.health, alerted_at_failures=0)), expected, expected_tick
        )


class EndedOutageForgotten(Store):
    """That an outage has ended in maintenance, and its recovery is to be sent, is not in the record."""

    def commit(self, record: Record, expected: int, expected_tick: datetime | None = None) -> Record | None:
        return super().commit(
            replace(record, health=replace(record.health, ended_outage=None)), expected, expected_tick
        )


class SilenceNotReadAgain(Store):
    """What people have done since a test was planned is not looked at before its alert."""

    def read_target(self, target_id: str) -> dict[str, Any] | None:
        return {"target_id": target_id}


class FlappingForgotten(Store):
    """That an alert has said that a target flaps is not in the record."""

    def commit(self, record: Record, expected: int, expected_tick: datetime | None = None) -> Record | None:
        return super().commit(replace(record, health=replace(record.health, flapping=False)), expected, expected_tick)


class DeliveryNotLookedUp(Store):
    """Whether an alert was sent already is never asked."""

    def read_alert(self, target_id: str, entry: OutboxEntry) -> PublishedAlert | None:  # noqa: ARG002 - that is the bug
        return None


class OneTopicTakenForBoth(Store):
    """An alert that one topic has accepted counts as accepted by both."""

    def read_alert(self, target_id: str, entry: OutboxEntry) -> PublishedAlert | None:
        found = super().read_alert(target_id, entry)
        return replace(found, message_ids=dict.fromkeys(Topic, found.message_id)) if found else None


class OtherTopicForgotten(Store):
    """The second write of an alert forgets the topics of the first."""

    def put_alert(self, target_id: str, entry: OutboxEntry, published: PublishedAlert) -> None:
        newest = list(published.message_ids.items())[-1:]
        super().put_alert(target_id, entry, replace(published, message_ids=dict(newest)))


class TransitionDropped(Store):
    """A transition to lost is not put into History."""

    def put_transition(self, target_id: str, pending: OutboxEntry) -> None:
        if pending.transition and pending.transition.state is not State.LOST:
            super().put_transition(target_id, pending)


class TransitionKeyedByClock(Store):
    """A transition's key is not its own, so that a repeat is a second one."""

    def put_transition(self, target_id: str, pending: OutboxEntry) -> None:
        super().put_transition(target_id, replace(pending, version=pending.version + int(self._clock().second > 30)))


class FailuresNotSampled(Store):
    """Samples hold passes only."""

    def put_samples(self, batches: int, batch: int, tick: datetime, digest: str, samples: Mapping[str, Sample]) -> bool:
        passed = {name: sample for name, sample in samples.items() if sample.error is None}
        return super().put_samples(batches, batch, tick, digest, passed)


class HourCut(Store):
    """An hour's totals lack a target."""

    def put_hour(self, batches: int, batch: int, hour: datetime, totals: Mapping[str, Totals]) -> None:
        super().put_hour(batches, batch, hour, dict(list(totals.items())[1:]))


class HourSkipped(Store):
    """Every second hour is not added up."""

    def put_hour(self, batches: int, batch: int, hour: datetime, totals: Mapping[str, Totals]) -> None:
        if hour.hour % 2:
            super().put_hour(batches, batch, hour, totals)


class RefusalTakenForAnswer(AlertTopics):
    """An alert that SNS refused counts as sent."""

    def publish(self, topic: Topic, message: AlertMessage) -> str:
        try:
            return super().publish(topic, message)
        except (BotoCoreError, ClientError):
            return "sent"


class OneTopicIsEnough(OutboxDelivery):
    """An alert leaves the outbox once one topic has accepted it."""

    def _record_alert(self, alert: PendingAlert, message_ids: Mapping[Topic, str], *, summary: bool) -> bool:
        return super()._record_alert(alert, message_ids, summary=summary) or bool(message_ids)


class RetestsDropped(BatchQueue):
    """Work for later is not sent to the queue."""

    def send(self, work: Work, delay_seconds: int = 0) -> int:
        return 0 if delay_seconds else super().send(work, delay_seconds)


class PublishesFirst(Committer):
    """An alert is published before its judgement is committed, and is not in the outbox."""

    def _commit(
        self, test: PlannedTest, tick: datetime, decide: Decide, outcome: Outcome | None = None
    ) -> Record | None:
        decided = decide(test.record)
        if decided and decided[2]:
            for topic in Topic:
                self._delivery._publish(topic, decided[2])

        def without_message(record: Record) -> tuple[Record, Judgement, AlertMessage | None] | None:
            found = decide(record)
            return found and (*found[:2], None)

        return super()._commit(test, tick, without_message, outcome)


class RecordedBeforeSent(OutboxDelivery):
    """That an alert was sent is recorded before SNS has accepted it."""

    def _send_or_buffer(self, alert: PendingAlert) -> bool | None:
        published = PublishedAlert(alert.message, dict.fromkeys(Topic, "unknown"), self._clock())
        self._store.put_alert(alert.record.target_id, alert.entry, published)
        return super()._send_or_buffer(alert)


class NothingDelivered(OutboxDelivery):
    """The outbox of an ended invocation is never delivered."""

    def deliver_left_by_ended(self, record: Record) -> Record:
        return record


class DeliveredTooSoon(OutboxDelivery):
    """An outbox counts as left behind at once."""

    def _has_ended(self, entry: OutboxEntry) -> bool:
        return super()._has_ended(replace(entry, committed_at=entry.committed_at - timedelta(minutes=2)))


class NothingClaimed(OutboxDelivery):
    """Sweeps that run at once all send what was left behind."""

    def _claim(self, record: Record, left: Sequence[OutboxEntry]) -> tuple[Record, bool]:
        return replace(record, outbox=self.claimed(left)), True


class SummaryTakenForSent(OutboxDelivery):
    """An alert that is buffered for a summary counts as sent."""

    def _send_or_buffer(self, alert: PendingAlert) -> bool:
        super()._send_or_buffer(alert)
        return True


class JudgedOtherwise(Committer):
    """A test is judged as if it, or its target, were another."""

    def commit(
        self,
        test: PlannedTest,
        outcome: Outcome,
        judgement: Judgement,
        tick: datetime,
        last_good: LastGood,
        **options: Any,
    ) -> Record | None:
        other = self._other(test)
        judgement = judge(other.record.health, outcome, other.target.policy, tick, other.failing_parent)
        return super().commit(other, outcome, judgement, tick, last_good, **options)

    def _other(self, test: PlannedTest) -> PlannedTest:
        raise NotImplementedError


class Miscounted(JudgedOtherwise):
    """Alerts come one failure late."""

    def _other(self, test: PlannedTest) -> PlannedTest:
        policy = replace(test.target.policy, failures_per_alert=test.target.policy.failures_per_alert + 1)
        return replace(test, target=replace(test.target, policy=policy))


class RecoveryNotSent(JudgedOtherwise):
    """No one is notified that an outage is over."""

    def _other(self, test: PlannedTest) -> PlannedTest:
        return replace(test, target=replace(test.target, policy=replace(test.target.policy, alert_recovery=False)))


class ParentIgnored(JudgedOtherwise):
    """A target's alerts are not held while the one that it depends on fails."""

    def _other(self, test: PlannedTest) -> PlannedTest:
        return replace(test, failing_parent="")


class ForgottenWithOutbox(Sweep):
    """A removed target is forgotten before its outbox has been delivered."""

    def _deliver_outboxes(self, records: Mapping[str, Record]) -> dict[str, Record]:
        targets = {item["target_id"] for item in self._store.read_targets()[1]}
        for name, record in records.items():
            if name not in targets:
                self._store.delete_record(record)
        return super()._deliver_outboxes({name: one for name, one in records.items() if name in targets})


class RemovedNotForgotten(Sweep):
    """A removed target's record stays."""

    def _forget_removed(self, targets: Mapping[str, Any], records: Mapping[str, Record], tick: datetime) -> None:
        pass


class CompletedTooSoon(Sweep):
    """A tick counts as completed before its tests have been made."""

    def _run_plan(self, planned: Plan) -> tuple[int, Results]:
        self._store.put_checkpoint(SweepCheckpoint(planned.now.tick, planned.now.tick.replace(minute=0)))
        return super()._run_plan(planned)


class MissedTicksForgotten(Sweep):
    """A sweep plans from the tick before it, not from the last completed one."""

    def run_tick(self, tick: datetime) -> InvocationStats:
        store = self._store
        read = store.read_records

        def read_records() -> tuple[SweepCheckpoint, dict[str, Record]]:
            checkpoint, records = read()
            missed = checkpoint.tick and checkpoint.tick < tick
            return (replace(checkpoint, tick=tick - timedelta(minutes=1)) if missed else checkpoint), records

        store.read_records = read_records  # type: ignore[method-assign]
        return super().run_tick(tick)


def _committing(kind: type[Committer]) -> Code:
    """The code with another committer."""

    class WithCommitter(Sweep):
        def __init__(
            self, dependencies: Dependencies, settings: Settings, *, writer: str, clock: Any, **rest: Any
        ) -> None:
            super().__init__(dependencies, settings, writer=writer, clock=clock, **rest)
            self._committer = kind(dependencies.store, self._delivery, stack=settings.stack, clock=clock)

    return Code(sweep=WithCommitter)


def _delivering(kind: type[OutboxDelivery]) -> Code:
    """The code with another delivery of the outboxes."""

    class WithDelivery(Sweep):
        def __init__(
            self, dependencies: Dependencies, settings: Settings, *, writer: str, clock: Any, **rest: Any
        ) -> None:
            super().__init__(dependencies, settings, writer=writer, clock=clock, **rest)
            self._delivery = kind(
                dependencies.store,
                dependencies.alert_topics,
                storm_threshold=settings.storm_threshold,
                stack=settings.stack,
                writer=writer,
                function_timeout=timedelta(seconds=settings.function_timeout_seconds),
                clock=clock,
            )
            self._committer = Committer(dependencies.store, self._delivery, stack=settings.stack, clock=clock)

    return Code(sweep=WithDelivery)


OVERLAPPING = {
    "tick_doubled": 0.5,
    "latency": 0.4,
    "delayed": 0.3,
    "server_changed": 0.1,
    "killed_before": 0.01,
    "killed_after": 0.01,
}
"""Many sweeps at once, over a slow AWS."""

REFUSING = {"refused": 0.4}
"""So many refusals that one topic takes an alert and the other does not."""

BUGS = {
    "no version condition": Bug(Code(store=NoVersionCondition), ("overwritten",)),
    "tick forgotten": Bug(Code(store=TickForgotten), ("counted twice",)),
    "pending forgotten": Bug(Code(store=PendingForgotten), ("wrong alert", "alert lost", "transition lost")),
    "delivery not looked up": Bug(Code(store=DeliveryNotLookedUp), ("sent twice",)),
    "one topic taken for both": Bug(Code(store=OneTopicTakenForBoth), ("alert lost",), REFUSING),
    "other topic forgotten": Bug(Code(store=OtherTopicForgotten), ("sent twice",), REFUSING),
    "one topic is enough": Bug(_delivering(OneTopicIsEnough), ("alert lost",), REFUSING),
    "transition dropped": Bug(Code(store=TransitionDropped), ("transition lost",)),
    "transition keyed by the clock": Bug(Code(store=TransitionKeyedByClock), ("transition invented",)),
    "failures not sampled": Bug(Code(store=FailuresNotSampled), ("sample lost",)),
    "hour cut": Bug(Code(store=HourCut), ("wrong hour",)),
    "hour skipped": Bug(Code(store=HourSkipped), ("hour lost",)),
    "refusal taken for an answer": Bug(Code(alert_topics=RefusalTakenForAnswer), ("recorded unsent", "alert lost")),
    "retests dropped": Bug(Code(batch_queue=RetestsDropped), ("not tested in time",)),
    "published before the commit": Bug(_committing(PublishesFirst), ("wrong alert", "alert invented")),
    "recorded before SNS answered": Bug(_delivering(RecordedBeforeSent), ("recorded unsent",)),
    "nothing delivered": Bug(_delivering(NothingDelivered), ("alert lost", "transition lost")),
    "delivered too soon": Bug(_delivering(DeliveredTooSoon), ("sent twice",), OVERLAPPING),
    "nothing claimed": Bug(_delivering(NothingClaimed), ("sent twice",), OVERLAPPING),
    "summary taken for sent": Bug(_delivering(SummaryTakenForSent), ("alert lost", "recorded unsent")),
    "miscounted": Bug(_committing(Miscounted), ("wrong state",)),
    "recovery not sent": Bug(_committing(RecoveryNotSent), ("wrong alert",)),
    "parent ignored": Bug(_committing(ParentIgnored), ("wrong state",)),
    "last alert forgotten": Bug(Code(store=LastAlertForgotten), ("wrong state", "wrong alert")),
    "ended outage forgotten": Bug(Code(store=EndedOutageForgotten), ("wrong alert", "alert lost")),
    "silence not read again": Bug(Code(store=SilenceNotReadAgain), ("wrong state", "wrong alert")),
    "flapping forgotten": Bug(Code(store=FlappingForgotten), ("wrong state", "wrong alert")),
    "forgotten with an outbox": Bug(Code(sweep=ForgottenWithOutbox), ("alert lost", "transition lost")),
    "removed, not forgotten": Bug(Code(sweep=RemovedNotForgotten), ("ghost",)),
    "completed too soon": Bug(Code(sweep=CompletedTooSoon), ("not tested in time",)),
    "missed ticks forgotten": Bug(Code(sweep=MissedTicksForgotten), ("not tested in time",)),
}
