"""`popwatch replay`: what really happened, judged again under other settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from popwatch.availability import Period
from popwatch.cli.archive import read_samples_of_all
from popwatch.cli.errors import UserError
from popwatch.cli.installation import find
from popwatch.cli.periods import SINCE, period_of
from popwatch.cli.simulate import with_changes
from popwatch.cli.spans import SPAN
from popwatch.cli.target_items import missing_target, own_fields, shown
from popwatch.health import AlertEvent
from popwatch.hours import is_inconclusive, rtt_of
from popwatch.outcomes import ErrorCode, Outcome, Phase
from popwatch.records import iso
from popwatch.simulation import rejudge
from popwatch.targets import DEFAULTS_ID, Policy
from popwatch.tokens import duration, utc

Samples = Sequence[tuple[datetime, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """Failed tests in a row: from the first until the first passed one, or the last known."""

    begin: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """From its begin to its end."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy makes of a target's samples: alerts, those that were noise, how late each outage was noticed."""

    alerts: int
    noise: int
    noticed: tuple[timedelta | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A target's outages, under the present and the changed policy."""

    target_id: str
    outages: tuple[Run, ...]
    before: Verdict
    after: Verdict


@click.command()
@click.argument("target_id", required=False)
@click.option("--since", default="7d", show_default=True, metavar="WHEN", help=SINCE)
@click.option("--until", metavar="WHEN", help="The same; now unless given.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    required=True,
    metavar="FIELD=VALUE",
    help="Another value of a field; may be repeated.",
)
@click.option(
    "--noise",
    type=SPAN,
    default="5m",
    show_default=True,
    metavar="SPAN",
    help="Failures shorter than this are no true outage.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--verbose", is_flag=True, help="Say what was read.")
@click.pass_obj
def replay(
    choice: Any,
    *,
    target_id: str | None,
    since: str,
    until: str | None,
    changes: tuple[str, ...],
    noise: timedelta,
    as_json: bool,
    verbose: bool,
) -> None:
    """Judge the real tests of a target, or of all, again under other settings: alerts, noise, and how late.

    The tests stay where they were: other delays do not make other tests.

    \b
    Examples:
      popwatch replay mail-berlin --since 30d --set failures_per_alert=2
      popwatch replay --since 7d --set failures_per_alert=5 --set flap_per_hour=4 --noise 10m
    """
    now = datetime.now(UTC)
    period = period_of(since, until, UTC, now)
    installation = find(choice)
    items = installation.target_table.read()
    defaults = own_fields(items.pop(DEFAULTS_ID, {}))
    if target_id is not None and target_id not in items:
        raise UserError(missing_target(target_id, items))
    store = installation.store
    chosen = [target_id] if target_id is not None else sorted(items)
    samples = read_samples_of_all(store, store.read_records()[0], set(chosen), period)
    found = []
    for name in chosen:
        present, changed = with_changes(items[name], defaults, ()), with_changes(items[name], defaults, changes)
        if changed.problems and not present.problems:
            raise UserError("\n".join(problem.explanation for problem in changed.problems))
        found.append(compare(name, samples.get(name, ()), present.policy, changed.policy, noise))
    missing = _missing(period, now, int(installation.outputs.get("SamplesDays", "30")))
    if as_json:
        click.echo(json.dumps({"missing": missing, "targets": [_to_json(comparison) for comparison in found]}))
    else:
        _show(Console(), found, missing, noise)
    if verbose:
        count = sum(map(len, samples.values()))
        units = sum(store.capacity.read.values())
        click.echo(f"Read {count} tests for {units:.1f} capacity units of DynamoDB.", err=True)


def compare(name: str, samples: Samples, present: Policy, changed: Policy, noise: timedelta) -> Comparison:
    """What two policies make of a target's samples; runs of failures shorter than `noise` are no outage."""
    outcomes = [_outcome(tick, sample) for tick, sample in samples if not is_inconclusive(sample)]
    runs = runs_of(outcomes)
    outages = tuple(run for run in runs if run.length >= noise)
    return Comparison(name, outages, _verdict(outcomes, outages, present), _verdict(outcomes, outages, changed))


def runs_of(outcomes: Sequence[Outcome]) -> list[Run]:
    """The runs of failed tests."""
    runs: list[Run] = []
    begin: datetime | None = None
    for outcome in outcomes:
        if not outcome.passed:
            begin = begin or outcome.started_at
        elif begin:
            runs.append(Run(begin, outcome.started_at))
            begin = None
    return [*runs, Run(begin, outcomes[-1].started_at)] if begin else runs


def _verdict(outcomes: Sequence[Outcome], outages: Sequence[Run], policy: Policy) -> Verdict:
    alerts = list(rejudge(policy, outcomes))
    downs = [at for at, alert in alerts if alert.event is AlertEvent.DOWN]
    noise = sum(not any(run.begin <= at <= run.end for run in outages) for at in downs)
    noticed = [next((at - run.begin for at in downs if run.begin <= at <= run.end), None) for run in outages]
    return Verdict(len(alerts), noise, tuple(noticed))


def _outcome(tick: datetime, sample: Any) -> Outcome:
    rtt_ms = rtt_of(sample)
    if rtt_ms is not None:
        half = sample.get("degraded", 0) if isinstance(sample, Mapping) else 0
        return Outcome(tick, Phase.QUIT, rtt_ms=rtt_ms, failed_addresses=("?",) * int(half))
    return Outcome(tick, Phase.CONNECT, ErrorCode(sample["error"]), str(sample.get("reason", "")))


def _missing(period: Period, now: datetime, samples_days: int) -> list[str]:
    oldest = now - timedelta(days=samples_days)
    if period.begin >= oldest:
        return []
    return [
        f"Single tests are kept for {samples_days} days: what happened before {utc(oldest)} cannot be judged again."
    ]


def _show(console: Console, found: Sequence[Comparison], missing: Sequence[str], noise: timedelta) -> None:
    for sentence in missing:
        console.print(f"[yellow]{sentence}[/]", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("Target", "Outages", "Alerts now", "then", "Noise now", "then", "Noticed after now", "then"):
        table.add_column(title, justify="left" if title == "Target" else "right")
    eventful = [it for it in found if it.outages or it.before.alerts or it.after.alerts]
    for it in eventful:
        table.add_row(
            escape(shown(it.target_id)),
            str(len(it.outages)),
            *(str(count) for count in (it.before.alerts, it.after.alerts, it.before.noise, it.after.noise)),
            _typical(it.before),
            _typical(it.after),
        )
    if eventful:
        console.print(table)
    quiet = len(found) - len(eventful)
    if quiet:
        console.print(f"{quiet} targets had neither an outage nor an alert.", highlight=False)
    console.print(
        f"An outage is a run of failures of at least {duration(noise)}; an alert of a shorter one is noise. "
        "Noticed after: the latest of the outages, and how many were not noticed at all.",
        highlight=False,
    )


def _typical(verdict: Verdict) -> str:
    times = [length for length in verdict.noticed if length is not None]
    missed = len(verdict.noticed) - len(times)
    return ", ".join(
        part for part in (duration(max(times)) if times else "", f"{missed} never" if missed else "") if part
    )


def _to_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "target_id": comparison.target_id,
        "outages": [{"begin": iso(run.begin), "end": iso(run.end)} for run in comparison.outages],
        "before": _verdict_to_json(comparison.before),
        "after": _verdict_to_json(comparison.after),
    }


def _verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    noticed = [None if length is None else length.total_seconds() for length in verdict.noticed]
    return {"alerts": verdict.alerts, "noise": verdict.noise, "noticed_after_seconds": noticed}
