"""The tree of commands: options that each of them takes, other names of commands, and what a mistyped one may mean."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import click
from click.core import ParameterSource

from popwatch.model.text import did_you_mean
from popwatch_cli.options import NARROWEST, REGION, StackChoice, WholeNumber, choose, long_name, quoted

FEWEST_BLANKS = 2
"""A part of a sentence with fewer says too little."""

EVERYWHERE = "Options of every command: --local, --stack, --region, --profile, --width, -v; see `popwatch --help`."


class CommandGroup(click.Group):
    """A group that knows other names of its commands, and which command a mistyped name may mean.

    `aliases`: other name -> command. `suggestions`: what people type elsewhere -> what to type here.
    """

    aliases: ClassVar[Mapping[str, str]] = {}
    suggestions: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the name of a command. Raises click.UsageError, also for one that is given twice."""
        _refuse_repeated(ctx, args)
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name or alias, which takes the shared options; None if there is none."""
        found = self.find_command(ctx, self.aliases.get(cmd_name, cmd_name))
        return with_shared_options(found) if found else None

    def find_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name."""
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words begin with, and the other words. Raises click.UsageError."""
        if self.get_command(ctx, args[0]) is None:
            raise click.UsageError(self.explain(ctx, args), ctx)
        _, command, rest = super().resolve_command(ctx, args)
        if command and isinstance(ctx.obj, StackChoice) and ctx.obj.as_json and not isinstance(command, click.Group):
            rest = _with_json(ctx, command, rest)
        if command and not isinstance(command, CommandGroup):  # which does so itself
            _refuse_repeated(click.Context(command, ctx, command.name, resilient_parsing=ctx.resilient_parsing), rest)
        # The command's own name, also for an alias: usage and help show it.
        return command.name if command else None, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, each with as much of its first sentence as is a sentence and fits on a line."""
        commands = {name: self.find_command(ctx, name) for name in self.list_commands(ctx)}
        room = formatter.width - 6 - max(map(len, commands), default=0)
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(command, room)) for name, command in commands.items() if command])

    def explain(self, ctx: click.Context, args: list[str]) -> str:
        """What to type instead of a command that does not exist."""
        written = args[0]
        path = ctx.command_path
        if written in self.suggestions:
            return f"There is no command {written!r}. Did you mean `{self.suggestions[written]}`?"
        close = did_you_mean(written, [*self.list_commands(ctx), *self.aliases], mark="")
        if close:
            return f"There is no command {quoted(written)}.{close}"
        return f"There is no command {quoted(written)}: `{path} --help` lists all."


def commands_with(group: click.Group, option: str, path: str) -> Iterator[str]:
    """The commands of a group and of the groups in it that have an option, each by its words after `path`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands_with(command, option, f"{path} {name}")
        elif command and any(option in it.opts for it in command.params if not getattr(it, "hidden", False)):
            yield f"{path} {name}"


def summary(command: click.Command, room: int) -> str:
    """The first sentence of a command's help, or what comes before one of its marks if it is longer than `room`."""
    sentence = command.get_short_help_str(10_000).rstrip(".")
    marked = [sentence[: found.start()] for found in re.finditer("[:;] ", sentence)]
    listed = [sentence[: found.start()] for found in re.finditer(", ", sentence)]
    for part in (sentence, *reversed(marked), *listed):
        whole = part.count(" ") >= FEWEST_BLANKS and part.count("(") == part.count(")")
        if len(part) < room and (part is sentence or whole):
            return f"{part}."
    return command.get_short_help_str(room)


def _with_json(context: click.Context, command: click.Command, words: list[str]) -> list[str]:
    """The words of a command after `--json` before it. Raises click.UsageError if it prints no JSON."""
    if not any("--json" in option.opts for option in command.params):
        raise click.UsageError(f"`{context.command_path} {command.name}` has no --json.", context)
    return ["--json", *words]


