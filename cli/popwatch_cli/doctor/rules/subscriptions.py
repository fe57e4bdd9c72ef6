"""Who can hear of anything at all: topics, their subscriptions, SMS, and the alarms of popwatch itself. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from popwatch.model.text import clean
from popwatch_cli.doctor.rules.findings import BRING_BACK, Finding, Kind, broken, some, warning
from popwatch_cli.rehearsal.filter_policies import Subscription

CONFIRM = "Follow the link in AWS's message to it (it holds for two days), or subscribe again to be sent another."
AWS_OWN_KEY = "alias/aws/sns"
NEARLY = 0.8
"""The part of the month's SMS limit from which on it is nearly spent."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as SNS has it: the statements of its policy, and the key that it is encrypted with."""

    name: str
    statements: Sequence[Mapping[str, Any]] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as CloudWatch has it; `actions` are the ARNs of what it tells."""

    name: str
    state: str
    description: str
    enabled: bool
    actions: tuple[str, ...]


def of_alert_topic(found: Topic | None) -> Iterator[Finding]:
    """Whether alerts can be published, and by nobody else."""
    if found is None:
        yield broken(Kind.TOPIC_GONE, "The alert topic is gone: no alert can be sent.", BRING_BACK)
        return
    if any(_concerns_publish(entry) and entry.get("Effect") == "Deny" for entry in _unconditional(found)):
        yield broken(
            Kind.TOPIC_DENIES,
            f"The policy of the topic {found.name} denies publishing: alerts stay owed.",
            "Remove the statement with `Deny` from the topic's policy.",
        )
    if any(_lets_everybody_publish(entry) for entry in _unconditional(found)):
        yield warning(
            Kind.TOPIC_OPEN,
            f"The policy of the topic {found.name} lets everybody publish: an alert may be anybody's.",
            "Remove the statement whose principal is `*` from the topic's policy.",
        )


def of_operator_topic(found: Topic | None) -> Iterator[Finding]:
    """Whether alarms can publish to the operators."""
    if found is None:
        yield warning(Kind.TOPIC_GONE, "The operator topic is gone: no alarm of popwatch is heard.", BRING_BACK)
        return
    if found.key == AWS_OWN_KEY:
        yield warning(
            Kind.ALARM_KEY,
            f"The topic {found.name} is encrypted with AWS's own key, which alarms may not use: none is heard.",
            "Encrypt it with a key of your own that lets cloudwatch.amazonaws.com use it, or not at all.",
        )
    if not any(entry.get("Effect") == "Allow" and _names_cloudwatch(entry) for entry in found.statements):
        yield warning(
            Kind.TOPIC_DENIES,
            f"The policy of the topic {found.name} does not let CloudWatch publish: no alarm of popwatch is heard.",
            BRING_BACK,
        )


def of_subscriptions(found: Sequence[Subscription]) -> Iterator[Finding]:
    """Whether anybody at all receives alerts."""
    waiting = [one.receiver for one in found if not one.confirmed]
    if not found:
        yield broken(
            Kind.NO_SUBSCRIPTION,
            "Nobody subscribes to the alert topic: no alert reaches anybody.",
            "Deploy with AlertEmail or AlertPhone, or subscribe to the topic yourself.",
        )
    elif len(waiting) == len(found):
        yield broken(
            Kind.NONE_CONFIRMED,
            f"No subscription to the alert topic is confirmed ({some(waiting)}): no alert reaches anybody.",
            CONFIRM,
            waiting,
        )
    else:
        yield from _of_waiting(waiting, "alerts")


def of_operators(found: Sequence[Subscription]) -> Iterator[Finding]:
    """Which of the operators have not confirmed; that none has, is a matter of the alarms (see `of_listeners`)."""
    waiting = [one.receiver for one in found if not one.confirmed]
    if len(waiting) < len(found):
        yield from _of_waiting(waiting, "alarms of popwatch itself")


def of_sandbox(in_sandbox: bool) -> Iterator[Finding]:
    """Whether SMS go to any number; asked only if somebody receives alerts by SMS."""
    if in_sandbox:
        yield warning(
            Kind.SMS_SANDBOX,
            "The account is in the SMS sandbox: only phone numbers that have been verified receive SMS.",
            "Verify the numbers in SNS, or ask AWS to move the account out of the sandbox.",
        )


def of_spend(spent: float, limit: float) -> Iterator[Finding]:
    """Whether SMS are still sent this month, in US dollars."""
    what = f"SMS have cost {spent:.2f} of the {limit:.2f} US dollars that the account may spend in a month"
    do = "Raise the account's SMS spend limit in SNS (AWS must agree to more than it has allowed)."
    if spent >= limit:
        yield broken(Kind.SMS_SPENT, f"{what}: no SMS is sent until the month ends.", do)
    elif spent >= NEARLY * limit:
        yield warning(Kind.SMS_NEARLY_SPENT, f"{what}: at the limit SNS sends no more.", do)


def of_alarms(names: Sequence[str], found: Sequence[Alarm]) -> Iterator[Finding]:
    """Whether popwatch's own trouble is told at all, and whether there is any: `names` are the stack's alarms."""
    gone = sorted(set(names) - {alarm.name for alarm in found})
    if gone:
        yield warning(Kind.ALARM_GONE, f"{_alarms(gone)} gone: nobody is told of such trouble.", BRING_BACK, gone)
    off = [alarm.name for alarm in found if not alarm.enabled]
    if off:
        yield warning(
            Kind.ALARM_OFF,
            f"{_alarms(off)} switched off: nobody is told of such trouble.",
            f"Switch them on: `aws cloudwatch enable-alarm-actions --alarm-names {' '.join(off)}`.",
            off,
        )
    bare = [alarm.name for alarm in found if not alarm.actions]
    if bare:
        without = f"{_alarms(bare)} without a destination: nobody is told."
        yield warning(Kind.ALARM_WITHOUT_DESTINATION, without, BRING_BACK, bare)
    for alarm in found:
        if alarm.state == "ALARM":
            yield warning(
                Kind.ALARM_RINGS,
                f"The alarm {alarm.name} rings: {clean(alarm.description, 300)}",
                "docs/operating.md says what each alarm means and what to do.",
                [alarm.name],
            )


def of_listeners(found: Sequence[Alarm], audiences: Mapping[str, Sequence[Subscription]]) -> Iterator[Finding]:
    """Whether anybody hears the alarms; `audiences` are those of the topics that they tell."""
    unheard = [alarm.name for alarm in found if alarm.actions and not _is_heard(alarm, audiences)]
    if unheard:
        yield warning(
            Kind.ALARM_UNHEARD,
            f"{_alarms(unheard)} heard by nobody: no subscription to the topic is confirmed.",
            "Deploy with OperatorEmail and follow the link in AWS's message, or subscribe to the topic yourself.",
            unheard,
        )


def _of_waiting(waiting: Sequence[str], what: str) -> Iterator[Finding]:
    if waiting:
        verbs = ("has", "receives") if len(waiting) == 1 else ("have", "receive")
        told = f"{some(waiting)} {verbs[0]} not confirmed and {verbs[1]} no {what}."
        yield warning(Kind.UNCONFIRMED, told, CONFIRM, waiting)


def _alarms(names: Sequence[str]) -> str:
    return f"Alarm {names[0]} is" if len(names) == 1 else f"{len(names)} alarms ({some(names)}) are"


def _is_heard(alarm: Alarm, audiences: Mapping[str, Sequence[Subscription]]) -> bool:
    """Whether an action of the alarm reaches anybody; what is no topic of ours is taken to."""
    return any(action not in audiences or any(one.confirmed for one in audiences[action]) for action in alarm.actions)


def _unconditional(topic: Topic) -> list[Mapping[str, Any]]:
    return [entry for entry in topic.statements if not entry.get("Condition")]


def _concerns_publish(entry: Mapping[str, Any]) -> bool:
    return any(action.lower() in ("sns:publish", "sns:*", "*") for action in _as_list(entry.get("Action", ())))


def _lets_everybody_publish(entry: Mapping[str, Any]) -> bool:
    principal = entry.get("Principal")
    everybody = principal == "*" or (isinstance(principal, Mapping) and "*" in _as_list(principal.get("AWS", ())))
    return entry.get("Effect") == "Allow" and everybody and _concerns_publish(entry)


def _names_cloudwatch(entry: Mapping[str, Any]) -> bool:
    principal = entry.get("Principal")
    if not isinstance(principal, Mapping):
        return principal == "*"
    services = _as_list(principal.get("Service", ()))
    return _concerns_publish(entry) and (
        "cloudwatch.amazonaws.com" in services or "*" in _as_list(principal.get("AWS", ()))
    )


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
