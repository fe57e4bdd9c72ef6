"""The logins of a batch: with what its targets log in, and what their logins show of the credentials.

`prepare` comes before the tests, `record` after each login. What both write is on condition that no one else has
written since, as several batches may use a credential at once: a writer that was not first decides again.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Event, Lock

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.aws.alert_topics import AlertTopics, MessageRefusedError
from popwatch.aws.credentials import Credentials
from popwatch.aws.store import WRITE_ATTEMPTS, Store
from popwatch.decisions.login_attempts import (
    after_login,
    begin_attempt,
    begin_report,
    block_reported,
    expire_attempt,
    failed_before,
    has_problem_lasted,
    in_order,
    is_problem_due,
    is_refused_here_only,
    is_unconfirmed,
    may_use,
    next_attempt_at,
    problem_reported,
    refusal_reported,
    why_it_waits,
    with_problem,
    without_problem,
)
from popwatch.model.credential_problems import CredentialProblem, Unusable
from popwatch.model.credential_state import CredentialState, is_newer, revision_of
from popwatch.model.credentials import Credential, Mechanism, Secret, UnusableCredentialError
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import LoginResult, LoginVerdict
from popwatch.model.stored_credentials import StoredCredential
from popwatch.model.targets import Target
from popwatch.prober.access_tokens import PATIENCE_SECONDS, AccessTokens

_log = logging.getLogger("popwatch.sweep.logins")

STATE_READERS = 8
"""Credentials whose states are read and written at once."""

PREPARE_SECONDS = 12.0
"""The most for which the tests of a batch wait for their logins: parameters, tokens, states. Whose credential is not
ready by then is tested without a login."""


def reader_threads() -> Executor:
    """The threads that read and write states."""
    return ThreadPoolExecutor(STATE_READERS)


@dataclass(frozen=True, slots=True)
class PreparedLogins:
    """What each target of a batch logs in with, by its id, or why it does not.

    `problems` are those of a credential; the targets that are in neither wait for another one that tries the same
    credential. `without_login` are the targets whose problem has lasted, or stays until someone does something. Of the
    credentials in `attempted` one login is counted, that of the first target, for which the others wait. `skipped` are
    the targets that do not log in since servers have refused the credential without a reason: why, as `why_it_waits`
    has it. `never_accepted` are the credentials that no server has accepted yet.
    """

    credentials: Mapping[str, Credential]
    problems: Mapping[str, CredentialProblem]
    attempted: Set[str] = frozenset()
    without_login: Set[str] = frozenset()
    skipped: Mapping[str, str] = field(default_factory=dict)
    never_accepted: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _LoginsDue:
    """The targets whose login with a credential is due, others that use it, and since when some fail at the login."""

    target_ids: Sequence[str]
    not_due: Sequence[str]
    failing: Mapping[str, datetime]
    requested: bool


class Logins:
    """The logins of a stack's targets; several threads may record at once.

    A credential that is not tried any more is reported to those who receive alerts by email, not by SMS. `stack` is the
    name of the stack, for the text.
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
        threads: Callable[[], Executor] = reader_threads,
    ) -> None:
        self._store, self._credentials, self._tokens, self._clock = store, credentials, tokens, clock
        self._threads = threads
        self._alert_topics, self._stack = alert_topics, stack
        self._states: dict[str, CredentialState] = {}
        self._revisions: dict[str, str] = {}
        self._targets: dict[str, list[Target]] = {}
        self._lock = Lock()

    def prepare(
        self,
        wanted: Mapping[str, str],
        targets: Iterable[Target] = (),
        failing: Mapping[str, datetime] | None = None,
        not_due: Mapping[str, str] | None = None,
        *,
        requested: bool = False,
    ) -> PreparedLogins:
        """What targets log in with.

        `wanted` has the name of the credential of each target, in the order in which the targets log in with one that
        was accepted lately. `targets` are those at hand: a message about a credential goes to whoever receives the
        alerts of those that use it. `failing` has the targets in a run of failures that began at the login, and when it
        began. `not_due` is like `wanted`, of targets whose login is not due: where it is not confirmed that a
        credential is right, one of them may be the first to try it. `requested` if someone has asked for these tests,
        as after a change of the password: the credentials are read again.
        """
        self._targets = defaultdict(list)
        for target in targets:
            self._targets[target.policy.login].append(target)
        end_by = time.monotonic() + PREPARE_SECONDS
        found = self._credentials.read(wanted.values(), refresh=requested)
        stored = [one for one in found.values() if isinstance(one, StoredCredential)]
        problems = {name: one for name, one in found.items() if isinstance(one, CredentialProblem)}
        usable = self._with_secrets(stored, problems, end_by)
        self._revisions = {one.name: revision_of(one) for one in stored}
        self._states = {}
        due, others = _by_credential(wanted), _by_credential(not_due or {})
        pool, is_over = self._threads(), Event()
        try:
            plans = [
                pool.submit(
                    self._prepare_one,
                    usable.get(name) or problems[name],
                    _LoginsDue(due[name], others[name], failing or {}, requested=requested),
                    is_over,
                )
                for name in found
            ]
            return _together([plan for one in plans if (plan := _in_time(one, end_by))])
        finally:
            is_over.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _prepare_one(
        self, found: Credential | CredentialProblem, logins_due: _LoginsDue, is_over: Event
    ) -> PreparedLogins:
        """What targets log in with of one credential. A login that is counted too late for this batch is taken back."""
        name = found.name
        self._states[name] = self._store.read_credential_state(name)
        if isinstance(found, CredentialProblem):
            self._record_problem(found)
            problems = dict.fromkeys(logins_due.target_ids, found)
            return PreparedLogins({}, problems, without_login=frozenset(problems if self._is_left_out(found) else ()))
        self._refresh_state(name)
        self._report(self._states[name])
        problems = self._refused(name, logins_due.target_ids)
        revision = self._revisions[name]
        failed_earlier = {one for one in logins_due.target_ids if failed_before(logins_due.failing.get(one), revision)}
        logins_due = replace(logins_due, target_ids=[one for one in logins_due.target_ids if one not in problems])
        target_ids, is_counted = self._log_in(name, logins_due, failed_earlier)
        if is_counted and is_over.is_set():
            never = LoginResult(LoginVerdict.FAILED)
            self._write(name, lambda state: after_login(state, revision, target_ids[0], never, self._clock()))
        return PreparedLogins(
            dict.fromkeys(target_ids, found),
            problems,
            frozenset([name] if is_counted else ()),
            frozenset(problems),
            self._skipped(name, [one for one in logins_due.target_ids if one not in target_ids], failed_earlier),
            frozenset() if self._states[name].was_accepted else frozenset([name]),
        )

    def _skipped(self, name: str, target_ids: Iterable[str], failed_earlier: Set[str]) -> dict[str, str]:
        """Why targets do not log in, if that is since servers have refused the credential without a reason."""
        state, now = self._states[name], self._clock()
        times = {one: next_attempt_at(state, one, failed_earlier=one in failed_earlier) for one in target_ids}
        unconfirmed = is_unconfirmed(state, self._revisions[name])
        waits = {one: time for one, time in times.items() if time and time > now}
        return {one: why_it_waits(state, one, waits.get(one)) for one in times if unconfirmed or one in waits}

    def _is_left_out(self, problem: CredentialProblem) -> bool:
        """Whether no login is to be waited for: AWS or a token endpoint may not answer for days."""
        return problem.needs_action or has_problem_lasted(self._states[problem.name], self._clock())

    def record(self, target_id: str, credential: Credential, result: LoginResult) -> None:
        """Write what a login shows of its credential, and report one that is blocked by it."""
        with self._lock:
            name = credential.name
            if credential.mechanism is Mechanism.XOAUTH2 and result.verdict is LoginVerdict.REJECTED:
                self._tokens.forget(name)
            self._write(name, lambda state: after_login(state, self._revisions[name], target_id, result, self._clock()))
            self._report(self._states[name])

    def _report(self, state: CredentialState) -> None:
        """Publish what is to be reported of a credential and has not been."""
        unreported = [one for one in state.refusals if one.unreported] if state.was_accepted else []
        if not (state.unreported or unreported) or state.revision != self._revisions[state.name]:
            return
        from popwatch.alerts import credential_texts  # noqa: PLC0415 - few cold starts have one to report

        name, targets = state.name, self._targets[state.name]
        if state.unreported:
            message = credential_texts.blocked(state, targets, self._stack)
            self._send_once(
                name, message, lambda it: it.unreported, lambda it: block_reported(it, state, self._clock())
            )
        else:
            refusal = unreported[0]
            message = credential_texts.refused(state, refusal, targets, self._stack)
            self._send_once(
                name,
                message,
                lambda it: refusal in it.refusals,
                lambda it: refusal_reported(it, refusal, self._clock()),
            )

    def _send_once(
        self,
        name: str,
        message: AlertMessage,
        is_due: Callable[[CredentialState], bool],
        reported: Callable[[CredentialState], CredentialState],
    ) -> None:
        """Publish a message, unless another batch has begun to; if it is not published a later batch tries again.

        A process that dies between the two writes has it published twice, as with every alert.
        """
        began = self._write(name, lambda state: begin_report(state, self._clock()) if is_due(state) else None)
        if began and self._publish(message):
            self._write(name, reported)

    def _record_problem(self, problem: CredentialProblem) -> None:
        """Write since when a credential cannot be used, and publish it once that is some time ago."""
        name = problem.name
        self._write(name, lambda state: with_problem(state, problem.reason, self._clock()))
        state, now = self._states[name], self._clock()
        if state.problem_since is None or not is_problem_due(state, now):
            return
        from popwatch.alerts.credential_texts import unusable  # noqa: PLC0415 - few cold starts have one to report

        since = f"{state.problem_since:%Y-%m-%d %H:%M} UTC"
        message = unusable(problem, since, self._targets[name], self._stack)
        self._send_once(name, message, lambda it: is_problem_due(it, now), lambda it: problem_reported(it, now))

    def _publish(self, message: AlertMessage) -> bool:
        """Send a message to those who receive alerts by email; whether SNS has taken it."""
        try:
            self._alert_topics.publish(Topic.ALERT, message)
        except (BotoCoreError, ClientError, MessageRefusedError) as error:
            _log.error("A message about a credential could not be sent.", extra={"why": type(error).__name__})
            return False
        return True

    def _with_secrets(
        self, stored: Iterable[StoredCredential], problems: dict[str, CredentialProblem], end_by: float
    ) -> dict[str, Credential]:
        """What is sent, by the name of the credential; adds the problems of those for which there is no token."""
        by_name = {one.name: one for one in stored}
        of_xoauth2 = [one for one in by_name.values() if one.mechanism is Mechanism.XOAUTH2]
        patience = min(PATIENCE_SECONDS, end_by - time.monotonic())
        tokens = self._tokens.read(of_xoauth2, max(patience, 0.0)) if of_xoauth2 else {}
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

    def _refresh_state(self, name: str) -> None:
        """Expire an attempt, clear a problem that has ended, and have an outdated credential read again next time.

        It is outdated if another environment knows a newer revision: no target logs in with the older one.
        """
        self._write(name, lambda state: expire_attempt(state, self._clock()))
        self._write(name, without_problem)
        revision, known = self._revisions[name], self._states[name].revision
        if revision != known and not is_newer(revision, known):
            self._credentials.forget(name)

    def _refused(self, name: str, target_ids: Iterable[str]) -> dict[str, CredentialProblem]:
        """The targets that do not log in until the credential changes, and why."""
        state = self._states[name]
        if state.revision != self._revisions[name]:
            return {}
        if state.blocked_for_good:
            why = f"{state.rejected_by}: {state.said}"
            return dict.fromkeys(target_ids, CredentialProblem(name, Unusable.BLOCKED, why))
        refusing = {one.target_id for one in state.refusals if one.blocks_for_good}
        return {one: CredentialProblem(name, Unusable.BLOCKED, one) for one in target_ids if one in refusing}

    def _log_in(self, name: str, logins_due: _LoginsDue, failed_earlier: Set[str]) -> tuple[Sequence[str], bool]:
        """Who logs in with a credential, and whether the first one's login is counted, which is written before.

        The others follow in this batch if the first one's is accepted.
        """
        target_ids, not_due = logins_due.target_ids, logins_due.not_due
        revision = self._revisions[name]
        for _ in range(WRITE_ATTEMPTS):
            state, now = self._states[name], self._clock()
            accepted = state.passed_at is not None and state.revision == revision

            # The state of this attempt to write, not of a later one: a closure would see that of the last.
            def may(one: str, state: CredentialState = state, now: datetime = now) -> bool:
                is_failing = one in failed_earlier
                return may_use(state, revision, one, now, failed_earlier=is_failing, requested=logins_due.requested)

            # Their last refusal seems to be their own server's fault. If the password was changed since, they would
            # send a wrong one: another login has to show before theirs that it is right.
            refused_alone = {one for one in target_ids if accepted and is_refused_here_only(state, one) and may(one)}
            unconfirmed = is_unconfirmed(state, revision) or refused_alone
            # A target that works shows at once whether the credential is right, so it tries first although its login is
            # not due. The first login with a new revision is left to it, too, if the logins that are due were failing.
            needs_others = target_ids and (unconfirmed or (failed_earlier and state.revision != revision))
            candidates = [*target_ids, *not_due] if needs_others else target_ids
            # With what was accepted lately all log in, so the order of the batch, working targets first, is enough.
            ordered = target_ids if accepted and not refused_alone else in_order(state, candidates, failed_earlier)
            allowed = [one for one in ordered if may(one)]
            if not allowed:
                return (), False
            one_first = bool(refused_alone) and allowed[0] not in refused_alone
            begun = begin_attempt(state, revision, allowed[0], now, one_first=one_first)
            if begun is None:
                return allowed, False
            if self._put(state, begun):
                return [allowed[0], *(one for one in allowed[1:] if one in target_ids)], True
        return (), False

    def _write(self, name: str, decide: Callable[[CredentialState], CredentialState | None]) -> bool:
        """Write what `decide` makes of a state; if another writer was first, of that one's. Whether it was written."""
        for _ in range(WRITE_ATTEMPTS):
            state = self._states[name]
            after = decide(state)
            if after is None:
                return False
            if self._put(state, after):
                return True
        return False

    def _put(self, state: CredentialState, after: CredentialState) -> bool:
        """Write a state in place of another; if the table has a third one by now, that is the state from now on."""
        newer = self._store.put_credential_state(after, state.version)
        self._states[state.name] = newer or after
        return newer is None


