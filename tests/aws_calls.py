"""The calls to AWS in popwatch's code, found by its syntax: service, operation, module, named parameters."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore import xform_name

PROJECT = Path(__file__).parents[1]
SOURCES = ("functions", "layers/popwatch/popwatch", "cli/popwatch_cli")
SERVICES = (
    "cloudformation", "cloudwatch", "dynamodb", "lambda", "logs", "scheduler", "secretsmanager", "sns", "sqs", "ssm",
    "sts",
)  # fmt: skip
"""Services that are looked for; a client of any other service is an error of the test."""

OF_CLICK = {"list_commands"}
"""Methods of click's groups that a service of AWS has, too."""

THROUGH_POWERTOOLS = {"SecretsProvider": ("secretsmanager", "GetSecretValue")}
"""Classes of Powertools that call AWS, and their calls."""


@dataclass(frozen=True, slots=True)
class AwsCall:
    """One place in the code at which AWS is called."""

    service: str
    operation: str
    module: str
    line: int
    parameters: frozenset[str] = frozenset()


@cache
def model_of(service: str) -> Any:
    """botocore's model of a service, the same that AWS's API reference is made from."""
    return botocore.session.get_session().get_service_model(service)


@cache
def methods() -> dict[str, dict[str, str]]:
    """boto3's method name -> service -> operation."""
    found: dict[str, dict[str, str]] = {}
    for service in SERVICES:
        for operation in model_of(service).operation_names:
            found.setdefault(xform_name(operation), {})[service] = operation
    return found


@cache
def calls() -> tuple[AwsCall, ...]:
    """All calls of the layer, the functions and the command."""
    files = [path for folder in SOURCES for path in sorted((PROJECT / folder).rglob("*.py"))]
    return tuple(call for path in files for call in calls_in(path.read_text("utf-8"), _module(path)))


@cache
def clients() -> frozenset[str]:
    """The services of which the code makes clients."""
    files = [path for folder in SOURCES for path in sorted((PROJECT / folder).rglob("*.py"))]
    trees = (ast.parse(path.read_text("utf-8")) for path in files)
    return frozenset(service for tree in trees for node in ast.walk(tree) if (service := _made_client(node)))


def calls_in(source: str, module: str) -> Iterator[AwsCall]:
    """The calls of a module's source."""
    tree = ast.parse(source)
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in THROUGH_POWERTOOLS:
            yield AwsCall(*THROUGH_POWERTOOLS[node.id], module, node.lineno)
        if not isinstance(node, ast.Attribute):
            continue
        parent = parents[node]
        if node.attr == "get_paginator" and isinstance(parent, ast.Call):
            name, called = ast.literal_eval(parent.args[0]), parents[parents[parent]]
        else:
            name, called = node.attr, parent
        service = _service_of(node.value, name)
        if service:
            keywords = {word.arg for word in called.keywords if word.arg} if isinstance(called, ast.Call) else set()
            yield AwsCall(service, methods()[name][service], module, node.lineno, frozenset(keywords))


def _service_of(receiver: ast.expr, method: str) -> str | None:
    """The service whose client a method is called on; None if it is not a method of AWS."""
    services = methods().get(method, {})
    known = _made_client(receiver) or _named_client(receiver)
    if known:
        return known if known in services else None
    # `get_item` can only be DynamoDB's, whatever its client is called; `publish` may be a method of ours.
    return next(iter(services)) if len(services) == 1 and "_" in method and method not in OF_CLICK else None


def _made_client(node: ast.AST) -> str | None:
    """The service of a client that an expression makes: `installation.client("sqs")`."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return str(node.args[0].value) if name in ("client", "local_client") else None


def _named_client(node: ast.AST) -> str | None:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.strip("_") if name.strip("_") in SERVICES else None


def _module(path: Path) -> str:
    return (
        path.relative_to(PROJECT).as_posix().removeprefix("layers/popwatch/popwatch/").removeprefix("cli/popwatch_cli/")
    )
