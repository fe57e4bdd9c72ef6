"""Who may log in with a credential, and what a login says of it. Pure.

A wrong password locks accounts, and fifty targets may share it. So a credential that nothing has shown to be right is
tried by one target; the others wait until it was accepted. After two rejections in a row no one tries it until it
changes. Each decision is a new state, which its caller writes if the table still holds the one that it was made from:
of two targets that would be the first, one loses, and waits.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from popwatch.model.credential_state import CredentialState
from popwatch.model.outcomes import LoginVerdict

LONGEST_TRIAL = timedelta(minutes=10)
"""How long the others wait for the target that tries a credential: it may have been removed or suspended since."""


def may_use(state: CredentialState, revision: str, target_id: str, now: datetime) -> bool:
    """Whether a target may log in with this revision of a credential, after `begin_trial` if that is not None."""
    if state.revision != revision:
        return True
    if state.blocked:
        return False
    return state.passed_at is not None or _is_free(state, target_id, now)


def in_turn(state: CredentialState, target_ids: Iterable[str]) -> list[str]:
    """Targets in the order in which they may try a credential: the one that tried last, to no end, comes last."""
    ordered = sorted(target_ids)
    after_last = bisect_right(ordered, state.tried_by)
    return ordered[after_last:] + ordered[:after_last]


def begin_trial(state: CredentialState, revision: str, target_id: str, now: datetime) -> CredentialState | None:
    """The state to write before a target logs in with a credential that it may use; None if there is nothing to write.

    Whoever cannot write it, because another one has written since, does not log in.
    """
    if state.revision != revision:
        return CredentialState(state.name, revision, tried_by=target_id, tried_at=now, version=state.version + 1)
    if state.passed_at is not None or (state.tried_by == target_id and state.tried_at is not None):
        return None
    return replace(state, tried_by=target_id, tried_at=now, version=state.version + 1)


def after_login(
    state: CredentialState, revision: str, target_id: str, verdict: LoginVerdict, now: datetime, *, said: str = ""
) -> CredentialState | None:
    """The state after a login; None if it says nothing new, as with each that is accepted after the first one.

    A login with another revision says nothing of this one.
    """
    if state.revision != revision:
        return None
    match verdict:
        case LoginVerdict.PASSED | LoginVerdict.IN_USE:  # in use: it was accepted before that (RFC 2449 section 8.1.2)
            if state.passed_at is not None and not state.rejections:
                return None
            return CredentialState(state.name, revision, passed_at=now, version=state.version + 1)
        case LoginVerdict.REJECTED | LoginVerdict.UNCLEAR:
            return replace(
                state,
                passed_at=None,
                tried_by=target_id,
                tried_at=now,
                rejections=state.rejections + 1,
                rejected_by=target_id,
                rejected_at=now,
                said=said,
                version=state.version + 1,
            )
        case LoginVerdict.LOGIN_DELAY | LoginVerdict.FAILED:
            # Nothing is known: while this target's server does not answer, another target may try it.
            if state.passed_at is not None or state.tried_by != target_id or state.rejections:
                return None
            return replace(state, tried_at=None, version=state.version + 1)
        case _:
            assert_never(verdict)


def _is_free(state: CredentialState, target_id: str, now: datetime) -> bool:
    """Whether no other target is trying a credential."""
    if state.tried_by in ("", target_id) or state.tried_at is None:
        return True
    return not timedelta() <= now - state.tried_at < LONGEST_TRIAL
