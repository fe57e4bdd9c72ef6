"""The prober against scripted servers over real sockets: the outcome of each fault, which affects no other test."""

import gc
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.outcomes import ErrorCode, Outcome, Phase, RttSource
from popwatch.model.targets import Target, parse_target
from popwatch.prober.addresses import MAX_ADDRESSES, MAX_CONSIDERED, choose, interleave, is_local
from popwatch.prober.dns_messages import RecordType
from popwatch.prober.loop import MAX_IN_FLIGHT, Prober, _Loop, probe
from popwatch.prober.name_servers import NameServers
from popwatch.prober.poller import READABLE
from popwatch.prober.probe import STAGGER_SECONDS, Loop, Probe
from popwatch.prober.resolver import LookupResult, Name, Resolver
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.closed_port import closed_port
from tests.name_server import NXDOMAIN, SERVFAIL, SILENT, NameServer, Zone
from tests.open_sockets import descriptors, left_open
from tests.stamping import stamping

CANNOT_CONNECT, NO_ADDRESS = ErrorCode.CANNOT_CONNECT, ErrorCode.NO_ADDRESS
TIMED_OUT, DISCONNECTED, PROTOCOL = ErrorCode.TIMED_OUT, ErrorCode.DISCONNECTED, ErrorCode.PROTOCOL


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with stamping(), ScriptedServer() as found:
        yield found


def target(port: int, name: str = "t", **fields: Any) -> Target:
    """A target on this machine, with a deadline that a test meets on a busy machine too."""
    return parse_target({"target_id": name, "host": "127.0.0.1", "port": port, "max_test_seconds": 20, **fields})


def run(prober: Prober, targets: list[Target], **options: Any) -> dict[str, Outcome]:
    return {tested.target_id: outcome for arrivals in prober.run(targets, **options) for tested, outcome in arrivals}


def resolver(names: dict[str, list[str]]) -> Resolver:
    """A resolver that knows these names from a hosts file, and asks no name server."""
    return Resolver(name_servers=_no_name_servers, hosts=lambda: {name: tuple(its) for name, its in names.items()})


def _no_name_servers() -> NameServers:
    return NameServers((("127.0.0.1", 9),))


def test_a_slow_server_fails_if_its_target_says_so(server: ScriptedServer) -> None:
    """`max_rtt_ms`: the whole conversation takes place, and the error is that of a timeout."""
    port = server.listen("delay:0.2")
    outcome = probe(target(port, max_rtt_ms=100))
    assert (outcome.error, outcome.phase, outcome.reason) == (TIMED_OUT, Phase.QUIT, "too-slow")
    assert outcome.detail.startswith("The round trip took 2")
    assert outcome.detail.endswith(" ms, more than the 100 ms allowed.")
    assert probe(target(port, max_rtt_ms=2000)).passed
    assert probe(target(port)).passed


def test_healthy(server: ScriptedServer) -> None:
    """A pass: every phase timed, the greeting and the address in the outcome, QUIT sent."""
    port = server.listen("healthy")
    outcome = probe(target(port))
    assert outcome.passed
    assert (outcome.phase, outcome.reason, outcome.message) == (Phase.QUIT, "", "")
    assert (outcome.address, outcome.greeting) == ("127.0.0.1", "+OK scripted POP3 ready")
    times = (outcome.rtt_ms, outcome.connect_ms, outcome.greeting_ms, outcome.quit_ms)
    assert all(time is not None and 0 <= time < 20_000 for time in times)
    assert outcome.dns_ms is None
    assert server.connections(port)[0].quit


@pytest.mark.parametrize(
    ("script", "fields"),
    [
        ("healthy", {"greeting": ["READY"]}),
        ("healthy", {"expect": ["scripted*ready", "POP3"]}),
        ("say:READY pop3-ng", {"greeting": ["READY"], "expect": "pop3"}),
        ("drip:0.002", {"expect": "POP3 ready"}),
        ("drip:0.002", {}),
        ("latin1", {}),
        ("bare-lf", {}),
        ("two-replies", {}),
        ("greeting-after-quit", {}),
        ("say:READY pop3-ng", {"greeting": ["READY"]}),
        ("quit-silent", {"check_quit": False}),
        ("quit-close", {"check_quit": False}),
        ("quit-error", {"check_quit": False}),
        ("hostile", {}),
    ],
)
def test_passes(server: ScriptedServer, script: str, fields: dict[str, Any]) -> None:
    """What is unusual but allowed by the protocol, or by the target's fields, passes."""
    outcome = probe(target(server.listen(script), **fields))
    assert outcome.passed, outcome


