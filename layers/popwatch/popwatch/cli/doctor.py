"""`popwatch doctor`: everything that can be wrong with an installation, each with what to do about it."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from popwatch.cli.dead_letters import DeadLetterQueue
from popwatch.cli.errors import UserError
from popwatch.cli.facts import Facts
from popwatch.cli.figures import NoFiguresError, read_figures, read_spend
from popwatch.cli.installation import find
from popwatch.cli.target_items import mistakes_of, unknown_fields
from popwatch.diagnosis import batching, due, fleet, hearing, letters, reach, running, sweeps, tables
from popwatch.diagnosis.findings import Checked, Finding, Severity, exit_code, summary, worst_first
from popwatch.outcomes import clean
from popwatch.records import iso
from popwatch.targets import DEFAULTS_ID

SHOWN = 1000
"""Characters of a sentence that are shown: AWS's and users' own words are in it."""

USUAL_TIMEOUT = 120
"""The function's timeout in seconds, where AWS does not say."""

LOOK = {Severity.BROKEN: ("BROKEN", "red"), Severity.WARNING: ("WARNING", "yellow")}
UNKNOWN = "NOT KNOWN"
VERDICTS = {0: "well", 1: "warning", 2: "broken", 3: "unknown"}

Check = Callable[[Facts], Iterable[Finding]]


