"""The messages about credentials."""

import pytest

from popwatch.alerts.credential_texts import blocked, unusable
from popwatch.alerts.tokens import LOCAL_STACK
from popwatch.model.credential_problems import CredentialProblem, Unusable
from popwatch.model.credential_state import CredentialState
from tests.doctor_findings import NOW, target

STACKS = [("popwatch", "popwatch"), ("mail-eu", "popwatch --stack mail-eu"), (LOCAL_STACK, "popwatch --local")]


@pytest.mark.parametrize(("stack", "command"), STACKS)
def test_the_command_is_for_the_stack_that_sends_it(stack: str, command: str) -> None:
    """It can be given as it is printed."""
    state = CredentialState("monitor", rejections=2, rejected_by="mail-berlin", rejected_at=NOW)
    message = blocked(state, [target()], stack)
    assert message.email.splitlines()[-1] == f"    {command} credentials put monitor --user USER"
    problem = CredentialProblem("monitor", Unusable.MISSING)
    said = " ".join(unusable(problem, "12:00", [target()], stack).email.split())
    assert f"store it with '{command} credentials put monitor --user USER'." in said
    assert said.endswith(f"{command} credentials list")
