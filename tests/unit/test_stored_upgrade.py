"""Status, History and batch messages that the version before this one has written, and the other way round.

Every field of everything stored is set, by the fields of the dataclasses: one that a version passes over, or stores
under another name, fails here. An upgrade over a running stack: `tests/e2e/test_upgrade_in_flight.py`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from popwatch.aws.store import Store, SweepCheckpoint, Tables
from popwatch.decisions.batches import Batch, PlannedTest, RollupJob, from_message, to_messages
from popwatch.model.health import Health, Transition
from popwatch.model.messages import AlertMessage
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.records import InterventionEvent, OutboxEntry, Record
from popwatch.model.samples import sample_of
from popwatch.model.serialization import deserialize, serialize
from popwatch.model.targets import parse_target
from popwatch.model.totals import Totals
from tests.older_versions import FLAT_VERSION, PROJECT, unpack
from tests.stored_forms import Filler, as_json, rewrite, write

OLDER = """
import json, sys
from types import SimpleNamespace
from popwatch.batches import Batch, HourOfBatch, PlannedTest, from_message, to_messages
from popwatch.health import Health, Transition
from popwatch.hours import HourTotals, sample_of
from popwatch.outcomes import ErrorCode, Outcome, Phase
from popwatch.records import Note, Pending, Record, from_plain, to_plain
from popwatch.store import Store, SweepMark, Tables
from popwatch.targets import parse_target
from popwatch.alerts import Message
from tests.stored_forms import rewrite, write

KINDS = {
    kind.__name__: kind
    for kind in (Health, Transition, Message, Outcome, Pending, Record, Note, SweepMark, HourTotals)
}
Totals, SweepCheckpoint, RollupJob, BATCH_COUNTS = HourTotals, SweepMark, HourOfBatch, "layouts"
serialize, deserialize = to_plain, from_plain
Store.put_checkpoint = Store.mark_sweep

def typed_totals(by_target):
    return {name: from_plain(Totals, entry) for name, entry in by_target.items()}

code = SimpleNamespace(**globals())
print(json.dumps(write(code) if sys.argv[1] == "write" else rewrite(code, json.load(sys.stdin))))
"""

KINDS: Mapping[str, Any] = {
    "Health": Health,
    "Transition": Transition,
    "Message": AlertMessage,
    "Outcome": Outcome,
    "Pending": OutboxEntry,
    "Record": Record,
    "Note": InterventionEvent,
    "SweepMark": SweepCheckpoint,
    "HourTotals": Totals,
}
"""The dataclasses that are stored, by the names that they had in the version before this one."""

RENAMED = {
    "Health": {
        "beneath": "state_before_maintenance",
        "held": "alert_held",
        "degraded": "degraded_tests",
        "half_up": "degraded_alerted",
    },
    "Record": {"pending": "outbox"},
    "SweepMark": {"layouts": "batch_counts"},
}
"""The fields whose names in the code have changed, though not in the tables."""

LEFT_OUT = {"HourTotals": {"rtt_p95_ms"}}
"""Fields that are stored no longer: nothing has read them."""

ADDED = {
    "Health": {
        *("alerted_at_failures", "failures_in_maintenance", "run_ended_in_maintenance", "ended_outage"),
        *("certificate_near", "certificate_warnings", "failed_addresses", "untested_addresses"),
        *("allowance_full_at", "throttled", "slow", "slow_tests", "recovery", "passes_within"),
        *("login_failed", "login_failure", "login_at", "login_delay", "posture", "posture_due"),
        "posture_seen_at",
    },
    "Outcome": {
        *("address_age_seconds", "certificates", "passed_over", "remarks", "untested_addresses", "login", "login_ms"),
    },
    "Pending": {"committed_by", "given_up"},
    "Record": {"tested_as"},
    "Transition": {"run_ended_in_maintenance"},
}
"""Fields that the older version does not know. It ignores them, and drops them when it writes a record again."""

HERE = SimpleNamespace(
    KINDS=KINDS,
    BATCH_COUNTS="batch_counts",
    Batch=Batch,
    ErrorCode=ErrorCode,
    Outcome=Outcome,
    Phase=Phase,
    PlannedTest=PlannedTest,
    Record=Record,
    RollupJob=RollupJob,
    Store=Store,
    SweepCheckpoint=SweepCheckpoint,
    Tables=Tables,
    Totals=Totals,
    deserialize=deserialize,
    from_message=from_message,
    parse_target=parse_target,
    sample_of=sample_of,
    serialize=serialize,
    to_messages=to_messages,
    typed_totals=lambda by_target: by_target,
)
"""This version's code."""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the older version's package."""
    return unpack(tmp_path_factory.mktemp("older"), "layers", version=FLAT_VERSION) / "layers" / "popwatch"


@pytest.fixture(scope="module")
def written(older: Path) -> Any:
    """What the older version writes."""
    return run_older(older, "write")


def run_older(package: Path, command: str, given: object = None) -> Any:
    """What the older version's code makes of `given`."""
    program = subprocess.run(
        [sys.executable, "-c", OLDER, command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(PROJECT)])},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    return json.loads(program.stdout)


