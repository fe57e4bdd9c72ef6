"""The built-in texts of alerts, by event: to be read at 3 a.m. on a phone. Pure.

`TEXTS`, at the end, has one entry for each `AlertEvent`; layout.py makes subject, email and SMS of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from popwatch.alerts.tokens import AlertContext
from popwatch.decisions.early_warnings import (
    QUIET_INTERVALS,
    WARNINGS_AT_ONCE,
    by_expiry,
    reached_limit,
    shared_limits,
)
from popwatch.decisions.throttling import held_until
from popwatch.model.health import AlertEvent, Health
from popwatch.model.outcomes import Certificate, ErrorCode, Role
from popwatch.model.posture import PostureFinding
from popwatch.model.text import counted, duration, milliseconds, truncate, utc
from popwatch.model.time_limits import DAY, HOUR

Rows = Sequence[tuple[str, str]]
"""Labels and their values; a row without a value is left out."""

_SHORT_ERRORS = {
    ErrorCode.MISSING_FIELDS: "bad configuration",
    ErrorCode.CANNOT_CONNECT: "cannot connect",
    ErrorCode.NO_ADDRESS: "no address",
    ErrorCode.TIMED_OUT: "timed out",
    ErrorCode.DISCONNECTED: "disconnected",
    ErrorCode.PROTOCOL: "protocol error",
}
"""The errors in an SMS, which has no room for the fixed messages."""


@dataclass(frozen=True, slots=True)
class EventTexts:
    """The texts of the alerts of one event.

    Subject and SMS begin with `headline`, which the server follows, and end in `subject_end` and `sms`. `opening` is
    the first sentence of the email, `times` the table of when it happened, `what_next` the paragraph on what follows;
    each may be empty. `counted` is what a summary says of so many alerts of this event: `3 down`.
    """

    headline: Callable[[AlertContext], str]
    sms: Callable[[AlertContext], str]
    opening: Callable[[AlertContext], str]
    times: Callable[[AlertContext], Rows]
    what_next: Callable[[AlertContext], str]
    counted: Callable[[int], str]
    subject_end: Callable[[AlertContext], str] = lambda _: ""


def _constant(text: str) -> Callable[[AlertContext], str]:
    return lambda _: text


def _number(words: str) -> Callable[[int], str]:
    return lambda count: f"{count} {words}"


# DOWN


def _down_sms(context: AlertContext) -> str:
    outcome = context.outcome
    since = context.outage.failing_since or context.now
    why = [_SHORT_ERRORS[outcome.error] if outcome.error else "", truncate(outcome.reason, 60)]
    return f"since {_time_of_day(since, context.now, context.target.timezone)}: {', '.join(filter(None, why))}"


def _down_times(context: AlertContext) -> Rows:
    failing_for = f"{duration(context.alert.outage)}, {_failures(context.outage)}"
    return [_failing_since(context), ("Failing for", failing_for), _last_good(context)]


def _down_next(context: AlertContext) -> str:
    policy, number = context.target.policy, context.alert.number
    wait = context.next_test_at - context.now
    next_test = f"Next test in {duration(wait)}, at {context.next_test_at.astimezone(UTC):%H:%M:%S} UTC."
    if login_from := context.next_login_from:
        delay = context.judgement.health.login_delay
        why = f"It only reads the greeting, since the server asks for {delay} s between logins (LOGIN-DELAY)"
        next_test += f" {why}: the next login comes after {login_from.astimezone(UTC):%H:%M:%S} UTC."
    if number >= policy.max_alerts:
        until = "it recovers" if policy.alert_recovery else "it has recovered and fails again"
        return f"{next_test} This was the last alert of this outage. Tests continue; no further alerts until {until}."
    interval = duration(context.next_alert_in)
    return f"{next_test} Alert {number + 1} of {policy.max_alerts} follows in about {interval} if it goes on failing."


# RECOVERED


def _recovered_opening(context: AlertContext) -> str:
    name, length, late = context.target.name, duration(context.alert.outage), context.late_recovery
    if late is None:
        return f"{name} is UP again. It was down for {length}."
    held = "This message was held back during maintenance or a silence."
    now = f" Its newest test, at {utc(context.now)}, failed:" if context.outcome.error else ""
    return f"{name} was UP again at {utc(late.passed_at)}. It had been down for {length}. {held}{now}"


def _recovered_end(context: AlertContext) -> str:
    """The end of the subject; a late recovery says until when the outage lasted, as that is not now."""
    late = context.late_recovery
    until = f" until {_time_of_day(late.passed_at, context.now, context.target.timezone)}" if late else ""
    return f", was down {duration(context.alert.outage)}{until}"


def _recovered_sms(context: AlertContext) -> str:
    late = context.late_recovery
    at = f" at {_time_of_day(late.passed_at, context.now, context.target.timezone)}" if late else ""
    now = ", newest test failed" if context.outcome.error else ""
    return f"after {duration(context.alert.outage)}{at}, rtt {milliseconds(context.passed_rtt_ms)} ms{now}"


def _recovered_times(context: AlertContext) -> Rows:
    outage, late = context.outage, context.late_recovery
    return [
        _failing_since(context),
        ("Passed at", _utc_and_local(context.passed_at, context.target.timezone)),
        ("Confirmed at", _confirmed(context)),
        ("Round trip", f"{milliseconds(context.passed_rtt_ms)} ms"),
        ("Greeting", "" if late else context.outcome.greeting),
        ("Outage", f"{_failures(outage)}, {counted(outage.alerts_sent, 'alert')}"),
        ("Acknowledged", _acknowledged(context)),
        _last_good(context),
    ]


def _confirmed(context: AlertContext) -> str:
    """When it had passed often enough, unless once is enough; a recovery that was held does not know it any more."""
    recovery = None if context.late_recovery else context.before.recovery
    return f"{utc(context.now)}, {recovery.passes + 1} passed tests in a row" if recovery else ""


def _acknowledged(context: AlertContext) -> str:
    """Who acknowledged the outage, and why."""
    acknowledgement = context.acknowledgement
    if acknowledgement is None:
        return ""
    return ": ".join(part for part in (acknowledgement.by, acknowledgement.why) if part) or "yes"


# FLAPPING


def _flapping_next(context: AlertContext) -> str:
    return (
        "Tests continue, and every result is recorded. Alerts that it is down are held back until it has not changed "
        f"for {_quiet_time(context)}; then you receive an alert that it is steady again."
    )


def _steady_opening(context: AlertContext) -> str:
    name = context.target.name
    if not context.target.policy.flap_per_hour:
        return (
            f"{name} no longer counts as flapping, as its changes are not counted any more (`flap_per_hour` is 0). "
            f"It is {_state(context)}."
        )
    # Changes in maintenance do not count.
    unchanged = f", without a change that counts for {_quiet_time(context)} or more" if context.before.changes else ""
    if context.judgement.health.failures == 1:  # it was steady until this test
        return f"{name} was steady{unchanged}. It has failed now: it is {_state(context)}."
    return f"{name} is steady again{unchanged}. It is {_state(context)}."


def _quiet_time(context: AlertContext) -> str:
    return duration(QUIET_INTERVALS * HOUR / context.target.policy.flap_per_hour)


def _steady_sms(context: AlertContext) -> str:
    not_counted = "" if context.target.policy.flap_per_hour else "; changes are not counted"
    return f"now {_state(context)}{not_counted}"


# DEGRADED, RESTORED


def _restored_opening(context: AlertContext) -> str:
    name = context.target.name
    if context.target.all_addresses:
        return f"{name} is restored: all of its {_tested(context)}addresses pass."
    return (
        f"{name} no longer counts as degraded, as not every address is tested any more (`all_addresses` is false): "
        "a test ends with the first address that passes."
    )


def _restored_sms(context: AlertContext) -> str:
    tests_all = context.target.all_addresses
    return f"all {_tested(context)}addresses pass" if tests_all else "not every address is tested any more"


# SLOW, NORMAL


def _slow_above(context: AlertContext) -> float:
    return context.target.policy.slow_rtt_ms


def _slow_opening(context: AlertContext) -> str:
    tests, above = context.target.policy.failures_per_alert, milliseconds(_slow_above(context))
    now = f"{context.target.name} is slow: its round trip took {milliseconds(context.outcome.rtt_ms)} ms."
    limit = f"the limit (`slow_rtt_ms`), which is now {above} ms"  # it may have been lower in the first of those tests
    return f"{now} Each of the last {tests} tests exceeded {limit}." if tests > 1 else f"{now} It exceeded {limit}."


def _slow_next(context: AlertContext) -> str:
    tests = counted(context.target.policy.failures_per_alert, "test is", "tests in a row are")
    return f"It counts as up. The next alert comes when {tests} within the limit."


def _normal_opening(context: AlertContext) -> str:
    above, rtt = _slow_above(context), f"its round trip took {milliseconds(context.outcome.rtt_ms)} ms"
    normal = f"{context.target.name} no longer counts as slow"
    if above:  # it may have been raised, and the round trip be as long as before
        return f"{normal}: {rtt}, and the limit (`slow_rtt_ms`) is {milliseconds(above)} ms now."
    return f"{normal}, as round trips are not compared any more (`slow_rtt_ms` is 0): {rtt}."


def _normal_sms(context: AlertContext) -> str:
    above = _slow_above(context)
    limit = f"limit {milliseconds(above)} ms" if above else "not compared any more"
    return f"rtt {milliseconds(context.outcome.rtt_ms)} ms, {limit}"


# THROTTLED, UNTHROTTLED


def _held_until(context: AlertContext) -> datetime:
    return held_until(context.judgement.health, context.target.policy) or context.now


def _throttled_opening(context: AlertContext) -> str:
    name, state = context.target.name, _state(context)
    return f"{name} causes too many alerts. From now on they are held back. Its state is {state}."


def _throttled_sms(context: AlertContext) -> str:
    until = _time_of_day(_held_until(context), context.now, context.target.timezone)
    return f"until {until}: too many; now {_state(context)}"


def _state(context: AlertContext) -> str:
    return context.judgement.health.state.value


def _throttled_next(context: AlertContext) -> str:
    until = _held_until(context)
    return (
        f"With the first test from {utc(until)} on you receive an alert that says what was held back, and the target's "
        "state. Tests continue, and every result is recorded: `popwatch history` shows them."
    )


def _unthrottled_opening(context: AlertContext) -> str:
    return (
        f"The alerts of {context.target.name} were held back, as there had been too many. They are sent as usual "
        f"again. Its state is {_state(context)}."
    )


def _unthrottled_times(context: AlertContext) -> Rows:
    held = context.alert.held
    return [
        ("Held since", _utc_and_local(held.since if held else context.now, context.target.timezone)),
        ("Held", _held(context)),
        *_present_run(context),
    ]


def _present_run(context: AlertContext) -> Rows:
    """The run of failed tests that the target is in, if it fails."""
    if not context.outage.failures:
        return _tested_at(context)
    return [*_tested_at(context), *_down_times(context)]


def _held(context: AlertContext) -> str:
    """How many alerts of each event were held: `5 down, 4 up again`."""
    return counts(context.alert.held.events) if context.alert.held else ""


# POSTURE


def _seen_at(context: AlertContext) -> Rows:
    """When the last posture test saw the change; an alert of an earlier version does not know."""
    at = context.alert.worse_seen_at
    return [("Seen at", _utc_and_local(at, context.target.timezone))] if at else []


def _worse(context: AlertContext) -> PostureFinding:
    """The change that the alert is about."""
    if context.alert.worse is None:
        raise ValueError("the alert is not about a posture")
    return context.alert.worse


# CERTIFICATE


_RENEWALS = {
    Role.LEAF: "Renew it, and let the server load it; if renewal is automatic, check that it works.",
    Role.INTERMEDIATE: "The server must send another: install the chain that its authority issues now.",
    Role.ROOT: "The server needs a certificate from a root that lasts longer.",
}
"""What to do about a certificate that expires, by its place in the chain."""


def expiry(context: AlertContext, certificates: int = 1) -> str:
    """When the certificate expires: `expires in 13 days`, `expires in 1 d 12 h`, `has expired`; or so many do."""
    left = (context.certificate_expires or context.now) - context.now
    if left < timedelta():
        return "has expired" if certificates == 1 else "have expired"
    verb = "expires" if certificates == 1 else "expire"
    return f"{verb} in {_span(left // DAY * DAY if left >= 2 * DAY else left)}"


def _span(length: timedelta) -> str:
    """A duration, whole days in words: `13 days`, `10 d 12 h`."""
    return duration(length) if length % DAY else counted(length // DAY, "day")


def _warned_of(context: AlertContext) -> Sequence[Certificate]:
    """The certificates that a warning is about: those that expire at the same time, the server's own first."""
    return [it for it in context.outcome.certificates if it.expires == context.certificate_expires]


