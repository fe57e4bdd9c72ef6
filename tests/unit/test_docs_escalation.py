"""docs/escalation.md by popwatch's own evaluation of filter policies; tests/e2e has the same by SNS's."""

import ast
import re

import pytest

from popwatch_cli.rehearsal.filter_policies import matches
from tests.escalations import PAGE, Promise, alerts, forwarder, promises


def test_every_policy_of_the_table_is_read() -> None:
    """Each row with a policy and marks is one that the tests below take."""
    rows = re.findall(r"^\| .*`\{.*\| (?:yes|-) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(promises()) == len(rows) == 12


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise.wish)
def test_policies_let_through_what_they_should(promise: Promise) -> None:
    """Alert by alert, as the table says."""
    assert tuple(matches(promise.policy, alert.attributes) for alert in alerts()) == promise.passes


def test_the_function_that_hands_on_needs_nothing() -> None:
    """Its imports are Python's own, so that it can be pasted into the console."""
    found = [node for node in ast.walk(ast.parse(forwarder())) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in found for alias in node.names} | {
        node.module for node in found if isinstance(node, ast.ImportFrom)
    }
    assert names == {"json", "os", "Request", "urlopen", "urllib.request"}
