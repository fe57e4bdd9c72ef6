"""Columns of a table on a terminal: which of them fit, and the remark about the others. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from popwatch_cli.output.terminal import wrapped

GAP = 2
"""Blanks between two columns."""

INDENT = "    "

CUT = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its title. The one with the highest `rank` is left out first; one with rank 0 never is.

    `least` is the width, in characters of the terminal, below which it says nothing. Figures are put to the right.
    """

    title: str
    rank: int
    least: int
    is_figure: bool = False


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that fit into a width beside one another, in their order."""
    left = list(columns)
    while width_of(left) > width:
        last = max(left, key=lambda it: it.rank)
        if last.rank == 0:
            break
        left.remove(last)
    return left


def left_out(columns: Iterable[Column], kept: Iterable[Column], how: str) -> str:
    """`Left out for lack of room: MTBF, p99. <how>`; "" if all columns fit."""
    names = [it.title for it in columns if it not in list(kept)]
    return f"Left out for lack of room: {', '.join(names)}. {how}" if names else ""


def widest(cells: Iterable[str]) -> int:
    """The width of the widest cell, in characters of the terminal: some letters are as wide as two."""
    return max(map(cell_len, cells), default=0)


def cut(text: str, width: int) -> str:
    """The text, of which so many characters of the terminal fit; `…` stands for the rest."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + CUT


def lines_of(rows: Sequence[Mapping[str, str]], kept: Sequence[Column]) -> list[str]:
    """The titles, and below them the cells of each row, which are found by their titles."""
    table = [{it.title: it.title for it in kept}, *rows]
    widths = {it.title: widest(row[it.title] for row in table) for it in kept}
    return [(" " * GAP).join(_padded(row[it.title], widths[it.title], it) for it in kept).rstrip() for row in table]


def cut_apart(texts: Iterable[str], width: int) -> dict[str, str]:
    """Each text, of which so many characters of the terminal fit: the middle is left out, so that the ends differ.

    How much of the end is kept is what tells most of the texts apart.
    """
    every = list(dict.fromkeys(texts))
    room = width - len(CUT)
    tails = (room // 2, room * 3 // 4, room // 4, 0, room)
    forms = [[_without_middle(text, width, tail) for text in every] for tail in tails]
    return dict(zip(every, max(forms, key=lambda form: len(set(form))), strict=True))


def _without_middle(text: str, width: int, tail: int) -> str:
    if cell_len(text) <= width:
        return text
    end = set_cell_size(text[::-1], tail)[::-1].lstrip()
    return set_cell_size(text, width - len(CUT) - tail).rstrip() + CUT + end


def listed(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Rows without titles in columns; if a row has no room in `width`, its cells after the first go on below."""
    widths = _widths_of_most(rows, width)
    return [line for row in rows for line in _listed(row, widths, width)]


def _widths_of_most(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The widths of columns that have room for most of the rows: for the shortest ones, and what fits beside them."""
    widths = [0] * max(map(len, rows), default=0)
    for row in sorted(rows, key=lambda row: sum(map(cell_len, row))):
        wider = [max(room, cell_len(cell)) for room, cell in zip(widths, row, strict=True)]
        if sum(wider) + GAP * (len(wider) - 1) <= width:
            widths = wider
    return widths


def _listed(row: Sequence[str], widths: Sequence[int], width: int) -> list[str]:
    if all(cell_len(cell) <= room for cell, room in zip(row, widths, strict=True)):
        padded = (cell + " " * (room - cell_len(cell)) for cell, room in zip(row, widths, strict=True))
        return [(" " * GAP).join(padded).rstrip()]
    others = (" " * GAP).join(filter(None, row[1:]))
    return [row[0], *wrapped(INDENT + others, width).split("\n")]


def stacked(
    rows: Sequence[Mapping[str, str]], columns: Sequence[Column], below: Mapping[str, str], width: int
) -> tuple[str, list[tuple[str, list[str]]], str]:
    """The line of titles; for each row its line, and lines to follow it; then what is left out.

    If a row does not fit on a line, its cells in the columns `below`, each after the text for it, follow it, indented;
    empty ones do not.
    """
    whole = width_of(columns)
    if whole <= width:
        title, *lines = lines_of(rows, columns)
        return title, [(line, []) for line in lines], ""
    apart = [column for column in columns if column.title not in below]
    kept = fitting(apart, width)
    title, *lines = lines_of(rows, kept)
    followed = [
        (
            line,
            [
                part
                for name, before in below.items()
                if row.get(name)
                for part in wrapped(f"{INDENT}{before}{row[name]}", width).split("\n")
            ],
        )
        for row, line in zip(rows, lines, strict=True)
    ]
    return title, followed, left_out(apart, kept, f"--width {width_of(apart)} shows all columns.")


def width_of(columns: Sequence[Column]) -> int:
    """The width of columns beside one another."""
    return sum(it.least for it in columns) + GAP * (len(columns) - 1)


def _padded(text: str, width: int, column: Column) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if column.is_figure else text + blanks
