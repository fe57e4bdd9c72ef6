"""Everything around a sweep: tables, topic and queue by moto, servers whose answers a test sets, a clock it moves.

The tables are moto's, or those of another DynamoDB that POPWATCH_TEST_DYNAMODB names, or in memory for very many calls.

`World.kill_at` makes the process die at a chosen AWS call, before it takes effect or after: from there on every call of
the ended invocation raises `Killed`, as if it had never been made.
"""

import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore import UNSIGNED
from botocore.client import ClientMeta
from botocore.config import Config
from botocore.hooks import HierarchicalEmitter
from moto import mock_aws
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.items import to_item
from popwatch.aws.store import Capacity, Store, Tables
from popwatch.config import Settings
from popwatch.decisions.batches import Batch, RequestedTests, RollupJob, Work, from_message, to_messages
from popwatch.decisions.schedule import LARGEST_BATCH, STOPPED_AFTER
from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict, Outcome, Phase
from popwatch.model.records import PublishedAlert
from popwatch.model.targets import Target
from popwatch.prober.loop import Prober
from popwatch.queries.history import transitions_of
from popwatch.sweep.batch_tester import commit_threads
from popwatch.sweep.logins import Logins
from popwatch.sweep.sweep import Dependencies, InvocationStats, ProbePostures, Sweep
from popwatch_cli.installation import local_client
from tests.chaos.tables import Tables as InMemoryTables
from tests.in_memory import Client as InMemory
from tests.tables import create_tables, delete_tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(seconds=60)
ACCOUNT, REGION = "123456789012", "us-east-1"
TABLES = Tables(
    "Targets", "Status", "History", samples_kept=timedelta(days=36_500), history_kept=timedelta(days=36_500)
)


@cache
def session() -> boto3.Session:
    """The session of all worlds of a process: to make one takes as long as several ticks of a world."""
    return boto3.Session()


@cache
def client_of(service: str) -> Any:
    """A client that all worlds share, since none adds to it: moto answers whatever world there is.

    It signs nothing, since moto reads no signature: to sign takes a tenth of a call.
    """
    return session().client(cast(Any, service), config=Config(signature_version=UNSIGNED))


class _Hooks:
    """The hooks of a client that others use, too, and after them those that are added here."""

    def __init__(self, shared: Any) -> None:
        self._shared, self._added = shared, HierarchicalEmitter()

    def __getattr__(self, name: str) -> Any:
        """How hooks are added and taken away."""
        return getattr(self._added, name)

    def emit(self, event: str, **arguments: Any) -> list[Any]:
        return [*self._shared.emit(event, **arguments), *self._added.emit(event, **arguments)]

    def emit_until_response(self, event: str, **arguments: Any) -> tuple[Any, Any]:
        """Which hook answers, and its answer; twice None if none does."""
        answer: tuple[Any, Any] = self._shared.emit_until_response(event, **arguments)
        return answer if answer[1] is not None else self._added.emit_until_response(event, **arguments)


def with_hooks_of_its_own(client: Any) -> Any:
    """The same client, to which hooks can be added: to make another takes as long as ten calls."""
    known = client.meta
    other = object.__new__(type(client))
    vars(other).update(vars(client))
    other.meta = ClientMeta(
        cast(Any, _Hooks(known.events)),
        known.config,
        known.endpoint_url,
        known.service_model,
        known.method_to_api_mapping,
        known.partition,
    )
    return other


class Killed(BaseException):
    """The process has died; nothing in it can catch this."""


class ScriptedProber(Prober):
    """Gives each target the outcome that the test has set for it; all others pass."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._credentials, self._may_log_in = {}, None

    def run(
        self,
        targets: Iterable[Target],
        *,
        end_by: float | None = None,  # noqa: ARG002 - tests say themselves which targets run out of time
    ) -> Generator[list[tuple[Target, Outcome]], None, None]:
        for target in targets:
            if target.target_id not in self._world.out_of_time:
                self._world.tested.append((self._world.now, target.target_id))
                yield [(target, self._outcome(target))]

    def _logs_in(self, target: Target) -> bool:
        """Whether the test logs in: each ends before the next begins, so that none has to wait for another."""
        allowed = self._may_log_in(target.target_id) if self._may_log_in and self._has_credential(target) else None
        return allowed is True

    def _has_credential(self, target: Target) -> bool:
        return target.target_id in self._credentials

    def _outcome(self, target: Target) -> Outcome:
        """The outcome, of a login as well if the target has a credential and its server greets."""
        world, outcome = self._world, self._world.outcome(target)
        if not self._logs_in(target) or outcome.error:
            return outcome
        world.logged_in.append((world.now, target.target_id))
        verdict = world.verdicts.get(target.target_id, LoginVerdict.PASSED)
        unanswered = target.target_id in world.unanswered
        result = LoginResult(verdict, login_delay=world.login_delay, said="-ERR no", unanswered=unanswered)
        if verdict is LoginVerdict.PASSED:
            result = replace(result, messages=3, octets=4096)
        if verdict in (LoginVerdict.FAILED, LoginVerdict.UNCLEAR):
            return Outcome(world.now, Phase.LOGIN, ErrorCode.PROTOCOL, "login-failed", rtt_ms=12.5, login=result)
        return replace(outcome, login=result)


class RealProber(Prober):
    """The real prober, whose tests begin at the world's time."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def run(
        self, targets: Iterable[Target], *, end_by: float | None = None
    ) -> Generator[list[tuple[Target, Outcome]], None, None]:
        for arrivals in super().run(targets, end_by=end_by):
            yield [(target, replace(outcome, started_at=self._world.now)) for target, outcome in arrivals]


