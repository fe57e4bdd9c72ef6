"""Who receives anything at all: topics, their subscriptions, SMS, and popwatch's own alarms. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from popwatch.model.text import clean
from popwatch_cli.doctor.rules.findings import RESTORE_STACK, Finding, FindingKind, broken, note, some, warning
from popwatch_cli.rehearsal.filter_policies import Subscription

CONFIRM = "Follow the link in AWS's message (it is valid for two days), or subscribe again to get another message."
AWS_OWN_KEY = "alias/aws/sns"
NEARLY = 0.8
"""The part of the monthly SMS limit from which on it is nearly spent."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as SNS has it: the statements of its policy, and the key that it is encrypted with."""

    name: str
    statements: Sequence[Mapping[str, Any]] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as CloudWatch has it; `actions` are the ARNs that it notifies, `metrics` what it looks at."""

    name: str
    state: str
    description: str
    enabled: bool
    actions: tuple[str, ...]
    metrics: tuple[Mapping[str, Any], ...] = ()


def check_alert_topic(topic: TopicState | None, name: str = "alert topic") -> Iterator[Finding]:
    """Whether alerts can be published to a topic, and by popwatch alone."""
    if topic is None:
        yield broken(FindingKind.TOPIC_GONE, f"The {name} does not exist: no alert can be sent to it.", RESTORE_STACK)
        return
    if any(
        _is_about_publishing(statement) and statement.get("Effect") == "Deny" for statement in _unconditional(topic)
    ):
        yield broken(
            FindingKind.TOPIC_DENIES,
            f"The policy of the topic {topic.name} denies publishing: alerts cannot be sent and stay pending.",
            "Remove the `Deny` statement from the topic's policy.",
        )
    if any(_lets_everybody_publish(statement) for statement in _unconditional(topic)):
        yield warning(
            FindingKind.TOPIC_OPEN,
            f"The policy of the topic {topic.name} lets everybody publish: an alert may be forged.",
            "Remove the statement whose principal is `*` from the topic's policy.",
        )


def check_operator_topic(topic: TopicState | None) -> Iterator[Finding]:
    """Whether alarms can publish to the operators."""
    if topic is None:
        yield warning(
            FindingKind.TOPIC_GONE,
            "The operator topic does not exist: no one is notified of popwatch's alarms.",
            RESTORE_STACK,
        )
        return
    if topic.key == AWS_OWN_KEY:
        yield warning(
            FindingKind.ALARM_KEY,
            f"The topic {topic.name} is encrypted with AWS's own key, which alarms may not use: no one is notified of "
            "popwatch's alarms.",
            "Encrypt it with your own key and let cloudwatch.amazonaws.com use that, or do not encrypt it.",
        )
    if not any(statement.get("Effect") == "Allow" and _names_cloudwatch(statement) for statement in topic.statements):
        yield warning(
            FindingKind.TOPIC_DENIES,
            f"The policy of the topic {topic.name} does not let CloudWatch publish: no one is notified of popwatch's "
            "alarms.",
            RESTORE_STACK,
        )


def check_subscriptions(subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    """Whether anyone at all receives alerts."""
    unconfirmed = [one.receiver for one in subscriptions if not one.confirmed]
    if not subscriptions:
        yield broken(
            FindingKind.NO_SUBSCRIPTION,
            "The alert topic has no subscription: no one receives alerts.",
            "Deploy with AlertEmail or AlertPhone. If one is set, its subscription has ended and a deployment does not "
            "renew it: subscribe to the topic yourself, by `aws sns subscribe` (docs/alerts.md).",
        )
    elif len(unconfirmed) == len(subscriptions):
        yield broken(
            FindingKind.NONE_CONFIRMED,
            f"No subscription to the alert topic is confirmed ({some(unconfirmed)}): no one receives alerts.",
            CONFIRM,
            unconfirmed,
        )
    else:
        yield from _check_unconfirmed(unconfirmed, "alerts")


def check_unsubscribing(subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    """Whose emails have a link by which anyone who gets a copy ends the subscription."""
    open_to_all = [one.receiver for one in subscriptions if one.anyone_may_end]
    if open_to_all:
        yield note(
            FindingKind.ANYONE_MAY_UNSUBSCRIBE,
            f"Anyone who gets a forwarded alert can end the subscription by its link: {some(open_to_all)}.",
            "Confirm by `aws sns confirm-subscription --authenticate-on-unsubscribe true`: docs/alerts.md shows how.",
            open_to_all,
        )


def check_phones(numbers: Sequence[str]) -> Iterator[Finding]:
    """Phones (masked) that somebody subscribed to the alert topic, whose texts are those of emails."""
    if numbers:
        verb = "is" if len(numbers) == 1 else "are"
        yield warning(
            FindingKind.PHONE_ON_ALERT_TOPIC,
            f"{some(numbers)} {verb} subscribed to the alert topic: its long text takes several SMS, each of "
            "which costs money.",
            "Move them to the SMS topic, with their filter policies: `popwatch doctor --move-phones`.",
            numbers,
        )


def check_sms_log(role: str) -> Iterator[Finding]:
    """Whether SNS logs deliveries of SMS, with `role`; asked only if someone receives alerts by SMS."""
    if not role:
        yield note(
            FindingKind.SMS_NOT_LOGGED,
            "SNS does not log deliveries of SMS in this account: why an SMS did not arrive cannot be looked up.",
            "Set `DeliveryStatusIAMRole` with `aws sns set-sms-attributes`: docs/alerts.md gives the command.",
        )


def check_operators(subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    """Which operators have not confirmed. If none has, `check_alarm_receivers` reports it."""
    unconfirmed = [one.receiver for one in subscriptions if not one.confirmed]
    if len(unconfirmed) < len(subscriptions):
        yield from _check_unconfirmed(unconfirmed, "alarms of popwatch itself")


def check_sandbox(in_sandbox: bool) -> Iterator[Finding]:
    """Whether SMS go to any number; asked only if someone receives alerts by SMS."""
    if in_sandbox:
        yield warning(
            FindingKind.SMS_SANDBOX,
            "The account is in the SMS sandbox: only verified phone numbers receive SMS.",
            "Verify the numbers in SNS, or ask AWS to move the account out of the sandbox.",
        )


def check_spend(spent: float, limit: float) -> Iterator[Finding]:
    """Whether SNS still sends SMS this month; both amounts are in US dollars."""
    what = f"SMS have cost {spent:.2f} USD this month, of a limit of {limit:.2f} USD"
    do = "Raise the account's monthly SMS spending limit in SNS; AWS must approve more than the account's quota."
    if spent >= limit:
        yield broken(FindingKind.SMS_SPENT, f"{what}: SNS sends no more SMS until the month ends.", do)
    elif spent >= NEARLY * limit:
        yield warning(FindingKind.SMS_NEARLY_SPENT, f"{what}: at the limit SNS stops SMS until the month ends.", do)


def check_alarms(names: Sequence[str], alarms: Sequence[Alarm]) -> Iterator[Finding]:
    """Whether the stack's alarms (`names`) exist, can notify anyone, and have fired."""
    gone = sorted(set(names) - {alarm.name for alarm in alarms})
    if gone:
        yield warning(
            FindingKind.ALARM_GONE,
            f"{_alarms_that(gone, one='does not exist', many='do not exist')}: no one is notified of such a problem.",
            RESTORE_STACK,
            gone,
        )
    off = [alarm.name for alarm in alarms if not alarm.enabled]
    if off:
        yield warning(
            FindingKind.ALARM_OFF,
            f"{_alarms_that(off, one='is', many='are')} switched off: no one is notified of such a problem.",
            f"Enable the actions: `aws cloudwatch enable-alarm-actions --alarm-names {' '.join(off)}`.",
            off,
        )
    without_action = [alarm.name for alarm in alarms if not alarm.actions]
    if without_action:
        yield warning(
            FindingKind.ALARM_WITHOUT_ACTION,
            f"{_alarms_that(without_action, one='has', many='have')} no action: no one is notified of such a problem.",
            RESTORE_STACK,
            without_action,
        )
    for alarm in alarms:
        if alarm.state == "ALARM":
            yield warning(
                FindingKind.ALARM_FIRES,
                f"The alarm {alarm.name} is in state ALARM: {clean(alarm.description, 300)}",
                "docs/operating.md describes each alarm and what to do.",
                [alarm.name],
            )


