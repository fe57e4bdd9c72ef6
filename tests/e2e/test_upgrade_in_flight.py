"""The version before this one deployed; this version over it; and the way back, with work under way each time.

Every field of Health is set, in a record of Status and in a message that waits in the batch queue; an outage is under
way, and an alert is in the outbox. The expected health is what b1e2188's own code makes of each test.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from popwatch.aws.items import to_item
from popwatch.decisions.batches import Batch, PlannedTest, to_messages
from popwatch.model.health import Health
from popwatch.model.records import EventKind
from popwatch.model.serialization import deserialize, serialize
from popwatch.model.targets import parse_target
from popwatch.model.text import iso
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed
from tests.e2e.upgraded import Clone
from tests.fast_clock import SteppedClock
from tests.older_versions import FLAT_VERSION
from tests.unit.test_stored_upgrade import ADDED

pytestmark = [pytest.mark.local_stack, pytest.mark.faults]

MINUTE = timedelta(minutes=1)
OLD, NEW, OLD_AGAIN = range(5), range(6, 8), range(9, 10)
"""The minutes of each version: the tick of an upgrade is lost."""

OUTAGES: Mapping[str, range] = {
    "mail-outage": range(1, 9),
    "mail-outbox": range(2, 9),
    "mail-status": range(9),
    "mail-message": range(9),
}
"""The minutes in which each server refuses connections. The last two are known only once their records are put."""

FIRST_WORK = ("mail-outage", "mail-outbox")
VERSION = 7
"""The version of the records that have every field set."""

READ_GIVEN = """
import json, sys
from datetime import datetime
from popwatch.batches import Batch, PlannedTest, to_messages
from popwatch.health import Health, judge
from popwatch.outcomes import ErrorCode, Outcome, Phase
from popwatch.records import Record, from_plain, to_plain
from popwatch.targets import parse_target
given = json.loads(sys.argv[1])
time = datetime.fromisoformat(given["tick"])
target = parse_target(given["target"], {})
record = from_plain(Record, given["record"])
"""
MESSAGE_BY_OLD = f"""{READ_GIVEN}
test = PlannedTest(target, record)
print(*to_messages(Batch(time, datetime.fromisoformat(given["horizon"]), 1, 0, (test,), {{}})))
"""
JUDGED_BY_OLD = f"""{READ_GIVEN}
failed = Outcome(time, Phase.CONNECT, error=ErrorCode.CANNOT_CONNECT, reason="refused")
print(json.dumps(to_plain(judge(record.health, failed, target.policy, time).health)))
"""


@dataclass(slots=True)
class UpgradeRun:
    """Servers over the minutes, and the alerts that came."""

    clone: Clone
    servers: ScriptedServer
    ports: Mapping[str, int]
    begin: datetime

    def at(self, minute: int) -> datetime:
        """The tick of a minute."""
        return self.begin + minute * MINUTE

    def run_this_version(self, stack: Deployed, minutes: range, clock: SteppedClock) -> list[str]:
        """The same by this version, which judges a test by the time at which it begins."""
        alerts: list[str] = []
        for minute in minutes:
            clock.set(minute * MINUTE.total_seconds())
            alerts += self.run(stack, range(minute, minute + 1))
        return alerts

    def run(self, stack: Deployed, minutes: range) -> list[str]:
        """The ticks of some minutes; the subjects of the alerts that they brought."""
        for minute in minutes:
            self.play(minute)
            stack.tick(self.at(minute))
        return subjects(stack)

    def play(self, minute: int) -> None:
        """Let each server be as it is in a minute."""
        for name, outage in OUTAGES.items():
            self.servers.play(self.ports[name], "refused" if minute in outage else "healthy")

    def target(self, name: str) -> dict[str, Any]:
        """The item of a target; that of the message is tested by nothing else."""
        rest = {"delay_down": 3600} if name == "mail-message" else {}
        return {"target_id": name, "host": "127.0.0.1", "port": self.ports[name], "flap_per_hour": 6, **rest}

    def put_target(self, name: str) -> None:
        """Write a target by the command of the version that is checked out."""
        named = [f"{field}={value}" for field, value in self.target(name).items() if field != "target_id"]
        self.clone.popwatch("targets", "put", name, *named)

    def record(self, name: str, next_test_at: datetime) -> dict[str, Any]:
        """A record of Status as the older version stores it, with every field of Health set."""
        changes = [iso(self.begin - number * MINUTE) for number in range(8, 0, -1)]
        health = {
            "state": "down",
            "since": iso(self.begin),
            "failures": 4,
            "alerts_sent": 1,
            "failing_since": iso(self.begin),
            "next_test_at": iso(next_test_at),
            "last_good_at": iso(self.begin - MINUTE),
            "last_good_rtt_ms": 12.5,
            "beneath": "up",
            "held": True,
            "caused_by": "router",
            "changes": changes,
            "flapping": True,
            "degraded": 2,
            "half_up": True,
            "certificate_expires": iso(self.begin + timedelta(days=5)),
            "certificate_warned": 7,
            "certificate_warned_of": iso(self.begin + timedelta(days=4)),
        }
        return {"target_id": name, "version": VERSION, "tick": iso(self.at(4)), "health": health, "writer": "older"}

    def judged_by_old(self, name: str, record: Mapping[str, Any], minute: int) -> Any:
        """The health that the older version's code makes of a record and a failed test, as it is stored."""
        given = {"target": self.target(name), "record": record, "tick": iso(self.at(minute))}
        return json.loads(self.clone.run(JUDGED_BY_OLD, json.dumps(given)))


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    """A clone to deploy from, beside an AWS that outlasts its versions."""
    with Clone.beside_cloud(tmp_path / "popwatch") as found:
        yield found


