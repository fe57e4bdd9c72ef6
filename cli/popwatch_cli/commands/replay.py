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
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.samples import Sample
from popwatch.model.targets import Policy, Target
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


LIMITS = ("max_rtt_ms", "max_messages", "max_octets")
"""The fields by which past tests can be judged anew, though they belong to the test: samples have what they limit."""

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
        if idle := idle_changes(items[name], defaults, changes):
            raise UserError(
                f"`{idle[0]}` has no effect on past tests: it is about what is tested, or shown. They are judged again "
                f"by {', '.join(LIMITS)}, and by the fields that say when and of what alerts are sent."
            )
        parents = [Parent(it, samples.get(it, ())) for it in watched_parents(fleet[name], fleet, cyclic)]
        policies, tests = (fleet[name].policy, changed.policy), samples.get(name, ())
        limited = under_limits(tests, changed)
        found.append(compare(name, tests, *policies, noise, limited=limited, parents=parents, since=period.begin))
    missing = _missing(period, now, installation.samples_kept)
    if as_json:
        click.echo(json.dumps({"missing": missing, "targets": [_to_json(comparison) for comparison in found]}))
    else:
        _show(console(), found, missing, noise)
    if choice.verbose:
        count = sum(map(len, samples.values()))
        units = sum(store.capacity.read.values())
        click.echo(f"Read {counted(count, 'test')} for {units:.1f} capacity units of DynamoDB.", err=True)


def idle_changes(item: dict[str, Any], defaults: dict[str, Any], changes: Sequence[str]) -> list[str]:
    """The fields of changes that do not matter to past tests of a target. Raises UserError for an unknown field."""
    present = with_changes(item, defaults, ())
    found = []
    for change in changes:
        name, changed = change.partition("=")[0].strip(), with_changes(item, defaults, [change])
        if name not in LIMITS and changed.policy == present.policy and changed.fields != present.fields:
            found.append(name)
    return found


def under_limits(samples: Samples, target: Target) -> Samples:
    """The samples as the target's limits would have had them: a passed test above one of them has failed.

    A test that failed by another limit stays a failed one, since what it measured has not been kept.
    """
    return [(tick, _under_limits(sample, target)) for tick, sample in samples]


def _under_limits(sample: Sample, target: Target) -> Sample:
    if sample.rtt_ms is None:
        return sample
    if 0 < target.max_rtt_ms < sample.rtt_ms:
        return Sample(None, ErrorCode.TIMED_OUT, "too-slow", mailbox=sample.mailbox)
    box = sample.mailbox
    if box and (0 < target.max_messages < box.messages or 0 < target.max_octets < box.octets):
        return Sample(None, ErrorCode.PROTOCOL, "mailbox-too-full", mailbox=box)
    return sample


def compare(
    name: str,
    samples: Samples,
    present: Policy,
    changed: Policy,
    noise: timedelta,
    *,
    limited: Samples | None = None,
    parents: Sequence[Parent] = (),
    since: datetime | None = None,
) -> Comparison:
    """Judge a target's samples by two policies; runs of failures shorter than `noise` do not count as outages.

    `limited` are the samples under the limits that belong to `changed`, if those differ; what fails by them is part of
    an outage. Samples before `since` are judged, so that an outage that has begun by then is known, but not counted.
    Tests that were inconclusive, or failed in maintenance or under a silence, were not judged then, and are not judged
    now.
    """
    outcomes = _outcomes(samples)
    of_changed = outcomes if limited is None else _outcomes(limited)
    runs = [run for run in runs_of(of_changed) if since is None or run.end >= since]
    outages = tuple(run for run in runs if run.length >= noise)

    of_parents = partial(all_failing_as_planned, parents), partial(all_failing, parents)

    def result_of(policy: Policy, outcomes: Sequence[Outcome]) -> ReplayResult:
        judged = rejudge(replace(policy, silence=None, acknowledged=None), outcomes, *of_parents)
        return _result([(at, judgement) for at, judgement in judged if since is None or at >= since], outages)

    return Comparison(name, outages, result_of(present, outcomes), result_of(changed, of_changed))


def _outcomes(samples: Samples) -> list[Outcome]:
    """The outcomes of those tests that are judged."""
    return [_outcome(tick, it) for tick, it in samples if not (it.inconclusive or it.in_maintenance)]


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
