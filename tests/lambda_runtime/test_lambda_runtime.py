"""The built functions under Amazon's runtime interface client, as Lambda runs them, against the local AWS.

Prints a report: what ran, how long a cold start took, what landed on standard output.
"""

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from popwatch.model.text import iso
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed
from tests.lambda_runtime.emf import faults, metrics
from tests.lambda_runtime.function import (
    INSTALLED,
    PROJECT,
    RUNTIMES,
    Build,
    Function,
    Settings,
    kept_by_lambda,
    python313,
    report,
    versions,
)
from tests.lambda_runtime.runtime_api import Answer

pytestmark = pytest.mark.lambda_runtime

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
LARGEST = 800
"""Targets of the largest batch (`Settings.largest_batch`)."""

START = "A new execution environment has started."
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack, from which functions are taken, and its POP3 server."""

    deployed: Deployed
    server: ScriptedServer
    folder: Path

    def build(self, logical_id: str, runtime: str) -> Build:
        built = self.deployed.local.folder / "build"
        return Build(built / logical_id, built / "PopwatchLayer", runtime, self.folder)

    def settings(self, output: str) -> Settings:
        """A function's configuration as the template makes it."""
        name = self.deployed.local.outputs[output]
        found = self.deployed.local.client("lambda").get_function_configuration(FunctionName=name)
        logging = found["LoggingConfig"]
        return Settings(
            name,
            found["Handler"],
            found["MemorySize"],
            found["Timeout"],
            found["Environment"]["Variables"],
            logging["LogFormat"],
            logging["ApplicationLogLevel"],
        )


