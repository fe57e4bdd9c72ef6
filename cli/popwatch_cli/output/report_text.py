"""A report as text for terminals and as CSV for spreadsheets. Pure."""

import csv
import io
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo

from popwatch.model.interventions import WHY_LENGTH
from popwatch.model.records import InterventionEvent
from popwatch.model.text import clean, counted, duration, milliseconds, truncate
from popwatch.reports.report import FleetReport, ReportLine, line_to_json
from popwatch.reports.status import certificate_remark
from popwatch_cli.files.csv import FORMULA, HIDDEN_FORMULA
from popwatch_cli.output.terminal import wrapped

NAME_SHOWN = 29

NARROW_NAME = 22
"""Characters of a name on a narrow terminal."""

WIDTH = 120
"""Characters of a line with all columns."""

TITLES = ("availability", "outages", "down", "MTTR", "MTBF", "p50", "p95", "p99 ms")
NARROW_TITLES = (*TITLES[:6], "p95 ms", "")
WIDTHS = (12, 8, 14, 14, 14, 7, 7, 7)
NARROW_WIDTHS = (12, 7, 14, 13, 0, 0, 6, 0)
"""The widths of the columns; 0 leaves one out."""

NOT_COUNTED = ("maintenance", "untested", "suspended", "inconclusive")
"""Times that count neither as up nor as down."""


def to_text(report: FleetReport, zone: tzinfo, width: int = WIDTH) -> str:
    """The report in lines of at most 120 characters, unless people wrote longer ones.

    A terminal of another `width` may have no room for all columns: then some are left out, which is said.
    """
    narrow = width < WIDTH
    lines = [
        f"Availability from {local_time(report.period.begin, zone)} to {local_time(report.period.end, zone)}",
        f"{counted(report.whole.targets, 'target')}, {_outages(report.whole)}; times are in {zone}",
        *report.missing,
        *([f"MTBF, p50 and p99 need {WIDTH} columns, as with --width {WIDTH}."] if narrow else ()),
        "",
        _row(narrow, "", *(NARROW_TITLES if narrow else TITLES)),
        *(_line(narrow, line) for line in report.targets),
    ]
    if report.groups:
        lines += ["", "Groups", *(_line(narrow, line) for line in report.groups)]
    lines += ["", _line(narrow, report.whole, "All"), *_not_counted(report.whole), *_failures(report.whole)]
    sections = (
        ("Failed tests", _failed(report)),
        ("Certificates", certificates(report)),
        ("Postures", postures(report)),
        ("What people did", [f"{local_time(event.at, zone)}  {text}" for event, text in interventions(report, zone)]),
    )
    for title, found in sections:
        if found:
            lines += ["", title, *found]
    text = "\n".join(lines)
    return (wrapped(text, width) if narrow else text) + "\n"


def to_csv(report: FleetReport, zone: tzinfo) -> str:  # noqa: ARG001 - times are UTC for spreadsheets
    """A heading and a line for each target; no cell can be read as a formula."""
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


def local_time(time: datetime, zone: tzinfo) -> str:
    """A time in a zone, to the minute."""
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M}"


def share(value: float | None) -> str:
    """An availability in percent with three decimals, never rounded up to 100."""
    if value is None:
        return "-"
    return "100 %" if value == 1 else f"{min(round(value * 100_000), 99_999) / 1000:.3f} %"


def span(length: timedelta | None) -> str:
    """A length of time, or `-` for none."""
    return duration(length) if length else "-"


def interventions(report: FleetReport, zone: tzinfo) -> list[tuple[InterventionEvent, str]]:
    """What people did, oldest first, each with a text that says who did what, and why."""
    found = [(event, clean(line.name, NAME_SHOWN)) for line in report.targets for event in line.interventions]
    return [(event, f"{name}: {intervention(event, zone)}") for event, name in sorted(found, key=lambda it: it[0].at)]


