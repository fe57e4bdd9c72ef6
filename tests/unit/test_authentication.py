"""Tokens, passwords and the secret, without AWS."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.web.authentication import COOKIE, SESSION, Authentication, PageSecret, is_valid, new_token, password_of
from popwatch.web.http import Request, cookies_of

NOW = datetime(2026, 11, 25, 3, 4, 5, tzinfo=UTC)
SECRET = PageSecret("correct horse")
SECOND = timedelta(seconds=1)


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_a_token_is_valid_for_its_time() -> None:
    """To the second, and only with the secret that signed it."""
    token = new_token(SECRET, NOW)
    assert is_valid(token, SECRET, NOW)
    assert is_valid(token, SECRET, NOW + SESSION - SECOND)
    assert not is_valid(token, SECRET, NOW + SESSION)
    assert not is_valid(token, PageSecret("another password"), NOW)


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


def test_wrong_passwords_are_counted() -> None:
    """Each of them once, by either way in; cookies, right passwords and requests without credentials are not."""
    refused: list[int] = []
    tested = Authentication(lambda: SECRET, lambda: NOW, lambda: refused.append(1))
    for password, admitted in (("wrong", False), ("", False), ("correct horse", True), ("correct horse ", False)):
        header = Request("GET", "/metrics", headers={"authorization": basic(f"a:{password}")})
        assert tested.admits(header) is admitted
        assert (tested.sign_in(password) is not None) is admitted
    assert len(refused) == 6
    assert tested.admits(Request("GET", "/", cookies={COOKIE: new_token(SECRET, NOW)}))
    assert not tested.admits(Request("GET", "/", cookies={COOKIE: "1.x"}))
    assert not tested.admits(Request("GET", "/"))
    assert len(refused) == 6


@pytest.mark.parametrize("text", [SECRET.password, json.dumps({"password": SECRET.password, "key": "k" * 64})])
def test_both_forms_of_a_secret_are_read(text: str) -> None:
    """The password alone, and the JSON of stacks whose password was chosen; the key is the password's in both."""
    assert PageSecret.parse(text) == SECRET
    assert is_valid(new_token(SECRET, NOW), PageSecret.parse(text), NOW)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"password": ""}', '{"password": 5}', '{"pass": "hidden"}'])
def test_a_secret_without_a_password_admits_no_one(text: str) -> None:
    """The error says what to do, and does not show the secret."""
    with pytest.raises(ValueError, match="--new-password") as raised:
        PageSecret.parse(text)
    assert "hidden" not in str(raised.value)


def test_secrets_are_not_shown() -> None:
    """The repr of a secret and of a request holds no credentials."""
    request = Request("GET", "/", headers={"authorization": "Basic QQ=="}, cookies={COOKIE: "token"}, body="password=x")
    shown = repr(SECRET) + repr(request)
    assert not any(word in shown for word in ("correct horse", "QQ==", "token", "password=x"))
