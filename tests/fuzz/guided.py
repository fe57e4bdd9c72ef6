"""A check under Atheris, in the process of its own that libFuzzer ends: CHECK SECONDS SEED."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["popwatch"]):
    from fuzz.checks import CHECKS, SEEDS

LONGEST = 2048
"""Bytes of one try: four times the longest line of POP3."""

if __name__ == "__main__":
    check, seconds, seed = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(SEEDS[check]):
            (Path(folder) / str(number)).write_bytes(data)
        limits = [
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST}",
            f"-seed={seed}",
            "-timeout=10",
            f"-artifact_prefix={folder}/",
        ]
        atheris.Setup([sys.argv[0], *limits, folder], CHECKS[check])
        atheris.Fuzz()
