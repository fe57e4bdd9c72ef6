"""The posture test against a scripted server: what it finds, what it sends, and that it is bounded."""

import errno
import json
import re
import ssl
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.x509.oid import NameOID

from popwatch.model.fields import TlsVersion
from popwatch.model.outcomes import Certificate, ErrorCode, Outcome, Phase, Role
from popwatch.model.posture import (
    NO,
    NOT_TESTED,
    YES,
    Answer,
    CapaReply,
    Posture,
    PostureFindingKind,
    Sibling,
    findings,
    parse_summary,
    worse,
)
from popwatch.model.targets import Target, parse_target
from popwatch.prober import posture as posture_test
from popwatch.prober.capabilities import Capabilities
from popwatch.prober.loop import Prober
from popwatch.prober.posture import probe_postures
from popwatch.prober.posture_conversation import NOBODY
from popwatch.prober.tls import can_offer, context
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.main import cli
from popwatch_cli.output.posture import to_json, to_text
from tests import chains
from tests.chains import NAME, CertifiedKey, Chain, made
from tests.integration.test_prober import resolver

ROOT = made("Root", extensions=chains.authority())
MIDDLE = made("Intermediate", None, ROOT, chains.authority())
OLD = [version for version in (TlsVersion.TLS_1_0, TlsVersion.TLS_1_1) if can_offer(version)]


