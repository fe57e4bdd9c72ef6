"""The prober against scripted servers over real sockets: what each trouble is called, and that it harms nobody."""

import gc
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from unittest.mock import Mock

import pytest

from popwatch.model.outcomes import ErrorCode, Outcome, Phase, RttSource
from popwatch.model.targets import Target, parse_target
from popwatch.prober.addresses import is_local
from popwatch.prober.loop import MOST_IN_FLIGHT, Prober, _Loop, probe
from popwatch.prober.poller import READABLE
from popwatch.prober.probe import STAGGER_SECONDS, Loop, Probe
from popwatch.prober.resolver import Answer, Names, interleave
from popwatch_cli.local.scripted_pop3 import ScriptedServer

CANNOT_CONNECT, NO_ADDRESS = ErrorCode.CANNOT_CONNECT, ErrorCode.NO_ADDRESS
TIMED_OUT, DISCONNECTED, PROTOCOL = ErrorCode.TIMED_OUT, ErrorCode.DISCONNECTED, ErrorCode.PROTOCOL


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


def target(port: int, name: str = "t", **fields: Any) -> Target:
    return parse_target({"target_id": name, "host": "127.0.0.1", "port": port, "max_test_seconds": 2, **fields})


def run(prober: Prober, targets: list[Target], **options: Any) -> dict[str, Outcome]:
    return {tested.target_id: outcome for arrivals in prober.run(targets, **options) for tested, outcome in arrivals}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resolver(names: dict[str, list[str]]) -> Callable[[str], list[str]]:
    def resolve(host: str) -> list[str]:
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return names[host]

    return resolve


def test_healthy(server: ScriptedServer) -> None:
    """A pass: every phase timed, the greeting and the address kept, QUIT said."""
    port = server.listen("healthy")
    outcome = probe(target(port))
    assert outcome.passed
    assert (outcome.phase, outcome.reason, outcome.message) == (Phase.QUIT, "", "")
    assert (outcome.address, outcome.greeting) == ("127.0.0.1", "+OK scripted POP3 ready")
    times = (outcome.rtt_ms, outcome.connect_ms, outcome.greeting_ms, outcome.quit_ms)
    assert all(time is not None and 0 <= time < 2000 for time in times)
    assert outcome.dns_ms is None
    assert server.connections(port)[0].quit


