"""The three tables. Only this module knows their keys and items.

Targets   target_id                                   the user's; read, never written
Status    target_id                                   one record per target; `_sweep` holds the last completed tick
History   samples#N#B      <tick>#<group>[#<part>]    results of one message: target -> rtt_ms, or a map if not a pass
          hours#N#B        <hour>#<part>              an hour of a batch: target -> its totals, as JSON
          days#N#B         <day>#<part>               a day (UTC) of a batch, likewise
          target#ID        transition#<tick>#<version>
          target#ID        alert#<tick>#<version>
          target#ID        note#<time>#<action>       what someone did by command
          gaps             <begin>                    a time in which popwatch itself had stopped

N is the number of batches and B the batch, so that no partition takes more than one batch's writes; a reader asks for
each N under which the data may be. Writing an item of History twice changes nothing: its key depends only on what it
is about. A target's totals are one string of JSON: as maps, botocore's parsing made the report of a month of 1,000
targets take 25 seconds.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from popwatch.aws.items import Plain, from_item, to_item
from popwatch.aws.json_scans import take_as_json
from popwatch.decisions.schedule import chunks
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import Transition
from popwatch.model.messages import Message, Topic
from popwatch.model.records import EventKind, HistoryEvent, InterventionEvent, OutboxEntry, PublishedAlert, Record
from popwatch.model.samples import LARGEST_STORED, Sample, from_stored, to_stored
from popwatch.model.serialization import deserialize, serialize, stored_as
from popwatch.model.text import iso
from popwatch.model.totals import Totals

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ITEM_BYTES = 350_000
"""Samples or totals of one item, by their names and values; the rest goes into further items.

DynamoDB takes 400 KB (409,600 bytes), with an item's key, the names of its attributes, and 1 byte for each element:
docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
"""

SWEEP_ID = "_sweep"
"""Key of the Status item that holds the last completed tick; no target's id begins with `_`."""

SAMPLES_AT_ONCE = 5
"""Samples items of one page of `read_samples_back`: in most fleets the last five ticks have a test of every target."""

GAPS = "gaps"
"""The partition of the times in which popwatch itself had stopped."""

LONGEST_ID = 1024
"""Bytes of a target's id: it is part of History's partition keys, which take 2,048 bytes."""

KeptAs = Literal["samples", "hours", "days"]
"""What History keeps of tests, as its partition keys begin."""

TargetSamples = Mapping[str, Sample]
TargetTotals = Mapping[str, Totals]

_log = logging.getLogger("popwatch.aws.store")


@dataclass(frozen=True, slots=True)
class SweepCheckpoint:
    """How far sweeps have come: the last completed tick, the last hour added up.

    `batch_counts` are the numbers of batches that were ever in use, each with its last tick: History may have data of a
    target under any of them. `unknown_fields` is a digest of the unknown fields reported last, to report changes only.
    """

    tick: datetime | None = None
    hour: datetime | None = None
    batch_counts: Mapping[str, str] = field(default_factory=dict, metadata=stored_as("layouts"))
    unknown_fields: str = ""


@dataclass(slots=True)
class Capacity:
    """Capacity units that DynamoDB reported, by table and kind: what `make bench` prints."""

    read: dict[str, float] = field(default_factory=dict)
    write: dict[str, float] = field(default_factory=dict)

    def add(self, kind: dict[str, float], answer: Mapping[str, Any]) -> None:
        """Add the capacity that an answer of DynamoDB reports."""
        consumed = answer.get("ConsumedCapacity", [])
        for part in consumed if isinstance(consumed, list) else [consumed]:
            kind[part["TableName"]] = kind.get(part["TableName"], 0.0) + part["CapacityUnits"]


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of a stack's tables, and how long History keeps samples, and everything else (records)."""

    targets: str
    status: str
    history: str
    samples_kept: timedelta = timedelta(days=30)
    history_kept: timedelta = timedelta(days=400)


