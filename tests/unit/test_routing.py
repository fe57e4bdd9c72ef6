"""SNS filter policies: each operator, and complete policies with the attributes of real alerts."""

from typing import Any

import pytest

from popwatch.alerts.rendering import summarize
from popwatch.model.health import AlertEvent
from popwatch.model.messages import Attributes
from popwatch_cli.rehearsal.filter_policies import Subscription, matches, reaches
from tests.examples import START, others, outage, target

ATTRIBUTES: Attributes = {
    "event": "down",
    "group": "customers",
    "tags": ("berlin", "dovecot"),
    "alert_number": 2,
    "host": "10.1.2.3",
}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, True),
        ({"event": ["down"]}, True),
        ({"event": ["recovered", "down"]}, True),
        ({"event": ["DOWN"]}, False),
        ({"event": ["down"], "group": ["staff"]}, False),
        ({"tags": ["dovecot"]}, True),
        ({"tags": ["rome"]}, False),
        ({"missing": ["x"]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"event": [{"exists": True}]}, True),
        ({"event": [{"exists": False}]}, False),
        ({"group": [{"prefix": "cust"}]}, True),
        ({"group": [{"suffix": "ers"}]}, True),
        ({"group": [{"equals-ignore-case": "CUSTOMERS"}]}, True),
        ({"group": [{"wildcard": "c*m*s"}]}, True),
        ({"group": [{"wildcard": "c*x"}]}, False),
        ({"group": [{"anything-but": ["staff"]}]}, True),
        ({"group": [{"anything-but": "customers"}]}, False),
        ({"group": [{"anything-but": {"prefix": "cust"}}]}, False),
        ({"missing": [{"anything-but": ["x"]}]}, False),
        ({"tags": [{"anything-but": ["berlin"]}]}, True),
        ({"tags": [{"anything-but": ["berlin", "dovecot"]}]}, False),
        ({"alert_number": [2]}, True),
        ({"alert_number": ["2"]}, False),
        ({"alert_number": [{"numeric": [">=", 2]}]}, True),
        ({"alert_number": [{"numeric": [">", 2]}]}, False),
        ({"alert_number": [{"numeric": [">", 0, "<=", 2]}]}, True),
        ({"alert_number": [{"numeric": ["=", 2]}]}, True),
        ({"event": [{"numeric": ["=", 2]}]}, False),
        ({"host": [{"cidr": "10.1.0.0/16"}]}, True),
        ({"host": [{"cidr": "10.2.0.0/16"}]}, False),
        ({"event": [{"cidr": "10.2.0.0/16"}]}, False),
        ({"event": [{"no-such-operator": "x"}]}, False),
        ({"$or": [{"event": ["recovered"]}, {"group": ["customers"]}]}, True),
        ({"$or": [{"event": ["recovered"]}, {"group": ["staff"]}]}, False),
        ({"event": ["down"], "$or": [{"group": ["staff"]}, {"alert_number": [2]}]}, True),
    ],
)
def test_policies(policy: dict[str, Any], expected: bool) -> None:
    """All names must match; one of a name's conditions is enough."""
    assert matches(policy, ATTRIBUTES) is expected


def test_what_keeps_messages_back() -> None:
    """An unconfirmed subscription receives nothing, and no alert passes a policy on the body."""
    assert reaches(Subscription("email", "a"), ATTRIBUTES)
    assert not reaches(Subscription("email", "a", confirmed=False), ATTRIBUTES)
    assert not reaches(Subscription("sqs", "a", policy={"event": ["down"]}, by_body=True), ATTRIBUTES)


def test_escalation_hears_of_the_second_alert_and_the_end() -> None:
    """SMS from alert 2 on: the first alert does not pass; the second, the third, the recovery and a summary do."""
    policy = {"alert_number": [{"numeric": [">=", 2]}]}
    messages = list(outage(target()))
    assert [matches(policy, message.attributes) for message in messages] == [False, True, True, True]
    assert matches(policy, summarize(messages, START).attributes)


def test_certificates_to_one_address() -> None:
    """The other alerts do not pass."""
    policy = {"event": ["certificate"]}
    found = {event: matches(policy, message.attributes) for event, message in others(target()).items()}
    assert [event for event, passes in found.items() if passes] == [AlertEvent.CERTIFICATE]
