"""What the page costs: processor time, bytes and read units of a refresh, of timelines, of one target's details.

A fleet with 90 days of transitions and totals and a day of samples, read through the code of the page, over Amazon's
DynamoDB Local where it is installed (.ci/install-npm), else over MiniStack. Medians of `ROUNDS`.
"""

import gzip
import os
import random
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

from popwatch.decisions.schedule import batch_of
from popwatch.reports.totals import merge
from popwatch.web.http import Request, Response
from popwatch.web.site import Site
from popwatch.web.views import TIMELINE, Views
from tests.bench.bench_capacity import engine
from tests.bench.bench_report import PATTERNS, hour_of
from tests.integration.fleet import put_fleet
from tests.integration.world import World, new_world

ROUNDS = 5
FLEETS = (5, 100, 500, 1000)
IN_SIGHT = 14
"""Targets that a window shows at once."""

MONTH_SECONDS, PRICE_PER_MILLION = 30 * 86_400, 0.125


def main() -> None:
    """Print the table."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    with engine() as (name, endpoint):
        print(f"the page over {name}, medians of {ROUNDS}")
        print(f"{'targets':>8} {'asked for':<24}{'ms':>8}{'CPU ms':>8}{'KB':>8}{'gzip KB':>9}{'read units':>12}")
        for count in FLEETS:
            with new_world(endpoint=endpoint) as world:
                put_fleet(world, count)
                put_totals(world)
                measure(world, count)


def put_totals(world: World) -> None:
    """Write the days of 90 days, and the hours of the first and the last of them, as large as real ones."""
    checkpoint, records = world.store.read_records()
    rng = random.Random(20261101)
    hours = [hour_of(rng) for _ in range(PATTERNS)]
    days = [merge(rng.choices(hours, k=24)) for _ in range(PATTERNS)]
    today = world.now.replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - TIMELINE
    for batches, batch in ((int(count), batch) for count in checkpoint.batch_counts for batch in range(int(count))):
        mine = [name for name in records if batch_of(name, batches) == batch]
        for number in range(1, TIMELINE.days):
            totals = {name: rng.choice(days) for name in mine}
            world.store.put_day(batches, batch, first + timedelta(days=number), totals)
        for hour in (day + timedelta(hours=number) for day in (first, today) for number in range(24)):
            if checkpoint.hour and hour <= checkpoint.hour:
                world.store.put_hour(batches, batch, hour, {name: rng.choice(hours) for name in mine})


def measure(world: World, count: int) -> None:
    """Print the rows of a fleet, and what a page costs that is open all month."""
    site = Site(Views(world.store, lambda: world.now, max_age=timedelta()), None, refresh_seconds=15)
    names = [f"id=mail-berlin-{number:03}" for number in range(0, min(10 * IN_SIGHT, count), 10)]
    units = show(world, count, "status", lambda: site.answer(Request("GET", "/api/status")))
    query = {"id": [name.removeprefix("id=") for name in names]}
    for what, rounds in (("first", 1), ("again", ROUNDS)):
        show(
            world,
            count,
            f"timelines of {len(names)}, {what}",
            lambda: site.answer(Request("GET", "/api/timelines", query)),
            rounds,
        )
    for what, path in (
        ("details, first", "/api/targets/mail-berlin-000"),
        ("details, again", "/api/targets/mail-berlin-000"),
    ):
        show(world, count, what, lambda path=path: site.answer(Request("GET", path)), 1)  # type: ignore[misc]
    dollars = units * MONTH_SECONDS / 15 * PRICE_PER_MILLION / 1e6
    print(f"{'':>8} open all month, refreshed each 15 s: {dollars:.2f} USD of read units")


def show(world: World, count: int, what: str, ask: Callable[[], Response], rounds: int = ROUNDS) -> float:
    """Print one row; the read units of one request."""
    world.store.capacity.read.clear()
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = ask()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    units = sum(world.store.capacity.read.values()) / rounds
    wall_ms, cpu_ms = (1000 * statistics.median(times) for times in (walls, cpus))
    size, packed = len(answer.body) / 1000, len(gzip.compress(answer.body, 6)) / 1000
    print(f"{count:>8} {what:<24}{wall_ms:>8.1f}{cpu_ms:>8.1f}{size:>8.1f}{packed:>9.1f}{units:>12.1f}", flush=True)
    return units


if __name__ == "__main__":
    main()
