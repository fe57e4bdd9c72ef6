"""The shared state of a credential in the Status table: conditional writes, damage, and older versions that meet it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from popwatch.aws.items import to_item
from popwatch.aws.store import CREDENTIAL_PREFIX
from popwatch.model.credential_state import CredentialState, Refusal
from tests.integration.world import NOON, World
from tests.older_versions import FIRST_VERSION, FLAT_VERSION, unpack

FULL = CredentialState(
    "monitor",
    revision="3 2026-11-23T11:00:00Z",
    tried_by="mail-berlin",
    tried_at=NOON,
    rejections=2,
    rejected_by="mail-berlin",
    rejected_at=NOON,
    said="-ERR [AUTH] no",
    reported_at=NOON,
    version=1,
    accepted_at=NOON,
    certain=True,
    refusals=(Refusal("mail-rome", 2, NOON, certain=True, reported_at=NOON),),
    problem="credential-missing",
    problem_since=NOON,
    problem_reported_at=NOON,
    reporting_at=NOON,
)
KEY = CREDENTIAL_PREFIX + "monitor"


def stored(world: World) -> Any:
    return world.dynamodb.get_item(TableName="Status", Key={"target_id": {"S": KEY}}).get("Item")


def put(world: World, **item: object) -> None:
    world.dynamodb.put_item(TableName="Status", Item=to_item({"target_id": KEY, **item}))


def test_a_state_is_read_back(world: World) -> None:
    """All fields; a credential that no one has tried has an empty one."""
    assert world.store.read_credential_state("monitor") == CredentialState("monitor")
    assert world.store.put_credential_state(FULL, 0) is None
    assert world.store.read_credential_state("monitor") == FULL
    passed = CredentialState("monitor", FULL.revision, passed_at=NOON, version=2)
    assert world.store.put_credential_state(passed, 1) is None
    assert world.store.read_credential_state("monitor") == passed
    assert world.store.damaged == {}


def test_one_of_the_version_before_is_read(world: World) -> None:
    """It has no form: a rejected login stood there as one under way. The next write has the present form."""
    world.store.put_credential_state(FULL, 0)
    old = stored(world)
    del old["form"]
    world.dynamodb.put_item(TableName="Status", Item=old)
    found = world.store.read_credential_state("monitor")
    assert found == replace(FULL, tried_at=None, certain=True)
    assert world.store.put_credential_state(replace(found, version=2), 1) is None
    assert world.store.read_credential_state("monitor") == replace(found, version=2)


def test_of_two_writers_one_wins(world: World) -> None:
    """The other one gets what the table holds; a repeat of a write whose answer was lost has succeeded."""
    assert world.store.put_credential_state(FULL, 0) is None
    other = replace(FULL, tried_by="mail-rome")
    assert world.store.put_credential_state(other, 0) == FULL
    assert world.store.put_credential_state(FULL, 0) is None
    assert world.store.read_credential_state("monitor") == FULL


def test_it_is_no_record_of_a_target(world: World) -> None:
    """A sweep neither reads it as one nor deletes it, and a target cannot have its key."""
    world.put_target("a")
    world.put_target(KEY)
    world.store.put_credential_state(FULL, 0)
    world.minute(NOON)
    assert set(world.store.read_records()[1]) == {"a"}
    assert [target["target_id"] for target in world.store.read_targets()[1]] == ["a"]
    assert world.store.read_credential_state("monitor") == FULL


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"version": 4, "credential": "x"},
        {"version": 4, "credential": {"name": "other", "version": 4}},
        {"version": 4, "credential": {"name": "monitor", "version": 3}},
        {"version": 4, "credential": {"name": "monitor", "version": 4, "rejections": -1}},
        {"version": 4, "credential": {"name": "monitor", "version": 4, "rejections": "many"}},
        {"version": 4, "credential": {"name": "monitor", "version": 4, "passed_at": "yesterday"}},
        {"version": 4, "credential": {"name": "monitor", "version": 4, "revision": "x"}},
        {"version": 4, "credential": {"name": "monitor", "version": 4, "refusals": [{"target_id": "a"}]}},
        {"version": "4", "credential": {"name": "monitor", "version": 4}},
        {"version": -4, "credential": {"name": "monitor", "version": -4}},
        {"version": [4], "credential": {"name": "monitor", "version": 4}},
    ],
    ids=lambda item: json.dumps(item)[:60],
)
def test_a_damaged_one_is_ignored_and_replaced(world: World, item: dict[str, Any]) -> None:
    """Whatever someone has written there: no one is locked out of it, and the next write replaces it."""
    put(world, **item)
    found = world.store.read_credential_state("monitor")
    assert (found.name, found.revision, found.rejections, found.passed_at) == ("monitor", "", 0, None)
    begun = replace(FULL, version=found.version + 1)
    assert world.store.put_credential_state(begun, found.version) is None
    assert world.store.read_credential_state("monitor") == begun


OLDER = """
import json, sys
import boto3
from datetime import UTC, datetime
from moto import mock_aws
from popwatch.store import Store, Tables
from tests.tables import create_tables

with mock_aws():
    dynamodb = boto3.client("dynamodb", region_name="us-east-1")
    create_tables(dynamodb)
    dynamodb.put_item(TableName="Status", Item=json.load(sys.stdin))
    store = Store(dynamodb, Tables("Targets", "Status", "History"), lambda: datetime(2026, 11, 23, 12, tzinfo=UTC))
    [(name, record)] = store.read_records()[1].items()
    store.delete_record(record)
    print(json.dumps([name, str(record.health.state), record.version, dynamodb.scan(TableName="Status")["Count"]]))
"""


@pytest.mark.long
@pytest.mark.parametrize("version", [FIRST_VERSION, FLAT_VERSION])
def test_older_versions_take_it_for_the_record_of_a_removed_target(world: World, tmp_path: Path, version: str) -> None:
    """They delete it in their next sweep, and then one target tries the credential again."""
    world.store.put_credential_state(FULL, 0)
    package = unpack(tmp_path, "layers", version=version) / "layers" / "popwatch"
    project = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", OLDER],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(project)])},
        input=json.dumps(stored(world)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [KEY, "untested", 1, 0]
