"""Posture tests in whole sweeps: when they are made, what is kept and alerted, and what a killed function loses."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

import check_targets
from popwatch.decisions.batches import Batch
from popwatch.decisions.posture_tests import is_posture_due
from popwatch.model.health import Health, State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.posture import NO, YES, Posture, PostureChange, finding_names, parse_summary
from popwatch.model.records import EventKind
from popwatch.model.targets import Target, parse_target
from popwatch.sweep.sweep import InvocationStats
from tests.integration.test_hostile_events import Context
from tests.integration.world import MINUTE, NOON, World, new_world

GOOD = Posture(NOON, stls=YES, user_in_clear=NO, tls_1_0=NO, chain=YES)
DAY = timedelta(days=1)
UP = Health(State.UP, NOON)
NAMES = (f"t{number}" for number in range(1000))
NAME = next(name for name in NAMES if is_posture_due(parse_target({"target_id": name}), UP, NOON))


@dataclass
class Servers:
    """Gives each target the posture of now, and keeps who was asked when."""

    world: World
    posture: Posture = GOOD
    asked: list[tuple[datetime, str]] = field(default_factory=list)

    def probe_postures(self, targets: Sequence[Target], _: float) -> Iterable[tuple[Target, Posture]]:
        for target in targets:
            self.asked.append((self.world.now, target.target_id))
            yield target, replace(self.posture, tested_at=self.world.now)


def watched(world: World, **fields: object) -> Servers:
    """A world with a target whose posture is tested at noon."""
    servers = Servers(world)
    world.probe_postures = servers.probe_postures
    world.put_target(NAME, **fields)
    return servers


def run_day(world: World, day: int, minutes: int = 4) -> None:
    """From the minute before noon on, so that the target has been up when its time comes."""
    for number in range(-1, minutes):
        world.minute(NOON + DAY * day + MINUTE * number)


def test_worse_is_alerted_and_kept(world: World) -> None:
    """Day 0 is the first posture, day 1 the same, on day 2 two things got worse: an alert for each, and no others."""
    servers = watched(world)
    run_day(world, 0)
    run_day(world, 1)
    assert len(servers.asked) == 2
    assert world.received() == []
    servers.posture = replace(GOOD, user_in_clear=YES, stls=NO)
    run_day(world, 2)
    run_day(world, 3)
    assert len(servers.asked) == 6  # on day 2 it is seen again, and once more as one of the two goes on waiting
    assert [alert["event"] for alert in world.received()] == ["posture", "posture"]
    assert world.alerts_recorded(NAME) == ["posture", "posture"]
    health = world.store.read_records()[1][NAME].health
    kept = parse_summary(health.posture)
    assert kept
    assert finding_names(kept) == ["stls-gone", "plaintext-login-allowed"]
    assert health.posture_pending == ()
    assert world.state(NAME) == "up"
    changes = [event.what for event in world.store.read_events(NAME, kinds=[EventKind.POSTURE])]
    assert [str(change) for change in changes] == [
        "first test, nothing found",
        "worse: stls-gone, plaintext-login-allowed",
    ]
    assert isinstance(changes[1], PostureChange)
    assert (changes[1].posture.stls, changes[1].posture.tested_at.date()) == (NO, (NOON + 2 * DAY).date())


@pytest.mark.parametrize("interrupted", ["outage", "silence"])
@pytest.mark.parametrize("mended", [True, False])
def test_after_an_interruption_it_is_asked_before_it_is_alerted(world: World, interrupted: str, mended: bool) -> None:
    """A restart, or work on it in a silence, may have mended what was found just before."""
    servers = watched(world)
    run_day(world, 0)
    begin = NOON + DAY
    servers.posture = replace(GOOD, stls=NO)
    run_day(world, 1, 2)
    if interrupted == "outage":
        world.failing[NAME] = ErrorCode.TIMED_OUT
    else:
        window = {"from": (begin + MINUTE).isoformat(), "until": (begin + 10 * MINUTE).isoformat()}
        world.put_target(NAME, silence=window)
    for number in range(2, 10):
        world.minute(begin + MINUTE * number)
    world.failing.clear()
    if mended:
        servers.posture = GOOD
    for number in range(10, 16):
        world.minute(begin + MINUTE * number)
    events = [alert["event"] for alert in world.received() if alert["event"] not in ("down", "recovered")]
    assert events == ([] if mended else ["posture"])
    assert [it for it in servers.asked if begin + MINUTE < it[0] < begin + 10 * MINUTE] == []


def test_a_bug_in_posture_tests_costs_nothing_else(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Else the tick would be repeated, and fail again, as long as the posture is due."""
    servers = watched(world)

    def broken(*_: object) -> Iterable[tuple[Target, Posture]]:
        raise ZeroDivisionError

    world.probe_postures = broken
    run_day(world, 0)
    assert world.state(NAME) == "up"
    assert "Postures were not tested." in caplog.messages
    world.probe_postures = servers.probe_postures
    run_day(world, 1)
    assert len(servers.asked) == 1


def test_everything_else_is_done_before(world: World) -> None:
    """A posture test waits for servers: by then the tick is completed, its hours are added up, its lag is known."""
    servers = watched(world)
    world.minute(NOON - 56 * MINUTE)
    completed: list[datetime | None] = []

    def slow(targets: Sequence[Target], end_by: float) -> Iterable[tuple[Target, Posture]]:
        checkpoint, _ = world.store.read_records()
        completed.append(checkpoint.tick)
        world.now += timedelta(seconds=25)
        yield from servers.probe_postures(targets, end_by)

    world.probe_postures = slow
    stats = world.tick(NOON)
    assert completed == [NOON]
    assert stats
    assert stats.lag_seconds == 0
    assert len(servers.asked) == 1


