"""The tables in memory answer as DynamoDB does: the same requests, made to them and to moto, get the same answers."""

from collections.abc import Iterator
from random import Random
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from popwatch.aws.items import to_item
from tests.chaos.tables import Tables, pages
from tests.tables import create_tables


@pytest.fixture
def moto() -> Iterator[Any]:
    with mock_aws():
        dynamodb: Any = boto3.client("dynamodb")
        create_tables(dynamodb)
        yield dynamodb


class Ours:
    """The tables in memory behind a client's methods."""

    def __init__(self) -> None:
        self._tables, self._now = Tables(), 0.0

    def put_item(self, **request: Any) -> Any:
        self._now += 1
        return self._tables.put_item(self._now, request)

    def delete_item(self, **request: Any) -> Any:
        self._now += 1
        return self._tables.delete_item(self._now, request)

    def get_item(self, **request: Any) -> Any:
        return self._tables.get_item(float("inf"), request)

    def scan(self, **request: Any) -> Any:
        return self._tables.scan(float("inf"), request)

    def query(self, **request: Any) -> Any:
        return self._tables.query(request)


def answer_of(client: Any, operation: str, request: dict[str, Any]) -> object:
    """What a request brings: all pages of a query, any other answer's items, or the refusal with the item it shows."""
    try:
        if operation == "query":
            return [page["Items"] for page in pages(client.query, request) if page["Items"]]
        answer = getattr(client, operation)(**request)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response.get("Item")
    kept = {name: answer[name] for name in ("Item", "Items") if name in answer}
    if operation == "scan":
        kept["Items"] = sorted(kept["Items"], key=lambda item: str(item["target_id"]))
    return kept


def status_put(random: Random) -> tuple[str, dict[str, Any]]:
    """A write of a record as the store makes it: on its version and tick, or on there being none."""
    tick = f"2026-03-01T12:0{random.randrange(4)}:00Z"
    fields = {"version": random.randrange(4), "health": {"state": "up"}}
    item = to_item({"target_id": random.choice("abc"), **fields, **({"tick": tick} if random.random() < 0.8 else {})})
    condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(target_id)"}
    if random.random() < 0.7:
        condition = unchanged(random)
    shown = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if random.random() < 0.8 else {}
    return "put_item", {"TableName": "Status", "Item": item, **condition, **shown}


def unchanged(random: Random) -> dict[str, Any]:
    """The condition that a record is the one that was read: by its version, and by its tick where that is known."""
    version = to_item({":version": random.randrange(4)})
    if random.random() < 0.3:
        return {"ConditionExpression": "version = :version", "ExpressionAttributeValues": version}
    return {
        "ConditionExpression": "version = :version AND #tick <= :expected_tick",
        "ExpressionAttributeNames": {"#tick": "tick"},
        "ExpressionAttributeValues": version | to_item({":expected_tick": f"2026-03-01T12:0{random.randrange(4)}:00Z"}),
    }