class Store:
    """The tables of one stack, over a DynamoDB client. Raises what botocore raises once its retries are used up.

    `clock` gives the present: expired items of History are not read, since DynamoDB may delete them days later.
    """

    def __init__(self, dynamodb: "DynamoDBClient", tables: Tables, clock: Callable[[], datetime]) -> None:
        self._dynamodb, self._tables, self._clock = dynamodb, tables, clock
        self.capacity = Capacity()
        take_as_json(dynamodb)

    @property
    def oldest_sample(self) -> datetime:
        """The time since which samples are kept."""
        return self._clock() - self._tables.samples_kept

    def read_targets(self) -> tuple[Plain, list[Plain]]:
        """The user's defaults and the items of all targets, as written.

        An item whose id cannot be used in popwatch's own keys is not a target; the log names it.
        """
        items = [item for item in self._scan(self._tables.targets) if _is_usable(item["target_id"])]
        defaults = next((item for item in items if item["target_id"] == DEFAULTS_ID), {})
        own = {name: value for name, value in defaults.items() if name != "target_id"}
        return own, [item for item in items if item["target_id"] != DEFAULTS_ID]

    def read_target(self, target_id: str) -> Plain | None:
        """The item of one target as it is now; None if its user has removed it."""
        return self._get(self._tables.targets, {"target_id": target_id})

    def read_records(self) -> tuple[SweepCheckpoint, dict[str, Record]]:
        """The sweep's checkpoint, and the record of each target that has one."""
        records: dict[str, Record] = {}
        checkpoint = SweepCheckpoint()
        for item in self._scan(self._tables.status):
            if item["target_id"] == SWEEP_ID:
                checkpoint = deserialize(SweepCheckpoint, item)
            else:
                records[item["target_id"]] = _record_of(item)
        return checkpoint, records

    def read_record(self, target_id: str) -> Record:
        """The present record of one target; an empty one if there is none."""
        item = self._get(self._tables.status, {"target_id": target_id})
        return _record_of(item) if item else Record(target_id)

    def read_checkpoint(self) -> SweepCheckpoint:
        """The sweep's checkpoint; an empty one if there is none."""
        return deserialize(SweepCheckpoint, self._get(self._tables.status, {"target_id": SWEEP_ID}) or {})

    def put_checkpoint(self, checkpoint: SweepCheckpoint) -> None:
        """Write how far sweeps have come; an older tick never replaces a newer one. `checkpoint.tick` is not None."""
        self._put_status(
            {"target_id": SWEEP_ID, **serialize(checkpoint)},
            "attribute_not_exists(target_id) OR #tick <= :tick",
            names={"#tick": "tick"},
            values={":tick": serialize(checkpoint.tick)},
        )

    def commit(self, record: Record, expected: int, judged: datetime | None = None) -> Record | None:
        """Write the record if the table still holds version `expected` of it (0: none), with a tick not after `judged`.

        Returns None when the table now holds it, else the record that it holds instead. This is the commit point of a
        judgement: the state and its outbox (transition and alert) are one item, so a crash never separates them.
        """
        condition, values, names = _unchanged(expected, judged)
        conflicting = self._put_status(serialize(record), condition, values=values, names=names)
        if conflicting is None:
            return None
        stored = _record_of(conflicting)
        # botocore repeats a request whose answer was lost. If the first one was carried out, the repeat fails on its
        # own write: version, writer and tick show that this is our record, so the commit has succeeded.
        ours = stored.version == record.version and stored.writer == record.writer and stored.tick == record.tick
        return None if ours else stored

    def delete_record(self, record: Record) -> None:
        """Delete the record of a target that its user removed, unless the record has changed since it was read."""
        condition, values, names = _unchanged(record.version, record.tick)
        options: Any = {"ExpressionAttributeNames": names} if names else {}
        try:
            answer = self._dynamodb.delete_item(
                TableName=self._tables.status,
                Key={"target_id": {"S": record.target_id}},
                ConditionExpression=condition,
                ExpressionAttributeValues=to_item(values),
                ReturnConsumedCapacity="TOTAL",
                **options,
            )
            self.capacity.add(self.capacity.write, answer)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def put_transition(self, target_id: str, entry: OutboxEntry) -> None:
        """Write the transition of an outbox entry into History."""
        self._put_history(
            _event_key(target_id, EventKind.TRANSITION, entry), serialize(entry.transition), self._tables.history_kept
        )

    def put_alert(self, target_id: str, entry: OutboxEntry, published: PublishedAlert) -> None:
        """Write into History which topics have accepted an alert, with its texts; those do not get it again."""
        item = {
            "sent_at": iso(published.sent_at),
            "message_id": published.message_id,
            "deliveries": serialize(published.message_ids),
            "summary": published.summary,
            **serialize(published.message),
        }
        self._put_history(_event_key(target_id, EventKind.ALERT, entry), item, self._tables.history_kept)

    def read_alert(self, target_id: str, entry: OutboxEntry) -> PublishedAlert | None:
        """What History says of an alert: the topics that have accepted it; None if no topic has."""
        item = self._get(self._tables.history, _event_key(target_id, EventKind.ALERT, entry))
        return _published_alert(item) if item else None

    def put_samples(self, batches: int, batch: int, tick: datetime, group: str, samples: TargetSamples) -> None:
        """Write the samples of one message; `group` tells them from those of other messages of the same tick.

        They are one item, or several if the targets' ids are long. Which samples are in which item depends on the ids
        only: a message that is processed again, with other results, replaces the same items.
        """
        names = sorted(samples)
        sizes = [len(name.encode()) + LARGEST_STORED for name in names]
        for number, part in enumerate(chunks(sizes, ITEM_BYTES)):
            key = {"pk": f"samples#{batches}#{batch}", "sk": f"{iso(tick)}#{group}" + (f"#{number}" if number else "")}
            results = {name: to_stored(samples[name]) for name in names[part]}
            self._put_history(key, {"results": results}, self._tables.samples_kept, tick)

    def read_samples(
        self, batches: int, batch: int, since: datetime, until: datetime, only: str | None = None
    ) -> Iterator[tuple[datetime, TargetSamples]]:
        """Each samples item of a batch in `since <= tick < until`, oldest first: its tick and its samples.

        With `only`, those of one target: AWS charges for the whole item, but little of it is transferred.
        """
        for item in self._query(f"samples#{batches}#{batch}", iso(since), iso(until), ("results", only)):
            yield _tick_of(item), _samples_of(item)

    def read_samples_back(self, batches: int, batch: int, since: datetime) -> Iterator[tuple[datetime, TargetSamples]]:
        """Each samples item of a batch since then, newest first, in small pages: a caller may stop early."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._tables.history,
            KeyConditionExpression="pk = :pk AND sk >= :since",
            ExpressionAttributeValues=to_item({":pk": f"samples#{batches}#{batch}", ":since": iso(since)}),
            ScanIndexForward=False,
            ReturnConsumedCapacity="TOTAL",
            PaginationConfig={"PageSize": SAMPLES_AT_ONCE},
        )
        return ((_tick_of(item), _samples_of(item)) for item in self._items(pages))

    def put_hour(self, batches: int, batch: int, hour: datetime, totals: TargetTotals) -> None:
        """Write the totals of an hour of a batch."""
        self._put_totals(f"hours#{batches}#{batch}", hour, totals)

    def put_day(self, batches: int, batch: int, day: datetime, totals: TargetTotals) -> None:
        """Write the totals of a day (UTC) of a batch."""
        self._put_totals(f"days#{batches}#{batch}", day, totals)

    def read_hours(
        self, batches: int, batch: int, since: datetime, until: datetime, only: str | None = None
    ) -> Iterator[tuple[datetime, TargetTotals]]:
        """The totals of a batch's hours in `since <= hour < until`, oldest first; an hour may come in several parts.

        With `only`, those of one target, for the same charge.
        """
        return self._read_totals(f"hours#{batches}#{batch}", since, until, only)

    def read_days(
        self, batches: int, batch: int, since: datetime, until: datetime, only: str | None = None
    ) -> Iterator[tuple[datetime, TargetTotals]]:
        """The totals of a batch's days (UTC) that begin in `since <= day < until`, like `read_hours`."""
        return self._read_totals(f"days#{batches}#{batch}", since, until, only)

    def read_inconclusive(
        self, part: KeptAs, batches: int, batch: int, since: datetime, until: datetime
    ) -> Iterator[tuple[datetime, Mapping[str, int]]]:
        """How many tests of each target were inconclusive, by day, hour or tick; only targets that have any are named.

        As expensive in read units as the totals, but fast: few totals contain the word, and the others are not parsed.
        """
        for item in self._query(f"{part}#{batches}#{batch}", iso(since), iso(until)):
            yield _tick_of(item), _inconclusive_in(item, part)

    def put_gap(self, begin: datetime, end: datetime) -> None:
        """Write that no sweep was completed between two ticks."""
        self._put_history({"pk": GAPS, "sk": iso(begin)}, {"until": iso(end)}, self._tables.history_kept, end)

    def read_gaps(self, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """The times in which popwatch itself had stopped that overlap the time from `since` to `until`."""
        gaps = [(_tick_of(item), datetime.fromisoformat(item["until"])) for item in self._query(GAPS, "0", iso(until))]
        return [(begin, end) for begin, end in gaps if end > since]

    def put_intervention(self, target_id: str, event: InterventionEvent) -> None:
        """Write what someone did about a target."""
        key = {"pk": f"target#{target_id}", "sk": f"{EventKind.INTERVENTION}#{iso(event.at)}#{event.action}"}
        self._put_history(key, serialize(event), self._tables.history_kept, event.at)

    def read_events(
        self, target_id: str, since: datetime | None = None, kinds: Iterable[EventKind] = tuple(EventKind)
    ) -> Iterator[HistoryEvent]:
        """The transitions, alerts and interventions of a target, oldest first within each kind."""
        start = iso(since) if since else ""
        for kind in kinds:
            for item in self._query(f"target#{target_id}", f"{kind}#{start}", f"{kind}#~"):
                yield _event_of(kind, item)

    def _put_status(
        self, item: Plain, condition: str, *, values: Plain, names: dict[str, str] | None = None
    ) -> Plain | None:
        """Put an item into Status on a condition; None if it was met, else the item that the table holds."""
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
            # Without an item, the record that was expected has been deleted.
            found: Any = error.response.get("Item", {"target_id": {"S": item["target_id"]}})
            return from_item(found)
        self.capacity.add(self.capacity.write, answer)
        return None

    def _get(self, table: str, key: Plain) -> Plain | None:
        """The item of a key as it is now; None if there is none."""
        answer = self._dynamodb.get_item(
            TableName=table, Key=to_item(key), ConsistentRead=True, ReturnConsumedCapacity="TOTAL"
        )
        self.capacity.add(self.capacity.read, answer)
        return from_item(answer["Item"]) if "Item" in answer else None

    def _put_history(self, key: Plain, item: Plain, kept: timedelta, at: datetime | None = None) -> None:
        begin = at or datetime.fromisoformat(key["sk"].split("#")[1])
        expires_at = int((begin + kept).timestamp())
        answer = self._dynamodb.put_item(
            TableName=self._tables.history,
            Item=to_item({**key, **item, "expires_at": expires_at}),
            ReturnConsumedCapacity="TOTAL",
        )
        self.capacity.add(self.capacity.write, answer)

    def _put_totals(self, pk: str, begin: datetime, totals: TargetTotals) -> None:
        packed = [(name, json.dumps(serialize(found), separators=(",", ":"))) for name, found in totals.items()]
        sizes = [len(name.encode()) + len(text) for name, text in packed]
        for number, some in enumerate(chunks(sizes, ITEM_BYTES)):
            key = {"pk": pk, "sk": f"{iso(begin)}#{number}"}
            self._put_history(key, {"totals": dict(packed[some])}, self._tables.history_kept, begin)

    def _read_totals(
        self, pk: str, since: datetime, until: datetime, only: str | None
    ) -> Iterator[tuple[datetime, TargetTotals]]:
        for item in self._query(pk, iso(since), iso(until), ("totals", only)):
            totals = item.get("totals", {})
            yield _tick_of(item), {name: deserialize(Totals, _unpacked(found)) for name, found in totals.items()}

    def _scan(self, table: str) -> Iterator[Plain]:
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table, ReturnConsumedCapacity="TOTAL")
        return self._items(pages)

    def _query(self, pk: str, first: str, before: str, only: tuple[str, str | None] = ("", None)) -> Iterator[Plain]:
        """The items of a partition with `first <= sk < before` that have not expired.

        With `only`, the name of a map and a key in it, the items have nothing else of that map.
        """
        if first >= before:  # DynamoDB refuses bounds that are the wrong way round, and nothing lies between them
            return iter(())
        options: Any = {}
        if all(only):
            options["ProjectionExpression"] = "sk, expires_at, #field.#key"
            options["ExpressionAttributeNames"] = {"#field": only[0], "#key": only[1]}
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._tables.history,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :before",
            ExpressionAttributeValues=to_item({":pk": pk, ":first": first, ":before": before}),
            ReturnConsumedCapacity="TOTAL",
            **options,
        )
        now = self._clock().timestamp()
        # BETWEEN includes its upper end; TTL deletes items up to some days after they have expired.
        return (item for item in self._items(pages) if item["sk"] < before and item["expires_at"] > now)

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