def test_the_function_publishes_before_it_tests_postures(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is killed meanwhile, what is due and what was tested have been counted; messages are no different."""
    done: list[str] = []

    class Swept:
        def run_tick(self, tick: datetime) -> InvocationStats:
            return InvocationStats(tick)

        def run_batch(self, batch: Batch, _: datetime | None) -> InvocationStats:
            return InvocationStats(batch.tick)

        def test_postures(self) -> None:
            done.append("postures")

    monkeypatch.setattr(check_targets, "_sweep", lambda _: Swept())
    monkeypatch.setattr(check_targets, "_publish_stats", lambda *_: done.append("stats"))
    monkeypatch.setattr(check_targets, "_clock", lambda: NOON)
    monkeypatch.setattr(check_targets, "from_message", lambda _: Batch(NOON, NOON + MINUTE, 1, 0, (), {}))
    handle: Any = check_targets.handler
    handle({"scheduled_time": NOON.isoformat()}, Context())
    handle({"Records": [{"messageId": "m", "body": "a batch"}]}, Context())
    assert done == ["stats", "postures"] * 2


def test_a_failing_target_and_one_that_is_off_are_not_asked(world: World) -> None:
    """No more connections to a server in trouble."""
    servers = watched(world)
    world.put_target("off", posture=False)
    world.failing[NAME] = ErrorCode.TIMED_OUT
    run_day(world, 0)
    assert servers.asked == []
    world.failing.clear()
    run_day(world, 1)
    assert {name for _, name in servers.asked} == {NAME}


def test_switched_off_nothing_of_it_stays(world: World) -> None:
    """Neither what was found, nor an alert that waits."""
    servers = watched(world)
    run_day(world, 0)
    servers.posture = replace(GOOD, user_in_clear=YES, stls=NO)
    run_day(world, 1, 1)
    assert world.store.read_records()[1][NAME].health.posture_pending
    world.put_target(NAME, posture=False)
    world.minute(NOON + DAY + MINUTE)
    health = world.store.read_records()[1][NAME].health
    assert (health.posture, health.posture_pending, world.received()) == ("", (), [])


def test_another_server_under_the_same_id_has_a_first_posture(world: World) -> None:
    """It offers less than the old one, of which nothing is left once it is tested."""
    servers = watched(world)
    run_day(world, 0)
    world.put_target(NAME, host="192.0.2.99")
    world.minute(NOON + DAY - 2 * MINUTE)
    assert world.store.read_records()[1][NAME].health.posture == ""
    servers.posture = replace(GOOD, stls=NO)
    run_day(world, 1)
    assert len(servers.asked) == 2
    assert [it for it in world.received() if it["event"] == "posture"] == []
    changes = [str(event.what) for event in world.store.read_events(NAME, kinds=[EventKind.POSTURE])]
    assert changes == ["first test, nothing found", "first test, found: stls-gone"]


def test_a_posture_of_an_earlier_version_is_no_event(world: World) -> None:
    """It does not say of which server it is: that is written once, and nothing has changed."""
    watched(world)
    run_day(world, 0)
    record = world.store.read_records()[1][NAME]
    older = replace(record, version=record.version + 1, health=replace(record.health, posture=str(GOOD.summary)))
    assert world.store.commit(older, record.version, record.tick) is None
    run_day(world, 1)
    assert world.store.read_records()[1][NAME].health.posture == record.health.posture
    assert len(list(world.store.read_events(NAME, kinds=[EventKind.POSTURE]))) == 1


def test_none_is_asked_once_a_window_has_begun(world: World) -> None:
    """Windows begin at whole hours, as postures are due: the window's first test finds a record that still says up."""
    servers = watched(world, maintenance=[{"from": "12:00", "until": "13:00"}])
    run_day(world, 0)
    assert (servers.asked, world.state(NAME)) == ([], "maintenance")
    world.put_target(NAME, maintenance=[{"from": "11:00", "until": "11:30"}])
    run_day(world, 1)
    assert len(servers.asked) == 1


def test_a_retest_neither_asks_again_nor_undoes_what_is_kept(world: World) -> None:
    """A target with a short delay: the retests of the minute carry a record from before the posture."""
    servers = watched(world, delay_up=10)
    run_day(world, 0)
    assert len(servers.asked) == 1
    assert world.store.read_records()[1][NAME].health.posture


@pytest.mark.long
@pytest.mark.parametrize("call", [2, 3, 8, 9, 10, 11])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_call(call: int, when: str) -> None:
    """From the posture test on, until its alert is recorded: the alert is sent all the same, twice at most.

    Where the posture itself was lost, the test of the next day finds the change.
    """
    with new_world() as world:
        servers = watched(world)
        run_day(world, 0, 2)
        servers.posture = replace(GOOD, stls=NO)

        def probe_postures(targets: Sequence[Target], end_by: float) -> Iterable[tuple[Target, Posture]]:
            if len(servers.asked) == 1:
                world.calls.clear()
                world.kill_at = (call, when)
            return servers.probe_postures(targets, end_by)

        world.probe_postures = probe_postures
        run_day(world, 1, 6)
        run_day(world, 2, 6)
        assert world.kill_at is None
        assert [alert["event"] for alert in world.received()] in (["posture"], ["posture", "posture"])
