"""Batches as messages: nothing is lost, no message is too large, and a foreign body is not taken for ours."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.decisions.batches import (
    MESSAGE_BYTES,
    Batch,
    PlannedTest,
    RequestedTests,
    RollupJob,
    Work,
    from_message,
    split,
    to_messages,
    why_refused,
)
from popwatch.model.health import Health, State, Transition
from popwatch.model.messages import AlertMessage
from popwatch.model.records import OutboxEntry, Record
from popwatch.model.serialization import serialize
from popwatch.model.targets import parse_target

TICK = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def planned(name: str, **fields: object) -> PlannedTest:
    target = parse_target({"target_id": name, "host": "pop.example.net", **fields}, {"group": "all"})
    return PlannedTest(target, Record(name, 7, TICK, Health(State.DOWN, TICK, failures=4, alerts_sent=1)))


def since(time: datetime) -> PlannedTest:
    test = planned("a")
    return replace(test, record=replace(test.record, health=replace(test.record.health, since=time)))


def batch(*tests: PlannedTest, batches: int = 1) -> Batch:
    return Batch(TICK, TICK + timedelta(seconds=60), batches, 0, tests, {"group": "all"})


def test_batch_survives_its_message() -> None:
    """What the worker reads is what the planner wrote: targets, defaults, records; but no outbox.

    A record that had one is a version back: its commit collides with the one in the table, and keeps that outbox.
    """
    message = AlertMessage(
        "a", "subject", "email", "", "line", {"event": "down", "alert_number": 2, "group": ("x", "y")}
    )
    entry = OutboxEntry(7, TICK, TICK, Transition(State.WARN, State.DOWN, TICK, timedelta(seconds=60)), message)
    test = planned("a", maintenance=[{"from": "02:00", "until": "04:00"}], tags=["x"], port="995")
    test = replace(test, record=replace(test.record, outbox=(entry,)))
    [body] = to_messages(batch(test))
    assert from_message(body) == batch(replace(test, record=replace(test.record, outbox=(), version=6)))
    assert "pending" not in body
    assert [from_message(body) for body in to_messages(batch(planned("a")))] == [batch(planned("a"))]


def test_a_message_brings_no_alert_of_its_own() -> None:
    """An outbox that a message brings, as one of an earlier version may, is not there once it is read."""
    message = AlertMessage("a", "subject", "email", "", "line", {"event": "down"})
    [body] = to_messages(batch(planned("a")))
    content = json.loads(body)
    content["tests"][0]["record"]["pending"] = serialize((OutboxEntry(7, TICK, TICK, None, message),))
    work = from_message(json.dumps(content))
    assert isinstance(work, Batch)
    assert (work.tests[0].record.outbox, work.tests[0].record.version) == ((), 6)


def test_first_version_of_a_record_with_an_outbox_is_not_taken_for_none() -> None:
    """Version 0 would say that the table has no record, and bring one back that has been deleted meanwhile."""
    entry = OutboxEntry(1, TICK, TICK, Transition(State.UNTESTED, State.UP, TICK))
    test = planned("a")
    [body] = to_messages(batch(replace(test, record=replace(test.record, version=1, outbox=(entry,)))))
    work = from_message(body)
    assert isinstance(work, Batch)
    assert work.tests[0].record.version < 0


def test_a_record_is_that_of_its_own_target() -> None:
    """A message whose record names another target is refused: its test would be judged on the other's health."""
    [body] = to_messages(batch(replace(planned("a"), record=planned("b").record)))
    with pytest.raises(ValueError, match="the record of b comes with target a"):
        from_message(body)


HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("now", "work", "why"),
    [
        (TICK + HOUR, batch(planned("a")), ""),
        (TICK + HOUR + MINUTE, batch(planned("a")), "is more than an hour old"),
        (TICK - 2 * MINUTE, batch(), ""),
        (TICK - 3 * MINUTE, batch(), "more than 2 minutes ahead"),
        (datetime(2099, 1, 1, tzinfo=UTC), batch(), "is more than an hour old"),
        (TICK, replace(batch(), next_tick=TICK + HOUR), "its next tick"),
        (TICK, replace(batch(), next_tick=TICK - MINUTE), "its next tick"),
        (TICK, replace(batch(), attempt=-1), "its attempt -1"),
        (TICK, replace(batch(), delay_seconds=900, late_seconds=30 * 3600), ""),
        (TICK, replace(batch(), delay_seconds=901), "its delay of 901 s"),
        (TICK, replace(batch(), delay_seconds=10**14), "its delay of 100000000000000 s"),
        (TICK, replace(batch(), delay_seconds=-1), "its delay of -1 s"),
        (TICK, replace(batch(), late_seconds=30 * 3600 + 1), "that of its sweep of 108001 s"),
        (TICK, replace(batch(), late_seconds=-1), "that of its sweep of -1 s"),
        (TICK, replace(batch(), number=1), "there is no batch 1 of 1"),
        (TICK, replace(batch(), batches=10**9), "there is no batch 0 of 1000000000"),
        (TICK, batch(since(TICK + 3 * MINUTE)), "the record of a: 2026-11-23T12:03:00Z is in the future"),
        (TICK - 2 * MINUTE, batch(since(TICK)), ""),
        (TICK, RollupJob(TICK - 100 * HOUR, 1, 0), ""),
        (TICK, RollupJob(TICK + HOUR, 1, 0), "is in the future"),
        (TICK + HOUR, RequestedTests(TICK, ("a",)), ""),
        (TICK + HOUR + MINUTE, RequestedTests(TICK, ("a",)), "is more than an hour old"),
        (TICK - 15 * MINUTE, RequestedTests(TICK, ("a",)), ""),
        (TICK - 16 * MINUTE, RequestedTests(TICK, ("a",)), "more than 15 minutes ahead"),
        (TICK, RequestedTests(TICK, tuple(map(str, range(801)))), "it names 801 targets, 800 are allowed"),
    ],
)
def test_messages_of_another_time_are_refused(now: datetime, work: Work, why: str) -> None:
    """A tick at most an hour old and 2 minutes ahead, the next one soon after it, records of the past."""
    found = why_refused(work, now)
    assert why in found
    assert bool(found) == bool(why)


