"""Access tokens: against a token endpoint with a real certificate, that answers, refuses, is silent or misbehaves."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from popwatch.model.credential_problems import PROBLEM_CACHED_FOR, CredentialProblem, Unusable
from popwatch.model.credentials import Mechanism, Secret
from popwatch.model.stored_credentials import MICROSOFT_SCOPE, StoredCredential, TokenSource
from popwatch.prober import access_tokens
from popwatch.prober.access_tokens import (
    LARGEST_ANSWER,
    RENEWED_BEFORE,
    AccessToken,
    AccessTokens,
    TokenError,
    fetch_token,
)

CANARY = "canary~secret/+&=1"
NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
TOKEN = "eyJ0eXAi.canary-token_1~="


def http(status: str, body: object, headers: str = "") -> bytes:
    """An answer of HTTP."""
    text = body if isinstance(body, str) else json.dumps(body)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text.encode())}\r\n{headers}\r\n{text}".encode()


GRANTED = http("200 OK", {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN})


@dataclass
class Endpoint:
    """A token endpoint on loopback: what it answers, and the requests that it got."""

    authority: trustme.CA
    answer: Callable[[ssl.SSLSocket], None] | bytes = GRANTED
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("localhost").configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.trusting = ssl.create_default_context()
        self.authority.configure_trust(self.trusting)
        threading.Thread(target=self._serve, daemon=True).start()

    def source(self, host: str = "localhost") -> TokenSource:
        """Its address, as a credential has it."""
        return TokenSource(f"https://{host}:{self.port}/example.com/oauth2/v2.0/token?x=1", "an-id")

    def fetch(self, source: TokenSource, secret: Secret) -> AccessToken:
        """Ask it, trusting its authority."""
        return fetch_token(source, secret, self.trusting)

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                self.requests.append(read_request(connection))
                if isinstance(self.answer, bytes):
                    connection.sendall(self.answer)
                else:
                    self.answer(connection)
        except OSError:
            plain.close()


def read_request(connection: ssl.SSLSocket) -> str:
    """A request with its body."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += connection.recv(4096)
    head, _, body = text.partition(b"\r\n\r\n")
    [length] = [int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-len")]
    while len(body) < length:
        body += connection.recv(4096)
    return (head + b"\r\n\r\n" + body).decode()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def endpoint(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """An endpoint that grants; a proxy in the environment that would see everything, and is not used."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    found = Endpoint(authority)
    yield found
    found.close()


def office(source: TokenSource, secret: str = CANARY) -> StoredCredential:
    return StoredCredential("office", "anna@example.com", Secret(secret), Mechanism.XOAUTH2, source, 1, NOON)


def refused(endpoint: Endpoint, source: TokenSource | None = None) -> TokenError:
    """What fetching a token raises; nothing of the exception has a secret."""
    with pytest.raises(TokenError) as found:
        endpoint.fetch(source or endpoint.source(), Secret(CANARY))
    error: BaseException | None = found.value
    while error is not None:
        assert "canary" not in repr(error) + str(error)
        error = error.__context__
    return found.value


def test_a_token_is_granted(endpoint: Endpoint) -> None:
    """The request is what Microsoft describes; every character of the secret arrives as it is."""
    token = endpoint.fetch(endpoint.source(), Secret(CANARY))
    assert (token.secret.reveal(), token.valid) == (TOKEN, timedelta(seconds=3599))
    [request] = endpoint.requests
    head, _, body = request.partition("\r\n\r\n")
    assert head.startswith("POST /example.com/oauth2/v2.0/token?x=1 HTTP/1.1\r\n")
    assert f"\r\nHost: localhost:{endpoint.port}\r\n" in head
    assert "\r\nContent-Type: application/x-www-form-urlencoded\r\n" in head
    assert parse_qs(body) == {
        "grant_type": ["client_credentials"],
        "client_id": ["an-id"],
        "client_secret": [CANARY],
        "scope": [MICROSOFT_SCOPE],
    }


@pytest.mark.parametrize(
    ("answer", "reason", "code"),
    [
        (
            http(
                "401 Unauthorized",
                {
                    "error": "invalid_client",
                    "error_description": f"AADSTS7000215: Invalid client secret {CANARY}.\r\nTrace ID: x",
                },
            ),
            Unusable.TOKEN_REFUSED,
            "HTTP 401, invalid_client, AADSTS7000215",
        ),
        (http("400 Bad Request", {"error": CANARY}), Unusable.TOKEN_REFUSED, "HTTP 400"),
        (http("403 Forbidden", CANARY), Unusable.TOKEN_REFUSED, "HTTP 403"),
        (http("503 Busy", "x"), Unusable.TOKEN_UNAVAILABLE, "HTTP 503"),
        (http("429 Too Many", {"error": "slow_down"}), Unusable.TOKEN_UNAVAILABLE, "HTTP 429, slow_down"),
        (http("302 Found", "", "Location: https://example.com/\r\n"), Unusable.TOKEN_UNAVAILABLE, "HTTP 302"),
        (http("200 OK", "[]"), Unusable.TOKEN_UNAVAILABLE, "the answer has no bearer token"),
        (http("200 OK", "{" * 5000), Unusable.TOKEN_UNAVAILABLE, "the answer has no bearer token"),
        (
            http("200 OK", {"token_type": "mac", "access_token": TOKEN}),
            Unusable.TOKEN_UNAVAILABLE,
            "the answer has no bearer token",
        ),
        (
            http("200 OK", {"token_type": "bearer", "access_token": f"{TOKEN}\r\nDELE 1"}),
            Unusable.TOKEN_UNAVAILABLE,
            "the answer has no bearer token",
        ),
        (http("200 OK", "x" * (LARGEST_ANSWER + 1)), Unusable.TOKEN_UNAVAILABLE, "the answer is too large"),
        (b"+OK POP3 " + CANARY.encode() + b"\r\n", Unusable.TOKEN_UNAVAILABLE, "BadStatusLine"),
        (b"", Unusable.TOKEN_UNAVAILABLE, "RemoteDisconnected"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
            Unusable.TOKEN_UNAVAILABLE,
            "the answer has no bearer token",
        ),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", Unusable.TOKEN_UNAVAILABLE, "HTTPException"),
    ],
)
def test_what_an_endpoint_may_answer(endpoint: Endpoint, answer: bytes, reason: Unusable, code: str) -> None:
    """A refusal is one of the client; all else is the endpoint's fault. Of its text only codes are kept."""
    endpoint.answer = answer
    found = refused(endpoint)
    assert (found.reason, found.code) == (reason, code)


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(3599, 3599), ("3599", 3599), (None, 300), ("soon", 300), (-5, 300), (1, 60), (10**8, 86_400), ("9" * 5000, 300)],
)
def test_how_long_a_token_is_valid(endpoint: Endpoint, expires_in: object, seconds: int) -> None:
    """As the endpoint says, within reason; some say it as a text, and it need not be said."""
    endpoint.answer = http("200 OK", {"token_type": "Bearer", "access_token": TOKEN, "expires_in": expires_in})
    assert endpoint.fetch(endpoint.source(), Secret(CANARY)).valid == timedelta(seconds=seconds)


