"""docs/targets.md and docs/command.md match the code, and every command in the docs exists.

With POPWATCH_REWRITE_DOCS=1 in the environment the reference in docs/command.md is rewritten instead.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from popwatch.model.fields import DEFAULTS_ID, FIELDS, Field
from popwatch.model.outcomes import Outcome, Phase
from popwatch.model.targets import parse_target
from popwatch_cli.main import cli
from popwatch_cli.output import outcome
from tests.examples import START, target

DOCS = Path(__file__).parents[2] / "docs"
PROJECT = DOCS.parent
TARGETS, COMMAND = (DOCS / "targets.md").read_text(), (DOCS / "command.md").read_text()


def test_every_field_is_documented_as_it_is() -> None:
    """The table lists exactly the fields of the code, in their order and with their texts."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*?) \| (.*?) \| (.*?) \| `(.*?)` \| (.*?) \|$", TARGETS, re.MULTILINE)
    assert rows == [(f.name, f.kind, f.default, f.range, f.example, f.meaning) for f in FIELDS]


@pytest.mark.parametrize(
    "field", [f for f in FIELDS if f.example != "-----BEGIN CERTIFICATE-----..."], ids=lambda f: f.name
)
def test_every_example_is_taken(field: Field) -> None:
    """The example of each field is a valid value."""
    name, example = field.name, field.example
    item = {
        "target_id": "t",
        "host": "pop.example.net",
        **({"tls": "implicit"} if name == "login" else {}),
        name: yaml.safe_load(example) if field.kind.startswith(("list", "string or list", "map")) else example,
    }
    assert parse_target(item).problems == ()


@pytest.mark.parametrize("recipe", re.findall(r"(?:^    (?:- target_id|  ).*\n)+", TARGETS, re.MULTILINE))
def test_every_recipe_is_taken(recipe: str) -> None:
    """The recipes are valid, apart from the certificate authority that is left out."""
    items = yaml.safe_load(recipe)
    defaults = items.pop(0) if items[0]["target_id"] == DEFAULTS_ID else {}
    for item in items:
        item.pop("ca_pem", None)
        parsed = parse_target(item, {name: value for name, value in defaults.items() if name != "target_id"})
        assert parsed.problems == (), parsed.problems
        assert parsed.unknown_fields == ()


def options(command: click.Command) -> set[str]:
    """The name of each option as the doc lists it: the long one, or the only one."""
    shown = [option for option in command.params if not getattr(option, "hidden", False)]
    names = [[name for name in option.opts if name.startswith("-")] for option in shown]
    return {next((name for name in found if name.startswith("--")), found[0]) for found in names if found}


def commands() -> dict[str, click.Command]:
    context = click.Context(cli, **cli.context_settings)
    return {name: command for name in cli.list_commands(context) if (command := cli.get_command(context, name))}


def test_options_of_popwatch_and_test_are_documented() -> None:
    """Every option is in a table of the doc, and every option in a table exists."""
    documented = set(re.findall(r"^\| `(--?[a-z0-9-]+)`", COMMAND, re.MULTILINE))
    assert documented == options(cli) | options(commands()["test"])


def test_commands_of_targets_are_documented() -> None:
    """Exactly the commands that exist, with all their options."""
    group = commands()["targets"]
    assert isinstance(group, click.Group)
    rows = dict(re.findall(r"^\| `popwatch targets ([a-z]+)[^`]*` \| (.*) \|$", COMMAND, re.MULTILINE))
    assert set(rows) == set(group.commands)
    for name, command in group.commands.items():
        assert set(re.findall(r"`(--[a-z]+)`", rows[name])) == options(command)


def test_names_of_an_outcome_are_documented() -> None:
    """The table lists exactly the names in the JSON of an outcome."""
    documented = re.findall(r"^\| `([a-z_]+)` \|", COMMAND, re.MULTILINE)
    assert set(documented) == set(outcome.to_json(target(), Outcome(START, Phase.DNS)))


REFERENCE = "## Every command and option\n"


def all_commands(command: click.Command, path: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A context for each command by name, without the groups themselves."""
    context = click.Context(command, info_name=path, parent=parent, **command.context_settings)
    if not isinstance(command, click.Group):
        yield context
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from all_commands(found, name, context)


def described(context: click.Context) -> str:
    """A command's part of the reference: its usage, help text and options."""
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)[1:]])
    help_text = (command.help or "").partition("\b")[0]
    paragraphs = [" ".join(paragraph.split()) for paragraph in help_text.strip().split("\n\n")]
    rows = [option.get_help_record(context) for option in command.params if isinstance(option, click.Option)]
    options = [f"- `{names}`: {what}" if what else f"- `{names}`" for names, what in filter(None, rows)]
    listed = ["\n".join(options)] if options else []
    return "\n\n".join([f"### {context.command_path}", f"    {usage}", *paragraphs, *listed])


def reference() -> str:
    """The reference at the end of docs/command.md."""
    intro = "Generated from the commands; `--help` shows the same, with examples."
    return "\n\n".join([REFERENCE.strip(), intro, *map(described, all_commands(cli, "popwatch"))]) + "\n"


def test_every_command_and_option_is_in_the_reference() -> None:
    """The last section of docs/command.md matches the commands' help texts."""
    before, heading, written = COMMAND.partition(REFERENCE)
    if os.environ.get("POPWATCH_REWRITE_DOCS"):
        (DOCS / "command.md").write_text(before + reference())
        return
    assert heading + written == reference()


def commands_shown() -> Iterator[tuple[str, str]]:
    """Each line of a page that calls popwatch, and the page."""
    for page in (*sorted(DOCS.glob("*.md")), PROJECT / "README.md"):
        for line in page.read_text().split("\n"):
            found = re.match(r"^    (?:\$ )?(?:\.venv/bin/)?popwatch ((?!\[).*)$", line)
            if found and not re.search(r"ID|NAME|\{", found[1]):
                yield page.name, found[1].partition(" | ")[0].partition(" > ")[0]


@pytest.mark.parametrize(("page", "line"), sorted(set(commands_shown())))
def test_commands_in_the_docs_are_taken(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command on a page is accepted with its options and arguments."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    for word in words:
        if word.endswith((".pem", ".jsonl")):
            (tmp_path / word).touch()
    command: click.Command = cli
    context = command.make_context("popwatch", words)
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context.protected_args, *context.args])
        assert found is not None, f"{page}: {line}"
        context = found.make_context(name, rest, parent=context)
        command = found
    context.close()  # with the files that it has opened
