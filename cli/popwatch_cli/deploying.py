"""`make deploy`: AWS's SAM CLI with the answers of earlier times, so that no question is asked twice.

Each stack's answers are in a configuration file of SAM, `.popwatch/STACK.toml`. SAM asks its questions the first time
and writes the answers to that file (docs: serverless-sam-cli-config); later it deploys by the file. A parameter that
the file does not have keeps the value of the stack, or gets its default.

Without a terminal nothing is asked: parameters come from the file, from the environment variable PARAMETERS
(`Name=value ...`), from the stack, or from their defaults.
"""

import os
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import boto3
import tomlkit
from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from popwatch_cli.errors import UserError, user_message
from popwatch_cli.installation import Installation
from popwatch_cli.options import STACK_NAME, StackChoice, choose, chosen
from popwatch_cli.output.terminal import repeat_options
from popwatch_cli.phones import phones_on_alert_topic
from popwatch_cli.subscriptions import list_subscriptions

TEMPLATE = Path("template.yaml")

FOLDER = Path(".popwatch")

OLD_ANSWERS = Path("samconfig.toml")
"""Where earlier versions, and `sam deploy --guided` by itself, keep the answers."""

NEEDED = {"capabilities": "CAPABILITY_IAM", "resolve_s3": True, "fail_on_empty_changeset": False}
"""Options of `sam deploy` that this template needs; a second deployment of the same thing is not a failure."""

HIDDEN = "****"
"""CloudFormation's answer for a parameter with NoEcho."""

_NOT_YET_CREATED = ("REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_FAILED", "ROLLBACK_IN_PROGRESS")
"""States of a stack that has never been complete; SAM says what can be done about it."""

_STACK = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")
"""AWS: CreateStack, StackName."""


@dataclass(slots=True)
class Answers:
    """The answers for a stack: options of `sam deploy`, and the parameters of the template among them."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, stack: str) -> Self:
        """The answers for a stack: its own file, or what an earlier version left for it. Raises UserError."""
        path = FOLDER / f"{stack}.toml"
        options = _options_in(path)
        if not options:
            old = _options_in(OLD_ANSWERS)
            if old.get("stack_name") == stack and "parameter_overrides" in old:
                # Earlier versions set `confirm_changeset` for everyone; Enter at its question deploys nothing.
                options = {name: value for name, value in old.items() if name != "confirm_changeset"}
                print(f"The answers in {OLD_ANSWERS} are kept in {path} from now on.")
        return cls(path, options)

    @property
    def parameters(self) -> dict[str, str]:
        """The values of the template's parameters, as far as they were answered."""
        return parse_parameters(self.options.get("parameter_overrides", ""))

    @property
    def are_complete(self) -> bool:
        """Whether the questions about parameters have been answered."""
        return "parameter_overrides" in self.options

    def write(self, stack: str, region: str, parameters: Mapping[str, str]) -> None:
        """Keep the answers, with these parameters."""
        own_bucket = {"resolve_s3": False} if "s3_bucket" in self.options else {}
        options = NEEDED | own_bucket | {"s3_prefix": stack} | self.options | {"stack_name": stack, "region": region}
        if parameters != self.parameters:
            options["parameter_overrides"] = " ".join(_written(*pair) for pair in parameters.items())
        if options == _options_in(self.path):
            return  # the user's own comments stay
        document = {"version": 0.1, "default": {"deploy": {"parameters": options}}}
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(tomlkit.dumps(document))

    @property
    def text(self) -> str | None:
        """The file as it is, if there is one."""
        return self.path.read_text() if self.path.exists() else None

    def put_back(self, text: str | None) -> None:
        """Make the file what it was."""
        if text is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_text(text)

    def follow_name(self, stack: str) -> tuple[str, str]:
        """The stack's name and region as SAM has kept them; answers that name another stack get its name."""
        options = _options_in(self.path)
        name, region = options["stack_name"], options["region"]
        if name != stack:
            self.path = self.path.replace(self.path.with_name(f"{name}.toml"))
            print(f"The answers are kept in {self.path}. Next time: `make deploy STACK={name}`.")
        return name, region


def _options_in(path: Path) -> dict[str, Any]:
    """The options of `sam deploy` in a configuration file, or none without the file. Raises UserError."""
    try:
        default = tomlkit.parse(path.read_text()).unwrap().get("default", {})
        parts = [default.get(command, {}).get("parameters", {}) for command in ("global", "deploy")]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} cannot be read: {error}. Correct it or delete it; then deploy again.") from None
    return {name: value for part in parts for name, value in part.items()}


def parse_parameters(written: object) -> dict[str, str]:
    """Parameters as SAM writes them: `Name="value" Name=value`, a list of such texts, or a table. Raises UserError."""
    if isinstance(written, Mapping):
        return {str(name): str(value) for name, value in written.items()}
    text = " ".join(written) if isinstance(written, list) else str(written)
    try:
        pairs = [part.partition("=") for part in shlex.split(text)]
    except ValueError:
        pairs = [("", "", "")]
    if not all(name and equals for name, equals, _ in pairs):
        raise UserError(f"{text} cannot be read as parameters: write Name=value Name=value, with quotes around blanks.")
    return {name: value for name, _, value in pairs}


