"""The permissions that the pages give for each command are enough for it, and none of them is needless.

IAM is enforced with resources: what the page does not allow is refused.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import boto3
import click
import pytest
import time_machine

from popwatch.decisions.batches import RollupJob, to_messages
from popwatch_cli.commands.page import page_of
from popwatch_cli.installation import find
from popwatch_cli.main import COMMANDS, cli
from popwatch_cli.options import StackChoice
from tests.examples import START
from tests.iam import ANY, ARN, Identity, Permission, has_resources
from tests.integration.conftest import Ended, Run
from tests.integration.night import Night, answered, new_night

DOCS = Path(__file__).parents[2] / "docs"
HEAD = "| for | an identity needs |\n|---|---|\n"
EVERY = "all commands except `test`, `completion`, `help`, `version`, `targets convert`"
SCHEDULE, ALARM = "popwatch-each-minute", "popwatch-no-sweep"

EXAMPLES = {
    "status": ["status"],
    "page": [],  # it runs until Ctrl-C; it has a test of its own
    "page --password": ["page --password"],
    "page --new-password": ["page --new-password"],
    "report": ["report --since 90m"],
    "replay": ["replay --since 90m --set failures_per_alert=2"],
    "history": ["history mail-berlin --since 90m"],
    "targets list": ["targets list"],
    "targets export": ["targets export targets.jsonl"],
    "targets check": ["targets check"],
    "cost": ["cost"],
    "credentials put": ["credentials put monitor --user anna --secret-file secret"],
    "credentials list": ["credentials list"],
    "credentials remove": ["credentials remove monitor", "credentials remove other"],
    "targets show": ["targets show mail-oslo", "targets show mail-osl"],
    "targets put": [
        "targets put other host=pop.example.net tls=implicit login=kept",
        "targets put mail-oslo mail-rome delay_up=90",
    ],
    "targets remove": ["targets remove mail-rome"],
    "targets import": ["targets import new.csv --yes"],
    "silence": ["silence mail-oslo --for 2h"],
    "unsilence": ["silence mail-oslo --for 2h", "unsilence mail-oslo"],
    "suspend": ["suspend mail-oslo"],
    "resume": ["suspend mail-oslo", "resume mail-oslo"],
    "retest": ["retest mail-berlin --timeout 1s"],
    "ack": ["ack mail-berlin"],
    "simulate": ["simulate mail-berlin"],
    "receivers": ["receivers"],
    "alert-test": ["alert-test mail-berlin"],
    "verify": [],  # its permissions are held against what it asks for in test_verify.py
    "doctor": ["doctor", "doctor --redrive", "doctor --move-phones"],
}
"""What is run of each command: together it uses all that the command may do."""


def rows(page: str) -> dict[str, str]:
    """The table of a page: what each row is for, and its permissions."""
    table = (DOCS / page).read_text("utf-8").partition(HEAD)[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", table, re.M))


def documented(command: str) -> Iterator[tuple[str, str]]:
    """Actions, and what the pages call the resource of each, that a command needs."""
    if command == "doctor":
        for cell in rows("doctor.md").values():
            yield from _named(cell)
    [cell] = [cell for title, cell in rows("deploying.md").items() if command in re.findall(r"`([^`]+)`", title)]
    yield from _named(cell)
    for other in re.findall(r"\bas `([^`]+)`", cell):
        yield from documented(other)


def _named(cell: str) -> Iterator[tuple[str, str]]:
    for actions, resources in re.findall(r"((?:`\w+:\w+`(?:, )?)+) on ((?:`[\w*]+`(?:, )?)+|the \w+)", cell):
        for action in re.findall(r"`(.+?)`", actions):
            for resource in re.findall(r"`(.+?)`", resources) or [resources]:
                yield action, resource


def arn(night: Night, name: str) -> str:
    """The resource that the pages call so: an output of the stack, a word, or `*`."""
    words = {
        ANY: ANY,
        "the stack": ARN.format("cloudformation", "stack/popwatch/*"),
        "the schedule": ARN.format("scheduler", f"schedule/default/{SCHEDULE}"),
        "the credentials": ARN.format("ssm", "parameter/popwatch/popwatch/credentials*"),
        "the alarms": ARN.format("cloudwatch", f"alarm:{ALARM}"),
    }
    if name in words:
        return words[name]
    value = night.outputs[name]
    if name.endswith("Arn"):
        return value
    kinds = {"Table": "dynamodb:table/", "Url": "sqs:", "Function": "lambda:function:"}
    service, _, prefix = next(kind for end, kind in kinds.items() if name.endswith(end)).partition(":")
    return ARN.format(service, prefix + value.rpartition("/")[2])


def identity_for(night: Night, command: str) -> Identity:
    """An identity with the permissions that the pages give for a command."""
    allowed = [*_named(rows("deploying.md")[EVERY]), *documented(command)]
    return Identity([Permission(action, arn(night, name)) for action, name in allowed])


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    """The night at 03:15, for all commands; no example needs what another one changes."""
    with new_night() as found:
        found.advance_to(START.replace(minute=15))
        value = '{"user": "anna", "secret": "wonderland"}'
        boto3.client("ssm").put_parameter(Name="/popwatch/popwatch/credentials/kept", Value=value, Type="SecureString")
        yield found


Permitted = Callable[[str, Sequence[str]], tuple[Identity, list[Ended]]]


@pytest.fixture
def permitted(night: Night, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Permitted:
    """Run examples with the permissions that the pages give for a command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("wonderland")
    (tmp_path / "new.csv").write_text("target_id,host,tls,login\nnew,pop.example.net,implicit,kept\n")

    def run_permitted(command: str, examples: Sequence[str]) -> tuple[Identity, list[Ended]]:
        identity = identity_for(night, command)
        assert boto3.DEFAULT_SESSION is not None
        with identity.watching(boto3.DEFAULT_SESSION.events), time_machine.travel(night.now):
            return identity, [run(*example.split()) for example in examples]

    return run_permitted


