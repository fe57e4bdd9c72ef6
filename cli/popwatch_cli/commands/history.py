"""`popwatch history`: what happened to one target."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from operator import attrgetter
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape

from popwatch.aws.store import StatusTable, Store, SweepCheckpoint
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import Transition
from popwatch.model.outcomes import DETAIL_SHOWN, ErrorCode
from popwatch.model.posture import PostureChange
from popwatch.model.records import EventKind, HistoryEvent, PublishedAlert, Record
from popwatch.model.samples import Mailbox
from popwatch.model.targets import Target, endpoint, parse_target, target_at
from popwatch.model.text import clean, clean_whole, counted, duration, iso, milliseconds
from popwatch.model.totals import Totals
from popwatch.queries.availability import read_periods
from popwatch.queries.history import OTHER_EVENTS, event_to_json, read_buckets, read_samples
from popwatch.queries.status import read_newest_tests
from popwatch.reports.availability import Period, TargetAvailability
from popwatch.reports.report import missing_parts, outage_to_json, unwatched_parts
from popwatch.reports.status import TargetStatus, target_status_to_json, target_statuses
from popwatch.reports.totals import add_up_one, merge
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation, find
from popwatch_cli.options import SINCE, UNTIL, ZONE, period_of
from popwatch_cli.outage_alerts import count_alerts
from popwatch_cli.output.columns import Column, stacked, widest
from popwatch_cli.output.report_text import NOT_COUNTED, certificate, intervention, share
from popwatch_cli.output.sparkline import Point, sparkline
from popwatch_cli.output.status_table import COLOURS
from popwatch_cli.output.terminal import console, print_fitted, wrapped
from popwatch_cli.rehearsal.filter_policies import reaches
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.subscriptions import Subscribers, read_subscribers
from popwatch_cli.target_items import known_id, missing_target, targets_of, without_id

_SUBSCRIBERS = "Receivers: according to the topic's present subscriptions."
_NO_SUBSCRIBERS = "Receivers are not known: the topic's subscriptions could not be read."

LONGEST_BY_TEST, LONGEST_BY_HOUR = timedelta(days=2), timedelta(days=14)
"""Longer periods are drawn by hour, and the longest by day."""

WIDTH = 72

OUTAGE_COLUMNS = {"Outage from": 0, "until": 1, "down for": 0, "alerts": 2, "error": 0}
"""The columns in their order; where not all have room, the one with the highest number is left out first."""


@dataclass(frozen=True, slots=True)
class TargetHistory:
    """Everything that History has about a target in a period, and its `status` when that was read (at `read_at`).

    A removed target has no status. `points` are the tests to draw, `mailboxes` what each login counted, with its tick,
    where single tests were read. `subscribers` are those present now; None
    if they could not be read.
    """

    target: Target
    period: Period
    read_at: datetime
    status: TargetStatus | None
    figures: TargetAvailability
    events: Sequence[HistoryEvent]
    points: Sequence[Point]
    missing: Sequence[str]
    subscribers: Subscribers | None
    mailboxes: Sequence[tuple[datetime, Mailbox]]


@click.command()
@selecting(required=True)
@click.option("--since", default="7d", show_default=True, metavar="WHEN", help=SINCE)
@click.option("--until", metavar="WHEN", help=UNTIL)
@click.option("--timezone", "zone", type=ZONE, default="UTC", show_default=True, help="The zone of the times shown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each target, on a line of its own.")
@click.pass_obj
def history(choice: Any, *, selection: Selection, since: str, until: str | None, zone: tzinfo, as_json: bool) -> None:
    """Show what happened to targets: outages, alerts, postures, what people did, round-trip times.

    \b
    Examples:
      popwatch history mail-berlin
      popwatch history mail-berlin --since 24h
      popwatch history --group customers --since 24h
      popwatch history mail-berlin --since 2026-10-01 --until 2026-11-01 --json
    """
    now = datetime.now(UTC)
    installation, period = find(choice), period_of(since, until, zone, now)
    names = selection.ids or tuple(selection.of(targets_of(installation.target_table.read())))  # an id may be removed
    for place, past in enumerate([read_history(installation, name, period, now) for name in names]):
        if as_json:
            click.echo(json.dumps(_to_json(past)))
        else:
            if place:
                click.echo()
            _show(console(), past, zone)


def read_history(installation: Installation, target_id: str, period: Period, now: datetime) -> TargetHistory:
    """Read what History has about a target. Raises UserError if there is no such target and never was."""
    store = installation.store
    items = installation.target_table.read()
    target_id = known_id(target_id, items)
    stored = store.read_status()
    checkpoint = stored.checkpoint
    record = store.read_record(target_id)
    totals, points, mailboxes = _read_tests(store, checkpoint, target_id, period)
    fleet = read_periods(store, checkpoint, {target_id: record}, {target_id: totals}, period, now=now)
    others = store.read_events(target_id, period.begin, OTHER_EVENTS)
    events = [*fleet.transitions.get(target_id, ()), *others]
    if target_id not in items and not events and not totals.tests:
        raise UserError(missing_target(target_id, items))
    item, defaults = {"target_id": target_id, **items.get(target_id, {})}, without_id(items.get(DEFAULTS_ID, {}))
    target = target_at(parse_target(item, defaults), now)
    status = _status(store, stored, target, record, now) if target_id in items else None
    inside = sorted((event for event in events if event.tick < period.end), key=attrgetter("at"))
    missing = [] if status else ["It has been removed, and is not watched any more."]
    missing += [
        *missing_parts(period, now, installation.history_kept),
        *unwatched_parts(period, fleet.gaps),
        *_missing(period, store.oldest_sample),
    ]
    subscribers = _subscribers(installation) if any(event.kind is EventKind.ALERT for event in inside) else None
    figures = fleet.targets[target_id]
    return TargetHistory(target, period, now, status, figures, inside, points, missing, subscribers, mailboxes)


def _status(store: Store, stored: StatusTable, target: Target, record: Record, now: datetime) -> TargetStatus:
    """The target's present status."""
    targets, records = {target.target_id: target}, {target.target_id: record}
    newest = read_newest_tests(store, stored.checkpoint, targets, records, now)
    return target_statuses(targets, records, newest, now, stored.credentials)[0]


