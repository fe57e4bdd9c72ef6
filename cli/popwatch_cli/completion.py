"""What may be typed next: ids, groups and tags of the stack that the words before it name, fields and their values."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from zoneinfo import available_timezones

import click
from click.shell_completion import CompletionItem

from popwatch.model.fields import DEFAULTS_ID, FIELDS, FIELDS_BY_NAME
from popwatch.model.text import natural_order
from popwatch_cli.known_names import KnownNames, known_names
from popwatch_cli.options import StackChoice

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""What click takes as `shell_complete` of a parameter."""


def _names(context: click.Context) -> KnownNames:
    return known_names(context.obj if isinstance(context.obj, StackChoice) else StackChoice())


def ids(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The targets that have not been typed yet."""
    typed = context.params.get(str(parameter.name)) or ()
    return _items((name for name in _names(context).ids if name not in typed), begun)


def groups(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The groups of the targets."""
    return _items(_names(context).groups, begun)


def tags(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The tags of the targets."""
    return _items(_names(context).tags, begun)


def servers(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The targets, if the words before name a stack: otherwise they are servers, of which none is known."""
    named = isinstance(context.obj, StackChoice) and context.obj.in_use
    return ids(context, parameter, begun) if named else []


def assignments(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Fields with a `=`, and after it the values that a field has. The id of a target stays as it is."""
    return assignments_of(FIELDS_BY_NAME)(context, parameter, begun)


def assignments_of(names: Collection[str]) -> Complete:
    """The same for some of the fields."""

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
        name, equals, value = begun.partition("=")
        if not equals:
            return _items((f"{it.name}=" for it in FIELDS if it.name in names and it.name != "target_id"), begun)
        values = _values(context, name) if name in names else ()
        return [CompletionItem(f"{name}={item.value}") for item in _items(values, value)]

    return complete


def ids_and_assignments(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """At first a target, then targets and assignments."""
    typed: Sequence[str] = context.params.get(str(parameter.name)) or ()
    chosen = typed or context.params.get("groups") or context.params.get("tags")
    found = [] if "=" in begun or any("=" in word for word in typed) else ids(context, parameter, begun)
    return [*found, *(assignments(context, parameter, begun) if chosen else [])]


def _values(context: click.Context, name: str) -> Iterable[str]:
    field = FIELDS_BY_NAME.get(name)
    if name == "group":
        return _names(context).groups
    if name == "depends_on":
        typed = _typed_ids(context)
        return [target_id for target_id in _names(context).ids if target_id not in typed]
    if name == "maintenance":
        return _schedules(_names(context).schedules, _typed_ids(context))
    if name == "timezone":
        return available_timezones()
    return field.range.split(", ") if field and field.kind in ("enumeration", "boolean") else ()


def _typed_ids(context: click.Context) -> list[str]:
    """The targets that have been typed: ids in `put`, and in the commands that choose targets."""
    words: Iterable[str] = context.params.get("words") or context.params.get("target_ids") or ()
    return [word for word in words if "=" not in word]


def _schedules(known: Mapping[str, Sequence[str]], ids: Iterable[str]) -> list[str]:
    """The schedules that each of these targets can name; none if it is not known which targets are meant."""
    usable = [set(known.get(target_id, known.get(DEFAULTS_ID, ()))) for target_id in ids]
    return [*set.intersection(*usable)] if usable else []


def _items(names: Iterable[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(names, key=natural_order) if name.startswith(begun)]
