"""Names over real sockets: a name server that loses packets, takes only so many, is silent, or answers by TCP only."""

import logging
import time
from collections.abc import Iterable, Iterator

import pytest

from popwatch.model.outcomes import Outcome, Phase
from popwatch.model.targets import Target, parse_target
from popwatch.prober.dns_messages import RecordType
from popwatch.prober.loop import Prober, probe
from popwatch.prober.name_servers import NameServers
from popwatch.prober.resolver import FRESH_SECONDS, Resolver
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.closed_port import closed_port
from tests.name_server import SERVFAIL, SILENT, NameServer, Zone
from tests.open_sockets import descriptors, left_open

AWS_LIMIT, LOST = 1024, 0.02
"""Packets a second that AWS's resolver takes from a network interface, and the share that is lost on the way."""


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


def targets(port: int, names: Iterable[str], **fields: object) -> list[Target]:
    return [parse_target({"target_id": name, "host": name, "port": port, **fields}) for name in names]


def run(prober: Prober, tested: list[Target]) -> dict[str, Outcome]:
    return {target.target_id: outcome for arrivals in prober.run(tested) for target, outcome in arrivals}


def fleet(size: int) -> dict[str, list[str] | int | str]:
    return {f"pop{n}.zone{n % 50}.test": ["127.0.0.1"] for n in range(size)}


def no_ipv6(*_: object) -> bool:
    return False


@pytest.mark.long
@pytest.mark.parametrize("ipv6", [True, False])
def test_ticks_through_a_limited_and_lossy_name_server(server: ScriptedServer, ipv6: bool) -> None:
    """Every test passes, no packet exceeds the limit, each tick asks anew. (`make bench BENCH=names`: 20 of 800.)"""
    zone, now = fleet(300), [time.time()]
    port = server.listen("healthy")
    with NameServer(zone, lost=LOST, limit=AWS_LIMIT) as names:
        prober = Prober(resolver=names.resolver(clock=lambda: now[0]), has_route=lambda *_: ipv6)
        for tick in range(1, 3):
            outcomes = run(prober, targets(port, zone))
            assert [outcome for outcome in outcomes.values() if not outcome.passed] == []
            assert all(outcome.address_age_seconds is None for outcome in outcomes.values())
            assert len(names.times) >= tick * len(zone) * (1 + ipv6) * 0.95
            now[0] += 60
        assert names.dropped == 0


@pytest.mark.long
def test_silent_zones_delay_no_other_target(server: ScriptedServer) -> None:
    """Of 200 names 50 have silent zones. At the second tick the others are resolved as fast as without them."""
    good, now = fleet(150), [time.time()]
    port = server.listen("healthy")
    slowest = {}
    for dead in (0, 50):
        zone: Zone = {**{f"pop{n}.dead{n}.test": SILENT for n in range(dead)}, **good}
        with NameServer(zone) as names:
            prober = Prober(resolver=names.resolver(clock=lambda: now[0]), has_route=no_ipv6)
            run(prober, targets(port, good))
            now[0] += 60
            began = time.time()
            outcomes = run(prober, targets(port, zone, max_test_seconds=2))
        slowest[dead] = max(outcomes[name].started_at.timestamp() - began for name in good)
        assert all(outcomes[name].passed for name in good)
        assert sum(outcome.reason == "dns-timed-out" for outcome in outcomes.values()) == dead
        last = max(outcomes[name].started_at for name in good)
        assert all(outcomes[name].started_at >= last for name in zone if name not in good)
    assert slowest[50] < slowest[0] + 0.25


def test_a_changed_address_is_tested_at_the_next_tick(server: ScriptedServer) -> None:
    """The old address is used for less than a minute after it was answered."""
    now = [time.time()]
    with closed_port() as port, NameServer({"pop.test": ["127.0.0.1"]}) as names:
        server.listen("healthy", host="127.0.0.2", port=port)
        prober = Prober(resolver=names.resolver(clock=lambda: now[0]), has_route=no_ipv6)
        [target] = targets(port, ["pop.test"])
        assert probe(target, prober).reason == "refused"
        names.zone = {"pop.test": ["127.0.0.2"]}
        now[0] += FRESH_SECONDS + 1
        outcome = probe(target, prober)
        assert outcome.passed
        assert outcome.address == "127.0.0.2"


