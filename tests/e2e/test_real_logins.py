"""Logins to real POP3 servers from Debian's packages: the mailbox is opened and left as it was, refusals are judged."""

import base64
import poplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from popwatch.model.credentials import Credential, Mechanism, Secret
from popwatch.model.outcomes import LoginVerdict, Outcome, Phase
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober
from tests.e2e.login_servers import KINDS, MESSAGES, PASSWORD, USER, LoginKind, Running, mailbox, missing, running
from tests.e2e.tap import tapping

pytestmark = [pytest.mark.debian, pytest.mark.timeout(120)]

WRONG = "canary-wrong-staple"
LOGINS = 10
"""Of each mechanism, one after the other: a mailbox is open once at a time. `make bench BENCH=logins` makes 10,000."""


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

    Someone on the path sees no octet of the password, plain or in Base64.
    """
    contents(server)  # a server may note in the mailbox what has been read
    before = contents(server)
    modes = [("implicit", server.tls_port), *([("starttls", server.port)] if server.port else [])]
    for tls, port in modes:
        with tapping(port) as tap:
            for mechanism in kind.mechanisms:
                for _ in range(LOGINS if tls == "implicit" else 2):
                    outcome = when_free(server, tap.port, mechanism, tls)
                    assert outcome.passed, outcome
                    assert outcome.login is not None
                    assert outcome.login.verdict is LoginVerdict.PASSED, outcome
                    assert outcome.login.messages == MESSAGES
                    assert outcome.login.login_delay == kind.login_delay
                    assert outcome.login_ms is not None
        seen = b"".join(tap.sent)
        plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        assert len(tap.sent) >= 2 * len(kind.mechanisms)
        assert len(seen) > 100 * len(tap.sent)
        for part in (PASSWORD.encode(), USER.encode(), plain[8:]):
            assert part not in seen
    assert contents(server) == before


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
