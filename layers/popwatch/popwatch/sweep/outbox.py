"""Delivering the outbox of a record: what a commit has put into it, or what an ended invocation has left there.

This order guarantees at-least-once delivery:

1. Judge, and put the new record on condition that no one else has changed it; state, transition and alert are in that
   one item. This is the committer's part.
2. Put the transition into History.
3. Publish the alert to each topic.
4. Put the alert into History, with the topics that have accepted it.
5. Remove what has been delivered from the record's outbox: an alert once every topic has accepted it.

A process that dies after 1 leaves the rest in the outbox, and a later sweep delivers it: to the topics that History
does not name. One that dies between 3 and 4 has the alert sent twice to the topics that had accepted it: SNS has no
token by which it would know a repeated message.

The alerts of a target are sent in the order in which they were committed. The invocation that sends the first alert of
an outbox sends all: a test that finds an alert of another invocation there leaves its own to that one, which finds it
in step 5, as the record has changed. Once that invocation has ended, the next commit of the target claims all alerts
that it has left, or a sweep does. It counts as ended when it has reached its timeout; when it has marked the alert
`given_up`, as SNS refused it; and when it has sent its test back to the queue without knowing that it was committed.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.alert_topics import AlertTopics, MessageRefusedError
from popwatch.aws.store import WRITE_ATTEMPTS, Store
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.records import OutboxEntry, PublishedAlert, Record

SUMMARY = "summary"
"""The event of a summary, as it is counted."""

SUMMARY_WAIT = timedelta(seconds=10)
"""How long an alert above the threshold waits for the summary that lists it."""

_log = logging.getLogger("popwatch.sweep.outbox")


@dataclass(slots=True)
class DeliveryStats:
    """What was delivered: alerts by event, and how many deliveries AWS refused.

    An alert counts once, not for each topic. `fallback_messages` are those that SNS took as a fallback only.
    """

    alerts: Counter[str] = field(default_factory=Counter)
    undelivered: int = 0
    fallback_messages: int = 0


@dataclass(frozen=True, slots=True)
class PendingAlert:
    """An alert in the outbox of a record; `published` is what History says of it, if a topic has accepted it before.

    A `released` one was held while the target's parent failed: with others that were, it goes out as one summary.
    """

    record: Record
    entry: OutboxEntry
    message: AlertMessage
    published: PublishedAlert | None = None
    released: bool = False

    @property
    def accepted(self) -> Mapping[Topic, str]:
        """The topics that have accepted it, and the ids that SNS gave it."""
        return self.published.message_ids if self.published else {}


class OutboxDelivery:
    """Delivers the outboxes of records for one invocation; several threads may use it at once.

    `writer` names the invocation, and one that is as old as `function_timeout` delivers nothing more. The first
    `storm_threshold` alerts are sent one by one, the rest together in a summary that `flush` sends. `stack` is the name
    of the stack, for the texts.
    """

    def __init__(
        self,
        store: Store,
        alert_topics: AlertTopics,
        *,
        storm_threshold: int,
        stack: str,
        writer: str,
        function_timeout: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._alert_topics, self._clock = store, alert_topics, clock
        self._threshold, self._stack, self.writer = storm_threshold, stack, writer
        self._function_timeout = function_timeout
        self._ended: set[str] = set()
        self._buffered: list[PendingAlert] = []
        self._buffered_since: datetime | None = None
        self._alerts = 0
        self._lock = Lock()
        self.stats = DeliveryStats()

    def take_over_from(self, writers: Iterable[str]) -> None:
        """Let the next commits deliver what these invocations have left in outboxes: they deliver nothing more."""
        self._ended.update(writers)

    def deliver_left_by_ended(self, record: Record) -> Record:
        """Deliver what ended invocations have left in the outbox; the record after that."""
        alerts = _alerts_in(record.outbox)
        if alerts and self._has_ended(alerts[0]) and self._sent_by_first(alerts):
            return self.claim_and_deliver(record, record.outbox)
        left = [entry for entry in record.outbox if not entry.message and self._has_ended(entry)]
        return self.deliver(record, left) if left else record

    def read_and_deliver_left(self, target_id: str) -> None:
        """Deliver what an ended invocation committed of a target before its user suspended or removed it."""
        if self._ended:
            record = self._store.read_record(target_id)
            if self.is_left_by_ended(record):
                self.claim_and_deliver(record, record.outbox)

    def deliver_own(self, record: Record, committed: Record, released: bool) -> Record:
        """Deliver what a commit of this invocation has left to it in the outbox: its own, and what it has claimed."""
        own = [entry for entry in record.outbox if entry.committed_by == self.writer and entry in committed.outbox]
        return self.deliver(record, own, new=committed.version, released=released)

    def claim_and_deliver(self, record: Record, left: Sequence[OutboxEntry]) -> Record:
        """Deliver what `left` has of the outbox, unless another invocation claims it first; the record after that."""
        try:
            claimed, ours = self._claim(record, left)
        except (BotoCoreError, ClientError):
            self._count_undelivered(record)
            return record
        own = [entry for entry in claimed.outbox if entry.committed_by == self.writer]
        return self.deliver(claimed, own) if ours else claimed

    def deliver(
        self, record: Record, entries: Sequence[OutboxEntry], *, new: int = 0, released: bool = False
    ) -> Record:
        """Deliver entries of a committed record; where AWS refuses, they stay in the outbox for a later sweep.

        That of version `new` has just been committed, so that no one can have sent it.
        """
        try:
            return self._deliver(record, entries, new=new, released=released)
        except (BotoCoreError, ClientError):
            self._count_undelivered(record)
            return record

    def is_left_by_ended(self, record: Record) -> bool:
        """Whether there are alerts in the outbox, and no invocation may be sending them any more."""
        alerts = _alerts_in(record.outbox)
        if not alerts or not self._sent_by_first(alerts):
            return False
        first = alerts[0]
        if first.given_up or first.committed_by in self._ended or self._has_ended(first):
            return True
        # Sent to every topic, and only not removed yet: whoever claims them sends nothing twice.
        published = [self._store.read_alert(record.target_id, entry) for entry in alerts]
        return all(one is not None and all(topic in one.message_ids for topic in Topic) for one in published)

    def claimed(self, entries: Iterable[OutboxEntry]) -> tuple[OutboxEntry, ...]:
        """Entries as this invocation commits them again: until it has ended, too, others leave them alone."""
        now = self._clock()
        return tuple(replace(entry, committed_at=now, committed_by=self.writer, given_up=False) for entry in entries)

    def flush(self, *, final: bool = False) -> None:
        """Send the summary of the buffered alerts, once they have waited long enough or the batch has ended.

        The alerts stay in their records' outboxes until SNS has accepted the summary. If the process dies first, a
        later sweep finds them there and sends them.
        """
        were_sent = self._flush_once(final=final)
        while were_sent and final:
            were_sent = self._flush_once(final=True)

    def _flush_once(self, *, final: bool) -> bool:
        """Whether there was something to send. If so, alerts that follow it may be buffered by now: those that other
        tests have left to this invocation.
        """
        with self._lock:
            waited = self._clock() - self._buffered_since if self._buffered_since else timedelta()
            if not self._buffered or not (final or waited >= SUMMARY_WAIT):
                return False
            # Taken over under the lock: what other threads buffer from here on goes into the next summary.
            buffered, self._buffered, self._buffered_since = self._buffered, [], None
        for alert, message_ids in zip(buffered, self._publish_everywhere(buffered), strict=True):
            # A refusal for one alert must not keep the others from being recorded, nor the batch's samples from being
            # written: the items in History say that no later sweep needs to send these alerts again.
            try:
                if self._record_alert(alert, message_ids, summary=len(buffered) > 1):
                    self._remove(alert.record, delivered={alert.entry.version})
                else:
                    self._remove(alert.record, refused={alert.entry.version})
            except (BotoCoreError, ClientError):
                self._count_undelivered(alert.record)
        return True

    def _has_ended(self, entry: OutboxEntry) -> bool:
        """Whether the invocation that committed or claimed an entry has reached its timeout by now."""
        return entry.committed_at < self._clock() - self._function_timeout

    def _sent_by_first(self, alerts: Iterable[OutboxEntry]) -> bool:
        """Whether each alert is sent by whoever sends the first: an earlier version's invocations send their own."""
        return all(entry.committed_by or self._has_ended(entry) for entry in alerts)

    def _claim(self, record: Record, left: Sequence[OutboxEntry]) -> tuple[Record, bool]:
        """The record with the entries committed again by this invocation, and whether it may deliver them.

        A claim is a conditional write, so that of two sweeps that run at once, as when a tick comes twice, only one
        publishes.
        """
        claimed = replace(record, version=record.version + 1, outbox=self.claimed(left), writer=self.writer)
        newer = self._store.commit(claimed, record.version, record.tick)
        return (claimed, True) if newer is None else (newer, took_effect(claimed, record, newer))

    def _count_undelivered(self, record: Record) -> None:
        _log.exception(
            "AWS refused a delivery: it stays in the outbox, and a later sweep tries again.",
            extra={"target_id": record.target_id},
        )
        with self._lock:
            self.stats.undelivered += 1

    def _deliver(
        self,
        record: Record,
        entries: Sequence[OutboxEntry],
        *,
        new: int = 0,
        released: bool = False,
        refused: Set[int] = frozenset(),
    ) -> Record:
        """Deliver entries of the outbox, except alerts that follow one of another invocation: that one sends them.

        Of the entries before, SNS has `refused` those of some versions just now.
        """
        delivered, refused = set[int](), set(refused)
        follows = self._follow_another(record, entries, refused)
        for entry in entries:
            # The transition first, under a key that names the record's version: a repeat writes the same item again.
            if entry.transition:
                self._store.put_transition(record.target_id, entry)
            if entry.message is None:
                delivered.add(entry.version)
                continue
            if follows:
                continue
            # An ended invocation may have published before it ended. Its item in History says to which topics; to the
            # others the alert is sent, perhaps again, since "at least once" is promised.
            is_new = entry.version == new
            published = None if is_new else self._store.read_alert(record.target_id, entry)
            accepted = self._send_or_buffer(PendingAlert(record, entry, entry.message, published, released and is_new))
            if accepted is None:  # buffered: `flush` sends and removes it
                continue
            if accepted:
                delivered.add(entry.version)
            else:
                refused.add(entry.version)
        return self._remove(record, delivered, refused)

    @staticmethod
    def _follow_another(record: Record, entries: Sequence[OutboxEntry], refused: Set[int]) -> bool:
        first = next((entry for entry in _alerts_in(record.outbox) if entry.version not in refused), None)
        return first is not None and first not in entries

    def _send_or_buffer(self, alert: PendingAlert) -> bool | None:
        """Send an alert, or buffer it for the summary: None. Whether every topic has accepted it."""
        if not _pending_topics(alert):
            return True
        with self._lock:
            if not alert.released:
                self._alerts += 1
            if alert.released or self._alerts > self._threshold:
                self._buffered.append(alert)
                self._buffered_since = self._buffered_since or self._clock()
                return None
        [message_ids] = self._publish_everywhere([alert])
        return self._record_alert(alert, message_ids, summary=False)

    def _publish_everywhere(self, alerts: Sequence[PendingAlert]) -> list[Mapping[Topic, str]]:
        """Publish alerts, as one message, to each topic that has not accepted them; for each alert the ids SNS gave it.

        A topic that refuses keeps no other topic from being tried, unless SNS does not answer at all: the invocation's
        time is short.
        """
        found: list[dict[Topic, str]] = [{} for _ in alerts]
        for topic in Topic:
            due = [number for number, alert in enumerate(alerts) if topic in _pending_topics(alert)]
            if not due:
                continue
            message = _combine([alerts[number].message for number in due], self._clock(), self._stack)
            try:
                message_id = self._publish(topic, message)
            except (BotoCoreError, ClientError, MessageRefusedError) as error:
                _log.exception(
                    "SNS refused an alert: it stays in the outbox, and a later sweep tries again. If this repeats, mend"
                    " what the exception names.",
                    extra={"target_id": message.target_id, "topic": topic.value},
                )
                with self._lock:
                    self.stats.undelivered += 1
                if isinstance(error, BotoCoreError):
                    break
            else:
                for number in due:
                    found[number][topic] = message_id
        self._count_alerts(alerts, found)
        return list(found)

    def _publish(self, topic: Topic, message: AlertMessage) -> str:
        """Publish a message, or its fallback if SNS refuses it for what it is; the id that SNS gave."""
        try:
            return self._alert_topics.publish(topic, message)
        except MessageRefusedError:
            # Imported here, and below, as few ticks have an alert, and every cold start would pay for it.
            from popwatch.alerts.rendering import fallback  # noqa: PLC0415

            message_id = self._alert_topics.publish(topic, fallback(message))
            _log.exception(
                "SNS refused an alert as it was written, and accepted its fallback: short, in ASCII.",
                extra={"target_id": message.target_id, "topic": topic.value},
            )
        with self._lock:
            self.stats.fallback_messages += 1
        return message_id

    def _count_alerts(self, alerts: Sequence[PendingAlert], found: Sequence[Mapping[Topic, str]]) -> None:
        """Count what a topic has accepted for the first time: an alert, or one summary."""
        new = [alert for alert, message_ids in zip(alerts, found, strict=True) if message_ids and not alert.accepted]
        if new:
            with self._lock:
                self.stats.alerts[new[0].message.event if len(alerts) == 1 else SUMMARY] += 1

    def _record_alert(self, alert: PendingAlert, message_ids: Mapping[Topic, str], *, summary: bool) -> bool:
        """Put into History what SNS has accepted now and before; whether that is all."""
        accepted = {**alert.accepted, **message_ids}
        if message_ids:
            before = alert.published or PublishedAlert(alert.message, accepted, self._clock(), summary)
            self._store.put_alert(alert.record.target_id, alert.entry, replace(before, message_ids=accepted))
        return all(topic in accepted for topic in Topic)

    def _remove(self, record: Record, delivered: Set[int] = frozenset(), refused: Set[int] = frozenset()) -> Record:
        """The record without the entries that were delivered, by their versions.

        If SNS refused some, all alerts that stay are marked `given_up`, so that the next commit of the target, or a
        sweep, claims them at once. Alerts that other tests have left to this invocation meanwhile are claimed with the
        same write, and then delivered. Where another invocation has claimed the entries, it removes them: it finds them
        in History, and sends nothing twice.
        """
        for _ in range(WRITE_ATTEMPTS):
            waiting = [entry for entry in _alerts_in(record.outbox) if entry.version not in delivered]
            left = [entry for entry in waiting if entry.version not in refused]
            # Who sends the first alert sends all: only then are the alerts behind it this invocation's, too. One of its
            # own is left if it is buffered for a summary, and the others wait for that. One that names no invocation is
            # sent by that of an earlier version.
            ours = bool(delivered | refused) and self._is_first_of(record.outbox, delivered | refused)
            follow = left if ours and all(entry.committed_by not in ("", self.writer) for entry in left) else []
            # Only what SNS refused just now is still there: this invocation does not try that again.
            give_up = waiting if ours and not left else []
            outbox = tuple(
                self.claimed([entry])[0]
                if entry in follow
                else replace(entry, given_up=entry.given_up or entry in give_up)
                for entry in record.outbox
                if entry.version not in delivered
            )
            if outbox == record.outbox:
                return record
            after = replace(record, version=record.version + 1, outbox=outbox, writer=self.writer)
            newer = self._store.commit(after, record.version, record.tick)
            if newer is None or (follow and took_effect(after, record, newer)):
                present = newer or after
                if not follow:
                    return present
                followers = [entry for entry in outbox if entry.version in {one.version for one in follow}]
                return self._deliver(present, followers, refused=refused)
            record = newer
            # Where another writer has removed this invocation's own, there is nothing more to remove.
            if not any(
                entry.version in delivered | refused and entry.committed_by == self.writer for entry in record.outbox
            ):
                break
        return record

    def _is_first_of(self, outbox: Sequence[OutboxEntry], versions: Set[int]) -> bool:
        """Whether the first alert of an outbox is this invocation's, and one of these."""
        return any(entry.committed_by == self.writer and entry.version in versions for entry in _alerts_in(outbox)[:1])


def took_effect(after: Record, before: Record, newer: Record) -> bool:
    """Whether a record was written in place of the one before, though another is there now.

    The answer was lost, and by the time botocore asked again another invocation had written. What the write has added
    to the outbox, or claimed, shows it.
    """
    return any(entry in newer.outbox for entry in after.outbox if entry not in before.outbox)


def _alerts_in(outbox: Iterable[OutboxEntry]) -> list[OutboxEntry]:
    return [entry for entry in outbox if entry.message]


def _pending_topics(alert: PendingAlert) -> list[Topic]:
    return [topic for topic in Topic if topic not in alert.accepted]


def _combine(messages: Sequence[AlertMessage], now: datetime, stack: str) -> AlertMessage:
    """One message for all of these: a summary if there are several."""
    if len(messages) == 1:
        return messages[0]
    from popwatch.alerts.rendering import summarize  # noqa: PLC0415 - as in _publish

    return summarize(messages, now, stack)
