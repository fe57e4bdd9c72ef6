"""A stack on a simulated clock, for alarms: Scheduler, SQS and Lambda deliver as they are documented to, around the
real handler with real sweeps, whose metrics are read as CloudWatch reads them.

Tables are those of `tests/chaos/tables`, which are compared with moto's; servers and their answers are the test's. A
test of a target takes no time here.
"""

import heapq
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import check_targets
from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.batch_queue import BatchQueue
from popwatch.aws.items import to_item
from popwatch.aws.store import Store
from popwatch.aws.store import Tables as Names
from popwatch.config import Settings
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Target
from popwatch.prober.loop import Prober
from popwatch.sweep.sweep import Dependencies, Sweep
from tests.chaos.aws import DynamoDB
from tests.chaos.tables import Tables
from tests.cloudwatch import MINUTE, Metrics
from tests.in_memory import Inline

BEGIN = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""Of late: Powertools warns of metrics that CloudWatch would not take, which are more than 14 days old."""

KEPT = timedelta(days=36_500)
VISIBLE_AFTER = timedelta(seconds=720)
"""BatchQueue's VisibilityTimeout: so long after a failure its message comes again."""

RECEIVES = 3
"""BatchQueue's maxReceiveCount."""

GIVEN_UP_AFTER = timedelta(seconds=60)
"""MaximumEventAgeInSeconds of the schedule and of the function's asynchronous invocations."""

VARIABLES = {"POWERTOOLS_METRICS_NAMESPACE": "popwatch", "POWERTOOLS_SERVICE_NAME": "popwatch"}

DEAD_LETTERS = ("AWS/SQS", "ApproximateNumberOfMessagesVisible", ("QueueName",))
ERRORS = ("AWS/Lambda", "Errors", ("FunctionName",))
THROTTLES = ("AWS/Lambda", "Throttles", ("FunctionName",))