class Served:
    """A TLS context whose certificate and lowest version are changed while it is in use."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "served.pem"
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_ciphers("DEFAULT@SECLEVEL=0")
        self.lowest(ssl.TLSVersion.TLSv1_2)
        self.show(certificate())

    def show(self, holder: CertifiedKey, *, whole: bool = True) -> None:
        presented = [holder.certificate, *([MIDDLE.certificate] if whole else [])]
        self._file.write_text(Chain(holder.key, presented, []).server_pem)
        self.context.load_cert_chain(self._file)

    def lowest(self, version: ssl.TLSVersion) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.context.minimum_version = version


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def certificate(days: tuple[int, int] = (-10, 80)) -> CertifiedKey:
    return made(NAME, None, MIDDLE, chains.server(), days=days)


def target(port: int, **fields: Any) -> Target:
    own = {"tls_name": NAME, "ca_pem": Chain(ROOT.key, [], [ROOT.certificate]).seen[1], "max_test_seconds": 5}
    return parse_target({"target_id": "t", "host": "127.0.0.1", "port": port, **own, **fields})


def posture_of(tested: Target, **options: Any) -> Posture:
    [(_, found)] = probe_postures([tested], **options)
    return found


def kinds(posture: Posture) -> list[str]:
    return [it.kind for it in findings(posture)]


def old(answer: Answer) -> Answer:
    return answer if OLD else NOT_TESTED


def test_a_server_without_faults(server: ScriptedServer, served: Served) -> None:
    """Everything is asked, before and after TLS, and nothing is found."""
    port = server.listen("offers", stls=served.context)
    found = posture_of(target(port, tls="starttls"))
    assert (found.stls, found.user_in_clear, found.chain) == (YES, NO, YES)
    assert (found.tls_1_0, found.tls_1_1) == (old(NO), old(NO))
    assert found.in_clear
    assert found.in_clear.capabilities == ("TOP", "UIDL", "RESP-CODES", "PIPELINING", "STLS")
    assert found.in_tls
    assert found.in_tls.mechanisms == ("PLAIN", "SCRAM-SHA-256")
    assert (found.tls_version, found.problem, found.tls_problem) == ("TLSv1.3", "", "")
    assert findings(found) == []


def test_nothing_but_questions_is_sent(server: ScriptedServer, served: Served) -> None:
    """CAPA, STLS, QUIT, and USER with a name that no one has; each connection ends by QUIT, unless TLS is refused."""
    port = server.listen("offers:user", stls=served.context)
    posture_of(target(port))
    sent = [[line.decode().strip() for line in it.lines] for it in server.connections(port)]
    assert sent[0] == ["CAPA", "STLS", "CAPA", "QUIT"]
    assert sent[1] == [f"USER {NOBODY}", "QUIT"]
    assert sent[2:-1] == [["STLS"]] * len(OLD)
    assert sent[-1] == ["STLS", "QUIT"]


def test_implicit_tls(server: ScriptedServer, served: Served) -> None:
    """Nothing is asked in the clear."""
    port = server.listen("offers:secure", tls=served.context)
    found = posture_of(target(port, tls="implicit"))
    assert (found.stls, found.user_in_clear, found.in_clear) == (NOT_TESTED, NOT_TESTED, None)
    assert found.in_tls
    assert "USER" in found.in_tls.capabilities
    assert (found.chain, findings(found)) == (YES, [])


Switch = Callable[[ScriptedServer, int, Served], object]


def play(script: str) -> Switch:
    return lambda server, port, _: server.play(port, script)


def accept(version: ssl.TLSVersion) -> Switch:
    return lambda _, __, served: served.lowest(version)


SWITCHES: dict[str, tuple[Switch, list[tuple[str, str]]]] = {
    "STLS off": (play("offers:no-stls;clear=TOP,UIDL,RESP-CODES,PIPELINING"), [("stls-gone", "")]),
    "STLS listed and refused": (play("offers:no-stls"), [("stls-gone", "listed")]),
    "an alert instead of TLS": (play("offers:alert"), [("stls-gone", "tls-alert-handshake-failure")]),
    "closed instead of TLS": (play("offers:close"), [("stls-gone", "closed-in-tls-handshake")]),
    "reset instead of TLS": (play("offers:reset"), [("stls-gone", "reset")]),
    "plain text with the reply": (play("offers:injection"), [("stls-gone", "stls-injection")]),
    "no TLS": (play("offers:garbage"), [("stls-gone", "plain-text-on-tls-port")]),
    "silence instead of TLS": (play("offers:silence"), []),
    "plaintext allowed": (play("offers:user"), [("plaintext-login-allowed", "")]),
    "SASL PLAIN before TLS": (
        play("offers:clear=TOP,UIDL,STLS,SASL PLAIN"),
        [("plaintext-login-allowed", "")],
    ),
    "SASL OAUTHBEARER before TLS": (
        play("offers:clear=TOP,UIDL,STLS,SASL OAUTHBEARER"),
        [("plaintext-login-allowed", "")],
    ),
    "a weak mechanism": (
        play("offers:tls=TOP,UIDL,RESP-CODES,PIPELINING,USER,SASL PLAIN SCRAM-SHA-256 CRAM-MD5"),
        [("weak-mechanism-offered", "CRAM-MD5")],
    ),
    "a mechanism removed": (
        play("offers:tls=TOP,UIDL,RESP-CODES,PIPELINING,USER,SASL PLAIN"),
        [("mechanism-removed", "SCRAM-SHA-256")],
    ),
    "a capability removed": (
        play("offers:tls=TOP,RESP-CODES,PIPELINING,USER,SASL PLAIN SCRAM-SHA-256"),
        [("capability-removed", "UIDL")],
    ),
    "CAPA refused": (play("offers:no-capa"), [("capabilities-gone", "")]),
    "chain cut": (
        lambda _, __, served: served.show(certificate(), whole=False),
        [("chain-not-trusted", "tls-issuer-missing")],
    ),
    "of another authority": (
        lambda _, __, served: served.show(made(NAME, extensions=chains.server())),
        [("chain-not-trusted", "tls-untrusted")],
    ),
    "a new certificate": (lambda _, __, served: served.show(certificate(days=(-1, 90))), []),
    "everything in trouble": (play("offers:trouble"), []),
    "no greeting": (play("silent"), []),
    "closed": (play("refused"), []),
}


@pytest.mark.parametrize(("switch", "expected"), SWITCHES.values(), ids=SWITCHES)
def test_each_change_is_found(
    server: ScriptedServer, served: Served, switch: Switch, expected: list[tuple[str, str]]
) -> None:
    """Found at the next posture test, with a text each; the way back is not a finding."""
    port = server.listen("offers", stls=served.context)
    tested = target(port, tls="starttls", max_test_seconds=1)
    before = posture_of(tested).summary
    assert worse(before, posture_of(tested)) == []
    switch(server, port, served)
    changed = posture_of(tested)
    assert [(it.kind, it.about) for it in worse(before, changed)] == expected
    server.play(port, "offers")
    served.show(certificate())
    assert worse(changed.summary.filled_from(before), posture_of(tested)) == []


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("version", "expected"), [("TLSv1", ["tls10-accepted", "tls11-accepted"]), ("TLSv1_1", ["tls11-accepted"])]
)
@pytest.mark.skipif(len(OLD) < 2, reason="the OpenSSL of this machine cannot offer TLS 1.0 and 1.1")
def test_old_versions(server: ScriptedServer, served: Served, tls: str, version: str, expected: list[str]) -> None:
    """Accepted old versions are found, and the other connections still refuse them."""
    if tls == "implicit":
        port = server.listen("offers:secure", tls=served.context)
    else:
        port = server.listen("offers", stls=served.context)
    tested = target(port, tls=tls)
    before = posture_of(tested)
    assert (before.tls_1_0, before.tls_1_1) == (NO, NO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        served.lowest(ssl.TLSVersion[version])
    after = posture_of(tested)
    assert [it.kind for it in worse(before.summary, after)] == expected
    assert context(True, "").minimum_version is ssl.TLSVersion.TLSv1_2


def outcomes_in_turn(tested: Target, *results: tuple[Outcome, bytes]) -> Posture:
    """The posture of a server whose connections end so, one after another."""
    connections = posture_test._connections(tested)
    next(connections)
    try:
        for outcome, user_reply in results:
            connections.send(posture_test._Result(outcome, [Capabilities({"USER": ()})], user_reply))
    except StopIteration as end:
        found: Posture = end.value
        return found
    raise AssertionError("further connections are wanted")


SECURE = Outcome(datetime(2026, 11, 1, tzinfo=UTC), Phase.QUIT, rtt_ms=1.0, tls_version="TLSv1.3")


@pytest.mark.parametrize("why", ["reset", "closed-in-tls-handshake", "tls-alert-internal-error"])
def test_a_server_that_breaks_off_has_refused_no_version(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """It may be overloaded: only where a handshake succeeds afterwards, these failed for their version."""
    monkeypatch.setattr(posture_test, "can_offer", lambda _: True)
    broken = replace(SECURE, phase=Phase.TLS, error=ErrorCode.CANNOT_CONNECT, reason=why, tls_version="", rtt_ms=None)
    ask = partial(outcomes_in_turn, target(1995, tls="implicit"), (SECURE, b""), (broken, b""), (broken, b""))
    down, up = ask((broken, b"")), ask((SECURE, b""))
    assert (down.tls_1_0, down.tls_1_1, down.chain) == (NOT_TESTED, NOT_TESTED, NOT_TESTED)
    assert (up.tls_1_0, up.tls_1_1, up.chain) == (NO, NO, YES)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"+OK", YES),
        (b"-ERR try again later", NOT_TESTED),
        (b"-ERR no such user", NOT_TESTED),
        (b"-ERR [SYS/TEMP] no TLS", NOT_TESTED),
        (b"", NOT_TESTED),
        (b"-ERR TLS required to log in.", NO),
        (b"-ERR Plaintext authentication disallowed", NO),
    ],
)
def test_a_server_that_lists_user_and_refuses_it_has_not_refused_the_plain_login(
    monkeypatch: pytest.MonkeyPatch, reply: bytes, expected: Answer
) -> None:
    """It is in trouble, or knows no such name: the next day it would seem to have got worse."""
    monkeypatch.setattr(posture_test, "can_offer", lambda _: False)
    found = outcomes_in_turn(target(1110, tls="starttls"), (SECURE, b""), (SECURE, reply), (SECURE, b""))
    assert found.plaintext_login is expected


@pytest.mark.parametrize(
    ("reason", "detail", "expected"),
    [
        ("stls-refused", "-ERR unknown command", NO),
        ("unexpected-reply", "BAD", NO),
        ("stls-refused", "-ERR [SYS/TEMP] later", NOT_TESTED),
        ("stls-refused", "-ERR [SYS/PERM] Error initializing TLS", NO),
        ("overlong-line", "+OK xxx", NOT_TESTED),
        ("endless-capabilities", "X1", NOT_TESTED),
        ("stls-injection", "", NOT_TESTED),
        ("no-stls-reply", "", NOT_TESTED),
    ],
)
def test_stls_is_refused_only_by_its_own_answer(reason: str, detail: str, expected: Answer) -> None:
    """What broke the conversation before it was asked for is not a refusal: the next day it would be gone."""
    broken = replace(SECURE, phase=Phase.STLS, error=ErrorCode.PROTOCOL, reason=reason, detail=detail, tls_version="")
    assert outcomes_in_turn(target(1110), (broken, b""), (broken, b"")).stls is expected


def without_tls(reason: str, phase: Phase = Phase.TLS) -> Outcome:
    """The end of a connection on which STLS was accepted."""
    return replace(SECURE, phase=phase, error=ErrorCode.PROTOCOL, reason=reason, detail="why", tls_version="")


ALERT = without_tls("tls-alert-handshake-failure")


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (ALERT, ALERT, NO),
        (ALERT, without_tls("stls-injection"), NO),
        (without_tls("stls-injection"), without_tls("stls-injection"), NO),
        (ALERT, without_tls("closed-in-tls-handshake"), NO),
        (without_tls("plain-text-on-tls-port"), without_tls("tls-handshake-failed"), NO),
        (without_tls("stls-injection"), without_tls("plain-text-on-tls-port"), NO),
        (ALERT, SECURE, YES),
        (ALERT, without_tls("tls-name-mismatch"), YES),
        (ALERT, without_tls("no-tls-answer"), NOT_TESTED),
        (ALERT, without_tls("reset"), NOT_TESTED),
        (ALERT, without_tls("refused", Phase.CONNECT), NOT_TESTED),
        (without_tls("no-tls-answer"), ALERT, NOT_TESTED),
        (without_tls("no-tls-answer"), SECURE, YES),
        (without_tls("tls-client-certificate-required"), ALERT, YES),
        (without_tls("tls-version-unsupported"), without_tls("tls-version-unsupported"), NOT_TESTED),
    ],
)
def test_stls_without_tls_is_confirmed(
    monkeypatch: pytest.MonkeyPatch, first: Outcome, last: Outcome, expected: Answer
) -> None:
    """Twice, by what the server did: one failure, a dead line or a broken network may be otherwise in a second.

    After plain text with the reply to STLS no handshake was tried: the reason is then that of the other one, if it has.
    """
    monkeypatch.setattr(posture_test, "can_offer", lambda _: False)
    found = outcomes_in_turn(target(1110), (first, b""), (SECURE, b""), (last, b""))
    assert found.stls is expected
    reason = last.reason if first.reason == "stls-injection" else first.reason
    assert found.stls_reason == (reason if expected is NO else "")
    assert [it.about for it in worse(replace(found, stls=YES).summary, found)] == [reason] * (expected is NO)


@pytest.mark.parametrize(
    ("first", "older", "last", "asked"),
    [
        (ALERT, ALERT, ALERT, False),
        (ALERT, ALERT, without_tls("no-tls-answer"), False),
        (without_tls("tls-version-unsupported"), SECURE, without_tls("tls-version-unsupported"), True),
        (ALERT, ALERT, without_tls("tls-name-mismatch"), True),
        (without_tls("tls-client-certificate-required"), ALERT, ALERT, True),
    ],
)
def test_of_implicit_tls_that_is_never_established_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, first: Outcome, older: Outcome, last: Outcome, asked: bool
) -> None:
    """`Found: nothing` would be said of a server that serves no client."""
    monkeypatch.setattr(posture_test, "can_offer", lambda _: True)
    results = [(replace(it, rtt_ms=None), b"") for it in (first, older, older, last)]
    found = outcomes_in_turn(target(1995, tls="implicit"), *results)
    assert (found.problem == "") is asked
    assert first.reason in (found.problem or first.reason)


@pytest.mark.parametrize(
    ("older", "expected"), [(SECURE, YES), (ALERT, NO), (without_tls("no-tls-answer"), NOT_TESTED)]
)
def test_a_server_of_old_versions_alone_has_tls(
    monkeypatch: pytest.MonkeyPatch, older: Outcome, expected: Answer
) -> None:
    """One that refuses every version has none; of one whose old versions are not known nothing is."""
    monkeypatch.setattr(posture_test, "can_offer", lambda _: True)
    newer = (without_tls("tls-version-unsupported"), b"")
    found = outcomes_in_turn(target(1110), newer, (SECURE, b""), (older, b""), (older, b""), newer)
    assert found.stls is expected


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ECONNRESET, True), (errno.EPIPE, True), (errno.EHOSTUNREACH, False)]
)
def test_a_reset_is_by_the_server(code: int, expected: bool) -> None:
    """And a network without a route is not."""
    purpose = posture_test._Round([posture_test._Connection(target(1110))])
    [tested] = purpose.connections.values()
    probe = posture_test._PostureProbe(purpose, tested.target, MagicMock())
    probe._end_broken(OSError(code, "broken"))
    assert probe.reset is expected


def test_unlike_addresses_by_turns_bring_no_change(server: ScriptedServer, served: Served) -> None:
    """Name servers rotate the addresses; the same one is asked each time, and the next if it does not answer."""
    with ScriptedServer() as unlike:
        port = server.listen("offers", stls=served.context)
        unlike.listen("offers:user", host="127.0.0.2", port=port, stls=served.context)
        addresses = ["127.0.0.1", "127.0.0.2"]
        names = resolver({"pop.test": addresses})
        tested = target(port, host="pop.test")
        found = []
        for _ in range(4):
            addresses.reverse()
            found.append(posture_of(tested, make_prober=partial(Prober, resolver=names)))
            names = resolver({"pop.test": addresses})
        assert {it.address for it in found} == {"127.0.0.1"}
        assert [it.user_in_clear for it in found] == [NO] * 4
        server.play(port, "refused")
        assert posture_of(tested, make_prober=partial(Prober, resolver=names)).address == "127.0.0.2"


def test_what_openssl_cannot_offer_is_not_tested(
    server: ScriptedServer, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither accepted nor refused, and no connection is made for it."""
    monkeypatch.setattr(posture_test, "can_offer", lambda _: False)
    served.lowest(ssl.TLSVersion.TLSv1)
    port = server.listen("offers", stls=served.context)
    found = posture_of(target(port))
    assert (found.tls_1_0, found.tls_1_1) == (NOT_TESTED, NOT_TESTED)
    assert len(server.connections(port)) == 3


