"""The three tables. Only here are keys and items, but for the sign-ins that `guesses` counts in History.

Targets   target_id                                   the user's; read, never written
Status    target_id                                   one record a target; `_sweep` holds the last completed tick
History   samples#N#B      <tick>#<group>             results of one message: target -> rtt_ms, or a map for a failure
          hours#N#B        <hour>#<part>              an hour of a batch: target -> its totals, as JSON
          days#N#B         <day>#<part>               a day (UTC) of a batch, likewise
          target#ID        transition#<tick>#<version>
          target#ID        alert#<tick>#<version>
          target#ID        note#<moment>#<action>     what somebody did by command
          gaps             <begin>                    a time in which popwatch itself had stopped

N is the number of batches and B the batch, so that no partition takes more than one batch's writes; a reader asks for
each N it may lie under. Repeating a write of History changes nothing: its key says what it is. A target's totals are
one text: as maps, what botocore takes to read them made the report of a month of 1,000 targets take 25 seconds.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from popwatch.aws.items import Plain, from_item, to_item
from popwatch.aws.json_scans import take_as_json
from popwatch.decisions.schedule import chunks
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.plain import from_plain, to_plain
from popwatch.model.records import Note, OutboxEntry, Record
from popwatch.model.text import iso
from popwatch.model.totals import Totals

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TOTALS_BYTES = 350_000
"""The most that one item of totals holds; DynamoDB takes 400 KB. What is more becomes another part."""

SWEEP_ID = "_sweep"
"""Key of the Status item that holds the last completed tick; no target's id begins with `_`."""

SAMPLES_AT_ONCE = 5
"""Samples items of one read backwards: in most fleets the last five ticks hold a test of every target."""

GAPS = "gaps"
"""The partition of what nobody watched."""

LONGEST_ID = 1024
"""Bytes of a target's id, which becomes part of History's keys; those take 2,048, and a field takes 128 characters."""

EVENTS = ("transition", "alert", "note")
"""What is kept of a target, one item each."""

_log = logging.getLogger("popwatch.aws.store")


@dataclass(frozen=True, slots=True)
class SweepMark:
    """How far sweeps have come: the last completed tick, the last hour added up.

    `layouts` are the numbers of batches ever in use, each with the tick that used it last: under which of them an hour
    may lie. `unknown_fields` names the unknown fields reported last, to report each once per change.
    """

    tick: datetime | None = None
    hour: datetime | None = None
    layouts: Mapping[str, str] = field(default_factory=dict)
    unknown_fields: str = ""


@dataclass(slots=True)
class Capacity:
    """Capacity units that DynamoDB reported, by table and kind: what `make bench` prints."""

    read: dict[str, float] = field(default_factory=dict)
    write: dict[str, float] = field(default_factory=dict)

    def add(self, kind: dict[str, float], answer: Mapping[str, Any]) -> None:
        """Count what an answer says it consumed."""
        consumed = answer.get("ConsumedCapacity")
        for part in consumed if isinstance(consumed, list) else [consumed] if consumed else []:
            kind[part["TableName"]] = kind.get(part["TableName"], 0.0) + part["CapacityUnits"]


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of a stack's tables, and how long History keeps samples, and transitions, alerts and hours."""

    targets: str
    status: str
    history: str
    samples_kept: timedelta = timedelta(days=30)
    records_kept: timedelta = timedelta(days=400)


