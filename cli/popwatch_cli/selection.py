"""Which targets a command is for: by ids, by group, by tag."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import click

from popwatch.model.targets import Target
from popwatch.model.text import did_you_mean, natural_order
from popwatch_cli import completion
from popwatch_cli.errors import UserError
from popwatch_cli.target_items import known_id, missing_target, shown, whole, without_temporary

EMPTY_ID = "An id has 1 to 128 characters, and one of these is empty."

NOT_BOTH = "Name targets, or choose them with --group and --tag: not both."

GROUP = "Only targets of this group; may be repeated."
TAG = "Only targets with this tag; with all of them, if repeated."

LISTED = 20
"""Groups or tags that a message names."""

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Targets by their ids, or those in any of the groups that have all the tags. An empty one is of all targets.

    If it is `required`, there must be some.
    """

    ids: Names = ()
    groups: Names = ()
    tags: Names = ()
    required: bool = False

    def __bool__(self) -> bool:
        return bool(self.ids or self.groups or self.tags)

    def of(self, targets: Mapping[str, Target]) -> dict[str, Target]:
        """The targets that are meant, by id; those of `popwatch verify` only by their ids.

        Raises UserError for an id, group or tag that there is not.
        """
        targets = targets if self.ids else without_temporary(targets)
        asked = replace(self, ids=tuple(known_id(name, targets) for name in self.ids))
        missing = [name for name in asked.ids if name not in targets]
        if missing:
            names = {target.name.lower(): target_id for target_id, target in targets.items()}
            raise UserError("\n".join(missing_target(name, targets, names) for name in missing))
        groups = {target.group for target in targets.values() if target.group}
        tags = {tag for target in targets.values() for tag in target.tags}
        asked = replace(
            asked,
            groups=tuple(known_id(name, groups) for name in self.groups),
            tags=tuple(known_id(name, tags) for name in self.tags),
        )
        unknown = [_missing("in a group", group, "groups", groups) for group in asked.groups if group not in groups]
        unknown += [_missing("with the tag", tag, "tags", tags) for tag in asked.tags if tag not in tags]
        if unknown:
            raise UserError("\n".join(unknown))
        found = {name: targets[name] for name in sorted(targets, key=natural_order) if asked.includes(targets[name])}
        if self.required and not targets:
            raise UserError("There are no targets yet: `popwatch targets put mail-berlin host=pop.example.net`")
        if targets and not found:
            raise UserError("No target matches all of that: see `popwatch targets list`.")
        return found

    def includes(self, target: Target) -> bool:
        """Whether a target is meant."""
        in_group = not self.groups or target.group in self.groups
        return (not self.ids or target.target_id in self.ids) and in_group and set(self.tags) <= set(target.tags)


def _missing(how: str, name: str, kind: str, known: Collection[str]) -> str:
    """The message if no target is in a group, or has a tag."""
    if not known:
        return f"There is no target {how} {shown(name)}: no target has {kind}."
    listed = ", ".join(map(whole, sorted(known, key=natural_order)[:LISTED]))
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    hint = whole(did_you_mean(name, known, mark=""))
    return f"There is no target {how} {shown(name)}. The {kind} are: {listed}{more}. {hint}".rstrip()


def selecting(*, required: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the ids, `--group` and `--tag` to a command, which gets them as `selection`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def selected(
            *positional: Any, target_ids: Names, groups: Names, tags: Names, everything: bool, **options: Any
        ) -> None:
            selection = Selection(target_ids, groups, tags, required)
            if target_ids and (groups or tags):
                raise click.UsageError(NOT_BOTH)
            if "" in target_ids:
                raise click.UsageError(EMPTY_ID)
            if everything and selection:
                raise click.UsageError("--all selects all targets: leave out the ids, --group and --tag.")
            if required and not selection and not everything:
                raise click.UsageError("Name targets by their ids, or choose them with --group or --tag, or --all.")
            command(*positional, selection=selection, **options)

        for option in (
            click.option("--all", "everything", is_flag=True, hidden=not required, help="All targets."),
            click.option("--tag", "tags", multiple=True, metavar="NAME", shell_complete=completion.tags, help=TAG),
            click.option(
                "--group", "groups", multiple=True, metavar="NAME", shell_complete=completion.groups, help=GROUP
            ),
            click.argument(
                "target_ids", nargs=-1, metavar="ID..." if required else "[ID]...", shell_complete=completion.ids
            ),
        ):
            selected = option(selected)
        return selected

    return decorate
