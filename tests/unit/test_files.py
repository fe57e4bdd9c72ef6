"""Targets in files: what is read, what is refused with its line, and that a round trip changes nothing."""

import csv
import io
import json
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from popwatch_cli.errors import UserError
from popwatch_cli.files.certificates import read_certificates
from popwatch_cli.files.csv import write_csv
from popwatch_cli.files.entries import FileEntry, FileError, first_repeated, load_json
from popwatch_cli.files.target_files import read_all_entries, read_entries, write_entries
from popwatch_cli.output.report_text import _cell
from popwatch_cli.target_items import all_mistakes, changes_of, compare, missing_target, mistakes_of, typed_item

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
    """Importing an export gives the same targets."""
    write_entries(tmp_path / name, [ITEM])
    assert [entry.fields for entry in read_entries(tmp_path / name)] == [ITEM]


def test_csv_keeps_all_but_types(tmp_path: Path) -> None:
    """CSV has strings only, and targets are parsed from those, too; lists and maps survive; formulas are guarded."""
    path = tmp_path / "targets.csv"
    write_entries(path, [ITEM, {"target_id": "other", "host": "x.example"}])
    assert "'=HYPERLINK" in path.read_text()
    first, second = (entry.fields for entry in read_entries(path))
    assert first == {**ITEM, "port": "110", "check_quit": "false"}
    assert second == {"target_id": "other", "host": "x.example"}


