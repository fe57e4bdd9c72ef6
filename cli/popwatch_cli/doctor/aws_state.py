"""What AWS answers about an installation, asked for when a check needs it, in the plain types of the rules.

A resource that does not exist is None. Any other refusal is raised as botocore raises it: that check is unknown then.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError

from popwatch_cli.doctor.rules.batch_queue import BatchMapping, Queue
from popwatch_cli.doctor.rules.stack import Function, Schedule
from popwatch_cli.doctor.rules.subscriptions import Alarm, TopicState
from popwatch_cli.doctor.rules.tables import Table
from popwatch_cli.doctor.table_state import TableState
from popwatch_cli.installation import Installation, Resources
from popwatch_cli.rehearsal.filter_policies import Subscription
from popwatch_cli.subscriptions import read_subscriptions

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
    "SMS_TOPIC_ARN": "SmsTopicArn",
    "BATCH_QUEUE_URL": "BatchQueueUrl",
    "SAMPLES_DAYS": "SamplesDays",
    "RECORDS_DAYS": "RecordsDays",
}
"""The function's environment variables, and the stack's outputs that they must equal."""


class AwsState:
    """The state of one installation at one time. Each part is asked for once, and again only if AWS refused it."""

    def __init__(self, installation: Installation, now: datetime) -> None:
        self.installation, self.outputs, self.now = installation, installation.outputs, now
        self.tables = TableState(installation, now)

    def client(self, service: str) -> Any:
        """The installation's client of a service."""
        return self.installation.client(service)

    @cached_property
    def resources(self) -> Resources:
        """The stack's resources."""
        return self.installation.read_resources()

    def of_type(self, resource_type: str) -> list[str]:
        """The physical ids of the stack's resources of a type."""
        return [name for one_type, name in self.resources.values() if one_type == resource_type]

    @cached_property
    def stack(self) -> tuple[str, timedelta]:
        """The stack's status, and how far this machine's clock is ahead of AWS's."""
        before = datetime.now(UTC)
        answer = self.client("cloudformation").describe_stacks(StackName=self.installation.stack)
        # AWS wrote its time while the request was under way: half-way is the best guess, as in NTP
        local_time = before + (datetime.now(UTC) - before) / 2
        aws_time = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return answer["Stacks"][0]["StackStatus"], local_time - aws_time

    @cached_property
    def schedule(self) -> Schedule | None:
        """The schedule that invokes the function."""
        name = self.resources.get("CheckTargetsFunctionEachMinute", ("", ""))[1]
        if not name:
            return None
        found = _unless_gone(lambda: self.client("scheduler").get_schedule(Name=name))
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
            found.get("LoggingConfig", {}).get("ApplicationLogLevel", "INFO"),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment that the function must have."""
        return {name: self.outputs[output] for name, output in ENVIRONMENT.items() if output in self.outputs}

    @cached_property
    def reserved(self) -> int | None:
        """The function's reserved concurrency, if it has one."""
        name = self.outputs["CheckTargetsFunction"]
        found = _unless_gone(lambda: self.client("lambda").get_function_concurrency(FunctionName=name))
        reserved: int | None = (found or {}).get("ReservedConcurrentExecutions")
        return reserved

    @cached_property
    def unreserved(self) -> int:
        """The number of concurrent invocations that the account leaves to functions without a reservation."""
        limit: int = self.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
        return limit

    @cached_property
    def mapping(self) -> BatchMapping | None:
        """The event source mapping of the batch queue."""
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

    def topic(self, output: str) -> TopicState | None:
        """The topic that an output names."""
        arn = self.outputs[output]
        found = _unless_gone(lambda: self.client("sns").get_topic_attributes(TopicArn=arn))
        if not found:
            return None
        attributes = found["Attributes"]
        statements = json.loads(attributes.get("Policy") or "{}").get("Statement", [])
        statements = [statements] if isinstance(statements, dict) else statements
        return TopicState(_last(arn), tuple(statements), attributes.get("KmsMasterKeyId", ""))

    @cached_property
    def subscriptions(self) -> Sequence[Subscription]:
        """The subscriptions of the topics of alerts; a topic that does not exist has none."""
        return [one for topic_arn in self.installation.alert_topic_arns for one in self.subscriptions_of(topic_arn)]

    def subscriptions_of(self, topic_arn: str) -> Sequence[Subscription]:
        """The subscriptions of a topic."""
        return _unless_gone(lambda: list(read_subscriptions(self.client("sns"), topic_arn))) or ()

    @cached_property
    def alarm_names(self) -> list[str]:
        """The names of the stack's alarms."""
        return self.of_type("AWS::CloudWatch::Alarm")

    @cached_property
    def alarms(self) -> list[Alarm]:
        """Those of the stack's alarms that exist."""
        names, ask = self.alarm_names[:ALARMS_AT_ONCE], self.client("cloudwatch").describe_alarms
        found = ask(AlarmNames=names, MaxRecords=ALARMS_AT_ONCE)["MetricAlarms"] if names else []
        return [
            Alarm(
                alarm["AlarmName"],
                alarm["StateValue"],
                alarm.get("AlarmDescription", ""),
                alarm.get("ActionsEnabled", True),
                tuple(alarm.get("AlarmActions", ())),
                tuple(_metrics_of(alarm)),
            )
            for alarm in found
        ]


def _metrics_of(alarm: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The metrics that one alarm looks at, those of metric math included, as GetMetricData takes them."""
    if "MetricName" in alarm:
        yield {name: alarm[name] for name in ("Namespace", "MetricName", "Dimensions") if name in alarm}
    for query in alarm.get("Metrics", ()):
        if "MetricStat" in query:
            yield query["MetricStat"]["Metric"]


def _unless_gone(ask: Callable[[], Any]) -> Any:
    """What AWS answers, or None if it answers that there is no such resource."""
    try:
        return ask()
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return None
        raise


def _last(text: str, separator: str = ":") -> str:
    return text.rsplit(separator, 1)[-1]
