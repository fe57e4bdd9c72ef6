"""What someone may try who reaches the local AWS, the queue or the tables: each on the deployed stack.

What the same did before is said with each; `tests/integration/test_damage.py` has more of the damage.
"""

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from popwatch.aws.items import to_item
from popwatch.aws.store import SweepCheckpoint
from popwatch.decisions.batches import Batch, PlannedTest, to_messages
from popwatch.model.messages import AlertMessage
from popwatch.model.records import OutboxEntry
from popwatch.model.serialization import serialize
from popwatch.model.targets import parse_target
from popwatch.queries.status import read_fleet_status
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed

pytestmark = pytest.mark.local_stack

DAYS = timedelta(days=200)
MINUTE = timedelta(minutes=1)
LIST_TABLES = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"}
MINISTACK_RESET = "/_ministack/reset"


def ask(stack: Deployed, path: str, headers: dict[str, str], method: str = "POST") -> tuple[int, bytes]:
    """What the local AWS answers."""
    connection = HTTPConnection("127.0.0.1", stack.local.port, timeout=60)
    connection.request(method, path, b"{}", headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def signed(key: str) -> dict[str, str]:
    scope = f"{key}/20261127/us-east-1/dynamodb/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


@pytest.mark.parametrize(
    "extra",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:4566"},
    ],
    ids=str,
)
def test_web_pages_are_refused(stack: Deployed, extra: dict[str, str]) -> None:
    """With the key or without it; before, any page could make a function of its own code and run it."""
    for path in ("/", MINISTACK_RESET, "/2015-03-31/functions"):
        for headers in (extra, extra | signed(stack.local.key)):
            status, body = ask(stack, path, LIST_TABLES | headers)
            assert (status, b"The local AWS" in body) == (403, True)


@pytest.mark.parametrize("headers", [{}, signed("local"), signed("test"), signed("0" * 32)], ids=str)
def test_other_users_of_the_machine_are_refused(stack: Deployed, headers: dict[str, str]) -> None:
    """Without the key of this run nothing is done; before, any key did, and none too."""
    for path in ("/", MINISTACK_RESET, "/2015-03-31/functions", "/_aws/sqs/messages"):
        status, body = ask(stack, path, LIST_TABLES | headers)
        assert (status, b"needs the key of its run" in body) == (403, True)


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/_aws/lambda-url/?Action=ListQueues", "127.0.0.1"),
        ("/_aws/lambda-url//?Action=ListQueues", "127.0.0.1"),
        ("/_aws/lambda-url/page/?Action=ListQueues", "127.0.0.1"),
        (f"/_aws/lambda-url/{'0' * 32}/", "s3.localhost"),
        ("/_ministack/health?Action=ListQueues", "s3.localhost"),
    ],
)
def test_the_path_of_the_page_opens_nothing_else(stack: Deployed, path: str, host: str) -> None:
    """Where it is not a function's URL, MiniStack reads parameters and host: without the key, anyone could run code."""
    for method in ("GET", "POST"):
        status, body = ask(stack, path, LIST_TABLES | {"Host": host}, method)
        assert (status, b"needs the key of its run" in body) == (403, True)


def test_a_page_that_there_is_not_is_no_other_service(stack: Deployed) -> None:
    """Whatever else the request says."""
    for method in ("GET", "POST"):
        status, body = ask(stack, f"/_aws/lambda-url/{'0' * 32}/?Action=ListQueues", LIST_TABLES, method)
        assert (status, b"ResourceNotFoundException" in body) == (404, True)


def test_the_key_opens(stack: Deployed) -> None:
    """What is refused above is refused for its sender alone."""
    status, body = ask(stack, "/", LIST_TABLES | signed(stack.local.key))
    assert (status, b"TableNames" in body) == (200, True)


def test_what_is_kept_is_the_user_s_own(stack: Deployed) -> None:
    """Folder and key can be read by their user only, and functions inherit no variables but a few."""
    folder = stack.local.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "outputs.json").stat().st_mode) == 0o600
    stack.tick()
    for process in stack.process_ids():
        names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")}
        assert b"TARGETS_TABLE" in names
        assert not names & {b"HOME", b"PYTEST_CURRENT_TEST", b"PYTEST_VERSION", b"USER", b"SHELL"}


