"""The monthly bill of a fleet: one line for each charge, from measured inputs and dated prices. Pure.

Measurements come from `measured.json`, which `make bench WRITE=1` writes, and AWS's prices from `prices.json`. What is
in neither is assumed, by the constants below, and `popwatch cost` prints the assumptions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, fsum
from typing import Any

from popwatch.aws.credentials import CACHED_FOR, MAX_NAMES
from popwatch.decisions.judging import TICK
from popwatch.decisions.login_attempts import ACCEPTED_FOR, WRITTEN_AGAIN_AFTER
from popwatch.decisions.posture_tests import HOUR_OF_DAY
from popwatch.decisions.schedule import batch_count, login_interval
from popwatch.model.messages import Topic
from popwatch.model.targets import Policy
from popwatch.model.time_limits import DAY
from popwatch.prober.lookups import BEGUN_PER_SECOND
from popwatch.sweep.logins import STATE_READERS

DAYS = 30
TICKS = DAYS * 1440
HOURS = DAYS * 24
GB = 1e9

FULL_CORE_MB = 1769
"""Memory for which a Lambda function gets one full core.

docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""

IDLE_POLLS = 5 * 3
"""Empty receives a minute: Lambda runs five pollers, each of which waits up to 20 seconds for a message.

docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""

REQUEST_BYTES = 65_536
"""SQS counts a message as one request for each 64 KiB."""

SAMPLES_DAYS, HISTORY_DAYS = 30, 400

CALL_SECONDS = 0.01
"""Assumed: time of a call to DynamoDB or SQS from within the region."""

CONVERSATION_SECONDS = 0.4
"""Assumed: time of the slowest healthy server of a batch, from the connect to the reply to QUIT."""

DEADLINE_SECONDS = 10.0
"""How long an invocation waits for a silent server: the default of `max_test_seconds`."""

COLD_STARTS = 12 * DAYS
"""Assumed: how often in a month Lambda replaces each execution environment."""

OUTAGES, ALERTS_PER_OUTAGE = DAYS, 4
"""Assumed for each target that is down: one outage a day with three alerts and a recovery, to one email address."""

REFRESHES = DAYS * 86_400 // 15
"""Requests of one page that is open all month."""

PLAIN_CONNECTIONS, TLS_CONNECTIONS = 2, 6
"""Connections of a posture test; assumed: servers of targets without TLS offer none. With it the other port counts."""

POSTURE_BYTES = 35
"""What a posture adds to a record: the name, and a summary of what ordinary servers offer."""

POSTURE_CHANGES = 1
"""Assumed for each target: how often in a month its posture is another, and is written."""

POSTURE_WRITES = 3
"""Units of such a write: the record, and the details in History, which take up to 2 KB."""

LOGIN_SECONDS = 0.4
"""Assumed: what a login adds to the time of a healthy server: CAPA, USER, PASS and STAT."""

LOGIN_BYTES = 18
"""What a login adds to a target in a message, and in the table a little less: `"login":"monitor",`."""

CREDENTIAL_BYTES = 150
"""What the state of a credential takes in the Status table."""

WRITE_BYTES = 1024
"""Bytes that a write unit takes."""

SCANNED_BYTES = 8192
"""Bytes that a scan reads for a unit, as it need not be consistent."""

PAGE_MB = 512
"""Memory of the page's function."""

SECRET_CALLS = DAYS * 1440
"""The page's function reads its password again each minute."""


@dataclass(frozen=True, slots=True)
class Price:
    """A price of AWS: `usd` for each `per`, and the quantity that is free each month."""

    usd: float
    per: float
    free: float
    source: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the bill is for. `tests` and `logins` are the numbers in each tick.

    `down` is the share of targets that never answer, `login` of those that log in, with one of `credentials`.
    """

    targets: int
    tests: float
    down: float = 0.0
    tls: float = 0.0
    page: bool = False
    memory_mb: int = 512
    nat_gateways: int = 0
    login: float = 0.0
    logins: float = 0.0
    credentials: int = 0


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of the bill: a month's quantity, and its price in USD without and with the always-free allowances."""

    name: str
    price: str
    quantity: float
    without_free: float
    with_free: float


