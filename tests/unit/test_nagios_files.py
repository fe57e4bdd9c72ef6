"""Which files of a Nagios installation are read, and when reading ends."""

from pathlib import Path

import pytest

from popwatch_cli.importers import nagios_files
from popwatch_cli.importers.conversion import ImportWarnings
from popwatch_cli.importers.nagios_files import Files

HOST = "define host {\nhost_name %s\n}\n"


def names(files: Files) -> list[str]:
    return [definition.values["host_name"] for definition in files.definitions]


def read(path: Path) -> tuple[list[str], list[str]]:
    """The names of hosts, and the warnings."""
    warnings = ImportWarnings()
    files = Files(warnings)
    files.read([path])
    return names(files), list(warnings)


def test_a_long_chain_of_files_is_read(tmp_path: Path) -> None:
    """Each names the next one: more than Python's recursion takes."""
    for number in range(500):
        (tmp_path / f"{number}.cfg").write_text(f"cfg_file={number + 1}.cfg\n")
    (tmp_path / "500.cfg").write_text(HOST % "last")
    assert read(tmp_path / "0.cfg") == (["last"], [])


@pytest.mark.long
def test_deep_folders_are_read(tmp_path: Path) -> None:
    """More of them than Python's recursion takes."""
    folders = [tmp_path / "d"]
    folders += [folders[0].joinpath(*"n" * depth) for depth in range(1, 600)]
    for folder in folders:
        folder.mkdir()
    file = folders[-1] / "a.cfg"
    file.write_text(HOST % "deep")
    assert read(folders[0]) == (["deep"], [])
    file.unlink()
    for folder in reversed(folders):  # pytest would remove them by recursion
        folder.rmdir()


def test_files_are_read_in_the_order_of_their_settings(tmp_path: Path) -> None:
    """What a file includes comes before the next setting."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.cfg").write_text(f"cfg_file=../z.cfg\n{HOST % 'a'}")
    (tmp_path / "d" / "b.cfg").write_text(HOST % "b")
    (tmp_path / "z.cfg").write_text(HOST % "z")
    (tmp_path / "c.cfg").write_text(HOST % "c")
    (tmp_path / "main.cfg").write_text(f"cfg_dir=d\ncfg_file=c.cfg\n{HOST % 'main'}")
    assert read(tmp_path / "main.cfg")[0] == ["main", "a", "z", "b", "c"]


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_NAMES", "LARGEST_FILE"])
def test_a_limit_ends_the_walk_also_within_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """One line says so, instead of one for each file that follows; what was read before is kept."""
    for folder in "abcdefgh":
        (tmp_path / "d" / folder).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "d" / folder / f"{number}.cfg").write_text(HOST % f"{folder}{number}")
    (tmp_path / "main.cfg").write_text(f"cfg_dir=d\n{HOST % 'main'}")
    monkeypatch.setattr(nagios_files, limit, 200 if limit == "LARGEST_FILE" else 15)
    found, warnings = read(tmp_path / "main.cfg")
    assert found[:2] == ["main", "a0"]
    assert len(found) < 15
    assert len(warnings) == 1
    assert "It is not read, nor what follows" in warnings[0]
