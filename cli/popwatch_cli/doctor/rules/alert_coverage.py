"""Which alert of which target reaches nobody: an outage played against the topic's filter policies. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from popwatch.alerts.rendering import attributes_of
from popwatch.decisions.schedule import TICK, longest_notice
from popwatch.model.fields import TlsMode
from popwatch.model.health import AlertEvent, State
from popwatch.model.messages import Attributes
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import Policy, Target
from popwatch.model.text import duration
from popwatch_cli.doctor.rules.findings import Finding, Kind, broken, some, warning
from popwatch_cli.rehearsal.filter_policies import Subscription, reaches
from popwatch_cli.rehearsal.simulation import first_alert, simulate, unhindered, without_interventions

LONGEST_OUTAGE = timedelta(days=13)
START = datetime(2026, 1, 5, tzinfo=UTC)
"""A simulation needs a moment to begin at; which, makes no difference to whom its alerts reach."""

LABELS = {
    AlertEvent.RECOVERED: "the recovery",
    AlertEvent.FLAPPING: "flapping",
    AlertEvent.STEADY: "being steady again",
    AlertEvent.DEGRADED: "being half up",
    AlertEvent.RESTORED: "being whole again",
    AlertEvent.CERTIFICATE: "the certificate's end",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """An alert that a target may bring: its place in the course of an outage, and its attributes but for the target's.

    `after` is how long after the beginning of an outage it comes, where it is one of an outage.
    """

    label: str
    event: AlertEvent
    state: State
    errors: tuple[ErrorCode | None, ...]
    number: int = 0
    after: timedelta | None = None

    def attributes(self, target: Target) -> Iterator[Attributes]:
        """The attributes of this alert of a target, for each error that it may have."""
        for error in self.errors:
            yield attributes_of(target, self.event, self.state, error, self.number)


@dataclass(frozen=True, slots=True)
class _Silence:
    """What nobody hears of a target: the labels, whether it is all of an outage, when one is first heard of."""

    labels: tuple[str, ...]
    whole: bool
    heard_after: timedelta | None


def of_reach(targets: Iterable[Target], subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    """The alerts that reach nobody, with the targets that share them, and the subscriptions that no alert reaches.

    Without any confirmed subscription there is nothing to say that `hearing` has not said.
    """
    confirmed = [subscription for subscription in subscriptions if subscription.confirmed]
    watched = [target for target in targets if target.policy.enabled and target.policy.max_alerts]
    if not confirmed or not watched:
        return
    courses: dict[object, list[Moment]] = {}
    silent: dict[_Silence, list[str]] = defaultdict(list)
    deaf = list(confirmed)
    for target in watched:
        moments = courses.setdefault(_kind_of(target), []) or courses[_kind_of(target)]
        if not moments:
            moments += course_of(target)
        deaf = [one for one in deaf if not _hears_any(one, target, moments)]
        found = _silence_of(target, moments, confirmed)
        if found.labels:
            silent[found].append(target.target_id)
    for one in deaf:
        yield warning(
            Kind.FILTER_BLOCKS_ALL,
            f"The filter policy of {one.receiver} lets no alert of any target through.",
            _about_policy(one),
            [one.receiver],
        )
    for found, names in sorted(silent.items(), key=lambda entry: (not entry[0].whole, -len(entry[1]))):
        yield _finding(found, names)


def course_of(target: Target) -> list[Moment]:
    """Every alert that a target may bring, those of an outage in their order."""
    steps = list(simulate(unhindered(target), _long_enough(target), ErrorCode.TIMED_OUT, START))
    moments, number = [], 0
    for step in steps if first_alert(steps) else []:
        if step.message and step.message.event == AlertEvent.DOWN:
            number += 1
            after = step.at - START + timedelta(seconds=target.max_test_seconds)
            moments.append(
                Moment(f"alert {number}", AlertEvent.DOWN, step.health.state, tuple(ErrorCode), number, after)
            )
        elif step.message and step.message.event == AlertEvent.RECOVERED:
            moments.append(Moment(LABELS[AlertEvent.RECOVERED], AlertEvent.RECOVERED, State.UP, (None,), number))
    return moments + [Moment(LABELS[event], event, state, (error,)) for event, state, error in _others(target)]


def _others(target: Target) -> Iterator[tuple[AlertEvent, State, ErrorCode | None]]:
    policy = target.policy
    if policy.flap_per_hour:
        yield AlertEvent.FLAPPING, State.UP, None
        yield AlertEvent.STEADY, State.UP, None
    if target.all_addresses:
        yield AlertEvent.DEGRADED, State.UP, None
        yield AlertEvent.RESTORED, State.UP, None
    if target.tls is not TlsMode.NONE and policy.certificate_warn_days:
        yield AlertEvent.CERTIFICATE, State.UP, None


def _long_enough(target: Target) -> timedelta:
    """An outage that lasts until the last alert has been sent."""
    policy = target.policy
    failures = policy.failures_per_alert * policy.max_alerts
    each = max(timedelta(seconds=max(policy.delay_warn, policy.delay_down)), TICK) + TICK
    return min(longest_notice(policy, target.max_test_seconds) + failures * each, LONGEST_OUTAGE)


def _kind_of(target: Target) -> tuple[Policy, bool, bool, float]:
    """Targets of one kind have the same course."""
    policy = without_interventions(target).policy
    return policy, target.all_addresses, target.tls is TlsMode.NONE, target.max_test_seconds


def _hears_any(subscription: Subscription, target: Target, moments: Iterable[Moment]) -> bool:
    """Whether an alert of the target reaches a subscription, alone, in a summary, or as a test of the alert path."""
    return any(
        reaches(subscription, {**attributes, "event": (event, "summary", "test")})
        for moment in moments
        for attributes in moment.attributes(target)
        if (event := str(attributes["event"]))
    )


def _silence_of(target: Target, moments: Sequence[Moment], subscriptions: Sequence[Subscription]) -> _Silence:
    if any(not subscription.policy for subscription in subscriptions):
        return _Silence((), False, None)
    unheard = {moment.label: label for moment in moments if (label := _unheard(moment, target, subscriptions))}
    outage = [moment for moment in moments if moment.event is AlertEvent.DOWN]
    heard = [moment.after for moment in outage if unheard.get(moment.label) != moment.label]
    first_is_silent = bool(outage) and outage[0].label in unheard
    return _Silence(
        tuple(unheard.values()), bool(outage) and not heard, heard[0] if heard and first_is_silent else None
    )


def _unheard(moment: Moment, target: Target, subscriptions: Sequence[Subscription]) -> str:
    """The label of an alert that nobody hears, with the errors for which that is so, unless it is so for all."""
    silent = [
        error
        for error, attributes in zip(moment.errors, moment.attributes(target), strict=True)
        if not any(reaches(subscription, attributes) for subscription in subscriptions)
    ]
    if not silent or len(silent) == len(moment.errors):
        return moment.label if silent else ""
    return f"{moment.label} (where the error is {' or '.join(map(str, silent))})"


def _finding(found: _Silence, names: Sequence[str]) -> Finding:
    whose = f"target {names[0]}" if len(names) == 1 else f"{len(names)} targets ({some(names)})"
    do = (
        "Widen a filter policy of the alert topic, or subscribe somebody without one; "
        f"`popwatch simulate {names[0]}` shows whom each alert reaches."
    )
    if found.whole:
        return broken(Kind.UNHEARD, f"No alert of an outage of {whose} reaches anybody.", do, names)
    later = f"; an outage is first heard of after {duration(found.heard_after)}" if found.heard_after else ""
    return warning(Kind.PARTLY_UNHEARD, f"Of {whose}, nobody hears of {_listed(found.labels)}{later}.", do, names)


def _listed(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _about_policy(subscription: Subscription) -> str:
    if subscription.by_body:
        return "Alerts are texts: set its FilterPolicyScope to MessageAttributes."
    return "Compare its names and values with the attributes in docs/alerts.md; they are case-sensitive."
