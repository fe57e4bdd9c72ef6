"""One invocation: at a tick, plan what is due, test it or send it to the queue, and mark the tick as completed.

Everything may happen twice or be cut off at any point. So a tick is marked only when all of it has been tested or is in
the queue, and a sweep begins by delivering what an interrupted one left in the outboxes.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.store import Store, SweepCheckpoint
from popwatch.config import Settings
from popwatch.decisions.batches import Batch, PlannedTest, RequestedTests, RollupJob, split
from popwatch.decisions.judging import TICK
from popwatch.decisions.planning import Plan, at_free_second, plan, plan_requested, unknown_fields, without_target
from popwatch.decisions.schedule import STOPPED_AFTER, is_stale, receivable_at, why_not_swept
from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.posture import Posture
from popwatch.model.records import Record
from popwatch.model.serialization import stored_as
from popwatch.model.targets import Target, parse_targets
from popwatch.model.text import iso
from popwatch.model.time_limits import DAY, HOUR
from popwatch.prober.loop import Prober
from popwatch.reports.totals import add_up, merge_by_target
from popwatch.sweep.batch_tester import BatchTester, Results, commit_threads, seconds_until
from popwatch.sweep.committer import CommitError, Committer
from popwatch.sweep.logins import Logins
from popwatch.sweep.outbox import OutboxDelivery

HOUR_GRACE = timedelta(minutes=5)
"""How long after its end an hour is added up, so that its last samples have been written."""

HOURS_AT_ONCE = 6
"""Hours that one sweep adds up after popwatch itself had stopped; the next sweeps do the rest."""

LAST_HOUR_OF_DAY = 23

REFERENCE_SECONDS = 3.0
"""How long a reference host may take to be reached."""

UNKNOWN_FIELDS_LOGGED = 50
"""Unknown fields that one log line names."""

_log = logging.getLogger("popwatch.sweep.sweep")


CountDue = Callable[[datetime, int], None]
"""Publishes that some tests of a tick are due, before any of them is made."""

ProbePostures = Callable[[Sequence[Target], float], Iterable[tuple[Target, Posture]]]
"""Tests the postures of targets, as far as they end by a time of the monotonic clock."""


class RefusedTickError(ValueError):
    """A tick that cannot be one of the schedule's: swept, it could hide the ticks that follow."""


