"""The measured inputs of `popwatch cost`: capacity units, bytes, calls and CPU time of ticks, batches and the page.

The real sweep, store and prober over Amazon's DynamoDB Local where it is installed (.ci/install-npm), else MiniStack,
and a stub POP3 server. The bytes that leave are counted on the loopback interface by a packet socket, which needs root.
The log is what the function's handler prints. With `--write` the results go into the command's own `measured.json`.
"""

import gzip
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.items import to_item
from popwatch.aws.store import Capacity, Store
from popwatch.config import Settings
from popwatch.decisions.batches import Batch, from_message
from popwatch.model.credentials import Credential, Secret
from popwatch.model.outcomes import ErrorCode
from popwatch.model.samples import Mailbox, Sample, to_stored
from popwatch.model.targets import parse_target
from popwatch.prober.loop import Prober
from popwatch.prober.resolver import Resolver
from popwatch.sweep.sweep import Dependencies, Sweep
from popwatch.web.http import Request
from popwatch.web.site import Site
from popwatch.web.views import Views
from popwatch_cli.bill import Measured, measured_from
from popwatch_cli.installation import local_client
from popwatch_cli.target_table import TargetTable
from tests.bench.bench_capacity import engine
from tests.bench.bench_imports import lay_out, start_cpu
from tests.bench.fast_stub import fast_stub
from tests.bench.stubs import tls_stub
from tests.cloudwatch import alarms
from tests.integration.fleet import put_fleet
from tests.integration.world import MINUTE, NOON, TABLES, RecordingQueue, World, new_world
from tests.name_server import NameServer

PROJECT = Path(__file__).parents[2]
FILE = PROJECT / "cli" / "popwatch_cli" / "measured.json"
SMALL, LARGE = 100, 800
SIZES = (900, 1600)
"""Fleets of two batches, for ticks that send them to the queue."""

MINUTES, WARM_UP, ROUNDS = 60, 2, 5
BEGIN = NOON + 10 * MINUTE
"""A tick at which no hour is added up, nor at the next ones."""

PLATFORM_LINES = (
    '{"time":"2026-11-25T12:00:00.000Z","type":"platform.start","record":{"requestId":"0f3b8b16-6b0e-4b3f-a0f4-6f3a1d0c9d11","version":"$LATEST"}}',
    '{"time":"2026-11-25T12:00:02.000Z","type":"platform.report","record":{"requestId":"0f3b8b16-6b0e-4b3f-a0f4-6f3a1d0c9d11","metrics":{"durationMs":1234.567,"billedDurationMs":1235,"memorySizeMB":512,"maxMemoryUsedMB":128},"status":"success"}}',
)
"""What Lambda itself writes of an invocation: docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html."""

LOGIN = Credential("monitor", "monitor@example.net", Secret("sixteen-letters!"))
COUNTED = Sample(12.5, mailbox=Mailbox(messages=3, octets=45_678))

Inputs = dict[str, Any]


