"""Who may log in with a credential, and how a login changes what is known of it. Pure.

Servers lock accounts after a few wrong passwords, and fifty targets may share one. These rules hold for any order of
events, for batches that run at the same time, and for processes that die:

- An attempt is counted before the secret is sent, by a conditional write. It is taken back if the login was accepted,
  the mailbox was in use, the secret was never sent, or the server said that the fault is its own. If its process dies,
  it stays counted.
- As long as no server has lately accepted a revision of a credential, one login with it is under way at a time, and the
  other targets wait.
- After two counted attempts without an accepted login between them all targets wait. If a server said that the user or
  the secret is wrong, they wait until the revision changes. Otherwise it may be the server's fault, and the credential
  is tried again after one hour, then after two, four, up to a day. If the revision had been accepted before, another
  target tries it after 15 minutes already: that shows whether the server or the credential is at fault.
- A target that refuses a credential twice in a row, which others accept, waits alone, for as long as all would wait.
  Its refusals count together with those of others, since the password may have been changed after the others were
  accepted. Only a refusal right after an accepted login of another target does not.
- If a target's login was already failing when a revision was stored, that target tries it once, not twice, before it
  waits. That leaves the second attempt to another target.
- A revision that is older than the newest known one is never tried.

Each decision is a new state. Its caller writes it on condition that the table still has the state that it was made
from: of two targets that would begin the first attempt, only one can write, and the other waits.
"""

from bisect import bisect_right
from collections.abc import Iterable, Set
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from popwatch.model.credential_problems import CredentialProblem
from popwatch.model.credential_state import (
    MAX_REFUSING,
    MAX_REJECTIONS,
    CredentialState,
    Refusal,
    is_newer,
    revision_time,
)
from popwatch.model.health import Health
from popwatch.model.outcomes import DETAIL_SHOWN, ErrorCode, LoginResult, LoginVerdict, Outcome, Phase
from popwatch.model.text import clean, utc
from popwatch.model.time_limits import STORED_AHEAD

LONGEST_ATTEMPT = timedelta(minutes=10)
"""How long a login may be under way: its process has died when it takes longer."""

ACCEPTED_FOR = timedelta(minutes=10)
"""How long the targets log in freely after an accepted login; then one asks first, and the others wait for it."""

WRITTEN_AGAIN_AFTER = ACCEPTED_FOR / 2
"""How old the time of the last accepted login may be when another one is accepted, without a write."""

ACCEPTANCE_PROVES_FOR = timedelta(minutes=2)
"""How long after an accepted login a refusal without a code, of a server that alone refuses, counts for it alone.

That login comes first in the same message, whose logins have ended by then.
"""

OTHERS_FIRST = timedelta(minutes=5)
"""How long a target that refuses an accepted credential waits for another one to show whether it is right."""

OTHER_TARGET_WAIT = timedelta(minutes=15)
"""After two refusals without a code of an accepted credential: before another target shows whether it is right.

Servers count wrong passwords for that long, as a rule (pam_faillock's `fail_interval`).
"""

FIRST_RETRY_WAIT, LONGEST_RETRY_WAIT = timedelta(hours=1), timedelta(days=1)
"""Between two refusals without a code and the next attempt; each further wait is twice as long."""

TARGET_SHOWN = 60
"""Characters of the id of a target that refused a credential, in a sentence that is to be whole."""

REPORTED_WITHIN = timedelta(minutes=1)
"""How long one batch may take to send a message about a credential, before another one sends it."""

REPORTED_AFTER = timedelta(minutes=15)
"""How long a credential cannot be used before the operator is notified: AWS may not answer for some minutes."""


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
    return has_problem_lasted(state, now) and state.problem_reported_at is None


def begin_report(state: CredentialState, now: datetime) -> CredentialState | None:
    """The state to write before a message about a credential is sent; None if another batch is sending one."""
    if _is_recent(state.reporting_at, REPORTED_WITHIN, now):
        return None
    return replace(state, reporting_at=now, version=state.version + 1)


def block_reported(state: CredentialState, reported: CredentialState, now: datetime) -> CredentialState:
    """The state to write once it was sent that no target tries a credential: the message names all of its refusals.

    `reported` is the state that the message is about. If the wait has become one until the credential changes since
    then, that is still to be reported.
    """
    is_reported = state.blocked and state.blocked_for_good == reported.blocked_for_good
    after = _refusals_reported(state, reported.refusals, now)
    return replace(after, reported_at=now if is_reported else state.reported_at)


