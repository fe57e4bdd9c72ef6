"""The logins of a batch over real tables: fifty targets, batches at once, what AWS answers when it does not."""

import json
import logging
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import combinations
from threading import Barrier, Event
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from popwatch.aws.alert_topics import AlertTopics
from popwatch.aws.credentials import CACHED_FOR, READ_SECONDS, Credentials
from popwatch.aws.store import Store
from popwatch.decisions.login_attempts import ACCEPTED_FOR, REPORTED_AFTER, REPORTED_WITHIN
from popwatch.model.credential_problems import CredentialProblem, Unusable
from popwatch.model.credential_state import CredentialState
from popwatch.model.credentials import Mechanism, Secret
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import LoginResult, LoginVerdict
from popwatch.model.stored_credentials import StoredCredential, TokenSource, to_value
from popwatch.model.targets import parse_target
from popwatch.prober.access_tokens import PATIENCE_SECONDS, AccessToken, AccessTokens, TokenError
from popwatch.sweep.login_order import LoginOrder
from popwatch.sweep.logins import PREPARE_SECONDS, STATE_READERS, Logins, PreparedLogins
from tests.integration.logins import put_parameter
from tests.integration.world import MINUTE, NOON, World

CANARY = "canary-77aa"
PATH = "/popwatch/popwatch/credentials/"
FIFTY = {f"mail-{number:02}": "monitor" for number in range(50)}
ENDPOINT = TokenSource("https://login.example.com/token", "an-id")


@dataclass
class Stack:
    """A stack's tables and parameters, and environments of its function."""

    world: World
    token: str | TokenError = "canary-token"
    attempts: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ssm = boto3.client("ssm")
        self.asked: list[Any] = []
        self.ssm.meta.events.register("provide-client-params.ssm.*", lambda params, **_: self.asked.append(params))
        self.environments = [self.environment() for _ in range(2)]

    def environment(self) -> Logins:
        """An execution environment of its own, with what it keeps in memory."""

        def clock() -> Any:
            return self.world.now

        credentials = Credentials(lambda: self.ssm, PATH, clock)
        topics = AlertTopics(self.world.sns, self.world.topic, self.world.sms_topic)
        return Logins(self.world.store, credentials, AccessTokens(clock, self._fetch), topics, clock, stack="popwatch")

    def _fetch(self, *_: object) -> AccessToken:
        if isinstance(self.token, TokenError):
            raise self.token
        return AccessToken(Secret(self.token), timedelta(hours=1))

    def put(self, name: str = "monitor", **fields: Any) -> None:
        """Store a credential, or another version."""
        one = StoredCredential(**{"name": name, "user": "anna", "secret": Secret(CANARY), **fields})
        put_parameter(self.ssm, PATH + name, to_value(one), self.world.now)

    def sweep(self, verdict: LoginVerdict, wanted: dict[str, str] | None = None) -> None:
        """A minute in which each environment tests its half, in turn the first."""
        wanted = FIFTY if wanted is None else wanted
        halves = [dict(list(wanted.items())[number::2]) for number in range(2)]
        pairs = list(zip(self.environments, halves, strict=True))
        if self.world.now.minute % 2:
            pairs.reverse()
        prepared = [(one, one.prepare(half)) for one, half in pairs]
        for one, logins in prepared:
            order = LoginOrder(logins.credentials, logins.attempted, logins.never_accepted)
            for target_id, credential in logins.credentials.items():
                result = LoginResult(verdict, said="-ERR [AUTH] no")
                if order.may_log_in(target_id):
                    self.attempts.append((target_id, credential.secret.reveal()))
                    order.end(target_id, result)
                    one.record(target_id, credential, result)
        self.world.now += MINUTE

    def emails(self) -> list[Any]:
        """What SNS took for the alert topic, as a queue receives it; nothing was sent to phones."""
        world = self.world
        assert world.sqs.receive_message(QueueUrl=world.sms_queue).get("Messages", []) == []
        received = world.sqs.receive_message(QueueUrl=world.email_queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in received]

    @property
    def state(self) -> CredentialState:
        return self.world.store.read_credential_state("monitor")


