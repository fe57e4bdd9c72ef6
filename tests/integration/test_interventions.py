"""`popwatch silence`, `unsilence`, `ack`, `suspend`, `resume`: what they write, record and print."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from popwatch.alerts.character_sets import SMS_SEPTETS, count_septets
from popwatch.model.health import Health, State
from popwatch.model.records import InterventionEvent, Record
from popwatch.model.targets import Target, parse_target
from popwatch_cli.commands.send_test_alert import make_test
from popwatch_cli.installation import Installation
from tests.integration.conftest import Do, Run

SINCE = datetime(2026, 11, 24, 3, 12, tzinfo=UTC)


def target(stack: Installation, name: str) -> Target:
    return parse_target(stack.target_table.read()[name])


def interventions(stack: Installation, name: str) -> list[tuple[str, str, str]]:
    return [
        (event.action, event.by, event.why)
        for event in [event.what for event in stack.store.read_events(name)]
        if isinstance(event, InterventionEvent)
    ]


def fail(stack: Installation, name: str) -> None:
    assert stack.store.commit(Record(name, 1, SINCE, Health(State.DOWN, SINCE, 3, 1, SINCE)), 0) is None


def test_silence_is_maintenance_from_now(do: Do, stack: Installation) -> None:
    """The target is in maintenance for the given time; who did it and why are recorded."""
    said = do("silence", "a", "--for", "1h30m", "--why", "new  disk", "--by", "night-shift")
    policy, now = target(stack, "a").policy, datetime.now(UTC)
    assert policy.in_maintenance(now)
    assert policy.in_maintenance(now + timedelta(minutes=89))
    assert not policy.in_maintenance(now + timedelta(minutes=91))
    assert interventions(stack, "a") == [("silenced", "night-shift", "new disk")]
    assert said.startswith("a: silenced from now until 20")
    assert "(1 h 30 min): tested and recorded, no alerts are sent." in said


def test_silence_of_a_group(do: Do, stack: Installation) -> None:
    """All targets of the group, and no others."""
    do("silence", "--group", "g", "--for", "30m")
    now = datetime.now(UTC)
    assert [target(stack, name).policy.in_maintenance(now) for name in "abc"] == [True, True, False]


@pytest.mark.parametrize(("command", "noun"), [("silence", "silence"), ("suspend", "suspension")])
def test_what_is_replaced_is_named(do: Do, command: str, noun: str) -> None:
    """Someone else's longer one is not ended without a word; one that has ended is not spoken of."""
    first = do(command, "a", "--for", "2h", "--why", "new disk", "--by", "anna")
    assert "replaces" not in first
    said = do(command, "a", "b", "--for", "1h").splitlines()
    until = re.findall(r"until (\S+ \S+ UTC)", first)[0]
    assert said[0].endswith(f". It replaces the {noun} until {until}, by anna (new disk).")
    assert "replaces" not in said[1]


def test_a_suspension_without_an_end_replaces_one_for_a_time(do: Do) -> None:
    """The end of before is named."""
    do("suspend", "a", "--for", "2h", "--by", "anna")
    assert re.search(r"It replaces the suspension until \S+ \S+ UTC, by anna\.$", do("suspend", "a"))


def test_unsilence_ends_it(do: Do, stack: Installation) -> None:
    """The field is removed; a second time there is nothing to end."""
    do("silence", "a", "--for", "2h")
    do("unsilence", "a", "--by", "night-shift")
    assert target(stack, "a").policy.silence is None
    assert interventions(stack, "a")[-1][:2] == ("unsilenced", "night-shift")
    assert "not silenced, so nothing was changed" in do("unsilence", "a", code=3)


def test_ack_names_the_outage(do: Do, stack: Installation) -> None:
    """The acknowledgement is of the present outage, and says so."""
    fail(stack, "a")
    said = do("ack", "a", "--why", "on my way", "--by", "night-shift")
    assert target(stack, "a").policy.acknowledgement_of(SINCE)
    assert interventions(stack, "a") == [("acknowledged", "night-shift", "on my way")]
    assert said == (
        "a: the outage since 2026-11-24 03:12:00 UTC is acknowledged by night-shift. No further alerts until it ends.\n"
    )


