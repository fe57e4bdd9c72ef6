"""Reading and writing the Targets table. Only the command does this; the function never writes a target."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from popwatch.aws.items import from_item, to_item
from popwatch.model.targets import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WRITES_AT_ONCE = 25
"""The most items that one BatchWriteItem takes."""

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
"""Wait before unprocessed items are sent again, and twice as long the next time. boto3 retries errors, and unprocessed
items are not an error."""


class TargetTable:
    """The table over a DynamoDB client. Raises botocore's errors after its retries."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._dynamodb, self._table, self._sleep = dynamodb, table, sleep

    def read(self) -> dict[str, Item]:
        """All items by `target_id`, the user's defaults among them."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True)
        items = (from_item(item) for page in pages for item in page["Items"])
        return {item["target_id"]: item for item in items}

    def get(self, target_id: str) -> Item | None:
        """One item, or None if there is none."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=to_item({"target_id": target_id}), ConsistentRead=True
        )
        return from_item(answer["Item"]) if "Item" in answer else None

    def change(self, target_id: str, put: Item, remove: Iterable[str] = ()) -> bool:
        """Set fields of one item and remove others. False if there is no such item.

        Only these fields are written: a change of another field at the same time is kept.
        """
        removed = list(remove)
        clauses = []
        if put:
            clauses.append("SET " + ", ".join(f"#{name} = :{name}" for name in put))
        if removed:
            clauses.append("REMOVE " + ", ".join(f"#{name}" for name in removed))
        request: Any = {
            "TableName": self._table,
            "Key": to_item({"target_id": target_id}),
            "UpdateExpression": " ".join(clauses),
            # UpdateItem creates an item that does not exist: without this, a removed target would come back in part.
            "ConditionExpression": "attribute_exists(target_id)",
            # Placeholders, since field names such as `name` and `group` are reserved words:
            # docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
            "ExpressionAttributeNames": {f"#{name}": name for name in (*put, *removed)},
        }
        if put:  # DynamoDB refuses an empty map of values
            request["ExpressionAttributeValues"] = to_item({f":{name}": value for name, value in put.items()})
        try:
            self._dynamodb.update_item(**request)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def write(self, put: Iterable[Item], delete: Iterable[str] = ()) -> None:
        """Put items and delete others by their ids, in batches.

        A throttled table processes a part of a batch and returns the rest, which is sent again:
        docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
        """
        requests: list[object] = [{"PutRequest": {"Item": to_item(item)}} for item in put]
        requests += [{"DeleteRequest": {"Key": to_item({"target_id": target_id})}} for target_id in delete]
        pause = PAUSE_SECONDS
        while requests:
            chunk, requests = requests[:WRITES_AT_ONCE], requests[WRITES_AT_ONCE:]
            answer = self._dynamodb.batch_write_item(RequestItems={self._table: chunk})  # type: ignore[dict-item]
            unprocessed = answer["UnprocessedItems"].get(self._table, [])
            if unprocessed:
                self._sleep(pause)
                requests += unprocessed
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if unprocessed else PAUSE_SECONDS
