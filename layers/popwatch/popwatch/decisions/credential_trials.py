"""Who may log in with a credential, and what a login says of it. Pure.

A wrong password locks accounts, and fifty targets may share it. The rule, for any order of events, batches at the same
time, and processes that die:

- An attempt is counted before the secret is sent, by a write on condition, and taken back when the login was accepted,
  the mailbox was in use, the secret was never sent, or the server said that the fault is its own. One that never
  reports counts. Two that count, and no one tries this revision until it changes.
- While nothing has lately shown a revision to be right, one login with it is under way at a time: the others wait.
- A revision that was accepted is another matter, since some server knows it. A target that refuses it twice in a row
  does not try it any more, and the others go on: after the first refusal another target is next, and shows whether it
  is right. If it is rejected twice in a row, or two different targets refuse it in a row, no one tries it any more.
- A refusal without a code may be the server's fault. Of a revision that was accepted it is tried again: at once, after
  ten minutes, and then once an hour.
- A revision that is older than the one that is known is never tried.

Each decision is a new state, which its caller writes if the table still holds the one that it was made from: of two
targets that would be the first, one loses, and waits.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from popwatch.model.credential_state import (
    MOST_REFUSING,
    MOST_REJECTIONS,
    CredentialState,
    Refusal,
    is_newer,
)
from popwatch.model.outcomes import LoginResult, LoginVerdict
from popwatch.model.time_limits import STORED_AHEAD

LONGEST_TRIAL = timedelta(minutes=10)
"""How long a login may be under way: its process has died when it takes longer."""

ACCEPTED_FOR = timedelta(minutes=10)
"""How long the targets log in freely after an accepted login; then one asks first, and the others wait for it."""

WRITTEN_AGAIN_AFTER = ACCEPTED_FOR / 2
"""How old the time of the last accepted login may be when another one is accepted, without a write."""

OTHERS_FIRST = timedelta(minutes=5)
"""How long a target that refuses an accepted credential waits for another one to show whether it is right."""

UNCLEAR_WAITS = (timedelta(), timedelta(minutes=10), timedelta(hours=1))
"""Before the second, the third and each further attempt at a target that refuses without a code."""


REPORTED_AFTER = timedelta(minutes=15)
"""How long a credential cannot be used before the operator hears of it: AWS may not answer for some minutes."""


def with_problem(state: CredentialState, reason: str, now: datetime) -> CredentialState | None:
    """The state to write of a credential that cannot be used; None if that stands there already."""
    if state.problem_since is not None and state.problem == reason:
        return None
    since = state.problem_since or now
    return replace(state, problem=reason, problem_since=since, version=state.version + 1)


def without_problem(state: CredentialState) -> CredentialState | None:
    """The state to write of a credential that can be used again; None if nothing else stands there."""
    if state.problem_since is None:
        return None
    return replace(state, problem="", problem_since=None, problem_reported_at=None, version=state.version + 1)


def is_problem_due(state: CredentialState, now: datetime) -> bool:
    """Whether a message that a credential cannot be used is due: once, whatever the reason is by then."""
    return has_lasted(state, now) and state.problem_reported_at is None


def has_lasted(state: CredentialState, now: datetime) -> bool:
    """Whether a credential has not been usable for so long that it is reported."""
    return state.problem_since is not None and not _is_recent(state.problem_since, REPORTED_AFTER, now)


def may_use(state: CredentialState, revision: str, target_id: str, now: datetime) -> bool:
    """Whether a target may log in with this revision of a credential, after `begin_trial` if that is not None.

    `state` is as `settled` leaves it.
    """
    if state.revision != revision:
        return is_newer(revision, state.revision)
    if state.tried_at is not None or not _may_try_again(state.refusal_of(target_id), now):
        return False
    if state.passed_at is not None:
        return True
    if state.blocked:
        return state.may_be_right and _has_passed(state.rejected_at, UNCLEAR_WAITS[-1], now)
    waits = state.rejections and state.was_accepted and state.certain and state.rejected_by == target_id
    return not waits or _has_passed(state.rejected_at, OTHERS_FIRST, now)


def in_turn(state: CredentialState, target_ids: Iterable[str]) -> list[str]:
    """Targets in the order in which they may try a credential: the one that tried last, to no end, comes last.

    Those that refuse it come after all others.
    """
    ordered = sorted(target_ids)
    after_last = bisect_right(ordered, state.tried_by)
    return sorted(ordered[after_last:] + ordered[:after_last], key=lambda one: state.refusal_of(one) is not None)


def settled(state: CredentialState, now: datetime) -> CredentialState | None:
    """The state to write if a login has been under way for too long: it counts as refused. None if there is none."""
    if state.tried_at is None or _is_recent(state.tried_at, LONGEST_TRIAL, now):
        return None
    return _refused(state, state.tried_by, now, certain=False, said="")


def begin_trial(state: CredentialState, revision: str, target_id: str, now: datetime) -> CredentialState | None:
    """The state to write before a target logs in with a credential that it may use; None if there is nothing to write.

    Whoever cannot write it, because another one has written since, does not log in.
    """
    if state.revision != revision:
        return CredentialState(state.name, revision, tried_by=target_id, tried_at=now, version=state.version + 1)
    if state.passed_at is not None and not _has_passed(state.passed_at, ACCEPTED_FOR, now):
        return None
    return replace(state, tried_by=target_id, tried_at=now, version=state.version + 1)


def after_login(
    state: CredentialState, revision: str, target_id: str, result: LoginResult, now: datetime
) -> CredentialState | None:
    """The state after a login; None if it says nothing new, as with each that is accepted after the first one.

    A login with another revision says nothing of this one.
    """
    if state.revision != revision:
        return None
    ours = state.tried_at is not None and state.tried_by == target_id
    match result.verdict:
        case LoginVerdict.PASSED | LoginVerdict.IN_USE:  # in use: it was accepted before that (RFC 2449 section 8.1.2)
            known = state.passed_at is not None and not _has_passed(state.passed_at, WRITTEN_AGAIN_AFTER, now)
            if known and not ours and not state.refusal_of(target_id):
                return None
            others_trial = state.tried_at is not None and not ours  # it counts until it has ended
            return CredentialState(
                state.name,
                revision,
                passed_at=now,
                tried_by=state.tried_by if others_trial else "",
                tried_at=state.tried_at if others_trial else None,
                version=state.version + 1,
                refusals=tuple(one for one in state.refusals if one.target_id != target_id),
            )
        case LoginVerdict.REJECTED | LoginVerdict.UNCLEAR:
            certain = result.verdict is LoginVerdict.REJECTED
            return _refused(state, target_id, now, certain=certain, said=result.said)
        case LoginVerdict.FAILED if result.unanswered and not state.was_accepted:
            return _refused(state, target_id, now, certain=False, said="")
        case LoginVerdict.LOGIN_DELAY | LoginVerdict.FAILED:
            # Nothing is known: while this target's server does not answer, another target may try it.
            return replace(state, tried_at=None, version=state.version + 1) if ours else None
        case _:
            assert_never(result.verdict)


def _refused(state: CredentialState, target_id: str, now: datetime, *, certain: bool, said: str) -> CredentialState:
    """The state after a refusal, which ends the login under way if it is that one."""
    earlier = state.refusal_of(target_id) or Refusal(target_id, 0, now)
    refusal = replace(earlier, count=earlier.count + 1, at=now, certain=certain)
    refusals = (*(one for one in state.refusals if one.target_id != target_id), refusal)
    certain_twice = certain and state.certain
    again = state.was_accepted and state.rejections and state.rejected_by == target_id and not certain_twice
    rejections = state.rejections + (not again)
    if len(refusals) > MOST_REFUSING:
        refusals, rejections = refusals[1:], max(rejections, MOST_REJECTIONS)
    ours = state.tried_by == target_id
    return replace(
        state,
        passed_at=None,
        accepted_at=state.passed_at or state.accepted_at,
        tried_at=None if ours else state.tried_at,
        rejections=rejections,
        rejected_by=target_id,
        rejected_at=now,
        certain=certain or (state.certain and state.rejections > 0),
        said=said,
        refusals=refusals,
        version=state.version + 1,
    )


def _may_try_again(refusal: Refusal | None, now: datetime) -> bool:
    """Whether a target's own refusals let it try again."""
    if refusal is None:
        return True
    if refusal.certain:
        return not refusal.lasts
    return _has_passed(refusal.at, UNCLEAR_WAITS[min(refusal.count, len(UNCLEAR_WAITS)) - 1], now)


def _has_passed(time: datetime | None, wait: timedelta, now: datetime) -> bool:
    """Whether a time is so long ago; one of the far future, as of a clock that was set, holds no one up."""
    return not _is_recent(time, wait, now)


def _is_recent(time: datetime | None, limit: timedelta, now: datetime) -> bool:
    # The clock of another environment may be a little ahead of this one's.
    return time is not None and -STORED_AHEAD <= now - time < limit
