"""What someone has damaged in a table, or what is about the future, stops nothing but itself.

`tests/fuzz/tables.py` damages every field of every item by chance; here is what was seen to stop all testing.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from popwatch.aws.items import to_item
from popwatch.aws.store import CREDENTIAL_PREFIX, SWEEP_ID, SweepCheckpoint
from popwatch.decisions.batches import Batch, PlannedTest, to_messages
from popwatch.model.credential_state import CredentialState, Refusal
from popwatch.model.health import AlertEvent, Health, State
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import ErrorCode
from popwatch.model.records import OutboxEntry, PublishedAlert, Record
from popwatch.model.serialization import serialize
from popwatch.model.targets import parse_target
from popwatch.queries.status import read_fleet_status
from popwatch_cli.doctor.rules.findings import FindingKind
from popwatch_cli.doctor.rules.sweeps import check_checkpoint
from popwatch_cli.doctor.rules.tables import check_items
from popwatch_cli.doctor.table_state import TableState
from popwatch_cli.target_table import TargetTable
from tests.integration.logins import put_credential, with_logins
from tests.integration.world import MINUTE, NOON, World, new_world

DAYS = timedelta(days=200)
REFUSED = ErrorCode.CANNOT_CONNECT
HEALTH = {"state": "warn", "failures": 1, "since": "2026-11-23T11:59:00Z", "failing_since": "2026-11-23T11:59:00Z"}
RECORD: dict[str, Any] = {"target_id": "a", "version": 7, "tick": "2026-11-23T11:59:00Z", "health": HEALTH}


@pytest.fixture
def world() -> Iterator[World]:
    """Two targets, tested once."""
    with new_world() as found:
        for name in "ab":
            found.put_target(name)
        found.tick(NOON)
        yield found


def put(world: World, **item: object) -> None:
    world.dynamodb.put_item(TableName="Status", Item=to_item(item))


def names_damaged(world: World) -> set[str]:
    """The keys of what a new invocation finds damaged."""
    world.store.damaged.clear()
    world.store.read_records()
    return {key for _, key in world.store.damaged}


def test_a_checkpoint_of_the_future_is_ignored(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The next tick is tested as if there were no checkpoint, and replaces it; the log says so."""
    world.store.put_checkpoint(SweepCheckpoint(NOON + DAYS, NOON + DAYS, {"1": "2027-06-11T12:00:00Z"}))
    assert world.store.read_checkpoint() == SweepCheckpoint()
    assert names_damaged(world) == {"_sweep tick", "_sweep hour", "_sweep layouts 1"}
    caplog.clear()
    world.tick(NOON + MINUTE)
    assert [name for at, name in world.tested if at == NOON + MINUTE] == ["a", "b"]
    assert {record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR} == {
        "An item cannot be read, and is ignored. A sweep replaces it in Status; correct or delete any other."
    }
    assert world.store.read_checkpoint().tick == NOON + MINUTE
    assert names_damaged(world) == set()
    assert world.store.read_gaps(NOON - DAYS, NOON + DAYS) == []


@pytest.mark.parametrize(
    "tick", [{"S": "tomorrow"}, {"S": "0001-01-01T00:00:00Z"}, {"S": "2026-11-23T12:00:00"}, {"NULL": True}]
)
def test_a_damaged_checkpoint_is_ignored(world: World, tick: Any) -> None:
    """Whatever is in its place; the next sweep writes it anew."""
    world.dynamodb.put_item(TableName="Status", Item={"target_id": {"S": SWEEP_ID}, "tick": tick})
    world.tick(NOON + MINUTE)
    world.tick(NOON + 2 * MINUTE)
    assert [name for _, name in world.tested] == ["a", "b"] * 3
    assert world.store.read_checkpoint().tick == NOON + 2 * MINUTE


