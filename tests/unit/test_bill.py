"""The bill: a case calculated by hand, the allowances, and the form of the two data files."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
import pytest

from popwatch.aws.items import to_item
from popwatch.model.credential_state import CredentialState
from popwatch.model.posture import NO, YES, PostureSummary
from popwatch.model.serialization import serialize
from popwatch.model.targets import Policy
from popwatch.model.text import iso
from popwatch_cli.bill import (
    CREDENTIAL_BYTES,
    LOGIN_BYTES,
    POSTURE_BYTES,
    Charge,
    Fleet,
    Linear,
    Measured,
    Price,
    alternatives,
    bill,
    mean_logins,
    mean_tests,
)
from popwatch_cli.commands.cost import SHARE, fleet_of, read_measured, read_prices
from popwatch_cli.errors import UserError
from tests.bench.bench_inputs import item_bytes
from tests.cloudwatch import alarms

PROJECT = Path(__file__).parents[2]
MEASURED = Measured(
    scan_units=Linear(1.0, 0.03),
    checkpoint_units=1.0,
    history_reads=Linear(0.0, 0.005),
    history_writes=Linear(1.0, 0.01),
    failing_writes=2.0,
    failing_reads=0.5,
    sample_bytes=20.0,
    hour_bytes=50.0,
    message_bytes=400.0,
    tick_cpu=Linear(0.1, 0.0001),
    test_cpu=Linear(0.05, 0.0002),
    tls_cpu=0.001,
    login_cpu=0.0005,
    name_cpu=0.0001,
    import_cpu=0.5,
    tick_calls=5.0,
    batch_calls=1.0,
    bytes_out=300.0,
    tls_bytes_out=1300.0,
    login_bytes_out=400.0,
    login_sample_bytes=32.0,
    log_bytes=1000.0,
    metrics=3.0,
    failing_metrics=4.0,
    alarms=6.0,
    page_cpu=Linear(0.01, 0.0001),
    page_bytes=Linear(1000.0, 20.0),
    page_log_bytes=700.0,
)
_, PRICES = read_prices("us-east-1")
THOUSAND = Fleet(targets=1000, tests=1000.0, memory_mb=1769)


def charges(fleet: Fleet) -> dict[str, Charge]:
    return {charge.name: charge for charge in bill(fleet, PRICES, MEASURED)}


def test_hand_worked() -> None:
    """1,000 targets each minute: 43,200 ticks, two batches, each quantity calculated by hand."""
    found = {name: charge.quantity for name, charge in charges(THOUSAND).items()}
    assert found == {
        "DynamoDB write units": pytest.approx(43_200 * (1 + 1 + 10)),
        "DynamoDB read units": pytest.approx(43_200 * (1 + 30 + 5)),
        "DynamoDB storage, GB": pytest.approx(20 * 1000 * 1440 * 30 / 1e9 + 50 * 1000 * 24 * 400 / 1e9),
        "Lambda requests": 43_200 + 2 * (43_200 + 720),
        # a whole core: 0.1 + 0.1 s for the tick, 2 x (0.05 + 0.1) s for batches, 0.07 s of calls, 2 x 0.4 s of waits,
        # and for 1,000 names 0.1 s of computing, and 2 x 500 / 600 s of waiting for their turns
        "Lambda GB-seconds": pytest.approx(
            (43_200 * (0.2 + 0.3 + 0.07 + 0.8 + 0.1 + 1000 / 600) + 360 * 3 * 0.5) * 1769 / 1024
        ),
        "log, GB": pytest.approx((43_200 + 2 * 43_920) * 1000 / 1e9),
        "Scheduler invocations": 43_200,
        # a message of 500 x 400 bytes is four requests to send and four to receive; one deletes it
        "SQS requests with messages": 2 * (2 * 43_200 * 4 + 2 * 720) + 2 * 43_920,
        "SQS idle polls": 648_000,
        "SNS publishes": 0,
        "SNS emails": 0,
        "custom metrics": 3,
        "alarms": 6,
        "data out, GB": pytest.approx(12.96),
        # three writes and a read for each target, once; 35 bytes more of each record in each scan
        "postures: DynamoDB write units": 3000,
        "postures: DynamoDB read units": pytest.approx(1000 + 43_200 * 35_000 / 8192),
        # 24 times a day two batches wait for two connections, which take as much computing as two tests
        "postures: Lambda GB-seconds": pytest.approx((30 * 24 * 2 * 2 * 0.4 + 60_000 * 0.0002) * 1769 / 1024),
        "postures: SQS requests": 0,
        "postures: data out, GB": pytest.approx(60_000 * 300 / 1e9),
    }


def test_postures_of_targets_with_a_longer_delay_are_waited_for_more_often() -> None:
    """Those of a time of the day are tested at five ticks; no more often than there are targets."""

    def waited(fleet: Fleet) -> float:
        without_waiting = 2 * fleet.targets * 30 * 0.0002
        return charges(fleet)["postures: Lambda GB-seconds"].quantity * 1024 / 1769 - without_waiting

    hourly, few = replace(THOUSAND, tests=200.0), replace(THOUSAND, targets=10, tests=2.0)
    assert waited(hourly) == pytest.approx(5 * waited(THOUSAND))
    assert waited(few) == pytest.approx(10 * 30 * 2 * 0.4)


LOGGING_IN = replace(THOUSAND, tls=1.0, login=1.0, logins=200.0, credentials=10)


def logins(fleet: Fleet) -> dict[str, float]:
    prefix = "logins: "
    found = charges(fleet).items()
    return {name.removeprefix(prefix): charge.quantity for name, charge in found if name.startswith(prefix)}


def test_logins_hand_worked() -> None:
    """1,000 targets that log in each five minutes with ten credentials: 8,640,000 logins, a hundred in each batch."""
    assert logins(LOGGING_IN) == {
        # the time of the last accepted login each five minutes; 32 bytes of mailboxes in samples
        "DynamoDB write units": pytest.approx(10 * 8640 + 8.64e6 * 32 / 1024),
        # the state of each credential in each batch; the bytes of samples, names and states
        "DynamoDB read units": pytest.approx(864_000 + (8.64e6 * 32 + 43_200 * (18_000 + 1500)) / 8192),
        "DynamoDB storage, GB": pytest.approx(8.64e6 * 32 / 1e9),
        # ten calls for states in each batch, eight at once; one each five minutes for credentials; a first login, and
        # others
        "Lambda GB-seconds": pytest.approx(
            (86_400 * 1.2 + (864_000 / 8 + 2 * 8640) * 0.01 + 8.64e6 * 0.0005) * 1769 / 1024
        ),
        "KMS requests": 10 * 2 * 360,
        "SQS requests": 0,
        "data out, GB": pytest.approx(8.64e6 * 400 / 1e9),
    }


def test_a_credential_of_one_target() -> None:
    """It is read and waited for at its own logins only; no other login waits for its."""
    found = logins(replace(LOGGING_IN, targets=1, tests=1.0, logins=0.2, credentials=1))
    assert found["Lambda GB-seconds"] == pytest.approx((8640 * (0.4 + 2 * 0.01) + 8640 * 0.0005) * 1769 / 1024)
    assert found["KMS requests"] == 360
    hourly = logins(replace(LOGGING_IN, targets=1, tests=1.0, logins=1 / 60, credentials=1))
    assert hourly["DynamoDB write units"] == pytest.approx(720 * 2 + 720 * 32 / 1024)


def test_without_logins_nothing_is_charged_for_them() -> None:
    """No line of the bill is about them."""
    assert logins(THOUSAND) == {}


def test_what_the_state_of_a_credential_takes() -> None:
    """With ordinary names, after an accepted login, no more than the bill says."""
    at = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
    state = CredentialState("monitor", f"3 {iso(at)}", passed_at=at, version=12_345)
    item = to_item({"target_id": "_credential#monitor", "version": state.version, "credential": serialize(state)})
    assert CREDENTIAL_BYTES / 2 < sum(len(name) + item_bytes(value) for name, value in item.items()) <= CREDENTIAL_BYTES
    assert len('"login":"monitor",') == LOGIN_BYTES


def test_logins_of_policies() -> None:
    """Each `login_every` seconds one, but at a test; tests of a shorter delay have one in a minute at most."""
    with_login = partial(Policy, login="monitor")
    assert mean_logins([Policy()]) == 0
    assert mean_logins([with_login(), with_login(delay_up=3600)]) == pytest.approx(1 / 5 + 1 / 60)
    assert mean_logins([with_login(delay_up=10, login_every=60)]) == 1


def test_what_a_posture_adds_to_a_record() -> None:
    """The name and the summary of an ordinary server's offers, with either kind of TLS, take no more than that."""
    clear = frozenset({"CAPA", "TOP", "UIDL", "RESP-CODES", "PIPELINING", "AUTH-RESP-CODE", "STLS", "SASL"})
    secure = clear - {"STLS"} | {"USER", "SASL PLAIN", "SASL LOGIN"}
    starttls = PostureSummary(YES, NO, NO, NO, YES, clear, secure, {995: False}, "00ff")
    siblings = {110: False, 993: False}
    implicit = PostureSummary(tls_1_0=NO, tls_1_1=NO, chain=YES, in_tls=secure, newer=siblings, server="00ff")
    assert max(len(f"posture{it}") for it in (starttls, implicit)) + 1 == POSTURE_BYTES