def test_a_sibling_with_a_newer_certificate(server: ScriptedServer, served: Served, tmp_path: Path) -> None:
    """Renewed, not reloaded: found with the port's number. Another service's greeting is not waited for."""
    (tmp_path / "other").mkdir()
    other = Served(tmp_path / "other")
    same = certificate()
    served.show(same)
    other.show(same)
    port, sibling = server.listen("offers", stls=served.context), server.listen("silent", tls=other.context)
    tested = target(port)
    ask = partial(posture_of, replace(tested, siblings=(sibling, port)))
    before = ask()
    assert [(it.port, it.certificate is not None) for it in before.siblings] == [(sibling, True)]
    assert findings(before) == []
    other.show(certificate(days=(-1, 89)))
    assert [(it.kind, it.about) for it in worse(before.summary, ask())] == [
        (PostureFindingKind.NOT_RELOADED, str(sibling))
    ]
    server.play(sibling, "refused")
    closed = ask()
    assert [(it.certificate, it.reason) for it in closed.siblings] == [(None, "refused")]
    assert worse(before.summary, closed) == []


Named = tuple[str, list[str]]
"""What the subject of a certificate is called, and its DNS names and IP addresses."""

NOT_RELOADED = [PostureFindingKind.NOT_RELOADED]
OTHER_NAMES: dict[str, tuple[Named, Named, list[PostureFindingKind]]] = {
    "neither is called anything": (("", [NAME]), ("", ["smtp.example.net"]), []),
    "renewed without a common name": ((NAME, [NAME]), ("", [NAME.upper()]), NOT_RELOADED),
    "another order of the same names": ((NAME, [NAME, "b.test"]), ("b.test", ["b.test", NAME]), NOT_RELOADED),
    "a name more": ((NAME, [NAME]), ("a.test", ["a.test", NAME]), NOT_RELOADED),
    "a name less": ((NAME, [NAME, "b.test"]), (NAME, [NAME]), []),
    "only called so": ((NAME, [NAME]), (NAME, ["smtp.example.net"]), []),
    "a common name alone": ((NAME, []), (NAME, []), NOT_RELOADED),
    "no name at all": (("", []), ("", []), []),
    "a final dot": ((NAME, [NAME]), ("", [f"{NAME}."]), NOT_RELOADED),
    "the same addresses alone": (("", ["192.0.2.7", "2001:db8::7"]), ("", ["2001:db8::7", "192.0.2.7"]), NOT_RELOADED),
    "an address less": ((NAME, [NAME, "192.0.2.7"]), (NAME, [NAME]), []),
    "another address": (("", ["192.0.2.7"]), ("", ["192.0.2.8"]), []),
}


