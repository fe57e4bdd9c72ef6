"""`popwatch replay`: real tests judged again under other settings."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from popwatch.decisions.planning import in_cycles, watched_parents
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import AlertEvent, Judgement
from popwatch.model.outcomes import Outcome, Phase
from popwatch.model.samples import Sample
from popwatch.model.targets import Policy
from popwatch.model.text import counted, duration, iso, natural_order, utc
from popwatch.queries.history import read_samples_of_all
from popwatch.reports.availability import Period
from popwatch_cli import completion
from popwatch_cli.commands.simulate import with_changes
from popwatch_cli.errors import UserError
from popwatch_cli.installation import find
from popwatch_cli.options import DURATION, SINCE, UNTIL, period_of
from popwatch_cli.output.terminal import console
from popwatch_cli.rehearsal.simulation import rejudge
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.target_items import shown, without_id

Samples = Sequence[tuple[datetime, Sample]]
"""Samples with their ticks, oldest first."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A target's samples judged by a policy: alerts, those that were noise, how late each outage was noticed."""

    alerts: int
    noise: int
    noticed: tuple[timedelta | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A target's outages, under the present and the changed policy."""

    target_id: str
    outages: tuple[Period, ...]
    before: ReplayResult
    after: ReplayResult


@dataclass(frozen=True, slots=True)
class Parent:
    """The target that another depends on, and its samples."""

    target_id: str
    samples: Samples

    def was_failing(self, at: datetime) -> bool:
        """Whether its last test by a time failed."""
        before = bisect_right(self.samples, at, key=itemgetter(0))
        judged = (sample for _, sample in reversed(self.samples[:before]) if not sample.inconclusive)
        last = next(judged, None)
        return bool(last and last.error)


def all_failing(parents: Sequence[Parent], at: datetime) -> str:
    """The ids of the parents, if the last test of each by `at` failed, else ""."""
    return ", ".join(it.target_id for it in parents) if all(it.was_failing(at) for it in parents) else ""


def all_failing_as_planned(parents: Sequence[Parent], at: datetime) -> str:
    """The same as a test of `at` was planned: before the first test of its minute."""
    return all_failing(parents, at.replace(second=0, microsecond=0) - timedelta(microseconds=1))


LEAD = timedelta(hours=1)
"""Samples of this time before the period are judged too: an outage or flapping that has begun by then is known."""


@click.command(short_help="Show how many alerts other settings would have sent.")
@selecting()
@click.option("--since", default="7d", show_default=True, metavar="WHEN", help=SINCE)
@click.option("--until", metavar="WHEN", help=UNTIL)
@click.option(
    "--set",
    "changes",
    multiple=True,
    required=True,
    metavar="FIELD=VALUE",
    shell_complete=completion.assignments,
    help="Another value of a field; may be repeated.",
)
@click.option(
    "--noise",
    type=DURATION,
    default="5m",
    show_default=True,
    metavar="DURATION",
    help="An alert for a failure shorter than this counts as noise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def replay(
    choice: Any,
    *,
    selection: Selection,
    since: str,
    until: str | None,
    changes: tuple[str, ...],
    noise: timedelta,
    as_json: bool,
) -> None:
    """Show how many alerts other settings would have sent for past tests, and how late.

    The times of the tests stay the same, even with other delays. docs/reports.md says what cannot be judged again.

    \b
    Examples:
      popwatch replay mail-berlin --since 30d --set failures_per_alert=2
      popwatch replay --since 7d --set failures_per_alert=5 --set flap_per_hour=4 --noise 10m
    """
    now = datetime.now(UTC)
    period = period_of(since, until, UTC, now)
    installation = find(choice)
    items = installation.target_table.read()
    defaults = without_id(items.pop(DEFAULTS_ID, {}))
    store = installation.store
    fleet = {name: with_changes(item, defaults, ()) for name, item in items.items()}
    chosen = sorted(selection.of(fleet), key=natural_order)
    wanted = {*chosen, *(parent for name in chosen for parent in fleet[name].policy.depends_on)}
    lead = Period(period.begin - LEAD, period.end)
    samples = read_samples_of_all(store, store.read_records()[0], wanted, lead)
    cyclic = in_cycles(fleet)
    found = []
    for name in chosen:
        changed = with_changes(items[name], defaults, changes)
        if changed.problems and not fleet[name].problems:
            raise UserError("\n".join(problem.explanation for problem in changed.problems))
        parents = [Parent(it, samples.get(it, ())) for it in watched_parents(fleet[name], fleet, cyclic)]
        policies = fleet[name].policy, changed.policy
        found.append(compare(name, samples.get(name, ()), *policies, noise, parents=parents, since=period.begin))
    missing = _missing(period, now, installation.samples_kept)
    if as_json:
        click.echo(json.dumps({"missing": missing, "targets": [_to_json(comparison) for comparison in found]}))
    else:
        _show(console(), found, missing, noise)
    if choice.verbose:
        count = sum(map(len, samples.values()))
        units = sum(store.capacity.read.values())
        click.echo(f"Read {counted(count, 'test')} for {units:.1f} capacity units of DynamoDB.", err=True)


def compare(
    name: str,
    samples: Samples,
    present: Policy,
    changed: Policy,
    noise: timedelta,
    *,
    parents: Sequence[Parent] = (),
    since: datetime | None = None,
) -> Comparison:
    """Judge a target's samples by two policies; runs of failures shorter than `noise` do not count as outages.

    Samples before `since` are judged, so that an outage that has begun by then is known, but not counted. Tests that
    were inconclusive, or failed in maintenance or under a silence, were not judged then, and are not judged now.
    """
    judged = [(tick, sample) for tick, sample in samples if not (sample.inconclusive or sample.in_maintenance)]
    outcomes = [_outcome(tick, sample) for tick, sample in judged]
    runs = [run for run in runs_of(outcomes) if since is None or run.end >= since]
    outages = tuple(run for run in runs if run.length >= noise)

    of_parents = partial(all_failing_as_planned, parents), partial(all_failing, parents)

    def result_of(policy: Policy) -> ReplayResult:
        judged = rejudge(replace(policy, silence=None, acknowledged=None), outcomes, *of_parents)
        return _result([(at, judgement) for at, judgement in judged if since is None or at >= since], outages)

    return Comparison(name, outages, result_of(present), result_of(changed))


def runs_of(outcomes: Sequence[Outcome]) -> list[Period]:
    """The runs of failed tests, each from its first test to the next passed one, or to the last test of all."""
    runs: list[Period] = []
    begin: datetime | None = None
    for outcome in outcomes:
        if not outcome.passed:
            begin = begin or outcome.started_at
        elif begin:
            runs.append(Period(begin, outcome.started_at))
            begin = None
    return [*runs, Period(begin, outcomes[-1].started_at)] if begin else runs


def _result(judged: Sequence[tuple[datetime, Judgement]], outages: Sequence[Period]) -> ReplayResult:
    alerts = [(at, judgement.alert) for at, judgement in judged if judgement.alert]
    downs = [at for at, alert in alerts if alert.event is AlertEvent.DOWN]
    noise = sum(not any(run.begin <= at <= run.end for run in outages) for at in downs)
    # With `passes_per_recovery` a run may go on with an outage that has been alerted before it.
    known = {at for at, it in judged if it.health.alerts_sent and it.health.failing_since != at and at not in downs}
    noticed = [
        timedelta()
        if run.begin in known
        else next((at - run.begin for at in downs if run.begin <= at <= run.end), None)
        for run in outages
    ]
    return ReplayResult(len(alerts), noise, tuple(noticed))


def _outcome(tick: datetime, sample: Sample) -> Outcome:
    if sample.error:
        return Outcome(tick, Phase.CONNECT, sample.error, sample.reason)
    unknown_addresses = ("?",) * sample.degraded  # only their number has been kept
    return Outcome(tick, Phase.QUIT, rtt_ms=sample.rtt_ms, failed_addresses=unknown_addresses)


def _missing(period: Period, now: datetime, kept: timedelta) -> list[str]:
    oldest = now - kept
    if period.begin >= oldest:
        return []
    return [
        f"Single tests are kept for {counted(kept.days, 'day')}: those before {utc(oldest)} cannot be judged again."
    ]


def _show(console: Console, found: Sequence[Comparison], missing: Sequence[str], noise: timedelta) -> None:
    for sentence in missing:
        console.print(f"[yellow]{sentence}[/]", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Target")
    table.add_column("Outages", justify="right")
    for figure in ("Alerts", "Noise", "Noticed after"):
        table.add_column(f"{figure} current", justify="right")
        table.add_column("changed", justify="right")
    eventful = [it for it in found if it.outages or it.before.alerts or it.after.alerts]
    for it in eventful:
        table.add_row(
            escape(shown(it.target_id)),
            str(len(it.outages)),
            *(str(count) for count in (it.before.alerts, it.after.alerts, it.before.noise, it.after.noise)),
            _noticed(it.before),
            _noticed(it.after),
        )
    if eventful:
        console.print(table)
    quiet = len(found) - len(eventful)
    if quiet:
        console.print(f"{counted(quiet, 'target')} had neither an outage nor an alert.", highlight=False)
    console.print(
        f"An outage is a run of failures of at least {duration(noise)}; an alert of a shorter one is noise. "
        "Noticed after: the longest time to the first alert; never: outages without an alert.",
        highlight=False,
    )


def _noticed(result: ReplayResult) -> str:
    """How late the latest outage was noticed, and how many were not."""
    lengths = [length for length in result.noticed if length is not None]
    missed = len(result.noticed) - len(lengths)
    latest = [duration(max(lengths))] if lengths else []
    return ", ".join([*latest, f"{missed} never"] if missed else latest)


def _to_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "target_id": comparison.target_id,
        "outages": [{"begin": iso(run.begin), "end": iso(run.end)} for run in comparison.outages],
        "before": _result_to_json(comparison.before),
        "after": _result_to_json(comparison.after),
    }


def _result_to_json(result: ReplayResult) -> dict[str, Any]:
    noticed = [None if length is None else length.total_seconds() for length in result.noticed]
    return {"alerts": result.alerts, "noise": result.noise, "noticed_after_seconds": noticed}
