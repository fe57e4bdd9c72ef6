"""A function of the built stack, run by Amazon's own runtime interface client in what is like Lambda's environment."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from popwatch_cli.installation import local_key
from tests.lambda_runtime.runtime_api import Answer, Invocation, RuntimeApi

PROJECT = Path(__file__).parents[2]
SANDBOX = Path(__file__).parent / "sandbox.sh"
INSTALLED = PROJECT / ".popwatch" / "lambda"
RUNTIMES = ("2024-11", "newest")
"""What .ci/install-lambda-runtime installs: boto3 and the runtime interface client of two times."""

INIT_SECONDS = 10.0
"""Lambda ends an initialisation after that time (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html)."""

START_SECONDS = 60.0
"""A busy machine is slower than Lambda."""

FULL_CORE_MB = 1769
"""Memory with which a function has one vCPU (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html)."""


@cache
def python313() -> str:
    """The path of a Python 3.13, outside of any virtual environment."""
    found = subprocess.run([str(PROJECT / ".ci" / "find-python-3.13")], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@dataclass(frozen=True, slots=True)
class Build:
    """What `sam build` made for one function, which runtime runs it, and a folder for the sandbox."""

    function: Path
    layer: Path
    runtime: str
    folder: Path

    def command(self, *program: str) -> list[str]:
        """The command that runs a program in the sandbox."""
        stage = self.folder / "stage"
        stage.mkdir(exist_ok=True)
        parts = (stage, self.function, self.layer, INSTALLED / self.runtime)
        return [str(SANDBOX), *map(str, parts), *program]


@dataclass(frozen=True, slots=True)
class Settings:
    """A function's configuration: what the template gives it, and what Lambda adds."""

    name: str
    handler: str
    memory_mb: int
    timeout: int
    variables: Mapping[str, str]
    log_format: str
    log_level: str

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}"

    def environment(self, api: str, endpoint: str) -> dict[str, str]:
        """All that the process sees: no HOME, and nothing of whoever runs the tests.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html, and AWS_LAMBDA_LOG_FORMAT and _LEVEL,
        which the runtime interface client reads (bootstrap.py).
        """
        return {
            **self.variables,
            "_HANDLER": self.handler,
            "AWS_ACCESS_KEY_ID": local_key(endpoint),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": self.log_format,
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_LEVEL": self.log_level,
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/27/[$LATEST]0123456789abcdef0123456789abcdef",
            "AWS_LAMBDA_RUNTIME_API": api,
            "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": local_key(endpoint),
            "AWS_SESSION_TOKEN": "local",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LAMBDA_TASK_ROOT": "/var/task",
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
            "PYTHONPATH": "/var/task:/opt/python:/var/runtime",
            "TZ": ":UTC",
        }


@dataclass(slots=True)
class Function:
    """A running function: events in, answers and lines of its standard output out."""

    api: RuntimeApi
    process: "subprocess.Popen[str]"
    seconds: float
    lines: "queue.Queue[str]" = field(default_factory=queue.Queue)
    errors: list[str] = field(default_factory=list)
    cold_start_ms: float = 0.0
    cold_start_cpu_ms: float = 0.0

    @classmethod
    @contextmanager
    def running(cls, build: Build, settings: Settings, endpoint: str) -> Iterator["Function"]:
        """Start it and wait until it asks for its first event. An init error fails with what it printed."""
        with RuntimeApi.running(settings.arn) as api:
            command = build.command(python313(), "-m", "awslambdaric", settings.handler)
            environment = settings.environment(api.address, endpoint)
            began = time.monotonic()
            with subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
            ) as process:
                found = cls(api, process, float(settings.timeout))
                readers = [threading.Thread(target=found._read_lines), threading.Thread(target=found._read_errors)]
                for reader in readers:
                    reader.start()
                try:
                    found._wait_until_ready(began, settings.memory_mb)
                    yield found
                finally:
                    process.kill()
                    process.wait()
                    for reader in readers:
                        reader.join()

    def invoke(self, event: Any) -> tuple[Invocation, Answer, list[str]]:
        """The function's answer to an event, and the lines that it printed for it."""
        invocation = Invocation(event, self.seconds)
        self.api.ready.clear()
        self.api.invocations.put(invocation)
        answer = self.api.answers.get(timeout=self.seconds)
        assert self.api.ready.wait(5), "the function does not ask for its next event"
        return invocation, answer, self.printed()

    def printed(self) -> list[str]:
        """The lines that have been printed and not been returned yet."""
        time.sleep(0.1)  # the reader has what was written before the function asked for its next event
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self.lines.get_nowait())
        return found

    def _wait_until_ready(self, began: float, memory_mb: int) -> None:
        while not self.api.ready.wait(0.01):
            if self.process.poll() is not None or time.monotonic() - began > START_SECONDS:
                raise AssertionError("\n".join(["the function did not start:", *self.printed(), *self.errors]))
        self.cold_start_ms = (time.monotonic() - began) * 1000
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        self.cold_start_cpu_ms = (int(ticks[11]) + int(ticks[12])) * 1000 / os.sysconf("SC_CLK_TCK")  # utime, stime
        core = min(1.0, memory_mb / FULL_CORE_MB)
        assert self.cold_start_cpu_ms / core < INIT_SECONDS * 1000, f"{self.cold_start_cpu_ms:.0f} ms of CPU"

    def _read_lines(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line.removesuffix("\n"))

    def _read_errors(self) -> None:
        assert self.process.stderr
        self.errors.extend(self.process.stderr)


def kept_by_lambda(lines: Sequence[str], level: str) -> list[dict[str, Any]]:
    """The lines that Lambda would send to CloudWatch Logs with an `ApplicationLogLevel`.

    A line without a level, or without a time stamp of RFC 3339, counts as INFO
    (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html).
    """
    levels = ("TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL")
    found = [json.loads(line) for line in lines]
    stamped = [str(line.get("level", "INFO")) if "timestamp" in line else "INFO" for line in found]
    return [line for line, own in zip(found, stamped, strict=True) if levels.index(own) >= levels.index(level)]


def versions(build: Build) -> str:
    """What runs: Python, OpenSSL, boto3, the runtime interface client."""
    program = (
        "import awslambdaric, boto3, botocore, platform, ssl, urllib3; print(f'Python {platform.python_version()}, "
        "{ssl.OPENSSL_VERSION}, boto3 {boto3.__version__}, urllib3 {urllib3.__version__}, "
        "awslambdaric {awslambdaric.__version__}')"
    )
    ended = subprocess.run(
        build.command(python313(), "-c", program),
        env={"PYTHONPATH": "/var/task:/opt/python:/var/runtime", "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.strip()


def report(text: str) -> None:
    """A line of the harness's report, shown also when the tests pass."""
    print(text, file=sys.__stdout__, flush=True)
