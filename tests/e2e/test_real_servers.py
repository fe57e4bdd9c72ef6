"""The prober against real POP3 servers from Debian's packages: plain, STLS, implicit TLS, stopped, frozen, refusing."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from popwatch.model.outcomes import ErrorCode, Outcome, RttSource
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober, probe
from tests.e2e.real_servers import SERVER_KINDS, Running, ServerKind, missing, running, version
from tests.stamping import stamping

pytestmark = pytest.mark.debian


@pytest.fixture(scope="module", params=SERVER_KINDS, ids=[kind.package for kind in SERVER_KINDS])
def kind(request: pytest.FixtureRequest) -> ServerKind:
    """Each kind of server."""
    kind: ServerKind = request.param
    reason = missing(kind)
    if reason:
        pytest.skip(reason)
    return kind


@pytest.fixture(scope="module")
def server(kind: ServerKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running server."""
    with stamping(), running(kind, tmp_path_factory.mktemp(kind.package)) as found:
        yield found


def target(server: Running, mode: str = "none", **fields: Any) -> Target:
    port = server.tls_port if mode == "implicit" else server.port
    own_ca = {} if mode == "none" else {"ca_pem": server.authority_pem}
    return parse_target(
        {"target_id": "x", "host": "127.0.0.1", "port": port, "tls": mode, "max_test_seconds": 5, **own_ca, **fields}
    )


def describe(outcome: Outcome) -> str:
    if not outcome.passed:
        return f"failed, {outcome.reason}"
    return f"passed, {outcome.rtt_ms:.2f} ms by the {outcome.rtt_source}'s clock, {outcome.greeting!r}"


def test_every_mode_passes(kind: ServerKind, server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Every TLS mode of the server passes, with a kernel stamp; with TLS the certificate is verified."""
    for mode in kind.modes:
        outcome = probe(target(server, mode))
        with capsys.disabled():
            print(f"\n{kind.package} {version(kind)}, {mode}: {describe(outcome)}", end="")
        assert outcome.passed, outcome
        assert outcome.rtt_source is RttSource.KERNEL
        assert bool(outcome.tls_version) == (mode != "none")


def test_certificates_are_verified(kind: ServerKind, server: Running) -> None:
    """A certificate of an unknown authority or for another name fails the test."""
    for mode in kind.modes[1:]:
        assert probe(target(server, mode, ca_pem="")).reason == "tls-issuer-missing"
        assert probe(target(server, mode, tls_name="pop.example.net")).reason == "tls-name-mismatch"
        assert probe(target(server, mode, ca_pem="", verify_tls=False)).passed


def test_the_wrong_mode_has_its_reason(server: Running) -> None:
    """On the TLS port without TLS: a time-out. With TLS on the plain port: a TLS error."""
    plain_port = parse_target(
        {"target_id": "x", "host": "127.0.0.1", "port": server.port, "tls": "implicit", "max_test_seconds": 5}
    )
    assert probe(plain_port).reason == "plain-text-on-tls-port"
    if server.tls_port:
        wrong = parse_target({"target_id": "x", "host": "127.0.0.1", "port": server.tls_port, "max_test_seconds": 1})
        assert probe(wrong).error is ErrorCode.TIMED_OUT
    else:
        assert probe(target(server, "starttls")).reason == "stls-refused"


def test_fifty_at_once(kind: ServerKind, server: Running) -> None:
    """Fifty tests at the same time all pass."""
    if kind.inetd:
        pytest.skip("it starts a process for each connection, which takes too long for fifty at once")
    targets = [target(server, kind.modes[number % len(kind.modes)], target_id=f"t{number}") for number in range(50)]
    outcomes: list[Outcome] = [outcome for arrivals in Prober().run(targets) for _, outcome in arrivals]
    assert len(outcomes) == 50
    assert all(outcome.passed for outcome in outcomes), [outcome for outcome in outcomes if not outcome.passed]


def test_a_frozen_server(kind: ServerKind, server: Running) -> None:
    """A server stopped by SIGSTOP: the kernel accepts, no greeting arrives. After SIGCONT it passes."""
    if kind.package == "dovecot-pop3d":
        pytest.skip("its login processes greet without their master")
    os.killpg(server.process, signal.SIGSTOP)
    frozen = probe(target(server, max_test_seconds=1))
    os.killpg(server.process, signal.SIGCONT)
    assert (frozen.error, frozen.reason) == (ErrorCode.TIMED_OUT, "no-greeting")
    time.sleep(0.5)
    assert probe(target(server)).passed


def test_a_stopped_server(kind: ServerKind, tmp_path: Path) -> None:
    """After the server has ended, its port refuses connections."""
    with running(kind, tmp_path) as server:
        tested = target(server)
        assert probe(tested).passed
    outcome = probe(tested)
    assert (outcome.error, outcome.reason) == (ErrorCode.CANNOT_CONNECT, "refused")