@dataclass(frozen=True, slots=True)
class Linear:
    """A quantity that grows with a count: a fixed part, and a part for each."""

    fixed: float
    each: float

    def at(self, count: float) -> float:
        """The value for a count."""
        return self.fixed + self.each * count


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of `make bench`: units, calls and seconds of CPU time for a tick, by the number of targets or tests.

    `scan_units`, `tick_cpu` and those of the page grow with targets, `history_reads` and `history_writes` with tests,
    `test_cpu` with the tests of a batch. TLS and a name add `tls_cpu` and `name_cpu` to a test, and a login `login_...`
    to one with TLS. `failing_...` is what a lost target adds to a tick over a healthy one. History holds `hour_bytes`
    for each target and hour, `sample_bytes` for each test. `log_bytes` is for each invocation.
    """

    scan_units: Linear
    checkpoint_units: float
    history_reads: Linear
    history_writes: Linear
    failing_writes: float
    failing_reads: float
    sample_bytes: float
    hour_bytes: float
    message_bytes: float
    tick_cpu: Linear
    test_cpu: Linear
    tls_cpu: float
    login_cpu: float
    name_cpu: float
    import_cpu: float
    tick_calls: float
    batch_calls: float
    bytes_out: float
    tls_bytes_out: float
    login_bytes_out: float
    login_sample_bytes: float
    log_bytes: float
    metrics: float
    failing_metrics: float
    alarms: float
    page_cpu: Linear
    page_bytes: Linear
    page_log_bytes: float


def measured_from(content: Mapping[str, Any]) -> Measured:
    """The inputs from the content of `measured.json`. Raises TypeError if one is missing or unknown."""
    values: dict[str, Any] = {name: Linear(**v) if isinstance(v, dict) else v for name, v in content.items()}
    return Measured(**values)


def mean_tests(delays: Sequence[int]) -> float:
    """The mean number of tests in a tick, from the delays of targets that are up."""
    return fsum(TICK.total_seconds() / delay for delay in delays)


def mean_logins(policies: Iterable[Policy]) -> float:
    """The mean number of logins in a tick, of targets that are up."""
    return fsum(TICK.total_seconds() / login_interval(policy) for policy in policies if policy.login)


def bill(fleet: Fleet, prices: Mapping[str, Price], measured: Measured) -> list[Charge]:
    """The lines of a month of `DAYS` days."""
    quantities = [*_tables(fleet, measured), *_function(fleet, measured), *_other_services(fleet, measured)]
    quantities += [*_postures(fleet, measured), *(_logins(fleet, measured) if fleet.logins else ())]
    if fleet.page:
        quantities += _page(fleet, measured)
    if fleet.nat_gateways:
        quantities += _nat_gateways(fleet, measured)
    return _charges(quantities, prices)


def alternatives(fleet: Fleet, prices: Mapping[str, Price]) -> dict[str, float]:
    """What the same fleet costs with other services, in USD a month, free allowances included."""
    tests = fleet.tests * TICKS
    naive = [
        ("written twice", "dynamodb-write", 2 * tests),
        ("read twice", "dynamodb-read", tests),
        ("invocations", "lambda-request", tests),
    ]
    return {
        "Route 53 health checks (a TCP connect each 30 s)": _sum(
            _charges([("checks", "route53-check", fleet.targets)], prices)
        ),
        "CloudWatch Synthetics (one run per test; Lambda, S3 and logs not counted)": _sum(
            _charges([("runs", "synthetics-run", tests)], prices)
        ),
        "an item and an invocation per test (duration and logs not counted)": _sum(_charges(naive, prices)),
    }


_Quantities = list[tuple[str, str, float]]


def _charges(quantities: _Quantities, prices: Mapping[str, Price]) -> list[Charge]:
    """Price each quantity. Lines that share an allowance use it up in their order."""
    left = {name: price.free for name, price in prices.items()}
    charges = []
    for name, price_name, quantity in quantities:
        price = prices[price_name]
        free = min(left[price_name], quantity)
        left[price_name] -= free
        rate = price.usd / price.per
        charges.append(Charge(name, price_name, quantity, quantity * rate, (quantity - free) * rate))
    return charges


def _sum(charges: Sequence[Charge]) -> float:
    return sum(charge.with_free for charge in charges)


def _tables(fleet: Fleet, measured: Measured) -> _Quantities:
    failing = fleet.targets * fleet.down * TICKS
    writes = (
        measured.checkpoint_units + measured.history_writes.at(fleet.tests)
    ) * TICKS + measured.failing_writes * failing
    reads = (measured.scan_units.at(fleet.targets) + measured.history_reads.at(fleet.tests)) * TICKS
    reads += measured.failing_reads * failing
    samples = measured.sample_bytes * fleet.tests * 1440 * SAMPLES_DAYS
    hours = measured.hour_bytes * fleet.targets * 24 * HISTORY_DAYS
    return [
        ("DynamoDB write units", "dynamodb-write", writes),
        ("DynamoDB read units", "dynamodb-read", reads),
        ("DynamoDB storage, GB", "dynamodb-storage", (samples + hours) / GB),
    ]


def _function(fleet: Fleet, measured: Measured) -> _Quantities:
    """Lambda: an invocation for each tick and for each message of the queue."""
    batches = batch_count(fleet.targets)
    queued = _queued(fleet)
    cpu = measured.tick_cpu.at(fleet.targets) + batches * measured.test_cpu.at(fleet.tests / batches)
    cpu += (measured.name_cpu + measured.tls_cpu * fleet.tls) * fleet.tests
    environments = 1 + batches if batches > 1 else 1  # one for ticks; batches of a large fleet run at the same time
    cold_starts = COLD_STARTS * environments * measured.import_cpu
    # Below FULL_CORE_MB a function gets that share of a core, and the same work takes longer.
    busy = (cpu * TICKS + cold_starts) / min(1.0, fleet.memory_mb / FULL_CORE_MB)
    calls = measured.tick_calls + batches * measured.batch_calls
    # Names are asked for at a bounded rate, so that the last test of a batch begins that much later.
    batch_seconds = fleet.tests / batches / BEGUN_PER_SECOND + _longest_test(fleet.targets * fleet.down / batches)
    waiting = TICKS * (calls * CALL_SECONDS + batches * batch_seconds)
    return [
        ("Lambda requests", "lambda-request", TICKS + queued),
        ("Lambda GB-seconds", "lambda-gb-second", (busy + waiting) * fleet.memory_mb / 1024),
        ("log, GB", "log", (TICKS + queued) * measured.log_bytes / GB),
    ]


def _longest_test(silent: float) -> float:
    """How long a batch's longest test takes. A mean of less than one silent target is one in some of the ticks."""
    return CONVERSATION_SECONDS + min(1.0, silent) * (DEADLINE_SECONDS - CONVERSATION_SECONDS)


