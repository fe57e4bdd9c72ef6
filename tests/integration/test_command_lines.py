"""What a new user types works, or says in a line what to type."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from popwatch_cli.installation import Installation
from tests.command_lines import SCRIPT
from tests.integration.conftest import Run

PYTHON = ("Traceback", "<class", " object at 0x", "This is a bug", "'None'")
"""What no message may have: it is about the program, and not about what to type."""


def test_the_script(run: Run, stack: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the script ends and says as it should; all that do not are listed, with what they said."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "POPWATCH_STACK"):
        monkeypatch.delenv(name, raising=False)
    assert stack.endpoint
    wrong = []
    for line in SCRIPT:
        ended = run(*shlex.split(line.line))
        said = ended.out + ended.err
        as_it_should = (
            ended.code == line.code
            and all(text in said for text in line.says)
            and not any(text in said for text in (*line.never, *PYTHON))
        )
        if not as_it_should:
            wrong.append(f"$ popwatch {line.line}\n{said}[{ended.code}] instead of [{line.code}] {line.says}\n")
    assert not wrong, "\n".join(wrong)


def test_watching_as_json_ends_well(run: Run, stack: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of JSON at each refresh, and exit code 0 at Ctrl-C, which is the usual end."""
    refreshes = iter([None])

    def wait(_: float) -> None:
        if next(refreshes, KeyboardInterrupt) is KeyboardInterrupt:
            raise KeyboardInterrupt

    assert stack.endpoint
    monkeypatch.setattr(time, "sleep", wait)
    ended = run("status", "--watch", "--json", "--local")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert [len(json.loads(line)["targets"]) for line in lines] == [3, 3]


def test_a_terminal_that_cannot_show_a_character(tmp_path: Path) -> None:
    """It shows a replacement."""
    path = tmp_path / "targets.yaml"
    path.write_text("- target_id: zürich-☃\n  host: pop.example.net\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", "from popwatch_cli.main import main; main()", "targets", "convert", str(path)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert b"z\xfcrich-?" in ended.stdout
