"""What `popwatch doctor` says to do about targets can be given as it is printed, and mends what was found."""

import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from popwatch.model.targets import Item
from popwatch_cli.doctor.aws_state import AwsState
from popwatch_cli.doctor.checks import CHECKS
from popwatch_cli.doctor.rules.findings import Finding, FindingKind
from popwatch_cli.installation import Installation
from popwatch_cli.options import StackChoice, choose
from popwatch_cli.output.terminal import repeat_options
from tests.integration.conftest import Run

OF_TARGETS = ("the targets", "fields of targets", "targets watched twice", "dependencies", "policies")
"""The checks of what users configure, which its commands can change."""

ALL_DAY = [{"days": "daily", "from": "00:00", "until": "24:00"}]
FOR_EVER = {"from": "2026-01-01T00:00Z", "until": "2126-01-01T00:00Z"}
ITEMS: list[Item] = [
    {"target_id": "two wrong", "host": "a.example", "port": 70_000, "delay_up": "soon"},
    {"target_id": "wrong-host", "host": "no host"},
    {"target_id": "template", "host": "c.example", "sms": "{nmae}"},
    {"target_id": "windows", "host": "d.example", "maintenance": ALL_DAY},
    {"target_id": "silent", "host": "e.example", "silence": FOR_EVER},
    {"target_id": "both", "host": "f.example", "silence": FOR_EVER, "maintenance": ALL_DAY},
    {"target_id": "twice", "host": "g.example"},
    {"target_id": "twice-2", "host": "g.example"},
    {"target_id": "cyc-a", "host": "h.example", "depends_on": ["cyc-b", "windows"]},
    {"target_id": "cyc-b", "host": "i.example", "depends_on": ["cyc-a"]},
    {"target_id": "self", "host": "j.example", "depends_on": "self"},
    {"target_id": "orphan", "host": "k.example", "depends_on": ["gone", "windows"]},
]
DEFAULTS = {"target_id": "_defaults", "maintenance": ALL_DAY, "max_alerts": -1, "depends_on": "gateway"}


def findings(stack: Installation) -> Sequence[Finding]:
    aws = AwsState(stack, datetime.now(UTC))
    return [finding for title in OF_TARGETS for finding in CHECKS[title](aws)]


def follow(run: Run, stack: Installation) -> set[FindingKind]:
    """Give the first command of each finding until nothing is found; the kinds of what was found."""
    kinds = set()
    while found := findings(stack):
        first = found[0]
        kinds.add(first.kind)
        choose(StackChoice(local=True))
        [command, *_] = re.findall(r"`popwatch (.+?)`", repeat_options(first.do))
        ended = run(*shlex.split(command))
        assert ended.code == 0, (first, ended)
        assert first not in findings(stack), (first, ended)
    return kinds


def test_what_doctor_says_to_do_about_targets(run: Run, stack: Installation) -> None:
    """One command after the other, also where a target has two wrong fields."""
    stack.target_table.write(ITEMS, "abc")
    assert follow(run, stack) == {
        FindingKind.BAD_FIELD, FindingKind.BAD_TEMPLATE, FindingKind.DUPLICATE, FindingKind.PARENT_MISSING,
        FindingKind.PARENT_CYCLE, FindingKind.ALWAYS_IN_MAINTENANCE,
    }  # fmt: skip
    items = stack.target_table.read()
    assert items["cyc-a"]["depends_on"] == items["orphan"]["depends_on"] == ["windows"]


def test_what_doctor_says_to_do_about_defaults(run: Run, stack: Installation) -> None:
    """Fields that a target has from `_defaults` are removed there."""
    stack.target_table.write([DEFAULTS], "bc")
    assert follow(run, stack) == {
        FindingKind.BAD_FIELD, FindingKind.PARENT_MISSING, FindingKind.ALWAYS_IN_MAINTENANCE,
    }  # fmt: skip
    assert stack.target_table.read()["_defaults"] == {"target_id": "_defaults"}


def test_what_doctor_says_to_do_where_all_are_suspended(run: Run, stack: Installation) -> None:
    """One command resumes all."""
    stack.target_table.write([{"target_id": name, "host": f"{name}.example", "enabled": False} for name in "abc"])
    assert follow(run, stack) == {FindingKind.ALL_SUSPENDED}