def _queued(fleet: Fleet) -> float:
    """SQS messages in a month. A fleet of one batch is tested by its tick, without a message."""
    batches = batch_count(fleet.targets)
    return batches * (TICKS + HOURS) if batches > 1 else 0.0


def _other_services(fleet: Fleet, measured: Measured) -> _Quantities:
    batches, queued = batch_count(fleet.targets), _queued(fleet)
    parts = ceil(fleet.tests / batches * measured.message_bytes / REQUEST_BYTES) if queued else 0
    # A message is sent and received, in as many requests as its size counts for, and deleted in one.
    requests = 2 * (batches * TICKS * parts + batches * HOURS) + queued if queued else 0.0
    alerts = fleet.targets * fleet.down * OUTAGES * ALERTS_PER_OUTAGE
    return [
        ("Scheduler invocations", "scheduler", TICKS),
        ("SQS requests with messages", "sqs-request", requests),
        ("SQS idle polls", "sqs-request", IDLE_POLLS * TICKS),
        ("SNS publishes", "sns-publish", alerts * len(Topic)),
        ("SNS emails", "sns-email", alerts),
        ("custom metrics", "metric", measured.metrics + (measured.failing_metrics if fleet.down else 0)),
        ("alarms", "alarm", measured.alarms),
        ("data out, GB", "data-out", _gb_out(fleet, measured)),
    ]


