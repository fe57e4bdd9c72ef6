"""The functions' log with the environment as Lambda sets it, and what the template may not set."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from tests.lambda_runtime.function import PROJECT

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
PROGRAM = """
import logging
logging.getLogger().addHandler(logging.StreamHandler())  # stands for that of the runtime, which prints all that it gets
logging.getLogger().setLevel("INFO")  # as the runtime does, by AWS_LAMBDA_LOG_LEVEL
from function_log import new_logger
logger = new_logger()
for name in ("popwatch.sweep.sweep", "botocore.credentials"):
    for level in (10, 20, 30, 40):
        logging.getLogger(name).log(level, name, extra={"tests": level})
logger.info("done", extra={"tests": 3})
"""


def printed(level: str, service: str = "popwatch") -> tuple[list[dict[str, Any]], list[str]]:
    """The lines of popwatch's own log, and what went to the runtime's handler."""
    variables = {
        "AWS_LAMBDA_LOG_LEVEL": "DEBUG" if level == "DEBUG" else "INFO",
        "POWERTOOLS_LOG_LEVEL": level,
        "POWERTOOLS_SERVICE_NAME": service,
        "TZ": ":UTC",
        "PYTHONPATH": str(PROJECT / "functions"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr.splitlines()


@pytest.mark.parametrize("level", LEVELS)
def test_level_holds_for_all_of_popwatch(level: str) -> None:
    """Its modules and the functions; libraries log warnings and errors, without a line twice or a warning."""
    lines, others = printed(level)
    kept = LEVELS[LEVELS.index(level) :]
    assert [line["level"] for line in lines if line["message"] != "done"] == list(kept)
    assert ("done" in [line["message"] for line in lines]) is (level in ("DEBUG", "INFO"))
    assert others == ["botocore.credentials"] * (1 if level == "ERROR" else 2)


def test_lines_hold_their_fields_whatever_the_stack_is_called() -> None:
    """`extra`, service, and a time stamp that Lambda reads, for a module as for the function."""
    for service in ("popwatch", "popwatch-page", "mail"):
        lines, _ = printed("INFO", service)
        assert [line["tests"] for line in lines] == [20, 30, 40, 3]
        assert {line["service"] for line in lines} == {service}
        assert all("T" in line["timestamp"] and line["timestamp"].endswith("+00:00") for line in lines)


def test_lambdas_own_filter_lets_metrics_through() -> None:
    """Lambda takes lines without a level, which metrics are, for INFO, and drops them if its filter is above that."""
    template = yaml_parse((PROJECT / "template.yaml").read_text("utf-8"))
    logging = [
        resource["Properties"]["LoggingConfig"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    assert len(logging) == 2
    assert {json.dumps(each["ApplicationLogLevel"]) for each in logging} == {
        json.dumps({"Fn::If": ["LogsDebug", "DEBUG", "INFO"]})
    }
    assert json.loads(json.dumps(template["Conditions"]["LogsDebug"])) == {"Fn::Equals": [{"Ref": "LogLevel"}, "DEBUG"]}
