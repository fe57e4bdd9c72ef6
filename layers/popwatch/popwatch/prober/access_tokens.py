"""Access tokens for XOAUTH2: fetched from a token endpoint with client credentials, kept until they expire.

RFC 6749 section 4.4; as Microsoft has it: learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow

A token is fetched in a thread, so that tests do not wait for a slow endpoint: whoever asks waits for a few seconds at
most, and only if the token has expired or is missing. A token is fetched again some minutes before it expires. Once
it is connected, all of a request has one deadline; the certificate is always verified; a redirect is not
followed, as it would take the client's secret elsewhere; and no proxy of the environment is used. What a server answers
gets out only as a token or as a code.
"""

import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Timer
from typing import Any
from urllib.parse import urlencode, urlsplit

from popwatch.model.credential_problems import PROBLEM_CACHED_FOR, CredentialProblem, Unusable
from popwatch.model.credential_state import revision_of
from popwatch.model.credentials import Mechanism, Secret, UnusableCredentialError, check_secret
from popwatch.model.stored_credentials import StoredCredential, TokenSource
from popwatch.prober.tls import context

LONGEST_SECONDS = 10.0
"""Seconds for a whole request: name, connection, TLS, answer."""

PATIENCE_SECONDS = 4.0
"""Seconds for which tests wait for a token, if there is none yet."""

LARGEST_ANSWER = 65_536
"""Bytes of an answer's body; Microsoft's have 2,000 to 5,000."""

AT_ONCE = 8
"""Requests at once."""

RENEWED_BEFORE = timedelta(minutes=5)
"""How long before its end another token is fetched; at half its time if it is valid for less than twice that."""

USED_UNTIL = timedelta(seconds=30)
"""How long before its end a token is no longer used: a test may take so long until it sends it."""

SHORTEST, USUAL, LONGEST = timedelta(minutes=1), timedelta(minutes=5), timedelta(days=1)
"""How long a token may be said to be valid; `expires_in` is recommended only (RFC 6749 section 5.1)."""

_CODE = re.compile(r"[a-z_]{1,40}")
"""An error code (RFC 6749 section 5.2)."""

_MICROSOFT_CODE = re.compile(r"\bAADSTS[0-9]{4,9}\b", re.ASCII)
"""Microsoft's own, in the description: learn.microsoft.com/entra/identity-platform/reference-error-codes"""


class TokenError(Exception):
    """There is no token: why, and a code without a secret."""

    def __init__(self, reason: Unusable, code: str) -> None:
        super().__init__(code)
        self.reason, self.code = reason, code


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token, and how long it is valid from now on."""

    secret: Secret
    valid: timedelta


Fetch = Callable[[TokenSource, Secret], AccessToken]


@dataclass(frozen=True, slots=True)
class _CachedToken:
    """A token that was fetched, until when it is used, and from when on another one is fetched."""

    secret: Secret
    ends: datetime
    renewed_from: datetime


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why the last request gave no token, and when."""

    at: datetime
    reason: Unusable
    code: str


class AccessTokens:
    """The access tokens of credentials; `clock` gives the current time, `fetch` asks a token endpoint."""

    def __init__(self, clock: Callable[[], datetime], fetch: Fetch | None = None) -> None:
        self._clock, self._fetch = clock, fetch or fetch_token
        self._threads: ThreadPoolExecutor | None = None
        self._cached: dict[str, _CachedToken] = {}
        self._under_way: dict[str, Future[AccessToken]] = {}
        self._problems: dict[str, _Problem] = {}

    def read(
        self, credentials: Iterable[StoredCredential], patience: float = PATIENCE_SECONDS
    ) -> Mapping[str, Secret | CredentialProblem]:
        """A token for each of these credentials by its name, or what is wrong; waits `patience` seconds at most."""
        wanted = {one.name: (f"{one.name} {revision_of(one)}", one) for one in credentials}
        for key, one in wanted.values():
            self._begin(key, one)
        urgent = [self._under_way[key] for key, _ in wanted.values() if key in self._under_way and not self._valid(key)]
        if urgent:
            wait(urgent, timeout=patience)
        for key in list(self._under_way):
            self._end(key)
        return {name: self._found(key, one) for name, (key, one) in wanted.items()}

    def forget(self, name: str) -> None:
        """Fetch another token for a credential: a server has rejected this one, which may have been revoked."""
        for key in [key for key in self._cached if key.partition(" ")[0] == name]:
            del self._cached[key]

    def _begin(self, key: str, one: StoredCredential) -> None:
        """Fetch a token in a thread if there is none, or if it ends soon."""
        cached, problem, now = self._cached.get(key), self._problems.get(key), self._clock()
        if key in self._under_way or (cached and cached.renewed_from > now and self._valid(key)):
            return
        if problem and timedelta() <= now - problem.at < PROBLEM_CACHED_FOR:
            return
        assert one.token_source is not None  # noqa: S101 - narrows the type: XOAUTH2 has one
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, "access-token")
        self._under_way[key] = self._threads.submit(self._fetch, one.token_source, one.secret)

    def _end(self, key: str) -> None:
        """Keep what a request gave, if it has ended."""
        future, now = self._under_way[key], self._clock()
        if not future.done():
            return
        del self._under_way[key]
        error = future.exception()
        if error is None:
            token = future.result()
            renewed = min(RENEWED_BEFORE, token.valid / 2)
            self._cached[key] = _CachedToken(token.secret, now + token.valid - USED_UNTIL, now + token.valid - renewed)
            self._problems.pop(key, None)
        elif isinstance(error, TokenError):
            self._problems[key] = _Problem(now, error.reason, error.code)
        else:  # whatever it says, it may quote the request
            self._problems[key] = _Problem(now, Unusable.TOKEN_UNAVAILABLE, type(error).__name__)

    def _valid(self, key: str) -> bool:
        cached = self._cached.get(key)
        return cached is not None and self._clock() < cached.ends

    def _found(self, key: str, one: StoredCredential) -> Secret | CredentialProblem:
        if self._valid(key):
            return self._cached[key].secret
        if key in self._under_way or key not in self._problems:
            return CredentialProblem(one.name, Unusable.TOKEN_UNAVAILABLE, "no answer yet")
        problem = self._problems[key]
        return CredentialProblem(one.name, problem.reason, problem.code)


