"""What a check finds, and the result of all checks. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from shlex import quote

from popwatch.model.text import counted, natural_order

NAMED = 3
"""Names that a sentence lists before it counts the rest."""


COPIED = 20
"""Names that a command lists."""


class Severity(IntEnum):
    """How bad a finding is; the value is the exit code of a command that found nothing worse."""

    NOTE = 0
    WARNING = 1
    BROKEN = 2


class FindingKind(StrEnum):
    """Everything that can be found. docs/doctor.md lists each of them, in this order.

    The values are part of the command's JSON: they stay as they are, even where a better word has been found since.
    """

    SCHEDULE_GONE = "schedule-gone"
    SCHEDULE_OFF = "schedule-off"
    SCHEDULE_CHANGED = "schedule-changed"
    FUNCTION_GONE = "function-gone"
    FUNCTION_NOT_ACTIVE = "function-not-active"
    FUNCTION_UPDATE_FAILED = "function-update-failed"
    FUNCTION_DRIFTED = "function-drifted"
    METRICS_DROPPED = "metrics-dropped"
    FUNCTION_STOPPED = "function-stopped"
    FUNCTION_ERRORS = "function-errors"
    FUNCTION_THROTTLED = "function-throttled"
    BATCHES_GONE = "batches-gone"
    BATCHES_OFF = "batches-off"
    BATCHES_CHANGED = "batches-changed"
    QUEUE_GONE = "queue-gone"
    QUEUE_CHANGED = "queue-changed"
    STACK_INCOMPLETE = "stack-unsettled"
    NO_SWEEP = "no-sweep"
    SWEEPS_STOPPED = "sweeps-stopped"
    CHECKPOINT_DAMAGED = "sweeps-ahead"
    SWEEPS_LATE = "sweeps-late"
    SWEEPS_MISSED = "sweeps-missed"
    CONCURRENCY_SHORT = "concurrency-short"
    BATCHES_WAIT = "batches-wait"
    CLOCK_SKEWED = "clock-skewed"
    TABLE_GONE = "table-gone"
    TABLE_NOT_ACTIVE = "table-not-active"
    TABLE_KEY = "table-key"
    HISTORY_NEVER_EXPIRES = "history-keeps-all"
    TARGETS_UNPROTECTED = "targets-unprotected"
    ITEMS_DAMAGED = "items-damaged"
    TOPIC_GONE = "topic-gone"
    TOPIC_DENIES = "topic-denies"
    TOPIC_OPEN = "topic-open"
    NO_SUBSCRIPTION = "no-subscription"
    NONE_CONFIRMED = "none-confirmed"
    UNCONFIRMED = "unconfirmed"
    ANYONE_MAY_UNSUBSCRIBE = "anyone-may-unsubscribe"
    PHONE_ON_ALERT_TOPIC = "phone-on-alert-topic"
    FILTER_BLOCKS_ALL = "filter-blocks-all"
    UNREPORTED = "unheard"
    PARTLY_UNREPORTED = "partly-unheard"
    SMS_SANDBOX = "sms-sandbox"
    SMS_SPENT = "sms-spent"
    SMS_NEARLY_SPENT = "sms-nearly-spent"
    SMS_NOT_LOGGED = "sms-not-logged"
    ALARM_GONE = "alarm-gone"
    ALARM_OFF = "alarm-off"
    ALARM_WITHOUT_ACTION = "alarm-without-destination"
    ALARM_UNREPORTED = "alarm-unheard"
    ALARM_KEY = "alarm-key"
    ALARM_FIRES = "alarm-rings"
    NO_TARGETS = "no-targets"
    ALL_SUSPENDED = "all-suspended"
    BAD_FIELD = "bad-field"
    BAD_TEMPLATE = "bad-template"
    UNKNOWN_FIELD = "unknown-field"
    DUPLICATE = "duplicate"
    NEVER_TESTED = "never-tested"
    OVERDUE = "overdue"
    PARENT_MISSING = "parent-missing"
    PARENT_CYCLE = "parent-circle"
    ALWAYS_IN_MAINTENANCE = "always-silent"
    NEVER_ALERTED = "never-alerted"
    ALERTED_LATE = "noticed-late"
    ALERTS_PENDING = "alerts-owed"
    CREDENTIAL_UNUSABLE = "credential-unusable"
    CREDENTIAL_REFUSED = "credential-refused"
    DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a sentence that says what, and one that says what to do.

    `names` are all the targets, alarms or other things that it is about; the sentence names only some of many.
    """

    kind: FindingKind
    severity: Severity
    what: str
    do: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check: its findings, or why it could not be made (`unknown`)."""

    title: str
    findings: tuple[Finding, ...] = field(default=())
    unknown: str = ""


ALL_UNKNOWN = 3
"""The exit code if no check could be made."""

RESTORE_STACK = "Restore the stack to its template: docs/doctor.md describes how."
"""What to do about a resource that was changed or deleted by hand: `sam deploy` alone sees nothing to do."""


def broken(kind: FindingKind, what: str, do: str, names: Iterable[str] = ()) -> Finding:
    """A finding that keeps alerts from being sent or targets from being watched."""
    return Finding(kind, Severity.BROKEN, what, do, tuple(names))


def warning(kind: FindingKind, what: str, do: str, names: Iterable[str] = ()) -> Finding:
    """A finding that may do harm later, or hides a problem."""
    return Finding(kind, Severity.WARNING, what, do, tuple(names))


def note(kind: FindingKind, what: str, do: str, names: Iterable[str] = ()) -> Finding:
    """A finding that is not a fault, but worth knowing."""
    return Finding(kind, Severity.NOTE, what, do, tuple(names))


def worst_first(results: Sequence[CheckResult]) -> list[Finding]:
    """All findings: the worst first, then in the order of the checks."""
    findings = [finding for result in results for finding in result.findings]
    return sorted(findings, key=lambda finding: -finding.severity)


def exit_code(results: Sequence[CheckResult]) -> int:
    """The exit code for all results; an unknown one counts only if all are unknown."""
    if all(result.unknown for result in results):
        return ALL_UNKNOWN
    return max((finding.severity for finding in worst_first(results)), default=0)


def summary(results: Sequence[CheckResult]) -> str:
    """One line: `24 checks: 20 passed, 2 with findings (1 broken, 2 warnings), 2 unknown.`"""
    unknown = sum(bool(result.unknown) for result in results)
    with_findings = sum(bool(result.findings) for result in results)
    parts = [f"{len(results) - unknown - with_findings} passed"]
    if with_findings:
        parts.append(f"{with_findings} with findings ({_by_severity(worst_first(results))})")
    if unknown:
        parts.append(f"{unknown} unknown")
    return f"{counted(len(results), 'check')}: {', '.join(parts)}."


def _by_severity(findings: Sequence[Finding]) -> str:
    severe, warnings, notes = (
        sum(finding.severity is severity for finding in findings)
        for severity in (Severity.BROKEN, Severity.WARNING, Severity.NOTE)
    )
    counts = [f"{severe} broken"] if severe else []
    if warnings:
        counts.append(counted(warnings, "warning"))
    if notes:
        counts.append(counted(notes, "note"))
    return ", ".join(counts)


def some(names: Sequence[str]) -> str:
    """Some of many names: `a, b, c and 4 more`."""
    if len(names) <= NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"


def command(words: str, names: Sequence[str], change: str = "") -> str:
    """A command for targets, in backticks, to be given as it is printed; of very many the first ones are in it."""
    ids = " ".join(map(quote, names[:COPIED]))
    more = " (and the same for the others)" if len(names) > COPIED else ""
    return f"`popwatch {' '.join(filter(None, (words, ids, change)))}`{more}"


def targets_that(names: Sequence[str], *, one: str, many: str) -> str:
    """The beginning of a sentence about targets: `Target a is` or `3 targets (a, b, c) are`."""
    return f"Target {names[0]} {one}" if len(names) == 1 else f"{_several(names)} {many}"


def of_targets(names: Sequence[str]) -> str:
    """Targets inside a sentence: `target a` or `3 targets (a, b, c)`."""
    return f"target {names[0]}" if len(names) == 1 else _several(names)


def _several(names: Sequence[str]) -> str:
    return f"{len(names)} targets ({some(sorted(names, key=natural_order))})"