@dataclass(slots=True)
class Stack:
    """The stack, and what may be wrong with it; a test changes these while it runs.

    A tick comes `tick_second` seconds into its minute, a message `start_seconds` (drawn by `rng`) after it could
    first be received. `lost` names messages that SQS loses; `breaks` raises what an invocation dies of, before it
    begins; `refused` is an operation of DynamoDB, or `SendMessage`; `silent` servers use up the invocation's time.
    `activation` is after how long there are metrics of a queue that was not in use (AWS:
    sqs-monitoring-using-cloudwatch, up to 15 minutes). SQS delivers `copies` of each message. `patches` change the code
    under test.
    """

    targets: int
    largest_batch: int = 800
    tick_second: int = 0
    start_seconds: tuple[float, float] = (0.0, 1.0)
    failing: bool = False
    fields: Mapping[str, object] = field(default_factory=dict)
    scheduled: bool = True
    function_exists: bool = True
    throttled: bool = False
    consumes_queue: bool = True
    log_reaches_cloudwatch: bool = True
    payload: Callable[[datetime], str] = datetime.isoformat
    lost: Callable[[Mapping[str, Any]], bool] = lambda _: False
    breaks: Callable[[Mapping[str, Any]], None] = lambda _: None
    refused: str = ""
    silent: bool = False
    activation: timedelta = timedelta()
    copies: int = 1
    patches: list[AbstractContextManager[Any]] = field(default_factory=list)
    now: datetime = BEGIN
    metrics: Metrics = field(default_factory=Metrics)
    tables: Tables = field(default_factory=Tables)
    tested: list[datetime] = field(default_factory=list)
    tests_due: Counter[datetime] = field(default_factory=Counter)
    tests_made: Counter[datetime] = field(default_factory=Counter)
    dropped: int = 0
    alerts: int = 0
    dead_letters: int = 0
    died_at: datetime | None = None
    rng: Random = field(default_factory=lambda: Random(1))
    _events: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        for number in range(self.targets):
            self.put_target(f"mail-{number:05}")

    def put_target(self, target_id: str) -> None:
        """Write a target as its user would."""
        item = to_item({"target_id": target_id, "host": f"{target_id}.example.net", **self.fields})
        self.tables.by_name["Targets"].put(cast(Any, item), 0.0)

    def run(self, begin: int, end: int) -> None:
        """Let the minutes from `begin` to `end` (not included) pass, by number."""
        with self._as_function(), ExitStack() as patched:
            for one in self.patches:
                patched.enter_context(one)
            for minute in range(begin, end):
                tick = BEGIN + minute * MINUTE
                if self.scheduled:
                    self._at(tick + timedelta(seconds=self.tick_second), partial(self._fire, tick))
                while self._events and self._events[0][0] < tick + MINUTE:
                    self.now, _, action = heapq.heappop(self._events)
                    action()
                self.now = tick + MINUTE
                if self.died_at and self.now >= self.died_at + self.activation:
                    self.metrics.put(DEAD_LETTERS, tick, self.dead_letters, self.now)

    def _at(self, time: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), action))

    def _fire(self, tick: datetime) -> None:
        """Scheduler invokes the function, and puts what it cannot deliver into the dead-letter queue."""
        if not self.function_exists:
            self._at(self.now + GIVEN_UP_AFTER, self._bury)
        elif self.throttled:
            self.metrics.put(THROTTLES, self.now, 1)
            self._at(self.now + GIVEN_UP_AFTER, self._bury)
        elif not self._invoke({"scheduled_time": self.payload(tick)}):
            self._bury()

    def _bury(self) -> None:
        self.dead_letters += 1
        self.died_at = self.died_at or self.now

    def _send(self, body: str, delay: int) -> None:
        """SQS takes a message."""
        sent_at, content = self.now, json.loads(body)
        if self.refused == "SendMessage":
            raise OSError("SQS refuses the message.")
        for _ in range(0 if self.lost(content) else self.copies):
            arrives = self.now + timedelta(seconds=delay + self.rng.uniform(*self.start_seconds))
            self._at(arrives, lambda: self._receive(body, sent_at, 1))

    def _receive(self, body: str, sent_at: datetime, receives: int) -> None:
        if not self.consumes_queue:
            return
        milliseconds = str(round(sent_at.timestamp() * 1000))
        record = {
            "messageId": "m",
            "body": body,
            "attributes": {"SentTimestamp": milliseconds, "ApproximateReceiveCount": str(receives)},
            "eventSource": "aws:sqs",
        }
        if self._invoke({"Records": [record]}):
            return
        if receives < RECEIVES:
            self._at(self.now + VISIBLE_AFTER, lambda: self._receive(body, sent_at, receives + 1))
        else:
            self._bury()

    def _invoke(self, event: dict[str, Any]) -> bool:
        """One invocation; whether it ended without an error. Its log lines in EMF become data points."""
        printed, context = (
            io.StringIO(),
            SimpleNamespace(
                function_name="f",
                memory_limit_in_mb=512,
                invoked_function_arn="arn",
                aws_request_id=f"invocation-{next(self._numbers)}",
                get_remaining_time_in_millis=lambda: 120_000,
            ),
        )
        try:
            with redirect_stdout(printed):
                self.breaks(event)
                check_targets.handler(event, cast(Any, context))
        except Exception:
            self.metrics.put(ERRORS, self.now, 1)
            return False
        finally:
            for line in printed.getvalue().splitlines():
                self._read(json.loads(line))
        return True

    def _read(self, line: dict[str, Any]) -> None:
        if "_aws" not in line:
            return
        at = datetime.fromtimestamp(line["_aws"]["Timestamp"] / 1000, UTC)
        for name, counted in (("TestsDue", self.tests_due), ("Tests", self.tests_made)):
            if name in line:
                counted[at] += int(sum(line[name]))
        self.dropped += int(sum(line.get("Dropped", [0])))
        if self.log_reaches_cloudwatch:
            self.metrics.take_log_line(line, self.now)

    @contextmanager
    def _as_function(self) -> Iterator[None]:
        """The handler works on this stack."""
        clock = patch.object(check_targets, "_clock", lambda: self.now)
        with patch.dict(os.environ, VARIABLES), patch.object(check_targets, "_sweep", self._sweep), clock:
            yield

    def _sweep(self, context: Any) -> Sweep:
        dependencies = Dependencies(
            Store(cast(Any, DynamoDB(cast(Any, PlainTransport(self)), self.tables)), NAMES, lambda: self.now),
            AnsweringProber(self),
            AlertTopics(cast(Any, SimpleNamespace(publish=self._publish)), "topic", "sms"),
            BatchQueue(cast(Any, SimpleNamespace(send_message=self._send_message)), "queue"),
            check_targets._count_due,
            Inline,
        )
        settings = Settings("Targets", "Status", "History", "topic", "queue", "sms", largest_batch=self.largest_batch)
        return Sweep(dependencies, settings, writer=context.aws_request_id, end_by=0.0, clock=lambda: self.now)

    def _publish(self, **_: Any) -> dict[str, str]:
        self.alerts += 1
        return {"MessageId": f"alert-{self.alerts}"}

    def _send_message(self, *, MessageBody: str, DelaySeconds: int, **_: Any) -> dict[str, str]:
        self._send(MessageBody, DelaySeconds)
        return {"MessageId": "m"}


NAMES = Names("Targets", "Status", "History", samples_kept=KEPT, history_kept=KEPT)


@dataclass(frozen=True, slots=True)
class PlainTransport:
    """The calls to DynamoDB: each is made at once, unless the stack refuses it."""

    stack: Stack
    now: float = 0.0

    @property
    def evidence(self) -> Any:
        """Where chaos records what happens; nothing reads it here."""
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        return SimpleNamespace(on_put=nothing, on_delete=nothing, on_refused=nothing)

    def call(self, service: str, operation: str, effect: Callable[[bool], Any]) -> Any:
        """Make a call."""
        if self.stack.refused == operation:
            raise OSError(f"{service} refuses {operation}.")
        return effect(True)

    def read_as_of(self) -> float:
        """Reads see all that has been written."""
        return float("inf")


class AnsweringProber(Prober):
    """All targets pass, or all fail; or the invocation's time runs out before any answer."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def run(
        self,
        targets: Iterable[Target],
        *,
        end_by: float | None = None,  # noqa: ARG002 - here no test takes time
    ) -> Generator[list[tuple[Target, Outcome]], None, None]:
        if self._stack.silent:
            return
        self._stack.tested.append(self._stack.now)
        outcome = Outcome(self._stack.now, Phase.QUIT, rtt_ms=12.5)
        if self._stack.failing:
            outcome = replace(
                outcome, phase=Phase.GREETING, rtt_ms=None, error=ErrorCode.TIMED_OUT, reason="no-greeting"
            )
        yield [(target, outcome) for target in targets]
