"""What a cold start imports: milliseconds by package of the two functions.

By Python's own `-X importtime`, by the wall clock, the middle of some rounds, in a process without anything else. A
package's time is that of its modules themselves, without what they import in turn. Lambda has boto3 in its runtime, and
charges for its import too.
"""

import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HIDDEN = ("awscrt", "OpenSSL", "cryptography")
"""What the tests' environment has, botocore and urllib3 import if it is there, and a stack of popwatch has not."""

FUNCTIONS = Path(__file__).parents[2] / "functions"
ROUNDS, SHOWN_MS = 5, 3.0
LINE = re.compile(r"import time: +(\d+) \| +\d+ \| *([\w.]+)")


def main() -> None:
    """Print a table for each function."""
    for function in ("check_targets", "show_report"):
        rounds = [packages(function) for _ in range(ROUNDS)]
        names = set().union(*rounds)
        middle = {name: statistics.median(found.get(name, 0.0) for found in rounds) for name in names}
        totals = sorted(sum(found.values()) for found in rounds)
        print(f"{function}: {totals[0]:.0f} / {statistics.median(totals):.0f} / {totals[-1]:.0f} ms")
        shown = sorted((name for name in names if middle[name] >= SHOWN_MS), key=lambda name: -middle[name])
        for name in shown:
            print(f"  {name:<32}{middle[name]:>8.1f}")
        rest = sum(middle.values()) - sum(middle[name] for name in shown)
        print(f"  {'all others':<32}{rest:>8.1f}")


def importing(function: str) -> str:
    """A program that imports a function as Lambda does: without what only the tests' environment has."""
    return f"import sys\nsys.modules.update(dict.fromkeys({HIDDEN}))\nimport {function}"


def packages(function: str) -> dict[str, float]:
    """Milliseconds by package in one process; what Python starts with is left out."""
    variables = {"POWERTOOLS_METRICS_NAMESPACE": "popwatch", "PYTHONPATH": str(FUNCTIONS)}
    program = [sys.executable, "-X", "importtime", "-c", importing(function)]
    ran = subprocess.run(program, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    found: defaultdict[str, float] = defaultdict(float)
    lines = ran.stderr.split("| site\n", 1)[1].splitlines()
    for match in filter(None, map(LINE.match, lines)):
        found[match[2].split(".")[0]] += int(match[1]) / 1000
    return found


if __name__ == "__main__":
    main()
