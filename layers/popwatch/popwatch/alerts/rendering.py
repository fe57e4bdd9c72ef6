"""An alert as a message: its subject, email and SMS, and the attributes that route it. Pure.

A text is made of the user's own template or is the built-in one (see default_texts.py). A template with a mistake loses
no alert: the built-in text is used instead, and the email names the mistake.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from popwatch.alerts import layout
from popwatch.alerts.attributes import MESSAGE_BYTES, size_of
from popwatch.alerts.character_sets import to_ascii_text, to_attribute, to_email, to_sms, to_subject
from popwatch.alerts.default_texts import TEXTS, counts
from popwatch.alerts.layout import wrap
from popwatch.alerts.templates import TemplateError, fill
from popwatch.alerts.tokens import OF_RECOVERY, USUAL_STACK, AlertContext, values_of
from popwatch.model.health import AlertEvent, Health, Judgement, State
from popwatch.model.messages import AlertMessage, Attributes
from popwatch.model.outcomes import ErrorCode, Outcome
from popwatch.model.targets import Target
from popwatch.model.text import counted, natural_order, truncate, utc

EMAIL_LENGTH = 8000
"""Characters of an email, which is kept in the target's record until it is sent: 32,000 bytes at most."""

LINES_LISTED = 200
"""Alerts that a summary's email lists, if SNS takes so many bytes."""

IDS_LISTED = 100
"""Targets, groups or tags that an attribute names."""

FALLBACK_NOTICE = (
    "SNS refused this alert as it was written, so this is a shorter form in ASCII, without its group and tags. "
    "`popwatch history` shows the whole."
)
FALLBACK_ATTRIBUTES = ("event", "state", "error", "alert_number")
"""The attributes whose values are popwatch's own, and so never refused."""

OWN_TEXTS = (AlertEvent.DOWN, AlertEvent.RECOVERED)
"""The events for which the user's own templates are used; written for outages, they would mislead in other alerts."""


def render(
    target: Target, before: Health, judgement: Judgement, outcome: Outcome, now: datetime, *, stack: str = USUAL_STACK
) -> AlertMessage:
    """The message of `judgement.alert`; `before` is the health before the test. Raises ValueError without an alert."""
    context = AlertContext(target, before, judgement, outcome, now, stack)
    values = values_of(context)
    faults: list[str] = []

    def text(kind: str, built_in: str, limit: int) -> str:
        field = _template_field(target, kind, context.alert.event)
        template = str(getattr(target, field)) if field else ""
        try:
            return fill(template, values, limit) if template else built_in
        except TemplateError as error:
            faults.append(_fault(target, field, error))
            return built_in

    subject = text("subject", layout.subject(context), 500)
    sms = text("sms", layout.sms(context), 500)
    email = text("email", layout.email(context), EMAIL_LENGTH)
    if faults:
        email = truncate("\n".join([email.rstrip(), "", *faults, ""]), EMAIL_LENGTH)
    return AlertMessage(
        target.target_id,
        to_subject(subject),
        to_email(email),
        to_sms(sms),
        to_email(layout.line(context)),
        _attributes(context),
    )


def summarize(messages: Sequence[AlertMessage], now: datetime, stack: str = USUAL_STACK) -> AlertMessage:
    """One message in place of many: a line for each, and attributes that match whatever would match one of them.

    The lines are in the order of the events in the headline, and of those of one event in natural order of the ids.
    """
    events = {event: place for place, event in enumerate(TEXTS)}
    messages = sorted(messages, key=lambda it: (events.get(it.event, len(events)), natural_order(it.target_id)))
    numbers = Counter(message.event for message in messages)
    headline = layout.with_stack_name(stack, f"{counted(len(messages), 'alert')} at once: {counts(numbers)}")
    reason = (
        "When so many servers change together, the cause may be near the monitor or in a network that they share. "
        "Their alerts are listed here instead of being sent one by one."
    )
    head = "\n".join([headline, utc(now), "", wrap(reason), "", ""])
    subject, attributes = to_subject(headline), _union(messages)
    room = MESSAGE_BYTES - size_of(attributes) - len(f"{subject}{head}".encode())
    email = head + "".join(f"{line}\n" for line in _lines(messages, room))
    names = ", ".join(message.target_id for message in messages)
    return AlertMessage("", subject, email, to_sms(f"{headline}: {names}"), headline, attributes)


