"""Calls in tests are held against all limits of botocore's models."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ParamValidationError


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda of: of("cloudwatch").describe_alarms(AlarmNames=["a"] * 101), id="too-many"),
        pytest.param(lambda of: of("cloudwatch").describe_alarms(MaxRecords=101), id="too-large"),
        pytest.param(lambda of: of("cloudwatch").describe_alarms(AlarmNamePrefix="a" * 256), id="too-long"),
        pytest.param(lambda of: of("scheduler").get_schedule(Name="a name"), id="not-its-pattern"),
        pytest.param(lambda of: of("dynamodb").scan(TableName="t", ReturnConsumedCapacity="ALL"), id="not-its-enum"),
    ],
)
def test_what_aws_refuses_is_refused_here(call: Callable[[Callable[[str], Any]], Any]) -> None:
    """botocore by itself would send each of these."""
    client: Any = boto3.client
    with pytest.raises(ParamValidationError):
        call(client)
