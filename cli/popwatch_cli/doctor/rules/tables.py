"""The tables' settings: their keys, what History forgets, what protects Targets. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from popwatch_cli.doctor.rules.findings import Finding, Kind, broken, warning

TARGETS, STATUS, HISTORY = "Targets", "Status", "History"
KEYS = {TARGETS: ("target_id",), STATUS: ("target_id",), HISTORY: ("pk", "sk")}
EXPIRY = "expires_at"
"""The field by which History forgets."""

LOSSES = {
    TARGETS: "Restore it from its point-in-time recovery or from an export, then deploy the stack again.",
    STATUS: "Restore it from a backup, or deploy the stack anew: popwatch makes its items again.",
    HISTORY: "Restore it from a backup, or deploy the stack anew: what it held is lost otherwise.",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as DynamoDB has it, with the names of its key."""

    name: str
    status: str
    key: Sequence[str]


def of_table(role: str, name: str, found: Table | None) -> Iterator[Finding]:
    """Whether the table of a role is there and can be used; every sweep needs all three."""
    if found is None:
        yield broken(Kind.TABLE_GONE, f"The {role} table {name} is gone: every sweep fails.", LOSSES[role])
        return
    if found.status not in ("ACTIVE", "UPDATING"):
        yield broken(
            Kind.TABLE_NOT_ACTIVE,
            f"The {role} table {name} is in state {found.status}: every sweep fails.",
            LOSSES[role] if found.status == "DELETING" else "Wait, or look at the table in the console of DynamoDB.",
        )
    wanted = KEYS[role]
    if tuple(found.key) != wanted:
        yield broken(
            Kind.TABLE_KEY,
            f"The {role} table {name} has the key {' and '.join(found.key)} instead of {' and '.join(wanted)}.",
            "It is not the table that the template makes. Export the targets, and deploy a stack anew.",
        )


def of_expiry(name: str, enabled: bool, attribute: str) -> Iterator[Finding]:
    """Whether History forgets what is old."""
    if not enabled or attribute != EXPIRY:
        state = f"goes by {attribute}" if enabled else "is off"
        yield warning(
            Kind.HISTORY_KEEPS_ALL,
            f"The expiry of the History table {name} {state}: it grows for ever, and so does what it costs.",
            f"Switch it on: `aws dynamodb update-time-to-live --table-name {name} "
            f"--time-to-live-specification Enabled=true,AttributeName={EXPIRY}`.",
        )


def of_recovery(name: str, enabled: bool) -> Iterator[Finding]:
    """Whether Targets, which only its user can write again, can be restored."""
    if not enabled:
        yield warning(
            Kind.TARGETS_UNPROTECTED,
            f"The point-in-time recovery of the Targets table {name} is off: a mistake there cannot be undone.",
            f"Switch it on: `aws dynamodb update-continuous-backups --table-name {name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true`.",
        )
