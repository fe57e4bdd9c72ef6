"""Dead letters: what each is, and what to do with it. Pure.

A tick that the schedule or Lambda could not deliver, or that the function failed on, needs nothing: later ticks have
caught up. A batch is outdated once each of its targets was due again. Adding up an hour's samples must be repeated: no
later message does it. Who has asked for a test sees that there is none, and asks again.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from popwatch.decisions.batches import Batch, RequestedTests, RollupJob, from_message, why_refused
from popwatch.decisions.schedule import is_stale
from popwatch.model.text import clean, counted, utc
from popwatch_cli.doctor.rules.findings import Finding, FindingKind, warning

WHY_SHOWN = 150


class DeadLetterKind(StrEnum):
    """What a dead letter is."""

    TICK = "tick"
    BATCH = "batch"
    HOUR = "hour"
    REQUEST = "request for tests"
    OTHER = "unknown message"


PLURALS = {
    DeadLetterKind.TICK: "ticks",
    DeadLetterKind.BATCH: "batches",
    DeadLetterKind.HOUR: "hours",
    DeadLetterKind.REQUEST: "requests for tests",
    DeadLetterKind.OTHER: "unknown messages",
}


class RedriveAction(StrEnum):
    """What `popwatch doctor --redrive` does with a dead letter."""

    SEND = "send"
    DROP = "drop"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter: its kind, the time that it is about, and why it failed, as far as AWS reports it."""

    kind: DeadLetterKind
    at: datetime | None = None
    why: str = ""
    work: Batch | RollupJob | RequestedTests | None = None


@dataclass(frozen=True, slots=True)
class Redrive:
    """What to do with a dead letter, and a sentence that reports it."""

    action: RedriveAction
    sentence: str


def read_dead_letter(body: str, attributes: Mapping[str, str]) -> DeadLetter:
    """What a message of the dead-letter queue is; `attributes` are those that EventBridge Scheduler adds."""
    try:
        work = from_message(body)
    except (ValueError, RecursionError):
        return _read_tick(body, attributes)
    if isinstance(work, RollupJob):
        return DeadLetter(DeadLetterKind.HOUR, work.hour, work=work)
    if isinstance(work, RequestedTests):
        return DeadLetter(DeadLetterKind.REQUEST, work.at, work=work)
    return DeadLetter(DeadLetterKind.BATCH, work.tick, work=work)


def plan_redrive(letter: DeadLetter, last_tick: datetime | None, now: datetime) -> Redrive:
    """What to do with a dead letter; `last_tick` is the last completed tick."""
    when = utc(letter.at) if letter.at else "an unknown time"
    match letter.kind:
        case DeadLetterKind.TICK if letter.at is None:
            return Redrive(RedriveAction.KEEP, "A tick without a time is kept: look at it in the SQS console.")
        case DeadLetterKind.TICK if last_tick is None or (letter.at and letter.at > last_tick):
            return Redrive(RedriveAction.KEEP, f"The tick of {when} is kept: no later one has been completed yet.")
        case DeadLetterKind.TICK:
            return Redrive(RedriveAction.DROP, f"The tick of {when} is dropped: later ticks have caught up.")
        case DeadLetterKind.HOUR:
            return Redrive(
                RedriveAction.SEND,
                f"The totals of the hour of {when} return to the batch queue: its samples will be added up.",
            )
        case DeadLetterKind.REQUEST:
            return Redrive(RedriveAction.DROP, f"The request of {when} for tests is dropped: ask again.")
        case DeadLetterKind.BATCH:
            return _plan_batch(letter, when, now)
        case _:
            return Redrive(
                RedriveAction.KEEP, "A message that is not popwatch's is kept: look at it in the SQS console."
            )


def _plan_batch(letter: DeadLetter, when: str, now: datetime) -> Redrive:
    work = letter.work
    tests = work.tests if isinstance(work, Batch) else ()
    tick = letter.at or now
    why = why_refused(work, now) if work else ""
    fresh = sum(not is_stale(test.record.health, test.target.policy, tick, now) for test in tests)
    name = f"The batch of {when} ({counted(len(tests), 'target')})"
    if why:
        return Redrive(RedriveAction.DROP, f"{name} is dropped, since the function would refuse it: {why}.")
    if fresh:
        return Redrive(
            RedriveAction.SEND, f"{name} returns to the batch queue: {counted(fresh, 'test')} can still be made."
        )
    return Redrive(RedriveAction.DROP, f"{name} is dropped: each of its targets has been due again since.")


def check_dead_letters(count: int, letters: Sequence[DeadLetter]) -> Iterator[Finding]:
    """What is in the dead-letter queue: SQS's own `count`, and the `letters` that could be looked at."""
    total = max(count, len(letters))
    if not total:
        return
    what = counted(total, "dead letter")
    if letters:
        kinds = Counter(letter.kind for letter in letters)
        what += f": {', '.join(counted(number, kind, PLURALS[kind]) for kind, number in kinds.items())}"
    oldest = min((letter.at for letter in letters if letter.at), default=None)
    if oldest:
        what += f", the oldest of {utc(oldest)}"
    why = next((letter.why for letter in letters if letter.why), "")
    if why:
        what += f". AWS reports: {why}"
    yield warning(
        FindingKind.DEAD_LETTERS,
        f"{what}.",
        "See the function's log for that time, then run `popwatch doctor --redrive`: it repeats or drops each of them.",
    )


def _read_tick(body: str, attributes: Mapping[str, str]) -> DeadLetter:
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    record = content if isinstance(content, dict) else {}
    why = clean(attributes.get("ERROR_MESSAGE") or attributes.get("ERROR_CODE") or _why(record), WHY_SHOWN)
    # Scheduler puts its own input into the queue. Lambda wraps the event of a failed invocation in a record of its own:
    # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    event = record.get("requestPayload", record)
    if not isinstance(event, dict) or "scheduled_time" not in event:
        return DeadLetter(DeadLetterKind.OTHER, why=why)
    return DeadLetter(DeadLetterKind.TICK, _time_of_tick(event["scheduled_time"], attributes), why)


def _why(record: Mapping[str, Any]) -> str:
    context, response = record.get("requestContext"), record.get("responsePayload")
    message = response.get("errorMessage") if isinstance(response, dict) else None
    condition = context.get("condition") if isinstance(context, dict) else None
    return str(message or condition or "")


def _time_of_tick(text: object, attributes: Mapping[str, str]) -> datetime | None:
    """The tick's time. If Scheduler could not invoke the function, the input still holds the placeholder for it, and
    the time is only in an attribute.
    """
    for candidate in (str(text), attributes.get("SCHEDULED_TIME", "")):
        try:
            time = datetime.fromisoformat(candidate)
        except ValueError:
            continue
        if time.tzinfo:
            return time
    return None
