"""`popwatch help`, `popwatch version` and `popwatch completion`: what concerns the command itself."""

import click
from click.shell_completion import get_completion_class

from popwatch import __version__
from popwatch_cli.command_tree import CommandGroup
from popwatch_cli.options import Choice


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


@click.command()
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what a shell needs to complete commands and options.

    \b
    Examples:
      eval "$(popwatch completion bash)"       in ~/.bashrc
      eval "$(popwatch completion zsh)"        in ~/.zshrc
      popwatch completion fish | source        in ~/.config/fish/config.fish
    """
    completer = get_completion_class(shell)
    assert completer, shell  # noqa: S101 - click has all three
    click.echo(completer(context.find_root().command, {}, "popwatch", "_POPWATCH_COMPLETE").source())
