"""docs/architecture.md: every file and name to which it leads is there, and no folder is left out."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "layers" / "popwatch" / "popwatch"
COMMAND = PROJECT / "cli" / "popwatch_cli"
PAGE = (PROJECT / "docs" / "architecture.md").read_text("utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def answers() -> list[str]:
    """The right column of the questions."""
    return [line.split(" | ")[1] for line in section("Where to find").splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("answer", answers())
def test_files_and_names_exist(answer: str) -> None:
    """A file is in the layer's package or at a path from the top; a name that follows it stands in one of the row's."""
    quoted = re.findall(r"`([^`]+)`", answer)
    paths = [name for name in quoted if re.search(r"\.(py|yaml)$", name)]
    files = [next(path for path in (PACKAGE / name, PROJECT / name) if path.exists()) for name in paths]
    code = "\n".join(file.read_text("utf-8") for file in files)
    names = {name.rpartition(".")[2] for name in quoted if name not in paths}
    assert files
    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", code)] == []


def folders(parent: Path) -> set[str]:
    return {path.parent.name for path in parent.glob("*/__init__.py")}


def test_every_folder_is_listed() -> None:
    """Those of the layer's package with their whole path, those of the command by their names."""
    text = section("Folders")
    assert {f"layers/popwatch/popwatch/{name}/" for name in folders(PACKAGE)} <= set(
        re.findall(r"^\| `(.+?)`", text, re.M)
    )
    assert {f"{name}/" for name in folders(COMMAND)} <= set(re.findall(r"^\| `(.+?)`", text, re.M))
