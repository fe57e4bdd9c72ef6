"""Tokens, passwords and the brake, without any AWS."""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.aws.sign_in_limits import SignInLimits, network_of, seconds_left
from popwatch.web.authentication import COOKIE, SESSION, Door, Entry, Secret, is_valid, new_token, password_of
from popwatch.web.http import Request, cookies_of

NOW = datetime(2026, 11, 25, 3, 4, 5, tzinfo=UTC)
SECRET = Secret("correct horse", "k" * 64)
SECOND = timedelta(seconds=1)


@dataclass
class FewGuesses(SignInLimits):
    """A brake that lets so many attempts pass."""

    left: int = 3
    wrong: list[datetime] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)

    def admit(self, source: str, now: datetime) -> bool:  # noqa: ARG002 - one for all
        self.left -= 1
        return self.left >= 0

    def forgive(self, source: str, now: datetime) -> None:  # noqa: ARG002 - one for all
        self.forgiven.append(source)

    def note_wrong(self, now: datetime) -> None:
        self.wrong.append(now)


def door(guesses: FewGuesses | None = None) -> Door:
    return Door(lambda: SECRET, guesses or FewGuesses(), lambda: NOW)


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_a_token_is_valid_for_its_time() -> None:
    """To the second, with the secret that made it."""
    token = new_token(SECRET, NOW)
    assert is_valid(token, SECRET, NOW)
    assert is_valid(token, SECRET, NOW + SESSION - SECOND)
    assert not is_valid(token, SECRET, NOW + SESSION)
    assert not is_valid(token, Secret("another password", SECRET.key), NOW)
    assert not is_valid(token, Secret(SECRET.password, "another key"), NOW)


def test_a_token_cannot_be_prolonged() -> None:
    """A later end makes the signature wrong, and so does no signature at all."""
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
    """Whatever comes, the answer is no, never an exception."""
    assert not is_valid(text, SECRET, NOW)


@given(st.text())
def test_no_header_breaks_the_reading(text: str) -> None:
    """Any Authorization and any Cookie header is read or passed over."""
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
    """RFC 7617: everything behind the first colon."""
    assert password_of(header) == expected


def test_a_cookie_opens_without_counting() -> None:
    """A session is no attempt; a wrong cookie is none either."""
    guesses = FewGuesses(left=0)
    good = Request("GET", "/", cookies={COOKIE: new_token(SECRET, NOW)})
    assert door(guesses).admit(good) is Entry.OPEN
    assert door(guesses).admit(Request("GET", "/", cookies={COOKIE: "1.x"})) is Entry.CLOSED


def test_attempts_are_counted_before_the_password_is_looked_at() -> None:
    """Wrong ones are noted, and once there are too many the right one is barred as well."""
    guesses = FewGuesses(left=2)
    found = door(guesses)
    wrong = Request("GET", "/metrics", headers={"authorization": basic("a:wrong")}, source="192.0.2.1")
    right = Request("GET", "/metrics", headers={"authorization": basic("a:correct horse")}, source="192.0.2.1")
    assert [found.admit(wrong), found.admit(right), found.admit(right)] == [Entry.CLOSED, Entry.OPEN, Entry.BARRED]
    assert (guesses.wrong, guesses.forgiven) == ([NOW], ["192.0.2.1"])
    assert found.barred().headers["Retry-After"] == str(seconds_left(NOW))


def test_secrets_are_not_shown() -> None:
    """Neither a secret nor a request shows what opens the door."""
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
    """An IPv6 customer has a /64, and all of it counts as one; what is no address cannot choose its key."""
    assert network_of(source) == network


def test_windows_end() -> None:
    """The wait is the rest of the quarter of an hour."""
    assert seconds_left(NOW) == 10 * 60 + 56
