"""The real template on the local stack, and servers for it to test."""

from collections.abc import Iterator

import pytest

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.e2e.deployed import Deployed


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
