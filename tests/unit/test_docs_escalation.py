"""docs/escalation.md, checked by popwatch's own evaluation of filter policies; tests/e2e checks it by SNS."""

import ast
import re

import pytest

from popwatch_cli.rehearsal.filter_policies import matches
from tests.escalations import PAGE, DocumentedPolicy, alerts, documented_policies, forwarder


def test_every_policy_of_the_table_is_read() -> None:
    """The tests below use each row that has a policy and marks."""
    rows = re.findall(r"^\| .*`\{.*\| (?:yes|-) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(documented_policies()) == len(rows) == 12


@pytest.mark.parametrize("documented", documented_policies(), ids=lambda documented: documented.purpose)
def test_policies_let_through_what_they_should(documented: DocumentedPolicy) -> None:
    """Each alert, as the table says."""
    assert tuple(matches(documented.policy, alert.attributes) for alert in alerts()) == documented.passes


def test_the_function_that_hands_on_needs_nothing() -> None:
    """Its imports are Python's own, so that it can be pasted into the console."""
    imports = [node for node in ast.walk(ast.parse(forwarder())) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names} | {
        node.module for node in imports if isinstance(node, ast.ImportFrom)
    }
    assert names == {"json", "os", "Request", "urlopen", "urllib.request"}