@pytest.mark.parametrize(("own", "other", "expected"), OTHER_NAMES.values(), ids=OTHER_NAMES)
def test_a_sibling_is_compared_by_its_names(
    server: ScriptedServer, tmp_path: Path, own: Named, other: Named, expected: list[PostureFindingKind]
) -> None:
    """Not by what its subject is called: each name and address of the server's certificate is one of it."""
    ports = []
    for (called, names), begins in ((own, -60), (other, -1)):
        folder = tmp_path / str(begins)
        folder.mkdir()
        shown = Served(folder)
        extensions = chains.server(*names) if names else ()
        shown.show(made(_subject(called), None, MIDDLE, extensions, days=(begins, begins + 90)))
        ports.append(server.listen("offers:secure", tls=shown.context))
    found = posture_of(target(ports[0], tls="implicit", siblings=ports[1:]))
    assert [it for it in kinds(found) if it != PostureFindingKind.CHAIN] == expected
    assert not any(it.is_same for it in found.siblings)


SIGNED: dict[str, tuple[CertifiedKey | None, tuple[int, int], list[PostureFindingKind]]] = {
    "renewed": (MIDDLE, (-1, 89), NOT_RELOADED),
    "self-signed": (None, (-1, 89), []),
    "not valid yet": (MIDDLE, (1, 91), []),
    "expired": (MIDDLE, (-9, -2), []),
    "ends earlier": (MIDDLE, (-1, 29), []),
}


