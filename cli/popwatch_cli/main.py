"""The command `popwatch`: its options, its commands, and how errors are shown to the user.

Each command is imported when it is run, so `popwatch test` starts without boto3. Exit codes are those of monitoring
plugins: 0 OK, 1 warning, 2 failed, 3 unknown (a mistake in the command, or the answer could not be found); 130 after
Ctrl-C.
"""

import errno
import importlib
import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import click
from click.shell_completion import CompletionItem

from popwatch import __version__
from popwatch.model.fields import FIELDS_BY_NAME
from popwatch.model.text import did_you_mean
from popwatch_cli import suggestions
from popwatch_cli.command_tree import CommandGroup, commands_with, with_shared_options
from popwatch_cli.errors import user_message
from popwatch_cli.options import StackChoice, choose, chosen
from popwatch_cli.output.nagios_plugin import UNKNOWN_CODE, unknown
from popwatch_cli.output.terminal import repeat_options, say
from popwatch_cli.shells import VARIABLE, answer_and_exit
from popwatch_cli.start import INTERRUPTED_CODE

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
"""What the system says of a file that takes no more."""

MAX_NAMED = 3
"""Commands that a message names."""

SERVER = re.compile(r"[\w.:\[\]-]*[.:][\w.:\[\]-]+")
"""What looks like a server and not like a command."""

COMMANDS = {
    "ack": "popwatch_cli.commands.interventions:ack",
    "alert-test": "popwatch_cli.commands.send_test_alert:alert_test",
    "completion": "popwatch_cli.commands.about:completion",
    "cost": "popwatch_cli.commands.cost:cost",
    "credentials": "popwatch_cli.commands.credentials:credentials",
    "doctor": "popwatch_cli.commands.doctor:doctor",
    "help": "popwatch_cli.commands.about:show_help",
    "history": "popwatch_cli.commands.history:history",
    "page": "popwatch_cli.commands.page:page",
    "posture": "popwatch_cli.commands.posture:posture",
    "receivers": "popwatch_cli.commands.receivers:receivers",
    "replay": "popwatch_cli.commands.replay:replay",
    "report": "popwatch_cli.commands.report:report",
    "resume": "popwatch_cli.commands.interventions:resume",
    "retest": "popwatch_cli.commands.retest:retest",
    "silence": "popwatch_cli.commands.interventions:silence",
    "simulate": "popwatch_cli.commands.simulate:simulate_outage",
    "status": "popwatch_cli.commands.status:status",
    "suspend": "popwatch_cli.commands.interventions:suspend",
    "targets": "popwatch_cli.commands.targets:targets",
    "test": "popwatch_cli.commands.probing:test",
    "unsilence": "popwatch_cli.commands.interventions:unsilence",
    "verify": "popwatch_cli.commands.verify:verify",
    "version": "popwatch_cli.commands.about:version",
}


