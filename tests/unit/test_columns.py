"""Which columns fit on a terminal, and what becomes of the others."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from popwatch_cli.output.columns import Column, cut, cut_apart, fitting, lines_of, listed, stacked

TEXTS = st.text(st.characters(categories=["L", "N", "P", "So"]), max_size=30)
ROWS = st.lists(st.fixed_dictionaries({"Id": TEXTS, "Count": TEXTS, "Seen": TEXTS}), min_size=1, max_size=4)


@given(TEXTS, st.integers(1, 40))
def test_a_text_is_cut_by_what_a_terminal_shows(text: str, width: int) -> None:
    """It is never wider, and whole if there is room."""
    assert cell_len(cut(text, width)) <= width
    assert cut(text, width) == text or cell_len(text) > width


@given(
    st.text("abc漢", max_size=40),
    st.sets(st.text("abcä漢", min_size=3, max_size=3), min_size=1, max_size=9),
    st.integers(16, 40),
)
def test_texts_that_differ_at_one_end_are_told_apart(same: str, others: set[str], width: int) -> None:
    """They are as wide as there is room, and whole if there is room for them."""
    for texts in ([same + it for it in others], [it + same for it in others]):
        shown = cut_apart(texts, width)
        assert all(cell_len(form) <= width and (form == text or cell_len(text) > width) for text, form in shown.items())
        assert len(set(shown.values())) == len(texts)


@given(st.permutations([0, 1, 2, 3]), st.integers(0, 60))
def test_the_least_important_is_left_out_first(ranks: list[int], width: int) -> None:
    """What stays keeps its order and fits, but for that which always stays."""
    columns = [Column(str(rank), rank, 8) for rank in ranks]
    kept = fitting(columns, width)
    assert kept == [it for it in columns if it.rank < len(kept)]
    assert len(kept) == max(1, min(4, (width + 2) // 10))


@given(ROWS, st.integers(40, 120))
def test_a_row_is_one_line_or_has_all_below_it(rows: list[dict[str, str]], width: int) -> None:
    """Nothing of it is lost: what does not fit beside it stands below, or its title is named."""
    columns = [
        Column(name, rank, max(cell_len(text) for text in (name, *(row[name] for row in rows))))
        for name, rank in {"Id": 0, "Count": 1, "Seen": 0}.items()
    ]
    titles, lines, remark = stacked(rows, columns, {"Seen": "seen: "}, width)
    assert len(lines) == len(rows)
    assert ("Count" in titles) is not ("Count" in remark)
    for row, (line, below) in zip(rows, lines, strict=True):
        assert cell_len(line) <= width
        assert row["Id"] in line
        assert row["Seen"] in line or f"seen: {row['Seen']}" in " ".join(part.strip() for part in below)


def test_lines_are_straight() -> None:
    """Figures end below one another, texts begin so."""
    rows = [{"Id": "東京", "Count": "7"}, {"Id": "a", "Count": "1234567"}]
    columns = [Column("Id", 0, 4), Column("Count", 0, 7, is_figure=True)]
    assert lines_of(rows, columns) == ["Id      Count", "東京        7", "a     1234567"]


def test_one_long_cell_breaks_no_other_row_of_a_list() -> None:
    """The columns are those of the rows that fit beside one another; a long id or a long server alone goes on below."""
    rows = [
        ("a", "short", "g"),
        ("a-long-id-of-one", "short", "g"),
        ("bb", "a-server-that-is-long", "g"),
        ("c", "s", ""),
    ]
    assert listed(rows, 24) == [
        "a  short  g",
        "a-long-id-of-one",
        "    short  g",
        "bb",
        "    a-server-that-is-long",
        "    g",
        "c  s",
    ]


@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=50), st.text("cd", max_size=30)), max_size=5))
def test_a_list_has_each_row_on_a_line_or_two(rows: list[tuple[str, str]]) -> None:
    """Nothing is cut: what has no room beside the first cell is below it."""
    lines = listed(rows, 40)
    assert " ".join(lines).split() == [cell for row in rows for cell in row if cell]
    assert all(len(line) <= 40 or " " not in line.strip() for line in lines)
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [first for first, _ in rows]
