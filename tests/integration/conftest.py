"""Fixtures of the integration tests."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from integration.world import World, new_world
from popwatch.cli.local.stack import LocalStack, free_port
from popwatch.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


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


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks DynamoDB."""
    local = LocalStack(tmp_path_factory.mktemp("aws"), tmp_path_factory.mktemp("state"), port=free_port(0))
    local.start()
    yield local.endpoint
    local.stop()
