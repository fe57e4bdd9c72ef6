"""The current status of a stack's targets, as a table for a terminal."""

from datetime import datetime, timedelta

from rich.markup import escape
from rich.table import Table

from popwatch.model.health import State
from popwatch.model.targets import endpoint
from popwatch.model.text import counted, duration, milliseconds
from popwatch.queries.status import FleetStatus
from popwatch.reports.status import TargetStatus, has_stopped

NARROW = 110
"""Width of a terminal, in characters, below which a row with all columns does not fit."""

COLOURS = {
    State.LOST: "bold red",
    State.DOWN: "red",
    State.WARN: "yellow",
    State.UNTESTED: "dim",
    State.MAINTENANCE: "blue",
    State.SUSPENDED: "dim",
    State.UP: "green",
}


def banner(fleet_status: FleetStatus, now: datetime) -> str:
    """A striking line if popwatch itself has stopped, as rich markup; otherwise empty."""
    if not has_stopped(fleet_status.last_tick, now):
        return ""
    last_tick = fleet_status.last_tick
    last = f"the last sweep was {duration(now - last_tick)} ago" if last_tick else "there was no sweep yet"
    return f"[bold white on red] NOTHING IS BEING WATCHED: {last}. [/] `popwatch doctor` says why."


def headline(fleet_status: FleetStatus, now: datetime) -> str:
    """A summary in one line: `14 targets: 1 down, 13 up; last sweep 12 s ago`."""
    counts = {state: sum(row.state is state for row in fleet_status.targets) for state in COLOURS}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
    swept = f"last sweep {duration(now - fleet_status.last_tick)} ago" if fleet_status.last_tick else "no sweep yet"
    return f"{counted(len(fleet_status.targets), 'target')}: {states}; {swept}"


def table_of(fleet_status: FleetStatus, now: datetime, width: int) -> Table:
    """The targets as a table. Below a width of `NARROW` some cells of a row are shown under its last test."""
    certificates = any(row.certificate_days(now) is not None for row in fleet_status.targets)
    wide = ("Failures", "Alerts", "Next test", "Cert.") if certificates else ("Failures", "Alerts", "Next test")
    narrow = width < NARROW
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    for title in ("State", "Target") if narrow else ("State", "Target", "Server"):
        table.add_column(title, no_wrap=True, max_width=22 if narrow else NARROW // 4)
    table.add_column("Since", justify="right", no_wrap=True)
    table.add_column("Last test", ratio=1, min_width=NARROW // 5)
    for title in ("Next test",) if narrow else wide:
        table.add_column(title, justify="right", no_wrap=True)
    for row in fleet_status.targets:
        shown = _narrow_cells(row, now) if narrow else cells(row, now)
        if certificates and not narrow:
            shown.append(_certificate(row, now))
        table.add_row(*shown, style="dim" if row.state is State.SUSPENDED else None)
    return table


def _narrow_cells(row: TargetStatus, now: datetime) -> list[str]:
    """The cells of a row of which some are shown under the last test."""
    state, target, _, since, test, failures, alerts, next_test = cells(row, now)
    certificate = "" if "certificate" in test else _certificate(row, now)
    moved = [("failures", failures), ("alerts", alerts), ("certificate", certificate)]
    more = ", ".join(f"{name} {value}" for name, value in moved if value)
    return [state, target, since, f"{test}\n[dim]{more}[/]" if more else test, next_test]


def _certificate(row: TargetStatus, now: datetime) -> str:
    """The days until the certificate expires."""
    days = row.certificate_days(now)
    return "" if days is None else f"{days} d"


def cells(row: TargetStatus, now: datetime) -> list[str]:
    """The cells of a row, as rich markup."""
    policy, health = row.target.policy, row.health
    colour = COLOURS[row.state]
    wait = max(row.next_test_at - now, timedelta()) if row.next_test_at else None
    return [
        f"[{colour}]{row.state.upper()}[/]",
        escape(row.target.name),
        escape(endpoint(row.target)),
        duration(now - health.since) if health.since else "",
        "\n".join([last_test(row), *(f"[dim]{escape(remark)}[/]" for remark in row.remarks(now))]),
        str(health.failures or ""),
        f"{health.alerts_sent}/{policy.max_alerts}" if health.alerts_sent else "",
        f"in {duration(wait)}" if wait is not None else "",
    ]


def last_test(row: TargetStatus) -> str:
    """The last test's result, as rich markup: its round-trip time, or its error's exact message and the reason."""
    if row.error:
        return f"{escape(row.error.message)} [dim]({escape(row.reason)})[/]"
    return "" if row.tested_at is None else f"{milliseconds(row.rtt_ms)} ms"
