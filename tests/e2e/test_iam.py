"""Least privilege, proven: with IAM enforced the function does all its work, and its role can do nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from popwatch.model.samples import Sample
from popwatch.model.text import iso
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import PROJECT, Deployed

pytestmark = pytest.mark.local_stack


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack on a local AWS that enforces IAM."""
    with Deployed.running(PROJECT, tmp_path_factory.mktemp("guarded"), {"AUTH": "true"}) as found:
        yield found


@pytest.fixture(scope="module")
def as_function(guarded: Deployed) -> Callable[[str], Any]:
    """Clients with the rights of the function's role."""
    return guarded.with_rights_of("CheckTargetsFunction")


def test_a_whole_outage_under_enforced_iam(guarded: Deployed, server: ScriptedServer) -> None:
    """Scans, commits, history, alerts, retests by the queue, hours added up, a target removed: nothing is denied."""
    port = server.listen("refused")
    fields = {"host": "127.0.0.1", "port": port, "failures_per_alert": 2, "delay_warn": 10, "delay_down": 10}
    guarded.put_targets({"target_id": "a", **fields}, {"target_id": "gone", **fields, "enabled": False})
    now = datetime.now(UTC)
    assert guarded.tick(now) is None
    guarded.wait_for("the retest by the queue", lambda: guarded.state("a") == "down")
    assert guarded.wait_for_alerts(1) == [f"DOWN 1/3: a (127.0.0.1:{port})"]
    server.play(port, "healthy")
    guarded.installation.target_table.write([], ["gone"])
    hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    guarded.store.put_samples(1, 0, hour, "past", {"a": Sample(5.0)})
    checkpoint = guarded.store.read_records()[0]
    counts = {"1": iso(now)}
    guarded.store.put_checkpoint(replace(checkpoint, hour=hour - timedelta(hours=1), batch_counts=counts))
    assert guarded.tick(now + timedelta(seconds=20)) is None
    assert guarded.tick(now + timedelta(seconds=40)) is None  # a day's last hour is added up alone
    assert guarded.state("a") == "up"
    assert guarded.wait_for_alerts(1)[0].startswith("UP again: a")
    assert "gone" not in guarded.store.read_records()[1]
    assert [hour for hour, _ in guarded.store.read_hours(1, 0, now - timedelta(hours=3), now + timedelta(hours=3))]


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(lambda its, out: its("dynamodb").put_item(TableName=out["TargetsTable"], Item={"target_id": {"S": "x"}}), id="write-a-target"),
        pytest.param(lambda its, out: its("dynamodb").delete_item(TableName=out["TargetsTable"], Key={"target_id": {"S": "a"}}), id="delete-a-target"),
        pytest.param(lambda its, out: its("dynamodb").delete_item(TableName=out["HistoryTable"], Key={"pk": {"S": "a"}, "sk": {"S": "b"}}), id="delete-history"),
        pytest.param(lambda its, out: its("dynamodb").delete_table(TableName=out["StatusTable"]), id="delete-a-table"),
        pytest.param(lambda its, _: its("dynamodb").list_tables(), id="list-tables"),
        pytest.param(lambda its, out: its("sns").publish(TopicArn=out["OperatorTopicArn"], Message="x"), id="publish-to-operators"),
        pytest.param(lambda its, out: its("sns").list_subscriptions_by_topic(TopicArn=out["AlertTopicArn"]), id="read-subscriptions"),
        pytest.param(lambda its, out: its("sqs").purge_queue(QueueUrl=out["BatchQueueUrl"]), id="purge-the-queue"),
        pytest.param(lambda its, out: its("lambda").get_function(FunctionName=out["CheckTargetsFunction"]), id="read-its-code"),
        pytest.param(lambda its, _: its("ssm").get_parameters(Names=["/popwatch/other/credentials/x"]), id="read-another-stacks-login"),
        pytest.param(lambda its, _: its("ssm").get_parameters(Names=["/popwatch/popwatch/credentials/x", "/a/password"]), id="read-another-parameter-too"),
        pytest.param(lambda its, _: its("ssm").get_parameters_by_path(Path="/popwatch/popwatch/credentials"), id="list-logins"),
        pytest.param(lambda its, _: its("ssm").put_parameter(Name="/popwatch/popwatch/credentials/x", Value="x", Type="String"), id="write-a-login"),
        pytest.param(lambda its, _: its("s3").list_buckets(), id="list-buckets"),
        pytest.param(lambda its, _: its("iam").list_roles(), id="list-roles"),
    ],
)  # fmt: skip
def test_the_role_can_do_nothing_else(
    guarded: Deployed, as_function: Callable[[str], Any], attempt: Callable[[Callable[[str], Any], dict[str, str]], Any]
) -> None:
    """What the function does not need is denied."""
    with pytest.raises(ClientError) as denied:
        attempt(as_function, guarded.local.outputs)
    assert denied.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException", "AuthorizationError"}


def test_the_role_can_do_its_work(guarded: Deployed, as_function: Callable[[str], Any]) -> None:
    """The same client is allowed what the function needs, so the denials above are the policy's doing."""
    assert "Items" in as_function("dynamodb").scan(TableName=guarded.local.outputs["TargetsTable"])
    logins = [f"/popwatch/popwatch/credentials/{name}" for name in ("no-one", "nobody")]
    assert as_function("ssm").get_parameters(Names=logins)["InvalidParameters"] == logins