def _refuse_repeated(context: click.Context, words: list[str]) -> None:
    """Refuse an option that is given twice and takes one value: click takes the last, and drops the others."""
    if context.resilient_parsing:
        return
    _, _, given = context.command.make_parser(context).parse_args([*words])
    single = [it for it in given if isinstance(it, click.Option) and not (it.multiple or it.is_flag or it.count)]
    repeated = next((option for option in single if single.count(option) > 1), None)
    if repeated:
        raise click.UsageError(f"{long_name(repeated)} is given twice, and only one counts: leave out one.", context)


def with_shared_options(command: click.Command, *, hidden: bool = True) -> click.Command:
    """The same command, which takes each shared option unless it has one of that name itself."""
    taken = {name for option in command.params for name in option.opts}
    missing = [option for option in _shared_options(hidden=hidden) if taken.isdisjoint(option.opts)]
    if not isinstance(command, click.Group):  # which alone has something to print as JSON or not
        missing = [option for option in missing if option.name != "as_json"]
    if hidden and EVERYWHERE not in (command.epilog or ""):
        command.epilog = "\n\n".join(filter(None, [command.epilog, EVERYWHERE]))
    command.params += missing
    if missing:  # the first time
        names = {name for option in command.params if isinstance(option, click.Option) for name in option.opts}
        for option in command.params:
            if isinstance(option, click.Option) and not option.is_flag:
                option.callback = partial(_refuse_option_as_value, names, option.callback)
    return command


def _refuse_option_as_value(
    names: Collection[str],
    then: Callable[[click.Context, click.Parameter, Any], Any] | None,
    context: click.Context,
    option: click.Parameter,
    value: Any,
) -> Any:
    """Refuse `--why --local`: click takes the second as the value of the first, and the command means another stack."""
    values = value if isinstance(value, tuple | list) else (value,)
    if any(str(one) in names for one in values):
        raise click.BadOptionUsage(option.opts[0], f"Option '{option.opts[0]}' requires an argument.", context)
    return then(context, option, value) if then else value


def _shared_options(*, hidden: bool) -> list[click.Option]:
    option: Callable[..., click.Option] = partial(click.Option, expose_value=False, hidden=hidden, callback=_take)
    stack = {} if hidden else {"envvar": "POPWATCH_STACK", "show_default": "popwatch"}
    return [
        option(["--stack"], metavar="NAME", help="Name of the stack.", **stack),
        option(["--local"], is_flag=True, help="Use the local stack that `make run` has started."),
        option(
            ["--region"],
            type=REGION,
            metavar="NAME",
            help="Region of AWS.  [default: that of AWS_REGION or your profile]",
        ),
        option(["--profile"], metavar="NAME", help="Profile of your AWS configuration."),
        option(["--json", "as_json"], is_flag=True, help="Print JSON; the same as --json of the command."),
        option(
            ["--width"], type=WholeNumber(NARROWEST), metavar="N", help="Characters of a line; what is longer is cut."
        ),
        option(["-v", "--verbose"], is_flag=True, help="Say on standard error what is used and read."),
    ]


def shared_options() -> list[str]:
    """The long names of the options that commands have in common."""
    return [option.opts[-1] for option in _shared_options(hidden=True)]


def _take(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Let the choice say what an option says. Raises click.UsageError if it was given before the command, too."""
    choice = context.obj if isinstance(context.obj, StackChoice) else StackChoice()
    if value not in (None, False):
        before = getattr(choice, str(option.name))
        is_given = choice.stack_is_given if option.name == "stack" else before is not None
        if value is not True and is_given and value != before:
            name = long_name(option)
            raise click.UsageError(f"{name} is given twice, as {before} and as {value}: leave out one.", context)
        choice = replace(choice, **{str(option.name): value})
        if option.name == "stack" and context.get_parameter_source("stack") is ParameterSource.COMMANDLINE:
            choice = replace(choice, stack_is_given=True)
    context.obj = choice
    choose(choice)
