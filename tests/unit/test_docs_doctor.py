"""docs/doctor.md agrees with the code: every finding word for word, and how the command prints them."""

import re
from pathlib import Path
from textwrap import indent

import click

from popwatch_cli.commands.doctor import report_lines
from popwatch_cli.doctor.checks import CHECKS
from popwatch_cli.doctor.rules.findings import CheckResult, FindingKind
from tests.doctor_findings import EXAMPLES

DOC = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
FOUND = {finding.kind: finding for finding in EXAMPLES}


def test_every_finding_is_documented_as_it_is() -> None:
    """The tables list the kinds of the code in their order, each with its severity and both sentences, and no other."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (broken|warning|note) \| (.*?) \| (.*?) \|$", DOC, re.MULTILINE)
    assert rows == [(found.kind, found.severity.name.lower(), found.what, found.do) for found in EXAMPLES]


def test_the_output_is_shown_as_it_is() -> None:
    """The example is what the command prints of such findings."""
    found = {
        "the schedule": CheckResult("the schedule", (FOUND[FindingKind.SCHEDULE_OFF],)),
        "the function's errors": CheckResult(
            "the function's errors", unknown="AWS answers AccessDenied to GetMetricData"
        ),
        "who receives each alert": CheckResult("who receives each alert", (FOUND[FindingKind.PARTLY_UNREPORTED],)),
        "targets watched twice": CheckResult("targets watched twice", (FOUND[FindingKind.DUPLICATE],)),
    }
    printed = click.unstyle("\n".join(report_lines([found.get(title, CheckResult(title)) for title in CHECKS])))
    assert found.keys() <= CHECKS.keys()
    assert indent(printed, "    ") in DOC
