"""Messages that lie in the batch queue while one version is deployed over the other: each reads the other's.

This version sends and takes no outbox: the record goes a version back, so that its commit collides with the one in the
table, whose outbox is kept.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.older_versions import PROJECT, unpack

WRITE = """
from datetime import UTC, datetime, timedelta
try:
    from popwatch.decisions.batches import Batch, PlannedTest, RollupJob, to_messages
    from popwatch.model.health import Health, State, Transition
    from popwatch.model.records import OutboxEntry as Pending
    from popwatch.model.records import Record
    from popwatch.model.targets import parse_target
except ImportError:
    from popwatch.batches import Batch, PlannedTest, to_messages
    from popwatch.batches import HourOfBatch as RollupJob
    from popwatch.health import Health, State, Transition
    from popwatch.records import Pending, Record
    from popwatch.targets import parse_target

tick, minute = datetime(2026, 11, 24, 3, tzinfo=UTC), timedelta(minutes=1)
health = Health(State.DOWN, tick, 4, 1, failing_since=tick - 2 * minute, next_test_at=tick + minute)
entry = Pending(7, tick, tick, Transition(State.WARN, State.DOWN, tick, 2 * minute))
defaults = {"failures_per_alert": 2}
items = [
    {"target_id": "down", "host": "pop.example.net", "tls": "implicit"},
    {"target_id": "bad", "host": "x", "port": "many"},
]
tests = [
    PlannedTest(parse_target(item, defaults), Record(item["target_id"], 7, tick, health, None, (entry,), "w"))
    for item in items
]
for work in (Batch(tick, tick + minute, 2, 1, tuple(tests), defaults), RollupJob(tick, 2, 1)):
    print(*to_messages(work), sep="\\n")
"""
READ = """
import json, sys
try:
    from popwatch.decisions.batches import RollupJob, from_message
    from popwatch.model.serialization import serialize
except ImportError:
    from popwatch.batches import HourOfBatch as RollupJob
    from popwatch.batches import from_message
    from popwatch.records import to_plain as serialize

for line in sys.stdin:
    work = from_message(line)
    if isinstance(work, RollupJob):
        print(json.dumps(serialize(work)))
    else:
        next_tick = work.next_tick if hasattr(work, "next_tick") else work.horizon
        head = serialize([work.tick, next_tick, work.batches, work.number, work.attempt, work.defaults])
        tests = [
            [it.target.fields, [found.field for found in it.target.problems], it.target.policy.failures_per_alert]
            + [serialize(it.record)]
            for it in work.tests
        ]
        print(json.dumps([head, tests]))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each version's package is."""
    folder = tmp_path_factory.mktemp("first")
    unpack(folder, "layers")
    return {"first": folder / "layers" / "popwatch", "this": PROJECT / "layers" / "popwatch"}


def run(package: Path, program: str, given: str = "") -> str:
    """What a program prints that runs on a version's package."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(package)},
        input=given,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def read(package: Path, messages: str) -> list[Any]:
    return [json.loads(line) for line in run(package, READ, messages).splitlines()]


@pytest.mark.parametrize(("writer", "reader"), [("first", "this"), ("this", "first")])
def test_each_version_reads_the_other_s_messages(packages: dict[str, Path], writer: str, reader: str) -> None:
    """Targets, their problems, records without outboxes, and hours to add up arrive as this version reads them."""
    messages = run(packages[writer], WRITE)
    [[_, [[_, no_problems, _, record], [_, problems, _, _]]], hour] = found = read(packages[reader], messages)
    assert found == read(packages["this"], messages)
    assert (no_problems, problems) == ([], ["port"])
    assert (record["health"]["failures"], record["version"], record.get("pending")) == (4, 6, None)
    assert hour["batches"] == 2
