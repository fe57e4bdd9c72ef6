"""TLS, implicit and by STLS: verified as in a mail client, with a reason for every kind of failure."""

import datetime
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trustme

from popwatch.model.outcomes import ErrorCode, Outcome, Phase, Role, RttSource
from popwatch.model.targets import Target, parse_target, tls_relaxations
from popwatch.prober.loop import Prober, probe
from popwatch.prober.resolver import Resolver
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.output.nagios_plugin import Thresholds, plugin_result
from popwatch_cli.output.outcome import conclusion
from tests.stamping import stamping

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
NOW = datetime.datetime.now(datetime.UTC)
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


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_expected_text_of_the_greeting(server: ScriptedServer, tls: str) -> None:
    """The greeting may come in TLS or, with STLS, before it."""
    port = listen(server, tls)
    assert one(port, tls, expect="scripted").passed
    failed = one(port, tls, expect="mail.example.net")
    assert (failed.phase, failed.reason) == (Phase.GREETING, "expected-text-missing")


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
        (server_context(trustme.CA()), "tls-issuer-missing"),
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
    assert one(listen(server, "implicit"), "implicit", ca_pem="").reason == "tls-issuer-missing"


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


@pytest.mark.parametrize("order", [("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")])
def test_the_earliest_certificate_of_all_addresses_counts(order: tuple[str, ...]) -> None:
    """Behind one name each address may have its own certificate; the outcome is that of the one that expires first."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    ends = {"127.0.0.1": now + datetime.timedelta(days=9), "127.0.0.2": now + datetime.timedelta(days=80)}
    with ScriptedServer() as first, ScriptedServer() as second:
        contexts = {address: server_context(name="pop.example.net", not_after=end) for address, end in ends.items()}
        port = first.listen("delay:0.3", host="127.0.0.1", tls=contexts["127.0.0.1"])
        second.listen("healthy", host="127.0.0.2", port=port, tls=contexts["127.0.0.2"])
        tested = target(port, "implicit", host="pop.example.net", all_addresses=True)
        outcome = probe(tested, Prober(resolver=Resolver(hosts=lambda: {"pop.example.net": order})))
    assert outcome.passed, outcome
    assert (outcome.certificate_expires, outcome.address) == (ends["127.0.0.1"], "127.0.0.1")
    leaves = {it.address: it.expires for it in outcome.certificates if it.role is Role.LEAF}
    assert leaves == ends
    assert [it.address for it in outcome.certificates if it.role is Role.ROOT] == [""]


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
        ("tls-alert", ErrorCode.PROTOCOL, Phase.TLS, "tls-alert-handshake-failure"),
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


def refuse(context: ssl.SSLContext, accepted: socket.socket) -> None:
    """A handshake that fails at the server, and its alert, which asyncio's TLS would not send."""
    with suppress(ssl.SSLError), context.wrap_socket(accepted, server_side=True):
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_requires_a_client_certificate(version: ssl.TLSVersion) -> None:
    """A matter of TLS, also in TLS 1.3, where a server refuses only after the client has completed its handshake."""
    context = server_context()
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version

    with serving(partial(refuse, context)) as port:
        outcome = one(port, "implicit")
    assert (outcome.error, outcome.reason) == (ErrorCode.PROTOCOL, "tls-client-certificate-required"), outcome
    assert outcome.phase is Phase.TLS
    watched = target(port, "implicit")
    assert plugin_result(watched, outcome, Thresholds(mismatch="ok"), NOW).code == 2
    assert any("a certificate, which popwatch does not have" in line for line in conclusion(watched, outcome))


@pytest.mark.parametrize(
    ("alert", "reason", "advice"),
    [
        (ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME, "tls-alert-unrecognized-name", "--tls-name"),
        (ssl.AlertDescription.ALERT_DESCRIPTION_INTERNAL_ERROR, "tls-alert-internal-error", "The log of the server"),
        (
            ssl.AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE,
            "tls-alert-handshake-failure",
            "no cipher in common",
        ),
        (ssl.AlertDescription.ALERT_DESCRIPTION_PROTOCOL_VERSION, "tls-version-unsupported", "--tls-min"),
        (ssl.AlertDescription.ALERT_DESCRIPTION_BAD_CERTIFICATE, "tls-alert-bad-certificate", "The log of the server"),
    ],
)
def test_an_alert_within_the_handshake(alert: ssl.AlertDescription, reason: str, advice: str) -> None:
    """The server's word for it is the reason; a certificate that it did not ask for is not what it wants."""
    context = server_context(name="pop.example.net")
    context.sni_callback = lambda *_: alert
    with serving(partial(refuse, context)) as port:
        outcome = one(port, "implicit", tls_name="pop.example.net")
    assert (outcome.error, outcome.phase, outcome.reason) == (ErrorCode.PROTOCOL, Phase.TLS, reason), outcome
    assert advice in conclusion(target(port, "implicit"), outcome)[-1]