class Store:
    """The tables of one stack, over a DynamoDB client. Raises what botocore raises once its retries are used up.

    `clock` gives the present: History's items are passed over once they have expired, since DynamoDB deletes late.
    """

    def __init__(self, dynamodb: "DynamoDBClient", tables: Tables, clock: Callable[[], datetime]) -> None:
        self._dynamodb, self._tables, self._clock = dynamodb, tables, clock
        self.capacity = Capacity()
        take_as_json(dynamodb)

    @property
    def oldest_sample(self) -> datetime:
        """The moment from which on samples are kept."""
        return self._clock() - self._tables.samples_kept

    def read_targets(self) -> tuple[Plain, list[Plain]]:
        """The user's defaults and the items of all targets, as written.

        An item whose id would get in the way of popwatch's own keys is no target; the log says so.
        """
        items = [item for item in self._scan(self._tables.targets) if _is_usable(item["target_id"])]
        defaults = next((item for item in items if item["target_id"] == DEFAULTS_ID), {})
        own = {name: value for name, value in defaults.items() if name != "target_id"}
        return own, [item for item in items if item["target_id"] != DEFAULTS_ID]

    def read_records(self) -> tuple[SweepMark, dict[str, Record]]:
        """The sweep's mark, and the record of each target that has one."""
        records: dict[str, Record] = {}
        mark = SweepMark()
        for item in self._scan(self._tables.status):
            if item["target_id"] == SWEEP_ID:
                mark = from_plain(SweepMark, item)
            else:
                records[item["target_id"]] = _record_of(item)
        return mark, records

    def read_record(self, target_id: str) -> Record:
        """The record of one target as it is now; an empty one if there is none."""
        answer = self._dynamodb.get_item(
            TableName=self._tables.status,
            Key=to_item({"target_id": target_id}),
            ConsistentRead=True,
            ReturnConsumedCapacity="TOTAL",
        )
        self.capacity.add(self.capacity.read, answer)
        return _record_of(from_item(answer["Item"])) if "Item" in answer else Record(target_id)

    def mark_sweep(self, mark: SweepMark) -> None:
        """Write how far sweeps have come; an older tick never replaces a newer one. `mark.tick` is not None."""
        self._put_status(
            {"target_id": SWEEP_ID, **to_plain(mark)},
            "attribute_not_exists(target_id) OR #tick <= :tick",
            names={"#tick": "tick"},
            values={":tick": to_plain(mark.tick)},
        )

    def commit(self, record: Record, expected: int) -> Record | None:
        """Write the record if the table still holds version `expected` of it (0: none).

        Returns None when the table now holds it, else the record that is there instead. This is the commit point of a
        judgement: the state, the transition and the alert owed are in this one item.
        """
        condition, values = "version = :expected", {":expected": expected}
        if not expected:
            condition, values = "attribute_not_exists(target_id)", {}
        there = self._put_status(to_plain(record), condition, values=values)
        if there is None:
            return None
        stored = _record_of(there)
        ours = stored.version == record.version and stored.writer == record.writer and stored.tick == record.tick
        return None if ours else stored

    def delete_record(self, record: Record) -> None:
        """Forget a target that its user removed, unless its record has changed since it was read."""
        try:
            answer = self._dynamodb.delete_item(
                TableName=self._tables.status,
                Key={"target_id": {"S": record.target_id}},
                ConditionExpression="version = :version",
                ExpressionAttributeValues={":version": {"N": str(record.version)}},
                ReturnConsumedCapacity="TOTAL",
            )
            self.capacity.add(self.capacity.write, answer)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def put_transition(self, target_id: str, pending: OutboxEntry) -> None:
        """Write the history of a transition that a commit owes."""
        self._put_history(
            _record_key(target_id, "transition", pending), to_plain(pending.transition), self._tables.records_kept
        )

    def put_alert(
        self, target_id: str, pending: OutboxEntry, message_id: str, sent_at: datetime, *, summary: bool
    ) -> None:
        """Note that SNS accepted an alert, with its texts; from here on it is not sent again."""
        note = {"sent_at": iso(sent_at), "message_id": message_id, "summary": summary, **to_plain(pending.message)}
        self._put_history(_record_key(target_id, "alert", pending), note, self._tables.records_kept)

    def has_alert(self, target_id: str, pending: OutboxEntry) -> bool:
        """Whether SNS is known to have accepted this alert."""
        answer = self._dynamodb.get_item(
            TableName=self._tables.history,
            Key=to_item(_record_key(target_id, "alert", pending)),
            ConsistentRead=True,
            ProjectionExpression="pk",
            ReturnConsumedCapacity="TOTAL",
        )
        self.capacity.add(self.capacity.read, answer)
        return "Item" in answer

    def put_samples(self, batches: int, batch: int, tick: datetime, group: str, results: Mapping[str, object]) -> None:
        """Write the results of one message: `target_id -> rtt_ms`, or a map for anything but a pass."""
        key = {"pk": f"samples#{batches}#{batch}", "sk": f"{iso(tick)}#{group}"}
        self._put_history(key, {"results": dict(results)}, self._tables.samples_kept, tick)

    def read_samples(
        self, batches: int, batch: int, since: datetime, until: datetime, only: str | None = None
    ) -> Iterator[tuple[datetime, Plain]]:
        """Each samples item of a batch in `since <= tick < until`, oldest first: its tick and its results.

        Those of `only` one target, if that is named: the same is charged for, but little comes over the network.
        """
        for item in self._query(f"samples#{batches}#{batch}", iso(since), iso(until), ("results", only)):
            yield _tick_of(item), item.get("results", {})

    def read_newest_samples(self, batches: int, batch: int, limit: int) -> list[tuple[datetime, Plain]]:
        """The newest samples items of a batch, newest first."""
        answer = self._dynamodb.query(
            TableName=self._tables.history,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"samples#{batches}#{batch}"}},
            ScanIndexForward=False,
            Limit=limit,
            ReturnConsumedCapacity="TOTAL",
        )
        self.capacity.add(self.capacity.read, answer)
        items = [from_item(item) for item in answer["Items"]]
        return [(_tick_of(item), item["results"]) for item in items]

    def read_samples_back(self, batches: int, batch: int, since: datetime) -> Iterator[tuple[datetime, Plain]]:
        """Each samples item of a batch since a moment, newest first; a few are read at a time, as they are taken."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._tables.history,
            KeyConditionExpression="pk = :pk AND sk >= :since",
            ExpressionAttributeValues=to_item({":pk": f"samples#{batches}#{batch}", ":since": iso(since)}),
            ScanIndexForward=False,
            ReturnConsumedCapacity="TOTAL",
            PaginationConfig={"PageSize": SAMPLES_AT_ONCE},
        )
        return ((_tick_of(item), item["results"]) for item in self._items(pages))

    def put_hour(self, batches: int, batch: int, hour: datetime, totals: Mapping[str, Totals]) -> None:
        """Write an hour of a batch, added up by target."""
        self._put_totals(f"hours#{batches}#{batch}", hour, totals)

    def read_hours(
        self, batches: int, batch: int, since: datetime, until: datetime, only: str | None = None
    ) -> Iterator[tuple[datetime, Plain]]:
        """Each hour of a batch in `since <= hour < until`, oldest first, with its totals by target, in parts.

        Those of `only` one target, if that is named.
        """
        return self._read_totals(f"hours#{batches}#{batch}", since, until, only)

    def put_day(self, batches: int, batch: int, day: datetime, totals: Mapping[str, Totals]) -> None:
        """Write a day (UTC) of a batch, added up by target."""
        self._put_totals(f"days#{batches}#{batch}", day, totals)

    def read_days(
        self, batches: int, batch: int, since: datetime, until: datetime, only: str | None = None
    ) -> Iterator[tuple[datetime, Plain]]:
        """Each day (UTC) of a batch that begins in `since <= day < until`, as `read_hours` gives hours."""
        return self._read_totals(f"days#{batches}#{batch}", since, until, only)

    def put_gap(self, begin: datetime, end: datetime) -> None:
        """Note that no sweep was completed between two ticks."""
        self._put_history({"pk": GAPS, "sk": iso(begin)}, {"until": iso(end)}, self._tables.records_kept, end)

    def read_gaps(self, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """The times in which popwatch itself had stopped, as far as they lie in `since <= moment < until`."""
        found = self._query(GAPS, "0", iso(until))
        gaps = [(_tick_of(item), datetime.fromisoformat(item["until"])) for item in found]
        return [(begin, end) for begin, end in gaps if end > since]

    def put_note(self, target_id: str, note: Note) -> None:
        """Write what somebody did about a target."""
        key = {"pk": f"target#{target_id}", "sk": f"note#{iso(note.at)}#{note.action}"}
        self._put_history(key, to_plain(note), self._tables.records_kept, note.at)

    def read_events(
        self, target_id: str, since: datetime | None = None, kinds: Iterable[str] = EVENTS
    ) -> Iterator[Plain]:
        """The transitions, alerts and notes of a target, oldest first within each kind.

        Each is its item with `kind` and `tick`; transitions and alerts also have the `version` that brought them.
        """
        for kind in kinds:
            start = iso(since) if since else ""
            for item in self._query(f"target#{target_id}", f"{kind}#{start}", f"{kind}#~"):
                _, tick, last = item.pop("sk").split("#")
                version = {} if kind == "note" else {"version": int(last)}
                yield {**item, "kind": kind, "tick": datetime.fromisoformat(tick), **version}

    def _put_status(
        self, item: Plain, condition: str, *, values: Plain, names: dict[str, str] | None = None
    ) -> Plain | None:
        """Put an item of Status on a condition; None when it was met, else the item that is there."""
        options: Any = {"ExpressionAttributeNames": names} if names else {}
        if values:
            options["ExpressionAttributeValues"] = to_item(values)
        try:
            answer = self._dynamodb.put_item(
                TableName=self._tables.status,
                Item=to_item(item),
                ConditionExpression=condition,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                ReturnConsumedCapacity="TOTAL",
                **options,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            there: Any = error.response.get("Item", {"target_id": {"S": item["target_id"]}})
            return from_item(there)
        self.capacity.add(self.capacity.write, answer)
        return None

    def _put_history(self, key: Plain, item: Plain, kept: timedelta, at: datetime | None = None) -> None:
        moment = at or datetime.fromisoformat(key["sk"].split("#")[1])
        expires_at = int((moment + kept).timestamp())
        answer = self._dynamodb.put_item(
            TableName=self._tables.history,
            Item=to_item({**key, **item, "expires_at": expires_at}),
            ReturnConsumedCapacity="TOTAL",
        )
        self.capacity.add(self.capacity.write, answer)

    def _put_totals(self, pk: str, moment: datetime, totals: Mapping[str, Totals]) -> None:
        plain = [(target_id, json.dumps(to_plain(found), separators=(",", ":"))) for target_id, found in totals.items()]
        sizes = [len(target_id.encode()) + len(text) for target_id, text in plain]
        for part, some in enumerate(chunks(sizes, TOTALS_BYTES)):
            key = {"pk": pk, "sk": f"{iso(moment)}#{part}"}
            self._put_history(key, {"totals": dict(plain[some])}, self._tables.records_kept, moment)

    def _read_totals(
        self, pk: str, since: datetime, until: datetime, only: str | None
    ) -> Iterator[tuple[datetime, Plain]]:
        for item in self._query(pk, iso(since), iso(until), ("totals", only)):
            totals = item.get("totals", {})
            yield _tick_of(item), {target_id: _unpacked(found) for target_id, found in totals.items()}

    def _scan(self, table: str) -> Iterator[Plain]:
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table, ReturnConsumedCapacity="TOTAL")
        return self._items(pages)

    def _query(self, pk: str, first: str, before: str, part: tuple[str, str | None] = ("", None)) -> Iterator[Plain]:
        """The items of a partition with `first <= sk < before` that have not expired; DynamoDB deletes late.

        With `part`, a field's name and a key in it, only that of them.
        """
        options: Any = {}
        if all(part):
            options["ProjectionExpression"] = "sk, expires_at, #field.#key"
            options["ExpressionAttributeNames"] = {"#field": part[0], "#key": part[1]}
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._tables.history,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :before",
            ExpressionAttributeValues=to_item({":pk": pk, ":first": first, ":before": before}),
            ReturnConsumedCapacity="TOTAL",
            **options,
        )
        today = self._clock().timestamp()
        return (item for item in self._items(pages) if item["sk"] < before and item["expires_at"] > today)

    def _items(self, pages: Iterable[Any]) -> Iterator[Plain]:
        for page in pages:
            self.capacity.add(self.capacity.read, page)
            yield from (from_item(item) for item in page["Items"])


def _is_usable(target_id: str) -> bool:
    usable = target_id != SWEEP_ID and len(target_id.encode("utf-8", "replace")) <= LONGEST_ID
    if not usable:
        _log.error(
            "An item of the Targets table cannot be tested: change its id.", extra={"target_id": target_id[:128]}
        )
    return usable


def _record_of(item: Plain) -> Record:
    """The record in an item of Status. One that somebody damaged is as good as none, and is written anew."""
    try:
        record: Record = from_plain(Record, item)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _log.error(
            "A record of the Status table cannot be read.",
            extra={"target_id": item["target_id"], "why": str(error)[:200]},
        )
        version = item.get("version")
        return Record(item["target_id"], version=version if isinstance(version, int) else 0)
    return record


def _unpacked(totals: Any) -> Any:
    """A target's totals, which are one text; they were a map at first, and History keeps those for a year."""
    return json.loads(totals) if isinstance(totals, str) else totals


def _record_key(target_id: str, kind: str, pending: OutboxEntry) -> Plain:
    return {"pk": f"target#{target_id}", "sk": f"{kind}#{iso(pending.tick)}#{pending.version}"}


def _tick_of(item: Plain) -> datetime:
    return datetime.fromisoformat(item["sk"].split("#")[0])
