"""`popwatch help` and `popwatch version`, for those who type words and not options."""

import click

from popwatch import __version__
from popwatch_cli.command_tree import CommandGroup


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def show_help(context: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command.

    \b
    Examples:
      popwatch help
      popwatch help targets put
    """
    shown = context.find_root()
    for word in words:
        group = shown.command
        if not isinstance(group, CommandGroup):
            raise click.UsageError(f"`{shown.command_path}` has no commands of its own.", shown)
        found = group.get_command(shown, word)
        if found is None:
            raise click.UsageError(group.explain(shown, [word]), shown)
        shown = click.Context(found, info_name=found.name, parent=shown)
    click.echo(shown.get_help())


@click.command()
def version() -> None:
    """Show the version, the same as --version.

    \b
    Examples:
      popwatch version
    """
    click.echo(f"popwatch {__version__}")
