"""Every console block of the docs shows the real output of its command.

With POPWATCH_REWRITE_DOCS=1 in the environment the pages are corrected instead: review the changes.
"""

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.integration.conftest import Run
from tests.integration.consoles import Console, comparable, consoles, rewrite
from tests.integration.night import Night, new_night

PROJECT = Path(__file__).parents[2]
PAGES = [page for page in (*sorted((PROJECT / "docs").glob("*.md")), PROJECT / "README.md") if consoles(page)]
QUESTION = "Write this? [y/N]: "
SAMPLES = PROJECT / "tests" / "samples"
SERVERS = {"1110": "healthy", "1125": "smtp"}
"""The servers that `popwatch test` is run against, by their ports in the docs."""


class AnsweringTerminal(io.StringIO):
    """Standard input from a terminal at which a question is answered."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """The real ports by those of the docs."""
    with ScriptedServer() as server:
        yield {port: server.listen(script) for port, script in SERVERS.items()}


@pytest.fixture(autouse=True)
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader's terminal, name and folder, with the files that the docs mention."""
    monkeypatch.setenv("COLUMNS", "116")
    monkeypatch.setenv("POPWATCH_BY", "night-shift")
    monkeypatch.chdir(tmp_path)
    for sample in filter(Path.is_file, SAMPLES.iterdir()):
        (tmp_path / sample.name).write_bytes(sample.read_bytes())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_consoles_show_what_commands_print(
    page: Path, run: Run, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of a page in their order: each prints what the page shows below it."""
    wrong = []
    with new_night() as night:
        for console in consoles(page):
            monkeypatch.setattr(sys, "stdin", AnsweringTerminal("y\n"))
            printed = said(console, night, run, ports)
            milliseconds = console.command.startswith("popwatch test ")
            if comparable(printed, milliseconds=milliseconds) != comparable(console.output, milliseconds=milliseconds):
                wrong.append((console, printed))
    if os.environ.get("POPWATCH_REWRITE_DOCS"):
        for console, printed in reversed(wrong):
            rewrite(page, console, printed)
        return
    for console, printed in wrong:
        print(f"\n$ {console.command}\n" + "\n".join(printed))
    assert [console.command for console, _ in wrong] == []


WIDTH = "116"
"""Characters of a line in the docs, as on a terminal that is so wide."""


def said(console: Console, night: Night, run: Run, ports: dict[str, int]) -> list[str]:
    """What a command prints at the time of its console, with the ports of the docs."""
    words = shlex.split(console.command)
    assert words[0] == "popwatch", console.command
    if words[1] == "test":
        here = [str(ports.get(word, word)) for word in words[1:]]
        ended = run(*here)
        text = ended.out + ended.err
        for port, real in ports.items():
            text = re.sub(rf"\b{real}\b", port, text)
    else:
        night.advance_to(console.at)
        with time_machine.travel(console.at, tick=False):
            ended = run("--width", WIDTH, *words[1:])
        text = (ended.err + ended.out).replace(QUESTION, f"{QUESTION}y\n")
    return text.rstrip("\n").split("\n")