def refusal_reported(state: CredentialState, reported: Refusal, now: datetime) -> CredentialState:
    """The state to write once it was sent that a target refuses a credential that others accept."""
    return _refusals_reported(state, [reported], now)


def _refusals_reported(state: CredentialState, reported: Iterable[Refusal], now: datetime) -> CredentialState:
    done = {(one.target_id, one.blocks_for_good) for one in reported}
    refusals = tuple(
        replace(one, reported_at=now) if (one.target_id, one.blocks_for_good) in done else one for one in state.refusals
    )
    return replace(state, refusals=refusals, reporting_at=None, version=state.version + 1)


def problem_reported(state: CredentialState, now: datetime) -> CredentialState:
    """The state to write once it was sent that a credential cannot be used."""
    reported_at = now if has_problem_lasted(state, now) else state.problem_reported_at
    return replace(state, problem_reported_at=reported_at, reporting_at=None, version=state.version + 1)


def has_problem_lasted(state: CredentialState, now: datetime) -> bool:
    """Whether a credential has not been usable for so long that it is reported."""
    return state.problem_since is not None and not _is_recent(state.problem_since, REPORTED_AFTER, now)


def may_use(
    state: CredentialState,
    revision: str,
    target_id: str,
    now: datetime,
    *,
    failed_earlier: bool = False,
    requested: bool = False,
) -> bool:
    """Whether a target may log in with this revision of a credential, after `begin_attempt` if that is not None.

    `state` is as `expire_attempt` leaves it. `failed_earlier` if the target's login was failing before this revision
    was stored; `requested` if someone has asked for this test: it does not wait after refusals without a code.
    """
    if state.revision != revision:
        return is_newer(revision, state.revision)
    refusal = state.refusal_of(target_id)
    if state.tried_at is not None or state.blocked_for_good or (refusal and refusal.blocks_for_good):
        return False
    if not requested and now < (next_attempt_at(state, target_id, failed_earlier=failed_earlier) or now):
        return False
    first = others_first_until(state, target_id)
    return not first or _has_passed(state.rejected_at, OTHERS_FIRST, now)


def others_first_until(state: CredentialState, target_id: str) -> datetime | None:
    """Until when a target that rejects a credential that was accepted leaves the next login to others, or None.

    The time may have passed.
    """
    waits = state.rejections == 1 and state.was_accepted and state.certain and state.rejected_by == target_id
    return state.rejected_at + OTHERS_FIRST if waits and state.rejected_at else None


def next_attempt_at(state: CredentialState, target_id: str, *, failed_earlier: bool = False) -> datetime | None:
    """Until when a target waits after refusals without a code, which may be the server's fault, or None.

    `failed_earlier` as in `may_use`. The time may have passed. Waits until the credential changes are not part of it.
    """
    refusal = state.refusal_of(target_id)
    own = shared = None
    if refusal and not refusal.certain:
        tried_once = failed_earlier and not state.was_accepted
        without_wait = 0 if tried_once else 1  # refusals in a row after which it may try again at once
        own = refusal.at + _wait(refusal.count - without_wait)
    if state.blocked and state.rejected_at:
        shared = state.rejected_at + _shared_wait(state)
    return max((time for time in (own, shared) if time), default=None)


def failed_before(failing_since: datetime | None, revision: str) -> bool:
    """Whether a run of failures that began at the login, if there is one, is older than a revision."""
    return failing_since is not None and failing_since < revision_time(revision)


def is_unconfirmed(state: CredentialState, revision: str) -> bool:
    """Whether servers have refused this revision since it was last accepted, and have not said whose fault it is."""
    return state.revision == revision and state.rejections > 0 and not state.certain


def why_it_waits(state: CredentialState, target_id: str, until: datetime | None) -> str:
    """Why a target does not log in after refusals without a code, and until when, in a few words.

    `until` as in `next_attempt_at`; None if another target tries the credential first.
    """
    refusal = state.refusal_of(target_id)
    last = refusal or state.refusal_of(state.rejected_by)
    where = "here" if refusal else f"by {clean(state.rejected_by, TARGET_SHOWN)}"
    how = f"not answered {where}" if last and last.unanswered else f"refused {where} without a reason"
    again = "tried by another target first"
    if until:
        again = f"tried again after {until:%Y-%m-%d %H:%M} UTC, or at once by `popwatch retest`"
    return f"credential {state.shown} {how}, {again}"


