"""The alerts that SNS delivers: a queue subscribes to the alert topic, as an email address would."""

import json
from datetime import datetime
from typing import Any

from popwatch.aws.store import Store
from popwatch.model.records import EventKind, PublishedAlert
from popwatch_cli.installation import Installation
from popwatch_cli.output.live_view import SentAlert

QUEUE_NAME = "popwatch-local-alerts"


class AlertFeed:
    """Receives the alerts of a local stack."""

    def __init__(self, installation: Installation) -> None:
        self._sqs, self._store = installation.client("sqs"), installation.store
        self._queue_url = self._sqs.create_queue(QueueName=QUEUE_NAME)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["QueueArn"])
        queue, topic = attributes["Attributes"]["QueueArn"], installation.outputs["AlertTopicArn"]
        policy = json.dumps(_allow_topic(topic, queue))
        self._sqs.set_queue_attributes(QueueUrl=self._queue_url, Attributes={"Policy": policy})
        installation.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)

    def receive(self) -> list[SentAlert]:
        """The alerts since the last call, oldest first."""
        alerts: list[SentAlert] = []
        while messages := self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                alerts.append(_read(json.loads(message["Body"]), self._store))
                self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
        return alerts


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


def _read(body: dict[str, Any], store: Store) -> SentAlert:
    """SNS sends each protocol its own text, to a queue that of emails; the text of the SMS is read from History."""
    target_id = body["MessageAttributes"]["target_id"]
    events = store.read_events(target_id["Value"], kinds=[EventKind.ALERT]) if target_id["Type"] == "String" else ()
    alerts = [event.what for event in events if isinstance(event.what, PublishedAlert)]
    sms = next((alert.message.sms for alert in alerts if alert.message_id == body["MessageId"]), "")
    published_at = datetime.fromisoformat(body["Timestamp"])
    return SentAlert(body["MessageId"], published_at, body["Subject"], body["Message"], sms)
