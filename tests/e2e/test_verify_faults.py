"""Faults put into an installation, one at a time: `popwatch verify` finds each, with its own sentence."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from popwatch_cli.local.alert_feed import QUEUE_NAME
from popwatch_cli.options import STACK_NAME
from popwatch_cli.verification.rules import Verdict, VerificationResult
from tests.e2e.deployed import PROJECT, Deployed, SteppedStack
from tests.verifying import SPEED, operator, schedule_set, verify_stepped

pytestmark = [pytest.mark.local_stack, pytest.mark.faults]

Breaks = Callable[[SteppedStack], AbstractContextManager[object]]


@dataclass(frozen=True)
class Fault:
    """A way to break a stack, the check that must find it, and what that must say."""

    breaks: Breaks
    check: str
    says: str


FAULTS: dict[str, Fault] = {}


def fault(check: str, says: str) -> Callable[[Callable[[SteppedStack], Iterator[None]]], None]:
    """Register a function that breaks a stack and repairs it."""

    def register(breaks: Callable[[SteppedStack], Iterator[None]]) -> None:
        FAULTS[breaks.__name__] = Fault(contextmanager(breaks), check, says)

    return register


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A sound stack, invoked each minute, with an operator, on a local AWS that enforces IAM."""
    folder = tmp_path_factory.mktemp("faults")
    with (
        Deployed.running(PROJECT, folder, {"AUTH": "true"}) as stack,
        schedule_set(stack, "ENABLED"),
        operator(stack),
    ):
        yield stack


@contextmanager
def function_set(stack: Deployed, **settings: Any) -> Iterator[None]:
    """Other settings of the function, for a while."""
    client, name = stack.local.client("lambda"), stack.local.outputs["CheckTargetsFunction"]
    there = client.get_function_configuration(FunctionName=name)
    updated = client.get_waiter("function_updated_v2")
    updated.wait(FunctionName=name)
    client.update_function_configuration(FunctionName=name, **settings)
    updated.wait(FunctionName=name)
    yield
    client.update_function_configuration(FunctionName=name, **{name: there[name] for name in settings})
    updated.wait(FunctionName=name)


@contextmanager
def without_right(stack: Deployed, *denied: str) -> Iterator[None]:
    """The function's role may not do something on a resource whose name ends so: `action resource`."""
    iam, role = stack.local.client("iam"), stack.physical("CheckTargetsRole")
    statements = [
        {"Effect": "Deny", "Action": action, "Resource": resource}
        for action, resource in (one.split(" ") for one in denied)
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_role_policy(RoleName=role, PolicyName="fault", PolicyDocument=policy)
    yield
    iam.delete_role_policy(RoleName=role, PolicyName="fault")


@fault("schedule", "The schedule is disabled, so nothing is tested.")
def schedule_disabled(stepped: SteppedStack) -> Iterator[None]:
    with schedule_set(stepped.stack, "DISABLED"):
        yield


@fault("sweeps", "The function is invoked, and no sweep ended in 4 min.")
def function_broken(stepped: SteppedStack) -> Iterator[None]:
    with function_set(stepped.stack, Handler="check_targets.no_such_handler"):
        yield


@fault("sweeps", "Lambda does not run the function: its reserved concurrency is 0.")
def function_stopped(stepped: SteppedStack) -> Iterator[None]:
    client, name = stepped.stack.local.client("lambda"), stepped.stack.local.outputs["CheckTargetsFunction"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    yield
    client.delete_function_concurrency(FunctionName=name)


@fault("test", "Sweeps end but do not test the temporary target: the function's environment is not this stack's.")
def table_of_another_stack(stepped: SteppedStack) -> Iterator[None]:
    stack = stepped.stack
    client, other = stack.local.client("dynamodb"), f"{stack.local.outputs['TargetsTable']}-other"
    client.create_table(
        TableName=other,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "target_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "target_id", "KeyType": "HASH"}],
    )
    name = stack.local.outputs["CheckTargetsFunction"]
    there = stack.local.client("lambda").get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    iam, role = stack.local.client("iam"), stack.physical("CheckTargetsRole")
    statement = {"Effect": "Allow", "Action": "dynamodb:Scan", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="other", PolicyDocument=policy)
    with function_set(stack, Environment={"Variables": {**there, "TARGETS_TABLE": other}}):
        yield
    iam.delete_role_policy(RoleName=role, PolicyName="other")
    client.delete_table(TableName=other)


@fault("queue", "Nothing reads the batch queue: its event source mapping is disabled.")
def mapping_disabled(stepped: SteppedStack) -> Iterator[None]:
    client, name = stepped.stack.local.client("lambda"), stepped.stack.physical("CheckTargetsFunctionEachBatch")
    client.update_event_source_mapping(UUID=name, Enabled=False)
    yield
    client.update_event_source_mapping(UUID=name, Enabled=True)


@fault("alert", "The alert was not accepted by SNS: it stays in the outbox.")
def topic_refuses(stepped: SteppedStack) -> Iterator[None]:
    with without_right(stepped.stack, "sns:Publish *"):
        yield


@fault("history", "History has nothing of the temporary target: the function could not write there.")
def history_denied(stepped: SteppedStack) -> Iterator[None]:
    table = stepped.stack.local.outputs["HistoryTable"]
    with without_right(stepped.stack, f"dynamodb:PutItem arn:aws:dynamodb:*:*:table/{table}"):
        yield


@fault("filter", "The alert arrives without its message attributes, so no filter policy can let it pass.")
def attributes_lost(stepped: SteppedStack) -> Iterator[None]:
    with function_set(stepped.stack, Handler="tests.faulty_function.handler"):
        yield
    sqs = stepped.stack.local.client("sqs")
    sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName=QUEUE_NAME)["QueueUrl"])  # the feed needs the attributes