VALUES = st.recursive(
    st.text(max_size=20) | st.booleans() | st.integers(-(10**37), 10**37) | st.sampled_from([0.5, -2.25, 110.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def after_round_trip(form: str, item: dict[str, object]) -> dict[str, object]:
    """The item written to a file and read again; in its own folder, as a fixture would be shared by all examples."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{form}"
        write_entries(path, [item])
        [entry] = read_entries(path)
        return entry.fields


@pytest.mark.parametrize("form", ["yaml", "jsonl"])
@given(value=VALUES)
def test_any_value_survives(form: str, value: object) -> None:
    """Any value in the table survives: odd strings, long ones, lists in lists."""
    item = {"target_id": "x", "field": value}
    assert after_round_trip(form, item) == item


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30))
@example("'=1+1")
@example("''")
@example("[1]")
@example("'[1]")
@example(" two\r\nlines \n")
@example("\n")
@example("\tx")
@example('"x"')
@example("a;=1")
@example('a"; =1+1')
@example("\uff1d1")
def test_any_text_survives_csv(text: str) -> None:
    """Strings are guarded so that they are read unchanged, in fields that popwatch does not know, too."""
    item: dict[str, object] = {"target_id": "x", "name": text, "own": text}
    assert after_round_trip("csv", item) == item


@given(st.text(max_size=20) | st.booleans() | st.integers(-(10**37), 10**37) | st.floats(1e-129, 1e125))
@example(10)
@example("10")
@example("007")
@example("1e3")
@example(1e-07)
@example("true")
@example(" -5 ")
def test_values_of_unknown_fields_survive_csv(value: object) -> None:
    """They are kept, so a number stays a number and a text that looks like one a text."""
    if value != "" and "\0" not in str(value):
        assert after_round_trip("csv", {"target_id": "x", "own": value})["own"] == value


def test_a_number_for_a_text_is_no_change() -> None:
    """In YAML a name 7 is a number, in CSV a text: importing the one over the other changes nothing."""
    fields = {"name": 7, "group": 1.5, "tls_min": 1.2, "expect": 3, "depends_on": 4, "port": "110", "check_quit": "no"}
    in_csv = after_round_trip("csv", {"target_id": "x", "own": 7, **fields})
    before = typed_item({"target_id": "x", "own": 7, **fields})
    assert not compare({"x": before}, {"x": typed_item(in_csv)}, replace=False)


@pytest.mark.parametrize("delimiter", [",", ";"])
@given(text=st.text(st.sampled_from("=+-@\uff1d\t\r' [a1\n;\""), min_size=1, max_size=8))
@example(text="a;=1")
@example(text='a";"=1')
def test_no_cell_is_a_formula(delimiter: str, text: str) -> None:
    """No cell begins like a formula, whether it is from a value, a list, or a field's name.

    The same holds for a spreadsheet that splits cells at semicolons.
    """
    written = write_csv([{"target_id": "x", "name": text, "tags": [text], f"{text}x": "1"}])
    for row in csv.reader(io.StringIO(written, newline=""), delimiter=delimiter):
        assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))]


@pytest.mark.parametrize("text", ["=1", "\u00a0=1", "\t+1", "a;=1", "a; -1", "\uff1d1"])
def test_no_cell_of_a_report_is_a_formula(text: str) -> None:
    """Cleaning removes blanks before a formula, which must not expose it."""
    shown = str(_cell(text))
    assert not shown.startswith(("=", "+", "-", "@", "\uff1d"))
    assert ";" not in shown


def test_the_largest_certificates_survive_csv() -> None:
    """A system's bundle is larger than what Python's parser takes of itself."""
    block = f"-----BEGIN CERTIFICATE-----\n{'MAA=' * 400}\n-----END CERTIFICATE-----\n"
    item: dict[str, object] = {"target_id": "x", "ca_pem": block * 180}
    assert after_round_trip("csv", item) == item


@pytest.mark.parametrize("tags", ["[a]", "{a: b}", ["a"], {"a": "b"}, "[a"])
def test_lists_in_csv(tmp_path: Path, tags: object) -> None:
    """They are as `put` takes them, and a text that looks like one stays a text."""
    assert after_round_trip("csv", {"target_id": "x", "tags": tags, "name": "[a]"})["tags"] == tags
    window = {"days": "sun", "from": "2:00", "until": "4:00"}
    text = 'target_id,host,maintenance\na,x,"[{days: sun, from: 2:00, until: 4:00}]"\n'
    assert read(tmp_path, "a.csv", text)[0]["maintenance"] == [window]


@pytest.mark.parametrize("cell", ["x, y", "x;y", "x | y ", "x\ny\n", "[x, y]", '["x", "y"]', '"x", "y"'])
@pytest.mark.parametrize("name", ["tags", "depends_on", "maintenance"])
def test_a_list_in_a_cell(tmp_path: Path, name: str, cell: str) -> None:
    """As JSON, as YAML, or with what people write between entries; an entry alone stays a text."""
    output = io.StringIO()
    csv.writer(output).writerows([["target_id", name], ["a", cell], ["b", "x"]])
    assert [entry[name] for entry in read(tmp_path, "a.csv", output.getvalue())] == [["x", "y"], "x"]


def test_a_list_of_numbers_in_a_cell(tmp_path: Path) -> None:
    """They are numbers, as in the table, so that import sees no change."""
    text = 'target_id,siblings,certificate_warn_days,expect\na,993;465,"21, 7","one, two"\n'
    assert read(tmp_path, "a.csv", text) == [
        {"target_id": "a", "siblings": [993, 465], "certificate_warn_days": [21, 7], "expect": "one, two"}
    ]


def test_a_list_in_a_cell_that_has_no_end(tmp_path: Path) -> None:
    """It is a mistake of its line, and not a list with a bracket in it."""
    text = 'target_id,host,tags,depends_on,greeting\na,a.example,"[x, y",,[READY\nb,b.example,,"""x"", y",\n'
    assert mistakes(tmp_path, "a.csv", text) == [
        "Line 2: the field `tags` begins as a list or a map and is not one: [x, y. Close its brackets and quotes, or "
        "write its entries with commas alone.",
        'Line 3: the field `depends_on` begins as a list or a map and is not one: "x", y. Close its brackets and '
        "quotes, or write its entries with commas alone.",
    ]


@given(
    st.sampled_from(["tags", "depends_on", "maintenance", "siblings", "certificate_warn_days", "greeting"]),
    st.lists(st.text(st.sampled_from("ab ,;|[]\"'\n1-"), max_size=6), max_size=3)
    | st.text("ab,;|[\"'\n-1", max_size=8),
)
def test_lists_and_texts_survive_csv(name: str, value: list[str] | str) -> None:
    """Whatever is in the table, also texts that look like lists."""
    if value and (isinstance(value, list) or value.strip()):
        assert after_round_trip("csv", {"target_id": "x", name: value})[name] == value


def test_csv_for_spreadsheets(tmp_path: Path) -> None:
    """The first line may name the delimiter."""
    assert read(tmp_path, "a.csv", "sep=;\r\ntarget_id;host\r\na;x\r\n") == [{"target_id": "a", "host": "x"}]


@given(st.text(st.sampled_from("=+-@\t' [a1;\""), min_size=1, max_size=8).map(str.strip).filter(bool))
def test_names_of_fields_survive_csv(name: str) -> None:
    """An unknown field may have any name, and keeps it."""
    assert after_round_trip("csv", {"target_id": "x", f"{name}x": "1"}) == {"target_id": "x", f"{name}x": "1"}


def test_csv_of_spreadsheets(tmp_path: Path) -> None:
    """Spreadsheets and people write semicolons, a byte order mark, CRLF, empty rows, blanks around cells."""
    text = "\ufefftarget_id; host ;port\r\na; a.example ;110\r\n;;\r\nb;b.example;\r\n"
    assert read(tmp_path, "a.csv", text) == [
        {"target_id": "a", "host": "a.example", "port": "110"},
        {"target_id": "b", "host": "b.example"},
    ]


def test_lines_of_fields(tmp_path: Path) -> None:
    """In YAML each field has its line; in CSV a row has the line on which it begins."""
    (tmp_path / "a.yaml").write_text("# note\n- target_id: a\n\n  port: 1\n")
    [entry] = read_entries(tmp_path / "a.yaml")
    assert (entry.line, entry.line_of("port"), entry.line_of("host")) == (2, 4, 2)
    (tmp_path / "a.csv").write_text('target_id,email\na,"two\nlines"\n\nb,x\n')
    assert [entry.line for entry in read_entries(tmp_path / "a.csv")] == [2, 5]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("110", 110),
        ("-1.5", -1.5),
        ("0", 0),
        ("1e3", 1000.0),
        ("9" * 39, "9" * 39),
        ("1e999", "1e999"),
        ("1e126", "1e126"),
    ],
)
def test_numbers_that_a_table_cannot_hold_stay_strings(text: str, number: object) -> None:
    """DynamoDB would refuse them with an error that does not name the field."""
    assert load_json(text) == number
    assert type(load_json(text)) is type(number)


def test_yaml_takes_a_list_or_a_map(tmp_path: Path) -> None:
    """Both ways of writing many targets."""
    assert read(tmp_path, "a.yaml", "- target_id: a\n  host: x\n") == [{"target_id": "a", "host": "x"}]
    assert read(tmp_path, "a.yaml", "a:\n  host: x\nb:\n  host: y\n") == [
        {"target_id": "a", "host": "x"},
        {"target_id": "b", "host": "y"},
    ]
    assert read(tmp_path, "a.yaml", "# nothing\n") == []


def test_yaml_has_no_surprises(tmp_path: Path) -> None:
    """Times of day, words and numbers mean what they look like."""
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
        ("a.yaml", "- target_id: a\n  host: x\n  host: y\n", "Line 3: the field `host` is given twice"),
        ("a.yaml", "- target_id: a\n  host: [\n", "Line 3, column 1: a value is missing before this"),
        ("a.yaml", "- just text\n", "Line 1 is not a target"),
        ("a.yaml", "text\n", "not a list of targets"),
        ("a.yaml", "a: &a {host: x}\nb: *a\n", "Line 2: aliases"),
        ("a.yaml", "- target_id: !!python/object:os.system a\n", "Line 1: tags"),
        ("a.yaml", "- target_id: a\n  check_quit: !!bool perhaps\n", "Line 2: tags"),
        ("a.yaml", "? [a]\n: {host: x}\n", "Line 1: an id must be a string"),
        ("a.yaml", "- target_id: a\n  ? [b]\n  : c\n", "Line 2, column 5: a name must be a string"),
        ("a.yaml", "[" * 5000, "nested too deeply"),
        ("a.yaml", "- a: \x07\n", "Line 1, column 6: the character U+0007 is not allowed."),
        ("a.yaml", "- {target_id: a}\n---\n- {target_id: b}\n", "Line 2:"),
        ("a.csv", 'target_id,host\n"a,b\n', "Line 2 is not CSV"),
        ("a.csv", "target_id,host,host\na,b,c\n", "Line 1: the field `host` is given twice"),
        ("a.csv", "target_id,,host\na,b,c\n", "Line 1: column 2 has no name: name it, or remove it."),
        ("a.csv", "target_id,,host,\na,b,c,\n", "Line 1: columns 2, 4 have no name: name them, or remove them."),
        ("a.csv", 'target_id,host\na,"b"c\n', "Line 2 is not CSV: a cell goes on after its closing quote"),
        ("a.yaml", "target_id: a\nhost: x\nport: 110\n", "Line 1: this is a field, not a target: write `- ` before"),
        (
            "a.yaml",
            "scrape_configs:\n- {job_name: a}\n",
            "Line 1: `scrape_configs` belongs to Prometheus or its blackbox",
        ),
        ("a.yaml", "modules:\n  pop3:\n    prober: tcp\n", "add `--from blackbox`"),
        ("a.yaml", "targets:\n- {target_id: a}\n", "Line 1: `targets` holds a list: the list alone is a file"),
        ("a.jsonl", '{"target_id": "a", "port": 1, "port": 2}', "Line 1 is not JSON: `port` is given twice"),
        ("a.jsonl", '{"target_id": "a", "port": Infinity}', "Line 1 is not JSON: Infinity is not a number"),
        ("a.csv", "target_id,host\na\n", "Line 2 has 1 cell, and the first line has 2"),
        ("a.csv", "target_id,host\na,b,c\n", "Line 2 has 3 cells, and the first line has 2"),
        ("a.jsonl", '{"target_id": "a"}\nnonsense\n', "Line 2 is not JSON"),
        ("a.jsonl", "[[]]\n", "Line 1 is not a target"),
        ("a.jsonl", '{"target_id": ["a"], "host": "x"}', "Line 1: the field `target_id` must be a string."),
        ("a.json", '{"servers": [{"host": "x"}]}', "Line 1: `servers` holds a list: the array alone is a file"),
        ("a.json", '{\n"servers": [{"host": "x"}]}', "Line 1: `servers` holds a list: the array alone is a file"),
        ("a.txt", "", "none of the endings"),
    ],
)
def test_mistakes_are_reported_with_their_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    """The message says where and why."""
    assert any(said in mistake for mistake in mistakes(tmp_path, name, text))


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    """Rows of the wrong size, ids, fields, and a quote without an end: one import shows all of them."""
    rows = ["target_id,host,port", "a,a.example,x", "b,b.example", ",c.example,110", "a,d.example,0", "e,f", '"g,h,i']
    assert mistakes(tmp_path, "a.csv", "\n".join(rows)) == [
        "Line 2, a: The field `port` cannot be used: `x` is not a number.",
        "Lines 3, 6 have 2 cells, and the first line has 3.",
        "Line 4: the field `target_id` is missing: give each target an id of its own.",
        "Line 5: `a` is also on line 2: ids must differ.",
        "Line 5, a: The field `port` cannot be used: `0` is not between 1 and 65535.",
        "Line 7 is not CSV: a quote begins on it and has no end. There may be more mistakes after it.",
    ]


