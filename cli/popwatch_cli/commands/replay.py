"""`popwatch replay`: real tests judged again under other settings."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from popwatch.decisions.planning import in_cycles, watched_parents
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.targets import POLICY_FIELDS, Target
from popwatch.model.text import UNKNOWN, counted, duration, iso, natural_order, utc
from popwatch.queries.history import read_samples_of_all
from popwatch.reports.availability import Period
from popwatch_cli import completion
from popwatch_cli.commands.before_writing import warn_of_parents_of_targets
from popwatch_cli.commands.simulate import sets_parents, with_changes
from popwatch_cli.errors import UserError
from popwatch_cli.installation import find
from popwatch_cli.options import DURATION, SINCE, UNTIL, period_of
from popwatch_cli.output.columns import Column, stacked, widest
from popwatch_cli.output.terminal import console, print_fitted, say, wrapped
from popwatch_cli.rehearsal.past_tests import (
    LIMITS,
    Comparison,
    Parent,
    ReplayResult,
    compare,
    samples_of_runs,
    under_limits,
)
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.target_items import whole, without_id

RANKS = {"Target": 0, "Outages": 2, "Alerts": 0, "Noise": 3, "Noticed after": 1}
"""The columns in their order; where there is no room, the one with the highest number is left out first."""

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
    shell_complete=completion.assignments_of(POLICY_FIELDS | set(LIMITS)),
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
    changed_fleet = fleet | {name: with_changes(items[name], defaults, changes) for name in chosen}
    if sets_parents(changes):
        warn_of_parents_of_targets(changed_fleet, chosen)
    fleets = fleet, changed_fleet
    wanted = {*chosen, *(parent for name in chosen for it in fleets for parent in it[name].policy.depends_on)}
    lead = Period(period.begin - LEAD, period.end)
    samples = read_samples_of_all(store, store.read_records()[0], wanted, lead)
    cyclic = [in_cycles(it) for it in fleets]
    found = []
    for name in chosen:
        changed = changed_fleet[name]
        if changed.problems and not fleet[name].problems:
            raise UserError("\n".join(problem.explanation for problem in changed.problems))
        if ineffective := ineffective_changes(fleet[name], items[name], defaults, changes):
            raise UserError(
                f"`{ineffective[0]}` has no effect on past tests: it is about what is tested, or shown. They are "
                f"judged again by {', '.join(LIMITS)}, and by the fields that say when and of what alerts are sent."
            )
        before, after = (
            [Parent(it, samples_of_runs(samples.get(it, ()))) for it in watched_parents(those[name], those, in_cycles)]
            for those, in_cycles in zip(fleets, cyclic, strict=True)
        )
        policies, tests = (fleet[name].policy, changed.policy), samples.get(name, ())
        limited = under_limits(tests, changed)
        found.append(
            compare(name, tests, *policies, noise, limited=limited, parents=(before, after), since=period.begin)
        )
    missing = _missing(period, now, installation.samples_kept)
    if as_json:
        click.echo(json.dumps({"missing": missing, "targets": [_to_json(comparison) for comparison in found]}))
    else:
        _show(console(), found, missing, noise)
    if choice.verbose:
        count = sum(map(len, samples.values()))
        units = sum(store.capacity.read.values())
        say(f"Read {counted(count, 'test')} for {units:.1f} capacity units of DynamoDB.", err=True)


def ineffective_changes(
    present: Target, item: dict[str, Any], defaults: dict[str, Any], changes: Sequence[str]
) -> list[str]:
    """The fields of changes that do not matter to past tests of a target. Raises UserError for an unknown field."""
    found = []
    for change in changes:
        name, changed = change.partition("=")[0].strip(), with_changes(item, defaults, [change])
        if name not in LIMITS and changed.policy == present.policy and changed != present:
            found.append(name)
    return found


def _missing(period: Period, now: datetime, kept: timedelta) -> list[str]:
    oldest = now - kept
    if period.begin >= oldest:
        return []
    return [
        f"Single tests are kept for {counted(kept.days, 'day')}: those before {utc(oldest)} cannot be judged again."
    ]


def _show(console: Console, found: Sequence[Comparison], missing: Sequence[str], noise: timedelta) -> None:
    for sentence in missing:
        print_fitted(console, f"[yellow]{sentence}[/]")
    eventful = [it for it in found if it.outages or it.before.alerts or it.after.alerts]
    rows = [_row(it) for it in eventful]
    columns = [
        Column(title, rank, widest((title, *(row[title] for row in rows))), is_figure=title != "Target")
        for title, rank in RANKS.items()
    ]
    if rows:
        titles, lines, remark = stacked(rows, columns, {}, console.width)
        for line in (titles, *(line for line, _ in lines), *([wrapped(remark, console.width)] if remark else ())):
            console.print(escape(line), highlight=False, soft_wrap=True)
    quiet = len(found) - len(eventful)
    if quiet:
        print_fitted(console, f"{counted(quiet, 'target')} had neither an outage nor an alert.")
    print_fitted(
        console,
        "After an arrow: with the changed settings. "
        f"An outage is a run of failures of at least {duration(noise)}; an alert of a shorter one is noise. "
        "Noticed after: the longest time to the first alert; never: outages without an alert.",
    )


def _row(found: Comparison) -> dict[str, str]:
    """The cells by the titles of their columns."""
    before, after = found.before, found.after
    noticed = (_noticed(before), _noticed(after))
    return {
        "Target": whole(found.target_id),
        "Outages": str(len(found.outages)),
        "Alerts": f"{before.alerts} -> {after.alerts}",
        "Noise": f"{before.noise} -> {after.noise}",
        "Noticed after": " -> ".join(text or UNKNOWN for text in noticed) if any(noticed) else "",
    }


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
