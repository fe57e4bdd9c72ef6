"""A report as text for terminals and as CSV for spreadsheets. Pure."""

import csv
import io
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo

from popwatch.model.interventions import WHY_LENGTH
from popwatch.model.records import InterventionEvent
from popwatch.model.text import clean, clean_whole, counted, duration, milliseconds
from popwatch.reports.report import FleetReport, ReportLine, line_to_json
from popwatch.reports.status import certificate_remark
from popwatch_cli.files.csv import FORMULA, HIDDEN_FORMULA
from popwatch_cli.output.columns import GAP, Column, cut, fitting, left_out, lines_of, widest
from popwatch_cli.output.terminal import UNLIMITED, wrapped

NAME = "Target"
"""The title of the first column, above targets, groups and all together."""

RANKS = {
    NAME: 0,
    "availability": 0,
    "outages": 1,
    "down": 2,
    "MTTR": 4,
    "MTBF": 6,
    "p50": 5,
    "p95": 3,
    "p99 ms": 7,
}
"""The columns in their order; where there is no room for all, the one with the highest number is left out first."""

NARROWEST_NAME = 12
"""Characters of a name for which there is always room."""

NOT_COUNTED = ("maintenance", "untested", "suspended", "inconclusive")
"""Times that count neither as up nor as down."""


def to_text(report: FleetReport, zone: tzinfo, width: int = UNLIMITED) -> str:
    """The report in lines of at most `width` characters; without a limit nothing is cut or left out.

    A terminal may have no room for all columns: then some are left out, which is said.
    """
    table, remark = _table(report, width)
    count = len(report.targets)
    lines = [
        f"Availability from {local_time(report.period.begin, zone)} to {local_time(report.period.end, zone)}",
        f"{counted(report.whole.targets, 'target')}, {_outages(report.whole)}; times are in {zone}",
        *report.missing,
        *filter(None, [remark]),
        "",
        *table[: count + 1],
    ]
    if report.groups:
        lines += ["", "Groups", *table[count + 1 : -1]]
    lines += ["", table[-1], *_not_counted(report.whole), *_failures(report.whole)]
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
    return (wrapped(text, width) if width < UNLIMITED else text) + "\n"


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


def mean(length: timedelta | None) -> str:
    """A mean time, or `-` if there is nothing of which it would be the mean; that of a target never up is 0 s."""
    return "-" if length is None else duration(length)


def interventions(report: FleetReport, zone: tzinfo) -> list[tuple[InterventionEvent, str]]:
    """What people did, oldest first, each with a text that says who did what, and why."""
    found = [(event, clean_whole(line.name)) for line in report.targets for event in line.interventions]
    return [(event, f"{name}: {intervention(event, zone)}") for event, name in sorted(found, key=lambda it: it[0].at)]


def intervention(event: InterventionEvent, zone: tzinfo) -> str:
    """What someone did, as text: `silenced until 2026-11-24 22:00 by night-shift: new disk`."""
    until = f" until {local_time(event.until, zone)}" if event.until else ""
    by = f" by {clean(event.by, WHY_LENGTH)}" if event.by else ""
    return f"{event.action}{until}{by}{f': {clean(event.why, WHY_LENGTH)}' if event.why else ''}"


def _failed(report: FleetReport) -> list[str]:
    """The targets that had failed tests, with their errors."""
    return [
        f"{clean_whole(line.name)}: {sum(line.totals.failures.values())} of {counted(line.totals.tests, 'test')}: "
        + _by_error(line.totals.failures)
        for line in report.targets
        if line.totals.failures
    ]


def certificates(report: FleetReport) -> list[str]:
    """The certificates that alerts warn of."""
    near = [(line.expiring_certificate, line.name) for line in report.targets if line.expiring_certificate]
    return [
        f"{clean_whole(name)}: {certificate_remark(found, report.made_at)}"
        for found, name in sorted(near, key=lambda it: it[0].expires)
    ]


def postures(report: FleetReport) -> list[str]:
    """What servers offer or permit and should not, as of their last posture tests."""
    return [f"{clean_whole(line.name)}: {', '.join(line.posture)}" for line in report.targets if line.posture]


def certificate(days: int) -> str:
    """How long a certificate is still valid."""
    return "expired" if days < 0 else f"{counted(days, 'day')} left"


def _table(report: FleetReport, width: int) -> tuple[list[str], str]:
    """The lines of the titles, the targets, the groups and of all together; then what is left out of them."""
    rows = [_cells(line) for line in (*report.targets, *report.groups)] + [_cells(report.whole, "All")]
    names = min(widest(row[NAME] for row in rows), max(width // 4, NARROWEST_NAME))
    columns = [
        Column(title, rank, names if title == NAME else widest((title, *(row[title] for row in rows))), title != NAME)
        for title, rank in RANKS.items()
    ]
    kept = fitting(columns, width)
    others = {it.title: it.least + GAP for it in columns if it.title != NAME}
    whole = widest(row[NAME] for row in rows) + sum(others.values())
    room = max(names, width - sum(others[it.title] for it in kept if it.title != NAME))
    cut_rows = [row | {NAME: cut(row[NAME], room)} for row in rows]
    return lines_of(cut_rows, kept), left_out(columns, kept, f"--width {whole} shows all columns.")


def _cells(line: ReportLine, name: str = "") -> dict[str, str]:
    """What the line says in each column."""
    found = line.durations
    p50, p95, p99 = (milliseconds(value) for value in line.rtt_ms)
    return {
        NAME: clean_whole(name or line.name),
        "availability": share(found.availability),
        "outages": str(len(found.outages) or "-"),
        "down": span(found.down),
        "MTTR": mean(found.mttr),
        "MTBF": mean(found.mtbf),
        "p50": p50,
        "p95": p95,
        "p99 ms": p99,
    }


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
        text = clean_whole(value)
        # Some spreadsheets split cells at semicolons, and would find a formula behind one.
        text = text.replace(";", ",") if HIDDEN_FORMULA.search(text) else text
        return f"'{text}" if text.startswith(FORMULA) else text
    return "" if value is None else value
