"""A stack's credentials, read from SSM's Parameter Store: up to ten in one call, and kept for minutes.

One that is known is decrypted again only if it was changed: KMS charges for each decryption, with a key of AWS's too
(aws.amazon.com/kms/pricing), and SSM for nothing.

All tests wait for it, so one deadline limits all requests of a reading together, and some are made at the same time.

Whatever goes wrong is a problem of the credentials that were asked for, never an exception: botocore's own may hold the
answer with the secrets in it (ResponseParserError does). A problem says AWS's code and nothing else.
"""

import logging
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from botocore.exceptions import ClientError

from popwatch.model.credential_problems import PROBLEM_CACHED_FOR, CredentialProblem, Unusable
from popwatch.model.credentials import UnusableCredentialError
from popwatch.model.stored_credentials import StoredCredential, from_value

CACHED_FOR = timedelta(minutes=5)
"""How long a credential that was read is used before it is read again."""

CACHED_WITHOUT_AWS_FOR = timedelta(hours=1)
"""How long a credential is used while AWS does not answer: that is not a fault of the server that is tested."""

MAX_NAMES = 10
"""Names in one request (docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html)."""

READ_SECONDS = 5.0
"""The most that reading takes; what has not been answered by then is unavailable until the next sweep."""

PARAMETER_READERS = 4
"""Requests at once. Parameter Store takes 40 a second of an account unless it is set to more
(docs.aws.amazon.com/general/latest/gr/ssm.html)."""

DENIED = (
    "AccessDeniedException",
    "AccessDenied",
    "UnrecognizedClientException",
    "InvalidKeyId",
    "KMSAccessDeniedException",
)

_log = logging.getLogger("popwatch.aws.credentials")


def forbid_core_dumps() -> None:
    """Let the kernel write no core of this process if it crashes: the memory has the secrets that are kept."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What AWS answers for some names: their values, or why there is none, with its code."""

    values: Mapping[str, "_Value"] = field(default_factory=dict)
    reason: Unusable | None = None
    code: str = ""


_Value = tuple[str, int, datetime]
"""The value of a parameter, encrypted or not, its version and when it was changed."""

Found = StoredCredential | CredentialProblem


@dataclass(frozen=True, slots=True)
class _CachedCredential:
    read_at: datetime
    found: Found