def test_request_survives_its_message() -> None:
    """Ids and a time; an id counts once."""
    work = RequestedTests(TICK, ("a", "b"))
    assert [from_message(body) for body in to_messages(work)] == [work]
    assert from_message('{"retest": ["a", "b", "a"], "at": "2026-11-23T12:00:00Z", "pending": []}') == work


def test_requested_tests_say_so() -> None:
    """In their message, where they go through the queue."""
    work = replace(batch(planned("a")), requested=True)
    assert [from_message(body) for body in to_messages(work)] == [work]


def test_hour_survives_its_message() -> None:
    """An hour to add up is a message too."""
    work = RollupJob(TICK, 4, 3)
    assert [from_message(body) for body in to_messages(work)] == [work]


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=12))
def test_no_message_is_too_large(sizes: list[int]) -> None:
    """Targets with long texts are spread over as many messages as they need, in order, each once."""
    tests = [planned(f"t{n}", email="x" * size) for n, size in enumerate(sizes)]
    bodies = list(to_messages(batch(*tests)))
    assert all(len(body) <= MESSAGE_BYTES + 2 for body in bodies)
    works = [from_message(body) for body in bodies]
    assert [test.target.target_id for work in works if isinstance(work, Batch) for test in work.tests] == [
        f"t{n}" for n in range(len(sizes))
    ]


def test_cut_puts_each_test_into_its_batch() -> None:
    """Cutting loses no test, and leaves out batches with none."""
    tests = [planned(f"t{n}") for n in range(50)]
    parts = split(batch(*tests, batches=64))
    assert sorted(test.target.target_id for part in parts.values() for test in part.tests) == sorted(
        test.target.target_id for test in tests
    )
    assert all(part.tests and part.number == number for number, part in parts.items())


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "{}",
        "nonsense",
        '{"tick": 5, "batches": 1, "batch": 0}',
        '{"hour": "x", "batches": 1, "batch": 0}',
    ],
)
def test_foreign_message_is_refused(body: str) -> None:
    """A body that popwatch did not write raises a ValueError, which takes it to the dead letters."""
    with pytest.raises(ValueError, match="not a batch of popwatch"):
        from_message(body)


def test_damaged_test_is_refused() -> None:
    """A message with a test that cannot be read is refused as a whole, not in part."""
    [body] = to_messages(batch(planned("a")))
    content: dict[str, Any] = json.loads(body)
    content["tests"][0]["record"]["tick"] = "yesterday"
    with pytest.raises(ValueError, match="not a batch of popwatch"):
        from_message(json.dumps(content))


def test_the_largest_item_fits_into_a_message() -> None:
    """An item of 400 KB that JSON makes six times as long still goes to the queue, and its problem goes with it."""
    test = planned("a", email="x" + "\x1c" * 390_000, port="many")
    [body] = to_messages(
        replace(batch(test), defaults={"email": "x" + "\x1c" * 390_000, "group": "all", "unknown": "x" * 10**6})
    )
    assert len(body) < MESSAGE_BYTES
    found = from_message(body)
    assert isinstance(found, Batch)
    [read] = found.tests
    assert read.target.problems == test.target.problems
    assert {problem.field for problem in test.target.problems} == {"email", "port"}


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"batches": Infinity, "batch": 0}',
        '{"batches": 1, "batch": 0, "hour": "2026-11-23T12:00"}',
        '{"batches": 1, "batch": 0, "hour": "0001-01-01T00:00+24:00"}',
        "1" * 5000,
    ],
)
def test_extreme_bodies_are_refused(body: str) -> None:
    """Nested without end, too large for a number, a time without its offset: a ValueError, as for anything else."""
    with pytest.raises(ValueError, match="not a batch of popwatch"):
        from_message(body)
