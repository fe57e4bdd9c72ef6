"""DynamoDB's tables in memory: conditional writes, pages, eventually consistent reads, capacity units.

Only what popwatch asks for, with DynamoDB's own semantics; `test_tables` plays the same requests to moto and compares.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

Item = dict[str, Any]
Key = tuple[str, str]

WRITE_UNIT = 1024
READ_UNIT = 4096
PAGE_BYTES = 1_048_576


def refusal(code: str, operation: str, item: Item | None = None) -> ClientError:
    """What botocore raises when AWS refuses."""
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer | ({"Item": item} if item else {}), operation)


def size_of(item: Mapping[str, Any]) -> int:
    """The bytes that DynamoDB counts for an item: names, values, three bytes and one an element for maps and lists."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Any]) -> int:
    [(kind, held)] = value.items()
    match kind:
        case "S":
            return len(held.encode())
        case "N":
            return math.ceil(len(held.replace("-", "").replace(".", "").strip("0")) / 2) + 1
        case "M":
            return 3 + len(held) + size_of(held)
        case "L":
            return 3 + len(held) + sum(map(_size, held))
        case _:
            return 1


@dataclass(slots=True)
class Table:
    """One table. `before` holds what each item was until it last changed, and when it did."""

    name: str
    hash_name: str
    range_name: str = ""
    items: dict[Key, Item] = field(default_factory=dict)
    order: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[Key, int] = field(default_factory=dict)
    before: dict[Key, tuple[Item | None, float]] = field(default_factory=dict)

    def key_of(self, item: Mapping[str, Any]) -> Key:
        """The key of an item, or of a request's `Key`."""
        return item[self.hash_name]["S"], item[self.range_name]["S"] if self.range_name else ""

    def put(self, item: Item, now: float) -> None:
        """Write an item."""
        key = self.key_of(item)
        if key not in self.items:
            insort(self.order.setdefault(key[0], []), key[1])
        self.before[key] = self.items.get(key), now
        self.items[key] = item
        self.sizes[key] = size_of(item)

    def delete(self, key: Key, now: float) -> None:
        """Remove an item, if it is there."""
        if key in self.items:
            self.before[key] = self.items.pop(key), now
            self.order[key[0]].remove(key[1])
            del self.sizes[key]

    def get(self, key: Key, read_as_of: float) -> Item | None:
        """The item as it was at a time that is not long ago."""
        old, changed = self.before.get(key, (None, -math.inf))
        return old if changed > read_as_of else self.items.get(key)

    def all(self, read_as_of: float) -> list[Item]:
        """All items as they were at that time, in the order of their keys."""
        stale = (
            {key: old for key, (old, changed) in self.before.items() if changed > read_as_of}
            if read_as_of < math.inf
            else {}
        )
        return [item for _, item in sorted((self.items | stale).items()) if item is not None]

    def partition(self, pk: str, first: str, last: str) -> list[Item]:
        """The items of a partition between two sort keys, both included, in order."""
        keys = self.order.get(pk, [])
        return [self.items[pk, sk] for sk in keys[bisect_left(keys, first) : bisect_right(keys, last)]]


_CLAUSE = re.compile(
    r"attribute_not_exists\((?P<missing>\S+)\)|attribute_type\((?P<typed>\S+), (?P<type>:\S+)\)|"
    r"(?P<name>\S+) (?P<sign>=|<=) (?P<value>:\S+)"
)


