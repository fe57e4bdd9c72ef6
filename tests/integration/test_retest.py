"""Tests on request: what the function makes of a message of `popwatch retest`, and what the command prints."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import time_machine

from popwatch.decisions.batches import RequestedTests, from_message
from popwatch.decisions.schedule import batch_of
from popwatch.model.outcomes import ErrorCode
from popwatch.model.samples import Sample
from tests.examples import START
from tests.integration.conftest import Ended, InsteadOfSleep, Run
from tests.integration.night import OUTAGE, Night, new_night
from tests.integration.world import MINUTE, NOON, World, batch_of_queue

SECOND = timedelta(seconds=1)
OTHER_BATCH = next(name for name in "bcdef" if batch_of(name, 2) != batch_of("a", 2))
SELDOM = {"delay_up": 3600, "failures_per_alert": 2}


def ask(world: World, *ids: str, at: timedelta) -> None:
    """Someone asks for tests some time after noon."""
    world.now = NOON + at
    world.do(RequestedTests(world.now, ids))
    world.receive(world.now)


def samples(world: World, name: str = "a") -> list[Sample]:
    found = world.store.read_samples(1, 0, NOON, NOON + 60 * MINUTE)
    return [results[name] for _, results in found if name in results]


def failures(world: World, name: str = "a") -> int:
    return world.store.read_record(name).health.failures


def test_failure_counts_only_if_a_test_was_due(world: World) -> None:
    """Tested once an hour: a minute later it is recorded, and not judged, so that trying again brings no alert."""
    world.put_target("a", **SELDOM)
    world.minute(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT
    for minute in (1, 2, 3):
        ask(world, "a", at=minute * MINUTE)
    assert (world.state("a"), failures(world), len(samples(world))) == ("up", 0, 4)
    assert samples(world)[-1].error is ErrorCode.TIMED_OUT


def test_request_within_the_second_of_another_test_is_recorded_beside_it(world: World) -> None:
    """Who asked waits for a new sample, and the one that counted is not replaced."""
    world.put_target("a", delay_warn=20, failures_per_alert=9)
    world.minute(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON + MINUTE)
    for _ in range(2):
        ask(world, "a", at=MINUTE)
    assert [sample.uncounted for sample in samples(world)] == [False, False, True, True]
    assert failures(world) == 1
    world.failing.clear()
    ask(world, "a", at=MINUTE)
    assert (world.state("a"), len(samples(world))) == ("up", 5)


def test_pass_ends_an_outage_at_once(world: World) -> None:
    """Lost, with an hour to the next test: repaired, and asked for."""
    world.put_target("a", delay_lost=3600, failures_per_alert=1, max_alerts=1)
    world.minute(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT
    for minute in (1, 2):
        world.minute(NOON + minute * MINUTE)
    assert (world.state("a"), len(world.tested)) == ("down", 2)
    world.failing.clear()
    ask(world, "a", at=5 * MINUTE)
    assert world.state("a") == "up"
    assert [alert["event"] for alert in world.received()] == ["down", "recovered"]


def test_failure_that_was_due_is_followed_as_any_other(world: World) -> None:
    """A target that is tested each minute, asked for at 12:00:25: the retests of `delay_warn` follow."""
    world.put_target("a", delay_warn=10)
    world.minute(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT
    ask(world, "a", at=25 * SECOND)
    assert (world.state("a"), failures(world)) == ("warn", 1)
    assert [when - NOON for when, _ in world.queue] == [35 * SECOND]
    world.now = NOON + 35 * SECOND
    world.receive(world.now)
    assert failures(world) == 2


def test_requests_during_an_outage_bring_no_alert_sooner(world: World) -> None:
    """Asked for every three seconds, failures that count are still `delay_warn` apart, and each is made once."""
    world.put_target("a", delay_warn=10, delay_down=10, failures_per_alert=3)
    world.minute(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON + MINUTE)
    for second in range(60, 120):
        world.now = NOON + second * SECOND
        world.receive(world.now)
        if second % 3 == 0:
            ask(world, "a", at=second * SECOND)
    assert failures(world) == 6
    world.tick(NOON + 2 * MINUTE)
    assert failures(world) == 7


def test_tests_of_a_late_tick_stay_late(world: World) -> None:
    """Its tick came 40 seconds late: ten seconds after that test the next one is due, and not before."""
    world.put_target("a", delay_warn=10, failures_per_alert=9)
    world.minute(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.now = NOON + MINUTE + 40 * SECOND
    world.sweep().run_tick(NOON + MINUTE)
    world.queue.clear()
    for second, counted in ((105, 1), (109, 1), (110, 2)):
        ask(world, "a", at=second * SECOND)
        assert failures(world) == counted
    [(when, _)] = world.queue
    assert (when - NOON, batch_of_queue(world).tick - NOON) == (120 * SECOND, 80 * SECOND)


def test_tests_after_a_request_are_those_of_the_schedule(world: World) -> None:
    """A failure that counts is followed by tests at the target's delays, also once they pass."""
    world.put_target("a", delay_up=20, delay_warn=10)
    world.tick(NOON)
    world.queue.clear()
    world.failing["a"] = ErrorCode.TIMED_OUT
    ask(world, "a", at=3 * SECOND)
    world.failing.clear()
    world.tested.clear()
    for second in range(4, 60):
        world.now = NOON + second * SECOND
        world.receive(world.now)
    assert [at - NOON for at, _ in world.tested] == [13 * SECOND, 33 * SECOND, 53 * SECOND]