def checkpoint_put(random: Random) -> tuple[str, dict[str, Any]]:
    """A write of the checkpoint: an older tick never replaces a newer one."""
    tick = f"2026-03-01T12:0{random.randrange(9)}:00Z"
    return "put_item", {
        "TableName": "Status",
        "Item": to_item({"target_id": "_sweep", "tick": tick}),
        "ConditionExpression": "attribute_not_exists(target_id) OR #tick <= :tick",
        "ExpressionAttributeNames": {"#tick": "tick"},
        "ExpressionAttributeValues": to_item({":tick": tick}),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def record_delete(random: Random) -> tuple[str, dict[str, Any]]:
    """A record forgotten, if it is the one that was read."""
    return "delete_item", {
        "TableName": "Status",
        "Key": to_item({"target_id": random.choice("abc")}),
        **unchanged(random),
    }


def history_put(random: Random) -> tuple[str, dict[str, Any]]:
    """An item of History; some keys come again."""
    key = {"pk": random.choice(["samples#1#0", "target#a"]), "sk": f"alert#{random.randrange(30):02}#1"}
    return "put_item", {"TableName": "History", "Item": to_item({**key, "message": "m" * random.randrange(50)})}


def history_get(random: Random) -> tuple[str, dict[str, Any]]:
    """The question whether an alert was recorded."""
    key = {"pk": "target#a", "sk": f"alert#{random.randrange(30):02}#1"}
    projection = {"ProjectionExpression": "pk"} if random.random() < 0.5 else {}
    return "get_item", {"TableName": "History", "Key": to_item(key), "ConsistentRead": True, **projection}


def history_query(random: Random) -> tuple[str, dict[str, Any]]:
    """A range of a partition, or its newest items; in one page or in several."""
    first, last = sorted(random.randrange(30) for _ in range(2))
    between = {":first": f"alert#{first:02}#1", ":before": f"alert#{last:02}#1"}
    pk = {":pk": random.choice(["samples#1#0", "target#a", "target#none"])}
    request: dict[str, Any] = {"TableName": "History", "KeyConditionExpression": "pk = :pk"}
    if random.random() < 0.6:
        request["KeyConditionExpression"] = "pk = :pk AND sk BETWEEN :first AND :before"
        pk |= between
    request["ExpressionAttributeValues"] = to_item(pk)
    if random.random() < 0.5:
        request["ScanIndexForward"] = False
    if random.random() < 0.5:
        request["Limit"] = random.randrange(1, 5)
    return "query", request


def status_scan(random: Random) -> tuple[str, dict[str, Any]]:
    """The whole table."""
    return "scan", {"TableName": random.choice(["Status", "Targets"])}


REQUESTS = (
    status_put,
    status_put,
    checkpoint_put,
    record_delete,
    history_put,
    history_put,
    history_get,
    history_query,
    status_scan,
)


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_those_of_moto(moto: Any, seed: int) -> None:
    """400 requests of the kinds that popwatch makes: items, refusals with the item that is there, pages."""
    random, ours = Random(seed), Ours()
    for step in range(400):
        operation, request = random.choice(REQUESTS)(random)
        assert answer_of(ours, operation, request) == answer_of(moto, operation, request), (step, operation, request)


def test_capacity_units_are_those_of_the_documentation() -> None:
    """A write costs one unit a KB of the larger item, a consistent read one a 4 KB, any other half of that."""
    ours = Ours()
    item = to_item({"target_id": "a", "email": "m" * 2500})
    put = {"TableName": "Status", "Item": item}
    assert ours.put_item(**put)["ConsumedCapacity"] == {"TableName": "Status", "CapacityUnits": 3}
    small = {"TableName": "Status", "Item": to_item({"target_id": "a"})}
    assert ours.put_item(**small)["ConsumedCapacity"]["CapacityUnits"] == 3
    ours.put_item(**put)
    key = {"TableName": "Status", "Key": to_item({"target_id": "a"})}
    assert ours.get_item(**key)["ConsumedCapacity"]["CapacityUnits"] == 0.5
    assert ours.get_item(**key, ConsistentRead=True)["ConsumedCapacity"]["CapacityUnits"] == 1.0
    assert ours.scan(TableName="Status")["ConsumedCapacity"]["CapacityUnits"] == 0.5


def test_pages_go_on_where_an_item_has_gone() -> None:
    """A scan in pages shows every item that stays, though the one at which a page ended is deleted meanwhile."""
    tables = Tables(page_bytes=10)
    for name in "abcd":
        tables.put_item(0.0, {"TableName": "Targets", "Item": to_item({"target_id": name, "host": "pop.example.net"})})
    found = []
    for page in pages(lambda **request: tables.scan(float("inf"), request), {"TableName": "Targets"}):
        found += [item["target_id"]["S"] for item in page["Items"]]
        if found[-1] == "b":
            tables.delete_item(0.0, {"TableName": "Targets", "Key": to_item({"target_id": "b"})})
    assert found == ["a", "b", "c", "d"]


def test_eventually_consistent_reads_may_be_old() -> None:
    """A read as of an earlier time shows what was there then: older items, deleted ones, none that are new."""
    tables = Tables()

    def put(now: float, name: str, version: int) -> None:
        tables.put_item(now, {"TableName": "Status", "Item": to_item({"target_id": name, "version": version})})

    put(1.0, "old", 1)
    put(1.0, "gone", 1)
    put(5.0, "old", 2)
    put(5.0, "new", 1)
    tables.delete_item(5.0, {"TableName": "Status", "Key": to_item({"target_id": "gone"})})

    def read_as_of(time: float) -> dict[str, str]:
        items = tables.scan(time, {"TableName": "Status"})["Items"]
        return {item["target_id"]["S"]: item["version"]["N"] for item in items}

    assert read_as_of(4.0) == {"old": "1", "gone": "1"}
    assert read_as_of(6.0) == {"old": "2", "new": "1"}
