"""The reference table, failure 1 to 10, by the deployed stack: real ticks, real queue delays, a real refusing port.

Ticks and the function go by a clock that the test steps; delays are shorter by `SPEED`.
"""

import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed

pytestmark = pytest.mark.local_stack

STATES = ["warn", "warn", "down", "down", "down", "down", "down", "down", "down", "lost"]
ALERTS = {3: 1, 6: 2, 9: 3}
ELAPSED = [0, 10, 20, 40, 60, 80, 100, 120, 140, 150]
"""Seconds: the table's 30, 60 and 30 with a third of each delay: warn 10, down 20, lost 10."""

SPEED = 10
"""How much shorter the queue's delays are: the shortest is a second, which is the least that SQS takes."""


def test_reference_table_by_the_deployed_stack(stack: Deployed, server: ScriptedServer) -> None:
    """State, alert number and elapsed time of each of ten failures in a row are the table's."""
    port = server.listen("refused")
    fields = {"delay_up": 10, "delay_warn": 10, "delay_down": 20, "delay_lost": 10, "failures_per_alert": 3}
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": port, "max_alerts": 3, **fields})
    with stack.by_stepped_clock(SPEED) as stepped:
        records = stepped.run("a", ELAPSED)
    assert [record.health.failures for record in records.values()] == list(range(1, 11))
    assert [record.health.state for record in records.values()] == STATES
    assert [record.health.alerts_sent for record in records.values()] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert list(records) == ELAPSED
    subjects = stack.wait_for_alerts(3)
    assert subjects == [f"DOWN {number}/3: a (127.0.0.1:{port})" for number in ALERTS.values()]
    changes = [(event["previous"], event["state"]) for event in stack.events("a") if event["kind"] == "transition"]
    assert changes == [("untested", "warn"), ("warn", "down"), ("down", "lost")]
