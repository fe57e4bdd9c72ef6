"""The command `popwatch`: its options, its commands, and how errors reach the user.

Commands are imported when they are run: `popwatch test` starts without boto3. Exit codes are those of monitoring
plugins: 0 well, 1 warning, 2 failed, 3 unknown (a mistake in the command, or nothing could be found out).
"""

import importlib
import os
import sys
import traceback

import click

from popwatch import __version__
from popwatch_cli.errors import told
from popwatch_cli.options import Choice
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
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of a name, if there is one."""
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

Shell completion: docs/command.md says how to switch it on."""


@click.group(cls=LazyGroup, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stack", envvar="POPWATCH_STACK", default="popwatch", show_default=True, help="The stack, by its name.")
@click.option("--local", is_flag=True, help="The local stack that `make run` has started.")
@click.version_option(__version__, "-V", "--version", message="popwatch %(version)s")
@click.pass_context
def cli(context: click.Context, stack: str, local: bool) -> None:
    """Watch POP3 servers from AWS: test one now, and manage the targets of a stack."""
    context.obj = Choice(stack, local)
    if os.environ.get("NO_COLOR"):  # https://no-color.org; click looks only whether there is a terminal
        context.color = False


def main() -> None:
    """Run the command and leave with its exit code."""
    try:
        code = cli.main(prog_name="popwatch", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        _fail(error.format_message(), error)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("Stopped.")
    except Exception as error:
        _fail(told(error) or _defect(error))


def _defect(error: Exception) -> str:
    """A defect's text, after its traceback: Python's own exit code 1 would be a plugin's warning."""
    traceback.print_exception(error)
    return f"This is a defect of popwatch: {type(error).__name__}. Please report it with the lines above."


def _fail(text: str, error: click.ClickException | None = None) -> None:
    """Say what is wrong: on one line of the standard output for a monitor that runs plugins, else for people."""
    if "--plugin" in sys.argv:
        click.echo(unknown(text))
    else:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"\nTry `{context.command_path} --help`." if context else ""
        click.echo(f"{text}{hint}", err=True)
    sys.exit(UNKNOWN_CODE)
