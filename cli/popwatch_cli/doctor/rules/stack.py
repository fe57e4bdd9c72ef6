"""What has to run: the stack, the schedule, the functions; and this machine's clock. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from popwatch.model.text import clean, duration, utc
from popwatch_cli.doctor.rules.findings import RESTORE_STACK, Finding, FindingKind, broken, some, warning

EACH_MINUTE = "rate(1 minute)"
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
LATE_SECONDS = 150.0
"""A sweep that ends so long after its tick took 90 seconds or more: Scheduler may fire 59 seconds late."""

SKEW = timedelta(seconds=30)
COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as EventBridge Scheduler has it: `target` is the ARN that it invokes, with `payload`."""

    name: str
    state: str
    expression: str
    target: str
    payload: str
    ends: datetime | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function as Lambda has it; `log_filter` is the least severe level of a line that Lambda sends to the log."""

    name: str
    state: str
    update: str
    why: str
    timeout_seconds: int
    environment: Mapping[str, str]
    log_filter: str = "INFO"


@dataclass(frozen=True, slots=True)
class FunctionMetrics:
    """What CloudWatch counted of a function in the last day; `lag_seconds` is the longest lag in the last hour."""

    function: str
    errors: int
    throttles: int
    lag_seconds: float | None = None


def check_stack(name: str, status: str) -> Iterator[Finding]:
    """Whether CloudFormation has finished its last change of the stack."""
    if status not in COMPLETE:
        yield warning(
            FindingKind.STACK_INCOMPLETE,
            f"The stack {name} is in state {status}: parts of it may be missing or outdated.",
            "Look at the stack's events in CloudFormation, then deploy it again with `sam deploy`.",
        )


def check_schedule(schedule: Schedule | None, function: str, now: datetime) -> Iterator[Finding]:
    """Whether the function is invoked each minute."""
    if schedule is None:
        yield broken(FindingKind.SCHEDULE_GONE, "The schedule does not exist: nothing is tested.", RESTORE_STACK)
        return
    if schedule.state != "ENABLED":
        yield broken(
            FindingKind.SCHEDULE_OFF,
            f"The schedule {schedule.name} is disabled: nothing is tested.",
            "Deploy with ScheduleState=ENABLED. If that is its value already, enable the schedule in EventBridge "
            "Scheduler.",
        )
    for difference in _differences(schedule, function, now):
        yield broken(FindingKind.SCHEDULE_CHANGED, f"The schedule {schedule.name} {difference}.", RESTORE_STACK)


def _differences(schedule: Schedule, function: str, now: datetime) -> Iterator[str]:
    if schedule.expression != EACH_MINUTE:
        yield f"runs at {schedule.expression} instead of {EACH_MINUTE}"
    invoked = schedule.target.rsplit(":", 1)[-1]
    if invoked != function:
        yield f"invokes {invoked} instead of {function}"
    if SCHEDULED_TIME not in schedule.payload:
        yield f"does not pass on {SCHEDULED_TIME}: every sweep fails"
    if schedule.ends and schedule.ends <= now:
        yield f"ended at {utc(schedule.ends)}: nothing is tested"


def check_function(function: Function | None, expected: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the function that tests can run, with the environment that is `expected` for its stack."""
    if function is None:
        yield broken(
            FindingKind.FUNCTION_GONE,
            "The function that tests the targets does not exist: nothing is tested.",
            RESTORE_STACK,
        )
        return
    if function.state == "Pending":
        yield warning(
            FindingKind.FUNCTION_NOT_ACTIVE,
            f"The function {function.name} is being created or updated{_because(function.why)}.",
            "Run `popwatch doctor` again in a minute.",
        )
    # Lambda makes a function that was not invoked for weeks Inactive; the next invocation activates it.
    # https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    elif function.state not in ("Active", "Inactive"):
        yield broken(
            FindingKind.FUNCTION_NOT_ACTIVE,
            f"The function {function.name} is in state {function.state} and cannot run{_because(function.why)}.",
            "Remove the cause, and deploy the stack again with `sam deploy`.",
        )
    if function.update == "Failed":
        yield warning(
            FindingKind.FUNCTION_UPDATE_FAILED,
            f"The last update of the function {function.name} failed{_because(function.why)}: it still runs as it did "
            "before.",
            "Remove the cause, and deploy the stack again with `sam deploy`.",
        )
    different = sorted(name for name, value in expected.items() if function.environment.get(name) != value)
    if different:
        yield broken(
            FindingKind.FUNCTION_DRIFTED,
            f"The environment of the function {function.name} does not match the stack: {some(different)} "
            f"{'differs' if len(different) == 1 else 'differ'}.",
            RESTORE_STACK,
            different,
        )
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html: no level counts as INFO.
    if function.log_filter not in ("TRACE", "DEBUG", "INFO"):
        yield broken(
            FindingKind.METRICS_DROPPED,
            f"Lambda drops the metrics of the function {function.name}, on which the alarms rely: its log filter "
            f"(ApplicationLogLevel) is {function.log_filter}.",
            f"{RESTORE_STACK} For fewer log lines, deploy with another LogLevel.",
        )


def check_reserved(function: str, reserved: int | None) -> Iterator[Finding]:
    """Whether the function was stopped by a reservation of 0, as AWS advises for a function that runs wild."""
    if reserved == 0:
        yield broken(
            FindingKind.FUNCTION_STOPPED,
            f"The function {function} has a reserved concurrency of 0: Lambda does not run it.",
            f"Remove the reservation: `aws lambda delete-function-concurrency --function-name {function}`.",
        )


def check_metrics(metrics: FunctionMetrics) -> Iterator[Finding]:
    """What CloudWatch counted in the last day."""
    if metrics.errors:
        yield warning(
            FindingKind.FUNCTION_ERRORS,
            f"The function {metrics.function} failed {_times(metrics.errors)} in the last day.",
            "Its log shows why. Later sweeps have caught up with what the failed invocations left undone.",
        )
    if metrics.throttles:
        yield warning(
            FindingKind.FUNCTION_THROTTLED,
            f"The function {metrics.function} was throttled {_times(metrics.throttles)} in the last day.",
            "Raise the account's quota of concurrent executions in Service Quotas, or lower MaxParallelBatches.",
        )
    if metrics.lag_seconds is not None and metrics.lag_seconds > LATE_SECONDS:
        yield warning(
            FindingKind.SWEEPS_LATE,
            f"A sweep in the last hour ended {metrics.lag_seconds:.0f} s after its tick.",
            "Raise MemorySize (CPU grows with it), or lower max_test_seconds of targets that do not answer.",
        )


def check_clock(skew: timedelta) -> Iterator[Finding]:
    """Whether this machine's clock agrees with AWS's; `skew` is how far it is ahead."""
    if abs(skew) > SKEW:
        direction = "ahead of" if skew > timedelta() else "behind"
        yield warning(
            FindingKind.CLOCK_SKEWED,
            f"This machine's clock is {duration(abs(skew))} {direction} AWS's: the ages shown here are wrong.",
            "Synchronise this machine's clock by NTP.",
        )


def _because(why: str) -> str:
    return f" ({clean(why, 200)})" if why else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
