"""`popwatch silence`, `unsilence`, `ack`, `suspend`, `resume`: interventions in targets.

Each changes a field of the target, and records in History who did it and why. The next sweep applies it; before an
alert the function reads the field again, so that none is decided once the command has returned.
"""

import getpass
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from popwatch.model.interventions import WHY_LENGTH, Silence, Suspension
from popwatch.model.records import Action, InterventionEvent
from popwatch.model.targets import Item, Target
from popwatch.model.text import clean, duration, iso, parse_seconds, utc
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation, find
from popwatch_cli.options import DURATION, FARTHEST
from popwatch_cli.output.terminal import say
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.target_items import targets_of, whole


@dataclass(frozen=True, slots=True)
class Intervention:
    """One of these commands: the targets it is for, named or chosen by groups and tags; who gives it, why, and when."""

    installation: Installation
    targets: tuple[Target, ...]
    by: str
    why: str
    at: datetime
    are_named: bool = True

    def apply(self, action: Action, put: Item, remove: Iterable[str] = (), until: datetime | None = None) -> None:
        """Change fields of each target and record it. Raises UserError for a target that no longer exists."""
        for target in self.targets:
            self.apply_to(target, action, put, remove, until)

    def apply_to(
        self, target: Target, action: Action, put: Item, remove: Iterable[str] = (), until: datetime | None = None
    ) -> None:
        """The same for one target."""
        if not self.installation.target_table.change(target.target_id, put, remove):
            raise UserError(f"The target {whole(target.target_id)} has been removed in the meantime.")
        self.installation.store.put_intervention(
            target.target_id, InterventionEvent(action, self.at, self.by, self.why, until)
        )


def _user() -> str:
    """The user's name. In a container there may be none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options and arguments that all these commands take."""
    for option in (
        click.option("--by", envvar="POPWATCH_BY", default=_user, help="Name to record; your user name unless given."),
        click.option("--why", default="", metavar="TEXT", help="Reason; shown in history and reports."),
        selecting(required=True),
    ):
        command = option(command)
    return click.pass_obj(command)


@click.command()
@_options
@click.option("--for", "length", type=DURATION, metavar="DURATION", help="How long: 30m, 2h, 1d, 1h30m.  [required]")
def silence(choice: Any, *, length: timedelta | None, **options: Any) -> None:
    """Put targets into maintenance from now on, for a time: they are tested and recorded, but failures do not count and
    no alerts are sent. It holds at once, for tests that are under way too.

    \b
    Examples:
      popwatch silence mail-berlin --for 2h --why "new disk"
      popwatch silence --group customers --for 30m
    """
    if length is None:
        raise _without_length(options["selection"])
    intervention = _intervention(choice, **options)
    until = _end(intervention, length, "Suspend the target instead.")
    intervention.apply(Action.SILENCED, {"silence": _for_a_time(intervention, until)}, until=until)
    _say(
        intervention,
        f"silenced {_span(until, length)}: tested and recorded, no alerts are sent",
        lambda target: _replaced("silence", target.policy.silence, intervention.at),
    )


def _without_length(selection: Selection) -> click.UsageError:
    """The error of a silence that does not say how long it is; the time may stand among the ids."""
    meant = next((name for name in selection.ids if parse_seconds(name)), "")
    return click.UsageError(f"Missing option '--for'.{f' Did you mean --for {meant}?' if meant else ''}")


@click.command()
@_options
def unsilence(choice: Any, **options: Any) -> None:
    """End a silence early; `maintenance` windows are not changed.

    \b
    Examples:
      popwatch unsilence mail-berlin
    """
    asked = _intervention(choice, **options)
    intervention = _only(
        asked, lambda target: target.policy.silence is not None and target.policy.silence.window.end > asked.at
    )
    _say_of_others(asked, intervention, "not silenced, so nothing was changed")
    intervention.apply(Action.UNSILENCED, {}, ["silence"])
    _say(intervention, "no longer silenced")


@click.command()
@_options
def ack(choice: Any, **options: Any) -> None:
    """Acknowledge an outage: no further alerts until it ends.

    \b
    Examples:
      popwatch ack mail-berlin --why "on my way"
      popwatch ack mail-berlin mail-rome
    """
    asked = _intervention(choice, **options)
    store = asked.installation.store
    records = {target.target_id: store.read_record(target.target_id) for target in asked.targets}
    intervention = _only(asked, lambda target: records[target.target_id].health.failing_since is not None)
    _say_of_others(asked, intervention, "not failing, so there is no outage to acknowledge")
    for target in intervention.targets:
        outage = records[target.target_id].health.failing_since or intervention.at
        known = target.policy.acknowledgement_of(outage)
        acknowledgement = {
            "outage": iso(outage),
            "at": iso(intervention.at),
            "why": intervention.why or (known.why if known else ""),
            "by": intervention.by,
        }
        intervention.apply_to(target, Action.ACKNOWLEDGED, {"acknowledged": acknowledgement})
        say(
            f"{whole(target.target_id)}: the outage since {utc(outage)} is acknowledged by {intervention.by}. "
            "No further alerts until it ends."
        )


