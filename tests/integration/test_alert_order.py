"""Alerts of a target come in order, and none waits for a sweep where another invocation can know that it is left."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from popwatch.aws.alert_topics import AlertTopics, MessageRefusedError
from popwatch.aws.store import Store
from popwatch.decisions.batches import from_message
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import ErrorCode
from popwatch.model.records import Record
from tests.integration.world import MINUTE, NOON, World, new_world

REFUSAL = ClientError({"Error": {"Code": "InternalError", "Message": "SNS says no."}}, "Publish")


def begin(world: World, **fields: object) -> None:
    """A target that passes, and fails from then on: each of its tests brings an alert."""
    world.put_target("a", failures_per_alert=1, max_alerts=9, delay_up=60, delay_down=60, **fields)
    world.tick(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT


def numbers(world: World) -> list[str]:
    """Those of the alerts that came by email since the last call, in order; the same came by SMS."""
    by_email = [alert["alert_number"] for alert in world.received()]
    assert [alert["alert_number"] for alert in world.received_sms()] == by_email
    return by_email


def lose_answers(monkeypatch: pytest.MonkeyPatch, calls: int = 1) -> None:
    """The next commits of an alert take effect, and no answer to them arrives."""
    commit, left = Store.commit, [None] * calls

    def unanswered(store: Store, record: Record, expected: int, tick: datetime | None = None) -> Record | None:
        found = commit(store, record, expected, tick)
        if left and any(entry.message for entry in record.outbox):
            left.pop()
            raise ReadTimeoutError(endpoint_url="https://dynamodb")
        return found

    monkeypatch.setattr(Store, "commit", unanswered)


def give_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test whose commit has no answer is given back to the queue."""
    begin(world)
    lose_answers(monkeypatch)
    world.now = NOON + MINUTE
    world.sweep().run_tick(world.now)