def _read_tests(
    store: Store, checkpoint: SweepCheckpoint, target_id: str, period: Period
) -> tuple[Totals, Sequence[Point], Sequence[tuple[datetime, Mailbox]]]:
    """The totals of the tests in a period, the points that are drawn of them, and the mailbox at each login."""
    if period.length <= LONGEST_BY_TEST and period.begin >= store.oldest_sample:
        samples = read_samples(store, checkpoint, target_id, period)
        mailboxes = [(tick, sample.mailbox) for tick, sample in samples if sample.mailbox]
        points = [(tick, sample.rtt_ms) for tick, sample in samples]
        return add_up_one(sample for _, sample in samples), points, mailboxes
    buckets = read_buckets(store, checkpoint, target_id, period, by_day=period.length > LONGEST_BY_HOUR)
    points = [(time, totals.rtt_mean_ms) for time, totals in buckets if totals.passes or totals.failures]
    return merge(totals for _, totals in buckets), points, ()


def _subscribers(installation: Installation) -> Subscribers | None:
    """Who receives alerts at present, or None if AWS does not say: a history can be read without it."""
    try:
        return read_subscribers(installation.client("sns"), installation.alert_topic_arns)
    except (BotoCoreError, ClientError, KeyError):
        return None


def _missing(period: Period, samples_from: datetime) -> list[str]:
    if period.begin >= samples_from or period.length > LONGEST_BY_TEST:
        return []
    return [f"Single tests are kept since {samples_from:%Y-%m-%d %H:%M} UTC: before that, only hours are known."]


def _show(console: Console, past: TargetHistory, zone: tzinfo) -> None:
    period = past.period
    server = f" {escape(endpoint(past.target))}" if past.target.host else ""
    print_fitted(console, f"[bold]{escape(past.target.name)}[/]{server}")
    times = f"{_time(period.begin, zone)} to {_time(period.end, zone)}"
    print_fitted(console, f"{times}; times are in {escape(str(zone))}")
    for sentence in past.missing:
        print_fitted(console, f"[yellow]{escape(sentence)}[/]")
    console.print()
    for line in _figures(past):
        print_fitted(console, line)
    plot = sparkline(past.points, period, min(WIDTH, console.width))
    if plot.strip():
        console.print(f"\n[green]{plot}[/]", highlight=False)
    if past.figures.durations.outages:
        console.print()
        for line in _outages(past, zone, console.width):
            console.print(line, highlight=False, soft_wrap=True)
    if past.events:
        console.print()
        for event in past.events:
            print_fitted(console, f"{_time(event.at, zone)}  {_event(event, past.subscribers, zone)}")
    if any(event.kind is EventKind.ALERT for event in past.events):
        print_fitted(console, f"[dim]{_SUBSCRIBERS if past.subscribers else _NO_SUBSCRIBERS}[/]")


