"""Who tries a credential: one target at a time until it was accepted, and no one after two attempts that count."""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from popwatch.decisions.login_attempts import (
    ACCEPTED_FOR,
    LONGEST_ATTEMPT,
    OTHER_TARGET_WAIT,
    OTHERS_FIRST,
    after_login,
    begin_attempt,
    block_reported,
    expire_attempt,
    failed_before,
    in_order,
    is_refused_here_only,
    is_unconfirmed,
    may_use,
    next_attempt_at,
    refusal_reported,
    why_it_waits,
    with_skipped_login,
)
from popwatch.model.credential_state import (
    MAX_REFUSING,
    MAX_REJECTIONS,
    CredentialState,
    Refusal,
    is_newer,
    revision,
    revision_of,
    upgraded,
)
from popwatch.model.credentials import Secret
from popwatch.model.health import UNTESTED, LoginFailure
from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict, Outcome, Phase
from popwatch.model.stored_credentials import StoredCredential
from popwatch.model.time_limits import STORED_AHEAD

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NEW = CredentialState("monitor")
R1, R2 = "1 2026-11-27T11:00:00Z", "2 2026-11-27T11:30:00Z"
UNANSWERED = LoginResult(LoginVerdict.FAILED, unanswered=True)
NOT_SENT = LoginResult(LoginVerdict.FAILED)
REJECTED = LoginResult(LoginVerdict.REJECTED, said="-ERR no")
UNCLEAR = LoginResult(LoginVerdict.UNCLEAR, said="-ERR no")
PASSED, IN_USE = LoginResult(LoginVerdict.PASSED), LoginResult(LoginVerdict.IN_USE)
REFUSED = (REJECTED, UNCLEAR, UNANSWERED)


def begun(state: CredentialState, target_id: str, now: datetime = NOON, revision: str = R1) -> CredentialState:
    """The state once a target is trying the credential."""
    assert may_use(state, revision, target_id, now)
    return begin_attempt(state, revision, target_id, now) or state


def ended(
    state: CredentialState, target_id: str, result: LoginResult, now: datetime = NOON, revision: str = R1
) -> CredentialState:
    """The state after a login of a target."""
    return after_login(state, revision, target_id, result, now) or state


def tried(state: CredentialState, target_id: str, result: LoginResult, now: datetime = NOON) -> CredentialState:
    return ended(begun(state, target_id, now), target_id, result, now)


ACCEPTED = tried(NEW, "a", PASSED)


def test_a_new_credential_is_tried_by_one_target_first() -> None:
    """No other, and not the same one twice at once; once it was accepted all may use it, and nothing is written."""
    trying = begun(NEW, "a")
    assert (trying.tried_by, trying.tried_at, trying.version) == ("a", NOON, 1)
    assert not any(may_use(trying, R1, name, NOON + MINUTE) for name in "ab")
    passed = ended(trying, "a", PASSED)
    assert may_use(passed, R1, "b", NOON)
    assert begin_attempt(passed, R1, "b", NOON) is None
    assert after_login(passed, R1, "b", PASSED, NOON) is None


@pytest.mark.parametrize("result", REFUSED)
def test_after_two_refusals_of_a_new_one_no_one_tries_it(result: LoginResult) -> None:
    """An answer that never comes counts as well. Until there is another revision, or for an hour without a code."""
    state = tried(NEW, "a", result)
    assert not state.blocked
    state = tried(state, "b", result, NOON + MINUTE)
    assert (state.blocked, state.unreported, state.rejected_by) == (True, True, "b")
    assert state.blocked_for_good is (result is REJECTED)
    wait = timedelta(days=365) if result is REJECTED else HOUR - SECOND
    assert not any(may_use(state, R1, name, NOON + MINUTE + wait) for name in "abc")
    changed = begun(state, "b", revision=R2)
    assert (changed.rejections, changed.tried_by, changed.blocked) == (0, "b", False)
    assert not replace(state, reported_at=NOON).unreported