class Credentials:
    """The credentials under a path of SSM, over a client that is made when the first one is asked for.

    `path` ends with `/`. `clock` gives the current time. `seconds` are the most that reading takes.
    """

    def __init__(
        self,
        make_client: Callable[[], Any],
        path: str,
        clock: Callable[[], datetime],
        *,
        seconds: float = READ_SECONDS,
    ) -> None:
        self._make_client, self._path, self._clock = make_client, path, clock
        self._seconds = seconds
        self._client: Any = None
        self._lock = Lock()
        self._cached: dict[str, _CachedCredential] = {}

    def read(self, names: Iterable[str], *, refresh: bool = False) -> dict[str, Found]:
        """Each of these credentials by its name, or what is wrong with it.

        Those that are cached are not asked for, unless `refresh`: then AWS is asked whether they have changed.
        """
        forbid_core_dumps()
        wanted, now = dict.fromkeys(names), self._clock()
        missing = [name for name in wanted if refresh or not self._is_fresh(name, now)]
        for found in self._ask(missing) if missing else ():
            if not (self._is_unavailable(found) and self._may_go_on(found.name, now)):
                self._cached[found.name] = _CachedCredential(now, found)
        return {name: self._cached[name].found for name in wanted}

    def forget(self, name: str) -> None:
        """Read a credential again when it is wanted next: another environment knows a newer one."""
        self._cached.pop(name, None)

    def _is_fresh(self, name: str, now: datetime) -> bool:
        cached = self._cached.get(name)
        if cached is None:
            return False
        # Denied names make many requests: of ten in one request, eleven.
        is_brief = isinstance(cached.found, CredentialProblem) and cached.found.reason is not Unusable.DENIED
        longest = PROBLEM_CACHED_FOR if is_brief else CACHED_FOR
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

    def _ask(self, names: Sequence[str]) -> Iterator[Found]:
        """Ask AWS for all of these, until it does not answer, or the time is over."""
        pool, end_by = ThreadPoolExecutor(PARAMETER_READERS), time.monotonic() + self._seconds
        no_answer: list[str] = []
        try:
            known = [name for name in names if self._known(name)]
            unknown = [name for name in names if not self._known(name)]
            for some, answer in self._request_all(pool, _groups(known), end_by, no_answer, decrypt=False):
                if answer.reason:
                    yield from _found(some, answer)
                else:
                    unchanged = {
                        name: one for name in some if (one := self._known(name)) and _is_of(one, answer.values)
                    }
                    yield from unchanged.values()
                    unknown += [name for name in some if name not in unchanged]
            for some, answer in self._request_all(pool, _groups(unknown), end_by, no_answer):
                if answer.reason is Unusable.DENIED and len(some) > 1:
                    # One that is encrypted with a key of the user's own denies the whole request: ask for each alone.
                    for name, alone in self._request_all(pool, [[name] for name in some], end_by, no_answer):
                        yield from _found(name, alone)
                else:
                    yield from _found(some, answer)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _known(self, name: str) -> StoredCredential | None:
        """What was read of a credential, however long ago."""
        cached = self._cached.get(name)
        return cached.found if cached and isinstance(cached.found, StoredCredential) else None

    def _request_all(
        self,
        pool: ThreadPoolExecutor,
        groups: Sequence[Sequence[str]],
        end_by: float,
        no_answer: list[str],
        *,
        decrypt: bool = True,
    ) -> Iterator[tuple[Sequence[str], _Answer]]:
        """The answer for each group of names; that it is not available for those without one in time."""
        requests = [pool.submit(self._request, names, no_answer, decrypt=decrypt) for names in groups]
        answered, _ = wait(requests, max(0.0, end_by - time.monotonic()))
        late = _Answer(reason=Unusable.UNAVAILABLE, code=TimeoutError.__name__)
        for names, request in zip(groups, requests, strict=True):
            yield names, request.result() if request in answered else late

    def _request(self, names: Sequence[str], no_answer: list[str], *, decrypt: bool) -> _Answer:
        """One request, unless AWS did not answer another one, whose code is then in `no_answer`. Raises nothing."""
        if no_answer:
            return _Answer(reason=Unusable.UNAVAILABLE, code=no_answer[0])
        try:
            answer = self._made_client().get_parameters(
                Names=[self._path + name for name in names], WithDecryption=decrypt
            )
            return _Answer({one["Name"].removeprefix(self._path): _value(one) for one in answer["Parameters"]})
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            if code in DENIED:
                return _Answer(reason=Unusable.DENIED, code=code)
        except Exception as error:
            code = type(error).__name__
        no_answer.append(code)
        return _Answer(reason=Unusable.UNAVAILABLE, code=code)

    def _made_client(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client


def _groups(names: Sequence[str]) -> list[Sequence[str]]:
    """Names of one request each."""
    return [names[first : first + MAX_NAMES] for first in range(0, len(names), MAX_NAMES)]


def _is_of(known: StoredCredential, values: Mapping[str, _Value]) -> bool:
    """Whether a credential is that of the parameter as it is now."""
    return known.name in values and values[known.name][1:] == (known.version, known.changed_at)


def _found(names: Sequence[str], answer: _Answer) -> Iterator[Found]:
    """Each of these credentials, or its problem."""
    if answer.reason:
        logged = {"credentials": names, "reason": answer.reason, "code": answer.code}
        _log.error("Credentials cannot be read.", extra=logged)
    for name in names:
        if answer.reason:
            yield CredentialProblem(name, answer.reason, answer.code)
        elif name not in answer.values:
            yield CredentialProblem(name, Unusable.MISSING)
        else:
            yield _parsed(name, answer.values[name])


def _value(parameter: Any) -> _Value:
    return parameter["Value"], int(parameter["Version"]), parameter["LastModifiedDate"].astimezone(UTC)


def _parsed(name: str, value: _Value) -> Found:
    text, version, changed_at = value
    try:
        return from_value(name, text, version, changed_at)
    except UnusableCredentialError as error:
        return CredentialProblem(name, Unusable.DAMAGED, str(error))
