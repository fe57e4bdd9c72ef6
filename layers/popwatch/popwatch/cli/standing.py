"""How a stack's targets stand now, as a table for people at a terminal."""

from datetime import datetime

from rich.markup import escape
from rich.table import Table

from popwatch.health import State
from popwatch.reports import Row
from popwatch.standing import Standing
from popwatch.tokens import duration, milliseconds, place

COLOURS = {
    State.LOST: "bold red",
    State.DOWN: "red",
    State.WARN: "yellow",
    State.UNTESTED: "dim",
    State.MAINTENANCE: "blue",
    State.SUSPENDED: "dim",
    State.UP: "green",
}


def headline(standing: Standing, now: datetime) -> str:
    """One line that sums up: `14 targets: 1 down, 13 up; last sweep 12 s ago`."""
    counts = {state: sum(row.state is state for row in standing.rows) for state in COLOURS}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
    swept = f"last sweep {duration(now - standing.swept_at)} ago" if standing.swept_at else "no sweep yet"
    return f"{len(standing.rows)} targets: {states}; {swept}"


def table_of(standing: Standing, now: datetime) -> Table:
    """The targets as a table."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    for title, justify in (("State", "left"), ("Target", "left"), ("Server", "left"), ("Since", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("Last test", ratio=1)
    for title in ("Failures", "Alerts", "Next test"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in standing.rows:
        table.add_row(*cells(row, now), style="dim" if row.state is State.SUSPENDED else None)
    return table


def cells(row: Row, now: datetime) -> list[str]:
    """What a row of the table says, as rich markup."""
    policy, health = row.target.policy, row.health
    colour = COLOURS[row.state]
    wait = max(row.next_test_at - now, now - now) if row.next_test_at else None
    return [
        f"[{colour}]{row.state.upper()}[/]",
        escape(row.target.name),
        escape(place(row.target)),
        duration(now - health.since) if health.since else "",
        "\n".join([last_test(row), *(f"[dim]{escape(remark)}[/]" for remark in row.remarks(now))]),
        str(health.failures or ""),
        f"{health.alerts_sent}/{policy.max_alerts}" if health.alerts_sent else "",
        f"in {duration(wait)}" if wait is not None else "",
    ]


def last_test(row: Row) -> str:
    """The last test's result, as rich markup: its round-trip time, or its error's exact message and the reason."""
    if row.error:
        return f"{escape(row.error.message)} [dim]({escape(row.reason)})[/]"
    return "" if row.tested_at is None else f"{milliseconds(row.rtt_ms)} ms"
