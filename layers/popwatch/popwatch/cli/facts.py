"""What AWS says of an installation, asked for when a check wants it, as the facts that `diagnosis` judges.

What is gone is None. Whatever else AWS refuses is raised as botocore raises it: the check that asked is not known then.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError

from popwatch.cli.installation import Installation
from popwatch.cli.standing import batches_of
from popwatch.cli.target_items import Item, own_fields
from popwatch.diagnosis.fleet import LOOKED_BACK, Fleet
from popwatch.diagnosis.hearing import Alarm, Topic
from popwatch.diagnosis.running import BatchMapping, Function, Queue, Schedule
from popwatch.diagnosis.sweeps import LOOKBACK, Gap, gaps_between, witness
from popwatch.diagnosis.tables import Table
from popwatch.records import Record, iso
from popwatch.routing import Subscription
from popwatch.schedule import batch_count, batch_of
from popwatch.store import Store, SweepMark
from popwatch.subscribers import read_audience
from popwatch.targets import DEFAULTS_ID, Target, parse_target

GONE = {
    "ResourceNotFoundException",
    "NotFound",
    "NotFoundException",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
}
ALARMS_AT_ONCE = 100
ENVIRONMENT = {
    "TARGETS_TABLE": "TargetsTable",
    "STATUS_TABLE": "StatusTable",
    "HISTORY_TABLE": "HistoryTable",
    "ALERT_TOPIC_ARN": "AlertTopicArn",
    "BATCH_QUEUE_URL": "BatchQueueUrl",
    "SAMPLES_DAYS": "SamplesDays",
    "RECORDS_DAYS": "RecordsDays",
}
"""The function's variables that must be the stack's outputs."""


class Facts:
    """The facts of one installation at one moment. Each is asked for once, and again only if AWS refused it."""

    def __init__(self, installation: Installation, now: datetime) -> None:
        self.installation, self.outputs, self.now = installation, installation.outputs, now
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """A client, made once."""
        if service not in self._clients:
            self._clients[service] = self.installation.client(service)
        return self._clients[service]

    @cached_property
    def store(self) -> Store:
        """The tables that sweeps write."""
        return self.installation.store

    @cached_property
    def resources(self) -> Mapping[str, tuple[str, str]]:
        """The stack's resources: logical id -> type and physical id."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            found["LogicalResourceId"]: (found["ResourceType"], found.get("PhysicalResourceId", ""))
            for page in pages.paginate(StackName=self.installation.stack)
            for found in page["StackResourceSummaries"]
        }

    def of_type(self, kind: str) -> list[str]:
        """The physical ids of the stack's resources of a type."""
        return [name for found, name in self.resources.values() if found == kind]

    @cached_property
    def stack(self) -> tuple[str, timedelta]:
        """The stack's status, and how far this machine's clock is ahead of AWS's."""
        before = datetime.now(UTC)
        answer = self.client("cloudformation").describe_stacks(StackName=self.installation.stack)
        here = before + (datetime.now(UTC) - before) / 2
        there = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return answer["Stacks"][0]["StackStatus"], here - there

    @cached_property
    def schedule(self) -> Schedule | None:
        """The schedule that wakes the function."""
        name = self.resources.get("CheckTargetsFunctionEachMinute", ("", ""))[1]
        found = name and _unless_gone(lambda: self.client("scheduler").get_schedule(Name=name))
        if not found:
            return None
        target = found["Target"]
        return Schedule(
            found["Name"],
            found["State"],
            found["ScheduleExpression"],
            target["Arn"],
            target.get("Input", ""),
            found.get("EndDate"),
        )

    @cached_property
    def function(self) -> Function | None:
        """The function that tests."""
        name = self.outputs["CheckTargetsFunction"]
        found = _unless_gone(lambda: self.client("lambda").get_function_configuration(FunctionName=name))
        if not found:
            return None
        return Function(
            name,
            found.get("State", "Active"),
            found.get("LastUpdateStatus", "Successful"),
            found.get("StateReason") or found.get("LastUpdateStatusReason") or "",
            found["Timeout"],
            found.get("Environment", {}).get("Variables", {}),
        )

    @property
    def environment(self) -> dict[str, str]:
        """What the function's environment must hold."""
        return {name: self.outputs[output] for name, output in ENVIRONMENT.items() if output in self.outputs}

    @cached_property
    def reserved(self) -> int | None:
        """The function's reserved concurrency; one that is gone has none."""
        name = self.outputs["CheckTargetsFunction"]
        found = _unless_gone(lambda: self.client("lambda").get_function_concurrency(FunctionName=name))
        reserved: int | None = (found or {}).get("ReservedConcurrentExecutions")
        return reserved

    @cached_property
    def unreserved(self) -> int:
        """The invocations at once that the account leaves to functions without a reservation."""
        limit: int = self.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
        return limit

    @cached_property
    def mapping(self) -> BatchMapping | None:
        """The mapping of the batch queue."""
        queue = _last(self.outputs["BatchQueueUrl"], "/")
        name = self.outputs["CheckTargetsFunction"]
        answer = _unless_gone(lambda: self.client("lambda").list_event_source_mappings(FunctionName=name)) or {}
        for found in answer.get("EventSourceMappings", []):
            if _last(found["EventSourceArn"]) == queue:
                return BatchMapping(
                    found["UUID"],
                    found["State"],
                    found["BatchSize"],
                    "ReportBatchItemFailures" in found.get("FunctionResponseTypes", []),
                    found.get("ScalingConfig", {}).get("MaximumConcurrency"),
                    found.get("LastProcessingResult") or "",
                )
        return None

    @cached_property
    def batch_queue(self) -> Queue | None:
        """The batch queue."""
        found = self.queue_attributes("BatchQueueUrl")
        if found is None:
            return None
        redrive = json.loads(found.get("RedrivePolicy", "{}"))
        name = _last(self.outputs["BatchQueueUrl"], "/")
        return Queue(name, int(found["VisibilityTimeout"]), redrive.get("deadLetterTargetArn", ""))

    def queue_attributes(self, output: str) -> Mapping[str, str] | None:
        """All attributes of the queue that an output names."""
        ask = self.client("sqs").get_queue_attributes
        found = _unless_gone(lambda: ask(QueueUrl=self.outputs[output], AttributeNames=["All"]))
        return found["Attributes"] if found else None

    def table(self, output: str) -> Table | None:
        """The table that an output names."""
        name = self.outputs[output]
        found = _unless_gone(lambda: self.client("dynamodb").describe_table(TableName=name))
        if not found:
            return None
        keys = sorted(found["Table"]["KeySchema"], key=lambda key: key["KeyType"])  # HASH before RANGE
        return Table(name, found["Table"]["TableStatus"], tuple(key["AttributeName"] for key in keys))

    def topic(self, output: str) -> Topic | None:
        """The topic that an output names."""
        arn = self.outputs[output]
        found = _unless_gone(lambda: self.client("sns").get_topic_attributes(TopicArn=arn))
        if not found:
            return None
        attributes = found["Attributes"]
        statements = json.loads(attributes.get("Policy") or "{}").get("Statement", [])
        statements = [statements] if isinstance(statements, dict) else statements
        return Topic(_last(arn), tuple(statements), attributes.get("KmsMasterKeyId", ""))

    @cached_property
    def subscriptions(self) -> Sequence[Subscription]:
        """Who subscribes to the alert topic; nobody, if it is gone."""
        return self.subscribers_of(self.outputs["AlertTopicArn"])

    def subscribers_of(self, topic_arn: str) -> Sequence[Subscription]:
        """Who subscribes to a topic."""
        audience = _unless_gone(lambda: read_audience(self.client("sns"), topic_arn))
        return audience.subscriptions if audience else ()

    @cached_property
    def alarm_names(self) -> list[str]:
        """The stack's alarms."""
        return self.of_type("AWS::CloudWatch::Alarm")

    @cached_property
    def alarms(self) -> list[Alarm]:
        """Those of the stack's alarms that there are."""
        ask = self.client("cloudwatch").describe_alarms
        found = ask(AlarmNames=self.alarm_names[:ALARMS_AT_ONCE])["MetricAlarms"] if self.alarm_names else []
        return [
            Alarm(
                it["AlarmName"],
                it["StateValue"],
                it.get("AlarmDescription", ""),
                it.get("ActionsEnabled", True),
                tuple(it.get("AlarmActions", ())),
            )
            for it in found
        ]

    @cached_property
    def items(self) -> Mapping[str, Item]:
        """The items of the Targets table, `_defaults` among them."""
        return self.installation.target_table.read()

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        """The targets."""
        defaults = own_fields(self.items.get(DEFAULTS_ID, {}))
        return {name: parse_target(item, defaults) for name, item in self.items.items() if name != DEFAULTS_ID}

    @property
    def batches(self) -> int:
        """The number of batches that the fleet is cut into."""
        return batch_count(sum(target.policy.enabled for target in self.targets.values()))

    @cached_property
    def status(self) -> tuple[SweepMark, Mapping[str, Record]]:
        """The sweep's mark, and the targets' records."""
        return self.store.read_records()

    @cached_property
    def fleet(self) -> Fleet:
        """The targets with what is known of their tests."""
        mark, records = self.status
        since, until = self.now - LOOKED_BACK, self.now + timedelta(minutes=1)
        layouts = {int(count) for count, used in mark.layouts.items() if used >= iso(since)} | {batches_of(mark)}
        tested = {
            name: tick
            for count in layouts
            for number in range(count)
            for tick, results in self.store.read_samples(count, number, since, until)
            for name in results
        }
        return Fleet(self.targets, records, tested, mark.tick)

    @property
    def gaps(self) -> list[Gap]:
        """Where nothing was tested in the last hours, as far as the samples of one target's batch show."""
        mark, records = self.status
        seen = witness(self.targets.values(), records)
        if seen is None or mark.tick is None:
            return []
        up_since = records[seen.target_id].health.since or self.now
        since = max(self.now - LOOKBACK, up_since)
        ticks = {tick for count in mark.layouts for tick in self._ticks(int(count), seen.target_id, since)}
        return gaps_between(ticks, seen.policy.delay_up, since, min(mark.tick, self.now))

    def _ticks(self, count: int, target_id: str, since: datetime) -> Iterator[datetime]:
        found = self.store.read_samples(count, batch_of(target_id, count), since, self.now)
        return (tick for tick, _ in found)


def _unless_gone(ask: Callable[[], Any]) -> Any:
    """What AWS answers, or None if it answers that there is no such thing."""
    try:
        return ask()
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return None
        raise


def _last(text: str, separator: str = ":") -> str:
    return text.rsplit(separator, 1)[-1]