def test_stale_answers_are_marked(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """The name server is silent for one tick: all tests pass at cached addresses, and their outcomes say how old."""
    zone, now = fleet(60), [time.time()]
    port = server.listen("healthy")
    with NameServer(zone) as names:
        prober = Prober(resolver=names.resolver(clock=lambda: now[0]), has_route=no_ipv6)
        run(prober, targets(port, zone))
        now[0] += 60
        names.silent = True
        with caplog.at_level(logging.WARNING):
            outcomes = run(prober, targets(port, zone))
        assert all(outcome.passed for outcome in outcomes.values())
        assert [outcome.address_age_seconds for outcome in outcomes.values()] == [pytest.approx(60, abs=0.5)] * 60
        assert [record.name for record in caplog.records] == ["popwatch.prober.lookups"]


def test_a_failure_at_a_stale_answer_says_so() -> None:
    """The address may be an old one: whoever reads the alert should know."""
    zone, now = fleet(20), [time.time()]
    with NameServer(zone) as names, closed_port() as port:
        prober = Prober(resolver=names.resolver(clock=lambda: now[0]), has_route=no_ipv6)
        run(prober, targets(port, zone))
        now[0] += 60
        names.silent = True
        outcomes = run(prober, targets(port, zone))
    assert {outcome.reason for outcome in outcomes.values()} == {"refused"}
    assert all("address of 60 seconds ago" in outcome.detail for outcome in outcomes.values())


@pytest.mark.long
def test_an_outage_of_a_zone_is_no_address(server: ScriptedServer) -> None:
    """It is reported by the next test, although the names were answered a minute before."""
    zone, now = fleet(60), [time.time()]
    port = server.listen("healthy")
    with NameServer(zone) as names:
        prober = Prober(resolver=names.resolver(clock=lambda: now[0]), has_route=no_ipv6)
        run(prober, targets(port, zone))
        now[0] += 60
        names.zone = {name: SERVFAIL if ".zone7." in name else found for name, found in zone.items()}
        outcomes = run(prober, targets(port, zone))
    failed = {name for name, outcome in outcomes.items() if not outcome.passed}
    assert failed == {name for name in zone if ".zone7." in name}
    assert {outcomes[name].reason for name in failed} == {"dns-failure"}


def test_a_long_reply_is_fetched_by_tcp(server: ScriptedServer) -> None:
    """A name server that answers a datagram with an empty, truncated reply."""
    with NameServer({"pop.test": ["127.0.0.1"]}, truncates=True) as names:
        [target] = targets(server.listen("healthy"), ["pop.test"])
        assert probe(target, Prober(resolver=names.resolver(), has_route=no_ipv6)).passed
        assert names.asked["pop.test", RecordType.A] == 2


def test_long_replies_leave_descriptors(server: ScriptedServer) -> None:
    """Many at once are fetched a few at a time; those that have to wait are fetched with the repeated question."""
    zone = fleet(60)
    with NameServer(zone, truncates=True) as names:
        outcomes = run(Prober(resolver=names.resolver(), has_route=no_ipv6), targets(server.listen("healthy"), zone))
    assert all(outcome.passed for outcome in outcomes.values())


def test_a_server_that_never_answers_aaaa(server: ScriptedServer) -> None:
    """The test passes by IPv4, within a second."""
    with NameServer({"pop.test": ["127.0.0.1"]}, no_aaaa=True) as names:
        [target] = targets(server.listen("healthy"), ["pop.test"], max_test_seconds=2)
        outcome = probe(target, Prober(resolver=names.resolver(), has_route=lambda *_: True))
    assert outcome.passed
    assert outcome.dns_ms is not None
    assert 400 < outcome.dns_ms < 1000


def test_a_slow_name_server_is_asked_once_more(server: ScriptedServer) -> None:
    """Its late answer to the first question counts."""
    with NameServer({"pop.test": ["127.0.0.1"]}, delay=0.4) as names:
        [target] = targets(server.listen("healthy"), ["pop.test"])
        outcome = probe(target, Prober(resolver=names.resolver(), has_route=no_ipv6))
    assert outcome.passed
    assert outcome.dns_ms is not None
    assert outcome.dns_ms < 600


def test_nobody_at_the_name_servers_address(server: ScriptedServer) -> None:
    """A port without a server, and an address without a route: the target fails with a reason."""
    servers = NameServers((("127.0.0.1", 9), ("255.255.255.255", 53)))
    [target] = targets(server.listen("healthy"), ["pop.test"])
    outcome = probe(target, Prober(resolver=Resolver(name_servers=lambda: servers, hosts=dict), has_route=no_ipv6))
    assert outcome.phase is Phase.DNS
    assert outcome.reason in ("dns-failure", "dns-timed-out")


@pytest.mark.parametrize("truncates", [True, False])
def test_no_socket_stays_open(server: ScriptedServer, truncates: bool) -> None:
    """Neither after a run nor after one that is given up."""
    port = server.listen("healthy")
    with NameServer({"pop.test": ["127.0.0.1"], "silent.test": SILENT}, truncates=truncates) as names:
        run(Prober(), targets(port, ["127.0.0.1"]))
        before = descriptors()
        prober = Prober(resolver=names.resolver(clock=lambda: 0.0), has_route=no_ipv6)
        run(prober, targets(port, ["pop.test"]))
        begun = prober.run(targets(port, ["silent.test"]))
        next(begun)
        begun.close()
        assert left_open(before, seconds=10) == []
