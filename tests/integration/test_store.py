"""The store and DynamoDB: conditions, versions, repeated writes, expiry, and what users write."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from popwatch.aws.items import from_item, to_item
from popwatch.aws.json_scans import OPERATIONS
from popwatch.aws.store import LONGEST_ID_BYTES, Store, SweepCheckpoint, Tables
from popwatch.model.fields import FIELDS
from popwatch.model.health import Health, State, Transition
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import ErrorCode, LoginVerdict, Outcome, Phase
from popwatch.model.posture import YES, CapaReply, Posture, change_of
from popwatch.model.records import Action, InterventionEvent, OutboxEntry, PublishedAlert, Record
from popwatch.model.samples import LARGEST_STORED, REASON_KEPT, Sample
from popwatch.model.serialization import serialize
from popwatch.model.text import iso, truncate
from popwatch.model.totals import Totals
from popwatch.queries.history import event_to_json
from tests.integration.world import MINUTE, NOON, TABLES, World
from tests.item_sizes import LARGEST_ITEM, size_of_item, size_of_value


class Body(BytesIO):
    """The bytes of an answer, as botocore reads them."""

    def stream(self) -> list[bytes]:
        return [self.read()]


FULL = Record(
    "a",
    version=1,
    tick=NOON,
    health=Health(State.DOWN, NOON, 3, 1, NOON - MINUTE, NOON + MINUTE, NOON - MINUTE * 2, 12.5),
    outcome=Outcome(NOON, Phase.GREETING, ErrorCode.TIMED_OUT, "no-greeting", "It said nothing.", connect_ms=1.25),
    outbox=(
        OutboxEntry(
            version=1,
            tick=NOON,
            committed_at=NOON,
            transition=Transition(State.WARN, State.DOWN, NOON, MINUTE),
            message=AlertMessage(
                "a", "subject", "email\n", "sms", "line", {"event": "down", "n": 1, "tags": ("x", "y")}
            ),
        ),
    ),
    writer="me",
)


def published(entry: OutboxEntry, **message_ids: str) -> PublishedAlert:
    """An alert that both topics have accepted, unless others are given."""
    assert entry.message
    ids = message_ids or {"alert": "id-1", "sms": "id-2"}
    return PublishedAlert(entry.message, {Topic(name): one for name, one in ids.items()}, NOON)


LONGEST_IDS = [f"{number:03}" + "ä" * ((LONGEST_ID_BYTES - 3) // 2) + "x" for number in range(800)]
"""Ids of a whole batch, each as long as one may be."""

WORST = Sample(
    error=ErrorCode.MISSING_FIELDS,
    reason="invalid-field: " + ", ".join(field.name for field in FIELDS),
    in_maintenance=True,
    inconclusive=True,
    login=LoginVerdict.FAILED,
    uncounted=True,
)
"""The largest sample: of a target whose fields are all wrong."""


def test_a_record_comes_back_as_it_was(world: World) -> None:
    """Health, outcome and outbox are read as they were written."""
    assert world.store.commit(FULL, 0) is None
    assert world.store.read_records()[1] == {"a": FULL}


def test_only_the_expected_version_is_replaced(world: World) -> None:
    """A commit on another version has no effect and returns the present record, without a read."""
    world.store.commit(FULL, 0)
    other = dataclasses.replace(FULL, writer="somebody else")
    assert world.store.commit(other, 0) == FULL
    newer = dataclasses.replace(other, version=2)
    assert world.store.commit(newer, 7) == FULL
    assert world.store.commit(newer, 1) is None
    assert world.store.read_records()[1]["a"] == newer


def test_a_repeated_commit_knows_itself(world: World) -> None:
    """A request that took effect and whose answer was lost is refused when repeated, and recognised."""
    assert world.store.commit(FULL, 0) is None
    assert world.store.commit(FULL, 0) is None


def test_a_record_of_a_removed_target_goes_only_unchanged(world: World) -> None:
    """A record that has changed since is not deleted."""
    world.store.commit(FULL, 0)
    world.store.delete_record(dataclasses.replace(FULL, version=9))
    assert "a" in world.store.read_records()[1]
    world.store.delete_record(FULL)
    assert world.store.read_records()[1] == {}


def test_the_checkpoint_never_goes_back(world: World) -> None:
    """An older tick does not replace a newer one; the same one may be written again."""
    checkpoint = SweepCheckpoint(NOON, NOON, {"1": "2026-11-23T12:00:00Z"}, "digest")
    for tick in (NOON, NOON - MINUTE, NOON):
        world.store.put_checkpoint(dataclasses.replace(checkpoint, tick=tick))
    assert world.store.read_records()[0] == checkpoint


def test_history_written_twice_is_there_once(world: World) -> None:
    """Transitions, alerts, samples and hours have keys of their own."""
    [pending] = FULL.outbox
    for _ in range(2):
        world.store.put_transition("a", pending)
        world.store.put_alert("a", pending, published(pending))
        world.store.put_samples(1, 0, NOON, "g", {"a": Sample(12.5)})
        world.store.put_hour(1, 0, NOON, {"a": Totals(1, 1)})
    assert [event.kind for event in world.store.read_events("a")] == ["transition", "alert"]
    assert len(list(world.store.read_samples(1, 0, NOON, NOON + MINUTE))) == 1
    assert len(list(world.store.read_hours(1, 0, NOON, NOON + MINUTE))) == 1


def test_an_alert_is_known_once_it_is_in_history(world: World) -> None:
    """By target, tick and version: with another version it is another alert. Its item says which topics accepted it."""
    [pending] = FULL.outbox
    assert world.store.read_alert("a", pending) is None
    world.store.put_alert("a", pending, published(pending))
    assert world.store.read_alert("a", pending) == published(pending)
    assert world.store.read_alert("a", dataclasses.replace(pending, version=2)) is None
    assert world.store.read_alert("b", pending) is None


@pytest.mark.parametrize("deliveries", [{"alert": "id-1", "sms": "id-1"}, {"sms": "id-1"}])
def test_an_alert_recorded_by_a_version_with_one_topic_has_reached_all(
    world: World, deliveries: dict[str, str]
) -> None:
    """Its item names no topics: email and SMS went out as one message. A version with two topics names each."""
    [pending] = FULL.outbox
    for name, stored in (("old", {}), ("new", {"deliveries": deliveries})):
        key = {"pk": f"target#{name}", "sk": f"alert#{iso(pending.tick)}#{pending.version}"}
        item = {"sent_at": iso(NOON), "message_id": "id-1", "summary": False, **serialize(pending.message), **stored}
        world.dynamodb.put_item(TableName="History", Item=to_item({**key, **item}))
    old, new = (world.store.read_alert(name, pending) for name in ("old", "new"))
    assert old
    assert old.message_ids == dict.fromkeys(Topic, "id-1")
    assert new
    assert new.message_ids == {Topic(name): message_id for name, message_id in deliveries.items()}
    assert new.message_id == "id-1"


def test_ranges_are_half_open(world: World) -> None:
    """`since` belongs to a range, `until` does not."""
    for step in range(5):
        world.store.put_samples(1, 0, NOON + MINUTE * step, "g", {"a": Sample(float(step))})
    world.now = NOON + MINUTE * 5
    found = world.store.read_samples(1, 0, NOON + MINUTE, NOON + MINUTE * 3)
    assert [results["a"].rtt_ms for _, results in found] == [1, 2]
    assert [results["a"].rtt_ms for _, results in world.store.read_samples_back(1, 0, NOON + MINUTE * 3)] == [4, 3]


def test_a_range_that_ends_before_it_begins_is_empty(world: World) -> None:
    """DynamoDB refuses BETWEEN with its bounds the wrong way round: a clock that is ahead must not stop a report."""
    world.store.put_samples(1, 0, NOON, "g", {"a": Sample(1.0)})
    for end in (NOON - MINUTE, NOON):
        assert list(world.store.read_samples(1, 0, NOON, end)) == []
        assert list(world.store.read_hours(1, 0, NOON, end)) == []
    assert list(world.store.read_events("a", NOON + timedelta(days=365_000))) == []


def test_samples_are_read_back_over_pages(world: World) -> None:
    """A page of DynamoDB ends at 1 MB: the newest ticks of a batch with long ids are on more than one."""
    for minute in range(3):
        world.store.put_samples(1, 0, NOON + MINUTE * minute, "g", dict.fromkeys(LONGEST_IDS, WORST))
    read = list(world.store.read_samples_back(1, 0, NOON + MINUTE))
    newest = [part for tick, part in read if tick == NOON + MINUTE * 2]
    assert sum(map(len, newest)) == 800
    assert {tick for tick, _ in read} == {NOON + MINUTE * 2, NOON + MINUTE}


def test_expired_items_are_not_seen(world: World) -> None:
    """DynamoDB deletes up to days late; expired items are ignored at once."""
    tables = Tables("Targets", "Status", "History", timedelta(days=30), timedelta(days=400))
    store = Store(world.dynamodb, tables, lambda: world.now)
    store.put_samples(1, 0, NOON, "g", {"a": Sample(1.0)})
    store.put_hour(1, 0, NOON, {"a": Totals()})
    for days, samples, hours in ((29, 1, 1), (31, 0, 1), (399, 0, 1), (401, 0, 0)):
        world.now = NOON + timedelta(days=days)
        assert len(list(store.read_samples(1, 0, NOON, NOON + MINUTE))) == samples
        assert len(list(store.read_hours(1, 0, NOON, NOON + MINUTE))) == hours


def test_many_targets_are_read_over_pages(world: World) -> None:
    """A scan goes on past DynamoDB's page of 1 MB."""
    for number in range(60):
        world.put_target(f"t{number}", email="x" * 19_000)
    defaults, items = world.store.read_targets()
    assert defaults == {}
    assert len(items) == 60


