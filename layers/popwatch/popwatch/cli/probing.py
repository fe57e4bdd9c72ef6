"""`popwatch test`: tests made from here, now, without AWS, by the function's own prober."""

import ipaddress
import json
import resource
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from popwatch.cli.errors import UserError
from popwatch.cli.files import FileError, parse_lines
from popwatch.cli.outcome_text import conclusion, steps, to_json
from popwatch.cli.plugin import Thresholds, verdict
from popwatch.outcomes import ErrorCode, Outcome
from popwatch.prober import DESCRIPTOR_RESERVE, Prober, probe
from popwatch.targets import Target, parse_target
from popwatch.tokens import milliseconds, place

FAILED_CODE, MISUSED_CODE = 2, 3
DESCRIPTORS_PER_TEST = 2
"""A second address may be tried while the first is on its way."""

EXAMPLES = """\b
Examples:
  popwatch test pop.example.net
  popwatch test pop.example.net --tls implicit --json
  popwatch test 192.0.2.7 --tls starttls --tls-name pop.example.net
  popwatch test --plugin -H pop.example.net -S -w 1 -c 5 -D 30,14
  popwatch test --file targets.jsonl --json > outcomes.jsonl"""


@click.command(epilog=EXAMPLES)
@click.argument("host", required=False)
@click.option("-H", "--hostname", metavar="HOST", help="The server; the same as the argument.")
@click.option("-p", "--port", type=int, help="TCP port; 110, or 995 with implicit TLS.")
@click.option("--tls", type=click.Choice(["none", "implicit", "starttls"]), help="How TLS is used; none unless given.")
@click.option("-S", "--ssl", is_flag=True, help="The same as --tls implicit.")
@click.option("--no-verify", is_flag=True, help="Do not check the certificate's chain, dates and name.")
@click.option("--tls-name", "--sni", metavar="NAME", help="Name for SNI and the certificate; the host unless given.")
@click.option(
    "--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File of your own authorities."
)
@click.option(
    "--greeting", multiple=True, metavar="TEXT", help="Another beginning of a greeting to accept; repeatable."
)
@click.option("--no-quit", is_flag=True, help="Do not wait for the reply to QUIT.")
@click.option("-t", "--timeout", type=float, default=10, show_default=True, help="Seconds for the whole test, 1 to 60.")
@click.option("-4", "family", flag_value="4", help="Use IPv4 only.")
@click.option("-6", "family", flag_value="6", help="Use IPv6 only.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as a line of JSON.")
@click.option(
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    help="Test the targets of a file of JSON lines; - reads them from the input.",
)
@click.option("--in-flight", type=click.IntRange(1), metavar="N", help="With --file: tests at once.")
@click.option("--plugin", is_flag=True, help="Answer as check_pop of monitoring-plugins: one line, exit code 0 to 3.")
@click.option("-w", "--warning", type=float, metavar="SECONDS", help="With --plugin: slower than this is a warning.")
@click.option("-c", "--critical", type=float, metavar="SECONDS", help="With --plugin: slower than this is critical.")
@click.option(
    "-D",
    "--certificate",
    metavar="WARN[,CRIT]",
    help="With --plugin: days that the certificate has to last; implies -S unless --tls says otherwise.",
)
@click.option(
    "-r",
    "--refuse",
    type=click.Choice(["ok", "warn", "crit"]),
    default="crit",
    help="With --plugin: what a refused connection is.  [default: crit]",
)
@click.option(
    "-M",
    "--mismatch",
    type=click.Choice(["ok", "warn", "crit"]),
    default="crit",
    help="With --plugin: what a wrong greeting is.  [default: crit]",
)
def test(file: Any, in_flight: int | None, plugin: bool, as_json: bool, **options: Any) -> None:
    """Test a POP3 server from here, now: connect, TLS, greeting, QUIT.

    Exit codes: 0 passed, 2 failed, 3 the command has a mistake. With --plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    """
    if file:
        sys.exit(_test_file(file, in_flight, as_json=as_json))
    target = _target(options)
    outcome = probe(target, Prober(resolve=_resolver(options["family"], target.host)))
    now = datetime.now(UTC)
    if plugin:
        found = verdict(target, outcome, _thresholds(options), now)
        click.echo(found.line)
        sys.exit(found.code)
    click.echo(json.dumps(to_json(target, outcome)) if as_json else _for_people(target, outcome, now))
    sys.exit(_code(outcome))