def test_what_becomes_a_wait_for_good_while_the_first_message_is_sent_is_still_to_be_said() -> None:
    """That it waits for an hour was said; a server has called it wrong since."""
    waits = tried(tried(NEW, "a", UNCLEAR), "b", UNCLEAR, NOON + MINUTE)
    for_good = tried(waits, "a", REJECTED, NOON + 2 * HOUR)
    assert not block_reported(waits, waits, NOON).unreported
    assert block_reported(for_good, waits, NOON).unreported
    assert not block_reported(for_good, for_good, NOON).unreported
    alone = replace(ACCEPTED, refusals=(Refusal("b", 2, NOON),))
    left_out = replace(ACCEPTED, refusals=(Refusal("b", 3, NOON, certain=True),))
    assert not refusal_reported(alone, alone.refusals[0], NOON).refusals[0].unreported
    assert refusal_reported(left_out, alone.refusals[0], NOON).refusals[0].unreported


def test_an_attempt_that_never_reports_counts() -> None:
    """Its process has died, after it sent the secret or before; a time in the far future is not a login under way."""
    trying = begun(NEW, "gone")
    assert expire_attempt(trying, NOON + LONGEST_ATTEMPT - timedelta(seconds=1)) is None
    state = expire_attempt(trying, NOON + LONGEST_ATTEMPT)
    assert state is not None
    assert (state.rejections, state.tried_at, state.rejected_by) == (1, None, "gone")
    again = expire_attempt(begun(state, "b", NOON + LONGEST_ATTEMPT), NOON + 2 * LONGEST_ATTEMPT)
    assert again is not None
    assert again.unreported
    assert (
        expire_attempt(replace(trying, tried_at=NOON + STORED_AHEAD), NOON) is None
    )  # by a clock that is ahead of this one
    assert expire_attempt(replace(trying, tried_at=NOON + STORED_AHEAD + timedelta(seconds=1)), NOON) is not None
    assert expire_attempt(again, NOON + 3 * LONGEST_ATTEMPT) is None


@pytest.mark.parametrize("result", [UNCLEAR, REJECTED])
def test_a_clock_that_was_set_back_forgets_no_attempt(result: LoginResult) -> None:
    """A wrong password that was blocked in a future that never came is not tried again; a wait runs from now on."""
    later = NOON + timedelta(days=3)
    blocked = replace(tried(tried(NEW, "a", result, later), "b", result, later), problem_since=later)
    state = expire_attempt(blocked, NOON)
    assert state is not None
    assert (state.rejections, state.rejected_at, state.problem_since) == (2, NOON, NOON)
    assert {one.at for one in state.refusals} == {NOON}
    assert state.version == blocked.version + 1
    assert not any(may_use(state, R1, one, NOON + HOUR - SECOND) for one in "abc")
    assert may_use(state, R1, "c", NOON + HOUR) is (result is UNCLEAR)
    assert expire_attempt(state, NOON) is None
    assert expire_attempt(blocked, later - STORED_AHEAD) is None  # the clock of another environment is a little ahead


def test_a_login_of_the_future_is_none_under_way() -> None:
    """It would keep all others from the credential until then; it counts, whatever became of it."""
    later = NOON + timedelta(days=3)
    state = expire_attempt(begun(tried(NEW, "a", UNCLEAR, later), "b", later), NOON)
    assert state is not None
    assert (state.tried_at, state.rejections, state.rejected_by) == (None, 2, "b")


@pytest.mark.parametrize("result", [PASSED, IN_USE])
def test_an_accepted_login_forgets_a_refusal(result: LoginResult) -> None:
    """Only those in a row count; a mailbox in use was opened with the right password by someone else."""
    state = tried(tried(NEW, "a", REJECTED), "a", result)
    assert (state.rejections, state.passed_at, state.tried_by, state.refusals) == (0, NOON, "", ())


@pytest.mark.parametrize("result", [NOT_SENT, LoginResult(LoginVerdict.LOGIN_DELAY)])
def test_a_login_that_was_not_tried_is_no_attempt(result: LoginResult) -> None:
    """Nothing is known of the credential: another target may try a new one, and an accepted one stays so."""
    state = tried(NEW, "a", result)
    assert (state.rejections, state.tried_at) == (0, None)
    assert in_order(state, "cab") == ["b", "c", "a"]
    assert after_login(ACCEPTED, R1, "a", result, NOON) is None
    assert after_login(begun(NEW, "a"), R1, "b", result, NOON) is None  # the login under way is not that one


def test_no_answer_says_nothing_of_an_accepted_one() -> None:
    """It is how most outages of a login look."""
    assert after_login(ACCEPTED, R1, "a", UNANSWERED, NOON) is None


