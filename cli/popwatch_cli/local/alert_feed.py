"""The alerts that SNS delivers: a queue subscribes to each topic, as an email address or a phone would."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from popwatch_cli.installation import Installation
from popwatch_cli.output.live_view import SentAlert, SentSms

QUEUE_NAME, SMS_QUEUE_NAME = "popwatch-local-alerts", "popwatch-local-sms"


class AlertFeed:
    """Receives the alerts of a local stack. One of an older version may have no topic for SMS."""

    def __init__(self, installation: Installation) -> None:
        self._sqs, self._sns = installation.client("sqs"), installation.client("sns")
        self._alerts = self._subscribe(QUEUE_NAME, installation.outputs["AlertTopicArn"])
        sms_topic = installation.outputs.get("SmsTopicArn")
        self._sms = self._subscribe(SMS_QUEUE_NAME, sms_topic) if sms_topic else ""

    def receive(self) -> list[SentAlert]:
        """The messages of the alert topic since the last call, oldest first."""
        return [
            SentAlert(body["MessageId"], datetime.fromisoformat(body["Timestamp"]), body["Subject"], body["Message"])
            for body in self._take(self._alerts)
        ]

    def receive_sms(self) -> list[SentSms]:
        """The messages of the SMS topic since the last call, oldest first."""
        return [SentSms(body["MessageId"], body["Message"]) for body in self._take(self._sms)] if self._sms else []

    def _take(self, queue_url: str) -> Iterator[dict[str, Any]]:
        while messages := self._sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                yield json.loads(message["Body"])
                self._sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])

    def _subscribe(self, queue_name: str, topic: str) -> str:
        """The URL of a queue that receives what is published to the topic."""
        queue_url: str = self._sqs.create_queue(QueueName=queue_name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        queue = attributes["Attributes"]["QueueArn"]
        policy = json.dumps(_allow_topic(topic, queue))
        self._sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": policy})
        self._sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
        return queue_url


def _allow_topic(topic: str, queue: str) -> dict[str, Any]:
    """A queue policy that lets the topic send messages."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
