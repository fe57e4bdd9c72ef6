"""A fleet for the benches of sweeps: tables, queue and topic at some endpoints, and targets that are up already."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import boto3
from botocore.config import Config

from popwatch.aws.items import to_item
from popwatch.aws.store import Store, SweepCheckpoint, Tables
from popwatch.model.health import Health, State
from popwatch.model.outcomes import Outcome, Phase, RttSource
from popwatch.model.records import Record
from popwatch.model.serialization import serialize
from popwatch.model.targets import config_fingerprint, parse_target
from popwatch_cli.local.stack import LocalStack, free_port
from tests.bench.clients.job import FIRST
from tests.bench.clients.sweep_job import MINUTE, NOON, SweepJob
from tests.tables import create_tables

BENCH = Path(__file__).parent
PROJECT = BENCH.parents[1]
WRITERS, ITEMS_AT_ONCE = 4, 25
LARGEST_MESSAGE = 1024 * 1024
ONE_IN = 100
"""Of the fleet with some down, one target of so many refuses."""

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick took: seconds by part, the peak memory of its process, and what was done."""

    cpu: Mapping[str, float]
    wall: Mapping[str, float]
    peak_mb: float
    tests: int
    failures: int
    alerts: int
    messages: int


@dataclass(slots=True)
class SweepFleet:
    """A fleet of servers on `port` of the loopback's addresses. It grows, and can have one of a hundred refuse."""

    dynamodb: str
    aws: str
    port: int
    count: int = 0
    minute: int = 10
    queue: str = ""
    topic: str = ""
    sms_topic: str = ""
    _tables: Any = field(init=False)

    def __post_init__(self) -> None:
        calls = Config(parameter_validation=False, max_pool_connections=WRITERS)
        self._tables = boto3.client("dynamodb", endpoint_url=self.dynamodb, config=calls)
        sqs, sns = boto3.client("sqs", endpoint_url=self.aws), boto3.client("sns", endpoint_url=self.aws)
        self.queue = sqs.create_queue(
            QueueName="batches", Attributes={"MaximumMessageSize": str(LARGEST_MESSAGE), "VisibilityTimeout": "600"}
        )["QueueUrl"]
        self.topic = sns.create_topic(Name="alerts")["TopicArn"]
        self.sms_topic = sns.create_topic(Name="sms")["TopicArn"]
        create_tables(self._tables)

    def grow(self, count: int) -> None:
        """Add targets, which are up, until there are so many; the tick before the next one is done."""
        numbers = range(self.count, count)
        self._put("Targets", (self._target(number) for number in numbers))
        self._put("Status", (self._record(number) for number in numbers))
        self.count = count
        store = Store(self._tables, Tables("Targets", "Status", "History"), lambda: NOON)
        store.put_checkpoint(SweepCheckpoint(NOON + MINUTE * (self.minute - 1)))

    def set_down(self) -> None:
        """Have one target of a hundred refuse, with an alert at its first failure."""
        self._put("Targets", (self._target(number, down=True) for number in range(0, self.count, ONE_IN)))

    def set_up(self) -> None:
        """Have all be up, as they were at first."""
        self._put("Targets", (self._target(number) for number in range(0, self.count, ONE_IN)))
        self._put("Status", (self._record(number) for number in range(0, self.count, ONE_IN)))

    def ticks(self, number: int) -> list[Tick]:
        """Ticks in one process."""
        return [Tick(**json.loads(line)) for line in self._run(number).splitlines()]

    def profile(self) -> list[tuple[str, int, float]]:
        """The functions that take most of a tick: name, calls, seconds of their own."""
        found: list[tuple[str, int, float]] = json.loads(self._run(1, profile=True))
        return found

    def _run(self, number: int, *, profile: bool = False) -> str:
        job = SweepJob(
            self.count,
            number,
            self.minute,
            self.dynamodb,
            self.aws,
            self.queue,
            self.topic,
            self.sms_topic,
            profile=profile,
        )
        self.minute += number
        paths = [str(PROJECT / part) for part in ("layers/popwatch", "functions", "")]
        return subprocess.run(
            [sys.executable, "-m", "tests.bench.clients.sweep_client", json.dumps(asdict(job))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "POWERTOOLS_METRICS_NAMESPACE": "bench"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def _target(self, number: int, *, down: bool = False) -> Item:
        refusing = {"port": 1, "failures_per_alert": 1} if down else {"port": self.port}
        return {
            "target_id": f"mail-{number:05}",
            "name": f"Mail server {number}",
            "host": str(FIRST + number),
            **refusing,
        }

    def _record(self, number: int) -> Item:
        health = Health(State.UP, NOON, last_good_at=NOON, last_good_rtt_ms=12.5)
        found = Outcome(
            NOON,
            Phase.QUIT,
            rtt_ms=12.5,
            rtt_source=RttSource.KERNEL,
            connect_ms=6.1,
            greeting_ms=6.4,
            quit_ms=6.2,
            address=str(FIRST + number),
            greeting="+OK stub POP3 ready",
        )
        record: Item = serialize(
            Record(
                f"mail-{number:05}",
                1,
                NOON,
                health,
                found,
                writer="bench",
                config_fingerprint=config_fingerprint(parse_target(self._target(number))),
            )
        )
        return record

    def _put(self, table: str, items: Iterable[Item]) -> None:
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda some: self._put_some(table, some), in_groups(items)))

    def _put_some(self, table: str, items: list[Item]) -> None:
        puts = [{"PutRequest": {"Item": to_item(item)}} for item in items]
        left = {table: puts}
        while left:
            left = self._tables.batch_write_item(RequestItems=left)["UnprocessedItems"]


def in_groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items by as many as one call takes."""
    rest = iter(items)
    while some := list(islice(rest, ITEMS_AT_ONCE)):
        yield some


def middle(seconds: Iterable[Mapping[str, float]]) -> Counter[str]:
    """The middle of each part over some ticks."""
    found = list(seconds)
    parts = dict.fromkeys(part for one in found for part in one)
    return Counter({part: median(one.get(part, 0.0) for one in found) for part in parts})


@contextmanager
def local_aws() -> Iterator[str]:
    """The local stack's AWS, in a process of its own, with nothing deployed to it."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    with tempfile.TemporaryDirectory() as folder:
        local = LocalStack(PROJECT, Path(folder), port=free_port(0), key="bench")
        local.start()
        try:
            yield local.endpoint
        finally:
            local.stop()
