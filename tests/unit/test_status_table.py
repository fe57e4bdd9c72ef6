"""The table of the status: one line for each target, whatever the width."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from popwatch.aws.store import SweepCheckpoint
from popwatch.model.health import Health, State
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.records import Record
from popwatch.model.targets import parse_target
from popwatch.queries.status import FleetStatus
from popwatch.reports.status import NewestTests, target_statuses
from popwatch_cli.options import StackChoice, choose
from popwatch_cli.output.live_view import SentAlert, View
from popwatch_cli.output.status_table import details, table_of
from popwatch_cli.output.terminal import UNLIMITED, wrapped

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(minutes=5)
SENTENCE = "Unable to connect to the remote device"


@pytest.fixture(autouse=True)
def no_options() -> None:
    """Hints without the options of a command that another test has given."""
    choose(StackChoice())


def fleet(count: int) -> FleetStatus:
    """Targets of which each tenth is down, with names and remarks that no narrow terminal has room for."""
    targets, records = {}, {}
    for number in range(1, count + 1):
        name = f"mail-{number}"
        shown = f"{name} of the branch with the long name" if number == 20 else name
        host, group = f"{name}.a-long-domain.example.net", f"branch-{number * 7 % 5}"
        targets[name] = parse_target({"target_id": name, "host": host, "name": shown, "group": group})
        if number % 10 == 0:
            health = Health(State.DOWN, BEFORE, failures=5, alerts_sent=1, caused_by="the-gateway-of-the-branch")
            outcome = Outcome(BEFORE, Phase.CONNECT, error=ErrorCode.CANNOT_CONNECT, reason="refused", detail="x" * 90)
        else:
            health, outcome = Health(State.UP, BEFORE), Outcome(BEFORE, Phase.QUIT, rtt_ms=12.5)
        records[name] = Record(name, 1, BEFORE, health, outcome)
    return FleetStatus(target_statuses(targets, records, NewestTests(), NOW), SweepCheckpoint(NOW))


def printed(count: int, width: int, most: int | None = None) -> list[str]:
    """The lines of the table."""
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table_of(fleet(count), NOW, width, most))
    return text.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 79, 80, 109, 110, 160, UNLIMITED])
def test_one_line_for_each_target(width: int) -> None:
    """The worst first, and then in natural order, whatever the groups; no line is longer than the terminal is wide."""
    lines = printed(30, width)
    assert max(map(len, lines)) <= width
    assert [line.split()[1] for line in lines[1:5]] == ["mail-10", "mail-20", "mail-30", "mail-1"]
    assert "mail-2 " in lines[5]
    assert all(line.startswith(("DOWN ", "UP ")) for line in lines[1:31])
    assert all("refused" in line for line in lines[1:4])


@pytest.mark.parametrize("width", range(40, 200, 8))
def test_a_column_is_there_or_named(width: int) -> None:
    """What is left out for lack of room is said below the table, with where it is; the id is always there."""
    lines = printed(30, width)
    titles = ["Target", "Name", "Server", "Since", "Last test", "Next test"]
    shown = [title for title in titles if title in lines[0]]
    caption = " ".join(" ".join(lines[31:]).split())
    missing = [title for title in titles if title not in shown]
    said = f"Left out for lack of room: {', '.join(missing)}. `popwatch status ID` shows all of a target."
    assert {"Target", "Last test"} <= set(shown)
    assert caption == (said if missing else "")
    assert not any(line.count("`") % 2 for line in lines)  # a command is not broken


def test_ids_are_whole_where_the_last_test_leaves_room() -> None:
    """Commands take ids; the reason of a failure can be read all the same."""
    long = "mail-of-the-branch-in-berlin"
    target = parse_target({"target_id": long, "host": "pop.example.net"})
    health = Health(State.DOWN, BEFORE, failures=5)
    outcome = Outcome(BEFORE, Phase.CONNECT, error=ErrorCode.CANNOT_CONNECT, reason="refused")
    record = {long: Record(long, 1, BEFORE, health, outcome)}
    found = FleetStatus(target_statuses({long: target}, record, NewestTests(), NOW), SweepCheckpoint(NOW))
    for width in (80, 100):
        text = io.StringIO()
        Console(file=text, width=width, color_system=None).print(table_of(found, NOW, width))
        assert f"DOWN   {long} " in text.getvalue()
        assert "5x refused" in text.getvalue()


def test_a_name_gives_way_to_the_reason_of_a_failure() -> None:
    """On a terminal of 80 columns: the id is there, and why it fails says more than what else it is called."""
    target = parse_target({"target_id": "mail-lisbon-037", "host": "pop.example.net", "name": "Mail Lisbon 037"})
    other = parse_target({"target_id": "b", "host": "pop.example.net", "enabled": False})
    outcome = Outcome(BEFORE, Phase.GREETING, error=ErrorCode.TIMED_OUT, reason="no-greeting")
    record = Record(target.target_id, 1, BEFORE, Health(State.LOST, BEFORE, failures=4), outcome)
    targets = {target.target_id: target, "b": other}
    found = FleetStatus(target_statuses(targets, {target.target_id: record}, NewestTests(), NOW), SweepCheckpoint(NOW))
    text = io.StringIO()
    Console(file=text, width=76, color_system=None).print(table_of(found, NOW, 76))
    assert "mail-lisbon-037" in text.getvalue()
    assert "4x no-greeting " in text.getvalue()
    assert "Mail Lisbon" not in text.getvalue()


@pytest.mark.parametrize(("length", "narrowest"), [(20, 60), (40, 80), (64, 110)])
def test_ids_that_differ_at_their_end(length: int, narrowest: int) -> None:
    """They differ on every terminal; from a width on they are whole, for which other columns give way."""
    beginning = "mail-of-customer-in-the-northern-branch-of-berlin-cluster-frontend"[: length - 4]
    ids = [f"{beginning}-{number:03}" for number in range(9)]
    targets = {name: parse_target({"target_id": name, "host": "pop.example.net"}) for name in ids}
    found = FleetStatus(target_statuses(targets, {}, NewestTests(), NOW), SweepCheckpoint(NOW))
    for width in range(40, 200, 4):
        text = io.StringIO()
        Console(file=text, width=width, color_system=None).print(table_of(found, NOW, width))
        shown = [line.split()[1] for line in text.getvalue().splitlines()[1:10]]
        assert len(set(shown)) == 9
        assert shown == ids or width < narrowest


def test_the_id_stands_beside_a_name() -> None:
    """Commands take ids: a target whose name is another text shows both, and without such names there is no column."""
    wide = printed(20, UNLIMITED)
    assert "mail-20  mail-20 of the branch with the long name  " in wide[2]
    assert "Name" not in printed(10, UNLIMITED)[0]


def test_what_does_not_fit_is_counted() -> None:
    """Of a live view on 24 lines: the worst, and how many more there are."""
    lines = printed(30, 160, 10)
    assert len(lines) == 11
    assert "mail-6 " in lines[-2]
    assert lines[-1].strip() == "and 21 more"
    assert len(printed(10, 160, 10)) == 11


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (160, 50), (120, 12)])
def test_the_live_view_fits_its_terminal(width: int, height: int) -> None:
    """With what it says of columns for which there is no room."""
    text = io.StringIO()
    console = Console(file=text, width=width, height=height, force_terminal=True, color_system=None)
    with View(console, "popwatch, page at http://127.0.0.1:8110/") as view:
        view.show(fleet(60), NOW)
    drawn = text.getvalue().split("\r")[0].split("\n")  # what follows draws it again
    assert len(drawn) < height
    assert any("and " in line and " more" in line for line in drawn)


def test_a_terminal_that_is_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line in place of a table of which nothing can be read."""
    monkeypatch.setenv("COLUMNS", "30")
    text = io.StringIO()
    with View(Console(file=text, width=40, height=24, force_terminal=True, color_system=None), "popwatch") as view:
        view.show(fleet(3), NOW)
    drawn = text.getvalue().split("\r")[0]
    assert "The terminal has 30 columns, and this needs 40." in " ".join(drawn.split())
    assert "mail-" not in drawn