def main() -> None:
    """Print the inputs, and write them if asked."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    with engine() as (name, endpoint):
        inputs = capacity(endpoint) | sweeping(endpoint) | paging(endpoint)
    inputs |= sending() | logging() | {"import_cpu": import_cpu(), "alarms": float(alarm_metrics())}
    inputs["login_sample_bytes"] = login_sample_bytes()
    measured_from(inputs)
    document = {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {name}",
        "inputs": {name: inputs[name] for name in Measured.__dataclass_fields__},
    }
    for key, value in document["inputs"].items():  # type: ignore[attr-defined]
        print(f"{key:<20}{json.dumps(value)}")
    if "--write" in sys.argv:
        FILE.write_text(json.dumps(document, indent=2) + "\n")
        print(f"written into {FILE.relative_to(PROJECT)}")


def line(values: Iterable[float], of: tuple[int, int] = (SMALL, LARGE)) -> dict[str, float]:
    """The line through two measurements; what is fixed is never less than nothing."""
    small, large = values
    each = max(0.0, (large - small) / (of[1] - of[0]))
    return {"fixed": _short(max(0.0, small - each * of[0])), "each": _short(each)}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


@dataclass(frozen=True, slots=True)
class Hour:
    """What an hour of ticks took, by table and kind."""

    tests: int
    read: Mapping[str, float]
    write: Mapping[str, float]


def capacity(endpoint: str) -> Inputs:
    """Units of an hour, its end included, of healthy fleets and of one with a tenth failing; bytes of what is kept."""
    found = {}
    for count in (SMALL, LARGE):
        with new_world(endpoint=endpoint) as world:
            found[count] = run_hour(world, count)
            kept = kept_bytes(world)
    with new_world(endpoint=endpoint) as world:
        failing = run_hour(world, SMALL, failing=10)
    small, large = found[SMALL], found[LARGE]
    scans = [sum(hour.read[table] for table in ("Targets", "Status")) / MINUTES for hour in (small, large)]
    ticks_of_failing = 10 * MINUTES
    return {
        "scan_units": line(scans),
        "checkpoint_units": _short(large.write["Status"] / MINUTES),
        "history_reads": line(hour.read.get("History", 0.0) / MINUTES for hour in (small, large)),
        "history_writes": line(hour.write["History"] / MINUTES for hour in (small, large)),
        "failing_writes": _short((sum(failing.write.values()) - sum(small.write.values())) / ticks_of_failing),
        "failing_reads": _short(max(0.0, sum(failing.read.values()) - sum(small.read.values())) / ticks_of_failing),
        "sample_bytes": _short(kept["samples"] / large.tests),
        "hour_bytes": _short(kept["hours"] / LARGE),
    }


def fill(world: World, count: int, **fields: object) -> None:
    """Targets with hosts and ids of ordinary length."""
    table = TargetTable(world.dynamodb, "Targets")
    table.write(
        {"target_id": f"mail-{n:04}", "name": f"Mail server {n}", "host": f"pop{n}.example.net", **fields}
        for n in range(count)
    )


def run_hour(world: World, count: int, failing: int = 0) -> Hour:
    """An hour of ticks once the fleet is stable, so that one hour is added up in it."""
    fill(world, count)
    world.failing = {f"mail-{number:04}": ErrorCode.TIMED_OUT for number in range(failing)}
    warm_up = WARM_UP + (20 if failing else 0)  # until what fails is lost and its alerts are out
    for minute in range(warm_up + MINUTES):
        if minute == warm_up:
            world.tested.clear()
            world.capacity = Capacity()
        world.minute(NOON + timedelta(minutes=minute - warm_up + 10))
    return Hour(len(world.tested), world.capacity.read, world.capacity.write)


def kept_bytes(world: World) -> dict[str, float]:
    """Bytes of the samples and of one hour's totals that lie in History, by DynamoDB's rules for an item's size."""
    kept = {"samples": 0.0, "hours": 0.0}
    pages = world.dynamodb.get_paginator("scan").paginate(TableName="History")
    for item in (item for page in pages for item in page["Items"]):
        kind = item["pk"]["S"].split("#")[0]
        if kind in kept and (kind != "hours" or not kept["hours"]):
            kept[kind] += item_bytes(item) + 100
    kept["samples"] *= MINUTES / (MINUTES + WARM_UP)
    return kept


def item_bytes(value: Any) -> int:
    """DynamoDB's size of an item: names and values; a number takes a byte for two digits and one more."""
    if "pk" in value:
        return sum(len(name) + item_bytes(part) for name, part in value.items())
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return (len(content.strip("-0.").replace(".", "")) + 1) // 2 + 1
        case "M":
            return 3 + sum(len(name) + 1 + item_bytes(part) for name, part in content.items())
        case "L":
            return 3 + sum(1 + item_bytes(part) for part in content)
        case _:
            return 1


