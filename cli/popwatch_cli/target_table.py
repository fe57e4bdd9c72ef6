"""The Targets table as its user writes it. Only the command uses this; the function never writes a target."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from popwatch.aws.items import Plain, from_item, to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WRITES_AT_ONCE = 25
"""Items of one BatchWriteItem."""

PAUSE_SECONDS = 0.2
"""What DynamoDB is given before it is asked again for what it has left undone, since boto3 does not wait for that."""


class TargetTable:
    """The table over a DynamoDB client. Raises what botocore raises once its retries are used up."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._dynamodb, self._table, self._sleep = dynamodb, table, sleep

    def read(self) -> dict[str, Plain]:
        """All items by `target_id`, the user's defaults among them."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True)
        items = (from_item(item) for page in pages for item in page["Items"])
        return {item["target_id"]: item for item in items}

    def get(self, target_id: str) -> Plain | None:
        """One item, or None if there is none."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=to_item({"target_id": target_id}), ConsistentRead=True
        )
        return from_item(answer["Item"]) if "Item" in answer else None

    def change(self, target_id: str, put: Plain, remove: Iterable[str] = ()) -> bool:
        """Put fields of one item, and remove others; whether there is such an item.

        What somebody else changes of it at the same time stays.
        """
        sets, removes = [f"#{name} = :{name}" for name in put], [f"#{name}" for name in remove]
        parts = [f"{word} {', '.join(found)}" for word, found in (("SET", sets), ("REMOVE", removes)) if found]
        values: Any = {"ExpressionAttributeValues": to_item({f":{name}": value for name, value in put.items()})}
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=to_item({"target_id": target_id}),
                UpdateExpression=" ".join(parts),
                ConditionExpression="attribute_exists(target_id)",
                ExpressionAttributeNames={f"#{name}": name for name in (*put, *remove)},
                **(values if put else {}),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def write(self, put: Iterable[Plain], delete: Iterable[str] = ()) -> None:
        """Put items and delete others by their ids; what DynamoDB leaves undone is sent again."""
        requests: list[object] = [{"PutRequest": {"Item": to_item(item)}} for item in put]
        requests += [{"DeleteRequest": {"Key": to_item({"target_id": target_id})}} for target_id in delete]
        while requests:
            chunk, requests = requests[:WRITES_AT_ONCE], requests[WRITES_AT_ONCE:]
            answer = self._dynamodb.batch_write_item(RequestItems={self._table: chunk})  # type: ignore[dict-item]
            undone = answer["UnprocessedItems"].get(self._table, [])
            if undone:
                self._sleep(PAUSE_SECONDS)
                requests += undone