@dataclass(slots=True)
class InvocationStats:
    """What one invocation did, as it is logged and counted in metrics.

    `late_seconds` is the time from the tick until its sweep began, `lag_seconds` until its tests have ended. `states`
    counts all targets as the plan found them; a batch from the queue has none. `tests` counts each test once: those
    that a message delivered twice had made before are `repeated`. `dropped` tests came so late that the target's next
    test takes their place. `requeued` tests could not be finished in time, and went back to the queue. `inconclusive`
    tests were not judged, since the monitor's own network may be to blame. `undelivered` counts deliveries that AWS
    refused and a later sweep repeats; `fallback_messages` those that SNS took as a fallback only.
    """

    tick: datetime
    late_seconds: int = 0
    tests: int = 0
    repeated: int = 0
    dropped: int = 0
    failures: Counter[ErrorCode] = field(default_factory=Counter)
    transitions: Counter[State] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    states: Mapping[State, int] = field(default_factory=dict)
    messages: int = 0
    requeued: int = field(default=0, metadata=stored_as("handed_back"))
    inconclusive: int = 0
    undelivered: int = 0
    fallback_messages: int = field(default=0, metadata=stored_as("plain_messages"))
    lag_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a sweep does its I/O with; `threads` makes those that commit a batch's outcomes. Without `logins` no target
    is logged in to, and without `probe_postures` no posture is tested.

    Each test is due by `count_due` when it is planned, and made by the stats of the invocation that made it: the
    difference is what was lost, wherever it was lost.
    """

    store: Store
    prober: Prober
    alert_topics: AlertTopics
    batch_queue: BatchQueue
    count_due: CountDue
    threads: Callable[[], Executor] = commit_threads
    logins: Logins | None = None
    probe_postures: ProbePostures | None = None


class Sweep:
    """One invocation's work. `writer` names it; `end_by`, by the monotonic clock, is when its tests must have ended.

    A sweep that comes more than `stopped_after` after the last one records that popwatch itself had stopped.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        settings: Settings,
        *,
        writer: str,
        end_by: float,
        clock: Callable[[], datetime],
        stopped_after: timedelta = STOPPED_AFTER,
    ) -> None:
        self._dependencies, self._store, self._settings = dependencies, dependencies.store, settings
        self._end_by, self._clock, self._stopped_after = end_by, clock, stopped_after
        self._due_postures: list[PlannedTest] = []
        self._delivery = OutboxDelivery(
            dependencies.store,
            dependencies.alert_topics,
            storm_threshold=settings.storm_threshold,
            stack=settings.stack,
            writer=writer,
            function_timeout=timedelta(seconds=settings.function_timeout_seconds),
            clock=clock,
        )
        self._committer = Committer(dependencies.store, self._delivery, stack=settings.stack, clock=clock)

    def run_tick(self, tick: datetime) -> InvocationStats:
        """Do all that is due at `tick`; nothing, if it or a later tick has been completed.

        Raises RefusedTickError for a tick that is in the future, or too old to be one of Scheduler's.
        """
        began = self._clock()
        checkpoint, records = self._store.read_records()
        if checkpoint.tick and checkpoint.tick >= tick:
            _log.info("This tick was completed before: nothing is done.", extra={"tick": iso(tick)})
            return InvocationStats(tick)
        _refuse_unless_current(tick, began)
        defaults, items = self._store.read_targets()
        targets = parse_targets(items, defaults, began)
        records = self._deliver_outboxes(records)
        self._forget_removed(targets, records, tick)
        planned = plan(
            tick,
            checkpoint.tick,
            targets,
            records,
            defaults,
            largest_batch=self._settings.largest_batch,
            late_seconds=max(0, round((began - tick).total_seconds())),
        )
        for test in planned.to_suspend:
            self._committer.suspend(test, tick)
        self._count_due(planned)
        messages, results = self._run_plan(planned)
        stats = self._stats(planned.now, results, messages, planned.states)
        if checkpoint.tick and tick - checkpoint.tick > self._stopped_after:
            self._store.put_gap(checkpoint.tick, tick)
        batch_counts = {**checkpoint.batch_counts, str(planned.batches): iso(tick)}
        unknown = self._log_unknown_fields(targets.values(), checkpoint.unknown_fields)
        hour = self._add_up_hours(tick, checkpoint.hour, batch_counts, planned.batches)
        # The checkpoint comes last: if this invocation dies before it, the next sweep plans from the older checkpoint.
        self._store.put_checkpoint(SweepCheckpoint(tick, hour, batch_counts, unknown))
        return stats

    def run_batch(self, batch: Batch, sent_at: datetime | None = None) -> InvocationStats:
        """Make the tests of a message that SQS took at `sent_at`, except those that come too late.

        Too late is counted from when the message could first be received, not from its tick: Scheduler may fire at
        the end of the tick's minute.
        """
        self._delivery.take_over_from(batch.given_up_by)
        now = self._clock()
        since = receivable_at(batch.tick, sent_at, batch.delay_seconds)
        fresh = [test for test in batch.tests if not is_stale(test.record.health, test.target.policy, since, now)]
        dropped = len(batch.tests) - len(fresh)
        if dropped:
            _log.warning(
                "Tests are dropped: their message came so late that the next ones take their place.",
                extra={"tick": iso(batch.tick), "dropped": dropped, "waited_seconds": (now - since).total_seconds()},
            )
        results = self._test(replace(batch, tests=tuple(fresh)))
        return replace(self._stats(batch, results, messages=0, states={}), dropped=dropped)

    def run_requested(self, request: RequestedTests) -> InvocationStats:
        """Test targets that someone has asked for, now; those of several batches by the queue."""
        now = self._clock()
        _, records = self._store.read_records()
        defaults, items = self._store.read_targets()
        targets = parse_targets(items, defaults, now)
        batches = plan_requested(
            request.target_ids, now, targets, records, defaults, largest_batch=self._settings.largest_batch
        )
        parts = [self._at_own_second(part) for batch in batches for part in split(batch).values()]
        for part in parts:
            self._dependencies.count_due(part.tick, len(part.tests))
        if len(parts) == 1:
            return self._stats(parts[0], self._test(parts[0]), messages=0, states={})
        return InvocationStats(now, messages=sum(self._send(part) for part in parts))

    def _at_own_second(self, requested: Batch) -> Batch:
        """Requested tests at a second under which none of their targets has a sample: who asked waits for a new one."""
        names, tick = {test.target.target_id for test in requested.tests}, requested.tick
        recorded = self._store.read_samples(requested.batches, requested.number, tick, tick + TICK)
        return at_free_second(requested, {second for second, samples in recorded if names & samples.keys()})

    def test_postures(self) -> None:
        """Test the postures that are due, once all else of this invocation is done and published: it waits for servers.

        An exception here does not cause the tick to be repeated.
        """
        probe_postures, due = self._dependencies.probe_postures, self._due_postures
        if probe_postures is None or not due:
            return
        records = {test.target.target_id: test.record for test in due}
        try:
            changed = [
                self._keep_posture(target, records[target.target_id], posture)
                for target, posture in probe_postures([test.target for test in due], self._end_by)
            ]
        except Exception:
            _log.exception("Postures were not tested.")
        else:
            _log.info("Postures were tested.", extra={"postures": len(changed), "changed": sum(changed)})

    def _keep_posture(self, target: Target, record: Record, posture: Posture) -> bool:
        try:
            return self._committer.commit_posture(target, record, posture)
        except (CommitError, BotoCoreError, ClientError):
            _log.exception(
                "A posture could not be stored. It is tested again the next day.", extra={"target_id": record.target_id}
            )
            return False

    def run_hour(self, work: RollupJob) -> None:
        """Add up one hour of one batch; its day too if that ends with it, or was added up before this hour came."""
        until = work.hour + HOUR
        samples = [results for _, results in self._store.read_samples(work.batches, work.number, work.hour, until)]
        if samples:
            self._store.put_hour(work.batches, work.number, work.hour, add_up(samples))
        day = work.hour.replace(hour=0)
        late = any(self._store.read_days(work.batches, work.number, day, day + DAY))
        if until.hour == 0 or late:
            self._add_up_day(work.batches, work.number, day)

    def _add_up_day(self, batches: int, number: int, day: datetime) -> None:
        hours = self._store.read_hours(batches, number, day, day + DAY)
        totals = merge_by_target(part for _, part in hours)
        if totals:
            self._store.put_day(batches, number, day, totals)

    def _deliver_outboxes(self, records: Mapping[str, Record]) -> dict[str, Record]:
        """Deliver what ended invocations have left in the outboxes; the records as they are after it."""
        after = {name: self._delivery.deliver_left_by_ended(record) for name, record in records.items()}
        self._delivery.flush(final=True)
        return after

    def _forget_removed(self, targets: Mapping[str, Target], records: Mapping[str, Record], tick: datetime) -> None:
        """Forget the targets that their user has removed, once their outboxes are empty."""
        for record in without_target(targets, records.values()):
            if not record.outbox:
                self._committer.forget(record, tick)

    def _count_due(self, planned: Plan) -> None:
        """Count the tests of the plan as due, even if there are none: that says that there was a sweep."""
        for batch in (planned.now, *planned.later):
            self._dependencies.count_due(batch.tick, len(batch.tests))

    def _run_plan(self, planned: Plan) -> tuple[int, Results]:
        """Test a single batch here, or send several to the queue; tests for later go to the queue in any case.

        A test for later comes as late after its time as this sweep after its tick: delays are kept by the clock.
        Returns the number of messages sent, and the results of tests made here.
        """
        messages = 0
        for later in planned.later:
            at = later.tick + timedelta(seconds=later.late_seconds)
            messages += self._send(later, seconds_until(at, self._clock()))
        if planned.batches == 1:
            return messages, self._test(planned.now)
        return messages + self._send(planned.now), Results()

    def _send(self, batch: Batch, delay_seconds: int = 0) -> int:
        """Send tests to the queue, by batches; the number of messages."""
        return sum(self._dependencies.batch_queue.send(part, delay_seconds) for part in split(batch).values())

    def _test(self, batch: Batch) -> Results:
        tester = BatchTester(
            batch,
            store=self._store,
            prober=self._dependencies.prober,
            logins=self._dependencies.logins,
            committer=self._committer,
            delivery=self._delivery,
            batch_queue=self._dependencies.batch_queue,
            end_by=self._end_by,
            clock=self._clock,
            references=_reference_targets(self._settings),
            count_due=self._dependencies.count_due,
            threads=self._dependencies.threads,
        )
        results = tester.run()
        self._due_postures += results.due_postures
        return results

    def _stats(self, batch: Batch, results: Results, messages: int, states: Mapping[State, int]) -> InvocationStats:
        stats = self._delivery.stats
        return InvocationStats(
            tick=batch.tick,
            late_seconds=batch.late_seconds,
            tests=0 if results.are_repeated else len(results.samples),
            repeated=len(results.samples) if results.are_repeated else 0,
            failures=results.failures,
            transitions=self._committer.transitions,
            alerts=stats.alerts,
            states=states,
            messages=messages,
            requeued=results.requeued,
            inconclusive=results.inconclusive,
            undelivered=stats.undelivered,
            fallback_messages=stats.fallback_messages,
            lag_seconds=(self._clock() - batch.tick).total_seconds(),
        )

    def _log_unknown_fields(self, targets: Iterable[Target], logged: str) -> str:
        """Log the targets' unknown fields unless their digest is the one logged last; returns the digest."""
        digest, found = unknown_fields(targets)
        if found and digest != logged:
            _log.warning("Some targets have unknown fields.", extra={"unknown_fields": found[:UNKNOWN_FIELDS_LOGGED]})
        return digest

    def _add_up_hours(
        self, tick: datetime, done: datetime | None, batch_counts: Mapping[str, str], batches: int
    ) -> datetime:
        """Add up the hours that have ended since `done`; returns the last hour that has been added up.

        `batch_counts` holds each number of batches and the tick that used it last: an hour's samples may be
        under any number that was in use then. Texts of ticks are in the order of their times.
        """
        last = _last_complete_hour(tick)
        hours = _of_one_day(_hours_between(done or last, last)[:HOURS_AT_ONCE])
        for hour in hours:
            self._add_up(hour, [int(count) for count, used in batch_counts.items() if used >= iso(hour)], batches)
        return hours[-1] if hours else done or last

    def _add_up(self, hour: datetime, batch_counts: Iterable[int], batches: int) -> None:
        """Add up an hour, here if the fleet is one batch and else by the queue."""
        for count in batch_counts:
            for number in range(count):
                work = RollupJob(hour, count, number)
                if batches == 1:
                    self.run_hour(work)
                else:
                    self._dependencies.batch_queue.send(work)


