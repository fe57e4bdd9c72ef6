"""`popwatch status`: the status of every target now, worst first."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape

from popwatch.model.health import State
from popwatch.model.text import counted
from popwatch.queries.status import FleetStatus, fleet_status_to_json, read_fleet_status
from popwatch.reports.status import CheckStatus, TargetStatus, overall_status
from popwatch_cli.installation import find
from popwatch_cli.options import Choice
from popwatch_cli.output.live_view import View
from popwatch_cli.output.status_table import banner, details, headline, table_of
from popwatch_cli.output.terminal import console, print_fitted, say
from popwatch_cli.rehearsal.simulation import maintenance_until
from popwatch_cli.selection import Selection, selecting

REFRESH_SECONDS = 5.0
"""Time between two updates of `--watch`."""


@click.command()
@selecting()
@click.option("-w", "--watch", is_flag=True, help="Keep showing it until Ctrl-C.")
@click.option(
    "--state", "states", multiple=True, type=Choice(State), help="Only targets in this state; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch a line at each refresh.")
@click.pass_obj
def status(choice: Any, *, selection: Selection, watch: bool, states: tuple[str, ...], as_json: bool) -> None:
    """Show the status of every target, worst first; of targets that are named, everything about them.

    Exit code 0 if all shown targets are OK, 1 if one is in warn (or down and acknowledged), 2 if one is down or lost,
    3 if there are no targets, or if popwatch itself has stopped. --watch ends with 0 at Ctrl-C.

    \b
    Examples:
      popwatch status
      popwatch status mail-berlin
      popwatch status --watch --group customers
      popwatch status --state down --state lost --json
    """
    installation = find(choice)
    store = installation.store

    def selected(fleet: FleetStatus) -> list[TargetStatus]:
        wanted = selection.of({row.target.target_id: row.target for row in fleet.targets}) if fleet.targets else {}
        return [row for row in fleet.targets if row.target.target_id in wanted]

    def chosen(fleet: FleetStatus) -> FleetStatus:
        return replace(fleet, targets=[row for row in selected(fleet) if not states or row.state in states])

    if watch:
        read: Callable[[datetime], FleetStatus] = lambda now: chosen(read_fleet_status(store, now))  # noqa: E731
        with suppress(KeyboardInterrupt):
            _watch_as_json(read) if as_json else _watch(read, installation.name)
        return
    now = datetime.now(UTC)
    whole = read_fleet_status(store, now)
    fleet = chosen(whole)
    outcome = _outcome(fleet, now) if whole.targets else CheckStatus.UNKNOWN
    if as_json:
        click.echo(json.dumps(fleet_status_to_json(fleet, outcome, now)))
    elif states and whole.targets and not fleet.targets:
        say(f"None of {counted(len(selected(whole)), 'target')} is {' or '.join(states)}.")
    elif selection.ids:
        for row in fleet.targets:
            say("\n".join(details(row, now, _end_of_window(row, now))))
    else:
        show(console(), fleet, now)
    sys.exit(outcome)


def _end_of_window(row: TargetStatus, now: datetime) -> datetime | None:
    """When the maintenance window of now ends; None without one, and in a silence, whose end is among the remarks."""
    policy = row.target.policy
    if not policy.enabled or row.silence(now) or not policy.in_maintenance(now):
        return None
    return maintenance_until(policy, now.replace(second=0, microsecond=0))


def _outcome(fleet: FleetStatus, now: datetime) -> CheckStatus:
    return overall_status(fleet.targets, fleet.last_tick, now)


def show(console: Console, fleet_status: FleetStatus, now: datetime) -> None:
    """Print the table and a summary, with a banner between them if popwatch has stopped."""
    if fleet_status.targets:
        console.print(table_of(fleet_status, now, console.width))
    stopped = banner(fleet_status, now)
    if stopped:
        print_fitted(console, stopped)
    print_fitted(console, escape(headline(fleet_status, now)))


def _watch(read: Callable[[datetime], FleetStatus], name: str) -> NoReturn:
    with View(console(), f"popwatch, {name}") as view:
        while True:
            now = datetime.now(UTC)
            view.show(read(now), now, with_banner=True)
            time.sleep(REFRESH_SECONDS)


def _watch_as_json(read: Callable[[datetime], FleetStatus]) -> NoReturn:
    while True:
        now = datetime.now(UTC)
        fleet = read(now)
        click.echo(json.dumps(fleet_status_to_json(fleet, _outcome(fleet, now), now)))  # click flushes each line
        time.sleep(REFRESH_SECONDS)