def log_in(environment: Logins, target_id: str, verdict: LoginVerdict) -> None:
    """A batch of one target, which logs in."""
    for name, credential in environment.prepare({target_id: "monitor"}).credentials.items():
        environment.record(name, credential, LoginResult(verdict, said="-ERR [AUTH] no"))


@pytest.fixture
def stack(world: World, caplog: pytest.LogCaptureFixture) -> Iterator[Stack]:
    """Two environments and a credential; neither logs nor tables ever hold the secret."""
    logging.getLogger().setLevel(logging.WARNING)
    found = Stack(world)
    yield found
    everything = [world.dynamodb.scan(TableName=name)["Items"] for name in ("Targets", "Status", "History")]
    assert "canary" not in json.dumps(everything, default=str)
    assert not any("canary" in str(vars(record)) for record in caplog.records)


def problem(prepared: PreparedLogins, target_id: str = "mail-00") -> CredentialProblem:
    assert target_id not in prepared.credentials
    return prepared.problems[target_id]


def test_states_are_read_side_by_side(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tests of a batch wait for them: those of many credentials take little longer than that of one."""
    wanted = {f"mail-{number:02}": f"m-{number:02}" for number in range(2 * STATE_READERS)}
    for name in wanted.values():
        stack.put(name)
    together, read = Barrier(STATE_READERS), stack.world.store.read_credential_state

    def read_with_others(name: str) -> CredentialState:
        together.wait(timeout=300)
        return read(name)

    monkeypatch.setattr(stack.world.store, "read_credential_state", read_with_others)
    assert set(stack.environments[0].prepare(wanted).credentials) == set(wanted)


def test_a_table_that_does_not_answer_holds_up_no_test(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other credentials are used; what it writes after all is not an attempt, as no one logs in."""
    stack.put()
    stack.put("late")
    monkeypatch.setattr("popwatch.sweep.logins.PREPARE_SECONDS", 3)  # in which the other one is ready
    answers, written, put = Event(), Event(), stack.world.store.put_credential_state

    def put_late(state: CredentialState, expected: int) -> CredentialState | None:
        if state.name == "late" and not answers.wait(timeout=300):
            raise AssertionError
        held = put(state, expected)
        if state.name == "late" and state.tried_at is None:
            written.set()
        return held

    monkeypatch.setattr(stack.world.store, "put_credential_state", put_late)
    prepared = stack.environments[0].prepare({"a": "monitor", "b": "late"})
    assert (list(prepared.credentials), prepared.problems, prepared.skipped) == (["a"], {}, {})
    answers.set()
    assert written.wait(timeout=300)
    state = stack.world.store.read_credential_state("late")
    assert (state.rejections, state.tried_at, state.version) == (0, None, 2)


def test_a_table_that_refuses_stops_the_logins_of_one_credential(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And no test."""
    stack.put()
    stack.put("other")
    read = stack.world.store.read_credential_state

    def refuse(name: str) -> CredentialState:
        if name == "other":
            raise ClientError({"Error": {"Code": "InternalServerError", "Message": "x"}}, "GetItem")
        return read(name)

    monkeypatch.setattr(stack.world.store, "read_credential_state", refuse)
    prepared = stack.environments[0].prepare({"a": "monitor", "b": "other"})
    assert (list(prepared.credentials), prepared.problems) == (["a"], {})
    assert "The state of a credential could not be read or written in time." in caplog.text


def test_preparing_fits_into_an_invocation() -> None:
    """With the longest test after it, of 60 seconds; the function has 120, of which 20 are for commits."""
    assert READ_SECONDS + PATIENCE_SECONDS < PREPARE_SECONDS
    assert PREPARE_SECONDS + 60 < 120 - 20


@pytest.mark.parametrize("verdict", [LoginVerdict.REJECTED, LoginVerdict.UNCLEAR])
def test_fifty_targets_with_a_wrong_password_make_two_attempts(stack: Stack, verdict: LoginVerdict) -> None:
    """In all, by two environments at once; the operator is notified once, and a new password is tried by one again."""
    stack.put()
    for _ in range(5):
        stack.sweep(verdict)
    assert len(stack.attempts) == 2
    [message] = stack.emails()
    word = "rejected" if verdict is LoginVerdict.REJECTED else "fails"  # without a code the server may be to blame
    assert message["Subject"] == f"Login {word}: credential monitor"
    assert "The server said: -ERR [AUTH] no" in message["Message"]
    assert "popwatch credentials put monitor --user USER" in message["Message"]
    assert message["MessageAttributes"]["event"]["Value"] == "credential"
    prepared = stack.environments[0].prepare(FIFTY)
    if verdict is LoginVerdict.REJECTED:
        blocked = problem(prepared)
        assert blocked.reason is Unusable.BLOCKED
        assert "Two logins in a row" in blocked.explanation
    else:
        assert (prepared.credentials, prepared.problems) == ({}, {})
        assert prepared.skipped.keys() == FIFTY.keys()
        assert all("tried again after 2026-11-23 13:01 UTC" in why for why in prepared.skipped.values())
    stack.put(secret=Secret("canary-right"))
    stack.world.now += CACHED_FOR
    stack.sweep(LoginVerdict.PASSED)
    assert {secret for _, secret in stack.attempts[2:]} == {"canary-right"}
    assert len(stack.attempts) == 2 + 25  # the other environment waits
    stack.sweep(LoginVerdict.PASSED)
    assert len(stack.attempts) == 2 + 25 + 50


def test_an_older_version_undoes_no_count(stack: Stack) -> None:
    """An environment that keeps the one before in memory does not try it, and reads the new one at its next sweep."""
    stack.put()
    one, other = stack.environments
    rejected = LoginResult(LoginVerdict.REJECTED, said="-ERR [AUTH] no")
    attempts = []

    def sweep(environment: Logins) -> None:
        for target_id, credential in environment.prepare({"a": "monitor"}).credentials.items():
            attempts.append(credential.secret.reveal())
            environment.record(target_id, credential, rejected)
        stack.world.now += MINUTE / 2

    sweep(one)
    stack.put(secret=Secret("canary-2"))
    for _ in range(5):
        sweep(other)
        sweep(one)
    assert attempts == [CANARY, "canary-2", "canary-2"]


def test_invocations_at_once_make_one_attempt(stack: Stack) -> None:
    """Also for the same target: a tick, a message that came twice, a retest, one on request."""
    stack.put()
    rejected = LoginResult(LoginVerdict.REJECTED, said="-ERR [AUTH] no")
    environments, attempts = [stack.environment() for _ in range(4)], 0
    for _ in range(4):
        prepared = [(one, one.prepare({"a": "monitor"})) for one in environments]
        for one, logins in prepared:
            for target_id, credential in logins.credentials.items():
                attempts += 1
                one.record(target_id, credential, rejected)
        stack.world.now += MINUTE
    assert attempts == 2


@pytest.mark.long
@pytest.mark.parametrize("after_the_write", [False, True])
@pytest.mark.parametrize("verdict", [LoginVerdict.REJECTED, LoginVerdict.UNCLEAR])
def test_processes_that_die_make_two_attempts(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, verdict: LoginVerdict, *, after_the_write: bool
) -> None:
    """At any write, before it or after it, in every order of two deaths; the operator is notified all the same."""
    put, writes = Store.put_credential_state, 0

    def put_or_die(store: Store, state: CredentialState, expected: int) -> CredentialState | None:
        nonlocal writes
        writes += 1
        if writes in deaths and not after_the_write:
            raise KeyboardInterrupt
        held = put(store, state, expected)
        if writes in deaths:
            raise KeyboardInterrupt
        return held

    monkeypatch.setattr(Store, "put_credential_state", put_or_die)
    for deaths in ((), *combinations(range(1, 5), 1), *combinations(range(1, 5), 2)):
        stack.world.now += CACHED_FOR
        stack.put(secret=Secret(f"canary-{deaths}"))
        stack.attempts, writes = [], 0
        for _ in range(16):
            with suppress(KeyboardInterrupt):
                stack.sweep(verdict, {"a": "monitor", "b": "monitor"})
            stack.world.now += MINUTE
        assert len(stack.attempts) <= 2
        assert stack.state.blocked
        assert stack.emails()


def test_a_record_that_is_always_lost(stack: Stack) -> None:
    """The process dies after each login: two attempts in all."""
    stack.put()
    attempts = 0
    for _ in range(60):
        attempts += len(stack.environments[0].prepare({"a": "monitor"}).credentials)
        stack.world.now += MINUTE
    assert attempts == 2
    assert [one["Subject"] for one in stack.emails()] == ["Login fails: credential monitor"]


def test_an_old_acceptance_is_asked_again_by_one(stack: Stack) -> None:
    """Of two batches at once one has the first login; the other one's targets wait for the next minute."""
    stack.put()
    stack.sweep(LoginVerdict.PASSED)
    stack.world.now += 2 * ACCEPTED_FOR
    halves = [dict(list(FIFTY.items())[number::2]) for number in range(2)]
    first, second = (one.prepare(half) for one, half in zip(stack.environments, halves, strict=True))
    assert (len(first.credentials), first.attempted) == (25, {"monitor"})
    assert (second.credentials, second.problems) == ({}, {})


def test_a_removed_one_that_is_stored_again_is_another(stack: Stack) -> None:
    """Its version is 1 again, as that of the one that was rejected."""
    stack.put()
    for _ in range(3):
        stack.sweep(LoginVerdict.REJECTED)
    stack.ssm.delete_parameter(Name=f"{PATH}monitor")
    stack.world.now += CACHED_FOR
    assert problem(stack.environments[0].prepare(FIFTY)).reason is Unusable.MISSING
    stack.world.now += CACHED_FOR
    stack.put()
    assert stack.state.blocked
    stack.sweep(LoginVerdict.PASSED)
    assert not stack.state.blocked


def test_an_accepted_one_costs_one_read_a_batch(stack: Stack) -> None:
    """Nothing is written for it, and SSM is asked once in five minutes by each environment."""
    stack.put()
    stack.sweep(LoginVerdict.PASSED)
    written = stack.world.store.capacity.write.copy()
    asked = len(stack.asked)
    for _ in range(3):
        stack.sweep(LoginVerdict.PASSED)
    assert ACCEPTED_FOR / 2 > 4 * MINUTE  # then one is written again
    assert stack.world.store.capacity.write == written
    assert len(stack.asked) == asked
    assert len(stack.attempts) == 25 + 150


def test_a_server_that_does_not_answer_holds_no_one_up(stack: Stack) -> None:
    """Another target tries a new credential a minute later, and its password is not counted as wrong."""
    stack.put()
    wanted = dict(list(FIFTY.items())[:6])
    for _ in range(12):
        stack.sweep(LoginVerdict.FAILED, wanted)
    assert stack.state.rejections == 0
    assert {target_id for target_id, _ in stack.attempts} == set(wanted)
    stack.sweep(LoginVerdict.PASSED, wanted)
    assert stack.state.passed_at is not None


def test_nothing_is_asked_for_without_logins(stack: Stack) -> None:
    """Neither SSM nor a table."""
    read = stack.world.store.capacity.read.copy()
    assert stack.environments[0].prepare({}) == PreparedLogins({}, {})
    assert stack.asked == []
    assert stack.world.store.capacity.read == read


def test_xoauth2(stack: Stack) -> None:
    """The token is what a login sends; without one there is a problem, and no attempt."""
    stack.put(mechanism=Mechanism.XOAUTH2, token_source=ENDPOINT)
    stack.sweep(LoginVerdict.PASSED, {"a": "monitor"})
    assert stack.attempts == [("a", "canary-token")]
    stack.put(mechanism=Mechanism.XOAUTH2, token_source=ENDPOINT)
    stack.world.now += CACHED_FOR
    stack.token = TokenError(Unusable.TOKEN_REFUSED, "HTTP 401, invalid_client")
    refused = problem(stack.environments[0].prepare({"a": "monitor"}), "a")
    assert (refused.reason, refused.code) == (Unusable.TOKEN_REFUSED, "HTTP 401, invalid_client")


def test_a_token_that_a_server_rejects_is_fetched_again(stack: Stack) -> None:
    """It may have been revoked before its time: the next attempt, of the two that there are, is made with another."""
    stack.environments = stack.environments[:1] * 2
    stack.put(mechanism=Mechanism.XOAUTH2, token_source=ENDPOINT)
    both = {"a": "monitor", "b": "monitor"}
    stack.sweep(LoginVerdict.PASSED, both)
    stack.token, count = "canary-second", len(stack.attempts)
    stack.sweep(LoginVerdict.REJECTED, {"a": "monitor"})
    stack.sweep(LoginVerdict.PASSED, both)
    assert [token for _, token in stack.attempts[count:]] == ["canary-token", "canary-second"]


def test_one_bad_credential_harms_no_other(stack: Stack) -> None:
    """One that is missing, one that is damaged, and one that can be used, in one batch."""
    stack.put()
    stack.ssm.put_parameter(Name=f"{PATH}damaged", Value="canary", Type="SecureString")
    prepared = stack.environments[0].prepare({"a": "monitor", "b": "damaged", "c": "gone"})
    assert list(prepared.credentials) == ["a"]
    assert {name: one.reason for name, one in prepared.problems.items()} == {
        "b": Unusable.DAMAGED,
        "c": Unusable.MISSING,
    }


def test_a_token_endpoint_that_stays_down_is_waited_for_no_longer(stack: Stack) -> None:
    """After a quarter of an hour: else an outage of the login would stay open for as long."""
    stack.put(mechanism=Mechanism.XOAUTH2, token_source=ENDPOINT)
    stack.token = TokenError(Unusable.TOKEN_UNAVAILABLE, "timeout")
    assert stack.environments[0].prepare({"a": "monitor"}).without_login == set()
    stack.world.now += REPORTED_AFTER
    assert stack.environments[0].prepare({"a": "monitor"}).without_login == {"a"}


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ([("a", LoginVerdict.REJECTED)], ("b", LoginVerdict.REJECTED)),
        (
            [("b", LoginVerdict.PASSED), ("a", LoginVerdict.REJECTED), ("b", LoginVerdict.PASSED)],
            ("a", LoginVerdict.REJECTED),
        ),
        ([], None),
    ],
    ids=["blocked", "refused by one target", "unusable"],
)
def test_of_two_batches_at_once_one_reports(
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    before: list[tuple[str, LoginVerdict]],
    last: tuple[str, LoginVerdict] | None,
) -> None:
    """The other one comes while the first one's message is under way to SNS, or has been sent and not noted yet."""
    one, other = stack.environments
    publish = AlertTopics.publish

    def publish_slowly(topics: AlertTopics, topic: Topic, message: AlertMessage) -> None:
        monkeypatch.setattr(AlertTopics, "publish", publish)
        other.prepare({"b": "monitor"})
        publish(topics, topic, message)
        other.prepare({"b": "monitor"})

    if last:
        stack.put()
        for target_id, verdict in before:
            log_in(one, target_id, verdict)
    else:
        one.prepare({"a": "monitor"})
        stack.world.now += REPORTED_AFTER
    monkeypatch.setattr(AlertTopics, "publish", publish_slowly)
    if last:
        log_in(one, *last)
    else:
        one.prepare({"a": "monitor"})
    other.prepare({"b": "monitor"})
    assert AlertTopics.publish is publish
    assert len(stack.emails()) == 1
    assert stack.state.reporting_at is None