def fetch_token(source: TokenSource, secret: Secret, tls: ssl.SSLContext | None = None) -> AccessToken:
    """Ask a token endpoint for a token. Raises TokenError; nothing that it raises has the secret in it."""
    status, body, code = _exchange(source, secret, tls or context(verify=True, ca_pem=""))
    if code:
        raise TokenError(Unusable.TOKEN_UNAVAILABLE, code)
    answer = _json(body)
    if status != http.client.OK:
        refused = status in (http.client.BAD_REQUEST, http.client.UNAUTHORIZED, http.client.FORBIDDEN)
        raise TokenError(
            Unusable.TOKEN_REFUSED if refused else Unusable.TOKEN_UNAVAILABLE, f"HTTP {status}{_codes(answer)}"
        )
    token = Secret(str(answer.get("access_token", "")))
    if str(answer.get("token_type", "")).lower() != "bearer" or not _can_be_sent(token):
        raise TokenError(Unusable.TOKEN_UNAVAILABLE, "the answer has no bearer token")
    return AccessToken(token, _lifetime(answer.get("expires_in")))


def _exchange(source: TokenSource, secret: Secret, tls: ssl.SSLContext) -> tuple[int, bytes, str]:
    """Status and body of the answer, or why there is none."""
    address = urlsplit(source.url)
    form = {
        "grant_type": "client_credentials",
        "client_id": source.client_id,
        "client_secret": secret.reveal(),
        "scope": source.scope,
    }
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": "popwatch",
        "Connection": "close",
    }
    path = f"{address.path}?{address.query}" if address.query else address.path
    host, port = address.hostname or "", address.port or http.client.HTTPS_PORT
    connection = http.client.HTTPSConnection(host, port, context=tls)
    deadline = _Deadline()
    try:
        # Each operation has a time-out, and a timer ends all of them: bytes that come one by one end no operation.
        plain = socket.create_connection((host, port), timeout=LONGEST_SECONDS / 2)
        with tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False) as encrypted:
            deadline.ends(encrypted)
            encrypted.do_handshake()
            connection.sock = encrypted
            connection.request("POST", path, urlencode(form), headers)
            answer = connection.getresponse()
            status, body = answer.status, answer.read(LARGEST_ANSWER + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Its name alone: the message of some holds what was sent or received.
        return 0, b"", "no answer in time" if deadline.passed or isinstance(error, TimeoutError) else _named(error)
    finally:
        deadline.cancel()
        connection.close()
    if deadline.passed:
        return 0, b"", "no answer in time"
    return (status, body, "") if len(body) <= LARGEST_ANSWER else (0, b"", "the answer is too large")


class _Deadline:
    """A timer that ends what a socket is doing."""

    def __init__(self) -> None:
        self.passed = False
        self._timer = Timer(LONGEST_SECONDS, self._pass)
        self._timer.daemon = True
        self._timer.start()
        self._socket: socket.socket | None = None

    def ends(self, opened: socket.socket) -> None:
        """Let it end this socket."""
        self._socket = opened
        if self.passed:
            self._shut_down(opened)

    def cancel(self) -> None:
        """Let it end nothing any more."""
        self._timer.cancel()

    def _pass(self) -> None:
        self.passed = True
        if self._socket:
            self._shut_down(self._socket)

    @staticmethod
    def _shut_down(opened: socket.socket) -> None:
        with suppress(OSError):  # it has ended by itself
            socket.socket.shutdown(opened, socket.SHUT_RDWR)  # TLS's own would change what the other thread uses


def _named(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    return type(error).__name__


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _codes(answer: dict[str, Any]) -> str:
    """The codes in a refusal: never its text, in which a server may repeat what it was sent."""
    code, description = answer.get("error"), answer.get("error_description")
    codes = [code] if isinstance(code, str) and _CODE.fullmatch(code) else []
    if isinstance(description, str):
        codes += _MICROSOFT_CODE.findall(description[:200])[:1]
    return "".join(f", {each}" for each in codes)


def _can_be_sent(token: Secret) -> bool:
    try:
        check_secret(token.reveal(), Mechanism.XOAUTH2)
    except UnusableCredentialError:
        return False
    return True


def _lifetime(expires_in: object) -> timedelta:
    """How long a token is valid; some endpoints send the seconds as a text."""
    text = str(expires_in)
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else int(USUAL.total_seconds())
    return min(max(timedelta(seconds=seconds), SHORTEST), LONGEST)
