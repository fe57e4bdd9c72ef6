"""Whole sweeps over real table semantics: what is tested, recorded and alerted, and delivered later after a failure."""

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from popwatch.aws.alert_topics import AlertTopics
from popwatch.decisions.batches import PlannedTest, RollupJob
from popwatch.decisions.judging import judge
from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.records import PublishedAlert
from popwatch.model.samples import Sample
from popwatch.model.targets import parse_target
from popwatch.model.text import duration
from popwatch.sweep.committer import Committer
from popwatch.sweep.outbox import OutboxDelivery
from tests.integration.world import MINUTE, NOON, World, batch_of_queue, new_world
from tests.item_sizes import LARGEST_ITEM, size_of_item

DOWN_AT_ONCE = {"failures_per_alert": 1, "max_alerts": 3}
DOWN_ONCE = {"failures_per_alert": 1, "max_alerts": 1}


def run(world: World, count: int, start: int = 0) -> None:
    for step in range(start, start + count):
        world.minute(NOON + MINUTE * step)


def test_up_targets_cost_no_status_writes(world: World) -> None:
    """The first pass makes a target up, without an alert; later passes write one samples item for all of them."""
    for name in ("a", "b", "c"):
        world.put_target(name)
    run(world, 1)
    assert {world.state(name) for name in ("a", "b", "c")} == {"up"}
    world.calls.clear()
    run(world, 1, start=1)
    assert sorted(world.calls) == ["PutItem", "PutItem", "Scan", "Scan"]
    samples = list(world.store.read_samples(1, 0, NOON, NOON + MINUTE * 5))
    assert samples == [(NOON + MINUTE * n, dict.fromkeys("abc", Sample(12.5))) for n in range(2)]
    assert world.received() == []


def test_outage_from_warn_to_recovered(world: World) -> None:
    """Warn, down with alert 1, 2, 3, lost, recovered: each recorded once and alerted once."""
    world.put_target("a")
    run(world, 1)
    world.failing["a"] = ErrorCode.TIMED_OUT
    run(world, 15, start=1)
    assert world.state("a") == "lost"
    world.failing.clear()
    run(world, 6, start=16)
    assert world.transitions("a") == [
        ("untested", "up"),
        ("up", "warn"),
        ("warn", "down"),
        ("down", "lost"),
        ("lost", "up"),
    ]
    alerts = world.received()
    assert [alert["event"] for alert in alerts] == ["down", "down", "down", "recovered"]
    assert [alert["alert_number"] for alert in alerts[:3]] == ["1", "2", "3"]
    assert world.alerts_recorded("a") == ["down", "down", "down", "recovered"]
    assert not world.store.read_records()[1]["a"].outbox


def test_last_good_is_known_from_samples(world: World) -> None:
    """The first failure of an up target records when it last passed and how fast; passes are not written to it."""
    world.put_target("a")
    run(world, 3)
    world.failing["a"] = ErrorCode.DISCONNECTED
    run(world, 1, start=3)
    health = world.store.read_records()[1]["a"].health
    assert (health.last_good_at, health.last_good_rtt_ms) == (NOON + MINUTE * 2, 12.5)


def test_bad_configuration_is_an_outcome_like_any_other(world: World) -> None:
    """A target with a bad field does not stop the sweep; the other is tested."""
    world.put_target("bad", port="many")
    world.put_target("good")
    world.failing["bad"] = ErrorCode.MISSING_FIELDS
    run(world, 1)
    assert (world.state("bad"), world.state("good")) == ("warn", "up")


def test_same_tick_twice_changes_nothing(world: World) -> None:
    """A completed tick delivered again tests nothing; nor does an older one."""
    world.put_target("a", **DOWN_AT_ONCE)
    world.failing["a"] = ErrorCode.PROTOCOL
    run(world, 2)
    before = world.store.read_records()
    tested = len(world.tested)
    world.tick(NOON + MINUTE)
    world.tick(NOON)
    assert world.store.read_records() == before
    assert len(world.tested) == tested


def test_alerts_and_summaries_say_which_stack_sends_them(world: World) -> None:
    """Where the stack has another name than the usual one."""
    world.stack, world.storm_threshold = "mail-eu", 1
    for target_id in "abc":
        world.put_target(target_id, **DOWN_AT_ONCE)
        world.failing[target_id] = ErrorCode.TIMED_OUT
    run(world, 1)
    found = world.sqs.receive_message(QueueUrl=world.email_queue, MaxNumberOfMessages=10)["Messages"]
    first, summary = sorted(json.loads(message["Body"])["Subject"] for message in found)[::-1]
    assert first.startswith("mail-eu: DOWN 1/")
    assert summary == "mail-eu: 2 alerts at once: 2 down"


