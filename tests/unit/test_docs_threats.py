"""docs/threats.md lists every permission of template.yaml, and nothing that is not there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]


class Template(yaml.SafeLoader):
    """CloudFormation's YAML: its short functions as maps, `!Ref X` as X."""


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
    """Resource and name of the statement, its actions, what it is on."""
    template = yaml.load((PROJECT / "template.yaml").read_text("utf-8"), Template)
    found = set()
    for name, resource in template["Resources"].items():
        for place, statement in statements(resource, name):
            title = f"{place}.{statement.get('Sid', 'AssumeRole')}"
            on = [text.removesuffix(".Arn").removesuffix(".Id") for text in texts(statement.get("Resource"))]
            found.add((title, ", ".join(texts(statement["Action"])), ", ".join(on) or "itself"))
        if "ManagedPolicyArns" in resource.get("Properties", {}):
            found.add((f"{name}.ManagedPolicyArns", "AWSLambdaVPCAccessExecutionRole", "network interfaces"))
    return found


def test_threats_lists_every_permission() -> None:
    """A permission that is added, widened or taken away has to be justified anew."""
    rows = re.findall(
        r"^\| `([\w.]+)` \| (.+?) \| (.+?) \| .+ \|$", (PROJECT / "docs" / "threats.md").read_text("utf-8"), re.M
    )
    listed = {(title, actions.replace("`", ""), on.replace("`", "")) for title, actions, on in rows}
    assert listed == permissions()


def test_nothing_is_on_everything() -> None:
    """But tracing, which has no resources."""
    assert [title for title, _, on in permissions() if on == "*"] == ["CheckTargetsRole.Trace"]
    assert not [title for title, actions, _ in permissions() if "*" in actions]
