"""The checks of `popwatch doctor`: each asks AWS for what it needs, and has one of the `rules` judge that.

What AWS refuses is raised as botocore raises it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from botocore.exceptions import ClientError

from popwatch.model.fields import DEFAULTS_ID
from popwatch_cli.doctor.aws_state import AwsState
from popwatch_cli.doctor.metrics import read_function_metrics, read_spend
from popwatch_cli.doctor.redrive import DeadLetterQueue
from popwatch_cli.doctor.rules import (
    alert_coverage,
    batch_queue,
    credentials,
    dead_letters,
    overdue,
    stack,
    subscriptions,
    sweeps,
    tables,
    targets,
)
from popwatch_cli.doctor.rules.findings import Finding
from popwatch_cli.phones import phones_on_alert_topic
from popwatch_cli.subscriptions import masked
from popwatch_cli.target_items import mistakes_of, unknown_fields

USUAL_TIMEOUT = 120
"""The function's timeout in seconds, assumed if the function does not exist."""

Check = Callable[[AwsState], Iterable[Finding]]


def _function_metrics(aws: AwsState) -> Iterator[Finding]:
    for metrics in read_function_metrics(aws):
        yield from stack.check_metrics(metrics)


def _concurrency(aws: AwsState) -> Iterator[Finding]:
    parallel = aws.mapping.parallel if aws.mapping else None
    yield from batch_queue.check_concurrency(aws.unreserved, aws.reserved, parallel, aws.tables.batches)


def _batch_queue(aws: AwsState) -> Iterator[Finding]:
    timeout = aws.function.timeout_seconds if aws.function else USUAL_TIMEOUT
    dead_letters_to = aws.outputs["DeadLetterQueueUrl"].rsplit("/", 1)[-1]
    yield from batch_queue.check_queue(aws.batch_queue, timeout, dead_letters_to)


def _table(logical_name: str) -> Check:
    output = f"{logical_name}Table"
    return lambda aws: tables.check_table(logical_name, aws.outputs[output], aws.table(output))


