"""What holds alerts back, and what is sent then, over whole sweeps: docs/outages.md."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from popwatch.aws.items import to_item
from popwatch.decisions.schedule import next_slot
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.records import PublishedAlert
from popwatch.model.text import iso
from popwatch.queries.status import read_fleet_status
from tests.integration.world import MINUTE, NOON, World

DOWN_AT_ONCE = {"failures_per_alert": 1, "max_alerts": 3}


def run(world: World, count: int, start: int = 0) -> None:
    for step in range(start, start + count):
        world.minute(NOON + MINUTE * step)


def events(world: World) -> list[tuple[str, str]]:
    return [(alert["target_id"], alert["event"]) for alert in world.received()]


def emails(world: World, target_id: str) -> list[str]:
    return [
        event.what.message.email
        for event in world.store.read_events(target_id)
        if isinstance(event.what, PublishedAlert)
    ]


def put_as_the_test_runs(world: World, change: Callable[[], None]) -> None:
    """Let people change something after the sweep has read the tables, while its tests are under way."""
    original = world.outcome

    def outcome(target: object) -> object:
        world.outcome = original  # type: ignore[method-assign]
        found = original(target)  # type: ignore[arg-type]
        change()
        return found

    world.outcome = outcome  # type: ignore[method-assign, assignment]


def silence(begin: datetime, minutes: int) -> dict[str, str]:
    return {"from": iso(begin), "until": iso(begin + MINUTE * minutes)}


class TestSilenceHoldsAtOnce:
    """`popwatch silence` has returned: no alert of a test that is under way comes after that."""

    def test_down_of_a_test_that_was_planned_before_waits_for_the_end(self, world: World) -> None:
        """It counts, and is alerted with the first failed test after the silence."""
        world.put_target("a", **DOWN_AT_ONCE)
        run(world, 1)
        world.failing["a"] = ErrorCode.TIMED_OUT
        held = silence(NOON + MINUTE + timedelta(seconds=0), 5)
        put_as_the_test_runs(world, lambda: world.put_target("a", **DOWN_AT_ONCE, silence=held))
        run(world, 5, start=1)
        assert events(world) == []
        run(world, 1, start=6)
        assert events(world) == [("a", "down")]

    def test_silence_that_begins_within_the_minute_of_the_test(self, world: World) -> None:
        """The test's own time lies before it, and its failure counts; the alert waits all the same."""
        world.put_target("a", **DOWN_AT_ONCE)
        run(world, 1)
        world.failing["a"] = ErrorCode.TIMED_OUT

        def silenced() -> None:
            world.now = NOON + MINUTE + timedelta(seconds=30)
            world.put_target("a", **DOWN_AT_ONCE, silence=silence(world.now, 5))

        put_as_the_test_runs(world, silenced)
        run(world, 1, start=1)
        health = world.store.read_record("a").health
        assert (health.failures, health.alerts_sent, health.alert_held) == (1, 0, True)
        run(world, 6, start=2)
        assert events(world) == [("a", "down")]

    def test_recovery_waits_too(self, world: World) -> None:
        """It is sent with the first test after the silence, and says when the outage ended."""
        world.put_target("a", **DOWN_AT_ONCE)
        run(world, 1)
        world.failing["a"] = ErrorCode.TIMED_OUT
        run(world, 1, start=1)
        del world.failing["a"]
        held = silence(NOON + MINUTE * 2, 5)
        put_as_the_test_runs(world, lambda: world.put_target("a", **DOWN_AT_ONCE, silence=held))
        run(world, 5, start=2)
        assert events(world) == [("a", "down")]
        run(world, 1, start=7)
        assert events(world) == [("a", "recovered")]
        assert "a was UP again at 2026-11-23 12:02:00 UTC. It had been down for 1 min." in emails(world, "a")[-1]

    def test_recovery_of_an_outage_that_was_acknowledged_as_it_ended(self, world: World) -> None:
        """No alert had been sent of it, as its parent failed; who acknowledged it is notified of its end."""
        world.put_target("gateway")
        child = {"failures_per_alert": 1, "depends_on": "gateway"}
        world.put_target("a", **child)
        run(world, 1)
        world.failing |= {"a": ErrorCode.TIMED_OUT, "gateway": ErrorCode.TIMED_OUT}
        run(world, 2, start=1)
        assert world.store.read_record("a").health.alerts_sent == 0
        del world.failing["a"]
        known = {"outage": iso(NOON + MINUTE)}
        put_as_the_test_runs(world, lambda: world.put_target("a", **child, acknowledged=known))
        run(world, 1, start=3)
        assert ("a", "recovered") in events(world)

    def test_acknowledgement_holds_at_once(self, world: World) -> None:
        """The second alert was being decided as somebody acknowledged the outage."""
        world.put_target("a", **DOWN_AT_ONCE)
        run(world, 1)
        world.failing["a"] = ErrorCode.TIMED_OUT
        run(world, 1, start=1)
        known = {"outage": iso(NOON + MINUTE)}
        put_as_the_test_runs(world, lambda: world.put_target("a", **DOWN_AT_ONCE, acknowledged=known))
        run(world, 3, start=2)
        assert events(world) == [("a", "down")]

    @pytest.mark.parametrize("removed", [False, True])
    def test_suspended_or_removed_target_is_not_alerted(self, world: World, removed: bool) -> None:
        """Its test was under way; the next sweep records what its user did."""
        world.put_target("a", **DOWN_AT_ONCE)
        run(world, 1)
        world.failing["a"] = ErrorCode.TIMED_OUT

        def change() -> None:
            if removed:
                world.dynamodb.delete_item(TableName="Targets", Key=to_item({"target_id": "a"}))
            else:
                world.put_target("a", **DOWN_AT_ONCE, enabled=False)

        put_as_the_test_runs(world, change)
        run(world, 2, start=1)
        assert events(world) == []
        assert [tick for tick, _ in world.tested] == [NOON, NOON + MINUTE]
        assert [record.health.state for record in world.store.read_records()[1].values()] == (
            [] if removed else ["suspended"]
        )

    def test_only_an_alert_costs_the_read(self, world: World) -> None:
        """A test without an alert reads no item of Targets again."""
        world.put_target("a", failures_per_alert=2)
        run(world, 1)
        world.failing["a"] = ErrorCode.TIMED_OUT
        world.calls.clear()
        run(world, 1, start=1)
        assert "GetItem" not in world.calls
        run(world, 1, start=2)
        assert world.calls.count("GetItem") == 1

    def test_role_that_may_not_read_the_item_does_not_stop_the_alert(self, world: World) -> None:
        """As for seconds after an upgrade: the alert goes out as planned."""

        def deny(params: dict[str, Any], **_: object) -> None:
            if json.loads(params["body"])["TableName"] == "Targets":
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetItem")

        world.put_target("a", **DOWN_AT_ONCE)
        run(world, 1)
        world.failing["a"] = ErrorCode.TIMED_OUT
        world.watched_dynamodb.meta.events.register("before-call.dynamodb.GetItem", deny)
        run(world, 1, start=1)
        assert events(world) == [("a", "down")]


