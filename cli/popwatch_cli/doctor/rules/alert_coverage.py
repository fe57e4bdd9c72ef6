"""Which alert of which target reaches no one: a simulated outage, checked against the topic's filter policies. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote

from popwatch.alerts.rendering import attributes_of
from popwatch.decisions.judging import TICK
from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.fields import TlsMode
from popwatch.model.health import AlertEvent, State
from popwatch.model.messages import Attributes
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import Policy, Target
from popwatch.model.text import duration
from popwatch_cli.doctor.rules.findings import Finding, FindingKind, broken, of_targets, warning
from popwatch_cli.rehearsal.filter_policies import Subscription, reaches
from popwatch_cli.rehearsal.receivers import events_of
from popwatch_cli.rehearsal.simulation import first_alert, simulate, without_interventions, without_suppression

LONGEST_OUTAGE = timedelta(days=13)
START = datetime(2026, 1, 5, tzinfo=UTC)
"""A simulation needs a time to begin at; any will do, as it does not change who receives the alerts."""

LABELS = {
    AlertEvent.RECOVERED: "recovery",
    AlertEvent.FLAPPING: "flapping",
    AlertEvent.STEADY: "end of flapping",
    AlertEvent.DEGRADED: "degraded",
    AlertEvent.RESTORED: "restored",
    AlertEvent.SLOW: "slow",
    AlertEvent.NORMAL: "no longer slow",
    AlertEvent.CERTIFICATE: "certificate expiry",
    AlertEvent.POSTURE: "worse posture",
}


@dataclass(frozen=True, slots=True)
class AlertCase:
    """An alert that a target may send, with all attributes but the target's own.

    `after` is how long after the beginning of an outage it is sent, if it belongs to one.
    """

    label: str
    event: AlertEvent
    state: State
    errors: tuple[ErrorCode | None, ...]
    number: int = 0
    after: timedelta | None = None

    def attributes(self, target: Target) -> Iterator[Attributes]:
        """The attributes of this alert for a target, for each error that it may have."""
        for error in self.errors:
            yield attributes_of(target, self.event, self.state, error, self.number)


@dataclass(frozen=True, slots=True)
class _WithoutReceiver:
    """What no one receives of a target: labels, whether that is all of an outage, and when it is first received."""

    labels: tuple[str, ...]
    whole_outage: bool
    first_received_after: timedelta | None


def check_coverage(targets: Iterable[Target], subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    """The alerts that reach no one, with the targets that share them, and the subscriptions that no alert reaches.

    Without a confirmed subscription there are no findings: the check of the subscriptions reports that.
    """
    confirmed = [subscription for subscription in subscriptions if subscription.confirmed]
    watched = [target for target in targets if target.policy.enabled and target.policy.max_alerts]
    if not confirmed or not watched:
        return
    known_cases: dict[object, list[AlertCase]] = {}
    without_receiver: dict[_WithoutReceiver, list[str]] = defaultdict(list)
    blocked = list(confirmed)
    for target in watched:
        key = _simulation_key(target)
        if key not in known_cases:
            known_cases[key] = alert_cases(target)
        cases = known_cases[key]
        blocked = [one for one in blocked if not _receives_any(one, target, cases)]
        missed = _without_receiver(target, cases, confirmed)
        if missed.labels:
            without_receiver[missed].append(target.target_id)
    for one in blocked:
        yield warning(
            FindingKind.FILTER_BLOCKS_ALL,
            f"The filter policy of {one.receiver} lets no alert of any target through.",
            _about_policy(one),
            [one.receiver],
        )
    for missed, names in sorted(
        without_receiver.items(), key=lambda entry: (not entry[0].whole_outage, -len(entry[1]))
    ):
        yield _finding(missed, names)


def alert_cases(target: Target) -> list[AlertCase]:
    """Every alert that a target may send; those of an outage in their order."""
    steps = list(simulate(without_suppression(target), _long_enough(target), ErrorCode.TIMED_OUT, START))
    cases, number = [], 0
    for step in steps if first_alert(steps) else []:
        if step.message and step.message.event == AlertEvent.DOWN:
            number += 1
            after = step.at - START + timedelta(seconds=target.max_test_seconds)
            cases.append(
                AlertCase(f"alert {number}", AlertEvent.DOWN, step.health.state, tuple(ErrorCode), number, after)
            )
        elif step.message and step.message.event == AlertEvent.RECOVERED:
            cases.append(AlertCase(LABELS[AlertEvent.RECOVERED], AlertEvent.RECOVERED, State.UP, (None,), number))
    beside = (event for event in events_of(target) if event in LABELS and event is not AlertEvent.RECOVERED)
    return cases + [AlertCase(LABELS[event], event, State.UP, (None,)) for event in beside]


def _long_enough(target: Target) -> timedelta:
    """An outage that lasts until the last alert has been sent."""
    policy = target.policy
    failures = policy.failures_per_alert * policy.max_alerts
    each = max(timedelta(seconds=max(policy.delay_warn, policy.delay_down)), TICK) + TICK
    return min(longest_time_to_alert(policy, target.max_test_seconds) + failures * each, LONGEST_OUTAGE)


def _simulation_key(target: Target) -> tuple[Policy, bool, bool, bool, float]:
    """All that a target's alerts depend on: targets with the same key are simulated once."""
    policy = without_interventions(target).policy
    return policy, target.all_addresses, target.tls is TlsMode.NONE, target.posture, target.max_test_seconds