class RecordingQueue(BatchQueue):
    """Keeps messages in memory, with the time at which each is to be received."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def send(self, work: Work, delay_seconds: int = 0) -> int:
        self._world.check_alive()
        if isinstance(work, Batch):
            work = replace(work, delay_seconds=delay_seconds)
        bodies = list(to_messages(work))
        self._world.queue += [(self._world.now + timedelta(seconds=delay_seconds), body) for body in bodies]
        return len(bodies)


@dataclass
class World:
    """Everything around a sweep, and a clock."""

    now: datetime = NOON
    failing: dict[str, ErrorCode] = field(default_factory=dict)
    reason: str = "as-scripted"
    references: tuple[tuple[str, int], ...] = ()
    out_of_time: set[str] = field(default_factory=set)
    queue: list[tuple[datetime, str]] = field(default_factory=list)
    tested: list[tuple[datetime, str]] = field(default_factory=list)
    due: list[tuple[datetime, int]] = field(default_factory=list)
    storm_threshold: int = 10
    largest_batch: int = LARGEST_BATCH
    stack: str = "popwatch"
    logins: Logins | None = None
    with_servers: bool = False
    """Targets are tested with the real prober, at the world's time."""
    verdicts: dict[str, LoginVerdict] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    login_delay: int | None = None
    logged_in: list[tuple[datetime, str]] = field(default_factory=list)
    threads: Callable[[], Executor] = commit_threads
    probe_postures: ProbePostures | None = None
    stopped_after: timedelta = STOPPED_AFTER
    calls: list[str] = field(default_factory=list)
    kill_at: tuple[int, str] | None = None
    dead: bool = False
    invocations: int = 0
    capacity: Capacity = field(default_factory=Capacity)
    in_memory: bool = False
    """The tables are those of `tests.in_memory`, unless another DynamoDB is named."""
    endpoint: str | None = field(default_factory=lambda: os.environ.get("POPWATCH_TEST_DYNAMODB"))

    def __post_init__(self) -> None:
        self.sns, self.sqs = client_of("sns"), client_of("sqs")
        self.dynamodb, watched = self._clients_of_dynamodb()
        self.topic, self.email_queue = self._topic_and_queue("alerts")
        self.sms_topic, self.sms_queue = self._topic_and_queue("sms")
        self.store = Store(self.dynamodb, TABLES, lambda: self.now)
        self._watched = watched, with_hooks_of_its_own(self.sns)
        for client in self._watched:
            client.meta.events.register("before-call.*", self._before)
            client.meta.events.register("after-call.*", self._after)

    @property
    def watched_dynamodb(self) -> Any:
        """The client that sweeps use."""
        return self._watched[0]

    @property
    def watched_sns(self) -> Any:
        """The client that sweeps publish with."""
        return self._watched[1]

    def close(self) -> None:
        """Delete the tables of a DynamoDB of one's own; moto's end with the mock."""
        if self.endpoint:
            delete_tables(self.dynamodb)

    def put_target(self, target_id: str, **fields: object) -> None:
        """Write a target as its user would."""
        item = to_item({"target_id": target_id, "host": "pop.example.net", **fields})
        self.dynamodb.put_item(TableName="Targets", Item=item)

    def outcome(self, target: Target) -> Outcome:
        error = self.failing.get(target.target_id)
        if error is None:
            return Outcome(self.now, Phase.QUIT, rtt_ms=12.5)
        phase = Phase.CONNECT if error is ErrorCode.CANNOT_CONNECT else Phase.GREETING
        return Outcome(self.now, phase, error=error, reason=self.reason, detail="The test said so.")

    def tick(self, at: datetime) -> InvocationStats | None:
        """One tick of the schedule, and the messages that are due at once; None if the process was killed."""
        self.now = at
        try:
            sweep = self.sweep()
            report = sweep.run_tick(at)
            sweep.test_postures()
        except Killed:
            report = None
        self.revive()
        self.receive(at)
        return report

    def minute(self, at: datetime) -> None:
        """A tick, and all that is received until the next one."""
        self.tick(at)
        while due := [when for when, _ in self.queue if when < at + MINUTE]:
            self.now = max(self.now, min(due))
            self.receive(self.now)

    def receive(self, until: datetime) -> None:
        """Receive each message that is due by `until`, and delete it."""
        while due := [message for message in self.queue if message[0] <= until]:
            self.queue.remove(due[0])
            self.do_message(due[0])

    def do_message(self, message: tuple[datetime, str]) -> None:
        """One invocation for a message of the queue, which shows it from a time on."""
        work = from_message(message[1])
        delay = work.delay_seconds if isinstance(work, Batch) else None
        self.do(work, message[0] - timedelta(seconds=delay or 0))

    def do(self, work: Work, sent_at: datetime | None = None) -> None:
        """One invocation for the work of a message, which the queue took at `sent_at`."""
        if isinstance(work, RollupJob):
            self.sweep().run_hour(work)
        elif isinstance(work, RequestedTests):
            self.sweep().run_requested(work)
        else:
            sweep = self.sweep()
            sweep.run_batch(work, sent_at)
            sweep.test_postures()

    def sweep(self) -> Sweep:
        """A new invocation."""
        self.invocations += 1
        dynamodb, sns = self._watched
        store = Store(dynamodb, TABLES, lambda: self.now)
        store.capacity = self.capacity
        dependencies = Dependencies(
            store,
            RealProber(self) if self.with_servers else ScriptedProber(self),
            AlertTopics(sns, self.topic, self.sms_topic),
            RecordingQueue(self),
            lambda tick, tests: self.due.append((tick, tests)),
            self.threads,
            self.logins,
            self.probe_postures,
        )
        settings = Settings(
            "Targets",
            "Status",
            "History",
            self.topic,
            "queue",
            self.sms_topic,
            storm_threshold=self.storm_threshold,
            largest_batch=self.largest_batch,
            stack=self.stack,
            reference_hosts=self.references,
        )
        return Sweep(
            dependencies,
            settings,
            writer=f"invocation-{self.invocations}",
            end_by=time.monotonic() + 300 if self.with_servers else 0.0,
            clock=lambda: self.now,
            stopped_after=self.stopped_after,
        )

    def revive(self) -> None:
        """Later invocations run, and are not killed."""
        if self.dead:
            self.dead, self.kill_at = False, None

    def state(self, target_id: str) -> str:
        return str(self.store.read_records()[1][target_id].health.state)

    def transitions(self, target_id: str) -> list[tuple[str, str]]:
        events = sorted(self.store.read_events(target_id), key=lambda event: event.version)
        return [(change.previous, change.state) for change in transitions_of(events)]

    def alerts_recorded(self, target_id: str) -> list[str]:
        events = self.store.read_events(target_id)
        return [event.what.message.event for event in events if isinstance(event.what, PublishedAlert)]

    def received(self) -> list[dict[str, Any]]:
        """The attributes of every alert that SNS has delivered by email since the last call, in order."""
        return self._received(self.email_queue)

    def received_sms(self) -> list[dict[str, Any]]:
        """The same of SMS."""
        return self._received(self.sms_queue)

    @staticmethod
    def _received(queue_url: str) -> list[dict[str, Any]]:
        sqs, queue = sqs_backends[ACCOUNT][REGION], queue_url.rpartition("/")[2]
        found: list[dict[str, Any]] = []
        while messages := sqs.receive_message(queue, 10, wait_seconds_timeout=0, visibility_timeout=60):
            for message in messages:
                sqs.delete_message(queue, message.receipt_handle or "")
                attributes = json.loads(message.body)["MessageAttributes"]
                found.append({name: attribute["Value"] for name, attribute in attributes.items()})
        return found

    @staticmethod
    def _topic_and_queue(name: str) -> tuple[str, str]:
        """A topic and a queue that is subscribed to it; made by moto itself, without the requests that each takes."""
        sns, sqs = sns_backends[ACCOUNT][REGION], sqs_backends[ACCOUNT][REGION]
        topic, queue = sns.create_topic(name), sqs.create_queue(f"{name}-subscriber")
        sns.subscribe(topic.arn, queue.queue_arn, "sqs")
        return topic.arn, queue.physical_resource_id

    def _clients_of_dynamodb(self) -> "tuple[DynamoDBClient, Any]":
        """Two clients of new tables. What the second is asked can be watched."""
        if self.in_memory and not self.endpoint:
            tables = InMemoryTables()
            return cast(Any, InMemory(tables)), InMemory(tables)
        client = local_client("dynamodb", self.endpoint, REGION) if self.endpoint else client_of("dynamodb")
        create_tables(client)
        return client, with_hooks_of_its_own(client)

    def check_alive(self) -> None:
        if self.dead:
            raise Killed

    def _before(self, model: Any, **_: object) -> None:
        self.check_alive()
        self.calls.append(model.name)
        if self.kill_at == (len(self.calls), "before"):
            self.dead = True
        self.check_alive()

    def _after(self, **_: object) -> None:
        if self.kill_at == (len(self.calls), "after"):
            self.dead = True
        self.check_alive()


@contextmanager
def new_world(**options: Any) -> Iterator[World]:
    """A world of its own, which ends with the block."""
    with mock_aws():
        world = World(**options)
        try:
            yield world
        finally:
            world.revive()
            world.close()


def batch_of_queue(world: World) -> Batch:
    """The one batch in the queue."""
    [(_, body)] = world.queue
    work = from_message(body)
    assert isinstance(work, Batch)
    return work
