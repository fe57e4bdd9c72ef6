"""How many messages a target may cause, whatever its server does: alerts above that are held. Pure.

A target has an allowance of messages, 24 by default. Each message uses up one of it, and it fills up again at an even
rate within 24 hours. So no more than twice the allowance is sent in any 24 hours. `allowance_full_at` is the time at
which it is full again: the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371).
"""

from dataclasses import replace
from datetime import datetime, timedelta

from popwatch.model.health import Alert, AlertEvent, Health, HeldAlerts, Judgement
from popwatch.model.targets import Policy
from popwatch.model.time_limits import DAY

OUTAGES_AT_ONCE = 6
"""An allowance is what so many outages cause: their `down` alerts and the recovery of each."""

SMALLEST_ALLOWANCE = 24
"""The allowance with `max_alerts` 3, the default, or less: there are other messages than those of outages."""

RESERVED = 2
"""Messages that are always left for the beginning and the end of a hold."""


def allowance(policy: Policy) -> int:
    """How many messages may be sent at once; in any 24 hours, at most twice as many."""
    return max(SMALLEST_ALLOWANCE, OUTAGES_AT_ONCE * (policy.max_alerts + 1))


def throttle(before: Health, judgement: Judgement, policy: Policy, now: datetime, *, silenced: bool) -> Judgement:
    """The judgement of a test at `now`, as if there were no throttling, with the alert that is sent in fact.

    If too many alerts are due they are held, and `throttled` is sent in place of the first one. `unthrottled` ends the
    hold and says what was held, once the allowance has room for it and for the two messages of another hold. Held
    alerts count as sent: the outage goes on as usual.
    """
    held, due, full_at = before.throttled, judgement.alert, before.allowance_full_at
    if not policy.max_alerts:  # its user wants no alerts: neither the held ones, nor one that says that they are held
        held = None
    if held is None and due is None:
        return _with(judgement, None, full_at if full_at and full_at > now else None, None)
    each = DAY / allowance(policy)
    # The reserved messages are always left: both before a hold, and in a hold one, as its beginning has been sent. So
    # neither a smaller allowance than before nor a damaged record makes a hold longer than these take to fill up.
    latest = now + DAY - (RESERVED if held is None else RESERVED - 1) * each
    full_at = min(max(full_at or now, now), latest)
    # One for the alert that is due, or for the end of this hold, and the reserved ones.
    has_room = full_at + (1 + RESERVED) * each <= now + DAY
    if held is None:
        if has_room or not policy.max_alerts:
            return _with(judgement, None, full_at + each, due)
        held = _hold(HeldAlerts(now), before, judgement)
        return _with(judgement, held, full_at + each, _alert(AlertEvent.THROTTLED, held, judgement, now))
    held = _hold(held, before, judgement)
    if has_room and not silenced:
        return _with(judgement, None, full_at + each, _alert(AlertEvent.UNTHROTTLED, held, judgement, now))
    return _with(judgement, held, full_at, None)


def held_until(health: Health, policy: Policy) -> datetime | None:
    """From when on the alerts of a throttled target are sent again, with its first test then; None if they are now."""
    if health.throttled is None:
        return None
    full_at = health.allowance_full_at or health.throttled.since
    return full_at - (DAY - (1 + RESERVED) * (DAY / allowance(policy)))


def _hold(held: HeldAlerts, before: Health, judgement: Judgement) -> HeldAlerts:
    """What is held, and the alert of this judgement if it has one."""
    if judgement.alert is None:
        return held
    event = judgement.alert.event.value
    ended = before.ended_outage.alerts_sent if before.ended_outage else 0
    return replace(
        held,
        events={**held.events, event: held.events.get(event, 0) + 1},
        alert_number=max(held.alert_number, before.alerts_sent, judgement.health.alerts_sent, ended),
    )


def _with(judgement: Judgement, held: HeldAlerts | None, full_at: datetime | None, alert: Alert | None) -> Judgement:
    """The judgement with this alert, and a health that knows what is held; the same one if nothing differs."""
    health = judgement.health
    if (health.throttled, health.allowance_full_at) != (held, full_at):
        health = replace(health, throttled=held, allowance_full_at=full_at)
    if health is judgement.health and alert is judgement.alert:
        return judgement
    return replace(judgement, health=health, alert=alert)


def _alert(event: AlertEvent, held: HeldAlerts, judgement: Judgement, now: datetime) -> Alert:
    since = judgement.health.failing_since
    return Alert(event, sum(held.events.values()), now, now - since if since else timedelta(), held)