@pytest.mark.parametrize(
    ("name", "text", "first"),
    [
        ("a.csv", "target_id,host,prt\na,a.example,1\na,b.example,2\n", "Line 3: `a` is also on line 2"),
        ("a.yaml", "- {target_id: a, host: x, prt: 1, ca_file: none.pem}\n", "Line 1: none.pem cannot be read"),
        (
            "a.jsonl",
            '{"target_id": "a", "host": "x", "prt": 1}\nno\n',
            "Line 2 is not JSON: at character 1 a value is missing",
        ),
    ],
)
def test_unknown_fields_are_named_with_the_mistakes(tmp_path: Path, name: str, text: str, first: str) -> None:
    """They are not mistakes, but who mends those should read of all in one go."""
    found = mistakes(tmp_path, name, text)
    assert found[0].replace(f"{tmp_path}/", "").startswith(first)
    assert found[-1].endswith(": unknown field `prt`: it is kept but has no effect. Did you mean `port`?")
    assert len(found) == 2


def test_lines_that_are_not_json(tmp_path: Path) -> None:
    """Each is named, but not hundreds."""
    assert mistakes(tmp_path, "a.jsonl", 'x\n{"target_id": "a"}\n{"host": }\n' + "[" * 100_000) == [
        "Line 1 is not JSON: at character 1 a value is missing, or a text is not in double quotes. "
        "Write each target as an object on a line of its own.",
        "Line 2, a: The field `host` is missing: write the server's name or address.",
        "Line 3 is not JSON: at character 10 a value is missing, or a text is not in double quotes.",
        "Line 4 is nested too deeply to be a target.",
    ]
    found = mistakes(tmp_path, "a.jsonl", "x\n" * 300)
    assert (len(found), found[-1]) == (11, "Line 11 and 289 lines after it cannot be read either.")
    found = mistakes(tmp_path, "a.yaml", "- x\n" * 300)
    assert (len(found), found[-1]) == (11, "Line 11 and 289 lines after it cannot be read either.")


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", "x\n"), ("a.yaml", "- x\n"), ("a.json", "5,")])
def test_a_file_of_mistakes_is_not_read_to_its_end(tmp_path: Path, name: str, text: str) -> None:
    """A million sentences would fill the memory."""
    whole = text * 20_000 if name != "a.json" else "[" + text * 20_000 + "5]"
    assert mistakes(tmp_path, name, whole)[-1].endswith("and 989 lines after it cannot be read either.")


