"""How the texts of an alert are laid out: a subject, an SMS, an email, a line of a summary. Pure.

The words are in default_texts.py.
"""

from shlex import quote as shell_quoted
from textwrap import fill

from popwatch.alerts.advice import advice, as_field
from popwatch.alerts.character_sets import SMS_SEPTETS, count_septets, to_sms
from popwatch.alerts.default_texts import TEXTS, Rows, expiry
from popwatch.alerts.tokens import LOCAL_STACK, USUAL_STACK, AlertContext, shown_tags
from popwatch.model.health import AlertEvent
from popwatch.model.targets import endpoint
from popwatch.model.text import truncate

WIDTH = 76
"""Characters of a line of an email."""

SUBJECT_ROOM = 90
"""Characters of a subject without its punctuation; SNS takes 99 with it."""

SHORTEST = 20
"""Characters to which a name or an address is cut at most, and a stack's name always."""


def wrap(text: str) -> str:
    """The text in lines of an email. Ids, hosts and mechanisms have hyphens, and stay whole."""
    return fill(text, WIDTH, break_on_hyphens=False)


def subject(context: AlertContext) -> str:
    """What happened to which server: the name and the address are cut, so that the rest fits."""
    target, texts = context.target, TEXTS[context.alert.event]
    headline, end = with_stack_name(context.stack, texts.headline(context)), texts.subject_end(context)
    room = SUBJECT_ROOM - len(headline) - len(end)
    where = truncate(endpoint(target), max(SHORTEST, room - len(target.name)))
    return f"{headline}: {truncate(target.name, max(SHORTEST, room - len(where)))} ({where}){end}"


def sms(context: AlertContext) -> str:
    """The alert as one part of an SMS: if it does not fit, the name is cut first, then the address."""
    target, texts = context.target, TEXTS[context.alert.event]
    headline, end = with_stack_name(context.stack, texts.headline(context)), texts.sms(context)
    # Cut in GSM-7, whose septets are what an SMS counts: `{` takes two, and a character that it lacks up to three.
    name, where = to_sms(target.name), to_sms(endpoint(target))
    room = SMS_SEPTETS - count_septets(to_sms(f"{headline}: : {end}"))
    name = to_sms(name, max(SHORTEST, room - count_septets(where)))
    where = to_sms(where, max(SHORTEST, room - count_septets(name)))
    server = where if target.name == target.host else f"{name} {where}"
    return f"{headline} {server} {end}"


def command_of(stack: str) -> str:
    """The beginning of a command for a stack: `popwatch`, `popwatch --stack mail-eu`, or `popwatch --local`."""
    if stack == LOCAL_STACK:
        return "popwatch --local"
    return "popwatch" if stack == USUAL_STACK else f"popwatch --stack {stack}"


def with_stack_name(stack: str, headline: str) -> str:
    """A headline that says which stack sends the alert, unless that has the usual name: `mail-eu: DOWN 1/3`."""
    return headline if stack in (USUAL_STACK, LOCAL_STACK) else f"{truncate(stack, SHORTEST)}: {headline}"


def line(context: AlertContext) -> str:
    """The alert in one line, for a summary."""
    target, texts = context.target, TEXTS[context.alert.event]
    return f"{texts.headline(context)} {target.name} ({endpoint(target)}): {texts.sms(context)}"


def email(context: AlertContext) -> str:
    """What happened, what the test found, since when, what comes next, which server."""
    texts = TEXTS[context.alert.event]
    blocks = [
        _paragraph(texts.opening(context)),
        _findings(context),
        _table(texts.times(context)),
        _paragraph(texts.what_next(context)),
        _table(_commands(context)),
        _table(_server(context)),
        _paragraph(f"Alert {context.alert_id}: an alert may arrive twice; a copy has the same id."),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _findings(context: AlertContext) -> list[str]:
    """What the test found; a passed one adds its addresses, and that its login is not tested any more."""
    outcome = context.outcome
    if outcome.error:
        found = [f"{outcome.message}.", wrap(outcome.detail), f"Reason: {outcome.reason}"]
        return [*found, *outcome.address_remarks, *_paragraph(advice(outcome, as_field))]
    return [*_paragraph(outcome.detail), *outcome.address_remarks]


def _commands(context: AlertContext) -> Rows:
    """What helps now, to be copied into a shell."""
    popwatch = command_of(context.stack)
    name = shell_quoted(context.target.target_id)
    can_stop = context.alert.event is AlertEvent.DOWN and context.acknowledgement is None
    return [
        ("Status", f"{popwatch} status {name}"),
        ("Acknowledge", f"{popwatch} ack {name}" if can_stop else ""),
    ]


def _server(context: AlertContext) -> Rows:
    target, outcome = context.target, context.outcome
    tls = {"none": "no TLS", "implicit": "TLS", "starttls": "STLS"}[target.tls.value]
    address = f", address {outcome.address}" if outcome.address not in ("", target.host) else ""
    return [
        ("Server", f"{endpoint(target)}, {tls}{address}"),
        ("Group", target.group),
        ("Tags", shown_tags(target)),
        ("Runbook", target.runbook),
        ("Certificate", expiry(context) if context.certificate_expires else ""),
        ("Id", target.target_id),
        ("Stack", "" if context.stack == USUAL_STACK else context.stack),
    ]


def _paragraph(text: str) -> list[str]:
    return [wrap(text)] if text else []


def _table(rows: Rows) -> list[str]:
    return [f"{label:<14}{value}" for label, value in rows if value]