def set_up_stack(night: Night) -> None:
    """What only the doctor looks at: resources, an alarm, a dead letter that is to return to its queue."""
    night.put_target("with-login", tls="implicit", login="monitor")
    kinds = {
        "CheckTargetsFunctionEachMinute": ("AWS::Scheduler::Schedule", SCHEDULE),
        "CheckTargetsFunction": ("AWS::Lambda::Function", night.outputs["CheckTargetsFunction"]),
        "NoSweepAlarm": ("AWS::CloudWatch::Alarm", ALARM),
    }
    summaries = [
        {"LogicalResourceId": name, "ResourceType": kind, "PhysicalResourceId": physical}
        for name, (kind, physical) in kinds.items()
    ]
    assert boto3.DEFAULT_SESSION is not None
    for operation, answer in (
        ("cloudformation.ListStackResources", {"StackResourceSummaries": summaries}),
        ("lambda.GetAccountSettings", {"AccountLimit": {"UnreservedConcurrentExecutions": 10}}),
    ):
        boto3.DEFAULT_SESSION.events.register(f"before-call.{operation}", partial(answered, answer))  # type: ignore[arg-type] # an answer is taken, too
    night.sns.subscribe(TopicArn=night.outputs["OperatorTopicArn"], Protocol="email", Endpoint="me@example.net")
    night.sns.subscribe(TopicArn=night.topic, Protocol="sms", Endpoint="+4915550177")
    for body in (*to_messages(RollupJob(START, 1, 0)), "hello"):
        night.sqs.send_message(QueueUrl=night.outputs["DeadLetterQueueUrl"], MessageBody=body)


@pytest.mark.long
@pytest.mark.parametrize("command", [name for name, examples in EXAMPLES.items() if examples])
def test_what_the_pages_allow_is_enough_and_no_more(night: Night, permitted: Permitted, command: str) -> None:
    """Nothing that a command asks for is refused, and it asks for everything that its row allows."""
    if command == "doctor":
        set_up_stack(night)
    identity, ended = permitted(command, EXAMPLES[command])
    assert identity.refused == set(), ended
    assert identity.needless == set(), ended


def test_the_page_needs_what_the_pages_allow_and_no_more(night: Night) -> None:
    """All its answers, by the server of `popwatch page`."""
    identity = identity_for(night, "page")
    assert boto3.DEFAULT_SESSION is not None
    with (
        identity.watching(boto3.DEFAULT_SESSION.events),
        time_machine.travel(night.now),
        page_of(find(StackChoice("popwatch", local=False)), 0) as address,
    ):
        for path in ("", "api/status", "api/targets/mail-berlin", "api/timelines?id=mail-berlin", "metrics"):
            with urlopen(address + path, timeout=60) as answer:
                assert answer.status == 200
    assert identity.refused == set()
    assert identity.needless == set()


def test_a_permission_too_few_is_found(permitted: Permitted) -> None:
    """The test itself: `ack` reads the Status table, which the row of `silence` does not allow."""
    identity, [ended] = permitted("silence", ["ack mail-berlin"])
    assert ended.code == 3
    assert identity.refused == {Permission("dynamodb:GetItem", ARN.format("dynamodb", "table/Status"))}


def test_a_permission_too_many_is_found(permitted: Permitted) -> None:
    """The test itself: `silence` does not read the Status table, which the row of `ack` allows."""
    identity, _ = permitted("ack", ["silence mail-oslo --for 2h"])
    assert identity.needless == {Permission("dynamodb:GetItem", ARN.format("dynamodb", "table/Status"))}


def test_every_command_is_in_the_table() -> None:
    """Each command, or each of a family of commands, has its row, and an example here."""
    context = click.Context(cli, **cli.context_settings)
    commands = set()
    for name in COMMANDS.keys() - {"completion", "help", "posture", "test", "version"}:
        command = cli.get_command(context, name)
        subcommands = command.list_commands(context) if isinstance(command, click.Group) else []
        commands |= {f"{name} {each}" for each in subcommands} or {name}
    commands.remove("targets convert")  # which asks AWS for nothing, as those
    titles = rows("deploying.md").keys() - {EVERY}
    named = {name for title in titles for name in re.findall(r"`([^`]+)`", title)}
    assert EXAMPLES.keys() == named
    assert {name.partition(" --")[0] for name in named} == commands


@pytest.mark.parametrize("page", ["deploying.md", "doctor.md", "verifying.md"])
def test_resources_are_named_where_aws_has_them(page: str) -> None:
    """`*` stands where AWS has no resource for an action, and nowhere else."""
    named = [each for cell in rows(page).values() for each in _named(cell)]
    assert named
    assert [each for each in named if has_resources(each[0]) == (each[1] == ANY)] == []
