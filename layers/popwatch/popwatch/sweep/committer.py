"""Committing an outcome: write the judged record, then deliver its outbox.

This order guarantees at-least-once delivery:

1. Judge, and put the new record on condition that no one else has changed it; state, transition and alert are in that
   one item.
2. Put the transition into History.
3. Publish the alert to each topic.
4. Put the alert into History, with the topics that have accepted it.
5. Remove what has been delivered from the record's outbox: an alert once every topic has accepted it.

A process that dies after 1 leaves the rest in the outbox, and a later sweep delivers it: to the topics that History
does not name. One that dies between 3 and 4 has the alert sent twice to the topics that had accepted it: SNS has no
token by which it would know a repeated message.

The alerts of a target are sent in the order in which they were committed. Whoever is to send the first alert of an
outbox sends all: a test that finds one of another invocation there leaves its own behind it, and that invocation meets
it in 5, as the record has changed. The first alert is left behind once its invocation has reached its timeout, has
given it up, or has given its test back to the queue without knowing that it was committed. Then the next commit of the
target claims all of them, or a sweep does.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache as cached
from threading import Lock

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.alert_topics import AlertTopics, MessageRefusedError
from popwatch.aws.store import Store
from popwatch.decisions.batches import PlannedTest
from popwatch.decisions.judging import forget, judge, suspend
from popwatch.decisions.posture_tests import with_posture, with_present_posture
from popwatch.decisions.schedule import is_due
from popwatch.model.health import AlertEvent, Health, Judgement, State
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import Outcome
from popwatch.model.posture import Posture, change_of, parse_summary
from popwatch.model.records import OutboxEntry, PublishedAlert, Record, bounded
from popwatch.model.targets import Policy, Target, config_fingerprint, with_interventions

COLLISIONS = 5
"""How often a commit is tried again when other writers keep changing the record."""

SUMMARY = "summary"
"""The event of a summary, as it is counted."""

SUMMARY_WAIT = timedelta(seconds=10)
"""How long an alert above the threshold waits for the summary that lists it."""

LATE_BY_MISSED_TICKS = timedelta(minutes=3)
"""How much later than planned a target's last test may have taken place, as ticks may be missed."""

LastGood = Callable[[Target], tuple[datetime, float] | None]
"""When a target last passed and its rtt_ms then, if the samples of its last test hold it."""

Decision = tuple[Record, Judgement, AlertMessage | None]
"""The record that was judged, the judgement, and the message of its alert."""

_log = logging.getLogger("popwatch.sweep.committer")


class CommitError(Exception):
    """A record could not be written because other writers kept changing it."""


@dataclass(slots=True)
class CommitterStats:
    """What a committer did: transitions by new state, alerts by event, and how many deliveries AWS refused.

    An alert counts once, not for each topic. `fallback_messages` are those that SNS took as a fallback only.
    """

    transitions: Counter[State] = field(default_factory=Counter)
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


