"""The built-in texts of alerts: to be read at 3 a.m. on a phone. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from textwrap import fill as wrap
from typing import assert_never

from popwatch.alerts.character_sets import SMS_SEPTETS, count_septets, to_sms
from popwatch.alerts.tokens import AlertContext, values_of
from popwatch.decisions.early_warnings import HOUR, QUIET_SPANS
from popwatch.model.health import AlertEvent
from popwatch.model.outcomes import ErrorCode, Outcome
from popwatch.model.targets import place
from popwatch.model.text import cut, duration, milliseconds, utc

WIDTH = 76
"""Characters of a line of an email."""

_SHORT = {
    ErrorCode.MISSING_FIELDS: "bad configuration",
    ErrorCode.CANNOT_CONNECT: "cannot connect",
    ErrorCode.NO_ADDRESS: "no address",
    ErrorCode.TIMED_OUT: "timed out",
    ErrorCode.DISCONNECTED: "disconnected",
    ErrorCode.PROTOCOL: "protocol error",
}
"""The errors in an SMS, where the fixed messages have no room."""


def subject(occasion: AlertContext) -> str:
    """What it is, of which server; a recovery tells how long it was down."""
    target = occasion.target
    ending = f", was down {duration(occasion.alert.outage)}" if occasion.alert.event is AlertEvent.RECOVERED else ""
    room = 90 - len(_headline(occasion)) - len(ending)
    where = cut(place(target), max(20, room - len(target.name)))
    return f"{_headline(occasion)}: {cut(target.name, max(20, room - len(where)))} ({where}){ending}"


def _headline(occasion: AlertContext) -> str:
    match occasion.alert.event:
        case AlertEvent.DOWN:
            return f"DOWN {occasion.alert.number}/{occasion.target.policy.max_alerts}"
        case AlertEvent.RECOVERED:
            return "UP again"
        case AlertEvent.FLAPPING:
            return "FLAPPING"
        case AlertEvent.STEADY:
            return "STEADY again"
        case AlertEvent.DEGRADED:
            return "HALF UP"
        case AlertEvent.RESTORED:
            return "WHOLE again"
        case AlertEvent.CERTIFICATE:
            return "CERTIFICATE"
        case unknown:
            assert_never(unknown)


def sms(occasion: AlertContext) -> str:
    """The whole story in one part: where it does not fit, first the name is cut, then the host."""
    target, story = occasion.target, _story(occasion)
    name, where = to_sms(target.name), to_sms(place(target))
    room = SMS_SEPTETS - count_septets(to_sms(f"{_headline(occasion)}: : {story}"))
    name = to_sms(name, max(20, room - count_septets(where)))
    where = to_sms(where, max(20, room - count_septets(name)))
    same = target.name == target.host
    return f"{_headline(occasion)} {where if same else f'{name} {where}'} {story}"


def _story(occasion: AlertContext) -> str:
    outcome, alert = occasion.outcome, occasion.alert
    match alert.event:
        case AlertEvent.DOWN:
            since = occasion.outage.failing_since or occasion.now
            return f"since {_clock(since, occasion.now, occasion.target.timezone)}: {_why(outcome)}"
        case AlertEvent.RECOVERED:
            return f"after {duration(alert.outage)}, rtt {milliseconds(outcome.rtt_ms)} ms"
        case AlertEvent.FLAPPING:
            return f"{alert.number} changes in an hour, now {occasion.judgement.health.state}"
        case AlertEvent.STEADY:
            return f"now {occasion.judgement.health.state}"
        case AlertEvent.DEGRADED:
            return f"fails: {cut(', '.join(outcome.failed_addresses), 80)}"
        case AlertEvent.RESTORED:
            return "all addresses pass"
        case AlertEvent.CERTIFICATE:
            return _expiry(occasion)
        case unknown:
            assert_never(unknown)


def _expiry(occasion: AlertContext) -> str:
    """When the certificate expires, in days: `expires in 13 days`, `expires today`, `expired 2 days ago`."""
    days = ((occasion.outcome.certificate_expires or occasion.now) - occasion.now) // timedelta(days=1)
    if days < 0:
        return "has expired"
    return "expires within a day" if days == 0 else f"expires in {days} {'day' if days == 1 else 'days'}"


def _why(outcome: Outcome) -> str:
    short = _SHORT[outcome.error] if outcome.error else ""
    return f"{short}, {cut(outcome.reason, 60)}" if outcome.reason else short


def _clock(moment: datetime, now: datetime, zone: tzinfo) -> str:
    """The time of day in the zone, with the day if that was another: `03:12Z`, `04:12 CET`, `11-22 04:12 CET`."""
    local = moment.astimezone(zone)
    day = "" if local.date() == now.astimezone(zone).date() else f"{local:%m-%d} "
    return f"{day}{local:%H:%M}{'Z' if zone is UTC or str(zone) == 'UTC' else f' {local:%Z}'}"


def line(occasion: AlertContext) -> str:
    """The alert in one line, for a summary."""
    target = occasion.target
    return f"{_headline(occasion)} {target.name} ({place(target)}): {_story(occasion)}"


def email(occasion: AlertContext) -> str:
    """What happened, what was seen, since when, what comes next, which server."""
    blocks = [_what(occasion), _seen(occasion), _when(occasion), _next(occasion), _who(occasion)]
    note = f"Alert {occasion.alert_id}: alerts may arrive twice, and one with the same id is the same."
    return "\n\n".join("\n".join(block) for block in [*blocks, [wrap(note, WIDTH)]] if block) + "\n"


def _what(occasion: AlertContext) -> list[str]:
    name, alert, state = occasion.target.name, occasion.alert, occasion.judgement.health.state
    match alert.event:
        case AlertEvent.DOWN:
            return [f"{name} is DOWN (alert {alert.number} of {occasion.target.policy.max_alerts})."]
        case AlertEvent.RECOVERED:
            return [f"{name} is UP again. It was down for {duration(alert.outage)}."]
        case AlertEvent.FLAPPING:
            return [
                wrap(
                    f"{name} is flapping: it went from passed to failed or back {alert.number} times in an hour.", WIDTH
                )
            ]
        case AlertEvent.STEADY:
            return [f"{name} is steady again: it is {state}."]
        case AlertEvent.DEGRADED:
            return [wrap(f"{name} is half up: it passes, but some of its addresses fail.", WIDTH)]
        case AlertEvent.RESTORED:
            return [f"{name} is whole again: all of its addresses pass."]
        case AlertEvent.CERTIFICATE:
            return [f"The certificate of {name} {_expiry(occasion)}."]
        case unknown:
            assert_never(unknown)


def _seen(occasion: AlertContext) -> list[str]:
    """What the test saw; a passed one has nothing to add but the addresses that failed."""
    outcome = occasion.outcome
    if outcome.error:
        return [f"{outcome.message}.", wrap(outcome.detail, WIDTH), f"Reason: {outcome.reason}"]
    return [f"Fails: {failed}" for failed in outcome.failed_addresses]


def _when(occasion: AlertContext) -> list[str]:
    outage, zone = occasion.outage, occasion.target.timezone
    match occasion.alert.event:
        case AlertEvent.DOWN:
            failing_for = f"{duration(occasion.alert.outage)}, {_failures(outage.failures)}"
            rows = [("Failing since", _both(outage.failing_since or occasion.now, zone)), ("Failing for", failing_for)]
        case AlertEvent.RECOVERED:
            rows = [
                ("Failing since", _both(outage.failing_since or occasion.now, zone)),
                ("Passed at", _both(occasion.now, zone)),
                ("Round trip", f"{milliseconds(occasion.outcome.rtt_ms)} ms"),
                ("Greeting", occasion.outcome.greeting),
                ("Outage", f"{_failures(outage.failures)}, {_alerts(outage.alerts_sent)}"),
                ("Acknowledged", _acknowledged(occasion)),
            ]
        case AlertEvent.CERTIFICATE:
            return _table([("Expires", _both(occasion.outcome.certificate_expires or occasion.now, zone))])
        case _:
            return _table([("Tested at", _both(occasion.now, zone))])
    if outage.last_good_at:
        rows.append(("Last good", f"{utc(outage.last_good_at)}, {milliseconds(outage.last_good_rtt_ms)} ms"))
    return _table(rows)


def _failures(count: int) -> str:
    return "1 failed test" if count == 1 else f"{count} failed tests in a row"


def _acknowledged(occasion: AlertContext) -> str:
    """Who knew of the outage, and what they said."""
    known, policy = occasion.target.policy.acknowledged, occasion.target.policy
    if known is None or not policy.knows_of(occasion.outage.failing_since):
        return ""
    return ": ".join(part for part in (known.by, known.why) if part) or "yes"


def _both(moment: datetime, zone: tzinfo) -> str:
    """A moment in UTC, and in the target's zone if that is another."""
    local = moment.astimezone(zone)
    return utc(moment) + (f" ({local:%H:%M %Z})" if local.utcoffset() else "")