@pytest.mark.parametrize(
    "value",
    [
        {"N": "1E+120"},
        {"N": "-0.000000000000000000000000000000000001"},
        {"B": b"\x00\xff"},
        {"BS": [b"a"]},
        {"NS": ["1", "2"]},
        {"SS": ["a", "b"]},
        {"NULL": True},
        {"L": [{"M": {"x": {"L": []}}}]},
        {"M": {}},
        {"S": ""},
    ],
)
@pytest.mark.parametrize("field", ["port", "tags", "maintenance", "name", "enabled", "unknown"])
def test_any_dynamodb_value_stops_nothing(world: World, field: str, value: Any) -> None:
    """Whatever type a field has, the sweep goes on: that target fails or is tested, and the other one is tested."""
    world.dynamodb.put_item(
        TableName="Targets", Item={"target_id": {"S": "odd"}, "host": {"S": "x.example"}, field: value}
    )
    world.put_target("good")
    assert world.tick(NOON) is not None
    assert world.state("good") == "up"


def test_defaults_are_apart(world: World) -> None:
    """The item `_defaults` is not a target, and applies to all targets."""
    world.put_target("_defaults", delay_up=300)
    world.put_target("a")
    defaults, items = world.store.read_targets()
    assert (defaults["delay_up"], [item["target_id"] for item in items]) == (300, ["a"])


