"""TLS, implicit and by STLS: verified as a mail client does, and every way in which it fails has its own reason."""

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trustme

from popwatch.model.outcomes import ErrorCode, Outcome, Phase, RttSource
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober, probe
from popwatch_cli.local.scripted_pop3 import ScriptedServer

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


def server_context(authority: trustme.CA = AUTHORITY, name: str = "127.0.0.1", **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


def target(port: int, tls: str, **fields: Any) -> Target:
    own = {"ca_pem": AUTHORITY.cert_pem.bytes().decode(), "max_test_seconds": 2}
    return parse_target({"target_id": "t", "host": "127.0.0.1", "port": port, "tls": tls, **own, **fields})


def one(port: int, tls: str, **fields: Any) -> Outcome:
    return probe(target(port, tls, **fields))


def listen(server: ScriptedServer, tls: str, script: str = "healthy", context: ssl.SSLContext | None = None) -> int:
    found = context or server_context()
    return server.listen(script, tls=found) if tls == "implicit" else server.listen(script, stls=found)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_healthy(server: ScriptedServer, tls: str, version: ssl.TLSVersion) -> None:
    """A pass with version, certificate's end and stamped rtt; TLS 1.3's tickets before the greeting do no harm."""
    context = server_context()
    context.minimum_version = context.maximum_version = version
    outcome = one(listen(server, tls, context=context), tls)
    assert outcome.passed, outcome
    assert outcome.tls_version == version.name.replace("_", ".")
    assert outcome.tls_ms is not None
    assert outcome.rtt_source is RttSource.KERNEL
    assert outcome.certificate_expires is not None
    assert outcome.certificate_expires > datetime.datetime.now(datetime.UTC)


def test_the_certificates_end_is_the_one_in_it(server: ScriptedServer) -> None:
    """The day on which the certificate ends is read from it, verified or not."""
    end = datetime.datetime(2031, 5, 17, 4, 5, 6, tzinfo=datetime.UTC)
    port = listen(server, "implicit", context=server_context(not_after=end))
    assert one(port, "implicit").certificate_expires == end
    assert one(port, "implicit", verify_tls=False, ca_pem="").certificate_expires == end


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (
            server_context(not_before=LONG_AGO, not_after=LONG_AGO + datetime.timedelta(days=90)),
            "tls-certificate-expired",
        ),
        (
            server_context(
                not_before=datetime.datetime(2035, 1, 1, tzinfo=datetime.UTC),
                not_after=datetime.datetime(2036, 1, 1, tzinfo=datetime.UTC),
            ),
            "tls-certificate-not-yet-valid",
        ),
        (server_context(name="pop.example.net"), "tls-name-mismatch"),
        (server_context(trustme.CA()), "tls-untrusted"),
    ],
    ids=["expired", "not-yet-valid", "name", "untrusted"],
)
def test_bad_certificates(server: ScriptedServer, tls: str, context: ssl.SSLContext, reason: str) -> None:
    """Each fault of a certificate is told apart; `verify_tls: false` lets all of them pass."""
    port = listen(server, tls, context=context)
    outcome = one(port, tls)
    assert (outcome.error, outcome.phase, outcome.reason) == (ErrorCode.PROTOCOL, Phase.TLS, reason), outcome
    assert one(port, tls, verify_tls=False).passed


def test_public_roots_do_not_know_a_private_authority(server: ScriptedServer) -> None:
    """Without `ca_pem` the public roots decide."""
    assert one(listen(server, "implicit"), "implicit", ca_pem="").reason == "tls-untrusted"


def test_name_for_a_host_given_as_an_address(server: ScriptedServer) -> None:
    """`tls_name` is what is asked for (SNI) and what the certificate must bear."""
    asked: list[str | None] = []
    context = server_context(name="pop.example.net")
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    outcome = one(listen(server, "implicit", context=context), "implicit", tls_name="pop.example.net")
    assert outcome.passed, outcome
    assert asked == ["pop.example.net"]