def _postures(fleet: Fleet, measured: Measured) -> _Quantities:
    """A posture test of each target and day, and what is kept of it in records and messages."""
    batches, asked = batch_count(fleet.targets), fleet.targets * DAYS
    connections = PLAIN_CONNECTIONS + (TLS_CONNECTIONS - PLAIN_CONNECTIONS) * fleet.tls
    one_by_one = TLS_CONNECTIONS if fleet.tls else PLAIN_CONNECTIONS
    # Targets of a longer delay come to their time of the day at as many ticks, each of which waits for them.
    times = DAYS * (DAY // HOUR_OF_DAY) * batches * ceil(fleet.targets / fleet.tests)
    waiting = min(asked, times) * one_by_one * CONVERSATION_SECONDS
    busy = asked * (connections * measured.test_cpu.each + (connections - PLAIN_CONNECTIONS) * measured.tls_cpu)
    seconds = waiting + busy / min(1.0, fleet.memory_mb / FULL_CORE_MB)
    sent = connections * measured.bytes_out + (connections - PLAIN_CONNECTIONS) * measured.tls_bytes_out
    changed = fleet.targets * POSTURE_CHANGES
    scanned = TICKS * fleet.targets * POSTURE_BYTES / SCANNED_BYTES
    return [
        ("postures: DynamoDB write units", "dynamodb-write", changed * POSTURE_WRITES),
        ("postures: DynamoDB read units", "dynamodb-read", changed + scanned),
        ("postures: Lambda GB-seconds", "lambda-gb-second", seconds * fleet.memory_mb / 1024),
        ("postures: SQS requests", "sqs-request", _more_requests(fleet, measured.message_bytes, POSTURE_BYTES)),
        ("postures: data out, GB", "data-out", asked * sent / GB),
    ]


def _more_requests(fleet: Fleet, message_bytes: float, added: float) -> float:
    """What the batches' messages count for more, if each test in them takes some bytes more."""
    if not _queued(fleet):
        return 0.0
    batches = batch_count(fleet.targets)
    tests = fleet.tests / batches
    without = ceil(tests * message_bytes / REQUEST_BYTES)
    return 2 * batches * TICKS * (ceil(tests * (message_bytes + added) / REQUEST_BYTES) - without)


def _logins(fleet: Fleet, measured: Measured) -> _Quantities:
    """The tests that log in, beyond others with TLS; reading the credentials, and the states of these.

    SSM's own requests cost nothing; KMS charges for each credential that is decrypted, once in the life of an
    execution environment.
    """
    batches, made, month = batch_count(fleet.targets), fleet.logins * TICKS, DAYS * DAY
    at_once = fleet.logins / batches
    invocations = TICKS * batches * min(1.0, at_once)
    used = min(float(fleet.credentials), max(1.0, at_once))
    states = used * invocations
    asked = min(fleet.credentials * batches * (month / CACHED_FOR), states) / min(MAX_NAMES, used)
    # Of targets that share a credential the first is waited for by the others of its batch.
    waits = LOGIN_SECONDS + (CONVERSATION_SECONDS + LOGIN_SECONDS if at_once > used else 0)
    waiting = invocations * waits + (states / min(STATE_READERS, used) + asked) * CALL_SECONDS
    seconds = waiting + made * measured.login_cpu / min(1.0, fleet.memory_mb / FULL_CORE_MB)
    scanned = fleet.targets * fleet.login * LOGIN_BYTES + fleet.credentials * CREDENTIAL_BYTES
    samples = made * measured.login_sample_bytes
    writes = fleet.credentials * _state_writes(made / fleet.credentials) + samples / WRITE_BYTES
    message_bytes = measured.message_bytes + POSTURE_BYTES
    return [
        ("logins: DynamoDB write units", "dynamodb-write", writes),
        ("logins: DynamoDB read units", "dynamodb-read", states + (samples + scanned * TICKS) / SCANNED_BYTES),
        ("logins: DynamoDB storage, GB", "dynamodb-storage", samples / GB),
        ("logins: Lambda GB-seconds", "lambda-gb-second", seconds * fleet.memory_mb / 1024),
        ("logins: KMS requests", "kms-request", min(fleet.credentials * batches * COLD_STARTS, states)),
        ("logins: SQS requests", "sqs-request", _more_requests(fleet, message_bytes, fleet.login * LOGIN_BYTES)),
        ("logins: data out, GB", "data-out", made * measured.login_bytes_out / GB),
    ]


def _state_writes(logins: float) -> float:
    """How often the state of a credential is written for so many accepted logins in a month.

    The time of the last one, once it is some minutes old; after a longer rest the attempt before it, too.
    """
    month = DAYS * DAY
    return 2 * logins if logins < month / ACCEPTED_FOR else min(logins, month / WRITTEN_AGAIN_AFTER)


def _gb_out(fleet: Fleet, measured: Measured) -> float:
    """What the tests of a month send to the targets."""
    sent = measured.bytes_out + fleet.tls * (measured.tls_bytes_out - measured.bytes_out)
    return fleet.tests * TICKS * sent / GB


def _nat_gateways(fleet: Fleet, measured: Measured) -> _Quantities:
    """NAT gateways, each of which has a public IPv4 address, and what the tests send through them."""
    hours = fleet.nat_gateways * HOURS
    return [
        ("NAT gateway hours", "nat-gateway-hour", hours),
        ("NAT public IPv4, hours", "public-ipv4-hour", hours),
        ("NAT data sent, GB", "nat-gateway-data", _gb_out(fleet, measured)),
    ]


def _page(fleet: Fleet, measured: Measured) -> _Quantities:
    """One page that is open all month."""
    seconds = measured.page_cpu.at(fleet.targets) / (PAGE_MB / FULL_CORE_MB) + 2 * CALL_SECONDS
    return [
        ("page: Lambda requests", "lambda-request", REFRESHES),
        ("page: Lambda GB-seconds", "lambda-gb-second", REFRESHES * seconds * PAGE_MB / 1024),
        ("page: DynamoDB read units", "dynamodb-read", REFRESHES * measured.scan_units.at(fleet.targets)),
        ("page: log, GB", "log", REFRESHES * measured.page_log_bytes / GB),
        ("page: data out, GB", "data-out", REFRESHES * measured.page_bytes.at(fleet.targets) / GB),
        ("page: secret", "secret", 1),
        ("page: calls for the secret", "secret-call", SECRET_CALLS),
    ]
