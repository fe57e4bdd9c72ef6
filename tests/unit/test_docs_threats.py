"""docs/threats.md lists every permission of template.yaml, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]


class Template(yaml.SafeLoader):
    """CloudFormation's YAML: short functions become their arguments, `!Ref X` becomes X."""


def _function(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


Template.add_multi_constructor("!", _function)


def statements(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each IAM statement, with the resource that it is a part of."""
    if isinstance(value, dict):
        if "Effect" in value:
            yield place, value
        for found in value.values():
            yield from statements(found, place)
    elif isinstance(value, list):
        for found in value:
            yield from statements(found, place)


def texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def permissions() -> set[tuple[str, str, str]]:
    """Resource and name of the statement, its actions, its resources."""
    template = yaml.load((PROJECT / "template.yaml").read_text("utf-8"), Template)
    found = set()
    for name, resource in template["Resources"].items():
        for place, statement in statements(resource, name):
            title = f"{place}.{statement.get('Sid', 'AssumeRole')}"
            on = [text.removesuffix(".Arn").removesuffix(".Id") for text in texts(statement.get("Resource"))]
            found.add((title, ", ".join(texts(statement["Action"])), ", ".join(on) or "itself"))
        managed = [text for text in leaves(resource.get("Properties", {}).get("ManagedPolicyArns")) if "arn:" in text]
        if managed:
            names = ", ".join(arn.rpartition("/")[2] for arn in managed)
            found.add((f"{name}.ManagedPolicyArns", names, "network interfaces"))
    return found


def leaves(value: Any) -> Iterator[str]:
    """Every text within a value."""
    if isinstance(value, list):
        for found in value:
            yield from leaves(found)
    elif isinstance(value, str):
        yield value


def test_threats_lists_every_permission() -> None:
    """A permission that is added, widened or removed must be justified again."""
    rows = re.findall(
        r"^\| `([\w.]+)` \| (.+?) \| (.+?) \| .+ \|$", (PROJECT / "docs" / "threats.md").read_text("utf-8"), re.M
    )
    listed = {(title, actions.replace("`", ""), on.replace("`", "")) for title, actions, on in rows}
    assert listed == permissions()


def test_modules_exist() -> None:
    """Every module of the tables, and every name in one, is in the layer or in the command."""
    page = (PROJECT / "docs" / "threats.md").read_text("utf-8").partition("## A malicious POP3 server")[2]
    layer = PROJECT / "layers" / "popwatch" / "popwatch"
    named = re.findall(r"`((?:\w+/)+\w+)\.(\w+)`", page)
    assert named
    for path, name in named:
        source = ((PROJECT if path.startswith("cli/") else layer) / f"{path}.py").read_text("utf-8")
        assert name == "py" or re.search(rf"^ *def {name}\b|^{name} = ", source, re.MULTILINE), (path, name)


def test_nothing_is_on_everything() -> None:
    """Except tracing, which has no resource-level permissions."""
    assert [title for title, _, on in permissions() if on == "*"] == ["CheckTargetsRole.Trace"]
    assert not [title for title, actions, _ in permissions() if "*" in actions]


def test_conditions_are_those_that_threats_assumes() -> None:
    """Conditions: topics and schedules serve only this account."""
    template = yaml.load((PROJECT / "template.yaml").read_text("utf-8"), Template)
    found = {
        f"{place}.{statement.get('Sid', 'AssumeRole')}": statement["Condition"]
        for name, resource in template["Resources"].items()
        for place, statement in statements(resource, name)
        if "Condition" in statement
    }
    account = {"StringEquals": {"aws:SourceAccount": "AWS::AccountId"}}
    assert found == {
        "OperatorTopicPolicy.AlarmsPublish": account,
        "ScheduleRole.AssumeRole": account,
    }