def test_two_schedules_in_some_minutes_count_each_test_once(world: World) -> None:
    """An update replaces the schedule, and both fire before the old one is deleted: same tests, same alerts."""
    world.put_target("a", failures_per_alert=3, max_alerts=5, delay_warn=60, delay_down=60)
    world.put_target("b")
    old, new = [NOON + MINUTE * n for n in range(5)], [NOON + MINUTE * n + timedelta(seconds=20) for n in range(2, 9)]
    world.tick(old[0])
    world.failing["a"] = ErrorCode.TIMED_OUT
    for tick in sorted(old[1:] + new):
        world.minute(tick)
    failed = [when for when, target_id in world.tested if target_id == "a"][1:]
    assert set(failed) == {*old[1:], *(tick for tick in new if tick > old[-1] + MINUTE)}
    assert world.store.read_records()[1]["a"].health.failures == len(set(failed)) == 8
    assert [alert["event"] for alert in world.received()] == ["down"] * 2
    passed = [when for when, target_id in world.tested if target_id == "b"]
    assert len(passed) == 10  # once when it is new, then once for each of its slots
    assert all(timedelta() < after - before <= timedelta(seconds=80) for before, after in pairwise(passed))


def test_batch_delivered_twice_counts_once(world: World) -> None:
    """A message that the queue delivers again judges nothing again and sends no alert again."""
    world.put_target("a", delay_warn=30, **DOWN_AT_ONCE, delay_down=30)
    world.tick(NOON)
    world.failing["a"] = ErrorCode.PROTOCOL
    world.tick(NOON + MINUTE)
    retest = batch_of_queue(world)
    assert retest.tick == NOON + timedelta(seconds=90)
    world.now = retest.tick
    world.do(retest)
    once = world.store.read_records()
    assert once[1]["a"].health.failures == 2
    world.do(retest)
    assert world.store.read_records() == once
    assert len(world.received()) == 2


def test_overlapping_sweeps_collide_on_the_version(world: World) -> None:
    """Two sweeps of one tick that read the same records commit one judgement."""
    world.put_target("a", **DOWN_AT_ONCE)
    world.tick(NOON)
    world.failing["a"] = ErrorCode.PROTOCOL
    stale = world.store.read_records()
    world.tick(NOON + MINUTE)
    sweep = world.sweep()
    vars(sweep)["_store"].read_records = lambda: stale
    sweep.run_tick(NOON + MINUTE)
    assert world.store.read_records()[1]["a"].health.failures == 1
    assert [alert["event"] for alert in world.received()] == ["down"]


def test_outcome_that_collides_is_judged_anew(world: World) -> None:
    """Another invocation judged an earlier tick after the plan was made: this failure is the second, not the first."""
    world.put_target("a", failures_per_alert=3, delay_warn=60)
    run(world, 1)
    planned = world.store.read_record("a")
    world.failing["a"] = ErrorCode.TIMED_OUT
    run(world, 1, start=1)
    target = parse_target({"target_id": "a", "host": "pop.example.net", "delay_warn": 60})
    tick, outcome = NOON + MINUTE * 2, world.outcome(target)
    stale = judge(planned.health, outcome, target.policy, tick)
    assert stale.health.failures == 1
    committed = committer_of(world).commit(PlannedTest(target, planned), outcome, stale, tick, lambda _: None)
    assert committed == world.store.read_record("a")
    assert (committed.health.failures, committed.tick, committed.version) == (2, tick, planned.version + 3)


def committer_of(world: World) -> Committer:
    """That of an invocation which began before those that have run since."""
    delivery = OutboxDelivery(
        world.store,
        AlertTopics(world.sns, world.topic, world.sms_topic),
        storm_threshold=10,
        stack="popwatch",
        writer="late",
        function_timeout=2 * MINUTE,
        clock=lambda: world.now,
    )
    return Committer(world.store, delivery, stack="popwatch", clock=lambda: world.now)