def test_a_password_that_was_changed_at_the_server() -> None:
    """After the first refusal another target is next, alone, and after its refusal no one is."""
    state = ended(ACCEPTED, "b", REJECTED)
    assert not may_use(state, R1, "b", NOON + MINUTE)
    state = begun(state, "a", NOON + MINUTE)
    assert not may_use(state, R1, "c", NOON + MINUTE)
    state = ended(state, "a", REJECTED)
    assert not any(may_use(state, R1, name, NOON + timedelta(days=365)) for name in "abc")


def test_one_server_that_rejects_among_others_that_accept() -> None:
    """It sees two attempts and no more, and the others go on."""
    state = ended(ACCEPTED, "bad", REJECTED)
    state = tried(state, "a", PASSED, NOON + MINUTE)
    state = ended(state, "bad", REJECTED, NOON + 5 * MINUTE)
    state = tried(state, "a", PASSED, NOON + 6 * MINUTE)
    assert not state.blocked
    refusal = state.refusal_of("bad")
    assert refusal is not None
    assert (refusal.blocks_for_good, refusal.unreported) == (True, True)
    assert not may_use(state, R1, "bad", NOON + timedelta(days=365))
    assert in_order(state, ["bad", "z"]) == ["z", "bad"]


def test_two_rejections_in_a_row_by_one_target() -> None:
    """No other one has accepted it in between: that is two attempts with one account, and there is no third."""
    state = ended(ACCEPTED, "a", REJECTED)
    state = tried(state, "a", REJECTED, NOON + OTHERS_FIRST)
    assert state.blocked
    assert not any(may_use(state, R1, one, NOON + timedelta(days=365)) for one in "ab")


def attempts(state: CredentialState, target_ids: str, *, failed_earlier: bool = False, days: int = 4) -> list[int]:
    """The minutes at which targets that are refused without a code try a credential, each due once a minute."""
    found = []
    for minute in range(days * 24 * 60):
        now = NOON + minute * MINUTE
        one = next(
            (it for it in in_order(state, target_ids) if may_use(state, R1, it, now, failed_earlier=failed_earlier)),
            None,
        )
        if one:
            found.append(minute)
            state = ended(begin_attempt(state, R1, one, now) or state, one, UNCLEAR, now)
    return found


@pytest.mark.parametrize(
    ("state", "target_ids", "waits"),
    [
        (NEW, "a", [1, 60, 120, 240, 480, 960, 1440, 1440]),
        (NEW, "abcdefgh", [1, 60, 120, 240, 480, 960, 1440, 1440]),
        (ACCEPTED, "a", [1, 60, 120, 240, 480, 960, 1440, 1440]),
        (ACCEPTED, "abcdefgh", [1, 15, 60, 120, 240, 480, 960, 1440]),
    ],
)
def test_refusals_without_a_code_are_tried_more_and_more_rarely(
    state: CredentialState, target_ids: str, waits: list[int]
) -> None:
    """At most two attempts at first, whoever they are of; a third target shows sooner whether what was accepted is."""
    minutes = attempts(state, target_ids)
    assert [after - before for before, after in pairwise(minutes)][: len(waits)] == waits


def test_one_who_asks_does_not_wait_for_a_server_that_may_be_to_blame() -> None:
    """But nothing that was rejected twice is sent again."""
    waiting = tried(tried(NEW, "a", UNCLEAR), "a", UNCLEAR, NOON + MINUTE)
    assert next_attempt_at(waiting, "a") == NOON + MINUTE + HOUR
    assert not may_use(waiting, R1, "a", NOON + 2 * MINUTE)
    assert may_use(waiting, R1, "a", NOON + 2 * MINUTE, requested=True)
    rejected = tried(tried(NEW, "a", REJECTED), "a", REJECTED, NOON + MINUTE)
    assert not may_use(rejected, R1, "a", NOON + 2 * MINUTE, requested=True)
    assert not may_use(begun(waiting, "a", NOON + 2 * HOUR), R1, "a", NOON + 2 * HOUR, requested=True)


def test_a_dead_server_leaves_confirmed_what_others_accept() -> None:
    """Its first refusal does; after one of another target's accepted logins the next ones are its own, and wait."""
    state = ended(ACCEPTED, "dead", UNCLEAR)
    assert is_unconfirmed(state, R1)
    assert not is_unconfirmed(state, R2)
    state = tried(state, "a", PASSED, NOON + MINUTE)
    assert not is_unconfirmed(state, R1)
    state = ended(state, "dead", UNCLEAR, NOON + 2 * MINUTE)
    assert (state.rejections, state.passed_at) == (0, NOON + MINUTE)
    assert all(may_use(state, R1, one, NOON + 2 * MINUTE) for one in "ab")
    assert next_attempt_at(state, "dead") == NOON + 2 * MINUTE + HOUR
    assert next_attempt_at(state, "a") is None
    refusal = state.refusal_of("dead")
    assert refusal is not None
    assert refusal.unreported