JSON_ARRAY = '[\n  {"target_id": "a", "host": "x"},\n  {\n    "target_id": "b",\n    "host": "y"\n  }\n]\n'


@pytest.mark.parametrize("text", [JSON_ARRAY, JSON_ARRAY[1:-2], JSON_ARRAY.replace("},", "}")[1:-2]])
def test_other_json(tmp_path: Path, text: str) -> None:
    """An array is read, and so are objects of several lines, with or without commas between them."""
    path = tmp_path / "a.json"
    path.write_text(text)
    assert [(entry.line, entry.fields["target_id"]) for entry in read_entries(path)] == [(2, "a"), (3, "b")]


@pytest.mark.parametrize(
    "text", ['{"a": {"host": "x"}, "b": {"host": "y"}}', '{\n"a": {"host": "x"},\n"b": {"host": "y"}}']
)
def test_json_of_ids(tmp_path: Path, text: str) -> None:
    """A map of ids is read as in YAML."""
    assert read(tmp_path, "a.json", text) == [{"target_id": "a", "host": "x"}, {"target_id": "b", "host": "y"}]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"y"\n', '"y",\n  "host": "z"\n', "Line 3 is not JSON: `host` is given twice."),
        (
            '"b",',
            '"b"',
            "Line 5 is not JSON: at character 5 a comma or a bracket is missing. There may be more mistakes",
        ),
        ('"y"', f'NaN, "port": {"1" * 5000}', "Line 3 is not JSON: NaN is not a number."),
        ('"y"', 'NaN, "port": x', "Line 3 is not JSON: NaN is not a number."),
        ("},", "}", "Line 3 is not JSON: after a target of the array `,` or `]` is missing."),
        ("]\n", "", "Line 7 is not JSON: after a target of the array `,` or `]` is missing."),
        ("]\n", "]]", "Line 7: what follows the array is not read."),
        ("]\n", ", 5]", "Line 7 is not a target. Write an object such as"),
        ("]\n", ", " + "[" * 100_000, "Line 7 is nested too deeply to be a target."),
    ],
)
def test_a_mistake_of_other_json_is_one_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    """It is not one for each line."""
    [mistake] = mistakes(tmp_path, "a.json", JSON_ARRAY.replace(old, new))
    assert mistake.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a: b\n\tc: d", "Line 2, column 1: a tab is here"),
        ("- a: @x", "Line 1, column 6: a text cannot begin with `@`: put it in quotes"),
        ("- a\n  b\n  c: d", "Line 3, column 4: no value can begin here"),
        ("- a: 1\n  host\n  port: 1\n", "Line 3, column 3: the line before has no `: ` after a name"),
        ("- a: b: c", "Line 1, column 7: no value can begin here: put a text with `: ` in quotes"),
        ("- a: 'x\n- b: 1\n", "Line 1, column 6: a quote begins here and has no end"),
        ('- a: "\\d"', "Line 1, column 8: in double quotes a backslash begins an escape: use single quotes"),
        ("- a: 1\n b: 2\n", "Line 2, column 2: this does not belong to what is before it: the fields of a target"),
        (
            "- a: [1, 2\n- b: 1\n",
            "Line 1, column 6: a bracket begins here, and after one of its entries `]` or a comma",
        ),
        ("a: 1\n- b\n", "Line 2, column 1: this does not belong to what is before it"),
        ("- a: {b: [}", "Line 1, column 11: a value is missing before this"),
        ("a: - b", "Line 1, column 4: a list cannot begin here"),
        ("- a: |x\n  y", "Line 1, column 7: after `|` or `>` the text begins on the next line"),
        ("- a: *", "Line 1, column 7: a `*` or `&` begins an alias here: put the text in quotes"),
        ("- a: \0", "Line 1, column 6: the character U+0000 is not allowed"),
    ],
)
def test_mistakes_of_yaml_are_plain_sentences(tmp_path: Path, text: str, said: str) -> None:
    """With line and column, and without the words of the parser, which can tell only the first of them."""
    found = [mistake for mistake in mistakes(tmp_path, "a.yaml", text) if "column" in mistake]
    assert [mistake[: len(said)] for mistake in found] == [said]
    assert found[0].endswith("There may be more mistakes after it.")


