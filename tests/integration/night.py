"""The night that the docs describe, in simulated time: tables, topic and receivers for their commands.

Mail Berlin does not answer from 03:12 to 03:40 UTC on 23 November 2026, as in docs/alerts.md. Mail Rome refuses one
connection at 02:40, and Mail Oslo is tested every five minutes. All other tests pass.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any

import boto3
from moto import mock_aws

from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Target
from tests.examples import FAILED, START, certificate, certified
from tests.integration.world import MINUTE, World

EVENING = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
OUTAGE = (START, START + timedelta(minutes=28))
REFUSED_AT = datetime(2026, 11, 23, 2, 40, tzinfo=UTC)

TARGETS: tuple[dict[str, Any], ...] = (
    {"target_id": "_defaults", "timezone": "Europe/Berlin", "host": ""},  # empty: `put_target` would set one
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
PASSWORD = "".join("Ab0"[number % 3] for number in range(32))
SMS_POLICY = {"alert_number": [{"numeric": [">=", 2]}]}


class Night(World):
    """A world whose servers behave as the docs describe."""

    def outcome(self, target: Target) -> Outcome:
        """The outcome of a test of a target now."""
        if target.target_id == "mail-berlin" and OUTAGE[0] <= self.now < OUTAGE[1]:
            return replace(FAILED, started_at=self.now)
        if target.target_id == "mail-rome" and self.now == REFUSED_AT:
            return Outcome(self.now, Phase.CONNECT, ErrorCode.CANNOT_CONNECT, "refused", "The connection was refused.")
        minute = (self.now - EVENING) // MINUTE
        slower = (minute * 7 % 13) / 4 + (8 if minute % 45 > 40 else 0)
        outcome = Outcome(self.now, Phase.QUIT, rtt_ms=12.5 + slower)
        if target.target_id == "mail-rome":
            return certified(outcome, certificate(START + timedelta(days=13, hours=6)))
        return outcome

    def advance_to(self, time: datetime) -> None:
        """Run all ticks up to a time."""
        while self._next_tick <= time:
            self.minute(self._next_tick)
            self._next_tick += MINUTE
        self.now = time

    def set_up(self) -> None:
        """The stack with its targets and receivers, before the first tick."""
        self._next_tick = EVENING
        for item in TARGETS:
            self.put_target(**item)
        self.sns.subscribe(TopicArn=self.topic, Protocol="email", Endpoint="night-shift@example.net")
        self.sns.subscribe(
            TopicArn=self.sms_topic,
            Protocol="sms",
            Endpoint="+4915550100",
            Attributes={"FilterPolicy": json.dumps(SMS_POLICY)},
        )
        self.sns.set_sms_attributes(attributes={"MonthlySpendLimit": "1"})
        self._unsubscribe_the_queue()

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        queues = {name: self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("batches", "dead")}
        secret = boto3.client("secretsmanager").create_secret(Name="page", SecretString=PASSWORD)
        return {
            "TargetsTable": "Targets", "StatusTable": "Status", "HistoryTable": "History",
            "AlertTopicArn": self.topic, "SmsTopicArn": self.sms_topic,
            "OperatorTopicArn": self.sns.create_topic(Name="operators")["TopicArn"],
            "BatchQueueUrl": queues["batches"], "DeadLetterQueueUrl": queues["dead"],
            "CheckTargetsFunction": "popwatch-check-targets", "SamplesDays": "30", "RecordsDays": "400",
            "ReportSecretArn": secret["ARN"], "ReportUrl": "https://abcdefgh.lambda-url.us-east-1.on.aws/",
        }  # fmt: skip

    def stacks(self) -> list[dict[str, Any]]:
        """The answer of CloudFormation about the stack."""
        outputs = [{"OutputKey": name, "OutputValue": value} for name, value in self.outputs.items()]
        return [{"StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]

    def _unsubscribe_the_queue(self) -> None:
        """Remove the tests' own queues, which are not receivers that a reader has."""
        for found in self.sns.list_subscriptions()["Subscriptions"]:
            if found["Protocol"] == "sqs":
                self.sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])


@contextmanager
def new_night() -> Iterator[Night]:
    """A night with its own data. Calls that moto does not support are answered here."""
    with mock_aws():
        night = Night(now=EVENING)
        night.set_up()
        boto3.setup_default_session()
        assert boto3.DEFAULT_SESSION is not None
        for operation, answer in (
            ("cloudformation.DescribeStacks", {"Stacks": night.stacks(), **_AT_NOON}),
            ("sns.GetSMSSandboxAccountStatus", {"IsInSandbox": False}),
        ):
            boto3.DEFAULT_SESSION.events.register(f"before-call.{operation}", partial(answered, answer))  # type: ignore[arg-type] # an answer is taken, too
        try:
            yield night
        finally:
            boto3.DEFAULT_SESSION = None


_AT_NOON = {"ResponseMetadata": {"HTTPHeaders": {"date": "Mon, 23 Nov 2026 12:00:00 GMT"}}}


class _Accepted:
    status_code = 200


def answered(answer: dict[str, Any], **_: object) -> tuple[_Accepted, dict[str, Any]]:
    """Returned from a `before-call` handler, this replaces the request: botocore does not send it."""
    return _Accepted(), answer
