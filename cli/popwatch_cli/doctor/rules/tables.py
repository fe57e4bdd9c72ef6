"""The tables' settings: keys, expiry of History, protection of Targets. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from popwatch.model.text import clean, counted, natural_order
from popwatch_cli.doctor.rules.findings import Finding, FindingKind, broken, some, warning

TARGETS, STATUS, HISTORY = "Targets", "Status", "History"
KEYS = {TARGETS: ("target_id",), STATUS: ("target_id",), HISTORY: ("pk", "sk")}
KEY_SHOWN = 200
"""Characters of an item's key."""

EXPIRY = "expires_at"
"""The field that holds an item's expiry in History."""

HOW_TO_RESTORE = {
    TARGETS: "Restore it from point-in-time recovery or from an export, then deploy the stack again.",
    STATUS: "Restore it from a backup, or create it again as docs/doctor.md describes: popwatch rewrites its items.",
    HISTORY: "Restore it from a backup, or create it again as docs/doctor.md describes: without a backup its data is "
    "lost.",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as DynamoDB has it, with the names of its key."""

    name: str
    status: str
    key: Sequence[str]


def check_table(logical_name: str, name: str, table: Table | None) -> Iterator[Finding]:
    """Whether the table `Targets`, `Status` or `History` exists and can be used; every sweep needs all three."""
    if table is None:
        yield broken(
            FindingKind.TABLE_GONE,
            f"The {logical_name} table {name} does not exist: every sweep fails.",
            HOW_TO_RESTORE[logical_name],
        )
        return
    if table.status not in ("ACTIVE", "UPDATING"):
        yield broken(
            FindingKind.TABLE_NOT_ACTIVE,
            f"The {logical_name} table {name} is in state {table.status}: every sweep fails.",
            HOW_TO_RESTORE[logical_name]
            if table.status == "DELETING"
            else "Wait, or look at the table in the DynamoDB console.",
        )
    expected = KEYS[logical_name]
    if tuple(table.key) != expected:
        yield broken(
            FindingKind.TABLE_KEY,
            f"The {logical_name} table {name} has the key {' and '.join(table.key)} instead of "
            f"{' and '.join(expected)}: every sweep fails.",
            "The table was not created by popwatch's template. Export the targets, and deploy a new stack.",
        )


def check_expiry(name: str, enabled: bool, attribute: str) -> Iterator[Finding]:
    """Whether old items of History expire."""
    if not enabled or attribute != EXPIRY:
        state = f"uses the field {attribute}" if enabled else "is off"
        yield warning(
            FindingKind.HISTORY_NEVER_EXPIRES,
            f"Expiry of the History table {name} {state}: the table grows forever, and so does its cost.",
            f"Enable it: `aws dynamodb update-time-to-live --table-name {name} "
            f"--time-to-live-specification Enabled=true,AttributeName={EXPIRY}`.",
        )


def check_recovery(name: str, enabled: bool) -> Iterator[Finding]:
    """Whether Targets, which popwatch cannot write again, can be restored."""
    if not enabled:
        yield warning(
            FindingKind.TARGETS_UNPROTECTED,
            f"Point-in-time recovery of the Targets table {name} is off: a mistake there cannot be undone.",
            f"Enable it: `aws dynamodb update-continuous-backups --table-name {name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true`.",
        )


def check_items(damaged: Mapping[tuple[str, str], str]) -> Iterator[Finding]:
    """Items that cannot be read, by table and key, each with what is wrong with it."""
    for table in sorted({table for table, _ in damaged}):
        found = {clean(key, KEY_SHOWN): why for (where, key), why in damaged.items() if where == table}
        names = tuple(sorted(found, key=natural_order))
        yield warning(
            FindingKind.ITEMS_DAMAGED,
            f"{counted(len(found), 'item')} of the table {table} cannot be read: {some(names)} ({found[names[0]]}).",
            "A record or the checkpoint in Status is replaced by the next sweep. Look at other items in the DynamoDB "
            "console: correct or delete them.",
            names,
        )
