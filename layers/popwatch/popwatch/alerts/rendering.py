"""What people are told: an alert's subject, email and SMS, and the attributes that route it. Pure.

A text is the target's own template or the built-in one (see `wording`). An alert is never lost to a template: one with
a mistake is left aside, and the built-in text says so.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from textwrap import fill as wrap

from popwatch.alerts import default_texts
from popwatch.alerts.character_sets import to_email, to_sms, to_subject
from popwatch.alerts.default_texts import WIDTH
from popwatch.alerts.templates import TemplateError, fill
from popwatch.alerts.tokens import AlertContext, values_of
from popwatch.model.health import AlertEvent, Health, Judgement, State
from popwatch.model.messages import Attributes, Message
from popwatch.model.outcomes import ErrorCode, Outcome
from popwatch.model.targets import Target
from popwatch.model.text import cut, utc

EMAIL_LENGTH = 8000
"""Characters of an email. It rides in the target's record until it is sent, and SNS takes 256 KiB."""

LINES_LISTED = 200
"""Alerts that a summary's email lists; SNS takes 256 KiB."""

IDS_LISTED = 100
"""Targets, groups or tags that an attribute names."""

OWN_TEXTS = (AlertEvent.DOWN, AlertEvent.RECOVERED)
"""What the user's own texts are for; everything else has the built-in ones, as they speak of other things."""

_COUNTED = {
    AlertEvent.DOWN: "down",
    AlertEvent.RECOVERED: "up again",
    AlertEvent.FLAPPING: "flapping",
    AlertEvent.STEADY: "steady again",
    AlertEvent.DEGRADED: "half up",
    AlertEvent.RESTORED: "whole again",
    AlertEvent.CERTIFICATE: "certificates run out",
}


def render(target: Target, before: Health, judgement: Judgement, outcome: Outcome, now: datetime) -> Message:
    """The message of `judgement.alert`, which must be there; `before` is the health that was judged."""
    occasion = AlertContext(target, before, judgement, outcome, now)
    values = values_of(occasion)
    faults: list[str] = []

    def text(field: str, built_in: str, limit: int) -> str:
        template = str(getattr(target, field)) if occasion.alert.event in OWN_TEXTS else ""
        try:
            return fill(template, values, limit) if template else built_in
        except TemplateError as error:
            faults.append(_fault(target, field, error))
            return built_in

    subject = text("subject", default_texts.subject(occasion), 500)
    sms = text("sms", default_texts.sms(occasion), 500)
    email = text("email", default_texts.email(occasion), EMAIL_LENGTH)
    if faults:
        email = cut("\n".join([email.rstrip(), "", *faults, ""]), EMAIL_LENGTH)
    return Message(
        target.target_id,
        to_subject(subject),
        to_email(email),
        to_sms(sms),
        to_email(default_texts.line(occasion)),
        _attributes(occasion),
    )


def summarize(messages: Sequence[Message], now: datetime) -> Message:
    """One message that stands for many: each one's line, and attributes that match whatever would match one of them."""
    counts = Counter(message.event for message in messages)
    headline = f"{len(messages)} alerts at once: {_count(counts)}"
    lines = [message.line for message in messages[:LINES_LISTED]]
    if len(messages) > LINES_LISTED:
        lines.append(f"... and {len(messages) - LINES_LISTED} more")
    reason = (
        "When so many servers change together, the cause may be near the monitor or in a network that they share. "
        "They are listed here instead of one message each."
    )
    email = "\n".join([headline, utc(now), "", wrap(reason, WIDTH), "", *lines, ""])
    names = ", ".join(message.target_id for message in messages)
    return Message("", to_subject(headline), email, to_sms(f"{headline}: {names}"), headline, _union(messages))


def _fault(target: Target, field: str, error: TemplateError) -> str:
    owner = f"the target {target.target_id}" if field in target.fields else "the item _defaults"
    return wrap(
        f"Your own text in the field `{field}` of {owner} was not used: {error}. "
        "The tokens are listed in docs/alerts.md; `popwatch targets check` tests a text.",
        WIDTH,
    )


def attributes_of(target: Target, event: AlertEvent, state: State, error: ErrorCode | None, number: int) -> Attributes:
    """The attributes of an alert of a target, which filter policies see; `number` counts the outage's alerts so far."""
    found: dict[str, str | int | tuple[str, ...]] = {
        "event": event.value,
        "state": state.value,
        "target_id": to_email(target.target_id),
        "group": target.group,
        "tags": target.tags[:IDS_LISTED],
        "error": error.value if error else "",
        "alert_number": number,
    }
    return {name: value for name, value in found.items() if value}


def _attributes(occasion: AlertContext) -> Attributes:
    state, error = occasion.judgement.health.state, occasion.outcome.error
    return attributes_of(occasion.target, occasion.alert.event, state, error, occasion.outage.alerts_sent)


def _union(messages: Sequence[Message]) -> Attributes:
    """Attributes that match a filter policy if one of the messages would."""
    found: dict[str, str | int | tuple[str, ...]] = {
        name: _values(messages, name) for name in ("state", "target_id", "group", "tags", "error")
    }
    found["event"] = ("summary", *_values(messages, "event"))
    found["alert_number"] = max(int(str(message.attributes.get("alert_number", 0))) for message in messages)
    return {name: value for name, value in found.items() if value}


def _values(messages: Sequence[Message], name: str) -> tuple[str, ...]:
    values: dict[str, None] = {}
    for message in messages:
        value = message.attributes.get(name, ())
        values |= dict.fromkeys(value if isinstance(value, tuple) else (str(value),))
    return tuple(values)[:IDS_LISTED]


def _count(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[event]} {word}" for event, word in _COUNTED.items() if counts[event])
