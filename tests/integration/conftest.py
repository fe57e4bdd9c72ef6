"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest

from integration.world import World, new_world


@pytest.fixture
def world() -> Iterator[World]:
    """A world of its own for each test."""
    with new_world() as found:
        yield found
