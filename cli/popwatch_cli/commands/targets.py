"""`popwatch targets`: list, show, put and remove the targets of a stack; `target_files` has the commands for files."""

import json
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

import click

from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.fields import DEFAULTS_ID, FIELDS, FIELDS_BY_NAME
from popwatch.model.targets import Item, Target, endpoint, parse_target
from popwatch.model.text import clean_whole, counted, did_you_mean, duration, natural_order
from popwatch_cli import completion
from popwatch_cli.command_tree import CommandGroup
from popwatch_cli.commands.before_writing import (
    confirm,
    warn_of_credentials,
    warn_of_ineffective_fields,
    warn_of_parents,
    warn_of_unknown_fields,
    with_parents,
)
from popwatch_cli.commands.target_files import check, convert, export_targets, import_targets
from popwatch_cli.errors import UserError
from popwatch_cli.files.certificates import read_certificates
from popwatch_cli.files.target_files import CA_FILE
from popwatch_cli.installation import find
from popwatch_cli.output.columns import listed
from popwatch_cli.output.terminal import console, line_width, say, wrapped
from popwatch_cli.selection import EMPTY_ID, GROUP, NOT_BOTH, TAG, Selection, selecting
from popwatch_cli.suggestions import field_hint
from popwatch_cli.target_items import (
    assigned,
    broken_by_defaults,
    changes_of,
    effective,
    known_id,
    missing_target,
    mistakes_of,
    refuse_repeated_fields,
    shown,
    shown_id,
    targets_of,
    whole,
    without_id,
    without_temporary,
)
from popwatch_cli.target_table import TargetTable

ADDRESSES = {"email": re.compile(r"[^@\s]+@[^@\s]+"), "sms": re.compile(r"\+?[\d ()/-]{6,}")}
"""Values that people mean as receivers, of fields that are texts."""

MAX_ON_A_LINE = 10
"""Targets of which a sentence names each."""

NAME_WIDTH, ORIGIN_WIDTH = 22, 15
"""Characters of a field's name, and of ` from _defaults`, in `targets show`."""

UNKNOWN = "unknown field"
"""What stands beside a field of an item that popwatch does not know."""

NEVER = "No alerts are ever sent: max_alerts is 0."


class TargetsGroup(CommandGroup):
    """The commands of `popwatch targets`, also by the names that other programs have for them."""

    aliases: ClassVar[Mapping[str, str]] = {
        "add": "put",
        "set": "put",
        "ls": "list",
        "rm": "remove",
        "delete": "remove",
        "get": "show",
    }
    suggestions: ClassVar[Mapping[str, str]] = {
        "count": "popwatch targets list",
        "copy": "popwatch targets export FILE",
        "cp": "popwatch targets export FILE",
        "disable": "popwatch suspend",
        "edit": "popwatch targets put ID FIELD=VALUE",
        "enable": "popwatch resume",
        "find": "popwatch targets list --group",
        "mv": "popwatch targets put",
        "search": "popwatch targets list --group",
        "rename": "popwatch targets put",
        "help": "popwatch targets --help",
        "update": "popwatch targets put ID FIELD=VALUE",
        "load": "popwatch targets import FILE",
        "test": "popwatch test",
        "validate": "popwatch targets check FILE",
    }


@click.group(cls=TargetsGroup)
def targets() -> None:
    """The servers that a stack watches: items of its Targets table.

    \b
    Examples:
      popwatch targets put mail-berlin host=pop.example.net tls=implicit
      popwatch targets import targets.yaml
      popwatch --local targets list
    """


for _command in (import_targets, convert, export_targets, check):
    targets.add_command(_command)


