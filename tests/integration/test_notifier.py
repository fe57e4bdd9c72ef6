"""The alert topic against SNS's own rules: texts by protocol, attributes by type, filter policies."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from popwatch.alerts.rendering import summarize
from popwatch.aws.alert_topic import AlertTopic
from popwatch.model.messages import Message
from tests.examples import START, outage, target


class Mailbox:
    """A queue subscribed to the topic, with a filter policy."""

    def __init__(self, topic_arn: str, policy: dict[str, Any]) -> None:
        self._sqs = boto3.client("sqs")
        self._url = self._sqs.create_queue(QueueName=f"mailbox-{abs(hash(str(policy)))}")["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        boto3.client("sns").subscribe(
            TopicArn=topic_arn,
            Protocol="sqs",
            Endpoint=attributes["Attributes"]["QueueArn"],
            Attributes={"FilterPolicy": json.dumps(policy)} if policy else {},
        )

    def received(self) -> list[Any]:
        found: list[Any] = []
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return found


@pytest.fixture
def topic() -> Iterator[str]:
    with mock_aws():
        yield boto3.client("sns").create_topic(Name="alerts")["TopicArn"]


def publish(topic: str, messages: list[Message]) -> list[str]:
    alert_topic = AlertTopic(boto3.client("sns"), topic)
    return [alert_topic.publish(message) for message in messages]


def test_subscribers_get_subject_text_and_attributes(topic: str) -> None:
    """A queue gets the email's text, the subject, and attributes with their types; SNS gives each message an id."""
    mailbox = Mailbox(topic, {})
    messages = list(outage(target()))
    ids = publish(topic, messages)
    received = mailbox.received()
    assert [entry["MessageId"] for entry in received] == ids
    assert [entry["Subject"] for entry in received] == [message.subject for message in messages]
    assert [entry["Message"] for entry in received] == [message.email for message in messages]
    assert received[0]["MessageAttributes"]["alert_number"] == {"Type": "Number", "Value": "1"}
    assert received[0]["MessageAttributes"]["tags"] == {"Type": "String.Array", "Value": '["berlin", "dovecot"]'}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"alert_number": [{"numeric": [">=", 2]}]}, ["down", "down", "recovered"]),
        ({"event": ["recovered"]}, ["recovered"]),
        ({"group": ["customers"]}, ["down", "down", "down", "recovered"]),
        ({"group": ["own"]}, []),
        ({"tags": ["dovecot"]}, ["down", "down", "down", "recovered"]),
    ],
)
def test_filter_policies_route(topic: str, policy: dict[str, Any], expected: list[str]) -> None:
    """The recipes of docs/alerts.md choose what they say they choose."""
    mailbox = Mailbox(topic, policy)
    publish(topic, list(outage(target())))
    assert [entry["MessageAttributes"]["event"]["Value"] for entry in mailbox.received()] == expected


@pytest.mark.parametrize("policy", [{"event": ["down"]}, {"event": ["summary"]}, {"group": ["customers"]}])
def test_a_summary_reaches_whoever_one_of_its_alerts_would(topic: str, policy: dict[str, Any]) -> None:
    """The one message for many alerts passes the filter policies of each of them."""
    mailbox = Mailbox(topic, policy)
    messages = list(outage(target()))
    publish(topic, [summarize(messages, START)])
    assert len(mailbox.received()) == 1
