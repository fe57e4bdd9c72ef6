"""The servers that `popwatch test` and `popwatch posture` are given: on the command line, or targets of a stack."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.targets import Problem, Target, parse_target
from popwatch_cli import completion
from popwatch_cli.errors import UserError
from popwatch_cli.options import StackChoice, WholeNumber, refuse_ineffective
from popwatch_cli.output.terminal import say
from popwatch_cli.selection import GROUP, TAG, Selection
from popwatch_cli.target_items import known_id, missing_target, shown, targets_of, whole, without_id

OPTION_OF = {
    "host": "HOST",
    "ca_pem": "--ca",
    "max_test_seconds": "--timeout",
    "siblings": "--sibling",
}
"""Options whose name differs from that of their field."""

TLS_PORT = 995
"""The port on which POP3 begins with TLS (RFC 8314 section 3.1)."""

_SERVER = re.compile(r"(?:(pop3s?)://)?(\[[^\]]*\]|[^\s:/\[\]]+)(?::(\d{1,9}))?/?", re.IGNORECASE)
"""A server as people write it: HOST, HOST:PORT, [ADDRESS]:PORT, or the URL of RFC 2384 without a user."""

_WITHOUT_PORT = re.compile(r"(?:pop3s?://)?(\[[^\]]*\]|[^\s:/\[\]@]+):([^\s:/\[\]@]*)/?", re.IGNORECASE)
"""The same with something else where the port should be."""

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
PORT = click.option("-p", "--port", type=WholeNumber(1, 65_535), help="TCP port; 110, or 995 with implicit TLS.")
TLS_NAME = click.option(
    "--tls-name", "--sni", metavar="NAME", help="Name for SNI and the certificate; the host unless given."
)
AUTHORITIES = click.option(
    "--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with your own CA certificates."
)
IPV4 = click.option("-4", "ipv4", is_flag=True, help="Use IPv4 only.")
IPV6 = click.option("-6", "ipv6", is_flag=True, help="Use IPv6 only.")
TARGETS_FILE = click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Test the targets of a file (.yaml, .csv, JSON lines); - is standard input.",
)


def family_of(options: Mapping[str, Any]) -> str | None:
    """The field `family` that -4 or -6 sets. Raises click.UsageError for both."""
    if options["ipv4"] and options["ipv6"]:
        raise click.UsageError("-4 and -6 contradict each other: leave out one of them, or both to try every address.")
    return "ipv4" if options["ipv4"] else "ipv6" if options["ipv6"] else None


def refuse_in_flight_alone(options: Mapping[str, Any]) -> None:
    """Refuse --in-flight for one server. Raises click.UsageError."""
    if len(options["host"]) < 2 and not options["groups"] and not options["tags"]:
        refuse_ineffective({"in_flight"}, "alone: it is for --file, or several targets")


def once(words: Iterable[str]) -> list[str]:
    """The words without those that are repeated, which are named on standard error."""
    counts = Counter(word.strip() for word in words)
    for word, count in counts.items():
        if count > 1:
            say(f"{shown(word)} is named {count} times, and tested once.", err=True)
    return list(counts)


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
        raise click.UsageError(" ".join(dict.fromkeys(of_option(problem, fields) for problem in problems)))
    return targets


def items_of(choice: StackChoice, selection: Selection) -> list[dict[str, Any]]:
    """The items of a stack's targets, each with the fields of `_defaults` that it leaves out. Raises UserError."""
    # Not imported at the beginning: without a stack, `popwatch test` starts without boto3.
    from popwatch_cli.installation import find  # noqa: PLC0415

    items = find(choice).target_table.read()
    defaults = without_id(items.get(DEFAULTS_ID, {}))
    for name in selection.ids:
        if known_id(name, items) not in items and _SERVER.fullmatch(name) and re.search("[.:]", name):
            raise UserError(f"{missing_target(name, items)} Without {choice.in_use} it is taken as a server.")
    found = [{**defaults, **items[name]} for name in selection.of(targets_of(items))]
    if not found:
        raise UserError("There are no targets yet.")
    return found


def server(word: str, given: set[str], *, plugin: bool) -> dict[str, Any]:
    """The fields that HOST, HOST:PORT or a URL says. Raises click.UsageError if an option says something else."""
    if word.isdecimal():
        raise click.UsageError(f"{shown(word)} is not a server: write a port as HOST:{shown(word)}, or with --port.")
    if Path(word).is_file():
        raise click.UsageError(
            f"{whole(word)} is a file: to test the targets in it, write --file {whole(shlex.quote(word))}."
        )
    written = _SERVER.fullmatch(word)
    without_port = _WITHOUT_PORT.fullmatch(word)
    if not written and without_port:
        wrong = f"`{shown(without_port[2])}` is not a port" if without_port[2] else "the port is missing"
        raise click.UsageError(f"{shown(word)}: {wrong}. Write HOST:PORT, such as {shown(without_port[1])}:{TLS_PORT}.")
    if not written:  # an IPv6 address without brackets, or a mistake
        return {"target_id": word, "host": word}
    scheme, host, port = written.groups()
    if port and "port" in given:
        raise click.UsageError(f"{shown(word)} has a port: leave out --port.")
    secure = (scheme or "").lower() == "pop3s" or (port and int(port) == TLS_PORT and not plugin)
    fields = {"target_id": word, "host": host.strip("[]")}
    return fields | ({"port": port} if port else {}) | ({"tls": "implicit"} if secure else {})


def of_option(problem: Problem, fields: Mapping[str, Any]) -> str:
    """The problem of a field, with the name of the option that set it instead of its own."""
    option = OPTION_OF.get(problem.field, f"--{problem.field.replace('_', '-')}")
    explanation = problem.explanation
    if problem.field == "family" and "family" in fields:
        option = "-4" if fields["family"] == "ipv4" else "-6"
        explanation = explanation.replace(f"it is {fields['family']}, and ", "")
    return explanation.replace(f"The field `{problem.field}`", option)
