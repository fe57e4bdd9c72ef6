"""Tokens, passwords and the limit of attempts, without AWS."""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.aws.sign_in_limits import SignInLimits, network_of, seconds_left
from popwatch.web.authentication import (
    COOKIE,
    SESSION,
    Access,
    Authentication,
    Secret,
    is_valid,
    new_token,
    password_of,
)
from popwatch.web.http import Request, cookies_of

NOW = datetime(2026, 11, 25, 3, 4, 5, tzinfo=UTC)
SECRET = Secret("correct horse", "k" * 64)
SECOND = timedelta(seconds=1)


@dataclass
class FewAttempts(SignInLimits):
    """Limits that allow `left` attempts."""

    left: int = 3
    wrong: list[datetime] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)

    def count_attempt(self, source: str, now: datetime) -> bool:  # noqa: ARG002 - one for all
        self.left -= 1
        return self.left >= 0

    def reset(self, source: str, now: datetime) -> None:  # noqa: ARG002 - one for all
        self.resets.append(source)

    def count_wrong(self, now: datetime) -> None:
        self.wrong.append(now)


def authentication(limits: SignInLimits) -> Authentication:
    return Authentication(lambda: SECRET, limits, lambda: NOW)


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_a_token_is_valid_for_its_time() -> None:
    """To the second, and only with the secret that signed it."""
    token = new_token(SECRET, NOW)
    assert is_valid(token, SECRET, NOW)
    assert is_valid(token, SECRET, NOW + SESSION - SECOND)
    assert not is_valid(token, SECRET, NOW + SESSION)
    assert not is_valid(token, Secret("another password", SECRET.key), NOW)
    assert not is_valid(token, Secret(SECRET.password, "another key"), NOW)


def test_a_token_cannot_be_prolonged() -> None:
    """With a later expiry the signature is wrong; a missing one is wrong too."""
    expires, _, signature = new_token(SECRET, NOW).partition(".")
    later = str(int(expires) + 1)
    for forged in (
        f"{later}.{signature}",
        f"{expires}.",
        expires,
        f".{signature}",
        f"{expires}.{signature}x",
        f"{expires}.{signature}\ud800",
    ):
        assert not is_valid(forged, SECRET, NOW)


@given(st.text())
def test_no_text_is_a_token(text: str) -> None:
    """Any other string is invalid and raises no exception."""
    assert not is_valid(text, SECRET, NOW)


@given(st.text())
def test_no_header_breaks_the_reading(text: str) -> None:
    """Any Authorization and any Cookie header is read or ignored."""
    password_of(text)
    password_of(f"Basic {text}")
    cookies_of(text)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic("anyone:secret"), "secret"),
        (basic("anyone:with:colons"), "with:colons"),
        (basic(":p\u00e4ss"), "p\u00e4ss"),
        (basic("no colon"), ""),
        ("basic " + base64.b64encode(b"a:b").decode(), "b"),
        ("Bearer abc", None),
        ("Basic not-base64!", None),
        ("Basic " + base64.b64encode(b"a:\xff").decode(), None),
        ("", None),
    ],
)
def test_passwords_of_headers(header: str, expected: str | None) -> None:
    """RFC 7617: everything after the first colon."""
    assert password_of(header) == expected


def test_a_cookie_is_not_counted_as_an_attempt() -> None:
    """Neither a valid nor a wrong one."""
    tested = authentication(FewAttempts(left=0))
    assert tested.check(Request("GET", "/", cookies={COOKIE: new_token(SECRET, NOW)})) is Access.GRANTED
    assert tested.check(Request("GET", "/", cookies={COOKIE: "1.x"})) is Access.DENIED


def test_attempts_are_counted_before_the_password_is_compared() -> None:
    """Wrong passwords are counted; after too many the right one is refused as well."""
    limits = FewAttempts(left=2)
    tested = authentication(limits)
    wrong = Request("GET", "/metrics", headers={"authorization": basic("a:wrong")}, source="192.0.2.1")
    right = Request("GET", "/metrics", headers={"authorization": basic("a:correct horse")}, source="192.0.2.1")
    assert [tested.check(request) for request in (wrong, right, right)] == [
        Access.DENIED,
        Access.GRANTED,
        Access.RATE_LIMITED,
    ]
    assert (limits.wrong, limits.resets) == ([NOW], ["192.0.2.1"])
    assert tested.too_many_attempts().headers["Retry-After"] == str(seconds_left(NOW))


def test_secrets_are_not_shown() -> None:
    """The repr of a secret and of a request holds no credentials."""
    request = Request("GET", "/", headers={"authorization": "Basic QQ=="}, cookies={COOKIE: "token"}, body="password=x")
    shown = repr(SECRET) + repr(request)
    assert not any(word in shown for word in ("correct horse", "kkk", "QQ==", "token", "password=x"))


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("junk#all", "unknown"),
    ],
)
def test_networks(source: str, network: str) -> None:
    """An IPv6 /64 counts as one network; a source that is not an address cannot choose its key."""
    assert network_of(source) == network


def test_windows_end() -> None:
    """The wait is the rest of the 15 minutes."""
    assert seconds_left(NOW) == 10 * 60 + 56
