"""Older versions of popwatch, from git: what people may still have deployed."""

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

FIRST_VERSION = "cc9a445f4a6f0a5280b800b3f1f82be5d502bf4a"
"""The last commit with the first layout of the tables: later ones add days up, and keep totals as JSON."""

FLAT_VERSION = "b1e2188df03c5384e233c5fea5ce9ce165aa6a57"
"""The last commit whose modules lie flat in one package, with the command in the layer, and with the old names."""


def unpack(folder: Path, *parts: str, version: str = FIRST_VERSION) -> Path:
    """Put parts of an older version into a folder; skips the test where git does not have that version."""
    try:
        archive = subprocess.run(
            ["git", "archive", version, *parts], cwd=PROJECT, check=True, capture_output=True
        ).stdout
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip(f"This clone does not have commit {version[:7]}: it is shallow, or not a clone.")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder
