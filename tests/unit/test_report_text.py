"""A report as text: whole in a pipe and a file, and on a terminal no wider than that."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len

from popwatch.model.records import Action, InterventionEvent
from popwatch.model.totals import Totals
from popwatch.reports.availability import Durations, Outage, Period
from popwatch.reports.report import FleetReport, ReportLine
from popwatch_cli.output.report_html import to_html
from popwatch_cli.output.report_text import RANKS, to_csv, to_text
from popwatch_cli.output.terminal import UNLIMITED

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LONG = "averyveryveryveryverylongname-without-any-break-in-it-of-which-nothing-is-cut-in-a-pipe"
NAMES = ["Köln 日本語 🙂", "mail-1", LONG, "東京" * 40]
DOWN = Outage(NOW - DAY, NOW, DAY, begun_before=True, goes_on=True, error="protocol", reason="smtp-greeting")
SILENCED = InterventionEvent(Action.SILENCED, NOW - DAY / 2, "night-shift", "new disk", NOW)
WHOLE = Totals(1440, 1390, {"protocol": 50}, rtt_min_ms=1.0, rtt_mean_ms=20.5, rtt_max_ms=99.0, buckets={"30": 1390})


def line(name: str, group: str = "") -> ReportLine:
    durations = Durations(up=29 * DAY, down=DAY, outages=(DOWN,))
    return ReportLine(name, group, 1, durations, WHOLE, name, interventions=[SILENCED], posture=["tls10-accepted"])


REPORT = FleetReport(
    Period(NOW - 30 * DAY, NOW), NOW, [line(name, "g" * 60) for name in NAMES], [line("g" * 60)], line("")
)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_in_a_pipe(name: str) -> None:
    """Nor in a file, a spreadsheet or a browser, wherever a target or a group is named."""
    text = to_text(REPORT, UTC)
    assert text.count(name) == 4  # figures, failed tests, postures, what people did
    assert "g" * 60 in text
    assert "…" not in text
    assert "..." not in text
    assert list(csv.DictReader(io.StringIO(to_csv(REPORT, UTC))))[NAMES.index(name)]["name"] == name
    page = to_html(REPORT, UTC)
    assert page.count(name) == 5
    assert "..." not in page


@pytest.mark.parametrize("width", [40, 60, 80, 116, 200, UNLIMITED])
def test_columns_are_straight(width: int) -> None:
    """By what a terminal shows: letters of some languages, and emoji, are as wide as two."""
    table = [row for row in to_text(REPORT, UTC, width).splitlines() if "96.667 %" in row]
    assert len(table) == len(NAMES) + 2
    assert len({cell_len(row[: row.index("96.667 %")]) for row in table}) == 1


@pytest.mark.parametrize("width", range(40, 130, 6))
def test_a_terminal_has_each_column_or_it_is_said(width: int) -> None:
    """No line is wider, no word is broken, and rows are lines: what does not fit is named, with how it is seen."""
    text = to_text(REPORT, UTC, width)
    titles = next(row for row in text.splitlines() if row.startswith("Target "))
    missing = [title for title in RANKS if title not in titles]
    said = re.search(r"Left out for lack of room: (.*?)\. --width (\d+) shows all", " ".join(text.split()))
    assert bool(said) is bool(missing)
    if said:
        assert said[1] == ", ".join(missing)
        assert "Left out" not in to_text(REPORT, UTC, int(said[2]))
    assert "availability" in titles
    table = text.split("\n\n")[1].splitlines()
    assert len(table) == len(NAMES) + 1
    assert all(cell_len(row) <= width for row in [*table, *text.split("\n\n")[2].splitlines()])


def test_a_mean_of_nothing_up() -> None:
    """A target that was never up between its failures: 0 in text and HTML as in CSV, and not unknown."""
    never = ReportLine("a", "", 1, Durations(down=DAY, outages=(DOWN,)), WHOLE, "a")
    report = FleetReport(REPORT.period, NOW, [never], [], never)
    row = next(row for row in to_text(report, UTC).splitlines() if row.startswith("a "))
    assert row[row.index("1 d") :].startswith("1 d   1 d   0 s  ")
    assert next(csv.DictReader(io.StringIO(to_csv(report, UTC))))["mtbf_seconds"] == "0.0"
    assert '<td data-title="MTBF">0 s</td>' in to_html(report, UTC)


def test_each_figure_of_the_page_has_its_title() -> None:
    """On a phone, where rows are stacked and there is no line of titles: those are repeated beside the figures."""
    page = to_html(REPORT, UTC)
    tables = page.split('<table class="stacked">')[1:]
    assert len(tables) == page.count("<table")
    for table in tables:
        titles = re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', table.split("</thead>")[0])
        repeated = re.findall(r'data-title="([^"]+)"', table.split("<tbody>")[1].split("</tr>")[0])
        texts = {"Target", "Group", "Timeline", "Error", "Errors", "p50 to p99"}
        assert repeated == [title.removesuffix(" ms") for title in titles if title not in texts]
