"""Who receives which alert: as the alerts of a simulated outage would reach them."""

import re
from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

from popwatch.model.health import AlertEvent
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import parse_target
from popwatch_cli.commands.receivers import remarks_on, show
from popwatch_cli.rehearsal.filter_policies import Subscription, reaches
from popwatch_cli.rehearsal.receivers import EVENTS, NUMBERED, events_of, reach_of, same_reach
from popwatch_cli.rehearsal.simulation import simulate
from popwatch_cli.subscriptions import Subscribers, masks_of
from tests.escalations import documented_policies
from tests.examples import START

FIELDS = {"target_id": "mail-berlin", "host": "pop.example.net", "group": "customers", "tags": ["berlin", "dovecot"]}
SUBSCRIPTIONS = [
    *(Subscription("email", documented.purpose, policy=documented.policy) for documented in documented_policies()),
    Subscription("email", "everything"),
    Subscription("sms", "late", policy={"alert_number": [{"numeric": [">=", 5]}]}),
    Subscription("sms", "other error", policy={"error": ["protocol"]}),
    Subscription("email", "not confirmed", confirmed=False),
]


@pytest.mark.parametrize("most", [1, 3, 7])
@pytest.mark.parametrize("outage", [5, 9, 40])
def test_as_in_an_outage(most: int, outage: int) -> None:
    """Each alert of a simulated outage reaches exactly those that the matrix says, with every policy of the docs."""
    target = parse_target({**FIELDS, "max_alerts": most})
    found = reach_of(target, SUBSCRIPTIONS, ErrorCode.TIMED_OUT, EVENTS)
    steps = simulate(target, timedelta(minutes=outage), ErrorCode.TIMED_OUT, START)
    messages = [step.message for step in steps if step.message]
    assert messages
    for message in messages:
        number = int(str(message.attributes["alert_number"]))
        [alerts] = [it for it in found if it.event == message.event and it.first <= number <= it.last]
        assert alerts.receivers == tuple(reaches(it, message.attributes) for it in SUBSCRIPTIONS)


def test_neighbours_that_reach_the_same_are_one() -> None:
    """Of many alerts; of few, each `down` has its own column."""
    many, few = parse_target({**FIELDS, "max_alerts": 1000}), parse_target(FIELDS)
    subscriptions = [Subscription("sms", "late", policy={"alert_number": [{"numeric": [">=", 5]}]})]
    found = reach_of(many, subscriptions, ErrorCode.TIMED_OUT, NUMBERED)
    assert [(it.event.value, it.first, it.last, it.receivers) for it in found] == [
        ("down", 1, 4, (False,)),
        ("down", 5, 1000, (True,)),
        ("recovered", 1, 4, (False,)),
        ("recovered", 5, 1000, (True,)),
    ]
    assert [it.first for it in reach_of(few, subscriptions, ErrorCode.TIMED_OUT, [AlertEvent.DOWN])] == [1, 2, 3]


@pytest.mark.parametrize(
    ("fields", "events"),
    [
        ({}, "down recovered flapping steady posture"),
        ({"alert_recovery": False, "flap_per_hour": 0, "posture": False}, "down"),
        ({"tls": "implicit", "slow_rtt_ms": 9}, "down recovered flapping steady slow normal certificate posture"),
        ({"tls": "implicit", "certificate_warn_days": []}, "down recovered flapping steady posture"),
        ({"all_addresses": True}, "down recovered flapping steady degraded restored posture"),
        ({"max_alerts": 0}, ""),
        ({"enabled": False}, ""),
    ],
)
def test_events_of_a_target(fields: dict[str, object], events: str) -> None:
    """Only those that its fields can bring."""
    assert " ".join(events_of(parse_target({**FIELDS, **fields}))) == events