@targets.command("list")
@selecting()
@click.option("--json", "as_json", is_flag=True, help="Print each item as a line of JSON.")
@click.pass_obj
def list_targets(choice: Any, *, selection: Selection, as_json: bool) -> None:
    """List all targets by id, or those that are chosen.

    \b
    Examples:
      popwatch targets list
      popwatch targets list --json | jq -r .host
    """
    items = find(choice).target_table.read()
    shown_items = items if selection.ids else without_temporary(items)
    present = targets_of(shown_items, datetime.now(UTC))
    found = selection.of(present) if selection else present
    if as_json:
        for name in sorted(
            [*found, *([DEFAULTS_ID] if DEFAULTS_ID in items and not selection else [])], key=natural_order
        ):
            click.echo(json.dumps(items[name]))
        return
    if not found:
        say("There are no targets yet: `popwatch targets put mail-berlin host=pop.example.net`")
    rows = [_row(found[name]) for name in sorted(found, key=natural_order)]
    for line in listed(rows, line_width()):
        click.echo(line)


@targets.command()
@selecting(required=True)
@click.option("--json", "as_json", is_flag=True, help="Print each item as stored, as a line of JSON.")
@click.pass_obj
def show(choice: Any, *, selection: Selection, as_json: bool) -> None:
    """Show targets: every field, and where its value comes from; also fields that popwatch does not know.

    \b
    Examples:
      popwatch targets show mail-berlin
      popwatch targets show --group customers
      popwatch targets show _defaults --json
    """
    table = find(choice).target_table
    items = _items_of(table, selection)
    defaults = table.get(DEFAULTS_ID) or {}
    for place, (target_id, item) in enumerate(items.items()):
        if as_json:
            click.echo(json.dumps(item))
        else:
            if place:
                click.echo()
            _show(target_id, item, defaults)


def _items_of(table: TargetTable, selection: Selection) -> dict[str, Item]:
    """The items of the targets that are meant, of `_defaults` only by its id. Raises UserError."""
    if not selection.ids:
        known = table.read()
        return {name: known[name] for name in sorted(selection.of(targets_of(known)), key=natural_order)}
    found = {target_id: table.get(target_id) for target_id in _known_ids(selection.ids, table)}
    missing = [name for name, item in found.items() if item is None]
    if missing:
        known = table.read()
        raise UserError("\n".join(missing_target(name, known) for name in missing))
    return {name: item for name, item in found.items() if item}


def field_line(name: str, value: str, origin: str, width: int) -> str:
    """A field, its value and where that comes from, in columns; what has no room in `width` goes on below."""
    room = max(1, min(40, width - NAME_WIDTH - ORIGIN_WIDTH))
    return wrapped(f"{name:<{NAME_WIDTH - 1}} {value:<{room}} {origin}".rstrip(), width)


def _show(target_id: str, item: Item, defaults: Item) -> None:
    """Print every field of an item, when its first alert would come, and what is wrong with it."""
    width = console().width
    for field in FIELDS:
        value, origin = effective(field.name, item, defaults)
        if field.name == "ca_pem" and sys.stdout.isatty():
            value = shown(value)
        click.echo(field_line(field.name, value, origin, width))
    for name in sorted(item.keys() - FIELDS_BY_NAME.keys()):
        click.echo(field_line(whole(name), whole(item[name]), UNKNOWN, width))
    if target_id != DEFAULTS_ID:
        parsed = parse_target(item, without_id(defaults))
        longest = duration(longest_time_to_alert(parsed.policy, parsed.max_test_seconds))
        unless = ", unless maintenance holds it" if parsed.policy.maintenance else ""
        sentence = f"First alert at most {longest} after an outage begins{unless}."
        say(sentence if parsed.policy.max_alerts else NEVER)
    warn_of_unknown_fields([item])
    for problem in mistakes_of(item, defaults):
        say(click.style(problem.explanation, fg="red"), err=True)