def _certificate_opening(context: AlertContext) -> str:
    warned_of = _warned_of(context)
    which = " and the ".join(map(str, warned_of))
    return f"The {which} of {context.target.name} {expiry(context, len(warned_of))}."


def _certificate_sms(context: AlertContext) -> str:
    first = _warned_of(context)[0]
    usual = first.role is Role.LEAF and not first.address
    return expiry(context) if usual else f"({truncate(str(first), 50)}) {expiry(context)}"


def _certificate_times(context: AlertContext) -> Rows:
    days, zone = context.target.policy.certificate_warn_days, context.target.timezone
    groups = by_expiry(context.outcome.certificates).values()
    near = [it for group in groups if reached_limit(group, days, context.now) is not None for it in group]
    others = [it for it in near if it not in _warned_of(context)]
    return [
        ("Subject", ", ".join(it.subject for it in _warned_of(context))),
        ("Expires", _utc_and_local(context.certificate_expires or context.now, zone)),
        *(("Expires too", f"{it}, {_utc_and_local(it.expires, zone)}") for it in others[:WARNINGS_AT_ONCE]),
    ]


def _certificate_next(context: AlertContext) -> str:
    warned_of, days = _warned_of(context), context.target.policy.certificate_warn_days
    within = reached_limit(warned_of, days, context.now) or timedelta()
    later = next((limit for limit in shared_limits(warned_of, days) if limit < within), None)
    advice = dict.fromkeys(_RENEWALS[it.role] for it in warned_of)
    fails = "Once it has expired, tests fail." if context.target.verify_tls else ""
    return " ".join(filter(None, (*advice, _next_warning(len(warned_of), later), fails)))


