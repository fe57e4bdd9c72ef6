"""`popwatch doctor` if AWS refuses requests, and its dead letters in a real queue."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from popwatch.decisions.batches import Batch, PlannedTest, RollupJob, to_messages
from popwatch.model.records import Record
from popwatch.model.text import iso
from popwatch_cli.commands.doctor import report_lines, run_checks
from popwatch_cli.doctor.aws_state import AwsState
from popwatch_cli.doctor.checks import CHECKS
from popwatch_cli.doctor.metrics import read_spend
from popwatch_cli.doctor.redrive import DeadLetterQueue
from popwatch_cli.doctor.rules.dead_letters import Redrive
from popwatch_cli.doctor.rules.findings import exit_code
from popwatch_cli.doctor.table_state import NotKnownError
from popwatch_cli.installation import Installation
from popwatch_cli.subscriptions import list_subscriptions, read_subscribers, read_subscriptions
from popwatch_cli.verification.temporary import prefix_of
from tests.doctor_findings import NOW, TICK, UP, target

OUTPUTS = {
    "TargetsTable": "Targets",
    "StatusTable": "Status",
    "HistoryTable": "History",
    "AlertTopicArn": "arn:aws:sns:us-east-1:123456789012:alerts",
    "SmsTopicArn": "arn:aws:sns:us-east-1:123456789012:sms",
    "OperatorTopicArn": "arn:aws:sns:us-east-1:123456789012:operators",
    "BatchQueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/batches",
    "DeadLetterQueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/dead",
    "CheckTargetsFunction": "check-targets",
}
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Refusing(Installation):
    """An installation whose AWS answers every request with one error, but for those services that are allowed."""

    error: Exception | None = None
    allowed: tuple[str, ...] = ()
    denied: str = "*"

    def client(self, service: str) -> Any:
        client = boto3.client(service, region_name="us-east-1")  # type: ignore[call-overload]
        if service not in self.allowed:
            client.meta.events.register(f"before-call.*.{self.denied}", self._refuse)
        return client

    def _refuse(self, model: Any, **_: object) -> None:
        if isinstance(self.error, EndpointConnectionError):
            raise self.error
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, model.name)


def refusing(error: Exception | None = None, allowed: tuple[str, ...] = ()) -> AwsState:
    return AwsState(Refusing("popwatch", OUTPUTS, error=error, allowed=allowed), NOW)


def test_where_nothing_can_be_found_out() -> None:
    """Every check says why, none passes, and the exit code says that all is unknown."""
    checks = run_checks(refusing())
    assert {check.unknown.rpartition(" ")[0] for check in checks} == {"AWS answers AccessDenied to"}
    assert exit_code(checks) == 3
    assert list(report_lines(checks))[-1] == f"{len(CHECKS)} checks: 0 passed, {len(CHECKS)} unknown."


def test_without_a_network() -> None:
    """The same, in botocore's words."""
    checks = run_checks(refusing(EndpointConnectionError(endpoint_url="https://x.example")))
    assert {check.unknown for check in checks} == {'Could not connect to the endpoint URL: "https://x.example"'}


