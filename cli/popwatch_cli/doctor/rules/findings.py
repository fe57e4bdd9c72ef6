"""What a check finds, and what all checks come to. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

NAMED = 3
"""Names that a sentence lists before it counts the rest."""


class Severity(IntEnum):
    """How bad a finding is; the value is the exit code of a command that found nothing worse."""

    WARNING = 1
    BROKEN = 2


class Kind(StrEnum):
    """Everything that can be found. docs/doctor.md has each of them, in this order."""

    SCHEDULE_GONE = "schedule-gone"
    SCHEDULE_OFF = "schedule-off"
    SCHEDULE_CHANGED = "schedule-changed"
    FUNCTION_GONE = "function-gone"
    FUNCTION_NOT_ACTIVE = "function-not-active"
    FUNCTION_UPDATE_FAILED = "function-update-failed"
    FUNCTION_DRIFTED = "function-drifted"
    FUNCTION_STOPPED = "function-stopped"
    FUNCTION_ERRORS = "function-errors"
    FUNCTION_THROTTLED = "function-throttled"
    BATCHES_GONE = "batches-gone"
    BATCHES_OFF = "batches-off"
    BATCHES_CHANGED = "batches-changed"
    QUEUE_GONE = "queue-gone"
    QUEUE_CHANGED = "queue-changed"
    STACK_UNSETTLED = "stack-unsettled"
    NO_SWEEP = "no-sweep"
    SWEEPS_STOPPED = "sweeps-stopped"
    SWEEPS_AHEAD = "sweeps-ahead"
    SWEEPS_LATE = "sweeps-late"
    SWEEPS_MISSED = "sweeps-missed"
    CONCURRENCY_SHORT = "concurrency-short"
    BATCHES_WAIT = "batches-wait"
    CLOCK_SKEWED = "clock-skewed"
    TABLE_GONE = "table-gone"
    TABLE_NOT_ACTIVE = "table-not-active"
    TABLE_KEY = "table-key"
    HISTORY_KEEPS_ALL = "history-keeps-all"
    TARGETS_UNPROTECTED = "targets-unprotected"
    TOPIC_GONE = "topic-gone"
    TOPIC_DENIES = "topic-denies"
    TOPIC_OPEN = "topic-open"
    NO_SUBSCRIPTION = "no-subscription"
    NONE_CONFIRMED = "none-confirmed"
    UNCONFIRMED = "unconfirmed"
    FILTER_BLOCKS_ALL = "filter-blocks-all"
    UNHEARD = "unheard"
    PARTLY_UNHEARD = "partly-unheard"
    SMS_SANDBOX = "sms-sandbox"
    SMS_SPENT = "sms-spent"
    SMS_NEARLY_SPENT = "sms-nearly-spent"
    ALARM_GONE = "alarm-gone"
    ALARM_OFF = "alarm-off"
    ALARM_WITHOUT_DESTINATION = "alarm-without-destination"
    ALARM_UNHEARD = "alarm-unheard"
    ALARM_KEY = "alarm-key"
    ALARM_RINGS = "alarm-rings"
    NO_TARGETS = "no-targets"
    ALL_SUSPENDED = "all-suspended"
    BAD_FIELD = "bad-field"
    BAD_TEMPLATE = "bad-template"
    UNKNOWN_FIELD = "unknown-field"
    DUPLICATE = "duplicate"
    NEVER_TESTED = "never-tested"
    OVERDUE = "overdue"
    PARENT_MISSING = "parent-missing"
    PARENT_CIRCLE = "parent-circle"
    ALWAYS_SILENT = "always-silent"
    NEVER_ALERTED = "never-alerted"
    NOTICED_LATE = "noticed-late"
    ALERTS_OWED = "alerts-owed"
    DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a sentence that says what, and one that says what to do.

    `names` are the targets, alarms or others that it is about: all of them, while the sentence names some.
    """

    kind: Kind
    severity: Severity
    what: str
    do: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one check: its findings, or why nothing could be found out (`unknown`)."""

    title: str
    findings: tuple[Finding, ...] = field(default=())
    unknown: str = ""


NOTHING_KNOWN = 3

BRING_BACK = "Bring the stack back to its template: docs/doctor.md says how."
"""What to do about what somebody has changed or deleted; a mere `sam deploy` sees nothing to do there."""


def broken(kind: Kind, what: str, do: str, names: Iterable[str] = ()) -> Finding:
    """A finding that keeps alerts from being sent or targets from being watched."""
    return Finding(kind, Severity.BROKEN, what, do, tuple(names))


def warning(kind: Kind, what: str, do: str, names: Iterable[str] = ()) -> Finding:
    """A finding that may do harm, or hides some."""
    return Finding(kind, Severity.WARNING, what, do, tuple(names))


def worst_first(checks: Sequence[Checked]) -> list[Finding]:
    """All findings: the worst first, else in the order of the checks."""
    found = [finding for check in checks for finding in check.findings]
    return sorted(found, key=lambda finding: -finding.severity)


def exit_code(checks: Sequence[Checked]) -> int:
    """What all checks come to; what is not known makes a difference only if nothing is known."""
    if all(check.unknown for check in checks):
        return NOTHING_KNOWN
    return max((finding.severity for check in checks for finding in check.findings), default=0)


def summary(checks: Sequence[Checked]) -> str:
    """One line: `24 checks: 20 well, 2 with findings (1 broken, 2 warnings), 2 not known.`"""
    unknown = sum(bool(check.unknown) for check in checks)
    troubled = sum(bool(check.findings) for check in checks)
    found = worst_first(checks)
    severe = sum(finding.severity is Severity.BROKEN for finding in found)
    counts = [f"{severe} broken" if severe else "", counted(len(found) - severe, "warning") if found[severe:] else ""]
    parts = [
        f"{len(checks) - unknown - troubled} well",
        f"{troubled} with findings ({', '.join(filter(None, counts))})" if troubled else "",
        f"{unknown} not known" if unknown else "",
    ]
    return f"{counted(len(checks), 'check')}: {', '.join(filter(None, parts))}."


def some(names: Sequence[str]) -> str:
    """Some of many names: `a, b, c and 4 more`."""
    if len(names) <= NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"


def counted(count: int, word: str) -> str:
    """A count with its noun: `1 target`, `3 targets`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def of_targets(names: Sequence[str], *, one: str, many: str) -> str:
    """The beginning of a sentence about targets: `Target a is` or `3 targets (a, b, c) are`."""
    return f"Target {names[0]} {one}" if len(names) == 1 else f"{len(names)} targets ({some(names)}) {many}"
