"""Who may come in: the password, the signed cookie that stands for it, and the brake on guessing.

A person signs in once and gets a cookie; a program sends the password with each request (RFC 7617, any user name).
Passwords are compared as digests in constant time, after the attempt has been counted.
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
"""The prefix has browsers take it only over TLS, from this very host, for all of its paths (RFC 6265bis 4.1.3)."""

SESSION = timedelta(hours=12)
LONGEST_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class Secret:
    """What the door is kept with: the password, and the key of cookies. A new password makes old cookies worthless."""

    password: str = field(repr=False)
    key: str = field(repr=False)


class Entry(Enum):
    """Whether a request may come in."""

    OPEN = auto()
    CLOSED = auto()
    BARRED = auto()


class Door:
    """The door of a page that the whole internet can reach."""

    def __init__(self, read_secret: Callable[[], Secret], guesses: SignInLimits, clock: Callable[[], datetime]) -> None:
        self._read_secret, self._guesses, self._clock = read_secret, guesses, clock

    def admit(self, request: Request) -> Entry:
        """Whether a request may come in, by its cookie or by the password that it brings."""
        token = request.cookies.get(COOKIE, "")
        if token and is_valid(token, self._read_secret(), self._clock()):
            return Entry.OPEN
        password = password_of(request.headers.get("authorization", ""))
        return Entry.CLOSED if password is None else self._try(password, request.source)

    def sign_in(self, request: Request, password: str) -> tuple[Entry, str]:
        """What a password opens, and the cookie to set if it does."""
        entry = self._try(password, request.source)
        if entry is not Entry.OPEN:
            return entry, ""
        token = new_token(self._read_secret(), self._clock())
        return entry, _cookie(token, int(SESSION.total_seconds()))

    def sign_out(self) -> str:
        """The cookie that takes the other one away."""
        return _cookie("", 0)

    def barred(self) -> Response:
        """What somebody hears who has tried too often."""
        wait = str(seconds_left(self._clock()))
        return Response(429, b"Too many wrong passwords. Wait, then try again.\n", headers={"Retry-After": wait})

    def _try(self, password: str, source: str) -> Entry:
        now = self._clock()
        if not self._guesses.admit(source, now):
            return Entry.BARRED
        if is_same(password[:LONGEST_PASSWORD], self._read_secret().password):
            self._guesses.forgive(source, now)
            return Entry.OPEN
        self._guesses.note_wrong(now)
        return Entry.CLOSED


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
    """Whether two texts are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(*(sha256(text.encode("utf-8", "replace")).digest() for text in (given, expected)))


def password_of(authorization: str) -> str | None:
    """The password of a header `Authorization: Basic` (RFC 7617), or None if there is none."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("utf-8").partition(":")[2]
    except ValueError:  # neither base64 nor UTF-8
        return None


def _signature(secret: Secret, expires: str) -> str:
    key = f"{secret.key}:{secret.password}".encode()
    digest = hmac.new(key, f"popwatch session until {expires}".encode("utf-8", "replace"), sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _cookie(token: str, seconds: int) -> str:
    return f"{COOKIE}={token}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict"
