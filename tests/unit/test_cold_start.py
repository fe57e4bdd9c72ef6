"""What a cold start imports is what a tick uses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FOR_PEOPLE = {"click", "jinja2", "rich", "yaml", "tzdata"}
FOR_OTHERS = {
    "check_targets": {
        "popwatch_cli",
        "asyncio",
        "aws_lambda_powertools.utilities.batch",
        "popwatch.web",
        "popwatch.alerts.rendering",
        "popwatch.reports.report",
        "popwatch.reports.status",
        "popwatch.queries",
    },
    "show_report": {"popwatch_cli", "popwatch.sweep", "popwatch.prober", "popwatch.aws.alert_topics"},
}


@pytest.mark.parametrize("function", FOR_OTHERS)
def test_nothing_is_imported_that_the_function_does_not_use(function: str) -> None:
    """Neither what the command needs, nor what the other function does; both would be paid for at each cold start."""
    variables = {"POWERTOOLS_METRICS_NAMESPACE": "popwatch", "PYTHONPATH": str(PROJECT / "functions")}
    program = f"import sys, {function}; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    assert not set(ran.stdout.split()) & (FOR_PEOPLE | FOR_OTHERS[function])
