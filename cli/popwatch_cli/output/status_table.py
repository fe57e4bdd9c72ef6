"""The current status of a stack's targets, as a table for a terminal."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import click
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from popwatch.model.fields import TlsMode
from popwatch.model.health import State
from popwatch.model.targets import endpoint
from popwatch.model.text import clean, clean_whole, counted, duration, milliseconds, utc
from popwatch.queries.status import FleetStatus
from popwatch.reports.status import TargetStatus, has_stopped
from popwatch_cli.output.columns import GAP, Column, cut_apart, fitting, left_out, widest, width_of
from popwatch_cli.output.terminal import UNLIMITED, repeat_options, wrapped

NARROW = 110
"""Width of a terminal, in characters, below which a row with all columns does not fit."""

LAST_TEST = "Last test"

RANKS = {
    "State": 0,
    "Target": 0,
    "Name": 7,
    "Server": 8,
    "Since": 2,
    LAST_TEST: 1,
    "Failures": 4,
    "Alerts": 5,
    "Next test": 3,
    "Cert.": 6,
}
"""The columns in their order; where there is no room for all, the one with the highest number is left out first."""

RANKS_IF_NARROW = {title: rank for title, rank in RANKS.items() if title not in ("Failures", "Alerts", "Cert.")}
"""Those of a narrow terminal, where the others are part of the last test."""

GIVE_WAY = ("Server", "Name", "Next test", "Since")
"""The columns of a narrow terminal that make room for whole ids, the first one first."""

NAMES = 2
"""How many of them are servers and names, which also make room for the last test."""

FIGURES = {"Since", "Failures", "Alerts", "Next test", "Cert."}

SHORTEST_TEST = 12
"""Characters of the last test, of an id or a name for which there is always room."""

READABLE_TEST = 18
"""Characters of the last test in which its failures and its reason can be read, such as `12x no-greeting`."""

NARROW_NAME = 22
"""Characters of an id or a name at most on a narrow terminal."""

FACT_SHOWN = 4000
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

RESULT_WITHIN = timedelta(seconds=120)
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

    Below a width of `NARROW` the last test, its failures and alerts share a column. Columns for which there is no room
    are left out, which the caption says.
    """
    rows = fleet_status.targets
    left: Sequence[TargetStatus] = ()
    if most is not None and len(rows) > most:
        rows, left = rows[: most - 1], rows[most - 1 :]
    more = {"Target": f"[dim]and {len(left)} more[/]"} if left else {}
    shown, columns, kept = _layout(rows, more, now, width)
    titles = [it.title for it in kept]
    remark = left_out(
        columns,
        [it for it in columns if it.title in titles],
        repeat_options("`popwatch status ID` shows all of a target."),
    )
    caption = Text(wrapped(remark, width), "dim") if remark else None
    whole = width >= UNLIMITED
    table = Table(
        box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold", expand=not whole, caption=caption
    )
    table.caption_justify = "left"
    for column in kept:
        is_wide = column.title == LAST_TEST and not whole
        table.add_column(
            column.title,
            justify="right" if column.is_figure else "left",
            no_wrap=True,
            width=None if is_wide or whole else column.least,
            ratio=1 if is_wide else None,
        )
    for row, found in zip(rows, shown, strict=True):
        table.add_row(*(found[it.title] for it in kept), style="dim" if row.state is State.SUSPENDED else None)
    if left:
        table.add_row(*(more.get(it.title, "") for it in kept))
    return table


Layout = tuple[list[dict[str, str]], list[Column], list[Column]]
"""The cells of each row, all columns, and those that are shown."""


def _layout(rows: Sequence[TargetStatus], more: Mapping[str, str], now: datetime, width: int) -> Layout:
    """Below a width of `NARROW`, or where only that leaves room for whole ids, columns are shared."""
    if width >= NARROW:
        apart = [cells(row, now, may_be_cut=width < UNLIMITED) for row in rows]
        found, is_whole = _for_width(apart, more, width, RANKS)
        if is_whole or width >= UNLIMITED:
            return found
    shared, is_whole_if_shared = _for_width([_shared(row, now) for row in rows], more, width, RANKS_IF_NARROW)
    return shared if width < NARROW or is_whole_if_shared else found