def intervention(event: InterventionEvent, zone: tzinfo) -> str:
    """What someone did, as text: `silenced until 2026-11-24 22:00 by night-shift: new disk`."""
    until = f" until {local_time(event.until, zone)}" if event.until else ""
    by = f" by {clean(event.by, WHY_LENGTH)}" if event.by else ""
    return f"{event.action}{until}{by}{f': {clean(event.why, WHY_LENGTH)}' if event.why else ''}"


def _failed(report: FleetReport) -> list[str]:
    """The targets that had failed tests, with their errors."""
    found = [line for line in report.targets if line.totals.failures]
    return [
        f"{clean(line.name, NAME_SHOWN):<{NAME_SHOWN}} {sum(line.totals.failures.values())} of {line.totals.tests}: "
        + _by_error(line.totals.failures)
        for line in found
    ]


def certificates(report: FleetReport) -> list[str]:
    """The certificates that alerts warn of."""
    near = [(line.expiring_certificate, line.name) for line in report.targets if line.expiring_certificate]
    return [
        f"{clean(name, NAME_SHOWN)}: {certificate_remark(found, report.made_at)}"
        for found, name in sorted(near, key=lambda it: it[0].expires)
    ]


def postures(report: FleetReport) -> list[str]:
    """What servers offer or permit and should not, as of their last posture tests."""
    return [f"{clean(line.name, NAME_SHOWN)}: {', '.join(line.posture)}" for line in report.targets if line.posture]


def certificate(days: int) -> str:
    """How long a certificate is still valid."""
    return "expired" if days < 0 else f"{counted(days, 'day')} left"


def _line(narrow: bool, line: ReportLine, name: str = "") -> str:
    found = line.durations
    shown = clean(name or line.name, NAME_SHOWN)
    figures = [milliseconds(value) for value in line.rtt_ms]
    lengths = [span(length) for length in (found.down, found.mttr, found.mtbf)]
    return _row(narrow, shown, share(found.availability), str(len(found.outages) or "-"), *lengths, *figures)


def _row(narrow: bool, name: str, *cells: str) -> str:
    widths = NARROW_WIDTHS if narrow else WIDTHS
    shown, most = (truncate(name, NARROW_NAME), NARROW_NAME) if narrow else (name, NAME_SHOWN)
    columns = zip(cells, widths, strict=True)
    return f"{shown:<{most}}" + "".join(f" {cell:>{width}}" for cell, width in columns if width)


def _outages(line: ReportLine) -> str:
    return counted(len(line.durations.outages), "outage") if line.durations.outages else "no outages"


def _not_counted(line: ReportLine) -> list[str]:
    """What counts neither as up nor as down, and the brief failures."""
    durations = line.durations
    lengths = {name: getattr(durations, name) for name in NOT_COUNTED}
    parts = [f"{duration(length)} {name}" for name, length in lengths.items() if length]
    lines = [f"Counted neither as up nor as down: {', '.join(parts)}."] if parts else []
    if durations.brief_failures:
        lines.append(f"Brief failures: {durations.brief_failures}, {duration(durations.brief)} in all, counted as up.")
    return lines


def _failures(line: ReportLine) -> list[str]:
    totals = line.totals
    by_error = _by_error(totals.failures)
    return [f"{counted(totals.tests, 'test')}, {totals.passes} passed{f'; failed: {by_error}' if by_error else ''}."]


def _by_error(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {error}" for error, count in sorted(failures.items()))


def _cell(value: object) -> object:
    """A value for a spreadsheet: a text that could be read as a formula gets an apostrophe before it."""
    if isinstance(value, str):
        text = clean(value, 1000)
        # Some spreadsheets split cells at semicolons, and would find a formula behind one.
        text = text.replace(";", ",") if HIDDEN_FORMULA.search(text) else text
        return f"'{text}" if text.startswith(FORMULA) else text
    return "" if value is None else value
