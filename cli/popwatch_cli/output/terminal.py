"""Printing for people: hints that can be followed as they are printed, tables that fit, pipes that lose nothing."""

import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from popwatch_cli.options import NARROWEST, chosen

UNLIMITED = 100_000
"""Characters of a line where the output is not a terminal: nothing is cut or wrapped for a program."""

_HINT = re.compile(r"`popwatch (?=[a-z])(?!test |test`|help\b|version\b|completion\b|cost\b)")
"""The beginning of a command that a text tells the user to give, and that needs a stack."""

_TITLE = re.compile(r" *\S+(?: \S+)* {2,}(?=\S)")
"""The beginning of a line such as `WARNING    2 targets have ...`."""

_AWS = re.compile(r"`(aws (?!sso |configure)[^`\n]+)`")
"""A command of the AWS CLI, which must mean the AWS, the account and the region of the stack in use."""

_COMMAND = re.compile(r"`[^`\n]*`")
_NO_BREAK = "\ue000"  # a character of no one, as wide as a blank


def say(text: str, *, err: bool = False) -> None:
    """Print a text for people, with hints that name the stack in use, in lines of `line_width`."""
    click.echo(wrapped(repeat_options(text), line_width(err=err)), err=err)


def line_width(*, err: bool = False) -> int:
    """Characters of a line of text: `--width`, or those of the terminal; elsewhere `UNLIMITED`."""
    columns = shutil.get_terminal_size().columns if (sys.stderr if err else sys.stdout).isatty() else UNLIMITED
    return chosen().width or columns


def wrapped(text: str, width: int) -> str:
    """The text with longer lines broken at blanks, but not within a command: that can be copied as it is printed.

    What follows a break begins where its line begins, or below the text that follows a title and a gap.
    """
    return "\n".join(_wrap(line, width) if cell_len(click.unstyle(line)) > width else line for line in text.split("\n"))


def _wrap(line: str, width: int) -> str:
    blanks = len(line) - len(line.lstrip())
    title = _TITLE.match(click.unstyle(line))
    indent = " " * (title.end() if title and title.end() <= width // 2 else blanks)
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _NO_BREAK), line)
    lines: list[str] = []
    words = whole[blanks:].rstrip().split(" ")
    words[0] = whole[:blanks] + words[0]
    while words:
        begin = indent if lines else ""
        count = 1
        while count < len(words) and cell_len(click.unstyle(begin + " ".join(words[: count + 1]))) <= width:
            count += 1
        lines.append((begin + " ".join(words[:count])).rstrip(" "))
        words = words[count:]
        while words and not words[0]:  # the rest of a gap
            del words[0]
    return "\n".join(lines).replace(_NO_BREAK, " ")


def fitted(markup: str, width: int) -> Text:
    """Rich markup in lines as `wrapped` makes them: rich itself would break a word that is longer than the width."""
    whole = Text.from_markup(markup)
    lines, place = [], 0
    for line in wrapped(whole.plain, width).split("\n"):
        words = line.lstrip(" ")
        place = whole.plain.index(words, place)
        lines.append(Text(line.removesuffix(words)) + whole[place : place + len(words)])
        place += len(words)
    return Text("\n").join(lines)


def print_fitted(console: Console, markup: str) -> None:
    """Print rich markup in lines of the console's width, without breaking a word."""
    console.print(fitted(markup, room_of(console)), highlight=False, soft_wrap=True)


def room_of(console: Console) -> int:
    """Characters of a line of a console; one that wraps nothing itself, as for a pipe, has room for all."""
    return UNLIMITED if console.soft_wrap else console.width


def repeat_options(text: str) -> str:
    """The text, whose commands have the options that name the stack in use, and the path of the running popwatch."""
    choice = chosen()
    options = choice.in_use
    replaced = _HINT.sub(lambda _: f"`popwatch {options} " if options else "`popwatch ", text)
    if choice.local:
        replaced = _AWS.sub(r"`(. .popwatch/aws-env; \1)`", replaced)
    elif choice.of_aws:
        replaced = _AWS.sub(
            lambda command: f"`{command[1]} {_missing_in(command[1], choice.of_aws)}".rstrip() + "`", replaced
        )
    return replaced.replace("`popwatch ", f"`{_program()} ")


def _missing_in(command: str, options: str) -> str:
    """The options, unless the command names a region itself: then it is complete."""
    return "" if "--region" in command else options


def _program() -> str:
    """How the command is called here: by its name if the shell finds it by that, otherwise by the path in use."""
    called, path = Path(sys.argv[0]), os.environ.get("PATH", "")
    if called.parent.parent.name == "popwatch_cli" or called.parent.name == "popwatch_cli":  # a program of `make`
        folder = Path(sys.executable).parent
        called = Path(os.path.relpath(folder / "popwatch"))
        path = path.removeprefix(f"{folder}{os.pathsep}")  # the Makefile puts it there, which the user's shell may not
    by_path = called.name == "popwatch" and len(called.parts) > 1
    return str(called) if by_path and shutil.which("popwatch", path=path) is None else "popwatch"


def console() -> Console:
    """The standard output for tables: as wide as `--width` or the terminal; without either nothing is cut.

    A terminal that is too narrow for any table gets one of the least width, after a line that says so.
    """
    width = chosen().width or (None if sys.stdout.isatty() else UNLIMITED)
    made = Console(width=width)
    if made.width >= NARROWEST:
        return made
    _say_too_narrow(made.width)
    return Console(width=NARROWEST)


@cache
def _say_too_narrow(columns: int) -> None:
    say(f"{too_narrow(columns)} Its lines are broken.", err=True)


def too_narrow(columns: int) -> str:
    """What is said where output has no room at all."""
    return f"The terminal has {columns} columns, and this needs {NARROWEST}."
