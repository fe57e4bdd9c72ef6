"""Any bytes from servers, tables and users: in seconds what `make fuzz` checks at length."""

import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from popwatch.aws.items import from_item, to_item
from popwatch.model.fields import FIELDS
from popwatch.model.targets import parse_target
from popwatch_cli.files.entries import FileError
from popwatch_cli.files.target_files import read_entries
from tests.fuzz.__main__ import mixed
from tests.fuzz.checks import CHECKS, SEEDS, check_conversation, check_fields

MANY = settings(max_examples=300, deadline=None)
FEW = settings(max_examples=100, deadline=None)


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "tables"])
@MANY
@given(rng=st.randoms(use_true_random=False))
def test_mixtures_of_seeds(check: str, rng: object) -> None:
    """Slices of good and bad input, in any order."""
    CHECKS[check](mixed(rng, SEEDS[check]))  # type: ignore[arg-type]


@pytest.mark.long
@FEW  # each is two ticks of a fleet, and `make fuzz` plays them for a minute in `.ci/run`
@given(rng=st.randoms(use_true_random=False))
def test_tables_mixed_of_seeds(rng: object) -> None:
    """Slices of good and bad items, in the tables of a tick."""
    CHECKS["tables"](mixed(rng, SEEDS["tables"]))  # type: ignore[arg-type]


@MANY
@given(st.binary(max_size=1200))
def test_any_bytes_of_a_server(data: bytes) -> None:
    """The same events however they are split, one end, bounded buffers."""
    check_conversation(data)


LEAVES = (
    st.none()
    | st.booleans()
    | st.decimals(allow_nan=False, allow_infinity=False, places=3).map(float)
    | st.sampled_from([10**38 - 1, 1e-130, 9.99e125, -1])
    | st.text(max_size=30)
    | st.binary(max_size=10)
    | st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=3)
    | st.sets(st.integers(-5, 10**9), min_size=1, max_size=3)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([field.name for field in FIELDS]) | st.text(min_size=1, max_size=8)


@MANY
@given(st.dictionaries(NAMES, VALUES, max_size=10))
def test_any_item_of_a_table(item: dict[str, object]) -> None:
    """Every type that DynamoDB has, written and read."""
    check_fields(from_item(to_item(item)))


def piled(kind: str, size: int) -> object:
    """A value of about `size` bytes."""
    match kind:
        case "string":
            return "x" * size
        case "blanks":
            return "\x1c" * size + "x"
        case "umlauts":
            return "\u00fc" * (size // 2)
        case "dots":
            return "a." * (size // 2)
        case "days":
            return "mon," * (size // 4)
        case "numbers":
            return [1] * (size // 2)
        case "strings":
            return [str(number) for number in range(size // 8)]
        case "windows":
            return [{"from": "01:00", "until": "02:00", "timezone": "Europe/Berlin"}] * (size // 60)
        case _:
            return {f"{number:06}": "x" for number in range(size // 10)}


@pytest.mark.parametrize(
    "kind", ["string", "blanks", "umlauts", "dots", "days", "numbers", "strings", "windows", "map"]
)
@pytest.mark.parametrize("size", [30_000, 390_000])
def test_large_values_take_little_time(kind: str, size: int) -> None:
    """400 KB in any field, which fills an item: it is read in less than a second."""
    for field in FIELDS:
        began = time.thread_time()
        target = parse_target({"target_id": "a", "host": "h", field.name: piled(kind, size)})
        assert time.thread_time() - began < 1.0
        assert sum(len(problem.explanation) for problem in target.problems) < 2000


BOMBS = {
    "aliases.yaml": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)),
    "flow.yaml": "[" * 20_000,
    "maps.yaml": "{a: " * 20_000,
    "blocks.yaml": "- " * 20_000,
    "questions.yaml": "? " * 20_000,
    "merge.yaml": "- &a {target_id: a}\n- {<<: *a}\n",
    "python.yaml": "!!python/object/apply:os.system ['true']",
    "long.yaml": "- target_id: " + "x" * 1_000_000,
    "keys.yaml": "- {" + ", ".join(f"k{number}: v" for number in range(5_000)) + "}",
    "deep.jsonl": "[" * 200_000,
    "number.jsonl": '{"port": ' + "9" * 100_000 + "}",
    "deep.csv": "target_id,tags\na," + "[" * 100_000 + "\n",
    "wide.csv": "target_id" + ",x" * 100_000 + "\n",
    "cell.csv": "target_id,host\na," + "x" * 1_000_000 + "\n",
    "nul.csv": "target_id,host\na,\0\n",
    "surrogate.jsonl": '{"target_id": "\\ud800"}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_files_that_would_blow_up(name: str, tmp_path: Path) -> None:
    """Read or refused with a sentence, within seconds, even if a library has raised Python's limit of recursion."""
    path = tmp_path / name
    path.write_text(BOMBS[name])
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)  # as jsonata does, which the local stack uses
    began = time.thread_time()
    try:
        with suppress(FileError):
            read_entries(path)
        assert time.thread_time() - began < 5
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("form", ["yaml", "csv", "jsonl"])
@FEW
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@example(text="? [a]\n: b")
@example(text="- {a: &x [1]}")
@example(text="--- |\n...\n---")
def test_any_file_is_read_or_refused(form: str, text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file that is refused has mistakes that say where."""
    path = tmp_path_factory.getbasetemp() / f"any.{form}"
    path.write_text(text, newline="")
    try:
        entries = read_entries(path)
    except FileError:
        pass
    else:
        assert all(entry.fields["target_id"] for entry in entries)


@FEW
@given(
    st.recursive(
        st.text(max_size=5) | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)
    )
)
def test_any_yaml_is_read_or_refused(value: object) -> None:
    """Well-formed YAML of any shape."""
    from popwatch_cli.files.yaml import read_yaml  # noqa: PLC0415 - beside what it is tested against

    with suppress(FileError):
        read_yaml(yaml.safe_dump(value))
