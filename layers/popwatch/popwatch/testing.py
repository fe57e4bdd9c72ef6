"""Testing one batch: run the prober, commit what it finds as it finds it, see to the tests that come after.

An outcome is committed by a thread of its own while the prober's loop goes on, so an alert never waits for the slowest
target. What this invocation cannot finish goes back to the queue.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.batches import Batch, PlannedTest
from popwatch.committer import CommitError, Committer
from popwatch.dispatcher import Dispatcher
from popwatch.health import changes_nothing, judge
from popwatch.hours import rtt_of, sample_of
from popwatch.outcomes import ErrorCode, Outcome
from popwatch.prober import Prober
from popwatch.records import Record
from popwatch.schedule import group_name, retest_at
from popwatch.store import Store

COMMIT_THREADS = 8
"""Commits under way at once: each waits some milliseconds for AWS, and the prober's loop must not."""

HANDBACKS = 3
"""How often tests that an invocation could not finish go back to the queue before they count as poisoned."""

NEAR = timedelta(seconds=2)
"""Retests due this soon are sent to the queue while the batch still runs."""

NEWEST_SAMPLES = 4
"""Samples items that are searched for a target's last passed test, when it first fails."""

_log = logging.getLogger("popwatch.testing")


class UnfinishedError(Exception):
    """Tests were handed back to the queue too often."""


@dataclass(slots=True)
class Results:
    """What the tests of a batch found: samples by target, failures by error, and the tests handed back."""

    samples: dict[str, object] = field(default_factory=dict)
    failures: Counter[ErrorCode] = field(default_factory=Counter)
    handed_back: int = 0


class BatchTester:
    """Tests one batch, once. `end_by` is when tests must have ended, by the monotonic clock."""

    def __init__(
        self,
        batch: Batch,
        *,
        store: Store,
        prober: Prober,
        committer: Committer,
        dispatcher: Dispatcher,
        end_by: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._batch, self._end_by, self._clock = batch, end_by, clock
        self._store, self._prober, self._committer, self._dispatcher = store, prober, committer, dispatcher
        self._untested = {test.target.target_id: test for test in batch.tests}
        self._uncommitted: list[PlannedTest] = []
        self._commits: dict[Future[Record], PlannedTest] = {}
        self._retests: dict[datetime, list[PlannedTest]] = {}
        self._results = Results()

    def run(self) -> Results:
        """Make all tests and see them through."""
        targets = [test.target for test in self._batch.tests]
        with ThreadPoolExecutor(COMMIT_THREADS) as pool:
            for arrivals in self._prober.run(targets, end_by=self._end_by):
                for target, outcome in arrivals:
                    self._take(self._untested.pop(target.target_id), outcome, pool)
                self._collect(future for future in list(self._commits) if future.done())
                self._send_retests(self._clock() + NEAR)
                self._committer.flush()
        self._collect(list(self._commits))
        self._committer.flush(final=True)
        self._send_retests(self._batch.horizon)
        self._hand_back([*self._untested.values(), *self._uncommitted])
        self._put_samples()
        return self._results

    def _take(self, test: PlannedTest, outcome: Outcome, pool: ThreadPoolExecutor) -> None:
        """An outcome has arrived: count it, and commit it if it changes anything."""
        in_maintenance = test.target.policy.in_maintenance(self._batch.tick)
        self._results.samples[test.target.target_id] = sample_of(outcome, maintenance=in_maintenance)
        if outcome.error:
            self._results.failures[outcome.error] += 1
        judgement = judge(test.record.health, outcome, test.target.policy, self._batch.tick)
        if outcome.passed and changes_nothing(test.record.health, judgement):
            self._plan_retest(test, test.record)
        else:
            commit = pool.submit(self._committer.commit, test, outcome, self._batch.tick, self._last_good)
            self._commits[commit] = test

    def _collect(self, finished: Iterable[Future[Record]]) -> None:
        for future in finished:
            test = self._commits.pop(future)
            try:
                self._plan_retest(test, future.result())
            except (CommitError, BotoCoreError, ClientError) as error:
                _log.error("An outcome could not be committed.", extra=_facts(test, error))
                self._uncommitted.append(test)

    def _plan_retest(self, test: PlannedTest, record: Record) -> None:
        due = retest_at(record.health, test.target.policy, self._batch.tick, self._batch.horizon)
        if due:
            self._retests.setdefault(due, []).append(PlannedTest(test.target, record))

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