def _next_warning(certificates: int, later: timedelta | None) -> str:
    """When the next warning about the same certificates comes; one about another may come earlier."""
    them, expire = ("it", "it expires") if certificates == 1 else ("them", "they expire")
    if later is None:
        return f"This was the last warning about {them}."
    return f"The next warning about {them} comes {_span(later)} before {expire}."


# What events have in common


def _tested_at(context: AlertContext) -> Rows:
    return [("Tested at", _utc_and_local(context.now, context.target.timezone))]


def _failing_since(context: AlertContext) -> tuple[str, str]:
    since = context.outage.failing_since or context.now
    return "Failing since", _utc_and_local(since, context.target.timezone)


def _last_good(context: AlertContext) -> tuple[str, str]:
    outage = context.outage
    if outage.last_good_at is None:
        return "Last good", ""
    return "Last good", f"{utc(outage.last_good_at)}, {milliseconds(outage.last_good_rtt_ms)} ms"


def _failures(outage: Health) -> str:
    within = f", {outage.failures_in_maintenance} more in maintenance" if outage.failures_in_maintenance else ""
    if outage.passes_in_outage:
        return f"{counted(outage.failures, 'failed test')}, {outage.passes_in_outage} passed between them{within}"
    return counted(outage.failures, "failed test", "failed tests in a row") + within