@click.command()
@click.option("--redrive", is_flag=True, help="Put dead letters where they belong, and do nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def doctor(choice: Any, *, redrive: bool, as_json: bool) -> None:
    """Find everything that is wrong with an installation, and say what to do about it, worst first.

    Exit code 0 if all is well, 1 for warnings, 2 if something keeps alerts from being sent or targets from being
    watched, 3 if nothing could be found out. With --redrive: 0 if no dead letter is left, 1 if some stay.

    \b
    Examples:
      popwatch doctor
      popwatch doctor --json
      popwatch doctor --redrive
    """
    if redrive and as_json:
        raise UserError("`--redrive` says what it does in lines: leave `--json` out.")
    facts = Facts(find(choice), datetime.now(UTC))
    if redrive:
        sys.exit(_redrive(facts))
    checks = examine(facts)
    if as_json:
        click.echo(json.dumps(_to_json(checks, facts.now)))
    else:
        for line in told(checks):
            click.echo(line)
    sys.exit(exit_code(checks))


def examine(facts: Facts) -> list[Checked]:
    """Make every check."""
    return [_check(title, check, facts) for title, check in CHECKS.items()]


def told(checks: Sequence[Checked]) -> Iterator[str]:
    """What people read: the worst first, two lines a finding; what is not known; a line that sums up."""
    for finding in worst_first(checks):
        word, colour = LOOK[finding.severity]
        yield f"{click.style(f'{word:<10}', fg=colour, bold=True)} {clean(finding.what, SHOWN)}"
        yield f"{'':<10} {clean(finding.do, SHOWN)}"
    for check in checks:
        if check.unknown:
            yield f"{click.style(f'{UNKNOWN:<10}', dim=True)} {check.title}: {check.unknown}."
    yield summary(checks)


def _check(title: str, check: Check, facts: Facts) -> Checked:
    """Make one check; what AWS refuses makes it unknown, and leaves the others alone."""
    try:
        return Checked(title, tuple(check(facts)))
    except ClientError as error:
        return Checked(title, unknown=f"AWS answers {error.response['Error']['Code']} to {error.operation_name}")
    except BotoCoreError as error:
        return Checked(title, unknown=clean(str(error), SHOWN).rstrip("."))
    except NoFiguresError as error:
        return Checked(title, unknown=str(error))
    except KeyError as error:
        return Checked(title, unknown=f"AWS's answer has no {error.args[0]}")


def _errors(facts: Facts) -> Iterator[Finding]:
    for figures in read_figures(facts):
        yield from running.of_figures(figures)


def _concurrency(facts: Facts) -> Iterator[Finding]:
    parallel = facts.mapping.parallel if facts.mapping else None
    yield from batching.of_concurrency(facts.unreserved, facts.reserved, parallel, facts.contents.batches)


def _batch_queue(facts: Facts) -> Iterator[Finding]:
    timeout = facts.function.timeout_seconds if facts.function else USUAL_TIMEOUT
    dead_letters_to = facts.outputs["DeadLetterQueueUrl"].rsplit("/", 1)[-1]
    yield from batching.of_queue(facts.batch_queue, timeout, dead_letters_to)


def _table(role: str) -> Check:
    output = f"{role}Table"
    return lambda facts: tables.of_table(role, facts.outputs[output], facts.table(output))


def _expiry(facts: Facts) -> Iterator[Finding]:
    name = facts.outputs["HistoryTable"]
    found = facts.client("dynamodb").describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    is_on = found["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
    yield from tables.of_expiry(name, is_on, found.get("AttributeName", ""))


def _recovery(facts: Facts) -> Iterator[Finding]:
    name = facts.outputs["TargetsTable"]
    found = facts.client("dynamodb").describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    status = found.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    yield from tables.of_recovery(name, status == "ENABLED")


def _receives_sms(facts: Facts) -> bool:
    return any(subscription.protocol == "sms" for subscription in facts.subscriptions)


def _sandbox(facts: Facts) -> Iterator[Finding]:
    if _receives_sms(facts):
        yield from hearing.of_sandbox(facts.client("sns").get_sms_sandbox_account_status()["IsInSandbox"])


def _spend(facts: Facts) -> Iterator[Finding]:
    if _receives_sms(facts):
        yield from hearing.of_spend(*read_spend(facts))


def _alarms(facts: Facts) -> Iterator[Finding]:
    topics = {action for alarm in facts.alarms for action in alarm.actions if ":sns:" in action}
    audiences = {topic: facts.subscribers_of(topic) for topic in topics}
    yield from hearing.of_alarms(facts.alarm_names, facts.alarms, audiences)


def _items(facts: Facts) -> Iterator[Finding]:
    defaults = facts.contents.items.get(DEFAULTS_ID, {})
    mistakes = {name: mistakes_of(item, defaults) for name, item in facts.contents.items.items()}
    yield from fleet.of_items(mistakes, facts.contents.targets)


def _owed(facts: Facts) -> Iterator[Finding]:
    seconds = facts.function.timeout_seconds if facts.function else USUAL_TIMEOUT
    yield from due.of_owed(facts.contents.status[1].values(), timedelta(seconds=seconds), facts.now)


def _letters(facts: Facts) -> Iterator[Finding]:
    attributes = facts.queue_attributes("DeadLetterQueueUrl")
    if attributes is None:
        yield from batching.of_dead_letter_queue(False)
        return
    count = int(attributes["ApproximateNumberOfMessages"])
    yield from letters.of_letters(count, _dead_letters(facts).look() if count else ())


def _dead_letters(facts: Facts) -> DeadLetterQueue:
    return DeadLetterQueue(facts.client("sqs"), facts.outputs["DeadLetterQueueUrl"], facts.outputs["BatchQueueUrl"])


CHECKS: dict[str, Check] = {
    "the stack": lambda facts: running.of_stack(facts.installation.stack, facts.stack[0]),
    "the schedule": lambda facts: running.of_schedule(facts.schedule, facts.outputs["CheckTargetsFunction"], facts.now),
    "the function": lambda facts: running.of_function(facts.function, facts.environment),
    "the function's reserved concurrency": lambda facts: running.of_reserved(
        facts.outputs["CheckTargetsFunction"], facts.reserved
    ),
    "the function's errors": _errors,
    "the last sweep": lambda facts: sweeps.of_mark(facts.contents.status[0].tick, facts.now),
    "gaps between sweeps": lambda facts: sweeps.of_gaps(facts.contents.gaps),
    "the batch queue": _batch_queue,
    "the batch queue's mapping": lambda facts: batching.of_mapping(facts.mapping),
    "the account's concurrency": _concurrency,
    "the Targets table": _table(tables.TARGETS),
    "the Status table": _table(tables.STATUS),
    "the History table": _table(tables.HISTORY),
    "History's expiry": _expiry,
    "Targets' point-in-time recovery": _recovery,
    "the alert topic": lambda facts: hearing.of_alert_topic(facts.topic("AlertTopicArn")),
    "subscriptions to alerts": lambda facts: hearing.of_subscriptions(facts.subscriptions),
    "whom each alert reaches": lambda facts: reach.of_reach(facts.contents.targets.values(), facts.subscriptions),
    "the SMS sandbox": _sandbox,
    "what SMS cost": _spend,
    "the operator topic": lambda facts: hearing.of_operator_topic(facts.topic("OperatorTopicArn")),
    "subscriptions to alarms": lambda facts: hearing.of_operators(
        facts.subscribers_of(facts.outputs["OperatorTopicArn"])
    ),
    "the alarms": _alarms,
    "the targets": lambda facts: fleet.of_targets_at_all(facts.contents.targets),
    "fields of targets": _items,
    "unknown fields": lambda facts: fleet.of_unknown_fields(unknown_fields(facts.contents.items.values())),
    "targets watched twice": lambda facts: fleet.of_duplicates(facts.contents.targets.values()),
    "dependence": lambda facts: fleet.of_parents(facts.contents.targets),
    "policies": lambda facts: fleet.of_policies(facts.contents.targets.values(), facts.now),
    "targets that are due": lambda facts: due.of_due(facts.contents.fleet, facts.now),
    "alerts owed": _owed,
    "dead letters": _letters,
    "this machine's clock": lambda facts: running.of_clock(facts.stack[1]),
}
"""Every check by what it is about. None needs what another has found."""


def _redrive(facts: Facts) -> int:
    """Empty the dead-letter queue, a line a message; 1 if some stay."""
    told: list[str] = []

    def tell(verdict: letters.Verdict) -> None:
        told.append(verdict.sentence)
        click.echo(verdict.sentence)

    kept = _dead_letters(facts).redrive(facts.contents.status[0].tick, facts.now, tell)
    if not told:
        click.echo("There are no dead letters.")
    return 1 if kept else 0


def _to_json(checks: Sequence[Checked], now: datetime) -> dict[str, Any]:
    return {
        "at": iso(now),
        "verdict": VERDICTS[exit_code(checks)],
        "checks": [
            {
                "title": check.title,
                "well": not (check.findings or check.unknown),
                "unknown": check.unknown or None,
                "findings": [
                    {
                        "kind": finding.kind.value,
                        "severity": finding.severity.name.lower(),
                        "what": finding.what,
                        "do": finding.do,
                        "names": list(finding.names),
                    }
                    for finding in check.findings
                ],
            }
            for check in checks
        ],
    }
