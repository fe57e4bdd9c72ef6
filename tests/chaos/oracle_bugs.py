"""Mistakes that the oracle must find alone: in `judge`, and in what delivers its alerts.

Each is planted over the product's own functions for as long as a campaign runs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from popwatch.decisions import judging
from popwatch.model.health import Health, Judgement, State
from popwatch.sweep import batch_tester, committer
from popwatch.sweep.committer import Committer

JUDGE = judging.judge


def _health(change: Callable[[Health, Health], Health]) -> Callable[..., Judgement]:
    """`judge`, whose new health is changed; the function receives the one before it and the new one."""

    def judge(health: Health, *arguments: Any, **options: Any) -> Judgement:
        judged = JUDGE(health, *arguments, **options)
        return replace(judged, health=change(health, judged.health))

    return judge


def _policy(**fields: Callable[[Any], Any]) -> Callable[..., Judgement]:
    """`judge` by another policy: each field is made of its own value."""

    def judge(health: Health, outcome: Any, policy: Any, *arguments: Any, **options: Any) -> Judgement:
        other = replace(policy, **{name: change(getattr(policy, name)) for name, change in fields.items()})
        return JUDGE(health, outcome, other, *arguments, **options)

    return judge


def _no_alert(health: Health, *arguments: Any, **options: Any) -> Judgement:
    """Every second alert is not sent."""
    judged = JUDGE(health, *arguments, **options)
    drop = judged.alert and judged.health.failures % 2
    return replace(judged, alert=None) if drop else judged


def _earlier(health: Health, outcome: Any, policy: Any, now: Any, *arguments: Any, **options: Any) -> Judgement:
    """By the time of the test a minute before."""
    return JUDGE(health, outcome, policy, now - timedelta(minutes=1), *arguments, **options)


def _parentless(health: Health, outcome: Any, policy: Any, now: Any, *_: Any, **options: Any) -> Judgement:
    """The parent holds nothing."""
    return JUDGE(health, outcome, policy, now, "", **options)


def _counted_twice(before: Health, after: Health) -> Health:
    """Each failure counts as two."""
    return replace(after, failures=after.failures + 1) if after.failures > before.failures else after


def _since_latest(_: Health, after: Health) -> Health:
    """An outage begins with its latest failure."""
    return replace(after, failing_since=after.since) if after.state is State.DOWN else after


IN_JUDGE: Mapping[str, Callable[..., Judgement]] = {
    "failure counted twice": _health(_counted_twice),
    "outage since it is down": _health(_since_latest),
    "failures in maintenance forgotten": _health(lambda _, after: replace(after, failures_in_maintenance=0)),
    "ended outage forgotten": _health(lambda _, after: replace(after, ended_outage=None)),
    "alerts counted anew": _health(lambda _, after: replace(after, alerts_sent=min(after.alerts_sent, 1))),
    "failure of the last alert forgotten": _health(lambda _, after: replace(after, alerted_at_failures=0)),
    "held alert forgotten": _health(
        lambda _, after: replace(after, alert_held=False, alerted_at_failures=after.failures)
    ),
    "flapping forgotten": _health(lambda _, after: replace(after, flapping=False)),
    "changes forgotten": _health(lambda _, after: replace(after, changes=after.changes[-2:])),
    "one failure more": _policy(failures_per_alert=lambda number: number + 1),
    "one failure less": _policy(failures_per_alert=lambda number: max(1, number - 1)),
    "one alert more": _policy(max_alerts=lambda number: number + 1),
    "one alert less": _policy(max_alerts=lambda number: max(0, number - 1)),
    "no recovery": _policy(alert_recovery=lambda _: False),
    "acknowledgement ignored": _policy(acknowledged=lambda _: None),
    "flapping ignored": _policy(flap_per_hour=lambda _: 0),
    "other delays": _policy(delay_down=lambda seconds: seconds + 60, delay_lost=lambda seconds: seconds + 60),
    "every second alert dropped": _no_alert,
    "judged a minute earlier": _earlier,
    "parent ignored": _parentless,
}


ELSEWHERE: Mapping[str, tuple[Any, str, Any]] = {
    "left behind for ever": (Committer, "deliver_left_behind", lambda _, record, *__: record),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The product with a mistake."""
    if name in IN_JUDGE:
        with patch.object(committer, "judge", IN_JUDGE[name]), patch.object(batch_tester, "judge", IN_JUDGE[name]):
            yield
    else:
        where, what, other = ELSEWHERE[name]
        with patch.object(where, what, other):
            yield
