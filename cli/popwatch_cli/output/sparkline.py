"""Round-trip times over time as one line of a terminal. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from popwatch.reports.availability import Period

BLOCKS = "▁▂▃▄▅▆▇█"
FAILED, NOTHING = "x", " "

Point = tuple[datetime, float | None]
"""A time, and the rtt in ms of a test then; None if it failed."""


def sparkline(points: Iterable[Point], period: Period, width: int) -> str:
    """The period in `width` characters: a block as high as the mean rtt, `x` if all tests failed, else a blank."""
    cells: list[list[float | None]] = [[] for _ in range(width)]
    for time, rtt_ms in points:
        position = (time - period.begin) / period.length
        if 0 <= position < 1:
            cells[int(position * width)].append(rtt_ms)
    means = [_mean(cell) for cell in cells]
    greatest = max((mean for mean in means if mean), default=0.0)
    return "".join(_block(cell, mean, greatest) for cell, mean in zip(cells, means, strict=True)).rstrip()


def _mean(cell: Sequence[float | None]) -> float | None:
    passed = [rtt_ms for rtt_ms in cell if rtt_ms is not None]
    return sum(passed) / len(passed) if passed else None


def _block(cell: Sequence[float | None], mean: float | None, greatest: float) -> str:
    if mean is None:
        return FAILED if cell else NOTHING
    return BLOCKS[min(int(mean / greatest * len(BLOCKS)), len(BLOCKS) - 1)] if greatest else BLOCKS[0]
