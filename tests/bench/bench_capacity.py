"""What DynamoDB charges: read and write units per test of an up target, as DynamoDB itself reports them.

Two hours of ticks over 10, 100 and 1,000 healthy targets, by the real sweep and store, with hosts and ids of ordinary
length. Against Amazon's DynamoDB Local where it is installed (.ci/install-npm), else against MiniStack.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from popwatch.aws.store import Capacity
from popwatch_cli.local.stack import LocalStack, free_port
from tests import dynamodb_local
from tests.integration.world import NOON, new_world

MINUTES = 120
WARM_UP = 2
FLEETS = (10, 100, 1000)


def main() -> None:
    """Print the table."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    with engine() as (name, endpoint):
        print(f"units per test of an up target over {MINUTES} ticks, as reported by {name}")
        print(f"{'targets':>8}{'tests':>9}{'write':>9}{'read':>9}")
        for count in FLEETS:
            tests, write, read = measure(endpoint, count)
            print(f"{count:>8}{tests:>9}{write / tests:>9.4f}{read / tests:>9.4f}", flush=True)


def measure(endpoint: str, count: int) -> tuple[int, float, float]:
    """Tests, write units and read units of a healthy fleet, once it is up."""
    with new_world(endpoint=endpoint) as world:
        for number in range(count):
            world.put_target(f"mail-{number:04}", name=f"Mail server {number}", host=f"pop{number}.example.net")
        for minute in range(WARM_UP + MINUTES):
            if minute == WARM_UP:
                world.tested.clear()
                world.capacity = Capacity()
            world.minute(NOON + timedelta(minutes=minute))
        return len(world.tested), sum(world.capacity.write.values()), sum(world.capacity.read.values())


@contextmanager
def engine() -> Iterator[tuple[str, str]]:
    """The best DynamoDB that there is here: its name and its endpoint."""
    if not dynamodb_local.missing():
        with dynamodb_local.running() as endpoint:
            yield "DynamoDB Local", endpoint
        return
    with tempfile.TemporaryDirectory() as folder:
        local = LocalStack(Path(folder), Path(folder), port=free_port(0), key="bench")
        local.start()
        os.environ |= {"AWS_ACCESS_KEY_ID": local.key, "AWS_SECRET_ACCESS_KEY": local.key}
        try:
            yield "MiniStack", local.endpoint
        finally:
            local.stop()


if __name__ == "__main__":
    main()
