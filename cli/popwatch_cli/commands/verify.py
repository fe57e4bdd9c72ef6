"""`popwatch verify`: a deployed stack proves itself by a temporary target, queues and an alarm, check by check."""

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from popwatch import __version__
from popwatch.decisions.judging import TICK
from popwatch.model.outcomes import ErrorCode
from popwatch.model.text import clean, clean_whole, counted, iso
from popwatch_cli.commands.before_writing import no_terminal
from popwatch_cli.doctor.aws_state import AwsState
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation, find
from popwatch_cli.output.terminal import say
from popwatch_cli.rehearsal.filter_policies import Subscription, reaches
from popwatch_cli.rehearsal.simulation import first_alert, simulate
from popwatch_cli.verification.evidence import TopicRole
from popwatch_cli.verification.rules import LONGEST_RUN, Verdict, VerificationResult, decide, exit_code, is_complete
from popwatch_cli.verification.temporary import RUN_ID, Server, Sleep, Temporary
from popwatch_cli.verification.watching import Watcher

ROUND_SECONDS = 5.0
"""The time between two looks. Retests of the temporary target come each 20 s."""

COLOURS = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.UNKNOWN: "yellow", Verdict.NOT_SHOWN: "yellow"}
SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+)(?::(\d{1,5}))?")
REMOVING = timedelta(minutes=1)
"""How long a run may take to remove what is temporary."""

Clock = Callable[[], datetime]