def test_a_nat_gateway_has_a_public_address() -> None:
    """Each gateway is charged by the hour together with its public IPv4 address: 36.5 USD in a month of 730 hours."""
    found = charges(replace(THOUSAND, nat_gateways=2))
    assert found["NAT gateway hours"].quantity == found["NAT public IPv4, hours"].quantity == 2 * 720
    by_the_hour = found["NAT gateway hours"].with_free + found["NAT public IPv4, hours"].with_free
    assert by_the_hour / 1440 * 730 == pytest.approx(36.5)
    assert found["NAT data sent, GB"].quantity == found["data out, GB"].quantity
    assert "NAT gateway hours" not in charges(THOUSAND)


def test_prices_and_allowances() -> None:
    """An allowance is used once, by the first lines that it applies to; a line without one costs the same."""
    found = charges(THOUSAND)
    assert found["DynamoDB write units"].without_free == pytest.approx(0.324)
    assert found["DynamoDB write units"].with_free == pytest.approx(0.324)
    assert found["alarms"].without_free == pytest.approx(0.60)
    assert found["alarms"].with_free == 0
    with_messages, idle = found["SQS requests with messages"], found["SQS idle polls"]
    over = with_messages.quantity + idle.quantity - 1_000_000
    assert with_messages.with_free == 0
    assert idle.with_free == pytest.approx(over * 0.40 / 1e6)