@pytest.mark.parametrize(
    ("script", "error", "phase", "reason"),
    [
        ("refused", CANNOT_CONNECT, Phase.CONNECT, "refused"),
        ("silent", TIMED_OUT, Phase.GREETING, "no-greeting"),
        ("delay:5", TIMED_OUT, Phase.GREETING, "no-greeting"),
        ("drip:1", TIMED_OUT, Phase.GREETING, "unfinished-line"),
        ("no-crlf", TIMED_OUT, Phase.GREETING, "unfinished-line"),
        ("quit-silent", TIMED_OUT, Phase.QUIT, "no-quit-reply"),
        ("reset", DISCONNECTED, Phase.GREETING, "reset"),
        ("reset:+OK rea", DISCONNECTED, Phase.GREETING, "reset"),
        ("close", DISCONNECTED, Phase.GREETING, "closed-before-greeting"),
        ("close:+OK rea", DISCONNECTED, Phase.GREETING, "closed-mid-line"),
        ("half-close", DISCONNECTED, Phase.GREETING, "closed-before-greeting"),
        (r"half-close:+OK ready\r\n", DISCONNECTED, Phase.QUIT, "closed-before-quit-reply"),
        ("quit-close", DISCONNECTED, Phase.QUIT, "closed-before-quit-reply"),
        ("quit-error", PROTOCOL, Phase.QUIT, "quit-refused"),
        ("flood", PROTOCOL, Phase.GREETING, "overlong-line"),
        ("nul", PROTOCOL, Phase.GREETING, "not-text"),
        ("error:[SYS/TEMP] later", PROTOCOL, Phase.GREETING, "service-unavailable"),
        ("error:[LOGIN-DELAY] later", PROTOCOL, Phase.GREETING, "service-unavailable"),
        ("say:READY", PROTOCOL, Phase.GREETING, "unexpected-greeting"),
        ("smtp", PROTOCOL, Phase.GREETING, "smtp-greeting"),
        ("ftp", PROTOCOL, Phase.GREETING, "ftp-greeting"),
        ("imap", PROTOCOL, Phase.GREETING, "imap-greeting"),
        ("ssh", PROTOCOL, Phase.GREETING, "ssh-greeting"),
        ("http", PROTOCOL, Phase.GREETING, "http-greeting"),
        ("tls-record", PROTOCOL, Phase.GREETING, "tls-on-plain-port"),
    ],
)
def test_failures(server: ScriptedServer, script: str, error: ErrorCode, phase: Phase, reason: str) -> None:
    """Every fault has its error, its reason and its phase."""
    seconds = 1 if error is TIMED_OUT else 20  # a busy machine must not time out the others
    outcome = probe(target(server.listen(script), max_test_seconds=seconds))
    assert (outcome.error, outcome.phase, outcome.reason) == (error, phase, reason), outcome
    assert outcome.detail


def test_a_greeting_without_the_expected_text(server: ScriptedServer) -> None:
    """A failed test in the phase of the greeting, which names the text."""
    outcome = probe(target(server.listen("healthy"), expect=["POP3", "mail.example.net"]))
    assert (outcome.error, outcome.phase, outcome.reason) == (PROTOCOL, Phase.GREETING, "expected-text-missing")
    assert outcome.detail == (
        "The greeting lacks the text `mail.example.net`. The server said: +OK scripted POP3 ready"
    )
    assert outcome.greeting == "+OK scripted POP3 ready"


@pytest.mark.parametrize("script", ["error", "smtp", "nul", "flood", "close", "reset"])
def test_a_wrong_answer_does_not_wait_for_the_deadline(server: ScriptedServer, script: str) -> None:
    """An error line fails at once, though the deadline is a minute away."""
    outcome = probe(target(server.listen(script), max_test_seconds=60))
    assert outcome.error not in (None, ErrorCode.TIMED_OUT)


def test_response_code_is_shown(server: ScriptedServer) -> None:
    """The RFC 2449 response code is in the detail as the server wrote it."""
    outcome = probe(target(server.listen("error:[SYS/PERM] gone")))
    assert "[SYS/PERM] gone" in outcome.detail


def test_what_a_server_says_is_cleaned(server: ScriptedServer) -> None:
    """Escape sequences, bidi characters and line breaks do not leave the prober."""
    outcome = probe(target(server.listen("hostile")))
    assert outcome.greeting.isprintable()
    assert "\x1b" not in outcome.greeting


def test_bad_fields_fail_without_a_connection(server: ScriptedServer) -> None:
    """A target that cannot be used is an outcome like any other, with the field in reason and detail."""
    port = server.listen("healthy")
    outcome = probe(target(port, tls="ssl", max_test_seconds=2))
    assert (outcome.error, outcome.phase) == (ErrorCode.MISSING_FIELDS, Phase.CONFIGURATION)
    assert outcome.reason == "invalid-field: tls"
    assert "`tls`" in outcome.detail
    assert server.connections(port) == []
    assert probe(parse_target({"target_id": "x"})).reason == "missing-field: host"
    assert probe(parse_target({"target_id": "x", "host": "no name"})).reason == "invalid-field: host"


def test_ipv6_literal(server: ScriptedServer) -> None:
    """An IPv6 address is tested without a lookup."""
    outcome = probe(target(server.listen("healthy", host="::1"), host="::1"))
    assert outcome.passed
    assert outcome.address == "::1"


