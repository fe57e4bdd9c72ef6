"""What people are told: an alert's subject, email and SMS, and the attributes that route it. Pure.

A text is the target's own template or the built-in one. An alert is never lost to a template: one with a mistake is
left aside, and the built-in text says so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from textwrap import fill as wrap

from popwatch.alphabets import SMS_SEPTETS, count_septets, to_sms, to_subject
from popwatch.health import AlertEvent, Health, Judgement
from popwatch.outcomes import ErrorCode, Outcome
from popwatch.targets import Target
from popwatch.templates import TemplateError, cut, fill
from popwatch.tokens import Occasion, duration, milliseconds, place, utc, values_of

EMAIL_LENGTH = 8000
"""Characters of an email. It rides in the target's record until it is sent, and SNS takes 256 KiB."""

LINES_LISTED = 200
"""Alerts that a summary's email lists; SNS takes 256 KiB."""

IDS_LISTED = 100
"""Targets, groups or tags that an attribute names."""

WIDTH = 76

_SHORT = {
    ErrorCode.MISSING_FIELDS: "bad configuration",
    ErrorCode.CANNOT_CONNECT: "cannot connect",
    ErrorCode.NO_ADDRESS: "no address",
    ErrorCode.TIMED_OUT: "timed out",
    ErrorCode.DISCONNECTED: "disconnected",
    ErrorCode.PROTOCOL: "protocol error",
}
"""The errors in an SMS, where the fixed messages have no room."""