def test_one_batch_needs_no_queue() -> None:
    """A fleet of one batch is tested by the invocation of its tick, so SQS only has idle polls."""
    found = charges(replace(THOUSAND, targets=100, tests=100.0))
    assert found["Lambda requests"].quantity == 43_200
    assert found["SQS requests with messages"].quantity == 0
    assert found["SQS idle polls"].quantity == 648_000


def test_down() -> None:
    """A target that is down writes its record at each test, makes its batch wait ten seconds, and is alerted."""
    healthy, failing = charges(THOUSAND), charges(replace(THOUSAND, down=0.01))
    more = {name: failing[name].quantity - healthy[name].quantity for name in healthy}
    assert more["DynamoDB write units"] == pytest.approx(2 * 10 * 43_200)
    assert more["DynamoDB read units"] == pytest.approx(0.5 * 10 * 43_200)
    assert more["Lambda GB-seconds"] == pytest.approx(2 * 9.6 * 43_200 * 1769 / 1024)
    assert more["SNS emails"] == pytest.approx(10 * 30 * 4)
    assert more["custom metrics"] == 4


def test_half_a_target_down_makes_its_batch_wait_half_the_time() -> None:
    """A mean of less than one silent target in a batch is one in that share of the ticks."""
    healthy, failing = charges(THOUSAND), charges(replace(THOUSAND, down=0.001))
    more = failing["Lambda GB-seconds"].quantity - healthy["Lambda GB-seconds"].quantity
    assert more == pytest.approx(2 * 0.5 * 9.6 * 43_200 * 1769 / 1024)


def test_tls_and_page() -> None:
    """TLS takes CPU time and bytes; the page is requested four times a minute and reads as much as a tick."""
    secure = charges(replace(THOUSAND, tls=1.0, page=True))
    assert secure["data out, GB"].quantity == pytest.approx(43.2e6 * 1300 / 1e9)
    assert secure["page: Lambda requests"].quantity == 172_800
    assert secure["page: DynamoDB read units"].quantity == pytest.approx(172_800 * 31)
    assert secure["page: Lambda GB-seconds"].quantity == pytest.approx(172_800 * (0.11 / (512 / 1769) + 0.02) * 0.5)
    assert secure["page: secret"].with_free == pytest.approx(0.40)


