"""The command `popwatch`: its options, its commands, and how errors are shown to the user.

Each command is imported when it is run, so `popwatch test` starts without boto3. Exit codes are those of monitoring
plugins: 0 OK, 1 warning, 2 failed, 3 unknown (a mistake in the command, or the answer could not be found).
"""

import importlib
import os
import sys
import traceback

import click

from popwatch import __version__
from popwatch_cli.errors import user_message
from popwatch_cli.options import StackChoice
from popwatch_cli.output.nagios_plugin import UNKNOWN_CODE, unknown

COMMANDS = {
    "ack": "popwatch_cli.commands.interventions:ack",
    "alert-test": "popwatch_cli.commands.send_test_alert:alert_test",
    "cost": "popwatch_cli.commands.cost:cost",
    "doctor": "popwatch_cli.commands.doctor:doctor",
    "history": "popwatch_cli.commands.history:history",
    "page": "popwatch_cli.commands.page:page",
    "replay": "popwatch_cli.commands.replay:replay",
    "report": "popwatch_cli.commands.report:report",
    "resume": "popwatch_cli.commands.interventions:resume",
    "silence": "popwatch_cli.commands.interventions:silence",
    "simulate": "popwatch_cli.commands.simulate:simulate_outage",
    "status": "popwatch_cli.commands.status:status",
    "suspend": "popwatch_cli.commands.interventions:suspend",
    "targets": "popwatch_cli.commands.targets:targets",
    "test": "popwatch_cli.commands.probing:test",
    "unsilence": "popwatch_cli.commands.interventions:unsilence",
    "verify": "popwatch_cli.commands.verify:verify",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command with this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


EXAMPLES = """\b
Examples:
  popwatch test pop.example.net
  popwatch --local targets list
  popwatch --stack my-popwatch targets import targets.yaml

Shell completion: docs/command.md says how to turn it on."""


@click.group(cls=LazyGroup, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stack", envvar="POPWATCH_STACK", default="popwatch", show_default=True, help="Name of the stack.")
@click.option("--local", is_flag=True, help="Use the local stack that `make run` has started.")
@click.version_option(__version__, "-V", "--version", message="popwatch %(version)s")
@click.pass_context
def cli(context: click.Context, stack: str, local: bool) -> None:
    """Watch POP3 servers from AWS.

    Test a server now, manage the watched servers (targets), show status, history and reports.
    """
    context.obj = StackChoice(stack, local)
    if os.environ.get("NO_COLOR"):  # https://no-color.org; click itself only checks for a terminal
        context.color = False


def main() -> None:
    """Run the command and exit with its code."""
    try:
        code = cli.main(prog_name="popwatch", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        _fail(error.format_message(), error)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("Cancelled.")
    except Exception as error:
        _fail(user_message(error) or _bug(error))


def _bug(error: Exception) -> str:
    """Print the traceback; the message to show after it."""
    # Not raised: Python would exit with code 1, which a monitor takes for a plugin's warning.
    traceback.print_exception(error)
    return f"This is a bug in popwatch: {type(error).__name__}. Please report it with the lines above."


def _fail(text: str, error: click.ClickException | None = None) -> None:
    """Print what is wrong and exit: on one line of standard output for a monitor, otherwise on standard error."""
    if "--plugin" in sys.argv:
        click.echo(unknown(text))
    else:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"\nTry `{context.command_path} --help`." if context else ""
        click.echo(f"{text}{hint}", err=True)
    sys.exit(UNKNOWN_CODE)