def answer_late(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The answer to this write of a record with an alert is lost; as it is asked for again, another has written."""
    commit, written = Store.commit, list[Record]()

    def late(store: Store, record: Record, expected: int, tick: datetime | None = None) -> Record | None:
        found = commit(store, record, expected, tick)
        written.extend([record] if found is None and any(entry.message for entry in record.outbox) else [])
        if found or len(written) != number or written[-1] is not record:
            return found
        later = replace(record, version=record.version + 1, tick=(record.tick or NOON) + MINUTE, writer="another")
        assert commit(store, later, record.version, record.tick) is None
        return store.read_record("a")

    monkeypatch.setattr(Store, "commit", late)


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Have something done once, while the next alert is being published."""
    publish = AlertTopics.publish

    def slowly(topics: AlertTopics, topic: Topic, message: AlertMessage) -> str:
        monkeypatch.setattr(AlertTopics, "publish", publish)
        do()
        return publish(topics, topic, message)

    monkeypatch.setattr(AlertTopics, "publish", slowly)


def refuse(
    monkeypatch: pytest.MonkeyPatch, number: str, error: Exception, topics: tuple[Topic, ...] = tuple(Topic)
) -> None:
    """SNS refuses the alert of this number."""
    publish = AlertTopics.publish

    def refusing(sns: AlertTopics, topic: Topic, message: AlertMessage) -> str:
        if str(message.attributes.get("alert_number")) == number and topic in topics:
            raise error
        return publish(sns, topic, message)

    monkeypatch.setattr(AlertTopics, "publish", refusing)


@pytest.mark.parametrize("calls", [1, 2], ids=["the commit", "the claim too"])
def test_alert_whose_commit_was_not_answered_is_sent_by_the_retest(
    world: World, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """The test goes back to the queue, and says who has given it up. It used to be taken for another's."""
    begin(world)
    lose_answers(monkeypatch, calls)
    world.tick(NOON + MINUTE)
    if calls == 1:
        assert numbers(world) == ["1"]
        assert world.store.read_record("a").outbox == ()
    world.tick(NOON + 4 * MINUTE)
    assert numbers(world) == (["2"] if calls == 1 else ["1", "2"])
    assert world.store.read_record("a").health.failures == 2


def test_claim_that_was_not_answered_in_time_is_known_by_what_it_has_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retest claims the alert, and meets the record of a later test as it asks again.

    The alert used to lie in the outbox until a sweep took it for that of an ended invocation, two minutes later.
    """
    begin(world)
    answer_late(monkeypatch, 2)
    lose_answers(monkeypatch)
    world.tick(NOON + MINUTE)
    assert numbers(world) == ["1"]
    assert world.store.read_record("a").outbox == ()


def test_what_has_come_behind_is_sent_though_its_claim_was_not_answered_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has sent the first alert claims the next one as it removes that."""
    begin(world)
    meanwhile(monkeypatch, lambda: world.sweep().run_tick(NOON + 2 * MINUTE))
    answer_late(monkeypatch, 3)
    world.tick(NOON + MINUTE)
    assert numbers(world) == ["1", "2"]
    assert world.store.read_record("a").outbox == ()


def test_test_that_only_claims_an_alert_sends_it_though_another_wrote_since(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SNS refused the alert; the next failed test brings none of its own, and takes that one over."""
    world.put_target("a", failures_per_alert=2, delay_up=60, delay_warn=60, delay_down=60)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON)
    with monkeypatch.context() as refusing:
        refuse(refusing, "1", REFUSAL)
        world.tick(NOON + MINUTE)
    assert numbers(world) == []
    answer_late(monkeypatch, 1)
    world.tick(NOON + 2 * MINUTE)
    assert numbers(world) == ["1"]
    assert world.store.read_record("a").outbox == ()


def test_alert_of_a_test_that_was_given_back_is_sent_though_the_target_was_suspended_since(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had been committed before. It used to wait for a sweep that took its invocation for dead."""
    give_back(world, monkeypatch)
    world.put_target("a", failures_per_alert=1, max_alerts=9, delay_up=60, delay_down=60, enabled=False)
    world.receive(world.now)
    assert numbers(world) == ["1"]
    assert world.store.read_record("a").outbox == ()


def test_two_copies_of_a_message_that_was_given_back_send_one_alert(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one sends it, the other finds that it has been claimed."""
    give_back(world, monkeypatch)
    [(_, body)] = world.queue
    meanwhile(monkeypatch, lambda: world.do(from_message(body)))
    world.receive(world.now)
    assert numbers(world) == ["1"]


def test_alert_of_an_invocation_that_may_be_under_way_is_not_overtaken() -> None:
    """It died before it published: the next alert waits behind its own until it must be dead; both come in order."""
    with new_world() as dry_run:
        begin(dry_run)
        dry_run.tick(NOON + MINUTE)
        publishing = dry_run.calls.index("Publish") + 1
    with new_world(kill_at=(publishing, "before")) as world:
        begin(world)
        world.tick(NOON + MINUTE)
        world.tick(NOON + 2 * MINUTE)
        assert world.store.read_record("a").health.alerts_sent == 2
        assert numbers(world) == []
        world.tick(NOON + 4 * MINUTE)
        assert numbers(world) == ["1", "2", "3"]
        assert world.store.read_record("a").outbox == ()


def test_who_sends_the_first_alert_sends_what_has_come_behind_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of the next tick commits an alert while the first one is on its way: it used to overtake it."""
    begin(world)
    seen: list[str] = []

    def next_tick() -> None:
        world.sweep().run_tick(NOON + 2 * MINUTE)
        seen.extend(numbers(world))

    meanwhile(monkeypatch, next_tick)
    world.tick(NOON + MINUTE)
    assert seen == []
    assert numbers(world) == ["1", "2"]
    assert world.store.read_record("a").outbox == ()


def test_what_has_come_behind_a_summary_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alerts above the threshold wait for the summary; the next one of a target waits for that too."""
    with new_world(storm_threshold=0) as world:
        begin(world)
        meanwhile(monkeypatch, lambda: world.sweep().run_tick(NOON + 2 * MINUTE))
        world.tick(NOON + MINUTE)
        assert numbers(world) == ["1", "2"]
        assert world.store.read_record("a").outbox == ()


@pytest.mark.parametrize("threshold", [10, 0], ids=["single", "buffered"])
def test_refused_alert_is_sent_before_the_next_one(monkeypatch: pytest.MonkeyPatch, threshold: int) -> None:
    """Who could not deliver it says so in the outbox: the next commit takes it over, and does not wait for a sweep."""
    with new_world(storm_threshold=threshold) as world:
        begin(world)
        with monkeypatch.context() as patch:
            refuse(patch, "1", REFUSAL)
            world.tick(NOON + MINUTE)
        assert [entry.given_up for entry in world.store.read_record("a").outbox] == [True]
        world.tick(NOON + 2 * MINUTE)
        if threshold:
            assert numbers(world) == ["1", "2"]
        else:
            assert [alert["event"] for alert in world.received()] == ['["summary", "down"]']
        assert world.store.read_record("a").outbox == ()


@pytest.mark.parametrize(
    ("error", "topics"), [(MessageRefusedError("no"), (Topic.SMS,)), (REFUSAL, (Topic.SMS,)), (REFUSAL, tuple(Topic))]
)
def test_alert_that_sns_goes_on_refusing_keeps_no_other_back(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, topics: tuple[Topic, ...]
) -> None:
    """It is tried first each time, and the next ones are sent all the same, once."""
    begin(world)
    refuse(monkeypatch, "1", error, topics)
    for minute in (1, 2, 3):
        world.tick(NOON + minute * MINUTE)
    assert [alert["alert_number"] for alert in world.received_sms()] == ["2", "3"]
    assert [alert["alert_number"] for alert in world.received()] == (["1"] if Topic.ALERT not in topics else []) + [
        "2",
        "3",
    ]
    assert len(world.store.read_record("a").outbox) == 1


def test_alert_that_history_names_holds_none_back() -> None:
    """The process died before it took a sent alert from the outbox: the next one is sent at once, and only that."""
    with new_world() as dry_run:
        begin(dry_run)
        dry_run.tick(NOON + MINUTE)
        recorded = len(dry_run.calls) - dry_run.calls[::-1].index("Publish") + 2
    with new_world(kill_at=(recorded, "before")) as world:
        begin(world)
        world.tick(NOON + MINUTE)
        assert (numbers(world), len(world.store.read_record("a").outbox)) == (["1"], 1)
        world.tick(NOON + 2 * MINUTE)
        assert numbers(world) == ["2"]
        assert world.store.read_record("a").outbox == ()


def test_alert_that_an_earlier_version_sends_is_left_to_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows of no order, and sends what it has committed: one of this version waits, and takes nothing over."""
    give_back(world, monkeypatch)
    record = world.store.read_record("a")
    older = replace(record.outbox[0], committed_by="")
    assert (
        world.store.commit(replace(record, version=record.version + 1, outbox=(older,)), record.version, record.tick)
        is None
    )
    world.receive(world.now)
    world.tick(NOON + 2 * MINUTE)
    assert numbers(world) == []
    world.tick(NOON + 5 * MINUTE)
    assert numbers(world) == ["1", "2", "3"]


def test_failing_claim_leaves_the_alert_to_a_later_sweep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB refuses all that the retest writes: the alert comes with a later sweep, and in order."""
    give_back(world, monkeypatch)

    def refused(*_: object) -> Record:
        raise BotoCoreError

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", refused)
        [(_, body)] = world.queue
        world.queue.clear()
        world.do(from_message(body))
    world.queue.clear()
    world.tick(NOON + 4 * MINUTE)
    assert numbers(world) == ["1", "2"]