def test_targets_are_together_if_their_alerts_reach_the_same() -> None:
    """In their order; the time is the longest of them."""
    slow = parse_target({**FIELDS, "target_id": "slow", "delay_up": 300})
    staff = parse_target({**FIELDS, "target_id": "staff", "group": "staff"})
    customers = [Subscription("email", "c", policy={"group": ["customers"]})]
    found = same_reach([parse_target(FIELDS), staff, slow], customers, ErrorCode.TIMED_OUT, EVENTS)
    assert [[it.target_id for it in same.targets] for same in found] == [["mail-berlin", "slow"], ["staff"]]
    assert found[0].time_to_alert(2) == timedelta(minutes=11, seconds=10)


@pytest.mark.parametrize(("width", "after"), [(80, "4m10s 7m10s 10m10s"), (116, "4 min 10 s 7 min 10 s 10 min 10 s")])
def test_times_are_not_wrapped(width: int, after: str) -> None:
    """On a narrow terminal they are written as on the command line."""
    receivers = [
        Subscription("sqs", "a-queue-with-a-long-name"),
        Subscription("sms", "+49...0100", policy={"x": ["y"]}),
    ]
    target = parse_target({**FIELDS, "tls": "implicit", "slow_rtt_ms": 9, "all_addresses": True})
    found = same_reach([target], receivers, ErrorCode.TIMED_OUT, EVENTS)
    output = StringIO()
    show(Console(width=width, file=output), found, Subscribers(tuple(receivers)))
    lines = [" ".join(line.split()) for line in output.getvalue().splitlines()]
    assert f"after, at most {after}" in lines
    assert all(len(line) <= width for line in output.getvalue().splitlines())


@pytest.mark.parametrize(
    ("protocol", "endpoints", "masks"),
    [
        ("email", ["ann@a.example", "ben@a.example"], ["a...@a.example", "b...@a.example"]),
        ("email", ["ann@a.example", "ann@b.example"], ["a...@a.example", "a...@b.example"]),
        ("email", ["ann@a.example", "ann@a.example"], ["a...@a.example", "a...@a.example"]),
        ("email", ["noc@a.example", "night@a.example"], ["no...@a.example", "ni...@a.example"]),
        ("email", ["no@a.example", "noc@a.example"], ["no...@a.example", "noc...@a.example"]),
        ("sms", ["+4915110100", "+4915120100"], ["+49...10100", "+49...20100"]),
        (
            "https",
            ["https://a.example/one", "https://b.example/two"],
            ["https://a.example/...", "https://b.example/..."],
        ),
        ("sqs", ["arn:aws:sqs:eu-west-1:1:q", "arn:aws:sqs:eu-west-1:2:q"], ["1:q", "2:q"]),
    ],
)
def test_masked_addresses_can_be_told_apart(protocol: str, endpoints: list[str], masks: list[str]) -> None:
    """With as little more as that takes; the others keep their usual mask."""
    other = ("email", "other@a.example")
    found = masks_of([*((protocol, endpoint) for endpoint in endpoints), other])
    assert [found[protocol, endpoint] for endpoint in endpoints] == masks
    assert found[other] == "o...@a.example"


def test_addresses_of_the_web_are_told_apart_by_a_hash() -> None:
    """Their paths may be secrets."""
    found = masks_of([("https", f"https://a.example/hook/{word}") for word in ("secret-1", "secret-2")])
    assert len(set(found.values())) == 2
    assert all(re.fullmatch(r"https://a\.example/\.\.\. \([0-9a-f]{4}\)", mask) for mask in found.values())


def test_who_has_not_confirmed_is_marked() -> None:
    """In the matrix and below it; the receiver gets nothing, and so there is no one."""
    subscribers = Subscribers((Subscription("email", "n...@example.net", confirmed=False),))
    found = same_reach([parse_target(FIELDS)], subscribers.subscriptions, ErrorCode.TIMED_OUT, [AlertEvent.DOWN])
    output = StringIO()
    show(Console(width=80, file=output), found, subscribers)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert lines[1].startswith("Receiver")
    assert lines[2].startswith("email n...@example.net  -")
    assert lines[3] == "(not confirmed)"
    assert "No one receives: down 1, down 2, down 3." in lines
    assert list(remarks_on(subscribers)) == [
        "[yellow]email n...@example.net has not confirmed its subscription and receives nothing.[/]"
    ]