def without_left_out(written: Any) -> Any:
    """What is written, without the fields that this version leaves out."""
    found = as_json({name: written[name] for name in ("serialized", "items", "messages")})
    for name, left_out in LEFT_OUT.items():
        for field in left_out:
            found["serialized"][name].pop(field, None)
    for item in found["items"]["History"]:
        for entry in item.get("totals", {}).get("M", {}).values():
            totals = json.loads(entry["S"])
            kept = {name: value for name, value in totals.items() if name not in LEFT_OUT["HourTotals"]}
            entry["S"] = json.dumps(kept, separators=(",", ":"))
    found["messages"] = [
        json.dumps(without_outboxes(json.loads(body)), separators=(",", ":")) for body in found["messages"]
    ]
    return found


def without_outboxes(message: Any) -> Any:
    """A message as this version writes it: an alert is sent from the table only, so the record goes a version back."""
    for test in message.get("tests", ()):
        if test["record"].pop("pending", None):
            test["record"]["version"] -= 1
    return message


def without_added(found: Any) -> Any:
    """What is written, without the fields that the older version drops. No other field has one of these names."""
    if isinstance(found, list):
        return [without_added(each) for each in found]
    if isinstance(found, str) and found.startswith("{"):  # a message
        return json.dumps(without_added(json.loads(found)))
    if not isinstance(found, dict):
        return found
    added = {field for names in ADDED.values() for field in names}
    return {name: without_added(each) for name, each in found.items() if name not in added}


def with_read_messages(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is written, with its messages as objects."""
    return {**found, "messages": [json.loads(body) for body in found["messages"]]}


@pytest.mark.parametrize("name", KINDS)
def test_every_field_is_read(written: Any, name: str) -> None:
    """Each field that the older version stores is set, and has its value here, under its name of today."""
    stored, known = written["serialized"][name], written["fields"][name]
    assert sorted(stored) == sorted(known)
    read = deserialize(KINDS[name], stored)
    names = {field: RENAMED.get(name, {}).get(field, field) for field in known if field not in LEFT_OUT.get(name, ())}
    assert {field: as_json(serialize(getattr(read, today))) for field, today in names.items()} == {
        field: stored[field] for field in names
    }


@pytest.mark.parametrize("name", KINDS)
def test_every_field_is_written(written: Any, name: str) -> None:
    """Each field of today's dataclass is stored, under a name that the older version reads if it has the field."""
    stored = serialize(Filler().fill(KINDS[name]))
    assert len(stored) == len(fields(KINDS[name]))
    assert set(stored) - ADDED.get(name, set()) <= set(written["fields"][name])


def test_this_version_keeps_what_the_older_one_wrote(written: Any) -> None:
    """Items of Status and History, and messages, are the same to the byte once they have been read and written here."""
    found = as_json(rewrite(HERE, written))
    assert without_left_out(found) == without_left_out(written)


def test_older_version_keeps_what_this_one_wrote(older: Path) -> None:
    """Items of Status and History, and messages, are the same once the older version has rewritten them."""
    here = as_json(write(HERE))
    older_wrote = run_older(older, "rewrite", here)
    assert without_added(with_read_messages(older_wrote)) == without_added(with_read_messages(here))


def test_messages_carry_every_field_of_health(written: Any) -> None:
    """A test that waits in the batch queue knows all of its target's health, and nothing of its outbox."""
    [test] = json.loads(written["messages"][0])["tests"]
    assert sorted(test["record"]["health"]) == sorted(written["fields"]["Health"])
    assert sorted(test["record"]) == sorted(set(written["fields"]["Record"]) - {"outcome"})
    work = from_message(written["messages"][0])
    assert isinstance(work, Batch)
    assert [entry.target.problems for entry in work.tests] != [()]
    assert len(written["serialized"]["Record"]["pending"]) == 2
    assert (work.tests[0].record.outbox, work.tests[0].record.version) == ((), test["record"]["version"] - 1)
