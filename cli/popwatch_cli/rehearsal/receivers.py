"""Who receives which alert of which targets, by the filter policies of the subscriptions. Pure.

Not here: a summary, `throttled` and `unthrottled`. They reach whoever would have received one of the alerts in them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from popwatch.alerts.rendering import attributes_of
from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.fields import TlsMode
from popwatch.model.health import AlertEvent, State
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import Target
from popwatch_cli.rehearsal.filter_policies import Subscription, reaches

EVENTS = tuple(event for event in AlertEvent if event not in (AlertEvent.THROTTLED, AlertEvent.UNTHROTTLED))

NUMBERED = (AlertEvent.DOWN, AlertEvent.RECOVERED)
"""The events of an outage, whose alerts have a number: of a recovery that of the last `down` before it."""

SHOWN_SINGLY = 5
"""Of more `down` alerts than these, neighbours that reach the same receivers are shown as one."""


@dataclass(frozen=True, slots=True)
class AlertReach:
    """Alerts of one event with the numbers `first` to `last` (0: without a number), and who receives each of them.

    `receivers` has a mark for each subscription.
    """

    event: AlertEvent
    first: int
    last: int
    receivers: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SameReach:
    """Targets whose alerts reach the same receivers."""

    targets: tuple[Target, ...]
    alerts: tuple[AlertReach, ...]

    def time_to_alert(self, number: int) -> timedelta:
        """The longest time from the beginning of an outage of any of them to this `down` alert."""
        return max(longest_time_to_alert(it.policy, it.max_test_seconds, number) for it in self.targets)


def events_of(target: Target) -> Iterator[AlertEvent]:
    """The events of which a target's policy sends alerts at all."""
    policy = target.policy
    if not policy.enabled or not policy.max_alerts:
        return
    sent = {
        AlertEvent.RECOVERED: policy.alert_recovery,
        AlertEvent.FLAPPING: policy.flap_per_hour > 0,
        AlertEvent.STEADY: policy.flap_per_hour > 0,
        AlertEvent.DEGRADED: target.all_addresses,
        AlertEvent.RESTORED: target.all_addresses,
        AlertEvent.SLOW: policy.slow_rtt_ms > 0,
        AlertEvent.NORMAL: policy.slow_rtt_ms > 0,
        AlertEvent.CERTIFICATE: target.tls is not TlsMode.NONE and policy.certificate_warn_days != (),
        AlertEvent.POSTURE: target.posture,
    }
    yield from (event for event in EVENTS if sent.get(event, True))


def reach_of(
    target: Target, subscriptions: Sequence[Subscription], error: ErrorCode, events: Collection[AlertEvent]
) -> tuple[AlertReach, ...]:
    """Who receives the alerts of a target, of these events; `error` is that of its `down` alerts."""
    found: list[AlertReach] = []
    for event in events_of(target):
        if event not in events:
            continue
        state, fault = (State.DOWN, error) if event is AlertEvent.DOWN else (State.UP, None)
        numbers = range(1, target.policy.max_alerts + 1) if event in NUMBERED else (0,)
        single = []
        for number in numbers:
            attributes = attributes_of(target, event, state, fault, number)
            single.append(AlertReach(event, number, number, tuple(reaches(it, attributes) for it in subscriptions)))
        found += _together(single) if event is AlertEvent.RECOVERED or len(single) > SHOWN_SINGLY else single
    return tuple(found)


def _together(alerts: Iterable[AlertReach]) -> Iterator[AlertReach]:
    """Alerts of one event, those with neighbouring numbers that reach the same receivers as one."""
    for receivers, group in groupby(alerts, key=lambda alert: alert.receivers):
        same = list(group)
        yield AlertReach(same[0].event, same[0].first, same[-1].last, receivers)


def same_reach(
    targets: Iterable[Target],
    subscriptions: Sequence[Subscription],
    error: ErrorCode,
    events: Collection[AlertEvent],
) -> list[SameReach]:
    """The targets in the order given, those together whose alerts reach the same receivers."""
    found: dict[tuple[AlertReach, ...], list[Target]] = {}
    for target in targets:
        found.setdefault(reach_of(target, subscriptions, error, events), []).append(target)
    return [SameReach(tuple(same), alerts) for alerts, same in found.items()]
