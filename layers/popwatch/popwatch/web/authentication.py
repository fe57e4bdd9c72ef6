"""Authentication by password: sign-in, the signed session cookie, HTTP Basic for programs, and the limit of attempts.

A person signs in once and gets a cookie; a program sends the password with each request (RFC 7617, any user name). An
attempt is counted before the password is compared. Passwords are compared as digests in constant time.
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from hashlib import sha256

from popwatch.aws.sign_in_limits import SignInLimits, seconds_left
from popwatch.web.http import Request, Response

COOKIE = "__Host-popwatch"
"""With the prefix `__Host-` browsers accept it only over TLS, from this host, for all its paths (RFC 6265bis 4.1.3)."""

SESSION = timedelta(hours=12)
LONGEST_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class Secret:
    """The password, and the key that signs cookies. A new password makes old cookies invalid."""

    password: str = field(repr=False)
    key: str = field(repr=False)


class Access(Enum):
    """Whether a request is answered; RATE_LIMITED after too many wrong passwords."""

    GRANTED = auto()
    DENIED = auto()
    RATE_LIMITED = auto()


class Authentication:
    """Authentication of a page that the whole internet can reach."""

    def __init__(self, read_secret: Callable[[], Secret], limits: SignInLimits, clock: Callable[[], datetime]) -> None:
        self._read_secret, self._limits, self._clock = read_secret, limits, clock

    def check(self, request: Request) -> Access:
        """Whether a request has a valid cookie or the password."""
        token = request.cookies.get(COOKIE, "")
        if token and is_valid(token, self._read_secret(), self._clock()):
            return Access.GRANTED
        password = password_of(request.headers.get("authorization", ""))
        return Access.DENIED if password is None else self._check_password(password, request.source)

    def sign_in(self, request: Request, password: str) -> tuple[Access, str]:
        """Check a password; with access the cookie to set, else an empty string."""
        access = self._check_password(password, request.source)
        if access is not Access.GRANTED:
            return access, ""
        token = new_token(self._read_secret(), self._clock())
        return access, _cookie(token, int(SESSION.total_seconds()))

    def sign_out(self) -> str:
        """The cookie that deletes the session cookie."""
        return _cookie("", 0)

    def too_many_attempts(self) -> Response:
        """The response to RATE_LIMITED."""
        wait = str(seconds_left(self._clock()))
        return Response(429, b"Too many wrong passwords. Wait, then try again.\n", headers={"Retry-After": wait})

    def _check_password(self, password: str, source: str) -> Access:
        now = self._clock()
        if not self._limits.count_attempt(source, now):
            return Access.RATE_LIMITED
        if is_same(password[:LONGEST_PASSWORD], self._read_secret().password):
            self._limits.reset(source, now)
            return Access.GRANTED
        self._limits.count_wrong(now)
        return Access.DENIED


def new_token(secret: Secret, now: datetime) -> str:
    """A token that is valid until `SESSION` from now: `EXPIRES.SIGNATURE`."""
    expires = str(int((now + SESSION).timestamp()))
    return f"{expires}.{_signature(secret, expires)}"


def is_valid(token: str, secret: Secret, now: datetime) -> bool:
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


def _signature(secret: Secret, expires: str) -> str:
    key = f"{secret.key}:{secret.password}".encode()
    digest = hmac.new(key, f"popwatch session until {expires}".encode("utf-8", "replace"), sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _cookie(token: str, seconds: int) -> str:
    return f"{COOKIE}={token}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict"