def _next(occasion: AlertContext) -> list[str]:
    policy, wait = occasion.target.policy, occasion.next_test_at - occasion.now
    match occasion.alert.event:
        case AlertEvent.DOWN:
            first = f"Next test in {duration(wait)}, at {occasion.next_test_at.astimezone(UTC):%H:%M:%S} UTC."
            text = f"{first} {_outlook(occasion, wait)}"
        case AlertEvent.RECOVERED:
            text = f"Next test within {duration(wait)}."
        case AlertEvent.FLAPPING:
            quiet = duration(QUIET_SPANS * HOUR / policy.flap_per_hour) if policy.flap_per_hour else "a while"
            text = (
                "Its tests go on, and all is recorded. Alerts that it is down are held until it has not changed for "
                f"{quiet}; then you hear that it is steady."
            )
        case AlertEvent.STEADY:
            text = "Alerts are sent as usual again."
        case AlertEvent.DEGRADED:
            text = "It counts as up. You hear when all of its addresses pass again, or when all fail."
        case AlertEvent.RESTORED:
            return []
        case AlertEvent.CERTIFICATE:
            later = [str(days) for days in policy.certificate_warn_days if days < occasion.alert.number]
            coming = f"The next warning comes at {later[0]} days." if later else "This was the last warning."
            text = f"{coming} Once it has expired, tests fail." if occasion.target.verify_tls else coming
        case unknown:
            assert_never(unknown)
    return [wrap(text, WIDTH)]


def _outlook(occasion: AlertContext, wait: timedelta) -> str:
    policy, number = occasion.target.policy, occasion.alert.number
    if number >= policy.max_alerts:
        until = "it recovers" if policy.alert_recovery else "it has recovered and fails anew"
        return f"This was the last alert of this outage: popwatch goes on testing and stays quiet until {until}."
    more = policy.failures_per_alert
    return f"Alert {number + 1} of {policy.max_alerts} follows in about {duration(wait * more)} if it goes on failing."


def _who(occasion: AlertContext) -> list[str]:
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