def test_addresses_are_tried_in_turn(server: ScriptedServer) -> None:
    """A name whose first addresses refuse passes by the one that answers, which the outcome names."""
    prober = Prober(resolver=resolver({"pop.test": ["127.0.0.1", "127.0.0.2", "127.0.0.3"]}))
    with closed_port() as port:
        server.listen("healthy", host="127.0.0.3", port=port)
        outcome = probe(target(port, host="pop.test"), prober)
    assert outcome.passed
    assert outcome.address == "127.0.0.3"
    assert outcome.dns_ms is not None


def test_all_addresses_refuse() -> None:
    """The detail has each address and its reason."""
    prober = Prober(resolver=resolver({"pop.test": ["127.0.0.1", "127.0.0.2"]}))
    with closed_port() as port:
        outcome = probe(target(port, host="pop.test"), prober)
    assert (outcome.error, outcome.reason) == (CANNOT_CONNECT, "refused")
    assert "127.0.0.1" in outcome.detail
    assert "127.0.0.2" in outcome.detail


def test_a_silent_address_does_not_hide_a_good_one(server: ScriptedServer) -> None:
    """While the first address does not answer the connect, the second is tried as well (RFC 8305)."""
    with blackhole() as (address, port):
        server.listen("healthy", host="127.0.0.3", port=port)
        prober = Prober(resolver=resolver({"pop.test": [address, "127.0.0.3"]}))
        outcome = probe(target(port, host="pop.test"), prober)
    assert outcome.passed
    assert outcome.address == "127.0.0.3"
    assert outcome.rtt_ms is not None
    assert outcome.rtt_source is RttSource.KERNEL
    assert outcome.rtt_ms < 240  # of the address that answered, without the 250 ms before it was tried


def test_addresses_are_raced_at_full_load(server: ScriptedServer) -> None:
    """The limit of tests at once does not keep a test from its second address."""
    with blackhole() as (address, port):
        server.listen("healthy", host="127.0.0.3", port=port)
        prober = Prober(resolver=resolver({"pop.test": [address, "127.0.0.3"]}), in_flight=1)
        assert probe(target(port, host="pop.test"), prober).passed


def test_the_first_connection_is_the_one(server: ScriptedServer) -> None:
    """An address that answers its connect after another one has answered is not used."""
    hole = blackhole()
    with hole as (address, port):
        server.listen("delay:2", host="127.0.0.3", port=port)
        prober = Prober(resolver=resolver({"pop.test": [address, "127.0.0.3"]}))
        targets = [target(port, host="pop.test"), target(server.listen("delay:0.5"), "opener")]
        outcomes: dict[str, Outcome] = {}
        for arrivals in prober.run(targets):
            outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
            if "opener" in outcomes:
                hole.open()
    assert outcomes["t"].passed, outcomes
    assert outcomes["t"].address == "127.0.0.3"


@pytest.mark.parametrize(
    ("addresses", "order"),
    [
        (("::1", "::2", "10.0.0.1"), ["::1", "10.0.0.1", "::2"]),
        (("10.0.0.1", "10.0.0.2", "::1", "::2"), ["10.0.0.1", "::1", "10.0.0.2", "::2"]),
        (("10.0.0.1", "::1", "::2", "::3"), ["10.0.0.1", "::1", "::2", "::3"]),
        (("::1",), ["::1"]),
        ((), []),
    ],
)
def test_families_take_turns(addresses: tuple[str, ...], order: list[str]) -> None:
    """An unreachable family costs one stagger, not one for each of its addresses (RFC 8305 section 4)."""
    assert interleave(addresses) == order


def test_a_race_waits_for_a_descriptor() -> None:
    """Without a descriptor for a second connection the second address is tried later."""
    with blackhole() as (address, port):
        loop = Mock(spec=Loop)
        probed = Probe(target(port, host="pop.test"), loop)
        probed.resolved(LookupResult(Name("pop.test"), (address, address)))
        loop.may_race.return_value = False
        loop.wake_at.reset_mock()
        now = time.monotonic()
        probed.on_timer(now)
        assert [call.args for call in loop.wake_at.call_args_list] == [(now + STAGGER_SECONDS, probed)]
        loop.may_race.return_value = True
        probed.on_timer(now)
        assert loop.register.call_count == 2
        probed.abandon()


