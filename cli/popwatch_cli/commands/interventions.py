"""`popwatch silence`, `unsilence`, `ack`, `suspend`, `resume`: what people do about targets in the middle of things.

Each writes a field of the target, which the next sweep acts upon, and a note of who did it and why into History.
"""

import getpass
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from popwatch.model.interventions import WHY_LENGTH
from popwatch.model.records import Action, Note
from popwatch.model.targets import Target
from popwatch.model.text import clean, duration, iso, utc
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation, find
from popwatch_cli.options import SPAN
from popwatch_cli.target_items import Item, chosen_targets, shown


@dataclass(frozen=True, slots=True)
class Deed:
    """A command about some targets: which, who gives it, why, and when."""

    installation: Installation
    targets: tuple[Target, ...]
    by: str
    why: str
    at: datetime

    def do(self, action: Action, put: Item, remove: Iterable[str] = (), until: datetime | None = None) -> None:
        """Change the fields of each target and note it. Raises UserError for one that has gone in the meantime."""
        for target in self.targets:
            self.do_to(target, action, put, remove, until)

    def do_to(
        self, target: Target, action: Action, put: Item, remove: Iterable[str] = (), until: datetime | None = None
    ) -> None:
        """The same for one of them."""
        if not self.installation.target_table.change(target.target_id, put, remove):
            raise UserError(f"The target {shown(target.target_id)} has been removed in the meantime.")
        self.installation.store.put_note(target.target_id, Note(action, self.at, self.by, self.why, until))


def _user() -> str:
    """The user's name; in a container there may be none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What all these commands take."""
    for option in (
        click.option("--by", envvar="POPWATCH_BY", default=_user, help="Who does it; your user name, unless given."),
        click.option("--why", default="", metavar="TEXT", help="Why; it is recorded and shown."),
        click.option("--group", metavar="NAME", help="All targets of a group instead of one."),
        click.argument("target_id", required=False),
    ):
        command = option(command)
    return click.pass_obj(command)


@click.command()
@_options
@click.option("--for", "span", type=SPAN, required=True, metavar="SPAN", help="How long: 30m, 2h, 1d, 1h30m.")
def silence(choice: Any, *, span: timedelta, **options: Any) -> None:
    """Maintenance from now: targets are tested and recorded, failures do not count and nobody is alerted.

    \b
    Examples:
      popwatch silence mail-berlin --for 2h --why "new disk"
      popwatch silence --group customers --for 30m
    """
    deed = _deed(choice, **options)
    try:
        until = deed.at + span
    except OverflowError:
        raise UserError("So long a silence ends after all time: suspend the target instead.") from None
    window = {"from": iso(deed.at), "until": iso(until), "why": deed.why, "by": deed.by}
    deed.do(Action.SILENCED, {"silence": window}, until=until)
    _say(deed, f"silenced until {utc(until)} ({duration(span)}): tested and recorded, nobody is alerted")


@click.command()
@_options
def unsilence(choice: Any, **options: Any) -> None:
    """End a silence before its time; windows of `maintenance` stay.

    \b
    Examples:
      popwatch unsilence mail-berlin
    """
    found = _deed(choice, **options)
    deed = _only(
        found, lambda target: target.policy.silence is not None and target.policy.silence.window.end > found.at
    )
    if not deed.targets:
        raise UserError(f"{_names(found)}: not silenced, so nothing was changed.")
    deed.do(Action.UNSILENCED, {}, ["silence"])
    _say(deed, "not silenced any more")


@click.command()
@_options
def ack(choice: Any, **options: Any) -> None:
    """Acknowledge an outage: nobody is told more of it, but that it is over.

    \b
    Examples:
      popwatch ack mail-berlin --why "on my way"
    """
    found = _deed(choice, **options)
    records = {target.target_id: found.installation.store.read_record(target.target_id) for target in found.targets}
    deed = _only(found, lambda target: records[target.target_id].health.failing_since is not None)
    if not deed.targets:
        raise UserError(f"{_names(found)}: not failing, so there is no outage to acknowledge.")
    for target in deed.targets:
        outage = records[target.target_id].health.failing_since or deed.at
        known = {"outage": iso(outage), "at": iso(deed.at), "why": deed.why, "by": deed.by}
        deed.do_to(target, Action.ACKNOWLEDGED, {"acknowledged": known})
        click.echo(
            f"{shown(target.target_id)}: the outage since {utc(outage)} is acknowledged by {deed.by}. "
            "Nobody is told more of it, but that it is over."
        )


@click.command()
@_options
def suspend(choice: Any, **options: Any) -> None:
    """Stop testing targets until `popwatch resume`.

    \b
    Examples:
      popwatch suspend mail-berlin --why "moved to another provider"
    """
    deed = _deed(choice, **options)
    deed.do(Action.SUSPENDED, {"enabled": False})
    _say(deed, "suspended: not tested until `popwatch resume`")


@click.command()
@_options
def resume(choice: Any, **options: Any) -> None:
    """Test suspended targets again; they start over as untested.

    \b
    Examples:
      popwatch resume mail-berlin
    """
    deed = _deed(choice, **options)
    deed.do(Action.RESUMED, {"enabled": True})
    _say(deed, "tested again from the next sweep on")


def _deed(choice: Any, target_id: str | None, group: str | None, why: str, by: str) -> Deed:
    """What the command line asks for. Raises UserError."""
    if (target_id is None) == (group is None):
        raise UserError("Name one target, or a group with --group NAME.")
    installation = find(choice)
    items = installation.target_table.read()
    chosen = chosen_targets(items, target_id, group)
    reason, name = (clean(text, WHY_LENGTH) for text in (why, by))
    return Deed(installation, chosen, name, reason, datetime.now(UTC).replace(microsecond=0))


def _only(deed: Deed, keep: Callable[[Target], bool]) -> Deed:
    return replace(deed, targets=tuple(filter(keep, deed.targets)))


def _names(deed: Deed) -> str:
    return ", ".join(shown(target.target_id) for target in deed.targets)


def _say(deed: Deed, what: str) -> None:
    for target in deed.targets:
        click.echo(f"{shown(target.target_id)}: {what}.")