@targets.command()
@click.argument("words", nargs=-1, metavar="[ID]... FIELD=VALUE...", shell_complete=completion.ids_and_assignments)
@click.option("--group", "groups", multiple=True, metavar="NAME", shell_complete=completion.groups, help=GROUP)
@click.option("--tag", "tags", multiple=True, metavar="NAME", shell_complete=completion.tags, help=TAG)
@click.option("--force", is_flag=True, help="Also set a field that popwatch does not know.")
@click.pass_obj
def put(choice: Any, words: tuple[str, ...], groups: tuple[str, ...], tags: tuple[str, ...], force: bool) -> None:
    """Add a target, or change fields of some; FIELD= removes a field. Says what has changed.

    ca_pem=@FILE takes the certificates of a file.

    \b
    Examples:
      popwatch targets put mail-berlin host=pop.example.net tls=implicit
      popwatch targets put mail-berlin failures_per_alert=2 'tags=["berlin"]'
      popwatch targets put mail-berlin mail-rome delay_up=5m
      popwatch targets put --group customers ca_pem=@ca.pem
      popwatch targets put _defaults delay_up=5m
    """
    installation = find(choice)
    table = installation.target_table
    ids = _ids_in(words, table, others=bool(groups or tags))
    changes = [change for change in map(_assignment, words[len(ids) :]) if not _is_own_id(change, ids)]
    refuse_repeated_fields((name for name, _ in changes), "Nothing was written.")
    ids = _known_ids(ids, table)
    if groups or tags or len(ids) > 1:
        items = table.read()
        known = targets_of(items)
        unknown = [name for name in ids if name not in items]
        if unknown:
            raise UserError(f"{_unknown_targets(unknown, ids, items)} Nothing was written.")
        if groups or tags:
            ids += Selection((), groups, tags).of(known)
    else:
        items = {name: item for name in (*ids, DEFAULTS_ID) if (item := table.get(name))}
    if len(ids) == 1 and ids[0] not in {*items, DEFAULTS_ID} and "host" not in dict(changes):
        _refuse_mistyped_id(ids[0], table)
    _refuse_no_changes(changes)
    wanted = {name: _changed({**items.get(name, {}), "target_id": name}, changes) for name in ids}
    made = [*_mistakes_made(items, wanted, {name for name, _ in changes})]
    if DEFAULTS_ID in wanted:
        others = {name: item for name, item in table.read().items() if name not in wanted}
        made += broken_by_defaults(others, items.get(DEFAULTS_ID, {}), wanted[DEFAULTS_ID])
    if made:
        raise UserError("\n".join([*made, "Nothing was written."]))
    unknown_fields = [name for name, value in changes if value and name not in FIELDS_BY_NAME]
    if unknown_fields and not force:
        hint = field_hint(unknown_fields[0])
        raise UserError(
            f"There is no field `{shown(unknown_fields[0])}`.{hint} docs/targets.md lists all fields; --force sets it "
            "nevertheless. Nothing was written."
        )
    warn_of_unknown_fields(wanted.values())
    if "depends_on" in dict(changes):
        everything = {**table.read(), **wanted}
        wanted = with_parents(wanted, everything)
        warn_of_parents({**everything, **wanted}, wanted.keys())
    warn_of_credentials(installation, wanted.values() if "login" in dict(changes) else ())
    lines = changes_of(items, wanted.values(), cut=sys.stdout.isatty())
    defaults = wanted.get(DEFAULTS_ID) or items.get(DEFAULTS_ID, {})
    warn_of_ineffective_fields([wanted[name] for name in lines], defaults, items)
    table.write(wanted[name] for name in lines)
    for line in lines.values():
        say(line)
    say("The next sweep applies it." if lines else "Nothing has changed: it was so before.")


def _ids_in(words: Sequence[str], table: TargetTable, *, others: bool) -> list[str]:
    """The ids before the assignments; there must be none if `others` are chosen. Raises UserError, click.UsageError."""
    by_id = () if others else words[:1]
    ids = [*by_id, *takewhile(lambda word: "=" not in word, words[len(by_id) :])]
    if "" in ids:
        raise UserError(EMPTY_ID)
    if ids and others:
        raise click.UsageError(
            f"{NOT_BOTH} To put a target into a group, write group=NAME; to give it tags, tags=NAME."
        )
    if not others:
        _refuse_no_id(words, table)
    return ids


