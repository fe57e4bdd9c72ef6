"""`make fuzz`: a check of `checks` with ever new bytes for some time or some executions, and what came of it.

With Atheris (Linux) coverage guides the bytes; without it they are put together by chance from the seeds.
"""

import argparse
import importlib.util
import inspect
import logging
import random
import re
import subprocess
import sys
import time
import traceback

from tests.fuzz.checks import CHECKS, SEEDS
from tests.measured import TESTS_TESTED, where, write_section


def main() -> int:
    """Fuzz, print a line for each check, and return 1 if anything was found; what was found is not written down."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Fuzz what reads servers, files and tables."
    )
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="all, if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each check")
    parser.add_argument("--executions", type=int, help="of each check, however long they take")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**31))
    parser.add_argument("--write", action="store_true", help=f"write the line into {TESTS_TESTED.name}")
    asked = parser.parse_args()
    logging.disable()  # what is damaged is logged, each time
    finds = 0
    for check in asked.checks or CHECKS:
        line, found = _fuzz(check, asked.seconds, asked.executions, asked.seed)
        print(line)
        print(found, end="", flush=True)
        if asked.write and not found:
            about = f"{inspect.getdoc(CHECKS[check])}\n\n{where()}"
            write_section(TESTS_TESTED, f"Fuzzing: {check}", f"{about}\n\n```\n{line}\n```\n")
        finds += bool(found)
    return min(finds, 1)


def _fuzz(check: str, seconds: int, executions: int | None, seed: int) -> tuple[str, str]:
    """The line to print, and what was found."""
    guided = importlib.util.find_spec("atheris") is not None
    began = time.monotonic()
    done, found = (_run_guided if guided else _run_by_chance)(check, seconds, executions, seed)
    spent, how = time.monotonic() - began, "guided by Atheris" if guided else "by chance"
    result = "1 find" if found else "no finds"
    return f"{check}: {done:,} executions in {spent:,.0f} s ({how}, seed {seed}), {result}.", found


def _run_guided(check: str, seconds: int, executions: int | None, seed: int) -> tuple[int, str]:
    limit = f"-runs={executions}" if executions else f"-max_total_time={seconds}"
    command = [sys.executable, "-m", "tests.fuzz.guided", check, limit, f"-seed={seed}"]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    counts = re.findall(r"^(?:#(\d+)\t|Done (\d+) runs)", ended.stderr, re.MULTILINE)
    done = max((int(count or done) for count, done in counts), default=0)
    return done, "" if ended.returncode == 0 else f"{ended.stdout}{ended.stderr[-4000:]}\n"


def _run_by_chance(check: str, seconds: int, executions: int | None, seed: int) -> tuple[int, str]:
    rng = random.Random(seed)
    ends = time.monotonic() + seconds
    done = 0
    while done < executions if executions else time.monotonic() < ends:
        done += 1
        data = mixed(rng, SEEDS[check])
        try:
            CHECKS[check](data)
        except Exception:
            return done, f"{traceback.format_exc()}\n{data!r}\n"
    return done, ""


def mixed(rng: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """Slices of seeds and bytes by chance, one behind the other, some forty times; half begin as a seed does."""
    parts: list[bytes] = []
    for _ in range(rng.randrange(1, 8)):
        seed = rng.choice(seeds)
        begin = rng.randrange(len(seed)) if parts or rng.random() < 0.5 else 0
        part = seed[begin : begin + rng.randrange(1, 60)]
        if rng.random() < 0.3:
            part = rng.randbytes(rng.randrange(8))
        parts.append(part * rng.choice((1, 1, 1, 40)))
    return b"".join(parts)


if __name__ == "__main__":
    sys.exit(main())
