"""Dead letters: what each is, and where it belongs. Pure.

A tick that the schedule or Lambda could not deliver, or that the function failed on, was made up for by later ticks. A
batch has been overtaken once each of its targets was due again. An hour to be added up is nobody else's work.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from popwatch.decisions.batches import Batch, HourOfBatch, from_message
from popwatch.decisions.schedule import is_stale
from popwatch.model.text import clean, utc
from popwatch_cli.doctor.rules.findings import Finding, Kind, counted, warning

WHY_SHOWN = 150


class What(StrEnum):
    """What a dead letter is."""

    TICK = "tick"
    BATCH = "batch"
    HOUR = "hour"
    OTHER = "unknown message"


class Fate(StrEnum):
    """What `popwatch doctor --redrive` does with it."""

    SEND = "send"
    DROP = "drop"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: what it is, the moment that it is about, and why it died, as far as AWS says."""

    what: What
    at: datetime | None = None
    why: str = ""
    work: Batch | HourOfBatch | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a letter, and a sentence that says so."""

    fate: Fate
    sentence: str


def read_letter(body: str, attributes: Mapping[str, str]) -> Letter:
    """What a message of the dead-letter queue is; `attributes` are those that EventBridge Scheduler adds."""
    try:
        work = from_message(body)
    except (ValueError, RecursionError):
        return _read_tick(body, attributes)
    if isinstance(work, HourOfBatch):
        return Letter(What.HOUR, work.hour, work=work)
    return Letter(What.BATCH, work.tick, work=work)


def decide(letter: Letter, swept_at: datetime | None, now: datetime) -> Verdict:
    """Where a letter belongs; `swept_at` is the last completed tick."""
    when = utc(letter.at) if letter.at else "an unknown time"
    match letter.what:
        case What.TICK if letter.at is None:
            return Verdict(Fate.KEEP, "A tick without a time is kept: look at it in the console of SQS.")
        case What.TICK if swept_at is None or (letter.at and letter.at > swept_at):
            return Verdict(Fate.KEEP, f"The tick of {when} is kept: no later one has been completed yet.")
        case What.TICK:
            return Verdict(Fate.DROP, f"The tick of {when} is dropped: later ticks have made up for it.")
        case What.HOUR:
            return Verdict(Fate.SEND, f"The hour of {when}, to be added up, goes back to the batch queue.")
        case What.BATCH:
            return _decide_batch(letter, when, now)
        case _:
            return Verdict(Fate.KEEP, "A message that is none of popwatch's is kept: look at it in the console of SQS.")


def of_letters(count: int, letters: Sequence[Letter]) -> Iterator[Finding]:
    """What lies in the dead-letter queue: `count` by SQS's reckoning, of which `letters` could be looked at."""
    total = max(count, len(letters))
    if not total:
        return
    kinds = Counter(letter.what for letter in letters)
    parts = ", ".join(counted(number, what) for what, number in kinds.items())
    parts = parts.replace("batchs", "batches")
    oldest = min((letter.at for letter in letters if letter.at), default=None)
    why = next((letter.why for letter in letters if letter.why), "")
    yield warning(
        Kind.DEAD_LETTERS,
        f"{counted(total, 'dead letter')}{f': {parts}' if parts else ''}"
        f"{f', the oldest of {utc(oldest)}' if oldest else ''}{f'. AWS says: {why}' if why else ''}.",
        "See the function's log of that time, then run `popwatch doctor --redrive`: it puts them where they belong.",
    )


def _decide_batch(letter: Letter, when: str, now: datetime) -> Verdict:
    batch = letter.work
    tests = batch.tests if isinstance(batch, Batch) else ()
    tick = letter.at or now
    fresh = sum(not is_stale(test.record.health, test.target.policy, tick, now) for test in tests)
    name = f"The batch of {when} ({counted(len(tests), 'target')})"
    if fresh:
        return Verdict(
            Fate.SEND, f"{name} goes back to the batch queue: {counted(fresh, 'test')} of it can still be made."
        )
    return Verdict(Fate.DROP, f"{name} is dropped: it has been overtaken, each of its targets was due again since.")


def _read_tick(body: str, attributes: Mapping[str, str]) -> Letter:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    plain = found if isinstance(found, dict) else {}
    why = attributes.get("ERROR_MESSAGE") or attributes.get("ERROR_CODE") or _why(plain)
    event = plain.get("requestPayload", plain)  # Lambda wraps what it could not do in a record of its own
    event = event if isinstance(event, dict) else {}
    if "scheduled_time" not in event:
        return Letter(What.OTHER, why=clean(why, WHY_SHOWN))
    return Letter(What.TICK, _moment(event["scheduled_time"], attributes), clean(why, WHY_SHOWN))


def _why(record: Mapping[str, Any]) -> str:
    context, response = record.get("requestContext"), record.get("responsePayload")
    said = response.get("errorMessage") if isinstance(response, dict) else None
    condition = context.get("condition") if isinstance(context, dict) else None
    return str(said or condition or "")


def _moment(text: object, attributes: Mapping[str, str]) -> datetime | None:
    """The tick's time; one that Scheduler could not hand over may hold it in an attribute only."""
    for candidate in (str(text), attributes.get("SCHEDULED_TIME", "")):
        try:
            moment = datetime.fromisoformat(candidate)
        except ValueError:
            continue
        if moment.tzinfo:
            return moment
    return None
