"""Which alerts `popwatch history` counts for an outage: those about it, whenever they came."""

from datetime import timedelta

import pytest

from popwatch.decisions.judging import judge
from popwatch.model.health import Alert, Health, Transition
from popwatch.model.interventions import Silence
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.records import HistoryEvent, PublishedAlert
from popwatch.model.targets import Policy
from popwatch.model.windows import OnceWindow
from popwatch.reports.availability import Period, durations, spans
from popwatch_cli.outage_alerts import count_alerts
from tests.examples import FAILED, HEALTHY, PASSED, START

MINUTE = timedelta(minutes=1)
LATE = (timedelta(seconds=2), timedelta(seconds=50), timedelta(seconds=20))
"""How long after its tick each test begins, in turn."""


def silenced(first: int, until: int) -> Silence:
    """A silence from one tick until just before another."""
    return Silence(OnceWindow(START + first * MINUTE, START + until * MINUTE))


def history(tests: str, policy: Policy) -> tuple[list[HistoryEvent], Health]:
    """What History has of tests of which `x` failed, one at each tick, and the health after them."""
    health, found = HEALTHY, list[HistoryEvent]()
    for number, test in enumerate(tests):
        tick = START + number * MINUTE
        judgement = judge(health, FAILED if test == "x" else PASSED, policy, tick + LATE[number % 3])
        health = judgement.health
        what = (judgement.transition, published(judgement.alert) if judgement.alert else None)
        found += [HistoryEvent(tick, it) for it in what if isinstance(it, Transition | PublishedAlert)]
    return found, health


def published(alert: Alert) -> PublishedAlert:
    message = AlertMessage("a", "subject", "email", "sms", "line", {"event": alert.event.value})
    return PublishedAlert(message, {Topic.ALERT: "id"}, alert.at)


@pytest.mark.parametrize(
    ("tests", "policy", "since", "counts"),
    [
        ("..xxxxxxxxx..", Policy(), 0, [4]),
        ("..xxxxxxxxx", Policy(), 0, [3]),
        ("....xxxxxx..xxxxxx...", Policy(silence=silenced(9, 14)), 0, [2, 2]),
        ("....xxxxxx..xxxxxx...", Policy(silence=silenced(9, 14)), 12, [2]),
        ("....xxxxxx..xxxxxx", Policy(silence=silenced(9, 14)), 12, [1]),
        ("....xxxxxx..xxxxxx...", Policy(silence=silenced(9, 14)), 16, [2]),
        ("....xxxxxx........", Policy(silence=silenced(9, 14)), 0, [2]),
        ("....xxxxxx..xxxx...", Policy(failures_per_alert=1, silence=silenced(9, 12)), 0, [4, 4]),
        ("..x.x.x.x.x.x....", Policy(failures_per_alert=1, flap_per_hour=4), 0, [2, 2, 0, 0, 0, 0]),
        ("..xxxx...x.xxxxx...", Policy(passes_per_recovery=3), 0, [2, 2]),
        ("..xxxxx..xxx...", Policy(passes_per_recovery=3), 0, [3]),
    ],
)
def test_an_alert_counts_for_the_outage_that_it_is_about(
    tests: str, policy: Policy, since: int, counts: list[int]
) -> None:
    """Also a `recovered` that was held until the next outage had begun, or of one before the period; no other alert."""
    events, health = history(tests, policy)
    period = Period(START + since * MINUTE, START + len(tests) * MINUTE)
    within = [event for event in events if event.tick >= period.begin]
    changes = [it.what for it in within if isinstance(it.what, Transition) and it.what.at >= period.begin]
    found = spans(changes, health.state, health.since, period, run_ended=health.run_ended_at)
    assert count_alerts(durations(found).outages, within) == counts
