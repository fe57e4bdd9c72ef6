"""Fixtures of the integration tests."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from popwatch_cli.installation import Installation, find_local, local_client
from popwatch_cli.local.stack import LocalStack, free_port
from popwatch_cli.main import main
from tests.integration.world import World, new_world
from tests.strict_sns import strict_sns
from tests.strict_ssm import strict_ssm
from tests.tables import NAMES, create_tables, delete_tables


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]
InsteadOfSleep = Callable[[Callable[[float], None]], None]
Do = Callable[..., str]


@pytest.fixture
def instead_of_sleep(monkeypatch: pytest.MonkeyPatch) -> InsteadOfSleep:
    """Has the command call a function where it would sleep; other threads of this process go on sleeping."""
    own, sleep = threading.get_ident(), time.sleep

    def call(wait: Callable[[float], None]) -> None:
        monkeypatch.setattr(time, "sleep", lambda it: wait(it) if threading.get_ident() == own else sleep(it))

    return call


@pytest.fixture(scope="session", autouse=True)
def moto_is_strict() -> Iterator[None]:
    """Where a test publishes or stores a parameter, moto refuses what SNS and SSM refuse."""
    with strict_sns(), strict_ssm():
        yield


@pytest.fixture
def world() -> Iterator[World]:
    """A world of its own for each test."""
    with new_world() as found:
        yield found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command with arguments."""

    def run_command(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["popwatch", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run_command


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a local AWS with DynamoDB and SNS."""
    folders = tmp_path_factory.mktemp("aws"), tmp_path_factory.mktemp("state")
    local = LocalStack(*folders, port=free_port(0), key="testing")  # the key of all tests, for other clients of it
    local.start()
    yield local.endpoint
    local.stop()


@cache
def client_of(service: str, endpoint: str) -> Any:
    """The client of a local AWS that prepares it for all tests."""
    return local_client(service, endpoint, "us-east-1")


@pytest.fixture
def stack(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """The tables of a stack with two targets in a group and one without."""
    monkeypatch.chdir(tmp_path)
    dynamodb, sns = (client_of(service, endpoint) for service in ("dynamodb", "sns"))
    create_tables(dynamodb)
    topics = {f"{name}TopicArn": sns.create_topic(Name=name)["TopicArn"] for name in ("Alert", "Sms")}
    names = {f"{name}Table": name for name in NAMES} | topics
    outputs = {"endpoint": endpoint, "region": "us-east-1", "outputs": names}
    (tmp_path / ".popwatch").mkdir()
    (tmp_path / ".popwatch" / "outputs.json").write_text(json.dumps(outputs))
    found = find_local()
    found.target_table.write(
        {"target_id": name, "host": "pop.example.net", **group}
        for name, group in (("a", {"group": "g"}), ("b", {"group": "g"}), ("c", {}))
    )
    yield found
    delete_tables(dynamodb)
    for topic in topics.values():  # with the subscriptions that the test has left
        sns.delete_topic(TopicArn=topic)


@pytest.fixture
def do(run: Run, stack: Installation) -> Do:  # noqa: ARG001 - the command finds the stack itself
    """Run the command on the stack and return what it prints. `code` is the expected exit code."""

    def do_command(*arguments: str, code: int = 0) -> str:
        ended = run("--local", *arguments)
        assert ended.code == code, ended
        return ended.err if code else ended.out

    return do_command
