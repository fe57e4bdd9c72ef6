"""The servers that `popwatch test` and `popwatch posture` are given: on the command line, or targets of a stack."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.targets import Problem, Target, parse_target
from popwatch_cli import completion
from popwatch_cli.errors import UserError
from popwatch_cli.options import StackChoice
from popwatch_cli.selection import GROUP, TAG, Selection
from popwatch_cli.target_items import targets_of, without_id

OPTION_OF = {
    "host": "HOST",
    "ca_pem": "--ca",
    "max_test_seconds": "--timeout",
    "family": "-4 or -6",
    "siblings": "--sibling",
}
"""Options whose name differs from that of their field."""

TLS_PORT = 995
"""The port on which POP3 begins with TLS (RFC 8314 section 3.3)."""

_SERVER = re.compile(r"(?:(pop3s?)://)?(\[[^\]]*\]|[^\s:/\[\]]+)(?::(\d{1,9}))?/?", re.IGNORECASE)
"""A server as people write it: HOST, HOST:PORT, [ADDRESS]:PORT, or the URL of RFC 2384 without a user."""

HOSTS = click.argument("host", nargs=-1, metavar="[HOST[:PORT] | ID]...", shell_complete=completion.servers)
GROUPS = click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.groups,
    help=f"With --local or --stack: {GROUP.lower()}",
)
TAGS = click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.tags,
    help=f"With --local or --stack: {TAG.lower()}",
)
PORT = click.option("-p", "--port", type=int, help="TCP port; 110, or 995 with implicit TLS.")
TLS_NAME = click.option(
    "--tls-name", "--sni", metavar="NAME", help="Name for SNI and the certificate; the host unless given."
)
AUTHORITIES = click.option(
    "--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with your own CA certificates."
)
IPV4 = click.option("-4", "family", flag_value="ipv4", help="Use IPv4 only.")
IPV6 = click.option("-6", "family", flag_value="ipv6", help="Use IPv6 only.")
TARGETS_FILE = click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Test the targets of a file (.yaml, .csv, JSON lines); - for JSON lines of standard input.",
)


def given_options(context: click.Context) -> set[str]:
    """The names of the options and arguments on the command line."""
    source = {name: context.get_parameter_source(name) for name, value in context.params.items() if value != ()}
    return {name for name in source if source[name] is ParameterSource.COMMANDLINE}


def described(
    choice: StackChoice,
    selection: Selection,
    fields: Mapping[str, Any],
    given: set[str],
    *,
    missing: str,
    usual: Mapping[str, Any] | None = None,
    plugin: bool = False,
) -> list[Target]:
    """The targets of the words, of a stack's if one is named, with the fields of the options in place of their own.

    `usual` are values of fields for targets that have none of their own.
    Raises click.UsageError, with the text `missing` if nothing is named, and UserError for one that the stack has not.
    """
    if choice.in_use:
        found = items_of(choice, selection)
    elif selection.groups or selection.tags:
        raise click.UsageError("--group and --tag choose targets of a stack: add --local or --stack NAME.")
    elif not selection.ids:
        raise click.UsageError(missing)
    else:
        found = [server(word, given, plugin=plugin) for word in selection.ids]
    targets = [parse_target({**(usual or {}), **item, **fields}) for item in found]
    problems = [problem for target in targets for problem in target.problems]
    if problems and not choice.in_use:
        raise click.UsageError(" ".join(dict.fromkeys(map(of_option, problems))))
    return targets


def items_of(choice: StackChoice, selection: Selection) -> list[dict[str, Any]]:
    """The items of a stack's targets, each with the fields of `_defaults` that it leaves out. Raises UserError."""
    # Not imported at the beginning: without a stack, `popwatch test` starts without boto3.
    from popwatch_cli.installation import find  # noqa: PLC0415

    items = find(choice).target_table.read()
    defaults = without_id(items.get(DEFAULTS_ID, {}))
    found = [{**defaults, **items[name]} for name in selection.of(targets_of(items))]
    if not found:
        raise UserError("There are no targets yet.")
    return found


def server(word: str, given: set[str], *, plugin: bool) -> dict[str, Any]:
    """The fields that HOST, HOST:PORT or a URL says. Raises click.UsageError if an option says something else."""
    if word.isdecimal():
        raise click.UsageError(f"{word[:60]} is not a server: write a port as HOST:{word[:60]}, or with --port.")
    if Path(word).is_file():
        raise click.UsageError(f"{word[:60]} is a file: to test the targets in it, write --file {word[:60]}.")
    written = _SERVER.fullmatch(word)
    if not written:  # an IPv6 address without brackets, or a mistake
        return {"target_id": word, "host": word}
    scheme, host, port = written.groups()
    if port and "port" in given:
        raise click.UsageError(f"{word[:60]} has a port: leave out --port.")
    secure = (scheme or "").lower() == "pop3s" or (port and int(port) == TLS_PORT and not plugin)
    fields = {"target_id": word, "host": host.strip("[]")}
    return fields | ({"port": port} if port else {}) | ({"tls": "implicit"} if secure else {})


def of_option(problem: Problem) -> str:
    """The problem of a field, with the option's name instead of the field's."""
    option = OPTION_OF.get(problem.field, f"--{problem.field.replace('_', '-')}")
    return problem.explanation.replace(f"The field `{problem.field}`", option)