def _unchanged(version: int, judged: datetime | None) -> tuple[str, Plain, dict[str, str]]:
    """A condition, with its values and names, that a record of Status is still the one that was read.

    A target that was removed and added again has a new record, whose versions begin at 1: the version of a record that
    was read before the removal may come again. Its tick does not, as the new record is judged for later ticks only.
    """
    if not version:
        return "attribute_not_exists(target_id)", {}, {}
    if judged is None:
        return "version = :version", {":version": version}, {}
    values: Plain = {":version": version, ":judged": serialize(judged)}
    return "version = :version AND #tick <= :judged", values, {"#tick": "tick"}


def _record_of(item: Plain) -> Record:
    """The record in an item of Status. A damaged one counts as empty, and the next commit replaces it."""
    try:
        return deserialize(Record, item)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _log.error(
            "A record of the Status table cannot be read.",
            extra={"target_id": item["target_id"], "why": str(error)[:200]},
        )
        version = item.get("version")
        return Record(item["target_id"], version=version if isinstance(version, int) else 0)


def _samples_of(item: Plain) -> TargetSamples:
    return {target_id: from_stored(stored) for target_id, stored in item.get("results", {}).items()}


def _unpacked(totals: Any) -> Any:
    """A target's totals as a map. The first versions stored maps, not strings, and History keeps those for a year."""
    return json.loads(totals) if isinstance(totals, str) else totals