@pytest.mark.parametrize(("signer", "days", "expected"), SIGNED.values(), ids=SIGNED)
def test_a_sibling_with_a_certificate_that_is_not_better(
    server: ScriptedServer, tmp_path: Path, signer: CertifiedKey | None, days: tuple[int, int], expected: list[str]
) -> None:
    """To reload would be wrong: clients would not accept it, or not for as long."""
    ports = []
    for name, key in (("own", certificate((-60, 30))), ("other", made(NAME, None, signer, chains.server(), days=days))):
        (tmp_path / name).mkdir()
        shown = Served(tmp_path / name)
        shown.show(key)
        ports.append(server.listen("offers:secure", tls=shown.context))
    assert kinds(posture_of(target(ports[0], tls="implicit", siblings=ports[1:]))) == expected


def test_a_self_signed_sibling_of_a_self_signed_server(server: ScriptedServer, tmp_path: Path) -> None:
    """It may be the server's own, renewed."""
    ports = []
    for days in ((-60, 30), (-1, 89)):
        folder = tmp_path / str(days[1])
        folder.mkdir()
        shown = Served(folder)
        shown.show(made(NAME, None, None, chains.server(), days=days))
        ports.append(server.listen("offers:secure", tls=shown.context))
    found = posture_of(target(ports[0], tls="implicit", siblings=ports[1:]))
    assert kinds(found) == [PostureFindingKind.CHAIN, *NOT_RELOADED]


