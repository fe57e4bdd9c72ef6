"""Fixtures of all tests: no test reaches AWS or the caller's own account."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("popwatch", deadline=None)  # a busy machine is slow, not wrong
settings.load_profile("popwatch")


@pytest.fixture(autouse=True, scope="session")
def fake_credentials() -> Iterator[None]:
    """Credentials that open nothing, and no profile of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as environment:
        _fake(environment)
        yield


def _fake(environment: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "POPWATCH_STACK", "AWS_SESSION_TOKEN"):
        environment.delenv(name, raising=False)
    environment.setenv("AWS_ACCESS_KEY_ID", "testing")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    environment.setenv("AWS_CONFIG_FILE", "/nonexistent")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
