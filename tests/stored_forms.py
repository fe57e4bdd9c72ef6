"""What every version stores or sends, with every field set: objects by their types, and the tables that hold them.

An older version's code runs with this module in a process of its own, so it imports nothing of popwatch: `code` is what
has the classes and functions of a version by today's names.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import boto3
from moto import mock_aws

from tests.tables import NAMES, create_tables, keys_of

TICK = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TARGET_ID = "bad"
"""Of everything that is about a target: a record, the alerts in its outbox, the test in a message."""


LATER_MEMBERS = ("login",)
"""The phases that an older version does not know: only tests that it does not make end in them."""


class Filler:
    """Makes objects of which no two fields have one value, and no field its default."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def fill(self, kind: Any, default: object = None) -> Any:
        """An object of a type: a dataclass, or the type of a field, whose value is not `default`."""
        number = next(self._numbers)
        origin = get_origin(kind)
        if isinstance(kind, UnionType):
            return self.fill(next(choice for choice in get_args(kind) if choice is not type(None)), default)
        if origin is tuple:
            return tuple(self.fill(get_args(kind)[0]) for _ in range(2))
        if origin is not None and issubclass(origin, Mapping):
            entry = get_args(kind)[1]
            choices = get_args(entry) if isinstance(entry, UnionType) else (entry,)
            filled = {f"key-{next(self._numbers)}": self.fill(choice) for choice in choices}
            return filled | ({"event": "down"} if len(choices) > 1 else {})  # what every alert's attributes have
        if is_dataclass(kind):
            hints = get_type_hints(kind)
            make: Any = kind
            filled = {known.name: self.fill(hints[known.name], _default(known)) for known in fields(kind)}
            return make(**(filled | ({"target_id": TARGET_ID} if "target_id" in filled else {})))
        if issubclass(kind, Enum):
            members = [member for member in kind if member != default and member.value not in LATER_MEMBERS]
            return members[number % len(members)]
        values = {
            bool: not default,
            int: number,
            float: number + 0.5,
            str: f"text-{number}",
            datetime: TICK + timedelta(seconds=number),
            timedelta: timedelta(seconds=number + 0.25),
        }
        return values[kind]


def _default(known: "Field[Any]") -> object:
    return None if known.default is MISSING else known.default


@contextmanager
def tables() -> Iterator[Any]:
    """A client of DynamoDB, with the tables of a stack."""
    with mock_aws():
        client: Any = boto3.client("dynamodb", region_name="us-east-1")
        create_tables(client)
        yield client


def read_items(client: Any) -> dict[str, list[Any]]:
    """The items of all tables, in the order of their keys, as they came over the network."""
    found = {name: client.scan(TableName=name)["Items"] for name in NAMES}
    return {
        name: sorted(items, key=lambda item: [str(item[key]) for key in keys_of(name)]) for name, items in found.items()
    }


def put_items(client: Any, items: Mapping[str, list[Any]]) -> None:
    """Put items into their tables."""
    for name, entries in items.items():
        for item in entries:
            client.put_item(TableName=name, Item=item)


def as_json(value: object) -> Any:
    """A value as it is once it has been written as JSON."""
    return json.loads(json.dumps(value))


def write(code: Any) -> dict[str, Any]:
    """What a version's code writes: objects as serialized, items of Status and History, batch messages."""
    filler = Filler()
    record = filler.fill(code.Record)
    target = code.parse_target({"target_id": TARGET_ID, "host": "x", "port": "many"}, {})
    batch = code.Batch(
        TICK, TICK + DAY, 4, 3, (code.PlannedTest(target, record, "parent"),), {"failures_per_alert": 2}, attempt=2
    )
    totals = {"a": filler.fill(code.Totals), "b": filler.fill(code.Totals)}
    with tables() as client:
        store = _store(code, client)
        batch_counts = {code.BATCH_COUNTS: {"4": "2026-11-24T03:00:00Z"}}
        store.put_checkpoint(replace(filler.fill(code.SweepCheckpoint), **batch_counts))
        store.commit(record, 0)
        store.put_samples(4, 3, TICK, "group", _samples(code))
        store.put_hour(4, 3, TICK, totals)
        store.put_day(4, 3, TICK, totals)
        items = read_items(client)
    return {
        "fields": {name: [known.name for known in fields(kind)] for name, kind in code.KINDS.items()},
        "serialized": {name: code.serialize(filler.fill(kind)) for name, kind in code.KINDS.items()},
        "items": items,
        "messages": [*code.to_messages(batch), *code.to_messages(code.RollupJob(TICK, 4, 3))],
    }


def rewrite(code: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a version's code writes once it has read what is given, as `write` returns it."""
    with tables() as client:
        put_items(client, given["items"])
        store = _store(code, client)
        checkpoint, records = store.read_records()
        [(tick, samples)] = store.read_samples(4, 3, TICK, TICK + DAY)
        [(hour, hour_totals)] = store.read_hours(4, 3, TICK, TICK + DAY)
        [(day, day_totals)] = store.read_days(4, 3, TICK, TICK + DAY)
        store.put_checkpoint(checkpoint)
        for record in records.values():
            store.commit(record, record.version)
        store.put_samples(4, 3, tick, "group", samples)
        store.put_hour(4, 3, hour, code.typed_totals(hour_totals))
        store.put_day(4, 3, day, code.typed_totals(day_totals))
        items = read_items(client)
    return {
        "fields": given["fields"],
        "serialized": {
            name: code.serialize(code.deserialize(code.KINDS[name], entry))
            for name, entry in given["serialized"].items()
        },
        "items": items,
        "messages": [body for message in given["messages"] for body in code.to_messages(code.from_message(message))],
    }


def _samples(code: Any) -> dict[str, object]:
    passed = code.Outcome(TICK, code.Phase.QUIT, rtt_ms=12.345)
    failed = code.Outcome(TICK, code.Phase.CONNECT, error=code.ErrorCode.CANNOT_CONNECT, reason="refused")
    return {
        "passed": code.sample_of(passed),
        "degraded": code.sample_of(replace(passed, failed_addresses=("192.0.2.1 refused",))),
        "failed": code.sample_of(failed),
        "maintenance": code.sample_of(failed, maintenance=True),
        "inconclusive": code.sample_of(failed, inconclusive=True),
    }


def _store(code: Any, client: Any) -> Any:
    kept = timedelta(days=36_500)
    return code.Store(client, code.Tables("Targets", "Status", "History", kept, kept), lambda: TICK + DAY)
