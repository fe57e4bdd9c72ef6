"""The topics of alerts against SNS's own rules: texts, attributes by type, sizes, characters, filter policies."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from popwatch.alerts.rendering import fallback, summarize
from popwatch.aws.alert_topics import AlertTopics, MessageRefusedError
from popwatch.model.messages import AlertMessage, Topic
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


def publish(topic: str, messages: list[AlertMessage], kind: Topic = Topic.ALERT) -> list[str]:
    topics = AlertTopics(boto3.client("sns"), topic, topic)
    return [topics.publish(kind, message) for message in messages]


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


def test_a_phone_gets_the_short_text_with_the_same_attributes(topic: str) -> None:
    """An SMS has no subject; filter policies decide on the same attributes; SNS sends it as transactional."""
    mailbox = Mailbox(topic, {"alert_number": [{"numeric": [">=", 2]}]})
    messages = list(outage(target()))
    publish(topic, messages, Topic.SMS)
    received = mailbox.received()
    assert [entry["Message"] for entry in received] == [message.sms for message in messages[1:]]
    assert not any(entry.get("Subject") for entry in received)
    attributes = received[0]["MessageAttributes"]
    assert attributes.pop("AWS.SNS.SMS.SMSType") == {"Type": "String", "Value": "Transactional"}
    assert attributes["event"] == {"Type": "String", "Value": "down"}


def test_attributes_come_with_plain_messages_only(topic: str) -> None:
    """The imitation drops them from messages with a text for each protocol, as SNS does."""
    mailbox = Mailbox(topic, {})
    sns = boto3.client("sns")
    attributes: Any = {"event": {"DataType": "String", "StringValue": "down"}}
    sns.publish(TopicArn=topic, Message='{"default": "x"}', MessageStructure="json", MessageAttributes=attributes)
    [received] = mailbox.received()
    assert not received.get("MessageAttributes")


def test_characters_that_sns_refuses_in_attributes_are_replaced_there_alone(topic: str) -> None:
    """Above U+FFFF: the email has them, the attributes have `?`, and the message is accepted."""
    mailbox = Mailbox(topic, {})
    messages = list(outage(target(name="Mail \U0001f4ec", group="team \U0001f4ec", tags=["\U0001f4ec"])))
    publish(topic, messages)
    received = mailbox.received()
    assert received[0]["Message"].count("\U0001f4ec") >= 3
    assert received[0]["MessageAttributes"]["group"]["Value"] == "team ?"
    assert json.loads(received[0]["MessageAttributes"]["tags"]["Value"]) == ["?"]


@pytest.mark.parametrize("character", ["x", "\u7cfb", "\U00020000", '"'])
def test_the_greatest_summary_is_accepted(topic: str, character: str) -> None:
    """200 alerts whose names, groups and tags are as long as they may be, whatever their characters' bytes.

    With names in Chinese the email alone had 292,813 bytes, and its attributes 181,940 more.
    """
    mailbox = Mailbox(topic, {})
    name = character * 98
    [first, *_] = outage(target(target_id=name, name=name, group=name, tags=[name]), failures=3)
    messages = [
        replace(
            first,
            target_id=f"{name}{number}",
            attributes={
                **first.attributes,
                "target_id": f"{first.attributes['target_id']}{number}",
                "group": f"{first.attributes['group']}{number}",
                "tags": (f"{first.attributes['group']}{number}",),
            },
        )
        for number in range(250)
    ]
    summary = summarize(messages, START)
    publish(topic, [summary])
    [received] = mailbox.received()
    assert received["Subject"] == "250 alerts at once: 250 down"
    lines = [line for line in received["Message"].splitlines() if line.startswith("DOWN")]
    assert received["Message"].endswith(f"... and {250 - len(lines)} more\n")
    assert len(lines) == 200 or len(received["Message"].encode()) > 100_000


@pytest.mark.parametrize(
    "broken",
    [
        {"email": "x" * 262_144},
        {"email": ""},
        {"email": "\x01"},
        {"subject": "two\nlines"},
        {"subject": "x" * 100},
        {"attributes": {"event": "down", "group": ""}},
        {"attributes": {"event": "down", "group": "\U0001f4ec"}},
        {"attributes": {"event": "down", "": "x"}},
    ],
)
def test_what_sns_refuses_is_refused_with_an_error_of_its_own(topic: str, broken: dict[str, Any]) -> None:
    """So that an alert is not tried for ever; and its plain form is accepted."""
    message = replace(next(iter(outage(target()))), **broken)
    with pytest.raises(MessageRefusedError):
        publish(topic, [message])
    mailbox = Mailbox(topic, {"event": ["down"], "state": ["down"]} if "attributes" not in broken else {})
    publish(topic, [fallback(message)])
    publish(topic, [fallback(message)], Topic.SMS)
    [email, sms] = mailbox.received()
    assert email["Message"].isascii()
    assert email["Message"].startswith("SNS refused this alert as it was written")
    assert len(email["Message"]) < 2_500
    assert sms["Message"] == message.sms


@pytest.mark.parametrize("code", ["Throttling", "AuthorizationError", "KMSAccessDenied", "InternalError", "NotFound"])
def test_other_refusals_are_not_about_the_message(topic: str, code: str) -> None:
    """A fault, load, a key or a permission: the message stays as it is, and is sent later."""

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": ""}}, "Publish")

    sns = boto3.client("sns")
    sns.meta.events.register("before-call.sns.Publish", refuse)
    with pytest.raises(ClientError, match=code):
        AlertTopics(sns, topic, topic).publish(Topic.ALERT, next(iter(outage(target()))))
