"""Committing an outcome: judge it, and write the record with what is to be delivered of it in its outbox.

One conditional write holds state, transition and alert, so that they cannot come apart; `sweep/outbox.py` delivers what
is in the outbox after that. A writer that finds the record changed decides again.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache as cached
from functools import partial
from threading import Lock

from botocore.exceptions import ClientError

from popwatch.aws.store import WRITE_ATTEMPTS, Store
from popwatch.decisions.batches import PlannedTest
from popwatch.decisions.judging import TICK, delay_seconds, forget, judge, suspend
from popwatch.decisions.posture_tests import with_posture, with_present_posture
from popwatch.decisions.schedule import MESSAGE_TIME, is_due, is_retested_between_ticks
from popwatch.model.health import FAILING, AlertEvent, Health, Judgement, State
from popwatch.model.messages import AlertMessage
from popwatch.model.outcomes import Outcome
from popwatch.model.posture import Posture, change_of, parse_summary
from popwatch.model.records import OutboxEntry, Record, bounded
from popwatch.model.targets import Policy, Target, config_fingerprint, with_interventions
from popwatch.sweep.outbox import OutboxDelivery, took_effect

CLOCK_SKEW = timedelta(seconds=5)
"""How much the clocks of two environments of Lambda differ at most."""

LATE_BY_MISSED_TICKS = timedelta(minutes=3)
"""How much later than planned a target's last test may have taken place, as ticks may be missed."""

LastGood = Callable[[Target], tuple[datetime, float] | None]
"""When a target last passed and its rtt_ms then, if the samples of its last test hold it."""

Decision = tuple[Record, Judgement, AlertMessage | None]
"""The record that was judged, the judgement, and the message of its alert."""

_log = logging.getLogger("popwatch.sweep.committer")


class CommitError(Exception):
    """A record could not be written because other writers kept changing it."""