def test_mistakes_beside_one_of_yaml(tmp_path: Path) -> None:
    """A name that is given twice and an entry that is not a target end nothing; what is before a mistake is checked."""
    text = "- {target_id: a, host: x, host: y}\n- 5\n- {target_id: c, port: 0}\n- target_id: 'd\n"
    assert [mistake.partition(":")[0] for mistake in mistakes(tmp_path, "a.yaml", text)] == [
        "Line 1", "Line 2 is not a target", "Line 3, c", "Line 3, c", "Line 4, column 14",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "target_id,host\na,x\n", "target_id;host\na;x\n", "- target_id: a\n  host: x\n", "# mine\na:\n  host: x\n",
        '[{"target_id": "a", "host": "x"}]', '{"target_id": "a", "host": "x"}\n',
        "a: {host: x}\n",
    ],
)  # fmt: skip
def test_the_format_of_standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """It is seen in the text, as there is no name."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    [entry] = read_entries(Path("-"))
    assert entry.fields == {"target_id": "a", "host": "x"}


def test_ids_in_both_forms_of_unicode(tmp_path: Path) -> None:
    """They look the same: no one could distinguish two targets that differ in nothing else."""
    assert mistakes(tmp_path, "a.yaml", "- {target_id: k\u00f6ln, host: x}\n- {target_id: ko\u0308ln, host: x}\n") == [
        "Line 2: `ko\u0308ln` is also on line 1: ids must differ."
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,}', "comma too many"),
        ("{'a': 1}", "at character 2 a name in double quotes is missing"),
        ('{"a": x}', "at character 7 a value is missing, or a text is not in double quotes"),
        ('{"a": 1 "b": 2}', "at character 9 a comma or a bracket is missing"),
        ('{"a" 1}', "at character 6 a colon is missing"),
        ('{"a": 1} {"b": 2}', "at character 10 something follows the object"),
        ('{"a": "x}', "at character 7 a quote begins and has no end"),
        ('{"a": "\t"}', r"at character 8 a text has a line break or a tab: write \n or \t"),
        (r'{"a": "\d"}', r"at character 8 a backslash begins an escape that there is not: write \\"),
    ],
)
def test_mistakes_of_json_are_plain_sentences(tmp_path: Path, text: str, said: str) -> None:
    """None of them is in the words of Python's parser, which differ by its version."""
    [mistake] = mistakes(tmp_path, "a.jsonl", text)
    assert said in mistake


