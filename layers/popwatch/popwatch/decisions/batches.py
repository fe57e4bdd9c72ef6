"""A batch: the tests that one invocation makes, and how messages of the queue carry it. No I/O."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from popwatch.decisions.schedule import LARGEST_BATCH, batch_of, chunks
from popwatch.model.quick_dataclass import quick_dataclass
from popwatch.model.records import MAX_BATCHES, Record, check_record
from popwatch.model.serialization import DamagedError, deserialize, serialize
from popwatch.model.targets import Problem, Target, message_fields, target_parser
from popwatch.model.text import iso
from popwatch.model.time_limits import LONGEST_DELAY, OLDEST_MESSAGE, OLDEST_TICK, REQUEST_AHEAD, STORED_AHEAD

MESSAGE_BYTES = 900_000
"""The most that one message carries; SQS takes 1,048,576 bytes, attributes included."""

LONGEST_PLAN = timedelta(minutes=4)
"""From a tick to the one that plans again: more than a late test of a tick takes until its outcome is committed."""

MAX_ATTEMPTS = 100
"""Of a message: many more than there are before its tests go to the dead-letter queue."""


@quick_dataclass(frozen=True, slots=True)
class PlannedTest:
    """A target that is due, and its record as the plan found it.

    `parents` are the targets that it depends on and that hold alerts at all; `failing_parent` names them, if all of
    them were failing then.
    """

    target: Target
    record: Record
    failing_parent: str = ""
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Tests planned for one `tick`, all of batch `number` of `batches`.

    `next_tick` is the next minute's tick, which plans again. `defaults` are the user's own, for all targets. `attempt`
    counts how often tests were requeued because an invocation could not finish them; `given_up_by` names those
    invocations as their commits do: they deliver nothing more. `late_seconds` is
    how long after its tick the sweep began that planned these tests. `delay_seconds` is the delay with which its
    message was sent; None in a message of an earlier version. `requested` tests are made since someone asked for them,
    beside the schedule: a failure counts only if a test was due, and the schedule plans what follows one that changed
    nothing.
    """

    tick: datetime
    next_tick: datetime
    batches: int
    number: int
    tests: tuple[PlannedTest, ...]
    defaults: Mapping[str, Any]
    attempt: int = 0
    late_seconds: int = 0
    delay_seconds: int | None = None
    requested: bool = False
    given_up_by: tuple[str, ...] = ()

    def of(self, tick: datetime, tests: Iterable[PlannedTest]) -> Self:
        """A batch like this one, with other tests of another tick, which no invocation has tried yet."""
        return replace(self, tick=tick, tests=tuple(tests), attempt=0, given_up_by=())


@dataclass(frozen=True, slots=True)
class RequestedTests:
    """Targets that someone wants to be tested, at `at`. When they are tested the function reads all else itself."""

    at: datetime
    target_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RollupJob:
    """An hour of a batch whose samples are to be added up."""

    hour: datetime
    batches: int
    number: int


Work = Batch | RollupJob | RequestedTests


def split(batch: Batch) -> dict[int, Batch]:
    """The batch's tests by the batch that each target belongs to."""
    parts: dict[int, list[PlannedTest]] = defaultdict(list)
    for test in batch.tests:
        parts[batch_of(test.target.target_id, batch.batches)].append(test)
    return {number: replace(batch, number=number, tests=tuple(tests)) for number, tests in sorted(parts.items())}


def to_messages(work: Work) -> Iterator[str]:
    """The bodies of the messages that carry `work`: as many as its size needs."""
    if isinstance(work, RollupJob):
        yield json.dumps({"hour": iso(work.hour), "batches": work.batches, "batch": work.number})
        return
    if isinstance(work, RequestedTests):
        yield json.dumps({"retest": work.target_ids, "at": iso(work.at)})
        return
    tests = [_dump(_test_to_json(test)) for test in work.tests]
    head = {
        "tick": iso(work.tick),
        "horizon": iso(work.next_tick),  # its name in messages since the first version
        "batches": work.batches,
        "batch": work.number,
        "attempt": work.attempt,
        "defaults": message_fields(work.defaults),
    }
    if work.late_seconds:
        head["late"] = work.late_seconds
    if work.delay_seconds is not None:
        head["delay"] = work.delay_seconds
    if work.requested:
        head["requested"] = True
    if work.given_up_by:
        head["given_up_by"] = work.given_up_by
    begin = _dump(head)[:-1]
    for part in chunks((len(test) + 1 for test in tests), MESSAGE_BYTES - len(begin) - 1):
        yield f'{begin},"tests":[{",".join(tests[part])}]}}'


