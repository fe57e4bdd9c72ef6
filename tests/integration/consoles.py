"""The console blocks of the docs: a command after `$ `, and what it prints.

A block is indented by four spaces. A comment before it gives the time at which it is run, in the data of `night`. Each
page begins with new data, and what its commands change applies to the commands below them.

    <!-- at 03:15:30 -->

        $ popwatch status

What differs between runs is not compared: milliseconds of a real test and the clock that measured them (the first test
of a process may come before the kernel's time stamps begin), message ids of SNS.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.examples import START

AT = re.compile(r"<!-- at (\d\d):(\d\d)(?::(\d\d))? -->")
INDENT = "    "
PROMPT = f"{INDENT}$ "
VARYING = (
    (re.compile(r"\b\d+(?:\.\d+)? ms"), "# ms"),
    (re.compile(r"by the (?:kernel|program)'s clock"), "by # clock"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "#"),
)
"""What is not compared, and what replaces it."""


@dataclass(slots=True)
class Console:
    """A command of a page, the lines that it should print, when it is run, and the first line of its output."""

    command: str
    at: datetime
    first: int
    output: list[str] = field(default_factory=list)


def consoles(page: Path) -> list[Console]:
    """The consoles of a page, in its order."""
    return list(_consoles(page.read_text().split("\n")))


def _consoles(lines: Sequence[str]) -> Iterator[Console]:
    at, current = START.replace(hour=3, minute=0), None
    for number, line in enumerate(lines):
        if match := AT.fullmatch(line.strip()):
            at = at.replace(hour=int(match[1]), minute=int(match[2]), second=int(match[3] or 0))
        if line.startswith(PROMPT) or (current and line and not line.startswith(INDENT)):
            if current:
                yield _trimmed(current)
            current = Console(line.removeprefix(PROMPT), at, number + 1) if line.startswith(PROMPT) else None
        elif current:
            current.output.append(line.removeprefix(INDENT))
    if current:
        yield _trimmed(current)


def _trimmed(console: Console) -> Console:
    while console.output and not console.output[-1].strip():
        console.output.pop()
    return console


def comparable(lines: Sequence[str], *, milliseconds: bool) -> list[str]:
    """Lines without what differs between runs. `milliseconds`: the command tests real servers."""
    varying = VARYING if milliseconds else VARYING[1:]
    return [_masked(line.rstrip(), varying) for line in lines]


def _masked(line: str, varying: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in varying:
        line = pattern.sub(replacement, line)
    return re.sub(r" +# ms", " # ms", line)


def rewrite(page: Path, console: Console, printed: Sequence[str]) -> None:
    """Write the output of a command into its page."""
    lines = page.read_text().split("\n")
    shown = [f"{INDENT}{line}".rstrip() for line in printed]
    lines[console.first : console.first + len(console.output)] = shown
    page.write_text("\n".join(lines))
