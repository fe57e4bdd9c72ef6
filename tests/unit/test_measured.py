"""Figures in the docs: a section is replaced by its title, the others stay, and every bench can run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import bench_postures, measure
from tests.measured import write_section


def test_a_section_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """A new one goes to the end; what is written again stays where it was."""
    document = tmp_path / "figures.md"
    document.write_text("# Figures\n\nMade by machines.\n")
    for title, body in (("One", "1\n"), ("Two", "2\n"), ("One", "1.5\n")):
        write_section(document, title, body)
    assert document.read_text() == "# Figures\n\nMade by machines.\n\n## One\n\n1.5\n\n## Two\n\n2\n"


@pytest.mark.long
def test_every_bench_can_run() -> None:
    """Each is a module that imports with what `make bench` gives it, and none is left out of the document."""
    assert {path.stem for path in measure.BENCH.glob("bench_*.py")} == {f"bench_{name}" for name in measure.TITLES}
    program = "; ".join(f"import {measure.module(name)}" for name in measure.TITLES)
    bare = {name: value for name, value in measure.variables().items() if name in ("PATH", "PYTHONPATH")}
    subprocess.run([sys.executable, "-c", program], cwd=measure.PROJECT, env=bare, check=True)


def test_the_bench_of_postures_measures() -> None:
    """With two servers and once: every figure comes, beside that of the bill."""
    lines = bench_postures.figures(2, 1)
    assert [line.split("  ")[0] for line in lines if not line.startswith(" ")] == [
        "a test, plain",
        "a test, STLS",
        "a posture test",
        "connections",
        "in a record",
        "in History",
        "a change",
    ]
