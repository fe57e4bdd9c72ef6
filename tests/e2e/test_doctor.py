"""`popwatch doctor` on the deployed stack, broken in one way after another: what it says, and its exit code."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, chdir, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from popwatch.decisions.batches import RollupJob, to_messages
from popwatch.model.messages import AlertMessage
from popwatch.model.records import OutboxEntry, Record
from popwatch.model.samples import Sample
from popwatch.model.text import iso
from popwatch_cli.local.alert_feed import QUEUE_NAME
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.main import cli
from popwatch_cli.options import STACK_NAME
from tests.e2e.deployed import PROJECT, Deployed

pytestmark = pytest.mark.local_stack

MINUTE = timedelta(minutes=1)
Broken = Callable[[Deployed], AbstractContextManager[object]]


@dataclass(frozen=True)
class DoctorCase:
    """A way to break a stack, and what the doctor must then say (`{}` stands for names) and exit with.

    One that is not `repaired` needs a stack of its own.
    """

    breaks: Broken
    code: int
    says: str
    repaired: bool = True


CASES: dict[str, DoctorCase] = {}


def doctor_case(
    code: int, says: str, *, repaired: bool = True
) -> Callable[[Callable[[Deployed], Iterator[None]]], None]:
    """Register a function that breaks a stack and, if it can be `repaired`, repairs it."""

    def register(breaks: Callable[[Deployed], Iterator[None]]) -> None:
        CASES[breaks.__name__] = DoctorCase(contextmanager(breaks), code, says, repaired)

    return register


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A sound stack for all tests that leave it sound."""
    with sound_stack(tmp_path_factory.mktemp("doctor")) as stack:
        yield stack


@contextmanager
def sound_stack(folder: Path) -> Iterator[Deployed]:
    """A sound stack: invoked each minute, and swept. As with `make run`, no one has subscribed to its alarms."""
    with (
        Deployed.running(PROJECT, folder, ScheduleState="ENABLED") as stack,
        ScriptedServer() as server,
    ):
        port = server.listen("healthy")
        stack.put_targets({"target_id": "mail", "host": "127.0.0.1", "port": port, "group": "g", "delay_up": 300})
        assert stack.tick() is None
        yield stack


def test_all_is_well(sound: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    """A sound local stack has no findings but that its alarms reach no one, and every check could be made."""
    code, said = sound.command("doctor")
    with capsys.disabled():
        print(f"\n--- a sound stack: exit code {code}\n{said}")
    *found, last = said.splitlines()
    assert (code, last) == (0, "40 checks: 39 passed, 1 with findings (1 note).")
    assert [line[:10].strip() for line in found] == ["NOTE", ""]
    assert "reach no one: the local stack has no operator." in found[0]


def doctor(stack: Deployed, *options: str) -> tuple[int, str]:
    """Run the command in this process, where it starts at once."""
    _, folder = stack.popwatch("doctor")
    with chdir(folder):
        ended = CliRunner().invoke(cli, ["--local", "doctor", *options])
    return ended.exit_code, ended.output


def test_json(sound: Deployed) -> None:
    """The same, for programs."""
    code, said = doctor(sound, "--json")
    found = json.loads(said)
    assert (code, found["verdict"], len(found["checks"])) == (0, "well", 40)
    assert all(check["well"] for check in found["checks"])


@doctor_case(2, "The schedule {} is disabled: nothing is tested.")
def schedule_off(stack: Deployed) -> Iterator[None]:
    scheduler = stack.local.client("scheduler")
    found = stack.local.client("cloudformation").describe_stack_resource(
        StackName=STACK_NAME, LogicalResourceId="CheckTargetsFunctionEachMinute"
    )
    there = scheduler.get_schedule(Name=found["StackResourceDetail"]["PhysicalResourceId"])
    kept = {name: there[name] for name in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description")}
    scheduler.update_schedule(**kept, State="DISABLED")
    yield
    scheduler.update_schedule(**kept, State="ENABLED")


@doctor_case(2, "The batch queue's event source mapping is disabled: batches and retests wait in the queue.")
def mapping_off(stack: Deployed) -> Iterator[None]:
    client, name = stack.local.client("lambda"), stack.physical("CheckTargetsFunctionEachBatch")
    client.update_event_source_mapping(UUID=name, Enabled=False)
    yield
    client.update_event_source_mapping(UUID=name, Enabled=True)


@doctor_case(2, "The environment of the function {} does not match the stack: ALERT_TOPIC_ARN differs.")
def function_drifted(stack: Deployed) -> Iterator[None]:
    updated = stack.local.client("lambda").get_waiter("function_active_v2")
    stack.configure(ALERT_TOPIC_ARN="arn:aws:sns:us-east-1:000000000000:another")
    updated.wait(FunctionName=stack.local.outputs["CheckTargetsFunction"])
    yield
    stack.configure(**stack.original)
    updated.wait(FunctionName=stack.local.outputs["CheckTargetsFunction"])


@doctor_case(1, "Expiry of the History table {} is off: the table grows forever, and so does its cost.")
def expiry_off(stack: Deployed) -> Iterator[None]:
    client, table = stack.local.client("dynamodb"), stack.local.outputs["HistoryTable"]
    setting: dict[str, Any] = {"AttributeName": "expires_at", "Enabled": False}
    client.update_time_to_live(TableName=table, TimeToLiveSpecification=setting)
    yield
    client.update_time_to_live(TableName=table, TimeToLiveSpecification={**setting, "Enabled": True})


@doctor_case(1, "Point-in-time recovery of the Targets table {} is off: a mistake there cannot be undone.")
def recovery_off(stack: Deployed) -> Iterator[None]:
    change, table = stack.local.client("dynamodb").update_continuous_backups, stack.local.outputs["TargetsTable"]
    change(TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False})
    yield
    change(TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True})


