"""IAM's decision on each request of boto3: its action and its resources against the permissions of an identity.

What no statement allows is denied, as docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
says. Which actions have resources is AWS's own data, which cfn-lint brings with it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from botocore.exceptions import ClientError

ARN = "arn:aws:{}:us-east-1:123456789012:{}"
ANY = "*"
"""The resource of an action that has no narrower one."""

WITHOUT_ARN = {"cloudwatch:GetMetricData", "cloudwatch:ListMetrics"}
"""Their resource is a data set, which popwatch does not use."""


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """An action, and the resource on which it is allowed: an ARN, perhaps with wildcards, or `*`."""

    action: str
    resource: str


@dataclass(slots=True)
class Identity:
    """What an identity may do, what it has asked for, and what was refused."""

    allowed: Iterable[Permission]
    asked: set[Permission] = field(default_factory=set)
    refused: set[Permission] = field(default_factory=set)

    @property
    def needless(self) -> set[Permission]:
        """The permissions that nothing has asked for."""
        return {one for one in self.allowed if not any(_covers(one, request) for request in self.asked)}

    @contextmanager
    def watching(self, events: Any) -> Iterator[None]:
        """Decide on each request of a session or client, by its events, while the block runs."""
        events.register_first("before-parameter-build.*.*", self._decide)
        try:
            yield
        finally:
            events.unregister("before-parameter-build.*.*", self._decide)

    def _decide(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        for request in requests(model.service_model.service_name, model.name, params):
            self.asked.add(request)
            if not any(_covers(one, request) for one in self.allowed):
                self.refused.add(request)
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": f"{request}"}}, model.name)


def requests(service: str, operation: str, params: Mapping[str, Any]) -> Iterator[Permission]:
    """What one request needs. Actions are named like operations, but for Lambda's Invoke."""
    action = f"{service}:{ {'Invoke': 'InvokeFunction'}.get(operation, operation) }"
    for resource in _resources(service, params) if has_resources(action) else [ANY]:
        yield Permission(action, resource)


@cache
def has_resources(action: str) -> bool:
    """Whether a policy may name resources for an action; else it must say `*`. Raises KeyError for other names."""
    service, _, name = action.partition(":")
    return action not in WITHOUT_ARN and bool(_actions()[service]["Actions"][name.lower()].get("Resources"))


@cache
def _actions() -> Any:
    return json.loads((files("cfnlint.data.AdditionalSpecs") / "Policies.json").read_text("utf-8"))


def _resources(service: str, params: Mapping[str, Any]) -> list[str]:
    match service:
        case "dynamodb":
            names = [params["TableName"]] if "TableName" in params else list(params["RequestItems"])
            return [ARN.format(service, f"table/{name}") for name in names]
        case "sns":
            return [params.get("TopicArn") or params["SubscriptionArn"].rpartition(":")[0]]
        case "sqs":
            return [ARN.format(service, params.get("QueueName") or params["QueueUrl"].rpartition("/")[2])]
        case "cloudformation":
            return [ARN.format(service, f"stack/{params['StackName']}/its-id")]
        case "lambda":
            return [ARN.format(service, f"function:{params['FunctionName']}")]
        case "scheduler":
            return [ARN.format(service, f"schedule/{params.get('GroupName', 'default')}/{params['Name']}")]
        case "cloudwatch":
            names = params.get("AlarmNames") or [params.get("AlarmName", ANY)]
            return [ARN.format(service, f"alarm:{name}") for name in names]
        case "logs":
            return [ARN.format(service, f"log-group:{params['logGroupName']}")]
        case "secretsmanager":
            return [params["SecretId"]]
        case "ssm":
            names = params.get("Names") or [params.get("Name") or params["Path"].rstrip("/")]
            return [ARN.format(service, f"parameter{name}") for name in names]
        case _:
            raise NotImplementedError(service)


def _covers(one: Permission, request: Permission) -> bool:
    return one.action == request.action and fnmatchcase(request.resource, one.resource)
