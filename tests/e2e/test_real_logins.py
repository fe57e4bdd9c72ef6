"""Logins to real POP3 servers from Debian's packages: the mailbox is opened and left as it was, refusals are judged.

| answer | which server gives it | how |
|---|---|---|
| `[AUTH]` | Dovecot, mailutils, Cyrus | a wrong password |
| `[IN-USE]` | Dovecot, mailutils | another session has the mailbox open |
| `[LOGIN-DELAY]` | Cyrus with `popminpoll` | a login less than a minute after another one |
| `[SYS/TEMP]` | Dovecot | its file of users cannot be read |
| `[SYS/PERM]` | Cyrus | its list of mailboxes cannot be read |
| `-ERR` without a code | Courier, popa3d, solid-pop3d, mailfront, Twisted, nginx, perdition | a wrong password |

The same from a scripted server, in all variations: tests/unit/test_login.py, tests/integration/test_logins.py.
"""

import json
import poplib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import trustme

from popwatch.aws.credentials import CACHED_FOR
from popwatch.model.credentials import Credential, Mechanism, Secret
from popwatch.model.outcomes import ErrorCode, LoginVerdict, Outcome, Phase
from popwatch.model.stored_credentials import StoredCredential
from popwatch.model.targets import Target, parse_target
from popwatch.prober.access_tokens import AccessTokens
from popwatch.prober.loop import Prober, probe
from tests.e2e.capture import Capture, capturing, forms_of
from tests.e2e.login_servers import (
    CYRUS,
    KINDS,
    MESSAGES,
    PASSWORD,
    USER,
    LoginKind,
    Running,
    cyrus,
    dovecot_with_tokens,
    mailbox,
    missing,
    plaintext_dovecot,
    running,
    wait_until_accepting,
)
from tests.e2e.tap import Tap, tapping_within_tls
from tests.integration.logins import put_credential, with_logins
from tests.integration.test_access_tokens import Endpoint, http
from tests.integration.world import MINUTE, World, new_world

pytestmark = pytest.mark.debian

WRONG = "canary-wrong-staple"
CLIENT, TOKEN = "canary~client/+&=1", "eyJ0eXAi.canary-token_1~="
TLS_HANDSHAKE = b"\x16\x03"
"""The first record of TLS: its type, and the first octet of its version (RFC 8446 section 5.1)."""

LOGINS = 10
"""Of each mechanism, one after the other: a mailbox is open once at a time. `make bench BENCH=logins` has 1,000."""


@pytest.fixture(scope="module", autouse=True)
def _mailbox() -> Iterator[None]:
    if reason := missing(KINDS[0]):
        pytest.skip(reason)
    with mailbox():
        yield


