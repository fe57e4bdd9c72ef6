"""Targets in files: what is read, what is refused with its line, what comes back unchanged."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.cli.files import FileError, read_entries, write_entries

ITEM = {
    "target_id": "mail-berlin",
    "host": "pop.example.net",
    "port": 110,
    "check_quit": False,
    "tags": ["berlin", "a,b"],
    "maintenance": [{"days": "sun", "from": "22:00", "until": "02:00"}],
    "name": "=HYPERLINK(1)",
}


def read(tmp_path: Path, name: str, text: str) -> list[dict[str, object]]:
    path = tmp_path / name
    path.write_text(text)
    return [entry.fields for entry in read_entries(path)]


def mistakes(tmp_path: Path, name: str, text: str) -> list[str]:
    with pytest.raises(FileError) as raised:
        read(tmp_path, name, text)
    return raised.value.mistakes


@pytest.mark.parametrize("name", ["targets.yaml", "targets.jsonl"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    """Export and import are each other's reverse."""
    write_entries(tmp_path / name, [ITEM])
    assert [entry.fields for entry in read_entries(tmp_path / name)] == [ITEM]


def test_csv_keeps_all_but_types(tmp_path: Path) -> None:
    """CSV has texts only, which targets are parsed from all the same; lists and maps survive; formulas are disarmed."""
    path = tmp_path / "targets.csv"
    write_entries(path, [ITEM, {"target_id": "other", "host": "x.example"}])
    assert "'=HYPERLINK" in path.read_text()
    first, second = (entry.fields for entry in read_entries(path))
    assert first == {**ITEM, "port": "110", "check_quit": "false"}
    assert second == {"target_id": "other", "host": "x.example"}


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(lambda t: t == t.strip())
)
def test_any_text_survives_csv(text: str) -> None:
    """No text is changed by being disarmed and armed again."""
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - a fixture would be shared by hypothesis's examples

    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_entries(path, [{"target_id": "x", "name": text}])
        found = read_entries(path)[0].fields["name"]
    assert found == text or text.startswith(("[", "{"))


def test_yaml_takes_a_list_or_a_map(tmp_path: Path) -> None:
    """Both ways of writing many targets."""
    assert read(tmp_path, "a.yaml", "- target_id: a\n  host: x\n") == [{"target_id": "a", "host": "x"}]
    assert read(tmp_path, "a.yaml", "a:\n  host: x\nb:\n  host: y\n") == [
        {"target_id": "a", "host": "x"},
        {"target_id": "b", "host": "y"},
    ]
    assert read(tmp_path, "a.yaml", "# nothing\n") == []


def test_yaml_has_no_surprises(tmp_path: Path) -> None:
    """Times of day, words and numbers are what they look like."""
    text = "- {target_id: 007, from: 22:00, tls: no, port: 110, t: 2026-11-23, delay: 1.5, on: true, none: null}\n"
    assert read(tmp_path, "a.yaml", text) == [
        {"target_id": "007", "from": "22:00", "tls": "no", "port": 110, "t": "2026-11-23", "delay": 1.5, "on": True,
         "none": None}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "- target_id: a\n- host: x\n", "Line 2: the field `target_id` is missing"),
        ("a.yaml", "- target_id: a\n- target_id: a\n", "Line 2: `a` is also on line 1"),
        ("a.yaml", "- target_id: a\n  host: x\n  host: y\n", "Line 1: the field `host` is there twice"),
        ("a.yaml", "- target_id: a\n  host: [\n", "Line 3:"),
        ("a.yaml", "- just text\n", "Line 1 is not a target"),
        ("a.yaml", "text\n", "no list of targets"),
        ("a.yaml", "a: &a {host: x}\nb: *a\n", "Line 2: aliases"),
        ("a.yaml", "- target_id: !!python/object:os.system a\n", "Line 1:"),
        ("a.csv", "target_id,host\na\n", "Line 2 has another number of cells"),
        ("a.csv", "target_id,host\na,b,c\n", "Line 2 has another number of cells"),
        ("a.jsonl", '{"target_id": "a"}\nnonsense\n', "Line 2 is not JSON"),
        ("a.jsonl", "[]\n", "Line 1 is not a target"),
        ("a.txt", "", "none of the endings"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    """A file that cannot be read says where and why."""
    assert said in mistakes(tmp_path, name, text)[0]


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    """A missing file and one that is no text are sentences, too."""
    with pytest.raises(FileError, match="cannot be read"):
        read_entries(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="not UTF-8"):
        read_entries(tmp_path / "bad.yaml")
    with pytest.raises(FileError, match="cannot be written"):
        write_entries(tmp_path / "nowhere" / "x.yaml", [])
