"""What has to run: the stack, the schedule, the functions; and this machine's clock. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from popwatch.model.text import clean, duration, utc
from popwatch_cli.doctor.rules.findings import BRING_BACK, Finding, Kind, broken, some, warning

EACH_MINUTE = "rate(1 minute)"
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
LATE_SECONDS = 90.0
"""A sweep that ends so long after its tick leaves the next one no room."""

SKEW = timedelta(seconds=30)
SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as EventBridge Scheduler has it: the ARN of what it wakes (`target`), and what it hands over."""

    name: str
    state: str
    expression: str
    target: str
    payload: str
    ends: datetime | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function as Lambda has it."""

    name: str
    state: str
    update: str
    why: str
    timeout_seconds: int
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """What CloudWatch counted of a function in the last day; `lag_seconds` is the longest lag of the last hour."""

    function: str
    errors: int
    throttles: int
    lag_seconds: float | None = None


def of_stack(name: str, status: str) -> Iterator[Finding]:
    """Whether CloudFormation has come to an end with the stack, and to a good one."""
    if status not in SETTLED:
        yield warning(
            Kind.STACK_UNSETTLED,
            f"The stack {name} is in {status}: parts of it may be missing or old.",
            "Look at the stack's events in CloudFormation, then deploy it again with `sam deploy`.",
        )


def of_schedule(found: Schedule | None, function: str, now: datetime) -> Iterator[Finding]:
    """Whether the function is woken each minute."""
    if found is None:
        yield broken(Kind.SCHEDULE_GONE, "The schedule is gone: nothing is tested.", BRING_BACK)
        return
    if found.state != "ENABLED":
        yield broken(
            Kind.SCHEDULE_OFF,
            f"The schedule {found.name} is off: nothing is tested.",
            "Deploy with ScheduleState=ENABLED; if that is its value already, enable it in EventBridge Scheduler.",
        )
    for wrong in _wrong_with(found, function, now):
        yield broken(Kind.SCHEDULE_CHANGED, f"The schedule {found.name} {wrong}.", BRING_BACK)


def _wrong_with(found: Schedule, function: str, now: datetime) -> Iterator[str]:
    if found.expression != EACH_MINUTE:
        yield f"is {found.expression} instead of {EACH_MINUTE}"
    if found.target.rsplit(":", 1)[-1] != function:
        yield f"wakes {found.target.rsplit(':', 1)[-1]} instead of {function}"
    if SCHEDULED_TIME not in found.payload:
        yield f"does not hand over {SCHEDULED_TIME}, so each sweep ends in an error"
    if found.ends and found.ends <= now:
        yield f"has ended at {utc(found.ends)}"


def of_function(found: Function | None, wanted: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the function that tests can run, on the tables and topic of its stack (`wanted`: its environment)."""
    if found is None:
        yield broken(Kind.FUNCTION_GONE, "The function that tests is gone: nothing is tested.", BRING_BACK)
        return
    if found.state == "Pending":
        yield warning(
            Kind.FUNCTION_NOT_ACTIVE,
            f"The function {found.name} is being made or updated{_because(found.why)}.",
            "Run `popwatch doctor` again in a minute.",
        )
    elif found.state not in ("Active", "Inactive"):  # one that slept for weeks is Inactive, and wakes when invoked
        yield broken(
            Kind.FUNCTION_NOT_ACTIVE,
            f"The function {found.name} is in state {found.state} and does not run{_because(found.why)}.",
            "Mend what it names, and deploy the stack again with `sam deploy`.",
        )
    if found.update == "Failed":
        yield warning(
            Kind.FUNCTION_UPDATE_FAILED,
            f"The last update of the function {found.name} failed{_because(found.why)}: it runs as it was before.",
            "Mend what it names, and deploy the stack again with `sam deploy`.",
        )
    drifted = sorted(name for name, value in wanted.items() if found.environment.get(name) != value)
    if drifted:
        yield broken(
            Kind.FUNCTION_DRIFTED,
            f"The environment of the function {found.name} is not that of the stack: {some(drifted)} "
            f"{'differs' if len(drifted) == 1 else 'differ'}.",
            BRING_BACK,
            drifted,
        )


def of_reserved(function: str, reserved: int | None) -> Iterator[Finding]:
    """Whether somebody has stopped the function, as AWS advises for a function that runs wild."""
    if reserved == 0:
        yield broken(
            Kind.FUNCTION_STOPPED,
            f"The function {function} has a reserved concurrency of 0: Lambda refuses to run it.",
            f"Remove it: `aws lambda delete-function-concurrency --function-name {function}`.",
        )


def of_figures(found: Figures) -> Iterator[Finding]:
    """What CloudWatch says of the last day."""
    if found.errors:
        yield warning(
            Kind.FUNCTION_ERRORS,
            f"The function {found.function} ended in an error {_times(found.errors)} in the last day.",
            "Its log says why; what an invocation left undone, a later sweep has made good.",
        )
    if found.throttles:
        yield warning(
            Kind.FUNCTION_THROTTLED,
            f"The function {found.function} was held back {_times(found.throttles)} in the last day.",
            "Raise the account's quota of concurrent executions in Service Quotas, or lower MaxParallelBatches.",
        )
    if found.lag_seconds is not None and found.lag_seconds > LATE_SECONDS:
        yield warning(
            Kind.SWEEPS_LATE,
            f"A sweep of the last hour ended {found.lag_seconds:.0f} s after its tick.",
            "Raise MemorySize (CPU comes with it), or lower max_test_seconds of targets that do not answer.",
        )


def of_clock(skew: timedelta) -> Iterator[Finding]:
    """Whether this machine's clock is AWS's; `skew` is how far it is ahead."""
    if abs(skew) > SKEW:
        direction = "ahead of" if skew > timedelta() else "behind"
        yield warning(
            Kind.CLOCK_SKEWED,
            f"This machine's clock is {duration(abs(skew))} {direction} AWS's: ages shown here are wrong.",
            "Let the machine's clock be set by NTP.",
        )


def _because(why: str) -> str:
    return f" ({clean(why, 200)})" if why else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