@mock_aws
def test_the_limit_of_sms_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the account has set no limit, its quota is the limit, which SNS does not tell."""
    sns, cloudwatch = boto3.client("sns", region_name="us-east-1"), boto3.client("cloudwatch", region_name="us-east-1")
    spent = {"MetricName": "SMSMonthToDateSpentUSD", "Timestamp": NOW - MINUTE, "Value": 3.5}
    cloudwatch.put_metric_data(Namespace="AWS/SNS", MetricData=[spent])
    topic = sns.create_topic(Name="sms")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sms", Endpoint="+4915550100")
    monkeypatch.setattr(sns, "get_sms_sandbox_account_status", lambda: {"IsInSandbox": False})
    aws = AwsState(Installation("popwatch", OUTPUTS, region="us-east-1"), NOW)
    with pytest.raises(NotKnownError, match="no monthly limit"):
        read_spend(aws)
    assert "at the account's quota, 1 USD in a new account" in read_subscribers(sns, [topic]).obstacles[-1]
    sns.set_sms_attributes(attributes={"MonthlySpendLimit": "20"})
    assert read_spend(aws) == (3.5, 20.0)
    assert "at 20 USD (MonthlySpendLimit)" in read_subscribers(sns, [topic]).obstacles[-1]


@mock_aws
def test_who_has_unsubscribed_by_a_link_is_no_receiver() -> None:
    """SNS goes on listing such a subscription; it is neither one to confirm nor a reason to say nothing.

    Nor is a queue a receiver that `popwatch verify` has subscribed for a time.
    """
    sns = boto3.client("sns", region_name="us-east-1")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="gone@example.net")
    queue = f"{prefix_of('popwatch')}20261127193138-all"
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:123456789012:{queue}")
    assert [found.protocol for found in read_subscriptions(sns, topic)] == ["email"]

    def unsubscribed(parsed: dict[str, Any], **_: object) -> None:
        for found in parsed["Subscriptions"]:
            found["SubscriptionArn"] = "Deleted"

    sns.meta.events.register("after-call.sns.ListSubscriptionsByTopic", unsubscribed)
    assert list(read_subscriptions(sns, topic)) == []
    assert list(list_subscriptions(sns, topic)) == []


@mock_aws
def test_what_is_allowed_is_found_out() -> None:
    """If one service refuses, the findings about the others are the same."""
    checks = {check.title: check for check in run_checks(refusing(allowed=("dynamodb", "sqs")))}
    assert [finding.what for finding in checks["the Status table"].findings] == [
        "The Status table Status does not exist: every sweep fails."
    ]
    assert [finding.kind for finding in checks["dead letters"].findings] == ["queue-gone"]
    assert checks["the schedule"].unknown == "AWS answers AccessDenied to ListStackResources"
    assert exit_code(list(checks.values())) == 2


@pytest.mark.usefixtures("sqs")
def test_who_may_not_look_at_dead_letters_sees_their_number() -> None:
    """Counting them needs fewer permissions than receiving them."""
    (found,) = CHECKS["dead letters"](AwsState(Refusing("popwatch", OUTPUTS, denied="ReceiveMessage"), NOW))
    assert found.what == "4 dead letters."


class Killed(BaseException):
    """The process has died."""


@pytest.fixture
def sqs() -> Iterator[Any]:
    """The two queues, the dead-letter queue with one message of each sort."""
    with mock_aws():
        client = boto3.client("sqs")
        for name in ("batches", "dead"):
            client.create_queue(QueueName=name)
        tests = (PlannedTest(target(delay_up=3600), Record("mail-berlin", 1, TICK, UP)),)
        work = (RollupJob(TICK, 1, 0), Batch(TICK - 40 * MINUTE, TICK - 39 * MINUTE, 1, 0, tests, {}))
        bodies = [next(to_messages(found)) for found in work]
        for body in (*bodies, json.dumps({"scheduled_time": iso(TICK)}), "hello"):
            client.send_message(QueueUrl=OUTPUTS["DeadLetterQueueUrl"], MessageBody=body)
        yield client


def count(client: Any, output: str) -> int:
    attributes = client.get_queue_attributes(QueueUrl=OUTPUTS[output], AttributeNames=["All"])["Attributes"]
    return sum(int(attributes[name]) for name in attributes if name.startswith("ApproximateNumberOfMessages"))


def queue_of(client: Any) -> DeadLetterQueue:
    return DeadLetterQueue(client, OUTPUTS["DeadLetterQueueUrl"], OUTPUTS["BatchQueueUrl"])


def test_looking_takes_nothing_out(sqs: Any) -> None:
    """The next look finds every message again."""
    for _ in range(2):
        assert sorted(letter.kind for letter in queue_of(sqs).look()) == ["batch", "hour", "tick", "unknown message"]
    assert (count(sqs, "DeadLetterQueueUrl"), count(sqs, "BatchQueueUrl")) == (4, 0)


def test_redrive(sqs: Any) -> None:
    """Batch and hour return, the tick is dropped, an unknown message is kept."""
    redrives: list[Redrive] = []
    assert queue_of(sqs).redrive(TICK, NOW, redrives.append) == 1
    assert sorted(redrive.action for redrive in redrives) == ["drop", "keep", "send", "send"]
    assert (count(sqs, "DeadLetterQueueUrl"), count(sqs, "BatchQueueUrl")) == (1, 2)
    assert [letter.kind for letter in queue_of(sqs).look()] == ["unknown message"]


def refuse_to_change_visibility(code: str, **_: object) -> None:
    raise ClientError({"Error": {"Code": code, "Message": "no"}}, "ChangeMessageVisibility")


@pytest.mark.parametrize("code", ["AWS.SimpleQueueService.MessageNotInflight", "ReceiptHandleIsInvalid"])
def test_a_message_that_is_visible_again_needs_no_giving_back(sqs: Any, code: str) -> None:
    """Looking at hundreds of dead letters may take longer than they are hidden: SQS has given them back by itself."""
    sqs.meta.events.register("before-call.sqs.ChangeMessageVisibility", partial(refuse_to_change_visibility, code))
    assert len(queue_of(sqs).look()) == 4


def test_other_refusals_to_give_back_are_reported(sqs: Any) -> None:
    """Without the permission the messages stay hidden for a while, and the caller must know."""
    sqs.meta.events.register(
        "before-call.sqs.ChangeMessageVisibility", partial(refuse_to_change_visibility, "AccessDenied")
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        queue_of(sqs).look()


@pytest.mark.parametrize("call", ["SendMessage", "DeleteMessage"])
def test_nothing_is_lost_when_redrive_dies(sqs: Any, call: str) -> None:
    """It sends before it deletes: whichever call it dies at, each message is in one of the queues."""

    def die(**_: object) -> None:
        raise Killed

    sqs.meta.events.register(f"before-call.sqs.{call}", die)
    with pytest.raises(Killed):
        queue_of(sqs).redrive(TICK, NOW, lambda _: None)
    assert count(sqs, "DeadLetterQueueUrl") == 4
