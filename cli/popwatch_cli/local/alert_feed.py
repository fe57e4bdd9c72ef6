"""The alerts that SNS delivers: a queue subscribes to each topic, as an email address or a phone would."""

from datetime import datetime

from popwatch_cli.installation import Installation
from popwatch_cli.output.live_view import SentAlert, SentSms
from popwatch_cli.topic_queues import policy_for, take_messages

QUEUE_NAME, SMS_QUEUE_NAME = "popwatch-local-alerts", "popwatch-local-sms"


class AlertFeed:
    """Receives the alerts of a local stack. One of an older version may have no SMS topic."""

    def __init__(self, installation: Installation) -> None:
        self._sqs, self._sns = installation.client("sqs"), installation.client("sns")
        self._alerts = self._subscribe(QUEUE_NAME, installation.outputs["AlertTopicArn"])
        sms_topic = installation.outputs.get("SmsTopicArn")
        self._sms = self._subscribe(SMS_QUEUE_NAME, sms_topic) if sms_topic else ""

    def receive(self) -> list[SentAlert]:
        """The messages of the alert topic since the last call, oldest first."""
        return [
            SentAlert(body["MessageId"], datetime.fromisoformat(body["Timestamp"]), body["Subject"], body["Message"])
            for body in take_messages(self._sqs, self._alerts)
        ]

    def receive_sms(self) -> list[SentSms]:
        """The messages of the SMS topic since the last call, oldest first."""
        bodies = take_messages(self._sqs, self._sms) if self._sms else ()
        return [SentSms(body["MessageId"], body["Message"]) for body in bodies]

    def _subscribe(self, queue_name: str, topic: str) -> str:
        """The URL of a queue that receives what is published to the topic."""
        queue_url: str = self._sqs.create_queue(QueueName=queue_name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        queue = attributes["Attributes"]["QueueArn"]
        self._sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": policy_for([topic], queue)})
        self._sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
        return queue_url
