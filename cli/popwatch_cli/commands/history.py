"""`popwatch history`: what happened to one target."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from operator import itemgetter
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from popwatch.aws.store import Store, SweepMark
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import State
from popwatch.model.outcomes import DETAIL_SHOWN, ErrorCode
from popwatch.model.plain import from_plain
from popwatch.model.records import Note
from popwatch.model.samples import rtt_of
from popwatch.model.targets import Target, parse_target, place
from popwatch.model.text import clean, duration, iso, milliseconds
from popwatch.model.totals import Totals
from popwatch.queries.history import event_to_json, read_gaps, read_samples, read_steps, transitions_of
from popwatch.reports.availability import Period, Span, Times, spans, times
from popwatch.reports.report import inconclusive_time, missing_parts, outage_to_json, unwatched_parts
from popwatch.reports.status import TargetStatus, row_to_json, stand
from popwatch.reports.totals import add_up, merge
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation, find
from popwatch_cli.options import SINCE, ZONE, period_of
from popwatch_cli.output.report_text import APART, certificate, deed, share
from popwatch_cli.output.sparkline import Point, sparkline
from popwatch_cli.output.status_table import COLOURS
from popwatch_cli.rehearsal.filter_policies import reaches
from popwatch_cli.subscriptions import Audience, read_audience
from popwatch_cli.target_items import missing_target, own_fields

_AUDIENCE = "Receivers are those that the topic's present subscriptions let an alert through to."
_NO_AUDIENCE = "Who received the alerts is not known: the topic's subscriptions could not be read."

LONGEST_BY_TEST, LONGEST_BY_HOUR = timedelta(days=2), timedelta(days=14)
"""A longer period is drawn by the hour, and one that is longer still by the day."""

WIDTH = 72


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that History has of a target in a period, and how it stood when that was read (`row`, at `read_at`).

    Its tests are `points`; a removed target has no row. `audience` are the present subscribers, by which is told who
    an alert went to; None if they could not be read.
    """

    target: Target
    period: Period
    read_at: datetime
    row: TargetStatus | None
    spans: Sequence[Span]
    times: Times
    events: Sequence[Mapping[str, Any]]
    totals: Totals
    points: Sequence[Point]
    missing: Sequence[str]
    audience: Audience | None


