"""`popwatch help`, `popwatch version` and `popwatch completion`: what concerns the command itself."""

import click
from click.shell_completion import CompletionItem

from popwatch import __version__
from popwatch_cli.command_tree import CommandGroup
from popwatch_cli.options import Choice
from popwatch_cli.shells import SCRIPTS


def _commands(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The commands that a word of `popwatch help` may be."""
    command: click.Command = context.find_root().command
    for word in context.params.get("words") or ():
        found = command.get_command(context, word) if isinstance(command, CommandGroup) else None
        command = found or click.Command(None)
    names = command.list_commands(context) if isinstance(command, CommandGroup) else []
    return [CompletionItem(name) for name in names if name.startswith(begun)]


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...", shell_complete=_commands)
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


@click.command()
@click.argument("shell", type=Choice(SCRIPTS))
def completion(shell: str) -> None:
    """Print what a shell needs to complete commands, options, files, and the ids, groups, tags and fields of targets.

    Those of a stack are read when they are needed and kept for a minute in your cache folder (`~/.cache/popwatch`).

    \b
    Examples:
      eval "$(popwatch completion bash)"       in ~/.bashrc
      eval "$(popwatch completion zsh)"        in ~/.zshrc
      popwatch completion fish | source        in ~/.config/fish/config.fish
    """
    click.echo(SCRIPTS[shell], nl=False)
