"""`popwatch receivers`: who receives which alert, without sending any."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from popwatch.model.health import AlertEvent
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import Target
from popwatch.model.text import duration, iso, natural_order
from popwatch_cli.errors import UserError
from popwatch_cli.installation import find
from popwatch_cli.options import AT, ZONE, Choice, refuse_ineffective, time_ahead
from popwatch_cli.output.terminal import console, print_fitted
from popwatch_cli.rehearsal.receivers import EVENTS, NUMBERED, AlertReach, SameReach, events_of, same_reach
from popwatch_cli.rehearsal.simulation import maintenance_until
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.subscriptions import Subscribers, read_subscribers
from popwatch_cli.target_items import targets_of, whole

NO_RECEIVER_CODE = 2
GAP = 2
"""Blanks between columns."""

NAMED = 3
"""Targets of which a title names as many, and counts the others."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Who receives which alerts, and the targets that send none at the times that are meant, if any are.

    Those are suspended for a time, in maintenance, or silent by their settings.
    """

    found: Sequence[SameReach]
    suspended: Sequence[Target]
    held: Sequence[Target]
    silent: Sequence[Target]
    times: Mapping[str, datetime]


@click.command()
@selecting()
@click.option(
    "--event", "events", multiple=True, type=Choice(EVENTS), help="Only alerts of this event; may be repeated."
)
@click.option(
    "--at", "at", metavar="TIME", help=f"What is sent at a time, with maintenance, silences and suspensions. {AT}"
)
@click.option("--timezone", "zone", type=ZONE, help="The zone of --at.")
@click.option(
    "--error", type=Choice([*ErrorCode]), default=ErrorCode.TIMED_OUT, show_default=True, help="The error of an outage."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def receivers(
    choice: Any,
    *,
    selection: Selection,
    events: tuple[str, ...],
    at: str | None,
    zone: tzinfo | None,
    error: str,
    as_json: bool,
) -> None:
    """Show who receives which alert, by the subscriptions and their filter policies. Nothing is sent.

    Targets whose alerts reach the same receivers are shown together. A summary of many alerts reaches whoever would
    have received one of them. Exit code 2 if one of the alerts shown has no receiver.

    \b
    Examples:
      popwatch receivers
      popwatch receivers mail-berlin
      popwatch receivers --group customers --event down --at 03:00
    """
    if not at:
        refuse_ineffective({"zone"}, "without --at")
    now = datetime.now(UTC)
    installation = find(choice)
    chosen = selection.of(targets_of(installation.target_table.read()))
    targets = [chosen[name] for name in sorted(chosen, key=natural_order)]
    if not targets:
        raise UserError("There are no targets yet: `popwatch targets put mail-berlin host=pop.example.net`")
    subscribers = read_subscribers(installation.client("sns"), installation.alert_topic_arns)
    times = {target.target_id: _at(at, zone or target.timezone, now) for target in targets} if at else {}
    paused = [it for it in targets if at and it.policy.enabled and not it.policy.at(times[it.target_id]).enabled]
    others = [it for it in targets if it not in paused]
    held = [it for it in others if at and it.policy.enabled and it.policy.in_maintenance(times[it.target_id])]
    chosen_events = [AlertEvent(event) for event in events] or EVENTS
    silent = [it for it in others if it not in held and not set(events_of(it)) & set(chosen_events)]
    sending = [it for it in others if it not in held and it not in silent]
    found = same_reach(sending, subscribers.subscriptions, ErrorCode(error), chosen_events)
    rehearsal = Rehearsal(found, paused, held, silent, times)
    if as_json:
        click.echo(json.dumps(_to_json(rehearsal, subscribers)))
    else:
        show(console(), found, subscribers)
        unsent = _unsent(sending, [AlertEvent(event) for event in dict.fromkeys(events)])
        ignored = _ignored([] if at else sending, now)
        said = (*_notes(rehearsal), *unsent, *ignored)
        notes = [*map(escape, said), *remarks_on(subscribers)]
        for line in ["", *notes] if notes and found else notes:
            print_fitted(console(), line)
    complete = all(any(alerts.receivers) for same in found for alerts in same.alerts)
    sys.exit(0 if complete else NO_RECEIVER_CODE)


def show(console: Console, found: Sequence[SameReach], subscribers: Subscribers) -> None:
    """Print a matrix for the targets whose alerts reach the same receivers."""
    if found and not subscribers.subscriptions:
        print_fitted(console, "[red]No one receives anything: no one has subscribed to the topics.[/]\n")
        return
    for place, same in enumerate(found):
        if place:
            console.print()
        print_fitted(console, f"[bold]{escape(_named(same.targets))}[/]")
        matrix = _matrix(same, subscribers, console.width)
        if matrix:
            console.print(matrix)
        for line in () if matrix else _listed(same, subscribers):
            print_fitted(console, escape(line))
        unreceived = [_title(alerts, same) for alerts in same.alerts if not any(alerts.receivers)]
        if unreceived:
            print_fitted(console, f"[red]No one receives: {', '.join(unreceived)}.[/]")


def _matrix(same: SameReach, subscribers: Subscribers, width: int) -> Table | None:
    """A row for each receiver and a column for each alert; None if `width` has no room for it.

    Alerts without a number that reach the same receivers share a column. Where the times below it do not fit, they are
    written without blanks, as on the command line.
    """
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold", show_footer=True)
    columns = [[alerts] for alerts in same.alerts if alerts.event in NUMBERED]
    others = [alerts for alerts in same.alerts if alerts.event not in NUMBERED]
    for marks in dict.fromkeys(alerts.receivers for alerts in others):
        columns.append([alerts for alerts in others if alerts.receivers == marks])
    titles = [[_title(alerts, same).replace(" after", "\nafter") for alerts in column] for column in columns]
    times = [duration(same.time_to_alert(one.last)) if one.event is AlertEvent.DOWN else "" for one, *_ in columns]
    last = "[dim]after, at most[/]" if any(times) else ""
    table.add_column("Receiver", footer=last, no_wrap=True)
    names = max(len(text) for text in ("after, at most", *(one.receiver for one in subscribers.subscriptions)))
    if names + sum(_widths(titles, times)) > width:
        times = [time.replace(" min", "m").replace(" ", "") for time in times]
    if names + sum(_widths(titles, times)) > width:
        return None
    for title, time, room in zip(titles, times, _widths(titles, times), strict=True):
        table.add_column("\n".join(title), footer=f"[dim]{time}[/]", min_width=room - GAP)
    for place, subscription in enumerate(subscribers.subscriptions):
        cells = ("[green]yes[/]" if column[0].receivers[place] else "-" for column in columns)
        name = escape(subscription.receiver)
        table.add_row(name if subscription.confirmed else f"[yellow]{name}\n(not confirmed)[/]", *cells)
    return table


def _listed(same: SameReach, subscribers: Subscribers) -> Iterator[str]:
    """The same as lines, for a narrow terminal: for each receiver what it receives, and what not."""
    for place, subscription in enumerate(subscribers.subscriptions):
        yield subscription.receiver + ("" if subscription.confirmed else " (not confirmed)")
        for word, mark in (("yes", True), ("-", False)):
            titles = [_title(alerts, same) for alerts in same.alerts if alerts.receivers[place] is mark]
            if titles:
                yield f"    {word}: {', '.join(titles)}"
    downs = [alerts for alerts in same.alerts if alerts.event is AlertEvent.DOWN]
    times = [f"{_title(alerts, same)} after {duration(same.time_to_alert(alerts.last))}" for alerts in downs]
    if times:
        yield f"At most: {', '.join(times)}"


def _widths(titles: Sequence[Sequence[str]], times: Sequence[str]) -> Sequence[int]:
    """The widths of columns, with the gap before each."""
    lines = ("\n".join([*title, time]).split("\n") for title, time in zip(titles, times, strict=True))
    return [max(map(len, column)) + GAP for column in lines]


def _title(alerts: AlertReach, same: SameReach) -> str:
    """`down 1`, `down 3-9`, `recovered`, `recovered after 1`, `certificate`."""
    if not alerts.first:
        return alerts.event
    numbers = str(alerts.first) if alerts.first == alerts.last else f"{alerts.first}-{alerts.last}"
    if alerts.event is AlertEvent.DOWN:
        return f"down {numbers}"
    every = alerts.last - alerts.first + 1 == same.targets[0].policy.max_alerts
    return alerts.event if every else f"recovered after {numbers}"


def _named(targets: Sequence[Target]) -> str:
    """Some targets in a few words: the first ones by id, and how many more there are."""
    ids = ", ".join(whole(target.target_id) for target in targets[:NAMED])
    return ids if len(targets) <= NAMED else f"{ids} and {len(targets) - NAMED} more"


def _notes(rehearsal: Rehearsal) -> Iterator[str]:
    """The remarks about the targets that send nothing, and of the others at this time."""
    for (at, resumed), same in _by_suspension(rehearsal).items():
        yield (
            f"{_named(same)}: suspended at {_in_zone(at, at)}, until {_in_zone(resumed, at)}. Nothing is tested or "
            "sent then; an outage that goes on is alerted after it."
        )
    for (at, end, _), same in _by_end(rehearsal.held, rehearsal.times).items():
        until = f"until {_in_zone(end, at)}" if end else "for longer than a week"
        yield (
            f"{_named(same)}: in maintenance at {_in_zone(at, at)}, {until}. Nothing is sent then; an outage that goes "
            "on is alerted after it."
        )
    reasons: dict[str, list[Target]] = {}
    for target in rehearsal.silent:
        policy = target.policy
        why = "suspended" if not policy.enabled else "`max_alerts` is 0" if not policy.max_alerts else "by their fields"
        reasons.setdefault(why, []).append(target)
    for why, same in reasons.items():
        yield f"{_named(same)}: no such alerts are sent ({why})."


def _unsent(sending: Sequence[Target], events: Sequence[AlertEvent]) -> Iterator[str]:
    """The remarks about the targets that send some alerts that were asked for, but none of another event."""
    for event in events:
        without = [target for target in sending if event not in events_of(target)]
        if without:
            yield f"{_named(without)}: no alerts `{event}` are sent (by their fields)."


def _ignored(targets: Sequence[Target], now: datetime) -> Iterator[str]:
    """The remarks about the targets that are silenced or suspended for a time, which counts only with `--at`."""
    found: dict[tuple[str, datetime, str], list[Target]] = {}
    for target in targets:
        for word, begun in (("silenced", target.policy.silence), ("suspended", target.policy.suspended)):
            if begun and now < begun.window.end:
                found.setdefault((word, begun.window.end, str(target.timezone)), []).append(target)
    for (word, end, _), same in found.items():
        until = _in_zone(end, end.astimezone(same[0].timezone))
        yield f"{_named(same)}: {word} until {until}, which this leaves out; with --at it counts."


def _by_suspension(rehearsal: Rehearsal) -> Mapping[tuple[datetime, datetime], list[Target]]:
    """The targets by the time that is meant, and when their suspension then ends."""
    found: dict[tuple[datetime, datetime], list[Target]] = {}
    for target in rehearsal.suspended:
        if target.policy.suspended:
            found.setdefault((rehearsal.times[target.target_id], target.policy.suspended.window.end), []).append(target)
    return found


def _by_end(
    held: Sequence[Target], times: Mapping[str, datetime]
) -> Mapping[tuple[datetime, datetime | None, str], list[Target]]:
    """The targets by the time that is meant, when their maintenance then ends, and the zone of that time."""
    found: dict[tuple[datetime, datetime | None, str], list[Target]] = {}
    for target in held:
        at = times[target.target_id]
        end = maintenance_until(target.policy, at.astimezone(UTC))
        found.setdefault((at, end, str(at.tzinfo)), []).append(target)
    return found


def _at(text: str, zone: tzinfo, now: datetime) -> datetime:
    """The time that a text gives, in the zone in which people write it."""
    return time_ahead(text, zone, now).astimezone(zone)


def _in_zone(time: datetime, meant: datetime) -> str:
    """A time in the zone of the one that was meant."""
    return f"{time.astimezone(meant.tzinfo):%Y-%m-%d %H:%M:%S %Z}"


def remarks_on(subscribers: Subscribers) -> Iterator[str]:
    """What may keep alerts from their receivers, and what is not known, as rich markup."""
    for found in subscribers.subscriptions:
        if not found.confirmed:
            yield f"[yellow]{escape(found.receiver)} has not confirmed its subscription and receives nothing.[/]"
    yield from (f"[yellow]{escape(sentence)}[/]" for sentence in subscribers.obstacles)
    yield from (f"[dim]Not known: {escape(sentence)}[/]" for sentence in subscribers.unknown)


def _to_json(rehearsal: Rehearsal, subscribers: Subscribers) -> dict[str, Any]:
    found, times = rehearsal.found, rehearsal.times
    unsent = (*rehearsal.suspended, *rehearsal.held, *rehearsal.silent)
    alerts = {
        target.target_id: [_alert_to_json(alert, subscribers) for alert in same.alerts]
        for same in found
        for target in same.targets
    }
    everyone = sorted((*unsent, *(target for same in found for target in same.targets)), key=_natural)
    return {
        "targets": [
            {
                "target_id": target.target_id,
                "at": iso(times[target.target_id]) if times else None,
                "in_maintenance": target in rehearsal.held,
                "suspended": target in rehearsal.suspended or not target.policy.enabled,
                "alerts": alerts.get(target.target_id, []),
            }
            for target in everyone
        ],
        "subscriptions": [
            {"receiver": found.receiver, "confirmed": found.confirmed} for found in subscribers.subscriptions
        ],
        "obstacles": list(subscribers.obstacles),
        "unknown": list(subscribers.unknown),
    }


def _natural(target: Target) -> Any:
    return natural_order(target.target_id)


def _alert_to_json(alerts: AlertReach, subscribers: Subscribers) -> dict[str, Any]:
    reached = zip(subscribers.subscriptions, alerts.receivers, strict=True)
    numbered = {"first": alerts.first, "last": alerts.last} if alerts.first else {}
    return {"event": alerts.event.value, **numbered, "receivers": [found.receiver for found, yes in reached if yes]}
