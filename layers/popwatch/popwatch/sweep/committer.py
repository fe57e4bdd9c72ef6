"""Making an outcome true: judge it, commit the record, then do what the record owes. The order is what keeps promises.

1. Judge, and put the new record on condition that nobody else has; state, transition and alert are in that one item.
2. Put the transition into History.
3. Publish the alert.
4. Note in History that SNS accepted it.
5. Take what is settled off the record.

A process that dies after 1 leaves the rest in `pending`, and a later sweep does it. One that dies between 3 and 4 has
the alert sent twice.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.alerts.rendering import render, summarize
from popwatch.aws.alert_topic import AlertTopic
from popwatch.aws.store import Store
from popwatch.decisions.batches import PlannedTest
from popwatch.decisions.judging import forget, judge, suspend
from popwatch.decisions.schedule import is_due
from popwatch.model.health import Health, Judgement, State
from popwatch.model.messages import Message
from popwatch.model.outcomes import Outcome
from popwatch.model.records import OutboxEntry, Record

COLLISIONS = 5
"""How often a commit is tried anew on a record that others keep changing."""

STORM_PATIENCE = timedelta(seconds=10)
"""How long an alert above the threshold waits for the summary that lists it."""

LastGood = Callable[[str], tuple[datetime, float] | None]
"""When a target last passed and its rtt_ms then, by the samples, if they know."""

_log = logging.getLogger("popwatch.sweep.committer")


class CommitError(Exception):
    """A record could not be written because others kept changing it."""


@dataclass(slots=True)
class Tally:
    """What a committer did: transitions by new state, alerts by event, and how much AWS refused and stays owed."""

    transitions: Counter[State] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    unsent: int = 0


class Committer:
    """Commits the outcomes of one batch; several threads may use it at once.

    `writer` names this invocation. The first `storm_threshold` alerts go out one by one, the rest together in a summary
    that `flush` sends.
    """

    def __init__(
        self, store: Store, notifier: AlertTopic, *, storm_threshold: int, writer: str, clock: Callable[[], datetime]
    ) -> None:
        self._store, self._notifier, self._clock = store, notifier, clock
        self._threshold, self._writer = storm_threshold, writer
        self._held: list[tuple[Record, OutboxEntry]] = []
        self._held_since: datetime | None = None
        self._announced = 0
        self._lock = Lock()
        self.tally = Tally()

    def commit(self, test: PlannedTest, outcome: Outcome, tick: datetime, last_good: LastGood) -> Record:
        """Judge the outcome of a test planned for `tick` and see it through; the target's record as it now is.

        Changes nothing where the tick, or a later one, has been judged already.
        """
        policy, target = test.target.policy, test.target

        def decide(record: Record) -> tuple[Record, Judgement, Message | None]:
            health = _with_last_good(record, last_good)
            judgement = judge(health, outcome, policy, tick, test.failing_parent)
            message = render(target, health, judgement, outcome, tick) if judgement.alert else None
            return replace(record, outcome=outcome), judgement, message

        return self._commit(test, tick, decide)

    def suspend(self, test: PlannedTest, tick: datetime) -> Record:
        """Record that the target's user has switched it off."""
        return self._commit(test, tick, lambda record: (record, suspend(record.health, tick), None))

    def forget(self, record: Record, tick: datetime) -> None:
        """Delete the record of a target that its user has removed, once History says that no more is known of it.

        Without that its last state would count until it is added again. Where another changed the record first, or AWS
        refuses, the next sweep does it.
        """
        judgement = forget(record.health, tick)
        if judgement.transition:
            after = self._advance(record, judgement, None, tick)
            if self._store.commit(after, record.version) is not None:
                return
            record = self._see_through(after, after.outbox)
        if not record.outbox:
            self._store.delete_record(record)

    def settle(self, record: Record, dead_since: datetime) -> Record:
        """Do what the record has owed since before `dead_since`, its committer being dead; the record as it is then.

        An alert is claimed first, by a write that only one of several sweeps succeeds in: of two that run at once, as
        when a tick comes twice, only one publishes. A claim is as good as a commit: should its owner die too, another
        sweep claims it anew.
        """
        owed = [pending for pending in record.outbox if pending.committed_at < dead_since]
        if not owed:
            return record
        try:
            claimed, mine = self._claim(record, owed)
        except (BotoCoreError, ClientError):
            self._stays_owed(record)
            return record
        return self._see_through(claimed, owed, left_behind=True) if mine else claimed

    def flush(self, *, final: bool = False) -> None:
        """Send the summary of the alerts that are held, once they have waited long enough or it is the end."""
        with self._lock:
            waited = self._clock() - self._held_since if self._held_since else timedelta()
            if not self._held or not (final or waited >= STORM_PATIENCE):
                return
            held, self._held, self._held_since = self._held, [], None
        messages = [pending.message for _, pending in held if pending.message]
        summary = messages[0] if len(messages) == 1 else summarize(messages, self._clock())
        message_id = self._publish(summary)
        for record, pending in held if message_id else ():
            try:
                self._store.put_alert(record.target_id, pending, message_id, self._clock(), summary=len(messages) > 1)
                self._take_off(record, {pending.version})
            except (BotoCoreError, ClientError):  # the others' notes, and the batch's samples, must not go with it
                self._stays_owed(record)

    def _commit(
        self, test: PlannedTest, tick: datetime, decide: Callable[[Record], tuple[Record, Judgement, Message | None]]
    ) -> Record:
        record = test.record
        if record.tick is not None and record.tick >= tick:
            return record
        for _ in range(COLLISIONS):
            base, judgement, message = decide(record)
            after = self._advance(base, judgement, message, tick)
            there = self._store.commit(after, record.version)
            if there is None:
                self._note_transition(after, judgement)
                return self._see_through(after, [owed for owed in after.outbox if owed.version == after.version])
            judged = there.tick != record.tick
            if judged and not is_due(there.target_id, there.health, test.target.policy, there.tick, tick):
                return there
            record = there
        raise CommitError(f"The record of {record.target_id} kept changing; the next sweep tests it again.")

    def _advance(self, record: Record, judgement: Judgement, message: Message | None, tick: datetime) -> Record:
        version, pending = record.version + 1, record.outbox
        if judgement.transition or message:
            pending = (*pending, OutboxEntry(version, tick, self._clock(), judgement.transition, message))
        return replace(record, version=version, tick=tick, health=judgement.health, outbox=pending, writer=self._writer)

    def _note_transition(self, record: Record, judgement: Judgement) -> None:
        if judgement.transition:
            with self._lock:
                self.tally.transitions[judgement.transition.state] += 1
            _log.info("A target changed its state.", extra=_facts(record, judgement))

    def _see_through(self, record: Record, owed: Sequence[OutboxEntry], *, left_behind: bool = False) -> Record:
        """Do what a committed record owes; where AWS refuses, it stays owed and a later sweep does it."""
        try:
            return self._settle(record, owed, left_behind=left_behind)
        except (BotoCoreError, ClientError):
            self._stays_owed(record)
            return record

    def _stays_owed(self, record: Record) -> None:
        _log.exception("What a record owes stays owed.", extra={"target_id": record.target_id})
        with self._lock:
            self.tally.unsent += 1

    def _claim(self, record: Record, owed: Sequence[OutboxEntry]) -> tuple[Record, bool]:
        """The record with what is owed as of now, or as another has changed it; and whether this sweep may do it."""
        if not any(pending.message for pending in owed):
            return record, True
        now = self._clock()
        pending = tuple(replace(entry, committed_at=now) if entry in owed else entry for entry in record.outbox)
        claimed = replace(record, version=record.version + 1, outbox=pending, writer=self._writer)
        there = self._store.commit(claimed, record.version)
        return (claimed, True) if there is None else (there, False)

    def _settle(self, record: Record, owed: Sequence[OutboxEntry], *, left_behind: bool) -> Record:
        settled: set[int] = set()
        for pending in owed:
            if pending.transition:
                self._store.put_transition(record.target_id, pending)
            known = left_behind and pending.message and self._store.has_alert(record.target_id, pending)
            if pending.message is None or known or self._announce(record, pending, pending.message):
                settled.add(pending.version)
        return self._take_off(record, settled) if settled else record

    def _announce(self, record: Record, pending: OutboxEntry, message: Message) -> bool:
        """Send an alert, or hold it for the summary; whether it was sent."""
        with self._lock:
            self._announced += 1
            if self._announced > self._threshold:
                self._held.append((record, pending))
                self._held_since = self._held_since or self._clock()
                return False
        message_id = self._publish(message)
        if message_id:
            self._store.put_alert(record.target_id, pending, message_id, self._clock(), summary=False)
        return bool(message_id)

    def _publish(self, message: Message) -> str:
        """Publish; the id that SNS gave, or nothing if it did not take the message."""
        try:
            message_id = self._notifier.publish(message)
        except (BotoCoreError, ClientError):
            _log.exception("SNS did not take an alert.", extra={"target_id": message.target_id})
            with self._lock:
                self.tally.unsent += 1
            return ""
        with self._lock:
            self.tally.alerts[message.event] += 1
        return message_id

    def _take_off(self, record: Record, settled: set[int]) -> Record:
        """The record without what is settled; where another changed it first, a later sweep takes it off."""
        after = replace(record.without(settled), writer=self._writer)
        return self._store.commit(after, record.version) or after


def _with_last_good(record: Record, last_good: LastGood) -> Health:
    """The health with what samples know of the last passed test, which an up target's record does not hold."""
    found = last_good(record.target_id) if record.health.state is State.UP else None
    if found is None:
        return record.health
    return replace(record.health, last_good_at=found[0], last_good_rtt_ms=found[1])


def _facts(record: Record, judgement: Judgement) -> dict[str, object]:
    outcome = record.outcome
    return {
        "target_id": record.target_id,
        "state": judgement.health.state,
        "previous_state": judgement.transition.previous if judgement.transition else "",
        "error": outcome.error if outcome else None,
        "reason": outcome.reason if outcome else "",
    }
