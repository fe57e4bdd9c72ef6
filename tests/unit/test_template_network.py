"""template.yaml's VPC, as SAM translates it and as Lambda's own model reads it; and what the pages say of its ports."""

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from cfnlint.decode import decode
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

PROJECT = Path(__file__).parents[2]
SUBNETS, GROUPS = "subnet-0a1b2c3d,subnet-1a2b3c4d", "sg-0a1b2c3d"


@cache
def translated() -> Mapping[str, Any]:
    """The template after SAM's transform, with CloudFormation's functions still in it."""
    template = decode(str(PROJECT / "template.yaml"))[0]
    plain = {**deepcopy(dict(template))}
    for resource in plain["Resources"].values():
        for name in {"CodeUri", "ContentUri"} & resource["Properties"].keys():
            resource["Properties"][name] = "s3://bucket/key"
    found: Mapping[str, Any] = Translator({}, Parser(), boto_session=_Session()).translate(plain, {})
    return found


class _Session:
    """The part of boto3's session that SAM reads."""

    region_name = "us-east-1"

    def get_partition_for_region(self, _: str) -> str:
        return "aws"


def evaluated(value: Any, parameters: Mapping[str, str]) -> Any:
    """A value of the template with its conditions and references resolved as CloudFormation does."""
    if isinstance(value, list):
        return [evaluated(each, parameters) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        return {name: evaluated(each, parameters) for name, each in value.items()}
    [(function, argument)] = value.items()
    match function:
        case "Ref":
            if argument == "AWS::NoValue":
                return None
            kind = translated()["Parameters"][argument]
            given = parameters.get(argument, kind["Default"])
            return given.split(",") if kind["Type"] == "CommaDelimitedList" else given
        case "Condition":
            return evaluated(translated()["Conditions"][argument], parameters)
        case "Fn::If":
            name, yes, no = argument
            return evaluated(yes if evaluated({"Condition": name}, parameters) else no, parameters)
        case "Fn::Equals":
            one, other = evaluated(argument, parameters)
            return one == other
        case "Fn::Not":
            return not evaluated(argument[0], parameters)
        case "Fn::And":
            return all(evaluated(argument, parameters))
        case "Fn::Join":
            return argument[0].join(evaluated(argument[1], parameters))
    return {function: evaluated(argument, parameters)}


@pytest.mark.parametrize(
    ("parameters", "subnets", "ipv6"),
    [
        ({}, 0, False),
        ({"VpcSubnetIds": SUBNETS, "VpcSecurityGroupIds": GROUPS}, 2, False),
        ({"VpcSubnetIds": SUBNETS, "VpcSecurityGroupIds": GROUPS, "VpcIpv6": "true"}, 2, True),
        ({"VpcSubnetIds": "", "VpcSecurityGroupIds": GROUPS, "VpcIpv6": "true"}, 0, False),
    ],
    ids=["none", "with a VPC", "with IPv6", "taken away again"],
)
def test_the_function_joins_and_leaves_a_vpc(parameters: Mapping[str, str], subnets: int, ipv6: bool) -> None:
    """Lambda's own model accepts the settings.

    Without subnets both lists are empty, which detaches a function, and IPv6 is off, without which Lambda would refuse
    to detach it.
    """
    given = evaluated(translated()["Resources"]["CheckTargetsFunction"]["Properties"]["VpcConfig"], parameters)
    assert (len(given["SubnetIds"]), len(given["SecurityGroupIds"])) == (subnets, 1 if subnets else 0)
    assert given["Ipv6AllowedForDualStack"] is ipv6
    model = botocore.session.get_session().get_service_model("lambda")
    for operation in ("CreateFunction", "UpdateFunctionConfiguration"):
        shape = model.operation_model(operation).input_shape
        assert shape is not None
        assert not ParamValidator().validate(given, shape.members["VpcConfig"]).has_errors()


def test_the_role_may_make_network_interfaces_in_a_vpc_only() -> None:
    """AWS's managed policy for a VPC comes and goes with the subnets."""
    policies = translated()["Resources"]["CheckTargetsRole"]["Properties"]["ManagedPolicyArns"]
    assert evaluated(policies, {}) is None
    assert "AWSLambdaVPCAccessExecutionRole" in str(evaluated(policies, {"VpcSubnetIds": SUBNETS}))


@pytest.mark.parametrize("page", ["template.yaml", *(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))])
def test_security_groups_let_https_out(page: str) -> None:
    """Wherever a page says what a security group must let out, it names 443: without it no sweep reads a table."""
    text = " ".join((PROJECT / page).read_text().split())
    for said in re.findall(r"[^.|]*\bsecurity groups? [^.|]*\blets? [^.|]*\bout\b[^.|]*", text, re.IGNORECASE):
        assert "443" in said, said


def test_the_targets_are_protected_twice() -> None:
    """A deleted stack leaves the table behind, and `delete-table` by hand is refused until the protection is off."""
    table = translated()["Resources"]["TargetsTable"]
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert table["Properties"]["DeletionProtectionEnabled"] is True


def test_the_log_group_is_an_output() -> None:
    """Its name is generated, and the pages need it."""
    assert translated()["Outputs"]["LogGroup"]["Value"] == {"Ref": "CheckTargetsLog"}
