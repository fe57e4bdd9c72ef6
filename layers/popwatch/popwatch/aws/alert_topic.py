"""The alert topic: SNS takes a message once and delivers it to each of its subscriptions."""

import json
from typing import TYPE_CHECKING, Any

from popwatch.model.messages import Message

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class AlertTopic:
    """Publishes to one topic, over an SNS client."""

    def __init__(self, sns: "SNSClient", topic_arn: str) -> None:
        self._sns, self._topic_arn = sns, topic_arn

    def publish(self, message: Message) -> str:
        """Publish a message with a text for each kind of receiver; returns the id that SNS gave it.

        Raises what botocore raises once its retries are used up.
        """
        answer = self._sns.publish(
            TopicArn=self._topic_arn,
            Subject=message.subject,
            Message=json.dumps({"default": message.email, "email": message.email, "sms": message.sms}),
            MessageStructure="json",
            MessageAttributes={name: _attribute(value) for name, value in message.attributes.items()},
        )
        return answer["MessageId"]


def _attribute(value: str | int | tuple[str, ...]) -> Any:
    match value:
        case int():
            return {"DataType": "Number", "StringValue": str(value)}
        case tuple():
            return {"DataType": "String.Array", "StringValue": json.dumps(value)}
        case _:
            return {"DataType": "String", "StringValue": value}
