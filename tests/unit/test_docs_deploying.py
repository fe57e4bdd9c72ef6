"""docs/deploying.md and docs/operating.md agree with template.yaml.

With POPWATCH_REWRITE_DOCS=1 in the environment the table of parameters is rewritten instead.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.tables import read_template

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "deploying.md"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ROW = re.compile(r"^\| `([A-Za-z0-9]+)` \| (.*?) \| (.*?) \|\n", re.MULTILINE)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    found: dict[str, Any] = read_template()
    return found


def test_every_parameter_is_documented_as_it_is(template: dict[str, Any]) -> None:
    """The table lists the parameters of the template, in their order, with default and description."""
    rows = [
        (name, f"`{found['Default']}`" if str(found["Default"]) else "nothing", " ".join(found["Description"].split()))
        for name, found in template["Parameters"].items()
    ]
    text = PAGE.read_text()
    if os.environ.get("POPWATCH_REWRITE_DOCS"):
        before, after = text[: _first(text)], _ROW.sub("", text[_first(text) :])
        PAGE.write_text(before + "".join(f"| `{a}` | {b} | {c} |\n" for a, b, c in rows) + after)
        return
    assert _ROW.findall(text) == rows


def _first(text: str) -> int:
    match = _ROW.search(text)
    assert match is not None
    return match.start()


def test_resources_are_counted_as_they_are(template: dict[str, Any]) -> None:
    """Tables, topics and alarms, in the words of the page."""
    kinds = [found["Type"] for found in template["Resources"].values()]
    for kind, words in (
        ("AWS::DynamoDB::Table", "DynamoDB tables"),
        ("AWS::SNS::Topic", "SNS topics"),
        ("AWS::CloudWatch::Alarm", "CloudWatch alarms"),
    ):
        assert f"| {NUMBERS[kinds.count(kind)]} {words}" in PAGE.read_text()


def test_outputs_that_pages_name_exist(template: dict[str, Any]) -> None:
    """Each output that a page mentions is one of the stack's."""
    named = {
        name
        for page in (PROJECT / "docs").glob("*.md")
        for name in re.findall(r"stack's\s+output\s+`(\w+)`", page.read_text())
    }
    assert named
    assert named <= set(template["Outputs"])