@pytest.mark.parametrize(
    ("script", "fields"),
    [
        ("healthy", {"greeting": ["READY"]}),
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
    """What is odd but within the rules, or within those of the target, passes."""
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
    """Every kind of trouble has its error, its reason and the phase in which it came."""
    outcome = probe(target(server.listen(script), max_test_seconds=1))
    assert (outcome.error, outcome.phase, outcome.reason) == (error, phase, reason), outcome
    assert outcome.detail


@pytest.mark.parametrize("script", ["error", "smtp", "nul", "flood", "close", "reset"])
def test_a_wrong_answer_does_not_wait_for_the_deadline(server: ScriptedServer, script: str) -> None:
    """An error line fails at once: the test ends though the deadline is a minute away and pytest's nearer."""
    assert not probe(target(server.listen(script), max_test_seconds=60)).passed


def test_response_code_is_shown(server: ScriptedServer) -> None:
    """The RFC 2449 response code stands in the detail, as the server wrote it."""
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
    """An IPv6 address is tested as it is."""
    outcome = probe(target(server.listen("healthy", host="::1"), host="::1"))
    assert outcome.passed
    assert outcome.address == "::1"


def test_addresses_are_tried_in_turn(server: ScriptedServer) -> None:
    """A name whose first addresses refuse passes by the one that answers, which the outcome names."""
    port = server.listen("healthy", host="127.0.0.3")
    prober = Prober(resolve=resolver({"pop.test": ["127.0.0.1", "127.0.0.2", "127.0.0.3"]}))
    outcome = probe(target(port, host="pop.test"), prober)
    assert outcome.passed
    assert outcome.address == "127.0.0.3"
    assert outcome.dns_ms is not None


def test_all_addresses_refuse(server: ScriptedServer) -> None:
    """The detail tells each address and what became of it."""
    port = server.listen("refused")
    prober = Prober(resolve=resolver({"pop.test": ["127.0.0.1", "127.0.0.2"]}))
    outcome = probe(target(port, host="pop.test"), prober)
    assert (outcome.error, outcome.reason) == (CANNOT_CONNECT, "refused")
    assert "127.0.0.1" in outcome.detail
    assert "127.0.0.2" in outcome.detail


def test_a_silent_address_does_not_hide_a_good_one(server: ScriptedServer) -> None:
    """While the first address does not answer the connect, the second is tried beside it (RFC 8305)."""
    with blackhole() as (address, port):
        server.listen("healthy", host="127.0.0.3", port=port)
        prober = Prober(resolve=resolver({"pop.test": [address, "127.0.0.3"]}))
        outcome = probe(target(port, host="pop.test", max_test_seconds=5), prober)
    assert outcome.passed
    assert outcome.address == "127.0.0.3"
    assert outcome.rtt_ms is not None
    assert outcome.rtt_ms < 240  # of the address that answered, without the 250 ms before it was tried


def test_addresses_are_raced_in_a_full_house(server: ScriptedServer) -> None:
    """The bound on tests at once does not keep a test from its second address."""
    with blackhole() as (address, port):
        server.listen("healthy", host="127.0.0.3", port=port)
        prober = Prober(resolve=resolver({"pop.test": [address, "127.0.0.3"]}), in_flight=1)
        assert probe(target(port, host="pop.test", max_test_seconds=5), prober).passed


def test_the_first_connection_is_the_one(server: ScriptedServer) -> None:
    """An address that answers its connect after another one has done so is left alone."""
    hole = blackhole()
    with hole as (address, port):
        server.listen("delay:2", host="127.0.0.3", port=port)
        prober = Prober(resolve=resolver({"pop.test": [address, "127.0.0.3"]}))
        targets = [target(port, host="pop.test", max_test_seconds=6), target(server.listen("delay:0.5"), "opener")]
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
    """A family that is cut off costs one stagger, not one for each of its addresses (RFC 8305 section 4)."""
    assert interleave(addresses) == order


def test_a_race_waits_for_a_descriptor() -> None:
    """Where there is no descriptor for a second connection the second address's turn comes later."""
    with blackhole() as (address, port):
        loop = Mock(spec=Loop)
        probed = Probe(target(port, host="pop.test"), loop)
        probed.resolved(Answer("pop.test", (address, address)))
        loop.may_race.return_value = False
        loop.wake_at.reset_mock()
        now = time.monotonic()
        probed.tick(now)
        assert [call.args for call in loop.wake_at.call_args_list] == [(now + STAGGER_SECONDS, probed)]
        loop.may_race.return_value = True
        probed.tick(now)
        assert loop.watch.call_count == 2
        probed.abandon()


@pytest.mark.parametrize("moment", ["start", "resolved", "ready", "tick"])
def test_a_fault_of_the_prober_costs_one_test(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    """A target whose test meets it has no outcome; all others have theirs, and nothing stays open."""
    tell = getattr(Probe, moment)

    def fail(probed: Probe, *arguments: object) -> None:
        if probed.target.target_id == "bad":
            raise RuntimeError("unforeseen")
        tell(probed, *arguments)

    monkeypatch.setattr(Probe, moment, fail)
    names = {"good.test": ["127.0.0.1"], "bad.test": ["127.0.0.1"]}
    script = "silent" if moment == "tick" else "healthy"
    bad = target(server.listen(script), "bad", host="bad.test", max_test_seconds=1)
    good = target(server.listen("healthy"), "good", host="good.test")
    before = descriptors()
    assert {name: found.passed for name, found in run(Prober(resolve=resolver(names)), [bad, good]).items()} == {
        "good": True
    }
    end = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < end:  # the server has its own of each connection
        time.sleep(0.01)
    assert descriptors() <= before
    [record] = [record for record in caplog.records if record.name == "popwatch.prober.loop"]
    assert "'bad'" in record.getMessage()


def test_a_report_for_a_descriptors_former_socket_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor that is taken anew, while reports are told, has a report behind it that is not of its socket."""
    poller, first, second = Mock(), Mock(spec=Probe), Mock(spec=Probe)
    monkeypatch.setattr("popwatch.prober.loop.make_poller", lambda: poller)
    loop = _Loop(Mock(), Mock(), 1, allow_local=True, kernel_stamps=False)
    with socket.socket() as one, socket.socket() as other:
        loop.watch(one, first)
        poller.wait.return_value = [(one.fileno(), READABLE), (other.fileno(), READABLE)]
        first.ready.side_effect = lambda *_: loop.watch(other, second)
        loop._turn(time.monotonic())
        assert (first.ready.call_count, second.ready.call_count) == (1, 0)
        first.ready.side_effect = None
        loop._turn(time.monotonic())
        assert (first.ready.call_count, second.ready.call_count) == (2, 1)
    loop.close()


def test_connect_that_nobody_answers() -> None:
    """A connect without an answer is no connection, rather than a late response."""
    with blackhole() as (address, port):
        outcome = probe(target(port, host=address, max_test_seconds=1))
    assert (outcome.error, outcome.reason, outcome.phase) == (CANNOT_CONNECT, "connect-timed-out", Phase.CONNECT)


class blackhole:
    """A listener whose queue is full, so that connects to it get no answer."""

    def __enter__(self) -> tuple[str, int]:
        self._sockets = [socket.create_server(("127.0.0.2", 0), backlog=0)]
        address = self._sockets[0].getsockname()
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self._sockets.append(filler)
        time.sleep(0.1)
        return "127.0.0.2", address[1]

    def open(self) -> None:
        """Accept those that wait; the next connect, or what is sent again of an earlier one, finds room."""
        self._sockets[0].setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._sockets.append(self._sockets[0].accept()[0])

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()


def test_only_ipv6_without_a_route() -> None:
    """A name with nothing but unreachable IPv6 addresses fails with its own reason and advice."""
    prober = Prober(resolve=resolver({"six.test": ["::1"]}), has_route=lambda *_: False)
    outcome = probe(target(110, host="six.test"), prober)
    assert (outcome.error, outcome.reason) == (CANNOT_CONNECT, "no-ipv6-route")
    assert "IPv6" in outcome.detail


def test_ipv6_is_passed_over_without_a_route(server: ScriptedServer) -> None:
    """Where there is no route for IPv6, the IPv4 address of the same name is tested."""
    port = server.listen("healthy")
    prober = Prober(resolve=resolver({"both.test": ["2001:db8::1", "127.0.0.1"]}), has_route=lambda *_: False)
    outcome = probe(target(port, host="both.test"), prober)
    assert outcome.passed
    assert outcome.address == "127.0.0.1"


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
    prober = Prober(resolve=resolver({"pop.test": [address]}), allow_local=False)
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
    """Of a name's addresses the forbidden ones are passed over; those that were checked are those that are used."""
    with blackhole() as (address, port):
        loop = Mock(spec=Loop)
        loop.allows.side_effect = lambda asked: asked == address
        probed = Probe(target(port, host="pop.test"), loop)
        probed.resolved(Answer("pop.test", ("127.0.0.9", address, "127.0.0.8")))
        [watched] = [call.args[0] for call in loop.watch.call_args_list]
        assert watched.fileno() >= 0
        probed.tick(time.monotonic() + STAGGER_SECONDS)
        assert loop.watch.call_count == 1
        probed.abandon()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "no-such-name"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "dns-failure"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "dns-error"),
        (OSError("no more memory"), "dns-error"),
        (UnicodeError("label too long"), "dns-error"),
    ],
)
def test_names_that_do_not_resolve(failure: Exception, reason: str) -> None:
    """A DNS failure is told as one, never masked by an older address."""

    def resolve(_: str) -> list[str]:
        raise failure

    outcome = probe(target(110, host="gone.test"), Prober(resolve=resolve))
    assert (outcome.error, outcome.phase, outcome.reason) == (NO_ADDRESS, Phase.DNS, reason)