class TestReleasedTogether:
    """Targets that their parent's failure held, and that are released at once."""

    def hold(self, world: World, children: int) -> None:
        world.put_target("gateway", failures_per_alert=1, delay_lost=60)
        for number in range(children):
            world.put_target(f"child-{number}", failures_per_alert=1, depends_on="gateway")
        run(world, 1)
        world.failing = dict.fromkeys(
            ["gateway", *(f"child-{number}" for number in range(children))], ErrorCode.TIMED_OUT
        )
        run(world, 4, start=1)
        assert {target for target, _ in events(world)} == {"gateway"}

    @pytest.mark.parametrize("how", ["suspended", "removed"])
    def test_released_by_a_parent_that_goes_they_are_one_summary(self, world: World, how: str) -> None:
        """One message for all of them; the next alert of each is a full count later."""
        self.hold(world, 4)
        if how == "removed":
            world.dynamodb.delete_item(TableName="Targets", Key=to_item({"target_id": "gateway"}))
        else:
            world.put_target("gateway", enabled=False)
        run(world, 1, start=5)
        [alert] = world.received()
        assert alert["event"] == '["summary", "down"]'
        assert {f"child-{number}" for number in range(4)} == set(json.loads(alert["target_id"]))
        assert [sms["event"] for sms in world.received_sms()][-1] == '["summary", "down"]'

    def test_silencing_the_parent_releases_nothing(self, world: World) -> None:
        """It still fails: so its children are still explained."""
        self.hold(world, 4)
        world.put_target("gateway", failures_per_alert=1, delay_lost=60, silence=silence(NOON, 60))
        run(world, 5, start=5)
        assert events(world) == []
        del world.failing["gateway"]
        run(world, 2, start=10)
        assert [event for _, event in events(world)] == ['["summary", "down"]']

    def test_one_alone_comes_as_itself(self, world: World) -> None:
        """A summary of one says less."""
        self.hold(world, 1)
        world.put_target("gateway", enabled=False)
        run(world, 1, start=5)
        assert events(world) == [("child-0", "down")]


