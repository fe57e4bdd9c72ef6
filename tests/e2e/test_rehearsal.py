"""`popwatch simulate` against what the deployed stack then really does, row by row, and `alert-test` to its topic."""

import json
from datetime import timedelta

import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed

pytestmark = pytest.mark.local_stack

FIELDS = {"delay_warn": 10, "delay_down": 30, "delay_lost": 60, "failures_per_alert": 2, "max_alerts": 2}
SPEED = 10
"""How much shorter the queue's delays are: the shortest is a second, which is the least that SQS takes."""


def test_what_was_simulated_happens(
    stack: Deployed, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each failed test's time, state and alert are those that were predicted, up to the recovery."""
    port = server.listen("healthy")
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": port, **FIELDS})
    code, printed = stack.command("simulate", "a", "--outage", "3m", "--error", "cannot-connect", "--json")
    predicted = json.loads(printed)["steps"]
    assert code == 0
    feeds = ["sqs popwatch-local-alerts", "sqs popwatch-local-sms"]
    assert all(step["receivers"] == feeds for step in predicted if step["event"])
    outage = timedelta(minutes=3)

    def play(elapsed: timedelta) -> None:
        server.play(port, "refused" if timedelta() < elapsed < outage else "healthy")

    with stack.by_stepped_clock(SPEED) as stepped:
        records = stepped.run("a", [step["elapsed_seconds"] for step in predicted], play)
    seen = {elapsed: (str(record.health.state), record.health.failures) for elapsed, record in records.items()}
    rows = [(step["elapsed_seconds"], (step["state"], step["failures"])) for step in predicted]
    with capsys.disabled():
        print("\nelapsed  predicted        happened")
        for elapsed, state in rows:
            print(f"{elapsed:7.0f}  {state[0]:<5} {state[1]:>2}         {seen.get(elapsed)}")
    assert sorted(seen.items()) == rows
    subjects = [step["subject"].split(",")[0] for step in predicted if step["event"]]
    assert [subject.split(",")[0] for subject in stack.wait_for_alerts(len(subjects))] == subjects


def test_an_alert_test_arrives(stack: Deployed) -> None:
    """The topic's subscriber receives it, marked as a test; what it says of who is reached is true."""
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": 110, "group": "g"})
    code, printed = stack.command("alert-test", "a", "--as", "down")
    assert code == 0, printed
    assert "reaches sqs popwatch-local-alerts" in printed
    assert stack.wait_for_alerts(1) == ["TEST: DOWN 1/3: a (127.0.0.1:110)"]
