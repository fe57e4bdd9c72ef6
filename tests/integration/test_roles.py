"""The roles of both functions, as template.yaml writes them, enforced with resources: enough, and no more."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError

import show_report
from popwatch.aws.batch_queue import BatchQueue
from popwatch.decisions.batches import RollupJob
from popwatch.model.outcomes import ErrorCode
from tests.aws_calls import PROJECT
from tests.iam import ARN, Identity, Permission
from tests.integration.logins import with_logins
from tests.integration.test_hostile_events import Context
from tests.integration.world import MINUTE, NOON, World
from tests.unit.test_docs_threats import Template, statements, texts

OF_LAMBDA = {
    # docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html: the mapping polls with the function's role
    "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
    # docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    "logs:CreateLogStream", "logs:PutLogEvents",
    # docs.aws.amazon.com/lambda/latest/dg/services-xray.html
    "xray:PutTraceSegments", "xray:PutTelemetryRecords",
}  # fmt: skip
"""What Lambda itself does with a function's role; nothing here can show whether it is needed."""


def role(name: str, resources: dict[str, str]) -> Identity:
    """An identity with the permissions of a role of the template, without those that only Lambda uses."""
    template = yaml.load((PROJECT / "template.yaml").read_text("utf-8"), Template)
    policies = template["Resources"][name]["Properties"]["Policies"]
    allowed = []
    for _, statement in statements(policies):
        assert "Condition" not in statement
        for action in set(texts(statement["Action"])) - OF_LAMBDA:
            named = [text.removesuffix(".Arn").removesuffix(".Id") for text in texts(statement["Resource"])]
            allowed += [Permission(action, resources[resource]) for resource in named]
    return Identity(allowed)


def resources_of(world: World) -> dict[str, str]:
    """The ARNs of what the template's roles name."""
    tables = {f"{name}Table": ARN.format("dynamodb", f"table/{name}") for name in ("Targets", "Status", "History")}
    queues = {name: ARN.format("sqs", name) for name in ("BatchQueue", "DeadLetterQueue")}
    path = "parameter/popwatch/${AWS::StackName}/credentials/*"
    credentials = ARN.format("ssm", path.replace("${AWS::StackName}", world.stack))
    written = f"arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:{path}"
    return {**tables, **queues, written: credentials, "AlertTopic": world.topic, "SmsTopic": world.sms_topic}


def test_check_targets_may_do_its_work_and_no_more(world: World) -> None:
    """An outage with an alert that SNS refused at first, a target removed, an hour added up, a time without sweeps."""
    identity = role("CheckTargetsRole", resources_of(world))
    dynamodb, sns = world._watched
    sqs, url = boto3.client("sqs"), world.sqs.create_queue(QueueName="BatchQueue")["QueueUrl"]
    refusals = [ClientError({"Error": {"Code": "InternalError", "Message": "later"}}, "Publish")]

    def refuse_once(**_: object) -> None:
        if refusals:
            raise refusals.pop()

    ssm = boto3.client("ssm")
    world.logins = with_logins(world, ssm)
    world.put_target("a")
    world.put_target("gone", tls="implicit", login="monitor")
    world.put_target("child", failures_per_alert=2, depends_on="gone")  # whose parent is read before its alert
    world.failing = {"a": ErrorCode.CANNOT_CONNECT, "child": ErrorCode.CANNOT_CONNECT}
    with (
        identity.watching(dynamodb.meta.events),
        identity.watching(sns.meta.events),
        identity.watching(sqs.meta.events),
        identity.watching(ssm.meta.events),
    ):
        sns.meta.events.register("before-call.sns.Publish", refuse_once)
        for minute in range(10):
            world.minute(NOON + minute * MINUTE)
        world.dynamodb.delete_item(TableName="Targets", Key={"target_id": {"S": "gone"}})
        world.failing = {}
        for minute in range(30, 65):
            world.minute(NOON + minute * MINUTE)
        world.sweep().run_hour(RollupJob(NOON, 1, 0))
        BatchQueue(sqs, url).send(RollupJob(NOON, 1, 0))
    assert world.alerts_recorded("a") == ["down", "down", "down", "recovered"]
    assert "gone" not in world.store.read_records()[1]
    assert list(world.store.read_hours(1, 0, NOON, NOON + MINUTE))
    assert world.store.read_gaps(NOON, NOON + timedelta(hours=1))
    assert identity.refused == set()
    assert identity.needless == {Permission("sqs:SendMessage", ARN.format("sqs", "DeadLetterQueue"))}  # Lambda's own


@pytest.fixture
def page(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Identity]:
    """The page's function with its role's permissions."""
    secret = boto3.client("secretsmanager").create_secret(Name="page", SecretString="a password")["ARN"]
    for name in ("Targets", "Status", "History"):
        monkeypatch.setenv(f"{name.upper()}_TABLE", name)
    monkeypatch.setenv("REPORT_SECRET_ARN", secret)
    identity = role("ShowReportRole", resources_of(world) | {"ReportSecret": secret})
    boto3.setup_default_session()
    assert boto3.DEFAULT_SESSION is not None
    show_report._site.cache_clear()
    with identity.watching(boto3.DEFAULT_SESSION.events):
        yield identity
    show_report._site.cache_clear()
    boto3.DEFAULT_SESSION = None


def test_show_report_may_do_its_work_and_no_more(world: World, page: Identity) -> None:
    """The page, its API and metrics, of a target with an outage."""
    world.put_target("a")
    for minute in range(3):
        world.minute(NOON + minute * MINUTE)
    context: Any = Context()
    headers = {"authorization": "Basic " + base64.b64encode(b"me:a password").decode(), "accept-encoding": "gzip"}
    for path in ("/", "/api/status", "/api/targets/a", "/metrics"):
        event = {"requestContext": {"http": {"method": "GET"}}, "rawPath": path, "headers": headers, "body": ""}
        assert show_report.handler(event, context)["statusCode"] == 200, path
    assert page.refused == set()
    assert page.needless == set()
