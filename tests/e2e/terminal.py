"""A terminal in which someone presses Enter at every question, and nothing else."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_QUESTION = re.compile(r"[\]:?] ?: ?$|\[[yYnN]/[yYnN]\]: ?$|to stop: ?$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[a-zA-Z]")
QUIET_SECONDS = 0.3
"""A line that ends like a question and is followed by nothing for this time waits for an answer."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a command showed on the terminal, how it ended, and at which questions Enter was pressed."""

    command: str
    code: int
    text: str
    questions: tuple[str, ...]

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.text}[exit code {self.code}]\n"


def press_enter(command: str, folder: Path, environment: Mapping[str, str], seconds: float = 420) -> Transcript:
    """Run a shell command in a terminal of its own and press Enter at each question until it ends."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=folder,
        env={**environment, "TERM": "dumb", "COLUMNS": "120"},
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    shown, questions, end = "", [], time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if select.select([main], [], [], QUIET_SECONDS)[0]:
                more = _read(main)
                if not more:
                    break
                shown += more
            elif _QUESTION.search(line := _COLOUR.sub("", shown).rpartition("\n")[2]):
                questions.append(line.strip())
                os.write(main, b"\n")
        else:
            raise AssertionError(f"after {seconds:.0f} s it still waits:\n{_clean(shown)}")
    finally:
        os.close(main)
        with suppress(ProcessLookupError):
            process.kill()
    return Transcript(command, process.wait(20), _clean(shown), tuple(questions))


def _read(descriptor: int) -> str:
    try:
        return os.read(descriptor, 65536).decode(errors="replace")
    except OSError:  # Linux: the other side was closed
        return ""


def _clean(shown: str) -> str:
    lines = [line.rpartition("\r")[2] for line in _COLOUR.sub("", shown).replace("\r\n", "\n").split("\n")]
    return "\n".join(lines)
