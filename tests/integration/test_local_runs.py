"""`make run`: what is kept comes back as it was and no damage is taken for it; one run does not use another's AWS."""

import gzip
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from popwatch_cli.local import stack
from popwatch_cli.local.demo import DEMO_TARGETS, running_demo
from popwatch_cli.local.running import _has_demo, _only_run, _read_targets
from popwatch_cli.local.snapshot import (
    TABLES,
    Snapshot,
    SnapshotError,
    SnapshotSaver,
    read_snapshot,
    restore,
    write_snapshot,
)
from popwatch_cli.local.stack import LocalStack, LocalStackError, free_port
from tests.integration.world import new_world
from tests.tables import NAMES

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
NAMED = {f"{name}Table": name for name in NAMES}
ITEMS: dict[str, list[dict[str, Any]]] = {
    "StatusTable": [{"target_id": {"S": f"t{number}"}, "version": {"N": str(number)}} for number in range(60)],
    "HistoryTable": [
        {"pk": {"S": "target#t1"}, "sk": {"S": "note"}, "map": {"M": {"B": {"S": "no bytes"}, "BS": {"L": []}}}},
        {"pk": {"S": "target#t1"}, "sk": {"S": "raw"}, "b": {"B": b"\x00\xff"}, "s": {"BS": [b"\x01", b"\x02"]}},
        {"pk": {"S": "target#t2"}, "sk": {"S": "ü\n☃"}, "n": {"N": "0.1"}, "e": {"NULL": True}, "x": {"BOOL": False}},
    ],
    "TargetsTable": [{"target_id": {"S": "t1"}, "host": {"S": "pop.example.net"}}],
}


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    """A client of empty tables."""
    with new_world() as world:
        yield world.dynamodb


@pytest.fixture
def path(dynamodb: Any, tmp_path: Path) -> Path:
    """A file that keeps `ITEMS`."""
    restore(Snapshot(NOW, ITEMS), dynamodb, NAMED)
    path = tmp_path / "kept.jsonl.gz"
    assert write_snapshot(path, dynamodb, NAMED, {"d": {"port": 1}}, NOW) == 64
    return path


def in_order(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=repr)


def test_every_item_comes_back(path: Path, dynamodb: Any) -> None:
    """Also bytes, and attributes that are named as their types; the file is its user's alone."""
    assert path.stat().st_mode & 0o777 == 0o600
    snapshot = read_snapshot(path)
    assert snapshot
    assert (snapshot.saved_at, snapshot.count, snapshot.demo) == (NOW, 64, {"d": {"port": 1}})
    for name, items in ITEMS.items():
        assert in_order(snapshot.items[name]) == in_order(items)
    for name in NAMES:
        for item in ITEMS[f"{name}Table"]:
            key = {part: item[part] for part in ("pk", "sk", "target_id") if part in item}
            dynamodb.delete_item(TableName=name, Key=key)
    restore(snapshot, dynamodb, NAMED)
    assert write_snapshot(path, dynamodb, NAMED, None, NOW) == 64
    again = read_snapshot(path)
    assert again
    assert {name: in_order(items) for name, items in again.items.items()} == {
        name: in_order(items) for name, items in snapshot.items.items()
    }


def test_no_file_keeps_nothing(tmp_path: Path) -> None:
    """The first run has nothing to restore."""
    assert read_snapshot(tmp_path / "none") is None


def test_a_damaged_file_is_refused(path: Path) -> None:
    """Cut off anywhere, or with any byte changed but those that gzip does not read; the message says what to do."""
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(SnapshotError, match="run without KEEP=1"):
            read_snapshot(path)
    for position in range(10, len(whole), 5):  # before it is the time of writing, which nothing depends on
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        with pytest.raises(SnapshotError, match="Move it away to begin again"):
            read_snapshot(path)


@pytest.mark.parametrize(
    "lines",
    [
        [{"format": 2, "saved_at": "2026-11-27T12:00:00Z", "demo": None}, 0],
        [{"format": 1, "saved_at": "2026-11-27T12:00:00Z", "demo": None}, ["OtherTable", {}], 1],
        [{"format": 1, "saved_at": "2026-11-27T12:00:00Z", "demo": None}, ["StatusTable", {}], 2],
        [{"format": 1, "saved_at": "2026-11-27T12:00:00Z", "demo": None}, ["StatusTable", {}]],
        [{"format": 1, "saved_at": "yesterday", "demo": None}, 0],
        [[]],
        [],
    ],
)
def test_another_file_is_refused(tmp_path: Path, lines: list[Any]) -> None:
    """Of a later version, of another program, or with fewer items than it says."""
    path = tmp_path / "kept.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    with pytest.raises(SnapshotError, match="another version of popwatch"):
        read_snapshot(path)


