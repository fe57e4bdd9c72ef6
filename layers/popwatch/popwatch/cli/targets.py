"""`popwatch targets`: list, show, put, remove, import, export and check the targets of a stack."""

import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from popwatch.cli.errors import UserError
from popwatch.cli.files import Entry, FileError, read_entries, write_entries
from popwatch.cli.installation import Installation, find_local, find_stack
from popwatch.targets import DEFAULTS_ID, FIELDS, FIELDS_BY_NAME, Target, parse_target
from popwatch.tokens import place, template_fault

FILE = click.Path(dir_okay=False, path_type=Path)
Item = dict[str, Any]


@click.group()
def targets() -> None:
    """The servers that a stack watches: items of its Targets table."""


@targets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print each item as a line of JSON.")
@click.pass_obj
def list_targets(choice: Any, as_json: bool) -> None:
    """List all targets, by id."""
    items = find(choice).target_table.read()
    if as_json:
        for name in sorted(items):
            click.echo(json.dumps(items[name]))
        return
    defaults = items.pop(DEFAULTS_ID, {})
    if not items:
        click.echo("There are no targets yet: popwatch targets put mail-berlin host=pop.example.net")
    rows = [_row(parse_target(items[name], _own(defaults))) for name in sorted(items)]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@targets.command()
@click.argument("target_id")
@click.option("--json", "as_json", is_flag=True, help="Print the item as it is written, as JSON.")
@click.pass_obj
def show(choice: Any, target_id: str, as_json: bool) -> None:
    """Show a target: every field, and where its value comes from."""
    table = find(choice).target_table
    item = table.get(target_id)
    if item is None:
        raise UserError(f"There is no target {target_id}. {_similar(target_id, table.read())}")
    if as_json:
        click.echo(json.dumps(item))
        return
    defaults = table.get(DEFAULTS_ID) or {}
    for field in FIELDS:
        value, origin = _effective(field.name, item, defaults)
        click.echo(f"{field.name:<20}{value:<40}{origin}".rstrip())
    for mistake in mistakes_of(item, defaults):
        click.secho(mistake, fg="red", err=True)