def _subject(called: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)] if called else [])


def test_the_other_port_of_pop3() -> None:
    """Port 110 and 995 of a host are siblings without being named."""
    assert posture_test._sibling_ports(110, (993,)) == [995, 993]
    assert posture_test._sibling_ports(995, (995, 465)) == [110, 465]
    assert posture_test._sibling_ports(1110, ()) == []


@pytest.mark.parametrize("script", ["silent", "flood", "offers:endless", "reset", "close", "error", "hostile", "imap"])
def test_hostile_servers_are_bounded(server: ScriptedServer, served: Served, script: str) -> None:
    """A posture comes in the end, whatever the server does, and its summary has at most 100 bytes."""
    port = server.listen(script, stls=served.context)
    found = posture_of(target(port, max_test_seconds=1))
    assert len(str(found.summary).encode()) <= 100
    assert found.stls is not NO
    assert not any(ord(letter) < 32 for letter in found.problem)
    assert found.problem or found.in_clear is None or found.in_clear.capabilities == ()


def test_local_addresses_are_refused(server: ScriptedServer) -> None:
    """As in every test: nothing is connected to."""
    port = server.listen("offers")
    found = posture_of(target(port), make_prober=partial(Prober, allow_local=False))
    assert "forbidden-address" in found.problem
    assert server.connections(port) == []


@pytest.mark.long
def test_many_targets_side_by_side(server: ScriptedServer, served: Served) -> None:
    """Twenty servers, one of them silent: each has its own posture, in the time of one."""
    ports = [server.listen("offers", stls=served.context) for _ in range(19)]
    targets = [target(port, target_id=str(port)) for port in (*ports, server.listen("silent"))]
    found = {tested.target_id: it for tested, it in probe_postures(targets)}
    assert {it.chain for key, it in found.items() if int(key) in ports} == {YES}
    assert sum(bool(it.problem) for it in found.values()) == 1


def test_a_target_that_cannot_be_used() -> None:
    """The problem of its field, and no exception."""
    found = posture_of(parse_target({"target_id": "t", "host": "127.0.0.1", "ca_pem": "nonsense", "tls": "implicit"}))
    assert "ca_pem" in found.problem


def command(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["posture", *words])
    return done.exit_code, done.output


@pytest.fixture
def root(tmp_path: Path) -> list[str]:
    """The options of a server of this test's authority."""
    file = tmp_path / "root.pem"
    file.write_text(Chain(ROOT.key, [], [ROOT.certificate]).seen[1])
    return ["--ca", str(file), "--tls-name", NAME]


