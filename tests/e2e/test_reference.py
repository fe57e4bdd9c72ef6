"""The reference table, failure 1 to 10, by the deployed stack: real ticks, real queue delays, a real refusing port."""

from datetime import UTC, datetime, timedelta

import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed

pytestmark = [pytest.mark.local_stack, pytest.mark.timeout(400)]

STATES = ["warn", "warn", "down", "down", "down", "down", "down", "down", "down", "lost"]
ALERTS = {3: 1, 6: 2, 9: 3}
ELAPSED = [0, 10, 20, 40, 60, 80, 100, 120, 140, 150]
"""Seconds: the table's 30, 60 and 30 with a third of each delay: warn 10, down 20, lost 10."""


def test_reference_table_by_the_deployed_stack(stack: Deployed, server: ScriptedServer) -> None:
    """State, alert number and elapsed time of each of ten failures in a row are the table's."""
    port = server.listen("refused")
    fields = {"delay_up": 10, "delay_warn": 10, "delay_down": 20, "delay_lost": 10, "failures_per_alert": 3}
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": port, "max_alerts": 3, **fields})
    rows: dict[int, tuple[str, int, datetime]] = {}
    next_tick = datetime.now(UTC).replace(microsecond=0)
    start = next_tick

    def advance() -> bool:
        nonlocal next_tick
        if datetime.now(UTC) >= next_tick:
            assert stack.tick(next_tick) is None
            next_tick += timedelta(seconds=60)
        record = stack.store.read_records()[1].get("a")
        if record and record.tick:
            rows.setdefault(record.health.failures, (str(record.health.state), record.health.alerts_sent, record.tick))
        return 10 in rows

    stack.wait_for("the tenth failure", advance, seconds=300)
    found = [rows[failure] for failure in range(1, 11)]
    assert [state for state, _, _ in found] == STATES
    assert [alerts for _, alerts, _ in found] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert [(tick - start).total_seconds() for _, _, tick in found] == ELAPSED
    told = stack.wait_for_alerts(3)
    assert told == [f"DOWN {number}/3: a (127.0.0.1:{port})" for number in ALERTS.values()]
    changes = [(event["previous"], event["state"]) for event in stack.events("a") if event["kind"] == "transition"]
    assert changes == [("untested", "warn"), ("warn", "down"), ("down", "lost")]
