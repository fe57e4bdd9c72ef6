"""SIGKILL of the function's process at random times, ticks doubled, messages repeated: nothing is lost or invented.

The reference is the scripts that the servers played at each tick. The prober's outcomes are certain (a port refuses or
answers), so the states that must follow are known, and are compared with History and with what subscribers received.
"""

import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed
from tests.e2e.killing import Span, complete, kill_during

pytestmark = pytest.mark.local_stack

KILLS = 20
TARGETS = 12
SEED = 20261123
WHOLE_SECONDS = timedelta(seconds=1)
"""SNS here gives the second in which it published an alert."""

DEAD_SECONDS = 8
"""The timeout that the function believes in here: an invocation older than that is dead. The template's is 120."""


def test_twenty_kills_lose_nothing(
    stack: Deployed, server: ScriptedServer, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each failing and each recovered target has all its transitions in History and all its alerts delivered."""
    stack.configure(FUNCTION_TIMEOUT_SECONDS=str(DEAD_SECONDS))
    rng = random.Random(SEED)
    ports = {f"t{number:02}": server.listen("healthy") for number in range(TARGETS)}
    stack.put_targets(
        {"target_id": "_defaults", "failures_per_alert": 1, "max_alerts": 3, "delay_lost": 60, "flap_per_hour": 0},
        *({"target_id": name, "host": "127.0.0.1", "port": port} for name, port in ports.items()),
    )
    base = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    played: dict[str, list[bool]] = {name: [] for name in ports}
    killed: list[Span] = []
    tick = 0
    while len(killed) < KILLS:
        failing = {name for name in ports if rng.random() < 0.5}
        for name, port in ports.items():
            server.play(port, "refused" if name in failing else "healthy")
        at = base + timedelta(minutes=tick)
        killed += kill_during(stack, at, rng.uniform(0.0, 0.35))
        complete(stack, at)
        if rng.random() < 0.3:
            assert stack.tick(at) is None
        for name in ports:
            played[name].append(name not in failing)
        tick += 1
    deliver_left_behind(stack, base + timedelta(minutes=tick), played, server, ports)
    report = compare(stack, played, killed)
    with capsys.disabled():
        print(f"\n{KILLS} kills in {tick} ticks of {TARGETS} targets: {report}")
    record_property("kills", str(report))
    assert report["transitions lost"] == report["transitions invented"] == 0
    assert report["alerts lost"] == report["alerts invented"] == 0
    assert report["alerts repeated"] == report["alerts repeated by a death before they were recorded"]


def deliver_left_behind(
    stack: Deployed, at: datetime, played: dict[str, list[bool]], server: ScriptedServer, ports: dict[str, int]
) -> None:
    """The next sweeps deliver the outboxes of ended invocations, once these are known to be dead."""
    time.sleep(DEAD_SECONDS + 1)
    for number in range(2):
        for port in ports.values():
            server.play(port, "healthy")
        complete(stack, at + timedelta(minutes=number))
        for outcomes in played.values():
            outcomes.append(True)


def compare(stack: Deployed, played: dict[str, list[bool]], killed: list[Span]) -> dict[str, int]:
    """Count what History and the subscriber have against what the outcomes demand."""
    sent = stack.feed.receive()
    received = Counter(alert.subject.split(",")[0] for alert in sent)
    recorded = {event.get("message_id") for name in played for event in stack.events(name)}
    report: Counter[str] = Counter()
    report["alerts repeated by a death before they were recorded"] = sum(
        alert.message_id not in recorded
        and any(began - WHOLE_SECONDS <= alert.published_at <= died for began, died in killed)
        for alert in sent
    )
    for name, outcomes in played.items():
        transitions, alerts = expected(outcomes)
        events = stack.events(name)
        found = [(event["previous"], event["state"]) for event in events if event["kind"] == "transition"]
        report += difference("transitions", Counter(transitions), Counter(found))
        host = stack.targets()[name]
        wanted = Counter(f"{alert}: {name} ({host})" for alert in alerts)
        got = Counter({subject: count for subject, count in received.items() if f" {name} " in subject})
        report["alerts"] += wanted.total()
        report["alerts lost"] += (wanted - got).total()
        report["alerts invented"] += sum(count for subject, count in got.items() if subject not in wanted)
        report["alerts repeated"] += sum((got - wanted).values())
        assert not stack.store.read_records()[1][name].outbox
    return {key: report[key] for key in sorted({*report, *KINDS})}


KINDS = (
    "transitions",
    "transitions lost",
    "transitions invented",
    "alerts",
    "alerts lost",
    "alerts invented",
    "alerts repeated",
    "alerts repeated by a death before they were recorded",
)
"""What is reported even if there was none of it: adding Counters drops what is zero."""


def difference(what: str, wanted: Counter[Any], found: Counter[Any]) -> Counter[str]:
    return Counter(
        {what: wanted.total(), f"{what} lost": (wanted - found).total(), f"{what} invented": (found - wanted).total()}
    )


def expected(outcomes: list[bool]) -> tuple[list[tuple[str, str]], list[str]]:
    """The transitions and alerts that outcomes demand at one failure per alert and three alerts: written anew here."""
    state, sent = "untested", 0
    transitions: list[tuple[str, str]] = []
    alerts: list[str] = []
    for passed in outcomes:
        after = "up" if passed else "lost" if sent == 3 else "down"
        if passed and sent:
            alerts.append("UP again")
        if not passed and sent < 3:
            alerts.append(f"DOWN {sent + 1}/3")
        sent = 0 if passed else min(sent + 1, 3)
        if after != state:
            transitions.append((state, after))
        state = after
    return transitions, alerts
