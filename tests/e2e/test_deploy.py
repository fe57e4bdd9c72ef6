"""`make deploy` and `sam deploy --guided` with Enter at every question, by AWS's own SAM CLI, against the local AWS.

Each test prints its transcript: `pytest -m deploys -s tests/e2e/test_deploy.py`.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from popwatch.config import Settings
from popwatch_cli.deploying import receivers
from popwatch_cli.installation import local_client
from popwatch_cli.local.stack import REGION, LocalStack, free_port
from tests.e2e.deployed import PROJECT
from tests.e2e.terminal import Transcript, press_enter
from tests.older_versions import FLAT_VERSION, unpack

pytestmark = [pytest.mark.deploys, pytest.mark.timeout(1500)]

PARTS = ("Makefile", "template.yaml", "samconfig.yaml", ".gitignore", "functions", "layers", "requirements", "events")
VENV = Path(sys.prefix)
MAKE = f"make VENV={VENV} -o {VENV}/run.installed"
"""make with this environment in place of a new one, which the tests of the marker `fresh` install."""


@dataclass(slots=True)
class Checkout:
    """A user's checkout beside a local AWS."""

    folder: Path
    aws: LocalStack
    region: str = REGION

    def enter(self, command: str) -> Transcript:
        """Run a command in a terminal, with Enter at every question; print what it showed."""
        found = press_enter(command.replace("make ", f"{MAKE} ", 1), self.folder, self.environment)
        transcript = replace(found, command=command)
        print(f"\n{transcript}")
        return transcript

    def without_terminal(self, command: str) -> Transcript:
        """Run a command as a pipeline would; print what it showed."""
        ended = subprocess.run(
            ["sh", "-c", command.replace("make ", f"{MAKE} ", 1)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=420,
            check=False,
        )
        transcript = Transcript(command, ended.returncode, ended.stdout + ended.stderr, ())
        print(f"\n{transcript}")
        return transcript

    @property
    def environment(self) -> dict[str, str]:
        packages = f"{PROJECT / 'layers' / 'popwatch'}:{PROJECT / 'cli'}"
        return self.aws.environment() | {"PYTHONPATH": packages, "HOME": str(self.folder.parent / "home")}

    def client(self, service: str) -> Any:
        return local_client(service, self.aws.endpoint, self.region)

    def stack(self, name: str) -> dict[str, Any]:
        """A stack as CloudFormation describes it."""
        found: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return found

    def parameters(self, name: str) -> dict[str, str]:
        return {each["ParameterKey"]: each["ParameterValue"] for each in self.stack(name)["Parameters"]}

    def outputs(self, name: str) -> dict[str, str]:
        return {each["OutputKey"]: each["OutputValue"] for each in self.stack(name)["Outputs"]}

    def receivers(self, output: str) -> list[str]:
        """Who is subscribed to a topic of the stack popwatch."""
        topic = self.outputs("popwatch")[output]
        found = self.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        return sorted(each["Endpoint"] for each in found)

    def schedules(self) -> list[str]:
        return sorted(found["Name"] for found in self.client("scheduler").list_schedules()["Schedules"])

    def things(self) -> dict[str, list[str]]:
        """The names of what stacks have made, and what SAM has uploaded for them."""
        s3 = self.client("s3")
        keys = [
            each["Key"]
            for bucket in s3.list_buckets()["Buckets"]
            for each in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", ())
        ]
        return {
            "tables": self.client("dynamodb").list_tables()["TableNames"],
            "topics": [each["TopicArn"] for each in self.client("sns").list_topics()["Topics"]],
            "subscriptions": [each["Endpoint"] for each in self.client("sns").list_subscriptions()["Subscriptions"]],
            "queues": self.client("sqs").list_queues().get("QueueUrls", []),
            "functions": [each["FunctionName"] for each in self.client("lambda").list_functions()["Functions"]],
            "mappings": [
                each["UUID"] for each in self.client("lambda").list_event_source_mappings()["EventSourceMappings"]
            ],
            "layers": [each["LayerName"] for each in self.client("lambda").list_layers()["Layers"]],
            "schedules": self.schedules(),
            "alarms": [each["AlarmName"] for each in self.client("cloudwatch").describe_alarms()["MetricAlarms"]],
            "logs": [each["logGroupName"] for each in self.client("logs").describe_log_groups()["logGroups"]],
            "secrets": [each["Name"] for each in self.client("secretsmanager").list_secrets()["SecretList"]],
            "roles": [each["RoleName"] for each in self.client("iam").list_roles()["Roles"]],
            "uploads": keys,
        }

    def pull(self) -> None:
        """What `git pull` may bring: other code, and a new parameter with a default."""
        template = self.folder / "template.yaml"
        new = 'Parameters:\n  NewParameter:\n    Type: String\n    Default: "new"\n'
        template.write_text(template.read_text().replace("Parameters:\n  AlertEmail", f"{new}  AlertEmail", 1))
        handler = self.folder / "functions" / "check_targets.py"
        handler.write_text(handler.read_text() + "\n# a newer version\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout without answers, and an AWS without stacks."""
    folder = tmp_path / "popwatch"
    folder.mkdir()
    (tmp_path / "home" / ".aws-sam").mkdir(parents=True)
    checked = {"lastVersionCheck": time.time()}  # SAM asks PyPI for a newer version of itself once a week
    (tmp_path / "home" / ".aws-sam" / "metadata.json").write_text(json.dumps(checked))
    check_out(folder)
    aws = LocalStack(PROJECT, tmp_path / "aws", port=free_port(0), key="testing")
    try:
        aws.start()
        yield Checkout(folder, aws)
    finally:
        aws.stop()


def check_out(folder: Path) -> None:
    """Put this version into a folder, in place of another."""
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.rmtree(folder / part, ignore_errors=True)
            shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(PROJECT / part, folder / part)


def answers(path: Path) -> dict[str, Any]:
    """The options of `sam deploy` in a file of answers."""
    options: dict[str, Any] = tomllib.loads(path.read_text())["default"]["deploy"]["parameters"]
    return options


def test_make_deploy_with_enter_alone(checkout: Checkout) -> None:
    """It deploys; again, with nothing changed and after a pull, it asks nothing; two stacks live side by side."""
    first = checkout.enter("make deploy")
    assert first.code == 0
    assert any("AlertEmail" in question for question in first.questions)
    assert "Changeset created successfully" in first.text
    assert "Successfully created/updated stack - popwatch" in first.text
    assert "NO ONE RECEIVES ALERTS" in first.text
    assert "NO ONE RECEIVES ALARMS ABOUT POPWATCH ITSELF" in first.text
    assert not (checkout.folder / "samconfig.toml").exists()
    kept = answers(checkout.folder / ".popwatch" / "popwatch.toml")
    assert 'AlertEmail=""' in kept["parameter_overrides"]

    second = checkout.enter("make deploy")
    assert (second.code, second.questions) == (0, ())
    assert "Stack popwatch is up to date" in second.text

    checkout.pull()
    third = checkout.enter("make deploy")
    assert (third.code, third.questions) == (0, ())
    assert "* Modify" in third.text
    assert "Successfully created/updated stack - popwatch" in third.text
    assert checkout.parameters("popwatch")["NewParameter"] == "new"


def test_two_stacks_side_by_side(checkout: Checkout) -> None:
    """Each has its own resources and answers; the next deployment of the first asks nothing; the second has a page."""
    assert checkout.enter("make deploy").code == 0
    kept = answers(checkout.folder / ".popwatch" / "popwatch.toml")
    other = checkout.enter("make deploy STACK=mail-eu PARAMETERS=Page=on")
    assert other.code == 0
    assert "Parameter Page [on]:" in other.questions
    assert "Successfully created/updated stack - mail-eu" in other.text
    assert answers(checkout.folder / ".popwatch" / "popwatch.toml") == kept
    assert answers(checkout.folder / ".popwatch" / "mail-eu.toml")["stack_name"] == "mail-eu"
    assert "For the commands of this stack: export POPWATCH_STACK=mail-eu" in other.text
    one, two = checkout.outputs("popwatch"), checkout.outputs("mail-eu")
    assert "ReportUrl" in two
    assert all(one[name] != two[name] for name in one if name.endswith(("Table", "Arn", "Url", "Function")))
    assert len(set(checkout.schedules())) == 2
    again = checkout.enter("make deploy")
    assert (again.code, again.questions) == (0, ())
    for name, outputs in (("popwatch", one), ("mail-eu", two)):
        found = checkout.client("lambda").get_function_configuration(FunctionName=outputs["CheckTargetsFunction"])
        assert Settings.from_env(found["Environment"]["Variables"]).stack == name


def test_sam_deploy_guided_with_enter_alone(checkout: Checkout) -> None:
    """Without make: it deploys, and the next version over it; with nothing to deploy SAM says so."""
    command = "sam build && sam deploy --guided"
    first = checkout.enter(command)
    assert first.code == 0
    assert "Stack Name [popwatch]:" in first.questions
    assert "Successfully created/updated stack - popwatch" in first.text
    assert "No one: set OperatorEmail or AlertEmail." in first.text
    assert 'AlertEmail=""' in answers(checkout.folder / "samconfig.toml")["parameter_overrides"]
    checkout.pull()
    second = checkout.enter(command)
    assert second.code == 0
    assert "Successfully created/updated stack - popwatch" in second.text
    third = checkout.enter(command)
    assert third.code == 1
    assert "No changes to deploy. Stack popwatch is up to date" in third.text


def test_without_a_terminal(checkout: Checkout) -> None:
    """The commands of docs/deploying.md for a pipeline ask nothing, and keep what they do not name."""
    page = (PROJECT / "docs" / "deploying.md").read_text()
    [by_make] = re.findall(r"^    (AWS_REGION=.* make deploy .*)$", page, re.MULTILINE)
    [by_sam] = re.findall(r"^    (sam deploy --stack-name .*)$", page, re.MULTILINE)
    first = checkout.without_terminal(f"env -u AWS_DEFAULT_REGION {by_make}")
    assert first.code == 0
    region = re.search("AWS_REGION=([a-z0-9-]+)", by_make)[1]  # type: ignore[index]
    checkout.region = region
    deployed = checkout.parameters("popwatch")
    assert deployed["AlertEmail"] == "night-shift@example.net"
    assert deployed["OperatorEmail"] == "me@example.net"
    assert checkout.receivers("OperatorTopicArn") == ["me@example.net"]
    shutil.rmtree(checkout.folder / ".popwatch")  # the next run of the pipeline has a fresh checkout
    checkout.pull()
    second = checkout.without_terminal(
        f"env -u AWS_DEFAULT_REGION AWS_REGION={region} make deploy PARAMETERS=LogDays=7"
    )
    assert second.code == 0
    assert checkout.parameters("popwatch") == {**deployed, "LogDays": "7", "NewParameter": "new"}
    third = checkout.without_terminal(
        by_sam.replace("AlertEmail=", "LogDays=14 ReportPassword=of-an-earlier-version AlertEmail=")
    )
    assert third.code == 0
    assert checkout.parameters("popwatch") == {**deployed, "NewParameter": "new"}
    nowhere = checkout.without_terminal("env -u AWS_DEFAULT_REGION make deploy STACK=other")
    assert nowhere.code != 0
    assert "There is no region to deploy to: choose one with AWS_REGION" in nowhere.text
    deploy = f"{sys.executable} -m popwatch_cli.deploying"
    unknown = checkout.without_terminal(f"PARAMETERS=AlertMail=x {deploy}")
    assert "There is no parameter AlertMail" in unknown.text
    kept = (checkout.folder / ".popwatch" / "popwatch.toml").read_text()
    refused = checkout.without_terminal(f"PARAMETERS=AlertEmail=x {deploy}")
    assert "AlertEmail" in refused.text
    assert refused.code == 1
    assert (checkout.folder / ".popwatch" / "popwatch.toml").read_text() == kept


def test_removing(checkout: Checkout) -> None:
    """The command of docs/operating.md, with yes to its questions, leaves the Targets table and SAM's bucket."""
    page = (PROJECT / "docs" / "operating.md").read_text()
    [command] = re.findall(r"^    (sam delete --stack-name popwatch .*)$", page, re.MULTILINE)
    checkout.region = re.search("--region ([a-z0-9-]+)", command)[1]  # type: ignore[index]
    addresses = "AlertEmail=night-shift@example.net AlertPhone=+4930123456"
    deploy = f'AWS_REGION={checkout.region} make deploy PARAMETERS="Page=on {addresses}"'
    assert checkout.without_terminal(f"env -u AWS_DEFAULT_REGION {deploy}").code == 0
    outputs, before = checkout.outputs("popwatch"), checkout.things()
    refused = checkout.enter(command)  # Enter alone means no
    assert checkout.things() == before
    assert "Are you sure you want to delete the stack popwatch" in refused.text
    removed = checkout.without_terminal(f"yes | env -u AWS_DEFAULT_REGION {command}")
    assert removed.code == 0
    assert "Deleted successfully" in removed.text
    left = checkout.things()
    assert left.pop("tables") == [outputs["TargetsTable"]]
    assert {kind: names for kind, names in left.items() if names} == {}


def test_names_that_are_taken(checkout: Checkout) -> None:
    """A stack of something else is not touched; of a failed first deployment it is said what to do.

    Two schedules cannot have one name, as in Scheduler: so the local AWS rolls the first deployment of this stack back.
    """
    cloudformation = checkout.client("cloudformation")
    target = {"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "RoleArn": "arn:aws:iam::000000000000:role/r"}
    properties = {"Name": "same", "ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": {"Mode": "OFF"}}
    schedule = {"Type": "AWS::Scheduler::Schedule", "Properties": {**properties, "Target": target}}
    for name, resources in (("other", {"One": schedule}), ("failed", {"Two": schedule})):
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": resources}))
    with contextlib.suppress(WaiterError):
        cloudformation.get_waiter("stack_create_complete").wait(StackName="failed", WaiterConfig={"Delay": 1})
    assert checkout.schedules() == ["same"]
    assert checkout.stack("failed")["StackStatus"] == "ROLLBACK_COMPLETE"
    deploy = f"{sys.executable} -m popwatch_cli.deploying --stack"
    other, failed = (checkout.without_terminal(f"{deploy} {name}") for name in ("other", "failed"))
    assert (other.code, failed.code) == (1, 1)
    assert "other is not a popwatch stack" in other.text
    assert "aws cloudformation delete-stack --stack-name failed --region us-east-1" in failed.text


def test_who_receives_nothing(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic without subscriptions, one with, and one that cannot be asked about."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", checkout.aws.endpoint)
    topics = {name: {"Type": "AWS::SNS::Topic"} for name in ("AlertTopic", "OperatorTopic")}
    outputs = {f"{name}Arn": {"Value": {"Ref": name}} for name in topics} | {"TargetsTable": {"Value": "Targets"}}
    cloudformation, sns = checkout.client("cloudformation"), checkout.client("sns")
    template = json.dumps({"Resources": topics, "Outputs": outputs})
    cloudformation.create_stack(StackName="popwatch", TemplateBody=template)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="popwatch", WaiterConfig={"Delay": 1})
    assert [line.split(".")[0] for line in receivers("popwatch", REGION)] == [
        "NO ONE RECEIVES ALERTS",
        "NO ONE RECEIVES ALARMS ABOUT POPWATCH ITSELF",
    ]
    found = checkout.outputs("popwatch")
    given = {"AlertPhone": {"Type": "String", "Default": "+4930123456"}}  # whose subscription has ended
    cloudformation.update_stack(
        StackName="popwatch",
        TemplateBody=json.dumps({"Parameters": given, "Resources": topics, "Outputs": outputs}),
    )
    cloudformation.get_waiter("stack_update_complete").wait(StackName="popwatch", WaiterConfig={"Delay": 1})
    ended, _ = receivers("popwatch", REGION)
    assert ended.startswith("NO ONE RECEIVES ALERTS: the subscription of AlertPhone has ended")
    assert f"--topic-arn {found['AlertTopicArn']} --protocol sms --notification-endpoint +4930123456" in ended
    sns.subscribe(TopicArn=found["AlertTopicArn"], Protocol="email", Endpoint="a@example.net")
    sns.delete_topic(TopicArn=found["OperatorTopicArn"])
    *_, unknown = receivers("popwatch", REGION)
    assert unknown.startswith("Who receives alarms about popwatch itself is not known: ")
    assert not any("NO ONE" in line for line in receivers("popwatch", REGION))


def test_over_an_earlier_version_with_a_page(checkout: Checkout) -> None:
    """Nothing is asked, the page and its address stay, phones are named first, and the schedule is replaced."""
    shutil.rmtree(checkout.folder)
    checkout.folder.mkdir()
    unpack(checkout.folder, "template.yaml", "samconfig.toml", "functions", "layers", version=FLAT_VERSION)
    old = checkout.without_terminal(
        "sam build && sam deploy --no-confirm-changeset --parameter-overrides "
        "AlertEmail=a@example.net AlertPhone=+4930123456 ReportPassword=correct-horse-battery"
    )
    assert old.code == 0
    before, named = checkout.outputs("popwatch"), checkout.schedules()
    assert named == ["CheckTargetsFunctionEachMinute"]
    sns = checkout.client("sns")
    sns.subscribe(TopicArn=before["AlertTopicArn"], Protocol="sms", Endpoint="+4915550100")
    (checkout.folder / "samconfig.toml").unlink()
    check_out(checkout.folder)
    new = checkout.enter("make deploy")
    assert new.code == 0
    assert new.questions == ("Enter to go on, Ctrl-C to stop:",)
    assert "    +4915550100\n" in new.text
    assert "+4930123456\n" not in new.text
    assert checkout.receivers("OperatorTopicArn") == ["a@example.net"]
    assert checkout.parameters("popwatch")["Page"] == "on"
    assert checkout.parameters("popwatch")["AlertEmail"] == "a@example.net"
    after = checkout.outputs("popwatch")
    assert {name: after[name] for name in before} == before
    [name] = checkout.schedules()
    assert name != named[0]
    now = checkout.parameters("popwatch")
    asked = checkout.enter("make deploy ASK=1")
    assert asked.code == 0
    assert {"Parameter AlertEmail [a@example.net]:", "Parameter Page [on]:"} < set(asked.questions)
    assert checkout.parameters("popwatch") == now
