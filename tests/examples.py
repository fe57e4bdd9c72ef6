"""The alerts that the docs show: the same target, times and outcomes in `docs/alerts.md` and in the tests."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from popwatch.alerts.rendering import render
from popwatch.decisions.judging import judge
from popwatch.model.fields import TlsMode
from popwatch.model.health import AlertEvent, Health, HeldAlerts, State
from popwatch.model.messages import AlertMessage
from popwatch.model.outcomes import Certificate, ErrorCode, Outcome, Phase, Role
from popwatch.model.targets import Target, parse_target

START = datetime(2026, 11, 23, 3, 12, tzinfo=UTC)
FIELDS = {
    "target_id": "mail-berlin",
    "name": "Mail Berlin",
    "host": "pop.example.net",
    "timezone": "Europe/Berlin",
    "group": "customers",
    "tags": ["berlin", "dovecot"],
}
FAILED = Outcome(
    START,
    Phase.GREETING,
    ErrorCode.TIMED_OUT,
    "no-greeting",
    "The server accepted the connection and said nothing.",
    address="192.0.2.7",
)
PASSED = Outcome(START, Phase.QUIT, rtt_ms=12.52, greeting="+OK Dovecot ready.", address="192.0.2.7")
HEALTHY = Health(State.UP, START - timedelta(days=3), last_good_at=START - timedelta(minutes=1), last_good_rtt_ms=12.5)


def certificate(
    expires: datetime, days: float = 90, role: Role = Role.LEAF, subject: str = "pop.example.net"
) -> Certificate:
    """A certificate with a lifetime of so many days."""
    return Certificate(role, subject, expires, timedelta(days=days))


def certified(outcome: Outcome, *chain: Certificate) -> Outcome:
    """The outcome of a test that verified this chain."""
    return replace(outcome, certificates=chain, certificate_expires=min(found.expires for found in chain))


def target(**fields: object) -> Target:
    """The example target, with other fields where they are given."""
    return parse_target(FIELDS | fields)


def outage(watched: Target, failures: int = 12, failed: Outcome = FAILED) -> Iterator[AlertMessage]:
    """The alerts of an outage of so many failed tests, the recovery last."""
    health, now = HEALTHY, START
    for outcome in [failed] * failures + [PASSED]:
        judgement = judge(health, outcome, watched.policy, now)
        if judgement.alert:
            yield render(watched, health, judgement, outcome, now)
        health = judgement.health
        now = health.next_test_at or now + timedelta(minutes=1)


def others(watched: Target) -> dict[AlertEvent, AlertMessage]:
    """An alert of each event but `down` and `recovered`."""
    partly_failed = replace(PASSED, failed_addresses=("192.0.2.8: refused",))
    with_certificate = certified(PASSED, certificate(START + timedelta(days=13, hours=6)))
    changes = tuple(START - timedelta(minutes=8 * number) for number in range(6, 0, -1))
    flapping = Health(State.UP, START, flapping=True, changes=(START - timedelta(minutes=20),))
    with_tls = replace(watched, tls=TlsMode.STARTTLS)
    all_tested = replace(watched, all_addresses=True)
    slow = replace(watched, policy=replace(watched.policy, slow_rtt_ms=2000))
    used_up = replace(HEALTHY, changes=changes, allowance_full_at=START + timedelta(hours=21, minutes=30))
    held = HeldAlerts(START - timedelta(hours=2), {"down": 5, "recovered": 4, "degraded": 1}, 3)
    throttled = Health(
        State.LOST,
        START - timedelta(minutes=20),
        failures=11,
        alerts_sent=3,
        alerted_at_failures=9,
        failing_since=START - timedelta(minutes=11),
        last_good_at=START - timedelta(minutes=12),
        last_good_rtt_ms=12.5,
        throttled=held,
        allowance_full_at=START + timedelta(hours=21),
    )
    seen_at = START - timedelta(minutes=1) + timedelta(seconds=3)
    got_worse = replace(HEALTHY, posture_pending=("plaintext-login-allowed:",), posture_seen_at=seen_at)
    cases: dict[AlertEvent, tuple[Target, Health, Outcome]] = {
        AlertEvent.FLAPPING: (watched, replace(HEALTHY, changes=changes), FAILED),
        AlertEvent.STEADY: (watched, flapping, PASSED),
        AlertEvent.DEGRADED: (all_tested, replace(HEALTHY, degraded_tests=2), partly_failed),
        AlertEvent.RESTORED: (all_tested, replace(HEALTHY, degraded_tests=3, degraded_alerted=True), PASSED),
        AlertEvent.SLOW: (slow, replace(HEALTHY, slow_tests=2), replace(PASSED, rtt_ms=5320.4)),
        AlertEvent.NORMAL: (slow, replace(HEALTHY, slow_tests=2, slow=True), PASSED),
        AlertEvent.CERTIFICATE: (with_tls, HEALTHY, with_certificate),
        AlertEvent.THROTTLED: (watched, used_up, FAILED),
        AlertEvent.POSTURE: (watched, got_worse, PASSED),
        AlertEvent.UNTHROTTLED: (watched, throttled, FAILED),
    }
    messages = {}
    for event, (tested, health, outcome) in cases.items():
        judgement = judge(health, outcome, tested.policy, START)
        assert judgement.alert is not None
        assert judgement.alert.event is event
        messages[event] = render(tested, health, judgement, outcome, START)
    return messages
