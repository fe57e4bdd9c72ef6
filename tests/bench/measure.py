"""All benches, one after the other: what `make bench` runs. With `--write` they become docs/measurements.md.

`measure.py [NAME...] [--write]`: without names, all. What is written says how, where and when it was measured; each
bench's docstring is its method.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

from tests.measured import where

BENCH = Path(__file__).parent
PROJECT = BENCH.parents[1]
DOCUMENT = PROJECT / "docs" / "measurements.md"
TITLES = {
    "prober": "What a test costs, beside others",
    "names": "Names, through a name server that loses and limits packets",
    "logins": "Logins, beside greetings",
    "postures": "Posture tests, beside tests",
    "rtt": "How true the round-trip time is",
    "imports": "What a cold start imports",
    "inputs": "What the bill is worked out from",
    "cost": "The monthly bill",
    "capacity": "Capacity units of DynamoDB",
    "report": "A month's report",
    "page": "The page",
    "sweep": "A sweep, part by part",
    "profile": "The profile of a sweep",
    "stack": "A sweep on the local stack",
    "ticks": "Ticks late in their minute",
    "time_to_alert": "The longest time to the first alert",
    "flood": "The most messages of one target",
    "time_to_alert_live": "The longest time to the first alert, on the local stack",
}


def main() -> None:
    """Run the benches that are named, and write what they say."""
    names = [name for name in sys.argv[1:] if not name.startswith("-")] or list(TITLES)
    write = "--write" in sys.argv
    sections: dict[str, str] = {}
    for name in names:
        print(f"# {TITLES[name]}", flush=True)
        sections[name] = section(name, run(name, write=write))
    if write:
        sections = old_sections() | sections
        DOCUMENT.write_text(HEAD + "".join(sections[name] for name in TITLES if name in sections))
        print(f"written into {DOCUMENT.relative_to(PROJECT)}")


HEAD = """# Measurements

Made by `make bench WRITE=1`, and by nothing else: run it yourself. `.ci/install-peers` and `.ci/install-npm` bring what
it compares with. A section says when and where it was measured. Times are CPU time where nothing else is said, as that
is what Lambda charges for; noise is shown as the least, the middle and the greatest of some rounds.
"""


def section(name: str, output: str) -> str:
    """A bench's part of the document: how, where and when, and what it printed."""
    method = ast.get_docstring(ast.parse(program(name).read_text()))
    return f"\n## {TITLES[name]}\n\n{method}\n\n{where()}\n\n```\n{output.rstrip()}\n```\n"


def run(name: str, *, write: bool) -> str:
    """A bench's output, which is shown as it comes."""
    arguments = [sys.executable, "-u", "-m", module(name), *(["--write"] if write and name == "inputs" else [])]
    with subprocess.Popen(arguments, cwd=PROJECT, env=variables(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(f"bench_{name}.py failed.")
    print()
    return "".join(lines)


def module(name: str) -> str:
    """A bench as a module."""
    return f"tests.bench.bench_{name}"


def variables() -> dict[str, str]:
    """The environment of a bench, in which it imports `tests`, the functions, and popwatch as it is beside them."""
    folders = (PROJECT, PROJECT / "functions", PROJECT / "layers" / "popwatch", PROJECT / "cli")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def program(name: str) -> Path:
    """Where a bench is."""
    return BENCH / f"bench_{name}.py"


def old_sections() -> dict[str, str]:
    """The sections of the document as it is, by bench, so that one can be measured anew alone."""
    if not DOCUMENT.exists():
        return {}
    parts = DOCUMENT.read_text().split("\n## ")[1:]
    titles = {title: name for name, title in TITLES.items()}
    return {titles[title]: f"\n## {part}" for part in parts if (title := part.partition("\n")[0]) in titles}


if __name__ == "__main__":
    main()