Attributes = Mapping[str, str | int | tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Message:
    """An alert as it is published. `line` is what a summary says of it; a summary has no `target_id`.

    `attributes` become SNS message attributes: texts, numbers and lists of texts, none of them empty.
    """

    target_id: str
    subject: str
    email: str
    sms: str
    line: str
    attributes: Attributes

    @property
    def event(self) -> str:
        """What the message tells: `down`, `recovered` or `summary`."""
        event = self.attributes["event"]
        return event[0] if isinstance(event, tuple) else str(event)


def render(target: Target, before: Health, judgement: Judgement, outcome: Outcome, now: datetime) -> Message:
    """The message of `judgement.alert`, which must be there; `before` is the health that was judged."""
    occasion = Occasion(target, before, judgement, outcome, now)
    values = values_of(occasion)
    faults: list[str] = []

    def text(field: str, built_in: str, limit: int) -> str:
        template = str(getattr(target, field))
        try:
            return fill(template, values, limit) if template else built_in
        except TemplateError as error:
            faults.append(_fault(target, field, error))
            return built_in

    subject = text("subject", _subject(occasion), 500)
    sms = text("sms", _sms(occasion), 500)
    email = text("email", _email(occasion), EMAIL_LENGTH)
    if faults:
        email = cut("\n".join([email.rstrip(), "", *faults, ""]), EMAIL_LENGTH)
    return Message(target.target_id, to_subject(subject), email, to_sms(sms), _line(occasion), _attributes(occasion))


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


def _subject(occasion: Occasion) -> str:
    target = occasion.target
    ending = f", was down {duration(occasion.alert.outage)}" if occasion.alert.event is AlertEvent.RECOVERED else ""
    room = 90 - len(_headline(occasion)) - len(ending)
    where = cut(place(target), max(20, room - len(target.name)))
    return f"{_headline(occasion)}: {cut(target.name, max(20, room - len(where)))} ({where}){ending}"


def _headline(occasion: Occasion) -> str:
    if occasion.alert.event is AlertEvent.RECOVERED:
        return "UP again"
    return f"DOWN {occasion.alert.number}/{occasion.target.policy.max_alerts}"


def _sms(occasion: Occasion) -> str:
    """The whole story in one part: where it does not fit, first the name is cut, then the host."""
    target, story = occasion.target, _story(occasion)
    name, where = to_sms(target.name), to_sms(place(target))
    room = SMS_SEPTETS - count_septets(to_sms(f"{_headline(occasion)}: : {story}"))
    name = to_sms(name, max(20, room - count_septets(where)))
    where = to_sms(where, max(20, room - count_septets(name)))
    same = target.name == target.host
    return f"{_headline(occasion)} {where if same else f'{name} {where}'} {story}"


def _story(occasion: Occasion) -> str:
    outcome, outage = occasion.outcome, occasion.alert.outage
    if occasion.alert.event is AlertEvent.RECOVERED:
        return f"after {duration(outage)}, rtt {milliseconds(outcome.rtt_ms)} ms"
    since = occasion.outage.failing_since or occasion.now
    return f"since {_clock(since, occasion.now, occasion.target.timezone)}: {_why(outcome)}"


def _why(outcome: Outcome) -> str:
    short = _SHORT[outcome.error] if outcome.error else ""
    return f"{short}, {cut(outcome.reason, 60)}" if outcome.reason else short


def _clock(moment: datetime, now: datetime, zone: tzinfo) -> str:
    """The time of day in the zone, with the day if that was another: `03:12Z`, `04:12 CET`, `11-22 04:12 CET`."""
    local = moment.astimezone(zone)
    day = "" if local.date() == now.astimezone(zone).date() else f"{local:%m-%d} "
    return f"{day}{local:%H:%M}{'Z' if zone is UTC or str(zone) == 'UTC' else f' {local:%Z}'}"


def _line(occasion: Occasion) -> str:
    target = occasion.target
    return f"{_headline(occasion)} {target.name} ({place(target)}): {_story(occasion)}"


def _email(occasion: Occasion) -> str:
    recovered = occasion.alert.event is AlertEvent.RECOVERED
    blocks = [_what(occasion), [] if recovered else _seen(occasion), _when(occasion), _next(occasion), _who(occasion)]
    note = f"Alert {occasion.alert_id}: alerts may arrive twice, and one with the same id is the same."
    return "\n\n".join("\n".join(block) for block in [*blocks, [wrap(note, WIDTH)]] if block) + "\n"


def _what(occasion: Occasion) -> list[str]:
    name, alert = occasion.target.name, occasion.alert
    if alert.event is AlertEvent.RECOVERED:
        return [f"{name} is UP again. It was down for {duration(alert.outage)}."]
    return [f"{name} is DOWN (alert {alert.number} of {occasion.target.policy.max_alerts})."]


def _seen(occasion: Occasion) -> list[str]:
    outcome = occasion.outcome
    return [f"{outcome.message}.", wrap(outcome.detail, WIDTH), f"Reason: {outcome.reason}"]


def _when(occasion: Occasion) -> list[str]:
    outage = occasion.outage
    failures = "1 failed test" if outage.failures == 1 else f"{outage.failures} failed tests in a row"
    rows = [("Failing since", _both(outage.failing_since or occasion.now, occasion.target.timezone))]
    if occasion.alert.event is AlertEvent.RECOVERED:
        rows = [
            *rows,
            ("Passed at", _both(occasion.now, occasion.target.timezone)),
            ("Round trip", f"{milliseconds(occasion.outcome.rtt_ms)} ms"),
            ("Greeting", occasion.outcome.greeting),
            ("Outage", f"{failures}, {_alerts(outage.alerts_sent)}"),
        ]
    else:
        rows.append(("Failing for", f"{duration(occasion.alert.outage)}, {failures}"))
    if outage.last_good_at:
        good = f"{utc(outage.last_good_at)}, {milliseconds(outage.last_good_rtt_ms)} ms"
        rows.append(("Last good", good))
    return _table(rows)


def _both(moment: datetime, zone: tzinfo) -> str:
    """A moment in UTC, and in the target's zone if that is another."""
    local = moment.astimezone(zone)
    return utc(moment) + (f" ({local:%H:%M %Z})" if local.utcoffset() else "")


def _next(occasion: Occasion) -> list[str]:
    wait = occasion.next_test_at - occasion.now
    first = f"Next test in {duration(wait)}, at {occasion.next_test_at.astimezone(UTC):%H:%M:%S} UTC."
    if occasion.alert.event is AlertEvent.RECOVERED:
        return [f"Next test within {duration(wait)}."]
    return [wrap(f"{first} {_outlook(occasion, wait)}", WIDTH)]


def _outlook(occasion: Occasion, wait: timedelta) -> str:
    policy, number = occasion.target.policy, occasion.alert.number
    if number >= policy.max_alerts:
        until = "it recovers" if policy.alert_recovery else "it has recovered and fails anew"
        return f"This was the last alert of this outage: popwatch goes on testing and stays quiet until {until}."
    more = policy.failures_per_alert
    return f"Alert {number + 1} of {policy.max_alerts} follows in about {duration(wait * more)} if it goes on failing."


def _who(occasion: Occasion) -> list[str]:
    target, outcome = occasion.target, occasion.outcome
    tls = {"none": "no TLS", "implicit": "TLS", "starttls": "STLS"}[target.tls.value]
    address = f", address {outcome.address}" if outcome.address not in ("", target.host) else ""
    values = values_of(occasion)
    rows = [("Server", f"{place(target)}, {tls}{address}"), ("Group", target.group), ("Tags", values["tags"])]
    if outcome.certificate_expires:
        rows.append(("Certificate", f"{values['certificate_days']} days left"))
    return _table([*rows, ("Id", target.target_id)])


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{label:<14}{value}" for label, value in rows if value]


def _alerts(count: int) -> str:
    return "1 alert" if count == 1 else f"{count} alerts"


def _fault(target: Target, field: str, error: TemplateError) -> str:
    owner = f"the target {target.target_id}" if field in target.fields else "the item _defaults"
    return wrap(
        f"Your own text in the field `{field}` of {owner} was not used: {error}. "
        "The tokens are listed in docs/alerts.md; `popwatch targets check` tests a text.",
        WIDTH,
    )


def _attributes(occasion: Occasion) -> Attributes:
    target, outcome = occasion.target, occasion.outcome
    found: dict[str, str | int | tuple[str, ...]] = {
        "event": occasion.alert.event.value,
        "state": occasion.judgement.health.state.value,
        "target_id": target.target_id,
        "group": target.group,
        "tags": target.tags[:IDS_LISTED],
        "error": outcome.error.value if outcome.error else "",
        "alert_number": occasion.outage.alerts_sent,
    }
    return {name: value for name, value in found.items() if value}


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
    words = {"down": "down", "recovered": "up again"}
    return ", ".join(f"{counts[event]} {word}" for event, word in words.items() if counts[event])
