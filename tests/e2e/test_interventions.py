"""Silence, acknowledgement, dependence and flapping on the deployed stack, whose process is killed repeatedly.

What each target's server does at each tick is fixed, and so are the alerts and transitions that must follow.
"""

import contextlib
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from popwatch.model.records import EventKind
from popwatch.queries.history import event_to_json
from popwatch_cli.commands import interventions
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.main import cli
from tests.e2e.deployed import Deployed
from tests.e2e.killing import complete, kill_during
from tests.fast_clock import SteppedClock

pytestmark = pytest.mark.local_stack

SEED = 20261124
DEAD_SECONDS = 8
"""The function's timeout as it is configured here: an older invocation counts as dead."""

MINUTES = [*range(13), 60, 61]
"""Ticks; at the last two the flapping target has been steady for long."""

FIELDS: dict[str, dict[str, object]] = {
    "silenced": {},
    "acknowledged": {},
    "gateway": {},
    "child": {"depends_on": "gateway"},
    "flapper": {"flap_per_hour": 3},
}
FAILS = {
    "silenced": range(2, 7),
    "acknowledged": range(2, 9),
    "gateway": range(2, 7),
    "child": range(2, 10),
    "flapper": (1, 3, 5, 7),
}
"""The ticks at which each server refuses."""

COMMANDS = {
    2: ("silence", "silenced", "--for", "2h", "--why", "new disk", "--by", "night-shift"),
    3: ("ack", "acknowledged", "--why", "on my way", "--by", "night-shift"),
    6: ("unsilence", "silenced"),
}
"""The command that is given before a tick."""

ALERTS = {
    "silenced": ["DOWN 1/3", "UP again"],
    "acknowledged": ["DOWN 1/3", "UP again"],
    "gateway": ["DOWN 1/3", "DOWN 2/3", "DOWN 3/3", "UP again"],
    "child": ["DOWN 1/3", "DOWN 2/3", "UP again"],
    "flapper": ["DOWN 1/3", "UP again", "DOWN 1/3", "UP again", "FLAPPING", "STEADY again"],
}
STATES = {
    "silenced": "untested up maintenance down up",
    "acknowledged": "untested up down up",
    "gateway": "untested up down lost up",
    "child": "untested up down up",
    "flapper": "untested up down up down up down up down up",
}


def test_what_people_do_survives_kills(
    stack: Deployed, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every target has exactly the alerts and transitions above, however often the process is killed."""
    stack.configure(FUNCTION_TIMEOUT_SECONDS=str(DEAD_SECONDS))
    rng, killed = random.Random(SEED), 0
    ports = {name: server.listen("healthy") for name in FIELDS}
    stack.put_targets(
        {"target_id": "_defaults", "failures_per_alert": 1, "max_alerts": 3, "delay_lost": 60, "flap_per_hour": 0},
        *({"target_id": name, "host": "127.0.0.1", "port": ports[name], **fields} for name, fields in FIELDS.items()),
    )
    base = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=MINUTES[-1] + 1)
    with stack.testing_at(base) as clock:
        for minute in MINUTES:
            clock.set(minute * 60)
            for name, port in ports.items():
                server.play(port, "refused" if minute in FAILS[name] else "healthy")
            if minute in COMMANDS:
                give(stack, clock, *COMMANDS[minute])
            at = base + timedelta(minutes=minute)
            killed += len(kill_during(stack, at, rng.uniform(0.0, 0.3)))
            complete(stack, at)
        time.sleep(DEAD_SECONDS + 1)
        complete(stack, base + timedelta(minutes=MINUTES[-1] + 1))
    with capsys.disabled():
        print(f"\n{killed} kills in {len(MINUTES)} ticks")
    assert killed >= 10
    received = Counter(alert.subject.split(", was down")[0] for alert in stack.feed.receive())
    for name, port in ports.items():
        expected = Counter(f"{headline}: {name} (127.0.0.1:{port})" for headline in ALERTS[name])
        got = Counter({subject: count for subject, count in received.items() if f" {name} " in subject})
        assert not expected - got, f"{name}: an alert is missing"
        assert got.keys() == expected.keys(), f"{name}: an alert was not expected"
        changes = [event["state"] for event in stack.events(name) if event["kind"] == "transition"]
        assert ["untested", *changes] == STATES[name].split(), name
    assert [event["action"] for event in interventions_of(stack, "silenced")] == ["silenced", "unsilenced"]
    assert [(event["by"], event["why"]) for event in interventions_of(stack, "acknowledged")] == [
        ("night-shift", "on my way")
    ]


def give(stack: Deployed, clock: SteppedClock, *arguments: str) -> None:
    """Give a command at the time that the clock shows."""
    _, folder = stack.popwatch()
    with contextlib.chdir(folder), patch.object(interventions, "datetime", SimpleNamespace(now=lambda _: clock.now())):
        assert CliRunner().invoke(cli, ["--local", *arguments]).exit_code == 0


def interventions_of(stack: Deployed, name: str) -> list[dict[str, str]]:
    events = stack.store.read_events(name, kinds=[EventKind.INTERVENTION])
    return [event_to_json(event) for event in sorted(events, key=lambda event: event.tick)]