@pytest.mark.parametrize("method", ["start", "resolved", "ready", pytest.param("on_timer", id="tick")])
def test_a_fault_of_the_prober_costs_one_test(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """The target whose test raises has no outcome; all others have theirs, and no descriptor stays open."""
    original = getattr(Probe, method)

    def fail(probed: Probe, *arguments: object) -> None:
        if probed.target.target_id == "bad":
            raise RuntimeError("unforeseen")
        original(probed, *arguments)

    monkeypatch.setattr(Probe, method, fail)
    names = {"good.test": ["127.0.0.1"], "bad.test": ["127.0.0.1"]}
    script = "silent" if method == "on_timer" else "healthy"
    bad = target(server.listen(script), "bad", host="bad.test", max_test_seconds=1)
    good = target(server.listen("healthy"), "good", host="good.test")
    before = descriptors()
    assert {name: found.passed for name, found in run(Prober(resolver=resolver(names)), [bad, good]).items()} == {
        "good": True
    }
    assert left_open(before) == []
    [record] = [record for record in caplog.records if record.name == "popwatch.prober.loop"]
    assert "'bad'" in record.getMessage()


def test_an_event_of_a_descriptors_former_socket_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor is used again while events are handled: an event still to come is of its former socket."""
    poller, first, second = Mock(), Mock(spec=Probe), Mock(spec=Probe)
    monkeypatch.setattr("popwatch.prober.loop.make_poller", lambda: poller)
    loop = _Loop(
        Mock(), Mock(), 1, allow_local=True, kernel_stamps=False, make_probe=Mock(), credentials={}, may_log_in=None
    )
    with socket.socket() as one, socket.socket() as other:
        loop.register(one, first)
        poller.wait.return_value = [(one.fileno(), READABLE), (other.fileno(), READABLE)]
        first.ready.side_effect = lambda *_: loop.register(other, second)
        loop._turn(time.monotonic())
        assert (first.ready.call_count, second.ready.call_count) == (1, 0)
        first.ready.side_effect = None
        loop._turn(time.monotonic())
        assert (first.ready.call_count, second.ready.call_count) == (2, 1)
    loop.close()


def test_connect_without_an_answer() -> None:
    """A connect without an answer is `cannot-connect`, not `timed-out`."""
    with blackhole() as (address, port):
        outcome = probe(target(port, host=address, max_test_seconds=1))
    assert (outcome.error, outcome.reason, outcome.phase) == (CANNOT_CONNECT, "connect-timed-out", Phase.CONNECT)


class blackhole:
    """A listener whose queue is full, so that connects to it get no answer."""

    def __enter__(self) -> tuple[str, int]:
        with closed_port() as port:  # free at the other addresses of the test too
            address = ("127.0.0.2", port)
            self._sockets = [socket.create_server(address, backlog=0)]
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self._sockets.append(filler)
        time.sleep(0.1)
        return address

    def open(self) -> None:
        """Accept the waiting connections; the next SYN, a repeated one too, then finds room in the queue."""
        self._sockets[0].setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._sockets.append(self._sockets[0].accept()[0])

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()


def test_only_ipv6_without_a_route() -> None:
    """A name with nothing but unreachable IPv6 addresses fails with its own reason and advice."""
    prober = Prober(resolver=resolver({"six.test": ["::1"]}), has_route=lambda *_: False)
    outcome = probe(target(110, host="six.test"), prober)
    assert (outcome.error, outcome.reason) == (CANNOT_CONNECT, "no-ipv6-route")
    assert "IPv6" in outcome.detail


def test_ipv6_is_passed_over_without_a_route(server: ScriptedServer) -> None:
    """Without a route for IPv6 the IPv4 address of the same name is tested."""
    port = server.listen("healthy")
    prober = Prober(resolver=resolver({"both.test": ["2001:db8::1", "127.0.0.1"]}), has_route=lambda *_: False)
    outcome = probe(target(port, host="both.test"), prober)
    assert outcome.passed
    assert outcome.address == "127.0.0.1"


@pytest.mark.parametrize(("family", "address"), [("ipv4", "127.0.0.1"), ("ipv6", "::1"), ("any", "::1")])
def test_family(server: ScriptedServer, family: str, address: str) -> None:
    """Only addresses of the target's family are tested, for each of two targets of the same name."""
    with closed_port() as port, ScriptedServer() as other:
        server.listen("healthy", host="127.0.0.1", port=port)
        other.listen("healthy", host="::1", port=port)
        names = resolver({"both.test": ["::1", "127.0.0.1"]})
        targets = [target(port, "mine", host="both.test", family=family), target(port, "other", host="both.test")]
        outcomes = run(Prober(resolver=names), targets)
    assert outcomes["mine"].address == address
    assert outcomes["other"].address == "::1"


def test_only_ipv6_is_wanted_without_a_route() -> None:
    """The outcome says that the target's field is the reason why no other address was used."""
    prober = Prober(resolver=resolver({"both.test": ["::1", "127.0.0.1"]}), has_route=lambda *_: False)
    outcome = probe(target(110, host="both.test", family="ipv6"), prober)
    assert (outcome.error, outcome.reason) == (CANNOT_CONNECT, "no-ipv6-route")
    assert outcome.detail.startswith("Only IPv6 is to be used")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::7f00:1",
        "2001:0:7f00:1::80ff:fffe",
        "fe80::1",
        "fe80::1%lo",
        "fd00:ec2::254",
    ],
)
@pytest.mark.parametrize("by_name", [True, False])
def test_addresses_of_the_own_machine_are_refused(address: str, by_name: bool) -> None:
    """By address as by a name that leads there, without a connection; the sentence names the parameter."""
    prober = Prober(resolver=resolver({"pop.test": [address]}), allow_local=False)
    outcome = probe(target(110, host="pop.test" if by_name else address.partition("%")[0]), prober)
    assert (outcome.error, outcome.reason) == (CANNOT_CONNECT, "forbidden-address")
    assert "AllowLocalTargets" in outcome.detail
    assert outcome.connect_ms is None


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.0.2.1", "172.16.1.1", "2001:db8::1", "fd12:3456::1", "64:ff9b::c000:201"]
)
def test_private_addresses_are_not_local(address: str) -> None:
    """A stack in a VPC tests private servers."""
    assert not is_local(address)


