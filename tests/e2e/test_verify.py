"""`popwatch verify` on the deployed stack: a sound one by the fast clock, and runs that are interrupted or killed."""

import signal
import subprocess

import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.verification.rules import Verdict
from popwatch_cli.verification.temporary import Server, Temporary
from tests.e2e.deployed import Deployed
from tests.verifying import operator, schedule_set, verify

pytestmark = [pytest.mark.local_stack, pytest.mark.long]

NOT_SHOWN = {"timestamps", "resolver", "versions", "cpu", "metrics"}
"""What the local AWS cannot show."""


def test_a_sound_stack(stack: Deployed, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything passes but what the local AWS cannot show, and nothing is left behind."""
    port = server.listen("healthy")
    with schedule_set(stack, "ENABLED"), operator(stack):
        checks, shown = verify(stack, Server("127.0.0.1", port))
    with capsys.disabled():
        print("\n--- popwatch verify, by the fast clock", *shown, sep="\n")
    assert {name for name, check in checks.items() if check.verdict is Verdict.NOT_SHOWN} == NOT_SHOWN
    assert {check.verdict for name, check in checks.items() if name not in NOT_SHOWN} == {Verdict.PASSED}
    assert "server" in checks


def started(stack: Deployed) -> "subprocess.Popen[str]":
    """A verification that has shown its first check: all that is temporary is there."""
    program, folder = stack.popwatch("verify", "--yes")
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` has it ignored, also in what is started from here
    try:
        process = subprocess.Popen(program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.stdout
    assert any("receivers" in line for line in process.stdout)
    return process


def left_behind(stack: Deployed) -> list[str]:
    return Temporary.starting(stack.installation, None).leftovers()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_cleans_up(stack: Deployed, sent: signal.Signals) -> None:
    """By Ctrl-C, by what a pipeline sends that has lost its patience, and by the end of a terminal."""
    with schedule_set(stack, "ENABLED"), started(stack) as process:
        assert len(left_behind(stack)) > 5
        process.send_signal(sent)
        _, said = process.communicate(timeout=300)
    assert (process.returncode, said.strip()) == (130, "Cancelled.")
    assert left_behind(stack) == []


def test_the_run_after_a_killed_one_cleans_up(stack: Deployed) -> None:
    """It says what it finds, and leaves nothing of either."""
    with schedule_set(stack, "ENABLED"), started(stack) as process:
        process.kill()
    left = left_behind(stack)
    assert [name.split()[0] for name in left] == [
        "target",
        "alarm",
        *["subscription"] * (len(left) - 5),
        *["queue"] * 3,
    ]
    code, said = stack.command("verify", "--yes")
    assert code == 3
    assert "may be going on" in said
    assert left_behind(stack) == left
    code, said = stack.command("verify", said="y\ny\n")  # the schedule is off: it ends at once
    assert code == 2
    assert all(f"Left of an earlier run, will be removed: {name}." in said for name in left)
    assert "The schedule is disabled, so nothing is tested." in said
    assert left_behind(stack) == []
