"""`popwatch simulate`: a simulated outage, judged by the code that judges a real one."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from popwatch.decisions.schedule import TICK, longest_time_to_alert
from popwatch.model.fields import DEFAULTS_ID, FIELDS_BY_NAME
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import Target, parse_target
from popwatch.model.text import counted, did_you_mean, duration, iso
from popwatch_cli.errors import UserError
from popwatch_cli.installation import find
from popwatch_cli.options import DURATION, STACK_NAME, Choice
from popwatch_cli.output.status_table import COLOURS
from popwatch_cli.output.terminal import console
from popwatch_cli.rehearsal.filter_policies import Subscription, reaches
from popwatch_cli.rehearsal.simulation import Step, first_alert, is_lost, simulate, without_interventions
from popwatch_cli.subscriptions import Subscribers, read_subscribers
from popwatch_cli.target_items import assigned, missing_target, without_id

EXAMPLE = {"target_id": "example", "host": "pop.example.net"}
LATE_CODE = 2
LONGEST = timedelta(days=7)


@click.command("simulate")
@click.argument("target_id", required=False)
@click.option(
    "--outage",
    type=DURATION,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="How long it lasts: 20m, 2h, 1d.",
)
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
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Try another value of a field; may be repeated."
)
@click.option(
    "--reaching",
    type=DURATION,
    metavar="DURATION",
    help="Exit with 2 if no alert reaches anyone within this time after the outage begins.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def simulate_outage(
    choice: Any,
    *,
    target_id: str | None,
    outage: timedelta,
    after: timedelta | None,
    error: str,
    changes: tuple[str, ...],
    reaching: timedelta | None,
    as_json: bool,
) -> None:
    """Simulate an outage of a target: each test, state and alert, and who would receive it. Nothing is sent.

    Without TARGET_ID, any policy can be tried with --set, and no stack is needed.

    \b
    Examples:
      popwatch simulate mail-berlin --outage 2h
      popwatch simulate mail-berlin --outage 30m --reaching 10m
      popwatch simulate --set failures_per_alert=2 --set delay_warn=20
    """
    target, subscribers, stack = _target(choice, target_id, changes)
    start = datetime.now(UTC).replace(second=0, microsecond=0) + TICK
    begins_after = after or timedelta()
    if begins_after + outage > LONGEST:
        raise UserError(f"The simulation is too long: at most {duration(LONGEST)}, --after included.")
    present = without_interventions(target)
    steps = list(simulate(present, outage, ErrorCode(error), start, begins_after=begins_after, stack=stack))
    began = start + begins_after
    time_to_alert = _time_to_alert(steps, subscribers, began, target)
    if as_json:
        click.echo(json.dumps(_to_json(steps, subscribers, began, time_to_alert)))
    else:
        _show(console(), target, steps, subscribers, began)
    if reaching is not None:
        in_time = time_to_alert is not None and time_to_alert <= reaching
        if not as_json:
            click.echo(_in_time_line(time_to_alert, reaching))
        sys.exit(0 if in_time else LATE_CODE)


def _target(choice: Any, target_id: str | None, changes: Sequence[str]) -> tuple[Target, Subscribers | None, str]:
    """The target with the changes, the subscribers of its alerts, and the name of its stack. Raises UserError."""
    item: dict[str, Any] = dict(EXAMPLE)
    defaults: dict[str, Any] = {}
    subscribers, stack = None, STACK_NAME
    if target_id is not None:
        installation = find(choice)
        stack = installation.stack
        items = installation.target_table.read()
        if target_id not in items:
            raise UserError(missing_target(target_id, items))
        item, defaults = items[target_id], without_id(items.get(DEFAULTS_ID, {}))
        subscribers = read_subscribers(installation.client("sns"), installation.alert_topic_arns)
    target = with_changes(item, defaults, changes)
    if target.problems:
        raise UserError("\n".join(problem.explanation for problem in target.problems))
    return target, subscribers, stack


def with_changes(item: dict[str, Any], defaults: dict[str, Any], changes: Sequence[str]) -> Target:
    """The target of an item with other values for some fields. Raises UserError for an unknown field."""
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise UserError(f"{change} is not an assignment: write FIELD=VALUE, such as failures_per_alert=2.")
        item = assigned(item, name.strip(), value)
    target = parse_target(item, defaults)
    changed = {change.partition("=")[0].strip() for change in changes}
    unknown = [name for name in target.unknown_fields if name in changed]
    if unknown:
        hint = did_you_mean(unknown[0], FIELDS_BY_NAME)
        raise UserError(f"There is no field `{unknown[0]}`: docs/targets.md lists all fields.{hint}")
    return target


def _time_to_alert(
    steps: Sequence[Step], subscribers: Subscribers | None, began: datetime, target: Target
) -> timedelta | None:
    """The time until the first alert that reaches someone; without a stack, until the first alert."""
    for step in steps:
        if step.message and (subscribers is None or _receivers(step, subscribers)):
            return step.at - began + timedelta(seconds=target.max_test_seconds)
    return None


def _receivers(step: Step, subscribers: Subscribers) -> list[Subscription]:
    return [found for found in subscribers.subscriptions if step.message and reaches(found, step.message.attributes)]


def _show(
    console: Console, target: Target, steps: Sequence[Step], subscribers: Subscribers | None, began: datetime
) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title, justify in (("Outage", "right"), ("Test", "left"), ("State", "left"), ("Alert", "left")):
        table.add_column(title, justify=justify, no_wrap=title != "Alert")  # type: ignore[arg-type]
    if subscribers:
        table.add_column("Who receives it")
    for step in steps:
        table.add_row(*_cells(step, subscribers, began))
    console.print(table)
    for line in _conclusions(target, steps, subscribers, began):
        console.print(line, highlight=False)


def _cells(step: Step, subscribers: Subscribers | None, began: datetime) -> list[str]:
    state = step.health.state
    elapsed = duration(step.at - began) if step.at > began else ""
    test = "passed" if step.passed else f"failed, {step.health.failures} in a row"
    if step.health.recovery:
        test += f", {step.health.recovery.passes} in a row: not recovered yet"
    cells = [elapsed, test, f"[{COLOURS[state]}]{state}[/]", escape(step.message.sms) if step.message else ""]
    if subscribers:
        names = [found.receiver for found in _receivers(step, subscribers)]
        cells.append(escape(", ".join(names) or "[no one]") if step.message else "")
    return cells


def _conclusions(target: Target, steps: Sequence[Step], subscribers: Subscribers | None, began: datetime) -> list[str]:
    """The sentences below the table."""
    first = first_alert(steps)
    alerts = counted(sum(step.message is not None for step in steps), "alert")
    longest = duration(longest_time_to_alert(target.policy, target.max_test_seconds))
    lines = [""]
    if first:
        took = duration(first.at - began + timedelta(seconds=target.max_test_seconds))
        lines.append(
            f"First alert: {took} after the outage begins, including the last test's deadline; "
            f"{longest} in the worst case."
        )
    else:
        lines.append("No alert: the outage ends before enough tests have failed, or `max_alerts` is 0.")
    lost = " The target becomes lost: no further alerts until it recovers." if is_lost(steps) else ""
    lines.append(f"{alerts} in all.{lost}")
    if subscribers:
        lines += _subscriber_lines(subscribers, steps)
    return lines


def _subscriber_lines(subscribers: Subscribers, steps: Sequence[Step]) -> list[str]:
    lines = [
        f"[yellow]{escape(found.receiver)} has not confirmed its subscription and receives nothing.[/]"
        for found in subscribers.subscriptions
        if not found.confirmed
    ]
    unreceived = [step for step in steps if step.message and not _receivers(step, subscribers)]
    if unreceived:
        alerts = counted(len(unreceived), "alert")
        lines.append(f"[red]{alerts} without a receiver: subscribe to the topic, or widen a filter policy.[/]")
    lines += [f"[yellow]{escape(sentence)}[/]" for sentence in subscribers.obstacles]
    return lines + [f"[dim]Not known: {escape(sentence)}[/]" for sentence in subscribers.unknown]


def _in_time_line(time_to_alert: timedelta | None, reaching: timedelta) -> str:
    if time_to_alert is None:
        return "No alert reaches anyone."
    comparison = "within" if time_to_alert <= reaching else "later than"
    return f"An alert reaches someone after {duration(time_to_alert)}, {comparison} {duration(reaching)}."


def _to_json(
    steps: Sequence[Step], subscribers: Subscribers | None, began: datetime, time_to_alert: timedelta | None
) -> dict[str, Any]:
    return {
        "outage_began": iso(began),
        "notice_seconds": None if time_to_alert is None else time_to_alert.total_seconds(),
        "steps": [
            {
                "at": iso(step.at),
                "elapsed_seconds": (step.at - began).total_seconds(),
                "result": "passed" if step.passed else "failed",
                "state": step.health.state.value,
                "failures": step.health.failures,
                "event": step.message.event if step.message else None,
                "subject": step.message.subject if step.message else None,
                "sms": step.message.sms if step.message else None,
                "receivers": [found.receiver for found in _receivers(step, subscribers)] if subscribers else None,
            }
            for step in steps
        ],
    }
