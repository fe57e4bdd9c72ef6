"""`popwatch targets import`, `convert`, `export` and `check`: targets in files."""

import dataclasses
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import click

from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.text import counted, natural_order
from popwatch_cli.commands.before_writing import (
    confirm,
    warn_of_credentials,
    warn_of_ineffective_fields,
    warn_of_parents,
    warn_of_parents_of_file,
    warn_of_unknown_fields,
    with_parents,
)
from popwatch_cli.errors import UserError
from popwatch_cli.files.entries import FileEntry, FileError, UnreadableFileError
from popwatch_cli.files.target_files import read_all_entries, read_entries, serialize, write_entries
from popwatch_cli.importers.monitors import INSTEAD, MONITORS, likely_monitor, read_monitor_files
from popwatch_cli.installation import find
from popwatch_cli.options import Choice
from popwatch_cli.output.terminal import say
from popwatch_cli.target_items import (
    all_mistakes,
    broken_by_defaults,
    compare,
    interventions_in,
    known_id,
    typed_item,
    with_interventions_of,
    without_intervention_fields,
    without_temporary,
)

WRONG_CODE = 2
"""The exit code of `check` if it has found a mistake."""

READ = "docs/migrating.md says what is read."

FILE = click.Path(dir_okay=False, path_type=Path)
PATHS = click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
MONITOR = click.option(
    "--from", "monitor", type=Choice(MONITORS, INSTEAD), help="The files are another monitor's configuration."
)
MODULES = click.option("--modules", type=FILE, help="With --from blackbox: the blackbox.yml that defines the modules.")


