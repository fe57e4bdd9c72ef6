"""`popwatch status`, `history`, `report` and `replay` over the tables of a stack, and over hostile ones."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from popwatch.aws.store import SweepCheckpoint
from popwatch.decisions.schedule import batch_of
from popwatch.model.health import Health, State, Transition
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.posture import NO, YES, CapaReply, Posture, change_of
from popwatch.model.records import Action, InterventionEvent, OutboxEntry, PublishedAlert, Record
from popwatch.model.samples import Mailbox, Sample
from popwatch.model.text import iso
from popwatch.reports.availability import Period
from popwatch.reports.totals import add_up
from popwatch_cli.commands.report import read_report
from popwatch_cli.installation import Installation, local_client
from popwatch_cli.output.report_html import to_html
from popwatch_cli.output.report_text import local_time
from popwatch_cli.selection import Selection
from popwatch_cli.verification.temporary import Temporary
from tests.integration.conftest import Do, Run
from tests.integration.fleet import watch_for
from tests.integration.world import World

NOW = datetime.now(UTC).replace(microsecond=0)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EVIL = "\x1b[31m[red]\\[/] <b>=1+1</b> \x9b2J\u202e"
REFUSED = Outcome(NOW - 3 * HOUR, Phase.CONNECT, ErrorCode.CANNOT_CONNECT, "refused", "Nothing listens.")


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """It is `NOW` for each test, however long a busy machine takes for it."""
    with time_machine.travel(NOW, tick=False) as clock:
        yield clock


def swept(stack: Installation, ago: timedelta = MINUTE) -> None:
    stack.store.put_checkpoint(SweepCheckpoint(NOW - ago, NOW.replace(minute=0, second=0) - HOUR, {"1": iso(NOW)}))


def fail(stack: Installation, name: str, since: datetime, **health: Any) -> None:
    """A target that was up for a day and has been down since."""
    found = Health(State.DOWN, since, 3, 1, since, **health)
    assert stack.store.commit(Record(name, 1, since, found, REFUSED), 0) is None
    change = Transition(State.UP, State.DOWN, since, DAY, ErrorCode.CANNOT_CONNECT, "refused")
    stack.store.put_transition(name, OutboxEntry(1, since, since, change))


def up(stack: Installation, name: str, since: datetime) -> None:
    assert stack.store.commit(Record(name, 1, since, Health(State.UP, since)), 0) is None


def test_status_of_a_group_that_does_not_exist_is_unknown(do: Do, stack: Installation) -> None:
    """A mistake in a crontab must not look as if all were well."""
    swept(stack)
    assert "There is no target in a group customrs. The groups are: g." in do("status", "--group", "customrs", code=3)


def test_status_says_loudly_that_sweeps_have_stopped(run: Run, stack: Installation) -> None:
    """In every format, with the exit code for unknown."""
    swept(stack, ago=7 * MINUTE)
    ended = run("--local", "status")
    assert (ended.code, "NOTHING IS BEING WATCHED: the last sweep was 7 min" in ended.out) == (3, True)
    ended = run("--local", "status", "--json")
    assert (ended.code, json.loads(ended.out)["stopped"]) == (3, True)


@pytest.mark.parametrize(
    ("case", "code", "verdict"),
    [("up", 0, "well"), ("acknowledged", 1, "warn"), ("down", 2, "down"), ("", 3, "unknown")],
)
def test_status_as_an_exit_code_and_as_json(run: Run, stack: Installation, case: str, code: int, verdict: str) -> None:
    """All up, an outage that is acknowledged, one that is not, and no target at all."""
    swept(stack)
    if case in ("acknowledged", "down"):
        fail(stack, "a", NOW - HOUR)
    if case == "acknowledged":
        acknowledged = {"outage": iso(NOW - HOUR), "why": "on my way", "by": "me"}
        stack.target_table.write([{"target_id": "a", "host": "h", "acknowledged": acknowledged}])
    if not case:
        stack.target_table.write([], delete="abc")
    ended = run("--local", "status", "--json")
    assert (ended.code, json.loads(ended.out)["verdict"]) == (code, verdict)


def test_status_finds_the_last_test_of_a_slow_target(do: Do, stack: Installation) -> None:
    """Tested once an hour, among others that are tested each minute: its last test is shown, not an older one."""
    swept(stack)
    stack.target_table.write([{"target_id": "a", "host": "h", "delay_up": 3600}])
    old = Outcome(NOW - 9 * DAY, Phase.QUIT, rtt_ms=999.0)
    assert stack.store.commit(Record("a", 1, NOW - 9 * DAY, Health(State.UP, NOW - 9 * DAY), old), 0) is None
    stack.store.put_samples(1, 0, NOW - 50 * MINUTE, "g", {"a": Sample(12.5), "b": Sample(7.5)})
    for minute in range(1, 40):
        stack.store.put_samples(1, 0, NOW - minute * MINUTE, "g", {"b": Sample(7.5), "c": Sample(7.5)})
    rows = {row["target_id"]: row for row in json.loads(do("status", "--json"))["targets"]}
    assert (rows["a"]["rtt_ms"], rows["a"]["tested_at"]) == (12.5, iso(NOW - 50 * MINUTE))


def test_status_shows_days_of_certificates(do: Do, stack: Installation) -> None:
    """For every target with a known certificate, however long it is valid."""
    swept(stack)
    health = Health(State.UP, NOW - DAY, certificate_expires=NOW + 200 * DAY + HOUR)
    assert stack.store.commit(Record("a", 1, NOW - DAY, health), 0) is None
    assert "certificate 200 d" in do("status", "--width", "80")
    assert "200 d" in do("status")


def test_history_tells_an_outage_whole(do: Do, stack: Installation) -> None:
    """Begin, end, length, error, alerts and their receivers, what people did, the present state."""
    swept(stack)
    sns = local_client("sns", str(stack.endpoint), "us-east-1")
    sns.subscribe(TopicArn=stack.outputs["AlertTopicArn"], Protocol="sms", Endpoint="+4915112345678")
    since = NOW - 3 * HOUR
    fail(stack, "a", since)
    message = message_of("DOWN 1/3: a")
    stack.store.put_alert(
        "a", OutboxEntry(1, since, since, None, message), PublishedAlert(message, {Topic.ALERT: "id"}, since)
    )
    do("ack", "a", "--why", "on my way", "--by", "night-shift")
    said = " ".join(do("history", "a", "--since", "24h").split())
    assert "goes on 3 h" in said
    assert "Unable to connect to the remote device (refused)" in said
    assert "alert DOWN 1/3: a to sms +49...5678" in said
    assert "up -> down (refused)" in said
    assert "acknowledged by night-shift: on my way" in said
    assert "Now down, acknowledged by night-shift: on my way" in said
    found = json.loads(do("history", "a", "--since", "24h", "--json"))
    [alert] = [event for event in found["events"] if event["kind"] == "alert"]
    assert alert["receivers"] == ["sms +49...5678"]


def test_history_agrees_with_itself(do: Do, stack: Installation) -> None:
    """Of several passed tests the first ends the outage; the state changes, and the alert goes out, with the last."""
    swept(stack)
    began, passed, ended = NOW - 3 * HOUR + 5 * SECOND, NOW - HOUR + SECOND, NOW - HOUR + 8 * SECOND
    tick, message = NOW - HOUR, message_of("UP again: a")
    down = Transition(State.UP, State.DOWN, began, None, ErrorCode.CANNOT_CONNECT, "refused")
    up = Transition(State.DOWN, State.UP, ended, run_ended_at=passed)
    assert stack.store.commit(Record("a", 2, tick, Health(State.UP, ended)), 0) is None
    stack.store.put_transition("a", OutboxEntry(1, NOW - 3 * HOUR, began, down))
    stack.store.put_transition("a", OutboxEntry(2, tick, ended, up))
    sent = PublishedAlert(message, {Topic.ALERT: "id"}, ended + SECOND)
    stack.store.put_alert("a", OutboxEntry(2, tick, ended, None, message), sent)
    lines = [" ".join(line.split()) for line in do("history", "a", "--since", "24h").splitlines()]
    [outage] = [line for line in lines if line.endswith("(refused)") and "->" not in line]
    assert outage.startswith(f"{began:%Y-%m-%d %H:%M:%S} {passed:%Y-%m-%d %H:%M:%S}")
    assert [line.split(" to ")[0] for line in lines if "->" in line or "alert " in line] == [
        f"{began:%Y-%m-%d %H:%M:%S} up -> down (refused)",
        f"{ended:%Y-%m-%d %H:%M:%S} down -> up (passed since {passed:%Y-%m-%d %H:%M:%S})",
        f"{ended + SECOND:%Y-%m-%d %H:%M:%S} alert UP again: a",
    ]


def test_history_tells_what_a_server_offers(do: Do, stack: Installation) -> None:
    """When it changed and how, in words; as JSON with the answers."""
    swept(stack)
    up(stack, "a", NOW - DAY)
    before = Posture(NOW - 3 * HOUR, "192.0.2.7", stls=YES, user_in_clear=NO)
    now = replace(before, tested_at=NOW - 2 * HOUR, user_in_clear=YES, in_clear=CapaReply(("UIDL", "\x1b[2J")))
    stack.store.put_posture("a", change_of(None, before))
    stack.store.put_posture("a", change_of(before.summary, now))
    said = " ".join(do("history", "a", "--since", "24h").split())
    assert "posture first test, nothing found" in said
    assert "posture worse: plaintext-login-allowed" in said
    assert "\x1b" not in said
    found = json.loads(do("history", "a", "--since", "24h", "--json"))
    _, last = [event for event in found["events"] if event["kind"] == "posture"]
    assert (last["worse"], last["posture"]["user_in_clear"]) == (["plaintext-login-allowed"], "yes")


def test_a_report_lists_what_servers_should_not_offer(do: Do, stack: Installation) -> None:
    """As text, HTML and JSON, of those targets only that have something to mend."""
    swept(stack)
    posture = Posture(NOW - DAY, stls=NO, tls_1_0=YES, chain=YES)
    for name, health in {"a": Health(State.UP, posture=str(posture.summary)), "b": Health(State.UP)}.items():
        assert stack.store.commit(Record(name, 1, NOW - DAY, replace(health, since=NOW - DAY)), 0) is None
    said = do("report", "--since", "24h")
    assert said.split("Postures\n")[1].splitlines()[0] == "a: stls-gone, tls10-accepted"
    assert "b: " not in said
    assert "<p>a: stls-gone, tls10-accepted</p>" in do("report", "--since", "24h", "--format", "html")
    found = {it["target_id"]: it for it in json.loads(do("report", "--since", "24h", "--format", "json"))["targets"]}
    assert (found["a"]["posture"], found["b"]["posture"]) == (["stls-gone", "tls10-accepted"], [])


def message_of(subject: str) -> Any:
    return AlertMessage("a", subject, "text", "text", "line", {"event": "down", "target_id": "a", "alert_number": 1})


def test_history_has_the_tests_of_the_last_hour(do: Do, stack: Installation) -> None:
    """They are not added up yet, but are counted; an hour in which the fleet grew is counted completely."""
    swept(stack)
    hour = NOW.replace(minute=0, second=0) - HOUR
    stack.store.put_checkpoint(SweepCheckpoint(NOW, hour, {"1": iso(NOW), "2": iso(NOW)}))
    up(stack, "a", NOW - 9 * DAY)
    added_up = NOW.replace(minute=0, second=0) - HOUR
    stack.store.put_hour(1, 0, added_up, add_up([{"a": Sample(12.5)}]))
    stack.store.put_hour(2, batch_of("a", 2), added_up, add_up([{"a": Sample(12.5)}]))
    stack.store.put_samples(2, batch_of("a", 2), added_up + HOUR, "g", {"a": Sample(12.5)})
    assert json.loads(do("history", "a", "--since", "7d", "--json"))["tests"] == 3
    assert json.loads(do("history", "a", "--since", "30d", "--json"))["tests"] == 3


def test_history_has_what_logins_counted(do: Do, stack: Installation) -> None:
    """The least and the most in a period of which single tests are read; each with `--json`."""
    swept(stack)
    up(stack, "a", NOW - 9 * DAY)
    for back, mailbox in ((30, Mailbox(3, 4096)), (25, None), (20, Mailbox(17, 4096))):
        stack.store.put_samples(1, 0, NOW - back * MINUTE, "g", {"a": Sample(12.5, mailbox=mailbox)})
    assert "Mailbox       3 to 17 messages, 4096 octets in 2 logins" in do("history", "a", "--since", "1h")
    found = json.loads(do("history", "a", "--since", "1h", "--json"))["mailboxes"]
    assert [(it["messages"], it["octets"]) for it in found] == [(3, 4096), (17, 4096)]
    assert "Mailbox" not in do("history", "a", "--since", "10m")


def test_history_of_a_removed_target(do: Do, stack: Installation) -> None:
    """It can be read, says that the target has been removed, and counts no time as up after that."""
    swept(stack)
    gone = Transition(State.UP, State.UNTESTED, NOW - 20 * HOUR, 4 * HOUR)
    stack.store.put_transition("old", OutboxEntry(1, NOW - 20 * HOUR, NOW, gone))
    found = json.loads(do("history", "old", "--since", "48h", "--json"))
    assert found["missing"][0] == "It has been removed, and is not watched any more."
    up_spans = [span for span in found["spans"] if span["state"] == "up"]
    assert [(span["begin"], span["end"]) for span in up_spans] == [(iso(NOW - 24 * HOUR), iso(NOW - 20 * HOUR))]
    assert "removed" in do("history", "old")


def test_report_says_who_did_what_and_why(do: Do, stack: Installation, clock: time_machine.Traveller) -> None:
    """In text, JSON and HTML."""
    swept(stack)
    fail(stack, "a", NOW - 3 * HOUR)
    do("ack", "a", "--why", "on my way", "--by", "night-shift")
    clock.shift(SECOND)
    for form in ("text", "html"):
        said = do("report", "--since", "7d", "--format", form)
        assert "acknowledged by night-shift: on my way" in said, form
    notes = {line["target_id"]: line["notes"] for line in json.loads(do("report", "--format", "json"))["targets"]}
    assert [(note["action"], note["why"]) for note in notes["a"]] == [("acknowledged", "on my way")]


def test_report_names_targets_that_were_removed(do: Do, stack: Installation) -> None:
    """There are tests of them in the period: the report names them whole, but not what `popwatch verify` had made."""
    swept(stack)
    names = ("a", f"moved-away-{'x' * 90}", Temporary(stack, "run").failing_id(1))
    stack.store.put_samples(1, 0, NOW - 2 * MINUTE, "g", dict.fromkeys(names, Sample(12.5)))
    for form in ("text", "csv", "json", "html"):
        printed = do("report", "--since", "1h", "--format", form)
        assert names[1] in printed, form
        assert "popwatch-verify" not in printed, form
        of_a_group = do("report", "--since", "1h", "--group", "g", "--format", form)  # a removed one has no group
        assert names[1] not in of_a_group, form


def test_report_counts_nothing_up_that_nobody_watched(do: Do, stack: Installation) -> None:
    """Two hours without a sweep a day ago, and none since ten minutes ago."""
    swept(stack, ago=10 * MINUTE)
    up(stack, "a", NOW - 9 * DAY)
    stack.store.put_gap(NOW - 26 * HOUR, NOW - 24 * HOUR)
    report = json.loads(do("report", "--since", "48h", "--format", "json"))
    [line] = [line for line in report["targets"] if line["target_id"] == "a"]
    assert line["untested_seconds"] == pytest.approx(2 * 3600 + 600, abs=60)
    assert "popwatch itself had stopped for 2 h 10 min" in report["missing"][0]


def test_report_of_what_retention_has_taken(do: Do, stack: Installation) -> None:
    """Up since before retention began: known as up since it did, and the report says what is not known."""
    swept(stack)
    up(stack, "a", NOW - 450 * DAY)
    report = json.loads(do("report", "--since", "500d", "--format", "json"))
    [line] = [line for line in report["targets"] if line["target_id"] == "a"]
    assert line["untested_seconds"] == pytest.approx(50 * 86_400, abs=60)
    assert "are kept for 400 days" in report["missing"][0]


def test_replay_leaves_out_what_was_silenced_and_held(do: Do, stack: Installation) -> None:
    """Failures under a silence that is over, and those behind a gateway that failed, bring no alerts."""
    swept(stack)
    stack.target_table.write([{"target_id": "a", "host": "h"}, {"target_id": "b", "host": "h", "depends_on": "c"}])
    failed = Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting")
    for minute in range(2, 30):
        results = {"a": replace(failed, in_maintenance=True), "b": failed, "c": failed if minute > 4 else Sample(12.5)}
        quiet = {"a": Sample(12.5), "b": Sample(12.5), "c": Sample(12.5)}
        stack.store.put_samples(1, 0, NOW - minute * MINUTE, "g", results if 4 <= minute < 20 else quiet)
    found = json.loads(do("replay", "--since", "1h", "--set", "failures_per_alert=2", "--json"))["targets"]
    assert {it["target_id"]: it["before"]["alerts"] for it in found} == {"a": 0, "b": 0, "c": 4}


def test_replay_with_another_parent(do: Do, stack: Installation) -> None:
    """Its failures hold back the alerts of the changed settings, not those of the present ones."""
    swept(stack)
    failed = Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting")
    for minute in range(2, 30):
        results = {"a": failed if minute < 20 else Sample(12.5), "b": failed}
        stack.store.put_samples(1, 0, NOW - minute * MINUTE, "g", results)
    [found] = json.loads(do("replay", "a", "--since", "1h", "--set", "depends_on=b", "--json"))["targets"]
    assert (found["before"]["alerts"], found["after"]["alerts"]) == (3, 0)


def test_replay_refuses_what_past_tests_do_not_show(do: Do, stack: Installation) -> None:
    """Rather than show that nothing would change; the limits of a test are judged again."""
    swept(stack)
    for minute in range(2, 12):
        stack.store.put_samples(1, 0, NOW - minute * MINUTE, "g", {"a": Sample(12.5)})
    refused = do("replay", "--set", "failures_per_alert=1", "--set", "port=111", code=3)
    assert "`port` has no effect on past tests" in refused
    assert do("replay", "--set", "failures_per_alert=3", "--set", "port=110")  # their present values
    [found] = json.loads(do("replay", "a", "--since", "1h", "--set", "max_rtt_ms=12", "--json"))["targets"]
    assert (found["before"]["alerts"], len(found["outages"])) == (0, 1)
    assert found["after"]["alerts"] > 0


def test_replay_knows_what_began_before(do: Do, stack: Installation) -> None:
    """Alerts of an outage that were sent before the period are not counted in it."""
    swept(stack)
    failed = Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting")
    for minute in range(2, 60):
        stack.store.put_samples(1, 0, NOW - minute * MINUTE, "g", {"a": failed if minute < 50 else Sample(12.5)})
    [found] = json.loads(do("replay", "a", "--since", "30m", "--set", "failures_per_alert=2", "--json"))["targets"]
    assert (found["before"]["alerts"], found["after"]["alerts"], len(found["outages"])) == (0, 0, 1)


def test_report_into_a_folder_that_is_not_there(do: Do, stack: Installation) -> None:
    """The message is a sentence, not a traceback."""
    swept(stack)
    assert "cannot be written to nowhere/report.txt" in do("report", "--output", "nowhere/report.txt", code=3)


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("history", EVIL),
        ("history", "a"),
        ("report",),
        ("report", "--format", "html"),
        ("report", "--format", "csv"),
        ("replay", "--set", "failures_per_alert=1"),
        ("targets", "list"),
        ("silence", EVIL, "--for", "1h"),
        ("ack", EVIL),
        ("alert-test", EVIL),
    ],
)
def test_hostile_values_are_harmless(run: Run, stack: Installation, arguments: tuple[str, ...]) -> None:
    """Ids, groups, reasons and interventions in the tables may have control characters, markup and formulas."""
    swept(stack)
    long = "x" * 300
    stack.target_table.write(
        [
            {"target_id": EVIL, "host": "h", "group": EVIL, "name": EVIL, "silence": {"why": EVIL}},
            {
                "target_id": "a",
                "host": "h",
                "acknowledged": {"outage": iso(NOW - HOUR), "why": EVIL + long, "by": EVIL},
            },
            {"target_id": "b", "host": "h", "depends_on": EVIL},
            {"target_id": "c", "host": "h", "name": "=[bold]c", "group": "[/] <i>"},
        ]
    )
    for name in (EVIL, "a"):
        fail(stack, name, NOW - HOUR, caused_by=EVIL)
        stack.store.put_intervention(name, InterventionEvent(Action.SILENCED, NOW - HOUR, EVIL, EVIL + long))
        change = Transition(State.WARN, State.DOWN, NOW - HOUR, HOUR, ErrorCode.TIMED_OUT, EVIL)
        stack.store.put_transition(name, OutboxEntry(2, NOW - HOUR, NOW, change))
        evil = PublishedAlert(message_of(EVIL), {Topic.ALERT: EVIL}, NOW)
        stack.store.put_alert(name, OutboxEntry(3, NOW, NOW, None, evil.message), evil)
    results = {EVIL: Sample(error=ErrorCode.PROTOCOL, reason=EVIL), "gone" + EVIL: Sample(1.5)}
    stack.store.put_samples(1, 0, NOW - MINUTE, "g", results)
    ended = run("--local", *arguments)
    said = ended.out + ended.err
    assert "Traceback" not in said
    assert not [
        character
        for character in said
        if character in "\x1b\x9b\u202e" or (character < " " and character not in "\r\n")
    ]
    if "html" in arguments:
        assert "<b>" not in said.replace("<b>", "", said.count("<li><b>"))
        assert "<i>" not in said
    if "csv" in arguments:
        cells = [cell for row in csv.reader(io.StringIO(ended.out)) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize(("minutes", "cuts"), [(6, 0), (300, 4), (4400, 0)])
def test_a_young_installation_fills_the_timelines_of_a_report(world: World, minutes: int, cuts: int) -> None:
    """They begin when the first target was watched, and for three days are cut into hours, however long the period."""
    begin = world.now
    watch_for(world, min(minutes, 6))
    world.now = begin + timedelta(minutes=minutes)
    world.store.put_checkpoint(SweepCheckpoint(world.now, None, {"1": iso(begin)}))
    period = Period(world.now - timedelta(days=30), world.now)
    html = to_html(read_report(Installation("test", {}), world.store, period, Selection(), world.now), UTC)
    assert f"Timelines begin at {local_time(begin, UTC)}" in html
    strips = re.findall(r'<svg class="strip".*?</svg>', html, re.DOTALL)
    assert len(strips) == 4
    for drawn in strips:
        assert sum(map(float, re.findall(r'class="(?!cut)\w+" x="[\d.]+" width="([\d.]+)"', drawn))) == pytest.approx(
            1000, abs=5
        )
        assert drawn.count('class="cut"') == cuts
        assert 'class="untested"' not in drawn