def test_before_a_server_that_refuses_alone_tries_it_again_another_target_shows_whether_it_is_right() -> None:
    """However lately it was accepted: it may have been changed since, and that would be a third attempt in a row."""
    state = tried(ended(ACCEPTED, "dead", UNCLEAR), "a", PASSED, NOON + MINUTE)
    assert [is_refused_here_only(state, one) for one in ("dead", "a", "b")] == [True, False, False]
    assert begin_attempt(state, R1, "a", NOON + MINUTE) is None
    trying = begin_attempt(state, R1, "a", NOON + MINUTE, one_first=True)
    assert trying is not None
    assert (trying.tried_by, trying.passed_at) == ("a", NOON + MINUTE)
    refused = ended(trying, "a", UNCLEAR, NOON + 2 * MINUTE)
    assert not is_refused_here_only(refused, "dead")
    assert ended(begun(refused, "b", NOON + 2 * MINUTE), "b", UNCLEAR, NOON + 2 * MINUTE).blocked
    assert not is_refused_here_only(tried(ended(ACCEPTED, "a", REJECTED), "b", PASSED, NOON + MINUTE), "a")


REFUSED_ALONE = tried(ended(ACCEPTED, "dead", UNCLEAR), "a", PASSED, NOON + MINUTE)
"""One server alone refuses it: another target's login was accepted since."""


def test_a_server_that_refuses_alone_in_its_message_makes_one_of_two_attempts() -> None:
    """Nothing has shown right before that the password was not changed: that of another target is the second one."""
    later = NOON + HOUR
    refused = tried(REFUSED_ALONE, "dead", UNCLEAR, later)
    assert (refused.rejections, is_unconfirmed(refused, R1)) == (1, True)
    accepted = tried(refused, "a", PASSED, later + MINUTE)
    assert (accepted.rejections, is_refused_here_only(accepted, "dead")) == (0, True)
    assert tried(refused, "a", UNCLEAR, later + MINUTE).blocked


def test_a_server_that_refuses_alone_beside_a_login_under_way_makes_one_of_two_attempts() -> None:
    """The other target's answer takes more than eight seconds: both have sent it."""
    trying = begin_attempt(REFUSED_ALONE, R1, "a", NOON + MINUTE, one_first=True)
    assert trying is not None
    refused = ended(trying, "dead", UNCLEAR, NOON + MINUTE)
    assert (refused.rejections, refused.tried_by, refused.tried_at) == (1, "a", NOON + MINUTE)
    assert ended(refused, "a", UNCLEAR, NOON + MINUTE).blocked
    accepted = ended(refused, "a", PASSED, NOON + MINUTE + SECOND)
    assert (accepted.rejections, is_refused_here_only(accepted, "dead")) == (0, True)


def test_servers_that_die_at_the_same_second_count_as_two_at_most() -> None:
    """Many log in freely with what was accepted: the others wait for a quarter of an hour, and not for days."""
    state = ACCEPTED
    for name in ("d1", "d2", "d3", "d4"):
        state = ended(state, name, UNCLEAR)
    assert next_attempt_at(state, "a") == NOON + OTHER_TARGET_WAIT
    state = tried(state, "a", PASSED, NOON + OTHER_TARGET_WAIT)
    assert may_use(state, R1, "d1", NOON + OTHER_TARGET_WAIT)


def test_servers_that_were_dead_for_long_are_free_with_the_first_that_is_mended() -> None:
    """All waited for one another: each has one attempt at once."""
    state, now = ACCEPTED, NOON
    for _ in range(8):
        [one] = in_order(state, "ab")[:1]
        state = tried(state, one, UNCLEAR, now)
        now = max(now + MINUTE, *(next_attempt_at(state, name) or now for name in "ab"))
    assert state.rejections == 8
    state = tried(state, "a", PASSED, now)
    assert may_use(state, R1, "b", now)
    assert next_attempt_at(ended(state, "b", UNCLEAR, now), "b") == now + HOUR


