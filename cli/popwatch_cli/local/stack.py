"""Starting and stopping the local stack: MiniStack, `sam build`, `sam deploy`, `outputs.json` and `aws-env`.

All files are in one folder (`.popwatch`), which is the user's alone; all servers listen on 127.0.0.1 only, and no AWS
account or configuration of the user is read. Each run has a key of its own, which is in these two.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from popwatch.alerts.tokens import LOCAL_STACK
from popwatch_cli.installation import local_client, remember_key
from popwatch_cli.local.gate import HEALTH
from popwatch_cli.options import STACK_NAME

REGION = "us-east-1"
USUAL_PORT = 4566
"""MiniStack's default; if it is in use, another port is taken."""

START_SECONDS = 60.0

LOCAL_PARAMETERS = {"AllowLocalTargets": "true"}
"""Parameters of the local deployment: the demo's servers are on this machine."""


PASSED_ON = ("PATH", "PYTHONPATH", "LD_PRELOAD", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
"""Variables of the user's environment that the local AWS has, and so its functions: none that may hold a secret.

LD_PRELOAD: a clock that is set for the caller (`.ci/run-anytime`) must be the functions' clock too.
"""


class LocalStackError(Exception):
    """The local stack cannot be started; the text says why and what to do."""


@dataclass(slots=True)
class LocalStack:
    """A local AWS with the template of `project` deployed to it; state and logs are in `folder`.

    `parameters` override the template's defaults, `settings` are further environment variables for MiniStack (`AUTH`:
    "true" makes it enforce IAM). `key` is the key of the run: who does not have it is refused.
    """

    project: Path
    folder: Path
    port: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    key: str = field(default_factory=lambda: token_hex(16), repr=False)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def endpoint(self) -> str:
        """The address of all services of the local AWS."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the local AWS. Raises LocalStackError."""
        chosen = self.port
        self.port = chosen or free_port(USUAL_PORT)
        try:
            self._launch()
        except LocalStackError:
            if chosen or free_port(self.port) == self.port:
                raise
            self.port = free_port(0)  # another program took the port meanwhile
            self._launch()

    def _launch(self) -> None:
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        remember_key(self.endpoint, self.key)
        with (self.folder / "aws.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "popwatch_cli.local.ministack"],
                env=self._aws_environment(),
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready(self._process)

    def build(self) -> None:
        """Run `sam build`. Raises LocalStackError."""
        self._sam("build", "--cached", "--cache-dir", str(self.folder / "cache"), "--build-dir", str(self._built))

    def deploy(self) -> None:
        """Run `sam deploy` after `build`, and write `outputs.json`. Raises LocalStackError."""
        overrides = [f"{name}={value}" for name, value in self.all_parameters.items()]
        self._sam(
            "deploy",
            *("--template-file", str(self._built / "template.yaml"), "--stack-name", STACK_NAME, "--region", REGION),
            *("--resolve-s3", "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"),
            *("--parameter-overrides", *overrides),
        )
        self.write_outputs()

    @property
    def all_parameters(self) -> dict[str, str]:
        """The template's parameters that are not its defaults."""
        return LOCAL_PARAMETERS | dict(self.parameters)

    def write_outputs(self) -> None:
        """Read the outputs of what is deployed, and write them for other programs."""
        remember_key(self.endpoint, self.key)
        stacks = self.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}
        written = {"endpoint": self.endpoint, "region": REGION, "process": os.getpid(), "outputs": self.outputs}
        write_secret(self._outputs_file, json.dumps({**written, "key": self.key}, indent=2) + "\n")
        write_secret(self._variables_file, self._for_other_programs())

    def client(self, service: str) -> Any:
        """A boto3 client of a service of the local AWS."""
        return local_client(service, self.endpoint, REGION)

    def stop(self) -> None:
        """Stop the local AWS and every function that it runs."""
        self._outputs_file.unlink(missing_ok=True)
        self._variables_file.unlink(missing_ok=True)
        process, self._process = self._process, None
        if process:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin:
                process.stdin.close()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    @property
    def process_id(self) -> int:
        """The process of the local AWS; the functions that it runs are its children."""
        if self._process is None:
            raise LocalStackError("The local stack has not been started.")
        return self._process.pid

    @property
    def _built(self) -> Path:
        return self.folder / "build"

    @property
    def _outputs_file(self) -> Path:
        return self.folder / "outputs.json"

    @property
    def _variables_file(self) -> Path:
        return self.folder / "aws-env"

    def _for_other_programs(self) -> str:
        """The lines of a shell after which the AWS CLI and others use the local AWS, and nothing else."""
        variables = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.key,
        }
        lines = (f"export {name}={value}" for name, value in variables.items())
        return "\n".join(["unset AWS_PROFILE AWS_SESSION_TOKEN", *lines]) + "\n"

    def environment(self) -> dict[str, str]:
        """The caller's environment without its AWS account, with credentials that are valid nowhere else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_"))}
        binaries = str(Path(sys.executable).parent)
        return kept | {
            "PATH": f"{binaries}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.2",  # SAM asks AWS every 5 s whether a deployment is done; this one takes less
            "TMPDIR": str(self.folder / "tmp"),
        }

    def _aws_environment(self) -> dict[str, str]:
        """The environment of the local AWS, which its functions inherit."""
        environment = self.environment()
        passed_on = {name: environment[name] for name in environment if name in PASSED_ON or name.startswith("AWS_")}
        return passed_on | {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "SHOWN_STACK": LOCAL_STACK,  # the functions' own: the commands in their alerts are for this stack
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "S3_DATA_DIR": str(self.folder / "tmp" / "s3"),
            **self.settings,
        }

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        # With the key, so that no other local AWS answers that has the port: ours ends then.
        key = {"Authorization": f"AWS4-HMAC-SHA256 Credential={self.key}/"}
        health = Request(f"{self.endpoint}{HEALTH}", headers=key)  # noqa: S310 - our own address
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            with suppress(URLError, OSError), urlopen(health, timeout=1):  # noqa: S310 - our own address
                time.sleep(0.2)  # a program of another kind may be answering
                if process.poll() is None:
                    return
            time.sleep(0.1)
        self.stop()
        raise LocalStackError(f"The local AWS did not start. Its log is {self.folder / 'aws.log'}.")

    def _sam(self, command: str, *options: str) -> None:
        """Run a command of SAM. Its output goes to a log, whose end is shown if it fails."""
        log = self.folder / f"sam-{command}.log"
        with log.open("wb") as output:
            done = subprocess.run(
                # Another environment than `default`, so that no answer for the user's own AWS account is read.
                [str(Path(sys.executable).parent / "sam"), command, "--config-env", "local", *options],
                env=self.environment(),
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode:
            end = _last_lines(log.read_text(errors="replace"))
            hint = " Building needs PyPI, or your mirror of it, once." if command == "build" else ""
            raise LocalStackError(f"`sam {command}` failed.{hint} Its log is {log}; it ends:\n\n{end}")


def free_port(wished: int) -> int:
    """A free port of 127.0.0.1: the wished one if it is free."""
    for port in (wished, 0):
        with socket.socket() as sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            return int(sock.getsockname()[1])
    raise LocalStackError("No port of 127.0.0.1 is free.")


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its user can read, whoever could read the one before; it is never absent or unfinished."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    fresh.write_text(text)
    fresh.replace(path)


def _last_lines(text: str, count: int = 15) -> str:
    lines: Sequence[str] = text.rstrip().splitlines()
    return "\n".join(lines[-count:])
