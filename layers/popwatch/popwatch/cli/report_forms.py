"""A report as text for terminals and as CSV for spreadsheets. Pure."""

import csv
import io
from datetime import datetime, timedelta, tzinfo

from popwatch.cli.csv_form import FORMULA, HIDDEN_FORMULA
from popwatch.fleet_report import FleetReport, Line, line_to_json
from popwatch.outcomes import clean
from popwatch.tokens import duration, milliseconds

NAME_SHOWN = 32

APART = ("maintenance", "untested", "suspended", "inconclusive")
"""The times of a target that count neither as up nor as down."""


def to_text(report: FleetReport, zone: tzinfo) -> str:
    """The report in lines of at most 120 characters."""
    lines = [
        f"Availability from {moment(report.period.begin, zone)} to {moment(report.period.end, zone)}",
        f"{report.whole.targets} targets, {_outages(report.whole)}; times are by {zone}",
        *report.missing,
        "",
        _row("", "availability", "outages", "down", "MTTR", "MTBF", "p50", "p95", "p99 ms"),
        *(_line(line) for line in report.targets),
    ]
    if report.groups:
        lines += ["", "Groups", *(_line(line) for line in report.groups)]
    lines += ["", _line(report.whole, "All"), *_apart(report.whole), *_failures(report.whole)]
    return "\n".join(lines) + "\n"


def to_csv(report: FleetReport, zone: tzinfo) -> str:  # noqa: ARG001 - moments are UTC for spreadsheets
    """A line for each target, with a heading; no cell is taken for a formula."""
    written = io.StringIO()
    rows = [line_to_json(line) for line in report.targets]
    for row in rows:
        row["failures"] = "; ".join(f"{error}: {count}" for error, count in sorted(row["failures"].items()))
    names = list(line_to_json(report.whole))
    writer = csv.writer(written)
    writer.writerow(["begin", "end", *names])
    for row in rows:
        begin, end = report.period.begin.isoformat(), report.period.end.isoformat()
        writer.writerow([begin, end, *(_cell(row[name]) for name in names)])
    for sentence in report.missing:
        writer.writerow([_cell(sentence)])
    return written.getvalue()


def moment(when: datetime, zone: tzinfo) -> str:
    """A moment to the minute by the wall clock of a zone."""
    return f"{when.astimezone(zone):%Y-%m-%d %H:%M}"


def share(value: float | None) -> str:
    """An availability in percent, to three digits behind the point, and never rounded up to 100."""
    if value is None:
        return "-"
    return "100 %" if value == 1 else f"{int(value * 100_000) / 1000:.3f} %"


def span(length: timedelta | None) -> str:
    """A length of time, or `-` for none."""
    return duration(length) if length else "-"


def _line(line: Line, name: str = "") -> str:
    found = line.times
    shown = clean(name or line.name, NAME_SHOWN)
    figures = [milliseconds(value) for value in line.rtt_ms]
    lengths = [span(length) for length in (found.down, found.mttr, found.mtbf)]
    return _row(shown, share(found.availability), str(len(found.outages) or "-"), *lengths, *figures)


def _row(name: str, *cells: str) -> str:
    widths = (12, 8, 14, 14, 14, 7, 7, 7)
    return f"{name:<{NAME_SHOWN}}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _outages(line: Line) -> str:
    count = len(line.times.outages)
    return "no outages" if count == 0 else "1 outage" if count == 1 else f"{count} outages"


def _apart(line: Line) -> list[str]:
    """What counts neither as up nor as down, and the brief failures."""
    found = line.times
    apart = [f"{duration(length)} {name}" for name in APART if (length := getattr(found, name))]
    lines = [f"Counted neither as up nor as down: {', '.join(apart)}."] if apart else []
    if found.brief_runs:
        brief = f"{found.brief_runs} times, {duration(found.brief)} in all"
        lines.append(f"Failed without going down: {brief}, counted as up.")
    return lines


def _failures(line: Line) -> list[str]:
    totals = line.totals
    by_error = ", ".join(f"{count} {error}" for error, count in sorted(totals.failures.items()))
    return [f"{totals.tests} tests, {totals.passes} passed{f'; failed: {by_error}' if by_error else ''}."]


def _cell(value: object) -> object:
    """A value for a spreadsheet: a text that begins like a formula gets an apostrophe before it, and hides none."""
    if isinstance(value, str):
        text = clean(value, 1000)
        text = text.replace(";", ",") if HIDDEN_FORMULA.search(text) else text
        return f"'{text}" if text.startswith(FORMULA) else text
    return "" if value is None else value
