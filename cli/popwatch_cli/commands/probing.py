"""`popwatch test`: tests from this machine, without AWS, with the same prober as the function's."""

import json
import shlex
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import click

from popwatch import __version__
from popwatch.model.credentials import Credential, Mechanism, UnusableCredentialError, check_name, check_user
from popwatch.model.fields import TlsMode, TlsVersion
from popwatch.model.outcomes import Outcome
from popwatch.model.targets import LOGIN_TEST_SECONDS, Target, login_problems
from popwatch.model.text import clean
from popwatch.prober.loop import Prober, probe
from popwatch_cli.commands.file_testing import FAILED_CODE, test_file, test_targets
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
from popwatch_cli.files.certificates import read_certificates
from popwatch_cli.given_secrets import given_secret
from popwatch_cli.options import (
    Choice,
    MillisecondsOption,
    SecondsOption,
    StackChoice,
    WholeNumber,
    given_options,
    refuse_ineffective,
)
from popwatch_cli.output.nagios_plugin import Thresholds, plugin_result
from popwatch_cli.output.outcome import conclusion, steps, succeeded, to_json
from popwatch_cli.output.terminal import say
from popwatch_cli.selection import Selection

FOR_FILES = {"file", "as_json", "in_flight", "verbose"}
FOR_LOGINS = {"user", "credential", "mechanism", "secret_file"}
FOR_TLS = {"no_verify", "tls_name", "ca", "tls_min", "legacy_renegotiation", "certificate"}
FOR_PLUGINS = {"plugin", "warning", "critical", "certificate", "refuse", "mismatch", "all_texts"}

USER_SHOWN = 254
"""Characters of a user that are shown."""

EXAMPLES = """\b
Examples:
  popwatch test pop.example.net
  popwatch test pop.example.net:995
  popwatch test pop.example.net --tls implicit --json
  popwatch test mail-berlin --local
  popwatch test 192.0.2.7 --tls starttls --tls-name pop.example.net
  popwatch test pop.example.net:995 --login --user monitor@example.net
  popwatch test mail-berlin --local --login --credential monitor
  popwatch test --plugin -H pop.example.net -S -w 1 -c 5 -D 30,14
  popwatch test --file targets.yaml --json > outcomes.jsonl"""


@click.command(epilog=EXAMPLES)
@HOSTS
@GROUPS
@TAGS
@click.option("-H", "--hostname", "--host", "hostname", metavar="HOST", help="The server; the same as the argument.")
@PORT
@click.option("--tls", type=Choice(["none", "implicit", "starttls"]), help="How TLS is used; none unless given.")
@click.option("-S", "--ssl", is_flag=True, help="The same as --tls implicit.")
@click.option("--no-verify", is_flag=True, help="Do not check the certificate's chain, dates and name.")
@TLS_NAME
@AUTHORITIES
@click.option(
    "--tls-min",
    type=Choice(list(map(str, TlsVersion))),
    default=str(TlsVersion.TLS_1_2),
    show_default=True,
    help="The lowest TLS version to accept; below 1.2 old ciphers, short keys and SHA-1 too.",
)
@click.option("--legacy-renegotiation", is_flag=True, help="Accept a server without secure renegotiation (RFC 5746).")
@click.option(
    "--greeting", multiple=True, metavar="TEXT", help="Also accept a greeting that begins with TEXT; repeatable."
)
@click.option(
    "-e",
    "--expect",
    multiple=True,
    metavar="TEXT",
    help="The greeting must also contain TEXT, where * stands for any characters; repeatable.",
)
@click.option("-A", "--all", "all_texts", is_flag=True, help="With --plugin and several -e: all of them must be there.")
@click.option(
    "--max-rtt-ms", type=MillisecondsOption(), metavar="N", help="Fail if the round trip takes more milliseconds."
)
@click.option("--no-quit", is_flag=True, help="Do not wait for the reply to QUIT.")
@click.option(
    "-t",
    "--timeout",
    type=SecondsOption(1, 60),
    help="Seconds for the whole test, 1 to 60.  [default: 10, with --login 20]",
)
@IPV4
@IPV6
@click.option("--all-addresses", is_flag=True, help="Test every address of the host, and name those that fail.")
@click.option("--login", is_flag=True, help="Log in as well; asks for the password. Needs TLS that is verified.")
@click.option("--user", metavar="USER", help="With --login: the user to log in as.")
@click.option(
    "--credential", metavar="NAME", help="With --login: a credential that `popwatch credentials put` has stored."
)
@click.option(
    "--mechanism",
    type=Choice(Mechanism),
    default=str(Mechanism.USER),
    show_default=True,
    help="With --login: how; the password of xoauth2 is an access token.",
)
@click.option(
    "--secret-file",
    type=click.File(),
    metavar="FILE",
    help="With --login: read the password from FILE; - is standard input.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as a line of JSON.")
