"""The layer that goes to Lambda: the same at every build."""

import subprocess
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path

from tests.e2e.deployed import PROJECT
from tests.supply.parts import parts


def digest(folder: Path) -> str:
    """All that a zip of a folder holds: names, modes, times, contents."""
    found = sha256()
    for path in sorted(folder.rglob("*")):
        about = path.stat()
        found.update(f"{path.relative_to(folder)} {about.st_mode} {int(about.st_mtime)}\n".encode())
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


def test_the_layer_is_the_same_at_every_build(tmp_path: Path) -> None:
    """Whoever builds from the same commit can check what was deployed."""
    for name in ("one", "two"):
        command = ["make", "-C", str(PROJECT / "layers" / "popwatch"), "build-PopwatchLayer"]
        subprocess.run([*command, f"ARTIFACTS_DIR={tmp_path / name}"], check=True, capture_output=True)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert (tmp_path / "one" / "python" / "popwatch" / "sweep" / "sweep.py").is_file()
    assert not list((tmp_path / "one").rglob("*.pyc"))
    held = {
        f"{it.name.replace('_', '-')}=={it.version}" for it in distributions(path=[str(tmp_path / "one" / "python")])
    }
    assert held == {f"{part.name.replace('_', '-')}=={part.version}" for part in parts()}