@pytest.mark.parametrize(
    ("error", "seconds", "state", "failures"),
    [
        (None, 3, State.UP, 0),
        (ErrorCode.TIMED_OUT, 3, State.WARN, 1),  # not due yet: it would be the second failure within the delay
        (None, -3, State.WARN, 1),  # older than the one that was judged
    ],
)
def test_a_passed_test_ends_the_run_however_soon_it_comes(
    world: World, error: ErrorCode | None, seconds: int, state: State, failures: int
) -> None:
    """It was under way as another test was judged, which began before it and failed."""
    world.put_target("a")
    run(world, 1)
    planned = world.store.read_record("a")
    world.failing["a"] = ErrorCode.TIMED_OUT
    run(world, 1, start=1)
    world.failing = {"a": error} if error else {}
    target = parse_target({"target_id": "a", "host": "pop.example.net"})
    began = NOON + MINUTE + timedelta(seconds=seconds)
    outcome = replace(world.outcome(target), started_at=began)
    judgement = judge(replace(planned.health, failures=1, state=State.WARN), outcome, target.policy, began)
    committer_of(world).commit(PlannedTest(target, planned), outcome, judgement, NOON + 1.5 * MINUTE, lambda _: None)
    health = world.store.read_record("a").health
    assert (health.state, health.failures) == (state, failures)


def test_stale_message_tests_nothing(world: World) -> None:
    """A message that comes minutes late has been overtaken by later ticks."""
    world.put_target("a", delay_warn=30)
    world.failing["a"] = ErrorCode.PROTOCOL
    world.tick(NOON)
    retest = batch_of_queue(world)
    tested = len(world.tested)
    world.now = retest.tick + timedelta(minutes=5)
    world.do(retest)
    assert len(world.tested) == tested


@pytest.mark.parametrize(
    ("fields", "sent", "following", "later"),
    [
        ({"delay_warn": 25}, 230, 300, 190),
        ({"delay_warn": 20, "delay_down": 90}, 220, 360, 380),
        ({"delay_warn": 50, "failures_per_alert": 2}, 230, 300, 130),
        ({"delay_warn": 20, "delay_down": 45}, 220, 265, 135),
        ({}, 300, 360, 180),
    ],
)
def test_an_alert_says_when_the_next_test_is(
    world: World, fields: dict[str, int], sent: int, following: int, later: int
) -> None:
    """Seconds from noon of the alert and of the next test, also after one between two ticks; and to the next alert."""
    world.put_target("a", **fields)
    run(world, 3)
    world.failing["a"] = ErrorCode.TIMED_OUT
    run(world, 6, start=3)
    [first, *_] = [event.what for event in world.store.read_events("a") if isinstance(event.what, PublishedAlert)]
    assert f"Next test in {duration(timedelta(seconds=following - sent))}, " in first.message.email
    assert f"follows in about {duration(timedelta(seconds=later))} if" in " ".join(first.message.email.split())
    made = [(at - NOON).total_seconds() for at, _ in world.tested]
    assert made[made.index(sent) + 1] == following


@pytest.mark.parametrize("delay", [10, 15, 20, 30, 45, 59])
def test_delays_under_a_minute(world: World, delay: int) -> None:
    """A failing target is tested again to the second, by the queue and the tick together, and counted each time."""
    world.put_target("a", delay_warn=delay, failures_per_alert=1000)
    world.failing["a"] = ErrorCode.PROTOCOL
    run(world, 5)
    times = [time for time, _ in world.tested]
    assert times == [NOON + timedelta(seconds=delay) * n for n in range(len(times))]
    assert len(times) == ceil(300 / delay)
    assert world.store.read_records()[1]["a"].health.failures == len(times)


def test_up_target_every_ten_seconds(world: World) -> None:
    """An up target with `delay_up: 10` is tested six times a minute."""
    world.put_target("a", delay_up=10)
    run(world, 3)
    assert [time for time, _ in world.tested] == [NOON + timedelta(seconds=10) * n for n in range(18)]


def test_missed_ticks_are_caught_up(world: World) -> None:
    """After an hour without a sweep, each target with a slot in it is tested at the first tick."""
    for n in range(20):
        world.put_target(f"t{n}", delay_up=3600)
    run(world, 1)
    world.tested.clear()
    run(world, 1, start=60)
    assert len(world.tested) == 20


def test_storm_goes_out_as_one_summary(world: World) -> None:
    """Above the threshold the rest of a batch's alerts are one message; all are recorded, and all outboxes are
    empty."""
    world.storm_threshold = 3
    for n in range(12):
        world.put_target(f"t{n:02}", **DOWN_AT_ONCE)
    run(world, 1)
    world.failing = {f"t{n:02}": ErrorCode.CANNOT_CONNECT for n in range(12)}
    run(world, 1, start=1)
    alerts = world.received()
    assert sorted(alert["event"] for alert in alerts) == ['["summary", "down"]'] + ["down"] * 3
    assert all(world.alerts_recorded(f"t{n:02}") == ["down"] for n in range(12))
    assert not any(record.outbox for record in world.store.read_records()[1].values())
    run(world, 4, start=2)
    assert sum("summary" in alert["event"] for alert in world.received()) == 2


