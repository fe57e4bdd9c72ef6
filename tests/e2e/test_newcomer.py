"""docs/first-five-minutes.md followed word for word: a fresh clone, an empty HOME, everything newly installed.

Commands are run in the order of the page. `make run` runs in a terminal of its own until the page says Ctrl-C or starts
it again. The output that the page shows must appear there, with any figures. Other pages follow in the same clone.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deployed import PROJECT

pytestmark = [pytest.mark.fresh, pytest.mark.timeout(1200)]

PAGE = (PROJECT / "docs" / "first-five-minutes.md").read_text()
STEP = re.compile(
    r"(?:^<!-- (?P<kind>file|seen by): (?P<what>.*) -->\n\n)?(?P<block>(?:^    .*\n)+)|^(?P<end>Ctrl-C in)", re.M
)
DURATION = re.compile(r"\d+ (?:s|min)(?: \d+ s)?")
"""A duration as popwatch writes it, which differs between runs."""

PATIENCE_SECONDS = 420.0
"""For one line to appear: installation takes the longest."""

COMMAND = re.compile(r"^    (?:\$ )?(popwatch [a-z].*)$", re.M)
NOT_HERE = re.compile(
    r"^popwatch (?:verify|page|posture|credentials put|targets (?:import|check)|test (?!mail-|--local))"  # servers, AWS
    r"|--watch|--stack|--credential|targets\.jsonl|\bfish\b|[A-Z]{2}[A-Z.]*$|[A-Z]\.\.\.$|[\[{][A-Z]"
)
"""Lines that wait for someone, that need a server, a file or AWS, or that are a command's syntax."""

PAGES = ("command.md", "rehearsing.md", "reports.md", "interventions.md")
SEED = "; ".join(
    f"popwatch targets put {name} host=127.0.0.1 port=1 tls=none group=customers 'tags=[\"berlin\"]'"
    for name in ("mail-berlin", "mail-rome", "mail-oslo")
)

FAILED_TEST = 2
"""The exit code of a failed test: the servers of this page do not answer."""


class Terminal:
    """A terminal in which `make run` is running."""

    def __init__(self, command: str, clone: Path, environment: dict[str, str]) -> None:
        self.log = clone.parent / f"output-{time.monotonic_ns()}"
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # if it were ignored, child processes would ignore it too
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
        """Wait until a line has appeared, with any figures."""
        parts = (re.sub(r"\d+", r"\\d+", re.escape(part)) for part in DURATION.split(line))
        pattern = re.compile(DURATION.pattern.join(parts))
        end = time.monotonic() + PATIENCE_SECONDS
        output = self.log.read_text()
        while not pattern.search(output):
            assert time.monotonic() < end, f"no {line!r} in:\n{output}"
            assert self.process.poll() is None, output
            time.sleep(0.2)
            output = self.log.read_text()

    def interrupt(self) -> None:
        """Send Ctrl-C to make and to all its children, as a terminal does; make itself then ends by the signal."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(60)
            assert "Stopped." in self.log.read_text()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone, and an empty home."""
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(tmp_path / "popwatch")], check=True)
    (tmp_path / "home").mkdir()
    return tmp_path / "popwatch"


@pytest.fixture
def environment(clone: Path) -> dict[str, str]:
    """No home, no AWS account, no virtual environment: only a path with Python, and the settings of pip."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = os.pathsep.join([str(Path(sys.base_prefix) / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
    return kept | {"PATH": path, "HOME": str(clone.parent / "home"), "LANG": "C.UTF-8"}


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Every terminal is ended after the test."""
    found: list[Terminal] = []
    yield found
    for terminal in found:
        terminal.interrupt()


def test_the_page_leads_where_it_says(clone: Path, environment: dict[str, str], terminals: list[Terminal]) -> None:
    """Every command of the page works, and all output that it shows appears."""
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
                run(line, clone, environment, terminals)
                done.append(line)
    assert done[0] == "make run"
    assert len(done) == 9
    assert sum(len(follow(page, clone, environment)) for page in PAGES) > 40


def follow(page: str, clone: Path, environment: dict[str, str]) -> list[str]:
    """Type the lines of another page as they are printed, with `--local`, in bash and in zsh in turn.

    The targets that the pages speak of are there. Returns the lines, but those that need what a newcomer has not.
    """
    lines = [line for line in COMMAND.findall((PROJECT / "docs" / page).read_text()) if not NOT_HERE.search(line)]
    shells = [shell for shell in ("bash", "zsh") if shutil.which(shell, path=environment["PATH"])]
    for number, line in enumerate([SEED, "popwatch retest mail-berlin mail-rome mail-oslo", *lines]):
        typed = re.sub(r"popwatch (?!cost --|completion|help|version|test --file)", "popwatch --local ", line)
        if "targets remove" in line:
            typed += f"; {SEED.replace('popwatch', 'popwatch --local')}"
        ended = subprocess.run(
            [shells[number % len(shells)], "-c", f". .venv/bin/activate; {typed}"],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode in range(FAILED_TEST + 1), f"{page}: {typed}\n{ended.stdout}{ended.stderr}"
        assert "Traceback" not in ended.stderr, f"{page}: {typed}\n{ended.stderr}"
    return lines


def run(line: str, clone: Path, environment: dict[str, str], terminals: list[Terminal]) -> None:
    """Run one command of the page."""
    if line.startswith("make run"):
        terminals.append(Terminal(line, clone, environment))
        return
    ended = subprocess.run(
        line, shell=True, cwd=clone, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    fails = line.endswith(" status") or "popwatch test " in line
    assert ended.returncode == (FAILED_TEST if fails else 0), f"{line}\n{ended.stdout}{ended.stderr}"