def test_a_saving_that_fails_leaves_the_old_file(
    path: Path, dynamodb: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If the local AWS ends meanwhile, if the disk is full; also if a process was killed while it saved."""
    before = path.read_bytes()

    class Ended:
        meta = dynamodb.meta

        def get_paginator(self, _: str) -> Any:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:4566")

    with pytest.raises(SnapshotError, match="is as it was, because the tables cannot be read"):
        write_snapshot(path, Ended(), NAMED, None, NOW)  # type: ignore[arg-type]
    assert (tmp_path / "kept.jsonl.gz.new").exists()
    assert path.read_bytes() == before
    assert write_snapshot(path, dynamodb, NAMED, None, NOW) == 64
    assert not (tmp_path / "kept.jsonl.gz.new").exists()
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SnapshotError, match="cannot be written: No space left on device"):
        write_snapshot(path, dynamodb, NAMED, None, NOW)
    assert path.read_bytes() == before


def test_tables_are_read_in_an_order_that_loses_nothing() -> None:
    """Status first: what it says is in History is there, or is still to be written."""
    assert TABLES.index("StatusTable") < TABLES.index("HistoryTable")


def test_the_keeper_saves_meanwhile_and_at_the_end() -> None:
    """Why a saving failed is said once, and the next one is tried."""
    tried, failing = Event(), Event()
    saved: list[int] = []

    def save() -> int:
        saved.append(len(saved))
        if failing.is_set():
            tried.set()
            raise SnapshotError("The disk is full.")
        return len(saved)

    failing.set()
    saver = SnapshotSaver(save, pause=0.01)
    assert tried.wait(10)
    failing.clear()
    count = saver.finish()
    assert count == len(saved) >= 2
    assert saver.news(0) in ("The disk is full.", "")
    assert saver.news(0) == ""


def test_the_keeper_says_at_the_end_that_it_fails() -> None:
    """The error of the last saving goes to the caller."""

    def save() -> int:
        raise SnapshotError("The disk is full.")

    with pytest.raises(SnapshotError):
        SnapshotSaver(save, pause=60).finish()


def test_a_demo_that_is_kept_has_its_ports_anew() -> None:
    """And its certificates; what the user has changed, added or removed stays so."""
    with running_demo() as demo:
        new = {item["target_id"]: item for item in demo.targets}
        before = {name: {**item, "port": 1, "ca_pem": "old"} for name, item in new.items() if name != "_defaults"}
        before["_defaults"] = new["_defaults"]
        present = {name: dict(item) for name, item in before.items() if name != "demo-stls"}
        present["demo-healthy"] |= {"port": 995, "tls": "implicit"}
        present["demo-tls"] |= {"silence": {"until": "2026-11-28T00:00:00Z"}}
        present["mine"] = {"target_id": "mine", "host": "pop.example.net"}
        del before["demo-slow-greeting"], present["demo-slow-greeting"]  # as if this version had added it
        written = {item["target_id"]: item for item in demo.revised(present, before)}
    assert written["demo-healthy"] == present["demo-healthy"] | {"ca_pem": new["demo-healthy"].get("ca_pem", "old")}
    assert written["demo-tls"]["port"] == new["demo-tls"]["port"]
    assert written["demo-tls"]["ca_pem"] == new["demo-tls"]["ca_pem"] != "old"
    assert written["demo-tls"]["silence"]
    assert written["demo-slow-greeting"] == new["demo-slow-greeting"]
    assert not written.keys() & {"demo-stls", "mine"}
    assert len(written) == len(DEMO_TARGETS)  # with _defaults, and without the one that was removed


@pytest.mark.parametrize(
    ("snapshot", "items", "has"),
    [
        (None, None, True),
        (None, [], False),
        (Snapshot(NOW), None, False),
        (Snapshot(NOW, demo={}), None, True),
        (Snapshot(NOW, demo={}), [], True),
    ],
)
def test_when_the_demo_runs(snapshot: Snapshot | None, items: list[Any] | None, has: bool) -> None:
    """Where nothing else is watched, and where its targets are kept."""
    assert _has_demo(snapshot, items) is has


def test_one_run_in_a_folder(tmp_path: Path) -> None:
    """From the beginning; the folder is its user's alone."""
    folder = tmp_path / ".popwatch"
    folder.mkdir(0o755)
    with _only_run(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(LocalStackError, match="already running here"), _only_run(folder):
            pass
    with _only_run(folder):
        pass


@pytest.mark.long
def test_the_port_of_another_local_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that begin at once may choose the same port: the second sees that it is not its own AWS that answers."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403 if self.headers["Authorization"] else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        port = other.server_port
        with pytest.raises(LocalStackError, match="did not start"):
            LocalStack(tmp_path, tmp_path / "chosen", port=port).start()
        chosen = iter([port])
        monkeypatch.setattr(
            stack, "free_port", lambda wished: next(chosen, 0) or free_port(0 if wished == port else wished)
        )
        local = LocalStack(tmp_path, tmp_path / "free")
        local.start()
        try:
            assert local.port != port
            assert local.client("sqs").list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200
        finally:
            local.stop()
            other.shutdown()


def test_what_is_wrong_with_a_file_of_targets_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes with their lines, unknown fields with what may have been meant, and a silence, which is not read."""
    path = tmp_path / "targets.yaml"
    path.write_text(
        "- {target_id: a, host: pop.example.net, prot: 995, silence: {until: '2030-01-01T00:00:00Z'}}\n"
        "- {target_id: b, host: x, port: many}\n"
    )
    items = _read_targets(path)
    assert items == [
        {"target_id": "a", "host": "pop.example.net", "prot": 995},
        {"target_id": "b", "host": "x", "port": "many"},
    ]
    said = capsys.readouterr().err
    assert "a: unknown field `prot`: it is kept but has no effect. Did you mean `port`?" in said
    assert "Line 2, b: The field `port` cannot be used: `many` is not a number." in said
    assert "`silence` is left alone" in said
    assert said.endswith("It starts nevertheless: what is wrong fails every test until it is corrected.\n")
    path.write_text("- {target_id: a, host: pop.example.net, depends_on: bb, port: 995}\n- {target_id: b, host: x}\n")
    _read_targets(path)
    said = capsys.readouterr().err
    assert "nevertheless" not in said
    assert "Target a depends on bb, which is not in the file" in said
    assert "a: The field `port` is 995" in said