def test_less_memory_costs_no_more_for_computing_but_less_for_waiting() -> None:
    """Computing takes as many GB-seconds at any memory up to a core; waiting takes fewer with less memory."""
    small, large = charges(replace(THOUSAND, memory_mb=512)), charges(THOUSAND)
    waiting = 43_200 * (0.87 + 1000 / 600)
    saved = large["Lambda GB-seconds"].quantity - small["Lambda GB-seconds"].quantity
    assert saved == pytest.approx(waiting * (1769 - 512) / 1024)


def test_tests_of_a_tick() -> None:
    """Each target adds a share of a test to each tick, by its delay."""
    assert mean_tests([60, 300, 30]) == pytest.approx(3.2)


def test_rivals() -> None:
    """The alternatives, by hand: 1,000 checks, 43.2 million runs, two writes and two half reads for each test."""
    checks, runs, naive = alternatives(THOUSAND, PRICES).values()
    assert checks == pytest.approx(750.0)
    assert runs == pytest.approx((43.2e6 - 100) * 0.0012)
    assert naive == pytest.approx(54.0 + 5.40 + 42.2 * 0.20)


@pytest.mark.parametrize("price", PRICES.values(), ids=PRICES)
def test_each_price_has_its_source(price: Price) -> None:
    """A price is above zero, for an amount, and has a source."""
    assert price.usd > 0
    assert price.per >= 1
    assert price.free >= 0
    assert price.source


def test_measured_inputs_are_whole() -> None:
    """`measured.json` has every input, and none is negative; what grows with each test is above zero."""
    measured = read_measured()
    numbers = [value for value in asdict(measured).values() if isinstance(value, float)]
    assert min(numbers) >= 0
    for line in (measured.scan_units, measured.history_writes, measured.tick_cpu, measured.test_cpu):
        assert line.fixed >= 0
        assert line.each > 0
    assert measured.tls_bytes_out > measured.bytes_out > 40
    assert measured.alarms == sum(len(alarm.queries) for alarm in alarms().values())


def test_the_promise() -> None:
    """1,000 healthy targets each minute cost less than 2 USD a month with the always-free allowances, and 6 without."""
    lines = bill(Fleet(targets=1000, tests=1000.0), PRICES, read_measured())
    assert sum(line.with_free for line in lines) < 2
    assert sum(line.without_free for line in lines) < 6


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.01", 0.01), ("100 %", 1.0), ("0", 0.0)])
def test_shares(text: str, share: float) -> None:
    """A share is written as a percentage or as a number."""
    assert SHARE.convert(text, None, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["-1%", "101%", "1.01", "much", "nan", ""])
def test_bad_shares(text: str) -> None:
    """Anything that is not a share is refused."""
    with pytest.raises(click.BadParameter, match=r"is not a share: write 1% or 0\.01"):
        SHARE.convert(text, None, None)


@pytest.mark.parametrize("count", [1, 100, 800, 801, 10_000])
def test_no_line_is_less_than_nothing(count: int) -> None:
    """For any fleet no line is negative, or costs more with the allowances than without."""
    for line in bill(Fleet(count, count / 5, down=0.01, tls=0.5, page=True), PRICES, read_measured()):
        assert 0 <= line.with_free <= line.without_free, line


def test_a_region_without_prices_is_refused() -> None:
    """Prices of other regions are not assumed."""
    with pytest.raises(UserError, match=r"There are no prices for eu-west-1, only for us-east-1"):
        read_prices("eu-west-1")


def test_own_fleet() -> None:
    """The stack's own targets count by their delays and TLS; suspended targets do not count."""
    items = {
        "_defaults": {"target_id": "_defaults", "delay_up": 120},
        "a": {"target_id": "a", "host": "a.example.net"},
        "b": {"target_id": "b", "host": "b.example.net", "delay_up": 300, "tls": "implicit", "login": "monitor"},
        "c": {"target_id": "c", "host": "c.example.net", "enabled": False},
    }
    fleet = fleet_of(items)
    assert replace(fleet, tests=round(fleet.tests, 6)) == Fleet(2, 0.7, tls=0.5, login=0.5, logins=0.2, credentials=1)
    with pytest.raises(UserError, match="There are no targets yet"):
        fleet_of({"c": items["c"]})