def test_records_of_the_future_are_due(world: World) -> None:
    """What a sweep of the future left behind is tested at the next tick, fails, and is alerted about."""
    for name in "ab":
        health = Health(State.DOWN, NOON + DAYS, failures=3, alerts_sent=1, failing_since=NOON + DAYS)
        record = Record(name, 9, NOON + DAYS, health)
        there = world.store.read_record(name)
        assert world.store.commit(replace(record, version=there.version + 1), there.version) is None
    assert names_damaged(world) == {"a", "b"}
    world.failing = {"a": REFUSED}
    for minute in range(1, 5):
        world.tick(NOON + minute * MINUTE)
    assert (world.state("a"), world.state("b")) == ("down", "up")
    assert [alert["event"] for alert in world.received()] == [AlertEvent.DOWN]
    assert names_damaged(world) == set()


@pytest.mark.parametrize(
    "damage",
    [
        {"tick": "2026-11-23T11:59:00"},
        {"tick": "2026-11-23T13:59:00+02:00"},
        {"tick": "0001-01-01T00:00:00Z"},
        {"tick": 5},
        {"version": 10**38 - 1},
        {"version": "seven"},
        {"version": b"7"},
        {"version": {"deep": [{"deep": []}]}},
        {"version": -1},
        {"version": 0},
        {"version": True},
        {"health": {**HEALTH, "failing_since": "0001-01-01T00:00:00Z"}},
        {"health": {**HEALTH, "failures": 10**37}},
        {"health": {**HEALTH, "next_test_at": "2099-01-01T00:00:00Z"}, "tick": None},
        {"health": {**HEALTH, "state": "sick"}},
        {"health": []},
        {"pending": [{"version": 7, "tick": "2026-11-23T11:59:00Z", "committed_at": "2026-11-23T11:59:00"}]},
        {"pending": [{"version": 7, "tick": "2026-11-23T11:59:00Z", "committed_at": "2099-11-23T11:59:00Z"}]},
    ],
    ids=str,
)
def test_a_damaged_record_stops_nothing(world: World, damage: dict[str, Any]) -> None:
    """The other target is tested at each tick, and so is its own: its record is replaced."""
    world.failing = {"a": REFUSED}
    put(world, **RECORD | damage)
    for minute in range(1, 4):
        world.tick(NOON + minute * MINUTE)
        assert sorted(name for at, name in world.tested if at == NOON + minute * MINUTE) == ["a", "b"]
    assert world.state("a") == "down"
    assert world.store.read_record("a").tick == NOON + 3 * MINUTE
    assert names_damaged(world) == set()


@pytest.mark.parametrize("damage", [{"version": "seven"}, {"tick": 5, "version": "x"}, {"health": "fine"}], ids=str)
def test_a_damaged_record_of_a_removed_target_goes(world: World, damage: dict[str, Any]) -> None:
    """It is forgotten like any other."""
    put(world, **RECORD | damage)
    world.dynamodb.delete_item(TableName="Targets", Key=to_item({"target_id": "a"}))
    world.tick(NOON + MINUTE)
    assert set(world.store.read_records()[1]) == {"b"}


def test_two_that_replace_a_damaged_record_collide(world: World) -> None:
    """Whoever comes second finds what the first has written, and does not overwrite it."""
    put(world, **RECORD | {"version": "seven"})
    found = world.store.read_record("a")
    first, second = replace(found, version=1, tick=NOON, writer="1"), replace(found, version=1, tick=NOON, writer="2")
    assert world.store.commit(first, found.version, found.tick) is None
    assert world.store.commit(second, found.version, found.tick) == first


def test_a_message_cannot_forge_an_alert(world: World) -> None:
    """A message brings an alert in an outbox: it is not published, and the outbox in the table is kept."""
    forged = AlertMessage("a", "forged", "forged", "forged", "forged", {"event": "down"})
    mine = OutboxEntry(8, NOON, NOON, message=AlertMessage("a", "mine", "mine", "mine", "mine", {"event": "down"}))
    record = world.store.read_record("a")
    assert world.store.commit(replace(record, version=8, outbox=(mine,)), record.version, record.tick) is None
    test = PlannedTest(parse_target({"target_id": "a", "host": "h"}), replace(record, version=8))
    [body] = to_messages(Batch(NOON + MINUTE, NOON + 2 * MINUTE, 1, 0, (test,), {}))
    outbox = serialize((OutboxEntry(8, NOON, NOON, message=forged),))
    body = body.replace('"version":8', f'"version":8,"pending":{json.dumps(outbox)}')
    assert "forged" in body
    world.failing = {"a": REFUSED}
    world.queue.append((NOON + MINUTE, body))
    world.now = NOON + MINUTE
    world.receive(world.now)
    assert world.state("a") == "warn"
    world.now = NOON + timedelta(hours=1)
    world.tick(world.now)
    alerts = [event.what for event in world.store.read_events("a") if isinstance(event.what, PublishedAlert)]
    assert [alert.message.subject for alert in alerts] == ["mine"]


