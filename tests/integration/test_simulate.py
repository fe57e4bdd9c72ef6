"""`popwatch simulate`: what it says agrees with what it shows."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import parse_target
from popwatch.model.text import iso
from popwatch_cli.commands.simulate import FOLDED_FROM, Simulated
from popwatch_cli.installation import Installation, local_client
from popwatch_cli.rehearsal.simulation import first_alert, simulate
from tests.integration.conftest import Do, Run

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NIGHT = [{"days": "daily", "from": "02:00", "until": "04:15"}]


def said(printed: str) -> str:
    return " ".join(printed.split())


@pytest.fixture(autouse=True)
def noon() -> object:
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


def test_at_a_time_in_maintenance(do: Do, stack: Installation) -> None:
    """The outage begins then, in the target's zone; the maintenance is why the alert is late, and is named."""
    item = {"target_id": "a", "host": "pop.example.net", "maintenance": NIGHT, "timezone": "Europe/Berlin"}
    stack.target_table.write([item])
    shown = do("simulate", "a", "--at", "03:00", "--outage", "3h")
    assert "First alert: 1 h 17 min after the outage begins, because of the maintenance until" in shown
    assert "until 2026-11-25 04:15 CET; without that" in said(shown)
    assert "4 min 10 s in the worst case." in said(shown)
    assert "2026-11-25 04:17:00 CET  1 h 17 min  failed, 3 in a row" in shown
    assert "73 more, every 1 min" in shown
    short = do("simulate", "a", "--at", "03:00")
    assert "No alert: the outage ends before 3 tests in a row have failed outside the maintenance until" in short
    outside = do("simulate", "a", "--at", "04:00", "--timezone", "UTC")
    assert "First alert: 3 min 10 s after the outage begins, including the last test's deadline; 4 min 10 s" in outside
    assert "First alert at most 4 min 10 s after an outage begins, unless maintenance holds it." in do(
        "targets", "show", "a"
    )


def test_a_silence(do: Do) -> None:
    """Without --at it is left out, and that is said; with it, it counts."""
    do("silence", "a", "--for", "2h")
    now = do("simulate", "a", "--outage", "20m")
    assert "First alert: 3 min 10 s" in now
    assert "The target is silenced until 2026-11-24 14:00 UTC, which this leaves out; with --at it counts." in now
    then = do("simulate", "a", "--at", "13:30", "--outage", "20m")
    assert "No alert: the outage ends before 3 tests in a row have failed outside the maintenance until" in then
    assert "leaves out" not in then + do("simulate", "a", "--at", "15:00")


def test_a_suspension_for_a_time(do: Do) -> None:
    """Without --at it is left out, and that is said; with it, there is no test until it ends, and it is named."""
    do("suspend", "a", "--for", "2h")
    now = do("simulate", "a", "--outage", "20m")
    assert "First alert: 3 min 10 s" in now
    assert "The target is suspended until 2026-11-24 14:00 UTC, which this leaves out; with --at it counts." in now
    within = do("simulate", "a", "--at", "13:30", "--outage", "20m")
    assert "2026-11-24 14:00:00 UTC  30 min  passed  up" in within
    assert "have failed outside the suspension until 2026-11-24 14:00 UTC" in within
    across = do("simulate", "a", "--at", "13:30", "--outage", "2h")
    assert "14:00:00 UTC 30 min failed, 1 in a row warn" in " ".join(across.split())
    assert (
        "First alert: 32 min 10 s after the outage begins, because of the suspension until 2026-11-24 14:00" in across
    )
    after = do("simulate", "a", "--at", "14:30")
    assert "2026-11-24 14:30:00 UTC" in after
    assert "suspen" not in after
    do("suspend", "a", "--for", "60d")
    longer = do("simulate", "a", "--at", "14:30")
    assert longer.splitlines()[1].startswith(
        "No alert: the outage ends before 3 tests in a row have failed outside the"
    )


def test_a_parent_that_does_not_exist(run: Run, stack: Installation) -> None:
    """It is named, with the one that may be meant, and is not assumed to pass; nor is one that is suspended."""
    stack.target_table.write([{"target_id": "gateway", "host": "pop.example.net", "enabled": False}])
    missing = run("--local", "simulate", "a", "--set", "depends_on=gatewya")
    assert "depends on gatewya, which is not a target: it holds back no alert. Did you mean gateway?" in missing.err
    assert "Assumed" not in missing.out + run("--local", "simulate", "a", "--set", "depends_on=gateway").out
    replayed = run("--local", "replay", "a", "--set", "depends_on=gatewya")
    assert "Did you mean gateway?" in replayed.err


def test_what_else_is_assumed(do: Do, stack: Installation) -> None:
    """That a parent passes, that a suspended target is tested, that alerts are sent at all."""
    own: dict[str, dict[str, object]] = {
        "b": {"depends_on": "a"},
        "c": {"enabled": False},
        "d": {"max_alerts": 0},
        "e": {"depends_on": ["a", "b"]},
    }
    stack.target_table.write({"target_id": name, "host": "pop.example.net", **fields} for name, fields in own.items())
    shown = said(do("simulate", "b", "c", "d", "e", "--outage", "10m"))
    assert "Assumed: a passes. While it fails, the alerts are held." in shown
    assert "Assumed: one of a, b passes. While all of them fail, the alerts are held." in shown
    assert "The target is suspended: until it is resumed, nothing of this happens." in shown
    assert "No alert: `max_alerts` is 0." in shown


