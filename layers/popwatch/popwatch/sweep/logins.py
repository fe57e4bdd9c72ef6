"""The logins of a batch: with what its targets log in, and what their logins show of the credentials.

`prepare` comes before the tests, `record` after each login. What both write is on condition that no one else has
written since, as several batches may use a credential at once: whoever loses reads again what is true now.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.alert_topics import AlertTopics, MessageRefusedError
from popwatch.aws.credentials import Credentials
from popwatch.aws.store import Store
from popwatch.decisions.credential_trials import after_login, begin_trial, in_turn, may_use
from popwatch.model.credential_problems import CredentialProblem, Unusable
from popwatch.model.credential_state import CredentialState, revision_of
from popwatch.model.credentials import Credential, Mechanism, Secret, UnusableCredentialError
from popwatch.model.messages import Topic
from popwatch.model.outcomes import LoginResult
from popwatch.model.stored_credentials import StoredCredential
from popwatch.prober.access_tokens import AccessTokens

_log = logging.getLogger("popwatch.sweep.logins")

COLLISIONS = 5
"""How often a state is written again when other writers keep changing it."""


@dataclass(frozen=True, slots=True)
class PreparedLogins:
    """What each target of a batch logs in with, by its id, or why it does not.

    `problems` are those of a credential; the targets that are in neither wait for another one that tries the same
    credential.
    """

    credentials: Mapping[str, Credential]
    problems: Mapping[str, CredentialProblem]


class Logins:
    """The logins of a stack's targets; several threads may record at once.

    Who receives alerts by email, but not by SMS, hears of a credential that is not tried any more. `stack` is the name
    of the stack, for the text.
    """

    def __init__(
        self,
        store: Store,
        credentials: Credentials,
        tokens: AccessTokens,
        alert_topics: AlertTopics,
        clock: Callable[[], datetime],
        *,
        stack: str,
    ) -> None:
        self._store, self._credentials, self._tokens, self._clock = store, credentials, tokens, clock
        self._alert_topics, self._stack = alert_topics, stack
        self._states: dict[str, CredentialState] = {}
        self._revisions: dict[str, str] = {}
        self._lock = Lock()

    def prepare(self, wanted: Mapping[str, str]) -> PreparedLogins:
        """What targets log in with; `wanted` are the names of credentials by the ids of the targets."""
        found = self._credentials.read(wanted.values())
        stored = {name: one for name, one in found.items() if isinstance(one, StoredCredential)}
        problems = {name: one for name, one in found.items() if isinstance(one, CredentialProblem)}
        usable = self._with_secrets(stored.values(), problems)
        self._revisions = {name: revision_of(stored[name]) for name in usable}
        self._states = {name: self._store.read_credential_state(name) for name in usable}
        problems |= {name: problem for name in usable if (problem := self._blocked(name))}
        for name in usable:
            self._report(self._states[name])
        by_name: dict[str, list[str]] = defaultdict(list)
        for target_id, name in wanted.items():
            by_name[name].append(target_id)
        credentials = {
            target_id: usable[name]
            for name in usable.keys() - problems.keys()
            for target_id in in_turn(self._states[name], by_name[name])
            if self._may_log_in(target_id, name)
        }
        of_targets = {target_id: problems[name] for target_id, name in wanted.items() if name in problems}
        return PreparedLogins(credentials, of_targets)

    def record(self, target_id: str, credential: Credential, result: LoginResult) -> None:
        """Write what a login shows of its credential, and report one that is blocked by it."""
        with self._lock:
            self._record(target_id, credential.name, result)
            self._report(self._states[credential.name])

    def _report(self, state: CredentialState) -> None:
        """Publish that a credential is blocked, unless that was published; a batch that uses it later tries again.

        A process that dies between the two writes has it published twice, as with every alert.
        """
        if not state.unreported or state.revision != self._revisions[state.name]:
            return
        from popwatch.alerts.credential_texts import blocked  # noqa: PLC0415 - few cold starts have one to report

        try:
            self._alert_topics.publish(Topic.ALERT, blocked(state, self._stack))
        except (BotoCoreError, ClientError, MessageRefusedError) as error:
            _log.error("A message about a credential could not be sent.", extra={"why": type(error).__name__})
        else:
            self._put(state, replace(state, reported_at=self._clock(), version=state.version + 1))

    def _with_secrets(
        self, stored: Iterable[StoredCredential], problems: dict[str, CredentialProblem]
    ) -> dict[str, Credential]:
        """What is sent, by the name of the credential; adds the problems of those for which there is no token."""
        by_name = {one.name: one for one in stored}
        of_xoauth2 = [one for one in by_name.values() if one.mechanism is Mechanism.XOAUTH2]
        tokens = self._tokens.read(of_xoauth2) if of_xoauth2 else {}
        usable = {}
        for name, one in by_name.items():
            token = tokens.get(name)
            if isinstance(token, CredentialProblem):
                problems[name] = token
                continue
            try:
                usable[name] = one.credential(token if isinstance(token, Secret) else None)
            except UnusableCredentialError as error:
                problems[name] = CredentialProblem(name, Unusable.DAMAGED, str(error))
        return usable

    def _blocked(self, name: str) -> CredentialProblem | None:
        state = self._states[name]
        if state.revision != self._revisions[name] or not state.blocked:
            return None
        return CredentialProblem(name, Unusable.BLOCKED, f"{state.rejected_by}: {state.said}")

    def _may_log_in(self, target_id: str, name: str) -> bool:
        """Whether a target may log in; that it is the first one is written before."""
        revision = self._revisions[name]
        for _ in range(COLLISIONS):
            state, now = self._states[name], self._clock()
            if not may_use(state, revision, target_id, now):
                return False
            begun = begin_trial(state, revision, target_id, now)
            if begun is None or self._put(state, begun):
                return True
        return False

    def _record(self, target_id: str, name: str, result: LoginResult) -> None:
        revision = self._revisions[name]
        for _ in range(COLLISIONS):
            state = self._states[name]
            after = after_login(state, revision, target_id, result.verdict, self._clock(), said=result.said)
            if after is None or self._put(state, after):
                return

    def _put(self, state: CredentialState, after: CredentialState) -> bool:
        """Write a state in place of another; if the table holds a third one, that is the state from now on."""
        held = self._store.put_credential_state(after, state.version)
        self._states[state.name] = held or after
        return held is None