def test_a_name_without_addresses() -> None:
    """A resolver that finds nothing has found no address."""
    outcome = probe(target(110, host="empty.test"), Prober(resolve=lambda _: []))
    assert (outcome.error, outcome.reason) == (NO_ADDRESS, "no-address-record")


def test_a_stuck_resolver_harms_nobody_else(server: ScriptedServer) -> None:
    """100 names that never resolve among 500 targets cost their own targets the deadline, and nobody else anything."""
    release = threading.Event()

    def resolve(host: str) -> list[str]:
        if host.startswith("stuck"):
            release.wait(30)
        return ["127.0.0.1"]

    port = server.listen("healthy")
    names = [f"{'stuck' if n % 5 == 0 else 'good'}-{n}" for n in range(500)]
    outcomes = run(
        Prober(resolve=resolve), [target(port, name, host=f"{name}.test", max_test_seconds=4) for name in names]
    )
    release.set()
    stuck = {name: outcome for name, outcome in outcomes.items() if name.startswith("stuck")}
    assert len(outcomes) == 500
    assert {(outcome.error, outcome.reason) for outcome in stuck.values()} == {(NO_ADDRESS, "dns-timed-out")}
    assert all(outcomes[name].passed for name in names if name not in stuck)


def test_names_in_turn_share_a_thread() -> None:
    """A thread that has found its answer takes the next name; only stuck ones make more threads come."""
    answers: SimpleQueue[Answer] = SimpleQueue()
    threads: set[int] = set()

    def resolve(_: str) -> list[str]:
        threads.add(threading.get_ident())
        return ["127.0.0.1"]

    names = Names(resolve)
    for number in range(50):
        names.look_up(f"{number}.test", answers.put)
        assert answers.get(timeout=10).host == f"{number}.test"
    assert len(threads) == 1