def test_a_second_ack_without_a_reason_keeps_the_first(do: Do, stack: Installation) -> None:
    """Who takes over says so; why was said before."""
    fail(stack, "a")
    do("ack", "a", "--why", "on my way")
    do("ack", "a", "--by", "day-shift")
    acknowledged = target(stack, "a").policy.acknowledgement_of(SINCE)
    assert acknowledged
    assert (acknowledged.why, acknowledged.by) == ("on my way", "day-shift")
    do("ack", "a", "--why", "new disk")
    changed = target(stack, "a").policy.acknowledgement_of(SINCE)
    assert changed
    assert changed.why == "new disk"


def test_ack_of_a_group_takes_those_that_fail(do: Do, stack: Installation) -> None:
    """Healthy targets of the group are not changed; a group without an outage is an error."""
    assert "there is no outage to acknowledge" in do("ack", "--group", "g", code=3)
    fail(stack, "b")
    do("ack", "--group", "g")
    assert target(stack, "a").policy.acknowledged is None
    assert target(stack, "b").policy.acknowledgement_of(SINCE)


def test_ack_under_a_silence(do: Do, stack: Installation) -> None:
    """The outage goes on under the maintenance and can be acknowledged; without an outage there is nothing to."""
    health = Health(State.MAINTENANCE, SINCE, 3, 1, SINCE, state_before_maintenance=State.DOWN)
    assert stack.store.commit(Record("a", 1, SINCE, health), 0) is None
    do("ack", "a")
    assert target(stack, "a").policy.acknowledgement_of(SINCE)
    assert (
        stack.store.commit(
            Record("b", 1, SINCE, Health(State.MAINTENANCE, SINCE, state_before_maintenance=State.UP)), 0
        )
        is None
    )
    assert "there is no outage to acknowledge" in do("ack", "b", code=3)


@pytest.mark.parametrize("length", ["9999999d", "90000d", "3651d"])
def test_silence_for_longer_than_anyone_means(do: Do, stack: Installation, length: str) -> None:
    """A sentence, not a traceback, and no silence until the year 2273."""
    assert "--for is at most 10 years, and that is longer. Suspend" in do("silence", "a", "--for", length, code=3)
    assert target(stack, "a").policy.silence is None


def test_test_alert_of_a_target_in_maintenance(run: Run, stack: Installation) -> None:
    """It can be tried during maintenance; the SMS fits one part, whatever characters its name has."""
    window = {"from": "2020-01-01", "until": "2099-01-01"}
    item = {"target_id": "a", "host": "pop.example.net", "name": "[{€}]" * 20, "maintenance": [window]}
    stack.target_table.write([item])
    ended = run("--local", "alert-test", "a")
    assert (ended.code, "No one receives it" in ended.out) == (2, True)
    message = make_test(parse_target(item), "down", SINCE, "popwatch")
    assert count_septets(message.sms) <= SMS_SEPTETS
    assert message.sms.startswith("TEST: DOWN 1/3")
    assert message.subject.isascii()
    assert len(message.subject) < 100


def test_ack_of_two_that_are_named(run: Run, stack: Installation) -> None:
    """Nothing is left out in silence: of the one that does not fail it is said, and the other is acknowledged."""
    fail(stack, "a")
    ended = run("--local", "ack", "a", "b")
    assert ended.code == 0
    assert "a: the outage since" in ended.out
    assert ended.err == "b: not failing, so there is no outage to acknowledge.\n"
    assert run("--local", "ack", "--group", "g").err == ""


@pytest.mark.parametrize(
    "command", [("silence", "--for", "1h"), ("history",), ("retest",), ("targets", "remove", "-y")]
)
def test_all_of_no_targets(run: Run, stack: Installation, command: tuple[str, ...]) -> None:
    """It is said that there are none, and how to add one."""
    stack.target_table.write([], "abc")
    ended = run("--local", *command, "--all")
    assert ended.code == 3
    assert "There are no targets yet: `popwatch --local targets put" in ended.err


def test_suspend_and_resume(do: Do, stack: Installation) -> None:
    """Both are applied and recorded."""
    do("suspend", "a", "--why", "moved")
    assert not target(stack, "a").policy.enabled
    do("resume", "a")
    assert target(stack, "a").policy.enabled
    assert {action for action, _, _ in interventions(stack, "a")} == {"suspended", "resumed"}