def test_a_damaged_item_of_history_hides_nothing_else(world: World) -> None:
    """Events, samples, gaps and totals are read but for the items that cannot be."""
    world.failing = {"a": REFUSED}
    for minute in range(1, 4):
        world.tick(NOON + minute * MINUTE)
    until = NOON + timedelta(hours=2)
    before = [
        list(world.store.read_events("a")),
        list(world.store.read_samples(1, 0, NOON, until)),
        list(world.store.read_samples_back(1, 0, NOON)),
        world.store.read_gaps(NOON, until),
    ]
    for pk, sk in [
        ("target#a", "transition#yesterday#7"),
        ("target#a", "alert#2026-11-23T12:00:00#7"),
        ("target#a", "transition#2026-11-23T12:00:00Z"),
        ("target#a", "note#2026-11-23T12:00:00Z#silenced"),
        ("target#a", "posture#2026-11-23T12:00:00Z#"),
        ("samples#1#0", "2026-11-23T12:00:10#x"),
        ("samples#1#0", "2026-11-23T12:00:30!"),
        ("samples#1#0", "2099-11-23T12:00:00Z#x"),
        ("gaps", "2026-11-23T1"),
        ("gaps", "2026-11-23T12:00:00Z"),
    ]:
        world.dynamodb.put_item(TableName="History", Item=to_item({"pk": pk, "sk": sk, "expires_at": 10**11}))
    after = [
        list(world.store.read_events("a")),
        list(world.store.read_samples(1, 0, NOON, until)),
        list(world.store.read_samples_back(1, 0, NOON)),
        world.store.read_gaps(NOON, until),
    ]
    assert after == before
    assert len(world.store.damaged) == 10


def test_a_damaged_alert_in_history_counts_as_not_sent(world: World) -> None:
    """An alert that an ended invocation left behind is sent, whatever stands where History would say that it was."""
    entry = OutboxEntry(8, NOON, NOON, message=AlertMessage("a", "s", "e", "sms", "l", {"event": "down"}))
    record = world.store.read_record("a")
    assert world.store.commit(replace(record, version=8, outbox=(entry,)), record.version, record.tick) is None
    item = {"pk": "target#a", "sk": "alert#2026-11-23T12:00:00Z#8", "sent_at": 5, "deliveries": {"alert": "x"}}
    world.dynamodb.put_item(TableName="History", Item=to_item(item))
    world.tick(NOON + timedelta(minutes=10))
    assert [alert["event"] for alert in world.received()] == ["down"]
    [alert] = [event.what for event in world.store.read_events("a") if isinstance(event.what, PublishedAlert)]
    assert set(alert.message_ids) == set(Topic)


def test_damage_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """By each store, not at each read: an execution environment keeps its store."""
    put(world, **RECORD | {"health": "fine"})
    for _ in range(3):
        world.store.read_records()
    assert len(caplog.records) == 1
    assert caplog.records[0].__dict__["key"] == "a"


def test_a_number_that_overflows_is_named_and_replaced(world: World) -> None:
    """Of a record that is otherwise in order; the next test replaces it."""
    there = world.store.read_record("a")
    item = {"target_id": "a", "version": there.version, "tick": "2026-11-23T12:00:00Z"}
    put(world, **item, health={**HEALTH, "login_delay": 10**14})
    assert names_damaged(world) == {"a"}
    [why] = world.store.damaged.values()
    assert why == "100000000000000 is not between 0 and 86400"
    world.tick(NOON + MINUTE)
    assert sorted(name for at, name in world.tested if at == NOON + MINUTE) == ["a", "b"]
    assert names_damaged(world) == set()
    assert world.store.read_record("a").health.login_delay == 0