def test_a_refused_write_to_history_costs_the_other_alerts_nothing(world: World) -> None:
    """Of a summary's alerts one cannot be recorded: it stays in the outbox; the rest are recorded, and samples are
    kept."""
    world.storm_threshold = 3
    for n in range(12):
        world.put_target(f"t{n:02}", **DOWN_AT_ONCE)
    run(world, 1)
    world.failing = {f"t{n:02}": ErrorCode.CANNOT_CONNECT for n in range(12)}

    def refuse(params: dict[str, Any], **_: object) -> None:
        if (
            params["TableName"] == "History"
            and params["Item"]["pk"]["S"] == "target#t07"
            and "sent_at" in params["Item"]
        ):
            raise ClientError({"Error": {"Code": "InternalServerError"}}, "PutItem")

    events = world.watched_dynamodb.meta.events
    events.register("provide-client-params.dynamodb.PutItem", refuse)
    run(world, 1, start=1)
    events.unregister("provide-client-params.dynamodb.PutItem", refuse)
    recorded = {f"t{n:02}" for n in range(12) if world.alerts_recorded(f"t{n:02}")}
    left = {name for name, record in world.store.read_records()[1].items() if record.outbox}
    assert (left, recorded) == ({"t07"}, {f"t{n:02}" for n in range(12)} - left)
    samples = [results for _, results in world.store.read_samples(1, 0, NOON + MINUTE, NOON + 2 * MINUTE)]
    assert {name for results in samples for name in results} == {f"t{n:02}" for n in range(12)}


def test_large_fleet_goes_through_the_queue(world: World) -> None:
    """Above one batch every target is tested by some message, once, and its sample lies in its own batch."""
    world.largest_batch = 50  # instead of the usual one, for which a world takes seconds
    for n in range(60):
        world.put_target(f"t{n}")
    world.now = NOON
    report = world.sweep().run_tick(NOON)
    assert (report.tests, report.messages) == (0, 2)
    world.receive(NOON)
    assert sorted(name for _, name in world.tested) == sorted(f"t{n}" for n in range(60))
    samples = [results for b in range(2) for _, results in world.store.read_samples(2, b, NOON, NOON + MINUTE)]
    assert sum(len(results) for results in samples) == 60


def test_what_cannot_be_finished_goes_back_to_the_queue(world: World) -> None:
    """Tests for which the time did not last are requeued, and done by the next invocation."""
    world.put_target("a")
    world.put_target("b")
    world.out_of_time = {"b"}
    world.now = NOON
    assert world.sweep().run_tick(NOON).requeued == 1
    world.out_of_time = set()
    world.receive(NOON)
    assert [name for _, name in world.tested] == ["a", "b"]
    assert world.state("b") == "up"


def test_suspended_and_resumed(world: World) -> None:
    """Switching a target off records it and ends its tests; switching it on tests it at the next tick."""
    world.put_target("a")
    run(world, 1)
    world.put_target("a", enabled=False)
    run(world, 2, start=1)
    assert (world.state("a"), len(world.tested)) == ("suspended", 1)
    world.put_target("a")
    run(world, 1, start=3)
    assert world.transitions("a") == [("untested", "up"), ("up", "suspended"), ("suspended", "up")]


def test_removed_target_leaves_no_record(world: World) -> None:
    """A target taken out of the table is forgotten; its history stays."""
    world.put_target("a")
    run(world, 1)
    world.dynamodb.delete_item(TableName="Targets", Key={"target_id": {"S": "a"}})
    run(world, 1, start=1)
    assert world.store.read_records()[1] == {}
    assert world.transitions("a") == [("untested", "up"), ("up", "untested")]


def test_damaged_record_stops_nothing(world: World) -> None:
    """A record that someone damaged by hand is started anew; the other targets are tested as usual."""
    world.put_target("a")
    world.put_target("b")
    run(world, 1)
    broken: Any = {"target_id": {"S": "a"}, "version": {"N": "7"}, "health": {"S": "fine"}}
    world.dynamodb.put_item(TableName="Status", Item=broken)
    run(world, 1, start=1)
    assert (world.state("a"), world.state("b")) == ("up", "up")
    assert world.store.read_records()[1]["a"].version > 7


def test_removal_is_in_history_once_whatever_dies() -> None:
    """Killed at any call of the sweeps that forget a target: its record goes, and History says once that it went."""
    for position in range(1, 8):
        for side in ("before", "after"):
            with new_world() as world:
                world.put_target("a")
                run(world, 1)
                world.dynamodb.delete_item(TableName="Targets", Key={"target_id": {"S": "a"}})
                world.calls.clear()
                world.kill_at = (position, side)
                run(world, 1, start=1)
                died = world.kill_at is None
                run(world, 4, start=2)
                where = f"killed {side} call {position}"
                assert world.store.read_records()[1] == {}, where
                assert world.transitions("a") == [("untested", "up"), ("up", "untested")], where
                assert died, where