@pytest.mark.parametrize("result", [UNCLEAR, UNANSWERED])
def test_a_dead_server_leaves_a_new_revision_to_the_others(result: LoginResult) -> None:
    """It was stored during its outage: it has one attempt, and the second is another target's."""
    state = tried(NEW, "dead", result)
    assert not any(may_use(state, R1, "dead", NOON + wait, failed_earlier=True) for wait in (MINUTE, HOUR - SECOND))
    assert may_use(state, R1, "dead", NOON + HOUR, failed_earlier=True)
    assert may_use(state, R1, "b", NOON + MINUTE)
    assert in_order(NEW, ["a", "dead", "z"], {"dead"}) == ["a", "z", "dead"]
    accepted = tried(state, "b", PASSED, NOON + MINUTE)
    assert may_use(accepted, R1, "dead", NOON + 2 * MINUTE, failed_earlier=True)
    assert attempts(NEW, "a", failed_earlier=True)[:5] == [0, 60, 180, 420, 900]


def test_which_outages_are_older_than_a_revision() -> None:
    assert failed_before(NOON - HOUR - SECOND, R1)
    assert not failed_before(NOON - HOUR, R1)
    assert not failed_before(None, R1)


@pytest.mark.parametrize(
    ("result", "target_id", "until", "why"),
    [
        (
            UNCLEAR,
            "a",
            NOON + HOUR,
            "here without a reason, tried again after 2026-11-27 13:00 UTC, or at once by",
        ),
        (
            UNCLEAR,
            "b",
            NOON + HOUR,
            "by a without a reason, tried again after 2026-11-27 13:00 UTC, or at once by",
        ),
        (UNCLEAR, "b", None, "refused by a without a reason, tried by another target first"),
        (UNANSWERED, "a", None, "not answered here, tried by another target first"),
        (UNANSWERED, "b", None, "not answered by a, tried by another target first"),
    ],
)
def test_why_a_target_waits(result: LoginResult, target_id: str, until: datetime | None, why: str) -> None:
    """The status, the page and the tests without a login say it in the same words."""
    assert why in why_it_waits(tried(NEW, "a", result), target_id, until)


def test_a_test_whose_login_is_skipped_has_failed() -> None:
    """As the login did that failed last; a record of an earlier version does not know how that was."""
    greeted = Outcome(NOON, Phase.QUIT, rtt_ms=12.5)
    skipped = with_skipped_login(greeted, UNTESTED, "credential monitor refused here")
    assert (skipped.passed, skipped.phase, skipped.reason, skipped.rtt_ms) == (
        False,
        Phase.LOGIN,
        "login-refused",
        12.5,
    )
    assert skipped.detail == "Tested without a login: credential monitor refused here."
    silent = replace(UNTESTED, login_failure=LoginFailure(NOON, ErrorCode.TIMED_OUT, "no-login-reply"))
    skipped = with_skipped_login(greeted, silent, "credential monitor refused here")
    assert (skipped.error, skipped.reason) == (ErrorCode.TIMED_OUT, "no-login-reply")
    assert skipped.detail.startswith("The login failed last at 2026-11-27 12:00:00 UTC. Tested without a login: ")


def test_an_old_acceptance_is_asked_again() -> None:
    """By one target; each accepted login makes it new, at a write in some minutes."""
    later = NOON + ACCEPTED_FOR
    trying = begun(ACCEPTED, "b", later)
    assert (trying.tried_by, trying.tried_at) == ("b", later)
    assert not may_use(trying, R1, "c", later)
    assert ended(trying, "b", PASSED, later).passed_at == later
    assert after_login(ACCEPTED, R1, "b", PASSED, NOON + ACCEPTED_FOR / 2) is not None
    assert after_login(ACCEPTED, R1, "b", PASSED, NOON + ACCEPTED_FOR / 2 - MINUTE) is None


def test_an_attempt_of_another_target_counts_until_it_has_ended() -> None:
    """Also when a third one is accepted meanwhile."""
    trying = begun(ACCEPTED, "b", NOON + ACCEPTED_FOR)
    passed = ended(trying, "c", PASSED, NOON + ACCEPTED_FOR)
    assert (passed.tried_by, passed.tried_at) == ("b", NOON + ACCEPTED_FOR)


@pytest.mark.parametrize("result", [*REFUSED, PASSED, NOT_SENT])
def test_a_login_with_another_revision_says_nothing(result: LoginResult) -> None:
    """A test that was under way when the password was changed does not block the new one."""
    trying = begun(NEW, "a", revision=R2)
    assert after_login(trying, R1, "a", result, NOON) is None


