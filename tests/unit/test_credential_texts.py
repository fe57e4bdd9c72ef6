"""The messages about credentials."""

import pytest

from popwatch.alerts.credential_texts import blocked
from popwatch.model.credential_state import CredentialState
from tests.doctor_findings import NOW, target


@pytest.mark.parametrize(("stack", "command"), [("popwatch", "popwatch"), ("mail-eu", "popwatch --stack mail-eu")])
def test_the_command_is_for_the_stack_that_sends_it(stack: str, command: str) -> None:
    """It can be given as it is printed."""
    state = CredentialState("monitor", rejections=2, rejected_by="mail-berlin", rejected_at=NOW)
    message = blocked(state, [target()], stack)
    assert message.email.splitlines()[-1] == f"    {command} credentials put monitor --user USER"