@TARGETS_FILE
@click.option(
    "--in-flight",
    type=WholeNumber(1),
    metavar="N",
    help="With many targets: maximum number of tests at the same time.",
)
@click.option(
    "--plugin",
    is_flag=True,
    help="Print and exit like check_pop of monitoring-plugins: one line, exit code 0 to 3.",
)
@click.option(
    "-w", "--warning", type=SecondsOption(), metavar="SECONDS", help="With --plugin: slower than this is a warning."
)
@click.option(
    "-c", "--critical", type=SecondsOption(), metavar="SECONDS", help="With --plugin: slower than this is critical."
)
@click.option(
    "-D",
    "--certificate",
    metavar="WARN[,CRIT]",
    help="With --plugin: WARNING, CRITICAL if this many days or fewer are left; implies -S unless --tls is given.",
)
@click.option(
    "-r",
    "--refuse",
    type=Choice(["ok", "warn", "crit"]),
    default="crit",
    show_default=True,
    help="With --plugin: the status of a refused connection.",
)
@click.option(
    "-M",
    "--mismatch",
    type=Choice(["ok", "warn", "crit"]),
    default="crit",
    show_default=True,
    help="With --plugin: the status of a wrong greeting.",
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Name each certificate; with --plugin print each step on standard error."
)
@click.version_option(__version__, "-V", "--version", message="popwatch %(version)s")
@click.pass_context
def test(
    context: click.Context, /, file: str | None, in_flight: int | None, plugin: bool, as_json: bool, **options: Any
) -> None:
    """Test a POP3 server from here, now: connect, TLS, greeting, QUIT; with --login also CAPA, the login, STAT.

    With --local, --stack, --region or --profile the words are ids of the stack's targets; options change their fields
    for this test. Several servers are tested at the same time, with one line for each.

    Exit codes: 0 passed, 2 failed, 3 usage error. With --plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    """
    _refuse_ineffective_options(context)
    if plugin and len(options["expect"]) > 1 and not options["all_texts"]:
        raise click.UsageError(
            "popwatch demands each text of -e, check_pop only one without -A: add -A, or give only one."
        )
    if file:
        sys.exit(test_file(file, in_flight, as_json=as_json))
    choice = context.find_object(StackChoice) or StackChoice()
    targets = _targets(choice, options, given_options(context), plugin=plugin)
    _refuse_ineffective_tls(targets)
    if len(targets) > 1:
        if plugin or options["login"]:
            raise click.UsageError(f"--{'plugin' if plugin else 'login'} tests one server.")
        sys.exit(test_targets(targets, in_flight, as_json=as_json))
    [target], thresholds = targets, _thresholds(options)
    outcome = _log_in(choice, target, options, given=given_options(context)) if options["login"] else probe(target)
    now = datetime.now(UTC)
    if plugin:
        result = plugin_result(target, outcome, thresholds, now)
        click.echo(result.line)
        if options["verbose"]:
            say(_for_people(target, outcome, now, verbose=True), err=True)
        sys.exit(result.code)
    if as_json:
        click.echo(json.dumps(to_json(target, outcome)))
    else:
        say(_for_people(target, outcome, now, options["verbose"]))
        if not choice.in_use and outcome.reason == "no-such-name" and "." not in target.host:
            _say_of_local_target(target.host)
    sys.exit(0 if succeeded(outcome) else FAILED_CODE)


def _say_of_local_target(name: str) -> None:
    """Say how a target of the local stack is tested: a name without a dot is more often an id than a server."""
    # Not imported at the beginning: without a stack, `popwatch test` starts without boto3.
    from popwatch_cli.installation import local_runs  # noqa: PLC0415

    if local_runs():
        say(f"A local stack is running here: `popwatch test {shlex.quote(name)} --local` tests a target of it.")


def _log_in(choice: StackChoice, target: Target, options: dict[str, Any], *, given: set[str]) -> Outcome:
    """Test a target with a login: a stored one, its own unless another is given, or one whose password is asked for.

    Raises click.UsageError, and UserError if there is no password.
    """
    problems = login_problems(target)
    if problems:
        needed = "--tls implicit or starttls, without --no-verify, and --tls-min 1.2 or later"
        raise click.UsageError(f"--login needs TLS that is verified and modern: {needed}.")
    name = options["credential"] or ("" if options["user"] else target.policy.login)
    if name:
        ineffective = sorted(given & FOR_LOGINS - {"credential"})
        if ineffective:
            other = "with --credential" if options["credential"] else f"with the target's own login {name}: add --user"
            raise click.UsageError(f"--{ineffective[0].replace('_', '-')} does nothing {other}.")
        return probe(target, Prober(credentials={target.target_id: _stored(choice, name)}))
    if not options["user"]:
        raise click.UsageError("--login needs --user USER, or --credential NAME.")
    try:
        check_user(options["user"], Mechanism(options["mechanism"]))
        secret = given_secret(options["secret_file"], f"Password of {clean(options['user'], USER_SHOWN)}")
        credential = Credential("command-line", options["user"], secret, Mechanism(options["mechanism"]))
    except UnusableCredentialError as error:
        raise click.UsageError(str(error)) from None
    return probe(target, Prober(credentials={target.target_id: credential}))