def with_skipped_login(outcome: Outcome, health: Health, why: str) -> Outcome:
    """The outcome of a test without a login in an outage of the login, as its credential waits after a refusal.

    It counts as failed: else the outage of a server that gives no reason would be reported once it may be asked again.
    It has the error and the reason of the login that failed last; `why` as `why_it_waits` has it. While it recovers its
    own login was accepted last, and the refusal is another target's: that leaves it as it is.
    """
    if health.recovery:
        return outcome
    last = health.login_failure
    error, reason = (last.error, last.reason) if last else (ErrorCode.PROTOCOL, "login-refused")
    failed = f"The login failed last at {utc(last.at)}. " if last else ""
    detail = clean(f"{failed}Tested without a login: {why}.", DETAIL_SHOWN)
    return replace(outcome, phase=Phase.LOGIN, error=error, reason=reason, detail=detail)


def without_login(outcome: Outcome, problem: CredentialProblem | None) -> Outcome:
    """The outcome of a test that ends an outage of the login, as no login can be tested any more.

    Without a `problem` the target has no `login` any more.
    """
    why = problem.explanation if problem else "The target has no field `login` any more."
    return replace(outcome, detail=clean(f"The login is not tested any more. {why}", DETAIL_SHOWN))


def in_order(state: CredentialState, target_ids: Iterable[str], failed_earlier: Set[str] = frozenset()) -> list[str]:
    """Targets in the order in which they may try a credential: the one whose attempt failed last comes last.

    Those that refuse it, and those in `failed_earlier`, as `may_use` has it, come after all others.
    """
    ordered = sorted(target_ids)
    after_last = bisect_right(ordered, state.tried_by)
    turned = ordered[after_last:] + ordered[:after_last]
    return sorted(turned, key=lambda one: one in failed_earlier or state.refusal_of(one) is not None)


def expire_attempt(state: CredentialState, now: datetime) -> CredentialState | None:
    """The state to write if a login has been under way for too long, which then counts as refused; None if not.

    Also if its times lie in the future, as after a clock was set back: what was counted stays, and waits begin now.
    """
    past = without_future(state, now)
    if past.tried_at is not None and not _is_recent(past.tried_at, LONGEST_ATTEMPT, now):
        return _refused(past, past.tried_by, now, certain=False, said="", unanswered=True)
    return None if past == state else replace(past, version=state.version + 1)


def without_future(state: CredentialState, now: datetime) -> CredentialState:
    """A state in which `now` replaces times of the future; not `tried_at`, which expires as one of long ago does."""

    def past(time: datetime | None) -> datetime | None:
        return now if time and time > now + STORED_AHEAD else time

    return replace(
        state,
        passed_at=past(state.passed_at),
        accepted_at=past(state.accepted_at),
        rejected_at=past(state.rejected_at),
        reported_at=past(state.reported_at),
        problem_since=past(state.problem_since),
        problem_reported_at=past(state.problem_reported_at),
        refusals=tuple(
            replace(one, at=past(one.at) or now, reported_at=past(one.reported_at)) for one in state.refusals
        ),
    )


def is_refused_here_only(state: CredentialState, target_id: str) -> bool:
    """Whether a target's refusal without a code seems to be its own server's fault: another login was accepted since.

    The password may have been changed after that login: another one, right before this target's next, shows that.
    """
    refusal = state.refusal_of(target_id)
    return bool(refusal and not refusal.certain and state.passed_at and state.passed_at > refusal.at)


def _counts_alone(state: CredentialState, target_id: str, now: datetime) -> bool:
    """Whether a refusal without a code, now, counts for its target alone: another login was accepted right before.

    It does not while another target's login is under way, which may be refused as well.
    """
    others = state.tried_at is not None and state.tried_by != target_id
    return (
        is_refused_here_only(state, target_id)
        and not others
        and not _has_passed(state.passed_at, ACCEPTANCE_PROVES_FOR, now)
    )


