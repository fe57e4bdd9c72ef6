"""Ticks of a fleet in a process of its own: `sweep_client.py JOB` prints a line of JSON for each (see SweepJob).

A tick is all of it: the plan, and what lies in the queue after it, one message after the other.
"""

import cProfile
import io
import json
import logging
import pstats
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3

import check_targets
from popwatch.alerts import rendering
from popwatch.aws import alert_topics, batch_queue, store
from popwatch.config import Settings
from popwatch.decisions import batches
from popwatch.decisions.batches import Batch
from popwatch.prober.loop import Prober
from popwatch.sweep import batch_tester, committer, sweep
from popwatch.sweep.sweep import Dependencies, Sweep
from tests.bench.clients.sweep_job import MINUTE, NOON, SweepJob
from tests.bench.parts import Parts, Place

FUNCTIONS = 14
"""Lines of a profile."""

Store = store.Store
PLACES: Mapping[str, Sequence[Place]] = {
    "read": [(Store, "read_targets"), (Store, "read_records"), (sweep, "parse_targets")],
    "plan": [(sweep, "plan")],
    "queue": [(batch_queue.BatchQueue, "send"), (batches, "from_message")],
    "judge": [
        (batch_tester, "judge"),
        (committer, "judge"),
        (batch_tester, "changes_nothing"),
        (batch_tester, "sample_of"),
    ],
    "write": [(Store, name) for name in ("commit", "put_checkpoint", "put_samples", "put_transition", "put_alert")],
    "alerts": [(alert_topics.AlertTopics, "publish"), (rendering, "render"), (rendering, "summarize")],
}


def main() -> None:
    """Make the ticks."""
    logging.disable(logging.CRITICAL)
    job = SweepJob(**json.loads(sys.argv[1]))
    ticks = [NOON + MINUTE * (job.first + number) for number in range(job.ticks)]
    if job.profile:
        profiler = cProfile.Profile()
        profiler.runcall(Ticker(job).tick, ticks[0])
        print(json.dumps(list(dearest(profiler))))
        return
    parts = Parts()
    parts.watch(PLACES)
    parts.watch_steps("test", Prober, "run")
    ticker = Ticker(job)
    for tick in ticks:
        parts.cpu.clear()
        parts.wall.clear()
        parts.measure(lambda: ticker.tick(tick))  # noqa: B023 - called at once
        print(json.dumps({"cpu": parts.cpu, "wall": parts.wall, "peak_mb": peak_mb(), **ticker.found}), flush=True)


class Ticker:
    """The function's work, as `check_targets` does it, but for the clock, which stands at the tick."""

    def __init__(self, job: SweepJob) -> None:
        self._job, self._now, self.found = job, NOON, dict[str, int]()
        calls = check_targets._CALLS
        self._sqs: Any = boto3.client("sqs", endpoint_url=job.aws, config=calls)
        self._settings = Settings("Targets", "Status", "History", job.topic, job.queue, job.sms_topic)
        self._dependencies = Dependencies(
            Store(
                boto3.client("dynamodb", endpoint_url=job.dynamodb, config=calls),
                store.Tables("Targets", "Status", "History", timedelta(days=36_500), timedelta(days=36_500)),
                lambda: self._now,
            ),
            Prober(allow_local=True),
            alert_topics.AlertTopics(boto3.client("sns", endpoint_url=job.aws, config=calls), job.topic, job.sms_topic),
            batch_queue.BatchQueue(self._sqs, job.queue),
            lambda *_: None,
        )

    def tick(self, at: datetime) -> None:
        """The tick and its messages. Raises RuntimeError if not every target was tested."""
        self._now = at
        reports = [self._sweep().run_tick(at)]
        for body in self._bodies():
            work = batches.from_message(body)
            if not isinstance(work, Batch):
                raise TypeError("An hour came to be added up in a bench of ticks.")
            reports.append(self._sweep().run_batch(work))
        self.found = {
            "tests": sum(report.tests for report in reports),
            "failures": sum(report.failures.total() for report in reports),
            "alerts": sum(report.alerts.total() for report in reports),
            "messages": reports[0].messages,
        }
        if self.found["tests"] != self._job.targets:
            raise RuntimeError(f"{self.found['tests']} of {self._job.targets} targets were tested.")

    def _sweep(self) -> Sweep:
        return Sweep(self._dependencies, self._settings, writer="bench", end_by=float("inf"), clock=lambda: self._now)

    def _bodies(self) -> Iterator[str]:
        while found := self._sqs.receive_message(QueueUrl=self._job.queue).get("Messages"):
            for message in found:
                self._sqs.delete_message(QueueUrl=self._job.queue, ReceiptHandle=message["ReceiptHandle"])
                yield message["Body"]


def peak_mb() -> float:
    """The most memory that this process has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def dearest(profiler: cProfile.Profile) -> Iterator[tuple[str, int, float]]:
    """The functions that took most, without what they call: name, calls, seconds."""
    found: Any = pstats.Stats(profiler, stream=io.StringIO())
    rows = sorted(found.stats.items(), key=lambda row: -row[1][2])
    for (file, line, name), (_, calls, own, *_) in rows[:FUNCTIONS]:
        yield place_of(file, line, name), calls, own


def place_of(file: str, line: int, name: str) -> str:
    """A function's name with the end of its file's path."""
    if not line:
        return name
    with suppress(IndexError):
        file = file.split("/site-packages/")[1]
    return f"{'/'.join(Path(file).parts[-2:])}: {name}"


if __name__ == "__main__":
    main()
