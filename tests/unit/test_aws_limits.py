"""Bounds in the code against AWS's limits, as botocore's models and their documentation give them."""

import re
from typing import Any

import pytest

from popwatch.alerts.character_sets import SUBJECT_LENGTH
from popwatch.aws.store import ITEM_BYTES, LONGEST_ID_BYTES
from popwatch.decisions.batches import MESSAGE_BYTES
from popwatch.decisions.judging import TICK
from popwatch.model.targets import LARGEST_ITEM
from popwatch_cli.doctor.aws_state import ALARMS_AT_ONCE
from popwatch_cli.doctor.redrive import HIDDEN_SECONDS, MOST
from popwatch_cli.target_table import WRITES_AT_ONCE
from tests import item_sizes
from tests.aws_calls import model_of
from tests.tables import read_template


def shape(service: str, operation: str, member: str) -> Any:
    """A parameter of an operation."""
    return model_of(service).operation_model(operation).input_shape.members[member]


def documented(service: str, operation: str, member: str, pattern: str) -> list[int]:
    """The numbers that a parameter's documentation gives."""
    text = re.sub(r"<[^>]+>", "", shape(service, operation, member).documentation)
    found = re.search(pattern, " ".join(text.split()))
    assert found is not None, text
    return [int(number.replace(",", "")) for number in found.groups()]


def test_writes_of_a_batch() -> None:
    """BatchWriteItem takes 25 requests for a table, and 16 MB: as many of the largest items."""
    assert shape("dynamodb", "BatchWriteItem", "RequestItems").value.metadata["max"] == WRITES_AT_ONCE
    assert WRITES_AT_ONCE * item_sizes.LARGEST_ITEM < 16_000_000


def test_alarms_of_a_request() -> None:
    """DescribeAlarms takes as many names as it returns alarms, if it is asked for them."""
    assert shape("cloudwatch", "DescribeAlarms", "AlarmNames").metadata["max"] == ALARMS_AT_ONCE
    assert shape("cloudwatch", "DescribeAlarms", "MaxRecords").metadata["max"] == ALARMS_AT_ONCE


def test_a_message_of_the_queue() -> None:
    """Messages are ASCII, so that a character is a byte."""
    [most] = documented("sqs", "SendMessage", "MessageBody", r"or ([\d,]+) bytes")
    assert most >= MESSAGE_BYTES * 1.1


def test_a_delay_of_the_queue() -> None:
    """A test that is due before the tick after the next one can be delayed so long."""
    least, most = documented("sqs", "SendMessage", "DelaySeconds", r"Valid values: (\d+) to (\d+)")
    assert (least, 2 * TICK.total_seconds() < most) == (0, True)


def test_a_dead_letter_is_hidden_while_it_is_looked_at() -> None:
    """Each request for ten messages waits for a second at most; as much again is for the network."""
    [_, most] = documented("sqs", "ChangeMessageVisibility", "VisibilityTimeout", r"range: (\d+) to (\d+)")
    assert 2 * MOST / 10 < HIDDEN_SECONDS < most


def test_a_subject() -> None:
    """SNS takes less than 100 characters."""
    [limit] = documented("sns", "Publish", "Subject", r"less than (\d+) characters")
    assert limit > SUBJECT_LENGTH


def test_an_item() -> None:
    """A tenth of an item is left for its key, its other attributes, and 1 byte for each element."""
    assert max(ITEM_BYTES, LARGEST_ITEM) < item_sizes.LARGEST_ITEM * 0.9


def test_a_key() -> None:
    """docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html: 2,048 bytes of a partition's key."""
    assert len("target#") + LONGEST_ID_BYTES < 2048


@pytest.fixture(scope="module")
def resources() -> Any:
    return read_template()["Resources"]


def test_a_batch_is_hidden_for_six_timeouts(resources: Any) -> None:
    """docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html: what AWS advises."""
    function, queue = resources["CheckTargetsFunction"]["Properties"], resources["BatchQueue"]["Properties"]
    assert queue["VisibilityTimeout"] == 6 * function["Timeout"]
    assert function["Timeout"] <= shape("lambda", "CreateFunction", "Timeout").metadata.get("max", 900)


def test_batches_at_once(resources: Any) -> None:
    """The parameter has the limits of Lambda's MaximumConcurrency."""
    template = read_template()
    parameter = template["Parameters"]["MaxParallelBatches"]
    limits = shape("lambda", "CreateEventSourceMapping", "ScalingConfig").members["MaximumConcurrency"].metadata
    assert (parameter["MinValue"], parameter["MaxValue"]) == (limits["min"], limits["max"])
    assert resources["CheckTargetsFunction"]["Properties"]["Events"]["EachBatch"]["Properties"]["BatchSize"] == 1


def test_retries_of_a_tick(resources: Any) -> None:
    """They are within the limits of Scheduler and of Lambda."""
    function = resources["CheckTargetsFunction"]["Properties"]
    retry = model_of("scheduler").shape_for("RetryPolicy").members
    for name, value in function["Events"]["EachMinute"]["Properties"]["RetryPolicy"].items():
        assert retry[name].metadata["min"] <= value <= retry[name].metadata["max"]
    invoke = model_of("lambda").operation_model("PutFunctionEventInvokeConfig").input_shape.members
    for name in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
        assert invoke[name].metadata["min"] <= function["EventInvokeConfig"][name] <= invoke[name].metadata["max"]