def _reference_targets(settings: Settings) -> list[Target]:
    """The hosts whose reachability shows that the network works, as targets: any answer at all will do."""
    return [
        Target(f"{host}:{port}", host, host, port, max_test_seconds=REFERENCE_SECONDS)
        for host, port in settings.reference_hosts
    ]


def _refuse_unless_current(tick: datetime, now: datetime) -> None:
    why = why_not_swept(tick, now)
    if why:
        _log.error("A tick is refused.", extra={"tick": iso(tick), "why": why})
        raise RefusedTickError(f"The tick {iso(tick)} {why}: nothing was tested. It is {iso(now)} now.")


def _last_complete_hour(tick: datetime) -> datetime:
    """The beginning of the last hour that is over, grace included, at `tick`."""
    return (tick - HOUR_GRACE).replace(minute=0, second=0, microsecond=0) - HOUR


def _of_one_day(hours: list[datetime]) -> list[datetime]:
    """The first of consecutive hours, up to a day's last one, which comes alone.

    The day is added up with its last hour. Messages run in any order, so the other hours must have been sent by an
    earlier sweep.
    """
    last = next((position for position, hour in enumerate(hours) if hour.hour == LAST_HOUR_OF_DAY), len(hours))
    return hours[: max(last, 1)]


def _hours_between(done: datetime, last: datetime) -> list[datetime]:
    return [done + HOUR * step for step in range(1, int((last - done) / HOUR) + 1)]