def check_alarm_receivers(
    alarms: Sequence[Alarm], subscriptions: Mapping[str, Sequence[Subscription]], *, local: bool = False
) -> Iterator[Finding]:
    """Whether anyone receives the alarms; `subscriptions` are those of each topic that an alarm notifies.

    Of a `local` stack no one needs to: it ends with the terminal that shows it.
    """
    unreported = [alarm.name for alarm in alarms if alarm.actions and not _has_receiver(alarm, subscriptions)]
    if unreported and local:
        yield note(
            FindingKind.ALARM_UNREPORTED,
            f"{_alarms_that(unreported, one='reaches', many='reach')} no one: the local stack has no operator.",
            "Nothing to do here. In AWS, deploy with OperatorEmail or AlertEmail.",
            unreported,
        )
    elif unreported:
        yield warning(
            FindingKind.ALARM_UNREPORTED,
            f"{_alarms_that(unreported, one='reaches', many='reach')} no one: no subscription to its topic is "
            "confirmed.",
            "Follow the link in AWS's message (it is valid for two days). If there was none, deploy with OperatorEmail "
            "or AlertEmail; if one is set, subscribe to the topic yourself, by `aws sns subscribe`.",
            unreported,
        )


def _check_unconfirmed(receivers: Sequence[str], what: str) -> Iterator[Finding]:
    if receivers:
        verbs = ("has", "receives") if len(receivers) == 1 else ("have", "receive")
        sentence = f"{some(receivers)} {verbs[0]} not confirmed and {verbs[1]} no {what}."
        yield warning(FindingKind.UNCONFIRMED, sentence, CONFIRM, receivers)