def _written(name: str, value: str) -> str:
    escaped = value.replace('"', '\\"')
    return f'{name}="{escaped}"'


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack that exists: its parameters, without the hidden ones, and the stack as a command sees it."""

    installation: Installation
    parameters: Mapping[str, str]
    had_password: bool

    @classmethod
    def find(cls, stack: str, region: str) -> Self | None:
        """The stack of this name; None if there is none that was ever complete. Raises UserError."""
        client = boto3.client("cloudformation", region_name=region)
        try:
            found = client.describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            return None
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", ())}
        if found["StackStatus"] == "ROLLBACK_COMPLETE":
            # "When in this state, only a delete operation can be performed."
            # docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-describing-stacks.html
            raise UserError(
                f"The first deployment of {stack} failed, and CloudFormation allows only to delete what is left of it; "
                f"its events say why. Then deploy again: aws cloudformation delete-stack --stack-name {stack} "
                f"--region {region}"
            )
        if found["StackStatus"] in _NOT_YET_CREATED:
            return None
        if "TargetsTable" not in outputs:
            raise UserError(
                f"{stack} is not a popwatch stack: it has no output TargetsTable. Choose another STACK=name."
            )
        values = {each["ParameterKey"]: each.get("ParameterValue", "") for each in found.get("Parameters", ())}
        return cls(
            Installation(stack, outputs, region=region),
            {name: value for name, value in values.items() if value != HIDDEN},
            had_password="ReportPassword" in values and "ReportUrl" in outputs,
        )

    @property
    def carried_over(self) -> dict[str, str]:
        """Parameters that say for this version what others said for an earlier one: a page that is there stays."""
        return {"Page": "on"} if self.had_password and "Page" not in self.parameters else {}


def main() -> int:
    """Deploy; returns the exit code."""
    parser = ArgumentParser(prog="make deploy", description="Deploy popwatch to your AWS account.")
    parser.add_argument("--stack", default=STACK_NAME, help="the stack's name")
    parser.add_argument("--ask", action="store_true", help="ask all questions again, with the present values")
    options = parser.parse_args()
    try:
        return deploy(options.stack, ask=options.ask)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        print(message, file=sys.stderr)
        return 1


def deploy(stack: str, *, ask: bool) -> int:
    """Deploy a stack, asking what has not been answered if there is a terminal; the exit code. Raises UserError."""
    if not _STACK.fullmatch(stack):
        raise UserError(f"{stack} is not a name for a stack: it takes letters, digits and hyphens, a letter first.")
    terminal = sys.stdin.isatty()
    answers = Answers.read(stack)
    if profile := answers.options.get("profile", ""):
        os.environ["AWS_PROFILE"] = profile
    region = answers.options.get("region") or _usual_region(terminal=terminal)
    choose_stack(stack, region, profile)
    there = Deployed.find(stack, region)
    known, given = _known_parameters(), parse_parameters(os.environ.get("PARAMETERS", ""))
    if unknown := sorted(given.keys() - known):
        raise UserError(f"There is no parameter {unknown[0]}: docs/deploying.md lists all.")
    if there:
        _name_phones(there.installation, terminal=terminal)
    guided = terminal and (ask or not (answers.are_complete or there))
    present = dict(there.parameters) if there and guided else {}
    parameters = answers.parameters | present | (there.carried_over if there else {}) | given
    before = answers.text
    answers.write(stack, region, {name: value for name, value in parameters.items() if name in known})
    _explain(answers, there, guided=guided)
    code, written = 1, answers.text
    try:
        code = _sam(answers, guided=guided, terminal=terminal)
    finally:
        if code and answers.text == written:  # what could not be deployed is not an answer, unless SAM asked for it
            answers.put_back(before)
    deployed = answers.follow_name(stack) if answers.text else (stack, region)
    choose_stack(*deployed, profile)
    if code:
        print(with_stack("To change an answer: `make deploy ASK=1`."), file=sys.stderr)
        return code
    for line in (*receivers(*deployed), *_environment(*deployed)):
        print(with_stack(line))
    hint = "To see that it works, within 20 minutes: `popwatch verify`. docs/verifying.md says what it does."
    print(with_stack(hint))
    return 0


def choose_stack(stack: str, region: str, profile: str) -> None:
    """Let commands in texts name this stack, with what the user's shell does not say itself."""
    choose(StackChoice(stack, region=None if region == _region_of_shell() else region, profile=profile or None))


def with_stack(text: str) -> str:
    """The text, whose commands are for the stack that is deployed."""
    stack = chosen().stack
    named = text.replace("`make deploy ", f"`make deploy STACK={stack} ") if stack != STACK_NAME else text
    return repeat_options(named)


