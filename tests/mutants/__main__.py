"""`make mutants`: change the decisions in small ways, one at a time, and see whether a test notices.

mutmut works in a copy (`.mutants`) of the package and of the tests that speak for these modules. `.mutants/mutants.md`
is written from what it found: how many mutants a test noticed, and what survived, as a difference.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).parents[2]
COPY = PROJECT / ".mutants"
DOC = COPY / "mutants.md"
MODULES = ("health", "pop3", "schedule")
TESTS = ("health", "interventions", "planning", "pop3", "schedule", "simulation", "telling")
KILLED, UNFINISHED = ("killed", "timeout", "suspicious", "segfault"), "not checked"

CONFIG = f"""
[tool.pytest.ini_options]
pythonpath = ["src", "tests"]
addopts = "-q -p no:cacheprovider"
[tool.mutmut]
source_paths = ["src"]
only_mutate = {[f"src/popwatch/{name}.py" for name in MODULES]}
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
    """Run mutmut for some time and write what it found; what an earlier run found of the same code is kept."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description="Test the tests of the decisions.")
    parser.add_argument(
        "--seconds", type=int, default=1800, help="after which it stops; another run goes on from there"
    )
    asked = parser.parse_args()
    _copy()
    try:
        subprocess.run(_mutmut("run"), cwd=COPY, timeout=asked.seconds, check=False)
    except subprocess.TimeoutExpired:
        print("\nTime is up: `make mutants` goes on from here.")
    found = _results()
    DOC.write_text(_document(found), "utf-8")
    print(f"Written to {DOC.relative_to(PROJECT)}.")
    return 0


def _copy() -> None:
    (COPY / "tests" / "unit").mkdir(parents=True, exist_ok=True)
    source = PROJECT / "layers" / "popwatch" / "popwatch"
    shutil.copytree(source, COPY / "src" / "popwatch", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TESTS:
        shutil.copy2(PROJECT / "tests" / "unit" / f"test_{name}.py", COPY / "tests" / "unit")
    (COPY / "pyproject.toml").write_text(CONFIG, "utf-8")
    (COPY / "tests" / "conftest.py").write_text(CONFTEST, "utf-8")


def _mutmut(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "mutmut"), *arguments]


def _ask(*arguments: str) -> str:
    return subprocess.run(_mutmut(*arguments), cwd=COPY, capture_output=True, text=True, check=True).stdout


def _results() -> dict[str, str]:
    """The result of each mutant by its name, such as `popwatch.health.x__pass__mutmut_3`."""
    return dict(re.findall(r"^\s+(\S+): (.+)$", _ask("results", "--all", "true"), re.MULTILINE))


def _document(found: dict[str, str]) -> str:
    lines = [
        "# Mutants",
        "",
        "Written by `make mutants`. mutmut changes one thing at a time in the modules that decide (a comparison, a",
        "constant, an argument) and runs their unit tests. A mutant that no test notices survives.",
        "",
        "| module | mutants | noticed | survived | not run | score |",
        "|---|---|---|---|---|---|",
    ]
    for module in MODULES:
        results = Counter(result for name, result in found.items() if name.startswith(f"popwatch.{module}."))
        missed, waiting = results["survived"] + results["no tests"], results[UNFINISHED]
        noticed = results.total() - missed - waiting
        score = f"{noticed / (noticed + missed):.1%}" if noticed + missed else "-"
        lines.append(f"| `{module}` | {results.total()} | {noticed} | {missed} | {waiting} | {score} |")
    lines += ["", "## Survivors", ""]
    for name in sorted(name for name, result in found.items() if result in ("survived", "no tests")):
        lines += [f"`{_function(name)}`", "", "```diff", _difference(name), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _function(name: str) -> str:
    """`health._pass` of `popwatch.health.x__pass__mutmut_3`; methods are `xǁConversationǁ_fail`."""
    found = name.removeprefix("popwatch.").rpartition("__mutmut_")[0]
    return re.sub(r"\.x(_|ǁ)", ".", found, count=1).replace("ǁ", ".")


def _difference(name: str) -> str:
    """The changed lines of a mutant, without the lines about them."""
    lines = _ask("show", name).splitlines()
    return "\n".join(line for line in lines if re.match(r"[-+](?![-+])", line))


if __name__ == "__main__":
    sys.exit(main())
