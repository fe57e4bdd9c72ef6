"""The real template on the local stack, built and deployed once for all tests of a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack with its schedule off, since tests give the ticks, and without summaries, since they count alerts."""
    with Deployed.running(PROJECT, tmp_path_factory.mktemp("stack"), StormThreshold="1000") as found:
        yield found


@pytest.fixture
def stack(deployed: Deployed) -> Iterator[Deployed]:
    """The stack with empty tables and queues."""
    deployed.clear()
    yield deployed
    deployed.clear()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Scripted POP3 servers."""
    with ScriptedServer() as found:
        yield found
