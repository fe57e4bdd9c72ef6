"""`popwatch simulate`: a simulated outage, judged by the code that judges a real one."""

import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby, pairwise
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from popwatch.decisions.judging import TICK
from popwatch.decisions.planning import in_cycles, watched_parents
from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import State
from popwatch.model.messages import AlertMessage
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import Target, parse_target
from popwatch.model.text import counted, duration, iso, natural_order
from popwatch_cli import completion
from popwatch_cli.commands.before_writing import warn_of_parents_of_targets
from popwatch_cli.commands.receivers import remarks_on
from popwatch_cli.errors import UserError
from popwatch_cli.installation import find
from popwatch_cli.options import AT, DURATION, STACK_NAME, ZONE, Choice, refuse_ineffective, time_ahead
from popwatch_cli.output.columns import Column, stacked, widest
from popwatch_cli.output.status_table import COLOURS
from popwatch_cli.output.terminal import console, print_fitted, say, wrapped
from popwatch_cli.rehearsal.filter_policies import Subscription, reaches
from popwatch_cli.rehearsal.simulation import (
    SimulatedTest,
    first_alert,
    is_lost,
    maintenance_until,
    simulate,
    without_interventions,
)
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.subscriptions import Subscribers, read_subscribers
from popwatch_cli.suggestions import field_hint
from popwatch_cli.target_items import assigned, refuse_repeated_fields, targets_of, whole, without_id

FOLDED_FROM = 4
"""Of so many tests in a row that change nothing the first is shown, and how many more there are."""

WHO = "Who receives it"

EXAMPLE = {"target_id": "example", "host": "pop.example.net"}
LATE_CODE = 2
LONGEST_SIMULATION = timedelta(days=7)


@click.command("simulate")
@selecting()
@click.option(
    "--outage",
    type=DURATION,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="How long it lasts: 20m, 2h, 1d.",
)
@click.option(
    "--at",
    "at",
    metavar="TIME",
    help=f"When the outage begins; a silence and a suspension for a time count, too. {AT}  [default: now]",
)
@click.option("--timezone", "zone", type=ZONE, help="The zone of --at.")
@click.option(
    "--after",
    type=DURATION,
    metavar="DURATION",
    help="Time from the last passed test to the outage. [default: 0]",
)
@click.option(
    "--error",
    type=Choice([*ErrorCode]),
    default=ErrorCode.TIMED_OUT,
    show_default=True,
    help="The error of the failed tests.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    shell_complete=completion.assignments,
    help="Try another value of a field; may be repeated.",
)
@click.option(
    "--reaching",
    type=DURATION,
    metavar="DURATION",
    help="Exit with 2 if no alert reaches anyone within this time after the outage begins.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each target, on a line of its own.")