class TestLastPassed:
    """The last passed test, and not the first one since the last outage."""

    @pytest.mark.parametrize("delay_up", [60, 300, 1800])
    def test_alert_names_the_last_passed_test(self, world: World, delay_up: int) -> None:
        """However long the delay is, and however many passes were not written to the record."""
        world.put_target("a", **DOWN_AT_ONCE, delay_up=delay_up)
        slots = [next_slot("a", delay_up, NOON)]
        while len(slots) < 4:
            slots.append(next_slot("a", delay_up, slots[-1]))
        ticks = [NOON + -(-(slot - NOON) // MINUTE) * MINUTE for slot in slots]
        for number in range(int((ticks[-1] - NOON) / MINUTE) + 1):
            if NOON + number * MINUTE == ticks[-1]:
                world.failing["a"] = ErrorCode.TIMED_OUT
            world.minute(NOON + number * MINUTE)
        assert world.store.read_record("a").health.last_good_at == ticks[-2]
        assert f"Last good     {ticks[-2]:%Y-%m-%d %H:%M:%S} UTC, 12.5 ms" in emails(world, "a")[0]

    @pytest.mark.parametrize("minutes", [1, 20])
    def test_alert_of_a_changed_item_names_the_last_passed_test(self, world: World, minutes: int) -> None:
        """It is tested between two of its slots, so that its last passed test is not a delay ago."""
        world.put_target("a", **DOWN_AT_ONCE, delay_up=1800)
        slots = [next_slot("a", 1800, NOON), next_slot("a", 1800, next_slot("a", 1800, NOON))]
        last = NOON + -(-(slots[1] - NOON) // MINUTE) * MINUTE
        for number in range(int((last - NOON) / MINUTE) + minutes):
            world.minute(NOON + number * MINUTE)
        world.put_target("a", **DOWN_AT_ONCE, delay_up=1800, host="192.0.2.99")
        world.failing["a"] = ErrorCode.TIMED_OUT
        world.minute(last + minutes * MINUTE)
        assert f"Last good     {last:%Y-%m-%d %H:%M:%S} UTC, 12.5 ms" in emails(world, "a")[0]

    def test_alert_after_a_night_of_passes_in_maintenance(self, world: World) -> None:
        """They were not written either."""
        window = {"from": iso(NOON), "until": iso(NOON + 10 * MINUTE)}
        world.put_target("a", **DOWN_AT_ONCE, maintenance=[window])
        run(world, 10)
        world.failing["a"] = ErrorCode.TIMED_OUT
        run(world, 1, start=10)
        assert "Last good     2026-11-23 12:09:00 UTC, 12.5 ms" in emails(world, "a")[0]

    def test_unknown_is_left_out(self, world: World) -> None:
        """popwatch itself had stopped: it does not know when the target last passed, and says nothing."""
        world.put_target("a", **DOWN_AT_ONCE)
        run(world, 3)
        world.failing["a"] = ErrorCode.TIMED_OUT
        run(world, 1, start=60)
        assert "Last good" not in emails(world, "a")[0]

    def test_page_and_status_show_the_last_passed_test(self, world: World) -> None:
        """Of a target that is up, one in maintenance, and one that fails."""
        window = {"from": iso(NOON), "until": iso(NOON + 60 * MINUTE)}
        world.put_target("up")
        world.put_target("within", maintenance=[window])
        world.put_target("down")
        run(world, 5)
        world.failing = dict.fromkeys(["within", "down"], ErrorCode.TIMED_OUT)
        run(world, 2, start=5)
        found = {
            status.target.target_id: status.last_good_at for status in read_fleet_status(world.store, world.now).targets
        }
        assert found == {"up": NOON + 6 * MINUTE, "within": NOON + 4 * MINUTE, "down": NOON + 4 * MINUTE}

    def test_after_missed_ticks_status_shows_the_last_test(self, world: World) -> None:
        """The record of a target that is up has a test of long ago: the one with which it became up."""
        world.put_target("a")
        run(world, 20)
        [status] = read_fleet_status(world.store, NOON + 30 * MINUTE).targets
        assert (status.tested_at, status.last_good_at) == (NOON + 19 * MINUTE, NOON + 19 * MINUTE)

    def test_a_suspended_target_starts_over(self, world: World) -> None:
        """Its record may have a test of long ago, which was not the last: no test is shown until it is tested again."""
        world.put_target("a")
        run(world, 20)
        world.put_target("a", enabled=False)
        shown = [self.last_test(world)]  # before a sweep has noticed it
        run(world, 1, start=20)
        shown.append(self.last_test(world))
        world.put_target("a")
        shown.append(self.last_test(world))
        assert shown == [(None, None)] * 3
        run(world, 1, start=21)
        assert self.last_test(world) == (NOON + 21 * MINUTE, NOON + 21 * MINUTE)

    def test_a_test_is_not_shown_as_the_last_if_later_ones_may_be_missing(self, world: World) -> None:
        """As where the samples since then were deleted, or cannot be read."""
        world.put_target("a")
        run(world, 20)
        for item in world.dynamodb.scan(TableName="History")["Items"]:
            if item["pk"]["S"].startswith("samples#"):
                world.dynamodb.delete_item(TableName="History", Key={"pk": item["pk"], "sk": item["sk"]})
        assert self.last_test(world) == (None, None)

    def last_test(self, world: World) -> tuple[datetime | None, datetime | None]:
        """When the only target was tested last, and passed last, as status, page and API have it."""
        [status] = read_fleet_status(world.store, world.now).targets
        return status.tested_at, status.last_good_at


def test_changed_host_is_tested_at_the_next_tick_though_the_target_is_lost(world: World) -> None:
    """And its outage ends as soon as the new host passes; the test of a changed field is made once."""
    world.put_target("a", failures_per_alert=1, max_alerts=1, delay_lost=3600)
    run(world, 1)
    world.failing["a"] = ErrorCode.TIMED_OUT
    run(world, 3, start=1)
    assert [tick for tick, _ in world.tested][-1] == NOON + MINUTE
    world.put_target("a", failures_per_alert=1, max_alerts=1, delay_lost=3600, host="new.example.net")
    run(world, 3, start=4)
    assert [tick for tick, _ in world.tested][-1] == NOON + 4 * MINUTE
    del world.failing["a"]
    world.put_target("a", failures_per_alert=1, max_alerts=1, delay_lost=3600, tls="implicit")
    run(world, 1, start=7)
    assert [event for _, event in events(world)] == ["down", "recovered"]


def test_changed_field_of_a_target_that_is_up_is_tested_once(world: World) -> None:
    """At the next tick, which is written; not at every tick after it."""
    world.put_target("a", delay_up=86_400)
    run(world, 2)
    world.put_target("a", delay_up=86_400, verify_tls=False)
    run(world, 4, start=2)
    assert [tick for tick, _ in world.tested] == [NOON, NOON + 2 * MINUTE]


def test_older_news_changes_nothing(world: World) -> None:
    """A test that waits for a silent server is overtaken by a later one, planned for an earlier time, that passes."""
    world.put_target("a")
    run(world, 1)
    world.failing["a"] = ErrorCode.TIMED_OUT

    def passes_meanwhile() -> None:
        known = world.store.read_record("a")
        outcome = Outcome(NOON + MINUTE + timedelta(seconds=20), Phase.QUIT, rtt_ms=12.5)
        newer = replace(known, version=known.version + 1, tick=NOON + timedelta(seconds=50), outcome=outcome)
        assert world.store.commit(newer, known.version, known.tick) is None

    put_as_the_test_runs(world, passes_meanwhile)
    run(world, 1, start=1)
    health = world.store.read_record("a").health
    assert (health.failures, health.failing_since) == (1, NOON + timedelta(seconds=110)), "only the retest counts"
