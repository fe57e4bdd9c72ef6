"""Testing one batch: run the prober, commit what it finds as it finds it, see to the tests that come after.

An outcome is committed by a thread of its own while the prober's loop goes on, so an alert never waits for the slowest
target. What this invocation cannot finish goes back to the queue.

While it may still be the monitor's own network that fails (see `doubt`), failures of the network are held, not judged.
In a sound network the first passes end that doubt within milliseconds.
"""

import logging
from collections import Counter
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
from popwatch.decisions.judging import changes_nothing, judge
from popwatch.decisions.own_network import (
    LOOKBACK_MINUTES,
    MOST_TICKS,
    NetworkFaultDetector,
    Verdict,
    has_been_reached,
    is_of_network,
)
from popwatch.decisions.schedule import TICK, group_name, next_due, retest_at
from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode, Outcome
from popwatch.model.records import Record
from popwatch.model.samples import is_inconclusive, rtt_of, sample_of
from popwatch.model.targets import Target
from popwatch.prober.loop import Prober
from popwatch.sweep.committer import CommitError, Committer

COMMIT_THREADS = 8
"""Commits under way at once: each waits some milliseconds for AWS, and the prober's loop must not."""

HANDBACKS = 3
"""How often tests that an invocation could not finish go back to the queue before they count as poisoned."""

NEAR = timedelta(seconds=2)
"""Retests due this soon are sent to the queue while the batch still runs."""

NEWEST_SAMPLES = 4
"""Samples items that are searched for a target's last passed test, when it first fails."""

_log = logging.getLogger("popwatch.sweep.batch_run")


def commit_threads() -> Executor:
    """The threads of a batch's commits."""
    return ThreadPoolExecutor(COMMIT_THREADS)


class UnfinishedError(Exception):
    """Tests were handed back to the queue too often."""


@dataclass(slots=True)
class Results:
    """What the tests of a batch found: samples by target, failures by error, the tests handed back or put aside."""

    samples: dict[str, object] = field(default_factory=dict)
    failures: Counter[ErrorCode] = field(default_factory=Counter)
    handed_back: int = 0
    inconclusive: int = 0


