"""`popwatch posture`: what servers offer and permit, and what got worse since an earlier run; without AWS."""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from popwatch.model.posture import Posture, PostureSummary, findings, parse_summary, worse
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober
from popwatch.prober.posture import probe_postures
from popwatch_cli import completion
from popwatch_cli.commands.file_testing import FAILED_CODE, allow_descriptors, progress, read_targets
from popwatch_cli.commands.servers import items_of, of_option, server
from popwatch_cli.errors import UserError
from popwatch_cli.files.certificates import read_certificates
from popwatch_cli.options import Choice, SecondsOption, StackChoice, WholeNumber
from popwatch_cli.output.posture import WIDTH, to_json, to_text
from popwatch_cli.selection import GROUP, TAG, Selection

FOUND_CODE = 1

OF_FILES = {"file", "before", "in_flight", "as_json"}
"""Options that are meant for a file of targets too."""

EXAMPLES = """\b
Examples:
  popwatch posture pop.example.net
  popwatch posture pop.example.net:995 --sibling 993 --sibling 465
  popwatch posture mail-berlin --local
  popwatch posture --file targets.jsonl --json > posture.jsonl
  popwatch posture --file targets.jsonl --before posture.jsonl"""


@click.command(epilog=EXAMPLES)
@click.argument("host", nargs=-1, metavar="[HOST[:PORT] | ID]...", shell_complete=completion.servers)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.groups,
    help=f"With --local or --stack: {GROUP.lower()}",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.tags,
    help=f"With --local or --stack: {TAG.lower()}",
)
@click.option("-p", "--port", type=int, help="TCP port; 110, or 995 with implicit TLS.")
@click.option("--tls", type=Choice(["starttls", "implicit"]), help="How TLS begins; by STLS unless given.")
@click.option("--tls-name", "--sni", metavar="NAME", help="Name for SNI and the certificate; the host unless given.")
@click.option(
    "--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with your own CA certificates."
)
@click.option(
    "-t", "--timeout", type=SecondsOption(), default=10, show_default=True, help="Seconds for each connection, 1 to 60."
)
@click.option("-4", "family", flag_value="ipv4", help="Use IPv4 only.")
@click.option("-6", "family", flag_value="ipv6", help="Use IPv6 only.")
@click.option(
    "--sibling",
    "siblings",
    type=WholeNumber(1, 65_535),
    multiple=True,
    metavar="PORT",
    help="Another port of the host with TLS, such as 993 or 465: is its certificate newer? Repeatable.",
)
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Test the targets of a file (.yaml, .csv, JSON lines); - for JSON lines of standard input.",
)
@click.option(
    "--before",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The output of an earlier run with --json: show only what got worse since.",
)
@click.option("--in-flight", type=WholeNumber(1), metavar="N", help="Maximum number of servers at the same time.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each server.")
@click.pass_context
def posture(context: click.Context, /, file: str | None, as_json: bool, **options: Any) -> None:
    """Show what a POP3 server offers and permits, and what to mend, from here, now.

    CAPA before and after TLS, whether USER is accepted without TLS, STLS, TLS 1.0 and 1.1, the certificate's chain, and
    newer certificates on the host's other ports. No user's name and no password is ever sent.

    With --local, --stack, --region or --profile the words are ids of the stack's targets.

    Exit codes: 0 nothing found, 1 something found (with --before: something got worse), 2 a server could not be asked,
    3 usage error.
    """
    choice = context.find_object(StackChoice) or StackChoice()
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    given -= {name for name in ("host", "groups", "tags") if not context.params[name]}
    if file and given - OF_FILES:
        raise click.UsageError("With --file, write the fields of each target into the file.")
    targets = read_targets(file) if file else _targets(choice, options, given)
    known = _summaries(options["before"]) if options["before"] else None
    prober = partial(Prober, in_flight=options["in_flight"])
    if options["in_flight"]:
        allow_descriptors(options["in_flight"])
    codes = {0}
    with progress(len(targets)) as advance:
        for target, found in probe_postures(targets, prober):
            codes.add(_show(target, found, known, as_json=as_json, width=choice.width or WIDTH))
            advance(1)
    sys.exit(max(codes))


def _targets(choice: StackChoice, options: dict[str, Any], given: set[str]) -> list[Target]:
    """The targets that the words and options describe. Raises click.UsageError, and UserError for an unknown one."""
    words = tuple(dict.fromkeys(options["host"]))
    values = {
        "port": options["port"],
        "tls": options["tls"],
        "tls_name": options["tls_name"],
        "ca_pem": read_certificates(options["ca"]) if options["ca"] else None,
        "family": options["family"],
        "max_test_seconds": options["timeout"] if "timeout" in given else None,
        "siblings": list(options["siblings"]) or None,
    }
    if choice.in_use:
        found = items_of(choice, Selection(words, options["groups"], options["tags"]))
    elif options["groups"] or options["tags"]:
        raise click.UsageError("--group and --tag choose targets of a stack: add --local or --stack NAME.")
    elif not words:
        raise click.UsageError("Name the server: `popwatch posture pop.example.net`")
    else:
        found = [server(word, given, plugin=False) for word in words]
    fields = {name: value for name, value in values.items() if value is not None}
    targets = [parse_target({**item, **fields}) for item in found]
    problems = [problem for target in targets for problem in target.problems]
    if problems and not choice.in_use:
        raise click.UsageError(" ".join(dict.fromkeys(map(of_option, problems))))
    return targets


def _summaries(path: Path) -> dict[str, PostureSummary]:
    """The summaries of an earlier run, by the ids of the targets. Raises UserError for another file."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            summary = parse_summary(entry["digest"])
            found[entry["target_id"]] = summary
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            summary = None
        if summary is None:
            raise UserError(f"{path.name}, line {number}: not a line that `popwatch posture --json` printed.")
    return {target_id: summary for target_id, summary in found.items() if summary}


def _show(
    target: Target, posture: Posture, known: Mapping[str, PostureSummary] | None, *, as_json: bool, width: int
) -> int:
    """Print a posture, with what got worse if an earlier one is known; returns the exit code."""
    before = (known or {}).get(target.target_id)
    found, changed = findings(posture), worse(before, posture) if before else []
    shown = found if known is None else changed
    if as_json:
        compared = None if before is None else changed
        click.echo(json.dumps(to_json(target, posture, found, compared, posture.summary.filled_from(before))))
    else:
        heading = "Found" if known is None else "Worse than before" if before else "Not in the earlier run; worse"
        click.echo("\n".join(to_text(target, posture, shown, width, heading)))
    return FAILED_CODE if posture.problem else FOUND_CODE if shown else 0
