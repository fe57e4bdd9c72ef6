"""The command `popwatch`: its options, its commands, and how errors reach the user.

Commands are imported when they are run: `popwatch test` starts without boto3. Exit codes are those of monitoring
plugins: 0 well, 1 warning, 2 failed, 3 unknown (a mistake in the command, or nothing could be found out).
"""

import importlib
import sys
from dataclasses import dataclass

import click

from popwatch import __version__
from popwatch.cli.errors import UserError
from popwatch.cli.plugin import UNKNOWN, UNKNOWN_CODE

COMMANDS = {"targets": "popwatch.cli.targets:targets", "test": "popwatch.cli.probing:test"}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which stack the user means."""

    stack: str
    local: bool


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


@click.group(cls=LazyGroup, epilog="Shell completion: docs/command.md says how to switch it on.")
@click.option("--stack", envvar="POPWATCH_STACK", default="popwatch", show_default=True, help="The stack, by its name.")
@click.option("--local", is_flag=True, help="The local stack that `make run` has started.")
@click.version_option(__version__, "-V", "--version", message="popwatch %(version)s")
@click.pass_context
def cli(context: click.Context, stack: str, local: bool) -> None:
    """Watch POP3 servers from AWS: test one now, and manage the targets of a stack."""
    context.obj = Choice(stack, local)


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
        if not _is_users(error):
            raise
        _fail(str(error))


def _is_users(error: Exception) -> bool:
    """Whether an error is one to tell: a mistake of the user's, or AWS's refusal, if boto3 has been loaded at all."""
    botocore = sys.modules.get("botocore.exceptions")
    aws = (botocore.BotoCoreError, botocore.ClientError) if botocore else ()
    return isinstance(error, (UserError, *aws))


def _fail(text: str, error: click.ClickException | None = None) -> None:
    """Say what is wrong: on one line of the standard output for a monitor that runs plugins, else for people."""
    if "--plugin" in sys.argv:
        click.echo(f"POP {UNKNOWN} - {' '.join(text.split())}")
    else:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"\nTry `{context.command_path} --help`." if context else ""
        click.echo(f"{text}{hint}", err=True)
    sys.exit(UNKNOWN_CODE)