@pytest.mark.parametrize(
    "fields",
    ["", "delay_up=300 delay_warn=20", "failures_per_alert=1", "delay_down=7200 delay_lost=7200", "delay_lost=95"],
)
@pytest.mark.parametrize("after", ["1s", "50s", "4m"])
def test_the_sentences_are_those_of_the_rows(run: Run, fields: str, after: str) -> None:
    """The first alert's time is that of its row, at most that of the worst case; no row is lost by folding."""
    given = [part for field in fields.split() for part in ("--set", field)]
    command = ["simulate", "--outage", "3h", "--after", after, *given]
    shown, found = run(*command).out, json.loads(run(*command, "--json").out)
    took, worst = re.findall(r"First alert: (.+?) after .* deadline; (.+?) in the worst case", said(shown))[0]
    first = next(step for step in found["steps"] if step["event"])
    assert _seconds(took) == first["elapsed_seconds"] + 10 == found["notice_seconds"]
    assert _seconds(took) <= _seconds(worst)
    more = [int(count) for count in re.findall(r"(\d+) more, every", shown)]
    rows = len(re.findall(r"^.*(?:passed|failed, \d+ in a row)", shown, re.MULTILINE))
    assert rows + sum(more) == len(found["steps"])
    assert all(count >= FOLDED_FROM - 1 for count in more)


DELAYS = st.sampled_from([10, 45, 60, 95, 300, 3600])
POLICIES = st.fixed_dictionaries(
    dict.fromkeys(("delay_up", "delay_warn", "delay_down", "delay_lost"), DELAYS)
    | {"failures_per_alert": st.integers(1, 4), "max_test_seconds": st.sampled_from([1, 10, 60])}
    | {"depends_on": st.sampled_from(["", "gateway"]), "flap_per_hour": st.sampled_from([0, 1, 6])}
)


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(POLICIES, st.integers(0, 7200), st.integers(0, 300), st.integers(1, 300), st.integers(0, 99))
def test_later_than_the_worst_case_only_for_a_reason(
    policy: dict[str, object], after: int, begin: int, length: int, number: int
) -> None:
    """Whatever the policy and the maintenance, a first alert that is late has a maintenance before it that is named."""
    window = {"from": iso(NOON + timedelta(minutes=begin)), "until": iso(NOON + timedelta(minutes=begin + length))}
    item = {"target_id": f"t{number}", "host": "pop.example.net", "maintenance": [window], **policy}
    target = parse_target(item)
    began = NOON + timedelta(seconds=after)
    length_of_outage = timedelta(hours=14)
    steps = tuple(simulate(target, length_of_outage, ErrorCode.TIMED_OUT, NOON, begins_after=began - NOON))
    found = Simulated(target, target, steps, began, None, None)
    first = first_alert(steps)
    assert first is not None
    on_time = found.until(first) <= longest_time_to_alert(target.policy, target.max_test_seconds)
    assert on_time or found.delay_before(first).startswith("the maintenance until ")


def test_several_targets(do: Do, run: Run, stack: Installation) -> None:
    """One after the other in natural order; with --json a line for each; one that is late decides the exit code."""
    stack.target_table.write([{"target_id": "b", "host": "pop.example.net", "group": "g", "delay_up": 3600}])
    shown = do("simulate", "--group", "g", "--outage", "3h")
    assert re.findall(r"^(\w)$", shown, re.MULTILINE) == ["a", "b"]
    lines = do("simulate", "b", "a", "--json").splitlines()
    assert [json.loads(line)["target_id"] for line in lines] == ["a", "b"]
    assert run("--local", "simulate", "--group", "g", "--outage", "3h", "--reaching", "5m").code == 2


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("25:00", "write 03:00, or 2026-11-24T03:00"),
        ("noon", "write 03:00, or 2026-11-24T03:00"),
        ("2026-11-24T03:00", "has passed"),
    ],
)
def test_a_time_that_is_none(run: Run, written: str, words: str) -> None:
    """The message says what to write."""
    ended = run("simulate", "--at", written)
    assert (ended.code, words in ended.err) == (3, True)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("at", [[], ["--at", "2026-12-31T23:58", "--timezone", "Europe/Berlin"]])
def test_on_a_terminal(do: Do, stack: Installation, width: int, at: list[str]) -> None:
    """Each state and alert and each receiver is there whole, whatever the width; a column without room is named."""
    sns = local_client("sns", str(stack.endpoint), "us-east-1")
    queues = [f"arn:aws:sqs:us-east-1:000000000000:a-queue-with-a-name-{number}" for number in (1, 2)]
    arns = [
        sns.subscribe(TopicArn=stack.outputs["AlertTopicArn"], Protocol="sqs", Endpoint=queue)["SubscriptionArn"]
        for queue in queues
    ]
    shown = do("simulate", "a", "--outage", "5m", *at, "--width", str(width))
    for arn in arns:
        sns.unsubscribe(SubscriptionArn=arn)
    assert all(cell_len(line.rstrip()) <= width for line in shown.splitlines())
    words = said(shown)
    for text in ("DOWN 1/3 a pop.example.net:110", "UP again a pop.example.net:110", "sqs a-queue-with-a-name-2"):
        assert text in words
    assert words.count("a-queue-with-a-name-1") == words.count("a-queue-with-a-name-2") == 2
    if at and width > 40:
        assert "2026-12-31 23:58:00 CET" in shown
        assert "2027-01-01 00:0" in shown
        assert "Left out" not in shown
    elif at:
        assert re.search(r"Left out for lack of room: Time\. --width 5\d shows all columns\.", words)


def _seconds(text: str) -> float:
    """The seconds of a duration such as `1 min 20 s`."""
    parts = re.findall(r"(\d+) (d|h|min|s)", text)
    length = sum((int(count) * UNITS[unit] for count, unit in parts), timedelta())
    return length.total_seconds()


UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1), "s": timedelta(seconds=1)}