def test_the_sentence_is_where_there_is_room() -> None:
    """At 80 columns the reason stands for it; in a pipe nothing is cut."""
    assert not any(SENTENCE in line for line in printed(10, 80))
    assert "5x refused, alert 1/3" in printed(10, 80)[1]
    assert f"refused ({SENTENCE}), ca" in printed(10, 160)[1]
    assert f"{SENTENCE} (refused), caused by the-gateway-of-the-branch" in printed(10, UNLIMITED)[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("WARNING    two words and more of them", ["WARNING    two words and more", "           of them"]),
        ("  Notes       two words and more", ["  Notes       two words and", "              more"]),
        ("    two words and more of them all", ["    two words and more of them", "    all"]),
        ("a title of a line that is long  and text", ["a title of a line that is long", "and text"]),
        ("To end: `popwatch unsilence mail`", ["To end:", "`popwatch unsilence mail`"]),
    ],
)
def test_what_follows_a_break(line: str, said: list[str]) -> None:
    """It begins below its text, and no command is broken."""
    assert wrapped(line, 30).split("\n") == said
    assert wrapped(line, UNLIMITED) == line


def viewed(*, terminal: bool) -> list[str]:
    """The lines of an event and an alert in the live view, at 80 columns."""
    email = (
        f"mail-1 is down.\n\n{SENTENCE}.\n{'word ' * 15}\n{'word ' * 30}\n  popwatch ack mail-1 --why '{'x' * 70}'\n"
    )
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=terminal, color_system=None, soft_wrap=not terminal)
    view = View(console, "popwatch")
    view.show_event(f"It breaks {'now ' * 20}and then")
    view.show_alert(SentAlert("1", NOW, f"DOWN: mail-1: {'word ' * 20}", email))
    return text.getvalue().splitlines()