def _target(options: dict[str, Any]) -> Target:
    """The target that the options describe. Raises click.UsageError."""
    host = options["host"] or options["hostname"]
    if not host:
        raise click.UsageError("Name the server to test: popwatch test pop.example.net")
    wants_tls = options["ssl"] or (options["certificate"] and not options["tls"])
    fields = {
        "target_id": host,
        "host": host,
        "port": options["port"],
        "tls": options["tls"] or ("implicit" if wants_tls else "none"),
        "verify_tls": not options["no_verify"],
        "tls_name": options["tls_name"],
        "ca_pem": options["ca"].read_text() if options["ca"] else None,
        "greeting": list(options["greeting"]),
        "check_quit": not options["no_quit"],
        "max_test_seconds": options["timeout"],
    }
    target = parse_target({name: value for name, value in fields.items() if value is not None})
    if target.problems:
        raise click.UsageError(" ".join(problem.explanation for problem in target.problems))
    return target


def _thresholds(options: dict[str, Any]) -> Thresholds:
    days = [part.strip() for part in (options["certificate"] or "").split(",") if part.strip()]
    if not all(day.isdecimal() for day in days) or len(days) > 2:
        raise click.UsageError("-D takes days as WARN or WARN,CRIT, such as 30,14.")
    return Thresholds(
        warning_seconds=options["warning"],
        critical_seconds=options["critical"],
        warning_days=int(days[0]) if days else None,
        critical_days=int(days[1]) if len(days) > 1 else 0,
        refused=options["refuse"],
        mismatch=options["mismatch"],
    )


def _resolver(family: str | None, host: str) -> Callable[[str], list[str]]:
    """Addresses of the wished family only. Raises click.UsageError for an address of the other."""
    families = {"4": socket.AF_INET, "6": socket.AF_INET6, None: socket.AF_UNSPEC}
    try:
        version = str(ipaddress.ip_address(host).version)
    except ValueError:
        version = family or ""
    if family and version != family:
        raise click.UsageError(f"{host} is no IPv{family} address: leave -{family} out.")

    def resolve(name: str) -> list[str]:
        found = socket.getaddrinfo(name, None, families[family], socket.SOCK_STREAM, socket.IPPROTO_TCP)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    return resolve


def _for_people(target: Target, outcome: Outcome, now: datetime) -> str:
    colour = "green" if outcome.passed else "red"
    lines = [f"  {name:<9}{spent:>9}  {seen}".rstrip() for name, spent, seen in steps(outcome, now)]
    first, *rest = conclusion(target, outcome)
    return "\n".join([*lines, click.style(first, fg=colour, bold=True), *rest])


def _code(outcome: Outcome) -> int:
    if outcome.error is ErrorCode.MISSING_FIELDS:
        return MISUSED_CODE
    return 0 if outcome.passed else FAILED_CODE


def _test_file(lines: Iterable[str], in_flight: int | None, *, as_json: bool) -> int:
    """Test many targets; the exit code. Raises FileError for a line that is no target."""
    targets = [parse_target({"target_id": str(entry.line), **entry.fields}) for entry in parse_lines(lines)]
    if not targets:
        raise FileError(['The file has no targets: write one line such as {"host": "pop.example.net"} for each.'])
    if in_flight:
        _allow_descriptors(in_flight)
    codes = {0}
    with _progress(len(targets)) as advance:
        for arrivals in Prober(in_flight=in_flight).run(targets):
            for target, outcome in arrivals:
                codes.add(0 if outcome.passed else FAILED_CODE)
                click.echo(json.dumps(to_json(target, outcome)) if as_json else _line(target, outcome))
            sys.stdout.flush()
            advance(len(arrivals))
    return max(codes)


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(range(count), label="Testing", file=sys.stderr) as bar:
        yield bar.update


def _line(target: Target, outcome: Outcome) -> str:
    if outcome.passed:
        return f"passed  {target.target_id}  {place(target)}  {milliseconds(outcome.rtt_ms)} ms"
    return f"failed  {target.target_id}  {place(target)}  {outcome.message} ({outcome.reason})"


def _allow_descriptors(in_flight: int) -> None:
    """Let this process have the descriptors for so many tests at once. Raises UserError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = in_flight * DESCRIPTORS_PER_TEST + DESCRIPTOR_RESERVE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard not in (resource.RLIM_INFINITY,) and hard < needed:
        most = (hard - DESCRIPTOR_RESERVE) // DESCRIPTORS_PER_TEST
        raise UserError(f"This process may open {hard} files: use --in-flight {most} or less, or raise `ulimit -Hn`.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