def test_totals_of_an_older_version_are_read(world: World) -> None:
    """They have a p95, which is ignored."""
    totals = '{"tests":3,"passes":2,"inconclusive":1,"rtt_p95_ms":12.5}'
    item = {"pk": "days#1#0", "sk": f"{iso(NOON)}#0", "totals": {"a": totals, "b": "{}"}, "expires_at": 2**40}
    world.dynamodb.put_item(TableName="History", Item=to_item(item))
    [(_, found)] = world.store.read_days(1, 0, NOON, NOON + MINUTE)
    assert found == {"a": Totals(3, 2, inconclusive=1), "b": Totals()}
    assert list(world.store.read_inconclusive("days", 1, 0, NOON, NOON + MINUTE)) == [(NOON, {"a": 1})]


def test_hours_of_the_first_form_are_read(world: World) -> None:
    """Totals were maps at first, not strings: an upgraded stack can still report its past."""
    item = {"pk": "hours#1#0", "sk": f"{iso(NOON)}#0", "totals": {"a": {"tests": 3, "passes": 2}}, "expires_at": 2**40}
    world.dynamodb.put_item(TableName="History", Item=to_item(item))
    [(hour, totals)] = world.store.read_hours(1, 0, NOON, NOON + MINUTE)
    assert (hour, totals["a"]) == (NOON, Totals(3, 2))


def test_an_hour_too_large_for_one_item_comes_back_whole(world: World) -> None:
    """800 targets with as many different round-trip times as tests do not fit into DynamoDB's 400 KB."""
    totals = {
        f"a-server-with-a-long-name-{number}": Totals(60, 60, {}, buckets={str(bucket): 1 for bucket in range(60)})
        for number in range(800)
    }
    world.store.put_hour(1, 0, NOON, totals)
    parts = list(world.store.read_hours(1, 0, NOON, NOON + MINUTE))
    assert len(parts) > 1
    assert {name for _, part in parts for name in part} == set(totals)
    assert {hour for hour, _ in parts} == {NOON}