@pytest.mark.parametrize("dies", [False, True])
def test_what_one_batch_could_not_report_another_one_does(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, *, dies: bool
) -> None:
    """A minute later: SNS has refused it, or the process has died before it could send."""
    one, other = stack.environments
    stack.put()
    log_in(one, "a", LoginVerdict.REJECTED)

    def refuse(*_: object) -> None:
        raise KeyboardInterrupt if dies else ClientError({"Error": {"Code": "InternalError"}}, "Publish")

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt) if dies else nullcontext():
        patched.setattr(AlertTopics, "publish", refuse)
        log_in(one, "b", LoginVerdict.REJECTED)
    other.prepare({"b": "monitor"})
    assert stack.emails() == []
    stack.world.now += REPORTED_WITHIN
    other.prepare({"b": "monitor"})
    one.prepare({"b": "monitor"})
    assert len(stack.emails()) == 1


def test_a_problem_that_lasts_is_reported_once(stack: Stack) -> None:
    """After a quarter of an hour, whatever the reason is by then, and again only if it could be used meanwhile."""
    stack.put(mechanism=Mechanism.XOAUTH2, token_source=ENDPOINT)
    stack.token = TokenError(Unusable.TOKEN_UNAVAILABLE, "timeout")
    users = [
        parse_target({"target_id": name, "host": "x", "login": "monitor", "group": "mail", "tags": [f"of-{name}"]})
        for name in "ab"
    ]

    def sweep(minutes: int) -> None:
        for number in range(minutes):
            one = stack.environments[number % 2]
            for target_id, credential in one.prepare({"a": "monitor"}, users).credentials.items():
                one.record(target_id, credential, LoginResult(LoginVerdict.PASSED))
            stack.world.now += MINUTE

    sweep(15)
    assert stack.emails() == []
    stack.ssm.delete_parameter(Name=f"{PATH}monitor")
    sweep(30)
    [message] = stack.emails()
    assert message["Subject"] == "No login: credential monitor cannot be used"
    assert "Since 2026-11-23 12:00 UTC no target logs in" in message["Message"]
    assert "popwatch credentials list" in message["Message"]
    attributes = {
        name: json.loads(one["Value"]) for name, one in message["MessageAttributes"].items() if name != "event"
    }
    assert attributes == {"target_id": ["a", "b"], "group": ["mail"], "tags": ["of-a", "of-b"]}
    assert message["MessageAttributes"]["event"]["Value"] == "credential"
    assert (stack.state.problem, stack.state.problem_since) == (Unusable.MISSING, NOON)
    stack.put()
    sweep(8)
    assert (stack.state.problem, stack.state.problem_since, stack.state.passed_at is None) == ("", None, False)
    stack.ssm.delete_parameter(Name=f"{PATH}monitor")
    sweep(25)
    assert len(stack.emails()) == 1