def fallback(message: AlertMessage) -> AlertMessage:
    """The message in a form that SNS must take if it has refused the message itself: ASCII, short, few attributes."""
    text = f"{FALLBACK_NOTICE}\n\n{to_ascii_text(message.email)}"
    attributes: dict[str, str | int | tuple[str, ...]] = {
        name: value for name, value in message.attributes.items() if name in FALLBACK_ATTRIBUTES
    }
    if message.target_id:
        attributes["target_id"] = to_subject(message.target_id)
    return replace(
        message,
        subject=to_subject(message.subject),
        email=text,
        sms=to_sms(to_ascii_text(message.sms)),
        attributes=attributes,
    )


def attributes_of(target: Target, event: AlertEvent, state: State, error: ErrorCode | None, number: int) -> Attributes:
    """The message attributes of an alert, for filter policies; `number` is that of the outage's last `down` alert."""
    attributes: dict[str, str | int | tuple[str, ...]] = {
        "event": event.value,
        "state": state.value,
        "target_id": to_attribute(target.target_id),
        "group": to_attribute(target.group),
        "tags": tuple(map(to_attribute, target.tags[:IDS_LISTED])),
        "error": error.value if error else "",
        "alert_number": number,
    }
    return {name: value for name, value in attributes.items() if value}


def _template_field(target: Target, kind: str, event: AlertEvent) -> str:
    """The field that holds the template of a text (`subject`, `email` or `sms`) for an event, or an empty text."""
    if event is AlertEvent.RECOVERED and getattr(target, OF_RECOVERY + kind):
        return OF_RECOVERY + kind
    return kind if event in OWN_TEXTS else ""


def _lines(messages: Sequence[AlertMessage], room: int) -> Iterator[str]:
    """A line for each alert as long as `room`, in bytes, and `LINES_LISTED` allow; then how many more there are."""
    left = room - len(f"... and {len(messages)} more\n")
    for listed, message in enumerate(messages):
        left -= len(message.line.encode()) + 1
        if listed == LINES_LISTED or left < 0:
            yield f"... and {len(messages) - listed} more"
            return
        yield message.line


def _fault(target: Target, field: str, error: TemplateError) -> str:
    owner = f"the target {target.target_id}" if field in target.fields else "the item _defaults"
    return wrap(
        f"Your own text in the field `{field}` of {owner} was not used: {error}. "
        "The tokens are listed in docs/alerts.md; `popwatch targets check` tests a text."
    )


def _attributes(context: AlertContext) -> Attributes:
    # A late recovery may come with a failed test: its error is not that of the outage.
    state, error = context.judgement.health.state, None if context.late_recovery else context.outcome.error
    attributes = attributes_of(context.target, context.alert.event, state, error, context.outage.alerts_sent)
    held = context.alert.held
    if held is None:
        return attributes
    # Whoever would have received one of the held alerts receives the message about them.
    numbered: Attributes = {"alert_number": held.alert_number} if held.alert_number else {}
    return {**attributes, "event": (context.alert.event.value, *held.events), **numbered}


def _union(messages: Sequence[AlertMessage]) -> Attributes:
    """Attributes that match a filter policy if one of the messages would."""
    attributes: dict[str, str | int | tuple[str, ...]] = {
        name: _values(messages, name) for name in ("state", "target_id", "group", "tags", "error")
    }
    attributes["event"] = ("summary", *_values(messages, "event"))
    attributes["alert_number"] = max(int(str(message.attributes.get("alert_number", 0))) for message in messages)
    return {name: value for name, value in attributes.items() if value}


def _values(messages: Sequence[AlertMessage], name: str) -> tuple[str, ...]:
    values: dict[str, None] = {}  # a set that keeps the order
    for message in messages:
        value = message.attributes.get(name, ())
        values |= dict.fromkeys(value if isinstance(value, tuple) else (str(value),))
    return tuple(values)[:IDS_LISTED]