def test_the_certificate_is_verified(endpoint: Endpoint) -> None:
    """Its chain and its name, before the secret is sent."""
    with pytest.raises(TokenError, match="the certificate is not valid: "):
        fetch_token(endpoint.source(), Secret(CANARY))
    assert refused(endpoint, endpoint.source("127.0.0.1")).code.startswith("the certificate is not valid: IP address")
    assert endpoint.requests == []


def drip(connection: ssl.SSLSocket) -> None:
    """Send a header without end, a byte at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def test_an_endpoint_that_never_ends(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """One deadline for the whole request, however many bytes come."""
    monkeypatch.setattr(access_tokens, "LONGEST_SECONDS", 0.6)
    endpoint.answer = drip
    begun = time.monotonic()
    assert refused(endpoint).code == "no answer in time"
    assert time.monotonic() - begun < 5


def test_a_handshake_that_never_ends(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before TLS is there."""
    monkeypatch.setattr(access_tokens, "LONGEST_SECONDS", 0.6)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = replace(endpoint.source(), url=f"https://localhost:{silent.getsockname()[1]}/")
        assert refused(endpoint, source).code == "no answer in time"


def test_no_one_listens(endpoint: Endpoint) -> None:
    source = endpoint.source()
    endpoint.close()
    assert refused(endpoint, source).code == "ConnectionRefusedError"
    endpoint.__post_init__()


