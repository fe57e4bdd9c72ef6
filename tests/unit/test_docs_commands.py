"""docs/targets.md and docs/command.md keep step with the code."""

import re
from pathlib import Path

import click
import pytest
import yaml

from examples import START, target
from popwatch.cli import outcome_text
from popwatch.cli.main import cli
from popwatch.outcomes import Outcome, Phase
from popwatch.targets import FIELDS, Field, parse_target

DOCS = Path(__file__).parents[2] / "docs"
TARGETS, COMMAND = (DOCS / "targets.md").read_text(), (DOCS / "command.md").read_text()


def test_every_field_is_documented_as_it_is() -> None:
    """The table lists the fields of the code, in their order, word for word, and no other."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*?) \| (.*?) \| (.*?) \| `(.*?)` \| (.*?) \|$", TARGETS, re.MULTILINE)
    assert rows == [(f.name, f.kind, f.default, f.range, f.example, f.meaning) for f in FIELDS]


@pytest.mark.parametrize(
    "field", [f for f in FIELDS if f.example != "-----BEGIN CERTIFICATE-----..."], ids=lambda f: f.name
)
def test_every_example_is_taken(field: Field) -> None:
    """The example of each field is a value that the field takes."""
    name, example = field.name, field.example
    item = {
        "target_id": "t",
        "host": "pop.example.net",
        name: yaml.safe_load(example) if field.kind.startswith(("list", "text or list", "map")) else example,
    }
    assert parse_target(item).problems == ()


@pytest.mark.parametrize("recipe", re.findall(r"(?:^    (?:- target_id|  ).*\n)+", TARGETS, re.MULTILINE))
def test_every_recipe_is_taken(recipe: str) -> None:
    """The recipes parse, and popwatch finds nothing wrong with them but the authority that is left out."""
    for item in yaml.safe_load(recipe):
        item.pop("ca_pem", None)
        parsed = parse_target(item)
        assert parsed.problems == (), parsed.problems
        assert parsed.unknown_fields == ()


def options(command: click.Command) -> set[str]:
    """The name of each option as the doc lists it: the long one, or the only one."""
    names = [[name for name in option.opts if name.startswith("-")] for option in command.params]
    return {next((name for name in found if name.startswith("--")), found[0]) for found in names if found}


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    return {name: command for name in cli.list_commands(context) if (command := cli.get_command(context, name))}


def test_options_of_popwatch_and_test_are_documented() -> None:
    """Every option is in a table of the doc, and every option in a table exists."""
    documented = set(re.findall(r"^\| `(--?[a-z0-9-]+)`", COMMAND, re.MULTILINE))
    assert documented == options(cli) | options(commands()["test"])


def test_commands_of_targets_are_documented() -> None:
    """Every command with all its options, and no other."""
    group = commands()["targets"]
    assert isinstance(group, click.Group)
    rows = dict(re.findall(r"^\| `popwatch targets ([a-z]+)[^`]*` \| (.*) \|$", COMMAND, re.MULTILINE))
    assert set(rows) == set(group.commands)
    for name, command in group.commands.items():
        assert set(re.findall(r"`(--[a-z]+)`", rows[name])) == options(command)


def test_names_of_an_outcome_are_documented() -> None:
    """The table of names is what a program gets."""
    documented = re.findall(r"^\| `([a-z_]+)` \|", COMMAND, re.MULTILINE)
    assert set(documented) == set(outcome_text.to_json(target(), Outcome(START, Phase.DNS)))
