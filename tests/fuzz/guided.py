"""A check under Atheris, in the process of its own that libFuzzer ends: CHECK OPTION... (options of libFuzzer)."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["popwatch"]):
    from tests.fuzz.checks import CHECKS, SEEDS

LONGEST = {"conversation": 128}
"""Bytes of one try: five of the conversation's choose a run of one letter that makes lines longer than any limit."""

if __name__ == "__main__":
    check, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(SEEDS[check]):
            (Path(folder) / str(number)).write_bytes(data)
        limits = [f"-max_len={LONGEST.get(check, 2048)}", "-timeout=10", f"-artifact_prefix={folder}/"]
        atheris.Setup([sys.argv[0], *options, *limits, folder], CHECKS[check])
        atheris.Fuzz()
