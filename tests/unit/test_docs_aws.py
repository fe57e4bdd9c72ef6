"""docs/aws.md lists every call to AWS of the code, and names nothing that does not exist.

With POPWATCH_REWRITE_DOCS=1 in the environment the table of calls is rewritten, but for the limits of each.
"""

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.aws_calls import PROJECT, SERVICES, AwsCall, calls, calls_in, clients, model_of

PAGE = PROJECT / "docs" / "aws.md"
TEXT = PAGE.read_text("utf-8")
HEAD = "| call | where | read against | limits |\n|---|---|---|---|\n"
REFERENCES = {
    "cloudformation": "AWSCloudFormation/latest/APIReference",
    "cloudwatch": "AmazonCloudWatch/latest/APIReference",
    "dynamodb": "amazondynamodb/latest/APIReference",
    "lambda": "lambda/latest/api",
    "logs": "AmazonCloudWatchLogs/latest/APIReference",
    "scheduler": "scheduler/latest/APIReference",
    "secretsmanager": "secretsmanager/latest/apireference",
    "sns": "sns/latest/api",
    "sqs": "AWSSimpleQueueService/latest/APIReference",
    "ssm": "systems-manager/latest/APIReference",
}
"""Where AWS's API reference of each service is, under docs.aws.amazon.com."""

FOLDERS = (PROJECT, PROJECT / "layers" / "popwatch" / "popwatch", PROJECT / "cli" / "popwatch_cli")


def listed() -> dict[str, tuple[str, str, str]]:
    """The rows of the table of calls."""
    rows = re.findall(r"^\| `(\w+:\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", TEXT.partition(HEAD)[2], re.M)
    return {call: (where, document, limits) for call, where, document, limits in rows}


def found() -> dict[str, tuple[str, str]]:
    """The same of the code, without the limits."""
    modules: dict[tuple[str, str], set[str]] = defaultdict(set)
    for call in calls():
        modules[call.service, call.operation].add(call.module)
    return {
        f"{service}:{operation}": (
            ", ".join(f"`{name}`" for name in sorted(names)),
            f"[{operation}](https://docs.aws.amazon.com/{REFERENCES[service]}/API_{operation}.html)",
        )
        for (service, operation), names in sorted(modules.items())
    }


def test_every_call_is_listed_with_its_document() -> None:
    """Call, modules and document are those of the code, and each row says what limits it."""
    before, head, _ = TEXT.partition(HEAD)
    assert head
    if os.environ.get("POPWATCH_REWRITE_DOCS"):
        kept = {call: limits for call, (_, _, limits) in listed().items()}
        rows = (f"| `{call}` | {where} | {link} | {kept.get(call, '')} |\n" for call, (where, link) in found().items())
        PAGE.write_text(before + head + "".join(rows), "utf-8")
        return
    assert {call: row[:2] for call, row in listed().items()} == found()
    assert [call for call, (_, _, limits) in listed().items() if not limits.strip()] == []


def test_parameters_are_those_of_botocores_models() -> None:
    """Each parameter that a call names is one of the operation's."""
    wrong = [
        (call.module, call.line, name)
        for call in calls()
        for name in call.parameters - {"PaginationConfig"}
        if name not in model_of(call.service).operation_model(call.operation).input_shape.members
    ]
    assert wrong == []


def test_every_client_is_of_a_service_that_is_looked_for() -> None:
    """A client of another service must be added to the search."""
    assert clients() <= set(SERVICES)
    assert {call.service for call in calls()} == clients()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("self._sqs.send_message(QueueUrl=url)", ("sqs", "SendMessage", {"QueueUrl"})),
        ("installation.client('sns').publish(Message='x')", ("sns", "Publish", {"Message"})),
        ("ask = self.client('lambda').get_account_settings", ("lambda", "GetAccountSettings", set())),
        ("self._dynamodb.get_paginator('scan').paginate(TableName=t)", ("dynamodb", "Scan", {"TableName"})),
        ("whatever.put_metric_alarm(**options)", ("cloudwatch", "PutMetricAlarm", set())),
        ("SecretsProvider(boto3_client=client)", ("secretsmanager", "GetSecretValue", set())),
    ],
)
def test_calls_are_found(source: str, expected: tuple[str, str, set[str]]) -> None:
    """The search itself: in each form in which the code calls AWS."""
    service, operation, parameters = expected
    assert list(calls_in(source, "m.py")) == [AwsCall(service, operation, "m.py", 1, frozenset(parameters))]


def test_methods_of_our_own_are_not_calls() -> None:
    """`publish` of a topic of ours is not SNS's."""
    assert list(calls_in("topic.publish(message); store.scan(); table.put(item)", "m.py")) == []


def test_files_that_the_page_names_exist() -> None:
    """Modules are in the layer or the command, or at a path from the top; so are tests."""
    named = set(re.findall(r"`((?:[\w.]+/)*\w+\.(?:py|yaml))`", TEXT))
    assert named
    assert [name for name in sorted(named) if not any((folder / name).exists() for folder in FOLDERS)] == []


def test_documents_are_awss_own() -> None:
    """Each row of a behaviour has an address of AWS's documentation, or the one above it."""
    rows = [line for line in TEXT.partition("## Not documented")[0].splitlines() if line.startswith("| ")]
    documents = [line.split(" | ")[2] for line in rows if not line.startswith("| behaviour")]
    assert len(documents) > 20
    assert [one for one in documents if "https://docs.aws.amazon.com/" not in one and one != "the same"] == []


def test_the_page_is_in_the_site() -> None:
    """It can be found from the start."""
    assert "aws.md" in (PROJECT / "mkdocs.yml").read_text("utf-8")
    assert "aws.md" in Path(PROJECT / "docs" / "index.md").read_text("utf-8")