def _alarms_that(names: Sequence[str], *, one: str, many: str) -> str:
    return f"Alarm {names[0]} {one}" if len(names) == 1 else f"{len(names)} alarms ({some(names)}) {many}"


def _has_receiver(alarm: Alarm, subscriptions: Mapping[str, Sequence[Subscription]]) -> bool:
    """Whether an action of the alarm reaches anyone; an action that is not a topic is assumed to."""
    return any(
        action not in subscriptions or any(one.confirmed for one in subscriptions[action]) for action in alarm.actions
    )


def _unconditional(topic: TopicState) -> list[Mapping[str, Any]]:
    """The statements that apply at all times; whether a condition holds cannot be known from here."""
    return [statement for statement in topic.statements if not statement.get("Condition")]


def _is_about_publishing(statement: Mapping[str, Any]) -> bool:
    return any(action.lower() in ("sns:publish", "sns:*", "*") for action in _as_list(statement.get("Action", ())))


def _lets_everybody_publish(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    everybody = principal == "*" or (isinstance(principal, Mapping) and "*" in _as_list(principal.get("AWS", ())))
    return statement.get("Effect") == "Allow" and everybody and _is_about_publishing(statement)


def _names_cloudwatch(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    if not isinstance(principal, Mapping):
        return principal == "*"
    services = _as_list(principal.get("Service", ()))
    return _is_about_publishing(statement) and (
        "cloudwatch.amazonaws.com" in services or "*" in _as_list(principal.get("AWS", ()))
    )


def _as_list(value: Any) -> list[str]:
    """The entries of a policy's element, which is a list or, if there is only one, that entry itself."""
    return [value] if isinstance(value, str) else list(value)