@fault("receivers", "A receiver has not confirmed the subscription, and receives nothing.")
def receiver_unconfirmed(stepped: SteppedStack) -> Iterator[None]:
    sns, topic = stepped.stack.local.client("sns"), stepped.stack.local.outputs["AlertTopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="https", Endpoint="https://127.0.0.1:9/alerts")
    yield
    for found in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]:
        if found["Protocol"] == "https":
            sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])


@fault("actions", "An alarm of the stack has no action.")
def alarm_without_action(stepped: SteppedStack) -> Iterator[None]:
    with stepped.stack.without_actions("UntestedAlarm"):
        yield


@fault("metrics", "TestsDue: data arrives in this account, but none with the dimensions of the stack's alarm.")
def dimension_wrong(stepped: SteppedStack) -> Iterator[None]:
    """The last fault: the metrics stay. The local AWS reads no EMF, so they are put as CloudWatch would have them."""
    client = stepped.stack.local.client("cloudwatch")
    names = {"TestsDue": "another", "Inconclusive": STACK_NAME}
    data: list[Any] = [
        {"MetricName": name, "Dimensions": [{"Name": "service", "Value": value}], "Value": 1.0}
        for name, value in names.items()
    ]
    client.put_metric_data(Namespace="popwatch", MetricData=data)
    yield


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(guarded: Deployed, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own check has failed, with its own sentence and a next step; what rests on it is not said to have passed."""
    found, shown = _verify_with(guarded, FAULTS[name])
    with capsys.disabled():
        print(f"\n--- {name}", *shown, sep="\n")
    check = found[FAULTS[name].check]
    assert check.verdict is Verdict.FAILED, check
    assert check.sentence.startswith(FAULTS[name].says)
    assert check.next_step
    others = {one.name for one in found.values() if one.verdict is Verdict.FAILED} - {check.name}
    assert others <= AFTER.get(name, set())


AFTER = {"history_denied": {"alert", "queue", "sweeps"}, "topic_refuses": {"history"}}
"""Checks that fail by the same fault. An alert is published once History has the change of state, and is recorded
there; a sweep ends, and sends its retests, once its samples are there.
"""


def _verify_with(stack: Deployed, put: Fault) -> tuple[dict[str, VerificationResult], list[str]]:
    stack.clear()  # the ticks of the fault before lie in the future of this clock
    with stack.by_stepped_clock(SPEED) as stepped, put.breaks(stepped):
        return verify_stepped(stepped)