def _inconclusive_in(item: Plain, part: KeptAs) -> Mapping[str, int]:
    """The number of inconclusive tests in an item of samples, hours or days, by target, without zeros."""
    if part == "samples":
        return {target_id: 1 for target_id, sample in _samples_of(item).items() if sample.inconclusive}
    # `serialize` leaves out zeros, so only targets with inconclusive tests have the word in their totals.
    affected = {name: found for name, found in item.get("totals", {}).items() if "inconclusive" in found}
    return {name: deserialize(Totals, _unpacked(found)).inconclusive for name, found in affected.items()}


def _event_of(kind: EventKind, item: Plain) -> HistoryEvent:
    """The event in an item of History. A transition and an alert have the record's version in their key."""
    _, tick, last = item["sk"].split("#")
    at = datetime.fromisoformat(tick)
    match kind:
        case EventKind.TRANSITION:
            return HistoryEvent(at, deserialize(Transition, item), int(last))
        case EventKind.ALERT:
            return HistoryEvent(at, _published_alert(item), int(last))
        case EventKind.INTERVENTION:
            return HistoryEvent(at, deserialize(InterventionEvent, item))


def _published_alert(item: Plain) -> PublishedAlert:
    """The alert in an item of History. Versions with one topic for all receivers stored one id and no `deliveries`."""
    stored = item.get("deliveries", dict.fromkeys(Topic, item["message_id"]))
    message_ids = {topic: stored[topic] for topic in Topic if topic in stored}
    sent_at, summary = datetime.fromisoformat(item["sent_at"]), bool(item.get("summary"))
    return PublishedAlert(deserialize(Message, item), message_ids, sent_at, summary)


def _event_key(target_id: str, kind: EventKind, entry: OutboxEntry) -> Plain:
    return {"pk": f"target#{target_id}", "sk": f"{kind}#{iso(entry.tick)}#{entry.version}"}


def _tick_of(item: Plain) -> datetime:
    return datetime.fromisoformat(item["sk"].split("#")[0])
