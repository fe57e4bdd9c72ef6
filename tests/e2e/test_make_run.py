"""`make run` without a terminal: the demo, the user's own targets, and its end by signals."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import boto3
import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import PROJECT

pytestmark = pytest.mark.local_stack

PARTS = ("template.yaml", "functions", "layers")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first `make run` keeps what it has built, for the next one, too."""
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def project(tmp_path: Path, built: Path) -> Path:
    """A copy of the files that `make run` uses, with a state of its own but for what is built."""
    for part in PARTS:
        source, target = PROJECT / part, tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (tmp_path / ".popwatch").mkdir()
    (tmp_path / ".popwatch" / "cache").symlink_to(built)
    return tmp_path


class Running:
    """The process of `make run`, with its output in a file."""

    def __init__(self, project: Path, *arguments: str) -> None:
        self.project, self.log = project, project / "output"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "popwatch_cli.local", *arguments],
                cwd=project,
                env={**os.environ, "HOME": str(project / "home"), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_for(self, text: str, seconds: float = 600.0) -> str:
        """The output, once it contains a text."""
        end = time.monotonic() + seconds
        while text not in (output := self.log.read_text()):
            assert time.monotonic() < end, f"no {text!r} in:\n{output}"
            assert self.process.poll() is None, output
            time.sleep(0.2)
        return output

    def end(self, sign: signal.Signals) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(sign)
        return self.process.wait(300)

    @property
    def endpoint(self) -> str:
        outputs = json.loads((self.project / ".popwatch" / "outputs.json").read_text())
        return str(outputs["endpoint"])


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """The processes that a test has started; they are ended even if it fails."""
    processes: list[Running] = []
    yield processes
    for running in processes:
        with suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGTERM)
        running.process.wait(30)


def popwatch(project: Path, *arguments: str) -> str:
    """What the command prints about the local stack."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "popwatch"), "--local", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def listens(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    with suppress(OSError):
        socket.create_connection((address.hostname or "", address.port or 0), 1).close()
        return True
    return False


def test_the_demo_shows_tests_and_ends_all_it_started(project: Path, started: list[Running]) -> None:
    """Plain lines without a terminal: states, errors, an alert with its texts; SIGTERM ends everything with code 0."""
    running = Running(project)
    started.append(running)
    output = running.wait_for("ALERT  DOWN 1/2: demo-port-is-closed")
    for line in (
        "UP demo-healthy",
        "WARN demo-port-is-closed",
        "Unable to connect to the remote device (refused)",
        "WARN demo-speaks-smtp",
    ):
        assert line in output
    running.wait_for("SMS: DOWN 1/2 demo-port-is-closed")
    assert "demo-healthy" in popwatch(project, "targets", "list")
    address = output.split("The page is at ")[1].split()[0]
    with urlopen(f"{address}api/status", timeout=300) as answer:
        assert "demo-healthy" in {target["target_id"] for target in json.load(answer)["targets"]}
    second = subprocess.run(
        [sys.executable, "-m", "popwatch_cli.local"], cwd=project, capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert "is already running here" in second.stderr
    endpoint = running.endpoint
    assert listens(endpoint)
    assert running.end(signal.SIGTERM) == 0
    assert "The targets and the history of this run are gone. `make run KEEP=1` keeps them" in running.log.read_text()
    assert not listens(endpoint)
    assert not (project / ".popwatch" / "outputs.json").exists()


def test_own_targets_and_a_violent_end(project: Path, started: list[Running], server: ScriptedServer) -> None:
    """The user's targets are watched and invalid fields reported; after SIGKILL no process is left."""
    port = server.listen("healthy")
    targets = project / "targets.yaml"
    targets.write_text(
        f"- {{target_id: mine, host: 127.0.0.1, port: {port}}}\n- {{target_id: wrong, host: x, port: many}}\n"
    )
    running = Running(project, "--targets", str(targets))
    started.append(running)
    output = running.wait_for("UP mine")
    assert "wrong: The field `port` cannot be used: `many` is not a number." in output
    running.wait_for("(invalid-field: port)")
    endpoint = running.endpoint
    running.end(signal.SIGKILL)
    end = time.monotonic() + 300
    while listens(endpoint):
        assert time.monotonic() < end, "the local AWS outlived its parent"
        time.sleep(0.2)


@pytest.mark.faults
def test_what_is_kept_outlives_the_end_of_its_run(
    project: Path, started: list[Running], server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run goes on with targets, states and history, after SIGTERM and after SIGKILL; the schedule fires again.

    Meanwhile the AWS CLI's own library finds the stack by the file that is written for it.
    """
    (project / "targets.yaml").write_text(
        f"- {{target_id: mine, host: 127.0.0.1, port: {server.listen('healthy')}, prot: 1}}\n"
    )
    running = Running(project, "--keep", "--targets", "targets.yaml")
    started.append(running)
    output = running.wait_for("UP mine")
    assert "mine: unknown field `prot`: it is kept but has no effect. Did you mean `port`?" in output
    assert popwatch(project, "targets", "put", "late", "host=127.0.0.1", "port=1").startswith("+ late")
    lines = (project / ".popwatch" / "aws-env").read_text().splitlines()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert len(boto3.session.Session().client("dynamodb").list_tables()["TableNames"]) == 3
    folder = project / ".popwatch"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {it.name for it in folder.iterdir() if it.is_file() and it.stat().st_mode & 0o077} == set()
    assert running.end(signal.SIGTERM) == 0
    assert "`make run KEEP=1` goes on" in running.log.read_text()

    again = Running(project, "--keep")
    started.append(again)
    assert "Watching 2 targets" in again.wait_for("Watching ")
    again.wait_for("WARN late")
    assert "Restoring " in again.log.read_text()
    assert "untested -> up" in popwatch(project, "history", "mine", "--since", "1h")
    before = (folder / "kept.jsonl.gz").stat().st_mtime_ns
    again.wait_for("DOWN late")  # of ticks after the first, which are the schedule's
    end = time.monotonic() + 300
    while (folder / "kept.jsonl.gz").stat().st_mtime_ns == before:
        assert time.monotonic() < end, "nothing was kept meanwhile"
        time.sleep(0.2)
    again.end(signal.SIGKILL)

    last = Running(project, "--keep")
    started.append(last)
    last.wait_for("DOWN late")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("none.yaml", None, "cannot be read"), ("bad.yaml", "- host: x\n", "Line 1: the field `target_id` is missing")],
)
def test_a_file_of_targets_that_cannot_be_used(project: Path, name: str, text: str | None, message: str) -> None:
    """Nothing is started; the message says what is wrong."""
    if text is not None:
        (project / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "popwatch_cli.local", "--targets", name],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