def _refuse_no_id(words: Sequence[str], table: TargetTable) -> None:
    """Raise UserError if an assignment stands where an id belongs, with the words in their order."""
    if words and ("=" not in words[0] or table.get(words[0])):
        return
    given = [word for word in words if "=" not in word]
    given += [word.partition("=")[2] for word in words if word.partition("=")[0] in ("target_id", "id")]
    assignments = [word for word in words if "=" in word and word.partition("=")[0] not in ("target_id", "id")]
    meant = shlex.join([*(given[:1] or ["mail-berlin"]), *(assignments or ["host=pop.example.net"])])
    choice = "" if given else ", where mail-berlin stands for an id of your choice"
    before = f" before {shown(words[0])}" if words else ""
    raise UserError(
        f"There is no id{before}: write `popwatch targets put {clean_whole(meant)}`{choice}. Nothing was written."
    )


def _refuse_no_changes(changes: Collection[object]) -> None:
    if not changes:
        raise UserError("There is nothing to change: write FIELD=VALUE, such as host=pop.example.net.")


def _refuse_mistyped_id(name: str, table: TargetTable) -> None:
    """Raise UserError for an id that is like one of a target: without a host it adds none, so that one is meant."""
    items = without_temporary(table.read())
    if did_you_mean(name, items):
        raise UserError(
            f"{missing_target(name, items)} To add {shown_id(name)} write its server, too: host=pop.example.net. "
            "Nothing was written."
        )


def _known_ids(ids: Iterable[str], table: TargetTable) -> list[str]:
    """The ids as the table has them; of those that it lacks as they will be."""
    present: Item | None = None
    found = []
    for name in ids:
        if not name.isascii() and present is None:  # else there is no other form, and the table need not be read
            present = table.read()
        found.append(known_id(name, present or {}))
    return found


def _is_own_id(change: tuple[str, str], ids: Sequence[str]) -> bool:
    """Whether an assignment says nothing but the id. Raises UserError if it would change it."""
    name, value = change
    if name != "target_id" or [value.strip()] == ids:
        return name == "target_id"
    raise UserError(
        "The id of a target cannot be changed, since its history belongs to it: add a target with the new id, and "
        "remove this one. `name` is what people are shown. Nothing was written."
    )


def _unknown_targets(unknown: Sequence[str], ids: Sequence[str], items: Iterable[str]) -> str:
    """What is wrong with words that are neither an id nor an assignment, `unknown` of the words before the first."""
    name = unknown[-1]
    hint = clean_whole(did_you_mean(name, items, mark=""))
    if not hint and "." in name:
        hint = f"Did you mean {_server_fields(name)}?"
    field = next((place for place, word in enumerate(ids) if word in FIELDS_BY_NAME and word in unknown), None)
    if field is not None and field + 1 < len(ids):
        name, hint = ids[field], f"Did you mean {shown(ids[field])}={shown(ids[field + 1])}?"
    if not hint and len(unknown) == len(ids) and name not in FIELDS_BY_NAME:
        listed = f"{', '.join(map(shown_id, unknown[:-1]))} and {shown_id(name)}"
        return (
            f"{listed} are not targets yet: add one at a time, since each has a host of its own, or all of them from a "
            "file by `popwatch targets import FILE`."
        )
    hint = hint or "Write FIELD=VALUE, such as host=pop.example.net."
    return f"{shown_id(name)} is neither a target nor an assignment. {hint}"


def _server_fields(word: str) -> str:
    """The assignments for a server that is written as HOST or HOST:PORT."""
    host, colon, port = word.rpartition(":")
    if not colon or not port.isdecimal() or ":" in host:
        return f"host={shown(word)}"
    tls = " tls=implicit" if port == "995" else ""
    return f"host={shown(host)} port={port[:5]}{tls}"


def _mistakes_made(
    before: Mapping[str, Item], after: Mapping[str, Item], changed: Collection[str]
) -> Mapping[str, None]:
    """What is wrong with the changed items, without the mistakes that other fields had before.

    Otherwise one of two wrong fields could not be corrected alone, as `popwatch doctor` says to do.
    """
    defaults = before.get(DEFAULTS_ID, {})
    made: dict[str, None] = {}
    for name, item in after.items():
        present = set(mistakes_of(before[name], defaults)) if name in before else set()
        made |= {
            problem.explanation: None
            for problem in mistakes_of(item, defaults)
            if problem not in present or problem.field in changed
        }
    return made