@click.command()
@click.option(
    "--server", metavar="HOST[:PORT]", help="Also test this POP3 server, which must pass. Port 995 means TLS."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before the TEST messages are sent.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, with nothing private in it.")
@click.pass_obj
def verify(choice: Any, *, server: str | None, yes: bool, as_json: bool) -> None:
    """Prove that a deployed stack works: that its schedule fires, alerts and alarms arrive, and metrics are there.

    Takes up to 20 minutes and costs a few cents. Creates a target that must fail, three queues and an alarm. Removes
    them at the end, also when it is interrupted; the next run removes what is left of one that was killed. Everyone
    who would receive an alert receives a message marked TEST: they are listed first.

    Exit code 0 if every check has passed, 1 if any is unknown or not shown, 2 if any has failed, 3 if there is no such
    stack or nothing could be created.

    \b
    Examples:
      popwatch verify
      popwatch verify --server pop.example.net:995 --yes
      popwatch verify --yes --json
    """
    temporary = Temporary.starting(find(choice), parse_server(server) if server else None)
    _announce(temporary, ask=not yes, to_stderr=as_json)

    def show(result: VerificationResult) -> None:
        if not as_json:
            for text in lines_of(result):
                say(text)

    began = datetime.now(UTC)
    results = run(temporary, show)
    if as_json:
        click.echo(json.dumps(to_json(results, temporary.installation, began, datetime.now(UTC))))
    else:
        say(summary(results))
    sys.exit(exit_code(results))


def run(
    temporary: Temporary,
    show: Callable[[VerificationResult], None],
    clock: Clock = lambda: datetime.now(UTC),
    sleep: Sleep = time.sleep,
) -> list[VerificationResult]:
    """Verify, calling `show` with each result as soon as it is known; all of them in the end."""
    results: dict[str, VerificationResult] = {}
    with _removing(temporary):
        watcher = Watcher(temporary, clock)
        watcher.begin(sleep)
        while not watcher.evidence.over:
            watcher.look()
            watcher.evidence.over = watcher.evidence.elapsed >= LONGEST_RUN
            for result in decide(watcher.evidence, results):
                results[result.name] = result
                show(result)
            if is_complete(watcher.evidence, results):
                break
            sleep(ROUND_SECONDS)
    return list(results.values())


@contextmanager
def _removing(temporary: Temporary) -> Iterator[None]:
    """Remove everything temporary at the end, whatever ends it; a signal that comes meanwhile does not stop that."""
    # A terminal that is closed sends SIGHUP, which `nohup` has had ignored.
    hangup = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL else []
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, *hangup)}
    try:
        yield
    finally:
        before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        for name in temporary.remove():
            say(f"Could not be removed: {name}. The next `popwatch verify` tries again.", err=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def parse_server(text: str) -> Server:
    """The server of `--server`. Raises UserError."""
    found = SERVER.fullmatch(text.strip())
    port = int(found[2] or 110) if found else 0
    if not found or not 0 < port < 65536:
        raise UserError(f"--server {clean(text, 60)} is not a server: write HOST or HOST:PORT.")
    return Server(found[1].strip("[]"), port)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _announce(temporary: Temporary, *, ask: bool, to_stderr: bool) -> None:
    """Say what is left of an earlier run, and who will receive a TEST; ask. Raises click.Abort if the user says no."""

    def announce(text: str) -> None:
        say(clean_whole(text), err=to_stderr)

    now, left = datetime.now(UTC), temporary.leftovers()
    # What a young run without a target has is not there yet, or SQS still lists it: a queue is deleted within 60 s.
    young = {run for run in map(temporary.run_of, left) if _over_at(run) > now}
    going_on = young & {temporary.run_of(name) for name in left if name.startswith("target ")}
    if going_on:
        over = max(map(_over_at, going_on))
        warning = f"Another run of `popwatch verify` may be going on: it is over at {iso(over)} at the latest."
        if not ask:
            raise UserError(f"{warning} Wait until then, or run it without --yes if the other was killed.")
        announce(warning)
        _confirm("Was it killed?", to_stderr=to_stderr)
    earlier = frozenset(map(temporary.run_of, left)) - young | going_on
    for name in left:
        if temporary.run_of(name) in earlier:
            announce(f"Left of an earlier run, will be removed: {name}.")
    receivers = receivers_of(temporary)
    announce("These receive a message that is marked TEST:" if receivers else "No one receives the TEST messages.")
    for receiver in receivers:
        announce(f"- {receiver}")
    if ask:
        _confirm("Go on?", to_stderr=to_stderr)
    temporary.earlier = earlier
    refused = temporary.remove()
    if refused:
        raise UserError(
            f"{refused[0]} of an earlier run could not be removed: docs/deploying.md lists the permissions."
        )


def _confirm(question: str, *, to_stderr: bool) -> None:
    """Ask a question; a pipe may answer. Raises UserError if nothing does, and click.Abort for a no."""
    try:
        agreed = click.confirm(question, err=to_stderr)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise no_terminal("Nothing was created or sent.") from None
    if not agreed:
        raise click.Abort


def _over_at(run_id: str) -> datetime:
    """When the run of this id, the time at which it began, has ended at the latest; long ago for another id."""
    try:
        return datetime.strptime(run_id, RUN_ID).replace(tzinfo=UTC) + LONGEST_RUN + REMOVING
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def receivers_of(temporary: Temporary) -> list[str]:
    """Who will receive a TEST, masked: of the alert by their filter policies, of the alarm everyone."""
    aws = AwsState(temporary.installation, datetime.now(UTC))
    target = temporary.parsed_target()
    start = datetime.now(UTC).replace(second=0, microsecond=0)
    step = first_alert(simulate(target, timedelta(minutes=10), ErrorCode.NO_ADDRESS, start - TICK))
    attributes = step.message.attributes if step and step.message else {}
    found: list[str] = []
    for role, topic in temporary.topics.items():
        for one in aws.subscriptions_of(topic):
            if _receives(one, role, attributes):
                found.append(f"{one.receiver} ({'the alarm' if role is TopicRole.OPERATOR else 'the alert'})")
    return found


def _receives(one: Subscription, role: TopicRole, attributes: Any) -> bool:
    return one.confirmed and (role is TopicRole.OPERATOR or reaches(one, attributes))


def lines_of(result: VerificationResult) -> Iterator[str]:
    """A check for people: its verdict and sentence, and below it what to do."""
    label = click.style(f"{result.verdict.upper():<10}", fg=COLOURS[result.verdict], bold=True)
    yield f"{label} {result.name:<10} {clean_whole(result.sentence)}"
    if result.next_step:
        yield f"{'':<21} {clean_whole(result.next_step)}"


def summary(results: list[VerificationResult]) -> str:
    """One line: `16 checks: 14 passed, 2 not shown.`"""
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return f"{counted(len(results), 'check')}: {parts}."


def to_json(
    results: list[VerificationResult], installation: Installation, began: datetime, ended: datetime
) -> dict[str, Any]:
    """The result for a report of a bug: no account, name, address or server of the user is in it."""
    return {
        "at": iso(began.replace(microsecond=0)),
        "seconds": round((ended - began).total_seconds()),
        "popwatch": __version__,
        "local": installation.endpoint is not None,
        "verdict": {0: "passed", 1: "unknown", 2: "failed"}[exit_code(results)],
        "lines": [  # the name that versions before this one gave the checks
            {
                "name": result.name,
                "verdict": result.verdict.value,
                "sentence": result.sentence,
                "next_step": result.next_step,
                "figures": dict(result.figures),
            }
            for result in results
        ],
    }