def begin_attempt(
    state: CredentialState, revision: str, target_id: str, now: datetime, *, one_first: bool = False
) -> CredentialState | None:
    """The state to write before a target logs in with a credential that it may use; None if there is nothing to write.

    Whoever cannot write it, because another one has written since, does not log in. With `one_first` only one target
    tries the credential at first, even if it was accepted lately.
    """
    if state.revision != revision:
        return CredentialState(state.name, revision, tried_by=target_id, tried_at=now, version=state.version + 1)
    if not one_first and state.passed_at is not None and not _has_passed(state.passed_at, ACCEPTED_FOR, now):
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
            others_attempt = state.tried_at is not None and not ours  # it counts until it has ended
            refusals = [one for one in state.refusals if one.target_id != target_id]
            if state.rejections > MAX_REJECTIONS:  # all waited, and the others may have been mended with this one
                refusals = [one if one.certain else replace(one, count=1) for one in refusals]
            return CredentialState(
                state.name,
                revision,
                passed_at=now,
                tried_by=state.tried_by if others_attempt else "",
                tried_at=state.tried_at if others_attempt else None,
                version=state.version + 1,
                refusals=tuple(refusals),
            )
        case LoginVerdict.REJECTED | LoginVerdict.UNCLEAR:
            certain = result.verdict is LoginVerdict.REJECTED
            return _refused(state, target_id, now, certain=certain, said=result.said)
        case LoginVerdict.FAILED if result.unanswered and not state.was_accepted:
            return _refused(state, target_id, now, certain=False, said="", unanswered=True)
        case LoginVerdict.LOGIN_DELAY | LoginVerdict.FAILED:
            # Nothing is known: while this target's server does not answer, another target may try it.
            return replace(state, tried_at=None, version=state.version + 1) if ours else None
        case _:
            assert_never(result.verdict)


def _refused(
    state: CredentialState, target_id: str, now: datetime, *, certain: bool, said: str, unanswered: bool = False
) -> CredentialState:
    """The state after a refusal, which ends the login under way if it is that one."""
    known = state.refusal_of(target_id)
    earlier = known or Refusal(target_id, 0, now)
    refusal = replace(earlier, count=earlier.count + 1, at=now, certain=certain, unanswered=unanswered)
    if refusal.blocks_for_good and not earlier.blocks_for_good:
        refusal = replace(refusal, reported_at=None)  # a message may have been sent of a wait, not of this
    refusals = (*(one for one in state.refusals if one.target_id != target_id), refusal)
    ours = state.tried_at is not None and state.tried_by == target_id
    tried_at = None if ours else state.tried_at
    if not certain and _counts_alone(state, target_id, now):
        return replace(state, tried_at=tried_at, refusals=refusals, said=said, version=state.version + 1)
    rejections = state.rejections + 1
    if not ours:  # with what was accepted several may log in at once: together they only reach the limit
        rejections = max(state.rejections, min(rejections, MAX_REJECTIONS))
    if len(refusals) > MAX_REFUSING:
        refusals, rejections = refusals[1:], max(rejections, MAX_REJECTIONS)
    after = replace(
        state,
        passed_at=None,
        accepted_at=state.passed_at or state.accepted_at,
        tried_at=tried_at,
        rejections=rejections,
        rejected_by=target_id,
        rejected_at=now,
        certain=certain or (state.certain and state.rejections > 0),
        said=said,
        refusals=refusals,
        version=state.version + 1,
    )
    return replace(after, reported_at=None) if after.blocked_for_good and not state.blocked_for_good else after


def _shared_wait(state: CredentialState) -> timedelta:
    """After the last of several refusals in a row without a code, before any target tries it."""
    if not state.was_accepted:
        return _wait(state.rejections - 1)
    return OTHER_TARGET_WAIT if state.rejections == MAX_REJECTIONS else _wait(state.rejections - MAX_REJECTIONS)


def _wait(number: int) -> timedelta:
    """The `number`-th wait after refusals without a code; none before the first."""
    return min(FIRST_RETRY_WAIT * 2 ** min(number - 1, 10), LONGEST_RETRY_WAIT) if number > 0 else timedelta()


def _has_passed(time: datetime | None, wait: timedelta, now: datetime) -> bool:
    """Whether a time is so long ago; one of the far future, as of a clock that was set, keeps no one waiting."""
    return not _is_recent(time, wait, now)


def _is_recent(time: datetime | None, limit: timedelta, now: datetime) -> bool:
    # The clock of another environment may be a little ahead of this one's.
    return time is not None and -STORED_AHEAD <= now - time < limit