@targets.command()
@click.argument("target_id")
@click.argument("assignments", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.pass_obj
def put(choice: Any, target_id: str, assignments: tuple[str, ...]) -> None:
    """Add a target, or change fields of one; FIELD= takes a field out.

    \b
    Examples:
      popwatch targets put mail-berlin host=pop.example.net tls=implicit
      popwatch targets put mail-berlin failures_per_alert=2 'tags=["berlin"]'
      popwatch targets put _defaults delay_up=300
    """
    table = find(choice).target_table
    item: Item = {**(table.get(target_id) or {}), "target_id": target_id}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UserError(f"{assignment} is no assignment: write FIELD=VALUE, such as host=pop.example.net.")
        item.pop(name, None)
        if value:
            item[name] = typed(name, _value(value))
    defaults = {} if target_id == DEFAULTS_ID else table.get(DEFAULTS_ID) or {}
    found = mistakes_of(item, defaults)
    if found:
        raise UserError("\n".join([*found, "Nothing was written."]))
    _warn_of_unknown_fields([item])
    table.write([item])
    click.echo(f"{target_id} is written; the next sweep sees it.")


@targets.command()
@click.argument("target_ids", nargs=-1, required=True)
@click.pass_obj
def remove(choice: Any, target_ids: tuple[str, ...]) -> None:
    """Remove targets. Their state is forgotten at the next sweep; their history stays until it expires."""
    table = find(choice).target_table
    items = table.read()
    missing = [name for name in target_ids if name not in items]
    if missing:
        raise UserError(f"There is no target {missing[0]}. {_similar(missing[0], items)} Nothing was removed.")
    table.write([], target_ids)
    click.echo(f"Removed: {', '.join(target_ids)}.")


@targets.command("import")
@click.argument("file", type=FILE)
@click.option("--replace", is_flag=True, help="Also remove the targets that the file does not have.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@click.pass_obj
def import_targets(choice: Any, file: Path, replace: bool, yes: bool) -> None:
    """Write the targets of a file (.yaml, .csv, .jsonl), after showing what will change.

    A target of the file replaces the one of its id, whole. If any field is wrong, nothing is written.
    """
    entries = read_entries(file)
    table = find(choice).target_table
    there = table.read()
    _refuse_mistakes(entries, _own(there.get(DEFAULTS_ID, {})))
    wanted = {str(entry.fields["target_id"]): typed_item(entry.fields) for entry in entries}
    _warn_of_unknown_fields(wanted.values())
    change = compare(there, wanted, replace=replace)
    for line in change.lines:
        click.echo(line)
    if not change:
        click.echo("Nothing to change.")
        return
    if not yes and not _confirm():
        raise UserError("Nothing was written.")
    table.write(change.put, change.delete)
    click.echo(f"Written: {len(change.put)}. Removed: {len(change.delete)}.")


@targets.command("export")
@click.argument("file", type=FILE)
@click.pass_obj
def export_targets(choice: Any, file: Path) -> None:
    """Write all targets into a file (.yaml, .csv, .jsonl) that `import` reads again."""
    items = find(choice).target_table.read()
    write_entries(file, [items[name] for name in sorted(items)])
    click.echo(f"{len(items)} items are in {file}.")


@targets.command()
@click.argument("file", type=FILE, required=False)
@click.pass_obj
def check(choice: Any, file: Path | None) -> None:
    """Check the targets of a file, or of the stack: every field, every alert text. Exit code 2 if any is wrong."""
    items = {} if file else find(choice).target_table.read()
    entries = read_entries(file) if file else [Entry(0, item) for item in items.values()]
    _warn_of_unknown_fields(entry.fields for entry in entries)
    found = _all_mistakes(entries, {})
    for mistake in found:
        click.secho(mistake, fg="red")
    click.echo(f"{len(entries)} items, {len(found)} mistakes.")
    sys.exit(2 if found else 0)


def find(choice: Any) -> Installation:
    """The stack that the options of the command name. Raises UserError."""
    return find_local() if choice.local else find_stack(choice.stack)


@dataclass(frozen=True, slots=True)
class Change:
    """What an import would do, and how it is shown."""

    put: list[Item]
    delete: list[str]
    lines: list[str]

    def __bool__(self) -> bool:
        return bool(self.put or self.delete)


def compare(there: Mapping[str, Item], wanted: Mapping[str, Item], *, replace: bool) -> Change:
    """The difference between the table and a file."""
    lines: list[str] = []
    for name, item in wanted.items():
        if name not in there:
            lines.append(f"+ {name}  {item.get('host', '')}".rstrip())
        elif there[name] != item:
            lines.append(f"~ {name}  {', '.join(_field_changes(there[name], item))}")
    delete = sorted(name for name in there if name not in wanted) if replace else []
    lines += [f"- {name}" for name in delete]
    return Change([item for name, item in wanted.items() if there.get(name) != item], delete, lines)


def mistakes_of(item: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """What is wrong with an item, as sentences; the item `_defaults` is checked as the fields of any target."""
    if item["target_id"] == DEFAULTS_ID:
        target = parse_target({"target_id": "any", "host": "any.example"}, _own(item))
    else:
        target = parse_target(item, _own(defaults))
    faults = ((field, template_fault(str(item.get(field) or ""))) for field in ("subject", "email", "sms"))
    return [problem.explanation for problem in target.problems] + [
        f"The field `{field}` cannot be used: {fault}; docs/alerts.md lists the tokens."
        for field, fault in faults
        if fault
    ]


def typed(name: str, value: Any) -> Any:
    """A number or a truth that was written as a text, as what it is; anything else as it is."""
    field = FIELDS_BY_NAME.get(name)
    if field is None or field.kind not in ("number", "truth"):
        return value
    try:
        return field.parse(value)
    except ValueError:
        return value


def typed_item(fields: Mapping[str, Any]) -> Item:
    """An item to write: typed, without empty fields."""
    return {name: typed(name, value) for name, value in fields.items() if value not in (None, "")}


def _value(text: str) -> Any:
    """A value from the command line: JSON where it is a list, a map, a number or a truth, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _own(item: Mapping[str, Any]) -> Item:
    return {name: value for name, value in item.items() if name != "target_id"}


def _row(target: Target) -> tuple[str, str, str, str]:
    wrong = f"wrong: {', '.join(problem.field for problem in target.problems)}" if target.problems else ""
    off = "" if target.policy.enabled else "suspended"
    return (
        target.target_id,
        place(target),
        target.tls.value,
        ", ".join(part for part in (target.group, off, wrong) if part),
    )


def _effective(name: str, item: Item, defaults: Item) -> tuple[str, str]:
    if name in item:
        return _shown(item[name]), ""
    if name in defaults:
        return _shown(defaults[name]), f"from {DEFAULTS_ID}"
    return FIELDS_BY_NAME[name].default, "default"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def _similar(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {close[0]}?" if close else "`popwatch targets list` shows those that there are."


def _refuse_mistakes(entries: list[Entry], defaults: Item) -> None:
    found = _all_mistakes(entries, defaults)
    if found:
        raise FileError([*found, "Nothing was written."])


def _all_mistakes(entries: list[Entry], defaults: Item) -> list[str]:
    own = next((entry.fields for entry in entries if entry.fields["target_id"] == DEFAULTS_ID), defaults)
    return [
        f"{f'Line {entry.line}, ' if entry.line else ''}{entry.fields['target_id']}: {mistake}"
        for entry in entries
        for mistake in mistakes_of(entry.fields, own)
    ]


def _warn_of_unknown_fields(items: Iterable[Mapping[str, Any]]) -> None:
    for item in items:
        for name in item:
            if name not in FIELDS_BY_NAME:
                close = difflib.get_close_matches(name, list(FIELDS_BY_NAME), n=1)
                hint = f" Did you mean `{close[0]}`?" if close else ""
                click.echo(
                    f"{item['target_id']}: popwatch knows no field `{name}`; it is kept, and does nothing.{hint}",
                    err=True,
                )


def _field_changes(before: Item, after: Item) -> list[str]:
    names = [*after, *(name for name in before if name not in after)]
    return [
        f"{name}: {_shown(before.get(name, 'nothing'))} -> {_shown(after.get(name, 'nothing'))}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _confirm() -> bool:
    if not sys.stdin.isatty():
        raise UserError("There is no terminal to ask on: add --yes to write. Nothing was written.")
    return click.confirm("Write this?")