def test_an_older_revision_is_never_tried() -> None:
    """An environment that still has it in memory would undo the count of the newer one."""
    assert not may_use(tried(NEW, "a", REJECTED), "1 2026-11-27T10:59:59.999Z", "a", NOON)
    blocked = replace(NEW, revision=R2, rejections=2)
    assert not may_use(blocked, R1, "a", NOON)
    assert may_use(blocked, "1 2026-11-27T11:30:00.5Z", "a", NOON)


def test_revisions() -> None:
    """One that was removed and stored again has version 1, and is another one nevertheless."""
    first = StoredCredential("n", "anna", Secret("x"), version=1, changed_at=NOON)
    again = replace(first, changed_at=NOON + MINUTE)
    assert len({revision_of(one) for one in (first, again, replace(first, version=2))}) == 3
    assert is_newer(revision_of(again), revision_of(replace(first, version=2)))
    assert is_newer(revision(10, NOON), revision(9, NOON))
    assert is_newer(revision(1, NOON), revision(7, None))
    assert not is_newer(revision(2, NOON), revision(2, NOON))
    assert "x" not in revision_of(StoredCredential("n", "anna", Secret("x")))


def test_a_credential_is_shown_with_the_time_of_its_version() -> None:
    """A refusal of one that has been replaced says so."""
    assert replace(NEW, revision=R1).shown == "monitor (stored 2026-11-27 11:00 UTC)"
    assert [replace(NEW, revision=one).shown for one in ("", "7")] == ["monitor", "monitor"]


def test_the_item_does_not_grow_without_end() -> None:
    """If so many targets refuse it, no one tries it any more."""
    state = ACCEPTED
    for number in range(MAX_REFUSING + 1):
        state = ended(ended(state, f"t{number}", REJECTED), "a", PASSED)
        assert not state.blocked
    state = ended(ended(state, "one", REJECTED), "more", REJECTED)
    assert len(state.refusals) == MAX_REFUSING
    assert state.blocked


def test_states_of_versions_before() -> None:
    """They kept the time of a rejected login as that of one under way, and every rejection was sure."""
    rejected = replace(NEW, revision=R1, tried_by="a", tried_at=NOON, rejections=1, rejected_by="a", rejected_at=NOON)
    assert upgraded(rejected) == replace(rejected, tried_at=None, certain=True)
    trying = replace(NEW, revision=R1, tried_by="a", tried_at=NOON)
    assert upgraded(trying) == trying
    passed = replace(NEW, revision=R1, passed_at=NOON)
    assert upgraded(passed) == passed


PROCESSES, TARGETS, PICKS = st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)


@dataclass
class Attempt:
    """A login of a process that is under way: what it has read or sent so far."""

    target_id: str
    revision: str
    began: datetime
    after_a_rejection: bool
    result: LoginResult | None = None