class Committer:
    """Commits the outcomes of one batch; several threads may use it at once.

    `writer` names this invocation, and one that is as old as `function_timeout` delivers nothing more. The first
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
        self._gone: set[str] = set()
        self._buffered: list[PendingAlert] = []
        self._buffered_since: datetime | None = None
        self._alerts = 0
        self._lock = Lock()
        self.stats = CommitterStats()

    def commit(
        self, test: PlannedTest, outcome: Outcome, judgement: Judgement, tick: datetime, last_good: LastGood
    ) -> Record | None:
        """Commit the outcome of a test planned for `tick`, and deliver what it brings; the target's record after that.

        None if the target has been suspended or removed since it was planned, so that nothing follows the test.
        `judgement` is that of `test.record`. Changes nothing where the tick, or a later one, has been judged already.
        """
        target = test.target
        present = cached(lambda: self._present_policy(target))
        failing_now = cached(lambda: self._failing_now(test.parents))

        def decide(record: Record) -> Decision | None:
            found, health = judgement, with_present_posture(target, record.health)
            if record is not test.record:  # another writer came first: what the outcome means depends on its record
                found = judge(health, outcome, target.policy, outcome.started_at, test.failing_parent)
            # What people have done since the test was planned has effect at once.
            if found.alert or _ends_without_alert(record.health, found.health):
                policy = present()
                if not policy.enabled:
                    return None
                silenced = policy.is_silenced(self._clock())
                failing_parent = test.failing_parent
                if found.alert and found.alert.event in (AlertEvent.DOWN, AlertEvent.THROTTLED):
                    failing_parent = failing_parent or failing_now()
                found = judge(health, outcome, policy, outcome.started_at, failing_parent, silenced=silenced)
            before, found = _with_last_good(
                record,
                found,
                outcome,
                not_before=tick - timedelta(seconds=target.policy.delay_up) - LATE_BY_MISSED_TICKS,
                from_samples=lambda: last_good(target),
            )
            message = _render(target, before.health, found, outcome, outcome.started_at, stack=self._stack)
            return replace(before, outcome=outcome, config_fingerprint=config_fingerprint(target)), found, message

        return self._commit(test, tick, decide, outcome.started_at)

    def commit_posture(self, target: Target, planned: Record, posture: Posture) -> bool:
        """Keep a posture in the record of its target, if it has changed; the next tests alert what got worse.

        `planned` is the record that the tick read: a posture that changes nothing of it costs neither a read nor a
        write. The tick stays, so that no test is taken for judged. A target without a record has been removed
        meanwhile. Returns whether it has changed.

        History has the details first: if this invocation dies between the two writes, the next day has them again.
        """
        if with_posture(target, planned.health, posture) == planned.health:
            return False
        record = self._store.read_record(planned.target_id)
        for _ in range(COLLISIONS):
            health = with_posture(target, record.health, posture)
            if not record.version or health == record.health:
                return False
            before = parse_summary(with_present_posture(target, record.health).posture)
            kept = parse_summary(health.posture)
            if kept and (before is None or kept != replace(before, server=kept.server)):
                self._store.put_posture(record.target_id, change_of(before, posture))
            after = replace(record, version=record.version + 1, health=health, writer=self.writer)
            newer = self._store.commit(after, record.version, record.tick)
            if newer is None:
                return True
            record = newer
        raise CommitError(f"The record of {planned.target_id} kept changing; its posture is tested the next day.")

    def take_over_from(self, writers: Iterable[str]) -> None:
        """Let the next commits deliver what these invocations have left in outboxes: they deliver nothing more."""
        self._gone.update(writers)

    def suspend(self, test: PlannedTest, tick: datetime) -> None:
        """Record that the target's user has switched it off."""
        self._commit(test, tick, lambda record: (record, suspend(record.health, self._clock()), None))

    def forget(self, record: Record, tick: datetime) -> None:
        """Delete the record of a target that its user has removed, once its transition to untested is in History.

        Without that transition, reports would go on counting its last state until it is added again. Where
        another writer changed the record first, or AWS refuses, the next sweep does it.
        """
        judgement = forget(record.health, self._clock())
        if judgement.transition:
            after = self._next_version(record, judgement, None, tick)
            if self._store.commit(after, record.version, record.tick) is not None:
                return
            record = self._try_to_deliver(after, after.outbox, new=after.version)
        if not record.outbox:
            self._store.delete_record(record)

    def deliver_left_behind(self, record: Record) -> Record:
        """Deliver what dead invocations left in the outbox; the record after that."""
        alerts = _alerts_in(record.outbox)
        if alerts and self._is_dead(alerts[0]) and self._take_turns(alerts):
            return self._claim_and_deliver(record, record.outbox)
        left = [entry for entry in record.outbox if not entry.message and self._is_dead(entry)]
        return self._try_to_deliver(record, left) if left else record

    def flush(self, *, final: bool = False) -> None:
        """Send the summary of the buffered alerts, once they have waited long enough or the batch has ended.

        The alerts stay in their records' outboxes until SNS has accepted the summary. If the process dies first, a
        later sweep finds them there and sends them.
        """
        while self._flush_once(final=final) and final:
            pass

    def _flush_once(self, *, final: bool) -> bool:
        """Whether there was something to send: after that, alerts that other tests have left to this invocation may be
        buffered.
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

    def _present_policy(self, target: Target) -> Policy:
        """The target's policy with the interventions that its item has now; not enabled if the item is gone.

        One read for each alert, so that none is decided once `popwatch silence` has returned.
        """
        try:
            item = self._store.read_target(target.target_id)
        except ClientError as error:
            _raise_unless_denied(error, "the target again before its alert", "Targets", target.target_id)
            return target.policy
        return with_interventions(target, item).at(self._clock()) if item else replace(target.policy, enabled=False)

    def _failing_now(self, parents: Sequence[str]) -> str:
        """The parents, if the last test of each failed: they may have been tested since the sweep read them."""
        try:
            failing = bool(parents) and all(self._store.read_record(name).health.is_failing for name in parents)
        except ClientError as error:
            _raise_unless_denied(error, "the record of a parent before an alert", "Status", ", ".join(parents))
            return ""
        return ", ".join(parents) if failing else ""

    def _commit(
        self,
        test: PlannedTest,
        tick: datetime,
        decide: Callable[[Record], Decision | None],
        began: datetime | None = None,
    ) -> Record | None:
        """Write what `decide` makes of the record, and deliver it; after a collision decide on the newer record.

        A test that `began` before another one that has been judged meanwhile changes nothing: its news is older.
        None where it makes nothing of it: the target has been suspended or removed, and the next sweep records that.
        """
        record = test.record
        # SQS and Scheduler deliver at least once. The tick in the record keeps a repeated message from counting one
        # failure twice.
        if record.tick is not None and record.tick >= tick:
            return record
        for _ in range(COLLISIONS):
            decision = decide(record)
            if decision is None:
                return None
            base, judgement, message = decision
            after = self._next_version(base, judgement, message, tick)
            newer = self._store.commit(after, record.version, record.tick)
            if newer is None:
                # Committed. From here on a crash loses nothing: the outbox in the record says what is left to do.
                self._count_transition(after, judgement)
                return self._deliver_own(after, after, _is_released(base.health, judgement))
            if _took_effect(after, record, newer):
                self._count_transition(after, judgement)
                return self._deliver_own(newer, after, _is_released(base.health, judgement))
            # Deleted: its user has removed the target, and a sweep has forgotten it. If it is back, it starts anew.
            if record.version and not newer.version:
                return newer
            # A write that only delivered or claimed an outbox entry leaves the tick as it was: the plan still holds.
            # If another test has been judged meanwhile, this one may no longer be due.
            judged = newer.tick != record.tick
            is_older = judged and began and newer.outcome and newer.outcome.started_at > began
            if is_older or (judged and not is_due(newer.target_id, newer.health, test.target.policy, newer.tick, tick)):
                return self._claim_and_deliver(newer, newer.outbox) if self._is_left_behind(newer) else newer
            record = newer
        raise CommitError(f"The record of {record.target_id} kept changing; the next sweep tests it again.")

    def _next_version(
        self, record: Record, judgement: Judgement, message: AlertMessage | None, tick: datetime
    ) -> Record:
        """The record with the judgement's health, and what there is to deliver of it in the outbox."""
        version = record.version + 1
        outbox = self._claimed(record.outbox) if self._is_left_behind(record) else record.outbox
        if judgement.transition or message:
            entry = OutboxEntry(version, tick, self._clock(), judgement.transition, message, self.writer)
            outbox, given_up = bounded((*outbox, entry))
            if given_up:
                _log.error(
                    "SNS has refused alerts of a target for so long that the oldest are given up.",
                    extra={"target_id": record.target_id, "alerts": given_up},
                )
        return replace(record, version=version, tick=tick, health=judgement.health, outbox=outbox, writer=self.writer)

    def _count_transition(self, record: Record, judgement: Judgement) -> None:
        if judgement.transition:
            with self._lock:
                self.stats.transitions[judgement.transition.state] += 1
            _log.info("A target changed its state.", extra=_log_fields(record, judgement))

    def _is_dead(self, entry: OutboxEntry) -> bool:
        """Whether who committed or claimed an entry has reached its timeout by now."""
        return entry.committed_at < self._clock() - self._function_timeout

    def _take_turns(self, alerts: Iterable[OutboxEntry]) -> bool:
        """Whether each alert is sent by whoever sends the first: an earlier version's invocations send their own."""
        return all(entry.committed_by or self._is_dead(entry) for entry in alerts)

    def _is_left_behind(self, record: Record) -> bool:
        """Whether there are alerts in the outbox, and no one is left who may be sending them."""
        alerts = _alerts_in(record.outbox)
        if not alerts or not self._take_turns(alerts):
            return False
        if alerts[0].given_up or alerts[0].committed_by in self._gone or self._is_dead(alerts[0]):
            return True
        published = [self._store.read_alert(record.target_id, entry) for entry in alerts]
        return all(one and not set(Topic) - set(one.message_ids) for one in published)

    def _claimed(self, entries: Iterable[OutboxEntry]) -> tuple[OutboxEntry, ...]:
        """Entries as this invocation commits them anew: until it, too, must be dead, others leave them alone."""
        now = self._clock()
        return tuple(replace(entry, committed_at=now, committed_by=self.writer, given_up=False) for entry in entries)

    def _claim_and_deliver(self, record: Record, left: Sequence[OutboxEntry]) -> Record:
        try:
            claimed, ours = self._claim(record, left)
        except (BotoCoreError, ClientError):
            self._count_undelivered(record)
            return record
        own = [entry for entry in claimed.outbox if entry.committed_by == self.writer]
        return self._try_to_deliver(claimed, own) if ours else claimed

    def _deliver_own(self, record: Record, committed: Record, released: bool) -> Record:
        """Deliver what a commit of this invocation has left to it in the outbox: its own, and what it has claimed."""
        own = [entry for entry in record.outbox if entry.committed_by == self.writer and entry in committed.outbox]
        return self._try_to_deliver(record, own, new=committed.version, released=released)

    def _try_to_deliver(
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

    def _count_undelivered(self, record: Record) -> None:
        _log.exception(
            "AWS refused a delivery: it stays in the outbox, and a later sweep tries again.",
            extra={"target_id": record.target_id},
        )
        with self._lock:
            self.stats.undelivered += 1

    def _claim(self, record: Record, left: Sequence[OutboxEntry]) -> tuple[Record, bool]:
        """The record with the entries committed anew by this invocation, and whether it may deliver them.

        A claim is a conditional write, so that of two sweeps that run at once, as when a tick comes twice, only one
        publishes.
        """
        claimed = replace(record, version=record.version + 1, outbox=self._claimed(left), writer=self.writer)
        newer = self._store.commit(claimed, record.version, record.tick)
        return (claimed, True) if newer is None else (newer, _took_effect(claimed, record, newer))

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
            # A dead invocation may have published before it died. Its item in History says to which topics; to the
            # others the alert is sent, perhaps again, since "at least once" is promised.
            is_new = entry.version == new
            published = None if is_new else self._store.read_alert(record.target_id, entry)
            accepted = self._send_or_buffer(PendingAlert(record, entry, entry.message, published, released and is_new))
            if accepted is not None:
                (delivered if accepted else refused).add(entry.version)
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
            self._alerts += not alert.released
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
                _log.exception("SNS refused an alert.", extra={"target_id": message.target_id, "topic": topic.value})
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
        """Publish a message, in a plainer form if SNS refuses it for what it is; the id that SNS gave."""
        try:
            return self._alert_topics.publish(topic, message)
        except MessageRefusedError:
            from popwatch.alerts.rendering import fallback  # noqa: PLC0415 - as in _render

            message_id = self._alert_topics.publish(topic, fallback(message))
            _log.exception(
                "SNS refused an alert as it was written, and accepted a plainer form.",
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
        """The record without the entries that were delivered, by their versions; what SNS refused is given up.

        Alerts that other tests have left behind these meanwhile are claimed with the same write, and then delivered.
        Where another invocation has claimed the entries, it removes them: it finds them in History, and sends nothing
        twice.
        """
        for _ in range(COLLISIONS):
            waiting = [entry for entry in _alerts_in(record.outbox) if entry.version not in delivered]
            left = [entry for entry in waiting if entry.version not in refused]
            # One of this invocation's own is left if it is buffered for a summary: the others wait for that.
            ours = bool(delivered | refused) and self._is_first_of(record.outbox, delivered | refused)
            follow = left if ours and all(entry.committed_by not in ("", self.writer) for entry in left) else []
            give_up = waiting if ours and not left else []
            outbox = tuple(
                self._claimed([entry])[0]
                if entry in follow
                else replace(entry, given_up=entry.given_up or entry in give_up)
                for entry in record.outbox
                if entry.version not in delivered
            )
            if outbox == record.outbox:
                return record
            after = replace(record, version=record.version + 1, outbox=outbox, writer=self.writer)
            newer = self._store.commit(after, record.version, record.tick)
            if newer is None or (follow and _took_effect(after, record, newer)):
                followers = [entry for entry in outbox if entry.version in {one.version for one in follow}]
                present = newer or after
                return self._deliver(present, followers, refused=refused) if follow else present
            record = newer
            if not any(
                entry.version in delivered | refused and entry.committed_by == self.writer for entry in record.outbox
            ):
                break
        return record

    def _is_first_of(self, outbox: Sequence[OutboxEntry], versions: Set[int]) -> bool:
        """Whether the first alert of an outbox is this invocation's, and one of these."""
        return any(entry.committed_by == self.writer and entry.version in versions for entry in _alerts_in(outbox)[:1])


def _took_effect(after: Record, before: Record, newer: Record) -> bool:
    """Whether a record was written in place of the one before, though another is there now.

    The answer was lost, and by the time botocore asked again another invocation had written. What the write has added
    to the outbox, or claimed, shows it.
    """
    return any(entry in newer.outbox for entry in after.outbox if entry not in before.outbox)


def _alerts_in(outbox: Iterable[OutboxEntry]) -> list[OutboxEntry]:
    return [entry for entry in outbox if entry.message]


def _raise_unless_denied(error: ClientError, what: str, table: str, target_id: str) -> None:
    """A role that may not read something yet, as for seconds after an upgrade, must not stop an alert."""
    if error.response["Error"]["Code"] != "AccessDeniedException":
        raise error
    message = f"The role may not read {what} (dynamodb:GetItem on the {table} table)."
    _log.error(message, exc_info=error, extra={"target_id": target_id})


def _pending_topics(alert: PendingAlert) -> list[Topic]:
    return [topic for topic in Topic if topic not in alert.accepted]


def _ends_without_alert(before: Health, after: Health) -> bool:
    """Whether a test ended an outage without alerts: its recovery is due if somebody has acknowledged it meanwhile."""
    state = before.state_before_maintenance if before.state is State.MAINTENANCE else before.state
    return state in (State.DOWN, State.LOST) and not before.alerts_sent and not after.failures


def _is_released(before: Health, judgement: Judgement) -> bool:
    """Whether a judgement sends the alert of a target that was held while its parent failed."""
    return bool(judgement.alert and judgement.alert.event is AlertEvent.DOWN and before.alert_held and before.caused_by)


def _render(
    target: Target, before: Health, judgement: Judgement, outcome: Outcome, now: datetime, *, stack: str
) -> AlertMessage | None:
    """The message of a judgement's alert, if it has one."""
    if judgement.alert is None:
        return None
    # Imported with the first alert: few ticks have one, and every cold start would pay for it.
    from popwatch.alerts.rendering import render  # noqa: PLC0415

    return render(target, before, judgement, outcome, now, stack=stack)


def _combine(messages: Sequence[AlertMessage], now: datetime, stack: str) -> AlertMessage:
    """One message for all of these: a summary if there are several."""
    if len(messages) == 1:
        return messages[0]
    from popwatch.alerts.rendering import summarize  # noqa: PLC0415 - as in _render

    return summarize(messages, now, stack)


def _with_last_good(
    record: Record,
    judgement: Judgement,
    outcome: Outcome,
    *,
    not_before: datetime,
    from_samples: Callable[[], tuple[datetime, float] | None],
) -> tuple[Record, Judgement]:
    """Both with the time and rtt of the last passed test, which only the samples hold of a target that passes.

    Its record is not written at each pass, so what it holds may be an earlier one: it must be if it lies before
    `not_before`. Then the last passed test is unknown. `judge` passes both figures on through a failed test, and
    decides nothing by them, so they may be added after it; a passed test sets them itself.
    """
    health = record.health
    if health.last_good_at is None or health.is_failing:
        return record, judgement
    passed_at, rtt_ms = health.last_good_at, health.last_good_rtt_ms
    found = from_samples()
    if found and found[0] > passed_at:
        passed_at, rtt_ms = found
    known = (passed_at, rtt_ms) if passed_at >= not_before else (None, None)
    before = replace(record, health=replace(health, last_good_at=known[0], last_good_rtt_ms=known[1]))
    if outcome.passed:
        return before, judgement
    after = replace(judgement.health, last_good_at=known[0], last_good_rtt_ms=known[1])
    return before, replace(judgement, health=after)


def _log_fields(record: Record, judgement: Judgement) -> dict[str, object]:
    outcome = record.outcome
    return {
        "target_id": record.target_id,
        "state": judgement.health.state,
        "previous_state": judgement.transition.previous if judgement.transition else "",
        "error": outcome.error if outcome else None,
        "reason": outcome.reason if outcome else "",
    }