@pytest.mark.parametrize("revision", ["9 2099-01-01T00:00:00Z", "9 9999-12-31T23:59:59Z", "9 1-1", "nine"])
def test_a_credential_of_the_future_is_ignored(world: World, revision: str) -> None:
    """Else none that is stored until then would be tried: not the present one, nor another one in its place."""
    ssm = boto3.client("ssm")
    world.logins = with_logins(world, ssm)
    world.put_target("a", tls="implicit", login="monitor", login_every=60)
    key = CREDENTIAL_PREFIX + "monitor"
    world.tick(NOON + MINUTE)
    state = world.store.read_credential_state("monitor")
    damaged = serialize(replace(state, revision=revision, version=7))
    put(world, target_id=key, version=7, form=2, credential=damaged)
    assert world.store.read_status().credentials["monitor"] == CredentialState("monitor", version=7)
    assert {name for _, name in world.store.damaged} == {key}
    put_credential(world, ssm, secret="canary-other")
    for minute in range(2, 9):
        world.tick(NOON + minute * MINUTE)
    logged_in = [at for at, _ in world.logged_in]
    assert logged_in[-1] == NOON + 8 * MINUTE
    world.store.damaged.clear()
    known = world.store.read_status().credentials["monitor"]
    assert (known.was_accepted, known.revision.partition(" ")[0]) == (True, "2")
    assert world.store.damaged == {}


def test_the_page_shows_a_credential_whose_times_are_of_the_future(world: World) -> None:
    """What was counted stays until the next login, and waits run from now on."""
    world.put_target("a", tls="implicit", login="monitor")
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    refusal = Refusal("a", 2, end)
    state = CredentialState("monitor", "1 2026-11-22T12:00:00Z", rejections=2, rejected_at=end, refusals=(refusal,))
    assert world.store.put_credential_state(replace(state, version=1), 0) is None
    [shown] = [it for it in read_fleet_status(world.store, world.now).targets if it.target.target_id == "a"]
    again = world.now + timedelta(hours=1)
    assert f"tried again after {again:%Y-%m-%d %H:%M} UTC" in shown.login_problem


def test_the_doctor_names_what_is_damaged(world: World) -> None:
    """Items of all three tables, the checkpoint too, each with what is wrong with it."""
    put(world, **RECORD | {"tick": "2026-11-23T11:59:00"})
    put(world, target_id=SWEEP_ID, tick="2099-01-01T00:00:00Z")
    put_raw = world.dynamodb.put_item
    put_raw(TableName="Targets", Item=to_item({"target_id": SWEEP_ID}))
    put_raw(
        TableName="History", Item=to_item({"pk": "target#b", "sk": "note#2026-11-23T12:00:00#x", "expires_at": 10**11})
    )
    put_raw(TableName="History", Item=to_item({"pk": "gaps", "sk": "2026-11-23T12:00:00Z", "until": "then"}))
    installation: Any = SimpleNamespace(store=world.store, target_table=TargetTable(world.dynamodb, "Targets"))
    state = TableState(installation, NOON + MINUTE)
    assert [(finding.kind, finding.names) for finding in check_items(state.damaged)] == [
        (FindingKind.ITEMS_DAMAGED, ("gaps 2026-11-23T12:00:00Z", "target#b note#2026-11-23T12:00:00#x")),
        (FindingKind.ITEMS_DAMAGED, ("_sweep tick", "a")),
        (FindingKind.ITEMS_DAMAGED, ("_sweep",)),
    ]
    [ahead] = check_checkpoint(state.status.checkpoint.tick, NOON + MINUTE, state.checkpoint_damage)
    assert ahead.what == (
        "The last completed tick is ignored, since 2099-01-01T00:00:00Z is in the future: "
        "the time of the last sweep is unknown."
    )