def test_a_checkpoint_of_the_future_stops_nothing(stack: Deployed, server: ScriptedServer) -> None:
    """Before, nothing was tested for 200 days, and records of then were never due."""
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": server.listen("healthy")})
    assert stack.tick() is None
    there = stack.store.read_record("a")
    future = datetime.now(UTC) + DAYS
    stack.store.put_checkpoint(SweepCheckpoint(future, future))
    ahead = replace(there, version=there.version + 1, tick=future, health=replace(there.health, since=future))
    assert stack.store.commit(ahead, there.version) is None
    now = datetime.now(UTC).replace(microsecond=0)
    assert stack.tick(now) is None
    assert stack.store.read_checkpoint().tick == now
    assert stack.store.read_record("a").tick == now


def message(record: Any, at: datetime, port: int, **record_fields: object) -> str:
    """A message of the batch queue as anyone may write it who may send to that."""
    target = parse_target({"target_id": "a", "host": "127.0.0.1", "port": port})
    [body] = to_messages(Batch(at, at + MINUTE, 1, 0, (PlannedTest(target, record),), {}))
    found = json.loads(body)
    found["tests"][0]["record"] |= record_fields
    return json.dumps(found)


def test_forged_messages_alert_no_one(stack: Deployed, server: ScriptedServer) -> None:
    """Before, an outbox in a message was published, one of 2099 stopped its target, another's record was judged."""
    port = server.listen("refused")
    stack.put_targets({"target_id": "a", "host": "127.0.0.1", "port": port})
    assert stack.tick() is None
    record, now = stack.store.read_record("a"), datetime.now(UTC).replace(microsecond=0)
    long_ago = now - timedelta(minutes=30)
    forged = OutboxEntry(1, long_ago, long_ago, message=AlertMessage("a", "FORGED", "f", "f", "f", {"event": "down"}))
    later = datetime(2099, 1, 1, tzinfo=UTC)
    function = {"FunctionName": stack.local.outputs["CheckTargetsFunction"]}
    bodies = {
        message(record, now, port, pending=serialize((forged,))): "",
        message(record, later, port): "its tick 2099-01-01T00:00:00Z is more than",
        message(record, now - timedelta(hours=2), port): "is more than an hour old",
        message(record, now, port, target_id="b"): "the record of b comes with target a",
        message(record, now, port, tick="2099-01-01T00:00:00Z"): "2099-01-01T00:00:00Z is in the future",
    }
    for body, error in bodies.items():
        event = {"Records": [{"messageId": "1", "body": body}]}
        answer = stack.local.client("lambda").invoke(**function, Payload=json.dumps(event))
        said = json.loads(answer["Payload"].read()).get("errorMessage", "")
        assert error in said
        assert bool(error) == bool(said)
    assert stack.tick(now + MINUTE) is None
    assert stack.store.read_record("a").tick == now + MINUTE
    assert [alert.subject for alert in stack.feed.receive() if "FORGED" in alert.subject] == []


def test_damaged_items_stop_nothing(stack: Deployed, server: ScriptedServer) -> None:
    """Before, one record stopped every sweep for all targets, and one key of History the report and the page."""
    port = server.listen("healthy")
    stack.put_targets(*({"target_id": name, "host": "127.0.0.1", "port": port} for name in "abcde"))
    dynamodb, outputs = stack.local.client("dynamodb"), stack.local.outputs
    before = "2026-11-23T12:00:00Z"
    for name, fields in {
        "a": {"tick": "2026-11-23T12:00:00", "version": 3},
        "b": {"tick": "0001-01-01T00:00:00Z", "version": 3},
        "c": {"tick": before, "version": 10**38 - 1},
        "d": {"tick": before, "version": 3, "health": {"state": "up", "failures": 10**37}},
    }.items():
        dynamodb.put_item(TableName=outputs["StatusTable"], Item=to_item({"target_id": name, **fields}))
    for pk, sk in (("target#e", "transition#2026-11-23#x"), ("samples#1#0", f"{datetime.now(UTC):%Y-%m-%dT%H:%M}!")):
        dynamodb.put_item(TableName=outputs["HistoryTable"], Item=to_item({"pk": pk, "sk": sk, "expires_at": 10**11}))
    now = datetime.now(UTC).replace(microsecond=0)
    assert stack.tick(now) is None
    found = read_fleet_status(stack.store, now + MINUTE).targets
    states = {
        one.target.target_id: (str(one.state), one.tested_at is not None and one.tested_at >= now) for one in found
    }
    assert states == dict.fromkeys("abcde", ("up", True))
    assert list(stack.store.read_events("e"))