def test_a_refusal_reaches_who_receives_alerts_of_its_target(stack: Stack) -> None:
    """By its group or its tags: a filter policy for them lets the message through."""
    stack.put()
    users = [
        parse_target({"target_id": name, "host": "x", "login": "monitor", "group": f"of-{name}", "tags": ["mail"]})
        for name in "ab"
    ]
    one, wanted = stack.environments[0], {"a": "monitor", "b": "monitor"}
    for minute in range(20):
        for target_id, credential in one.prepare(wanted if minute else {"a": "monitor"}, users).credentials.items():
            verdict = LoginVerdict.PASSED if target_id == "a" else LoginVerdict.REJECTED
            one.record(target_id, credential, LoginResult(verdict, said="-ERR [AUTH] no"))
        stack.world.now += MINUTE
    [message] = stack.emails()
    assert message["Subject"] == "Login rejected: credential monitor, at b"
    assert "does not log in there with it any more" in " ".join(message["Message"].split())
    attributes = {name: one["Value"] for name, one in message["MessageAttributes"].items()}
    assert attributes == {"event": "credential", "target_id": "b", "group": '["of-b"]', "tags": '["mail"]'}


def test_a_message_that_sns_does_not_take_is_sent_by_a_later_batch(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: what was accepted is not published again."""
    stack.put()
    stack.sweep(LoginVerdict.REJECTED)
    with monkeypatch.context() as broken:

        def refuse(*_: object) -> str:
            raise ClientError({"Error": {"Code": "InternalError", "Message": "later"}}, "Publish")

        broken.setattr(AlertTopics, "publish", refuse)
        stack.sweep(LoginVerdict.REJECTED)
    assert stack.state.unreported
    for _ in range(3):
        stack.sweep(LoginVerdict.REJECTED)
    assert not stack.state.unreported
    assert len(stack.emails()) == 1
    assert len(stack.attempts) == 2