@pytest.mark.parametrize(
    ("length", "result"),
    [
        pytest.param(LONGEST_ID_BYTES, lambda number: WORST if number % 3 else Sample(123.0), id="longest"),
        pytest.param(450, lambda _: WORST, id="long"),
        pytest.param(8, lambda _: WORST, id="usual"),
    ],
)
def test_samples_of_any_ids_come_back_whole(world: World, length: int, result: Callable[[int], Sample]) -> None:
    """However long ids are and whatever tests found: DynamoDB takes each item, and each reader finds every sample."""
    ids = [name.encode()[:length].decode("utf-8", "ignore") for name in LONGEST_IDS]
    samples = {name: result(number) for number, name in enumerate(ids)}
    world.store.put_samples(1, 0, NOON, "g", samples)
    items = [item for page in _pages_of_samples(world) for item in page["Items"]]
    assert (len(items) == 1) == (length < 300)
    for item in items:
        assert size_of_item(item) < LARGEST_ITEM
        assert all(1 + size_of_value(sample) <= LARGEST_STORED for sample in item["results"]["M"].values())
    kept = {name: replace(found, reason=truncate(found.reason, REASON_KEPT)) for name, found in samples.items()}
    for read in (
        list(world.store.read_samples(1, 0, NOON, NOON + MINUTE)),
        list(world.store.read_samples_back(1, 0, NOON)),
    ):
        assert {tick for tick, _ in read} == {NOON}
        assert sum(len(part) for _, part in read) == 800
        assert {name: found for _, part in read for name, found in part.items()} == kept
    [only] = [part for _, part in world.store.read_samples(1, 0, NOON, NOON + MINUTE, ids[-1]) if part]
    assert only == {ids[-1]: kept[ids[-1]]}


def _pages_of_samples(world: World) -> Any:
    values = {":pk": {"S": "samples#1#0"}}
    return world.dynamodb.get_paginator("query").paginate(
        TableName="History", KeyConditionExpression="pk = :pk", ExpressionAttributeValues=values
    )


def test_samples_of_a_repeated_message_replace_its_own(world: World) -> None:
    """A message that comes twice, and finds something else the second time, leaves each target's sample once."""
    for found in (Sample(12.5), WORST, Sample(12.5)):
        world.store.put_samples(1, 0, NOON, "g", dict.fromkeys(reversed(LONGEST_IDS), found))
    parts = [part for _, part in world.store.read_samples(1, 0, NOON, NOON + MINUTE)]
    assert sum(map(len, parts)) == 800
    assert {sample for part in parts for sample in part.values()} == {Sample(12.5)}


@pytest.mark.skipif("POPWATCH_TEST_DYNAMODB" not in os.environ, reason="only Amazon's DynamoDB counts as its docs say")
def test_dynamodb_refuses_what_its_arithmetic_says(world: World) -> None:
    """The largest item is taken, and one byte more is not: what the sizes above are measured by."""
    item: dict[str, Any] = {
        "pk": {"S": "samples#1#0"},
        "sk": {"S": "largest"},
        "results": {
            "M": {"a": {"N": "12.5"}, "b": {"M": {"error": {"S": "timed-out"}, "maintenance": {"BOOL": True}}}}
        },
        "expires_at": {"N": "1790000000"},
    }
    item["filler"] = {"S": "x" * (LARGEST_ITEM - size_of_item(item) - len("filler"))}
    assert size_of_item(item) == LARGEST_ITEM
    world.dynamodb.put_item(TableName="History", Item=item)
    item["filler"]["S"] += "x"
    with pytest.raises(ClientError, match="ValidationException"):
        world.dynamodb.put_item(TableName="History", Item=item)


def test_interventions_are_events_of_their_target(world: World) -> None:
    """What somebody did, and why, is read with the transitions and alerts."""
    silenced = InterventionEvent(Action.SILENCED, NOON, "night-shift", "new disk", NOON + MINUTE)
    world.store.put_intervention("a", silenced)
    [event] = world.store.read_events("a")
    assert (event.kind, event.tick, event.what) == ("note", NOON, silenced)