@pytest.fixture
def upgrade_run(clone: Clone, server: ScriptedServer) -> UpgradeRun:
    """Servers, and a minute 0 that lies a quarter of an hour back."""
    begin = datetime.now(UTC).replace(second=0, microsecond=0) - 15 * MINUTE
    return UpgradeRun(clone, server, {name: server.listen("healthy") for name in OUTAGES}, begin)


def test_upgrade_and_way_back_keep_every_field(clone: Clone, upgrade_run: UpgradeRun) -> None:
    """Each version continues from Status and messages of the other: nothing is lost, and nothing sent twice."""
    old = clone.deploy_older_version(FLAT_VERSION)
    for name in FIRST_WORK:
        upgrade_run.put_target(name)
    assert upgrade_run.run(old, OLD[:-1]) == ["DOWN 1/3: mail-outage"]
    old.configure(ALERT_TOPIC_ARN=old.local.outputs["AlertTopicArn"] + "-gone")
    assert upgrade_run.run(old, OLD[-1:]) == []
    assert old.store.read_record("mail-outbox").outbox

    records = {name: upgrade_run.record(name, upgrade_run.at(6)) for name in ("mail-status", "mail-message")}
    records["mail-message"]["health"]["next_test_at"] = iso(upgrade_run.at(60))
    for name, record in records.items():
        upgrade_run.put_target(name)
        put_record(old, record)
    expected = {name: upgrade_run.judged_by_old(name, record, 6) for name, record in records.items()}
    given: dict[str, Any] = {"target": upgrade_run.target("mail-message"), "record": records["mail-message"]}
    given |= {"tick": iso(upgrade_run.at(6)), "horizon": iso(upgrade_run.at(7))}
    message = clone.run(MESSAGE_BY_OLD, json.dumps(given))
    take_messages(old, False)
    send(old, message)

    new = clone.deploy_this_version()
    new.configure(FUNCTION_TIMEOUT_SECONDS="1")  # what is in an outbox is delivered by another invocation after it
    for name, record in records.items():
        assert_every_field_is_read(new, name, record)
    upgrade_run.play(6)
    with new.testing_at(upgrade_run.begin) as clock:
        clock.set(6 * MINUTE.total_seconds())
        take_messages(new, True)
        wait_for_version(new, "mail-message", VERSION + 1)
        alerts = upgrade_run.run_this_version(new, NEW[:1], clock)
        for name in records:
            assert serialize(new.store.read_record(name).health) == expected[name], name
        alerts += upgrade_run.run_this_version(new, NEW[1:], clock)
    assert sorted(alerts) == ["DOWN 1/3: mail-outbox", "DOWN 2/3: mail-outage"]

    take_messages(new, False)
    send(new, message_by_new(upgrade_run, new, "mail-message", 8))
    before = new.store.read_record("mail-message")
    back = clone.deploy_older_version(FLAT_VERSION)
    assert back.store.read_record("mail-message") == before
    upgrade_run.play(9)
    take_messages(back, True)
    wait_for_version(back, "mail-message", before.version + 1)
    alerts = upgrade_run.run(back, OLD_AGAIN)
    assert sorted(alerts) == [
        "UP again: mail-message, was down 8 min",
        "UP again: mail-outage, was down 8 min",
        "UP again: mail-outbox, was down 7 min",
        "UP again: mail-status, was down 9 min",
    ]
    assert {back.state(name) for name in OUTAGES} == {"up"}
    assert_sent_once(back)


