"""template.yaml deployed over a stack of the first version: nothing that holds data is removed or replaced.

The properties whose change replaces a resource are read from AWS's own schemas, which are part of cfn-lint.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.older_versions import PROJECT, unpack

HOLDS_DATA = {
    "AWS::DynamoDB::Table",
    "AWS::Logs::LogGroup",
    "AWS::SNS::Subscription",  # a new one has to be confirmed again
    "AWS::SNS::Topic",  # its subscribers
    "AWS::SQS::Queue",
}

ALSO_REPLACE = {"AWS::DynamoDB::Table": {"AttributeDefinitions", "LocalSecondaryIndexes"}}
"""What AWS's schemas leave out: editing an entry of these replaces the table (AWS: aws-resource-dynamodb-table)."""

REMOVED = {
    "OldestBatchAlarm": "tests that are not made fire UntestedAlarm or NoSweepAlarm, whatever the reason",
    "ThrottlesAlarm": "the same",
}
"""Resources of the first version that this one no longer has, each with the reason."""

BEHAVIOUR = ("Condition", "DeletionPolicy", "UpdateReplacePolicy")

Template = Mapping[str, Any]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The template of the first version."""
    folder = tmp_path_factory.mktemp("first")
    unpack(folder, "template.yaml")
    return read(folder / "template.yaml")


@pytest.fixture(scope="module")
def this() -> Template:
    """The template of this version."""
    return read(PROJECT / "template.yaml")


def read(path: Path) -> Template:
    """A template with the short forms of CloudFormation's functions expanded."""
    template: Template = decode(str(path))[0]
    return template


def losses(old: Template, new: Template) -> set[str]:
    """What an update from one template to the other would remove or replace, and how."""
    return {
        f"{name}: {how}"
        for name, resource in old["Resources"].items()
        if resource["Type"] in HOLDS_DATA
        for how in changes(resource, new["Resources"].get(name))
    }


def changes(old: Template, new: Template | None) -> set[str]:
    """The changes of a resource that an update must not make, as it holds data."""
    if new is None:
        return {"removed"}
    if new["Type"] != old["Type"]:
        return {"Type"}
    properties = {name for name in replacing(old["Type"]) if differs(old["Properties"], new["Properties"], name)}
    return properties | {name for name in BEHAVIOUR if differs(old, new, name)}


def differs(old: Template, new: Template, name: str) -> bool:
    return bool(old.get(name) != new.get(name))


def replacing(kind: str) -> set[str]:
    """The properties of a kind of resource whose change makes CloudFormation replace it."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    paths = [*schema.get("createOnlyProperties", ()), *schema.get("conditionalCreateOnlyProperties", ())]
    return {path.split("/")[2] for path in paths} | ALSO_REPLACE.get(kind, set())


def test_nothing_that_holds_data_is_lost(first: Template, this: Template) -> None:
    """Tables, topics, subscriptions, queues and logs are kept; the phone's subscription moves to the SMS topic.

    CloudFormation makes the new one first, and removes the old one when the function publishes to both topics.
    """
    kinds = {resource["Type"] for resource in first["Resources"].values()}
    assert kinds >= HOLDS_DATA
    assert losses(first, this) == {"AlertPhoneSubscription: TopicArn"}


def test_nothing_is_removed_without_a_reason(first: Template, this: Template) -> None:
    """Every other resource stays too, or is listed."""
    assert first["Resources"].keys() - this["Resources"].keys() == REMOVED.keys()


def test_parameters_and_outputs_stay(first: Template, this: Template) -> None:
    """Parameters are unchanged but for their descriptions, new ones have defaults, and outputs have the same values."""
    for name, old in first["Parameters"].items():
        assert {**this["Parameters"][name], "Description": ""} == {**old, "Description": ""}
    assert all("Default" in found for found in this["Parameters"].values())
    assert {name: found["Value"] for name, found in first["Outputs"].items()}.items() <= {
        name: found["Value"] for name, found in this["Outputs"].items()
    }.items()


def _rename(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda resources: resources.update({f"{name}2": resources.pop(name)})


def _set(name: str, field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda resources: resources[name]["Properties"].update({field: value})


def _delete_with_stack(resources: dict[str, Any]) -> None:
    resources["TargetsTable"]["DeletionPolicy"] = "Delete"


@pytest.mark.parametrize(
    ("change", "loss"),
    [
        (_rename("StatusTable"), "StatusTable: removed"),
        (_set("HistoryTable", "KeySchema", [{"AttributeName": "pk", "KeyType": "HASH"}]), "HistoryTable: KeySchema"),
        (_set("TargetsTable", "TableName", "targets"), "TargetsTable: TableName"),
        (_set("AlertTopic", "FifoTopic", True), "AlertTopic: FifoTopic"),
        (_set("BatchQueue", "QueueName", "batches"), "BatchQueue: QueueName"),
        (_set("AlertEmailSubscription", "Protocol", "email-json"), "AlertEmailSubscription: Protocol"),
        (_delete_with_stack, "TargetsTable: DeletionPolicy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_loss_is_seen(this: Template, change: Callable[[dict[str, Any]], object], loss: str) -> None:
    """Each change that would lose data is found."""
    changed = deepcopy(dict(this))
    change(changed["Resources"])
    assert losses(this, changed) == {loss}
