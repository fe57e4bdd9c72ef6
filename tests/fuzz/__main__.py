"""`make fuzz`: a check of `checks` with ever new bytes for some seconds, and what came of it.

With Atheris (Linux) coverage guides the bytes; without it they are put together by chance from the seeds.
"""

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import time
import traceback

from fuzz.checks import CHECKS, SEEDS


def main() -> int:
    """Fuzz, print a line, and return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz the readers of foreign bytes.")
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="all, if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each check")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**31))
    asked = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None
    finds = 0
    for check in asked.checks or CHECKS:
        began = time.monotonic()
        executions, found = (_run_guided if guided else _run_by_chance)(check, asked.seconds, asked.seed)
        how = "Atheris" if guided else "by chance"
        spent, result = time.monotonic() - began, "1 find" if found else "no finds"
        print(f"{check}: {executions:,} executions in {spent:.0f} s ({how}, seed {asked.seed}), {result}.")
        print(found, end="", flush=True)
        finds += bool(found)
    return min(finds, 1)


def _run_guided(check: str, seconds: int, seed: int) -> tuple[int, str]:
    command = [sys.executable, "-m", "fuzz.guided", check, str(seconds), str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    counts = re.findall(r"^(?:#(\d+)\t|Done (\d+) runs)", ended.stderr, re.MULTILINE)
    executions = max((int(count or done) for count, done in counts), default=0)
    return executions, "" if ended.returncode == 0 else f"{ended.stdout}{ended.stderr[-4000:]}\n"


def _run_by_chance(check: str, seconds: int, seed: int) -> tuple[int, str]:
    chance = random.Random(seed)
    ends = time.monotonic() + seconds
    executions = 0
    while time.monotonic() < ends:
        executions += 1
        data = mixed(chance, SEEDS[check])
        try:
            CHECKS[check](data)
        except Exception:
            return executions, f"{traceback.format_exc()}\n{data!r}\n"
    return executions, ""


def mixed(chance: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """Slices of seeds and bytes by chance, one behind the other; some forty times."""
    parts: list[bytes] = []
    for _ in range(chance.randrange(1, 8)):
        seed = chance.choice(seeds)
        begin = chance.randrange(len(seed))
        part = seed[begin : begin + chance.randrange(1, 60)]
        if chance.random() < 0.3:
            part = chance.randbytes(chance.randrange(8))
        parts.append(part * chance.choice((1, 1, 1, 40)))
    return b"".join(parts)


if __name__ == "__main__":
    sys.exit(main())
