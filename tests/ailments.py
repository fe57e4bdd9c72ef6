"""A finding of each kind, made from facts as AWS might give them: what docs/doctor.md shows and the tests expect."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from popwatch.alerts import Message
from popwatch.cli.target_items import mistakes_of, unknown_fields
from popwatch.diagnosis import batching, due, fleet, hearing, letters, reach, running, sweeps, tables
from popwatch.diagnosis.findings import Finding
from popwatch.health import Health, State
from popwatch.records import Pending, Record
from popwatch.routing import Subscription
from popwatch.targets import DEFAULTS_ID, Target, parse_target

NOW = datetime(2026, 11, 25, 3, 0, 30, tzinfo=UTC)
TICK = NOW.replace(second=0)
FUNCTION = "popwatch-CheckTargetsFunction-1A2B"
ENVIRONMENT = {"TARGETS_TABLE": "popwatch-TargetsTable-1A2B", "STATUS_TABLE": "popwatch-StatusTable-1A2B"}

SCHEDULE = running.Schedule(
    "popwatch-each-minute",
    "ENABLED",
    "rate(1 minute)",
    f"arn:aws:lambda:eu-central-1:111122223333:function:{FUNCTION}",
    '{"scheduled_time": "<aws.scheduler.scheduled-time>"}',
)
LAMBDA = running.Function(FUNCTION, "Active", "Successful", "", 120, ENVIRONMENT)
MAPPING = batching.BatchMapping("49435f0a-532e-4b39-90da-b05d1b7faea5", "Enabled", 1, True, 10)
QUEUE = batching.Queue(
    "popwatch-BatchQueue-1A2B", 720, "arn:aws:sqs:eu-central-1:111122223333:popwatch-DeadLetters-1A2B"
)
DEAD_LETTERS = "popwatch-DeadLetters-1A2B"
FIGURES = running.Figures(FUNCTION, 0, 0, 12.0)
PUBLISH = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:role/r"}, "Action": "sns:Publish"}
ALERT_TOPIC = hearing.Topic("popwatch-AlertTopic-1A2B", (PUBLISH,), "alias/aws/sns")
ALARMS_PUBLISH = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": "sns:Publish"}
OPERATOR_TOPIC = hearing.Topic("popwatch-OperatorTopic-1A2B", (ALARMS_PUBLISH,))
OPERATOR_ARN = "arn:aws:sns:eu-central-1:111122223333:popwatch-OperatorTopic-1A2B"
MAIL = Subscription("email", "o...@example.net")
ALARM = hearing.Alarm("popwatch-NoSweepAlarm-1A2B", "OK", "popwatch has finished no sweep.", True, (OPERATOR_ARN,))
HEARD = {OPERATOR_ARN: [MAIL]}
TABLE = {
    role: tables.Table(f"popwatch-{role}Table-1A2B", "ACTIVE", key) for role, key in tables.KEYS.items()
}  # fmt: skip
UP = Health(State.UP, NOW - timedelta(days=3))


def target(target_id: str = "mail-berlin", **fields: object) -> Target:
    """A target, with other fields where they are given."""
    return parse_target({"target_id": target_id, "host": f"{target_id}.example.net", **fields})


def by_id(*targets: Target) -> dict[str, Target]:
    """Targets by their ids."""
    return {found.target_id: found for found in targets}


def policy(**conditions: Any) -> Subscription:
    """A subscription with a filter policy."""
    return replace(MAIL, policy={name: list(found) for name, found in conditions.items()})


def seen(*targets: Target, tested: Iterable[str] = (), health: Health | None = UP) -> due.Fleet:
    """A fleet that was swept a moment ago."""
    records = {found.target_id: Record(found.target_id, 1, TICK, health) for found in targets if health}
    return due.Fleet(by_id(*targets), records, dict.fromkeys(tested, TICK), TICK)


def of_items(*items: dict[str, Any]) -> list[Finding]:
    """What is found of items as their user wrote them."""
    defaults = next((item for item in items if item["target_id"] == DEFAULTS_ID), {})
    targets = by_id(*(parse_target(item) for item in items if item["target_id"] != DEFAULTS_ID))
    return list(fleet.of_items({item["target_id"]: mistakes_of(item, defaults) for item in items}, targets))


def owing(committed_at: datetime) -> Record:
    """A record that still owes an alert."""
    message = Message("mail-berlin", "DOWN 1/3", "text", "text", "line", {"event": "down"})
    return Record("mail-berlin", 7, pending=(Pending(7, TICK, committed_at, message=message),))


def tick_letter(at: datetime = TICK - timedelta(minutes=40)) -> letters.Letter:
    """A tick that Lambda could not do."""
    return letters.Letter(letters.What.TICK, at, "Task timed out after 120.00 seconds")


MINUTES = [TICK - timedelta(minutes=age) for age in range(60) if not 20 < age < 41]

_FOUND: list[Iterable[Finding]] = [
    running.of_schedule(None, FUNCTION, NOW),
    running.of_schedule(replace(SCHEDULE, state="DISABLED"), FUNCTION, NOW),
    running.of_schedule(replace(SCHEDULE, expression="rate(5 minutes)"), FUNCTION, NOW),
    running.of_function(None, ENVIRONMENT),
    running.of_function(replace(LAMBDA, state="Failed", why="The subnet is gone."), ENVIRONMENT),
    running.of_function(replace(LAMBDA, update="Failed"), ENVIRONMENT),
    running.of_function(replace(LAMBDA, environment={**ENVIRONMENT, "TARGETS_TABLE": "old"}), ENVIRONMENT),
    running.of_reserved(FUNCTION, 0),
    running.of_figures(replace(FIGURES, errors=3)),
    running.of_figures(replace(FIGURES, throttles=12)),
    batching.of_mapping(None),
    batching.of_mapping(replace(MAPPING, state="Disabled")),
    batching.of_mapping(replace(MAPPING, batch_size=10)),
    batching.of_queue(None, 120, DEAD_LETTERS),
    batching.of_queue(replace(QUEUE, visibility_seconds=30), 120, DEAD_LETTERS),
    running.of_stack("popwatch", "UPDATE_ROLLBACK_FAILED"),
    sweeps.of_mark(None, NOW),
    sweeps.of_mark(NOW - timedelta(minutes=7), NOW),
    sweeps.of_mark(NOW + timedelta(days=2), NOW),
    sweeps.of_mark(NOW - timedelta(minutes=3), NOW),
    sweeps.of_gaps(sweeps.gaps_between(MINUTES, 60, TICK - timedelta(hours=1), TICK)),
    batching.of_concurrency(10, None, 20, 16),
    batching.of_concurrency(1000, None, 10, 16),
    running.of_clock(timedelta(minutes=4)),
    tables.of_table(tables.STATUS, "popwatch-StatusTable-1A2B", None),
    tables.of_table(tables.TARGETS, "t", replace(TABLE[tables.TARGETS], status="DELETING")),
    tables.of_table(tables.HISTORY, "t", replace(TABLE[tables.HISTORY], name="history", key=("id",))),
    tables.of_expiry("popwatch-HistoryTable-1A2B", False, ""),
    tables.of_recovery("popwatch-TargetsTable-1A2B", False),
    hearing.of_alert_topic(None),
    hearing.of_alert_topic(replace(ALERT_TOPIC, statements=({**PUBLISH, "Effect": "Deny", "Principal": "*"},))),
    hearing.of_alert_topic(replace(ALERT_TOPIC, statements=({**PUBLISH, "Principal": {"AWS": "*"}},))),
    hearing.of_subscriptions([]),
    hearing.of_subscriptions([replace(MAIL, confirmed=False)]),
    hearing.of_subscriptions([MAIL, Subscription("email", "n...@example.net", confirmed=False)]),
    reach.of_reach([target()], [MAIL, policy(group=["customer"])]),
    reach.of_reach([target(), target("rome", group="customers")], [policy(group=["customers"])]),
    reach.of_reach([target(flap_per_hour=0)], [policy(alert_number=[{"numeric": [">=", 2]}])]),
    hearing.of_sandbox(True),
    hearing.of_spend(10.0, 10.0),
    hearing.of_spend(8.5, 10.0),
    hearing.of_alarms([ALARM.name], []),
    hearing.of_alarms([ALARM.name], [replace(ALARM, enabled=False)]),
    hearing.of_alarms([ALARM.name], [replace(ALARM, actions=())]),
    hearing.of_listeners([ALARM], {OPERATOR_ARN: []}),
    hearing.of_operator_topic(replace(OPERATOR_TOPIC, key="alias/aws/sns")),
    hearing.of_alarms([ALARM.name], [replace(ALARM, state="ALARM")]),
    fleet.of_targets_at_all({}),
    fleet.of_targets_at_all(by_id(target(enabled=False), target("rome", enabled=False))),
    of_items({"target_id": "mail-berlin", "host": "h", "port": "70000"}),
    of_items({"target_id": "mail-berlin", "host": "h", "subject": "{hosst} is down"}),
    fleet.of_unknown_fields(unknown_fields([{"target_id": "mail-berlin", "host": "h", "prot": 995}])),
    fleet.of_duplicates([target("a", host="POP.example.net"), target("b", host="pop.example.net.", port=110)]),
    due.of_due(seen(target(), health=None), NOW),
    due.of_due(seen(target()), NOW),
    fleet.of_parents(by_id(target(depends_on="gateway"))),
    fleet.of_parents(by_id(target("a", depends_on="b"), target("b", depends_on="a"))),
    fleet.of_policies([target(maintenance=[{"days": "daily", "from": "00:00", "until": "24:00"}])], NOW),
    fleet.of_policies([target(max_alerts=0)], NOW),
    fleet.of_policies([target(delay_up=86_400)], NOW),
    due.of_owed([owing(NOW - timedelta(minutes=9))], timedelta(seconds=120), NOW),
    letters.of_letters(2, [tick_letter(), tick_letter(TICK)]),
]

EXAMPLES: list[Finding] = [finding for found in _FOUND for finding in found]
"""One finding of each kind, in the order of the kinds."""
