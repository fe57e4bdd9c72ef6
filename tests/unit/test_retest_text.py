"""What `popwatch retest` says of a passed test of a target with a `login`: whether it logged in, and why not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from popwatch.decisions.login_attempts import OTHERS_FIRST, after_login
from popwatch.model.credential_state import CredentialState, Refusal
from popwatch.model.health import UNTESTED, LoginFailure, State
from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict, Outcome, Phase
from popwatch.model.records import Record
from popwatch.model.samples import Mailbox, Sample, from_stored, sample_of, to_stored
from popwatch.model.targets import Target, parse_target
from popwatch.model.text import iso
from popwatch.reports.status import NewestTests, target_status_to_json, target_statuses, why_without_login
from popwatch_cli.commands.retest import Retested, lines_of, retested_to_json

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REVISION = "1 2026-11-27T11:00:00Z"
ACCEPTED = CredentialState("monitor", REVISION, passed_at=NOW)
UP = Record("a", health=replace(UNTESTED, state=State.UP))
REJECTED_HERE = replace(
    ACCEPTED,
    passed_at=None,
    accepted_at=NOW,
    rejections=1,
    rejected_by="a",
    rejected_at=NOW,
    certain=True,
    refusals=(Refusal("a", 1, NOW, certain=True),),
)


def target() -> Target:
    return parse_target({"target_id": "a", "host": "192.0.2.1", "tls": "implicit", "login": "monitor"})


def retested(sample: Sample, why: str = "") -> Retested:
    return Retested(target(), UP, UP, sample, counts=True, without_login=why)


def health(**changes: object) -> Record:
    return replace(UP, health=replace(UP.health, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "before", "why"),
    [
        (replace(ACCEPTED, passed_at=None, rejections=2, certain=True, rejected_by="b"), UP, "refused twice"),
        (
            replace(ACCEPTED, problem="credential-missing", problem_since=NOW),
            UP,
            "credential missing (monitor) when it was last read",
        ),
        (REJECTED_HERE, UP, "refused here once, tried again after 2026-11-27 12:05 UTC, or by another target first"),
        (ACCEPTED, health(failures=1, failing_since=NOW, state=State.DOWN), "the outage began before the login"),
        (ACCEPTED, health(login_delay=150), "150 s between two logins (LOGIN-DELAY)"),
        (CredentialState("monitor", REVISION, tried_by="b", tried_at=NOW), UP, "b tries the credential monitor first"),
        (ACCEPTED, UP, "could not be used in time"),
    ],
)
def test_why_a_test_did_not_log_in(state: CredentialState, before: Record, why: str) -> None:
    found = why_without_login(target(), state, before, NOW + MINUTE)
    assert why in found
    shown = retested(Sample(57.5), found)
    assert lines_of(shown) == [f"passed  a  192.0.2.1:995  57.5 ms, tested without a login: {found}"]
    assert (retested_to_json(shown)["login"], retested_to_json(shown)["login_problem"]) == (None, found)


def test_one_rejection_is_waited_for_as_long_as_others_come_first() -> None:
    assert "refused here" not in why_without_login(target(), REJECTED_HERE, UP, NOW + OTHERS_FIRST)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (LoginVerdict.IN_USE, "; the mailbox is in use by another session"),
        (LoginVerdict.LOGIN_DELAY, "; the server refused the login as too soon (LOGIN-DELAY)"),
        (LoginVerdict.REJECTED, "; the server rejected the credential (AUTH)"),
    ],
)
def test_a_login_that_says_nothing_of_the_mailbox(verdict: LoginVerdict, words: str) -> None:
    """History keeps what it came to, and the command says it."""
    sample = sample_of(Outcome(NOW, Phase.QUIT, rtt_ms=57.5, login=LoginResult(verdict)))
    assert from_stored(to_stored(sample)) == sample
    assert words in lines_of(retested(sample))[0]
    assert (retested_to_json(retested(sample))["login"], retested_to_json(retested(sample))["login_problem"]) == (
        verdict,
        None,
    )


def test_a_login_that_passed() -> None:
    sample = Sample(57.5, mailbox=Mailbox(3, 300))
    assert lines_of(retested(sample)) == ["passed  a  192.0.2.1:995  57.5 ms"]
    assert retested_to_json(retested(sample))["login"] == "passed"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (LoginResult(LoginVerdict.FAILED, unanswered=True), "not answered here, tried"),
        (LoginResult(LoginVerdict.UNCLEAR, said="-ERR"), "refused here without a reason, tried"),
    ],
)
def test_a_silent_server_has_not_refused(result: LoginResult, words: str) -> None:
    state: CredentialState = CredentialState("monitor", REVISION)
    for _ in range(2):
        state = after_login(state, REVISION, "a", result, NOW) or state
    assert words in why_without_login(target(), state, UP, NOW)


def remarks(record: Record, newest: NewestTests) -> list[str]:
    [status] = target_statuses({"a": target()}, {"a": record}, newest, NOW, {"monitor": ACCEPTED})
    return status.remarks(NOW)


def test_why_it_stays_down_although_tests_pass() -> None:
    """A greeting ends no outage of the login: the status and the request say so."""
    failure = LoginFailure(NOW, ErrorCode.PROTOCOL, "mailbox-too-full")
    fields = {"state": State.DOWN, "failures": 6, "failing_since": NOW, "next_test_at": NOW + MINUTE}
    down = health(**fields, login_failed=True, login_failure=failure, login_at=NOW)
    why = "the login failed last at 2026-11-27 12:00:00 UTC (mailbox-too-full): only one that is accepted ends this"
    assert remarks(down, NewestTests({"a": (NOW, Sample(51.0))})) == [why]
    found = replace(retested(Sample(51.0, login=LoginVerdict.IN_USE)), before=down, after=down)
    assert lines_of(found)[1:] == [f"        It is down yet: {why}."]
    delayed = replace(down, health=replace(down.health, login_delay=200))
    following = "next login after 2026-11-27 12:03:20 UTC (LOGIN-DELAY 200 s)"
    assert remarks(delayed, NewestTests({"a": (NOW, Sample(51.0))})) == [f"{why}; {following}"]
    found = replace(found, before=delayed, after=delayed)
    assert lines_of(found)[1:] == [f"        It is down yet: {why}; {following}."]
    waiting = replace(down, health=replace(down.health, state=State.MAINTENANCE))
    assert remarks(waiting, NewestTests({"a": (NOW, Sample(51.0))})) == []
    failed = NewestTests({"a": (NOW, Sample(None, ErrorCode.TIMED_OUT, "no-login-reply"))})
    assert remarks(down, failed) == []
    assert remarks(delayed, failed) == [following]
    older = replace(down, health=replace(down.health, login_failure=None))
    assert remarks(older, NewestTests({"a": (NOW, Sample(51.0))})) == [
        "the login failed last: only one that is accepted ends this"
    ]


@pytest.mark.parametrize(
    ("state", "changes", "expected"),
    [
        (ACCEPTED, {}, NOW + MINUTE),
        (ACCEPTED, {"login_delay": 200}, NOW + timedelta(seconds=200)),
        (ACCEPTED, {"login_delay": 86_400}, NOW + 15 * MINUTE),
        (ACCEPTED, {"login_failed": False}, None),
        (ACCEPTED, {"state": State.UP, "failures": 0}, None),
        (replace(ACCEPTED, passed_at=None, rejections=2, rejected_by="b", rejected_at=NOW), {}, NOW + 60 * MINUTE),
        (replace(ACCEPTED, passed_at=None, rejections=2, rejected_by="b", rejected_at=NOW, certain=True), {}, None),
        (replace(ACCEPTED, problem="credential-missing", problem_since=NOW), {}, None),
        (REJECTED_HERE, {}, NOW + 5 * MINUTE),
    ],
)
def test_when_a_target_logs_in_again(
    state: CredentialState, changes: dict[str, object], expected: datetime | None
) -> None:
    """At its next test, after the server's LOGIN-DELAY or after the credential's wait; of one that waits for people
    no time is known."""
    fields = {"state": State.DOWN, "failures": 6, "failing_since": NOW, "next_test_at": NOW + MINUTE}
    failure = LoginFailure(NOW, ErrorCode.TIMED_OUT, "no-login-reply")
    down = health(**(fields | {"login_failed": True, "login_failure": failure, "login_at": NOW} | changes))
    [status] = target_statuses({"a": target()}, {"a": down}, NewestTests(), NOW, {"monitor": state})
    shown = target_status_to_json(status, NOW)
    assert (status.next_login_at, shown["next_login_at"]) == (expected, iso(expected) if expected else None)
    assert shown["login_failure"] == {
        "at": "2026-11-27T12:00:00Z",
        "error": "timed-out",
        "message": "The remote device timed out before sending a response",
        "reason": "no-login-reply",
    }


def test_a_mailbox_that_is_never_open_is_told_of() -> None:
    """Its tests pass."""
    newest = NewestTests({"a": (NOW, Sample(51.0))}, logins={"a": (NOW, LoginVerdict.IN_USE)})
    assert remarks(UP, newest) == [
        "last login at 2026-11-27 12:00:00 UTC: the mailbox is in use by another session (IN-USE)"
    ]


@pytest.mark.parametrize("stored", [{"rtt_ms": 1.0, "login": "later"}, {"rtt_ms": 1.0, "login": 3}])
def test_a_login_of_another_version_is_left_out(stored: object) -> None:
    assert from_stored(stored) == Sample(1.0)
