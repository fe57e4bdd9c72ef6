"""Sweeps whose targets log in: when, what an outage of the login is, and what a wrong password costs."""

import json
import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from popwatch.aws.credentials import CACHED_FOR
from popwatch.decisions.batches import RequestedTests
from popwatch.decisions.login_attempts import OTHER_TARGET_WAIT
from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.health import Health, State
from popwatch.model.outcomes import ErrorCode, LoginVerdict
from popwatch.model.records import PublishedAlert
from popwatch.model.targets import Policy
from popwatch.model.text import iso, utc
from popwatch.queries.status import read_fleet_status
from popwatch.reports.status import TargetStatus, target_status_to_json
from popwatch.sweep.batch_tester import UnfinishedError
from popwatch_cli.doctor.table_state import TableState
from popwatch_cli.output.status_table import details
from popwatch_cli.target_table import TargetTable
from tests.integration.logins import put_credential, with_logins
from tests.integration.world import MINUTE, NOON, World

CACHED_MINUTES = CACHED_FOR // MINUTE
"""For so long an environment uses the version that it has read."""


@pytest.fixture
def ssm() -> Any:
    return boto3.client("ssm")


@pytest.fixture
def world(world: World, ssm: Any, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    """A world with one login; its secret is in no log, no table and no message, whatever a test does."""
    logging.getLogger().setLevel(logging.WARNING)
    world.logins = with_logins(world, ssm)
    yield world
    kept: list[Any] = [world.dynamodb.scan(TableName=name)["Items"] for name in ("Targets", "Status", "History")]
    kept += [world.queue, [vars(record) for record in caplog.records]]
    kept.append(world.sqs.receive_message(QueueUrl=world.email_queue, MaxNumberOfMessages=10))
    assert "canary" not in json.dumps(kept, default=str)


def watch(world: World, *names: str, **fields: Any) -> None:
    for name in names:
        world.put_target(name, tls="implicit", login="monitor", **fields)


def run(world: World, minutes: int) -> None:
    for _ in range(minutes):
        world.minute(world.now + MINUTE)


def health(world: World, name: str) -> Health:
    return world.store.read_record(name).health


def detail_of(world: World, name: str) -> str:
    """What the last test of a target says of it."""
    outcome = world.store.read_record(name).outcome
    return outcome.detail if outcome else ""


def statuses(world: World) -> Sequence[TargetStatus]:
    return read_fleet_status(world.store, world.now).targets


def logins_of(world: World, name: str) -> list[int]:
    """The minutes at which a target was logged in to."""
    return [(at - NOON) // MINUTE for at, target_id in world.logged_in if target_id == name]


def test_one_test_in_five_minutes_logs_in(world: World) -> None:
    """The first one, and then every fifth; a target that names no login is never logged in to."""
    watch(world, "a")
    world.put_target("b")
    run(world, 31)
    minutes = logins_of(world, "a")
    assert minutes[0] == 1
    later = minutes[1:]
    assert [after - before for before, after in pairwise(later)] == [5] * (len(later) - 1)
    assert len(minutes) in (7, 8)
    assert logins_of(world, "b") == []


def test_an_outage_of_the_login(world: World) -> None:
    """Every test logs in from the first failed one on; the third failure alerts, the next login that passes ends it."""
    watch(world, "a")
    run(world, 2)
    world.verdicts = {"a": LoginVerdict.FAILED}
    run(world, 12)
    minutes = logins_of(world, "a")
    assert minutes[-6:] == list(range(minutes[-1] - 5, minutes[-1] + 1))
    assert health(world, "a").state in (State.DOWN, State.LOST)
    world.verdicts = {}
    run(world, 6)
    assert health(world, "a").state is State.UP
    assert world.alerts_recorded("a")[0] == "down"
    assert world.alerts_recorded("a")[-1] == "recovered"


def test_a_greeting_alone_neither_ends_nor_interrupts_it(world: World) -> None:
    """Within the server's LOGIN-DELAY the tests between two logins pass, and say nothing."""
    watch(world, "a")
    run(world, 2)
    world.verdicts, world.login_delay = {"a": LoginVerdict.FAILED}, 150
    run(world, 25)
    run(world, (logins_of(world, "a")[-1] + 1 - 27) % 3)  # a minute after a login
    [status] = statuses(world)
    failed_at = NOON + logins_of(world, "a")[-1] * MINUTE
    assert (status.error, status.next_login_at) == (None, failed_at + timedelta(seconds=150))
    assert target_status_to_json(status, world.now)["login_failure"]["at"] == iso(failed_at)
    assert status.remarks(world.now) == [
        f"the login failed last at {utc(failed_at)} (login-failed): only one that is accepted ends this; "
        f"next login after {utc(failed_at + timedelta(seconds=150))} (LOGIN-DELAY 150 s)"
    ]
    minutes = logins_of(world, "a")
    failing = [at for at in minutes if at > 2]
    assert {after - before for before, after in pairwise(failing)} == {3}
    assert health(world, "a").failures == len(failing)
    assert health(world, "a").state in (State.DOWN, State.LOST)
    sent = [
        event.what.message.email for event in world.store.read_events("a") if isinstance(event.what, PublishedAlert)
    ]
    assert "\nFailing for   6 min, 3 failed tests, 4 passed between them\n" in sent[0]
    world.verdicts = {}
    run(world, 2)  # the second of these logs in
    passed = len([at for at, _ in world.tested if at >= NOON + failing[0] * MINUTE]) - len(failing) - 1
    [*_, last] = [event.what for event in world.store.read_events("a") if isinstance(event.what, PublishedAlert)]
    assert f"\nOutage        {len(failing)} failed tests, {passed} passed between them, " in last.message.email


def test_an_outage_that_a_greeting_shows_ends_with_a_greeting(world: World) -> None:
    """Its login was not tried."""
    watch(world, "a", login_every=3600)
    run(world, 2)
    world.failing = {"a": ErrorCode.CANNOT_CONNECT}
    run(world, 4)
    world.failing = {}
    run(world, 2)
    assert health(world, "a").state is State.UP


def test_an_outage_ends_with_a_greeting_once_no_login_is_possible(world: World, ssm: Any) -> None:
    """Its credential was removed meanwhile. Before, the target was down for ever, whatever its server did."""
    watch(world, "a")
    run(world, 2)
    world.verdicts = {"a": LoginVerdict.FAILED}
    run(world, 12)
    assert health(world, "a").state in (State.DOWN, State.LOST)
    ssm.delete_parameter(Name="/popwatch/popwatch/credentials/monitor")
    run(world, 12)
    assert health(world, "a").state is State.UP
    assert not health(world, "a").login_failed
    assert world.alerts_recorded("a")[-1] == "recovered"


@pytest.mark.long
@pytest.mark.parametrize("failures_per_alert", [3, 5])
def test_a_dead_backend_that_says_no_more_than_err_is_an_outage(world: World, failures_per_alert: int) -> None:
    """It may be the credential, so two tests log in, and then few: reported by the usual count all the same."""
    watch(world, "a", failures_per_alert=failures_per_alert, max_alerts=1)
    run(world, 2)
    world.verdicts = {"a": LoginVerdict.UNCLEAR}
    minutes = 0
    while not world.alerts_recorded("a"):
        run(world, 1)
        minutes += 1
    failing = [at for at in logins_of(world, "a") if at > 2]
    assert len(failing) == 2
    assert minutes + 2 == failing[0] + failures_per_alert - 1
    assert minutes * MINUTE <= longest_time_to_alert(Policy(login="monitor", failures_per_alert=failures_per_alert), 20)
    run(world, 200)
    failing = [at for at in logins_of(world, "a") if at > 2]
    waits = [after - before for before, after in pairwise(failing)]
    assert waits[0] == 1
    assert all(0 <= it - wait <= 5 for it, wait in zip(waits[1:], (60, 120), strict=True))  # the next test then
    assert world.alerts_recorded("a") == ["down"]
    assert [attributes["event"] for attributes in world.received()] == ["credential", "down"]
    [status] = statuses(world)
    due = NOON + (failing[-1] + 240) * MINUTE
    assert f"refused here without a reason, tried again after {due:%Y-%m-%d %H:%M} UTC" in status.login_problem
    assert detail_of(world, "a").endswith(f"Tested without a login: {status.login_problem}.")
    assert status.next_login_at == due
    world.verdicts = {}
    run(world, 3)
    assert health(world, "a").login_failed
    world.sweep().run_requested(RequestedTests(world.now, ("a",)))
    assert (health(world, "a").state, health(world, "a").failures) == (State.UP, 0)
    assert world.alerts_recorded("a") == ["down", "recovered"]


def test_a_dead_backend_of_one_target_hides_no_outage_of_another(world: World) -> None:
    """A refusal of a credential that another one accepts since is its server's: that one's logins go on."""
    watch(world, "a", "b", "dead", login_every=60)
    run(world, 6)
    world.verdicts = {"dead": LoginVerdict.UNCLEAR}
    run(world, 30)
    assert health(world, "dead").state in (State.DOWN, State.LOST)
    assert len([at for at in logins_of(world, "dead") if at > 6]) == 2
    world.verdicts = {"dead": LoginVerdict.UNCLEAR, "a": LoginVerdict.UNCLEAR}
    run(world, 4)
    assert health(world, "a").state is State.DOWN
    assert len([at for at in logins_of(world, "a") if at > 36]) == 2
    assert [at for at in logins_of(world, "b") if at > 36] == [38, 39, 40]  # the first one waits for that of a


def test_another_target_shows_at_once_whose_fault_it_is(world: World) -> None:
    """It logs in although it is not due; with all of them dead both are down in time, with one attempt each."""
    watch(world, "a", "b", login_every=3600)
    run(world, 2)
    alive = len(logins_of(world, "a"))
    world.verdicts = {"b": LoginVerdict.UNCLEAR}
    while not health(world, "b").login_failed:
        run(world, 1)
    refused = logins_of(world, "b")[-1]
    run(world, 1)
    assert logins_of(world, "a")[-1] == refused + 1
    assert len(logins_of(world, "a")) <= alive + 2  # it may have been due as well
    assert logins_of(world, "b")[-1] == refused + 1
    run(world, 1)
    assert world.alerts_recorded("b") == ["down"]
    assert world.store.read_credential_state("monitor").rejections == 0


@pytest.mark.long
def test_a_password_that_was_changed_before_a_dead_server_tries_it_again(world: World) -> None:
    """The server has refused it without a code while others were accepted, so that its refusals count for it alone: one
    of the others logs in first, or the wrong password would be tried three times in a row."""
    watch(world, "a", "b", "dead", login_every=3600)
    run(world, 2)
    world.verdicts = {"dead": LoginVerdict.UNCLEAR}
    while len(logins_of(world, "dead")) < 3:
        run(world, 1)
    tried_again = NOON + logins_of(world, "dead")[-1] * MINUTE + timedelta(hours=1)
    while world.now < tried_again - 2 * MINUTE:
        run(world, 1)
    before = len(world.logged_in)
    world.verdicts = dict.fromkeys(("a", "b", "dead"), LoginVerdict.UNCLEAR)
    run(world, 90)
    first, second, third, *_ = world.logged_in[before:]
    assert {first[1], second[1]} == {"a", "b"}
    assert second[0] - first[0] == MINUTE
    assert third[0] - second[0] >= OTHER_TARGET_WAIT


@pytest.mark.long
def test_a_password_that_was_changed_while_only_a_dead_server_tries_it(world: World) -> None:
    """No other target is tested in its message, so that nothing shows first that it is wrong: its try counts."""
    watch(world, "a", "b", "dead", login_every=3600)
    run(world, 2)
    world.verdicts = {"dead": LoginVerdict.UNCLEAR}
    while len(logins_of(world, "dead")) < 3:
        run(world, 1)
    run(world, 57)  # the others are accepted once more, so that the next try at the dead one is its own
    before = len(world.logged_in)
    world.verdicts = dict.fromkeys(("a", "b", "dead"), LoginVerdict.UNCLEAR)
    watch(world, "a", "b", enabled=False, login_every=3600)
    while len(world.logged_in) == before:
        run(world, 1)
    watch(world, "a", "b", enabled=True, login_every=3600)
    run(world, 90)
    first, second, third, *_ = world.logged_in[before:]
    assert (first[1], second[1]) == ("dead", "a")
    assert second[0] - first[0] <= 2 * MINUTE
    assert third[0] - second[0] >= OTHER_TARGET_WAIT


def test_a_dead_backend_of_two_that_say_no_more_than_err(world: World) -> None:
    """Both are down by the usual count, with two attempts in all."""
    watch(world, "a", "b")
    run(world, 8)
    before = len(world.logged_in)
    world.verdicts = dict.fromkeys("ab", LoginVerdict.UNCLEAR)
    while len(world.logged_in) == before:
        run(world, 1)
    run(world, 3)
    assert {name: health(world, name).state for name in "ab"} == dict.fromkeys("ab", State.DOWN)
    assert [name for _, name in world.logged_in[before:]] in (["a", "b"], ["b", "a"])


def test_a_right_password_that_is_stored_while_one_login_is_dead(world: World, ssm: Any) -> None:
    """The dead one tries it once, the other one is not kept from it, and nothing has recovered."""
    watch(world, "a", "dead", login_every=60)
    run(world, 6)
    world.verdicts, world.unanswered = {"dead": LoginVerdict.FAILED}, {"dead"}
    run(world, 6)
    assert world.alerts_recorded("dead")[:1] == ["down"]
    put_credential(world, ssm)
    run(world, 30)
    state = world.store.read_credential_state("monitor")
    assert state.revision.startswith("2 ")
    assert (state.passed_at is not None, state.rejections) == (True, 0)
    assert "recovered" not in world.alerts_recorded("dead")
    assert logins_of(world, "a")[-20:] == list(range(23, 43))


def test_a_right_password_that_is_stored_while_the_only_login_is_dead(world: World, ssm: Any) -> None:
    """It is tried once, and an hour later; the outage goes on, and ends with the first login that is accepted."""
    watch(world, "dead")
    run(world, 6)
    world.verdicts, world.unanswered = {"dead": LoginVerdict.FAILED}, {"dead"}
    run(world, 10)
    put_credential(world, ssm)
    before = len(world.logged_in)
    run(world, 10)
    assert len(world.logged_in) - before <= CACHED_MINUTES + 1
    assert health(world, "dead").state in (State.DOWN, State.LOST)
    world.verdicts = {}
    run(world, 65)
    assert health(world, "dead").state is State.UP
    assert world.alerts_recorded("dead")[-1] == "recovered"


def test_a_rejection_ends_no_outage_of_the_login(world: World) -> None:
    """Two in a row end all attempts; the greeting that then counts says that the login is not tested any more."""
    watch(world, "a")
    run(world, 2)
    world.verdicts = {"a": LoginVerdict.FAILED}
    run(world, 12)
    assert world.alerts_recorded("a")[:1] == ["down"]
    world.verdicts = {"a": LoginVerdict.REJECTED}
    run(world, 3)
    assert "recovered" not in world.alerts_recorded("a")
    run(world, 10)
    assert world.alerts_recorded("a")[-1] == "recovered"
    detail = detail_of(world, "a")
    assert detail.startswith("The login is not tested any more. Two logins in a row with the credential")


def test_a_wrong_password_that_is_answered_by_silence(world: World) -> None:
    """A server that closes, or answers too late, has seen it nevertheless: two attempts of one that no one knows."""
    names = [f"mail-{number:02}" for number in range(10)]
    watch(world, *names)
    world.verdicts, world.unanswered = dict.fromkeys(names, LoginVerdict.FAILED), set(names)
    run(world, 30)
    assert len(world.logged_in) == 2
    events = [attributes["event"] for attributes in world.received()]
    assert (events[0], set(events[1:])) == ("credential", {"down"})
    assert {name for name in names if world.alerts_recorded(name)} == {name for _, name in world.logged_in}


@pytest.mark.long
@pytest.mark.parametrize("after_an_outage", [False, True])
def test_a_password_that_was_changed_at_the_server(world: World, *, after_an_outage: bool) -> None:
    """Of twenty targets two try it, in whatever state they were."""
    names = [f"mail-{number:02}" for number in range(20)]
    watch(world, *names)
    run(world, 8)
    if after_an_outage:
        world.verdicts = dict.fromkeys(names, LoginVerdict.FAILED)
        run(world, 6)
    before = len(world.logged_in)
    world.verdicts = dict.fromkeys(names, LoginVerdict.REJECTED)
    run(world, 12)
    assert len(world.logged_in) - before == 2
    assert world.store.read_credential_state("monitor").reported_at is not None


def test_one_server_that_rejects_what_others_accept(world: World) -> None:
    """It sees two wrong passwords, the others log in as before, and the operator is notified once."""
    watch(world, "a", "b", "bad", login_every=60)
    run(world, 6)
    world.verdicts = {"bad": LoginVerdict.REJECTED}
    before = {name: len(logins_of(world, name)) for name in ("a", "b", "bad")}
    run(world, 30)
    more = {name: len(logins_of(world, name)) - before[name] for name in before}
    assert more["bad"] == 2
    assert min(more["a"], more["b"]) >= 28
    why = f"credential {world.store.read_credential_state('monitor').shown} refused twice here, and accepted elsewhere"
    shown = {it.target.target_id: it.login_problem for it in statuses(world)}
    assert shown == {"a": "", "b": "", "bad": why}
    assert [(one["event"], one["target_id"]) for one in world.received()] == [("credential", "bad")]


MAINTAINED = [{"from": "2026-11-23T12:06", "until": "2026-11-23T12:20"}]


def subjects(world: World) -> list[str]:
    """The subjects of the emails about credentials since the last call."""
    found: list[str] = []
    while messages := world.sqs.receive_message(QueueUrl=world.email_queue, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            world.sqs.delete_message(QueueUrl=world.email_queue, ReceiptHandle=message["ReceiptHandle"])
            body = json.loads(message["Body"])
            found += [body["Subject"]] if body["MessageAttributes"]["event"]["Value"] == "credential" else []
    return found


@pytest.mark.long
@pytest.mark.parametrize("maintained", [False, True])
def test_a_wait_that_becomes_one_for_good_is_reported(world: World, *, maintained: bool) -> None:
    """What waited an hour waits until the credential changes once a server says `[AUTH]`: who reads must know."""
    watch(world, "a", login_every=60, **({"maintenance": MAINTAINED} if maintained else {}))
    run(world, 6)
    world.verdicts = {"a": LoginVerdict.UNCLEAR}
    run(world, 13)
    assert subjects(world) == ["Login fails: credential monitor"]
    world.verdicts = {"a": LoginVerdict.REJECTED}
    run(world, 120)
    assert subjects(world) == ["Login rejected: credential monitor"]
    [status] = statuses(world)
    assert "refused 3 times, last by a" in status.login_problem


@pytest.mark.long
def test_a_target_that_is_left_out_for_good_later_is_reported(world: World) -> None:
    """The same of one that refuses what another one accepts."""
    watch(world, "y", "z", login_every=60, maintenance=MAINTAINED)
    watch(world, "a", login_every=60)
    run(world, 6)
    world.verdicts = {"y": LoginVerdict.UNCLEAR, "z": LoginVerdict.UNCLEAR}
    run(world, 13)
    assert subjects(world) == [f"Login fails: credential monitor, at {name}" for name in "yz"]
    world.verdicts = {"y": LoginVerdict.REJECTED}
    run(world, 180)
    assert subjects(world) == ["Login rejected: credential monitor, at y"]


@pytest.mark.long
def test_a_new_credential_that_no_server_answered_and_then_rejected(world: World) -> None:
    """Its first two attempts in a maintenance; the third one says that it is wrong."""
    watch(world, "a", login_every=60, maintenance=[{"from": "2026-11-23T12:00", "until": "2026-11-23T12:20"}])
    world.verdicts, world.unanswered = {"a": LoginVerdict.FAILED}, {"a"}
    run(world, 19)
    assert subjects(world) == ["Login fails: credential monitor"]
    world.verdicts, world.unanswered = {"a": LoginVerdict.REJECTED}, set()
    run(world, 90)
    assert subjects(world) == ["Login rejected: credential monitor"]


def test_a_login_that_was_not_begun_is_taken_back(world: World) -> None:
    """The invocation has no time left for it; it is not an attempt, and another target is next."""
    watch(world, "a", "b")
    world.out_of_time = {"a", "b"}
    with pytest.raises(UnfinishedError):
        run(world, 1)
    state = world.store.read_credential_state("monitor")
    assert (state.rejections, state.tried_at, state.version) == (0, None, 8)
    world.out_of_time = set()
    run(world, 8)
    assert {name for _, name in world.logged_in} == {"a", "b"}


@pytest.mark.parametrize("verdict", [LoginVerdict.IN_USE, LoginVerdict.LOGIN_DELAY])
def test_what_is_no_outage(world: World, verdict: LoginVerdict) -> None:
    """A mailbox in use, a login that comes too soon: no failure, no alert, no rejection."""
    watch(world, "a")
    world.verdicts = {"a": verdict}
    run(world, 20)
    assert health(world, "a").state is State.UP
    assert world.alerts_recorded("a") == []
    assert world.store.read_credential_state("monitor").rejections == 0


def test_a_wrong_password_makes_two_attempts(world: World, ssm: Any) -> None:
    """By twenty targets in all; they stay up, one message says so, and a new password is tried again."""
    names = [f"mail-{number:02}" for number in range(20)]
    watch(world, *names)
    world.verdicts = dict.fromkeys(names, LoginVerdict.REJECTED)
    run(world, 15)
    assert len(world.logged_in) == 2
    assert {health(world, name).state for name in names} == {State.UP}
    assert [attributes["event"] for attributes in world.received()] == ["credential"]
    tried_last = world.logged_in[-1][1]
    shown = world.store.read_credential_state("monitor").shown
    why = f"credential {shown} refused twice, last by {tried_last}"
    assert {it.login_problem for it in statuses(world)} == {why}
    assert {tuple(it.remarks(world.now)) for it in statuses(world)} == {(f"tested without a login: {why}",)}
    world.verdicts = {}
    put_credential(world, ssm)
    run(world, 20)
    assert {target_status_to_json(it, world.now)["login_problem"] for it in statuses(world)} == {None}
    assert len({name for _, name in world.logged_in}) == 20
    assert world.store.read_credential_state("monitor").passed_at is not None


def test_a_credential_that_is_gone_stops_no_test(world: World, ssm: Any) -> None:
    """Nor does AWS when it does not answer: the greeting is tested as before."""
    watch(world, "a")
    ssm.delete_parameter(Name="/popwatch/popwatch/credentials/monitor")
    run(world, 6)
    assert world.logged_in == []
    assert health(world, "a").state is State.UP
    [status] = statuses(world)
    assert status.login_problem == "credential missing (monitor) when it was last read"


def test_a_target_that_is_not_tested_is_not_tested_without_a_login(world: World, ssm: Any) -> None:
    """One that has a mistake in its item, or is suspended: it has no remark of its credential, and is not counted."""
    watch(world, "a")
    watch(world, "mistaken", verify_tls=False)
    watch(world, "suspended", enabled=False)
    ssm.delete_parameter(Name="/popwatch/popwatch/credentials/monitor")
    run(world, 6)
    missing = "credential missing (monitor) when it was last read"
    found = {it.target.target_id: it.login_problem for it in statuses(world)}
    assert found == {"a": missing, "mistaken": "", "suspended": ""}
    remarks = {it.target.target_id: " ".join(it.remarks(world.now)) for it in statuses(world)}
    assert [name for name, shown in remarks.items() if "without a login" in shown] == ["a"]
    installation: Any = SimpleNamespace(target_table=TargetTable(world.dynamodb, "Targets"))
    assert TableState(installation, world.now).credential_users == {"monitor": ["a"]}


def test_no_one_logs_in_without_verified_tls(world: World) -> None:
    """Such a target fails for its configuration, and is never connected to."""
    world.put_target("plain", login="monitor")
    world.put_target("unverified", tls="implicit", verify_tls=False, login="monitor")
    run(world, 4)
    assert world.logged_in == []


def test_a_stored_time_between_logins_is_kept(world: World) -> None:
    """LOGIN-DELAY of ten minutes: no login is sooner, though the target asks for one each five."""
    watch(world, "a")
    world.login_delay = 600
    run(world, 60)
    minutes = logins_of(world, "a")
    between = [after - before for before, after in pairwise(minutes[2:])]
    assert between
    assert min(between) * MINUTE >= timedelta(seconds=600)


def test_a_test_on_request_keeps_the_time_between_logins(world: World) -> None:
    """Where the server states one it greets only: `retest` may come at any time."""
    watch(world, "a", login_every=60)
    world.login_delay = 60
    run(world, 10)
    for _ in range(2):  # one of them is a minute of a login
        run(world, 1)
        before, tested = len(world.logged_in), len(world.tested)
        world.sweep().run_requested(RequestedTests(world.now, ("a",)))
        assert (len(world.logged_in), len(world.tested)) == (before, tested + 1)


def test_a_stated_time_between_logins_is_forgotten(world: World) -> None:
    """Once the server answers CAPA without it, the target logs in as often as it asks for."""
    watch(world, "a", login_every=60)
    world.login_delay = 1200
    run(world, 30)
    world.login_delay = 0
    run(world, 40)
    assert health(world, "a").login_delay == 0
    assert logins_of(world, "a")[-10:] == list(range(61, 71))


def test_the_mailbox_is_kept_and_shown(world: World) -> None:
    """From the last login on until the next; of a target that logs in no more it is not shown for long."""
    watch(world, "a")
    world.put_target("b")
    run(world, 12)
    shown = {it.target.target_id: target_status_to_json(it, world.now) for it in statuses(world)}
    last = NOON + logins_of(world, "a")[-1] * MINUTE
    assert (shown["a"]["messages"], shown["a"]["octets"], shown["a"]["mailbox_at"]) == (3, 4096, iso(last))
    [line] = [line for it in statuses(world) for line in details(it, world.now) if "Mailbox" in line]
    assert "3 messages, 4096 octets" in line
    assert (shown["b"]["messages"], shown["b"]["mailbox_at"]) == (None, None)
    world.verdicts = {"a": LoginVerdict.IN_USE}
    run(world, 20)
    assert {it.mailbox for it in statuses(world)} == {None}


@pytest.mark.long
def test_a_dead_backend_of_many_targets_is_an_outage_of_each(world: World) -> None:
    """They share a credential whose last accepted login is long ago: each is reported all the same, in time."""
    names = [f"mail-{number:02}" for number in range(20)]
    watch(world, *names, login_every=1200)
    run(world, 41)
    world.verdicts, world.unanswered = dict.fromkeys(names, LoginVerdict.FAILED), set(names)
    run(world, 24)
    assert {name for name in names if world.alerts_recorded(name)[:1] != ["down"]} == set()


def test_who_does_not_answer_is_not_the_first(world: World) -> None:
    """The others would wait for it, each time."""
    watch(world, "a", "b", "c")
    run(world, 6)
    world.verdicts, world.unanswered = {"a": LoginVerdict.FAILED}, {"a"}
    run(world, 20)
    last = max(at for at, name in world.tested if name == "a" and (at, "b") in world.tested)
    assert [name for at, name in world.tested if at == last] == ["b", "c", "a"]


def test_a_server_that_is_down_holds_up_no_other(world: World) -> None:
    """The target that may try a new credential is not reached: a minute later another one tries it."""
    watch(world, "a", "b")
    world.failing = {"a": ErrorCode.CANNOT_CONNECT}
    run(world, 8)
    assert world.store.read_credential_state("monitor").passed_at is not None
    assert {name for _, name in world.logged_in} == {"b"}


def test_a_corrected_password_is_tried_at_once_on_request(world: World, ssm: Any) -> None:
    """Seconds after it was stored, in an environment that has just read the wrong one."""
    watch(world, "a")
    world.verdicts = {"a": LoginVerdict.REJECTED}
    run(world, 12)
    tried = len(world.logged_in)
    world.sweep().run_requested(RequestedTests(world.now, ("a",)))
    assert len(world.logged_in) == tried
    put_credential(world, ssm)
    world.verdicts = {}
    world.sweep().run_requested(RequestedTests(world.now, ("a",)))
    assert len(world.logged_in) == tried + 1
    assert world.store.read_credential_state("monitor").passed_at is not None


def test_an_outage_that_a_removed_login_ends(world: World) -> None:
    """Its recovery says that the login is not tested any more, since it may be as dead as before."""
    watch(world, "a")
    run(world, 2)
    world.verdicts = {"a": LoginVerdict.FAILED}
    run(world, 10)
    world.put_target("a", tls="implicit")
    run(world, 2)
    assert world.alerts_recorded("a")[-1] == "recovered"
    assert detail_of(world, "a") == "The login is not tested any more. The target has no field `login` any more."