@click.command()
@_options
@click.option("--for", "length", type=DURATION, metavar="DURATION", help="Resume by itself after that: 2h, 1d.")
def suspend(choice: Any, *, length: timedelta | None, **options: Any) -> None:
    """Stop testing targets until `popwatch resume`, or for a time.

    \b
    Examples:
      popwatch suspend mail-berlin --why "moved to another provider"
      popwatch suspend --group customers --for 2h
    """
    intervention = _intervention(choice, **options)

    def suspension(target: Target) -> str:
        return _replaced("suspension", target.policy.suspended, intervention.at)

    if length is None:
        intervention.apply(Action.SUSPENDED, {"enabled": False}, ["suspended"])
        _say(intervention, "suspended: not tested until `popwatch resume`", suspension)
        return
    until = _end(intervention, length, "Leave out --for.")
    suspended = {"suspended": _for_a_time(intervention, until)}
    for target in intervention.targets:
        intervention.apply_to(target, Action.SUSPENDED, suspended | _enabled(target), until=until)
    _say(
        intervention,
        f"suspended {_span(until, length)}: not tested, and then tested again as after `popwatch resume`",
        suspension,
    )


@click.command()
@_options
def resume(choice: Any, **options: Any) -> None:
    """Resume testing suspended targets; the state starts at `untested`.

    \b
    Examples:
      popwatch resume mail-berlin
    """
    asked = _intervention(choice, **options)
    intervention = _only(asked, lambda target: target.policy != target.policy.at(asked.at) or not target.policy.enabled)
    _say_of_others(asked, intervention, "not suspended, so nothing was changed")
    for target in intervention.targets:
        intervention.apply_to(target, Action.RESUMED, _enabled(target), ["suspended"])
    _say(intervention, "tested again from the next sweep")


def _intervention(choice: Any, selection: Selection, why: str, by: str) -> Intervention:
    """What the command line asks for. Raises UserError."""
    installation = find(choice)
    chosen = tuple(selection.of(targets_of(installation.target_table.read())).values())
    reason, name = (clean(text, WHY_LENGTH) for text in (why, by))
    at = datetime.now(UTC).replace(microsecond=0)
    return Intervention(installation, chosen, name, reason, at, are_named=bool(selection.ids))


def _end(intervention: Intervention, length: timedelta, instead: str) -> datetime:
    """The end of an intervention that begins now. Raises UserError for one that is longer than anyone means."""
    if length > FARTHEST:
        raise UserError(f"--for is at most {FARTHEST.days // 365} years, and that is longer. {instead}")
    return intervention.at + length


def _for_a_time(intervention: Intervention, until: datetime) -> Item:
    return {"from": iso(intervention.at), "until": iso(until), "why": intervention.why, "by": intervention.by}


def _span(until: datetime, length: timedelta) -> str:
    return f"from now until {utc(until)} ({duration(length)})"


def _enabled(target: Target) -> Item:
    """The field with which a target is tested that is not suspended for a time; none if it has that already."""
    return {} if target.policy.enabled else {"enabled": True}


def _only(intervention: Intervention, keep: Callable[[Target], bool]) -> Intervention:
    return replace(intervention, targets=tuple(filter(keep, intervention.targets)))


def _say_of_others(asked: Intervention, done: Intervention, why: str) -> None:
    """Say for which of the targets there is nothing to do, if they were named. Raises UserError if it is so for all."""
    others = replace(asked, targets=tuple(target for target in asked.targets if target not in done.targets))
    if not done.targets:
        raise UserError(f"{_names(others)}: {why}.")
    if others.targets and asked.are_named:
        say(f"{_names(others)}: {why}.", err=True)


def _names(intervention: Intervention) -> str:
    return ", ".join(whole(target.target_id) for target in intervention.targets)


def _say(intervention: Intervention, what: str, more: Callable[[Target], str] = lambda _: "") -> None:
    """Say for each target what was done, and `more`, a sentence about it."""
    for target in intervention.targets:
        say(f"{whole(target.target_id)}: {what}.{more(target)}")


def _replaced(noun: str, before: Silence | Suspension | None, now: datetime) -> str:
    """` It replaces the silence until 14:00, by anna (new disk).`, if there was one that had not ended."""
    if before is None or before.window.end <= now:
        return ""
    by = f", by {clean(before.by, WHY_LENGTH)}" if before.by else ""
    why = f" ({clean(before.why, WHY_LENGTH)})" if before.why else ""
    return f" It replaces the {noun} until {utc(before.window.end)}{by}{why}."
