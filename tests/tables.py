"""The three tables as template.yaml defines them, made in whatever DynamoDB a test uses."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
NAMES = ("Targets", "Status", "History")
"""Their names in tests; the template names them `TargetsTable` and so on."""


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's functions (`!Ref`) as nothing."""


_Loader.add_multi_constructor("!", lambda *_: None)


@cache
def read_template() -> Any:
    """template.yaml, without CloudFormation's functions; it is read once, so leave it as it is."""
    return yaml.load(TEMPLATE.read_text("utf-8"), _Loader)


@cache
def definition(name: str) -> dict[str, Any]:
    """What CreateTable needs to know of a table beside its name."""
    resources = read_template()["Resources"]
    properties = resources[f"{name}Table"]["Properties"]
    return {key: properties[key] for key in ("BillingMode", "AttributeDefinitions", "KeySchema")}


def keys_of(name: str) -> list[str]:
    """The attributes of a table's key, the partition key first."""
    return [key["AttributeName"] for key in definition(name)["KeySchema"]]


def create_tables(dynamodb: Any, names: Iterable[str] = NAMES) -> None:
    """Make tables by a client."""
    for name in names:
        dynamodb.create_table(TableName=name, **definition(name))


def delete_tables(dynamodb: Any, names: Iterable[str] = NAMES) -> None:
    """Delete them again, where they are not gone with a test's own DynamoDB."""
    for name in names:
        dynamodb.delete_table(TableName=name)