def test_the_command_says_what_to_do(server: ScriptedServer, served: Served, root: list[str]) -> None:
    """Facts and findings in lines of as many characters as `--width` says; a pipe has whole sentences. Exit code 1."""
    port = server.listen("offers:user;tls=TOP,UIDL,IMPLEMENTATION " + "x" * 70, stls=served.context)
    code, printed = command(f"127.0.0.1:{port}", *root)
    assert code == 1
    assert "  USER before TLS accepted\n" in printed
    found = "The server asks for a password or an access token without TLS: anyone on the network path can read it."
    assert f"Found: 1 finding\n  - {found}\n" in printed
    assert printed.endswith("(RFC 2595 section 2.3, RFC 8314 section 4.1, RFC 7628 section 5)\n")
    narrow = command(f"127.0.0.1:{port}", *root, "--width", "60")[1].replace("x" * 70, "").replace("X" * 70, "")
    assert max(map(len, narrow.splitlines())) <= 60


NOTHING = "on this port nothing can be encrypted."


@pytest.mark.parametrize(
    ("offers", "shown"),
    [
        (
            "no-stls;clear=TOP,STLS",
            ("listed by CAPA, and refused", f"CAPA lists STLS, and the server refuses it: {NOTHING}"),
        ),
        ("no-stls;clear=TOP", ("refused", f"The server does not offer STLS: {NOTHING}")),
        (
            "injection",
            (
                "accepted, and TLS is then not tried: Plain text came after the reply to STLS.",
                "The server accepts STLS, and plain text follows its reply before TLS (stls-injection): popwatch"
                " then stops.",
            ),
        ),
        (
            "alert",
            (
                "accepted, and TLS is then not established: The server refused with the TLS alert: handshake failure.",
                f"The server accepts STLS, and TLS is then not established (tls-alert-handshake-failure): {NOTHING}",
            ),
        ),
    ],
)
def test_stls_that_cannot_be_used(
    server: ScriptedServer, served: Served, root: list[str], offers: str, shown: tuple[str, str]
) -> None:
    """Listed and refused, or accepted and without TLS: other faults than a server without it."""
    port = server.listen(f"offers:{offers}", stls=served.context)
    code, printed = command(f"127.0.0.1:{port}", *root)
    assert code == 1
    assert f"  STLS            {shown[0]}\n" in printed
    assert f"Found: 1 finding\n  - {shown[1]}\n" in printed


def test_a_server_in_trouble_has_each_row_and_its_reason(
    server: ScriptedServer, served: Served, root: list[str]
) -> None:
    """Its `[SYS/TEMP]` to everything says nothing of what it offers."""
    port = server.listen("offers:trouble", stls=served.context)
    code, printed = command(f"127.0.0.1:{port}", *root)
    said = "-ERR [SYS/TEMP] come back later"
    assert code == 0
    assert "  before TLS      not known: no reply to CAPA that says what is offered\n" in printed
    assert f"  USER before TLS not known: the server said {said}\n" in printed
    assert f"  STLS            not known: The server said: {said}\n" in printed
    assert printed.endswith("Found: nothing\n")


