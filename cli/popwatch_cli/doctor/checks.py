"""The checks of `popwatch doctor`: each asks for the facts that it needs and has `diagnosis` judge them.

What AWS refuses is raised as it comes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from botocore.exceptions import ClientError

from popwatch.model.fields import DEFAULTS_ID
from popwatch_cli.doctor.aws_state import Facts
from popwatch_cli.doctor.metrics import read_figures, read_spend
from popwatch_cli.doctor.redrive import DeadLetterQueue
from popwatch_cli.doctor.rules import (
    alert_coverage,
    batch_queue,
    dead_letters,
    overdue,
    stack,
    subscriptions,
    sweeps,
    tables,
    targets,
)
from popwatch_cli.doctor.rules.findings import Finding
from popwatch_cli.target_items import mistakes_of, unknown_fields

USUAL_TIMEOUT = 120
"""The function's timeout in seconds, where there is no function to ask."""

Check = Callable[[Facts], Iterable[Finding]]


def _errors(facts: Facts) -> Iterator[Finding]:
    for figures in read_figures(facts):
        yield from stack.of_figures(figures)


def _concurrency(facts: Facts) -> Iterator[Finding]:
    parallel = facts.mapping.parallel if facts.mapping else None
    yield from batch_queue.of_concurrency(facts.unreserved, facts.reserved, parallel, facts.contents.batches)


def _batch_queue(facts: Facts) -> Iterator[Finding]:
    timeout = facts.function.timeout_seconds if facts.function else USUAL_TIMEOUT
    dead_letters_to = facts.outputs["DeadLetterQueueUrl"].rsplit("/", 1)[-1]
    yield from batch_queue.of_queue(facts.batch_queue, timeout, dead_letters_to)


def _table(role: str) -> Check:
    output = f"{role}Table"
    return lambda facts: tables.of_table(role, facts.outputs[output], facts.table(output))


def _expiry(facts: Facts) -> Iterator[Finding]:
    name = facts.outputs["HistoryTable"]
    found = facts.client("dynamodb").describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    is_on = found["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
    yield from tables.of_expiry(name, is_on, found.get("AttributeName", ""))


def _recovery(facts: Facts) -> Iterator[Finding]:
    name = facts.outputs["TargetsTable"]
    found = facts.client("dynamodb").describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    status = found.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    yield from tables.of_recovery(name, status == "ENABLED")


def _receives_sms(facts: Facts) -> bool:
    return any(subscription.protocol == "sms" for subscription in facts.subscriptions)


def _sandbox(facts: Facts) -> Iterator[Finding]:
    if _receives_sms(facts):
        yield from subscriptions.of_sandbox(facts.client("sns").get_sms_sandbox_account_status()["IsInSandbox"])


def _spend(facts: Facts) -> Iterator[Finding]:
    if _receives_sms(facts):
        yield from subscriptions.of_spend(*read_spend(facts))


def _listeners(facts: Facts) -> Iterator[Finding]:
    topics = {action for alarm in facts.alarms for action in alarm.actions if ":sns:" in action}
    audiences = {topic: facts.subscribers_of(topic) for topic in topics}
    yield from subscriptions.of_listeners(facts.alarms, audiences)


def _items(facts: Facts) -> Iterator[Finding]:
    defaults = facts.contents.items.get(DEFAULTS_ID, {})
    mistakes = {name: mistakes_of(item, defaults) for name, item in facts.contents.items.items()}
    yield from targets.of_items(mistakes, facts.contents.targets)


def _owed(facts: Facts) -> Iterator[Finding]:
    seconds = facts.function.timeout_seconds if facts.function else USUAL_TIMEOUT
    yield from overdue.of_owed(facts.contents.status[1].values(), timedelta(seconds=seconds), facts.now)


def _letters(facts: Facts) -> Iterator[Finding]:
    attributes = facts.queue_attributes("DeadLetterQueueUrl")
    if attributes is None:
        yield from batch_queue.of_dead_letter_queue(False)
        return
    count = int(attributes["ApproximateNumberOfMessages"])
    yield from dead_letters.of_letters(count, _look(facts) if count else ())


def _look(facts: Facts) -> Sequence[dead_letters.Letter]:
    """The letters, or none if the caller may count them only."""
    try:
        return dead_letters_of(facts).look()
    except ClientError:
        return ()


def dead_letters_of(facts: Facts) -> DeadLetterQueue:
    """The stack's dead-letter queue."""
    return DeadLetterQueue(facts.client("sqs"), facts.outputs["DeadLetterQueueUrl"], facts.outputs["BatchQueueUrl"])


CHECKS: dict[str, Check] = {
    "the stack": lambda facts: stack.of_stack(facts.installation.stack, facts.stack[0]),
    "the schedule": lambda facts: stack.of_schedule(facts.schedule, facts.outputs["CheckTargetsFunction"], facts.now),
    "the function": lambda facts: stack.of_function(facts.function, facts.environment),
    "the function's reserved concurrency": lambda facts: stack.of_reserved(
        facts.outputs["CheckTargetsFunction"], facts.reserved
    ),
    "the function's errors": _errors,
    "the last sweep": lambda facts: sweeps.of_mark(facts.contents.status[0].tick, facts.now),
    "gaps between sweeps": lambda facts: sweeps.of_gaps(facts.contents.gaps),
    "the batch queue": _batch_queue,
    "the batch queue's mapping": lambda facts: batch_queue.of_mapping(facts.mapping),
    "the account's concurrency": _concurrency,
    "the Targets table": _table(tables.TARGETS),
    "the Status table": _table(tables.STATUS),
    "the History table": _table(tables.HISTORY),
    "History's expiry": _expiry,
    "Targets' point-in-time recovery": _recovery,
    "the alert topic": lambda facts: subscriptions.of_alert_topic(facts.topic("AlertTopicArn")),
    "subscriptions to alerts": lambda facts: subscriptions.of_subscriptions(facts.subscriptions),
    "whom each alert reaches": lambda facts: alert_coverage.of_reach(
        facts.contents.targets.values(), facts.subscriptions
    ),
    "the SMS sandbox": _sandbox,
    "what SMS cost": _spend,
    "the operator topic": lambda facts: subscriptions.of_operator_topic(facts.topic("OperatorTopicArn")),
    "subscriptions to alarms": lambda facts: subscriptions.of_operators(
        facts.subscribers_of(facts.outputs["OperatorTopicArn"])
    ),
    "the alarms": lambda facts: subscriptions.of_alarms(facts.alarm_names, facts.alarms),
    "who hears the alarms": _listeners,
    "the targets": lambda facts: targets.of_targets_at_all(facts.contents.targets),
    "fields of targets": _items,
    "unknown fields": lambda facts: targets.of_unknown_fields(unknown_fields(facts.contents.items.values())),
    "targets watched twice": lambda facts: targets.of_duplicates(facts.contents.targets.values()),
    "dependence": lambda facts: targets.of_parents(facts.contents.targets),
    "policies": lambda facts: targets.of_policies(facts.contents.targets.values(), facts.now),
    "targets that are due": lambda facts: overdue.of_due(facts.contents.fleet, facts.now),
    "alerts owed": _owed,
    "dead letters": _letters,
    "this machine's clock": lambda facts: stack.of_clock(facts.stack[1]),
}
"""Every check by what it is about. None needs what another has found."""