def _by_credential(names: Mapping[str, str]) -> Mapping[str, list[str]]:
    """The targets of each credential, from the name of that of each target."""
    found: dict[str, list[str]] = defaultdict(list)
    for target_id, name in names.items():
        found[name].append(target_id)
    return found


def _in_time(plan: Future[PreparedLogins], end_by: float) -> PreparedLogins | None:
    """What targets log in with of one credential; None if DynamoDB fails, or does not answer in time."""
    try:
        return plan.result(max(0.0, end_by - time.monotonic()))
    except (BotoCoreError, ClientError, TimeoutError) as error:
        _log.error(
            "The state of a credential could not be read or written in time. Its targets are tested without a login,"
            " and the next sweep tries again. If this repeats, see whether the Status table is throttled.",
            extra={"error": type(error).__name__},
        )
        return None


def _together(plans: Iterable[PreparedLogins]) -> PreparedLogins:
    """What the targets of several credentials log in with."""
    credentials: dict[str, Credential] = {}
    problems: dict[str, CredentialProblem] = {}
    skipped: dict[str, str] = {}
    attempted, without_login, never_accepted = set[str](), set[str](), set[str]()
    for plan in plans:
        credentials |= plan.credentials
        problems |= plan.problems
        skipped |= plan.skipped
        attempted |= plan.attempted
        without_login |= plan.without_login
        never_accepted |= plan.never_accepted
    return PreparedLogins(credentials, problems, attempted, without_login, skipped, never_accepted)