def only_subscription(stack: Deployed) -> str:
    answer = stack.local.client("sns").list_subscriptions_by_topic(TopicArn=stack.local.outputs["AlertTopicArn"])
    (found,) = answer["Subscriptions"]
    return str(found["SubscriptionArn"])


@contextmanager
def without_sms(stack: Deployed) -> Iterator[None]:
    """Without the queue that receives the SMS, for a while."""
    client, topic = stack.local.client("sns"), stack.local.outputs["SmsTopicArn"]
    (found,) = client.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    client.unsubscribe(SubscriptionArn=found["SubscriptionArn"])
    yield
    client.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=found["Endpoint"])


@contextmanager
def unsubscribed(stack: Deployed) -> Iterator[None]:
    """Without the queue that receives the alerts, for a while."""
    client, topic = stack.local.client("sns"), stack.local.outputs["AlertTopicArn"]
    client.unsubscribe(SubscriptionArn=only_subscription(stack))
    with without_sms(stack):
        yield
    arn = f"arn:aws:sqs:us-east-1:000000000000:{QUEUE_NAME}"
    client.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)


@doctor_case(2, "The alert topic has no subscription: no one receives alerts.")
def no_subscription(stack: Deployed) -> Iterator[None]:
    with unsubscribed(stack):
        yield


@doctor_case(
    2, "No subscription to the alert topic is confirmed (https https://127.0.0.1:9/...): no one receives alerts."
)
def none_confirmed(stack: Deployed) -> Iterator[None]:
    client, topic = stack.local.client("sns"), stack.local.outputs["AlertTopicArn"]
    with unsubscribed(stack):
        client.subscribe(TopicArn=topic, Protocol="https", Endpoint="https://127.0.0.1:9/alerts")
        yield
        client.unsubscribe(SubscriptionArn=only_subscription(stack))


@contextmanager
def filtered(stack: Deployed, policy: dict[str, Any]) -> Iterator[None]:
    """With a filter policy on the only subscription."""
    change, arn = stack.local.client("sns").set_subscription_attributes, only_subscription(stack)
    change(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue=json.dumps(policy))
    with without_sms(stack):
        yield
    change(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue="{}")


@doctor_case(2, "No alert about an outage of target mail reaches anyone.")
def filter_lets_nothing_through(stack: Deployed) -> Iterator[None]:
    with filtered(stack, {"group": ["another"]}):
        yield


@doctor_case(
    1,
    "No one receives these alerts of target mail: alert 1, flapping, end of flapping, worse posture; an outage is "
    "first reported after",
)
def filter_lets_late_alerts_through(stack: Deployed) -> Iterator[None]:
    with filtered(stack, {"alert_number": [{"numeric": [">=", 2]}]}):
        yield


@doctor_case(1, "Alarm {} has no action: no one is notified of such a problem.")
def alarm_without_action(stack: Deployed) -> Iterator[None]:
    with stack.without_actions("UntestedAlarm"):
        yield


@doctor_case(1, "The alarm {} is in state ALARM: ")
def alarm_fires(stack: Deployed) -> Iterator[None]:
    client, name = stack.local.client("cloudwatch"), stack.physical("InconclusiveAlarm")
    client.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    yield
    client.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test")


@contextmanager
def with_targets(stack: Deployed, *items: dict[str, Any]) -> Iterator[None]:
    """With more targets, suspended unless they say otherwise, and a sweep that has tested them."""
    stack.put_targets(*({"host": "127.0.0.1", "port": 1, "enabled": False, **item} for item in items))
    stack.tick()
    yield
    stack.installation.target_table.write([], [item["target_id"] for item in items])


@doctor_case(
    2, "3 targets (a, b, c) cannot be tested: The field `port` cannot be used: `70000` is not between 1 and 65535."
)
def bad_fields(stack: Deployed) -> Iterator[None]:
    with with_targets(stack, *({"target_id": name, "port": 70_000, "enabled": True} for name in "abc")):
        yield


@doctor_case(
    1,
    "a: unknown field `failures_per_alarm`: it is kept but has no effect. Did you mean `failures_per_alert`?",
)
def unknown_field(stack: Deployed) -> Iterator[None]:
    with with_targets(stack, {"target_id": "a", "failures_per_alarm": 2}):
        yield


@doctor_case(1, "2 targets (a, b) depend on one another in a cycle: no alert is held back.")
def cycle(stack: Deployed) -> Iterator[None]:
    with with_targets(stack, {"target_id": "a", "depends_on": "b"}, {"target_id": "b", "depends_on": "a"}):
        yield


