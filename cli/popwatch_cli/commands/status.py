"""`popwatch status`: the status of every target now, worst first."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from popwatch.model.health import State
from popwatch.queries.status import FleetStatus, fleet_status_to_json, read_fleet_status
from popwatch.reports.status import CheckStatus, overall_status
from popwatch_cli.errors import UserError
from popwatch_cli.installation import find
from popwatch_cli.output.live_view import View
from popwatch_cli.output.status_table import banner, headline, table_of
from popwatch_cli.target_items import missing_group

REFRESH_SECONDS = 5.0
"""Time between two updates of `--watch`."""


@click.command()
@click.option("--watch", is_flag=True, help="Keep showing it until Ctrl-C.")
@click.option("--group", metavar="NAME", help="Only the targets of a group.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([*State]), help="Only targets in this state; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def status(choice: Any, *, watch: bool, group: str | None, states: tuple[str, ...], as_json: bool) -> None:
    """Show the status of every target, worst first.

    Exit code 0 if all shown targets are OK, 1 if one is in warn (or down and acknowledged), 2 if one is down or lost,
    3 if there are no targets, or if popwatch itself has stopped.

    \b
    Examples:
      popwatch status
      popwatch status --watch --group customers
      popwatch status --state down --state lost --json
    """
    installation = find(choice)
    store = installation.store

    def chosen(fleet: FleetStatus) -> FleetStatus:
        rows = [
            row for row in fleet.targets if group in (None, row.target.group) and (not states or row.state in states)
        ]
        return replace(fleet, targets=rows)

    if watch:
        _watch(lambda now: chosen(read_fleet_status(store, now)), installation.name)
        return
    now = datetime.now(UTC)
    fleet = read_fleet_status(store, now)
    fleet_status = chosen(fleet)
    if group is not None and fleet.targets and not any(row.target.group == group for row in fleet.targets):
        raise UserError(missing_group(group, [row.target for row in fleet.targets]))
    outcome = (
        overall_status(fleet_status.targets, fleet_status.last_tick, now) if fleet.targets else CheckStatus.UNKNOWN
    )
    if as_json:
        click.echo(json.dumps(fleet_status_to_json(fleet_status, outcome, now)))
    else:
        show(Console(), fleet_status, now)
    sys.exit(outcome)


def show(console: Console, fleet_status: FleetStatus, now: datetime) -> None:
    """Print the table and a summary, with a banner between them if popwatch has stopped."""
    if fleet_status.targets:
        console.print(table_of(fleet_status, now, console.width))
    stopped = banner(fleet_status, now)
    if stopped:
        console.print(stopped)
    console.print(escape(headline(fleet_status, now)), highlight=False)


def _watch(read: Callable[[datetime], FleetStatus], name: str) -> None:
    with View(Console(), f"popwatch, {name}") as view:
        while True:
            now = datetime.now(UTC)
            view.show(read(now), now, with_banner=True)
            time.sleep(REFRESH_SECONDS)