@pytest.fixture(scope="module")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with its page."""
    namespaces = subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False)
    if namespaces.returncode:
        pytest.fail("This kernel does not let this user have mount namespaces, of which the sandbox is made: be root.")
    if not all((INSTALLED / runtime / "awslambdaric").is_dir() for runtime in RUNTIMES):
        pytest.fail("Run .ci/install-lambda-runtime first.")
    folder = tmp_path_factory.mktemp("lambda")
    with Deployed.running(PROJECT, folder, Page="on") as deployed, ScriptedServer() as server:
        yield Stack(deployed, server, folder)


@pytest.fixture
def stack(whole_stack: Stack) -> Stack:
    """The stack with targets that have not been tested: one that answers, one that refuses, one with a typing error."""
    whole_stack.deployed.clear()
    whole_stack.deployed.put_targets(
        {"target_id": "healthy", "host": "127.0.0.1", "port": whole_stack.server.listen("healthy")},
        {"target_id": "refusing", "host": "127.0.0.1", "port": 1},
        {"target_id": "mistyped", "host": "127.0.0.1", "port": 1, "colour": "blue"},
    )
    return whole_stack


def tick(minutes_ago: int = 0) -> dict[str, str]:
    """The event of a tick."""
    return {"scheduled_time": iso(datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes_ago))}


def batch(port: int) -> dict[str, Any]:
    """The event of a batch: that of events/batch.json, sent just now."""
    event: dict[str, Any] = json.loads((PROJECT / "events" / "batch.json").read_text())
    [record] = event["Records"]
    now = datetime.now(UTC).replace(microsecond=0)
    test = {"item": {"target_id": "in-batch", "host": "127.0.0.1", "port": port}, "record": {"target_id": "in-batch"}}
    body = json.loads(record["body"])
    body |= {"tick": iso(now), "horizon": iso(now + timedelta(minutes=1)), "tests": [test]}
    sent = str(int(now.timestamp() * 1000))
    record["body"] = json.dumps(body)
    record["attributes"] |= {"SentTimestamp": sent, "ApproximateFirstReceiveTimestamp": sent}
    return event


def request(path: str, password: str = "") -> dict[str, Any]:
    """An event of a function URL (payload format 2.0)."""
    headers = {"host": "abc.lambda-url.us-east-1.on.aws", "accept": "text/html"}
    if password:
        headers["authorization"] = "Basic " + base64.b64encode(f"any:{password}".encode()).decode()
    http = {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "test"}
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {"http": http, "requestId": "1", "time": "27/Nov/2026:12:00:00 +0000"},
        "isBase64Encoded": False,
    }


def split(lines: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Log lines and metrics; fails for a line that is neither, and for metrics that CloudWatch would refuse."""
    logged, measured = [], []
    for line in lines:
        document = json.loads(line)
        if "_aws" in document:
            assert faults(line) == [], line
            measured.append(document)
        else:
            assert RFC_3339.fullmatch(document["timestamp"]), line
            assert document["level"] in LEVELS, line
            assert document["message"], line
            logged.append(document)
    return logged, measured


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_sandbox_is_like_lambdas(stack: Stack, runtime: str) -> None:
    """Only /tmp can be written to, 1,024 files can be open, there is no home, and boto3 is the runtime's."""
    build = stack.build("CheckTargetsFunction", runtime)
    program = """
import os, resource, boto3, popwatch
folders = ("/", "/tmp", "/var/task", "/opt", "/opt/python", "/var/runtime", "/root", "/dev/shm", os.getcwd())
written = []
for folder in folders:
    try:
        open(f"{folder}/written", "w").close()
        written.append(folder)
    except OSError:
        pass
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1024, 1024)
assert "HOME" not in os.environ
print(*written, os.getcwd(), boto3.__path__[0], popwatch.__path__[0])
"""
    path = "/var/task:/opt/python:/var/runtime"
    ended = subprocess.run(
        build.command(python313(), "-c", program), env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert ended.stdout.split() == ["/tmp", "/var/task", "/var/runtime/boto3", "/opt/python/popwatch"], ended.stderr


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_ticks_and_a_batch(stack: Stack, runtime: str) -> None:
    """Cold start, two ticks, a batch: what is answered, and what lands on standard output."""
    build, settings = stack.build("CheckTargetsFunction", runtime), stack.settings("CheckTargetsFunction")
    report(f"\n{versions(build)}")
    events: dict[str, tuple[Any, Any, int]] = {
        "first tick": (tick(minutes_ago=1), None, 3),
        "second tick": (tick(), None, 3),
        "batch": (batch(stack.server.listen("healthy")), {"batchItemFailures": []}, 1),
    }
    with Function.running(build, settings, stack.deployed.local.endpoint) as function:
        report(f"  check_targets: cold start {shown(function)}, AWS_LAMBDA_LOG_LEVEL={settings.log_level}")
        assert function.printed() == []
        for kind, (event, result, tests) in events.items():
            invocation, answer, lines = function.invoke(event)
            assert answer == Answer("response", result), lines
            logged, measured = split(lines)
            messages = {line["message"]: line for line in logged}
            end = messages["A batch has ended." if kind == "batch" else "A sweep has ended."]
            assert end["tests"] == tests, end  # what was given as `extra` is part of the line
            assert {line["function_request_id"] for line in logged} == {invocation.request_id}
            assert {line["cold_start"] for line in logged} == {kind == "first tick"}
            assert ("A target changed its state." in messages) is (kind != "second tick"), messages
            assert (START in messages) is (kind == "first tick"), messages
            assert ("Some targets have unknown fields." in messages) is (kind == "first tick"), messages
            report(f"  {kind}: {len(logged)} lines of log, {len(measured)} of metrics: {sizes(lines)}")
        report("\n".join(f"    {line}" for line in lines))
        assert function.errors == []


def test_a_full_batch_fits_into_lambdas_limits(stack: Stack) -> None:
    """800 targets whose servers all take a second to greet, with 1,024 descriptors, in one tick."""
    ports = [stack.server.listen("delay:1") for _ in range(8)]
    fleet = [
        {"target_id": f"t{at}", "host": "127.0.0.1", "port": ports[at % len(ports)], "max_test_seconds": 60}
        for at in range(LARGEST)
    ]
    stack.deployed.clear()
    stack.deployed.put_targets(*fleet)
    build, settings = stack.build("CheckTargetsFunction", RUNTIMES[-1]), stack.settings("CheckTargetsFunction")
    with Function.running(build, settings, stack.deployed.local.endpoint) as function:
        began = time.monotonic()
        _, answer, lines = function.invoke(tick())
        report(f"\n  {LARGEST} targets at once: {time.monotonic() - began:.1f} s, {sizes(lines)}")
        assert answer == Answer("response", None)
        assert function.errors == []
    ends = [line for line in split(lines)[0] if line["message"] == "A sweep has ended."]
    assert [(end["tests"], end["failures"]) for end in ends] == [(LARGEST, {})]
    assert not [line for line in lines if "Too many open files" in line]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_page(stack: Stack, runtime: str) -> None:
    """Sign-in is asked for; with the password there is the page, its API and /metrics."""
    arguments, folder = stack.deployed.popwatch("page", "--password")
    password = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    build, settings = stack.build("ShowReportFunction", runtime), stack.settings("ReportFunction")
    with Function.running(build, settings, stack.deployed.local.endpoint) as function:
        report(f"\n  {runtime}: show_report: cold start {shown(function)}")
        for path, given, status in (
            ("/", "", 303),
            ("/", password, 200),
            ("/api/status", password, 200),
            ("/metrics", password, 200),
            ("/metrics", "wrong", 401),
        ):
            _, answer, lines = function.invoke(request(path, given))
            assert answer.kind == "response", answer
            assert answer.payload["statusCode"] == status, (path, answer.payload)
            logged, measured = split(lines)
            assert (logged, len(measured)) == ([], 1 if status == 401 else 0)  # a refused sign-in is counted
            report(f"  {path}: {status}, {len(base64.b64decode(answer.payload['body']))} bytes, {sizes(lines)}")
        assert function.errors == []


def test_an_error_is_reported_and_the_next_tick_works(stack: Stack) -> None:
    """An event that is not a tick fails the invocation, which Lambda counts; the line of the error is JSON too."""
    build, settings = stack.build("CheckTargetsFunction", RUNTIMES[-1]), stack.settings("CheckTargetsFunction")
    with Function.running(build, settings, stack.deployed.local.endpoint) as function:
        _, answer, lines = function.invoke({"no": "tick"})
        assert (answer.kind, answer.payload["errorType"]) == ("error", "ValueError")
        assert [json.loads(line)["level"] for line in lines if START not in line] == ["ERROR"]
        assert function.invoke(tick())[1].kind == "response"
        assert function.errors == []


@pytest.mark.parametrize("level", LEVELS)
def test_log_level_does_what_it_says(stack: Stack, level: str) -> None:
    """Lines of popwatch's own modules too, down to the level and no further; metrics arrive at every level."""
    asked = stack.settings("CheckTargetsFunction")
    assert asked.log_level == "INFO"
    settings = replace(
        asked,
        variables={**asked.variables, "POWERTOOLS_LOG_LEVEL": level},
        log_level="DEBUG" if level == "DEBUG" else "INFO",  # as template.yaml has it
    )
    build = stack.build("CheckTargetsFunction", RUNTIMES[-1])
    with Function.running(build, settings, stack.deployed.local.endpoint) as function:
        _, answer, lines = function.invoke(tick())
        assert answer.kind == "response"
        assert function.errors == []
    split(lines)
    kept = kept_by_lambda(lines, settings.log_level)
    found = {name for line in kept if "_aws" in line for _, name, _ in metrics(line)}
    assert {"Tests", "TestsDue"} <= found
    messages = {line["message"] for line in kept if "_aws" not in line}
    by_level = [
        ("DEBUG", {"A test has ended."}),
        ("INFO", {START, "A target changed its state.", "A sweep has ended."}),
        ("WARNING", {"Some targets have unknown fields."}),
        ("ERROR", set[str]()),
    ]
    assert messages == {text for own, texts in by_level for text in texts if LEVELS.index(own) >= LEVELS.index(level)}


def test_a_stricter_filter_of_lambda_would_drop_the_metrics(stack: Stack) -> None:
    """Which is why template.yaml sets `ApplicationLogLevel` itself, and never above INFO."""
    build, settings = stack.build("CheckTargetsFunction", RUNTIMES[-1]), stack.settings("CheckTargetsFunction")
    with Function.running(build, settings, stack.deployed.local.endpoint) as function:
        lines = function.invoke(tick())[2]
    assert [line for line in kept_by_lambda(lines, "INFO") if "_aws" in line]
    assert not [line for line in kept_by_lambda(lines, "WARN") if "_aws" in line]


def shown(function: Function) -> str:
    return f"{function.cold_start_ms:.0f} ms, {function.cold_start_cpu_ms:.0f} ms of CPU"


def sizes(lines: list[str]) -> str:
    return f"{sum(len(line) + 1 for line in lines)} bytes in {len(lines)} lines"
