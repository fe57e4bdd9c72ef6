"""Two stacks in one account and region: no resource has a name that the other stack's has too.

SAM's own translator makes the resources, and AWS's schemas, which are part of cfn-lint, say what identifies each.
"""

from pathlib import Path

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.older_versions import FLAT_VERSION, PROJECT, unpack
from tests.translated import Resources, translated


def same_in_each_stack(resources: Resources) -> set[str]:
    """The resources whose identifying properties are all texts of the template."""
    return {name for name, resource in resources.items() if _is_named(resource["Type"], resource.get("Properties", {}))}


def _is_named(kind: str, properties: Resources) -> bool:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    identifiers = [path.split("/")[2] for path in schema["primaryIdentifier"]]
    return all(isinstance(properties.get(name), str) for name in identifiers)


def test_names_differ_between_stacks() -> None:
    """CloudFormation names what the template does not, or a name has the stack's in it."""
    resources = translated(PROJECT / "template.yaml")
    assert "AWS::Scheduler::Schedule" in {resource["Type"] for resource in resources.values()}
    assert same_in_each_stack(resources) == set()


def test_a_name_that_collides_is_found(tmp_path: Path) -> None:
    """SAM named the schedule of earlier versions after its logical id."""
    unpack(tmp_path, "template.yaml", version=FLAT_VERSION)
    assert same_in_each_stack(translated(tmp_path / "template.yaml")) == {"CheckTargetsFunctionEachMinute"}


@pytest.mark.parametrize(("name", "collides"), [("popwatch", True), ({"Fn::Sub": "${AWS::StackName}-x"}, False)])
def test_a_name_of_our_own(name: object, collides: bool) -> None:
    """A fixed name collides, one with the stack's name does not."""
    queue = {"Type": "AWS::DynamoDB::Table", "Properties": {"TableName": name}}
    assert same_in_each_stack({"Table": queue}) == ({"Table"} if collides else set())