def test_requests_in_maintenance_begin_no_further_tests(world: World) -> None:
    """Tested each 20 seconds: those tests go on, beside one for each request."""
    world.put_target("a", delay_up=20, maintenance=[{"days": "daily", "from": "11:00", "until": "13:00"}])
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON)
    for second in (3, 5):
        ask(world, "a", at=second * SECOND)
    for second in range(6, 60):
        world.now = NOON + second * SECOND
        world.receive(world.now)
    assert world.state("a") == "maintenance"
    assert [(at - NOON).seconds for at, _ in world.tested] == [0, 3, 5, 20, 40]


def test_request_that_another_test_overtakes_begins_no_second_chain(world: World) -> None:
    """It was due as it was planned; the retest that was late then counted, and is followed by the next one."""
    world.largest_batch = 1  # so that the request goes through the queue
    for name in ("a", OTHER_BATCH):
        world.put_target(name, delay_warn=10)
    world.minute(NOON)
    world.failing["a"] = ErrorCode.TIMED_OUT
    world.tick(NOON + MINUTE)
    [(_, retest)] = world.queue
    world.queue.clear()
    world.now = NOON + 71 * SECOND
    world.do(RequestedTests(world.now, ("a", OTHER_BATCH)))
    requested, world.queue = world.queue, []
    world.do(from_message(retest))
    for _, body in requested:
        world.do(from_message(body))
    assert (failures(world), len(world.queue)) == (2, 1)


def test_changed_target_is_due(world: World) -> None:
    """Its host has been corrected, or made worse: that counts at once, as it would at the next tick."""
    world.put_target("a", **SELDOM)
    world.minute(NOON)
    world.put_target("a", **SELDOM, port=995)
    world.failing["a"] = ErrorCode.TIMED_OUT
    ask(world, "a", at=MINUTE)
    assert failures(world) == 1


def test_pass_of_a_target_that_is_up_writes_a_sample_and_no_second_chain(world: World) -> None:
    """It is tested every ten seconds, by one chain of messages, also after the request."""
    world.put_target("a", delay_up=10)
    world.tick(NOON)
    ask(world, "a", at=3 * SECOND)
    assert (len(samples(world)), len(world.queue)) == (2, 1)


def test_who_is_not_tested(world: World) -> None:
    """A suspended target, and an id that there is not: nothing happens, and nothing breaks."""
    world.put_target("a", enabled=False)
    world.put_target("b", suspended={"from": "2026-01-01", "until": "2027-01-01"})
    ask(world, "a", "b", "gone", at=MINUTE)
    assert world.tested == []


