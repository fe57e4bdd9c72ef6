"""A credential as its parameter keeps it: JSON with a user, a secret, and for XOAUTH2 the source of tokens. No I/O.

    {"user": "monitor@example.net", "secret": "...", "mechanism": "plain"}

Only `user` and `secret` are required; `mechanism` is `user` without it. Other names are ignored, so that a later
version may add some. With `xoauth2` the secret is that of the client, and `token_url` and `client_id` are required,
too. What is wrong with one is said without quoting it.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from popwatch.model.credentials import (
    Credential,
    Mechanism,
    Secret,
    UnusableCredentialError,
    check_name,
    check_secret,
    check_user,
)

LARGEST_VALUE = 4096
"""Bytes of a parameter of the standard tier, which costs nothing.

docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
"""

MICROSOFT_SCOPE = "https://outlook.office365.com/.default"
"""The scope of client credentials for POP, IMAP and SMTP of Exchange Online.

learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
"""

LARGEST_PORT = 65535
LONGEST_URL, LONGEST_CLIENT_ID, LONGEST_CLIENT_SECRET = 1024, 255, 1024

_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::(?P<port>[0-9]{1,5}))?/[!-\"$-~]*")
"""An address of HTTPS without user, password and fragment, in characters that a URL has (RFC 3986)."""

_VISIBLE = re.compile(r"[ -~]+")
"""Characters of a client's id and secret (RFC 6749, appendix A.1 and A.2)."""

_LETTERS = "it must be 1 to {} letters, digits and signs of ASCII"

_SCOPE = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")
"""RFC 6749 section 3.3."""


def path_of(stack: str) -> str:
    """The path of a stack's credentials in SSM, with `/` at its end; template.yaml lets the function read below it."""
    return f"/popwatch/{stack}/credentials/"


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where access tokens come from: a token endpoint, asked with client credentials (RFC 6749 section 4.4)."""

    url: str
    client_id: str
    scope: str = MICROSOFT_SCOPE

    def __post_init__(self) -> None:
        address = _URL.fullmatch(self.url)
        if len(self.url) > LONGEST_URL or not address or int(address["port"] or 443) > LARGEST_PORT:
            raise UnusableCredentialError("token_url", "it must be an address that begins with https:// and a host")
        if len(self.client_id) > LONGEST_CLIENT_ID or not _VISIBLE.fullmatch(self.client_id):
            raise UnusableCredentialError("client_id", _LETTERS.format(LONGEST_CLIENT_ID))
        if len(self.scope) > LONGEST_URL or not _SCOPE.fullmatch(self.scope):
            raise UnusableCredentialError("scope", "it must be one or more words without quotes")


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A credential of a stack. For XOAUTH2 `secret` is the client's, and `token_source` is where it is used.

    `version` and `changed_at` are those of its parameter: one that was removed and stored again begins at version 1, so
    that only both together tell one from another. Raises UnusableCredentialError for what cannot be used.
    """

    name: str
    user: str
    secret: Secret
    mechanism: Mechanism = Mechanism.USER
    token_source: TokenSource | None = None
    version: int = 0
    changed_at: datetime | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_user(self.user, self.mechanism)
        if self.mechanism is not Mechanism.XOAUTH2:
            check_secret(self.secret.reveal(), self.mechanism)
        elif self.token_source is None:
            raise UnusableCredentialError("token_url", "XOAUTH2 needs one, and a client_id")
        elif not _is_client_secret(self.secret.reveal()):
            raise UnusableCredentialError("secret", _LETTERS.format(LONGEST_CLIENT_SECRET))

    def credential(self, token: Secret | None = None) -> Credential:
        """What a login sends; for XOAUTH2 with a token of its source. Raises UnusableCredentialError for none."""
        secret = self.secret if token is None else token
        return Credential(self.name, self.user, secret, self.mechanism, self.version)


def to_value(credential: StoredCredential) -> str:
    """The value of its parameter, with the secret in it. Raises UnusableCredentialError if it is too large.

    AWS refuses a value with double braces, and `{{ssm:x}}` is a reference to another parameter
    (docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html): braces in texts are escaped.
    """
    fields = {"user": credential.user, "secret": credential.secret.reveal(), "mechanism": str(credential.mechanism)}
    if credential.token_source:
        source = credential.token_source
        fields |= {"token_url": source.url, "client_id": source.client_id, "scope": source.scope}
    texts = json.dumps(fields)[1:-1].replace("{", r"\u007b").replace("}", r"\u007d")
    value = f"{{{texts}}}"
    if len(value) > LARGEST_VALUE:
        raise UnusableCredentialError("value", f"it has {len(value)} bytes as JSON, and AWS takes {LARGEST_VALUE}")
    return value


def from_value(name: str, value: str, version: int = 0, changed_at: datetime | None = None) -> StoredCredential:
    """The credential in the value of a parameter. Raises UnusableCredentialError, which quotes nothing of it."""
    fields = _object(value)
    if fields is None:
        raise UnusableCredentialError("value", "it is not a JSON object")
    mechanism = _text(fields, "mechanism", Mechanism.USER).lower()
    if mechanism not in set(Mechanism):
        raise UnusableCredentialError("mechanism", f"it must be one of {', '.join(Mechanism)}")
    source = None
    if mechanism == Mechanism.XOAUTH2:
        scope = _text(fields, "scope", MICROSOFT_SCOPE)
        source = TokenSource(_text(fields, "token_url"), _text(fields, "client_id"), scope)
    user, secret = _text(fields, "user"), Secret(_text(fields, "secret"))
    return StoredCredential(name, user, secret, Mechanism(mechanism), source, version, changed_at)


def _object(value: str) -> dict[str, Any] | None:
    """The JSON object; None for anything else. The error of `json` holds the whole text, and must not get out."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    found = fields.get(name, default)
    if not isinstance(found, str):
        raise UnusableCredentialError(name, "it is missing" if found is None else "it is not a text")
    return found


def _is_client_secret(text: str) -> bool:
    return len(text) <= LONGEST_CLIENT_SECRET and _VISIBLE.fullmatch(text) is not None