def test_an_alert_in_the_live_view() -> None:
    """What is longer than a terminal is wide goes on below its beginning, but for a command, which is to be copied."""
    lines = viewed(terminal=True)
    mail = [line for line in lines if line.startswith("  |")]
    others = [line for line in lines if line not in mail]
    assert [line[:10].strip() == "" for line in others] == [False, True, False, True]
    assert [len(line) > 80 for line in mail] == [False] * 6 + [True]
    assert mail[3].rstrip() == "  | " + "word " * 14 + "word"


def test_an_alert_in_a_pipe() -> None:
    """Nothing is wrapped there."""
    assert len(viewed(terminal=False)) == 2 + 6


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(61, "in 1 min 1 s"), (0.6, "in 1 s"), (0.4, "testing"), (-119, "testing"), (-3600, "due for 1 h")],
)
def test_a_test_that_is_due_is_being_made(seconds: float, said: str) -> None:
    """Unless it has been due for longer than any test takes, as when popwatch has stopped."""
    row = replace(fleet(1).targets[0], next_test_at=NOW + timedelta(seconds=seconds))
    text = "\n".join(details(row, NOW))
    assert f"Next test   {said}\n" in f"{text}\n"


def test_details_have_whole_notes() -> None:
    """Notes have up to 2000 characters and several lines, of which nothing is left out."""
    row = fleet(1).targets[0]
    notes = "behind the old firewall\n" + "long " * 390 + "end"
    row = replace(row, target=parse_target({"target_id": "a", "host": "a.example", "notes": notes}))
    lines = list(details(row, NOW))
    assert lines[-2:] == ["  Notes       behind the old firewall", f"{'':14}{'long ' * 390}end"]


def test_details_of_a_window_say_when_it_ends() -> None:
    """As a silence does."""
    row = fleet(1).targets[0]
    assert "  Maintenance until 2026-11-25 03:00:00 UTC" in details(row, NOW, datetime(2026, 11, 25, 3, tzinfo=UTC))
    assert not any("Maintenance" in line for line in details(row, NOW))


def test_alerts_that_a_parent_holds_need_no_stop() -> None:
    """None is sent while the parent fails."""
    row = fleet(10).targets[0]
    row = replace(row, health=replace(row.health, state=State.DOWN, alerts_sent=0, caused_by="router"))
    assert not any("To stop its alerts" in line for line in details(row, NOW))


@pytest.mark.parametrize(("sent", "said"), [(0, True), (2, True), (3, False)])
def test_only_alerts_that_may_come_can_be_stopped(sent: int, said: bool) -> None:
    """Of a target whose last alert was sent there are no more, so nothing stops them."""
    row = fleet(10).targets[0]
    row = replace(row, health=replace(row.health, state=State.LOST, alerts_sent=sent, caused_by=""))
    assert any("To stop its alerts: `popwatch ack mail-10`" in line for line in details(row, NOW)) is said


def test_details_say_everything() -> None:
    """The long sentence, and what was seen."""
    text = "\n".join(details(fleet(10).targets[0], NOW))
    for part in (SENTENCE, "x" * 90, "5 in a row", "1 of at most 3 sent", "caused by"):
        assert part in text