@pytest.fixture(scope="module", params=KINDS, ids=[kind.name for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> LoginKind:
    """Each kind of server."""
    kind: LoginKind = request.param
    if reason := missing(kind):
        pytest.skip(reason)
    return kind


@pytest.fixture(scope="module")
def server(kind: LoginKind) -> Iterator[Running]:
    """A running server, in a folder that it can read under another user."""
    with TemporaryDirectory() as folder, running(kind, Path(folder)) as found:
        yield found


def target(server: Running, port: int, tls: str = "implicit") -> Target:
    """With the deadline of all targets with a login, in which each server must judge a locked mailbox."""
    item: dict[str, Any] = {"target_id": "t", "host": "127.0.0.1", "port": port, "tls": tls}
    return parse_target(item | {"ca_pem": server.authority_pem, "login": "monitor"})


def log_in(
    server: Running, port: int, mechanism: str = "user", tls: str = "implicit", secret: str = PASSWORD
) -> Outcome:
    credential = Credential("n", USER, Secret(secret), Mechanism(mechanism))
    [(_, outcome)] = [
        found
        for arrivals in Prober(credentials={"t": credential}).run([target(server, port, tls)])
        for found in arrivals
    ]
    return outcome


def when_free(server: Running, port: int, mechanism: str = "user", tls: str = "implicit") -> Outcome:
    """A login once the session before has let go of the mailbox, which some servers do a little after QUIT."""
    for _ in range(50):
        outcome = log_in(server, port, mechanism, tls)
        if outcome.login is None or outcome.login.verdict is not LoginVerdict.IN_USE:
            break
        time.sleep(0.1)
    return outcome


@contextmanager
def session(server: Running) -> Iterator[poplib.POP3_SSL]:
    """Another mail client, logged in."""
    context = ssl.create_default_context(cadata=server.authority_pem)
    client = poplib.POP3_SSL("127.0.0.1", server.tls_port, context=context, timeout=20)
    try:
        client.user(USER)
        client.pass_(PASSWORD)
        yield client
        client.quit()
    finally:
        client.close()


def contents(server: Running) -> tuple[object, ...]:
    """STAT, UIDL and every message."""
    with session(server) as client:
        return client.stat(), client.uidl()[1], [client.retr(number + 1)[1] for number in range(MESSAGES)]


def test_logins_open_the_mailbox_and_leave_it_as_it_was(kind: LoginKind, server: Running) -> None:
    """By each mechanism and mode of the server; STAT, UIDL and all messages are the same before and after.

    The packets are captured meanwhile: all that popwatch sends in the clear is STLS, and nothing that either side sends
    holds the user or the password, plain or in Base64. `test_the_capture_sees_a_password_in_the_clear` is the control.
    """
    contents(server)  # a server may note in the mailbox what has been read
    before = contents(server)
    with capturing(server.tls_port) as in_tls:
        for mechanism in kind.mechanisms:
            for _ in range(LOGINS):
                check_login(kind, when_free(server, server.tls_port, mechanism))
    check_capture(in_tls, server.tls_port, LOGINS * len(kind.mechanisms), TLS_HANDSHAKE, TLS_HANDSHAKE)
    if kind.starttls:
        with capturing(server.port) as from_clear:
            for mechanism in kind.mechanisms:
                for _ in range(2):
                    check_login(kind, when_free(server, server.port, mechanism, "starttls"))
        check_capture(from_clear, server.port, 2 * len(kind.mechanisms), b"STLS\r\n" + TLS_HANDSHAKE, b"+OK")
    assert contents(server) == before


def check_login(kind: LoginKind, outcome: Outcome) -> None:
    """Accepted, and the mailbox as it is."""
    assert outcome.passed, outcome
    assert outcome.login is not None
    assert outcome.login.verdict is LoginVerdict.PASSED, outcome
    assert outcome.login.messages == MESSAGES
    assert outcome.login.login_delay == kind.login_delay
    assert outcome.login_ms is not None


def check_capture(capture: Capture, port: int, logins: int, client_begins: bytes, server_begins: bytes) -> None:
    """Each login was captured from its first byte, and neither the user nor the password is seen in any of them."""
    sent, answered = capture.sent_to(port), capture.sent_by(port)
    assert len(sent) == len(answered) >= logins
    assert all(stream.startswith(client_begins) and len(stream) > 500 for stream in sent)
    assert all(stream.startswith(server_begins) and len(stream) > 500 for stream in answered)
    assert capture.found(forms_of(USER, PASSWORD)) == set()


def test_the_capture_sees_a_password_in_the_clear() -> None:
    """Of another client, at a server that takes it without TLS, by PASS and by PLAIN; popwatch does not send it there.

    With STLS it logs in there too, and without TLS it is refused before anything is sent.
    """
    if reason := missing(KINDS[0]):
        pytest.skip(reason)
    kind = replace(KINDS[0], commands=plaintext_dovecot)
    user, password, *encoded, response = forms_of(USER, PASSWORD)
    with TemporaryDirectory() as folder, running(kind, Path(folder)) as server:
        with capturing(server.port) as of_popwatch:
            check_login(kind, when_free(server, server.port, tls="starttls"))
            refused = log_in(server, server.port, tls="none")
        with capturing(server.port) as by_pass:
            log_in_without_tls(server, b"USER " + user, b"PASS " + password)
        with capturing(server.port) as by_plain:
            log_in_without_tls(server, b"AUTH PLAIN " + response)
    assert (refused.error, len(of_popwatch.sent_to(server.port))) == (ErrorCode.MISSING_FIELDS, 1)
    assert of_popwatch.found(forms_of(USER, PASSWORD)) == set()
    assert by_pass.found(forms_of(USER, PASSWORD)) == {user, password}
    assert by_plain.found(forms_of(USER, PASSWORD)) == {encoded[len(f"\0{USER}\0") % 3], response}


def log_in_without_tls(server: Running, *commands: bytes) -> None:
    """Another mail client, which sends its password in the clear."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client, client.makefile("rwb") as lines:
        assert lines.readline().startswith(b"+OK")
        for command in (*commands, b"QUIT"):
            lines.write(command + b"\r\n")
            lines.flush()
            assert lines.readline().startswith(b"+OK")


def test_a_wrong_password_is_told_from_a_broken_server(kind: LoginKind, server: Running) -> None:
    """By its response code, or without one as unclear, which fails; both count against the credential."""
    outcome = log_in(server, server.tls_port, secret=WRONG)
    assert outcome.login is not None
    assert outcome.login.verdict == kind.wrong, outcome
    assert outcome.login.verdict.counts_against_credential
    assert outcome.passed == (kind.wrong == "rejected")
    assert WRONG not in repr(outcome)


def test_a_mailbox_in_use(kind: LoginKind, server: Running) -> None:
    """While another session has it open."""
    if not kind.in_use:
        pytest.skip("Dovecot waits for ten seconds, which is tried once")
    with session(server) as client:
        client.stat()
        outcome = log_in(server, server.tls_port)
    assert outcome.login is not None
    assert outcome.login.verdict == kind.in_use, outcome
    assert outcome.passed == (kind.in_use in ("passed", "in-use"))


@contextmanager
def watching(server: Running, secret: str) -> Iterator[tuple[World, Tap]]:
    """Two targets at a server with one credential: the first failed test would alert, and every test logs in."""
    fields = {"tls": "implicit", "ca_pem": server.authority_pem, "login": "monitor", "login_every": 60}
    with (
        tapping_within_tls(server.tls_port, server.folder) as tap,
        new_world(now=datetime.now(UTC).replace(microsecond=0), with_servers=True) as world,
    ):
        wait_until_accepting(tap.port, server.folder)
        ssm = boto3.client("ssm")
        world.logins = with_logins(world, ssm)
        put_credential(world, ssm, user=USER, secret=secret)
        for name in ("a", "b"):
            world.put_target(name, host="127.0.0.1", port=tap.port, failures_per_alert=1, **fields)
        yield world, tap


def run(world: World, minutes: int) -> None:
    for _ in range(minutes):
        world.minute(world.now + MINUTE)


def passwords(tap: Tap) -> Counter[bytes]:
    """How often the server has read each password."""
    lines = b"\n".join(bytes(sent) for sent in tap.sent).splitlines()
    return Counter(line.removeprefix(b"PASS ") for line in lines if line.startswith(b"PASS "))


def test_two_wrong_passwords_and_no_third(kind: LoginKind, server: Running) -> None:
    """Two targets share one; the server reads it twice in an hour, and the operator receives one message.

    Without a response code the login fails, and both are down: there it may be the server's fault, and is tried again
    after the hour. The right one is sent as soon as it is stored.
    """
    with watching(server, WRONG) as (world, tap):
        run(world, 10)
        world.now += 45 * MINUTE
        run(world, 5)
        assert passwords(tap) == {WRONG.encode(): 2}
        events = Counter(alert["event"] for alert in world.received())
        assert events["credential"] == 1
        assert set(events) == ({"credential", "down"} if kind.wrong == "unclear" else {"credential"})
        put_credential(world, boto3.client("ssm"), user=USER, secret=PASSWORD)
        world.now += CACHED_FOR
        run(world, 8)  # one target tries it first, and a lost one is tested each five minutes
        assert passwords(tap)[WRONG.encode()] == 2
        assert passwords(tap)[PASSWORD.encode()] >= 3
        assert (world.state("a"), world.state("b")) == ("up", "up")


def test_a_mailbox_in_use_alerts_no_one(kind: LoginKind, server: Running) -> None:
    """Whether the server says `[IN-USE]` or opens it for two: the first failed test would alert."""
    if not kind.in_use:
        pytest.skip("Dovecot waits for ten seconds, which is tried once")
    with session(server) as client, watching(server, PASSWORD) as (world, tap):
        client.stat()
        run(world, 1)
        assert passwords(tap)
        assert (world.state("a"), world.received()) == ("up", [])


def test_a_server_that_cannot_read_its_users() -> None:
    """It greets, and says `[SYS/TEMP]` to whoever logs in: a failure of the server, which counts against no one."""
    if reason := missing(KINDS[0]):
        pytest.skip(reason)
    with TemporaryDirectory() as folder, running(KINDS[0], Path(folder)) as server:
        (server.folder / "users").chmod(0)
        outcome = log_in(server, server.tls_port)
    assert (outcome.reason, outcome.phase) == ("login-sys-temp", Phase.LOGIN)
    assert outcome.login is not None
    assert not outcome.login.verdict.counts_against_credential


@pytest.fixture
def cyrus_kind() -> LoginKind:
    """Cyrus, to be started with other settings."""
    if reason := missing(CYRUS):
        pytest.skip(reason)
    return CYRUS


def test_a_server_that_cannot_read_its_mailboxes(cyrus_kind: LoginKind) -> None:
    """It greets, and says `[SYS/PERM]` to whoever logs in: a failure of the server, which counts against no one."""
    with TemporaryDirectory() as folder, running(cyrus_kind, Path(folder)) as server:
        (server.folder / "cyrus/lib/mailboxes.db").chmod(0)
        outcome = log_in(server, server.tls_port)
    assert (outcome.reason, outcome.phase) == ("login-sys-perm", Phase.LOGIN)
    assert outcome.login is not None
    assert not outcome.login.verdict.counts_against_credential


def test_a_server_that_wants_time_between_two_logins(cyrus_kind: LoginKind) -> None:
    """It states a LOGIN-DELAY of a minute; one that comes earlier is answered with `[LOGIN-DELAY]`: no failed test."""
    slow = replace(cyrus_kind, commands=cyrus(popminpoll=1))
    with TemporaryDirectory() as folder, running(slow, Path(folder)) as server:
        with session(server) as client:
            client.stat()
        outcome = log_in(server, server.tls_port)
        assert outcome.login is not None
        assert (outcome.passed, outcome.login.verdict) == (True, LoginVerdict.LOGIN_DELAY), outcome
        assert outcome.login.login_delay == 60
        with watching(server, PASSWORD) as (world, tap):
            run(world, 1)
            assert passwords(tap)
            assert (world.state("a"), world.received()) == ("up", [])


class WhoseToken(BaseHTTPRequestHandler):
    """Says whose a token is, as the one who has issued it: the user's, if it is the right one."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        [token] = parse_qs(urlsplit(self.path).query)["access_token"]
        self.asked.append(token)
        status, answer = (200, {"username": USER}) if token == TOKEN else (401, {"error": "invalid_token"})
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing to stderr."""


@contextmanager
def token_issuer() -> Iterator[int]:
    """What Dovecot asks whose a token is; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WhoseToken) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, daemon=True)
        thread.start()
        yield http_server.server_port
        http_server.shutdown()
        thread.join()


