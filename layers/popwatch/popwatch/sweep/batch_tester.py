"""Testing one batch: run the prober, commit what it finds as it finds it, and schedule the retests.

An outcome is committed by a thread of its own while the prober's loop goes on, so an alert never waits for the slowest
target. What this invocation cannot finish goes back to the queue.

As long as the monitor's own network may be to blame (see `own_network`), failures of the network are deferred, not
judged. In a sound network the first passed tests decide that within milliseconds.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from queue import SimpleQueue

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.store import Store
from popwatch.decisions.batches import Batch, PlannedTest
from popwatch.decisions.judging import TICK, changes_nothing, delay_seconds, judge
from popwatch.decisions.login_attempts import with_skipped_login, without_login
from popwatch.decisions.own_network import (
    LOOKBACK_MINUTES,
    MAX_TICKS,
    FaultCause,
    NetworkFaultDetector,
    has_been_reached,
    is_of_network,
)
from popwatch.decisions.planning import counts_if_failed
from popwatch.decisions.posture_tests import is_posture_due, with_present_posture
from popwatch.decisions.schedule import digest_of, is_login_due, next_due, next_slot, retest_at
from popwatch.model.credential_problems import CredentialProblem
from popwatch.model.credentials import Credential
from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict, Outcome
from popwatch.model.records import Record
from popwatch.model.samples import Sample, sample_of
from popwatch.model.targets import Target, config_fingerprint
from popwatch.prober.loop import Prober
from popwatch.sweep.committer import CLOCK_SKEW, LATE_BY_MISSED_TICKS, CommitError, Committer, is_first_failure
from popwatch.sweep.login_order import LoginOrder
from popwatch.sweep.logins import Logins
from popwatch.sweep.outbox import OutboxDelivery

COMMIT_THREADS = 8
"""Commits under way at once: each waits some milliseconds for AWS, and the prober's loop must not."""

MAX_REQUEUES = 3
"""How often tests that an invocation could not finish go back to the queue before they go to the dead-letter queue."""

SEND_AHEAD = timedelta(seconds=2)
"""Retests due this soon are sent to the queue while the batch still runs."""

MAX_CATCH_UP = timedelta(seconds=2)
"""How much earlier than its delay a retest comes, at most: a message takes about a second until its tests begin, and a
series of retests would fall behind more and more."""

LONGEST_SERIES = 12
"""Retests of a series, at most: Lambda's recursive loop detection stops one after about 16 invocations."""

READ_TOGETHER = timedelta(minutes=15)
"""Up to this `delay_up`, the last passed tests of all targets that first fail are read together."""

_log = logging.getLogger("popwatch.sweep.batch_tester")


def commit_threads() -> Executor:
    """The threads of a batch's commits."""
    return ThreadPoolExecutor(COMMIT_THREADS)


def seconds_until(due: datetime, now: datetime) -> int:
    """Whole seconds from `now` to `due`, as the queue takes a delay; 0 if `due` has passed."""
    return max(0, round((due - now).total_seconds()))


class UnfinishedError(Exception):
    """Tests were requeued too often."""


@dataclass(slots=True)
class Results:
    """What the tests of a batch found: samples by target, failures by error, requeued tests, inconclusive tests.

    They `are_repeated` if another invocation had made the same tests before: SQS delivers a message at least once.
    `due_postures` are those of targets whose posture is to be tested afterwards.
    """

    samples: dict[str, Sample] = field(default_factory=dict)
    failures: Counter[ErrorCode] = field(default_factory=Counter)
    requeued: int = 0
    inconclusive: int = 0
    are_repeated: bool = False
    due_postures: Sequence[PlannedTest] = ()