def put_record(stack: Deployed, record: Mapping[str, Any]) -> None:
    """Put a record into Status as it is stored."""
    stack.local.client("dynamodb").put_item(
        TableName=stack.installation.outputs["StatusTable"], Item=to_item(dict(record))
    )


def take_messages(stack: Deployed, enabled: bool) -> None:
    """Let the function take messages from the batch queue, or let them wait there."""
    client = stack.local.client("lambda")
    for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def send(stack: Deployed, message: str) -> None:
    """Put a message into the batch queue."""
    stack.local.client("sqs").send_message(
        QueueUrl=stack.installation.outputs["BatchQueueUrl"], MessageBody=message.strip()
    )


def message_by_new(upgrade_run: UpgradeRun, stack: Deployed, name: str, minute: int) -> str:
    """The message of one test as this version writes it."""
    test = PlannedTest(parse_target(upgrade_run.target(name), {}), stack.store.read_record(name))
    [message] = to_messages(Batch(upgrade_run.at(minute), upgrade_run.at(minute + 1), 1, 0, (test,), {}))
    return message


def assert_every_field_is_read(stack: Deployed, name: str, record: Mapping[str, Any]) -> None:
    """Each field of Health that the older version has is set, and is what the record says."""
    health = stack.store.read_record(name).health
    stored = {known.name: known.metadata.get("stored_as", known.name) for known in fields(Health)}
    unset = {stored[known.name] for known in fields(Health) if getattr(health, known.name) == known.default}
    assert unset == ADDED["Health"]
    assert serialize(health) == record["health"]
    assert health == deserialize(Health, record["health"])


def wait_for_version(stack: Deployed, name: str, version: int) -> None:
    """Wait until a record has been written by a message's test; fails if it is written more often."""
    stack.wait_for(f"version {version} of {name}", lambda: stack.store.read_record(name).version >= version)


def subjects(stack: Deployed) -> list[str]:
    """The subjects of the alerts that have come, without where the targets are."""
    return [alert.subject.partition(" (")[0] + alert.subject.partition(")")[2] for alert in stack.feed.receive()]


def assert_sent_once(stack: Deployed) -> None:
    """History has each alert and each transition once, and no outbox holds anything."""
    for name in OUTAGES:
        events = list(stack.store.read_events(name))
        kinds = [(event.kind, event.version) for event in events if event.kind is not EventKind.INTERVENTION]
        assert kinds
        assert len(set(kinds)) == len(kinds)
        assert not stack.store.read_record(name).outbox