def test_events_are_shown_under_the_names_that_they_are_stored_with(world: World) -> None:
    """`popwatch history --json` and the API give each field of an item, and no other."""
    [entry] = FULL.outbox
    world.store.put_transition("a", entry)
    world.store.put_alert("a", entry, dataclasses.replace(published(entry), summary=True))
    world.store.put_intervention(
        "a", InterventionEvent(Action.SILENCED, NOON, "night-shift", "new disk", NOON + MINUTE)
    )
    posture = Posture(NOON, "192.0.2.7", stls=YES, in_tls=CapaReply(("UIDL",), ("PLAIN",)))
    world.store.put_posture("a", change_of(None, posture))
    stored = []
    for item in world.dynamodb.scan(TableName="History")["Items"]:
        fields = from_item(item)
        kind, tick, _ = fields["sk"].split("#")
        own = {name: value for name, value in fields.items() if name not in ("pk", "sk", "expires_at")}
        stored.append(own | {"kind": kind, "tick": tick})
    shown = [event_to_json(event) for event in world.store.read_events("a")]
    assert sorted(map(json_text, shown)) == sorted(map(json_text, stored))


def json_text(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True)


@pytest.mark.parametrize("mode", ["legacy", "standard"])
@pytest.mark.parametrize("damaged", [b'{"Items": [{"target_id": {"S": "a"', b'{"Items": [], "Count": 0}'])
def test_a_damaged_answer_is_asked_for_again(world: World, damaged: bytes, mode: Any) -> None:
    """DynamoDB sends a checksum with each answer: one that is cut off or replaced is not read as an empty table."""
    world.put_target("a")
    answers = [answer(200, damaged, {"x-amz-crc32": "1"})]
    _, items = answered(world, answers, mode).read_targets()
    assert [item["target_id"] for item in items] == ["a"]
    assert not answers


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_a_throttled_scan_is_asked_for_again(world: World, mode: Any) -> None:
    """botocore parses and retries refusals, and errors of the server."""
    world.put_target("a")
    throttled = b'{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}'
    answers = [
        answer(400, throttled),
        answer(503, b""),
    ]
    assert len(answered(world, answers, mode).read_targets()[1]) == 1
    assert not answers


def test_a_refused_scan_says_why(world: World) -> None:
    """Errors that are not retried are raised as botocore's own, with their code."""
    denied = b'{"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "no"}'
    with pytest.raises(ClientError, match="AccessDeniedException"):
        answered(world, [answer(400, denied)], "standard").read_targets()


def answer(status: int, body: bytes, headers: Any = None) -> Any:
    """An answer of DynamoDB as botocore receives it."""
    given: Any = headers or {}
    return AWSResponse("http://dynamodb", status, given, Body(body))


def answered(world: World, answers: list[Any], mode: Any) -> Store:
    """A store whose first scans get these answers, the last one first."""
    client: Any = boto3.client("dynamodb", endpoint_url=world.endpoint, config=Config(retries={"mode": mode}))
    client.meta.events.register_first("before-send.dynamodb.Scan", lambda **_: answers.pop() if answers else None)
    return Store(client, TABLES, lambda: world.now)


def test_items_read_alike_with_and_without_botocores_walk(world: World) -> None:
    """Every type of DynamoDB, over more than one page, also with a botocore that has no `before-parse`."""
    every: dict[str, Any] = {
        "text": {"S": "ä\u0000"},
        "number": {"N": "12.50"},
        "large": {"N": "12345678901234567890123456789012345678"},
        "yes": {"BOOL": True},
        "nothing": {"NULL": True},
        "bytes": {"B": b"\x00\xff"},
        "map": {"M": {"list": {"L": [{"N": "1"}, {"M": {}}]}}},
        "texts": {"SS": ["b", "a"]},
        "numbers": {"NS": ["2", "1.5"]},
        "several": {"BS": [b"\x00", b"\x01"]},
        "long": {"S": "x" * 300_000},
    }
    for number in range(5):
        world.dynamodb.put_item(TableName="Targets", Item={"target_id": {"S": f"t{number}"}, **every})
    walked = boto3.client("dynamodb", endpoint_url=world.endpoint)
    slow = Store(walked, TABLES, lambda: world.now)
    for operation in OPERATIONS:
        walked.meta.events.unregister(f"before-parse.dynamodb.{operation}", unique_id=f"popwatch-{operation}")
    found = world.store.read_targets()
    assert len(found[1]) == 5
    assert found == slow.read_targets()
    assert found[1][0]["several"] == ["(binary data)", "(binary data)"]
    assert slow.capacity == world.store.capacity
