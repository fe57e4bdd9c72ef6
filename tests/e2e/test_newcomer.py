"""docs/first-five-minutes.md followed to the letter: a fresh clone, an empty HOME, everything installed anew.

Commands are taken from the page in its order. `make run` goes on in a terminal of its own until the page says Ctrl-C or
calls it again. What the page shows of its output must appear there, whatever the figures.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import PROJECT

pytestmark = [pytest.mark.fresh, pytest.mark.timeout(900)]

PAGE = (PROJECT / "docs" / "first-five-minutes.md").read_text()
STEP = re.compile(
    r"(?:^<!-- (?P<kind>file|seen by): (?P<what>.*) -->\n\n)?(?P<block>(?:^    .*\n)+)|^(?P<end>Ctrl-C in)", re.M
)
LENGTH = re.compile(r"\d+ (?:s|min)(?: \d+ s)?")
"""A length of time as popwatch writes it, which differs from run to run."""

PATIENCE_SECONDS = 420.0
"""For one thing to be seen: installing takes the longest."""

FAILED_TEST = 2
"""The exit code of a test of a server that does not answer, as those of this page do not."""


class Terminal:
    """A terminal in which `make run` goes on."""

    def __init__(self, command: str, clone: Path, environment: dict[str, str]) -> None:
        self.log = clone.parent / f"output-{time.monotonic_ns()}"
        signal.signal(signal.SIGINT, signal.default_int_handler)  # where it is ignored, what is started ignores it too
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                shell=True,
                cwd=clone,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def see(self, line: str) -> None:
        """Wait until a line has appeared, whatever its figures."""
        parts = (re.sub(r"\d+", r"\\d+", re.escape(part)) for part in LENGTH.split(line))
        pattern = re.compile(LENGTH.pattern.join(parts))
        end = time.monotonic() + PATIENCE_SECONDS
        while not pattern.search(said := self.log.read_text()):
            assert time.monotonic() < end, f"no {line!r} in:\n{said}"
            assert self.process.poll() is None, said
            time.sleep(0.2)

    def interrupt(self) -> None:
        """Ctrl-C, to make and to all that it runs, as a terminal does; make itself then dies by it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(60)
            assert "Stopped." in self.log.read_text()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a newcomer has."""
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(tmp_path / "popwatch")], check=True)
    (tmp_path / "home").mkdir()
    return tmp_path / "popwatch"


@pytest.fixture
def environment(clone: Path) -> dict[str, str]:
    """No home, no AWS account, no virtual environment: a path with Python on it, and where pip finds its packages."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = os.pathsep.join([str(Path(sys.base_prefix) / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
    return kept | {"PATH": path, "HOME": str(clone.parent / "home"), "LANG": "C.UTF-8"}


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """What is started is ended, whatever happens."""
    found: list[Terminal] = []
    yield found
    for terminal in found:
        terminal.interrupt()


def test_the_page_leads_where_it_says(clone: Path, environment: dict[str, str], terminals: list[Terminal]) -> None:
    """Every command of the page works, and everything that it shows is seen."""
    done = []
    for step in STEP.finditer(PAGE):
        lines = [line.removeprefix("    ") for line in (step["block"] or "").splitlines()]
        if step["end"]:
            terminals[-1].interrupt()
        elif step["kind"] == "file":
            (clone / step["what"]).write_text("\n".join(lines) + "\n")
        elif step["kind"] == "seen by":
            assert step["what"] in done
            for line in lines:
                terminals[-1].see(line)
        else:
            for line in lines:
                give(line, clone, environment, terminals)
                done.append(line)
    assert done[0] == "make run"
    assert len(done) == 9


def give(line: str, clone: Path, environment: dict[str, str], terminals: list[Terminal]) -> None:
    """Give one command, as the page has it."""
    if line.startswith("make run"):
        terminals.append(Terminal(line, clone, environment))
        return
    ended = subprocess.run(
        line, shell=True, cwd=clone, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    fails = line.endswith(" status") or "popwatch test " in line
    assert ended.returncode == (FAILED_TEST if fails else 0), f"{line}\n{ended.stdout}{ended.stderr}"
