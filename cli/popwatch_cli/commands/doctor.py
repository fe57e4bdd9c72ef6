"""`popwatch doctor`: everything that can be wrong with an installation, and what to do about it."""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from popwatch.model.text import clean_whole, iso
from popwatch_cli.doctor.aws_state import AwsState
from popwatch_cli.doctor.checks import CHECKS, Check, dead_letters_of
from popwatch_cli.doctor.rules import dead_letters
from popwatch_cli.doctor.rules.findings import CheckResult, Severity, exit_code, summary, worst_first
from popwatch_cli.doctor.table_state import NotKnownError
from popwatch_cli.errors import UserError
from popwatch_cli.installation import find
from popwatch_cli.output.terminal import repeat_options, say
from popwatch_cli.phones import move_phone, phones_on_alert_topic
from popwatch_cli.subscriptions import masked

LABELS = {
    Severity.BROKEN: ("BROKEN", "red"),
    Severity.WARNING: ("WARNING", "yellow"),
    Severity.NOTE: ("NOTE", "cyan"),
}
UNKNOWN = "UNKNOWN"
VERDICTS = {0: "well", 1: "warning", 2: "broken", 3: "unknown"}


@click.command()
@click.option(
    "--redrive",
    is_flag=True,
    help="Empty the dead-letter queue: send each message again, or delete it. Makes no checks.",
)
@click.option(
    "--move-phones",
    is_flag=True,
    help="Move phones from the alert topic to the SMS topic, with their filter policies. Makes no checks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def doctor(choice: Any, *, redrive: bool, move_phones: bool, as_json: bool) -> None:
    """Check an installation; list each problem and its remedy, worst first.

    Exit code 0 if nothing is wrong, 1 for warnings, 2 if something prevents alerts or tests, 3 if no check could be
    made or there is no such stack. Notes do not count. With --redrive: 0 if the queue is empty afterwards, 1 if a
    message was kept.

    \b
    Examples:
      popwatch doctor
      popwatch doctor --json
      popwatch doctor --redrive
      popwatch doctor --move-phones
    """
    if redrive + move_phones + as_json > 1:
        raise UserError("`--redrive`, `--move-phones` and `--json` each go alone.")
    aws = AwsState(find(choice), datetime.now(UTC))
    if redrive:
        sys.exit(_redrive(aws))
    if move_phones:
        _move_phones(aws)
        return
    checks = run_checks(aws)
    if as_json:
        click.echo(json.dumps(_to_json(checks, aws.now)))
    else:
        for line in report_lines(checks):
            say(line)
    sys.exit(exit_code(checks))


def run_checks(aws: AwsState) -> list[CheckResult]:
    """Make every check."""
    return [_check(title, check, aws) for title, check in CHECKS.items()]


def report_lines(checks: Sequence[CheckResult]) -> Iterator[str]:
    """The report for people: findings in two lines each, the worst first; what is unknown; a line that sums up."""
    for finding in worst_first(checks):
        word, colour = LABELS[finding.severity]
        yield f"{click.style(f'{word:<10}', fg=colour, bold=True)} {clean_whole(finding.what)}"
        yield f"{'':<10} {clean_whole(finding.do)}"
    for check in checks:
        if check.unknown:
            yield f"{click.style(f'{UNKNOWN:<10}', dim=True)} {check.title}: {check.unknown}."
    yield summary(checks)


def _check(title: str, check: Check, aws: AwsState) -> CheckResult:
    """Make one check; if AWS refuses a request, its result is unknown, and the other checks go on."""
    try:
        return CheckResult(title, tuple(check(aws)))
    except ClientError as error:
        return CheckResult(title, unknown=f"AWS answers {error.response['Error']['Code']} to {error.operation_name}")
    except BotoCoreError as error:
        return CheckResult(title, unknown=clean_whole(str(error)).rstrip("."))
    except NotKnownError as error:
        return CheckResult(title, unknown=str(error))
    except KeyError as error:
        return CheckResult(title, unknown=f"AWS's answer has no {error.args[0]}")


def _redrive(aws: AwsState) -> int:
    """Empty the dead-letter queue, with a line for each message; 1 if some stay."""
    redrives: list[dead_letters.Redrive] = []

    def report(redrive: dead_letters.Redrive) -> None:
        redrives.append(redrive)
        say(redrive.sentence)

    kept = dead_letters_of(aws).redrive(aws.tables.status.checkpoint.tick, aws.now, report)
    if not redrives:
        say("The dead-letter queue is empty.")
    return 1 if kept else 0


def _move_phones(aws: AwsState) -> None:
    """Move each phone that someone subscribed to the alert topic, with a line for each."""
    if "SmsTopicArn" not in aws.outputs:
        raise UserError("The stack has no SMS topic: deploy this version of popwatch first.")
    phones = phones_on_alert_topic(aws.client("sns"), aws.outputs["AlertTopicArn"], aws.resources)
    for phone in phones:
        move_phone(aws.client("sns"), phone, aws.outputs["SmsTopicArn"])
        say(f"sms {masked('sms', phone.number)} has moved to the SMS topic.")
    if not phones:
        say("No phone is subscribed to the alert topic by hand.")


def _to_json(checks: Sequence[CheckResult], now: datetime) -> dict[str, Any]:
    return {
        "at": iso(now),
        "verdict": VERDICTS[exit_code(checks)],
        "checks": [
            {
                "title": check.title,
                "well": not (any(finding.severity for finding in check.findings) or check.unknown),
                "unknown": check.unknown or None,
                "findings": [
                    {
                        "kind": finding.kind.value,
                        "severity": finding.severity.name.lower(),
                        "what": repeat_options(finding.what),
                        "do": repeat_options(finding.do),
                        "names": list(finding.names),
                    }
                    for finding in check.findings
                ],
            }
            for check in checks
        ],
    }