def test_only_what_is_allowed_is_connected_to() -> None:
    """Forbidden addresses of a name are skipped; the addresses that were checked are the ones that are used."""
    with blackhole() as (address, port):
        loop = Mock(spec=Loop)
        loop.allows.side_effect = lambda asked: asked == address
        probed = Probe(target(port, host="pop.test"), loop)
        probed.resolved(LookupResult(Name("pop.test"), ("127.0.0.9", address, "127.0.0.8")))
        [registered] = [call.args[0] for call in loop.register.call_args_list]
        assert registered.fileno() >= 0
        probed.on_timer(time.monotonic() + STAGGER_SECONDS)
        assert loop.register.call_count == 1
        probed.abandon()


@pytest.mark.parametrize(
    ("found", "reason"),
    [(NXDOMAIN, "no-such-name"), ([], "no-address-record"), (SERVFAIL, "dns-failure"), (SILENT, "dns-timed-out")],
)
def test_names_that_do_not_resolve(found: list[str] | int | str, reason: str) -> None:
    """A DNS failure is reported as one, with its own reason and a sentence."""
    with NameServer({"pop.test": found}) as names:
        outcome = probe(target(110, host="pop.test", max_test_seconds=2), Prober(resolver=names.resolver()))
    assert (outcome.error, outcome.phase, outcome.reason) == (NO_ADDRESS, Phase.DNS, reason)
    assert outcome.detail.endswith(".")


def test_silent_zones_affect_no_other_test(server: ScriptedServer) -> None:
    """100 of 500 names are never resolved: their targets time out, and all others pass, in less than their time."""
    port = server.listen("healthy")
    names = [f"{'stuck' if n % 5 == 0 else 'good'}-{n}.test" for n in range(500)]
    zone: Zone = {name: SILENT if name.startswith("stuck") else ["127.0.0.1"] for name in names}
    with NameServer(zone) as name_server:
        targets = [target(port, name, host=name, max_test_seconds=2.5) for name in names]
        outcomes = run(Prober(resolver=name_server.resolver(), has_route=lambda *_: False), targets)
    stuck = {name: outcome for name, outcome in outcomes.items() if name.startswith("stuck")}
    assert len(outcomes) == 500
    assert {(outcome.error, outcome.reason) for outcome in stuck.values()} == {(NO_ADDRESS, "dns-timed-out")}
    assert all(outcomes[name].passed for name in names if name not in stuck)


def test_a_name_is_resolved_once_in_a_run(server: ScriptedServer) -> None:
    """One lookup for many targets of a host."""
    port = server.listen("healthy")
    with NameServer({"pop.test": ["127.0.0.1"]}) as names:
        prober = Prober(resolver=names.resolver(), in_flight=4)
        outcomes = run(prober, [target(port, f"t{n}", host="pop.test") for n in range(20)])
        assert all(outcome.passed for outcome in outcomes.values())
        assert names.asked["pop.test", RecordType.A] == 1


def test_rtt_is_the_servers_by_the_kernels_clock(server: ScriptedServer) -> None:
    """The round-trip time ends when the greeting arrived, although the program read it 300 ms later."""
    port = server.listen("delay:0.1")
    late = server.listen("healthy")
    outcomes: dict[str, Outcome] = {}
    for arrivals in Prober().run([target(late, "first"), target(port, "slow")]):
        outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
        if "first" in outcomes and "slow" not in outcomes:
            time.sleep(0.4)
    greeted_at = server.connections(port)[-1]
    expected = (greeted_at.greeted_at - outcomes["slow"].started_at.timestamp()) * 1000
    assert outcomes["slow"].rtt_source is RttSource.KERNEL
    assert outcomes["slow"].rtt_ms == pytest.approx(expected, abs=30)


def test_rtt_by_the_loop_where_there_are_no_stamps(server: ScriptedServer) -> None:
    """Without kernel stamps the outcome says that the time is the loop's own."""
    outcome = probe(target(server.listen("delay:0.05")), Prober(kernel_stamps=False))
    assert outcome.rtt_source is RttSource.LOOP
    assert outcome.rtt_ms is not None
    assert outcome.rtt_ms >= 50