def test_mistakes_of_several_files_are_sorted(tmp_path: Path) -> None:
    """By file, in the order in which they were given, and by line."""
    (tmp_path / "b.yaml").write_text("- {target_id: a, host: x, port: x}\n" * 2)
    (tmp_path / "a.csv").write_text("target_id,host,port\nc,c\nd,d.example,0\na,e.example,1\n")
    (tmp_path / "c.yaml").write_bytes(b"\xff")
    with pytest.raises(FileError) as caught:
        read_all_entries([tmp_path / name for name in ("b.yaml", "a.csv", "c.yaml")])
    found = [mistake.replace(f"{tmp_path}/", "") for mistake in caught.value.mistakes]
    assert [mistake[:16] for mistake in found] == [
        "c.yaml is not UT", "b.yaml line 1, a", "b.yaml line 2: `", "b.yaml line 2, a", "a.csv: Line 2 ha",
        "a.csv line 3, d:", "a.csv line 4: `a",
    ]  # fmt: skip


def test_a_wrong_header_has_all_its_mistakes(tmp_path: Path) -> None:
    """The column that is to be renamed, and the others that are not fields."""
    assert mistakes(tmp_path, "a.csv", "id,hostname,prt,colour\na,b,1,red\n") == [
        "Line 1: there is no column `target_id`. Rename the column `id` to `target_id`.",
        "Line 1: the column `hostname` is not a field. Did you mean `host`?",
        "Line 1: the column `prt` is not a field. Did you mean `port`?",
        "Line 1: the column `colour` is not a field.",
    ]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Target ID,host", "Line 1: there is no column `target_id`. Rename the column `Target ID` to `target_id`."),
        ("id,host", "Line 1: there is no column `target_id`. Rename the column `id` to `target_id`."),
        (
            "a0,a0.example",
            "Line 1: there is no column `target_id`. Its first line must name the fields: target_id,host",
        ),
        ("target_id\thost", "Line 1: there is no column `target_id`; its cells are not separated by commas or semicol"),
    ],
)
def test_a_wrong_header_is_one_mistake(tmp_path: Path, header: str, said: str) -> None:
    """It would be one of each row otherwise."""
    rows = "".join(f"t{n}{header[9] if header.startswith('target_id') else ','}h\n" for n in range(200))
    [mistake] = mistakes(tmp_path, "a.csv", f"{header}\n{rows}")
    assert mistake.startswith(said)