class Committer:
    """Commits the outcomes of one batch, whose outboxes `delivery` delivers; several threads may use it at once.

    `stack` is the name of the stack, for the texts. `transitions` counts what it has committed, by new state.
    """

    def __init__(self, store: Store, delivery: OutboxDelivery, *, stack: str, clock: Callable[[], datetime]) -> None:
        self._store, self._delivery, self._stack, self._clock = store, delivery, stack, clock
        self._writer = delivery.writer
        self._lock = Lock()
        self.transitions: Counter[State] = Counter()

    def commit(
        self,
        test: PlannedTest,
        outcome: Outcome,
        judgement: Judgement,
        tick: datetime,
        last_good: LastGood,
        *,
        to_next_tick: timedelta = TICK,
    ) -> Record | None:
        """Commit the outcome of a test planned for `tick`, and deliver what it causes; the target's record after that.

        `judgement` is that of `test.record`, and `to_next_tick` the time from `tick` to the next one. None if the
        target has been suspended or removed since it was planned, so that nothing follows the test. Changes nothing
        where the tick, or a later one, has been judged already.
        """
        target = test.target
        judge_again = partial(judge, to_next_tick=to_next_tick)
        present = cached(lambda: self._present_policy(target))
        failing_now = cached(lambda: self._failing_now(test))

        def decide(record: Record) -> Decision | None:
            found, health = judgement, with_present_posture(target, record.health)
            # Series of retests go on for minutes: parents that do not fail any more would hold alerts back too long.
            is_retest = outcome.error and is_retested_between_ticks(record.health, target.policy)
            failing_parent = failing_now() if is_retest and test.failing_parent else test.failing_parent
            # Where another writer came first, what the outcome means depends on its record.
            if record is not test.record or failing_parent != test.failing_parent:
                found = judge_again(health, outcome, target.policy, outcome.started_at, failing_parent)
            judged_by = target.policy, failing_parent, False  # as compared below: False is `silenced`
            # What people have done since the test was planned has effect at once.
            if found.alert or _ends_without_alert(record.health, found.health):
                policy = present()
                if not policy.enabled:
                    return None
                silenced = policy.is_silenced(self._clock())
                if found.alert and found.alert.event in (AlertEvent.DOWN, AlertEvent.THROTTLED):
                    failing_parent = failing_parent or failing_now()
                if judged_by != (policy, failing_parent, silenced):
                    found = judge_again(health, outcome, policy, outcome.started_at, failing_parent, silenced=silenced)
            before, found = _with_last_good(
                record,
                found,
                outcome,
                not_before=tick - timedelta(seconds=target.policy.delay_up) - LATE_BY_MISSED_TICKS,
                from_samples=lambda: last_good(target),
            )
            message = _render(target, before.health, found, outcome, outcome.started_at, stack=self._stack)
            return replace(before, outcome=outcome, config_fingerprint=config_fingerprint(target)), found, message

        return self._commit(test, tick, decide, outcome)

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
        for _ in range(WRITE_ATTEMPTS):
            health = with_posture(target, record.health, posture)
            if not record.version or health == record.health:
                return False
            before = parse_summary(with_present_posture(target, record.health).posture)
            kept = parse_summary(health.posture)
            if kept and (before is None or kept != replace(before, server=kept.server)):
                self._store.put_posture(record.target_id, change_of(before, posture))
            after = replace(record, version=record.version + 1, health=health, writer=self._writer)
            newer = self._store.commit(after, record.version, record.tick)
            if newer is None:
                return True
            record = newer
        raise CommitError(f"The record of {planned.target_id} kept changing; its posture is tested the next day.")

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
            record = self._delivery.deliver(after, after.outbox, new=after.version)
        if not record.outbox:
            self._store.delete_record(record)

    def _present_policy(self, target: Target) -> Policy:
        """The target's policy with the interventions that its item has now; not enabled if the item is gone.

        It is read before each alert, so that none is committed after `popwatch silence` has returned.
        """
        try:
            item = self._store.read_target(target.target_id)
        except ClientError as error:
            _raise_unless_denied(error, "the target again before its alert", "Targets", target.target_id)
            return target.policy
        return with_interventions(target, item).at(self._clock()) if item else replace(target.policy, enabled=False)

    def _failing_now(self, test: PlannedTest) -> str:
        """The parents, if the last test of each failed: they may have been tested since the sweep read them."""
        parents = test.parents
        try:
            failing = bool(parents) and all(self._store.read_record(name).health.is_failing for name in parents)
        except ClientError as error:
            _raise_unless_denied(error, "the record of a parent before an alert", "Status", ", ".join(parents))
            return test.failing_parent
        return ", ".join(parents) if failing else ""

    def _commit(
        self,
        test: PlannedTest,
        tick: datetime,
        decide: Callable[[Record], Decision | None],
        outcome: Outcome | None = None,
    ) -> Record | None:
        """Write what `decide` makes of the record, and deliver it; after a collision decide on the newer record.

        `outcome` is that of the test; None if the target is suspended instead. Returns None where `decide` does: the
        target has been suspended or removed meanwhile, and the next sweep records that.
        """
        record = test.record
        # SQS and Scheduler deliver at least once. The tick in the record keeps a repeated message from counting one
        # failure twice.
        if record.tick is not None and record.tick >= tick:
            return record
        for _ in range(WRITE_ATTEMPTS):
            decision = decide(record)
            if decision is None:
                self._delivery.read_and_deliver_left(record.target_id)
                return None
            base, judgement, message = decision
            after = self._next_version(base, judgement, message, tick)
            newer = self._store.commit(after, record.version, record.tick)
            if newer is None:
                # Committed. From here on a crash loses nothing: the outbox in the record says what is left to do.
                self._count_transition(after, judgement)
                return self._delivery.deliver_own(after, after, _is_released(base.health, judgement))
            if took_effect(after, record, newer):
                self._count_transition(after, judgement)
                return self._delivery.deliver_own(newer, after, _is_released(base.health, judgement))
            # Deleted: its user has removed the target, and a sweep has forgotten it. If it is back, it starts again.
            if record.version and not newer.version:
                return newer
            # A write that only delivered or claimed an outbox entry leaves the tick as it was: the plan still holds.
            # If another test has been judged meanwhile, this one may no longer be due.
            judged = newer.tick != record.tick
            if judged and not _still_counts(test, newer, outcome, tick):
                if self._delivery.is_left_by_ended(newer):
                    return self._delivery.claim_and_deliver(newer, newer.outbox)
                return newer
            record = newer
        raise CommitError(f"The record of {record.target_id} kept changing; the next sweep tests it again.")

    def _next_version(
        self, record: Record, judgement: Judgement, message: AlertMessage | None, tick: datetime
    ) -> Record:
        """The record with the judgement's health, and what there is to deliver of it in the outbox."""
        version = record.version + 1
        is_left = self._delivery.is_left_by_ended(record)
        outbox = self._delivery.claimed(record.outbox) if is_left else record.outbox
        if judgement.transition or message:
            entry = OutboxEntry(version, tick, self._clock(), judgement.transition, message, self._writer)
            outbox, dropped = bounded((*outbox, entry))
            if dropped:
                _log.error(
                    "SNS has refused alerts of a target for so long that the oldest are dropped, and never sent."
                    " Mend what SNS refuses: the log has its reason.",
                    extra={"target_id": record.target_id, "alerts": dropped},
                )
        return replace(record, version=version, tick=tick, health=judgement.health, outbox=outbox, writer=self._writer)

    def _count_transition(self, record: Record, judgement: Judgement) -> None:
        if judgement.transition:
            with self._lock:
                self.transitions[judgement.transition.state] += 1
            _log.info("A target changed its state.", extra=_log_fields(record, judgement))


