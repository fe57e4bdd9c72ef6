"""Credentials as their parameters keep them: read back as they were, refused without being quoted."""

import json
import traceback
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.credentials import Mechanism, Secret, UnusableCredentialError
from popwatch.model.stored_credentials import (
    LARGEST_VALUE,
    MICROSOFT_SCOPE,
    StoredCredential,
    TokenSource,
    from_value,
    to_value,
)
from popwatch_cli.local.ssm_rules import refusal_of
from tests.unit.test_credentials import CANARY

URL = "https://login.microsoftonline.com/example.com/oauth2/v2.0/token"
TEXTS = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=60)
CHANGED = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)


@given(user=TEXTS, secret=TEXTS, mechanism=st.sampled_from([Mechanism.USER, Mechanism.PLAIN]))
def test_what_is_stored_is_read_back(user: str, secret: str, mechanism: Mechanism) -> None:
    """Whatever user and secret are, AWS takes the value: also with double braces, which would name a parameter."""
    stored = StoredCredential("monitor", user, Secret(secret), mechanism, None, 3, CHANGED)
    value = to_value(stored)
    assert refusal_of(value, "Standard") is None
    assert from_value("monitor", value, 3, CHANGED) == stored
    assert stored.credential().secret.reveal() == secret


def test_double_braces_are_escaped() -> None:
    """A password that looks like a reference to a parameter is stored as it is, by JSON's own escapes."""
    value = to_value(StoredCredential("monitor", "anna", Secret("{{ssm:other}}")))
    assert "{{" not in value
    assert json.loads(value)["secret"] == "{{ssm:other}}"


def test_xoauth2_keeps_the_source_of_its_tokens() -> None:
    """A login gets the token, never the client's secret."""
    source = TokenSource(URL, "6731de76-14a6-49ae-97bc-6eba6914391e")
    stored = StoredCredential("office", "anna@example.com", Secret("client secret~1"), Mechanism.XOAUTH2, source)
    assert from_value("office", to_value(stored)) == stored
    assert source.scope == MICROSOFT_SCOPE
    login = stored.credential(Secret("eyJ0.abc-_~"))
    assert (login.user, login.secret.reveal()) == ("anna@example.com", "eyJ0.abc-_~")
    with pytest.raises(UnusableCredentialError):
        stored.credential(Secret("two words"))


def test_a_hand_written_one_needs_user_and_secret_only() -> None:
    """Mechanisms in capitals, and names of a later version, are taken."""
    value = json.dumps({"user": "anna", "secret": CANARY, "mechanism": "PLAIN", "later": 1})
    assert from_value("n", value).mechanism is Mechanism.PLAIN
    assert from_value("n", '{"user": "anna", "secret": "x"}').mechanism is Mechanism.USER


DAMAGED = {
    "empty": "",
    "not-json": CANARY,
    "cut": f'{{"user": "anna", "secret": "{CANARY}',
    "a-list": json.dumps([CANARY]),
    "a-number": "1",
    "deep": "[" * 100_000 + CANARY,
    "no-user": json.dumps({"secret": CANARY}),
    "no-secret": json.dumps({"user": "anna", "password": CANARY}),
    "not-text": json.dumps({"user": "anna", "secret": [CANARY]}),
    "line-end": json.dumps({"user": "anna", "secret": f"{CANARY}\r\nDELE 1"}),
    "surrogate": json.dumps({"user": "anna", "secret": CANARY + "\ud800"}),
    "too-long": json.dumps({"user": "anna", "secret": CANARY * 40}),
    "mechanism": json.dumps({"user": "anna", "secret": CANARY, "mechanism": CANARY}),
    "no-source": json.dumps({"user": "anna", "secret": CANARY, "mechanism": "xoauth2"}),
    "plain-http": json.dumps(
        {"user": "a", "secret": CANARY, "mechanism": "xoauth2", "token_url": "http://x/", "client_id": "i"}
    ),
    "in-the-url": json.dumps(
        {"user": "a", "secret": "s", "mechanism": "xoauth2", "token_url": f"https://me:{CANARY}@x/", "client_id": "i"}
    ),
}


@pytest.mark.parametrize("value", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_said_and_nothing_of_it_is_quoted(value: str) -> None:
    """Neither the message nor a traceback, nor the exceptions behind it, has any of the value."""
    with pytest.raises(UnusableCredentialError) as refused:
        from_value("monitor", value)
    shown = "".join(traceback.format_exception(refused.value)) + repr(refused.value)
    assert str(refused.value).startswith("The credential's `")
    assert CANARY not in shown
    found: BaseException | None = refused.value
    while found is not None:
        assert CANARY not in repr(found.args) + repr(getattr(found, "doc", ""))
        found = found.__context__


@pytest.mark.parametrize(
    "source",
    [
        ("http://example.com/token", "id", MICROSOFT_SCOPE),
        ("https://user@example.com/token", "id", MICROSOFT_SCOPE),
        ("https://example.com", "id", MICROSOFT_SCOPE),
        ("https://example.com/a b", "id", MICROSOFT_SCOPE),
        ("https://example.com/a\r\nHost: x", "id", MICROSOFT_SCOPE),
        ("https://example.com:65536/", "id", MICROSOFT_SCOPE),
        ("https://example.com/#part", "id", MICROSOFT_SCOPE),
        ("https://example.com/" + "a" * 1024, "id", MICROSOFT_SCOPE),
        (URL, "", MICROSOFT_SCOPE),
        (URL, "i\nd", MICROSOFT_SCOPE),
        (URL, "id", ""),
        (URL, "id", 'a "b"'),
    ],
)
def test_a_source_that_cannot_be_asked(source: tuple[str, str, str]) -> None:
    """Only HTTPS, without a user in the address, and only what RFC 6749 allows in id and scope."""
    with pytest.raises(UnusableCredentialError):
        TokenSource(*source)


def test_the_largest_value() -> None:
    """Everything as long as it may be is more than a parameter of the free tier, and is refused before AWS does."""
    longest = TokenSource("https://example.com/" + "a" * 1000, "i" * 255, "s" * 1024)
    stored = StoredCredential("n", "\u00e4" * 120, Secret('"' * 1024), Mechanism.XOAUTH2, longest)
    with pytest.raises(UnusableCredentialError, match=f"AWS takes {LARGEST_VALUE}"):
        to_value(stored)
