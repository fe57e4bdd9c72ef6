"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from integration.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """A world of its own for each test."""
    with mock_aws():
        yield World()
