"""What a cold start imports: milliseconds of CPU by package of the two functions, on Lambda's Python 3.13.

As in Lambda: the functions and the layer as they are built, without compiled files, which the read-only file system
does not let Python keep either, and the boto3 of the runtime, compiled. A package's time is that of its modules
themselves, without what they import in turn. The middle of some rounds, by turns with other checkouts, if folders are
given. Needs `.ci/install-lambda-runtime`.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lambda_runtime.function import INSTALLED, PROJECT, RUNTIMES, python313

FUNCTIONS = ("check_targets", "show_report")
ROUNDS, SHOWN_MS = 9, 3.0

PROGRAM = """
import importlib.machinery, json, sys, time
from collections import defaultdict

began, spent, stack = time.process_time(), defaultdict(float), []

def timed(loader):
    run = loader.exec_module
    def exec_module(self, module):
        start = time.process_time()
        stack.append(0.0)
        try:
            run(self, module)
        finally:
            inside = time.process_time() - start
            spent[module.__name__.partition(".")[0]] += inside - stack.pop()
            if stack:
                stack[-1] += inside
    loader.exec_module = exec_module

timed(importlib.machinery.SourceFileLoader)
timed(importlib.machinery.ExtensionFileLoader)
importlib.import_module(sys.argv[1])
spent["in all"] = time.process_time() - began
json.dump({name: seconds * 1000 for name, seconds in spent.items()}, sys.stdout)
"""


def main() -> None:
    """Print a table for each function: of this checkout, or of those that are given, side by side."""
    checkouts = [Path(folder) for folder in sys.argv[1:]] or [PROJECT]
    with TemporaryDirectory() as folder:
        layouts = [lay_out(checkout, Path(folder) / str(at)) for at, checkout in enumerate(checkouts)]
        for function in FUNCTIONS:
            rounds = [[packages(function, layout) for layout in layouts] for _ in range(ROUNDS)]
            print_table(function, [middle_of([found[at] for found in rounds]) for at in range(len(layouts))])


def print_table(function: str, columns: Sequence[Mapping[str, float]]) -> None:
    """A row for each package that takes long in any column."""
    names = set().union(*columns)
    shown = [name for name in sorted(names) if max(column.get(name, 0.0) for column in columns) >= SHOWN_MS]
    shown.sort(key=lambda name: -columns[0].get(name, 0.0))
    print(f"{function + ', ms of CPU':<32}")
    for name in shown:
        print(f"  {name:<32}" + "".join(f"{column.get(name, 0.0):>8.1f}" for column in columns))


def lay_out(checkout: Path, folder: Path) -> str:
    """The search path of a checkout's functions and layer as they are built, with the runtime's boto3 after them."""
    boto3 = INSTALLED / RUNTIMES[-1]
    if not boto3.is_dir():
        sys.exit("Run .ci/install-lambda-runtime first.")
    make = ["make", "--silent", "-C", str(checkout / "layers" / "popwatch"), "build-PopwatchLayer"]
    variables = [f"PYTHON={sys.executable}", f"ARTIFACTS_DIR={folder / 'opt'}"]
    subprocess.run([*make, *variables], check=True, capture_output=True)
    shutil.copytree(checkout / "functions", folder / "task", ignore=shutil.ignore_patterns("__pycache__"))
    return os.pathsep.join(map(str, (folder / "task", folder / "opt" / "python", boto3)))


def packages(function: str, path: str) -> dict[str, float]:
    """Milliseconds of CPU by package in one process, and in all; what Python starts with is left out."""
    ran = _run(PROGRAM, function, path)
    found: dict[str, float] = json.loads(ran)
    return found


def start_cpu(function: str, path: str) -> float:
    """CPU seconds of a process that imports a function and does nothing else."""
    before = sum(os.times()[2:4])
    _run("import importlib, sys; importlib.import_module(sys.argv[1])", function, path)
    return sum(os.times()[2:4]) - before


def _run(program: str, function: str, path: str) -> str:
    variables = {"PYTHONPATH": path, "PATH": os.defpath, "POWERTOOLS_METRICS_NAMESPACE": "popwatch"}
    command = [python313(), "-B", "-c", program, function]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout


def middle_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each package, and of the whole."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for each in rounds:
        for name in set().union(*rounds):
            found[name].append(each.get(name, 0.0))
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    main()