def _utc_and_local(time: datetime, zone: tzinfo) -> str:
    """A time in UTC, and in the target's zone if that differs: `2026-11-23 03:12:00 UTC (04:12 CET)`."""
    local = time.astimezone(zone)
    return utc(time) + (f" ({local:%H:%M %Z})" if local.utcoffset() else "")


def _time_of_day(time: datetime, now: datetime, zone: tzinfo) -> str:
    """The time of day in the zone, with the date unless it is today: `03:12Z`, `04:12 CET`, `11-22 04:12 CET`."""
    local = time.astimezone(zone)
    date = "" if local.date() == now.astimezone(zone).date() else f"{local:%m-%d} "
    return f"{date}{local:%H:%M}{'Z' if str(zone) == 'UTC' else f' {local:%Z}'}"


def _tested(context: AlertContext) -> str:
    """The word that is needed where a test leaves addresses out."""
    return "tested " if context.outcome.untested_addresses else ""


def _failing(addresses: Sequence[str]) -> str:
    """The addresses that fail, as far as an SMS has room for them, and how many there are: `3 fail: ...`."""
    number = f"{len(addresses)} fail" if len(addresses) > 1 else "fails"
    return f"{number}: {truncate(', '.join(addresses), 80)}"


TEXTS: Mapping[str, EventTexts] = {
    AlertEvent.DOWN: EventTexts(
        headline=lambda it: f"DOWN {it.alert.number}/{it.target.policy.max_alerts}",
        sms=_down_sms,
        opening=lambda it: f"{it.target.name} is DOWN (alert {it.alert.number} of {it.target.policy.max_alerts}).",
        times=_down_times,
        what_next=_down_next,
        counted=_number("down"),
    ),
    AlertEvent.RECOVERED: EventTexts(
        headline=_constant("UP again"),
        subject_end=_recovered_end,
        sms=_recovered_sms,
        opening=_recovered_opening,
        times=_recovered_times,
        what_next=lambda it: f"Next test within {duration(it.next_test_at - it.now)}.",
        counted=_number("up again"),
    ),
    AlertEvent.FLAPPING: EventTexts(
        headline=_constant("FLAPPING"),
        sms=lambda it: f"more than {it.target.policy.flap_per_hour} changes in an hour, now {_state(it)}",
        opening=lambda it: (
            f"{it.target.name} is flapping: it went from passed to failed or back "
            f"more than {it.target.policy.flap_per_hour} times in an hour."
        ),
        times=_tested_at,
        what_next=_flapping_next,
        counted=_number("flapping"),
    ),
    AlertEvent.STEADY: EventTexts(
        headline=lambda it: "STEADY again" if it.target.policy.flap_per_hour else "NOT COUNTED AS FLAPPING",
        sms=_steady_sms,
        opening=_steady_opening,
        times=_tested_at,
        what_next=_constant("Alerts are sent as usual again."),
        counted=_number("no longer counted as flapping"),
    ),
    AlertEvent.DEGRADED: EventTexts(
        headline=_constant("DEGRADED"),
        sms=lambda it: _failing(it.outcome.failed_addresses),
        opening=lambda it: f"{it.target.name} is degraded: it passes, but some of its addresses fail.",
        times=_tested_at,
        what_next=lambda it: (
            f"It counts as up. The next alert comes when all of its {_tested(it)}addresses pass again, or when all of"
            " them fail."
        ),
        counted=_number("degraded"),
    ),
    AlertEvent.RESTORED: EventTexts(
        headline=lambda it: "RESTORED" if it.target.all_addresses else "NOT COUNTED AS DEGRADED",
        sms=_restored_sms,
        opening=_restored_opening,
        times=_tested_at,
        what_next=_constant(""),
        counted=_number("no longer counted as degraded"),
    ),
    AlertEvent.SLOW: EventTexts(
        headline=_constant("SLOW"),
        sms=lambda it: f"rtt {milliseconds(it.outcome.rtt_ms)} ms, more than {milliseconds(_slow_above(it))}",
        opening=_slow_opening,
        times=_tested_at,
        what_next=_slow_next,
        counted=_number("slow"),
    ),
    AlertEvent.NORMAL: EventTexts(
        headline=lambda it: "NORMAL again" if _slow_above(it) else "NOT COUNTED AS SLOW",
        sms=_normal_sms,
        opening=_normal_opening,
        times=_tested_at,
        what_next=_constant(""),
        counted=_number("no longer counted as slow"),
    ),
    AlertEvent.CERTIFICATE: EventTexts(
        headline=_constant("CERTIFICATE"),
        sms=_certificate_sms,
        opening=_certificate_opening,
        times=_certificate_times,
        what_next=_certificate_next,
        counted=lambda count: counted(count, "certificate warning"),
    ),
    AlertEvent.THROTTLED: EventTexts(
        headline=_constant("ALERTS HELD"),
        sms=_throttled_sms,
        opening=_throttled_opening,
        times=_present_run,
        what_next=_throttled_next,
        counted=_number("throttled"),
    ),
    AlertEvent.UNTHROTTLED: EventTexts(
        headline=_constant("ALERTS RESUMED"),
        subject_end=lambda it: f", now {_state(it)}",
        sms=lambda it: f"now {_state(it)}; held: {truncate(_held(it), 60)}",
        opening=_unthrottled_opening,
        times=_unthrottled_times,
        what_next=lambda it: f"Next test within {duration(it.next_test_at - it.now)}.",
        counted=_number("no longer throttled"),
    ),
    AlertEvent.POSTURE: EventTexts(
        headline=_constant("POSTURE"),
        sms=lambda it: f"{_worse(it).kind} {truncate(_worse(it).about, 40)}".rstrip(),
        opening=lambda it: f"The posture of {it.target.name} got worse. {_worse(it).text}",
        times=lambda it: [*_tested_at(it), *_seen_at(it), ("See", _worse(it).source)],
        what_next=lambda it: f"{_worse(it).action} It counts as up. There is no further alert about this.",
        counted=_number("with a worse posture"),
    ),
}
"""The texts of each event, in the order in which a summary counts them."""


def counts(numbers: Mapping[str, int]) -> str:
    """How many alerts there are of each event: `2 down, 1 up again`."""
    return ", ".join(texts.counted(numbers[event]) for event, texts in TEXTS.items() if numbers.get(event))