def test_a_connection_without_an_answer_to_user_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or there was no time for it."""
    monkeypatch.setattr(posture_test, "can_offer", lambda _: False)
    ended = replace(SECURE, error=ErrorCode.DISCONNECTED, reason="reset")
    ask = partial(outcomes_in_turn, target(1110, tls="starttls"), (SECURE, b""))
    assert ask((ended, b""), (SECURE, b"")).user_problem == "USER was not answered (reset)"
    assert ask((SECURE, b"+OK"), (SECURE, b"")).user_problem == ""
    assert posture_test._why_not_known(None) == "there was no time left to ask"


def test_exit_codes_of_the_command(server: ScriptedServer, served: Served, root: list[str]) -> None:
    """0 nothing found, 2 not asked, 3 for a mistake."""
    good, closed = server.listen("offers", stls=served.context), server.listen("refused")
    code, printed = command(f"127.0.0.1:{good}", *root)
    assert (code, printed.splitlines()[-1]) == (0, "Found: nothing")
    code, printed = command(f"127.0.0.1:{closed}")
    assert code == 2
    assert "not tested" in printed
    assert command("127.0.0.1:1", "--port", "2")[0] == 2  # click's own code, which `main` makes 3
    assert "--group and --tag" in command("--group", "x")[1]


def test_before_shows_only_what_got_worse(
    server: ScriptedServer, served: Served, root: list[str], tmp_path: Path
) -> None:
    """A first run as JSON, then others against it: nothing, one change, and a server that was not in it."""
    port = server.listen("offers:user", stls=served.context)
    name = f"127.0.0.1:{port}"
    code, first = command(name, *root, "--json")
    assert code == 1
    before = tmp_path / "before.jsonl"
    before.write_text(first)
    against = ["--before", str(before), *root]
    code, printed = command(name, *against)
    assert (code, printed.splitlines()[-1]) == (0, "Worse than before: nothing")
    server.play(port, "offers:user;no-stls")
    code, printed = command(name, *against)
    assert code == 1
    assert "Worse than before: 1 finding\n  - STLS is gone" in printed
    entry = json.loads(command(name, *against, "--json")[1])
    assert [it["kind"] for it in entry["worse"]] == ["stls-gone"]
    kept = parse_summary(entry["digest"])
    assert kept
    assert kept.chain is YES  # which a server without STLS does not show
    before.write_text(json.dumps(json.loads(first) | {"digest": str(replace(kept, stls=YES, server="0000"))}))
    assert "Not in the earlier run" in command(name, *against)[1]  # it was of another server under this id
    before.write_text(first)
    other = server.listen("offers:user", stls=served.context)
    assert "Not in the earlier run" in command(f"127.0.0.1:{other}", *against)[1]
    before.write_text("nonsense\n")
    assert command(name, *against)[0] != 0


def test_the_command_takes_a_file(server: ScriptedServer, served: Served, tmp_path: Path) -> None:
    """With the fields of each target; `verify_tls: false` does not hide a chain that is cut."""
    served.show(certificate(), whole=False)
    port = server.listen("offers:secure", tls=served.context)
    fields = {"host": "127.0.0.1", "port": port, "tls": "implicit", "verify_tls": False, "tls_name": NAME}
    file = tmp_path / "targets.jsonl"
    file.write_text(json.dumps({"target_id": "mail", **fields}) + "\n")
    code, printed = command("--file", str(file), "--json")
    assert code == 1
    entry = json.loads(printed)
    assert entry["target_id"] == "mail"
    assert [(it["kind"], it["about"]) for it in entry["findings"]] == [("chain-not-trusted", "tls-issuer-missing")]
    assert entry["chain_reason"] == "tls-issuer-missing"


def test_the_page_of_the_docs_names_everything(server: ScriptedServer) -> None:
    """Each kind of finding and each name of the JSON, and no others."""
    page = (Path(__file__).parents[2] / "docs" / "posture.md").read_text()
    found, _, json_part = page.partition("\n## As JSON\n")
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", found, re.MULTILINE) == list(PostureFindingKind)
    rows = re.findall(r"^\| (`.+?) \|", json_part, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == set(json.loads(command(f"127.0.0.1:{server.listen('refused')}", "--json")[1]))


OWN = Certificate(Role.LEAF, "pop.example.net", datetime(2026, 12, 30, tzinfo=UTC), timedelta(days=90))
KEPT_FROM_OLD_TIMES = Posture(
    datetime(2026, 11, 27, tzinfo=UTC),
    "192.0.2.7",
    stls=YES,
    user_in_clear=YES,
    tls_1_0=NO,
    tls_1_1=NO,
    chain=YES,
    tls_version="TLSv1.3",
    in_clear=CapaReply(("TOP", "UIDL", "RESP-CODES", "PIPELINING", "STLS")),
    in_tls=CapaReply(("TOP", "UIDL", "USER", "SASL PLAIN CRAM-MD5"), ("PLAIN", "CRAM-MD5")),
    certificate=OWN,
    siblings=(Sibling(995, OWN, is_same=True, covers_names=True),),
)


def test_the_example_of_the_docs_is_printed_so() -> None:
    """The output on the page is that of the posture above."""
    shown = to_text(
        parse_target({"target_id": "pop.example.net", "host": "pop.example.net"}),
        KEPT_FROM_OLD_TIMES,
        findings(KEPT_FROM_OLD_TIMES),
        80,
        "Found",
    )
    page = (Path(__file__).parents[2] / "docs" / "posture.md").read_text()
    assert indent("\n".join(shown), "    ") in page


def test_a_sibling_that_was_not_asked_is_named() -> None:
    """Also where the server has no TLS, so that there is nothing to compare: no port that was named is left out."""
    target = parse_target({"target_id": "a", "host": "pop.example.net", "siblings": [99, 110, 995]})
    without = replace(KEPT_FROM_OLD_TIMES, stls=NO, certificate=None, siblings=())
    shown = "\n".join(to_text(target, without, [], 120, "Found"))
    assert "port 99         no certificate: not asked, since port 110 shows none to compare with" in shown
    assert "port 110        no certificate: this is the port itself" in shown
    asked = "\n".join(to_text(target, KEPT_FROM_OLD_TIMES, [], 120, "Found"))
    assert "port 995        the same certificate" in asked
    summary = without.kept_after(None)
    assert [it["port"] for it in to_json(target, without, [], None, summary)["siblings"]] == [99, 110, 995]
