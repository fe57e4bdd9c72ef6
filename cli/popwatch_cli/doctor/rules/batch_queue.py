"""How batches get to the function: the queue, its event source mapping, the account's concurrency. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from popwatch.model.text import clean
from popwatch_cli.doctor.rules.findings import BRING_BACK, Finding, Kind, broken, warning

PLANNING = 2
"""Invocations beside the batches: a tick, and the next one if the first takes longer than a minute."""


@dataclass(frozen=True, slots=True)
class BatchMapping:
    """The event source mapping that hands the queue's batches to the function, at most `parallel` at once."""

    name: str
    state: str
    batch_size: int
    reports_failures: bool
    parallel: int | None = None
    last_result: str = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """The batch queue as SQS has it; `dead_letters_to` is the ARN of the queue that takes what fails."""

    name: str
    visibility_seconds: int
    dead_letters_to: str = ""


def of_mapping(found: BatchMapping | None) -> Iterator[Finding]:
    """Whether batches reach the function: those of large fleets, and every retest within a minute."""
    if found is None:
        yield broken(
            Kind.BATCHES_GONE, "The batch queue's event source mapping is gone: no batch is tested.", BRING_BACK
        )
        return
    if found.state not in ("Enabled", "Enabling", "Updating", "Creating"):
        yield broken(
            Kind.BATCHES_OFF,
            f"The batch queue's event source mapping is {found.state.lower()}: batches and retests wait in the queue.",
            f"Switch it on: `aws lambda update-event-source-mapping --uuid {found.name} --enabled`.",
        )
    wrong = []
    if found.batch_size != 1:
        wrong.append(f"hands over {found.batch_size} batches at once, which are tested one after the other")
    if not found.reports_failures:
        wrong.append("does not take back single failed messages (ReportBatchItemFailures)")
    if found.last_result.startswith("PROBLEM"):
        wrong.append(f"has trouble: {clean(found.last_result, 200)}")
    for sentence in wrong:
        yield warning(Kind.BATCHES_CHANGED, f"The batch queue's event source mapping {sentence}.", BRING_BACK)


def of_dead_letter_queue(is_there: bool) -> Iterator[Finding]:
    """Whether there is a queue for what fails."""
    if not is_there:
        yield warning(
            Kind.QUEUE_GONE, "The dead-letter queue is gone: ticks and batches that fail are lost.", BRING_BACK
        )


def of_queue(found: Queue | None, timeout_seconds: int, dead_letters_to: str) -> Iterator[Finding]:
    """Whether the batch queue gives the function its time, and keeps what fails."""
    if found is None:
        yield broken(Kind.QUEUE_GONE, "The batch queue is gone: large fleets and retests are not tested.", BRING_BACK)
        return
    if timeout_seconds and found.visibility_seconds < timeout_seconds:
        yield warning(
            Kind.QUEUE_CHANGED,
            f"The queue {found.name} gives a batch back after {found.visibility_seconds} s, while the function may "
            f"take {timeout_seconds} s: a batch is tested twice.",
            BRING_BACK,
        )
    if found.dead_letters_to.rsplit(":", 1)[-1] != dead_letters_to:
        yield warning(
            Kind.QUEUE_CHANGED,
            f"The queue {found.name} does not put what fails into the stack's dead-letter queue: it fails for ever.",
            BRING_BACK,
        )


def of_concurrency(limit: int, reserved: int | None, parallel: int | None, batches: int) -> Iterator[Finding]:
    """Whether all batches can run: within the function's reservation, or what the account has left (`limit`)."""
    needed = min(batches, parallel or batches) + PLANNING
    may = reserved if reserved is not None else limit
    if 0 < may < needed:
        whose = "The account" if reserved is None else "The function's reservation"
        yield warning(
            Kind.CONCURRENCY_SHORT,
            f"{whose} lets {may} invocations run at once; popwatch needs {needed} for its "
            f"{batches} batch{'' if batches == 1 else 'es'}.",
            "Ask for more concurrent executions in Service Quotas (AWS Lambda)."
            if reserved is None
            else f"Raise its reserved concurrency to {needed} or more, or remove it.",
        )
    if parallel is not None and batches > parallel:
        yield warning(
            Kind.BATCHES_WAIT,
            f"The fleet is cut into {batches} batches, of which {parallel} are tested at once: the others wait.",
            f"Deploy with MaxParallelBatches={batches}.",
        )