def test_a_late_loop_does_not_fail_a_good_server(server: ScriptedServer) -> None:
    """Servers that answered in time pass, although the loop read their answers after the deadline."""
    fast, slow = server.listen("healthy"), server.listen("delay:0.3")
    outcomes: dict[str, Outcome] = {}
    targets = [target(fast, "first")] + [target(slow, f"t{n}", max_test_seconds=1) for n in range(20)]
    for arrivals in Prober().run(targets):
        if not outcomes:
            time.sleep(1.5)
        outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
    assert all(outcome.passed for outcome in outcomes.values()), outcomes


def test_a_break_that_is_noticed_late_is_not_an_orderly_end(server: ScriptedServer) -> None:
    """A server greets and then resets, both before the loop reads: the greeting counts, and the reset is reported."""
    outcomes: dict[str, Outcome] = {}
    targets = [target(server.listen("healthy"), "first"), target(server.listen(r"reset:+OK ready\r\n"), "broken")]
    for arrivals in Prober().run(targets):
        if not outcomes:
            time.sleep(0.4)
        outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
    broken = outcomes["broken"]
    assert (broken.error, broken.reason, broken.phase) == (DISCONNECTED, "reset", Phase.QUIT)
    assert broken.greeting == "+OK ready"


def test_a_late_loop_gives_a_servers_time_back_once() -> None:
    """A deadline that a slow loop missed is extended once: a loop that is always late still ends its tests."""
    loop = Mock(spec=Loop)
    probed = Probe(target(110), loop)
    probed.extend_deadline(1.0)
    extended = probed.deadline
    probed.extend_deadline(1.0)
    assert probed.deadline == extended
    loop.wake_at.assert_called_once_with(extended, probed)


def test_end_by_leaves_out_what_would_not_fit(server: ScriptedServer) -> None:
    """A target whose own deadline is after `end_by` is not tested and has no outcome."""
    port = server.listen("healthy")
    targets = [target(port, "short", max_test_seconds=1), target(port, "long", max_test_seconds=60)]
    assert list(run(Prober(), targets, end_by=time.monotonic() + 5)) == ["short"]


def test_in_flight_is_bounded(server: ScriptedServer) -> None:
    """No more tests at once than asked for, and all targets are tested."""
    port = server.listen("delay:0.05")
    most = 0
    outcomes: dict[str, Outcome] = {}
    for arrivals in Prober(in_flight=10).run([target(port, f"t{n}") for n in range(60)]):
        most = max(most, open_descriptors(port))
        outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
    assert len(outcomes) == 60
    assert all(outcome.passed for outcome in outcomes.values())
    assert most <= 10


def test_tests_that_are_over_are_forgotten(server: ScriptedServer) -> None:
    """A probe is freed with its outcome, long before its deadline: memory grows only with the tests in flight."""
    healthy, silent = server.listen("healthy"), server.listen("silent")
    targets = [target(silent, "silent"), *(target(healthy, f"t{number}") for number in range(50))]
    run, arrived = Prober().run(targets), 0
    while arrived < 50:
        arrived += len(next(run))
    gc.collect()
    assert sum(isinstance(found, Probe) and found.target in targets for found in gc.get_objects()) == 1
    run.close()


def test_a_thousand_targets_with_a_lambdas_descriptors(server: ScriptedServer) -> None:
    """1,000 tests with the descriptors of a Lambda function: none fails for lack of descriptors."""
    port = server.listen("healthy")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this process may not have descriptors for servers and clients alike")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        outcomes = run(
            Prober(in_flight=MAX_IN_FLIGHT), [target(port, f"t{n}", max_test_seconds=20) for n in range(1000)]
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(outcomes) == 1000
    assert all(outcome.passed for outcome in outcomes.values())


def test_nothing_is_left_open(server: ScriptedServer) -> None:
    """A run closes every descriptor, also one that is interrupted."""
    ports = [server.listen(script) for script in ("healthy", "silent", "close", "refused")]
    targets = [target(port, str(port), max_test_seconds=1) for port in ports]
    prober = Prober()
    run(prober, targets)
    before = descriptors()
    for _ in range(3):
        run(prober, targets)
        interrupted = prober.run(targets)
        next(interrupted)
        interrupted.close()
    assert left_open(before) == []


def test_run_yields_while_nothing_comes(server: ScriptedServer) -> None:
    """The caller can do its own work at least once a second."""
    yields = list(Prober().run([target(server.listen("silent"), max_test_seconds=2.5)]))
    assert len(yields) >= 3
    assert [len(arrivals) for arrivals in yields][-1] == 1


def test_the_same_server_many_times(server: ScriptedServer) -> None:
    """Targets are independent, even if they have the same server."""
    ports = {script: server.listen(script) for script in ("healthy", "silent", "refused", "smtp")}
    targets = [target(port, f"{script}-{n}", max_test_seconds=1) for script, port in ports.items() for n in range(50)]
    outcomes = run(Prober(), targets)
    assert {name.split("-")[0]: outcome.passed for name, outcome in outcomes.items()} == {
        "healthy": True,
        "silent": False,
        "refused": False,
        "smtp": False,
    }


