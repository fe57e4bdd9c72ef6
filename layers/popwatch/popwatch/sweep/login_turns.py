"""Which targets of a batch log in now: of each credential one first, and the others unless it is refused. No I/O.

A password that was changed at the server would else be tried by all that are due in the same second.
"""

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from popwatch.model.credentials import Credential
from popwatch.model.outcomes import LoginResult, LoginVerdict

LONGEST_TURN = 8.0
"""Seconds for which tests wait for the first login of their credential.

Servers answer a wrong password after two seconds (Dovecot) to five (Courier). One that takes longer is most likely
dead, and the others' outage is to be seen as well.
"""


@dataclass(slots=True)
class _Turns:
    """The logins of one credential: who is first, since when the others wait, and what came of it."""

    first: str = ""
    since: float | None = None
    over: bool = False
    refused: bool = False
    doubted_by: str = ""
    is_unknown: bool = False


class LoginTurns:
    """The turns of a batch; the prober asks, and the batch says how each test ended. All in one thread.

    Of the credentials in `on_trial` the first target is the one that the tables know of. Of those in `unknown`, which
    no server has accepted yet, no other one logs in unless that one was accepted: no answer may mean a wrong password,
    too. `begun` are the targets whose tests have begun with a login and not ended.
    """

    def __init__(
        self,
        credentials: Mapping[str, Credential],
        on_trial: Set[str] = frozenset(),
        unknown: Set[str] = frozenset(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.credentials, self._monotonic = credentials, monotonic
        self.begun: set[str] = set()
        self._turns: dict[str, _Turns] = {}
        for target_id, credential in credentials.items():
            name = credential.name
            first = target_id if name in on_trial else ""
            self._turns.setdefault(name, _Turns(first=first, is_unknown=name in unknown))

    def may_log_in(self, target_id: str) -> bool | None:
        """Whether a target logs in now; None if it waits for another one."""
        turns = self._turns[self.credentials[target_id].name]
        if turns.refused:
            return False
        now = self._monotonic()
        if turns.since is None:
            turns.since = now
        is_late = now - turns.since >= LONGEST_TURN
        turns.over = turns.over or (is_late and not turns.is_unknown)
        if not turns.over and turns.first not in ("", target_id):
            return False if is_late else None
        turns.first = turns.first or target_id
        self.begun.add(target_id)
        return True

    def end(self, target_id: str, result: LoginResult) -> None:
        """A target's test has ended, with or without a login."""
        self.begun.discard(target_id)
        turns = self._turns[self.credentials[target_id].name]
        if result.verdict in (LoginVerdict.PASSED, LoginVerdict.IN_USE):
            turns.over = True
        elif result.verdict.counts_against_credential:
            turns.refused, turns.doubted_by = True, target_id if result.verdict is LoginVerdict.UNCLEAR else ""
        elif turns.first == target_id and not turns.over:
            turns.refused = turns.is_unknown
            turns.first = ""  # its server does not answer: another one is the first

    def why_not(self, target_id: str) -> str:
        """Why a target did not log in, if its credential was refused in this batch without a reason; else empty."""
        credential = self.credentials.get(target_id)
        by = self._turns[credential.name].doubted_by if credential else ""
        return f"credential {credential.name} refused by {by} without a reason just now" if credential and by else ""
