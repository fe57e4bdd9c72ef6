"""The first whole version of popwatch, from git: what people may still have deployed."""

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FIRST_WHOLE_VERSION = "cc9a445f4a6f0a5280b800b3f1f82be5d502bf4a"
"""The last commit with the first layout of the tables: the next ones add days up, and keep totals as text."""


def unpack(folder: Path, *parts: str) -> None:
    """Put parts of the first whole version into a folder; skips the test where git does not have it."""
    try:
        archive = subprocess.run(
            ["git", "archive", FIRST_WHOLE_VERSION, *parts], cwd=PROJECT, check=True, capture_output=True
        ).stdout
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip(f"This clone does not have commit {FIRST_WHOLE_VERSION[:7]}: it is shallow, or no clone.")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
