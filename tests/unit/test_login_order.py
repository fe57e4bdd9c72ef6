"""The order of logins: one target of a batch first, the others once its login was accepted."""

import pytest

from popwatch.model.credentials import Credential, Secret
from popwatch.model.outcomes import LoginResult, LoginVerdict
from popwatch.sweep.login_order import SECOND_AFTER, WITHOUT_LOGIN_AFTER, LoginOrder

MONITOR, OTHER = (Credential(name, "anna", Secret("x")) for name in ("monitor", "other"))
CREDENTIALS = {"a": MONITOR, "b": MONITOR, "c": MONITOR, "z": OTHER}
PASSED, FAILED = LoginResult(LoginVerdict.PASSED), LoginResult(LoginVerdict.FAILED)
UNANSWERED = LoginResult(LoginVerdict.FAILED, unanswered=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_others_wait_for_the_first() -> None:
    """Each credential for itself."""
    order = LoginOrder(CREDENTIALS)
    assert [order.may_log_in(one) for one in "abcz"] == [True, None, None, True]
    order.end("a", PASSED)
    assert [order.may_log_in(one) for one in "bc"] == [True, True]
    assert order.begun == {"b", "c", "z"}


@pytest.mark.parametrize("verdict", [LoginVerdict.REJECTED, LoginVerdict.UNCLEAR])
def test_after_a_refusal_no_other_logs_in(verdict: LoginVerdict) -> None:
    """Not in this batch: who is next is written before, and read from the table."""
    order = LoginOrder(CREDENTIALS)
    order.may_log_in("a")
    order.end("a", LoginResult(verdict))
    assert [order.may_log_in(one) for one in "bc"] == [False, False]
    why = "credential monitor refused by a without a reason just now" if verdict is LoginVerdict.UNCLEAR else ""
    assert [order.why_not(one) for one in ("b", "z", "other")] == [why, "", ""]


def test_a_server_that_does_not_answer_is_followed_by_another() -> None:
    """Also if the tables know of the first one's attempt: a dead server must not hide the outages of others."""
    for attempted in (frozenset[str](), frozenset({"monitor"})):
        order = LoginOrder(CREDENTIALS, attempted)
        order.may_log_in("a")
        order.end("a", FAILED)
        assert [order.may_log_in(one) for one in "bc"] == [True, None]


def test_with_an_attempt_the_one_that_is_written_is_first() -> None:
    """In whatever order the tests begin."""
    order = LoginOrder(CREDENTIALS, frozenset({"monitor"}))
    assert [order.may_log_in(one) for one in "cba"] == [None, None, True]


def test_two_at_most_try_a_changed_password_however_slow_the_refusal() -> None:
    """The second one when the first has had no answer for as long as most servers take to refuse."""
    clock = Clock()
    order = LoginOrder(CREDENTIALS, monotonic=clock)
    order.may_log_in("a")
    clock.now += SECOND_AFTER - 0.1
    assert order.may_log_in("b") is None
    clock.now += 0.1
    assert [order.may_log_in(one) for one in "bc"] == [True, None]
    order.end("a", UNANSWERED)
    assert order.may_log_in("c") is None
    order.end("b", LoginResult(LoginVerdict.REJECTED))
    assert order.may_log_in("c") is False


def test_all_log_in_after_two_servers_that_do_not_answer() -> None:
    """A wrong password would have been refused by then, and each target's outage is to be seen."""
    clock = Clock()
    order = LoginOrder(CREDENTIALS | {"d": MONITOR}, monotonic=clock)
    order.may_log_in("a")
    clock.now += SECOND_AFTER
    order.may_log_in("b")
    order.end("b", UNANSWERED)
    assert [order.may_log_in(one) for one in "cd"] == [None, None]
    order.end("a", UNANSWERED)
    assert [order.may_log_in(one) for one in "cd"] == [True, True]


def test_a_login_that_was_never_sent_leaves_its_turn_to_another() -> None:
    """It says nothing, however many there are."""
    clock = Clock()
    order = LoginOrder(CREDENTIALS | {"d": MONITOR}, monotonic=clock)
    order.may_log_in("a")
    clock.now += SECOND_AFTER
    order.may_log_in("b")
    order.end("a", FAILED)
    order.end("b", FAILED)
    assert [order.may_log_in(one) for one in "cd"] == [True, True]
    order = LoginOrder(CREDENTIALS | {"d": MONITOR}, monotonic=clock)
    for one in "abc":
        assert [order.may_log_in(one), order.may_log_in("d")] == [True, None]
        order.end(one, FAILED)


def test_no_one_waits_for_ever() -> None:
    """The test is made without a login, while there is time for it."""
    clock = Clock()
    order = LoginOrder(CREDENTIALS, monotonic=clock)
    order.may_log_in("a")
    clock.now += SECOND_AFTER
    order.may_log_in("b")
    clock.now += WITHOUT_LOGIN_AFTER - SECOND_AFTER - 0.1
    assert order.may_log_in("c") is None
    clock.now += 0.1
    assert order.may_log_in("c") is False


def test_no_other_logs_in_with_what_no_server_has_accepted() -> None:
    """Unless the first one was accepted: no answer may mean a wrong password, and two attempts are all there are."""
    clock = Clock()
    attempted, unknown = frozenset({"monitor"}), frozenset({"monitor"})
    order = LoginOrder(CREDENTIALS, attempted, unknown, clock)
    assert [order.may_log_in(one) for one in "abc"] == [True, None, None]
    clock.now += SECOND_AFTER
    assert order.may_log_in("b") is False
    order.end("b", FAILED)
    order.end("a", FAILED)
    assert order.may_log_in("c") is False
    order = LoginOrder(CREDENTIALS, attempted, unknown, clock)
    order.may_log_in("a")
    order.end("a", PASSED)
    order.end("b", FAILED)
    assert order.may_log_in("c") is True
