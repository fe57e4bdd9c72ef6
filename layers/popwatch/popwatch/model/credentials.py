"""What a login needs: a `Credential`, whose secret is shown nowhere, and the ways to log in. No I/O."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

LONGEST_ARGUMENT = 255 - len("USER \r\n")
"""Octets of a user or a password in USER and PASS: a command line has 255 with its CRLF (RFC 2449 section 4)."""

LONGEST_PLAIN = 255
"""Octets of a user or a password in SASL PLAIN: "up to and including 255" must be supported (RFC 4616 section 2)."""

LONGEST_TOKEN = 8192
"""Octets of an access token; Microsoft's have about 1,500 to 4,000."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What SSM allows in a part of a parameter's name."""

_NOT_SENT = re.compile(r"[\0\r\n]")
"""A line end would end the command, and the rest would be a command of its own (RFC 1939 section 3)."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""A bearer token (RFC 6750 section 2.1)."""


class Mechanism(StrEnum):
    """How a login is made."""

    USER = "user"
    """USER and PASS (RFC 1939 section 7)."""

    APOP = "apop"
    """APOP (RFC 1939 section 7)."""

    PLAIN = "plain"
    """SASL PLAIN (RFC 4616, RFC 5034)."""

    XOAUTH2 = "xoauth2"
    """SASL XOAUTH2 (https://developers.google.com/workspace/gmail/imap/xoauth2-protocol)."""


class UnusableCredentialError(ValueError):
    """A credential that cannot be sent: its field, and why. The message never quotes the value."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"The credential's `{field}` cannot be used: {why}.")
        self.field, self.why = field, why


class Secret:
    """A text that is shown nowhere: `str`, `repr` and formats give `***`, and it cannot be copied out or pickled.

    `reveal` is called only where the text is sent.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not stored.")


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and the secret to log in with: a password, or for XOAUTH2 an access token.

    `version` is that of the parameter that it was read from; 0 for one that is stored nowhere. Raises
    UnusableCredentialError for what cannot be sent.
    """

    name: str
    user: str
    secret: Secret
    mechanism: Mechanism = Mechanism.USER
    version: int = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        check_user(self.user, self.mechanism)
        check_secret(self.secret.reveal(), self.mechanism)


def check_name(name: str) -> None:
    """Raise UnusableCredentialError for what cannot name a credential."""
    if not _NAME.fullmatch(name):
        raise UnusableCredentialError("name", "it must be 1 to 64 letters, digits, `.`, `_` and `-`")


def check_user(user: str, mechanism: Mechanism) -> None:
    """Raise UnusableCredentialError for a user that a login of this mechanism cannot send."""
    _check(user, _LONGEST_USER[mechanism], lambda why: UnusableCredentialError("user", why))
    if mechanism is Mechanism.APOP and " " in user:
        raise UnusableCredentialError("user", "APOP cannot send a blank in it")
    if mechanism is Mechanism.XOAUTH2 and "\x01" in user:
        raise UnusableCredentialError("user", "XOAUTH2 cannot send a control character in it")


def check_secret(secret: str, mechanism: Mechanism) -> None:
    """Raise UnusableCredentialError for a secret that a login of this mechanism cannot send."""
    _check(secret, _LONGEST_SECRET[mechanism], lambda why: UnusableCredentialError("secret", why))
    if mechanism is Mechanism.XOAUTH2 and not _TOKEN.fullmatch(secret):
        raise UnusableCredentialError("secret", "it is not an access token (RFC 6750 section 2.1)")


_LONGEST_USER = {
    Mechanism.USER: LONGEST_ARGUMENT,
    # APOP sends the user, a blank and 32 digits.
    Mechanism.APOP: LONGEST_ARGUMENT - len(" ") - 32,
    Mechanism.PLAIN: LONGEST_PLAIN,
    Mechanism.XOAUTH2: LONGEST_PLAIN,
}
_LONGEST_SECRET = {
    Mechanism.USER: LONGEST_ARGUMENT,
    Mechanism.APOP: LONGEST_PLAIN,
    Mechanism.PLAIN: LONGEST_PLAIN,
    Mechanism.XOAUTH2: LONGEST_TOKEN,
}


_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half a character, which UTF-8 does not have. Python's own error would hold the whole text."""


def _check(text: str, longest: int, error: Callable[[str], UnusableCredentialError]) -> None:
    if _SURROGATE.search(text):
        raise error("it has characters that are not Unicode text")
    octets = len(text.encode())
    if not octets:
        raise error("it is empty")
    if octets > longest:
        raise error(f"it has {octets} octets in UTF-8, {longest} are allowed")
    if _NOT_SENT.search(text):
        raise error("it has a line end or a NUL")