@dataclass
class Fetching:
    """A clock, and a fetch of which the test decides when it ends."""

    now: datetime = NOON
    fetched: list[str] = field(default_factory=list)
    valid: timedelta = timedelta(hours=1)
    error: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.tokens = AccessTokens(lambda: self.now, self._fetch)

    def _fetch(self, source: TokenSource, _: Secret) -> AccessToken:
        self.fetched.append(source.url)
        self.gate.wait(20)
        if self.error:
            raise self.error
        return AccessToken(Secret(f"token-{len(self.fetched)}"), self.valid)

    def read(self, one: StoredCredential | None = None, patience: float = 10.0) -> str:
        """The token, or the code of the problem."""
        found = self.tokens.read([one or ONE], patience)["office"]
        return f"{found.reason}: {found.code}" if isinstance(found, CredentialProblem) else found.reveal()


ONE = office(TokenSource("https://login.example.com/token", "an-id"))


def test_a_token_is_kept_and_renewed_in_time() -> None:
    """While the next one is fetched the old one is used: no test waits for it."""
    fetching = Fetching()
    assert [fetching.read(), fetching.read()] == ["token-1", "token-1"]
    assert len(fetching.fetched) == 1
    fetching.now += timedelta(hours=1) - RENEWED_BEFORE
    fetching.gate.clear()
    assert [fetching.read(patience=0) for _ in range(3)] == ["token-1"] * 3
    fetching.gate.set()
    deadline = time.monotonic() + 300
    while fetching.read() != "token-2":
        assert time.monotonic() < deadline
    assert len(fetching.fetched) == 2


def test_a_token_that_has_ended_is_not_used() -> None:
    """Nor one that will have ended when it is sent."""
    fetching = Fetching()
    fetching.read()
    fetching.now += timedelta(hours=1) - timedelta(seconds=30)
    assert fetching.read() == "token-2"


def test_a_token_that_is_forgotten_is_fetched_again() -> None:
    """And no other credential's."""
    fetching = Fetching()
    fetching.read()
    fetching.tokens.forget("offic")
    assert fetching.read() == "token-1"
    fetching.tokens.forget("office")
    assert fetching.read() == "token-2"


def test_another_version_gets_a_token_of_its_own() -> None:
    """Its secret or client may be another."""
    fetching = Fetching()
    fetching.read()
    assert fetching.read(replace(ONE, version=2)) == "token-2"


def test_tests_do_not_wait_for_a_slow_endpoint() -> None:
    """Past their patience there is no token for this sweep; the request goes on, for the next one."""
    fetching = Fetching()
    fetching.gate.clear()
    begun = time.monotonic()
    assert fetching.read(patience=0.05) == "token-unavailable: no answer yet"
    assert time.monotonic() - begun < 5
    fetching.gate.set()
    assert fetching.read() == "token-1"
    assert len(fetching.fetched) == 1


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (TokenError(Unusable.TOKEN_REFUSED, "HTTP 401, invalid_client"), "token-refused: HTTP 401, invalid_client"),
        (RuntimeError(CANARY), "token-unavailable: RuntimeError"),
    ],
)
def test_a_problem_stands_until_the_next_sweep(error: Exception, shown: str) -> None:
    """An endpoint that refuses is asked once a minute."""
    fetching = Fetching(error=error)
    assert [fetching.read(), fetching.read()] == [shown, shown]
    assert len(fetching.fetched) == 1
    fetching.now += PROBLEM_CACHED_FOR
    fetching.error = None
    assert fetching.read() == "token-2"


def test_explanations() -> None:
    """Each says what to do, where someone can do something."""
    texts = {reason: CredentialProblem("office", reason, "HTTP 401").explanation for reason in Unusable}
    assert all("office" in text for text in texts.values())
    assert "client's id and secret" in texts[Unusable.TOKEN_REFUSED]


def test_no_threads_without_xoauth2() -> None:
    """They cost memory, and time at a cold start."""
    tokens: Any = AccessTokens(lambda: NOON)
    assert tokens.read([]) == {}
    assert tokens._threads is None
