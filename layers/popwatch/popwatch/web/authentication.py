"""Authentication by password: sign-in, the signed session cookie, and HTTP Basic for programs.

A person signs in once and gets a cookie; a program sends the password with each request (RFC 7617, any user name).
Passwords are compared as digests in constant time. Nothing limits attempts: the password is generated and too long to
be guessed.
"""

import base64
import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Self

from popwatch.web.http import Request

COOKIE = "__Host-popwatch"
"""With the prefix `__Host-` browsers accept it only over TLS, from this host, for all its paths (RFC 6265bis 4.1.3)."""

SESSION = timedelta(hours=12)
LONGEST_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class PageSecret:
    """The password, from which the key that signs cookies derives: a new password makes old cookies invalid."""

    password: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The secret of a `SecretString`: the password itself, or JSON with `password` as stacks had it before.

        Raises ValueError, without the text, if there is no password in it: an empty one anyone could send.
        """
        password: object = text
        if text.startswith("{"):
            password = None
            with suppress(ValueError):
                password = json.loads(text).get("password")
        if not isinstance(password, str) or not password:
            raise ValueError("The page's secret has no password: make another with `popwatch page --new-password`.")
        return cls(password)

    @property
    def key(self) -> bytes:
        """The key that signs cookies, 32 bytes."""
        return hmac.new(self.password.encode(), b"popwatch: the key that signs cookies", sha256).digest()


class Authentication:
    """Authentication of a page that the whole internet can reach; `refused` is called for each wrong password."""

    def __init__(
        self, read_secret: Callable[[], PageSecret], clock: Callable[[], datetime], refused: Callable[[], None]
    ) -> None:
        self._read_secret, self._clock, self._refused = read_secret, clock, refused

    def admits(self, request: Request) -> bool:
        """Whether a request has a valid cookie or the password."""
        token = request.cookies.get(COOKIE, "")
        if token and is_valid(token, self._read_secret(), self._clock()):
            return True
        password = password_of(request.headers.get("authorization", ""))
        return password is not None and self._check_password(password)

    def sign_in(self, password: str) -> str | None:
        """The cookie to set if the password is right, else None."""
        if not self._check_password(password):
            return None
        token = new_token(self._read_secret(), self._clock())
        return _cookie(token, int(SESSION.total_seconds()))

    def sign_out(self) -> str:
        """The cookie that deletes the session cookie."""
        return _cookie("", 0)

    def _check_password(self, password: str) -> bool:
        if is_same(password[:LONGEST_PASSWORD], self._read_secret().password):
            return True
        self._refused()
        return False


def new_token(secret: PageSecret, now: datetime) -> str:
    """A token that is valid until `SESSION` from now: `EXPIRES.SIGNATURE`."""
    expires = str(int((now + SESSION).timestamp()))
    return f"{expires}.{_signature(secret, expires)}"


def is_valid(token: str, secret: PageSecret, now: datetime) -> bool:
    """Whether a token was made with this secret and has not expired."""
    expires, _, signature = token.partition(".")
    if not is_same(signature, _signature(secret, expires)):
        return False
    return expires.isascii() and expires.isdecimal() and now.timestamp() < int(expires)


def is_same(given: str, expected: str) -> bool:
    """Whether two strings are equal, compared in constant time.

    As digests, because `compare_digest` takes ASCII strings only and may reveal a difference of length.
    """
    return hmac.compare_digest(_digest(given), _digest(expected))


def password_of(authorization: str) -> str | None:
    """The password of a header `Authorization: Basic` (RFC 7617), or None if there is none."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("utf-8").partition(":")[2]
    except ValueError:  # not base64, or not UTF-8
        return None


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()


def _signature(secret: PageSecret, expires: str) -> str:
    digest = hmac.new(secret.key, f"popwatch session until {expires}".encode("utf-8", "replace"), sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _cookie(token: str, seconds: int) -> str:
    return f"{COOKIE}={token}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict"
