"""The store and whole sweeps, kills and all, against Amazon's own DynamoDB Local instead of moto."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import dynamodb_local

pytestmark = pytest.mark.debian

INTEGRATION = Path(__file__).parents[1] / "integration"


@pytest.mark.parametrize("name", ["test_store.py", "test_sweep.py", "test_credential_state.py"])
def test_integration_tests_pass_on_amazons_own(name: str) -> None:
    """The same tests, by the semantics of the real engine."""
    reason = dynamodb_local.missing()
    if reason:
        pytest.skip(reason)
    with dynamodb_local.running() as endpoint:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INTEGRATION / name)],
            env={**os.environ, "POPWATCH_TEST_DYNAMODB": endpoint},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:]
    print(done.stdout.splitlines()[-1])