def _figures(past: TargetHistory) -> Iterator[str]:
    durations, totals = past.figures.durations, past.figures.totals
    lengths = {name: getattr(durations, name) for name in ("up", "down", *NOT_COUNTED)}
    parts = [f"{duration(length)} {name}" for name, length in lengths.items() if length or name == "up"]
    yield f"Availability  {share(durations.availability)} ({', '.join(parts)})"
    failed = ", ".join(f"{count} {error}" for error, count in totals.failures.items())
    yield f"Tests         {totals.tests}, {totals.passes} passed{f', failed: {failed}' if failed else ''}"
    if durations.brief_failures:
        number = counted(durations.brief_failures, "failure")
        yield f"Brief         {number} without going down, {duration(durations.brief)} in all"
    p50, p95, p99 = map(milliseconds, totals.percentiles_ms)
    yield f"Round trip    p50 {p50}, p95 {p95}, p99 {p99}, max {milliseconds(totals.rtt_max_ms)} ms"
    if past.mailboxes:
        found = [mailbox for _, mailbox in past.mailboxes]
        messages, octets = _range([it.messages for it in found]), _range([it.octets for it in found])
        yield f"Mailbox       {messages} messages, {octets} octets in {counted(len(found), 'login')}"
    yield from _present(past)


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _present(past: TargetHistory) -> Iterator[str]:
    """The present status, as rich markup."""
    status, now = past.status, past.read_at
    if status is None:
        return
    remarks = "".join(f", {escape(remark)}" for remark in status.remarks(now))
    yield f"Now           [{COLOURS[status.state]}]{status.state}[/]{remarks}"
    days = status.certificate_days(now)
    if days is not None:
        yield f"Certificate   {certificate(days)}"


def _outages(past: TargetHistory, zone: tzinfo, width: int) -> Iterator[str]:
    """The outages as lines of rich markup; where there is no room for it, the error stands below its outage."""
    rows = []
    outages = past.figures.durations.outages
    for outage, sent in zip(outages, count_alerts(outages, past.events), strict=True):
        begin = f"before {_time(outage.begin, zone)}" if outage.begun_before else _time(outage.begin, zone)
        error = ErrorCode(outage.error).message if outage.error else ""
        row = {
            "Outage from": begin,
            "until": "goes on" if outage.goes_on else _time(outage.end, zone),
            "down for": duration(outage.down),
            "alerts": str(sent),
            "error": f"{error} ({clean(outage.reason, DETAIL_SHOWN)})" if outage.reason else error,
        }
        rows.append(row)
    columns = [
        Column(title, rank, widest((title, *(row[title] for row in rows)))) for title, rank in OUTAGE_COLUMNS.items()
    ]
    titles, lines, remark = stacked(rows, columns, {"error": ""}, width)
    yield f"[bold]{titles}[/]"
    for line, others in lines:
        yield from map(escape, (line, *others))
    if remark:
        yield from map(escape, wrapped(remark, width).split("\n"))


def _event(event: HistoryEvent, subscribers: Subscribers | None, zone: tzinfo) -> str:
    """One line about an event, as rich markup."""
    match event.what:
        case Transition() as change:
            why = f" ({clean(change.reason, DETAIL_SHOWN)})" if change.reason else ""
            ended = change.run_ended_at
            passed = f" (passed since {_time(ended, zone)})" if ended and ended < change.at else ""
            return f"{change.previous} -> [{COLOURS[change.state]}]{change.state}[/]{escape(why)}{passed}"
        case PublishedAlert() as alert:
            summary = " (in a summary)" if alert.summary else ""
            receivers = receivers_of(alert, subscribers)
            to = f" [dim]to {escape(', '.join(receivers) or 'no one')}[/]" if receivers is not None else ""
            subject = clean(alert.message.subject, DETAIL_SHOWN)
            return f"[bold]alert[/]  {escape(subject)}{summary}{to}"
        case PostureChange() as change:
            return f"[magenta]posture[/]  {escape(clean_whole(str(change)))}"
        case action:
            return f"[blue]{escape(intervention(action, zone))}[/]"


def receivers_of(alert: PublishedAlert, subscribers: Subscribers | None) -> list[str] | None:
    """Who received an alert according to the present subscriptions, or None if those are not known."""
    if subscribers is None:
        return None
    return [it.receiver for it in subscribers.subscriptions if reaches(it, alert.message.attributes)]


def _time(time: datetime, zone: tzinfo) -> str:
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _to_json(past: TargetHistory) -> dict[str, Any]:
    totals, durations = past.figures.totals, past.figures.durations
    p50, p95, p99 = totals.percentiles_ms
    return {
        "target_id": past.target.target_id,
        "begin": iso(past.period.begin),
        "end": iso(past.period.end),
        "missing": list(past.missing),
        "availability": durations.availability,
        "tests": totals.tests,
        "passes": totals.passes,
        "failures": dict(totals.failures),
        "rtt_p50_ms": p50,
        "rtt_p95_ms": p95,
        "rtt_p99_ms": p99,
        "outages": [outage_to_json(outage) for outage in durations.outages],
        "spans": [{"begin": iso(it.begin), "end": iso(it.end), "state": it.state.value} for it in past.figures.spans],
        "events": [_event_to_json(event, past.subscribers) for event in past.events],
        "mailboxes": [
            {"at": iso(at), "messages": found.messages, "octets": found.octets} for at, found in past.mailboxes
        ],
        "now": target_status_to_json(past.status, past.read_at) if past.status else None,
    }


def _event_to_json(event: HistoryEvent, subscribers: Subscribers | None) -> dict[str, Any]:
    receivers = {"receivers": receivers_of(event.what, subscribers)} if isinstance(event.what, PublishedAlert) else {}
    return event_to_json(event) | receivers