def test_a_missing_column_is_one_mistake(tmp_path: Path) -> None:
    """Every target lacks its host then: that is said once."""
    (tmp_path / "a.csv").write_text("target_id,hst\n" + "".join(f"t{n},h\n" for n in range(200)))
    assert all_mistakes(read_entries(tmp_path / "a.csv"), {}) == [
        "Line 2, t0 and 199 others: The field `host` is missing: write the server's name or address."
    ]


def test_certificates_in_files(tmp_path: Path) -> None:
    """Lines end as they do in other files, UTF-16 is read, and of a certificate that is cut off that is said."""
    path = tmp_path / "ca.pem"
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\r\nYQ==\r\n-----END CERTIFICATE-----\r\n")
    whole = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"
    assert read_certificates(path) == whole
    path.write_bytes(whole.encode("utf-16"))
    assert read_certificates(path) == whole
    path.write_text("-----BEGIN CERTIFICATE-----\nYQ==\n")
    with pytest.raises(UserError, match=r"has a certificate without its end, -----END CERTIFICATE-----"):
        read_certificates(path)


def test_a_change_after_a_common_beginning(tmp_path: Path) -> None:
    """The beginnings alone would be the same text twice."""
    (tmp_path / "a.csv").write_text(f"target_id,host,notes\na,a.example,{'x' * 100}y\n")
    [entry] = read_entries(tmp_path / "a.csv")
    present = {"a": {**entry.fields, "notes": "x" * 100}}
    [line] = compare(present, {"a": entry.fields}, replace=False, cut=True).lines
    assert line.endswith("... (they differ after that)")
    [line] = compare(present, {"a": entry.fields}, replace=False).lines
    assert line == f"~ a  notes: {'x' * 100} -> {'x' * 100}y"


@pytest.mark.parametrize("cut", [True, False])
def test_certificates_of_a_change_are_counted(cut: bool) -> None:
    """A bundle of a system would fill the terminal, and hide what else has changed."""
    pem = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"
    items = [{"target_id": "a"}, *({"target_id": "a", "ca_pem": text} for text in (pem, pem * 2, "x" + pem * 2, "y"))]
    lines = [*(changes_of({"a": one}, [two], cut=cut)["a"] for one, two in pairwise(items))]
    assert [line.removeprefix("~ a  ca_pem: ") for line in lines] == [
        "nothing -> 1 certificate",
        "1 certificate -> 2 certificates",
        "2 certificates -> others (2 certificates)",
        "2 certificates -> y",
    ]


def test_nothing_of_a_change_is_cut_in_a_pipe() -> None:
    """Of windows and schedules the end is what changed; ids can be copied."""
    window = {"days": ["monday", "friday"], "from": "22:00", "until": "23:30", "timezone": "America/New_York"}
    before, after = {"target_id": "a", "maintenance": [window]}, {"target_id": "a", "maintenance": [window, window]}
    [line] = changes_of({"a": before}, [after]).values()
    assert line == f"~ a  maintenance: {json.dumps([window])} -> {json.dumps([window, window])}"
    [shorter] = changes_of({"a": before}, [after], cut=True).values()
    assert len(shorter) < 200
    [mistake] = all_mistakes([FileEntry(1, {"target_id": "i" * 128})], {})
    assert "i" * 128 in mistake