def _stored(choice: StackChoice, name: str) -> Credential:
    """A login of the stack. Raises UserError, click.UsageError, and what botocore raises."""
    # Not imported at the beginning: without a stack, `popwatch test` starts without boto3.
    from popwatch_cli.credential_store import read_login  # noqa: PLC0415
    from popwatch_cli.installation import find  # noqa: PLC0415

    try:
        check_name(name)
    except UnusableCredentialError as error:
        raise click.UsageError(str(error)) from None
    return read_login(find(choice), name)


def _refuse_ineffective_options(context: click.Context) -> None:
    """Refuse options that have no effect together with the others. Raises click.UsageError."""
    given = given_options(context)
    if "file" in given:
        ineffective, why = given - FOR_FILES, "with --file: write the fields of each target into the file"
    elif "plugin" in given:
        ineffective, why = {"as_json", "in_flight", "login", *FOR_LOGINS}, "with --plugin"
    elif not given & {"login"} and given & FOR_LOGINS:
        ineffective, why = FOR_LOGINS, "alone: add --login"
    else:
        ineffective, why = FOR_PLUGINS, "alone: add --plugin"
        refuse_in_flight_alone(context.params)
    refuse_ineffective(ineffective, why)
    if {"no_verify", "ca"} <= given:
        raise click.UsageError("--ca does nothing with --no-verify: nothing is checked then. Leave out one of them.")
    if "ssl" in given and context.params["tls"] not in (None, "implicit"):
        raise click.UsageError(f"--ssl and --tls {context.params['tls']} contradict each other: leave out one of them.")


def _refuse_ineffective_tls(targets: Collection[Target]) -> None:
    """Refuse options about TLS where no target uses it. Raises click.UsageError."""
    if all(target.tls is TlsMode.NONE for target in targets):
        refuse_ineffective(FOR_TLS, "without TLS: add -S or --tls starttls")


def _targets(choice: StackChoice, options: dict[str, Any], given: set[str], *, plugin: bool) -> list[Target]:
    """The targets that the options describe. Raises click.UsageError, and UserError for one that the stack has not."""
    words = [*options["host"], *([options["hostname"]] if options["hostname"] else [])]
    words = once(words)
    fields = _fields(options, given)
    selection = Selection(tuple(words), options["groups"], options["tags"])
    of_stack = choice.in_use or selection.groups or selection.tags
    if len(words) > 1 and options["hostname"] and not of_stack:
        raise click.UsageError("Name one server, as the argument or with -H; several as arguments.")
    usual = {"max_test_seconds": LOGIN_TEST_SECONDS} if options["login"] else {}
    missing = "Name the server to test: `popwatch test pop.example.net`"
    return described(choice, selection, fields, given, missing=missing, usual=usual, plugin=plugin)


def _fields(options: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """The fields that the given options set."""
    implicit = options["ssl"] or (options["certificate"] and not options["tls"])
    values = {
        "port": options["port"],
        "tls": options["tls"] or ("implicit" if implicit else None),
        "verify_tls": False if options["no_verify"] else None,
        "tls_name": options["tls_name"],
        "ca_pem": read_certificates(options["ca"]) if options["ca"] else None,
        "tls_min": options["tls_min"] if "tls_min" in given else None,
        "legacy_renegotiation": options["legacy_renegotiation"] or None,
        "greeting": list(options["greeting"]) or None,
        "expect": list(options["expect"]) or None,
        "check_quit": False if options["no_quit"] else None,
        "family": family_of(options),
        "all_addresses": options["all_addresses"] or None,
        "max_test_seconds": options["timeout"],
        "max_rtt_ms": options["max_rtt_ms"],
    }
    return {name: value for name, value in values.items() if value is not None}


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


def _for_people(target: Target, outcome: Outcome, now: datetime, verbose: bool = False) -> str:
    colour = "green" if succeeded(outcome) else "red"
    lines = [f"  {name:<9}{duration:>9}  {shown}".rstrip() for name, duration, shown in steps(target, outcome, now)]
    if verbose:
        lines += [
            f"  {found.role:<12} {found.subject}, valid until {found.expires:%Y-%m-%d}"
            for found in outcome.certificates
        ]
    first, *rest = conclusion(target, outcome)
    return "\n".join([*lines, click.style(first, fg=colour, bold=True), *rest])
