"""`popwatch receivers`: who receives what, by the subscriptions of a stack."""

import json
from collections.abc import Iterator

import pytest
import time_machine

from popwatch_cli.installation import Installation, local_client
from tests.integration.conftest import Do, Run

SECOND = {"alert_number": [{"numeric": [">=", 2]}]}


@pytest.fixture
def escalation(stack: Installation) -> Iterator[None]:
    """A phone that is alerted from the second alert on, and one of outages in the group g alone."""
    sns = local_client("sns", str(stack.endpoint), "us-east-1")
    found: list[str] = []
    policies = {"+4915550100": SECOND, "+4915550101": {"group": ["g"], "event": ["down"]}}
    for number, policy in policies.items():
        attributes = {"FilterPolicy": json.dumps(policy)}
        found.append(
            sns.subscribe(
                TopicArn=stack.outputs["SmsTopicArn"], Protocol="sms", Endpoint=number, Attributes=attributes
            )["SubscriptionArn"]
        )
    yield
    for arn in found:
        sns.unsubscribe(SubscriptionArn=arn)


MATRIX = """\
a, b
                                                     recovered  recovered
Receiver        down 1      down 2      down 3       after 1    after 2-3
sms +49...0100  -           yes         yes          -          yes
sms +49...0101  yes         yes         yes          -          -
after, at most  4 min 10 s  7 min 10 s  10 min 10 s
No one receives: recovered after 1.

c
                                                     recovered  recovered
Receiver        down 1      down 2      down 3       after 1    after 2-3
sms +49...0100  -           yes         yes          -          yes
sms +49...0101  -           -           -            -          -
after, at most  4 min 10 s  7 min 10 s  10 min 10 s
No one receives: down 1, recovered after 1.
"""


def lines(printed: str) -> str:
    return "\n".join(line.rstrip() for line in printed.splitlines())


@pytest.mark.usefixtures("escalation")
def test_the_matrix(run: Run) -> None:
    """Phones can be distinguished, each `down` has its column and its time, and what no one receives is said."""
    ended = run("--local", "receivers", "--event", "down", "--event", "recovered", "--width", "80")
    assert lines(ended.out).startswith(MATRIX)
    assert ended.code == 2
    everything = run("--local", "receivers", "--group", "g", "--width", "80")
    assert max(map(len, everything.out.splitlines())) <= 80
    assert "flapping, steady, posture." in everything.out


@pytest.mark.usefixtures("escalation")
def test_as_json(do: Do, run: Run) -> None:
    """For each target and alert the receivers."""
    ended = run("--local", "receivers", "a", "c", "--event", "down", "--json")
    found = {target["target_id"]: target["alerts"] for target in json.loads(ended.out)["targets"]}
    assert [alert["receivers"] for alert in found["a"]] == [["sms +49...0101"], BOTH, BOTH]
    assert [alert["receivers"] for alert in found["c"]] == [[], BOTH[:1], BOTH[:1]]
    assert json.loads(do("receivers", "b", "--event", "down", "--json"))["targets"][0]["alerts"] == found["a"]


BOTH = ["sms +49...0100", "sms +49...0101"]


@pytest.mark.usefixtures("escalation")
def test_at_a_time(do: Do, stack: Installation) -> None:
    """Who is in maintenance or silenced then is named, with its end, in the target's own zone or another."""
    night = [{"days": "daily", "from": "02:00", "until": "04:00"}]
    stack.target_table.write(
        {"target_id": name, "host": "pop.example.net", "group": "g", "maintenance": night, "timezone": "Europe/Berlin"}
        for name in ("a", "b")
    )
    stack.target_table.write([{"target_id": "d", "host": "pop.example.net", "max_alerts": 0}])
    with time_machine.travel("2026-11-24T12:00Z", tick=False):
        assert "down 3" in do("receivers", "--group", "g", "--event", "down", "--at", "01:59")
        held = do("receivers", "--group", "g", "--event", "down", "--at", "03:00")
        elsewhere = do("receivers", "a", "--event", "down", "--at", "03:00", "--timezone", "UTC")
        do("silence", "a", "--for", "12h")
        silenced = do("receivers", "a", "--at", "2026-11-24T20:00Z")
    assert "a, b: in maintenance at 2026-11-25 03:00:00 CET, until 2026-11-25 04:00:00 CET." in held
    assert "down 3" not in held
    assert "down 3" in elsewhere
    assert "a: in maintenance at 2026-11-24 21:00:00 CET, until 2026-11-25 01:00:00 CET." in silenced
    assert "d: no such alerts are sent (`max_alerts` is 0)." in do("receivers", "d")
    assert "c: no such alerts are sent (by their fields)." in do("receivers", "c", "--event", "slow")


@pytest.mark.usefixtures("escalation")
def test_while_suspended_for_a_time(do: Do, run: Run) -> None:
    """Then nothing is sent, and after it all is; without a time, what is left out is named, as with a silence."""
    with time_machine.travel("2026-11-24T12:00Z", tick=False):
        do("suspend", "a", "b", "--for", "2h")
        do("silence", "c", "--for", "3h")
        now = run("--local", "receivers", "--event", "down").out
        then = do("receivers", "--event", "down", "--at", "13:00")
        after = do("receivers", "a", "--event", "down", "--at", "14:30")
        [a, _, c] = json.loads(do("receivers", "--at", "13:00", "--json"))["targets"]
    assert "a, b: suspended until 2026-11-24 14:00:00 UTC, which this leaves out; with --at it counts." in now
    assert "c: silenced until 2026-11-24 15:00:00 UTC, which this leaves out; with --at it counts." in now
    assert "down 3" in now
    assert "a, b: suspended at 2026-11-24 13:00:00 UTC, until 2026-11-24 14:00:00 UTC. Nothing is tested or" in then
    assert "down 1" not in then
    assert "suspended" not in after
    assert "down 3" in after
    assert (a["suspended"], a["alerts"], c["suspended"]) == (True, [], False)


@pytest.mark.usefixtures("escalation")
def test_an_event_that_some_do_not_send(run: Run) -> None:
    """Of several events that were asked for, each is shown or named."""
    both = run("--local", "receivers", "a", "c", "--event", "slow", "--event", "down").out
    assert "down 3" in both
    assert "a, c: no alerts `slow` are sent (by their fields)." in both
    assert "no alerts" not in run("--local", "receivers", "a", "--event", "down").out


@pytest.mark.parametrize("width", [40, 60])
@pytest.mark.usefixtures("escalation")
def test_on_a_narrow_terminal(run: Run, width: int) -> None:
    """No receiver is cut and no alert left out: what has no room side by side stands below one another."""
    shown = run("--local", "receivers", "a", "--width", width).out
    assert max(map(len, lines(shown).splitlines())) <= width
    words = " ".join(shown.split())
    assert "sms +49...0100 yes: down 2, down 3, recovered after 2-3 -: down 1, recovered after 1, flapping, " in words
    assert "sms +49...0101 yes: down 1, down 2, down 3 -: recovered" in words
    assert "At most: down 1 after 4 min 10 s, down 2 after 7 min 10 s, down 3 after 10 min 10 s" in words


def test_no_one_has_subscribed(run: Run, stack: Installation) -> None:
    """It is said, and the exit code is 2."""
    assert stack.endpoint
    ended = run("--local", "receivers")
    assert (ended.code, ended.out.count("No one receives anything: no one has subscribed")) == (2, 1)
