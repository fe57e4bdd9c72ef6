"""`popwatch posture`: what servers offer and permit, and what got worse since an earlier run; without AWS."""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from popwatch.model.posture import Posture, PostureSummary, findings, parse_summary, worse
from popwatch.model.targets import Target, server_fingerprint
from popwatch.prober.loop import Prober
from popwatch.prober.posture import probe_postures
from popwatch_cli.commands.file_testing import FAILED_CODE, allow_descriptors, progress, read_targets
from popwatch_cli.commands.servers import (
    AUTHORITIES,
    GROUPS,
    HOSTS,
    IPV4,
    IPV6,
    PORT,
    TAGS,
    TARGETS_FILE,
    TLS_NAME,
    described,
    family_of,
    once,
    refuse_in_flight_alone,
)
from popwatch_cli.errors import UserError
from popwatch_cli.files.certificates import read_certificates
from popwatch_cli.options import Choice, SecondsOption, StackChoice, WholeNumber, given_options
from popwatch_cli.output.posture import to_json, to_text
from popwatch_cli.output.terminal import console
from popwatch_cli.selection import Selection

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
@HOSTS
@GROUPS
@TAGS
@PORT
@click.option("--tls", type=Choice(["starttls", "implicit"]), help="How TLS begins; by STLS unless given.")
@TLS_NAME
@AUTHORITIES
@click.option(
    "-t",
    "--timeout",
    type=SecondsOption(1, 60),
    default=10,
    show_default=True,
    help="Seconds for each connection, 1 to 60.",
)
@IPV4
@IPV6
@click.option(
    "--sibling",
    "siblings",
    type=WholeNumber(1, 65_535),
    multiple=True,
    metavar="PORT",
    help="Another port of the host with TLS, such as 993 or 465: is its certificate newer? Repeatable.",
)
@TARGETS_FILE
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
    """Show what a POP3 server offers and permits, and what to fix, from here, now.

    CAPA before and after TLS, whether USER is accepted without TLS, STLS, TLS 1.0 and 1.1, the certificate's chain, and
    newer certificates on the host's other ports. No user's name and no password is ever sent.

    With --local, --stack, --region or --profile the words are ids of the stack's targets.

    Exit codes: 0 nothing found, 1 something found (with --before: something got worse), 2 a server could not be asked,
    3 usage error.
    """
    choice = context.find_object(StackChoice) or StackChoice()
    given = given_options(context)
    if file and given - OF_FILES:
        raise click.UsageError("With --file, write the fields of each target into the file.")
    targets = read_targets(file) if file else _targets(choice, options, given)
    if not file:
        refuse_in_flight_alone(options)
    known = _summaries(options["before"]) if options["before"] else None
    prober = partial(Prober, in_flight=options["in_flight"])
    if options["in_flight"]:
        allow_descriptors(options["in_flight"])
    codes = {0}
    with progress(len(targets)) as advance:
        for target, found in probe_postures(targets, prober):
            codes.add(_show(target, found, known, as_json=as_json, width=console().width))
            advance(1)
    sys.exit(max(codes))


def _targets(choice: StackChoice, options: dict[str, Any], given: set[str]) -> list[Target]:
    """The targets that the words and options describe. Raises click.UsageError, and UserError for an unknown one."""
    words = tuple(once(options["host"]))
    values = {
        "port": options["port"],
        "tls": options["tls"],
        "tls_name": options["tls_name"],
        "ca_pem": read_certificates(options["ca"]) if options["ca"] else None,
        "family": family_of(options),
        "max_test_seconds": options["timeout"] if "timeout" in given else None,
        "siblings": list(options["siblings"]) or None,
    }
    fields = {name: value for name, value in values.items() if value is not None}
    selection = Selection(words, options["groups"], options["tags"])
    return described(choice, selection, fields, given, missing="Name the server: `popwatch posture pop.example.net`")


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
    server = server_fingerprint(target)
    before = before if before and before.is_of(server) else None
    found, changed = findings(posture), worse(before, posture) if before else []
    shown = found if known is None else changed
    if as_json:
        compared = None if before is None else changed
        click.echo(json.dumps(to_json(target, posture, found, compared, posture.kept_after(before, server))))
    else:
        heading = "Found" if known is None else "Worse than before" if before else "Not in the earlier run; worse"
        click.echo("\n".join(to_text(target, posture, shown, width, heading)))
    return FAILED_CODE if posture.problem else FOUND_CODE if shown else 0