def sweeping(endpoint: str) -> Inputs:
    """CPU time and calls of a tick and of a batch, in this process, with real sockets and a real store."""
    with fast_stub() as server:
        with queued_fleet(endpoint, SIZES[0], server.port) as world:
            first = run_ticks(world)
        with queued_fleet(endpoint, SIZES[1], server.port) as world:
            second = run_ticks(world)
            body = world.queue[0][1]
            batches = [run_batches(world, json.loads(body), count) for count in (SMALL, LARGE)]
    return {
        "tick_cpu": line((first.cpu, second.cpu), of=SIZES),
        "tick_calls": second.calls,
        "test_cpu": line(batch.cpu for batch in batches),
        "batch_calls": batches[1].calls,
        "message_bytes": _short(len(body) / len(json.loads(body)["tests"])),
        "tls_cpu": _short(tls_cpu()),
        "login_cpu": _short(login_cpu()),
        "name_cpu": _short(name_cpu()),
    }


@dataclass(frozen=True, slots=True)
class Cost:
    """The median of some rounds: CPU seconds, and calls of AWS."""

    cpu: float
    calls: float


@contextmanager
def queued_fleet(endpoint: str, count: int, port: int) -> Iterator[World]:
    """A fleet of more than one batch that is up, of servers that answer."""
    with new_world(endpoint=endpoint) as world:
        fill(world, count, host="127.0.0.1", port=port)
        world.minute(BEGIN)
        yield world


def sweep_of(world: World, counted: list[str]) -> Sweep:
    """A sweep with a prober that tests, over a store of its own client."""
    assert world.endpoint
    client = local_client("dynamodb", world.endpoint, "us-east-1")
    client.meta.events.register("before-call.*", lambda model, **_: counted.append(model.name))
    store = Store(client, TABLES, lambda: world.now)
    topics = AlertTopics(world.sns, world.topic, world.sms_topic)
    dependencies = Dependencies(store, Prober(), topics, RecordingQueue(world), lambda *_: None)
    settings = Settings("Targets", "Status", "History", world.topic, "queue", world.sms_topic)
    return Sweep(dependencies, settings, writer="bench", end_by=time.monotonic() + 600, clock=lambda: world.now)


def run_ticks(world: World) -> Cost:
    """Ticks: plan, and send all to the queue. The calls that send are counted with AWS's."""
    rounds = []
    for number in range(1, ROUNDS + 1):
        world.queue.clear()
        world.now = BEGIN + MINUTE * number
        found = timed(world, lambda sweep: sweep.run_tick(world.now))
        rounds.append(Cost(found.cpu, found.calls + len(world.queue)))
    return median(rounds)


def run_batches(world: World, content: dict[str, Any], count: int) -> Cost:
    """Batches from a message: read, test, write the samples; as if it had so many tests."""
    tests = content["tests"][:count]
    body = json.dumps(content | {"tests": tests})

    def run(sweep: Sweep) -> None:
        work = from_message(body)
        assert isinstance(work, Batch)
        report = sweep.run_batch(work)
        assert report.tests + report.repeated == len(tests)

    found = median([timed(world, run) for _ in range(ROUNDS)])
    return Cost(found.cpu * count / len(tests), found.calls)


def timed(world: World, do: Callable[[Sweep], object]) -> Cost:
    """CPU time and calls of one piece of work."""
    counted: list[str] = []
    sweep = sweep_of(world, counted)
    before = time.process_time()
    do(sweep)
    return Cost(time.process_time() - before, len(counted))


def median(rounds: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(cost.cpu for cost in rounds), statistics.median(cost.calls for cost in rounds))


def paging(endpoint: str) -> Inputs:
    """CPU time and bytes of a refresh of the page."""
    found = [refresh(endpoint, count) for count in (SMALL, LARGE)]
    return {"page_cpu": line(cpu for cpu, _ in found), "page_bytes": line(size for _, size in found)}


def refresh(endpoint: str, count: int) -> tuple[float, float]:
    """CPU seconds and packed bytes of the states of so many targets."""
    with new_world(endpoint=endpoint) as world:
        put_fleet(world, count)
        site = Site(Views(world.store, lambda: world.now, max_age=timedelta()), None, refresh_seconds=15)
        rounds = []
        for _ in range(ROUNDS):
            before = time.process_time()
            answer = site.answer(Request("GET", "/api/status"))
            rounds.append(time.process_time() - before)
        return statistics.median(rounds), float(len(gzip.compress(answer.body, 6)))


