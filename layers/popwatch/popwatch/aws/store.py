"""The three tables. Only this module knows their keys and items.

Targets   target_id                                   the user's; read, never written
Status    target_id                                   one record per target; `_sweep` holds the last completed tick,
                                                      `_credential#NAME` how logins with a credential went
History   samples#N#B      <tick>#<digest>[#<part>]    results of one message: target -> rtt_ms, or a map if not a pass
          hours#N#B        <hour>#<part>              an hour of a batch: target -> its totals, as JSON
          days#N#B         <day>#<part>               a day (UTC) of a batch, likewise
          target#ID        transition#<tick>#<version>
          target#ID        alert#<tick>#<version>
          target#ID        note#<time>#<action>       what someone did by command
          target#ID        posture#<time>#            what a server offers, when that has changed
          gaps             <begin>                    a time in which popwatch itself had stopped

N is the number of batches and B the batch, so that no partition takes more than one batch's writes; a reader asks for
each N under which the data may be. Writing an item of History twice changes nothing: its key depends only on what it
is about. A target's totals are one string of JSON: as maps, botocore's parsing made the report of a month of 1,000
targets take 25 seconds.

Each item is read alone. One that someone damaged, or that is about the future, is ignored: it is logged once, and
`damaged` names it. The next write replaces such an item of Status.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, assert_never

from botocore.exceptions import ClientError

from popwatch.aws.items import from_item, to_item
from popwatch.aws.json_scans import parse_as_json
from popwatch.decisions.schedule import chunks
from popwatch.model.credential_state import SCHEMA_VERSION, CredentialState, check_revision, upgraded
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import Transition
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.posture import PostureChange
from popwatch.model.records import (
    MAX_BATCHES,
    EventKind,
    HistoryEvent,
    InterventionEvent,
    OutboxEntry,
    PublishedAlert,
    Record,
    check_record,
)
from popwatch.model.samples import LARGEST_STORED, Sample, from_stored, to_stored
from popwatch.model.serialization import (
    COUNTS,
    DAMAGE,
    DamagedError,
    check_times,
    deserialize,
    serialize,
    stored_as,
)
from popwatch.model.targets import Item
from popwatch.model.text import clean, iso
from popwatch.model.time_limits import STORED_AHEAD
from popwatch.model.totals import Totals, check_totals

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ITEM_BYTES = 350_000
"""Samples or totals of one item, by their names and values; the rest goes into further items.

DynamoDB takes 400 KB (409,600 bytes), with an item's key, the names of its attributes, and 1 byte for each element:
docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
"""

SWEEP_ID = "_sweep"
"""Key of the Status item that holds the last completed tick; no target's id begins with `_`."""

CREDENTIAL_PREFIX = "_credential#"
"""How the keys of the Status items begin that hold how logins with a credential went.

Versions without logins take such an item for the record of a removed target, and delete it: then the credential is
tried again by one target.
"""

WRITE_ATTEMPTS = 5
"""How often a writer tries to write an item of Status that other writers keep changing after each read."""

SAMPLES_AT_ONCE = 5
"""Samples items of one page of `read_samples_back`: in most fleets the last five ticks have a test of every target."""

GAPS = "gaps"
"""The partition of the times in which popwatch itself had stopped."""

LONGEST_ID_BYTES = 1024
"""Bytes of a target's id: it is part of History's partition keys, which take 2,048 bytes."""

MAX_DAMAGED = 1000
"""Damaged items that a store remembers, and logs."""

KEY_SHOWN, WHY_SHOWN = 200, 200
"""Characters of a damaged item's key, and of what is wrong with it, in the log."""

Resolution = Literal["samples", "hours", "days"]
"""What History keeps of tests, as its partition keys begin."""

TargetSamples = Mapping[str, Sample]
TargetTotals = Mapping[str, Totals]

_T = TypeVar("_T")
_Stored = TypeVar("_Stored", Item, tuple[str, Any])

