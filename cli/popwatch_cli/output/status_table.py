"""The current status of a stack's targets, as a table for a terminal."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import click
from rich.markup import escape
from rich.table import Table

from popwatch.model.fields import TlsMode
from popwatch.model.health import State
from popwatch.model.targets import endpoint
from popwatch.model.text import clean, counted, duration, milliseconds, utc
from popwatch.queries.status import FleetStatus
from popwatch.reports.status import TargetStatus, has_stopped
from popwatch_cli.output.terminal import UNLIMITED, repeat_options

NARROW = 110
"""Width of a terminal, in characters, below which a row with all columns does not fit."""

SHOWN = 4000
"""Characters of a fact that are shown: more than any field or detail has, so that nothing of them is cut."""

COLOURS = {
    State.LOST: "bold red",
    State.DOWN: "red",
    State.WARN: "yellow",
    State.UNTESTED: "dim",
    State.MAINTENANCE: "blue",
    State.SUSPENDED: "dim",
    State.UP: "green",
}

LONGEST_WAIT = timedelta(seconds=120)
"""From when a test is due until it has a result, as on the page: a minute to the next sweep, and its own time."""

_FOREGROUND = {state: colour.split()[-1].replace("dim", "bright_black") for state, colour in COLOURS.items()}


def banner(fleet_status: FleetStatus, now: datetime) -> str:
    """A striking line if popwatch itself has stopped, as rich markup; otherwise empty."""
    if not has_stopped(fleet_status.last_tick, now):
        return ""
    last_tick = fleet_status.last_tick
    last = f"the last sweep was {duration(now - last_tick)} ago" if last_tick else "there was no sweep yet"
    return repeat_options(f"[bold white on red] NOTHING IS BEING WATCHED: {last}. [/] `popwatch doctor` says why.")


def headline(fleet_status: FleetStatus, now: datetime) -> str:
    """A summary in one line: `14 targets: 1 down, 13 up; last sweep 12 s ago`."""
    counts = {state: sum(row.state is state for row in fleet_status.targets) for state in COLOURS}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
    swept = f"last sweep {duration(now - fleet_status.last_tick)} ago" if fleet_status.last_tick else "no sweep yet"
    return f"{counted(len(fleet_status.targets), 'target')}: {states}; {swept}"


def table_of(fleet_status: FleetStatus, now: datetime, width: int, most: int | None = None) -> Table:
    """The targets as a table with one line for each, cut to `width`; of more than `most` the first, and how many more.

    Below a width of `NARROW` the last test, its failures and alerts share a column.
    """
    rows = fleet_status.targets
    left_out: Sequence[TargetStatus] = ()
    if most is not None and len(rows) > most:
        rows, left_out = rows[: most - 1], rows[most - 1 :]
    certificates = any(row.certificate_days(now) is not None for row in rows)
    wide = ("Failures", "Alerts", "Next test", "Cert.") if certificates else ("Failures", "Alerts", "Next test")
    narrow = width < NARROW
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=width < UNLIMITED)
    for title in ("State", "Target") if narrow else ("State", "Target", "Server"):
        table.add_column(title, no_wrap=True, max_width=_most_characters(title, width))
    table.add_column("Since", justify="right", no_wrap=True)
    table.add_column("Last test", ratio=1, no_wrap=True)
    for title in ("Next test",) if narrow else wide:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        shown = _narrow_cells(row, now) if narrow else cells(row, now, may_be_cut=width < UNLIMITED)
        if certificates and not narrow:
            shown.append(_certificate(row, now))
        table.add_row(*shown, style="dim" if row.state is State.SUSPENDED else None)
    if left_out:
        table.add_row("", f"[dim]and {len(left_out)} more[/]", *[""] * (len(table.columns) - 2))
    return table


def _most_characters(title: str, width: int) -> int | None:
    """The width of a column on a terminal; elsewhere nothing is cut."""
    if width >= UNLIMITED or title == "State":
        return None
    return 22 if width < NARROW else width // 5


def _narrow_cells(row: TargetStatus, now: datetime) -> list[str]:
    """The cells of a row of which some share a column; the whole sentence is in `details`."""
    state, target, _, since, _, failures, alerts, next_test = cells(row, now)
    result = escape(row.reason) if row.error else last_test(row)
    times = f"{failures}x " if row.error and failures else ""
    days = row.certificate_days(now)
    certificate = "" if days is None or row.health.expiring_certificate else f"certificate {days} d"
    parts = [f"{times}{result}", f"alert {alerts}" if alerts else "", *map(escape, row.remarks(now)), certificate]
    return [state, target, since, ", ".join(filter(None, parts)), next_test]


def details(row: TargetStatus, now: datetime) -> Iterator[str]:
    """Everything about the present status of a target, a line for each thing."""
    target, health, policy = row.target, row.health, row.target.policy
    since = f" for {duration(now - health.since)}, since {utc(health.since)}" if health.since else ""
    failed = f"{row.error.message} ({row.reason})" if row.error else ""
    passed = f"passed after {milliseconds(row.rtt_ms)} ms" if row.tested_at else "none yet"
    ago = f", {duration(now - row.tested_at)} ago" if row.tested_at else ""
    days = row.certificate_days(now)
    between = f", {health.passes_in_outage} passed between them" if health.passes_in_outage else " in a row"
    facts = {
        "State": click.style(row.state.upper(), fg=_FOREGROUND[row.state], bold=True) + since,
        "Server": endpoint(target) + (f", TLS {target.tls}" if target.tls is not TlsMode.NONE else ""),
        "Group": target.group,
        "Tags": ", ".join(target.tags),
        "Last test": f"{failed or passed}{ago}",
        "Seen": row.detail,
        "Failures": f"{health.failures}{between}" if health.failures else "",
        "Alerts": f"{health.alerts_sent} of at most {policy.max_alerts} sent" if health.alerts_sent else "",
        "Next test": _next_test(row, now),
        "Certificate": "" if days is None else ("expired" if days < 0 else f"{counted(days, 'day')} left"),
        "Mailbox": _mailbox(row, now),
        "Remarks": "; ".join(row.remarks(now)),
        "Runbook": target.runbook,
        "Notes": target.notes,
    }
    target_id = clean(target.target_id, SHOWN)
    yield clean(target.name, SHOWN) + (f" ({target_id})" if target.name != target.target_id else "")
    for title, fact in facts.items():
        # the state is not cleaned: its colour would be lost
        lines = [fact] if title == "State" else [clean(line, SHOWN) for line in fact.splitlines()]
        for place, line in enumerate(lines):
            yield f"  {title if place == 0 else '':<12}{line}".rstrip()
    more = health.alerts_sent < policy.max_alerts
    if row.state in (State.DOWN, State.LOST) and more and not row.acknowledgement:
        yield f"  To stop its alerts: `popwatch ack {shlex.quote(target_id)}`."


def _mailbox(row: TargetStatus, now: datetime) -> str:
    """What the last login counted, and how long ago that was."""
    if row.mailbox is None:
        return ""
    at, found = row.mailbox
    counts = f"{counted(found.messages, 'message')}, {counted(found.octets, 'octet')}"
    return f"{counts}, {duration(now - at)} ago"


def _certificate(row: TargetStatus, now: datetime) -> str:
    """The days until the certificate expires."""
    days = row.certificate_days(now)
    return "" if days is None else f"{days} d"


def cells(row: TargetStatus, now: datetime, *, may_be_cut: bool = False) -> list[str]:
    """The cells of a row, as rich markup; where they may be cut, the reason of a failure comes first."""
    policy, health = row.target.policy, row.health
    colour = COLOURS[row.state]
    return [
        f"[{colour}]{row.state.upper()}[/]",
        escape(row.target.name),
        escape(endpoint(row.target)),
        duration(now - health.since) if health.since else "",
        ", ".join(
            filter(
                None,
                [last_test(row, may_be_cut=may_be_cut), *(f"[dim]{escape(remark)}[/]" for remark in row.remarks(now))],
            )
        ),
        str(health.failures or ""),
        f"{health.alerts_sent}/{policy.max_alerts}" if health.alerts_sent else "",
        _next_test(row, now),
    ]


def _next_test(row: TargetStatus, now: datetime) -> str:
    """When the next test is; one that is due is being made, unless that takes longer than any test."""
    if row.next_test_at is None:
        return ""
    wait = row.next_test_at - now
    if wait >= timedelta(seconds=0.5):
        return f"in {duration(wait)}"
    return "testing" if -wait < LONGEST_WAIT else f"due for {duration(-wait)}"


def last_test(row: TargetStatus, *, may_be_cut: bool = False) -> str:
    """The last test's result, as rich markup: its round-trip time, or its error's exact message and the reason."""
    if row.error and may_be_cut:
        return f"{escape(row.reason)} [dim]({escape(row.error.message)})[/]"
    if row.error:
        return f"{escape(row.error.message)} [dim]({escape(row.reason)})[/]"
    return "" if row.tested_at is None else f"{milliseconds(row.rtt_ms)} ms"
