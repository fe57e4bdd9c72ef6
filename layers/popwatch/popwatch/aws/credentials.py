"""A stack's credentials, read from SSM's Parameter Store: up to ten in one call, and kept for minutes.

Whatever goes wrong is a problem of the credentials that were asked for, never an exception: botocore's own may hold the
answer with the secrets in it (ResponseParserError does). A problem says AWS's code and nothing else.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from popwatch.model.credential_problems import PROBLEM_CACHED_FOR, CredentialProblem, Unusable
from popwatch.model.credentials import UnusableCredentialError
from popwatch.model.stored_credentials import StoredCredential, from_value

CACHED_FOR = timedelta(minutes=5)
"""How long a credential that was read is used before it is read again."""

CACHED_WITHOUT_AWS_FOR = timedelta(hours=1)
"""How long a credential is used while AWS does not answer: its faults are none of the server that is tested."""

MOST_NAMES = 10
"""Names in one request (docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html)."""


DENIED = (
    "AccessDeniedException",
    "AccessDenied",
    "UnrecognizedClientException",
    "InvalidKeyId",
    "KMSAccessDeniedException",
)

_log = logging.getLogger("popwatch.aws.credentials")


_Value = tuple[str, int, datetime]
"""The value of a parameter, its version and when it was changed."""

Found = StoredCredential | CredentialProblem


@dataclass(frozen=True, slots=True)
class _CachedCredential:
    read_at: datetime
    found: Found


class Credentials:
    """The credentials under a path of SSM, over a client that is made when the first one is asked for.

    `path` ends with `/`. `clock` gives the present.
    """

    def __init__(self, make_client: Callable[[], Any], path: str, clock: Callable[[], datetime]) -> None:
        self._make_client, self._path, self._clock = make_client, path, clock
        self._client: Any = None
        self._cached: dict[str, _CachedCredential] = {}

    def read(self, names: Iterable[str]) -> dict[str, Found]:
        """Each of these credentials by its name, or what is wrong with it. AWS is asked for none that is cached."""
        wanted, now = dict.fromkeys(names), self._clock()
        missing = [name for name in wanted if not self._is_fresh(name, now)]
        for found in self._ask(missing):
            if not (self._is_unavailable(found) and self._may_go_on(found.name, now)):
                self._cached[found.name] = _CachedCredential(now, found)
        return {name: self._cached[name].found for name in wanted}

    def _is_fresh(self, name: str, now: datetime) -> bool:
        cached = self._cached.get(name)
        if cached is None:
            return False
        longest = PROBLEM_CACHED_FOR if isinstance(cached.found, CredentialProblem) else CACHED_FOR
        # The clock of a frozen environment may be set back when it goes on.
        return timedelta() <= now - cached.read_at < longest

    def _may_go_on(self, name: str, now: datetime) -> bool:
        cached = self._cached.get(name)
        return (
            cached is not None
            and isinstance(cached.found, StoredCredential)
            and timedelta() <= now - cached.read_at < CACHED_WITHOUT_AWS_FOR
        )

    @staticmethod
    def _is_unavailable(found: Found) -> bool:
        return isinstance(found, CredentialProblem) and found.reason is Unusable.UNAVAILABLE

    def _ask(self, names: list[str]) -> Iterator[Found]:
        """Ask AWS for all of these, until it does not answer: a sweep cannot wait for each request."""
        gone = ""
        for first in range(0, len(names), MOST_NAMES):
            some = names[first : first + MOST_NAMES]
            if gone:
                yield from (CredentialProblem(name, Unusable.UNAVAILABLE, gone) for name in some)
                continue
            for found in self._ask_for(some):
                if isinstance(found, CredentialProblem) and found.reason is Unusable.UNAVAILABLE:
                    gone = found.code
                yield found

    def _ask_for(self, names: list[str]) -> Iterator[Found]:
        values, reason, code = self._request(names)
        if reason is Unusable.DENIED and len(names) > 1:
            # One that is encrypted with a key of the user's own denies the whole request: each is asked for alone.
            for name in names:
                yield from self._ask_for([name])
            return
        if reason:
            _log.error("Credentials cannot be read.", extra={"credentials": names, "reason": reason, "code": code})
        for name in names:
            if reason:
                yield CredentialProblem(name, reason, code)
            elif name not in values:
                yield CredentialProblem(name, Unusable.MISSING)
            else:
                yield _parsed(name, values[name])

    def _request(self, names: list[str]) -> tuple[dict[str, _Value], Unusable | None, str]:
        """What AWS answers, by name, or why there is no answer, and its code. Nothing that is raised gets out."""
        try:
            if self._client is None:
                self._client = self._make_client()
            parameters = [self._path + name for name in names]
            answer = self._client.get_parameters(Names=parameters, WithDecryption=True)
            found = {one["Name"].removeprefix(self._path): _value(one) for one in answer["Parameters"]}
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            return {}, Unusable.DENIED if code in DENIED else Unusable.UNAVAILABLE, code
        except Exception as error:
            return {}, Unusable.UNAVAILABLE, type(error).__name__
        return found, None, ""


def _value(parameter: Any) -> _Value:
    return parameter["Value"], int(parameter["Version"]), parameter["LastModifiedDate"].astimezone(UTC)


def _parsed(name: str, value: _Value) -> Found:
    text, version, changed_at = value
    try:
        return from_value(name, text, version, changed_at)
    except UnusableCredentialError as error:
        return CredentialProblem(name, Unusable.DAMAGED, str(error))
