"""`popwatch report`: availability, outages and round-trip times of a period, for people, spreadsheets and programs."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import click

from popwatch.aws.store import Store
from popwatch.model.records import Record
from popwatch.model.targets import parse_targets
from popwatch.model.text import counted
from popwatch.queries.availability import read_periods
from popwatch.queries.history import read_interventions, read_totals
from popwatch.reports.availability import Period
from popwatch.reports.report import (
    FleetReport,
    ReportInput,
    make_report,
    missing_parts,
    removed_parts,
    report_to_json,
    unwatched_parts,
)
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation, find
from popwatch_cli.options import SINCE, UNTIL, ZONE, Choice, month_of, period_of
from popwatch_cli.output.report_text import to_csv, to_text
from popwatch_cli.output.terminal import console, repeat_options, say
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.verification.temporary import prefix_of

OTHER_ENDINGS = {".pdf", ".xls", ".xlsx", ".ods", ".doc", ".docx", ".odt"}
"""Endings that would promise what the file is not."""

ENDINGS = {".csv": "csv", ".json": "json", ".htm": "html", ".html": "html"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--month", metavar="YYYY-MM", help="A calendar month. Not together with --since or --until.")
@click.option("--since", metavar="WHEN", help=f"{SINCE} [default: 30d]")
@click.option("--until", metavar="WHEN", help=UNTIL)
@click.option(
    "--timezone", "zone", type=ZONE, default="UTC", show_default=True, help="The zone in which days and months begin."
)
@selecting()
@click.option(
    "--format",
    "form",
    type=Choice(["text", "csv", "json", "html"]),
    help="Output format.  [default: by the ending of --output, otherwise text]",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
@click.pass_obj
def report(
    choice: Any,
    *,
    as_json: bool,
    month: str | None,
    since: str | None,
    until: str | None,
    zone: tzinfo,
    selection: Selection,
    form: str | None,
    output: Path | None,
) -> None:
    """Report how available targets were: all of them, or those named. docs/reports.md defines each figure.

    \b
    Examples:
      popwatch report --month 2026-10 --timezone Europe/Berlin
      popwatch report --since 7d --group customers --format csv --output week.csv
      popwatch report mail-berlin mail-rome --month 2026-10 --output october.html
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} contradict each other.")
    form = _form_of(output, "json" if as_json else form)
    now = datetime.now(UTC)
    period = _period(month, since, until, zone, now)
    installation, began = find(choice), time.monotonic()
    store = installation.store
    made = read_report(installation, store, period, selection, now)
    text = to_text(made, zone, console().width) if form == "text" and not output else _forms()[form](made, zone)
    if output:
        _write(output, text)
        say(f"The report of {counted(made.whole.targets, 'target')} is in {output}.")
    else:
        click.echo(repeat_options(text) if form == "text" else text, nl=False)
    if choice.verbose:
        units = sum(store.capacity.read.values())
        seconds = time.monotonic() - began
        say(f"Read {units:.1f} capacity units of DynamoDB in {seconds:.1f} s.", err=True)


def _form_of(output: Path | None, asked: str | None) -> str:
    """The format that is asked for, or that a file's ending asks for.

    Raises UserError for an ending of one that popwatch does not write, or of another one than asked for.
    """
    by_ending = ENDINGS.get(output.suffix.lower()) if output else None
    if asked and by_ending not in {None, asked}:
        raise UserError(
            f"The format {asked} and the name {output} contradict each other: leave out --format, or name the file "
            "otherwise. Nothing was written."
        )
    if output and output.suffix.lower() in OTHER_ENDINGS:
        raise UserError(f"{output}: popwatch does not write this format; use .html, .csv, .json or .txt.")
    return asked or by_ending or "text"


def read_report(
    installation: Installation, store: Store, period: Period, selection: Selection, now: datetime
) -> FleetReport:
    """Read and make the report. Raises UserError if no target is selected."""
    defaults, items = store.read_targets()
    fleet = parse_targets(items, defaults, now)
    if not fleet:
        raise UserError("There are no targets yet.")
    targets = selection.of(fleet)
    checkpoint, records = store.read_records()
    mine = {name: records.get(name, Record(name)) for name in targets}
    totals = read_totals(store, checkpoint, period)
    found = read_periods(store, checkpoint, mine, totals, period, now=now)
    interventions = read_interventions(store, mine.values(), period)
    missing = missing_parts(period, now, installation.history_kept)
    # Leave out the temporary targets of `popwatch verify`.
    tested = [name for name in totals if not name.startswith(prefix_of(installation.stack))]
    missing += unwatched_parts(period, found.gaps)
    missing += [] if selection else removed_parts(fleet, tested)  # their groups and tags are not known any more
    return make_report(period, targets, ReportInput(mine, found.targets, interventions), now, missing)


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"The report cannot be written to {output}: {error.strerror}.") from None


def _period(month: str | None, since: str | None, until: str | None, zone: tzinfo, now: datetime) -> Period:
    if month is None:
        return period_of(since or "30d", until, zone, now)
    if since or until:
        raise UserError("Give either --month or --since and --until.")
    period = month_of(month, zone)
    if period.begin >= now:
        raise UserError(f"The month {month} has not begun yet.")
    return Period(period.begin, min(period.end, now))


def _forms() -> Mapping[str, Callable[[FleetReport, tzinfo], str]]:
    """The function that writes a report, for each format."""
    return {"text": to_text, "csv": to_csv, "json": _to_json, "html": _to_html}


def _to_json(made: FleetReport, zone: tzinfo) -> str:  # noqa: ARG001 - times are UTC for programs
    return json.dumps(report_to_json(made)) + "\n"


def _to_html(made: FleetReport, zone: tzinfo) -> str:
    from popwatch_cli.output.report_html import to_html  # noqa: PLC0415 - only this format needs its template engine

    return to_html(made, zone)
