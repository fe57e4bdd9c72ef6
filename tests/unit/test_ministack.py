"""What popwatch corrects in MiniStack."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest

from popwatch_cli.local.ministack import WITHOUT_PACKAGES_OF_SAM, ZipUnpackedOnce


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder of its own."""
    monkeypatch.setattr("popwatch_cli.local.ministack.gettempdir", lambda: str(tmp_path))


def unpacked(folder: Path, name: str, **files: str) -> Path:
    """The folder of a process into which these files were unpacked."""
    with ZipFile(folder / f"{name}.zip", "w") as made:
        for file, text in files.items():
            made.writestr(ZipInfo(f"python/{file}.py"), text)
    (folder / name).mkdir()
    with ZipUnpackedOnce(folder / f"{name}.zip") as opened:
        opened.extractall(folder / name)
    return folder / name / "python"


def test_processes_of_the_same_code_share_a_folder(tmp_path: Path) -> None:
    """What the first has compiled, the second need not compile."""
    first, second = (unpacked(tmp_path, name, a="A = 1", b="B = 2") for name in ("first", "second"))
    assert {path.name: path.read_text() for path in second.iterdir()} == {"a.py": "A = 1", "b.py": "B = 2"}
    assert first.resolve() == second.resolve()


def test_processes_of_other_code_have_another_folder(tmp_path: Path) -> None:
    """An update of the function or its layer does not change what runs."""
    old, new = unpacked(tmp_path, "old", a="A = 1"), unpacked(tmp_path, "new", a="A = 2")
    assert ((old / "a.py").read_text(), (new / "a.py").read_text()) == ("A = 1", "A = 2")


def test_functions_do_without_what_only_sam_needs() -> None:
    """botocore looks for both, and is there without them."""
    look = "import botocore.httpsession, botocore.compat; print(botocore.compat.HAS_CRT, sys.modules['OpenSSL'])"
    command = [sys.executable, "-c", WITHOUT_PACKAGES_OF_SAM + look]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False None\n"