def test_a_server_that_forgets_its_intermediate(server: ScriptedServer) -> None:
    """The issuer is named, and the advice is not to trust it but to send it."""
    child = AUTHORITY.create_child_ca()
    issued = child.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    whole = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(whole)
    with issued.private_key_pem.tempfile() as key, issued.cert_chain_pems[0].tempfile() as leaf:
        context.load_cert_chain(leaf, key)
    port = listen(server, "implicit", context=context)
    outcome = one(port, "implicit")
    assert (outcome.error, outcome.phase, outcome.reason) == (ErrorCode.PROTOCOL, Phase.TLS, "tls-issuer-missing")
    assert "its own certificate alone; the issuer, " in outcome.detail
    assert "fullchain.pem" in conclusion(target(port, "implicit"), outcome)[-1]
    found = one(listen(server, "implicit", context=whole), "implicit")
    assert [it.role for it in found.certificates] == [Role.LEAF, Role.INTERMEDIATE, Role.ROOT]


def old_server(version: ssl.TLSVersion, ciphers: str = "DEFAULT") -> ssl.SSLContext:
    """A server that speaks this version only."""
    context = server_context(key_type=trustme.KeyType.RSA)
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("ciphers", ["ECDH+AES", "RSA+AES"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_old_server_is_tested_if_its_target_says_so(server: ScriptedServer, version: str, ciphers: str) -> None:
    """By default it fails with a reason of its own; a target that says so accepts it, with a remark."""
    context = old_server(ssl.TLSVersion.TLSv1 if version == "1.0" else ssl.TLSVersion.TLSv1_1, ciphers)
    with serving(partial(refuse, context)) as port:
        refused = one(port, "implicit")
    port = listen(server, "implicit", context=context)
    accepted = one(port, "implicit", tls_min=version)
    assert (refused.phase, refused.reason) == (Phase.TLS, "tls-version-unsupported"), refused
    assert "--tls-min" in conclusion(target(port, "implicit"), refused)[-1]
    assert accepted.passed, accepted
    assert accepted.tls_version in (f"TLSv{version}", "TLSv1")
    assert accepted.remarks == (f"TLS from {version} on is accepted",)
    assert not one(port, "implicit").passed


def test_a_lowest_version_above_the_usual() -> None:
    """`tls_min: 1.3` refuses TLS 1.2."""
    with serving(partial(refuse, old_server(ssl.TLSVersion.TLSv1_2))) as port:
        assert one(port, "implicit", tls_min="1.3").reason == "tls-version-unsupported"


def without_secure_renegotiation(accepted: socket.socket) -> None:
    """A server of TLS 1.2 whose ServerHello has lost the extension of RFC 5746: what servers before 2010 send."""
    context = server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    renegotiation_info = bytes.fromhex("ff01000100")
    with accepted, suppress(ssl.SSLError, ConnectionError):
        while data := accepted.recv(16_384):
            incoming.write(data)
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            hello = outgoing.read()
            if renegotiation_info in hello:  # the first record is the ServerHello: record, message, ..., extensions
                end = 5 + int.from_bytes(hello[3:5])
                at = 5 + 4 + 2 + 32
                at += 1 + hello[at] + 3  # session id, cipher suite, compression
                extensions = hello[at + 2 : end].replace(renegotiation_info, b"")
                body = hello[9:at] + len(extensions).to_bytes(2) + extensions
                message = b"\x02" + len(body).to_bytes(3) + body
                hello = hello[:3] + len(message).to_bytes(2) + message + hello[end:]
            accepted.sendall(hello)


def test_legacy_renegotiation_is_accepted_by_a_target_that_says_so_only() -> None:
    """The target gets past the ServerHello; then this server, of which both sides saw another one, fails otherwise."""
    with serving(without_secure_renegotiation) as port:
        refused = one(port, "implicit")
    assert (refused.phase, refused.reason) == (Phase.TLS, "tls-legacy-renegotiation"), refused
    assert "--legacy-renegotiation" in conclusion(target(port, "implicit"), refused)[-1]
    with serving(without_secure_renegotiation) as port:
        later = one(port, "implicit", legacy_renegotiation=True)
    assert later.phase is Phase.TLS
    assert later.reason != "tls-legacy-renegotiation"
    watched = target(port, "implicit", legacy_renegotiation=True)
    assert tls_relaxations(watched) == ("legacy renegotiation is accepted",)


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
