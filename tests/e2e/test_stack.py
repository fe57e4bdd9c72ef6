"""The template on the local stack: the complete path from the schedule to the SMS."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cfnlint.decode import decode

from popwatch.model.text import iso
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.main import main
from tests.e2e.deployed import Deployed

pytestmark = pytest.mark.local_stack

PROJECT = Path(__file__).parents[2]
EVENTS = PROJECT / "events"
OUTPUTS = {"TargetsTable", "StatusTable", "HistoryTable", "AlertTopicArn", "BatchQueueUrl", "CheckTargetsFunction"}


def test_outputs_have_their_names(deployed: Deployed) -> None:
    """The names that other programs rely on."""
    assert set(deployed.local.outputs) >= OUTPUTS


def test_an_outage_is_told_and_ends(stack: Deployed, server: ScriptedServer) -> None:
    """Up, warn, down with an alert to subscribers, up again with `recovered`: by real sockets, tables and topic."""
    port = server.listen("healthy")
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": port, "failures_per_alert": 2})
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=3)
    scripts = ["healthy", "refused", "refused", "healthy"]
    states = []
    for minute, script in enumerate(scripts):
        server.play(port, script)
        with stack.testing_at(begin + timedelta(minutes=minute)):
            assert stack.tick(begin + timedelta(minutes=minute)) is None
        states.append(stack.state("a"))
    assert states == ["up", "warn", "down", "up"]
    assert [alert.subject for alert in stack.feed.receive()] == [
        f"DOWN 1/3: a (127.0.0.1:{port})",
        f"UP again: a (127.0.0.1:{port}), was down 2 min",
    ]


@pytest.mark.parametrize("name", ["tick.json", "batch.json", "hour.json"])
def test_sample_events_work(stack: Deployed, name: str) -> None:
    """The function accepts the sample events for invocation by hand, with the time of today in the batch's."""
    now = datetime.now(UTC).replace(microsecond=0)
    text = (EVENTS / name).read_text()
    if name == "batch.json":
        text = text.replace("2026-11-23T12:00:00Z", iso(now)).replace(
            "2026-11-23T12:01:00Z", iso(now + timedelta(minutes=1))
        )
    event = json.loads(text)
    if "scheduled_time" in event:  # a tick must be of the present
        event["scheduled_time"] = iso(now)
    answer = stack.local.client("lambda").invoke(
        FunctionName=stack.local.outputs["CheckTargetsFunction"], Payload=json.dumps(event)
    )
    assert "FunctionError" not in answer, answer["Payload"].read()


def test_an_event_that_is_none_says_what_is_missing(stack: Deployed) -> None:
    """An invocation by hand without a time gets a sentence that says what to write."""
    answer = stack.local.client("lambda").invoke(
        FunctionName=stack.local.outputs["CheckTargetsFunction"], Payload=json.dumps({"time": "now"})
    )
    assert "scheduled_time" in json.loads(answer["Payload"].read())["errorMessage"]


def test_retests_come_by_the_queue(stack: Deployed, server: ScriptedServer) -> None:
    """A target that fails is tested again after its delay of 10 seconds, without a tick."""
    port = server.listen("refused")
    stack.put_targets(
        {
            "target_id": "a",
            "host": "127.0.0.1",
            "port": port,
            "delay_warn": 10,
            "failures_per_alert": 2,
            "delay_down": 10,
        }
    )
    stack.tick()
    assert stack.state("a") == "warn"
    stack.wait_for("the second failure, by the queue", lambda: stack.state("a") == "down")
    assert stack.wait_for_alerts(1) == [f"DOWN 1/3: a (127.0.0.1:{port})"]


def test_the_command_finds_a_stack_by_its_name(
    stack: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--stack` and POPWATCH_STACK name a stack of the caller's account; an unknown name is an error."""
    stack.put_targets({"target_id": "a", "host": "127.0.0.1"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.local.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", stack.local.key)
    for arguments, code, said in (
        ([], 0, "127.0.0.1:110"),
        (["--stack", "popwatch"], 0, "127.0.0.1:110"),
        (["--stack", "nowhere"], 3, "There is no stack nowhere"),
    ):
        monkeypatch.setattr(sys, "argv", ["popwatch", *arguments, "targets", "list"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
        captured = capsys.readouterr()
        assert said in captured.out + captured.err


def test_a_poisoned_message_stops_nothing(stack: Deployed, server: ScriptedServer) -> None:
    """An invalid message in the batch queue fails alone; retests from the same queue continue."""
    sqs, queue = stack.local.client("sqs"), stack.local.outputs["BatchQueueUrl"]
    for body in ("not json", "{}", '{"tick": 1}', "[]", json.dumps({"tick": "x", "tests": [{}]})):
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    port = server.listen("refused")
    fields = {"delay_warn": 10, "delay_down": 10, "failures_per_alert": 2}
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": port, **fields})
    stack.tick()
    stack.wait_for("the second failure, by the queue", lambda: stack.state("a") == "down")
    attributes = sqs.get_queue_attributes(
        QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    dead = stack.local.client("sqs").get_queue_attributes(
        QueueUrl=stack.local.outputs["DeadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    assert sum(map(int, attributes.values())) + int(dead["ApproximateNumberOfMessages"]) >= 5


def test_a_deleted_stack_leaves_its_targets(deployed: Deployed) -> None:
    """Deleting a stack keeps the Targets table, and no one can delete that before its protection is off."""
    table = decode(str(PROJECT / "template.yaml"))[0]["Resources"]["TargetsTable"]
    cloudformation, dynamodb = deployed.local.client("cloudformation"), deployed.local.client("dynamodb")
    body = {"Resources": {"TargetsTable": table}, "Outputs": {"Name": {"Value": {"Ref": "TargetsTable"}}}}
    cloudformation.create_stack(StackName="short-lived", TemplateBody=json.dumps(body))
    cloudformation.get_waiter("stack_create_complete").wait(StackName="short-lived", WaiterConfig={"Delay": 1})
    [output] = cloudformation.describe_stacks(StackName="short-lived")["Stacks"][0]["Outputs"]
    name = output["OutputValue"]
    cloudformation.delete_stack(StackName="short-lived")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="short-lived", WaiterConfig={"Delay": 1})
    assert dynamodb.describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"]
    with pytest.raises(dynamodb.exceptions.ClientError, match="protect"):
        dynamodb.delete_table(TableName=name)
    dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
    dynamodb.delete_table(TableName=name)