def _still_counts(test: PlannedTest, newer: Record, outcome: Outcome | None, tick: datetime) -> bool:
    """Whether an outcome counts although another test was judged meanwhile: that of the `newer` record.

    Not if it is the older one. A failed test counts if it was due all the same. One that passed ends a run of failures
    however soon it comes after the last of them.
    """
    if outcome and newer.outcome and newer.outcome.started_at > outcome.started_at:
        return False
    if is_due(newer.target_id, newer.health, test.target.policy, newer.tick, tick):
        return not (outcome and outcome.error and _is_too_soon(test, newer, outcome))
    is_later = newer.tick is None or newer.tick < tick
    return outcome is not None and outcome.passed and newer.health.is_failing and is_later


def _is_too_soon(test: PlannedTest, newer: Record, outcome: Outcome) -> bool:
    """Whether a test began before the one that a short delay plans after the first failed one of a run, by the clock.

    Its tick did not know that one, which came late, and whose retests go on beyond this tick. If this test counted,
    they would not, and the next tick may come much later.
    """
    if newer.outcome is None or not is_first_failure(test, newer):
        return False
    delay = timedelta(seconds=delay_seconds(newer.health, test.target.policy))
    own_retest = max(delay, timedelta(seconds=test.target.max_test_seconds) + MESSAGE_TIME)
    return delay < TICK and outcome.started_at - newer.outcome.started_at < own_retest


def is_first_failure(test: PlannedTest, record: Record) -> bool:
    """Whether a run of failures began after a test was planned: `record` is what is known now."""
    return record.health.state in FAILING and test.record.health.state not in FAILING


def _raise_unless_denied(error: ClientError, what: str, table: str, target_id: str) -> None:
    """A role that may not read something yet, as for seconds after an upgrade, must not stop an alert."""
    if error.response["Error"]["Code"] != "AccessDeniedException":
        raise error
    message = f"The role may not read {what} (dynamodb:GetItem on the {table} table)."
    _log.error(message, exc_info=error, extra={"target_id": target_id})


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
    last_good_at, last_good_rtt_ms = (passed_at, rtt_ms) if passed_at >= not_before else (None, None)
    before = replace(record, health=replace(health, last_good_at=last_good_at, last_good_rtt_ms=last_good_rtt_ms))
    if outcome.passed:
        return before, judgement
    after = replace(judgement.health, last_good_at=last_good_at, last_good_rtt_ms=last_good_rtt_ms)
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