def _dependent_on(parents: Set[str], items: Mapping[str, Item]) -> list[str]:
    """The targets that depend on one of these."""
    return [name for name, target in targets_of(items).items() if not parents.isdisjoint(target.policy.depends_on)]


def _assignment(word: str) -> tuple[str, str]:
    """The field and the value of `FIELD=VALUE`; the certificates of a file for `ca_pem=@FILE`. Raises UserError."""
    name, equals, value = word.partition("=")
    name = name.strip()
    if not equals or not name:
        raise UserError(
            f"{shown(word)} is not an assignment: write FIELD=VALUE, such as host=pop.example.net, in quotes if it has "
            "blanks."
        )
    if name in ADDRESSES and ADDRESSES[name].fullmatch(value.strip()):
        raise UserError(
            f"`{name}` is the text of an alert, not who receives it: receivers subscribe to the stack's topics "
            "(docs/alerts.md), and `popwatch receivers` shows them. Nothing was written."
        )
    if name == CA_FILE and value:
        name, value = "ca_pem", f"@{value}"
    if name == "ca_pem" and value.startswith("@"):
        if not value[1:].strip():
            raise UserError("ca_pem=@ is without a file: write ca_pem=@ca.pem. Nothing was written.")
        value = read_certificates(Path(value[1:]).expanduser())
    elif value.startswith("@") and Path(value[1:]).expanduser().is_file():
        raise UserError(
            f'`{name}` takes no file, as `ca_pem` does: write {name}="$(cat {shlex.quote(value[1:])})" for its text. '
            "Nothing was written."
        )
    return name, value


def _changed(item: Item, changes: Iterable[tuple[str, str]]) -> Item:
    for name, value in changes:
        item = assigned(item, name, value)
    return item


@targets.command()
@selecting(required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before removing what --group, --tag or --all choose.")
@click.pass_obj
def remove(choice: Any, *, selection: Selection, yes: bool) -> None:
    """Remove targets. The next sweep deletes their state; their history stays until it expires.

    Targets that --group, --tag or --all choose are listed first, with a question.

    \b
    Examples:
      popwatch targets remove mail-berlin mail-rome
      popwatch targets remove --group customers
    """
    table = find(choice).target_table
    items = table.read()
    named = [known_id(name, items) for name in selection.ids]
    missing = [name for name in named if name not in items]
    if missing:
        raise UserError("\n".join([*(missing_target(name, items) for name in missing), "Nothing was removed."]))
    chosen = named or sorted(selection.of(targets_of(items)), key=natural_order)
    if not named and not yes:
        for name in chosen:
            say(f"- {whole(name)}  {whole(items[name].get('host', ''))}".rstrip())
        if not confirm(f"Remove {counted(len(chosen), 'target')}?", "Nothing was removed."):
            raise UserError("Nothing was removed.")
    left = {name: item for name, item in items.items() if name not in chosen}
    broken = broken_by_defaults(left, items[DEFAULTS_ID], {}) if DEFAULTS_ID in chosen else []
    if broken:
        raise UserError("\n".join([*broken, "Nothing was removed."]))
    table.write([], dict.fromkeys(chosen))
    warn_of_parents(left, _dependent_on(set(chosen), left))
    if len(chosen) <= MAX_ON_A_LINE:
        say(f"Removed: {', '.join(map(whole, chosen))}.")
        return
    for name in chosen if yes or selection.ids else ():  # else they have been listed
        say(f"- {whole(name)}")
    say(f"Removed: {counted(len(chosen), 'target')}.")


def _row(target: Target) -> tuple[str, str, str, str]:
    wrong = f"wrong: {', '.join(problem.field for problem in target.problems)}" if target.problems else ""
    off = "" if target.policy.enabled else "suspended"
    return (
        whole(target.target_id),
        endpoint(target),
        target.tls.value,
        ", ".join(part for part in (target.group, off, wrong) if part),
    )
