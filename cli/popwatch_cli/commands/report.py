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
from popwatch_cli.options import SINCE, UNTIL, ZONE, month_of, period_of
from popwatch_cli.output.report_text import to_csv, to_text
from popwatch_cli.target_items import missing_group


@click.command()
@click.option("--month", metavar="YYYY-MM", help="A calendar month. Not together with --since or --until.")
@click.option("--since", metavar="WHEN", help=f"{SINCE} [default: 30d]")
@click.option("--until", metavar="WHEN", help=UNTIL)
@click.option(
    "--timezone", "zone", type=ZONE, default="UTC", show_default=True, help="The zone in which days and months begin."
)
@click.option("--group", metavar="NAME", help="Only the targets of a group.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json", "html"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
@click.option("--verbose", is_flag=True, help="Say what was read, and how long it took.")
@click.pass_obj
def report(
    choice: Any,
    *,
    month: str | None,
    since: str | None,
    until: str | None,
    zone: tzinfo,
    group: str | None,
    form: str,
    output: Path | None,
    verbose: bool,
) -> None:
    """Report how available targets were. docs/reports.md defines each figure.

    \b
    Examples:
      popwatch report --month 2026-10 --timezone Europe/Berlin
      popwatch report --since 7d --group customers --format csv --output week.csv
      popwatch report --month 2026-10 --format html --output october.html
    """
    now = datetime.now(UTC)
    period = _period(month, since, until, zone, now)
    installation, began = find(choice), time.monotonic()
    store = installation.store
    made = read_report(installation, store, period, group, now)
    text = _forms()[form](made, zone)
    if output:
        _write(output, text)
        click.echo(f"The report of {counted(made.whole.targets, 'target')} is in {output}.")
    else:
        click.echo(text, nl=False)
    if verbose:
        units = sum(store.capacity.read.values())
        seconds = time.monotonic() - began
        click.echo(f"Read {units:.1f} capacity units of DynamoDB in {seconds:.1f} s.", err=True)


def read_report(
    installation: Installation, store: Store, period: Period, group: str | None, now: datetime
) -> FleetReport:
    """Read and make the report. Raises UserError for a group without targets."""
    defaults, items = store.read_targets()
    fleet = parse_targets(items, defaults)
    targets = {name: target for name, target in fleet.items() if group in (None, target.group)}
    if not targets:
        raise UserError(missing_group(group, fleet.values()) if group and fleet else "There are no targets yet.")
    checkpoint, records = store.read_records()
    mine = {name: records.get(name, Record(name)) for name in targets}
    totals = read_totals(store, checkpoint, period)
    found = read_periods(store, checkpoint, mine, totals, period, now=now)
    interventions = read_interventions(store, mine.values(), period)
    missing = missing_parts(period, now, installation.history_kept)
    missing += [*unwatched_parts(period, found.gaps), *removed_parts(fleet, totals)]
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
