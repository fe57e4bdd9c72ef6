"""What commands that write targets say and ask before they write."""

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import click

from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.targets import Item, Target, parse_target
from popwatch.model.text import did_you_mean
from popwatch_cli.credential_store import credential_names
from popwatch_cli.doctor.rules.targets import check_parents
from popwatch_cli.errors import UserError
from popwatch_cli.ineffective_fields import ineffective_fields
from popwatch_cli.installation import Installation
from popwatch_cli.output.terminal import say
from popwatch_cli.target_items import known_id, shown, targets_of, unknown_fields

NOT_IN_FILE = "which is not in the file: without that target it holds back no alert."
"""What a parent means that a file does not have: the stack may have it."""


def with_parents(changed: Mapping[str, Item], known: Collection[str]) -> dict[str, Item]:
    """The items with the ids of the targets that they depend on. Raises UserError for several that are one text."""
    found = dict(changed)
    for name, item in changed.items():
        parents = item.get("depends_on")
        if isinstance(parents, str):
            found[name] = {**item, "depends_on": _parent(name, parents, known)}
        elif isinstance(parents, list):
            found[name] = {**item, "depends_on": [_parent(name, str(parent), known) for parent in parents]}
    return found


def _parent(owner: str, written: str, known: Collection[str]) -> str:
    """The id of one parent, as the table has it if it does."""
    meant = known_id(written.strip(), known)
    parts = [known_id(part, known) for part in written.replace(",", " ").split()]
    if meant not in known and len(parts) > 1 and all(part in known for part in parts):
        raise UserError(
            f"{shown(owner)}: the field `depends_on` names {shown(written)}, which is not a target: write its targets "
            f"as a list, or with commas: depends_on={shown(','.join(parts))} in `put`. Nothing was written."
        )
    return meant if meant in known else written


def warn_of_parents(items: Mapping[str, Item], changed: Collection[str]) -> None:
    """Say which of the changed items are of targets that depend on one that there is not, or on themselves."""
    warn_of_parents_of_targets(targets_of(items), changed)


def warn_of_parents_of_targets(targets: Mapping[str, Target], changed: Collection[str]) -> None:
    """Say which of the changed targets depend on one that there is not, or on themselves."""
    for finding in check_parents(targets):
        if DEFAULTS_ID in changed or not set(changed).isdisjoint(finding.names):
            say(finding.what, err=True)


def warn_of_parents_of_file(items: Mapping[str, Item]) -> None:
    """Say which targets of a file depend on one that is not in it, or on themselves."""
    for finding in check_parents(targets_of(items), missing_parent=NOT_IN_FILE):
        say(finding.what, err=True)


def warn_of_credentials(installation: Installation, items: Iterable[Item]) -> None:
    """Say which logins these items name that the stack does not have."""
    named = dict.fromkeys(name for item in items if (name := parse_target(item).policy.login))
    known = credential_names(installation) if named else ()
    if known is None:
        say("AWS denies ssm:DescribeParameters, so it is not known whether the stack has that login.", err=True)
        return
    for name in named:
        if name not in known:
            to_do = "tests do not log in until it is stored"
            command = f"`popwatch credentials put {name} --user USER`"
            say(f"There is no credential {name}: {to_do}, by {command}.{did_you_mean(name, known)}", err=True)


def warn_of_unknown_fields(items: Iterable[Mapping[str, Any]]) -> None:
    """Say which fields of these items popwatch does not know."""
    for warning in unknown_fields(items):
        say(warning, err=True)


def warn_of_ineffective_fields(items: Iterable[Item], defaults: Item, before: Mapping[str, Item] | None = None) -> None:
    """Say what has no effect in these items, and had one in those before."""
    for sentence in ineffective_fields(items, defaults, before or {}):
        say(sentence, err=True)


def confirm(question: str = "Write this?", otherwise: str = "Nothing was written.") -> bool:
    """The answer to a question. Raises UserError, which ends with `otherwise`, if there is no terminal to ask it."""
    if not sys.stdin.isatty():
        raise no_terminal(otherwise)
    return click.confirm(question)


def no_terminal(otherwise: str) -> UserError:
    """The error of a question that nothing answers; `otherwise` says what was not done."""
    return UserError(f"There is no terminal to ask the question: add --yes. {otherwise}")