@doctor_case(1, "Target mail is in maintenance without a break for the next 8 d: no one is notified of outages.")
def silenced_for_ever(stack: Deployed) -> Iterator[None]:
    window = [{"days": "daily", "from": "00:00", "until": "24:00"}]
    stack.installation.target_table.change("mail", {"maintenance": window})
    yield
    stack.installation.target_table.change("mail", {}, ["maintenance"])


@doctor_case(2, "Target mail-2 has an alert pending since ")
def alert_pending(stack: Deployed) -> Iterator[None]:
    committed_at = datetime.now(UTC) - 10 * MINUTE
    message = AlertMessage("mail-2", "DOWN 1/3", "text", "text", "line", {"event": "down"})
    pending = OutboxEntry(1, committed_at, committed_at, message=message)
    stack.store.commit(Record("mail-2", 1, outbox=(pending,)), 0)
    yield
    stack.store.delete_record(Record("mail-2", 1))


@doctor_case(1, "2 dead letters: 1 tick, 1 hour, the oldest of ")
def dead_letters(stack: Deployed) -> Iterator[None]:
    sqs, url = stack.local.client("sqs"), stack.local.outputs["DeadLetterQueueUrl"]
    hour = (datetime.now(UTC) - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    for body in (json.dumps({"scheduled_time": iso(hour)}), *to_messages(RollupJob(hour, 1, 0))):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    yield
    code, said = doctor(stack, "--redrive")
    assert code == 0
    assert sorted(said.splitlines()) == [
        f"The tick of {hour:%Y-%m-%d %H:%M:%S} UTC is dropped: later ticks have caught up.",
        f"The totals of the hour of {hour:%Y-%m-%d %H:%M:%S} UTC return to the batch queue: its samples will be "
        "added up.",
    ]
    left = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert {left[name] for name in left if name.startswith("ApproximateNumber")} == {"0"}


@doctor_case(2, " is in the future: the time of the last sweep is unknown.")
def sweeps_ahead(stack: Deployed) -> Iterator[None]:
    checkpoint = stack.store.read_records()[0]
    stack.store.put_checkpoint(replace(checkpoint, tick=datetime.now(UTC) + timedelta(days=2)))
    yield
    client, table = stack.local.client("dynamodb"), stack.local.outputs["StatusTable"]
    client.delete_item(TableName=table, Key={"target_id": {"S": "_sweep"}})
    stack.store.put_checkpoint(checkpoint)


@doctor_case(1, "No sweep tested anything from {} UTC (25 min).")
def sweeps_missed(stack: Deployed) -> Iterator[None]:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    there = stack.store.read_record("mail")
    up = replace(there, version=there.version + 1, health=replace(there.health, since=now - 60 * MINUTE))
    assert stack.store.commit(up, there.version) is None
    for age in (1, 6, 11, 16, 41, 46, 51, 56):
        stack.store.put_samples(1, 0, now - age * MINUTE, "past", {"mail": Sample(5.0)})
    yield
    stack.store.commit(replace(there, version=up.version + 1), up.version)


@doctor_case(2, "The function {} has a reserved concurrency of 0: Lambda does not run it.")
def function_stopped(stack: Deployed) -> Iterator[None]:
    client, name = stack.local.client("lambda"), stack.local.outputs["CheckTargetsFunction"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    yield
    client.delete_function_concurrency(FunctionName=name)


@doctor_case(1, "UNKNOWN    the SMS sandbox: AWS answers InvalidAction to GetSMSSandboxAccountStatus.", repaired=False)
def sms_and_errors(stack: Deployed) -> Iterator[None]:
    """What the local AWS cannot answer is unknown; errors stay for a day, so this is not repaired."""
    name, topic = stack.local.outputs["CheckTargetsFunction"], stack.local.outputs["AlertTopicArn"]
    stack.local.client("lambda").invoke(FunctionName=name, Payload=b"{}")
    stack.local.client("sns").subscribe(TopicArn=topic, Protocol="sms", Endpoint="+4930123456")
    yield


@doctor_case(2, "The Status table {} does not exist: every sweep fails.", repaired=False)
def table_gone(stack: Deployed) -> Iterator[None]:
    """Checks that need the table are unknown then, and all others are made as before."""
    stack.local.client("dynamodb").delete_table(TableName=stack.local.outputs["StatusTable"])
    yield


@pytest.mark.parametrize("name", CASES)
def test_what_is_broken_is_found(
    sound: Deployed, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exact sentence, and the exit code."""
    doctor_case = CASES[name]
    before, _, after = doctor_case.says.partition("{}")
    with nullcontext(sound) if doctor_case.repaired else sound_stack(tmp_path) as stack:
        for _ in range(2):  # a sweep in between may heal what it can
            with doctor_case.breaks(stack):
                code, said = doctor(stack)
            is_found = any(before in line and after in line for line in said.splitlines())
            if is_found:
                break
    with capsys.disabled():
        print(f"\n--- {name}: exit code {code}\n{said}")
    assert is_found, said
    assert code == doctor_case.code