def test_history_says_when_popwatch_had_stopped(world: World) -> None:
    """A sweep that comes ten minutes late records the gap; one that comes four minutes late is only late."""
    world.put_target("a")
    run(world, 2)
    run(world, 1, start=5)
    run(world, 2, start=15)
    assert world.store.read_gaps(NOON, NOON + MINUTE * 60) == [(NOON + MINUTE * 5, NOON + MINUTE * 15)]
    assert world.store.read_gaps(NOON + MINUTE * 15, NOON + MINUTE * 60) == []
    assert world.store.read_gaps(NOON, NOON + MINUTE * 5) == []


def test_the_last_hour_of_a_day_is_added_up_alone(world: World) -> None:
    """Messages run in any order, and the day is added up with its last hour: the others must be there by then."""
    world.put_target("a", delay_up=600)
    evening = NOON.replace(hour=19)
    for minute in range(0, 60, 10):
        world.minute(evening + MINUTE * minute)
    added_up = []
    for minute in range(4):
        world.minute(evening + timedelta(hours=7, minutes=minute))
        added_up.append(world.store.read_records()[0].hour)
    assert [hour.hour for hour in added_up if hour] == [22, 23, 0, 0]


def test_an_hour_that_comes_late_is_added_to_its_day(world: World) -> None:
    """Its message failed, and was delivered again after the day had been added up."""
    midnight = NOON.replace(hour=0)
    for hour in (9, 23):
        world.store.put_samples(2, 1, midnight + timedelta(hours=hour), "g", {"a": Sample(12.5)})
    world.do(RollupJob(midnight + timedelta(hours=23), 2, 1))
    assert [part["a"].tests for _, part in world.store.read_days(2, 1, midnight, NOON)] == [1]
    world.do(RollupJob(midnight + timedelta(hours=9), 2, 1))
    assert [part["a"].tests for _, part in world.store.read_days(2, 1, midnight, NOON)] == [2]


def test_hours_are_added_up_once_and_after_a_pause(world: World) -> None:
    """Each hour is added up a little after its end, and hours that a pause left out are caught up."""
    world.put_target("a", delay_up=600)
    for step in range(0, 60 * 3, 5):
        world.minute(NOON + MINUTE * step)
    hours = list(world.store.read_hours(1, 0, NOON, NOON + timedelta(days=1)))
    assert [(hour, totals["a"].passes) for hour, totals in hours] == [
        (NOON, 6),
        (NOON + timedelta(hours=1), 6),
    ]
    world.minute(NOON + timedelta(hours=5, minutes=30))
    hours = list(world.store.read_hours(1, 0, NOON, NOON + timedelta(days=1)))
    assert [hour.hour for hour, _ in hours] == [12, 13, 14]


def test_hour_of_a_batch_by_message(world: World) -> None:
    """A large fleet's hours are added up by messages."""
    world.store.put_samples(2, 1, NOON, "x", {"a": Sample(5.0)})
    world.do(RollupJob(NOON, 2, 1))
    [(_, totals)] = world.store.read_hours(2, 1, NOON, NOON + MINUTE)
    assert totals["a"].tests == 1


def scenario(world: World) -> None:
    """An outage of one of two targets, with an alert at each failure, and its end, and time to deliver what is left."""
    world.put_target("a", **DOWN_AT_ONCE)
    world.put_target("b")
    run(world, 1)
    world.failing["a"] = ErrorCode.TIMED_OUT
    run(world, 2, start=1)
    world.failing.clear()
    run(world, 6, start=3)


def calls_of_scenario() -> int:
    with new_world(in_memory=True) as world:
        scenario(world)
        return len(world.calls)


def test_killed_at_any_call_nothing_is_lost() -> None:
    """Whichever AWS call the process dies at, before or after its effect: every transition is recorded once, every
    alert is sent, and twice only if it died between SNS's answer and the write to History."""
    duplicates = 0
    for position in range(1, calls_of_scenario() + 1):
        for side in ("before", "after"):
            with new_world(kill_at=(position, side), in_memory=True) as world:
                scenario(world)
                call = world.calls[position - 1]
                where = f"killed {side} call {position} ({call})"
                recorded = check_nothing_lost(world, where)
                for topic, received in (("alert", world.received()), ("sms", world.received_sms())):
                    extra = len(received) - len(recorded)
                    assert extra in (0, 1), f"{where}, {topic}"
                    # Between two publishes, the alert topic has accepted the alert, and nothing says so yet.
                    windows = [("Publish", "after"), ("PutItem", "before"), ("Publish", "before")]
                    assert extra == 0 or (call, side) in windows[: 3 if topic == "alert" else 2], f"{where}, {topic}"
                    duplicates += extra
    assert duplicates > 0, "the window in which an alert is sent twice was never hit: the kills test nothing"