class BatchTester:
    """Tests one batch, once. `end_by` is when tests must have ended, by the monotonic clock.

    `references` are hosts that are tried when a target that passed before fails for reasons of the network.
    """

    def __init__(
        self,
        batch: Batch,
        *,
        store: Store,
        prober: Prober,
        committer: Committer,
        dispatcher: BatchQueue,
        end_by: float,
        clock: Callable[[], datetime],
        references: Sequence[Target] = (),
        threads: Callable[[], Executor] = commit_threads,
    ) -> None:
        self._batch, self._end_by, self._clock = batch, end_by, clock
        self._store, self._prober, self._committer, self._dispatcher = store, prober, committer, dispatcher
        self._untested = {test.target.target_id: test for test in batch.tests}
        self._uncommitted: list[PlannedTest] = []
        self._commits: dict[Future[Record], PlannedTest] = {}
        self._committed: SimpleQueue[Future[Record]] = SimpleQueue()
        self._retests: dict[datetime, list[PlannedTest]] = {}
        self._results = Results()
        passed_before = sum(test.record.health.state is State.UP for test in batch.tests)
        self._doubt = NetworkFaultDetector(passed_before, awaits_references=bool(references))
        self._references, self._threads = references, threads
        self._asked: Future[bool] | None = None
        self._held: list[tuple[PlannedTest, Outcome]] = []

    def run(self) -> Results:
        """Make all tests and see them through."""
        targets = [test.target for test in self._batch.tests]
        with self._threads() as pool:
            for arrivals in self._prober.run(targets, end_by=self._end_by):
                for target, outcome in arrivals:
                    self._take(self._untested.pop(target.target_id), outcome, pool)
                self._release(pool)
                self._collect(self._committed.get_nowait() for _ in range(self._committed.qsize()))
                self._send_retests(self._clock() + NEAR)
                self._committer.flush()
            self._release(pool, final=True)
        self._collect(list(self._commits))
        self._committer.flush(final=True)
        self._send_retests(self._batch.horizon)
        self._hand_back([*self._untested.values(), *self._uncommitted])
        self._put_samples()
        return self._results

    def _take(self, test: PlannedTest, outcome: Outcome, pool: Executor) -> None:
        """An outcome has arrived: hold it if it may be the monitor's own failure, else judge it."""
        if test.record.health.state is State.UP:
            self._doubt.take(test.target, outcome)
        if is_of_network(outcome):
            self._held.append((test, outcome))
        else:
            self._judge(test, outcome, pool)

    def _release(self, pool: Executor, *, final: bool = False) -> None:
        """Judge what is held, or put it aside, once it is clear whose failure it is; at the end it must be."""
        if not self._held:
            return
        self._ask_references(pool, final=final)
        verdict = self._doubt.verdict
        if verdict is Verdict.OPEN and not final:
            return
        held, self._held = self._held, []
        if verdict is Verdict.OURS and self._may_put_aside:
            self._put_aside(held)
        else:
            for test, outcome in held:
                self._judge(test, outcome, pool)

    def _ask_references(self, pool: Executor, *, final: bool) -> None:
        """Try the reference hosts once a target that passed before has failed; take their answer when it is there."""
        if self._references and self._doubt.failed and self._asked is None:
            self._asked = pool.submit(self._reaches_references)
        if self._asked and (final or self._asked.done()):
            self._doubt.references = self._asked.result()

    def _reaches_references(self) -> bool:
        arrivals = self._prober.run(self._references)
        return any(has_been_reached(outcome) for batch in arrivals for _, outcome in batch)

    @cached_property
    def _may_put_aside(self) -> bool:
        """Whether outcomes were put aside in fewer ticks of late than they may be."""
        batch, since = self._batch, self._batch.tick - timedelta(minutes=LOOKBACK_MINUTES)
        samples = self._store.read_samples(batch.batches, batch.number, since, batch.tick)
        minutes = {tick.replace(second=0) for tick, results in samples if any(map(is_inconclusive, results.values()))}
        return len(minutes) < MOST_TICKS

    def _put_aside(self, held: list[tuple[PlannedTest, Outcome]]) -> None:
        """Record outcomes that prove nothing, and see that what is not due at the next tick is tested then too."""
        again: list[PlannedTest] = []
        for test, outcome in held:
            self._results.samples[test.target.target_id] = sample_of(outcome, inconclusive=True)
            due = next_due(
                test.target.target_id,
                test.record.health,
                test.target.policy,
                tested=test.record.tick,
                after=self._batch.tick,
                tick=self._batch.horizon,
            )
            if due is None:
                again.append(test)
        self._results.inconclusive += len(held)
        _log.error("Nearly all tests fail for reasons of the network, perhaps our own: they are not judged.")
        if again:
            horizon = self._batch.horizon
            batch = replace(self._batch, tick=horizon, horizon=horizon + TICK, tests=tuple(again), attempt=0)
            self._dispatcher.send(batch, max(0, round((horizon - self._clock()).total_seconds())))

    def _judge(self, test: PlannedTest, outcome: Outcome, pool: Executor) -> None:
        """Count an outcome, and commit it if it changes anything."""
        in_maintenance = test.target.policy.in_maintenance(self._batch.tick)
        self._results.samples[test.target.target_id] = sample_of(outcome, maintenance=in_maintenance)
        if outcome.error:
            self._results.failures[outcome.error] += 1
        judgement = judge(test.record.health, outcome, test.target.policy, self._batch.tick, test.failing_parent)
        if outcome.passed and changes_nothing(test.record.health, judgement):
            self._plan_retest(test, test.record)
        else:
            commit = pool.submit(self._committer.commit, test, outcome, self._batch.tick, self._last_good)
            self._commits[commit] = test
            commit.add_done_callback(self._committed.put)

    def _collect(self, finished: Iterable[Future[Record]]) -> None:
        for future in finished:
            test = self._commits.pop(future)
            try:
                record = future.result()
            except (CommitError, BotoCoreError, ClientError) as error:
                _log.error("An outcome could not be committed.", extra=_facts(test, error))
                self._uncommitted.append(test)
            else:
                if record.tick == self._batch.tick:  # another tick's judge has planned what comes after it
                    self._plan_retest(test, record)

    def _plan_retest(self, test: PlannedTest, record: Record) -> None:
        due = retest_at(record.health, test.target.policy, self._batch.tick, self._batch.horizon)
        if due:
            self._retests.setdefault(due, []).append(replace(test, record=record))

    def _send_retests(self, until: datetime) -> None:
        if self._clock() >= self._batch.horizon:
            self._retests.clear()  # the next tick has planned them anew
        for due in [due for due in self._retests if due <= until]:
            delay = max(0, round((due - self._clock()).total_seconds()))
            self._dispatcher.send(replace(self._batch, tick=due, tests=tuple(self._retests.pop(due)), attempt=0), delay)

    def _hand_back(self, left: list[PlannedTest]) -> None:
        if not left:
            return
        if self._batch.attempt >= HANDBACKS:
            raise UnfinishedError(f"{len(left)} tests could not be finished in {HANDBACKS + 1} invocations.")
        self._dispatcher.send(replace(self._batch, tests=tuple(left), attempt=self._batch.attempt + 1))
        self._results.handed_back = len(left)
        for test in left:
            self._results.samples.pop(test.target.target_id, None)

    def _put_samples(self) -> None:
        samples, batch = self._results.samples, self._batch
        if samples:
            self._store.put_samples(batch.batches, batch.number, batch.tick, group_name(samples), samples)

    def _last_good(self, target_id: str) -> tuple[datetime, float] | None:
        for tick, results in self._newest_samples:
            rtt_ms = rtt_of(results.get(target_id))
            if rtt_ms is not None:
                return tick, rtt_ms
        return None

    @cached_property
    def _newest_samples(self) -> list[tuple[datetime, Mapping[str, object]]]:
        return list(self._store.read_newest_samples(self._batch.batches, self._batch.number, NEWEST_SAMPLES))


def _facts(test: PlannedTest, error: Exception) -> dict[str, str]:
    return {"target_id": test.target.target_id, "why": f"{type(error).__name__}: {error}"}
