"""`make mutants`: change the decisions in small ways, one at a time, and see whether a test notices.

mutmut works in a copy (`.mutants`) of the package and of the tests that speak for these modules. `.mutants/mutants.md`
is written from what it found: how many mutants a test noticed, and what survived, as a difference. A survivor that no
test can notice is explained in `equivalent.toml`; any other is a failure, and so is an explanation without a survivor.
"""

import argparse
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.measured import TESTS_TESTED, where, write_section
from tests.mutants.findings import (
    UNFINISHED,
    Change,
    Explanation,
    function_of,
    outdated,
    read_change,
    read_explanations,
    survivors_of,
    table,
    unexplained,
)

PROJECT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).parent / "equivalent.toml"
COPY = PROJECT / ".mutants"
DOC = COPY / "mutants.md"
MODULES = ("decisions.judging", "decisions.early_warnings", "prober.pop3", "decisions.schedule")
TESTS = ("certificates", "events", "health", "interventions", "outages", "planning", "pop3", "schedule", "simulation")
SUPPORT = ("examples",)
"""What these tests import beside the packages."""

PROCESSES = 2
METHOD = """mutmut changes one thing at a time in the modules that decide (a comparison, a constant, an argument)
and runs their unit tests. A mutant is killed when a test fails, and times out when the tests no longer end. Those that
no test can notice are explained."""

CONFIG = f"""
[tool.pytest.ini_options]
pythonpath = ["src", "."]
addopts = "-q -p no:cacheprovider"
[tool.mutmut]
source_paths = ["src"]
only_mutate = {[f"src/popwatch/{module.replace('.', '/')}.py" for module in MODULES]}
pytest_add_cli_args_test_selection = ["tests/unit"]
"""
CONFTEST = """
from hypothesis import HealthCheck, settings

settings.register_profile(
    "mutants",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("mutants")
"""


def main() -> int:
    """Run mutmut for some time and write what it found; the results of an earlier run on the same files are kept.

    Returns 1 if there is a survivor without an explanation, an explanation without a survivor, or a mutant not run.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Test the tests of the decisions.")
    parser.add_argument(
        "--seconds", type=int, default=1800, help="after which it stops; another run goes on from there"
    )
    parser.add_argument("--write", action="store_true", help=f"write a complete run's result into {TESTS_TESTED.name}")
    asked = parser.parse_args()
    _copy()
    _run(asked.seconds)
    results = _results()
    survivors = [_change(name) for name in survivors_of(results)]
    explanations = read_explanations(tomllib.loads(EXPLAINED.read_text("utf-8"))["equivalent"])
    left = unexplained(survivors, explanations)
    rows = table(MODULES, results, left)
    DOC.write_text("\n\n".join(("# Mutants", rows, *(change.markdown for change in left))) + "\n", "utf-8")
    print(f"\n{rows}\n\nWritten to {DOC.relative_to(PROJECT)}.")
    complete = bool(results) and UNFINISHED not in results.values()
    failures = _failures(left, outdated(survivors, explanations), complete=complete)
    print(*failures, sep="\n", end="\n" if failures else "")
    if asked.write and not failures:
        write_section(TESTS_TESTED, "Mutants", _section(rows, explanations))
    return min(len(failures), 1)


def _failures(left: list[Change], old: list[Change], *, complete: bool) -> list[str]:
    """Why this run fails, one sentence for each reason."""
    found = [f"No test notices this, and {EXPLAINED.name} does not explain it:\n{change.markdown}" for change in left]
    if not complete:
        return [*found, "Not all mutants have been run: run `make mutants` again."]
    return found + [f"{EXPLAINED.name} explains what does not survive:\n{change.markdown}" for change in old]


def _section(rows: str, explanations: list[Explanation]) -> str:
    explained = [f"{explanation.change.markdown}\n\n{explanation.reason}" for explanation in explanations]
    return "\n\n".join((METHOD, where(), rows, "### Explained", *explained)) + "\n"


def _copy() -> None:
    """Copy what mutmut needs. If any file has changed the results are dropped: mutmut does not notice changed tests."""
    for name in ("src", "tests"):
        shutil.rmtree(COPY / name, ignore_errors=True)
    (COPY / "tests" / "unit").mkdir(parents=True)
    for source in (PROJECT / "layers" / "popwatch" / "popwatch", PROJECT / "cli" / "popwatch_cli"):
        shutil.copytree(source, COPY / "src" / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TESTS:
        shutil.copy2(PROJECT / "tests" / "unit" / f"test_{name}.py", COPY / "tests" / "unit")
    for name in SUPPORT:
        shutil.copy2(PROJECT / "tests" / f"{name}.py", COPY / "tests")
    (COPY / "pyproject.toml").write_text(CONFIG, "utf-8")
    (COPY / "tests" / "conftest.py").write_text(CONFTEST, "utf-8")
    fingerprint, kept = _fingerprint(), COPY / "fingerprint"
    if not kept.exists() or kept.read_text("ascii") != fingerprint:
        shutil.rmtree(COPY / "mutants", ignore_errors=True)
        kept.write_text(fingerprint, "ascii")


def _fingerprint() -> str:
    """Of all files that a result depends on."""
    files = sorted(path for folder in ("src", "tests") for path in (COPY / folder).rglob("*") if path.is_file())
    found = hashlib.sha256()
    for path in (*files, COPY / "pyproject.toml"):
        found.update(f"{path.relative_to(COPY)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _run(seconds: int) -> None:
    """Run mutmut in a process group of its own, so that what it forked ends with it even if a mutant loops for ever."""
    with subprocess.Popen(_mutmut("run", "--max-children", str(PROCESSES)), cwd=COPY, process_group=0) as running:
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            print("\nTime is up: `make mutants` goes on from here.")
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)


def _mutmut(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "mutmut"), *arguments]


def _ask(*arguments: str) -> str:
    return subprocess.run(_mutmut(*arguments), cwd=COPY, capture_output=True, text=True, check=True).stdout


def _results() -> dict[str, str]:
    """The result of each mutant by its name, such as `popwatch.decisions.judging.x__pass__mutmut_3`."""
    return dict(re.findall(r"^\s+(\S+): (.+)$", _ask("results", "--all", "true"), re.MULTILINE))


def _change(name: str) -> Change:
    return read_change(function_of(name), _ask("show", name))


if __name__ == "__main__":
    sys.exit(main())