def _for_width(
    rows: list[dict[str, str]], more: Mapping[str, str], width: int, ranks: Mapping[str, int]
) -> tuple[Layout, bool]:
    """The layout with these columns, and whether no id is cut; one that is cut keeps its beginning and its end."""
    columns = _columns([*rows, more], width, ranks)
    kept, is_whole = _for_whole_ids(fitting(columns, width), rows, width, GIVE_WAY if ranks is RANKS_IF_NARROW else ())
    if width < UNLIMITED:
        room = next(it.least for it in kept if it.title == "Target")
        ids = [Text.from_markup(row["Target"]).plain for row in rows]
        short = cut_apart(ids, room)
        rows = [row | {"Target": escape(short[name])} for row, name in zip(rows, ids, strict=True)]
    return (rows, columns, kept), is_whole


def _columns(rows: Sequence[Mapping[str, str]], width: int, ranks: Mapping[str, int]) -> list[Column]:
    """The columns that are not empty, each as wide as its cells; ids, names and servers have their share at most."""
    found = []
    for title, rank in ranks.items():
        texts = [row[title] for row in rows if row.get(title)]
        if not texts and title in ("Name", "Cert."):
            continue
        least = widest((title, *(Text.from_markup(text).plain for text in texts)))
        if title == LAST_TEST:
            least = min(least, SHORTEST_TEST if width < NARROW else 2 * SHORTEST_TEST)
        elif title in ("Target", "Name", "Server"):
            wide = width // (4 if title == "Target" else 5)
            share = wide if width >= NARROW else min(NARROW_NAME, max(width // 3, SHORTEST_TEST))
            least = min(least, share)
        found.append(Column(title, rank, least, title in FIGURES))
    return found


def _for_whole_ids(
    columns: Sequence[Column], rows: Sequence[Mapping[str, str]], width: int, give_way: Sequence[str]
) -> tuple[list[Column], bool]:
    """The columns, of which that of the ids takes what others can spare, and whether that is enough.

    An id is what people copy. As many columns as needed give way; where ids are cut all the same, only servers and
    names do, as they do for `READABLE_TEST`.
    """
    wanted = widest(Text.from_markup(row["Target"]).plain for row in rows)
    for count in range(len(give_way) + 1):
        kept = [it for it in columns if it.title not in give_way[:count]]
        is_readable = _spare(kept, width) >= 0 or count >= NAMES
        if is_readable and _room_for_ids(kept, width) >= wanted:
            return _with_ids_of(wanted, kept), True
    kept = [it for it in columns if it.title not in give_way[:NAMES]]
    return _with_ids_of(_room_for_ids(kept, width), kept), False


def _room_for_ids(columns: Sequence[Column], width: int) -> int:
    return max(0, _spare(columns, width)) + sum(it.least for it in columns if it.title == "Target")


def _spare(columns: Sequence[Column], width: int) -> int:
    """What columns leave of a width beside a last test of `READABLE_TEST`; less than 0 if it has no room."""
    reserved = sum(max(0, READABLE_TEST - it.least) for it in columns if it.title == LAST_TEST)
    return width - width_of(columns) - reserved


def _with_ids_of(room: int, columns: Sequence[Column]) -> list[Column]:
    return [replace(it, least=max(it.least, room)) if it.title == "Target" else it for it in columns]


def _shared(row: TargetStatus, now: datetime) -> dict[str, str]:
    """The cells of a row of which some share a column; the whole sentence is in `details`."""
    found = cells(row, now)
    result = escape(row.reason) if row.error else last_test(row)
    times = f"{found['Failures']}x " if row.error and found["Failures"] else ""
    days = row.certificate_days(now)
    certificate = "" if days is None or row.health.expiring_certificate else f"certificate {days} d"
    alerts = f"alert {found['Alerts']}" if found["Alerts"] else ""
    parts = [f"{times}{result}", alerts, *map(escape, row.remarks(now)), certificate]
    return found | {LAST_TEST: ", ".join(filter(None, parts))}


def details(row: TargetStatus, now: datetime, maintenance_end: datetime | None = None) -> Iterator[str]:
    """Everything about the present status of a target, a line for each thing; `maintenance_end`: of a window of now."""
    target, health, policy = row.target, row.health, row.target.policy
    since = f" for {duration(now - row.since)}, since {utc(row.since)}" if row.since else ""
    failed = f"{row.error.message} ({row.reason})" if row.error else ""
    none = "none yet" if row.state is State.UNTESTED else "not known"
    passed = f"passed after {milliseconds(row.rtt_ms)} ms" if row.tested_at else none
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
        "Maintenance": f"until {utc(maintenance_end)}" if maintenance_end else "",
        "Remarks": "; ".join(row.remarks(now)),
        "Runbook": target.runbook,
        "Notes": target.notes,
    }
    target_id = clean(target.target_id, FACT_SHOWN)
    yield clean(target.name, FACT_SHOWN) + (f" ({target_id})" if target.name != target.target_id else "")
    for title, fact in facts.items():
        # the state is not cleaned: its colour would be lost
        lines = [fact] if title == "State" else [clean(line, FACT_SHOWN) for line in fact.splitlines()]
        for place, line in enumerate(lines):
            yield f"  {title if place == 0 else '':<12}{line}".rstrip()
    more = health.alerts_sent < policy.max_alerts
    if row.state in (State.DOWN, State.LOST) and more and not row.acknowledgement and not health.caused_by:
        yield f"  To stop its alerts: `popwatch ack {shlex.quote(target_id)}`."


def _mailbox(row: TargetStatus, now: datetime) -> str:
    """What the last login counted, and how long ago that was."""
    if row.mailbox is None:
        return ""
    at, found = row.mailbox
    counts = f"{counted(found.messages, 'message')}, {counted(found.octets, 'octet')}"
    return f"{counts}, {duration(now - at)} ago"


def cells(row: TargetStatus, now: datetime, *, may_be_cut: bool = False) -> dict[str, str]:
    """The cells of a row by the titles of their columns, as rich markup.

    Where they may be cut, the reason of a failure comes first.
    """
    policy, health, target = row.target.policy, row.health, row.target
    remarks = (f"[dim]{escape(remark)}[/]" for remark in row.remarks(now))
    days = row.certificate_days(now)
    return {
        "State": f"[{COLOURS[row.state]}]{row.state.upper()}[/]",
        "Target": escape(clean_whole(target.target_id)),
        "Name": escape(target.name) if target.name != target.target_id else "",
        "Server": escape(endpoint(target)),
        "Since": duration(now - row.since) if row.since else "",
        LAST_TEST: ", ".join(filter(None, [last_test(row, may_be_cut=may_be_cut), *remarks])),
        "Failures": str(health.failures or ""),
        "Alerts": f"{health.alerts_sent}/{policy.max_alerts}" if health.alerts_sent else "",
        "Next test": _next_test(row, now),
        "Cert.": "" if days is None else f"{days} d",
    }


def _next_test(row: TargetStatus, now: datetime) -> str:
    """When the next test is; one that is due is being made, unless that takes longer than any test."""
    if row.next_test_at is None:
        return ""
    wait = row.next_test_at - now
    if wait >= timedelta(seconds=0.5):
        return f"in {duration(wait)}"
    return "testing" if -wait < RESULT_WITHIN else f"due for {duration(-wait)}"


def last_test(row: TargetStatus, *, may_be_cut: bool = False) -> str:
    """The last test's result, as rich markup: its round-trip time, or its error's exact message and the reason."""
    if row.error and may_be_cut:
        return f"{escape(row.reason)} [dim]({escape(row.error.message)})[/]"
    if row.error:
        return f"{escape(row.error.message)} [dim]({escape(row.reason)})[/]"
    return "" if row.tested_at is None else f"{milliseconds(row.rtt_ms)} ms"