def _region_of_shell() -> str | None:
    return os.environ.get("AWS_REGION", boto3.Session().region_name)


def _known_parameters() -> set[str]:
    return set(yaml_parse(TEMPLATE.read_text())["Parameters"])


def _usual_region(*, terminal: bool) -> str:
    """The region of the environment; SAM's own default if it will be asked about. Raises UserError."""
    found = os.environ.get("AWS_REGION") or boto3.Session().region_name
    if found:
        return found
    if terminal:
        return "us-east-1"
    raise UserError("There is no region to deploy to: choose one with AWS_REGION, such as AWS_REGION=eu-central-1.")


def _name_phones(installation: Installation, *, terminal: bool) -> None:
    """Name phones that someone subscribed to the alert topic, whose texts are not made for SMS."""
    try:
        topic = installation.outputs["AlertTopicArn"]
        phones = phones_on_alert_topic(installation.client("sns"), topic, installation.read_resources())
    except ClientError as error:
        print(f"Whether phones are subscribed to the alert topic by hand is not known: {error}")
        return
    if not phones:
        return
    text = (
        "These phones are subscribed to the alert topic by hand. Its texts are those of emails: each alert takes "
        "several SMS, each of which costs money.\n"
        + "".join(f"    {phone.number}\n" for phone in phones)
        + "After this deployment, `popwatch doctor --move-phones` moves them, with their filter policies, to the topic "
        "for phones."
    )
    print(with_stack(text))
    if terminal:
        input("Enter to go on, Ctrl-C to stop: ")


def _explain(answers: Answers, there: Deployed | None, *, guided: bool) -> None:
    if there and there.carried_over:
        text = "This stack has a page. It stays, at its address, with another password: `popwatch page --password`."
        print(with_stack(text))
    if guided:
        print(f"Enter at a question takes the answer in brackets. The answers are kept in {answers.path}.")
    else:
        text = f"Nothing is asked: see {answers.path}. `make deploy ASK=1` asks again, with the present values."
        print(with_stack(text))


def _sam(answers: Answers, *, guided: bool, terminal: bool) -> int:
    """Run `sam deploy` by the answers; its exit code."""
    command = [str(Path(sys.executable).parent / "sam"), "deploy", "--config-file", str(answers.path)]
    if guided:
        command.append("--guided")
    elif not terminal:
        command.append("--no-confirm-changeset")
    sys.stdout.flush()
    return subprocess.run(command, check=False).returncode  # noqa: S603 - SAM of this environment, our own options


def receivers(stack: str, region: str) -> Iterator[str]:
    """Sentences on alerts and alarms to which no one, or no one who has confirmed it, is subscribed."""
    there = Deployed.find(stack, region)
    if there is None:
        return
    sns = there.installation.client("sns")
    for what, topics, names in (
        ("alerts", there.installation.alert_topic_arns, "AlertEmail or AlertPhone"),
        (
            "alarms about popwatch itself",
            [there.installation.outputs["OperatorTopicArn"]],
            "OperatorEmail or AlertEmail",
        ),
    ):
        try:
            found = [each for topic in topics for each in list_subscriptions(sns, topic)]
        except ClientError as error:
            yield f"Who receives {what} is not known: {error}"
            continue
        for each in found:
            if each["SubscriptionArn"] == "PendingConfirmation":
                yield f"{each['Endpoint']} receives {what} once the link in AWS's message to it has been followed."
        set_already = [name for name in names.split(" or ") if there.parameters.get(name)]
        if not found and set_already:
            # CloudFormation does not notice that a subscription has ended, and cannot renew one of an email address:
            # github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/2455
            name = set_already[0]
            by, to = ("sms", topics[-1]) if name == "AlertPhone" else ("email", topics[0])
            yield (
                f"NO ONE RECEIVES {what.upper()}: the subscription of {name} has ended, by a link in an email or "
                f"unconfirmed after two days. A deployment does not renew it. `aws sns subscribe --region {region} "
                f"--topic-arn {to} --protocol {by} --notification-endpoint {there.parameters[name]}` does."
            )
        elif not found:
            yield (
                f"NO ONE RECEIVES {what.upper()}. Set {names}, "
                f"`make deploy PARAMETERS={names.split()[0]}=you@example.net`, or subscribe to {topics[0]} yourself."
            )


def _environment(stack: str, region: str) -> Iterator[str]:
    """What the commands need in their environment to find this stack."""
    needed = {"AWS_REGION": region} if _region_of_shell() != region else {}
    needed |= {"POPWATCH_STACK": stack} if stack != os.environ.get("POPWATCH_STACK", STACK_NAME) else {}
    if needed:
        settings = " ".join(f"{name}={value}" for name, value in needed.items())
        yield f"For the commands of this stack: export {settings}"


if __name__ == "__main__":
    sys.exit(main())
