"""Reading AWS for evidence, round after round; the clock is an argument.

What AWS refuses to show once may be a passing fault: a source counts as refused after `TRIES` rounds in a row, and at
once if a permission is missing.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.model.outcomes import Outcome
from popwatch.model.records import Record
from popwatch_cli.doctor.aws_state import AwsState
from popwatch_cli.doctor.checks import CHECKS
from popwatch_cli.doctor.rules.findings import FindingKind
from popwatch_cli.doctor.table_state import NotKnownError
from popwatch_cli.topic_queues import take_messages
from popwatch_cli.verification.evidence import Arrival, CpuUse, Evidence, MetricState, QueueRole, Source, TopicRole
from popwatch_cli.verification.rules import needs_second_alert
from popwatch_cli.verification.temporary import Sleep, Temporary

TRIES = 3
DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException"}

CONFIGURATION_CHECKS = (
    "the schedule",
    "the function",
    "the function's reserved concurrency",
    "the last sweep",
    "the batch queue",
    "the batch queue's mapping",
    "the Targets table",
    "the Status table",
    "the History table",
    "the alert topic",
    "subscriptions to alerts",
    "the operator topic",
    "subscriptions to alarms",
    "the alarms",
    "who receives the alarms",
    "the SMS sandbox",
    "the cost of SMS",
)
"""The checks of `popwatch doctor` that explain why a check has failed."""

STARTED = "A new execution environment has started."
ENDED = ("A sweep has ended.", "A batch has ended.")
VERSIONS = ("popwatch", "python", "boto3")
"""What the function logs, and which of its fields say what runs."""

ENVIRONMENT_AGE = timedelta(hours=12)
"""How far back the start of an execution environment is looked for: Lambda replaces each within hours."""

METRICS_EVERY = timedelta(seconds=30)
METRIC_AGE = timedelta(hours=3)
"""How old the data of a metric may be: SQS sends those of a queue in use only."""

RELATED_READ = 10
"""Metrics with the same dimensions that are looked at: one with data is enough."""

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Watcher:
    """Fills the evidence of one run. `begin` creates what is temporary, `look` reads once what has happened since."""

    temporary: Temporary
    clock: Callable[[], datetime]
    evidence: Evidence = field(default_factory=Evidence)
    _began: datetime = NEVER
    _urls: dict[QueueRole, str] = field(default_factory=dict)
    _faults: dict[Source, int] = field(default_factory=dict)
    _tick_before: datetime | None = None
    _targets_put: int = 1
    _log_seen: set[tuple[str, int, str]] = field(default_factory=set)
    _cpu_before: dict[str, int] = field(default_factory=dict)
    _metrics_at: datetime = NEVER
    _alarm_metrics: list[Mapping[str, Any]] = field(default_factory=list)

    def begin(self, sleep: Sleep) -> None:
        """Read the configuration, then create what is temporary. Raises botocore's errors if it cannot be created."""
        evidence, temporary = self.evidence, self.temporary
        evidence.is_local = temporary.installation.endpoint is not None
        evidence.expected_reasons = temporary.expected_reasons
        evidence.has_sms_topic = TopicRole.SMS in temporary.topics
        evidence.server_is_named = temporary.server is not None
        evidence.expected_attributes = frozenset(("event", "state", "target_id", "error", "alert_number"))
        with self._reading(Source.CONFIGURATION):
            self._read_configuration()
        with self._reading(Source.TABLES):
            self._tick_before = temporary.installation.store.read_checkpoint().tick
        self._urls = temporary.subscribe_queues(sleep)
        temporary.put_server()
        temporary.put_failing_target(1)
        self._began = self.clock()
        with self._reading(Source.ALARM):
            temporary.put_alarm()
            evidence.alarm_set = timedelta()

    def look(self) -> None:
        """Read everything once."""
        evidence = self.evidence
        evidence.elapsed = self.clock() - self._began
        with self._reading(Source.TABLES):
            self._read_tables()
        with self._reading(Source.QUEUES):
            self._read_queues()
        with self._reading(Source.LOG):
            self._read_log()
        if self.clock() - self._metrics_at >= METRICS_EVERY:
            self._metrics_at = self.clock()
            with self._reading(Source.METRICS):
                evidence.metrics = [self._metric_state(metric) for metric in self._alarm_metrics]
        if needs_second_alert(evidence):
            self._targets_put += 1
            self.temporary.put_failing_target(self._targets_put)
            evidence.second_alert_after = evidence.elapsed

    @contextmanager
    def _reading(self, source: Source) -> Iterator[None]:
        """Remember what AWS refuses to show."""
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            self._count_fault(source, f"{code} to {error.operation_name}", times=TRIES if code in DENIED else 1)
        except BotoCoreError as error:
            self._count_fault(source, type(error).__name__)
        else:
            self._faults.pop(source, None)
            self.evidence.refused.pop(source, None)

    def _count_fault(self, source: Source, why: str, times: int = 1) -> None:
        self._faults[source] = self._faults.get(source, 0) + times
        if self._faults[source] >= TRIES:
            self.evidence.refused[source] = why

    def _read_configuration(self) -> None:
        aws = AwsState(self.temporary.installation, self.clock())
        # SQS sends metrics of a queue that "any action accesses" within six hours, up to 15 minutes late, and nothing
        # else may have accessed the dead letters: AWSSimpleQueueService/.../sqs-monitoring-using-cloudwatch.html
        aws.queue_attributes("DeadLetterQueueUrl")
        found: set[FindingKind] = set()
        for title in CONFIGURATION_CHECKS:
            try:
                found.update(finding.kind for finding in CHECKS[title](aws))
            except NotKnownError:
                continue
            except ClientError:
                if "SMS" not in title:  # not every region, and not the local AWS, answers about SMS
                    raise
        self.evidence.findings = frozenset(found)
        operator = self.temporary.topics[TopicRole.OPERATOR]
        self.evidence.alarms = len(aws.alarm_names)
        self.evidence.alarms_with_action = sum(operator in alarm.actions for alarm in aws.alarms)
        metrics = (metric for alarm in aws.alarms for metric in alarm.metrics)
        self._alarm_metrics = list({json.dumps(metric, sort_keys=True): metric for metric in metrics}.values())

    def _read_tables(self) -> None:
        evidence, store = self.evidence, self.temporary.installation.store
        tick = store.read_checkpoint().tick
        if tick and (self._tick_before is None or tick > self._tick_before):
            evidence.ticks.add(tick)
        records = [store.read_record(self.temporary.failing_id(number + 1)) for number in range(self._targets_put)]
        for record in records:
            if record.tick and record.outcome:
                evidence.tests.setdefault(record.tick, record.outcome)
        evidence.alert_pending = any(entry.message for record in records for entry in record.outbox)
        evidence.events = [event for record in records for event in store.read_events(record.target_id)]
        if evidence.server_is_named:
            evidence.server = store.read_record(self.temporary.server_id).outcome
        if evidence.passed is None and evidence.tests:
            evidence.passed = _newest_greeting(store.read_records()[1].values())

    def _read_queues(self) -> None:
        sqs = self.temporary.client("sqs")
        for role, url in self._urls.items():
            arrivals = (self._arrival(role, body) for body in take_messages(sqs, url))
            self.evidence.arrivals += [arrival for arrival in arrivals if arrival]

    def _arrival(self, role: QueueRole, body: Mapping[str, Any]) -> Arrival | None:
        """What has arrived, if it is about something temporary: the queue without a filter gets real alerts too.

        Each text names its temporary target or alarm, so that a message that lost its attributes is known as well.
        """
        topic = next((topic for topic, arn in self.temporary.topics.items() if arn == body.get("TopicArn")), None)
        if topic is None or self.temporary.alarm not in f"{body.get('Subject')} {body.get('Message')}":
            return None
        attributes = {name: str(value["Value"]) for name, value in (body.get("MessageAttributes") or {}).items()}
        return Arrival(role, topic, body["MessageId"], self.clock() - self._began, attributes)

    def _read_log(self) -> None:
        """The function's reports since the beginning, and once what it said when an environment started."""
        evidence = self.evidence
        if not evidence.versions:
            for _, line in self._log_lines(self._began - ENVIRONMENT_AGE, f'"{STARTED}"'):
                if line.get("message") == STARTED:
                    evidence.versions = {name: str(line[name]) for name in VERSIONS if name in line}
        for stream, line in self._log_lines(self._began):
            evidence.log_lines += 1
            evidence.log_errors += line.get("level") == "ERROR"
            if line.get("message") in ENDED and "cpu_ms" in line:
                spent, before = int(line["cpu_ms"]), self._cpu_before.get(stream)
                self._cpu_before[stream] = spent
                if before is not None:
                    evidence.cpu.append(CpuUse(spent - before, int(line.get("tests", 0))))

    def _log_lines(self, since: datetime, pattern: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The events of the log, with a pattern all, else the new ones: their stream, and what they say in JSON.

        A stream is one execution environment's.
        """
        pages = self.temporary.client("logs").get_paginator("filter_log_events")
        request: dict[str, Any] = {"logGroupName": self.temporary.installation.outputs["LogGroup"]}
        request |= {"startTime": int(since.timestamp() * 1000)} | ({"filterPattern": pattern} if pattern else {})
        for page in pages.paginate(**request):
            for event in page["events"]:
                stream, message = event["logStreamName"], event["message"]
                key = (stream, event["timestamp"], message)
                if pattern or key not in self._log_seen:
                    yield stream, _json(message)
                if not pattern:
                    self._log_seen.add(key)

    def _metric_state(self, metric: Mapping[str, Any]) -> MetricState:
        """Whether a metric of an alarm has data; if not, whether others with its dimensions have, or it with others."""
        cloudwatch = self.temporary.client("cloudwatch")
        namespace, name = metric["Namespace"], metric["MetricName"]
        if self._has_data(metric):
            return MetricState(namespace, name, arrives=True, related_metric_arrives=True)
        dimensions = _sorted(metric.get("Dimensions"))
        listed = cloudwatch.list_metrics(Namespace=namespace, Dimensions=metric.get("Dimensions", []))["Metrics"]
        related = [one for one in listed if _sorted(one.get("Dimensions")) == dimensions]
        listed = cloudwatch.list_metrics(Namespace=namespace, MetricName=name)["Metrics"]
        elsewhere = any(_sorted(one.get("Dimensions")) != dimensions for one in listed)
        related_metric_arrives = any(self._has_data(one) for one in related[:RELATED_READ])
        return MetricState(namespace, name, related_metric_arrives=related_metric_arrives, elsewhere=elsewhere)

    def _has_data(self, metric: Mapping[str, Any]) -> bool:
        query: Any = {"Metric": metric, "Period": 60, "Stat": "SampleCount"}
        answer = self.temporary.client("cloudwatch").get_metric_data(
            StartTime=self.clock() - METRIC_AGE,
            EndTime=self.clock() + timedelta(minutes=1),
            MetricDataQueries=[{"Id": "asked", "MetricStat": query}],
        )
        return any(result["Values"] for result in answer["MetricDataResults"])


def _newest_greeting(records: Iterable[Record]) -> Outcome | None:
    """The newest outcome in which a server's greeting was timed."""
    timed = [record.outcome for record in records if record.outcome and record.outcome.rtt_source]
    return max(timed, key=lambda outcome: outcome.started_at, default=None)


def _sorted(dimensions: Iterable[Mapping[str, str]] | None) -> list[tuple[str, str]]:
    return sorted((one["Name"], one["Value"]) for one in dimensions or ())


def _json(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