def test_a_certificate_for_another_name(server: ScriptedServer) -> None:
    """A name that the certificate does not bear is told as such, as an address is."""
    port = listen(server, "implicit", context=server_context(name="pop.example.net"))
    assert one(port, "implicit", tls_name="pop.example.com").reason == "tls-name-mismatch"


def test_an_authority_that_cannot_be_read_is_a_bad_field(server: ScriptedServer) -> None:
    """`ca_pem` that OpenSSL refuses is told as the configuration's fault, without a connection."""
    port = listen(server, "implicit")
    bad = "-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n"
    outcome = one(port, "implicit", ca_pem=bad)
    assert (outcome.error, outcome.reason) == (ErrorCode.MISSING_FIELDS, "invalid-field: ca_pem")
    assert server.connections(port) == []


@pytest.mark.parametrize(
    ("script", "error", "phase", "reason"),
    [
        ("healthy", ErrorCode.PROTOCOL, Phase.TLS, "plain-text-on-tls-port"),
        ("smtp", ErrorCode.PROTOCOL, Phase.TLS, "plain-text-on-tls-port"),
        ("http", ErrorCode.PROTOCOL, Phase.TLS, "plain-text-on-tls-port"),
        ("tls-alert", ErrorCode.PROTOCOL, Phase.TLS, "tls-handshake-failed"),
        ("silent", ErrorCode.TIMED_OUT, Phase.TLS, "no-tls-answer"),
        ("half-close", ErrorCode.DISCONNECTED, Phase.TLS, "closed-in-tls-handshake"),
        ("reset", ErrorCode.DISCONNECTED, Phase.TLS, "reset"),
        ("flood", ErrorCode.PROTOCOL, Phase.TLS, "plain-text-on-tls-port"),
    ],
)
def test_what_is_no_tls(server: ScriptedServer, script: str, error: ErrorCode, phase: Phase, reason: str) -> None:
    """A server that does not speak TLS on the port, or speaks it badly."""
    outcome = one(server.listen(script), "implicit", max_test_seconds=1)
    assert (outcome.error, outcome.phase, outcome.reason) == (error, phase, reason), outcome


@pytest.mark.parametrize(
    ("script", "error", "phase", "reason"),
    [
        ("stls-refused", ErrorCode.PROTOCOL, Phase.STLS, "stls-refused"),
        ("stls-injection", ErrorCode.PROTOCOL, Phase.TLS, "stls-injection"),
        ("stls-garbage", ErrorCode.PROTOCOL, Phase.TLS, "plain-text-on-tls-port"),
        ("quit-silent", ErrorCode.TIMED_OUT, Phase.STLS, "no-stls-reply"),
        ("quit-close", ErrorCode.DISCONNECTED, Phase.STLS, "closed-before-stls-reply"),
        ("error", ErrorCode.PROTOCOL, Phase.GREETING, "service-unavailable"),
    ],
)
def test_stls_that_fails(server: ScriptedServer, script: str, error: ErrorCode, phase: Phase, reason: str) -> None:
    """What can go wrong between the greeting and TLS."""
    outcome = one(server.listen(script), "starttls", max_test_seconds=1)
    assert (outcome.error, outcome.phase, outcome.reason) == (error, phase, reason), outcome