def _receives_any(subscription: Subscription, target: Target, cases: Iterable[AlertCase]) -> bool:
    """Whether an alert of the target reaches a subscription: alone, in a summary, or as a test of the alert path."""
    # a tuple stands for a message attribute of several values, of which one must match
    return any(
        reaches(subscription, {**attributes, "event": (str(case.event), "summary", "test")})
        for case in cases
        for attributes in case.attributes(target)
    )


def _without_receiver(
    target: Target, cases: Sequence[AlertCase], subscriptions: Sequence[Subscription]
) -> _WithoutReceiver:
    if any(not subscription.policy for subscription in subscriptions):
        return _WithoutReceiver((), False, None)
    missed = {case.label: label for case in cases if (label := _missed_label(case, target, subscriptions))}
    outage = [case for case in cases if case.event is AlertEvent.DOWN]
    # an alert that is missed for some errors only has a longer label, and counts as received here
    received = [case.after for case in outage if missed.get(case.label) != case.label]
    first_is_missed = bool(outage) and outage[0].label in missed
    return _WithoutReceiver(
        tuple(missed.values()), bool(outage) and not received, received[0] if received and first_is_missed else None
    )


def _missed_label(case: AlertCase, target: Target, subscriptions: Sequence[Subscription]) -> str:
    """The label of an alert that no one receives, with the errors for which that is so, unless it is so for all."""
    missed = [
        error
        for error, attributes in zip(case.errors, case.attributes(target), strict=True)
        if not any(reaches(subscription, attributes) for subscription in subscriptions)
    ]
    if not missed:
        return ""
    if len(missed) == len(case.errors):
        return case.label
    return f"{case.label} (if the error is {' or '.join(map(str, missed))})"


def _finding(missed: _WithoutReceiver, names: Sequence[str]) -> Finding:
    do = (
        "Widen a filter policy of the alert topic, or add a subscription without one; "
        f"`popwatch simulate {quote(names[0])}` shows who receives each alert."
    )
    if missed.whole_outage:
        return broken(
            FindingKind.UNREPORTED, f"No alert about an outage of {of_targets(names)} reaches anyone.", do, names
        )
    what = f"No one receives these alerts of {of_targets(names)}: {', '.join(missed.labels)}"
    if missed.first_received_after:
        what += f"; an outage is first reported after {duration(missed.first_received_after)}"
    return warning(FindingKind.PARTLY_UNREPORTED, f"{what}.", do, names)


def _about_policy(subscription: Subscription) -> str:
    if subscription.by_body:
        return "Alerts are plain text: set its FilterPolicyScope to MessageAttributes."
    return "Compare its names and values with the attributes in docs/alerts.md: they are case-sensitive."