@click.command()
@click.argument("target_id")
@click.option("--since", default="7d", show_default=True, metavar="WHEN", help=SINCE)
@click.option("--until", metavar="WHEN", help="The same; now unless given.")
@click.option("--timezone", "zone", type=ZONE, default="UTC", show_default=True, help="Of what is shown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def history(choice: Any, *, target_id: str, since: str, until: str | None, zone: tzinfo, as_json: bool) -> None:
    """Show what happened to a target: outages, alerts, what people did, round-trip times.

    \b
    Examples:
      popwatch history mail-berlin
      popwatch history mail-berlin --since 24h
      popwatch history mail-berlin --since 2026-10-01 --until 2026-11-01 --json
    """
    now = datetime.now(UTC)
    story = read_story(find(choice), target_id, period_of(since, until, zone, now), now)
    if as_json:
        click.echo(json.dumps(_to_json(story)))
    else:
        _show(Console(), story, zone)


def read_story(installation: Installation, target_id: str, period: Period, now: datetime) -> Story:
    """Read what History has of a target. Raises UserError for one that neither is nor was."""
    store = installation.store
    items = installation.target_table.read()
    mark, _ = store.read_records()
    record = store.read_record(target_id)
    events = list(store.read_events(target_id, period.begin))
    totals, points = _read_tests(store, mark, target_id, period)
    if target_id not in items and not events and not totals.tests:
        raise UserError(missing_target(target_id, items))
    target = parse_target({"target_id": target_id, **items.get(target_id, {})}, own_fields(items.get(DEFAULTS_ID, {})))
    gaps = read_gaps(store, mark, period, now)
    found = spans(transitions_of(events), record.health.state, record.health.since, period, gaps)
    inside = sorted((event for event in events if event["tick"] < period.end), key=itemgetter("tick"))
    return Story(
        target,
        period,
        now,
        stand({target_id: target}, {target_id: record}, {}, now)[0] if target_id in items else None,
        found,
        times(found, inconclusive_time(totals)),
        inside,
        totals,
        points,
        [
            *([] if target_id in items else ["It has been removed, and is not watched any more."]),
            *missing_parts(period, now, installation.records_kept),
            *unwatched_parts(period, gaps),
            *_missing(period, store.oldest_sample),
        ],
        _audience(installation) if any(event["kind"] == "alert" for event in inside) else None,
    )


def _read_tests(store: Store, mark: SweepMark, target_id: str, period: Period) -> tuple[Totals, Sequence[Point]]:
    """What the tests of a period add up to, and what is drawn of them."""
    if period.length <= LONGEST_BY_TEST and period.begin >= store.oldest_sample:
        samples = read_samples(store, mark, target_id, period)
        totals = add_up({target_id: sample} for _, sample in samples).get(target_id, Totals())
        return totals, [(tick, rtt_of(sample)) for tick, sample in samples]
    steps = read_steps(store, mark, target_id, period, by_day=period.length > LONGEST_BY_HOUR)
    drawn = [(moment, step.rtt_mean_ms) for moment, step in steps if step.rtt_mean_ms is not None or step.failures]
    return merge(step for _, step in steps), drawn


def _audience(installation: Installation) -> Audience | None:
    """Who hears of alerts by now; None where AWS does not say, which keeps nobody from reading a history."""
    try:
        return read_audience(installation.client("sns"), installation.outputs["AlertTopicArn"])
    except (BotoCoreError, ClientError, KeyError):
        return None


def _missing(period: Period, samples_from: datetime) -> list[str]:
    if period.begin >= samples_from or period.length > LONGEST_BY_TEST:
        return []
    return [f"Single tests are kept since {samples_from:%Y-%m-%d %H:%M} UTC: before that only hours are known."]


def _show(console: Console, story: Story, zone: tzinfo) -> None:
    period, found = story.period, story.times
    server = f" {escape(place(story.target))}" if story.target.host else ""
    console.print(f"[bold]{escape(story.target.name)}[/]{server}", highlight=False)
    console.print(f"{_moment(period.begin, zone)} to {_moment(period.end, zone)}", highlight=False)
    for sentence in story.missing:
        console.print(f"[yellow]{escape(sentence)}[/]", highlight=False)
    console.print()
    for line in _figures(story):
        console.print(line, highlight=False)
    plot = sparkline(story.points, period, WIDTH)
    if plot.strip():
        console.print(f"\n[green]{plot}[/]", highlight=False)
    if found.outages:
        console.print()
        console.print(_outages(story, zone))
    if story.events:
        console.print()
        for event in story.events:
            console.print(f"{_moment(event['tick'], zone)}  {_told(event, story.audience, zone)}", highlight=False)
    if any(event["kind"] == "alert" for event in story.events):
        console.print(f"[dim]{_AUDIENCE if story.audience else _NO_AUDIENCE}[/]", highlight=False)


def _figures(story: Story) -> Iterator[str]:
    found, totals = story.times, story.totals
    spent = ("up", "down", *APART)
    parts = [f"{duration(length)} {name}" for name in spent if (length := getattr(found, name)) or name == "up"]
    yield f"Availability  {share(found.availability)} ({', '.join(parts)})"
    failed = ", ".join(f"{count} {error}" for error, count in totals.failures.items())
    yield f"Tests         {totals.tests}, {totals.passes} passed{f', failed: {failed}' if failed else ''}"
    if found.brief_runs:
        yield f"Brief         {found.brief_runs} times failed without going down, {duration(found.brief)} in all"
    p50, p95, p99 = map(milliseconds, totals.percentiles_ms)
    yield f"Round trip    p50 {p50}, p95 {p95}, p99 {p99}, max {milliseconds(totals.rtt_max_ms)} ms"
    yield from _present(story)


def _present(story: Story) -> Iterator[str]:
    """How it stands now, as rich markup."""
    row, now = story.row, story.read_at
    if row is None:
        return
    remarks = "".join(f", {escape(remark)}" for remark in row.remarks(now))
    yield f"Now           [{COLOURS[row.state]}]{row.state}[/]{remarks}"
    days = row.certificate_days(now)
    if days is not None:
        yield f"Certificate   {certificate(days)}"


def _outages(story: Story, zone: tzinfo) -> Table:
    titles = ("Outage from", "until", "down for", "alerts", "error")
    table = Table(*titles, box=None, padding=(0, 2, 0, 0), header_style="bold")
    told = [event["tick"] for event in story.events if event["kind"] == "alert"]
    for outage in story.times.outages:
        begin = f"before {_moment(outage.begin, zone)}" if outage.begun_before else _moment(outage.begin, zone)
        error = ErrorCode(outage.error).message if outage.error else ""
        seen = f"{error} ({clean(outage.reason, DETAIL_SHOWN)})" if outage.reason else error
        end = "goes on" if outage.goes_on else _moment(outage.end, zone)
        alerts = sum(outage.begin <= tick <= outage.end for tick in told)
        table.add_row(begin, end, duration(outage.down), str(alerts), escape(seen))
    return table


def _told(event: Mapping[str, Any], audience: Audience | None, zone: tzinfo) -> str:
    """One line of an event, as rich markup."""
    match event["kind"]:
        case "transition":
            state = State(event["state"])
            why = f" ({clean(event['reason'], DETAIL_SHOWN)})" if event.get("reason") else ""
            return f"{State(event['previous'])} -> [{COLOURS[state]}]{state}[/]{escape(why)}"
        case "alert":
            summary = " (in a summary)" if event.get("summary") else ""
            receivers = receivers_of(event, audience)
            to = f" [dim]to {escape(', '.join(receivers) or 'nobody')}[/]" if receivers is not None else ""
            subject = clean(str(event["subject"]), DETAIL_SHOWN)
            return f"[bold]alert[/]  {escape(subject)}{summary}{to}"
        case _:
            return f"[blue]{escape(deed(from_plain(Note, event), zone))}[/]"


def receivers_of(event: Mapping[str, Any], audience: Audience | None) -> list[str] | None:
    """Whom an alert reaches by the present subscriptions, or None if those are not known."""
    if audience is None:
        return None
    attributes = {
        name: tuple(value) if isinstance(value, list) else value for name, value in event["attributes"].items()
    }
    return [it.receiver for it in audience.subscriptions if reaches(it, attributes)]


def _moment(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _to_json(story: Story) -> dict[str, Any]:
    totals, found = story.totals, story.times
    p50, p95, p99 = totals.percentiles_ms
    return {
        "target_id": story.target.target_id,
        "begin": iso(story.period.begin),
        "end": iso(story.period.end),
        "missing": list(story.missing),
        "availability": found.availability,
        "tests": totals.tests,
        "passes": totals.passes,
        "failures": dict(totals.failures),
        "rtt_p50_ms": p50,
        "rtt_p95_ms": p95,
        "rtt_p99_ms": p99,
        "outages": [outage_to_json(outage) for outage in found.outages],
        "spans": [{"begin": iso(it.begin), "end": iso(it.end), "state": it.state.value} for it in story.spans],
        "events": [_event_to_json(event, story.audience) for event in story.events],
        "now": row_to_json(story.row, story.read_at) if story.row else None,
    }


def _event_to_json(event: Mapping[str, Any], audience: Audience | None) -> dict[str, Any]:
    reached = {"receivers": receivers_of(event, audience)} if event["kind"] == "alert" else {}
    return event_to_json(event) | reached
