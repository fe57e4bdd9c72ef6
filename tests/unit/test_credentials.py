"""Credentials: what cannot be sent is refused, and a secret is shown nowhere."""

import copy
import json
import pickle
import traceback
from dataclasses import asdict, replace

import pytest

from popwatch.model.credentials import (
    LONGEST_ARGUMENT,
    LONGEST_PLAIN,
    LONGEST_TOKEN,
    Credential,
    Mechanism,
    Secret,
    UnusableCredentialError,
)

CANARY = "canary-7f1d"


def credential(
    mechanism: Mechanism = Mechanism.USER, *, name: str = "n", user: str = "anna", secret: str = CANARY
) -> Credential:
    return Credential(name, user, Secret(secret), mechanism)


@pytest.mark.parametrize("mechanism", Mechanism)
def test_the_secret_is_shown_nowhere(mechanism: Mechanism) -> None:
    """Not by `repr`, `str`, formats, `asdict`, a copy, JSON or a traceback with the credential in it."""
    found = credential(mechanism)
    shown = [repr(found), str(found), f"{found}", f"{found.secret}", f"{found.secret!s:>20}", repr(asdict(found))]
    shown += [repr(copy.deepcopy(found)), json.dumps(asdict(found), default=str), repr(replace(found, version=2))]
    try:
        raise ValueError(found)
    except ValueError:
        shown.append(traceback.format_exc())
    assert not any(CANARY in text for text in shown)
    assert found.secret.reveal() == CANARY


def test_a_secret_is_never_pickled() -> None:
    """Nothing that is stored in that way can hold one."""
    with pytest.raises(TypeError):
        pickle.dumps(credential())


@pytest.mark.parametrize("character", ["\r", "\n", "\0"])
@pytest.mark.parametrize("mechanism", Mechanism)
def test_no_second_command_can_be_put_in(mechanism: Mechanism, character: str) -> None:
    """A line end or a NUL in the user or the secret is refused, and the message does not quote it."""
    for fields in ({"user": f"a{character}DELE 1"}, {"secret": f"{CANARY}{character}DELE 1"}):
        with pytest.raises(UnusableCredentialError) as refused:
            credential(mechanism, **fields)
        assert refused.value.field in fields
        assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    ("mechanism", "user", "secret"),
    [
        (Mechanism.USER, LONGEST_ARGUMENT, LONGEST_ARGUMENT),
        (Mechanism.APOP, LONGEST_ARGUMENT - 33, LONGEST_PLAIN),
        (Mechanism.PLAIN, LONGEST_PLAIN, LONGEST_PLAIN),
        (Mechanism.XOAUTH2, LONGEST_PLAIN, LONGEST_TOKEN),
    ],
)
def test_what_is_too_long_for_a_command_is_refused(mechanism: Mechanism, user: int, secret: int) -> None:
    """The longest is taken, one octet more is not; octets count, not characters."""
    credential(mechanism, user="u" * user, secret="s" * secret)
    for fields in ({"user": "u" * (user + 1)}, {"secret": "s" * (secret + 1)}, {"user": "é" * (user // 2 + 1)}):
        with pytest.raises(UnusableCredentialError):
            credential(mechanism, **fields)


@pytest.mark.parametrize(
    ("mechanism", "fields"),
    [
        (Mechanism.USER, {"name": ""}),
        (Mechanism.USER, {"name": "a/b"}),
        (Mechanism.USER, {"name": "a" * 65}),
        (Mechanism.USER, {"user": ""}),
        (Mechanism.USER, {"secret": ""}),
        (Mechanism.USER, {"secret": "\ud800"}),
        (Mechanism.APOP, {"user": "anna b"}),
        (Mechanism.XOAUTH2, {"user": "anna\x01auth=Bearer x"}),
        (Mechanism.XOAUTH2, {"secret": "two words"}),
    ],
)
def test_other_values_that_cannot_be_sent(mechanism: Mechanism, fields: dict[str, str]) -> None:
    """Empty values, names that SSM does not take, and what a mechanism cannot carry."""
    with pytest.raises(UnusableCredentialError):
        credential(mechanism, **fields)