def test_no_thread_for_a_name_harms_nobody_else(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads, names are not resolved; addresses are tested all the same."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    port = server.listen("healthy")
    targets = [target(port, "named", host="pop.test", max_test_seconds=1), target(port, "numbered")]
    monkeypatch.setattr(threading.Thread, "start", start)
    outcomes = run(Prober(resolve=lambda _: ["127.0.0.1"]), targets)
    assert outcomes["named"].reason == "dns-timed-out"
    assert outcomes["numbered"].passed


def test_a_name_is_resolved_once_in_a_run_and_anew_in_the_next(server: ScriptedServer) -> None:
    """Many targets of one host ask once; the next run asks again, so an old address never masks a DNS failure."""
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    port = server.listen("healthy")
    prober = Prober(resolve=resolve, in_flight=4)
    for count in (1, 2):
        outcomes = run(prober, [target(port, f"t{n}", host="pop.test") for n in range(20)])
        assert all(outcome.passed for outcome in outcomes.values())
        assert len(asked) == count


def test_rtt_is_the_servers_by_the_kernels_clock(server: ScriptedServer) -> None:
    """The round-trip time ends when the greeting arrived, though the program looked 300 ms later."""
    port = server.listen("delay:0.1")
    late = server.listen("healthy")
    outcomes: dict[str, Outcome] = {}
    for arrivals in Prober().run([target(late, "first"), target(port, "slow")]):
        outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
        if "first" in outcomes and "slow" not in outcomes:
            time.sleep(0.4)
    greeted_at = server.connections(port)[-1]
    truth = (greeted_at.greeted_at - outcomes["slow"].started_at.timestamp()) * 1000
    assert outcomes["slow"].rtt_source is RttSource.KERNEL
    assert outcomes["slow"].rtt_ms == pytest.approx(truth, abs=30)


def test_rtt_by_the_loop_where_there_are_no_stamps(server: ScriptedServer) -> None:
    """Without kernel stamps the outcome says that the time is the loop's own."""
    outcome = probe(target(server.listen("delay:0.05")), Prober(kernel_stamps=False))
    assert outcome.rtt_source is RttSource.LOOP
    assert outcome.rtt_ms is not None
    assert outcome.rtt_ms >= 50


def test_a_late_loop_makes_no_good_server_bad(server: ScriptedServer) -> None:
    """Servers that answered in time pass, though nobody looked until their deadline was over."""
    fast, slow = server.listen("healthy"), server.listen("delay:0.3")
    outcomes: dict[str, Outcome] = {}
    targets = [target(fast, "first")] + [target(slow, f"t{n}", max_test_seconds=1) for n in range(20)]
    for arrivals in Prober().run(targets):
        if not outcomes:
            time.sleep(1.5)
        outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
    assert all(outcome.passed for outcome in outcomes.values()), outcomes


def test_a_break_that_is_noticed_late_is_no_orderly_end(server: ScriptedServer) -> None:
    """A server that greets and then resets, both before the loop looks: the greeting counts, and the reset is told."""
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
    """A deadline that was missed by the loop's own fault moves, and a loop that is always late still ends its tests."""
    loop = Mock(spec=Loop)
    probed = Probe(target(110), loop)
    probed.put_off_deadline(1.0)
    put_off_to = probed.deadline
    probed.put_off_deadline(1.0)
    assert probed.deadline == put_off_to
    loop.wake_at.assert_called_once_with(put_off_to, probed)


def test_end_by_leaves_out_what_would_not_fit(server: ScriptedServer) -> None:
    """A target whose own deadline lies beyond `end_by` is not begun and yields nothing."""
    port = server.listen("healthy")
    targets = [target(port, "short", max_test_seconds=1), target(port, "long", max_test_seconds=60)]
    assert list(run(Prober(), targets, end_by=time.monotonic() + 5)) == ["short"]


def test_in_flight_is_bounded(server: ScriptedServer) -> None:
    """No more tests at once than asked for; all are made in the end."""
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
    """What is kept of a test goes with its outcome, long before its deadline: memory grows with the tests under way."""
    healthy, silent = server.listen("healthy"), server.listen("silent")
    targets = [target(silent, "silent"), *(target(healthy, f"t{number}") for number in range(50))]
    run, arrived = Prober().run(targets), 0
    while arrived < 50:
        arrived += len(next(run))
    gc.collect()
    assert sum(isinstance(found, Probe) and found.target in targets for found in gc.get_objects()) == 1
    run.close()


def test_a_thousand_targets_with_a_lambdas_descriptors(server: ScriptedServer) -> None:
    """1,000 tests of silent servers in a process with 1,024 descriptors: bounded, all failed alike, none for want of
    descriptors."""
    port = server.listen("healthy")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this process may not have descriptors for servers and clients alike")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        outcomes = run(
            Prober(in_flight=MOST_IN_FLIGHT), [target(port, f"t{n}", max_test_seconds=20) for n in range(1000)]
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(outcomes) == 1000
    assert all(outcome.passed for outcome in outcomes.values())


def test_nothing_is_left_open(server: ScriptedServer) -> None:
    """A run gives back every descriptor, also one that is broken off."""
    ports = [server.listen(script) for script in ("healthy", "silent", "close", "refused")]
    targets = [target(port, str(port), max_test_seconds=1) for port in ports]
    prober = Prober()
    run(prober, targets)
    before = descriptors()
    for _ in range(3):
        run(prober, targets)
        broken_off = prober.run(targets)
        next(broken_off)
        broken_off.close()
    time.sleep(0.3)  # the server's own ends of the connections
    assert descriptors() <= before


def test_run_yields_while_nothing_comes(server: ScriptedServer) -> None:
    """The caller gets to do its own work at least once a second."""
    yields = list(Prober().run([target(server.listen("silent"), max_test_seconds=2.5)]))
    assert len(yields) >= 3
    assert [len(arrivals) for arrivals in yields][-1] == 1


def test_the_same_server_many_times(server: ScriptedServer) -> None:
    """Targets are independent, though they name the same server."""
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
    """Connections of this process to a port: its own ends, which have the port as their remote one."""
    established = "01"
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    rows = (line.split() for line in lines)
    return sum(row[3] == established and row[2].endswith(f":{port:04X}") for row in rows)


class TestAllAddresses:
    """Every address of a host is tested, and the outcome is of them all."""

    def run(self, scripts: dict[str, str], count: int = 1, in_flight: int | None = None) -> list[Outcome]:
        """Tests of one port at several loopback addresses, with a script at each."""
        names, port = resolver({"pop.example.net": list(scripts)}), 0
        with ExitStack() as servers:
            for address, script in scripts.items():
                port = servers.enter_context(ScriptedServer()).listen(script, host=address, port=port)
            fleet = [target(port, f"t{it}", host="pop.example.net", all_addresses=True) for it in range(count)]
            return list(run(Prober(resolve=names, in_flight=in_flight), fleet).values())

    def test_all_pass(self) -> None:
        """A plain pass."""
        [outcome] = self.run({"127.0.0.1": "healthy", "127.0.0.2": "healthy", "127.0.0.3": "healthy"})
        assert outcome.passed
        assert outcome.failed_addresses == ()

    @pytest.mark.parametrize(("script", "reason"), [("refused", "refused"), ("silent", "no-greeting")])
    def test_some_fail(self, script: str, reason: str) -> None:
        """Passed, with each failing address and why; the first address failing makes no difference."""
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
        """Further addresses wait for descriptors rather than fail for lack of them."""
        outcomes = self.run({f"127.0.0.{number}": "healthy" for number in range(1, 9)}, count=40, in_flight=5)
        assert len(outcomes) == 40
        assert all(outcome.passed and not outcome.failed_addresses for outcome in outcomes)
