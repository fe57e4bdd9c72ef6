"""A finding of each kind, made from what AWS might answer: docs/doctor.md shows them and the tests expect them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from popwatch.model.credential_state import CredentialState
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import Health, State
from popwatch.model.messages import AlertMessage
from popwatch.model.records import OutboxEntry, Record
from popwatch.model.targets import Target, parse_target
from popwatch_cli.doctor.rules import (
    alert_coverage,
    batch_queue,
    credentials,
    dead_letters,
    stack,
    subscriptions,
    sweeps,
    tables,
)
from popwatch_cli.doctor.rules import (
    overdue as overdue_rules,
)
from popwatch_cli.doctor.rules import (
    targets as target_rules,
)
from popwatch_cli.doctor.rules.findings import Finding
from popwatch_cli.rehearsal.filter_policies import Subscription
from popwatch_cli.target_items import mistakes_of, unknown_fields

NOW = datetime(2026, 11, 25, 3, 0, 30, tzinfo=UTC)
TICK = NOW.replace(second=0)
FUNCTION = "popwatch-CheckTargetsFunction-1A2B"
ENVIRONMENT = {"TARGETS_TABLE": "popwatch-TargetsTable-1A2B", "STATUS_TABLE": "popwatch-StatusTable-1A2B"}

SCHEDULE = stack.Schedule(
    "popwatch-each-minute",
    "ENABLED",
    "rate(1 minute)",
    f"arn:aws:lambda:eu-central-1:111122223333:function:{FUNCTION}",
    '{"scheduled_time": "<aws.scheduler.scheduled-time>"}',
)
LAMBDA = stack.Function(FUNCTION, "Active", "Successful", "", 120, ENVIRONMENT)
MAPPING = batch_queue.BatchMapping("49435f0a-532e-4b39-90da-b05d1b7faea5", "Enabled", 1, True, 10)
QUEUE = batch_queue.Queue(
    "popwatch-BatchQueue-1A2B", 720, "arn:aws:sqs:eu-central-1:111122223333:popwatch-DeadLetters-1A2B"
)
DEAD_LETTERS = "popwatch-DeadLetters-1A2B"
METRICS = stack.FunctionMetrics(FUNCTION, 0, 0, 12.0)
PUBLISH = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:role/r"}, "Action": "sns:Publish"}
ALERT_TOPIC = subscriptions.TopicState("popwatch-AlertTopic-1A2B", (PUBLISH,), "alias/aws/sns")
ALARMS_PUBLISH = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": "sns:Publish"}
OPERATOR_TOPIC = subscriptions.TopicState("popwatch-OperatorTopic-1A2B", (ALARMS_PUBLISH,))
OPERATOR_ARN = "arn:aws:sns:eu-central-1:111122223333:popwatch-OperatorTopic-1A2B"
MAIL = Subscription("email", "o...@example.net")
USERS = {"monitor": ["mail-berlin", "mail-rome"]}
UNUSABLE = CredentialState("monitor", problem="credential-missing", problem_since=NOW - timedelta(minutes=20))
REFUSED = CredentialState(
    "monitor", "3 2026-11-25T01:00:00Z", rejections=2, rejected_by="mail-berlin", rejected_at=NOW, certain=True
)
ALARM = subscriptions.Alarm(
    "popwatch-NoSweepAlarm-1A2B", "OK", "popwatch has finished no sweep.", True, (OPERATOR_ARN,)
)
RECEIVED = {OPERATOR_ARN: [MAIL]}
TABLE = {
    role: tables.Table(f"popwatch-{role}Table-1A2B", "ACTIVE", key) for role, key in tables.KEYS.items()
}  # fmt: skip
UP = Health(State.UP, NOW - timedelta(days=3))


def target(target_id: str = "mail-berlin", **fields: object) -> Target:
    """A target, with other fields where they are given."""
    return parse_target({"target_id": target_id, "host": f"{target_id}.example.net", **fields})


def by_id(*targets: Target) -> dict[str, Target]:
    """Targets by their ids."""
    return {each.target_id: each for each in targets}


def policy(**conditions: Any) -> Subscription:
    """A subscription with a filter policy."""
    return replace(MAIL, policy={name: list(values) for name, values in conditions.items()})


def seen(*targets: Target, tested: Iterable[str] = (), health: Health | None = UP) -> overdue_rules.TestedFleet:
    """A fleet that was swept at the last tick."""
    records = {each.target_id: Record(each.target_id, 1, TICK, health) for each in targets if health}
    return overdue_rules.TestedFleet(by_id(*targets), records, set(tested), TICK)


def of_items(*items: dict[str, Any]) -> list[Finding]:
    """The findings about items as their user wrote them."""
    defaults = next((item for item in items if item["target_id"] == DEFAULTS_ID), {})
    targets = by_id(*(parse_target(item) for item in items if item["target_id"] != DEFAULTS_ID))
    return list(target_rules.check_items({item["target_id"]: mistakes_of(item, defaults) for item in items}, targets))


def with_pending_alert(committed_at: datetime) -> Record:
    """A record with an alert in its outbox."""
    message = AlertMessage("mail-berlin", "DOWN 1/3", "text", "text", "line", {"event": "down"})
    return Record("mail-berlin", 7, outbox=(OutboxEntry(7, TICK, committed_at, message=message),))


def dead_tick(at: datetime = TICK - timedelta(minutes=40)) -> dead_letters.DeadLetter:
    """A tick on which the function failed."""
    return dead_letters.DeadLetter(dead_letters.DeadLetterKind.TICK, at, "Task timed out after 120.00 seconds")


MINUTES = [TICK - timedelta(minutes=age) for age in range(60) if not 20 < age < 41]

_FOUND: list[Iterable[Finding]] = [
    stack.check_schedule(None, FUNCTION, NOW),
    stack.check_schedule(replace(SCHEDULE, state="DISABLED"), FUNCTION, NOW),
    stack.check_schedule(replace(SCHEDULE, expression="rate(5 minutes)"), FUNCTION, NOW),
    stack.check_function(None, ENVIRONMENT),
    stack.check_function(replace(LAMBDA, state="Failed", why="The subnet is gone."), ENVIRONMENT),
    stack.check_function(replace(LAMBDA, update="Failed"), ENVIRONMENT),
    stack.check_function(replace(LAMBDA, environment={**ENVIRONMENT, "TARGETS_TABLE": "old"}), ENVIRONMENT),
    stack.check_function(replace(LAMBDA, log_filter="WARN"), ENVIRONMENT),
    stack.check_reserved(FUNCTION, 0),
    stack.check_metrics(replace(METRICS, errors=3)),
    stack.check_metrics(replace(METRICS, throttles=12)),
    batch_queue.check_mapping(None),
    batch_queue.check_mapping(replace(MAPPING, state="Disabled")),
    batch_queue.check_mapping(replace(MAPPING, batch_size=10)),
    batch_queue.check_queue(None, 120, DEAD_LETTERS),
    batch_queue.check_queue(replace(QUEUE, visibility_seconds=30), 120, DEAD_LETTERS),
    stack.check_stack("popwatch", "UPDATE_ROLLBACK_FAILED"),
    sweeps.check_checkpoint(None, NOW),
    sweeps.check_checkpoint(NOW - timedelta(minutes=7), NOW),
    sweeps.check_checkpoint(None, NOW, "2026-11-27T03:00:00Z is in the future"),
    sweeps.check_checkpoint(NOW - timedelta(minutes=4), NOW),
    sweeps.check_gaps(sweeps.gaps_between(MINUTES, 60, TICK - timedelta(hours=1), TICK)),
    batch_queue.check_concurrency(10, None, 20, 16),
    batch_queue.check_concurrency(1000, None, 10, 16),
    stack.check_clock(timedelta(minutes=4)),
    tables.check_table(tables.STATUS, "popwatch-StatusTable-1A2B", None),
    tables.check_table(tables.TARGETS, "t", replace(TABLE[tables.TARGETS], status="DELETING")),
    tables.check_table(tables.HISTORY, "t", replace(TABLE[tables.HISTORY], name="history", key=("id",))),
    tables.check_expiry("popwatch-HistoryTable-1A2B", False, ""),
    tables.check_recovery("popwatch-TargetsTable-1A2B", False),
    tables.check_items({("popwatch-StatusTable-1A2B", "mail-berlin"): "'2026-11-25 03:00' has no time zone"}),
    subscriptions.check_alert_topic(None),
    subscriptions.check_alert_topic(
        replace(ALERT_TOPIC, statements=({**PUBLISH, "Effect": "Deny", "Principal": "*"},))
    ),
    subscriptions.check_alert_topic(replace(ALERT_TOPIC, statements=({**PUBLISH, "Principal": {"AWS": "*"}},))),
    subscriptions.check_subscriptions([]),
    subscriptions.check_subscriptions([replace(MAIL, confirmed=False)]),
    subscriptions.check_subscriptions([MAIL, Subscription("email", "n...@example.net", confirmed=False)]),
    subscriptions.check_unsubscribing([replace(MAIL, anyone_may_end=True), Subscription("sms", "+49...0100")]),
    subscriptions.check_phones(["sms +49...0100"]),
    alert_coverage.check_coverage([target()], [MAIL, policy(group=["customer"])]),
    alert_coverage.check_coverage([target(), target("rome", group="customers")], [policy(group=["customers"])]),
    alert_coverage.check_coverage([target(flap_per_hour=0)], [policy(alert_number=[{"numeric": [">=", 2]}])]),
    subscriptions.check_sandbox(True),
    subscriptions.check_spend(10.0, 10.0),
    subscriptions.check_spend(8.5, 10.0),
    subscriptions.check_sms_log(""),
    subscriptions.check_alarms([ALARM.name], []),
    subscriptions.check_alarms([ALARM.name], [replace(ALARM, enabled=False)]),
    subscriptions.check_alarms([ALARM.name], [replace(ALARM, actions=())]),
    subscriptions.check_alarm_receivers([ALARM], {OPERATOR_ARN: []}),
    subscriptions.check_operator_topic(replace(OPERATOR_TOPIC, key="alias/aws/sns")),
    subscriptions.check_alarms([ALARM.name], [replace(ALARM, state="ALARM")]),
    target_rules.check_any_targets({}),
    target_rules.check_any_targets(by_id(target(enabled=False), target("rome", enabled=False))),
    of_items({"target_id": "mail-berlin", "host": "h", "port": "70000"}),
    of_items({"target_id": "mail-berlin", "host": "h", "subject": "{hosst} is down"}),
    target_rules.check_unknown_fields(unknown_fields([{"target_id": "mail-berlin", "host": "h", "prot": 995}])),
    target_rules.check_duplicates(
        [target("a", host="POP.example.net"), target("b", host="pop.example.net.", port=110)]
    ),
    overdue_rules.check_targets(seen(target(), health=None), NOW),
    overdue_rules.check_targets(seen(target()), NOW),
    target_rules.check_parents(by_id(target(depends_on="gateway"))),
    target_rules.check_parents(by_id(target("a", depends_on="b"), target("b", depends_on="a"))),
    target_rules.check_policies([target(maintenance=[{"days": "daily", "from": "00:00", "until": "24:00"}])], NOW),
    target_rules.check_policies([target(max_alerts=0)], NOW),
    target_rules.check_policies([target(delay_up=86_400)], NOW),
    overdue_rules.check_pending_alerts([with_pending_alert(NOW - timedelta(minutes=9))], timedelta(seconds=120), NOW),
    credentials.check_credentials([UNUSABLE], USERS, NOW),
    credentials.check_credentials([REFUSED], USERS, NOW),
    dead_letters.check_dead_letters(2, [dead_tick(), dead_tick(TICK)]),
]

EXAMPLES: list[Finding] = [finding for found in _FOUND for finding in found]
"""One finding of each kind, in the order of the kinds."""
