"""`popwatch history`: what happened to one target."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from popwatch.archive import HOUR, event_to_json, read_samples, read_totals_by_hour
from popwatch.availability import Outage, Period, Span, Times, spans, times
from popwatch.cli.errors import UserError
from popwatch.cli.installation import Installation, find
from popwatch.cli.periods import SINCE, ZONE, period_of
from popwatch.cli.report_forms import APART, share
from popwatch.cli.sparkline import Point, sparkline
from popwatch.cli.standing import COLOURS
from popwatch.cli.target_items import missing_target, own_fields
from popwatch.fleet_report import PERCENTILES, outage_to_json
from popwatch.health import State, Transition
from popwatch.hours import HourTotals, add_up, merge, percentile, rtt_of
from popwatch.outcomes import ErrorCode
from popwatch.records import from_plain, iso
from popwatch.targets import DEFAULTS_ID, Target, parse_target
from popwatch.tokens import duration, milliseconds, place

LONGEST_BY_TEST = timedelta(days=2)
"""A longer period is drawn by the hour."""

WIDTH = 72


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that History has of a target in a period, its samples or hours as `points`."""

    target: Target
    period: Period
    spans: Sequence[Span]
    times: Times
    events: Sequence[Mapping[str, Any]]
    totals: HourTotals
    points: Sequence[Point]
    missing: Sequence[str]


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
    health = store.read_record(target_id).health
    events = list(store.read_events(target_id, period.begin))
    if target_id not in items and not events:
        raise UserError(missing_target(target_id, items))
    target = parse_target({"target_id": target_id, **items.get(target_id, {})}, own_fields(items.get(DEFAULTS_ID, {})))
    changes: list[Transition] = [from_plain(Transition, event) for event in events if event["kind"] == "transition"]
    found = spans(changes, health.state, health.since, period)
    samples_from = now - timedelta(days=int(installation.outputs.get("SamplesDays", "30")))
    if period.length <= LONGEST_BY_TEST and period.begin >= samples_from:
        samples = list(read_samples(store, mark, target_id, period))
        totals = add_up({target_id: sample} for _, sample in samples).get(target_id, HourTotals())
        points = [(tick, rtt_of(sample)) for tick, sample in samples]
    else:
        hours = read_totals_by_hour(store, mark, target_id, period)
        totals, points = merge(hours.values()), list(_points(hours))
    put_aside = totals.inconclusive * timedelta(seconds=target.policy.delay_up)
    inside = sorted((event for event in events if event["tick"] < period.end), key=lambda event: event["tick"])
    missing = _missing(period, samples_from)
    return Story(target, period, found, times(found, put_aside), inside, totals, points, missing)


def _points(hours: Mapping[datetime, HourTotals]) -> Iterator[Point]:
    for hour, totals in sorted(hours.items()):
        if totals.rtt_mean_ms is not None or totals.failures:
            yield hour + HOUR / 2, totals.rtt_mean_ms


def _missing(period: Period, samples_from: datetime) -> list[str]:
    if period.begin >= samples_from or period.length > LONGEST_BY_TEST:
        return []
    return [f"Single tests are kept since {samples_from:%Y-%m-%d %H:%M} UTC: before that only hours are known."]


def _show(console: Console, story: Story, zone: tzinfo) -> None:
    period, found = story.period, story.times
    console.print(f"[bold]{escape(story.target.name)}[/] {escape(place(story.target))}", highlight=False)
    console.print(f"{_moment(period.begin, zone)} to {_moment(period.end, zone)}", highlight=False)
    for sentence in story.missing:
        console.print(f"[yellow]{sentence}[/]", highlight=False)
    console.print()
    for line in _figures(story):
        console.print(line, highlight=False)
    plot = sparkline(story.points, period, WIDTH)
    if plot.strip():
        console.print(f"\n[green]{plot}[/]", highlight=False)
    if found.outages:
        console.print()
        console.print(_outages(found.outages, zone))
    if story.events:
        console.print()
        for event in story.events:
            console.print(f"{_moment(event['tick'], zone)}  {_told(event)}", highlight=False)


def _figures(story: Story) -> Iterator[str]:
    found, totals = story.times, story.totals
    spent = ("up", "down", *APART)
    parts = [f"{duration(length)} {name}" for name in spent if (length := getattr(found, name)) or name == "up"]
    yield f"Availability  {share(found.availability)} ({', '.join(parts)})"
    failed = ", ".join(f"{count} {error}" for error, count in totals.failures.items())
    yield f"Tests         {totals.tests}, {totals.passes} passed{f', failed: {failed}' if failed else ''}"
    if found.brief_runs:
        yield f"Brief         {found.brief_runs} times failed without going down, {duration(found.brief)} in all"
    p50, p95, p99 = (milliseconds(percentile(totals.buckets, share)) for share in PERCENTILES)
    yield f"Round trip    p50 {p50}, p95 {p95}, p99 {p99}, max {milliseconds(totals.rtt_max_ms)} ms"


def _outages(outages: Iterable[Outage], zone: tzinfo) -> Table:
    table = Table("Outage from", "until", "down for", "error", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for outage in outages:
        begin = f"before {_moment(outage.begin, zone)}" if outage.begun_before else _moment(outage.begin, zone)
        error = ErrorCode(outage.error).message if outage.error else ""
        seen = f"{error} ({outage.reason})" if outage.reason else error
        end = "goes on" if outage.goes_on else _moment(outage.end, zone)
        table.add_row(begin, end, duration(outage.down), escape(seen))
    return table


def _told(event: Mapping[str, Any]) -> str:
    """One line of an event, as rich markup."""
    match event["kind"]:
        case "transition":
            state = State(event["state"])
            why = f" ({event['reason']})" if event.get("reason") else ""
            return f"{event['previous']} -> [{COLOURS[state]}]{state}[/]{escape(why)}"
        case "alert":
            summary = " (in a summary)" if event.get("summary") else ""
            return f"[bold]alert[/]  {escape(str(event['subject']))}{summary}"
        case _:
            why = f": {event['why']}" if event.get("why") else ""
            return f"[blue]{event['action']}[/] by {escape(str(event.get('by', '')) + why)}"


def _moment(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _to_json(story: Story) -> dict[str, Any]:
    totals, found = story.totals, story.times
    p50, p95, p99 = (percentile(totals.buckets, share) for share in PERCENTILES)
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
        "events": [event_to_json(event) for event in story.events],
    }
