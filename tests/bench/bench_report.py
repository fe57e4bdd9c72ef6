"""What a report costs: a month of 31 days of 200 and of 1,000 targets, tested each minute, read by `popwatch report`.

Days, the hours that a month in Berlin begins and ends with, transitions and records are written by popwatch's own
store, as large as real ones; the hours between are not read, and so not written. The command itself is run, three
times each; the median is printed. Against Amazon's DynamoDB Local where it is installed
(.ci/install-npm), else against MiniStack.
"""

import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from popwatch.aws.store import Store, SweepCheckpoint
from popwatch.decisions.schedule import batch_count, batch_of
from popwatch.model.health import Health, State, Transition
from popwatch.model.outcomes import ErrorCode
from popwatch.model.records import OutboxEntry, Record
from popwatch.model.samples import Sample
from popwatch.model.text import iso
from popwatch.model.totals import Totals
from popwatch.model.windows import parse_timezone
from popwatch.reports.availability import Period
from popwatch.reports.totals import add_up_one, merge
from popwatch_cli.options import month_of
from tests.bench.bench_capacity import engine
from tests.integration.world import new_world

FLEETS = (200, 1000)
RUNS = 3
ZONE = "Europe/Berlin"
USD_PER_MILLION_UNITS = 0.125
"""Of on-demand reads in us-east-1."""

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
PATTERNS = 40
"""Different hours and days, assigned to the targets at random."""

FAILING_SHARE, OUTAGES = 0.1, 3
"""The share of targets that have outages, and the number of outages of each."""

READ = re.compile(r"Read ([\d.]+) capacity units of DynamoDB in ([\d.]+) s")


def main() -> None:
    """Print the table."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    month = longest_month(datetime.now(UTC))
    with engine() as (name, endpoint):
        print(f"popwatch report --month {month} --timezone {ZONE}, 31 days, medians of {RUNS} runs, {name}")
        print(f"{'targets':>8}{'units':>9}{'USD':>10}{'read and made in s':>20}{'whole command in s':>20}")
        for count in FLEETS:
            units, inner, whole = measure(endpoint, count, month)
            usd = units * USD_PER_MILLION_UNITS / 1e6
            print(f"{count:>8}{units:>9.1f}{usd:>10.6f}{inner:>20.2f}{whole:>20.2f}", flush=True)


def longest_month(now: datetime) -> str:
    """The last month of 31 days that is over."""
    last = now.replace(day=1) - DAY
    while last.day != 31:
        last = last.replace(day=1) - DAY
    return f"{last:%Y-%m}"


def measure(endpoint: str, count: int, month: str) -> Sequence[float]:
    """Read units, seconds as the command reports them, and seconds of the whole command."""
    with new_world(endpoint=endpoint, now=datetime.now(UTC)) as world, tempfile.TemporaryDirectory() as folder:
        names = [f"mail-{number:04}" for number in range(count)]
        for number, name in enumerate(names):
            world.put_target(name, name=f"Mail server {number}", group=f"group-{number % 10}")
        write_month(world.store, names, month_of(month, parse_timezone(ZONE)), world.now)
        outputs = {f"{table}Table": table for table in ("Targets", "Status", "History")}
        place = Path(folder, ".popwatch")
        place.mkdir()
        (place / "outputs.json").write_text(
            json.dumps({"endpoint": endpoint, "region": "us-east-1", "outputs": outputs})
        )
        runs = [run_command(folder, month, count) for _ in range(RUNS)]
    return [statistics.median(figures) for figures in zip(*runs, strict=True)]


def run_command(folder: str, month: str, count: int) -> tuple[float, float, float]:
    """One run of the command, as a user runs it."""
    program = [sys.executable, "-c", "from popwatch_cli.main import main; main()", "--local", "report", "--verbose"]
    began = time.monotonic()
    ended = subprocess.run(
        [*program, "--month", month, "--timezone", ZONE], cwd=folder, capture_output=True, text=True, check=True
    )
    whole = time.monotonic() - began
    found = READ.search(ended.stderr)
    assert found, ended.stderr
    assert f"{count} targets" in ended.stdout
    return float(found[1]), float(found[2]), whole


def write_month(store: Store, names: Sequence[str], period: Period, now: datetime) -> None:
    """Everything that a report of a month reads."""
    rng = random.Random(20261101)
    hours = [hour_of(rng) for _ in range(PATTERNS)]
    days = [merge(rng.choices(hours, k=24)) for _ in range(PATTERNS)]
    batches = batch_count(len(names))
    store.put_checkpoint(
        SweepCheckpoint(now, now.replace(minute=0, second=0, microsecond=0) - HOUR, {str(batches): iso(now)})
    )
    first, last = (time.replace(hour=0, minute=0) for time in (period.begin, period.end - MINUTE))
    for batch in range(batches):
        mine = [name for name in names if batch_of(name, batches) == batch]
        for day in (first + DAY * step for step in range((last - first) // DAY + 1)):
            store.put_day(batches, batch, day, {name: rng.choice(days) for name in mine})
        for day in (first, last):
            for hour in (day + HOUR * step for step in range(24)):
                store.put_hour(batches, batch, hour, {name: rng.choice(hours) for name in mine})
    for name in names:
        outages = OUTAGES if rng.random() < FAILING_SHARE else 0
        write_record(store, name, [period.begin + period.length * rng.random() for _ in range(outages)], period)


def hour_of(rng: random.Random) -> Totals:
    """An hour of a server some milliseconds away, now and then slow or failing."""
    middle = rng.uniform(5, 80)
    rtts = [float(f"{middle * rng.lognormvariate(0, 0.2):.3g}") for _ in range(60)]
    samples = [Sample(rtt) for rtt in rtts]
    if rng.random() < 0.1:
        samples[0] = Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting")
    return add_up_one(samples)


def write_record(store: Store, name: str, outages: Sequence[datetime], period: Period) -> None:
    """The record of a target, and the transitions of its outages: warn, down, up again."""
    since = period.begin - DAY
    for version, begin in enumerate(sorted(outages)):
        states = (State.UP, State.WARN, State.DOWN, State.UP)
        for step, (previous, state) in enumerate(pairwise(states)):
            at = begin.replace(microsecond=0) + MINUTE * step * 2
            changed = Transition(previous, state, at, at - since, ErrorCode.TIMED_OUT, "no-greeting")
            if state is State.UP:
                changed = replace(changed, error=None, reason="")
            store.put_transition(name, OutboxEntry(version * 3 + step, at, at, changed))
            since = at
    store.commit(Record(name, 1, since, Health(State.UP, since)), 0)


if __name__ == "__main__":
    main()