class LazyGroup(CommandGroup):
    """A group whose commands are imported when they are needed."""

    aliases: ClassVar[Mapping[str, str]] = {"acknowledge": "ack"}
    suggestions: ClassVar[Mapping[str, str]] = suggestions.COMMANDS

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all commands."""
        return sorted(COMMANDS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What may be typed next; without the help of each command, for which all of them would be imported."""
        names = [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def find_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command with this name, or None."""
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def explain(self, ctx: click.Context, args: list[str]) -> str:
        """What to type instead; a server alone is what `popwatch test` takes."""
        if SERVER.fullmatch(args[0]):
            return f"There is no command {args[0]!r}. Did you mean `popwatch test {' '.join(args)}`?"
        if args[0] in suggestions.SENTENCES:
            return f"There is no command {args[0]!r}. {suggestions.SENTENCES[args[0]]}"
        return super().explain(ctx, args)


EXAMPLES = """\b
Examples:
  popwatch test pop.example.net
  popwatch --local targets list
  popwatch status --stack my-popwatch --region eu-central-1

Shell completion: popwatch help completion"""


@click.group(cls=LazyGroup, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="popwatch %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Watch POP3 servers from AWS.

    Test a server now, manage the watched servers (targets), show status, history and reports. The options below are
    taken before and after the name of a command.
    """
    if os.environ.get("NO_COLOR"):  # https://no-color.org; click itself only checks for a terminal
        context.color = False


with_shared_options(cli, hidden=False)


def main() -> None:
    """Run the command and exit with its code."""
    choose(StackChoice())
    _leave_out_blank_settings()
    if VARIABLE in os.environ:
        answer_and_exit(cli)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show must not end the command
            stream.reconfigure(errors="replace")
    try:
        code = cli.main(prog_name="popwatch", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.NoSuchOption as error:
        _fail(_no_such_option(error), error)
    except click.ClickException as error:
        _fail(error.format_message(), error)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except (click.Abort, KeyboardInterrupt) as end:
        _fail("Cancelled.", code=INTERRUPTED_CODE if is_interrupt(end) else UNKNOWN_CODE)
    except BrokenPipeError:
        # The reader, such as `head`, has enough. Python would complain when it flushes at the end:
        # docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        _fail(user_message(error) or _unwritable(error) or _bug(error))


def is_interrupt(end: BaseException) -> bool:
    """Whether a command was ended by Ctrl-C: click makes Abort of that, and of an input that ends without an answer.

    Where it asks a question it raises Abort `from None`; the context still says which of them it was.
    """
    return isinstance(end, KeyboardInterrupt) or isinstance(end.__context__, KeyboardInterrupt)


def _leave_out_blank_settings() -> None:
    """Remove settings of AWS that are blank, as CI exports what is not set: boto3 would take them as names."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        if not os.environ.get(name, "-").strip():
            del os.environ[name]


def _unwritable(error: Exception) -> str:
    """The message if the output cannot be written, such as on a full disk; otherwise ""."""
    if not isinstance(error, OSError) or error.errno not in UNWRITABLE:
        return ""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes the rest at the end
    return f"The output cannot be written: {error.strerror}."


def _no_such_option(error: click.NoSuchOption) -> str:
    """The message for an option that a command does not have, with what it is here."""
    command = error.ctx.command if error.ctx else cli
    known = {name for option in command.params for name in option.opts}
    hint = suggestions.option_hint(error.option_name, known)
    field = error.option_name.lstrip("-").replace("-", "_")
    if command.name == "put" and field in FIELDS_BY_NAME:
        hint = f" Did you mean {field}=VALUE?"
    hint = hint or _other_commands(error.option_name) or did_you_mean(error.option_name, known, mark="")
    return f"No such option: {error.option_name}.{hint}"


def _other_commands(option: str) -> str:
    """Which commands have an option that the one in use lacks; "" if none has it."""
    others = list(commands_with(cli, option, "popwatch")) if option.startswith("--") else []
    if not others:
        return ""
    if len(others) > MAX_NAMED:
        return f" Other commands have it, such as `{others[0]}`."
    if len(others) > 1:
        return f" It is an option of {', '.join(f'`{it}`' for it in others[:-1])} and `{others[-1]}`."
    return f" Did you mean `{' '.join([*others, *_as_typed(option)])}`?"


def _as_typed(option: str) -> list[str]:
    """An option as it stands on the command line, with the word after it if that may be its value."""
    words = sys.argv[1:]
    place = next((place for place, word in enumerate(words) if word.partition("=")[0] == option), len(words))
    typed = words[place : place + 2]
    has_value = "=" not in typed[0] and not typed[-1].startswith("-") if typed else False
    return [shlex.quote(word) for word in (typed if has_value else typed[:1])]


def _bug(error: Exception) -> str:
    """Print the traceback; the message to show after it."""
    # Not raised: Python would exit with code 1, which a monitor takes for a plugin's warning.
    traceback.print_exception(error)
    return f"This is a bug in popwatch: {type(error).__name__}. Please report it with the lines above."


def _typed_choice(words: Sequence[str]) -> StackChoice:
    """The stack that the words of a command line name, for the hints of one that could not be read to its end."""
    pairs = [(word, after) for word, after in pairwise([*words, ""]) if "=" not in word]
    pairs += [(word.partition("=")[0], word.partition("=")[2]) for word in words]
    given = {option: value for option, value in pairs if value and not value.startswith("-")}
    known = chosen()
    return replace(
        known,
        local=known.local or "--local" in words,
        stack=given.get("--stack", known.stack),
        region=given.get("--region", known.region),
        profile=given.get("--profile", known.profile),
    )


def _fail(text: str, error: click.ClickException | None = None, code: int = UNKNOWN_CODE) -> None:
    """Print what is wrong and exit: on one line of standard output for a monitor, otherwise on standard error."""
    if isinstance(error, click.UsageError):  # the rest of the line may not have been read
        choose(_typed_choice(sys.argv[1:]))
    if "--plugin" in sys.argv:
        click.echo(unknown(repeat_options(text)))
        sys.exit(UNKNOWN_CODE)
    else:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"\nTry `{context.command_path} --help`." if context else ""
        say(f"{text}{hint}", err=True)
        sys.exit(code)