def open_descriptors(port: int) -> int:
    """Connections of this process to a port: its own ends, whose remote port it is."""
    established = "01"
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    rows = (line.split() for line in lines)
    return sum(row[3] == established and row[2].endswith(f":{port:04X}") for row in rows)


def outcomes_at(scripts: dict[str, str], *, every: bool, count: int = 1, in_flight: int | None = None) -> list[Outcome]:
    """Tests of one port at several loopback addresses, with a script at each."""
    names = resolver({"pop.example.net": list(scripts)})
    with ExitStack() as servers:
        port = servers.enter_context(closed_port())
        for address, script in scripts.items():
            servers.enter_context(ScriptedServer()).listen(script, host=address, port=port)
        fields: dict[str, Any] = {"host": "pop.example.net", "all_addresses": every}
        if "silent" in scripts.values():
            fields["max_test_seconds"] = 2
        targets = [target(port, f"t{number}", **fields) for number in range(count)]
        return list(run(Prober(resolver=names, in_flight=in_flight), targets).values())


FAULTS = {
    "refused": "refused",
    "close": "closed-before-greeting",
    "reset": "reset",
    "silent": "no-greeting",
    "error:[SYS/TEMP] later": "service-unavailable",
    "smtp": "smtp-greeting",
    "quit-error": "quit-refused",
}


class TestOneAddressSuffices:
    """A name passes if one of its addresses does, whether all of them are to be tested or not."""

    # A silent one takes two seconds with `all_addresses`, and `TestAllAddresses` has it.
    @pytest.mark.parametrize(
        ("script", "reason", "every"),
        [
            (*fault, every)
            for fault in FAULTS.items()
            for every in (True, False)
            if (fault[0], every) != ("silent", True)
        ],
    )
    @pytest.mark.parametrize("first", [True, False])
    def test_one_of_two_fails(self, script: str, reason: str, first: bool, every: bool) -> None:
        """Both ways agree, whichever address comes first, and whatever is wrong with the other one."""
        order = ("127.0.0.1", "127.0.0.2") if first else ("127.0.0.2", "127.0.0.1")
        scripts = {"127.0.0.1": script, "127.0.0.2": "healthy"}
        [outcome] = outcomes_at({address: scripts[address] for address in order}, every=every)
        assert outcome.passed, outcome
        assert outcome.address == "127.0.0.2"
        failed = (f"127.0.0.1: {reason}",)
        assert outcome.failed_addresses == (failed if every else ())
        # Without `all_addresses` the second is tried only after the first; a silent one has not failed yet by then.
        assert outcome.failed_first == (failed if first and not every and script != "silent" else ())

    @pytest.mark.parametrize("every", [True, False])
    def test_all_fail(self, every: bool) -> None:
        """The outcome is that of the address that got furthest, and names each."""
        [outcome] = outcomes_at({"127.0.0.1": "refused", "127.0.0.2": "close", "127.0.0.3": "smtp"}, every=every)
        failed = ("127.0.0.1: refused", "127.0.0.2: closed-before-greeting", "127.0.0.3: smtp-greeting")
        assert outcome.failed_addresses == failed
        assert outcome.detail == f"All 3 addresses fail. {'; '.join(failed)}."
        assert outcome.phase is Phase.GREETING

    def test_all_are_silent(self) -> None:
        """Each has its part of the one deadline, and the test ends with it."""
        began = time.monotonic()
        [outcome] = outcomes_at({f"127.0.0.{number}": "silent" for number in (1, 2, 3)}, every=False)
        assert time.monotonic() - began < 3.5
        assert outcome.failed_addresses == tuple(f"127.0.0.{number}: no-greeting" for number in (1, 2, 3))

    def test_a_slow_address_keeps_its_time(self) -> None:
        """The next address is tried as well after a part of the deadline; the first one may still pass."""
        [outcome] = outcomes_at({"127.0.0.1": "delay:1.3", "127.0.0.2": "silent"}, every=False)
        assert outcome.passed
        assert outcome.address == "127.0.0.1"

    def test_the_other_connection_is_closed(self) -> None:
        """What is still open when an address passes is closed at once."""
        before = descriptors()
        [outcome] = outcomes_at({"127.0.0.1": "silent", "127.0.0.2": "healthy"}, every=False)
        assert outcome.passed
        assert left_open(before) == []

    def test_silent_connects_are_named(self) -> None:
        """Addresses that do not answer the connect are named like others that fail."""
        with blackhole() as (address, port):
            prober = Prober(resolver=resolver({"pop.test": [address, "127.0.0.3"]}))
            outcome = probe(target(port, host="pop.test", max_test_seconds=1), prober)
        assert outcome.failed_addresses == (f"{address}: connect-timed-out", "127.0.0.3: connect-timed-out")


