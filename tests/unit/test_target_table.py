"""Writing the Targets table to a DynamoDB that leaves items unprocessed."""

from typing import Any

from popwatch.aws.items import from_item
from popwatch_cli.target_table import WRITES_AT_ONCE, TargetTable


class SlowDynamoDB:
    """Processes a part of each batch, as DynamoDB does when it throttles."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.written: list[str] = []
        self.deleted: list[str] = []
        self.calls = 0

    def batch_write_item(self, RequestItems: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        self.calls += 1
        [(table, requests)] = RequestItems.items()
        assert len(requests) <= WRITES_AT_ONCE
        for request in requests[: self.takes]:
            if "PutRequest" in request:
                self.written.append(from_item(request["PutRequest"]["Item"])["target_id"])
            else:
                self.deleted.append(from_item(request["DeleteRequest"]["Key"])["target_id"])
        unprocessed = requests[self.takes :]
        return {"UnprocessedItems": {table: unprocessed} if unprocessed else {}}


def test_what_is_left_undone_is_sent_again() -> None:
    """Every item is written or deleted exactly once, with a pause after each incomplete batch."""
    dynamodb, pauses = SlowDynamoDB(takes=10), list[float]()
    table = TargetTable(dynamodb, "Targets", pauses.append)  # type: ignore[arg-type]
    table.write([{"target_id": f"t{n}"} for n in range(60)], [f"old{n}" for n in range(5)])
    assert sorted(dynamodb.written) == sorted(f"t{n}" for n in range(60))
    assert sorted(dynamodb.deleted) == sorted(f"old{n}" for n in range(5))
    assert len(pauses) == dynamodb.calls - 1


def test_pauses_grow_while_the_table_is_throttled() -> None:
    """As AWS advises, each is twice as long as the one before, up to a limit; what is taken whole begins anew."""
    dynamodb, pauses = SlowDynamoDB(takes=1), list[float]()
    TargetTable(dynamodb, "Targets", pauses.append).write([{"target_id": f"t{n}"} for n in range(10)])  # type: ignore[arg-type]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]


def test_no_pause_where_all_is_taken() -> None:
    """Without unprocessed items there is no pause."""
    dynamodb, pauses = SlowDynamoDB(takes=WRITES_AT_ONCE), list[float]()
    TargetTable(dynamodb, "Targets", pauses.append).write([{"target_id": f"t{n}"} for n in range(60)])  # type: ignore[arg-type]
    assert (dynamodb.calls, pauses) == (3, [])