Condition = tuple[str, dict[str, Any], dict[str, str]]
"""A ConditionExpression, its values in DynamoDB's own form, and its names."""

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
class StatusTable:
    """What the Status table holds: how far sweeps have come, the record of each target that has one, and how logins
    with each credential went, by its name.
    """

    checkpoint: SweepCheckpoint = field(default_factory=SweepCheckpoint)
    records: dict[str, Record] = field(default_factory=dict)
    credentials: dict[str, CredentialState] = field(default_factory=dict)


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
    """The names of a stack's tables, and how long History keeps samples, and everything else."""

    targets: str
    status: str
    history: str
    samples_kept: timedelta = timedelta(days=30)
    history_kept: timedelta = timedelta(days=400)


class Store:
    """The tables of one stack, over a DynamoDB client. Raises what botocore raises once its retries are used up.

    `clock` gives the current time: expired items of History are not read, since DynamoDB may delete them days later. It
    may be behind by up to `clock_error`: a stored time that is further in the future is damage. `damaged` is what could
    not be read: by table and key, why.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        tables: Tables,
        clock: Callable[[], datetime],
        *,
        clock_error: timedelta = timedelta(),
    ) -> None:
        self._dynamodb, self._tables = dynamodb, tables
        self._clock, self._clock_error = clock, clock_error
        self.capacity = Capacity()
        self.damaged: dict[tuple[str, str], str] = {}
        parse_as_json(dynamodb)

    @property
    def _latest(self) -> datetime:
        """The current time by the fastest clock of those that write."""
        return self._clock() + self._clock_error

    @property
    def oldest_sample(self) -> datetime:
        """The time since which samples are kept."""
        return self._clock() - self._tables.samples_kept

    def read_targets(self) -> tuple[Item, list[Item]]:
        """The user's defaults and the items of all targets, as written.

        An item whose id cannot be used in popwatch's own keys is not a target; the log names it.
        """
        items = list(self._parsed(self._tables.targets, "", self._scan(self._tables.targets), _usable))
        defaults = next((item for item in items if item["target_id"] == DEFAULTS_ID), {})
        own = {name: value for name, value in defaults.items() if name != "target_id"}
        return own, [item for item in items if item["target_id"] != DEFAULTS_ID]

    def read_target(self, target_id: str) -> Item | None:
        """The item of one target as it is now; None if its user has removed it."""
        return self._get(self._tables.targets, {"target_id": target_id})

    def read_records(self) -> tuple[SweepCheckpoint, dict[str, Record]]:
        """The sweep's checkpoint, and the record of each target that has one."""
        status = self._read_status(with_credentials=False)  # each sweep reads this, and needs none
        return status.checkpoint, status.records

    def read_status(self) -> StatusTable:
        """All that the Status table holds."""
        return self._read_status(with_credentials=True)

    def _read_status(self, *, with_credentials: bool) -> StatusTable:
        status = StatusTable()
        for item in self._scan(self._tables.status):
            target_id = item["target_id"]
            if target_id == SWEEP_ID:
                status.checkpoint = self._checkpoint_of(item)
            elif not target_id.startswith(CREDENTIAL_PREFIX):
                status.records[target_id] = self._record_of(item)
            elif with_credentials:
                name = target_id.removeprefix(CREDENTIAL_PREFIX)
                status.credentials[name] = self._credential_state_of(name, item)
        return status

    def read_record(self, target_id: str) -> Record:
        """The record of one target as it is now; an empty one if there is none."""
        item = self._get(self._tables.status, {"target_id": target_id})
        return self._record_of(item) if item else Record(target_id)

    def read_checkpoint(self) -> SweepCheckpoint:
        """The sweep's checkpoint; an empty one if there is none."""
        return self._checkpoint_of(self._get(self._tables.status, {"target_id": SWEEP_ID}) or {})

    def put_checkpoint(self, checkpoint: SweepCheckpoint) -> None:
        """Write how far sweeps have come; an older tick never replaces a newer one. `checkpoint.tick` is not None.

        A stored tick that cannot be read, or is in the future, does not count as newer: it is replaced.
        """
        item = {"target_id": SWEEP_ID, **serialize(checkpoint)}
        condition = "attribute_not_exists(target_id) OR #tick <= :tick"
        found = self._put_status(item, (condition, to_item({":tick": item["tick"]}), {"#tick": "tick"}))
        if found and self._checkpoint_of(from_item(found)).tick is None:
            self._put_status(item, _as_found(found))

    def commit(self, record: Record, expected: int, expected_tick: datetime | None = None) -> Record | None:
        """Write the record if the table still holds version `expected` of it (0: none), with a tick no later than
        `expected_tick`.

        Returns None when the table now holds it, else the record that it holds instead. This is the commit point of a
        judgement: the state and its outbox (transition and alert) are one item, so a crash never separates them.
        """
        item = serialize(record)
        found = self._put_status(item, _unchanged(expected, expected_tick))
        if found is None:
            return None
        stored = self._record_of(from_item(found))
        if (stored.version, stored.tick) == (expected, expected_tick):
            # It has not changed since it was read, but it was edited by hand: no condition on values of ours matches a
            # version or a tick of another type. So the condition is that both are as DynamoDB has just sent them.
            found = self._put_status(item, _as_found(found))
            if found is None:
                return None
            stored = self._record_of(from_item(found))
        # botocore repeats a request whose answer was lost. If the first one was carried out, the repeat fails on its
        # own write: this is our record, so the commit has succeeded. The outbox tells it from another write of ours.
        return None if _identity_of(stored) == _identity_of(record) else stored

    def delete_record(self, record: Record) -> None:
        """Delete the record of a target that its user removed, unless the record has changed since it was read."""
        found = self._delete_status(record.target_id, _unchanged(record.version, record.tick))
        if found:
            stored = self._record_of(from_item(found))
            if (stored.version, stored.tick) == (record.version, record.tick):
                self._delete_status(record.target_id, _as_found(found))

    def read_credential_state(self, name: str) -> CredentialState:
        """How logins with a credential went; an empty state if there were none."""
        item = self._get(self._tables.status, {"target_id": CREDENTIAL_PREFIX + name})
        return self._credential_state_of(name, item) if item else CredentialState(name)

    def put_credential_state(self, state: CredentialState, expected: int) -> CredentialState | None:
        """Write a state if the table still holds version `expected` of it (0: none).

        Returns None when the table now holds it, else the state that it holds instead.
        """
        item = {
            "target_id": CREDENTIAL_PREFIX + state.name,
            "version": state.version,
            "credential": serialize(state),
            "form": SCHEMA_VERSION,
        }
        found = self._put_status(item, _unchanged(expected, None))
        if found is None:
            return None
        stored = self._credential_state_of(state.name, from_item(found))
        if stored.version == expected:  # edited by hand: see `commit`
            found = self._put_status(item, _as_found(found))
            if found is None:
                return None
            stored = self._credential_state_of(state.name, from_item(found))
        return None if stored == state else stored  # botocore repeats a request whose answer was lost

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
        pk, items = f"target#{target_id}", [item] if item else []
        return next(self._parsed(self._tables.history, pk, items, _published_alert), None)

    def put_samples(self, batches: int, batch: int, tick: datetime, digest: str, samples: TargetSamples) -> bool:
        """Write the samples of one message; `digest` tells them from those of other messages of the same tick.

        They are one item, or several if the targets' ids are long. Which samples are in which item depends on the ids
        only: a message that is processed again, with other results, replaces the same items. Returns whether any item
        is new, which none is of a message that SQS delivered twice.
        """
        found = []
        names = sorted(samples)
        sizes = [len(name.encode()) + LARGEST_STORED for name in names]
        for number, part in enumerate(chunks(sizes, ITEM_BYTES)):
            key = {"pk": f"samples#{batches}#{batch}", "sk": f"{iso(tick)}#{digest}" + (f"#{number}" if number else "")}
            results = {name: to_stored(samples[name]) for name in names[part]}
            found.append(self._put_history(key, {"results": results}, self._tables.samples_kept, tick))
        return any(found)

    def read_samples(
        self, batches: int, batch: int, since: datetime, until: datetime, only: str | None = None
    ) -> Iterator[tuple[datetime, TargetSamples]]:
        """Each samples item of a batch in `since <= tick < until`, oldest first: its tick and its samples.

        With `only`, those of one target: AWS charges for the whole item, but little of it is transferred.
        """
        pk = f"samples#{batches}#{batch}"
        yield from self._dated(pk, self._query(pk, iso(since), iso(until), ("results", only)), _samples_of)

    def read_samples_back(self, batches: int, batch: int, since: datetime) -> Iterator[tuple[datetime, TargetSamples]]:
        """Each samples item of a batch since then, newest first, in small pages: a caller may stop early."""
        pk = f"samples#{batches}#{batch}"
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._tables.history,
            KeyConditionExpression="pk = :pk AND sk >= :since",
            ExpressionAttributeValues=to_item({":pk": pk, ":since": iso(since)}),
            ScanIndexForward=False,
            ReturnConsumedCapacity="TOTAL",
            PaginationConfig={"PageSize": SAMPLES_AT_ONCE},
        )
        return self._dated(pk, self._items(pages), _samples_of, open_end=True)

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
        self, part: Resolution, batches: int, batch: int, since: datetime, until: datetime
    ) -> Iterator[tuple[datetime, Mapping[str, int]]]:
        """How many tests of each target were inconclusive, by day, hour or tick; only targets that have any are named.

        As expensive in read units as the totals, but fast: few totals contain the word, and the others are not parsed.
        """
        pk = f"{part}#{batches}#{batch}"
        items = self._query(pk, iso(since), iso(until))
        if part == "samples":
            for tick, samples in self._dated(pk, items, _samples_of):
                yield tick, {target_id: 1 for target_id, sample in samples.items() if sample.inconclusive}
            return
        # `serialize` leaves out zeros, so only targets with inconclusive tests have the word in their totals.
        for begin, totals in self._dated_totals(pk, items, only_with="inconclusive"):
            yield begin, {target_id: found.inconclusive for target_id, found in totals.items()}

    def put_gap(self, begin: datetime, end: datetime) -> None:
        """Write that no sweep was completed between two ticks."""
        self._put_history({"pk": GAPS, "sk": iso(begin)}, {"until": iso(end)}, self._tables.history_kept, end)

    def read_gaps(self, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """The times in which popwatch itself had stopped that overlap the time from `since` to `until`."""
        gaps = self._dated(GAPS, self._query(GAPS, "0", iso(until)), lambda item: self._not_future(item["until"]))
        return [(begin, end) for begin, end in gaps if end > since]

    def put_intervention(self, target_id: str, event: InterventionEvent) -> None:
        """Write what someone did about a target."""
        key = {"pk": f"target#{target_id}", "sk": f"{EventKind.INTERVENTION}#{iso(event.at)}#{event.action}"}
        self._put_history(key, serialize(event), self._tables.history_kept, event.at)

    def put_posture(self, target_id: str, change: PostureChange) -> None:
        """Write what a server offers since it changed."""
        at = change.posture.tested_at
        key = {"pk": f"target#{target_id}", "sk": f"{EventKind.POSTURE}#{iso(at)}#"}
        self._put_history(key, serialize(change), self._tables.history_kept, at)

    def read_events(
        self,
        target_id: str,
        since: datetime | None = None,
        kinds: Iterable[EventKind] = tuple(EventKind),
        until: datetime | None = None,
    ) -> Iterator[HistoryEvent]:
        """The events of a target, oldest first within each kind; of ticks from `since` on, before `until`."""
        # Sort keys that come before and after all times: "~" is behind every digit.
        start, end = iso(since) if since else "", iso(until) if until else "~"
        pk = f"target#{target_id}"
        for kind in kinds:
            items = self._query(pk, f"{kind}#{start}", f"{kind}#{end}")
            yield from self._parsed(self._tables.history, pk, items, partial(self._event_of, kind))

    def _put_status(self, item: Item, condition: Condition) -> Any:
        """Put an item into Status on a condition; None if it was met, else the item that the table holds."""
        return self._change_status(self._dynamodb.put_item, item["target_id"], condition, Item=to_item(item))

    def _delete_status(self, target_id: str, condition: Condition) -> Any:
        """Delete an item of Status on a condition; None if it was met, else the item that the table holds."""
        key = to_item({"target_id": target_id})
        return self._change_status(self._dynamodb.delete_item, target_id, condition, Key=key)

    def _change_status(self, change: Any, target_id: str, condition: Condition, **request: object) -> Any:
        expression, values, names = condition
        if values:
            request["ExpressionAttributeValues"] = values
        if names:
            request["ExpressionAttributeNames"] = names
        try:
            answer = change(
                TableName=self._tables.status,
                ConditionExpression=expression,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                ReturnConsumedCapacity="TOTAL",
                **request,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            # Without an item, the one that was expected has been deleted.
            return error.response.get("Item", {"target_id": {"S": target_id}})
        self.capacity.add(self.capacity.write, answer)
        return None

    def _get(self, table: str, key: Item) -> Item | None:
        """The item of a key as it is now; None if there is none."""
        answer = self._dynamodb.get_item(
            TableName=table, Key=to_item(key), ConsistentRead=True, ReturnConsumedCapacity="TOTAL"
        )
        self.capacity.add(self.capacity.read, answer)
        return from_item(answer["Item"]) if "Item" in answer else None

    def _put_history(self, key: Item, item: Item, kept: timedelta, at: datetime | None = None) -> bool:
        """Put an item into History; whether there was none with its key. To ask for the old item costs no capacity."""
        begin = at or datetime.fromisoformat(key["sk"].split("#")[1])
        expires_at = int((begin + kept).timestamp())
        answer = self._dynamodb.put_item(
            TableName=self._tables.history,
            Item=to_item({**key, **item, "expires_at": expires_at}),
            ReturnValues="ALL_OLD",
            ReturnConsumedCapacity="TOTAL",
        )
        self.capacity.add(self.capacity.write, answer)
        return "Attributes" not in answer

    def _put_totals(self, pk: str, begin: datetime, totals: TargetTotals) -> None:
        packed = [(name, json.dumps(serialize(found), separators=(",", ":"))) for name, found in totals.items()]
        sizes = [len(name.encode()) + len(text) for name, text in packed]
        for number, some in enumerate(chunks(sizes, ITEM_BYTES)):
            key = {"pk": pk, "sk": f"{iso(begin)}#{number}"}
            self._put_history(key, {"totals": dict(packed[some])}, self._tables.history_kept, begin)

    def _read_totals(
        self, pk: str, since: datetime, until: datetime, only: str | None
    ) -> Iterator[tuple[datetime, TargetTotals]]:
        return self._dated_totals(pk, self._query(pk, iso(since), iso(until), ("totals", only)))

    def _dated_totals(
        self, pk: str, items: Iterator[Item], only_with: str = ""
    ) -> Iterator[tuple[datetime, TargetTotals]]:
        """The totals in items of hours or days, of each target alone; `only_with` is a word that they must contain."""
        for begin, totals in self._dated(pk, items, lambda item: item.get("totals", {}).items()):
            wanted = [(name, found) for name, found in totals if not only_with or only_with in str(found)]
            where = f"{pk} {iso(begin)}"
            yield begin, dict(self._parsed(self._tables.history, where, wanted, _totals_of))

    def _scan(self, table: str) -> Iterator[Item]:
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table, ReturnConsumedCapacity="TOTAL")
        return self._items(pages)

    def _query(self, pk: str, first: str, before: str, only: tuple[str, str | None] = ("", None)) -> Iterator[Item]:
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
        return (item for item in self._items(pages) if item["sk"] < before and not _has_expired(item, now))

    def _parsed(self, table: str, where: str, items: Iterable[_Stored], parse: Callable[[_Stored], _T]) -> Iterator[_T]:
        """What `parse` makes of each item; one that it cannot read is recorded as damaged, and left out."""
        for item in items:
            try:
                found = parse(item)
            except DAMAGE as error:
                key = item[0] if isinstance(item, tuple) else item.get("sk") or item["target_id"]
                self._record_damage(table, f"{where} {key}".strip(), error)
            else:
                yield found

    def _dated(
        self, pk: str, items: Iterable[Item], parse: Callable[[Item], _T], *, open_end: bool = False
    ) -> Iterator[tuple[datetime, _T]]:
        """The time in each item's key, and what `parse` makes of the item; with `open_end`, the future is damage."""
        time_of = self._not_future if open_end else partial(deserialize, datetime)
        return self._parsed(
            self._tables.history, pk, items, lambda item: (time_of(item["sk"].split("#")[0]), parse(item))
        )

    def _not_future(self, stored: object) -> datetime:
        """A stored time. Raises DamagedError for one of the future, which would hide what is true until then."""
        time = deserialize(datetime, stored)
        if time > self._latest + STORED_AHEAD:
            raise DamagedError(f"{iso(time)} is in the future")
        return time

    def _checkpoint_of(self, item: Item) -> SweepCheckpoint:
        """The checkpoint in an item of Status, each field of it read alone."""
        fields = [(name, item[name]) for name in self._checkpoint_readers if name in item]
        found = dict(self._parsed(self._tables.status, SWEEP_ID, fields, self._field_of_checkpoint))
        counts = item.get("layouts", {})
        if not isinstance(counts, dict):
            self._record_damage(self._tables.status, f"{SWEEP_ID} layouts", DamagedError("it is not a map"))
            counts = {}
        used = dict(self._parsed(self._tables.status, f"{SWEEP_ID} layouts", counts.items(), self._batch_count))
        return SweepCheckpoint(**found, batch_counts=used)

    def _field_of_checkpoint(self, entry: tuple[str, Any]) -> tuple[str, Any]:
        name, stored = entry
        return name, self._checkpoint_readers[name](stored)

    @cached_property
    def _checkpoint_readers(self) -> Mapping[str, Callable[[Any], Any]]:
        return {"tick": self._recent, "hour": self._added_up, "unknown_fields": partial(deserialize, str)}

    def _recent(self, stored: object) -> datetime:
        tick = self._not_future(stored)
        if tick < self._clock() - self._tables.history_kept:
            raise DamagedError(f"{iso(tick)} is long past")
        return tick

    def _added_up(self, stored: object) -> datetime:
        """The last hour that was added up; if that is long ago, the last one whose samples are not kept any more."""
        return max(self._not_future(stored), self.oldest_sample.replace(minute=0, second=0, microsecond=0))

    def _batch_count(self, entry: tuple[str, Any]) -> tuple[str, str]:
        count, used = entry
        if not 1 <= int(count) <= MAX_BATCHES:
            raise DamagedError("no fleet has so many batches")
        return str(int(count)), iso(self._not_future(used))

    def _record_of(self, item: Item) -> Record:
        """The record in an item of Status. A damaged one is read as empty, and the next commit replaces it."""
        try:
            record = deserialize(Record, item)
            check_record(record, self._latest)
        except DamagedError as error:
            self._record_damage(self._tables.status, item["target_id"], error)
            return Record(item["target_id"], version=_version_of(item))
        return record

    def _credential_state_of(self, name: str, item: Item) -> CredentialState:
        """The state in an item of Status. A damaged one is read as empty, and the next write replaces it."""
        try:
            state = deserialize(CredentialState, item.get("credential", {"name": name}))
            if item.get("form") != SCHEMA_VERSION:
                state = upgraded(state)
            check_revision(state.revision, self._latest)
            if state.name != name or state.version != item.get("version", 0):
                raise DamagedError("its name or its version cannot be so")
        except DAMAGE as error:
            self._record_damage(self._tables.status, item["target_id"], error)
            return CredentialState(name, version=_version_of(item))
        return state

    def _event_of(self, kind: EventKind, item: Item) -> HistoryEvent:
        """The event in an item of History. A transition and an alert have the record's version in their key."""
        _, tick, last = item["sk"].split("#")
        at = deserialize(datetime, tick)
        match kind:
            case EventKind.TRANSITION:
                event = HistoryEvent(at, deserialize(Transition, item), deserialize(int, int(last)))
            case EventKind.ALERT:
                event = HistoryEvent(at, _published_alert(item), deserialize(int, int(last)))
            case EventKind.INTERVENTION:
                event = HistoryEvent(at, deserialize(InterventionEvent, item))
            case EventKind.POSTURE:
                event = HistoryEvent(at, deserialize(PostureChange, item))
            case unknown:
                assert_never(unknown)
        check_times(event, self._latest)
        return event

    def _record_damage(self, table: str, key: str, error: Exception) -> None:
        """Record that an item cannot be read, and log it the first time that this store meets it."""
        if (table, key) in self.damaged or len(self.damaged) >= MAX_DAMAGED:
            return
        self.damaged[table, key] = clean(str(error), WHY_SHOWN)
        shown = {"table": table, "key": clean(key, KEY_SHOWN), "why": self.damaged[table, key]}
        _log.error(
            "An item cannot be read, and is ignored. A sweep replaces it in Status; correct or delete any other.",
            extra=shown,
        )

    def _items(self, pages: Iterable[Any]) -> Iterator[Item]:
        for page in pages:
            self.capacity.add(self.capacity.read, page)
            yield from (from_item(item) for item in page["Items"])


def _usable(item: Item) -> Item:
    """The item of a target whose id can be part of popwatch's own keys."""
    own = item["target_id"] == SWEEP_ID or item["target_id"].startswith(CREDENTIAL_PREFIX)
    if own or len(item["target_id"].encode("utf-8", "replace")) > LONGEST_ID_BYTES:
        raise DamagedError("such an item cannot be tested: change its id")
    return item


def _version_of(item: Item) -> int:
    """The version in a damaged item of Status; 0 if it has none."""
    version = item.get("version")
    return version if type(version) is int and version in COUNTS else 0


def _has_expired(item: Item, now: float) -> bool:
    """Whether its time is over; an item that has none, since someone changed it, is kept by DynamoDB too."""
    expires_at = item.get("expires_at")
    return isinstance(expires_at, int | float) and expires_at <= now


def _unchanged(version: int, expected_tick: datetime | None) -> Condition:
    """A condition that a record of Status is still the one that was read.

    A target that was removed and added again has a new record, whose versions begin at 1: the version of a record that
    was read before the removal may come again. Its tick does not, as the new record is judged for later ticks only.
    """
    if not version:
        return "attribute_not_exists(target_id)", {}, {}
    if expected_tick is None:
        return "version = :version", to_item({":version": version}), {}
    values = to_item({":version": version, ":expected_tick": serialize(expected_tick)})
    return "version = :version AND #tick <= :expected_tick", values, {"#tick": "tick"}


def _as_found(item: Mapping[str, Any]) -> Condition:
    """A condition that an item of Status has the version and the tick with which DynamoDB sent it, of whatever type.

    `_unchanged` compares them with what popwatch read in them: that fails for ever if someone has stored another type.
    """
    clauses: list[str] = []
    values: dict[str, Any] = {}
    for name in ("version", "tick"):
        [(kind, _)] = item.get(name, {"": None}).items()  # DynamoDB's own form: {"N": "3"}
        if not kind:
            clauses.append(f"attribute_not_exists(#{name})")
        elif kind in ("S", "N"):
            clauses.append(f"#{name} = :{name}")
            values[f":{name}"] = item[name]
        else:  # popwatch writes no such type, so whoever wrote since has changed it
            clauses.append(f"attribute_type(#{name}, :{name})")
            values[f":{name}"] = {"S": kind}
    return " AND ".join(clauses), values, {"#version": "version", "#tick": "tick"}


def _samples_of(item: Item) -> TargetSamples:
    return {target_id: from_stored(stored) for target_id, stored in item.get("results", {}).items()}


def _totals_of(entry: tuple[str, Any]) -> tuple[str, Totals]:
    """A target and its totals. The first versions stored maps, not strings, and History keeps those for a year."""
    target_id, stored = entry
    totals = deserialize(Totals, json.loads(stored) if isinstance(stored, str) else stored)
    check_totals(totals)
    return target_id, totals


def _published_alert(item: Item) -> PublishedAlert:
    """The alert in an item of History. Versions with one topic for all receivers stored one id and no `deliveries`."""
    stored = item.get("deliveries", dict.fromkeys(Topic, item["message_id"]))
    message_ids = {topic: deserialize(str, stored[topic]) for topic in Topic if topic in stored}
    if not message_ids:
        raise DamagedError("no topic has accepted it")
    sent_at, summary = deserialize(datetime, item["sent_at"]), bool(item.get("summary"))
    return PublishedAlert(deserialize(AlertMessage, item), message_ids, sent_at, summary)


def _identity_of(record: Record) -> tuple[object, ...]:
    """What tells one write of a record from another."""
    return record.version, record.writer, record.tick, [entry.version for entry in record.outbox]


def _event_key(target_id: str, kind: EventKind, entry: OutboxEntry) -> Item:
    return {"pk": f"target#{target_id}", "sk": f"{kind}#{iso(entry.tick)}#{entry.version}"}