def _expiry(aws: AwsState) -> Iterator[Finding]:
    name = aws.outputs["HistoryTable"]
    found = aws.client("dynamodb").describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    is_on = found["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
    yield from tables.check_expiry(name, is_on, found.get("AttributeName", ""))


def _recovery(aws: AwsState) -> Iterator[Finding]:
    name = aws.outputs["TargetsTable"]
    found = aws.client("dynamodb").describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    status = found.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    yield from tables.check_recovery(name, status == "ENABLED")


def _receives_sms(aws: AwsState) -> bool:
    return any(subscription.protocol == "sms" for subscription in aws.subscriptions)


def _sandbox(aws: AwsState) -> Iterator[Finding]:
    if _receives_sms(aws):
        yield from subscriptions.check_sandbox(aws.client("sns").get_sms_sandbox_account_status()["IsInSandbox"])


def _sms_log(aws: AwsState) -> Iterator[Finding]:
    if _receives_sms(aws):
        answer = aws.client("sns").get_sms_attributes(attributes=["DeliveryStatusIAMRole"])
        yield from subscriptions.check_sms_log(answer["attributes"].get("DeliveryStatusIAMRole", ""))


def _phones(aws: AwsState) -> Iterator[Finding]:
    phones = phones_on_alert_topic(aws.client("sns"), aws.outputs["AlertTopicArn"], aws.resources)
    numbers = [f"sms {masked('sms', phone.number)}" for phone in phones]
    yield from subscriptions.check_phones(numbers)


def _spend(aws: AwsState) -> Iterator[Finding]:
    if _receives_sms(aws):
        yield from subscriptions.check_spend(*read_spend(aws))


def _alarm_receivers(aws: AwsState) -> Iterator[Finding]:
    topics = {action for alarm in aws.alarms for action in alarm.actions if ":sns:" in action}
    by_topic = {topic: aws.subscriptions_of(topic) for topic in topics}
    is_local = aws.installation.endpoint is not None
    yield from subscriptions.check_alarm_receivers(aws.alarms, by_topic, local=is_local)


def _items(aws: AwsState) -> Iterator[Finding]:
    defaults = aws.tables.items.get(DEFAULTS_ID, {})
    mistakes = {name: mistakes_of(item, defaults) for name, item in aws.tables.items.items()}
    yield from targets.check_items(mistakes, aws.tables.targets)


def _pending_alerts(aws: AwsState) -> Iterator[Finding]:
    seconds = aws.function.timeout_seconds if aws.function else USUAL_TIMEOUT
    yield from overdue.check_pending_alerts(aws.tables.status.records.values(), timedelta(seconds=seconds), aws.now)


def _dead_letters(aws: AwsState) -> Iterator[Finding]:
    attributes = aws.queue_attributes("DeadLetterQueueUrl")
    if attributes is None:
        yield from batch_queue.check_dead_letter_queue(False)
        return
    count = int(attributes["ApproximateNumberOfMessages"])
    yield from dead_letters.check_dead_letters(count, _look(aws) if count else ())


def _look(aws: AwsState) -> Sequence[dead_letters.DeadLetter]:
    """The messages of the dead-letter queue, or none if the caller may only count them."""
    try:
        return dead_letters_of(aws).look()
    except ClientError:
        return ()


def dead_letters_of(aws: AwsState) -> DeadLetterQueue:
    """The stack's dead-letter queue."""
    return DeadLetterQueue(aws.client("sqs"), aws.outputs["DeadLetterQueueUrl"], aws.outputs["BatchQueueUrl"])


CHECKS: dict[str, Check] = {
    "the stack": lambda aws: stack.check_stack(aws.installation.stack, aws.stack[0]),
    "the schedule": lambda aws: stack.check_schedule(aws.schedule, aws.outputs["CheckTargetsFunction"], aws.now),
    "the function": lambda aws: stack.check_function(aws.function, aws.environment),
    "the function's reserved concurrency": lambda aws: stack.check_reserved(
        aws.outputs["CheckTargetsFunction"], aws.reserved
    ),
    "the function's errors": _function_metrics,
    "the last sweep": lambda aws: sweeps.check_checkpoint(
        aws.tables.status.checkpoint.tick, aws.now, aws.tables.checkpoint_damage
    ),
    "gaps between sweeps": lambda aws: sweeps.check_gaps(aws.tables.gaps),
    "the batch queue": _batch_queue,
    "the batch queue's mapping": lambda aws: batch_queue.check_mapping(aws.mapping),
    "the account's concurrency": _concurrency,
    "the Targets table": _table(tables.TARGETS),
    "the Status table": _table(tables.STATUS),
    "the History table": _table(tables.HISTORY),
    "History's expiry": _expiry,
    "Targets' point-in-time recovery": _recovery,
    "what the tables hold": lambda aws: tables.check_items(aws.tables.damaged),
    "the alert topic": lambda aws: subscriptions.check_alert_topic(aws.topic("AlertTopicArn")),
    "subscriptions to alerts": lambda aws: subscriptions.check_subscriptions(aws.subscriptions),
    "the SMS topic": lambda aws: subscriptions.check_alert_topic(aws.topic("SmsTopicArn"), "SMS topic"),
    "who may unsubscribe": lambda aws: subscriptions.check_unsubscribing(aws.subscriptions),
    "phones on the alert topic": _phones,
    "who receives each alert": lambda aws: alert_coverage.check_coverage(
        aws.tables.targets.values(), aws.subscriptions
    ),
    "the SMS sandbox": _sandbox,
    "the cost of SMS": _spend,
    "the log of SMS": _sms_log,
    "the operator topic": lambda aws: subscriptions.check_operator_topic(aws.topic("OperatorTopicArn")),
    "subscriptions to alarms": lambda aws: subscriptions.check_operators(
        aws.subscriptions_of(aws.outputs["OperatorTopicArn"])
    ),
    "the alarms": lambda aws: subscriptions.check_alarms(aws.alarm_names, aws.alarms),
    "who receives the alarms": _alarm_receivers,
    "the targets": lambda aws: targets.check_any_targets(aws.tables.targets),
    "fields of targets": _items,
    "unknown fields": lambda aws: targets.check_unknown_fields(unknown_fields(aws.tables.items.values())),
    "targets watched twice": lambda aws: targets.check_duplicates(aws.tables.targets.values()),
    "dependencies": lambda aws: targets.check_parents(aws.tables.targets, aws.tables.items),
    "policies": lambda aws: targets.check_policies(aws.tables.targets.values(), aws.now, aws.tables.items),
    "overdue targets": lambda aws: overdue.check_targets(aws.tables.fleet, aws.now),
    "pending alerts": _pending_alerts,
    "logins": lambda aws: credentials.check_credentials(
        aws.tables.credential_states, aws.tables.credential_users, aws.now
    ),
    "dead letters": _dead_letters,
    "this machine's clock": lambda aws: stack.check_clock(aws.stack[1]),
}
"""Every check by its title. None depends on the result of another."""
