"""Ctrl-C while a program of popwatch is still being loaded."""

import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SLOW = "import sys, time\nprint('loading', flush=True)\ntime.sleep(600)\n"
"""A module that takes long to be loaded."""

IGNORANT = "import time\nprint('loading', flush=True)\ntry: time.sleep(600)\nexcept BaseException: pass\n"
"""One that goes on whatever happens, as some do when they try which packages there are."""

RUNNING = "import time\ndef main():\n    print('loading', flush=True)\n    time.sleep(600)\n"
"""One whose program does not know Ctrl-C."""


@pytest.mark.parametrize("module", [SLOW, IGNORANT, RUNNING])
def test_one_line_and_no_traceback(tmp_path: Path, module: str) -> None:
    """And the exit code that shells have for it."""
    (tmp_path / "slow.py").write_text(module)
    program = "import sys; sys.path.insert(0, '.'); from popwatch_cli.start import run; run('slow')"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "loading\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "Cancelled.\n")
    assert time.monotonic() - began < 300, "it has waited for the module"


def test_each_program_begins_so() -> None:
    """The command, `make run` and `make deploy`."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"popwatch": "popwatch_cli.start:popwatch"}
    makefile = (PROJECT / "Makefile").read_text()
    assert makefile.count("-m popwatch_cli.") == makefile.count("-m popwatch_cli.local ") + makefile.count(
        "-m popwatch_cli.start deploying "
    )
    for name in ("__init__.py", "local/__init__.py", "local/__main__.py", "start.py"):
        text = (PROJECT / "cli" / "popwatch_cli" / name).read_text()
        imported = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
        assert imported <= {"__future__", "importlib", "os", "signal", "sys", "popwatch_cli.start"}


def test_the_command_is_cancelled_by_that_code() -> None:
    """Where it knows Ctrl-C itself: as a program that waits for an answer, or for AWS."""
    program = (
        "import os, signal, threading, popwatch_cli.main as it\n"
        "it.cli.main = lambda **_: os.kill(os.getpid(), signal.SIGINT) or signal.pause()\n"
        "it.main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "Cancelled.\n")
