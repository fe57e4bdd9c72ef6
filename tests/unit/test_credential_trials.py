"""Who tries a credential: one target at a time until it was accepted, and no one after two rejections."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.decisions.credential_trials import LONGEST_TRIAL, after_login, begin_trial, in_turn, may_use
from popwatch.model.credential_state import MOST_REJECTIONS, CredentialState, revision_of
from popwatch.model.credentials import Secret
from popwatch.model.outcomes import LoginVerdict
from popwatch.model.stored_credentials import StoredCredential

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NEW = CredentialState("monitor")
R1, R2 = "1 2026-11-27T11:00:00Z", "2 2026-11-27T11:30:00Z"
REFUSED = (LoginVerdict.REJECTED, LoginVerdict.UNCLEAR)
ACCEPTED = (LoginVerdict.PASSED, LoginVerdict.IN_USE)


class Table:
    """The item of a credential, written on the condition that its version is the one that was read."""

    def __init__(self) -> None:
        self.state = NEW

    def put(self, state: CredentialState | None, read: CredentialState) -> bool:
        if state is None:
            return True
        assert state.version == read.version + 1
        if self.state.version != read.version:
            return False
        self.state = state
        return True


def begun(state: CredentialState, target_id: str, now: datetime = NOON, revision: str = R1) -> CredentialState:
    """The state once a target is trying the credential."""
    assert may_use(state, revision, target_id, now)
    return begin_trial(state, revision, target_id, now) or state


def ended(state: CredentialState, target_id: str, verdict: LoginVerdict, revision: str = R1) -> CredentialState:
    """The state after a login of a target."""
    return after_login(state, revision, target_id, verdict, NOON, said="-ERR no") or state


def test_a_new_credential_is_tried_by_one_target_first() -> None:
    """The others wait, until it was accepted; then all may use it, and nothing is written any more."""
    trying = begun(NEW, "a")
    assert (trying.tried_by, trying.tried_at, trying.version) == ("a", NOON, 1)
    assert may_use(trying, R1, "a", NOON + MINUTE)
    assert begin_trial(trying, R1, "a", NOON + MINUTE) is None
    assert not may_use(trying, R1, "b", NOON + MINUTE)
    passed = ended(trying, "a", LoginVerdict.PASSED)
    assert may_use(passed, R1, "b", NOON)
    assert begin_trial(passed, R1, "b", NOON) is None
    assert after_login(passed, R1, "b", LoginVerdict.PASSED, NOON) is None


def test_two_at_once() -> None:
    """Both read that no one tries it; one writes first, and the other may not log in."""
    table = Table()
    read = table.state
    assert table.put(begin_trial(read, R1, "a", NOON), read)
    assert not table.put(begin_trial(read, R1, "b", NOON), read)


@pytest.mark.parametrize("verdict", REFUSED)
def test_after_two_rejections_no_one_tries_it(verdict: LoginVerdict) -> None:
    """Until there is another revision: another version, or one that was removed and stored again."""
    state = ended(begun(NEW, "a"), "a", verdict)
    assert not state.blocked
    assert not may_use(state, R1, "b", NOON)
    state = ended(begun(state, "a"), "a", verdict)
    assert (state.blocked, state.unreported, state.rejected_by, state.said) == (True, True, "a", "-ERR no")
    assert not any(may_use(state, R1, name, NOON + timedelta(days=365)) for name in "ab")
    changed = begun(state, "b", revision=R2)
    assert (changed.rejections, changed.tried_by, changed.blocked) == (0, "b", False)
    assert not replace(state, reported_at=NOON).unreported


@pytest.mark.parametrize("verdict", ACCEPTED)
def test_an_accepted_login_forgets_a_rejection(verdict: LoginVerdict) -> None:
    """Only rejections in a row count; a mailbox in use was opened with the right password by someone else."""
    state = ended(ended(begun(NEW, "a"), "a", LoginVerdict.REJECTED), "a", verdict)
    assert (state.rejections, state.passed_at, state.tried_by) == (0, NOON, "")


def test_a_password_that_was_changed_at_the_server() -> None:
    """After the first rejection of an accepted one it is new again: only the target that saw it tries it once more."""
    passed = ended(begun(NEW, "a"), "a", LoginVerdict.PASSED)
    state = ended(passed, "b", LoginVerdict.REJECTED)
    assert not may_use(state, R1, "a", NOON + MINUTE)
    assert may_use(state, R1, "b", NOON + MINUTE)


@pytest.mark.parametrize("verdict", [LoginVerdict.FAILED, LoginVerdict.LOGIN_DELAY])
def test_a_server_that_does_not_answer_is_no_judge(verdict: LoginVerdict) -> None:
    """Nothing is known of the credential: another target may try a new one, and an accepted one stays so."""
    state = ended(begun(NEW, "a"), "a", verdict)
    assert may_use(state, R1, "b", NOON)
    assert begun(state, "a", NOON + MINUTE).tried_at == NOON + MINUTE
    assert in_turn(state, "cab") == ["b", "c", "a"]
    assert in_turn(ended(begun(state, "c"), "c", verdict), "cab") == ["a", "b", "c"]
    passed = ended(begun(NEW, "a"), "a", LoginVerdict.PASSED)
    assert after_login(passed, R1, "a", verdict, NOON) is None
    rejected = ended(begun(NEW, "a"), "a", LoginVerdict.REJECTED)
    assert after_login(rejected, R1, "a", verdict, NOON) is None


def test_a_target_that_never_reports() -> None:
    """It may have been removed: after a while another one tries; a time of the future holds no one up either."""
    trying = begun(NEW, "gone")
    assert not may_use(trying, R1, "b", NOON + LONGEST_TRIAL - timedelta(seconds=1))
    assert begun(trying, "b", NOON + LONGEST_TRIAL).tried_by == "b"
    assert may_use(replace(trying, tried_at=NOON + MINUTE), R1, "b", NOON)


@pytest.mark.parametrize("verdict", LoginVerdict)
def test_a_login_with_another_revision_says_nothing(verdict: LoginVerdict) -> None:
    """A test that was under way when the password was changed does not block the new one."""
    trying = begun(NEW, "a", revision=R2)
    assert after_login(trying, R1, "a", verdict, NOON) is None


def test_revisions() -> None:
    """One that was removed and stored again has version 1, and is another one nevertheless."""
    first = StoredCredential("n", "anna", Secret("x"), version=1, changed_at=NOON)
    again = replace(first, changed_at=NOON + MINUTE)
    assert len({revision_of(one) for one in (first, again, replace(first, version=2))}) == 3
    assert "x" not in revision_of(StoredCredential("n", "anna", Secret("x")))


@given(st.lists(st.tuples(st.integers(0, 49), st.integers(0, 3)), max_size=400), st.sampled_from(REFUSED))
def test_fifty_targets_with_a_wrong_password_make_two_attempts(
    steps: list[tuple[int, int]], verdict: LoginVerdict
) -> None:
    """In whatever order they read, write, log in and report, and with however many ticks between."""
    table, now, attempts = Table(), NOON, 0
    read: dict[int, CredentialState] = {}
    under_way: set[int] = set()
    for target, step in steps:
        name = f"t{target}"
        if step == 0:
            read[target] = table.state
        elif step == 1 and target in read and target not in under_way:
            state = read.pop(target)
            if may_use(state, R1, name, now) and table.put(begin_trial(state, R1, name, now), state):
                attempts += 1
                under_way.add(target)
        elif step == 2 and target in under_way:
            under_way.remove(target)
            state = table.state  # what a refused write returns is judged again
            assert table.put(after_login(state, R1, name, verdict, now), state)
        else:
            now += timedelta(seconds=1)
    assert attempts <= MOST_REJECTIONS
