"""The night that the docs tell of, by a clock of its own: the tables, topic and receivers that their commands see.

Mail Berlin says nothing from 03:12 to 03:40 UTC on 23 November 2026, as in docs/alerts.md. Mail Rome has refused one
connection at 02:40, and Oslo is tested each five minutes. Everything else passes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
from moto import mock_aws

from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Target
from tests.examples import FAILED, START
from tests.integration.world import MINUTE, World

EVENING = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
OUTAGE = (START, START + timedelta(minutes=28))
REFUSED_AT = datetime(2026, 11, 23, 2, 40, tzinfo=UTC)

TARGETS: tuple[dict[str, Any], ...] = (
    {"target_id": "_defaults", "timezone": "Europe/Berlin"},
    {
        "target_id": "mail-berlin",
        "name": "Mail Berlin",
        "host": "pop.example.net",
        "group": "customers",
        "tags": ["berlin", "dovecot"],
    },
    {
        "target_id": "mail-rome",
        "name": "Mail Rome",
        "host": "pop.example.org",
        "tls": "implicit",
        "group": "customers",
    },
    {"target_id": "mail-oslo", "name": "Mail Oslo", "host": "192.0.2.9", "delay_up": 300, "group": "staff"},
)
SMS_POLICY = {"alert_number": [{"numeric": [">=", 2]}]}


class Night(World):
    """A world whose servers behave as the docs say."""

    def outcome(self, target: Target) -> Outcome:
        """What a test of a target at this moment finds."""
        if target.target_id == "mail-berlin" and OUTAGE[0] <= self.now < OUTAGE[1]:
            return replace(FAILED, started_at=self.now)
        if target.target_id == "mail-rome" and self.now == REFUSED_AT:
            return Outcome(self.now, Phase.CONNECT, ErrorCode.CANNOT_CONNECT, "refused", "The connection was refused.")
        minute = (self.now - EVENING) // MINUTE
        slower = (minute * 7 % 13) / 4 + (8 if minute % 45 > 40 else 0)
        expires = START + timedelta(days=13, hours=6) if target.target_id == "mail-rome" else None
        return Outcome(self.now, Phase.QUIT, rtt_ms=12.5 + slower, certificate_expires=expires)

    def go_on_to(self, moment: datetime) -> None:
        """All ticks up to a moment."""
        while self._next_tick <= moment:
            self.minute(self._next_tick)
            self._next_tick += MINUTE
        self.now = moment

    def set_up(self) -> None:
        """The stack with its targets and receivers, before the first tick."""
        self._next_tick = EVENING
        for item in TARGETS:
            self.put_target(**({"host": ""} | item if item["target_id"] == "_defaults" else item))
        self.sns.subscribe(TopicArn=self.topic, Protocol="email", Endpoint="night-shift@example.net")
        self.sns.subscribe(
            TopicArn=self.topic,
            Protocol="sms",
            Endpoint="+4915550100",
            Attributes={"FilterPolicy": json.dumps(SMS_POLICY)},
        )
        self._forget_the_mailbox()

    def stacks(self) -> list[dict[str, Any]]:
        """What CloudFormation says of the stack."""
        outputs = {
            "TargetsTable": "Targets", "StatusTable": "Status", "HistoryTable": "History",
            "AlertTopicArn": self.topic, "SamplesDays": "30", "RecordsDays": "400",
        }  # fmt: skip
        return [{"Outputs": [{"OutputKey": name, "OutputValue": value} for name, value in outputs.items()]}]

    def _forget_the_mailbox(self) -> None:
        """The tests' own queue is no receiver that a reader has."""
        for found in self.sns.list_subscriptions_by_topic(TopicArn=self.topic)["Subscriptions"]:
            if found["Protocol"] == "sqs":
                self.sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])


@contextmanager
def new_night() -> Iterator[Night]:
    """A night of its own; what moto cannot answer is answered here."""
    with mock_aws():
        night = Night(now=EVENING)
        night.set_up()
        boto3.setup_default_session()
        assert boto3.DEFAULT_SESSION is not None
        for operation, answer in (
            ("cloudformation.DescribeStacks", {"Stacks": night.stacks()}),
            ("sns.GetSMSSandboxAccountStatus", {"IsInSandbox": False}),
        ):
            boto3.DEFAULT_SESSION.events.register(f"before-call.{operation}", partial(_answered, answer))  # type: ignore[arg-type] # an answer is taken, too
        try:
            yield night
        finally:
            boto3.DEFAULT_SESSION = None


class _Accepted:
    status_code = 200


def _answered(answer: dict[str, Any], **_: object) -> tuple[_Accepted, dict[str, Any]]:
    """What botocore takes for the answer to a call that it then does not make."""
    return _Accepted(), answer