@pytest.mark.parametrize(
    ("field", "written", "meant"),
    [
        ("timezone", "CEST", "Europe/Berlin"),
        ("timezone", "Europe/Berln", "Europe/Berlin"),
        ("tls", "ssl", "implicit"),
        ("tls", "stls", "starttls"),
        ("tls", "implict", "implicit"),
        ("maintenance", "patch-nite", "patch-night"),
    ],
)
def test_what_may_be_meant(field: str, written: str, meant: str) -> None:
    """Also by words of other programs."""
    schedules = {"patch-night": [{"from": "22:00", "until": "23:00"}]}
    [mistake] = mistakes_of({"target_id": "a", "host": "h", "schedules": schedules, field: written}, {})
    assert mistake.explanation.endswith(f" Did you mean `{meant}`?")


def test_an_id_in_other_letters() -> None:
    """A target without a name of its own has no name to be meant."""
    names = {"j1": "j1", "berlin": "j2"}
    assert missing_target("J1", {"j1", "j2"}, names) == "There is no target J1. Did you mean j1?"
    assert missing_target("Berlin", {"j1", "j2"}, names) == "There is no target Berlin: that is the name of j2."


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (10, "10", '~ a  own: 10 -> "10"'),
        ("x", "x\u00a0", r'~ a  own: "x" -> "x\u00a0"'),
        ("x" * 90 + "\n", "x" * 90, f"~ a  own: {'x' * 57}... (in characters that are not shown)"),
    ],
)
def test_a_change_that_is_not_seen(before: object, after: object, said: str) -> None:
    """What differs in its type or in blanks is shown exactly, or said to be so."""
    assert compare(
        {"a": {"target_id": "a", "own": before}}, {"a": {"target_id": "a", "own": after}}, replace=False, cut=True
    ).lines == [said]


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    """A missing file and one that is not text are reported with a sentence, too."""
    with pytest.raises(FileError, match="cannot be read"):
        read_entries(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"name: K\xf6ln")
    with pytest.raises(FileError, match="not UTF-8"):
        read_entries(tmp_path / "bad.yaml")
    for encoding in ("utf-16", "utf-16-le", "utf-32-be"):
        (tmp_path / "wide.csv").write_bytes("target_id,host".encode(encoding))
        with pytest.raises(FileError, match="is UTF-16 or UTF-32 text: save it as UTF-8"):
            read_entries(tmp_path / "wide.csv")
    with pytest.raises(FileError, match="is a folder: name its files"):
        read_entries(tmp_path)
    with pytest.raises(FileError, match="cannot be written"):
        write_entries(tmp_path / "nowhere" / "x.yaml", [])


@pytest.mark.parametrize(
    ("name", "begin", "each"),
    [("a.yaml", "", "- a: 1\n"), ("a.csv", "target_id\n", "a\n"), ("a.json", "", "{}\n"), ("b.json", "[{}", ",{}\n")],
)
def test_more_targets_than_a_file_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, begin: str, each: str
) -> None:
    """Each takes kilobytes, however short its line is: no more of the file is read, and one sentence says so."""
    monkeypatch.setattr("popwatch_cli.files.entries.MAX_TARGETS", 50)
    file = tmp_path / name
    file.write_text(begin + each * 51 + ("]" if name == "b.json" else ""))
    with pytest.raises(FileError) as caught:
        read_entries(file)
    assert caught.value.mistakes == ["The file has more than 50 targets: divide it into several files."]


def test_mistakes_are_not_listed_without_end(tmp_path: Path) -> None:
    """A thousand, and how many there are more."""
    file = tmp_path / "a.csv"
    file.write_text("target_id,host\n" + "a,b\n" * 2000)
    with pytest.raises(FileError) as caught:
        read_entries(file)
    assert (len(caught.value.mistakes), caught.value.mistakes[-1]) == (1001, "There are 999 more mistakes.")


class CountedName(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedName.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_each_name_of_a_file_is_not_compared_with_each() -> None:
    """A file of another may have tens of thousands of names: work that grows with their square would take minutes."""
    names = [CountedName(f"x{number}") for number in range(500)]
    assert first_repeated(names) is None
    assert first_repeated([*names, CountedName("x7")]) == "x7"
    assert CountedName.compared < 5 * len(names)