@pytest.mark.parametrize(
    ("script", "error", "reason"),
    [
        ("silent", ErrorCode.TIMED_OUT, "no-greeting"),
        ("quit-silent", ErrorCode.TIMED_OUT, "no-quit-reply"),
        ("quit-close", ErrorCode.DISCONNECTED, "closed-before-quit-reply"),
        ("close", ErrorCode.DISCONNECTED, "closed-before-greeting"),
        ("error", ErrorCode.PROTOCOL, "service-unavailable"),
        ("flood", ErrorCode.PROTOCOL, "overlong-line"),
        ("reset", ErrorCode.DISCONNECTED, "reset"),
        ("reset:+OK rea", ErrorCode.DISCONNECTED, "reset"),
        ("cut", ErrorCode.DISCONNECTED, "closed-before-greeting"),
        ("cut:+OK rea", ErrorCode.DISCONNECTED, "closed-mid-line"),
        (r"cut:+OK ready\r\n", ErrorCode.DISCONNECTED, "closed-before-quit-reply"),
    ],
)
def test_trouble_inside_tls(server: ScriptedServer, script: str, error: ErrorCode, reason: str) -> None:
    """The conversation's own failures are the same behind TLS."""
    outcome = one(listen(server, "implicit", script), "implicit", max_test_seconds=1)
    assert (outcome.error, outcome.reason) == (error, reason), outcome


def test_quit_behind_stls_need_not_be_answered(server: ScriptedServer) -> None:
    """With `check_quit: false` QUIT is said inside TLS too, and its reply is not waited for."""
    port = listen(server, "starttls", "quit-silent-in-tls")
    assert one(port, "starttls", max_test_seconds=1).reason == "no-quit-reply"
    assert one(port, "starttls", max_test_seconds=1, check_quit=False).passed


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server for one connection, for what asyncio's TLS does not do or show."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: serve(listener.accept()[0]))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_the_end_is_said_in_tls_too() -> None:
    """After QUIT popwatch says close_notify: the server need not think that it was cut off."""
    ends: list[bytes] = []

    def serve(accepted: socket.socket) -> None:
        with server_context().wrap_socket(accepted, server_side=True, suppress_ragged_eofs=False) as connection:
            connection.sendall(b"+OK ready\r\n")
            assert connection.recv(100) == b"QUIT\r\n"
            connection.sendall(b"+OK bye\r\n")
            ends.append(connection.recv(100))

    with serving(serve) as port:
        outcome = one(port, "implicit")
    assert outcome.passed, outcome
    assert ends == [b""]


def test_many_records_that_are_read_late(server: ScriptedServer) -> None:
    """A greeting in 25 records, all there before the loop looks, is read to its end at once."""
    outcomes: dict[str, Outcome] = {}
    ports = {"first": listen(server, "implicit"), "drip": listen(server, "implicit", "drip:0.002")}
    targets = [target(port, "implicit", target_id=name) for name, port in ports.items()]
    for arrivals in Prober().run(targets):
        if not outcomes:
            time.sleep(0.4)
        outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
    assert outcomes["drip"].passed, outcomes["drip"]


def test_a_server_that_wants_a_certificate_of_the_client() -> None:
    """In TLS 1.3 such a server says no only after the client has completed its handshake."""
    context = server_context()
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    def refuse(accepted: socket.socket) -> None:
        with suppress(ssl.SSLError), context.wrap_socket(accepted, server_side=True):
            pass

    with serving(refuse) as port:
        outcome = one(port, "implicit")
    assert (outcome.error, outcome.reason) == (ErrorCode.PROTOCOL, "tls-handshake-failed"), outcome
    assert "certificate required" in outcome.detail


def test_tickets_without_end_are_not_read_to_the_end(server: ScriptedServer) -> None:
    """A TLS 1.3 server may send session tickets before the greeting, but not a megabyte of them."""
    context = server_context()
    context.num_tickets = 4000
    outcome = one(listen(server, "implicit", context=context), "implicit", max_test_seconds=20)
    assert (outcome.error, outcome.reason) == (ErrorCode.PROTOCOL, "too-much-data"), outcome


def test_a_tls_server_on_a_plain_port_is_told(server: ScriptedServer) -> None:
    """A TLS server waits for the client to begin: the silence is a time-out whose phase says where."""
    outcome = one(listen(server, "implicit"), "none", max_test_seconds=1)
    assert (outcome.error, outcome.phase) == (ErrorCode.TIMED_OUT, Phase.GREETING)