def tls_cpu() -> float:
    """CPU seconds that a test with TLS takes beyond a plain one."""
    with fast_stub() as plain, tls_stub() as secured:
        took = {
            "plain": prober_cpu({"port": plain.port}),
            "tls": prober_cpu({"port": secured.ports[0], "tls": "implicit", "ca_pem": secured.authority}),
        }
    return took["tls"] - took["plain"]


def login_cpu() -> float:
    """CPU seconds that a test takes beyond one with TLS, if it logs in."""
    with tls_stub() as server:
        fields = {"port": server.ports[0], "tls": "implicit", "ca_pem": server.authority}
        return prober_cpu(fields, credential=LOGIN) - prober_cpu(fields)


def name_cpu() -> float:
    """CPU seconds that a test takes beyond one of an address, if a name server is asked for the target's name."""
    zone = {f"pop{number}.test": ["127.0.0.1"] for number in range(SMALL)}
    with fast_stub() as plain, NameServer(zone) as names:
        by_name = prober_cpu({"port": plain.port}, list(zone), names.resolver)
        return by_name - prober_cpu({"port": plain.port})


def prober_cpu(
    fields: Mapping[str, object],
    hosts: Sequence[str] = ("127.0.0.1",) * SMALL,
    resolver: Callable[[], Resolver] = Resolver,
    credential: Credential | None = None,
) -> float:
    """CPU seconds of a test in the prober's thread, the median of some rounds, each with a new resolver."""
    targets = [parse_target({"target_id": f"t{n}", "host": host, **fields}) for n, host in enumerate(hosts)]
    credentials = {target.target_id: credential for target in targets} if credential else None
    rounds = []
    for _ in range(ROUNDS):
        prober = Prober(resolver=resolver(), has_route=lambda *_: False, credentials=credentials)
        before = time.thread_time()
        outcomes = [outcome for arrivals in prober.run(targets) for _, outcome in arrivals]
        rounds.append((time.thread_time() - before) / len(targets))
        assert all(outcome.passed and bool(outcome.login) is bool(credential) for outcome in outcomes), outcomes[0]
    return statistics.median(rounds)


def sending() -> Inputs:
    """Bytes of IP packets that a test sends, plain and with TLS."""
    with fast_stub() as plain, tls_stub() as secured:
        fields = {"port": secured.ports[0], "tls": "implicit", "ca_pem": secured.authority}
        secure = bytes_out(fields)
        return {
            "bytes_out": bytes_out({"port": plain.port}),
            "tls_bytes_out": secure,
            "login_bytes_out": bytes_out(fields, LOGIN) - secure,
        }


def bytes_out(fields: Mapping[str, Any], credential: Credential | None = None) -> float:
    """Bytes of packets to the server's port, for each test."""
    with counted_bytes(fields["port"]) as counted:
        prober_cpu(fields, credential=credential)
    return _short(sum(counted) / (SMALL * ROUNDS))


def login_sample_bytes() -> float:
    """Bytes that a sample takes beyond that of a plain pass, if the test has counted a mailbox."""
    plain, counted = (item_bytes(to_item({"x": to_stored(it)})["x"]) for it in (Sample(12.5), COUNTED))
    return float(counted - plain)


@contextmanager
def counted_bytes(port: int) -> Iterator[list[int]]:
    """The total length of each IPv4 packet that goes to a port of the loopback while the block runs."""
    found: list[int] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as sniffer:
        sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        sniffer.bind(("lo", 0))
        sniffer.settimeout(0.3)
        ended = threading.Event()

        def listen() -> None:
            while True:
                try:
                    packet, sender = sniffer.recvfrom(65_535)
                except TimeoutError:
                    if ended.is_set():
                        return
                    continue
                header = (packet[0] & 15) * 4
                if sender[2] == socket.PACKET_HOST and int.from_bytes(packet[header + 2 : header + 4]) == port:
                    found.append(int.from_bytes(packet[2:4]))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            thread.join()