class TestManyAddresses:
    """A test connects to a bounded number of addresses, and says so."""

    def test_24_of_40_refuse(self) -> None:
        """The name does not pass whole: it is degraded, and the outcome says that not all were tested."""
        healthy = {f"127.0.0.{number}": "healthy" for number in range(1, 17)}
        refused = {f"127.0.0.{number}": "refused" for number in range(17, 41)}
        [outcome] = outcomes_at(healthy | refused, every=True)
        assert outcome.passed
        assert outcome.untested_addresses == 40 - MAX_ADDRESSES
        assert outcome.failed_addresses
        assert set(outcome.failed_addresses) <= {f"{address}: refused" for address in refused}

    @pytest.mark.parametrize("every", [True, False])
    def test_all_of_40_refuse(self, every: bool) -> None:
        """The detail counts them, as there is no room for each; the list has each."""
        [outcome] = outcomes_at({f"127.0.0.{number}": "refused" for number in range(1, 41)}, every=every)
        assert len(outcome.failed_addresses) == MAX_ADDRESSES
        assert outcome.detail == "All 16 tested addresses fail: 16 refused. 24 more were not tested."

    @pytest.mark.parametrize(("every", "script"), [(True, "healthy"), (False, "close")])
    def test_connections_are_bounded(self, server: ScriptedServer, every: bool, script: str) -> None:
        """The owner of a zone has no port scanner: no more connections than that, in either way."""
        names = resolver({"pop.test": [f"127.0.1.{number}" for number in range(1, 101)]})
        port = server.listen(script, host="0.0.0.0")
        outcome = probe(target(port, host="pop.test", all_addresses=every), Prober(resolver=names))
        assert outcome.untested_addresses == 100 - MAX_ADDRESSES
        assert len(server.connections(port)) == MAX_ADDRESSES

    def test_thousands_of_addresses_do_not_hold_up_other_tests(self) -> None:
        """To ask the kernel for a route to each would take tenths of a second."""
        asked: list[str] = []

        def has_route(address: str, _: int) -> bool:
            asked.append(address)
            return False

        names = resolver({"pop.test": [f"2001:db8::{number:x}" for number in range(1, 4001)]})
        outcome = probe(target(110, host="pop.test"), Prober(resolver=names, has_route=has_route))
        assert outcome.reason == "no-ipv6-route"
        assert len(asked) <= MAX_CONSIDERED + 1  # and the one that says whether names are asked for IPv6

    @given(st.sets(st.ip_addresses().map(str), max_size=60), st.randoms())
    def test_the_same_are_tested_each_time(self, addresses: set[str], random: Random) -> None:
        """Whatever the order of the name server's answer; both families; in the order of RFC 8305."""
        order = sorted(addresses)
        random.shuffle(order)
        chosen = choose(order)
        assert len(chosen) == min(len(addresses), MAX_ADDRESSES)
        assert set(chosen) == set(choose(sorted(addresses)))
        assert chosen == [address for address in interleave(order) if address in chosen]
        assert {":" in address for address in chosen} == {":" in address for address in addresses}


class TestAllAddresses:
    """Every address of a host is tested, and the outcome covers all of them."""

    def run(self, scripts: dict[str, str], count: int = 1, in_flight: int | None = None) -> list[Outcome]:
        """Tests with `all_addresses`."""
        return outcomes_at(scripts, every=True, count=count, in_flight=in_flight)

    def test_all_pass(self) -> None:
        """All addresses pass."""
        [outcome] = self.run({"127.0.0.1": "healthy", "127.0.0.2": "healthy", "127.0.0.3": "healthy"})
        assert outcome.passed
        assert outcome.failed_addresses == ()

    @pytest.mark.parametrize(("script", "reason"), [("refused", "refused"), ("silent", "no-greeting")])
    def test_some_fail(self, script: str, reason: str) -> None:
        """Passed, with each failing address and its reason; it makes no difference if the first address fails."""
        [outcome] = self.run({"127.0.0.1": script, "127.0.0.2": "healthy", "127.0.0.3": script})
        assert outcome.passed
        assert outcome.address == "127.0.0.2"
        assert outcome.failed_addresses == (f"127.0.0.1: {reason}", f"127.0.0.3: {reason}")

    def test_all_fail(self) -> None:
        """Failed, with every address in the detail."""
        [outcome] = self.run({"127.0.0.1": "silent", "127.0.0.2": "refused"})
        assert not outcome.passed
        assert "127.0.0.1: no-greeting; 127.0.0.2: refused" in outcome.detail

    def test_one_address_is_an_ordinary_test(self, server: ScriptedServer) -> None:
        """A name with one address, or an address itself."""
        [outcome] = self.run({"127.0.0.1": "healthy"})
        assert outcome.passed
        assert probe(target(server.listen("healthy"), all_addresses=True)).passed

    def test_many_hosts_with_many_addresses_leave_descriptors(self) -> None:
        """Further addresses wait for descriptors and do not fail for lack of them."""
        outcomes = self.run({f"127.0.0.{number}": "healthy" for number in range(1, 9)}, count=40, in_flight=5)
        assert len(outcomes) == 40
        assert all(outcome.passed and not outcome.failed_addresses for outcome in outcomes)
