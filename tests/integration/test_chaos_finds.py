"""What `make chaos` has found, each as the smallest case that shows it."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from popwatch.aws.store import Store
from popwatch.decisions.batches import Batch, PlannedTest, from_message, to_messages
from popwatch.decisions.schedule import next_slot
from popwatch.model.health import State, Transition
from popwatch.model.outcomes import ErrorCode
from popwatch.model.records import OutboxEntry, Record
from popwatch.model.targets import parse_target
from tests.integration.world import MINUTE, NOON, World, new_world

TEN_SECONDS = timedelta(seconds=10)


def test_repeated_retest_leaves_later_ticks_alone(world: World) -> None:
    """A retest's message that SQS delivers again after later retests brings no retest of its own.

    It used to send the next retest with the newest record, which then counted a failure of an older tick once more.
    """
    world.put_target("a", delay_warn=10, failures_per_alert=10)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON)
    bodies = []
    for step in (1, 2, 3):
        world.now = NOON + TEN_SECONDS * step
        bodies.append(world.queue[0][1])
        world.receive(world.now)
    waiting = list(world.queue)
    world.now += TEN_SECONDS / 2
    world.do(from_message(bodies[0]))
    assert world.queue == waiting
    record = world.store.read_record("a")
    assert (record.health.failures, record.tick) == (4, NOON + TEN_SECONDS * 3)


def test_doubled_tick_sends_what_is_left_behind_once() -> None:
    """Of two sweeps that both find an alert in the outbox, and nothing in History that it was sent, one sends it.

    A tick that came twice right after a death used to send it twice, though no process had died in between.
    """
    with new_world() as dry_run:
        fail_once(dry_run)
        publishing = dry_run.calls.index("Publish") + 1
    with new_world(kill_at=(publishing, "before")) as world:
        fail_once(world)
        world.now = later = NOON + timedelta(minutes=3)
        found, sweeps = world.store.read_records(), [world.sweep(), world.sweep()]
        for sweep in sweeps:
            store = vars(sweep)["_store"]
            store.read_records, store.read_alert = lambda: found, lambda *_: None
            sweep.run_tick(later)
        assert [alert["event"] for alert in world.received()] == ["down"]
        assert [alert["event"] for alert in world.received_sms()] == ["down"]
        assert world.alerts_recorded("a") == ["down"]


def fail_once(world: World) -> None:
    world.put_target("a", failures_per_alert=1, max_alerts=1)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON)


def test_missed_slot_is_judged_though_an_alert_was_removed_meanwhile() -> None:
    """A failed test that makes up for a missed slot counts, though the outbox was delivered after the plan was made.

    Its commit collided with the delivery's write, and the test was then thought due only if its slot was in the last
    minute.
    """
    with new_world(storm_threshold=0) as dry_run:
        recover(dry_run)
        publishing = len(dry_run.calls) - dry_run.calls[::-1].index("Publish")
    with new_world(storm_threshold=0, kill_at=(publishing, "before")) as world:
        recover(world)
        assert world.store.read_record("a").outbox
        world.failing["a"] = ErrorCode.TIMED_OUT
        slot = next_slot("a", 300, NOON + MINUTE)
        world.tick(slot.replace(second=0) + 3 * MINUTE)
        assert world.state("a") == "down"


def test_message_from_before_a_removal_leaves_the_new_record_alone(world: World) -> None:
    """A target was removed and added again while a message for an earlier tick was on its way.

    The new record had come to the version that the message was planned with, and its outage was overwritten.
    """
    world.put_target("a", delay_up=300)
    world.tick(NOON)
    planned = world.store.read_record("a")
    late = PlannedTest(parse_target({"target_id": "a", "host": "pop.example.net", "delay_up": 300}), planned)
    world.dynamodb.delete_item(TableName="Targets", Key={"target_id": {"S": "a"}})
    world.tick(NOON + 2 * MINUTE)
    world.put_target("a", failures_per_alert=1, max_alerts=0)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON + 3 * MINUTE)
    record = world.store.read_record("a")
    assert (record.version, record.health.state) == (planned.version, State.DOWN)
    world.do(Batch(NOON + MINUTE, NOON + 2 * MINUTE, 1, 0, (late,), {}))
    assert world.store.read_record("a") == record


def recover(world: World) -> None:
    world.put_target("a", failures_per_alert=1, delay_up=300, delay_down=60)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON)
    world.failing.clear()
    world.tick(NOON + MINUTE)


def test_test_under_way_does_not_bring_a_forgotten_record_back(world: World) -> None:
    """Its target is removed, and a sweep forgets it, before the outcome is committed: the record stays away.

    The failure used to be counted in a new record, perhaps a second time: where only the answer to the commit was lost.
    """
    world.put_target("a", failures_per_alert=10)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON)
    target, record = parse_target({"target_id": "a", "host": "pop.example.net"}), world.store.read_record("a")
    world.dynamodb.delete_item(TableName="Targets", Key={"target_id": {"S": "a"}})
    world.tick(NOON + MINUTE)
    assert world.store.read_records()[1] == {}
    world.do(Batch(NOON + MINUTE, NOON + MINUTE * 2, 1, 0, (PlannedTest(target, record),), {}))
    assert world.store.read_records()[1] == {}


def test_late_message_does_not_bring_a_forgotten_record_back(world: World) -> None:
    """One planned with the first record of a target, whose transition was still in the outbox, comes after the removal.

    It used to write that record anew, with a state that no transition in History led to.
    """
    world.put_target("a")
    world.tick(NOON)
    target, record = parse_target({"target_id": "a", "host": "pop.example.net"}), world.store.read_record("a")
    entry = OutboxEntry(1, NOON, NOON, Transition(State.UNTESTED, State.UP, NOON))
    first = replace(record, version=1, outbox=(entry,))
    [late] = to_messages(Batch(NOON + MINUTE, NOON + MINUTE * 2, 1, 0, (PlannedTest(target, first),), {}))
    world.dynamodb.delete_item(TableName="Targets", Key={"target_id": {"S": "a"}})
    world.tick(NOON + MINUTE)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.do(from_message(late))
    assert world.store.read_records()[1] == {}


def test_commit_whose_answer_was_lost_is_delivered_though_another_wrote_since(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore asks again after its timeout, and then meets the record of a later test: the alert is sent all the same.

    It used to lie in the outbox until a sweep took it for that of an ended invocation, two minutes later.
    """
    world.put_target("a", failures_per_alert=1)
    world.tick(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT
    commit = Store.commit

    def lost(store: Store, record: Record, expected: int, expected_tick: datetime | None = None) -> Record | None:
        found = commit(store, record, expected, expected_tick)
        if found or not any(entry.message for entry in record.outbox):
            return found
        monkeypatch.setattr(Store, "commit", commit)
        later = replace(record, version=record.version + 1, tick=NOON + 2 * MINUTE, writer="another")
        assert commit(store, later, record.version, record.tick) is None
        return store.read_record("a")

    monkeypatch.setattr(Store, "commit", lost)
    world.tick(NOON + MINUTE)
    assert [alert["event"] for alert in world.received()] == ["down"]
    assert world.store.read_record("a").outbox == ()


def test_parent_that_has_failed_since_the_sweep_holds_the_alert(world: World) -> None:
    """A gateway and a server behind it fail in one tick; the server's retests follow within the minute.

    The sweep that planned them had seen the gateway pass, so an alert of the server went out with the second retest.
    """
    world.put_target("gateway", delay_up=60)
    world.put_target("server", delay_warn=10, delay_down=10, depends_on="gateway", failures_per_alert=2)
    world.tick(NOON)
    world.failing.update(gateway=ErrorCode.TIMED_OUT, server=ErrorCode.TIMED_OUT)
    world.tick(NOON + MINUTE)
    world.receive(NOON + MINUTE + TEN_SECONDS)
    assert world.state("server") == "down"
    assert world.received() == []
    world.failing.pop("gateway")
    world.tick(NOON + 2 * MINUTE)
    world.tick(NOON + 3 * MINUTE)
    assert [(alert["event"], alert["target_id"]) for alert in world.received()] == [("down", "server")]


def test_parent_that_passes_again_holds_no_retest(world: World) -> None:
    """A gateway had failed as the sweep planned the server behind it, and has passed since: the alert is not held.

    The retests of one tick went on for minutes with what their sweep had seen of the gateway.
    """
    world.put_target("gateway", delay_warn=10, failures_per_alert=9)
    world.put_target("server", delay_warn=10, depends_on="gateway", failures_per_alert=3)
    world.tick(NOON)
    world.failing["gateway"] = ErrorCode.TIMED_OUT
    world.tick(NOON + MINUTE)
    world.failing["server"] = ErrorCode.TIMED_OUT
    world.tick(NOON + 2 * MINUTE)
    world.failing.pop("gateway")
    for retest in (1, 2):
        world.receive(NOON + 2 * MINUTE + retest * TEN_SECONDS)
    assert [(alert["event"], alert["target_id"]) for alert in world.received()] == [("down", "server")]


def test_role_that_may_not_read_a_record_does_not_stop_an_alert(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For seconds after an upgrade, the role is that of the version before: the alert goes by what the sweep knew."""
    world.put_target("gateway")
    world.put_target("server", depends_on="gateway", failures_per_alert=2)
    world.tick(NOON)

    def denied(*_: object) -> Record:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetItem")

    monkeypatch.setattr(Store, "read_record", denied)
    world.failing["server"] = ErrorCode.TIMED_OUT
    world.tick(NOON + MINUTE)
    world.tick(NOON + 2 * MINUTE)
    assert [alert["event"] for alert in world.received()] == ["down"]
