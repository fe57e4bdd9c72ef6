"""Phones that were subscribed to the alert topic by hand, and their move to the SMS topic."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws

from popwatch_cli.commands.doctor import _move_phones
from popwatch_cli.doctor.aws_state import AwsState
from popwatch_cli.installation import Installation
from popwatch_cli.phones import Phone, move_phone, phones_on_alert_topic

POLICY = json.dumps({"alert_number": [{"numeric": [">=", 2]}]})
BY_HAND, OF_THE_STACK = "+4915550100", "+4915550199"


@dataclass(frozen=True, slots=True)
class Deployed(Installation):
    """An installation whose CloudFormation lists one resource, the stack's own phone, on two pages."""

    own: str = ""

    def client(self, service: str) -> Any:
        return self if service == "cloudformation" else boto3.client("sns")

    def get_paginator(self, operation: str) -> "Deployed":
        assert operation == "list_stack_resources"
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        own = {"LogicalResourceId": "AlertPhoneSubscription", "ResourceType": "AWS::SNS::Subscription"}
        own["PhysicalResourceId"] = self.own
        return [{"StackResourceSummaries": []}, {"StackResourceSummaries": [own]}]


@dataclass
class Stack:
    """A stack of an older version: its own phone is subscribed to the alert topic, and somebody added another."""

    sns: Any
    installation: Installation

    @property
    def sms_topic(self) -> str:
        return self.installation.outputs["SmsTopicArn"]

    def phones(self) -> list[Phone]:
        """The phones that were subscribed by hand."""
        topic = self.installation.outputs["AlertTopicArn"]
        return phones_on_alert_topic(self.sns, topic, self.installation.read_resources())

    def numbers(self, output: str) -> list[str]:
        answer = self.sns.list_subscriptions_by_topic(TopicArn=self.installation.outputs[output])
        return sorted(found["Endpoint"] for found in answer["Subscriptions"] if found["Protocol"] == "sms")

    def policies(self) -> list[str]:
        """The filter policies of the SMS topic's subscriptions."""
        there = self.sns.list_subscriptions_by_topic(TopicArn=self.sms_topic)["Subscriptions"]
        found = [self.sns.get_subscription_attributes(SubscriptionArn=one["SubscriptionArn"]) for one in there]
        return [one["Attributes"].get("FilterPolicy", "") for one in found]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        sns = boto3.client("sns")
        outputs = {f"{name}Arn": sns.create_topic(Name=name)["TopicArn"] for name in ("AlertTopic", "SmsTopic")}
        topic = outputs["AlertTopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="team@example.net")
        sns.subscribe(TopicArn=topic, Protocol="sms", Endpoint=BY_HAND, Attributes={"FilterPolicy": POLICY})
        own = sns.subscribe(TopicArn=topic, Protocol="sms", Endpoint=OF_THE_STACK)["SubscriptionArn"]
        yield Stack(sns, Deployed("popwatch", outputs, own=own))


def test_only_phones_subscribed_by_hand_are_found(stack: Stack) -> None:
    """The stack's own phone is CloudFormation's to move; email stays where it is."""
    [phone] = stack.phones()
    assert (phone.number, phone.attributes["FilterPolicy"]) == (BY_HAND, POLICY)


def test_a_phone_moves_with_its_filter_policy(stack: Stack) -> None:
    """Afterwards it is on the SMS topic with its policy, on the alert topic no longer, and there is nothing to do."""
    [phone] = stack.phones()
    move_phone(stack.sns, phone, stack.sms_topic)
    assert stack.numbers("SmsTopicArn") == [BY_HAND]
    assert stack.policies() == [POLICY]
    assert stack.numbers("AlertTopicArn") == [OF_THE_STACK]
    assert stack.phones() == []


def test_a_move_that_is_interrupted_loses_nothing_and_is_done_by_the_next(stack: Stack) -> None:
    """Midway the phone is on both topics; SNS would refuse to subscribe it again with another policy."""
    [phone] = stack.phones()

    def die(**_: object) -> None:
        raise KeyboardInterrupt

    stack.sns.meta.events.register("before-call.sns.Unsubscribe", die)
    with pytest.raises(KeyboardInterrupt):
        move_phone(stack.sns, phone, stack.sms_topic)
    stack.sns.meta.events.unregister("before-call.sns.Unsubscribe", die)
    assert BY_HAND in stack.numbers("AlertTopicArn")
    [again] = stack.phones()
    stack.sns.set_subscription_attributes(
        SubscriptionArn=again.arn, AttributeName="FilterPolicy", AttributeValue='{"event": ["down"]}'
    )
    [again] = stack.phones()
    move_phone(stack.sns, again, stack.sms_topic)
    assert (stack.numbers("SmsTopicArn"), stack.policies()) == ([BY_HAND], [POLICY])
    assert stack.numbers("AlertTopicArn") == [OF_THE_STACK]


def test_the_doctor_moves_phones_and_says_so(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """`popwatch doctor --move-phones`: a line for each, without the whole number; the second time there are none."""
    for _ in range(2):
        _move_phones(AwsState(stack.installation, datetime.now(UTC)))
    assert capsys.readouterr().out.splitlines() == [
        "sms +49...0100 has moved to the SMS topic.",
        "No phone is subscribed to the alert topic by hand.",
    ]