def from_message(body: str) -> Work:
    """The work that a message carries. Raises ValueError for a body that popwatch did not write."""
    try:
        return _work_from_json(json.loads(body))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"The message is not a batch of popwatch: {type(error).__name__}: {error}") from error


def why_refused(work: Work, now: datetime) -> str:
    """Why the work of a message cannot be what popwatch sent by now; empty if it can.

    A tick or a record of the future would keep a target from being tested until then.
    """
    if isinstance(work, RequestedTests):
        if not now - OLDEST_MESSAGE <= work.at <= now + REQUEST_AHEAD:
            return f"its time {iso(work.at)} is more than an hour old, or more than 15 minutes ahead"
        most = LARGEST_BATCH
        return f"it names {len(work.target_ids)} targets, {most} are allowed" if len(work.target_ids) > most else ""
    if not 0 <= work.number < work.batches <= MAX_BATCHES:
        return f"there is no batch {work.number} of {work.batches}"
    if isinstance(work, RollupJob):
        return f"its hour {iso(work.hour)} is in the future" if work.hour > now else ""
    if not now - OLDEST_MESSAGE <= work.tick <= now + STORED_AHEAD:
        return f"its tick {iso(work.tick)} is more than an hour old, or more than 2 minutes ahead"
    if not timedelta() <= work.next_tick - work.tick <= LONGEST_PLAN or not 0 <= work.attempt <= MAX_ATTEMPTS:
        return f"its next tick {iso(work.next_tick)} or its attempt {work.attempt} cannot be"
    delay, late = work.delay_seconds or 0, work.late_seconds
    if not (0 <= delay <= LONGEST_DELAY.total_seconds() and 0 <= late <= OLDEST_TICK.total_seconds()):
        return f"its delay of {delay} s, or that of its sweep of {late} s, cannot be"
    for test in work.tests:
        try:
            check_record(test.record, now)
        except DamagedError as error:
            return f"the record of {test.record.target_id}: {error}"
    return ""


def _work_from_json(content: Any) -> Work:
    if "retest" in content:
        return RequestedTests(_time(content["at"]), tuple(dict.fromkeys(map(str, content["retest"]))))
    batches, number = int(content["batches"]), int(content["batch"])
    if "hour" in content:
        return RollupJob(_time(content["hour"]), batches, number)
    return Batch(
        tick=_time(content["tick"]),
        next_tick=_time(content["horizon"]),
        batches=batches,
        number=number,
        tests=tuple(_tests_from_json(content["tests"], content["defaults"])),
        defaults=content["defaults"],
        attempt=int(content["attempt"]),
        late_seconds=int(content.get("late", 0)),
        delay_seconds=int(content["delay"]) if "delay" in content else None,
        requested=content.get("requested") is True,
        given_up_by=tuple(map(str, content.get("given_up_by", ()))),
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no offset from UTC")
    return time


def _tests_from_json(tests: Iterable[Any], defaults: Mapping[str, Any]) -> Iterator[PlannedTest]:
    parse = target_parser(defaults)
    for test in tests:
        target = parse(test["item"])
        if "problems" in test:  # a field that is too large for the message had a problem that parsing cannot find here
            target = replace(target, problems=deserialize(tuple[Problem, ...], test["problems"]))
        record = _without_outbox(deserialize(Record, test["record"]))
        if record.target_id != target.target_id:
            raise DamagedError(f"the record of {record.target_id} comes with target {target.target_id}")
        yield PlannedTest(target, record, str(test.get("failing_parent", "")), tuple(map(str, test.get("parents", ()))))


def _test_to_json(test: PlannedTest) -> dict[str, Any]:
    # No decision needs the last outcome, and it is the largest part of a record.
    record = _without_outbox(replace(test.record, outcome=None))
    content = {"item": test.target.fields, "record": serialize(record)}
    if test.target.problems:
        content["problems"] = serialize(test.target.problems)
    if test.failing_parent:
        content["failing_parent"] = test.failing_parent
    if test.parents:
        content["parents"] = list(test.parents)
    return content


def _without_outbox(record: Record) -> Record:
    """The record as a message carries it: alerts are sent from the table only, whatever a message says.

    One whose outbox is not empty goes a version back. So its commit collides with the record in the table, and is made
    on that one, with its outbox, instead of replacing it. The first version goes back to -1: 0 would say that there is
    no record, and bring one back that has been deleted meanwhile.
    """
    if not record.outbox:
        return record
    return replace(record, outbox=(), version=record.version - 1 if record.version > 1 else -1)


_dump = json.JSONEncoder(separators=(",", ":")).encode
