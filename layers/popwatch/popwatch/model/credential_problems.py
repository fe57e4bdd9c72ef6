"""Why a login cannot be tried with a credential: it cannot be read, or gets no access token. No I/O."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import assert_never

PROBLEM_CACHED_FOR = timedelta(seconds=50)
"""How long a problem stands before SSM or a token endpoint is asked again: at the next sweep, a minute later."""


class Unusable(StrEnum):
    """Why a credential cannot be used."""

    MISSING = "credential-missing"
    DAMAGED = "credential-damaged"
    DENIED = "credential-denied"
    UNAVAILABLE = "credential-unavailable"
    BLOCKED = "credential-blocked"
    TOKEN_REFUSED = "token-refused"  # noqa: S105 - a reason, and no token
    TOKEN_UNAVAILABLE = "token-unavailable"  # noqa: S105


@dataclass(frozen=True, slots=True)
class CredentialProblem:
    """Why a credential cannot be used now.

    `code` is that of AWS or of the token endpoint, the name of an exception, for a damaged one what is wrong with it,
    for a blocked one the target and what its server said. It has no secret.
    """

    name: str
    reason: Unusable
    code: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether it stays until someone does something, in place of AWS or a token endpoint that does not answer."""
        return self.reason not in (Unusable.UNAVAILABLE, Unusable.TOKEN_UNAVAILABLE)

    @property
    def explanation(self) -> str:
        """What is wrong and what to do, in sentences for people."""
        again = f"store it with `popwatch credentials put {self.name} --user USER`"
        match self.reason:
            case Unusable.MISSING:
                return f"There is no credential `{self.name}`: {again}."
            case Unusable.DAMAGED:
                return f"{self.code} Of the credential `{self.name}` nothing can be used: {again}."
            case Unusable.DENIED:
                return (
                    f"AWS does not let popwatch read the credential `{self.name}` ({self.code}): deploy the stack "
                    "again; a parameter with a key of your own needs a permission for that key."
                )
            case Unusable.UNAVAILABLE:
                return f"AWS did not answer when popwatch read the credential `{self.name}` ({self.code})."
            case Unusable.BLOCKED:
                return (
                    f"Two logins in a row with the credential `{self.name}` were rejected: it waits until it changes. "
                    f"{again[0].upper()}{again[1:]}. The last one was at {self.code}."
                )
            case Unusable.TOKEN_REFUSED:
                return (
                    f"The token endpoint of the credential `{self.name}` refuses the client ({self.code}): look at the "
                    f"client's id and secret, which may have expired, and {again}."
                )
            case Unusable.TOKEN_UNAVAILABLE:
                return f"There is no access token for the credential `{self.name}` ({self.code})."
            case _:
                assert_never(self.reason)
