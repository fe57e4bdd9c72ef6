"""Which targets of a batch log in now: of each credential one first, and the others unless it is refused. No I/O.

A password that was changed at the server would else be tried by all that are due in the same second.
"""

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from popwatch.model.credentials import Credential
from popwatch.model.outcomes import LoginResult, LoginVerdict

SECOND_AFTER = 8.0
"""Seconds after which a second target logs in beside the first one that has no answer.

Servers answer a wrong password after two seconds (Dovecot) to five (Courier), and some after up to 17 (Dovecot, to an
address that has sent several). One that takes longer most likely never answers: another one's answer says more.
"""

WITHOUT_LOGIN_AFTER = 40.0
"""Seconds after which tests no longer wait for a login, and are made without one: they must end in this invocation.

Two logins that begin `SECOND_AFTER` seconds apart, and last as long as a test with a login does by default, fit in.
"""

MAX_UNANSWERED = 2
"""Logins of a credential without an answer, under way or ended, before all others log in or wait.

When both have ended without one, they log in: a wrong password would have been refused by then, so it is the servers'
fault, and each target's outage is to be seen.
"""


@dataclass(slots=True)
class _CredentialLogins:
    """The logins of one credential: who is first, since when the others wait, and what came of it."""

    first: str = ""
    since: float | None = None
    under_way: set[str] = field(default_factory=set)
    unanswered: int = 0
    over: bool = False
    refused: bool = False
    refused_unclearly_by: str = ""
    is_never_accepted: bool = False


class LoginOrder:
    """The logins of a batch; the prober asks, and the batch says how each test ended. All in one thread.

    Of the credentials in `attempted` the first target is the one that the tables know of. Of those in `never_accepted`
    no other one logs in unless that one was accepted: no answer may mean a wrong password, too.
    """

    def __init__(
        self,
        credentials: Mapping[str, Credential],
        attempted: Set[str] = frozenset(),
        never_accepted: Set[str] = frozenset(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.credentials, self._monotonic = credentials, monotonic
        self._by_credential: dict[str, _CredentialLogins] = {}
        for target_id, credential in credentials.items():
            name = credential.name
            first = target_id if name in attempted else ""
            self._by_credential.setdefault(
                name, _CredentialLogins(first=first, is_never_accepted=name in never_accepted)
            )

    @property
    def begun(self) -> Set[str]:
        """The targets whose tests have begun with a login and not ended."""
        return frozenset().union(*(logins.under_way for logins in self._by_credential.values()))

    def may_log_in(self, target_id: str) -> bool | None:
        """Whether a target logs in now; None if it waits for another one."""
        logins = self._by_credential[self.credentials[target_id].name]
        if logins.refused:
            return False
        now = self._monotonic()
        if logins.since is None:
            logins.since = now
        waited = now - logins.since
        if not (logins.over or self._is_next(logins, target_id, waited)):
            return False if waited >= (SECOND_AFTER if logins.is_never_accepted else WITHOUT_LOGIN_AFTER) else None
        logins.first = logins.first or target_id
        logins.under_way.add(target_id)
        return True

    @staticmethod
    def _is_next(logins: _CredentialLogins, target_id: str, waited: float) -> bool:
        """Whether a target logs in next while nothing has shown that the credential is right."""
        if logins.is_never_accepted or waited < SECOND_AFTER:
            return logins.first in ("", target_id)
        return len(logins.under_way) + logins.unanswered < MAX_UNANSWERED

    def end(self, target_id: str, result: LoginResult) -> None:
        """A target's test has ended, with or without a login."""
        logins = self._by_credential[self.credentials[target_id].name]
        logins.under_way.discard(target_id)
        if result.verdict in (LoginVerdict.PASSED, LoginVerdict.IN_USE):
            logins.over = True
        elif result.verdict.counts_against_credential:
            logins.refused = True
            logins.refused_unclearly_by = target_id if result.verdict is LoginVerdict.UNCLEAR else ""
        elif not logins.over:
            logins.unanswered += 1 if result.unanswered else 0
            logins.over = logins.unanswered >= MAX_UNANSWERED
            if logins.first == target_id:
                logins.refused = logins.is_never_accepted
                logins.first = ""  # its server does not answer: another one is the first

    def why_not(self, target_id: str) -> str:
        """Why a target did not log in, if its credential was refused in this batch without a reason; else empty."""
        credential = self.credentials.get(target_id)
        if credential is None:
            return ""
        by = self._by_credential[credential.name].refused_unclearly_by
        return f"credential {credential.name} refused by {by} without a reason just now" if by else ""