def check_nothing_lost(world: World, where: str) -> list[str]:
    """Fails if a transition or an alert is missing; the alerts of History."""
    found = world.transitions("a")
    assert found[0][0] == "untested", where
    assert found[-1] == ("down", "up"), where
    assert [before for before, _ in found[1:]] == [after for _, after in found[:-1]], where
    recorded = world.alerts_recorded("a")
    assert (recorded[0], recorded[-1]) == ("down", "recovered"), where
    records = world.store.read_records()[1]
    assert not records["a"].outbox, where
    assert [str(records[name].health.state) for name in ("a", "b")] == ["up", "up"], where
    return recorded


def test_a_day_is_added_up_from_its_hours(world: World) -> None:
    """Once the last hour of a day has been added up, the day is, for all of its tests."""
    midnight = NOON.replace(hour=0)
    world.put_target("a", delay_up=600)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(midnight - MINUTE * 70)
    world.failing.clear()
    for step in range(-69, 10):
        world.tick(midnight + MINUTE * step)
    [(day, totals)] = world.store.read_days(1, 0, midnight - timedelta(days=1), midnight)
    assert day == midnight - timedelta(days=1)
    hours = [part["a"] for _, part in world.store.read_hours(1, 0, day, midnight)]
    assert totals["a"].tests == sum(hour.tests for hour in hours) > 6
    assert totals["a"].failures == {"timed-out": 1}


class CountingFuture(Future[Any]):
    """Counts how often all of them together are asked whether they are done."""

    asked = 0

    def done(self) -> bool:
        CountingFuture.asked += 1
        return super().done()


