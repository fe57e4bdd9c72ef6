"""Secrets that someone types, or gives in a file: never an argument, which other users of a machine can read."""

import sys
from typing import TextIO

import click

from popwatch.model.credentials import LONGEST_TOKEN, Secret
from popwatch.model.text import clean
from popwatch_cli.errors import UserError

_NAME_SHOWN = 254
"""Characters of a file's name that are shown."""


def given_secret(file: TextIO | None, prompt: str, *, confirm: bool = False, outcome: str = "") -> Secret:
    """The secret in a file, or typed without echo, twice with `confirm`.

    Raises UserError, whose text ends with `outcome`, if there is none; and click.Abort.
    """
    from popwatch.aws.credentials import forbid_core_dumps  # noqa: PLC0415 - slow, and few commands ask

    forbid_core_dumps()
    return _read(file, outcome) if file else _ask(prompt, outcome, confirm=confirm)


def _read(file: TextIO, outcome: str) -> Secret:
    """The secret in a file, without the line end that an editor puts after it. Raises UserError."""
    try:
        text = file.read(LONGEST_TOKEN)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{clean(file.name, _NAME_SHOWN)} cannot be read: {why}. {outcome}".rstrip()) from None
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def _ask(prompt: str, outcome: str, *, confirm: bool) -> Secret:
    if not sys.stdin.isatty():
        sentence = (
            "There is no terminal to ask for the password: give it by --secret-file FILE, or by --secret-file - for "
            f"standard input. {outcome}"
        )
        raise UserError(sentence.rstrip())
    while True:
        typed = _typed(prompt, outcome)
        if not confirm or _typed("Repeat for confirmation", outcome) == typed:
            return Secret(typed)
        click.echo("The two passwords differ: type it again, twice.", err=True)


def _typed(prompt: str, outcome: str) -> str:
    """A text that is typed without echo. Raises UserError for an empty one, where click would ask again and again."""
    typed: str = click.prompt(prompt, hide_input=True, default="", show_default=False, err=True)
    if not typed:
        raise UserError(f"No password was typed. {outcome}".rstrip())
    return typed