def logging() -> Inputs:
    """Bytes of the log of an invocation, and how many custom metrics a healthy and a failing fleet have."""
    with fast_stub() as server:
        healthy = handled(server.port, failing=0)
        failing = handled(server.port, failing=10)
    own = sum(len(line) + 1 for line in PLATFORM_LINES)
    return {
        "log_bytes": _short(own + sum(len(line) + 1 for line in healthy)),
        "metrics": float(len(metrics_of(healthy))),
        "failing_metrics": float(len(metrics_of(failing) - metrics_of(healthy))),
        "page_log_bytes": float(own),
    }


HANDLER = """
import json, sys
from datetime import timedelta
from tests.integration.world import MINUTE, NOON, TABLES, new_world
from types import SimpleNamespace
import os
with new_world() as world:
    for number in range(100):
        dead = number < int(sys.argv[2])
        world.put_target(f"mail-{number:04}", host="127.0.0.1", port=1 if dead else int(sys.argv[1]), delay_down=60)
    queue = world.sqs.create_queue(QueueName="batches")["QueueUrl"]
    os.environ |= {"TARGETS_TABLE": "Targets", "STATUS_TABLE": "Status", "HISTORY_TABLE": "History",
        "ALERT_TOPIC_ARN": world.topic, "SMS_TOPIC_ARN": world.sms_topic, "BATCH_QUEUE_URL": queue,
        "FUNCTION_TIMEOUT_SECONDS": "120", "ALLOW_LOCAL_TARGETS": "true"}
    import check_targets
    context = SimpleNamespace(function_name="popwatch-CheckTargetsFunction-0123456789ab", memory_limit_in_mb=512,
        invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:popwatch-CheckTargetsFunction-0123456789ab",
        aws_request_id="0f3b8b16-6b0e-4b3f-a0f4-6f3a1d0c9d11", get_remaining_time_in_millis=lambda: 120_000)
    for minute in range(5):
        print("---", flush=True)
        check_targets._clock = lambda: NOON + minute * MINUTE
        check_targets.handler({"scheduled_time": (NOON + minute * MINUTE).isoformat()}, context)
"""
"""Ticks of a hundred targets through the function's handler, which prints its log and its metrics."""


def handled(port: int, failing: int) -> list[str]:
    """What the last of five ticks printed, of a hundred targets of which so many refuse; all ticks if some do."""
    variables = {
        "POWERTOOLS_SERVICE_NAME": "popwatch",
        "POWERTOOLS_METRICS_NAMESPACE": "popwatch",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "PYTHONPATH": os.pathsep.join(str(PROJECT / part) for part in ("functions", ".")),
    }
    program = [sys.executable, "-c", HANDLER, str(port), str(failing)]
    ran = subprocess.run(program, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    ticks = ran.stdout.split("---\n")[1:]
    return [line for tick in (ticks if failing else ticks[-1:]) for line in tick.splitlines()]


def metrics_of(lines: Sequence[str]) -> set[tuple[str, ...]]:
    """The custom metrics of a log: names with the values of their dimensions."""
    found = set()
    for content in (json.loads(line) for line in lines):
        for directive in content.get("_aws", {}).get("CloudWatchMetrics", ()):
            for metric in directive["Metrics"]:
                for names in directive["Dimensions"]:
                    found.add((metric["Name"], *(f"{name}={content[name]}" for name in sorted(names))))
    return found


def import_cpu() -> float:
    """CPU seconds in which Lambda's Python starts and imports the function, the median of some rounds."""
    with TemporaryDirectory() as folder:
        path = lay_out(PROJECT, Path(folder))
        return _short(statistics.median(start_cpu("check_targets", path) for _ in range(ROUNDS)))


def alarm_metrics() -> int:
    """The metrics that the template's alarms watch: AWS charges for each one, also of metric math."""
    return sum(len(alarm.queries) for alarm in alarms().values())


if __name__ == "__main__":
    main()