class StuckThreads(Executor):
    """Begins no task before the end, so that all commits are under way at once."""

    def __init__(self) -> None:
        self._tasks: list[tuple[CountingFuture, Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> CountingFuture:
        self._tasks.append((CountingFuture(), partial(fn, *args, **kwargs)))
        return self._tasks[-1][0]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - as in Executor
        for future, task in self._tasks:
            future.set_result(task())


def test_commits_under_way_are_not_asked_again_and_again(world: World) -> None:
    """Forty first tests that come in one by one: a look at each commit, not at all of them at each arrival."""
    for number in range(40):
        world.put_target(f"t{number}")
    world.threads = StuckThreads
    run(world, 1)
    assert {record.health.state for record in world.store.read_records()[1].values()} == {State.UP}
    assert CountingFuture.asked <= 40


class TestOwnNetwork:
    """Nearly all targets fail at once: the monitor's own network may be to blame."""

    @pytest.fixture
    def fleet(self, world: World) -> World:
        for number in range(12):
            world.put_target(f"t{number:02}", host=f"192.0.{number}.1", failures_per_alert=1)
        run(world, 1)
        return world

    def cut_off(self, world: World, count: int = 12) -> None:
        world.failing = {f"t{number:02}": ErrorCode.CANNOT_CONNECT for number in range(count)}
        world.reason = "connect-timed-out"

    def test_two_ticks_are_inconclusive_and_the_third_is_judged(self, fleet: World) -> None:
        """Two ticks change no state and send no alert; what still fails after them is judged, all at once."""
        self.cut_off(fleet)
        run(fleet, 2, start=1)
        assert fleet.state("t00") == "up"
        assert fleet.received() == []
        run(fleet, 1, start=3)
        assert fleet.state("t00") == "down"
        assert [alert["event"] for alert in fleet.received()].count("down") == 10
        samples = [results["t00"] for _, results in fleet.store.read_samples(1, 0, NOON, NOON + MINUTE * 4)]
        assert [sample.inconclusive for sample in samples] == [False, True, True, False]

    def test_samples_are_read_once_however_many_fail(self, fleet: World) -> None:
        """Twelve failures that come in one by one: one query of History says whether they may be inconclusive."""
        self.cut_off(fleet)
        fleet.calls.clear()
        run(fleet, 1, start=1)
        assert fleet.calls.count("Query") == 1

    def test_a_short_loss_of_the_network_leaves_no_trace_in_states(self, fleet: World) -> None:
        """Back after two ticks, nothing has changed and no one was woken."""
        self.cut_off(fleet)
        run(fleet, 2, start=1)
        fleet.failing = {}
        run(fleet, 2, start=3)
        assert fleet.transitions("t00") == [("untested", "up")]
        assert fleet.received() == []

    def test_an_outage_of_some_is_judged_at_once(self, fleet: World) -> None:
        """Ten of twelve are not nearly all: their alerts go out in the same tick."""
        self.cut_off(fleet, 10)
        run(fleet, 1, start=1)
        assert fleet.state("t00") == "down"
        assert len(fleet.received()) == 10

    def test_servers_that_refuse_are_not_a_fault_of_the_network(self, fleet: World) -> None:
        """All twelve refuse: their host is down, not our network."""
        self.cut_off(fleet)
        fleet.reason = "refused"
        run(fleet, 1, start=1)
        assert fleet.state("t00") == "down"

    def test_slow_targets_are_tested_again_at_the_next_tick(self, fleet: World) -> None:
        """A target that is tested every hour does not wait an hour for a test that counts."""
        fleet.put_target("_defaults", host="", delay_up=3600)
        self.cut_off(fleet)
        fleet.minute(NOON + MINUTE * 61)
        fleet.tested.clear()
        fleet.minute(NOON + MINUTE * 62)
        assert len(fleet.tested) == 12


def test_reference_hosts_decide_for_a_small_fleet(world: World) -> None:
    """One target and a reference host that fail together prove nothing; the target alone does."""
    world.references = (("192.0.2.53", 443),)
    world.put_target("a", **DOWN_AT_ONCE)
    run(world, 1)
    world.failing = {"a": ErrorCode.CANNOT_CONNECT, "192.0.2.53:443": ErrorCode.CANNOT_CONNECT}
    world.reason = "connect-timed-out"
    run(world, 1, start=1)
    assert world.state("a") == "up"
    del world.failing["192.0.2.53:443"]
    run(world, 1, start=2)
    assert world.state("a") == "down"


def test_child_is_held_while_its_gateway_fails(world: World) -> None:
    """Only the gateway is alerted; then the child, as it still fails once the gateway is back."""
    world.put_target("gateway", failures_per_alert=2, delay_lost=60)
    world.put_target("child", failures_per_alert=1, depends_on="gateway")
    run(world, 1)
    world.failing = {"gateway": ErrorCode.TIMED_OUT, "child": ErrorCode.TIMED_OUT}
    run(world, 6, start=1)
    assert {alert["target_id"] for alert in world.received()} == {"gateway"}
    assert world.store.read_records()[1]["child"].health.caused_by == "gateway"
    del world.failing["gateway"]
    run(world, 2, start=7)
    alerts = [(alert["target_id"], alert["event"]) for alert in world.received()]
    assert alerts == [("gateway", "recovered"), ("child", "down")]


def test_ids_that_clash_with_our_own_keys_are_not_targets(world: World) -> None:
    """`_sweep` is the checkpoint's key, and an id of 2,048 bytes leaves no room for History's: neither fails a
    sweep."""
    for name in ("_sweep", "x" * 2048, "\U0001f600" * 512, "good"):
        world.put_target(name, **DOWN_AT_ONCE)
        world.failing[name] = ErrorCode.TIMED_OUT
    for minute in range(3):
        report = world.tick(NOON + MINUTE * minute)
        assert report is not None
        assert (report.tests, report.undelivered, report.requeued) == (1, 0, 0)
    assert set(world.store.read_records()[1]) == {"good"}
    assert world.store.read_records()[0].tick == NOON + MINUTE * 2


def refuse_publishing(world: World, refused: str, error: Exception) -> Callable[[], None]:
    """Let SNS refuse what is published to one topic, until the returned function is called."""

    def refuse(params: dict[str, Any], **_: object) -> None:
        if params["body"]["TopicArn"] == refused:
            raise error.with_traceback(None)  # else it keeps the frames of each time, and the log prints them all

    events = world.watched_sns.meta.events
    events.register("before-call.sns.Publish", refuse)
    return lambda: events.unregister("before-call.sns.Publish", refuse)


@pytest.mark.parametrize("storm_threshold", [10, 1])
@pytest.mark.parametrize("refused", ["alert", "sms"])
def test_a_topic_that_refuses_gets_its_alerts_later_and_the_other_none_twice(
    refused: str, storm_threshold: int
) -> None:
    """Neither delivery suppresses the other, alone or in a summary. Alerts count once; one item each."""
    with new_world(storm_threshold=storm_threshold) as world:
        for name in ("a", "b", "c"):
            world.put_target(name, **DOWN_ONCE)
        run(world, 1)
        world.failing |= dict.fromkeys(("a", "b", "c"), ErrorCode.TIMED_OUT)
        topic = world.topic if refused == "alert" else world.sms_topic
        error = ClientError({"Error": {"Code": "Throttling", "Message": ""}}, "Publish")
        accept = refuse_publishing(world, topic, error)
        report = world.tick(NOON + MINUTE)
        messages = {10: ["down"] * 3, 1: ["down", '["summary", "down"]']}[storm_threshold]
        mailboxes = {"alert": world.received, "sms": world.received_sms}
        other = "sms" if refused == "alert" else "alert"
        assert [alert["event"] for alert in mailboxes[other]()] == messages
        assert mailboxes[refused]() == []
        assert report
        assert report.alerts.total() == len(messages)
        assert report.undelivered == len(messages)
        assert len(world.store.read_record("a").outbox) == 1
        accept()
        later = world.tick(NOON + MINUTE * 4)
        assert later
        assert [alert["event"] for alert in mailboxes[refused]()] == messages
        assert mailboxes[other]() == []
        assert later.alerts == {}
        for name in ("a", "b", "c"):
            assert world.store.read_record(name).outbox == ()
            assert world.alerts_recorded(name) == ["down"]


@pytest.mark.long
def test_a_topic_that_refuses_for_days_does_not_stop_a_target(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its record stays below what DynamoDB takes: the oldest alerts are dropped, the newest are sent when SNS is back.

    Without the bound, moto refuses the record here as DynamoDB does, and the target's state stands still.
    """
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    world.put_target("a", failures_per_alert=1, max_alerts=1000, email="\N{SNOWMAN}" * 7_900)
    world.failing["a"] = ErrorCode.TIMED_OUT
    error = ClientError({"Error": {"Code": "KMSAccessDenied", "Message": ""}}, "Publish")
    accept = [refuse_publishing(world, topic, error) for topic in (world.topic, world.sms_topic)]
    run(world, 25)
    [item] = [found for found in world.dynamodb.scan(TableName="Status")["Items"] if found["target_id"]["S"] == "a"]
    assert size_of_item(item) < LARGEST_ITEM
    record = world.store.read_record("a")
    assert record.tick == NOON + MINUTE * 24
    assert "the oldest are dropped" in caplog.text
    numbers = [entry.message.attributes["alert_number"] for entry in record.outbox if entry.message]
    assert numbers == list(range(26 - len(numbers), 26))
    for again in accept:
        again()
    del world.failing["a"]
    run(world, 4, start=25)
    assert [alert["alert_number"] for alert in world.received_sms()][-1] == "25"
    assert world.store.read_record("a").outbox == ()
    assert (world.state("a"), world.transitions("a")[-1]) == ("up", ("down", "up"))


def test_an_alert_that_sns_refuses_for_what_it_is_goes_out_in_a_plainer_form(world: World) -> None:
    """It does not stay in the outbox for ever; the report, and so a metric with an alarm, says so."""
    world.put_target("a", **DOWN_ONCE)
    run(world, 1)
    world.failing["a"] = ErrorCode.TIMED_OUT
    error = ClientError({"Error": {"Code": "InvalidParameter", "Message": "Invalid parameter: Message"}}, "Publish")

    def refuse(params: dict[str, Any], **_: object) -> None:
        if not params["body"]["Message"].isascii():
            raise error

    world.put_target("a", group="Gr\u00fc\u00dfe", **DOWN_ONCE)
    world.watched_sns.meta.events.register("before-call.sns.Publish", refuse)
    report = world.tick(NOON + MINUTE)
    assert report
    assert (report.fallback_messages, report.undelivered, report.alerts.total()) == (1, 0, 1)
    [alert] = world.received()
    assert (alert["event"], alert["target_id"], "group" in alert) == ("down", "a", False)
    assert [alert["group"] for alert in world.received_sms()] == ["Gr\u00fc\u00dfe"]
    assert world.store.read_record("a").outbox == ()
    assert world.alerts_recorded("a") == ["down"]


def test_no_answer_from_sns_is_waited_for_once(world: World) -> None:
    """The time of an invocation is short: where SNS does not answer, the other topic waits for a later sweep, too."""
    world.put_target("a", **DOWN_ONCE)
    run(world, 1)
    world.failing["a"] = ErrorCode.TIMED_OUT
    accept = refuse_publishing(world, world.topic, EndpointConnectionError(endpoint_url="sns"))
    world.tick(NOON + MINUTE)
    accept()
    assert (world.received(), world.received_sms()) == ([], [])
    world.tick(NOON + MINUTE * 4)
    assert [len(world.received()), len(world.received_sms())] == [1, 1]
