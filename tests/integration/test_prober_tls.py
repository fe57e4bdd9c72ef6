"""TLS, implicit and by STLS: verified as in a mail client, with a reason for every kind of failure."""

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
from popwatch.prober.resolver import Resolver
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.stamping import stamping

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
AUTHORITY = trustme.CA()
SHORT = 2
"""Seconds of a test that times out: enough for a TLS handshake on a busy machine."""


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with stamping(), ScriptedServer() as found:
        yield found


def server_context(authority: trustme.CA = AUTHORITY, name: str = "127.0.0.1", **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


def target(port: int, tls: str, **fields: Any) -> Target:
    own = {"ca_pem": AUTHORITY.cert_pem.bytes().decode(), "max_test_seconds": 20}
    return parse_target({"target_id": "t", "host": "127.0.0.1", "port": port, "tls": tls, **own, **fields})


def deadline_for(error: ErrorCode) -> int:
    """A short deadline only where the test has to time out: a busy machine must not fail the others."""
    return SHORT if error is ErrorCode.TIMED_OUT else 20


def one(port: int, tls: str, **fields: Any) -> Outcome:
    return probe(target(port, tls, **fields))


def listen(server: ScriptedServer, tls: str, script: str = "healthy", context: ssl.SSLContext | None = None) -> int:
    found = context or server_context()
    return server.listen(script, tls=found) if tls == "implicit" else server.listen(script, stls=found)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_healthy(server: ScriptedServer, tls: str, version: ssl.TLSVersion) -> None:
    """A pass with TLS version, expiry and a kernel stamp; TLS 1.3 tickets before the greeting do not disturb it."""
    context = server_context()
    context.minimum_version = context.maximum_version = version
    outcome = one(listen(server, tls, context=context), tls)
    assert outcome.passed, outcome
    assert outcome.tls_version == version.name.replace("_", ".")
    assert outcome.tls_ms is not None
    assert outcome.rtt_source is RttSource.KERNEL
    assert outcome.certificate_expires is not None
    assert outcome.certificate_expires > datetime.datetime.now(datetime.UTC)


def test_the_expiry_is_that_of_the_certificate(server: ScriptedServer) -> None:
    """`certificate_expires` is read from the certificate, verified or not."""
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
    """Each fault of a certificate has its own reason; with `verify_tls: false` all of them pass."""
    port = listen(server, tls, context=context)
    outcome = one(port, tls)
    assert (outcome.error, outcome.phase, outcome.reason) == (ErrorCode.PROTOCOL, Phase.TLS, reason), outcome
    assert one(port, tls, verify_tls=False).passed


def test_public_roots_do_not_know_a_private_authority(server: ScriptedServer) -> None:
    """Without `ca_pem` the public root certificates are used."""
    assert one(listen(server, "implicit"), "implicit", ca_pem="").reason == "tls-untrusted"


def test_name_for_a_host_given_as_an_address(server: ScriptedServer) -> None:
    """`tls_name` is the name sent as SNI, and the one that the certificate must have."""
    asked: list[str | None] = []
    context = server_context(name="pop.example.net")
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    outcome = one(listen(server, "implicit", context=context), "implicit", tls_name="pop.example.net")
    assert outcome.passed, outcome
    assert asked == ["pop.example.net"]


def test_a_final_dot_is_no_part_of_the_name(server: ScriptedServer) -> None:
    """Neither SNI nor the certificate has it (RFC 6066 section 3)."""
    asked: list[str | None] = []
    context = server_context(name="pop.example.net")
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    tested = target(listen(server, "implicit", context=context), "implicit", host="pop.example.net.")
    outcome = probe(tested, Prober(resolver=Resolver(hosts=lambda: {"pop.example.net": ("127.0.0.1",)})))
    assert outcome.passed, outcome
    assert asked == ["pop.example.net"]


def test_a_zone_is_no_part_of_the_name(server: ScriptedServer) -> None:
    """The certificate of `::1` is valid for it, by whichever interface it is reached."""
    port = server.listen("healthy", host="::1", tls=server_context(name="::1"))
    outcome = one(port, "implicit", host="::1%lo")
    assert outcome.passed, outcome


def test_a_certificate_for_another_name(server: ScriptedServer) -> None:
    """A name that is not in the certificate fails with a reason of its own, as an address does."""
    port = listen(server, "implicit", context=server_context(name="pop.example.net"))
    assert one(port, "implicit", tls_name="pop.example.com").reason == "tls-name-mismatch"


def test_an_authority_that_cannot_be_read_is_a_bad_field(server: ScriptedServer) -> None:
    """A `ca_pem` that OpenSSL refuses is a configuration error, without a connection."""
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
def test_servers_that_do_not_speak_tls(
    server: ScriptedServer, script: str, error: ErrorCode, phase: Phase, reason: str
) -> None:
    """A server that does not speak TLS on the port, or breaks its protocol."""
    outcome = one(server.listen(script), "implicit", max_test_seconds=deadline_for(error))
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
    """Failures between the greeting and TLS."""
    outcome = one(server.listen(script), "starttls", max_test_seconds=deadline_for(error))
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
def test_failures_inside_tls(server: ScriptedServer, script: str, error: ErrorCode, reason: str) -> None:
    """The failures of the conversation are the same inside TLS."""
    outcome = one(listen(server, "implicit", script), "implicit", max_test_seconds=deadline_for(error))
    assert (outcome.error, outcome.reason) == (error, reason), outcome


def test_quit_after_stls_need_not_be_answered(server: ScriptedServer) -> None:
    """With `check_quit: false` QUIT is sent inside TLS too, and its reply is not awaited."""
    port = listen(server, "starttls", "quit-silent-in-tls")
    assert one(port, "starttls", max_test_seconds=SHORT).reason == "no-quit-reply"
    assert one(port, "starttls", check_quit=False).passed


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server for one connection, for behaviour that asyncio's TLS does not support."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: serve(listener.accept()[0]))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_the_connection_ends_with_close_notify() -> None:
    """popwatch sends close_notify after QUIT, so that the server sees an orderly end."""
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
    """A greeting in 25 records that have all arrived before the loop reads is read to its end at once."""
    outcomes: dict[str, Outcome] = {}
    ports = {"first": listen(server, "implicit"), "drip": listen(server, "implicit", "drip:0.002")}
    targets = [target(port, "implicit", target_id=name) for name, port in ports.items()]
    for arrivals in Prober().run(targets):
        if not outcomes:
            time.sleep(0.4)
        outcomes |= {tested.target_id: outcome for tested, outcome in arrivals}
    assert outcomes["drip"].passed, outcomes["drip"]


def test_a_server_that_requires_a_client_certificate() -> None:
    """In TLS 1.3 such a server refuses only after the client has completed its handshake."""
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
    outcome = one(listen(server, "implicit", context=context), "implicit")
    assert (outcome.error, outcome.reason) == (ErrorCode.PROTOCOL, "too-much-data"), outcome


def test_a_tls_server_on_a_plain_port_times_out(server: ScriptedServer) -> None:
    """A TLS server waits for the client to begin: a time-out in the phase of the greeting."""
    outcome = one(listen(server, "implicit"), "none", max_test_seconds=1)
    assert (outcome.error, outcome.phase) == (ErrorCode.TIMED_OUT, Phase.GREETING)