@click.pass_obj
def simulate_outage(
    choice: Any,
    *,
    selection: Selection,
    outage: timedelta,
    at: str | None,
    zone: tzinfo | None,
    after: timedelta | None,
    error: str,
    changes: tuple[str, ...],
    reaching: timedelta | None,
    as_json: bool,
) -> None:
    """Simulate an outage of targets: each test, state and alert, and who would receive it. Nothing is sent.

    Without a target, any policy can be tried with --set, and no stack is needed.

    \b
    Examples:
      popwatch simulate mail-berlin --outage 2h
      popwatch simulate mail-berlin --at 03:00
      popwatch simulate --group customers --outage 30m --reaching 10m
      popwatch simulate --set failures_per_alert=2 --set delay_warn=20
    """
    if not at:
        refuse_ineffective({"zone"}, "without --at")
    now = datetime.now(UTC)
    targets, subscribers, stack = _targets(choice, selection, changes)
    begins_after = after or timedelta()
    if begins_after + outage > LONGEST_SIMULATION:
        raise UserError(f"The simulation is too long: at most {duration(LONGEST_SIMULATION)}, --after included.")
    in_time = True
    for place, target in enumerate(targets):
        began = time_ahead(at, zone or target.timezone, now) if at else _minute(now) + TICK + begins_after
        start = _minute(began - begins_after)
        assumed = without_interventions(target, timed=at is not None)
        steps = tuple(simulate(assumed, outage, ErrorCode(error), start, begins_after=began - start, stack=stack))
        found = Simulated(target, assumed, steps, began, subscribers, (zone or target.timezone) if at else None)
        in_time = in_time and (reaching is None or found.reaches_within(reaching))
        if as_json:
            click.echo(json.dumps(_to_json(found)))
        else:
            if place:
                click.echo()
            _show(console(), found, named=len(targets) > 1)
            if reaching is not None:
                say(_in_time_line(found.time_to_alert, reaching))
    if not as_json and subscribers:
        for line in remarks_on(subscribers):
            print_fitted(console(), line)
    if reaching is not None:
        sys.exit(0 if in_time else LATE_CODE)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated outage of a target, which began at `began`, and who receives its alerts (None: not known).

    `assumed` is the target as it was simulated. Times are shown in `zone`, if there is one.
    """

    target: Target
    assumed: Target
    steps: Sequence[SimulatedTest]
    began: datetime
    subscribers: Subscribers | None
    zone: tzinfo | None

    def receivers(self, message: AlertMessage) -> list[Subscription] | None:
        """Who receives a message; None if the subscriptions are not known."""
        if self.subscribers is None:
            return None
        return [found for found in self.subscribers.subscriptions if reaches(found, message.attributes)]

    @property
    def time_to_alert(self) -> timedelta | None:
        """The time until the first `down` that reaches someone; if the subscriptions are not known, until the first."""
        first = first_alert(self.steps, lambda message: self.receivers(message) != [])
        return self.until(first) if first else None

    def reaches_within(self, longest: timedelta) -> bool:
        """Whether a `down` reaches someone within this time."""
        return self.time_to_alert is not None and self.time_to_alert <= longest

    def until(self, step: SimulatedTest) -> timedelta:
        """The time from the beginning of the outage to the alert of a test, at the latest."""
        return step.at - self.began + timedelta(seconds=self.target.max_test_seconds)

    def delay_before(self, alert: SimulatedTest | None) -> str:
        """`the maintenance until 04:00`, or suspension, if it delayed this alert, or prevented any; otherwise empty."""
        suspended = self.assumed.policy.suspended
        until = alert.at if alert else self.steps[-1].at if self.steps else datetime.max.replace(tzinfo=UTC)
        parts = []
        if suspended and suspended.window.start < until and self.began < suspended.window.end:
            parts.append(f"the suspension until {_local(suspended.window.end, self.target.timezone)}")
        return " and ".join([*parts, *filter(None, [self._maintenance_before(alert)])])

    def _maintenance_before(self, alert: SimulatedTest | None) -> str:
        before = [step for step in self.steps if step.at > self.began and (alert is None or step.at < alert.at)]
        within = [step.at for step in before if step.health.state is State.MAINTENANCE]
        if not within:
            return ""
        end = maintenance_until(self.assumed.policy, within[-1])
        return f"the maintenance until {_local(end, self.target.timezone)}" if end else "maintenance"


def _minute(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)


def _targets(choice: Any, selection: Selection, changes: Sequence[str]) -> tuple[list[Target], Subscribers | None, str]:
    """The targets with the changes, the subscribers of their alerts, and the name of their stack. Raises UserError."""
    if not selection:
        return [_without_problems(with_changes(dict(EXAMPLE), {}, changes))], None, STACK_NAME
    installation = find(choice)
    items = installation.target_table.read()
    chosen = sorted(selection.of(targets_of(items)), key=natural_order)
    defaults = without_id(items.get(DEFAULTS_ID, {}))
    targets = [_without_problems(with_changes(items[name], defaults, changes)) for name in chosen]
    known = targets_of(items) | {target.target_id: target for target in targets}
    if sets_parents(changes):
        warn_of_parents_of_targets(known, chosen)
    cyclic = in_cycles(known)
    targets = [_with_watched_parents(target, known, cyclic) for target in targets]
    return targets, read_subscribers(installation.client("sns"), installation.alert_topic_arns), installation.name


def _with_watched_parents(target: Target, known: Mapping[str, Target], cyclic: Collection[str]) -> Target:
    """The target without the parents that hold back none of its alerts."""
    return replace(target, policy=replace(target.policy, depends_on=(*watched_parents(target, known, cyclic),)))


def _without_problems(target: Target) -> Target:
    if target.problems:
        raise UserError("\n".join(problem.explanation for problem in target.problems))
    return target


def sets_parents(changes: Sequence[str]) -> bool:
    """Whether one of the changes is of the targets that a target depends on."""
    return any(change.partition("=")[0].strip() == "depends_on" for change in changes)


def with_changes(item: dict[str, Any], defaults: dict[str, Any], changes: Sequence[str]) -> Target:
    """The target of an item with other values for some fields. Raises UserError for an unknown field."""
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise UserError(f"{change} is not an assignment: write FIELD=VALUE, such as failures_per_alert=2.")
        if name.strip() == "target_id":
            raise UserError("The id of a target cannot be changed: --set takes the other fields.")
        item = assigned(item, name.strip(), value)
    changed = [change.partition("=")[0].strip() for change in changes]
    refuse_repeated_fields(changed)
    target = parse_target(item, defaults)
    unknown = [name for name in target.unknown_fields if name in changed]
    if unknown:
        hint = field_hint(unknown[0])
        raise UserError(f"There is no field `{unknown[0]}`: docs/targets.md lists all fields.{hint}")
    return target


def _show(console: Console, found: Simulated, *, named: bool) -> None:
    if named:
        print_fitted(console, f"[bold]{escape(whole(found.target.target_id))}[/]")
    for line in _table(found, console.width) if found.steps else ():
        console.print(line, highlight=False, soft_wrap=True)
    console.print()
    for line in _conclusions(found):
        print_fitted(console, line)


def _table(found: Simulated, width: int) -> Iterator[str]:
    """The tests as lines of rich markup: what an alert says, and who receives it, stands below its test if need be."""
    rows = [row for folded in _folded(found.steps) for row in _rows(folded, found)]
    ranks = {"Time": 2, "Outage": 1, "Test": 0, "State": 0, "Alert": 0, WHO: 0}
    absent = {"Time": found.zone is None, WHO: found.subscribers is None}
    columns = [
        Column(title, rank, widest((title, *(row[title] for row in rows))), is_figure=title == "Outage")
        for title, rank in ranks.items()
        if not absent.get(title)
    ]
    titles, lines, remark = stacked(rows, columns, {"Alert": "", WHO: "to "}, width)
    yield f"[bold]{titles}[/]"
    for row, (line, others) in zip(rows, lines, strict=True):
        yield _coloured(escape(line), row)
        yield from (f"[dim]{escape(other)}[/]" for other in others)
    if remark:
        yield from map(escape, wrapped(remark, width).split("\n"))


def _coloured(line: str, row: Mapping[str, str]) -> str:
    """The line of a row with its state in its colour; a row that stands for others has none."""
    state, test = row["State"], row["Test"]
    if not state:
        return f"[dim]{line}[/]"
    before, _, after = line.partition(f"{test}  ")
    return f"{before}{test}  " + after.replace(state, f"[{COLOURS[State(state)]}]{state}[/]", 1)


def _folded(steps: Sequence[SimulatedTest]) -> Iterator[Sequence[SimulatedTest]]:
    """The tests, each alone, those of a long row that change nothing together."""
    for _, group in groupby(steps, key=lambda step: (step.passed, step.health.state, step.message)):
        row = list(group)
        if len(row) < FOLDED_FROM or row[0].message:
            yield from ([step] for step in row)
        else:
            yield row


def _more(rows: Sequence[SimulatedTest]) -> str:
    """`23 more, every 5 min`."""
    gaps = sorted({after.at - before.at for before, after in pairwise(rows)})
    every = duration(gaps[0]) if len(gaps) == 1 else f"{duration(gaps[0])} to {duration(gaps[-1])}"
    return f"{len(rows) - 1} more, every {every}"


def _rows(steps: Sequence[SimulatedTest], found: Simulated) -> Iterator[dict[str, str]]:
    """The cells of a test by the titles of their columns, and how many more such ones there are."""
    step = steps[0]
    state = step.health.state
    test = "passed" if step.passed else "failed, not counted" if state is State.MAINTENANCE else _failed(step)
    if step.health.recovery:
        test += f", {step.health.recovery.passes} in a row: not recovered yet"
    names = [receiver.receiver for receiver in (step.message and found.receivers(step.message)) or []]
    yield {
        "Time": _local(step.at, found.zone, seconds=True) if found.zone else "",
        "Outage": duration(step.at - found.began) if step.at > found.began else "",
        "Test": test,
        "State": state.value,
        "Alert": step.message.sms if step.message else "",
        WHO: (", ".join(names) or "[no one]") if step.message else "",
    }
    if len(steps) > 1:
        yield {**dict.fromkeys(("Time", "Outage", "State", "Alert", WHO), ""), "Test": _more(steps)}


def _failed(step: SimulatedTest) -> str:
    return f"failed, {step.health.failures} in a row"


def _conclusions(found: Simulated) -> Iterator[str]:
    """The sentences below the table, as rich markup."""
    policy, first = found.assumed.policy, first_alert(found.steps)
    longest = duration(longest_time_to_alert(policy, found.target.max_test_seconds))
    delay = found.delay_before(first)
    if first:
        took = duration(found.until(first))
        because = f"because of {delay}; without that" if delay else "including the last test's deadline;"
        yield f"First alert: {took} after the outage begins, {because} {longest} in the worst case."
    elif not policy.max_alerts:
        yield "No alert: `max_alerts` is 0."
    else:
        needed = counted(policy.failures_per_alert, "test has", "tests in a row have")
        outside = f" outside {delay}" if delay else ""
        yield f"No alert: the outage ends before {needed} failed{outside} (`failures_per_alert`)."
    alerts = counted(sum(step.message is not None for step in found.steps), "alert")
    lost = " The target becomes lost: no further alerts until it recovers." if is_lost(found.steps) else ""
    yield f"{alerts} in all.{lost}"
    if policy.depends_on:
        parents = ", ".join(escape(whole(parent)) for parent in policy.depends_on)
        yield (
            f"Assumed: {parents} passes. While it fails, the alerts are held."
            if len(policy.depends_on) == 1
            else f"Assumed: one of {parents} passes. While all of them fail, the alerts are held."
        )
    yield from _left_out(found)
    unreceived = sum(step.message is not None and found.receivers(step.message) == [] for step in found.steps)
    if unreceived:
        alerts = counted(unreceived, "alert")
        yield f"[red]{alerts} without a receiver: subscribe to the topic, or widen a filter policy.[/]"


def _left_out(found: Simulated) -> Iterator[str]:
    """What the target has now and the simulation does not assume."""
    present, assumed = found.target.policy, found.assumed.policy
    if not present.enabled:
        yield "[yellow]The target is suspended: until it is resumed, nothing of this happens.[/]"
    for word, now, then in (
        ("silenced", present.silence, assumed.silence),
        ("suspended", present.suspended, assumed.suspended),
    ):
        if now and not then and now.window.end > found.began:
            end = _local(now.window.end, found.target.timezone)
            yield f"[yellow]The target is {word} until {end}, which this leaves out; with --at it counts.[/]"


def _local(time: datetime, zone: tzinfo, *, seconds: bool = False) -> str:
    return f"{time.astimezone(zone):{'%Y-%m-%d %H:%M:%S %Z' if seconds else '%Y-%m-%d %H:%M %Z'}}"


def _in_time_line(time_to_alert: timedelta | None, reaching: timedelta) -> str:
    if time_to_alert is None:
        return "No alert reaches anyone."
    comparison = "within" if time_to_alert <= reaching else "later than"
    return f"An alert reaches someone after {duration(time_to_alert)}, {comparison} {duration(reaching)}."


def _to_json(found: Simulated) -> dict[str, Any]:
    time_to_alert = found.time_to_alert
    return {
        "target_id": found.target.target_id,
        "outage_began": iso(found.began),
        "notice_seconds": None if time_to_alert is None else time_to_alert.total_seconds(),
        "steps": [
            {
                "at": iso(step.at),
                "elapsed_seconds": (step.at - found.began).total_seconds(),
                "result": "passed" if step.passed else "failed",
                "state": step.health.state.value,
                "failures": step.health.failures,
                "event": step.message.event if step.message else None,
                "subject": step.message.subject if step.message else None,
                "sms": step.message.sms if step.message else None,
                "receivers": _receivers(step, found),
            }
            for step in found.steps
        ],
    }


def _receivers(step: SimulatedTest, found: Simulated) -> list[str] | None:
    if step.message is None:
        return [] if found.subscribers else None
    receivers = found.receivers(step.message)
    return None if receivers is None else [receiver.receiver for receiver in receivers]