@click.command("import")
@PATHS
@click.option("--replace", is_flag=True, help="Also remove targets that are not in the files.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@MONITOR
@MODULES
@click.pass_obj
def import_targets(
    choice: Any, *, files: tuple[Path, ...], replace: bool, yes: bool, monitor: str | None, modules: Path | None
) -> None:
    """Write the targets of files (.yaml, .csv, .json), after showing what will change.

    Each target in a file replaces the one with the same id; fields not in the file are removed, but not a silence or
    an acknowledgement: those are left alone. If any field of a target that changes is wrong, nothing is written. With
    --from, what cannot be imported from another monitor's files is listed with line numbers, and folders of Nagios may
    be given, too.

    \b
    Examples:
      popwatch targets import targets.yaml
      popwatch targets import targets.csv --replace --yes
      popwatch targets import --from nagios services.cfg
      popwatch targets import --from nagios /etc/nagios/nagios.cfg
      popwatch targets import --from blackbox prometheus.yml --modules blackbox.yml
    """
    read = _entries_of(files, monitor, modules)
    for warning in interventions_in(read):
        say(warning, err=True)
    installation = find(choice)
    table = installation.target_table
    items = without_temporary(table.read())
    entries = [_with_known_id(entry, items) for entry in read]
    if not entries:
        say("There are no targets in the files.", err=True)
    has_targets = any(entry.fields["target_id"] != DEFAULTS_ID for entry in entries)
    if replace and items and not has_targets:  # more likely a program that failed than what the user wants
        raise UserError(
            "There are no targets in the files, and --replace would remove all: `popwatch targets remove --all` does "
            "that. Nothing was written."
        )
    warn_of_unknown_fields(entry.fields for entry in entries)
    kept = {} if replace else items
    wanted = {str(entry.fields["target_id"]): typed_item(entry.fields) for entry in entries}
    before, after = items.get(DEFAULTS_ID, {}), wanted.get(DEFAULTS_ID) or kept.get(DEFAULTS_ID, {})
    # What stays as it is may have a mistake that the table has already: what `export` wrote is read again.
    same = {
        name
        for name in wanted.keys() & items.keys()
        if not compare({name: items[name]}, {name: wanted[name]}, replace=False)
    }
    mistakes = all_mistakes([it for it in entries if it.fields["target_id"] not in same - {DEFAULTS_ID}], after)
    if before != after:
        mistakes += broken_by_defaults({name: items[name] for name in {*kept} - wanted.keys() | same}, before, after)
    if mistakes:
        raise FileError([*mistakes, "Nothing was written."])
    if any("depends_on" in item for item in wanted.values()):
        wanted = with_parents(wanted, {**kept, **wanted})
        warn_of_parents({**kept, **wanted}, wanted.keys())
    warn_of_credentials(installation, (item for name, item in wanted.items() if name not in same))
    warn_of_ineffective_fields(wanted.values(), after)
    change = compare(items, wanted, replace=replace, cut=sys.stdout.isatty())
    for line in change.lines:
        say(line)
    if not change:
        say("Nothing to change.")
        return
    if not yes and not confirm():
        raise UserError("Nothing was written.")
    # Read again: someone may have silenced a target while the question was open.
    table.write(with_interventions_of(table.read(), change.put), change.delete)
    say(f"Written: {len(change.put)}. Removed: {len(change.delete)}.")


@click.command()
@PATHS
@MONITOR
@MODULES
@click.option("-o", "--output", type=FILE, help="Write into this file (.yaml, .csv, .json) instead of printing YAML.")
def convert(files: tuple[Path, ...], monitor: str | None, modules: Path | None, output: Path | None) -> None:
    """Print the targets of files as YAML; no stack is needed.

    What cannot be imported from another monitor's files is listed on the standard error, with line numbers.

    \b
    Examples:
      popwatch targets convert --from nagios /etc/nagios/conf.d > targets.yaml
      popwatch targets convert targets.csv -o targets.yaml
    """
    items = [typed_item(without_intervention_fields(entry.fields)) for entry in _entries_of(files, monitor, modules)]
    if output is None or str(output) == "-":
        click.echo(serialize("yaml", items), nl=False)
    else:
        write_entries(output, items)
        say(f"{counted(len(items), 'item')} written to {output}.")


@click.command("export", short_help="Write all targets into a file, or print them as YAML.")
@click.argument("file", type=FILE, required=False)
@click.pass_obj
def export_targets(choice: Any, file: Path | None) -> None:
    """Write all targets into a file (.yaml, .csv, .json) that `import` can read; without FILE print them as YAML.

    Silences and acknowledgements are left out: they are not configuration.

    \b
    Examples:
      popwatch targets export targets.yaml
    """
    items = without_temporary(find(choice).target_table.read())
    exported = [without_intervention_fields(items[name]) for name in sorted(items, key=natural_order)]
    if file is None or str(file) == "-":
        click.echo(serialize("yaml", exported), nl=False)
        return
    write_entries(file, exported)
    say(f"{counted(len(items), 'item')} written to {file}.")


@click.command()
@click.argument("file", type=FILE, required=False)
@click.pass_obj
def check(choice: Any, file: Path | None) -> None:
    """Check the targets of a file, or of the stack: all fields and alert texts.

    Exit code 2 if any is wrong, or the file is not one of targets; 3 if it cannot be read.

    \b
    Examples:
      popwatch targets check targets.yaml
      popwatch --stack popwatch targets check
    """
    entries: Sequence[FileEntry]
    if file:
        entries = _checked_entries(file)
    else:
        items = without_temporary(find(choice).target_table.read())
        entries = [FileEntry(0, item) for item in items.values()]
    warn_of_unknown_fields(entry.fields for entry in entries)
    found = all_mistakes(entries, {})
    defaults = next((entry.fields for entry in entries if entry.fields["target_id"] == DEFAULTS_ID), {})
    warn_of_ineffective_fields([entry.fields for entry in entries], defaults)
    by_id = {str(entry.fields["target_id"]): dict(entry.fields) for entry in entries}
    if file:
        warn_of_parents_of_file(by_id)
    else:
        warn_of_parents(by_id, by_id)
    for mistake in found:
        say(click.style(mistake, fg="red"))
    if not entries:
        say("There are no targets to check.", err=True)
    say(f"{counted(len(entries), 'item')}, {counted(len(found), 'mistake')}.")
    sys.exit(WRONG_CODE if found else 0)


def _checked_entries(file: Path) -> Sequence[FileEntry]:
    """The entries of a file; ends with the code for mistakes if it has others than those of fields."""
    try:
        return read_entries(file)
    except UnreadableFileError:
        raise
    except FileError as error:
        for mistake in error.mistakes:
            say(click.style(mistake, fg="red"))
        say(f"{counted(len(error.mistakes), 'mistake')}.")
        sys.exit(WRONG_CODE)


def _entries_of(files: Sequence[Path], monitor: str | None, modules: Path | None) -> Sequence[FileEntry]:
    """The entries of popwatch's files, or of another monitor's after listing what is not imported from them."""
    if modules is not None and monitor != "blackbox":
        raise UserError("--modules has no effect without --from blackbox: leave it out.")
    if monitor is None:
        return read_all_entries(files)
    hint = _other_monitor(files, monitor)
    try:
        imported = read_monitor_files(files, monitor, modules)
    except UnreadableFileError:
        raise
    except FileError as error:
        raise FileError([*error.mistakes, *filter(None, [hint])]) from None
    for warning in imported.warnings:
        say(warning, err=True)
    if not imported.entries:
        raise UserError(f"{', '.join(map(str, files))}: no POP3 server to import. {hint or READ}")
    return imported.entries


def _other_monitor(files: Sequence[Path], monitor: str) -> str:
    """Which other monitor is meant, if the names of the files say so; otherwise ""."""
    given = "blackbox" if monitor == "blackbox" else "nagios"
    likely = {likely_monitor(file) for file in files}
    return f"Did you mean `--from {likely.pop()}`?" if len(likely) == 1 and likely.isdisjoint({given, ""}) else ""


def _with_known_id(entry: FileEntry, known: Collection[str]) -> FileEntry:
    """The configuration of an entry of a file, under the id that the table has for it, if it has one."""
    fields = without_intervention_fields(entry.fields)
    return dataclasses.replace(entry, fields={**fields, "target_id": known_id(str(fields["target_id"]), known)})