def test_each_test_is_due_and_made(world: World) -> None:
    """Alarms subtract tests made from tests due: those on request are both."""
    world.put_target("a")
    world.minute(NOON)
    world.due.clear()
    ask(world, "a", at=25 * SECOND)
    assert world.due == [(NOON + 25 * SECOND, 1)]


def test_targets_of_several_batches_go_through_the_queue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is recorded under its own batch, where readers look for it."""
    monkeypatch.setattr(world, "largest_batch", 2)
    for name in "abcdef":
        world.put_target(name)
    world.minute(NOON)
    world.tested.clear()
    ask(world, *"abcdef", at=25 * SECOND)
    assert sorted(name for _, name in world.tested) == list("abcdef")
    found = [
        name
        for number in range(4)
        for _, results in world.store.read_samples(4, number, NOON + SECOND, NOON + MINUTE)
        for name in results
    ]
    assert sorted(found) == list("abcdef")


@pytest.fixture
def night() -> Iterator[Night]:
    """The night at 03:15. For each test its own: moto has one set of tables, and other tests here have theirs in it."""
    with new_night() as found:
        found.advance_to(START.replace(minute=15))
        yield found


Retest = Callable[..., Ended]


@pytest.fixture
def retest(night: Night, run: Run, instead_of_sleep: InsteadOfSleep) -> Retest:
    """The command; while it waits, the function receives its message."""

    def receive(_: float) -> None:
        night.now += SECOND
        queue = night.outputs["BatchQueueUrl"]
        for message in night.sqs.receive_message(QueueUrl=queue).get("Messages", []):
            night.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            night.do(from_message(message["Body"]))

    instead_of_sleep(receive)

    def retest_now(*arguments: str) -> Ended:
        with time_machine.travel(night.now, tick=False):
            return run("retest", *arguments)

    return retest_now


def test_passed_target_is_shown(retest: Retest) -> None:
    """With its round-trip time; exit code 0."""
    ended = retest("mail-oslo")
    assert ended.code == 0, ended
    assert ended.out == "passed  mail-oslo  192.0.2.9:110  13.8 ms\n"


def test_failed_target_is_shown_and_then_its_recovery(retest: Retest, night: Night) -> None:
    """It is down and fails before its next test is due, which does not count; once it passes it is up."""
    before = night.store.read_record("mail-berlin").health.failures
    ended = retest("mail-berlin")
    assert ended.code == 2, ended
    assert ended.out.startswith("failed  mail-berlin")
    assert "No test was due yet, so this failure does not count" in ended.out
    assert night.store.read_record("mail-berlin").health.failures == before
    ended = retest("mail-oslo", "mail-berlin", "--json")
    found = {entry["target_id"]: entry for entry in map(json.loads, ended.out.splitlines())}
    assert (found["mail-oslo"]["result"], found["mail-oslo"]["counts"]) == ("passed", True)
    assert (found["mail-berlin"]["result"], found["mail-berlin"]["counts"]) == ("failed", False)
    assert found["mail-berlin"]["state"] == "down"
    night.now = OUTAGE[1]
    ended = retest("mail-berlin")
    assert ended.code == 0, ended
    assert ended.out.endswith("        It was down, and is up now.\n")


def test_suspended_and_unknown_targets(retest: Retest, run: Run, night: Night) -> None:
    """A sentence that says what to do."""
    with time_machine.travel(night.now, tick=False):
        run("suspend", "mail-oslo")
    ended = retest("mail-oslo")
    assert (ended.code, ended.err) == (
        3,
        "mail-oslo: suspended, so it is not tested. Run `popwatch resume mail-oslo` first.\n",
    )
    with time_machine.travel(night.now, tick=False):
        run("resume", "mail-oslo")
    assert "There is no target mail-osl. Did you mean mail-oslo?" in retest("mail-osl").err


def test_outcome_that_does_not_come(run: Run, night: Night) -> None:
    """The queue is stuck: after the time given it says where to look."""
    with time_machine.travel(night.now, tick=False):
        ended = run("retest", "mail-oslo", "--timeout", "2s")
    assert ended.code == 3
    assert "mail-oslo: no outcome within 2 s. See `popwatch status mail-oslo` in a minute" in ended.err
