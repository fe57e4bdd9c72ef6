"""Which targets of a batch log in now: of each credential one first, the others once it was accepted. No I/O.

A password that was changed at the server would else be tried by all that are due in the same second.
"""

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from popwatch.model.credentials import Credential
from popwatch.model.outcomes import LoginResult, LoginVerdict

LONGEST_TURN = 5.0
"""Seconds for which tests wait for the first login of their credential; then they are made without a login."""


@dataclass(slots=True)
class _Turns:
    """The logins of one credential: who is first, since when the others wait, and what came of it."""

    first: str = ""
    since: float | None = None
    accepted: bool = False
    refused: bool = False


class LoginTurns:
    """The turns of a batch; the prober asks, and the batch says how each test ended. All in one thread.

    Of the credentials in `on_trial` the first target is the one that the tables know of, and no other logs in until it
    was accepted. `begun` are the targets whose tests have begun with a login and not ended.
    """

    def __init__(
        self,
        credentials: Mapping[str, Credential],
        on_trial: Set[str] = frozenset(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.credentials, self._on_trial, self._monotonic = credentials, on_trial, monotonic
        self.begun: set[str] = set()
        self._turns: dict[str, _Turns] = {}
        for target_id, credential in credentials.items():
            name = credential.name
            self._turns.setdefault(name, _Turns(first=target_id if name in on_trial else ""))

    def may_log_in(self, target_id: str) -> bool | None:
        """Whether a target logs in now; None if it waits for another one."""
        turns = self._turns[self.credentials[target_id].name]
        if turns.refused:
            return False
        now = self._monotonic()
        if turns.since is None:
            turns.since = now
        if not turns.accepted and turns.first not in ("", target_id):
            return None if now - turns.since < LONGEST_TURN else False
        if not turns.accepted:
            turns.first = target_id
        self.begun.add(target_id)
        return True

    def end(self, target_id: str, result: LoginResult) -> None:
        """A target's test has ended, with or without a login."""
        self.begun.discard(target_id)
        name = self.credentials[target_id].name
        turns = self._turns[name]
        if result.verdict in (LoginVerdict.PASSED, LoginVerdict.IN_USE):
            turns.accepted = True
        elif result.verdict.counts_against_credential:
            turns.refused = True
        elif turns.first == target_id:
            turns.first = ""  # its server does not answer: another one is the first
            turns.refused = turns.refused or name in self._on_trial