class Attempts(RuleBasedStateMachine):
    """Processes that read, write, send, report and die in any order, and servers that count what they see.

    The table takes a write on the condition that its version is the one that was read. A process keeps a revision that
    it has read, also when there are newer ones. None lives longer than a login may be under way.
    """

    @initialize(refusal=st.sampled_from(REFUSED), right=st.booleans())
    def begin(self, refusal: LoginResult, *, right: bool) -> None:
        self.refusal, self.now, self.state, self.died = refusal, NOON, NEW, False
        self.revisions = [revision(1, NOON)]
        self.right = {self.revisions[0]: right}
        self.known: dict[int, str] = defaultdict(lambda: self.revisions[0])
        self.read: dict[int, CredentialState] = {}
        self.attempts: dict[int, Attempt] = {}
        self.wrong: dict[str, list[datetime]] = defaultdict(list)
        self.accepted: set[str] = set()
        self.sent_since_rejection: Counter[str] = Counter()

    def put(self, state: CredentialState, read: CredentialState) -> bool:
        assert state.version == read.version + 1
        if self.state.version != read.version:
            return False
        self.state = state
        return True

    @rule(process=PROCESSES)
    def look(self, process: int) -> None:
        state = self.state
        counted = expire_attempt(state, self.now)
        if counted is not None:
            self.put(counted, state)
        self.read[process] = self.state

    @precondition(lambda self: self.read.keys() - self.attempts.keys())
    @rule(pick=PICKS, number=TARGETS, sent=st.booleans())
    def ask(self, pick: int, number: int, *, sent: bool) -> None:
        """A process asks with what it has read; `sent`: and its secret is sent at once."""
        processes = sorted(self.read.keys() - self.attempts.keys())
        process = processes[pick % len(processes)]
        state, known, name = self.read.pop(process), self.known[process], f"t{number}"
        if not may_use(state, known, name, self.now):
            return
        after = begin_attempt(state, known, name, self.now)
        if after is None or self.put(after, state):
            assert self.revisions.index(known) >= self.revisions.index(state.revision or known)
            self.attempts[process] = Attempt(name, known, self.now, state.certain)
            if sent:
                self.send(process)

    @rule(process=PROCESSES, number=TARGETS)
    def look_and_ask(self, process: int, number: int) -> None:
        self.look(process)
        if process not in self.attempts:
            self.ask(sorted(self.read.keys() - self.attempts.keys()).index(process), number, sent=True)

    @precondition(lambda self: any(one.result is None for one in self.attempts.values()))
    @rule(pick=PICKS)
    def send_one(self, pick: int) -> None:
        unsent = sorted(process for process, one in self.attempts.items() if one.result is None)
        self.send(unsent[pick % len(unsent)])

    def send(self, process: int) -> None:
        attempt = self.attempts[process]
        right = self.right[attempt.revision]
        attempt.result = PASSED if right else self.refusal
        if not right:
            self.wrong[attempt.revision].append(attempt.began)
        self.sent_since_rejection[attempt.revision] += attempt.after_a_rejection

    @precondition(lambda self: self.attempts)
    @rule(pick=PICKS)
    def report(self, pick: int) -> None:
        processes = sorted(self.attempts)
        attempt = self.attempts.pop(processes[pick % len(processes)])
        result = attempt.result or NOT_SENT
        after = after_login(self.state, attempt.revision, attempt.target_id, result, self.now)
        if after is not None:
            if after.passed_at is not None:
                self.accepted.add(attempt.revision)
                self.sent_since_rejection[attempt.revision] = 0
            assert self.put(after, self.state)

    @precondition(lambda self: self.attempts)
    @rule(pick=PICKS)
    def die(self, pick: int) -> None:
        processes = sorted(self.attempts)
        self.died = True
        del self.attempts[processes[pick % len(processes)]]

    @rule(minutes=st.sampled_from([1, 5, 10, 65]))
    def wait(self, minutes: int) -> None:
        self.now += minutes * MINUTE
        for process, attempt in list(self.attempts.items()):
            if self.now - attempt.began >= LONGEST_ATTEMPT:
                self.died = True
                del self.attempts[process]

    @precondition(lambda self: len(self.revisions) < 3)
    @rule(right=st.booleans())
    def change(self, *, right: bool) -> None:
        self.revisions.append(revision(len(self.revisions) + 1, self.now + len(self.revisions) * MINUTE / 1000))
        self.right[self.revisions[-1]] = right

    @precondition(lambda self: len(self.revisions) > 1)
    @rule(process=PROCESSES)
    def refresh(self, process: int) -> None:
        self.known[process] = self.revisions[-1]

    @precondition(lambda self: self.right[self.state.revision or self.revisions[0]])
    @rule()
    def change_at_the_server(self) -> None:
        self.right[self.state.revision or self.revisions[0]] = False

    @invariant()
    def a_revision_that_was_never_accepted_is_tried_twice(self) -> None:
        """And then an hour later at the earliest, but never if a server said that it is wrong."""
        for one, began in self.wrong.items():
            if one not in self.accepted:
                assert all(after - before >= HOUR for before, after in pairwise(sorted(began)[1:]))
                assert self.refusal is not REJECTED or self.died or len(began) <= MAX_REJECTIONS

    @invariant()
    def after_a_rejection_of_an_accepted_one_few_try_it(self) -> None:
        """Another target, or the same one again and then another; beside those that have read before it was."""
        assert max(self.sent_since_rejection.values(), default=0) <= MAX_REJECTIONS

    @invariant()
    def one_target_is_rejected_twice(self) -> None:
        """Beside those logins that were under way when it was."""
        for refusal in self.state.refusals:
            if refusal.certain and refusal.blocks_for_good:
                assert not may_use(self.state, self.state.revision, refusal.target_id, self.now)


TestAttempts = Attempts.TestCase
TestAttempts.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