def test_suspend_for_a_time_resumes_by_itself(do: Do, run: Run, stack: Installation) -> None:
    """The field says until when; `resume` ends it early, and leaves nothing that a file does not have."""
    before = stack.target_table.read()["a"]
    said = do("suspend", "a", "--for", "2h", "--why", "new building")
    assert said.startswith("a: suspended from now until 20")
    now = datetime.now(UTC)
    assert not target(stack, "a").policy.at(now).enabled
    assert target(stack, "a").policy.at(now + timedelta(hours=2)).enabled
    [note] = [event.what for event in stack.store.read_events("a") if isinstance(event.what, InterventionEvent)]
    assert note.until
    assert note.until - note.at == timedelta(hours=2)
    assert "suspended until" in run("--local", "status", "a").out
    do("resume", "a")
    assert stack.target_table.read()["a"] == before


def test_suspensions_replace_one_another(do: Do, stack: Installation) -> None:
    """The last one counts: without an end, or with one."""
    do("suspend", "a", "--for", "2h")
    do("suspend", "a")
    assert target(stack, "a").policy.at(datetime.now(UTC) + timedelta(hours=3)).enabled is False
    do("suspend", "a", "--for", "1h")
    assert target(stack, "a").policy.at(datetime.now(UTC) + timedelta(hours=3)).enabled
    assert "--for is at most 10 years, and that is longer. Leave" in do("suspend", "a", "--for", "9999999d", code=3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("silence", "a"), "Missing option '--for'"),
        (("silence", "a", "--for", "long"), "'long' is not a time: write seconds, or 90s, 5m, 2h30m, 1d"),
        (("silence", "a", "--for", "0h"), "write more than 0 seconds"),
        (("silence", "--for", "2h"), "Name targets by their ids, or choose them with --group or --tag, or --all."),
        (("silence", "a", "--group", "g", "--for", "2h"), "not both."),
        (("silence", "aa", "--for", "2h"), "There is no target aa."),
        (("suspend", "--group", "x"), "There is no target in a group x. The groups are: g."),
    ],
)
def test_mistakes_say_what_to_write(do: Do, stack: Installation, arguments: tuple[str, ...], said: str) -> None:
    """Nothing is written, and the message says what to do."""
    before = stack.target_table.read()
    assert said in do(*arguments, code=3)
    assert stack.target_table.read() == before


def test_what_others_change_meanwhile_stays(stack: Installation) -> None:
    """Only the fields of the command are written, and a removed target is not recreated."""
    table = stack.target_table
    table.write([{"target_id": "a", "host": "other.example.net", "port": 1110}])
    assert table.change("a", {"enabled": False}, ["silence"])
    assert table.read()["a"] == {"target_id": "a", "host": "other.example.net", "port": 1110, "enabled": False}
    assert not table.change("gone", {"enabled": False})
    assert "gone" not in table.read()


NFC, NFD = "k\u00f6ln", "ko\u0308ln"
"""The same id as people see it, in two forms of Unicode."""


def test_an_id_in_another_form_of_unicode(do: Do, stack: Installation) -> None:
    """A new one is written in NFC, and each is found in either form, also a group and a tag."""
    do("targets", "put", NFD, "host=pop.example.net", f"group={NFD}", f"tags={NFD}")
    assert NFC in stack.target_table.read()
    assert "~ " in do("targets", "put", NFD, "port=1110")
    stack.target_table.write([{"target_id": f"old-{NFD}", "host": "pop.example.net"}])
    do("targets", "put", f"old-{NFC}", "port=1111")
    items = stack.target_table.read()
    assert [items[name]["port"] for name in sorted(items) if "ln" in name] == [1110, 1111]
    for selected in ([NFC, NFD], [f"old-{NFC}"], ["--group", NFC], ["--tag", NFC]):
        assert "silenced" in do("silence", *selected, "--for", "1m")
    assert "untested" in do("history", NFD)
    assert "pop.example.net" in do("targets", "show", NFD)
    assert do("targets", "remove", NFD, f"old-{NFC}") == f"Removed: {NFC}, old-{NFD}.\n"


def test_a_long_id_is_whole_in_every_text(do: Do, run: Run) -> None:
    """It is what the next command needs, so nothing cuts it."""
    name = "-".join(["a-very-long-id-of-a-target"] * 4)
    do("targets", "put", name, "host=pop.example.net")
    commands = (
        ["silence", name, "--for", "1h"],
        ["unsilence", name],
        ["suspend", name],
        ["resume", name],
        ["status"],
        ["simulate", name, "a", "--outage", "5m"],
        ["history", name],
        ["report", "--since", "1h"],
        ["targets", "list"],
        ["status", f"{name}x"],
        ["targets", "remove", name],
    )
    for words in commands:
        ended = run("--local", *words)
        assert name in f"{ended.out}{ended.err}", words