def test_an_access_token_of_a_token_server() -> None:
    """Fetched from a token server, and taken by a Dovecot that asks whose it is; another token is rejected."""
    if reason := missing(KINDS[0]):
        pytest.skip(reason)
    endpoint = Endpoint(trustme.CA())
    stored = StoredCredential("n", USER, Secret(CLIENT), Mechanism.XOAUTH2, endpoint.source())
    try:
        with token_issuer() as asks, TemporaryDirectory() as folder:
            kind = replace(KINDS[0], commands=dovecot_with_tokens(asks))
            with running(kind, Path(folder)) as server:
                outcomes = []
                for token in (TOKEN, f"other-{TOKEN}"):
                    endpoint.answer = http(
                        "200 OK", {"token_type": "Bearer", "expires_in": 3599, "access_token": token}
                    )
                    found = AccessTokens(lambda: datetime.now(UTC), endpoint.fetch).read([stored])["n"]
                    assert isinstance(found, Secret)
                    given = stored.credential(found)
                    outcomes.append(probe(target(server, server.tls_port), Prober(credentials={"t": given})))
    finally:
        endpoint.close()
    accepted, rejected = [outcome.login for outcome in outcomes if outcome.login]
    assert (accepted.verdict, accepted.messages) == (LoginVerdict.PASSED, MESSAGES), outcomes
    assert (rejected.verdict, outcomes[1].passed) == (LoginVerdict.REJECTED, True), outcomes
    assert {TOKEN, f"other-{TOKEN}"} <= set(WhoseToken.asked)
    assert len(endpoint.requests) == 2
    assert CLIENT not in "".join(WhoseToken.asked)