def is_met(condition: str, item: Item | None, values: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether an item meets a ConditionExpression of the kinds that popwatch writes."""
    return any(
        all(_clause_is_met(clause, item or {}, values, names) for clause in option.split(" AND "))
        for option in condition.split(" OR ")
    )


def _clause_is_met(clause: str, item: Item, values: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        raise NotImplementedError(clause)
    if match["missing"]:
        return names.get(match["missing"], match["missing"]) not in item
    if match["typed"]:
        return values[match["type"]]["S"] in item.get(names.get(match["typed"], match["typed"]), {})
    [(kind, wanted)] = values[match["value"]].items()
    held = item.get(names.get(match["name"], match["name"]), {}).get(kind)
    if held is None:
        return False
    left, right = (float(held), float(wanted)) if kind == "N" else (held, wanted)
    signs = {"=": left == right, "<=": left <= right, ">": left > right}
    return bool(signs[match["sign"]])


class Tables:
    """Several tables and the operations on them, each done at once and whole."""

    def __init__(self, page_bytes: int = PAGE_BYTES) -> None:
        self.by_name = {
            "Targets": Table("Targets", "target_id"),
            "Status": Table("Status", "target_id"),
            "History": Table("History", "pk", "sk"),
        }
        self._page_bytes = page_bytes

    def put_item(self, now: float, request: Mapping[str, Any]) -> dict[str, Any]:
        """PutItem; raises ConditionalCheckFailedException, with the item that is there if that was asked for."""
        table, item = self.by_name[request["TableName"]], request["Item"]
        old = table.items.get(table.key_of(item))
        self._check(request, old, "PutItem")
        table.put(item, now)
        larger = max(table.sizes[table.key_of(item)], size_of(old) if old else 0)
        answer = {"ConsumedCapacity": {"TableName": table.name, "CapacityUnits": math.ceil(larger / WRITE_UNIT)}}
        return answer | ({"Attributes": old} if old and request.get("ReturnValues") == "ALL_OLD" else {})

    def delete_item(self, now: float, request: Mapping[str, Any]) -> dict[str, Any]:
        """DeleteItem, on a condition or not."""
        table = self.by_name[request["TableName"]]
        key = table.key_of(request["Key"])
        old = table.items.get(key)
        self._check(request, old, "DeleteItem")
        units = max(1, math.ceil(table.sizes.get(key, 0) / WRITE_UNIT))
        table.delete(key, now)
        return {"ConsumedCapacity": {"TableName": table.name, "CapacityUnits": units}}

    def get_item(self, read_as_of: float, request: Mapping[str, Any]) -> dict[str, Any]:
        """GetItem, as of a time, which is the present if the read is to be consistent."""
        table = self.by_name[request["TableName"]]
        consistent = bool(request.get("ConsistentRead"))
        item = table.get(table.key_of(request["Key"]), math.inf if consistent else read_as_of)
        names = request.get("ProjectionExpression", "").split(", ") if "ProjectionExpression" in request else None
        answer: dict[str, Any] = {"ConsumedCapacity": self._read(table, [item] if item else [], consistent=consistent)}
        if item is not None:
            answer["Item"] = item if names is None else {name: item[name] for name in names if name in item}
        return answer

    def scan(self, read_as_of: float, request: Mapping[str, Any]) -> dict[str, Any]:
        """One page of a table."""
        table = self.by_name[request["TableName"]]
        return self._page(table, table.all(read_as_of), request)

    def query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One page of a partition, between two sort keys if they are given."""
        table, values = self.by_name[request["TableName"]], request["ExpressionAttributeValues"]
        match request["KeyConditionExpression"]:
            case "pk = :pk":
                found = table.partition(values[":pk"]["S"], "", "\U0010ffff")
            case "pk = :pk AND sk >= :since":
                found = table.partition(values[":pk"]["S"], values[":since"]["S"], "\U0010ffff")
            case "pk = :pk AND sk BETWEEN :first AND :before":
                found = table.partition(values[":pk"]["S"], values[":first"]["S"], values[":before"]["S"])
            case other:
                raise NotImplementedError(other)
        return self._page(table, found, request)

    def _page(self, table: Table, items: list[Item], request: Mapping[str, Any]) -> dict[str, Any]:
        """What fits into a page after the key at which the last one ended, whether that is still there or not."""
        forward, start = request.get("ScanIndexForward", True), request.get("ExclusiveStartKey")
        if start:
            after = table.key_of(start)
            items = [item for item in items if (table.key_of(item) > after) == forward and table.key_of(item) != after]
        if not forward:
            items = items[::-1]
        page: list[Item] = []
        page_bytes = 0
        for item in items[: request.get("Limit")]:
            page.append(item)
            page_bytes += table.sizes.get(table.key_of(item), 0)
            if page_bytes >= self._page_bytes:
                break
        answer = {"Items": page, "Count": len(page), "ConsumedCapacity": self._read(table, page)}
        if page and (len(page) < len(items) or len(page) == request.get("Limit")):  # a full page may be the last one
            names = (table.hash_name, *([table.range_name] if table.range_name else []))
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in names}
        return answer

    def _read(self, table: Table, items: list[Item], *, consistent: bool = False) -> dict[str, Any]:
        size = sum(table.sizes.get(table.key_of(item), 0) for item in items)
        units = max(1, math.ceil(size / READ_UNIT)) * (1.0 if consistent else 0.5)
        return {"TableName": table.name, "CapacityUnits": units}

    def _check(self, request: Mapping[str, Any], old: Item | None, operation: str) -> None:
        condition = request.get("ConditionExpression")
        if condition is None:
            return
        values, names = request.get("ExpressionAttributeValues", {}), request.get("ExpressionAttributeNames", {})
        if not is_met(condition, old, values, names):
            shown = old if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else None
            raise refusal("ConditionalCheckFailedException", operation, shown)


def pages(ask: Any, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All pages of a scan or query, as botocore's paginators give them."""
    start: dict[str, Any] = {}
    while True:
        answer = ask(**request, **start)
        yield answer
        if "LastEvaluatedKey" not in answer:
            return
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
