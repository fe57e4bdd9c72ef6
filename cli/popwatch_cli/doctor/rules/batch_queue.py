"""How batches get to the function: the queue, its event source mapping, the account's concurrency. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from popwatch.model.text import clean, counted
from popwatch_cli.doctor.rules.findings import RESTORE_STACK, Finding, FindingKind, broken, warning

OTHER_INVOCATIONS = 2
"""Invocations beside the batches: a tick, and the next one if the first takes longer than a minute."""


@dataclass(frozen=True, slots=True)
class BatchMapping:
    """The event source mapping that passes the queue's batches to the function, at most `parallel` at once."""

    name: str
    state: str
    batch_size: int
    reports_failures: bool
    parallel: int | None = None
    last_result: str = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """The batch queue as SQS has it; `dead_letters_to` is the ARN of its dead-letter queue."""

    name: str
    visibility_seconds: int
    dead_letters_to: str = ""


def check_mapping(mapping: BatchMapping | None) -> Iterator[Finding]:
    """Whether batches reach the function: those of large fleets, and every retest within a minute."""
    if mapping is None:
        yield broken(
            FindingKind.BATCHES_GONE,
            "The batch queue's event source mapping does not exist: no batch is tested.",
            RESTORE_STACK,
        )
        return
    if mapping.state not in ("Enabled", "Enabling", "Updating", "Creating"):
        yield broken(
            FindingKind.BATCHES_OFF,
            f"The batch queue's event source mapping is {mapping.state.lower()}: batches and retests wait in the "
            "queue.",
            f"Enable it: `aws lambda update-event-source-mapping --uuid {mapping.name} --enabled`.",
        )
    for difference in _differences(mapping):
        yield warning(
            FindingKind.BATCHES_CHANGED, f"The batch queue's event source mapping {difference}.", RESTORE_STACK
        )


def _differences(mapping: BatchMapping) -> Iterator[str]:
    if mapping.batch_size != 1:
        yield f"passes {mapping.batch_size} batches to one invocation, which tests them one after the other"
    if not mapping.reports_failures:
        yield "lacks ReportBatchItemFailures: one failed message repeats all messages of its invocation"
    if mapping.last_result.startswith("PROBLEM"):
        yield f"reports a problem: {clean(mapping.last_result, 200)}"


def check_dead_letter_queue(exists: bool) -> Iterator[Finding]:
    """Whether the dead-letter queue exists."""
    if not exists:
        yield warning(
            FindingKind.QUEUE_GONE,
            "The dead-letter queue does not exist: ticks and batches that fail are lost.",
            RESTORE_STACK,
        )


def check_queue(queue: Queue | None, timeout_seconds: int, dead_letters_to: str) -> Iterator[Finding]:
    """Whether the batch queue gives the function enough time, and keeps failed messages."""
    if queue is None:
        yield broken(
            FindingKind.QUEUE_GONE,
            "The batch queue does not exist: large fleets and retests are not tested.",
            RESTORE_STACK,
        )
        return
    if timeout_seconds and queue.visibility_seconds < timeout_seconds:
        yield warning(
            FindingKind.QUEUE_CHANGED,
            f"The queue {queue.name} delivers a batch again after {queue.visibility_seconds} s, but the function may "
            f"run for {timeout_seconds} s: a batch may be tested twice.",
            RESTORE_STACK,
        )
    if queue.dead_letters_to.rsplit(":", 1)[-1] != dead_letters_to:
        yield warning(
            FindingKind.QUEUE_CHANGED,
            f"The queue {queue.name} does not move failed messages to the stack's dead-letter queue: they are repeated "
            "until they expire.",
            RESTORE_STACK,
        )


def check_concurrency(limit: int, reserved: int | None, parallel: int | None, batches: int) -> Iterator[Finding]:
    """Whether all batches can run: within the function's reservation, or else what the account has left (`limit`)."""
    needed = min(batches, parallel or batches) + OTHER_INVOCATIONS
    allowed = limit if reserved is None else reserved
    if 0 < allowed < needed:  # a reservation of 0 is a finding of its own, and an account always has some left
        yield warning(
            FindingKind.CONCURRENCY_SHORT,
            f"{'The account' if reserved is None else 'The reservation of the function'} allows {allowed} invocations "
            f"at once, but popwatch needs {needed} for {counted(batches, 'batch', 'batches')}.",
            "Ask AWS for more concurrent executions in Service Quotas (AWS Lambda)."
            if reserved is None
            else f"Raise its reserved concurrency to {needed} or more, or remove it.",
        )
    if parallel is not None and batches > parallel:
        yield warning(
            FindingKind.BATCHES_WAIT,
            f"The fleet is split into {batches} batches, but only {parallel} are tested at once: the others wait.",
            f"Deploy with MaxParallelBatches={batches}.",
        )
