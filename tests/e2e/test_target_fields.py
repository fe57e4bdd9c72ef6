"""The fields that say more of a target, on the deployed stack: one deployment and one night for all of them."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from popwatch.model.text import iso
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed
from tests.e2e.killing import complete

pytestmark = [pytest.mark.local_stack, pytest.mark.long]

MINUTES = range(7)
SLOW = "delay:0.9"
SUSPENDED_SECONDS = 3

FIELDS: dict[str, dict[str, Any]] = {
    "written": {
        "runbook": "https://wiki.example.net/mail",
        "notes": "behind the old firewall",
        "recovered_subject": "{name} is back",
        "recovered_email": "{name} was down for {outage}. See {runbook}.",
        "recovered_sms": "{name} works",
    },
    "slow": {"slow_rtt_ms": 600},
    "too-slow": {"max_rtt_ms": 600},
    "gateway-1": {},
    "gateway-2": {},
    "child": {"depends_on": ["gateway-1", "gateway-2"]},
    "patched": {"maintenance": ["patch-night"]},
    "recovering": {"passes_per_recovery": 2},
    "suspended": {},
}
PLAYED = {
    "written": {1: "refused"},
    "slow": {1: SLOW},
    "too-slow": {1: SLOW},
    "gateway-1": {1: "refused", 2: "refused"},
    "gateway-2": dict.fromkeys(range(1, 6), "refused"),
    "child": dict.fromkeys(range(1, 5), "refused"),
    "patched": {1: "refused", 2: "refused"},
    "recovering": {1: "refused", 2: "healthy", 3: "refused"},
    "suspended": {2: "refused"},
}
"""What each server does at a tick; it is healthy at the others."""

HEADLINES = {
    "written": ["DOWN 1/2", "written is back"],
    "slow": ["SLOW", "NORMAL again"],
    "too-slow": ["DOWN 1/2", "UP again"],
    "gateway-1": ["DOWN 1/2", "DOWN 2/2", "UP again"],
    "gateway-2": ["DOWN 1/2", "DOWN 2/2", "UP again"],
    "child": ["DOWN 1/2", "UP again"],
    "patched": [],
    "recovering": ["DOWN 1/2", "DOWN 2/2", "UP again"],
    "suspended": [],
}
STATES = {
    "written": "up down up",
    "slow": "up",
    "too-slow": "up down up",
    "gateway-1": "up down up",
    "gateway-2": "up down lost up",
    "child": "up down up",
    "patched": "up maintenance up",
    "recovering": "up down up",
    "suspended": "up suspended up",
}


def test_each_field_has_its_effect(stack: Deployed, server: ScriptedServer) -> None:
    """States, alerts and their texts, status and history are those that the fields ask for."""
    ports = {name: server.listen("healthy") for name in FIELDS}
    base = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=MINUTES[-1] + 1)
    begin, end = (base + timedelta(seconds=seconds) for seconds in (30, 150))
    stack.put_targets(
        {
            "target_id": "_defaults",
            "failures_per_alert": 1,
            "max_alerts": 2,
            "delay_lost": 60,
            "flap_per_hour": 0,
            "schedules": {"patch-night": [{"from": iso(begin), "until": iso(end)}]},
        },
        *({"target_id": name, "host": "127.0.0.1", "port": ports[name], **fields} for name, fields in FIELDS.items()),
    )
    with stack.testing_at(base) as clock:
        for minute in MINUTES:
            clock.set(minute * 60)
            for name, port in ports.items():
                server.play(port, PLAYED[name].get(minute, "healthy"))
            if minute == 2:
                code, said = stack.command("suspend", "suspended", "--for", f"{SUSPENDED_SECONDS}s")
                assert (code, "(3 s): not tested" in said) == (0, True), said
            complete(stack, base + timedelta(minutes=minute))
            if minute == 2:
                assert stack.state("suspended") == "suspended"
                time.sleep(SUSPENDED_SECONDS)
            if minute == 4:
                assert "recovering: 1 of 2 passed" in stack.command("status", "recovering")[1]
    alerts = stack.feed.receive()
    subjects = [f" {alert.subject} " for alert in alerts]
    for name in FIELDS:
        mine = [subject.strip() for subject in subjects if f" {name} " in subject]
        assert [subject.partition(":")[0] for subject in mine] == HEADLINES[name], name
        changes = [event["state"] for event in stack.events(name) if event["kind"] == "transition"]
        assert " ".join(changes) == STATES[name], name
    texts = {alert.subject.partition(" (")[0]: " ".join(alert.email.split()) for alert in alerts}
    assert "https://wiki.example.net/mail" in texts["DOWN 1/2: written"]
    assert texts["written is back"].startswith("written was down for 1 min. See https://wiki.example.net/mail.")
    assert any("written works" in sms.text for sms in stack.feed.receive_sms())
    assert "Reason: too-slow" in texts["DOWN 1/2: too-slow"]
    assert "It exceeded the limit (`slow_rtt_ms`), which is now 600 ms." in texts["SLOW: slow"]
    assert "2 failed tests, 1 passed between them" in texts["DOWN 2/2: recovering"]
    assert f"Passed at {base + timedelta(minutes=4):%Y-%m-%d %H:%M:%S} UTC" in texts["UP again: recovering"]
    assert f"Confirmed at {base + timedelta(minutes=5):%Y-%m-%d %H:%M:%S} UTC" in texts["UP again: recovering"]
    assert "behind the old firewall" in stack.command("status", "written")[1]
    began, ended = (f"{base + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S}" for minute in (1, 4))
    assert f"{began}  {ended}" in stack.command("history", "recovering", "--since", "1h")[1]
    assert "suspended until" in stack.command("history", "suspended", "--since", "1h")[1]


def test_retest(stack: Deployed, server: ScriptedServer) -> None:
    """By a message to the batch queue of the stack: each failure that was due counts, and a pass ends the outage."""
    port = server.listen("healthy")
    policy = {"failures_per_alert": 1, "delay_down": 3600}
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": port, **policy})
    assert stack.tick() is None
    assert stack.command("retest", "a")[0] == 0
    server.play(port, "refused")
    code, said = stack.command("retest", "a")
    assert (code, "It counts: 1 failed test." in said, stack.state("a")) == (2, True, "down"), said
    code, said = stack.command("retest", "a")
    assert (code, "this failure does not count" in said) == (2, True), said
    assert stack.store.read_record("a").health.failures == 1
    server.play(port, "healthy")
    code, said = stack.command("retest", "a")
    assert (code, "It was down, and is up now." in said, stack.state("a")) == (0, True, "up"), said
    assert [subject.partition(":")[0] for subject in stack.wait_for_alerts(2)] == ["DOWN 1/3", "UP again"]