class BatchTester:
    """Tests one batch, once. `end_by` is when tests must have ended, by the monotonic clock.

    `references` are hosts that are tried when a target that passed before fails for reasons of the network. `count_due`
    is called for retests, each with its tick.

    Ticks order the tests of a target; delays are kept by the clock, from the time at which this batch began, but for
    what its message was late (`MAX_CATCH_UP`).
    """

    def __init__(
        self,
        batch: Batch,
        *,
        store: Store,
        prober: Prober,
        logins: Logins | None,
        committer: Committer,
        delivery: OutboxDelivery,
        batch_queue: BatchQueue,
        end_by: float,
        clock: Callable[[], datetime],
        count_due: Callable[[datetime, int], None],
        references: Sequence[Target] = (),
        threads: Callable[[], Executor] = commit_threads,
    ) -> None:
        self._batch, self._end_by, self._clock, self._count_due = batch, end_by, clock, count_due
        self._began = clock()
        # When the next tick plans again, by the clock, if it comes as late in its minute as this one.
        self._next_tick_at = batch.next_tick + timedelta(seconds=batch.late_seconds)
        self._store, self._prober, self._batch_queue = store, prober, batch_queue
        self._committer, self._delivery = committer, delivery
        self._logins = logins
        self._untested = {test.target.target_id: test for test in batch.tests}
        self._without_credential: Mapping[str, CredentialProblem] = {}
        self._skipped_logins: Mapping[str, str] = {}
        self._uncommitted: list[PlannedTest] = []
        self._commits: dict[Future[Record | None], PlannedTest] = {}
        self._committed: SimpleQueue[Future[Record | None]] = SimpleQueue()
        self._retests: defaultdict[tuple[datetime, datetime, datetime], list[PlannedTest]] = defaultdict(list)
        self._results = Results()
        passed_before = sum(test.record.health.state is State.UP for test in batch.tests)
        self._detector = NetworkFaultDetector(passed_before, awaits_references=bool(references))
        self._references, self._threads = references, threads
        self._reference_check: Future[bool] | None = None
        self._deferred: list[tuple[PlannedTest, Outcome]] = []

    def run(self) -> Results:
        """Make all tests, commit their outcomes, and pass on what is left to do."""
        # Those that are failing come last: else one of them would be the first of those that share a credential, and
        # the others would wait for a server that does not answer.
        tests = sorted(self._batch.tests, key=_is_failing)
        targets = [test.target for test in tests]
        order = self._prepare_logins(tests)
        prober = self._prober.with_credentials(order.credentials, order.may_log_in) if order else self._prober
        with self._threads() as pool:
            for arrivals in prober.run(targets, end_by=self._end_by):
                for target, outcome in arrivals:
                    if order:
                        self._end_login(order, target.target_id, outcome, pool)
                    test = self._untested.pop(target.target_id)
                    self._receive(*self._as_judged(test, outcome, order), pool)
                self._decide_deferred(pool)
                self._collect(self._committed.get_nowait() for _ in range(self._committed.qsize()))
                self._send_retests(self._clock() + SEND_AHEAD)
                self._delivery.flush()
            self._decide_deferred(pool, final=True)
            if order:
                self._release_logins(order, pool)
        # The pool has waited for all commits. The summary is sent before anything that may raise, so that an alert does
        # not wait for a later sweep; samples come last, when it is known which tests were requeued.
        self._collect(list(self._commits))
        self._delivery.flush(final=True)
        self._send_retests()
        self._requeue([*self._untested.values(), *self._uncommitted])
        self._put_samples()
        self._results.due_postures = self._due_postures()
        return self._results

    def _as_judged(self, test: PlannedTest, outcome: Outcome, order: LoginOrder | None) -> tuple[PlannedTest, Outcome]:
        """The test and the outcome as they are judged: in a login outage, other ones if the test could not log in.

        It counts as failed while its credential waits after a refusal. If no login can be tested any more, the greeting
        ends the outage, and the outcome says so.
        """
        target_id, health = test.target.target_id, test.record.health
        if not (outcome.passed and outcome.login is None and health.has_login_outage):
            return test, outcome
        if not test.target.policy.login:
            return test, without_login(outcome, None)
        if why := self._skipped_logins.get(target_id) or (order.why_not(target_id) if order else ""):
            return test, with_skipped_login(outcome, health, why)
        problem = self._without_credential.get(target_id)
        return (_without_login(test), without_login(outcome, problem)) if problem else (test, outcome)

    def _prepare_logins(self, tests: Sequence[PlannedTest]) -> LoginOrder | None:
        """The logins of those targets whose login is due. Without the tables no one logs in, and all are tested."""
        between_ticks = self._batch.next_tick - self._batch.tick < TICK
        wanted = {
            test.target.target_id: test.target.policy.login
            for test in tests
            if not test.target.problems
            and is_login_due(
                test.target.target_id,
                test.record.health,
                test.target.policy,
                self._batch.tick,
                self._began,
                between_ticks=between_ticks,
                requested=self._batch.requested,
            )
        }
        if not wanted or self._logins is None:
            return None
        failing = {
            test.target.target_id: test.record.health.failing_since or self._began
            for test in tests
            if test.record.health.login_failed
        }
        # Not those whose server states a LOGIN-DELAY: it would refuse a login that comes before its time.
        not_due = {
            test.target.target_id: test.target.policy.login
            for test in tests
            if test.record.health.state is State.UP
            and not (test.record.health.login_delay or test.target.problems or test.target.target_id in wanted)
        }
        prepared = self._logins.prepare(
            wanted, [test.target for test in tests], failing, not_due, requested=self._batch.requested
        )
        for problem in {one.name: one for one in prepared.problems.values()}.values():
            _log.warning("A credential cannot be used.", extra={"credential": problem.name, "reason": problem.reason})
        self._without_credential = {one: prepared.problems[one] for one in prepared.without_login}
        self._skipped_logins = prepared.skipped
        if not prepared.credentials:
            return None
        return LoginOrder(prepared.credentials, prepared.attempted, prepared.never_accepted)

    def _end_login(self, order: LoginOrder, target_id: str, outcome: Outcome, pool: Executor) -> None:
        """A test has ended: who logs in next, and what is written of its credential."""
        if self._logins and target_id in order.credentials:
            result = outcome.login or LoginResult(LoginVerdict.FAILED)  # never sent
            order.end(target_id, result)
            pool.submit(self._record_login, self._logins, target_id, order.credentials[target_id], result)

    def _release_logins(self, order: LoginOrder, pool: Executor) -> None:
        """Take back the login of each target that never began; one that began, and did not end, counts."""
        begun = order.begun
        for target_id, credential in order.credentials.items():
            if self._logins and target_id in self._untested and target_id not in begun:
                never = LoginResult(LoginVerdict.FAILED)
                pool.submit(self._record_login, self._logins, target_id, credential, never)

    @staticmethod
    def _record_login(logins: Logins, target_id: str, credential: Credential, result: LoginResult) -> None:
        """Record what a login shows of its credential; an attempt that cannot be written is counted all the same."""
        try:
            logins.record(target_id, credential, result)
        except (BotoCoreError, ClientError) as error:
            _log.error("A login could not be recorded.", extra={"error": type(error).__name__})

    def _due_postures(self) -> list[PlannedTest]:
        """The tests of targets whose posture is due, of those that have just passed.

        Only with the tests of a tick, which plans the retests again. None in maintenance, where a server may be half
        configured: the records do not yet say that a window has begun.
        """
        batch, passed = self._batch, self._results.samples
        if batch.next_tick - batch.tick != TICK:
            return []
        now = self._clock()
        return [
            test
            for test in batch.tests
            if not test.target.policy.in_maintenance(now)
            and is_posture_due(test.target, test.record.health, batch.tick)
            and test.target.target_id in passed
            and passed[test.target.target_id].rtt_ms is not None
        ]

    def _receive(self, test: PlannedTest, outcome: Outcome, pool: Executor) -> None:
        """An outcome has arrived: defer it if the monitor's own network may be to blame, else judge it.

        Only targets that passed before say anything about our network. What failed before may be deferred all the same:
        if our network is to blame, this failure proves nothing either. Outcomes in which a server had a part (passed,
        a refusal, a wrong greeting) are never deferred, so early results are judged before the cause is known.
        """
        if test.record.health.state is State.UP:
            self._detector.add(test.target, outcome)
        if is_of_network(outcome):
            self._deferred.append((test, outcome))
        else:
            self._judge(test, outcome, pool)

    def _decide_deferred(self, pool: Executor, *, final: bool = False) -> None:
        """Judge what is deferred, or record it as inconclusive, once the cause is known or the batch ends."""
        if not self._deferred:
            return
        self._check_references(pool, final=final)
        cause = self._detector.cause
        if cause is FaultCause.UNDECIDED and not final:
            return
        deferred, self._deferred = self._deferred, []
        if cause is FaultCause.MONITOR_NETWORK and self._may_be_inconclusive:
            self._record_inconclusive(deferred)
        else:
            for test, outcome in deferred:
                self._judge(test, outcome, pool)

    def _check_references(self, pool: Executor, *, final: bool) -> None:
        """Try the reference hosts once a target that passed before has failed; take the result when it is there."""
        if self._references and self._detector.failed and self._reference_check is None:
            self._reference_check = pool.submit(self._reaches_references)
        if self._reference_check and (final or self._reference_check.done()):
            self._detector.references_reached = self._reference_check.result()

    def _reaches_references(self) -> bool:
        arrivals = self._prober.run(self._references)
        return any(has_been_reached(outcome) for batch in arrivals for _, outcome in batch)

    @cached_property
    def _may_be_inconclusive(self) -> bool:
        """Whether fewer than `MAX_TICKS` recent ticks were inconclusive: a real outage must not stay unreported."""
        batch, since = self._batch, self._batch.tick - timedelta(minutes=LOOKBACK_MINUTES)
        samples = self._store.read_samples(batch.batches, batch.number, since, batch.tick)
        minutes = {
            tick.replace(second=0)
            for tick, results in samples
            if any(sample.inconclusive for sample in results.values())
        }
        return len(minutes) < MAX_TICKS

    def _record_inconclusive(self, deferred: list[tuple[PlannedTest, Outcome]]) -> None:
        """Record outcomes that prove nothing, and test again at the next tick what would not be due then."""
        again: list[PlannedTest] = []
        for test, outcome in deferred:
            self._results.samples[test.target.target_id] = sample_of(outcome, inconclusive=True)
            due = next_due(
                test.target.target_id,
                test.record.health,
                test.target.policy,
                tested_tick=test.record.tick,
                after=self._batch.tick,
                tick=self._batch.next_tick,
            )
            if due is None and not self._batch.requested:
                again.append(test)
        self._results.inconclusive += len(deferred)
        _log.error("Nearly all tests failed with network errors, perhaps of popwatch's own network: they do not count.")
        if again:
            next_tick = self._batch.next_tick
            batch = self._batch.of(next_tick, again)
            self._send_later(replace(batch, next_tick=next_tick + TICK), self._next_tick_at)

    def _judge(self, test: PlannedTest, outcome: Outcome, pool: Executor) -> None:
        """Judge an outcome by the time at which its test began, and commit it if it changes anything."""
        tick, began, policy = self._batch.tick, outcome.started_at, test.target.policy
        health = with_present_posture(test.target, test.record.health)
        is_too_early = self._batch.requested and outcome.error is not None and not counts_if_failed(test, tick)
        self._results.samples[test.target.target_id] = sample_of(
            outcome,
            maintenance=policy.in_maintenance(began),
            uncounted=is_too_early,
            ends_login_run=outcome.passed and health.has_login_outage and not policy.login,
        )
        if outcome.error:
            self._results.failures[outcome.error] += 1
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("A test has ended.", extra={"target_id": test.target.target_id, "test": _test_fields(outcome)})
        if is_too_early:
            return
        until = self._batch.next_tick - tick
        judgement = judge(health, outcome, policy, began, test.failing_parent, to_next_tick=until)
        # Nearly all tests end here: a passed test of an up target is a sample, and writes nothing to Status.
        same = test.record.config_fingerprint == config_fingerprint(test.target)
        if outcome.passed and same and changes_nothing(test.record.health, judgement):
            # With a delay that lasts until the next tick, as nearly all have, that tick plans the next test.
            if timedelta(seconds=policy.delay_up) < until and not self._batch.requested:
                self._plan_retest(test, replace(test.record, health=judgement.health), tick)
        else:
            commit = pool.submit(
                self._committer.commit, test, outcome, judgement, tick, self._last_good, to_next_tick=until
            )
            self._commits[commit] = test
            commit.add_done_callback(self._committed.put)

    def _collect(self, finished: Iterable[Future[Record | None]]) -> None:
        """Plan what follows commits that have ended; one that failed has its test requeued."""
        for future in finished:
            test = self._commits.pop(future)
            try:
                record = future.result()
            except (CommitError, BotoCoreError, ClientError) as error:
                _log.error("An outcome could not be committed.", extra=_log_fields(test, error))
                self._uncommitted.append(test)
            else:
                if record and record.tick and record.tick < self._batch.tick:
                    self._note_uncounted(test.target.target_id)
                if record and record.tick and self._plans_test_after(test, record, record.tick):
                    self._plan_retest(test, record, record.tick)

    def _note_uncounted(self, target_id: str) -> None:
        """Mark the sample of a test that was not judged: one of an earlier tick was, and this one came too soon after.

        One that a later test has overtaken is not marked: it may be a repeated message, whose sample replaces that of
        the test that counted.
        """
        samples = self._results.samples
        samples[target_id] = replace(samples[target_id], uncounted=True)

    def _plans_test_after(self, test: PlannedTest, record: Record, judged: datetime) -> bool:
        """Whether this batch plans the test that follows the last one that was judged, which is that of `judged`.

        Where a later test was judged meanwhile, that one's batch has planned the next. Where an earlier one was, and
        this one came too soon after it to count, its batch has left the next to this tick, unless it was the first to
        fail, which this tick did not know (see `_next_plan`). A test on request that changed nothing leaves the next
        to the schedule, and so does each in maintenance, where tests go on as while up.
        """
        if self._batch.requested and record.health.state is State.MAINTENANCE:
            return False
        if self._batch.requested or is_first_failure(test, record):
            return judged == self._batch.tick
        return judged <= self._batch.tick

    def _plan_retest(self, test: PlannedTest, record: Record, tick: datetime) -> None:
        elapsed = self._clock() - tick - timedelta(seconds=self._batch.late_seconds)
        next_tick = self._next_plan(test, record)
        due = retest_at(record.health, test.target.policy, tick, next_tick, elapsed)
        if due:
            # Two times of one retest: `due` is its tick, which orders it among the tests of its target, and `at` is
            # when the queue is to hand it out: a delay after this test by the clock.
            delay = timedelta(seconds=delay_seconds(record.health, test.target.policy))
            at = self._began - self._batch.tick + tick + delay
            # Of what the clock is behind the tick, the sweep's own lateness stays; the rest came with the message.
            behind = at - due - timedelta(seconds=self._batch.late_seconds)
            at -= min(max(behind, timedelta()), MAX_CATCH_UP)
            self._retests[due, at, next_tick].append(replace(test, record=record))

    def _next_plan(self, test: PlannedTest, record: Record) -> datetime:
        """The tick until which this batch and its retests plan the tests of a target: the next one.

        Those that came before the first failed test of a run was committed took the target for one that is up. So the
        first tick that can only come after that is the one that goes on.
        """
        next_tick = self._batch.next_tick
        delay = timedelta(seconds=delay_seconds(record.health, test.target.policy))
        if delay >= TICK or not is_first_failure(test, record):
            return next_tick
        first_after_commit = (self._clock() + CLOCK_SKEW).replace(second=0, microsecond=0) + TICK
        return max(next_tick, min(first_after_commit, self._batch.tick + LONGEST_SERIES * delay))

    def _send_retests(self, until: datetime | None = None) -> None:
        """Send to the queue, each as a batch of its own tick, the retests that are due by `until`, or all.

        A retest carries the record just committed, so that it needs no read of the tables. Series of retests end at the
        next tick, which reads the tables and plans again.
        """
        for key in [key for key in self._retests if until is None or key[1] <= until]:
            tick, at, next_tick = key
            batch = self._batch.of(tick, self._retests.pop(key))
            self._send_later(replace(batch, next_tick=next_tick, requested=False), at)

    def _send_later(self, batch: Batch, at: datetime) -> None:
        """Send a batch to the queue, to be received at a time."""
        self._batch_queue.send(batch, seconds_until(at, self._clock()))
        self._count_due(batch.tick, len(batch.tests))

    def _requeue(self, unfinished: list[PlannedTest]) -> None:
        """Send back to the queue what was not tested in time or not committed, for another invocation.

        It is still the same tick, so a test that was committed after all is not judged again; the alert of it is sent
        by that invocation, as this one has given it up. After `MAX_REQUEUES` the
        error fails the invocation, and the message ends in the dead-letter queue, which has an alarm.
        """
        if not unfinished:
            return
        if self._batch.attempt >= MAX_REQUEUES:
            raise UnfinishedError(f"{len(unfinished)} tests could not be finished in {MAX_REQUEUES + 1} invocations.")
        batch = replace(
            self._batch,
            tests=tuple(unfinished),
            attempt=self._batch.attempt + 1,
            given_up_by=(*self._batch.given_up_by, self._delivery.writer),
        )
        self._batch_queue.send(batch)
        self._results.requeued = len(unfinished)
        for test in unfinished:
            self._results.samples.pop(test.target.target_id, None)

    def _put_samples(self) -> None:
        """Write the batch's samples as one item.

        Its key has the tick and a digest of the set of targets. An invocation that is repeated with the same tests
        replaces the item, and tests that were requeued get an item of their own.
        """
        samples, batch = self._results.samples, self._batch
        if samples:
            digest = digest_of(samples)
            self._results.are_repeated = not self._store.put_samples(
                batch.batches, batch.number, batch.tick, digest, samples
            )

    def _last_good(self, target: Target) -> tuple[datetime, float] | None:
        """The last passed test of a target whose test before this one passed: it was made for the slot before this one.

        One that a changed item caused between two slots is in the record, as any passed test with a changed item.
        """
        delay = timedelta(seconds=target.policy.delay_up)
        if delay < READ_TOGETHER:
            return _newest_pass(target.target_id, self._newest_samples)
        last_slot = next_slot(target.target_id, target.policy.delay_up, self._batch.tick - TICK) - delay
        # If ticks were missed the last slot may be that of this test.
        return next(filter(None, (self._pass_for(target, slot) for slot in (last_slot, last_slot - delay))), None)

    def _pass_for(self, target: Target, slot: datetime) -> tuple[datetime, float] | None:
        """The passed test of a slot: its tick ends the slot's minute, or comes later if ticks were missed."""
        return _newest_pass(target.target_id, self._samples(slot, slot + TICK + LATE_BY_MISSED_TICKS, target.target_id))

    @cached_property
    def _newest_samples(self) -> list[tuple[datetime, Mapping[str, Sample]]]:
        delays = (timedelta(seconds=test.target.policy.delay_up) for test in self._batch.tests)
        longest = max((delay for delay in delays if delay < READ_TOGETHER), default=timedelta())
        return self._samples(self._batch.tick - longest - LATE_BY_MISSED_TICKS, self._batch.tick)

    def _samples(
        self, since: datetime, until: datetime, only: str | None = None
    ) -> list[tuple[datetime, Mapping[str, Sample]]]:
        """The samples of this batch in a time that ends before this tick, newest first."""
        until = min(until, self._batch.tick)
        return list(self._store.read_samples(self._batch.batches, self._batch.number, since, until, only))[::-1]


def _newest_pass(
    target_id: str, samples: Iterable[tuple[datetime, Mapping[str, Sample]]]
) -> tuple[datetime, float] | None:
    """The first passed test of a target in samples that come newest first: its tick and rtt in ms."""
    for tick, results in samples:
        sample = results.get(target_id)
        if sample and sample.rtt_ms is not None:
            return tick, sample.rtt_ms
    return None


def _is_failing(test: PlannedTest) -> bool:
    return test.record.health.login_failed or test.record.health.is_failing


def _without_login(test: PlannedTest) -> PlannedTest:
    """The test of a target that cannot log in, to be judged by its greeting alone.

    Otherwise a run of failures that began at the login would never end: no later test can log in either.
    """
    target = test.target
    return replace(test, target=replace(target, policy=replace(target.policy, login="")))


def _log_fields(test: PlannedTest, error: Exception) -> dict[str, str]:
    return {"target_id": test.target.target_id, "why": f"{type(error).__name__}: {error}"}


def _test_fields(outcome: Outcome) -> dict[str, str | float | None]:
    return {"error": outcome.error, "reason": outcome.reason, "rtt_ms": outcome.rtt_ms}
