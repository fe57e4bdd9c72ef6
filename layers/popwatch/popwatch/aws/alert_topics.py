"""The topics that alerts are published to: SNS takes a message for each, and delivers it to its subscriptions.

Each topic has a message that is a string, with attributes: SNS sends attributes "only when the message structure is
String, not JSON" (docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html).
"""

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from popwatch.alerts.attributes import encode
from popwatch.model.messages import AlertMessage, Topic

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

REFUSALS = {"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationException"}
"""The errors of Publish that are about the message; the others are about permissions, keys, load or faults.

docs.aws.amazon.com/sns/latest/api/API_Publish.html#API_Publish_Errors
"""

SMS_TYPE = {"AWS.SNS.SMS.SMSType": "Transactional"}
"""For the highest reliability; without it SNS's default is Promotional (the account's `DefaultSMSType`)."""


class MessageRefusedError(Exception):
    """SNS refuses a message for what it is, so that it would refuse it again. The text is SNS's."""


class AlertTopics:
    """Publishes to the topics of one stack, over an SNS client."""

    def __init__(self, sns: "SNSClient", alert_topic_arn: str, sms_topic_arn: str) -> None:
        self._sns, self._arns = sns, {Topic.ALERT: alert_topic_arn, Topic.SMS: sms_topic_arn}

    def publish(self, topic: Topic, message: AlertMessage) -> str:
        """Publish a message to one topic; returns the id that SNS gave it.

        Raises MessageRefusedError, and what botocore raises once its retries are used up.
        """
        attributes = dict(message.attributes)
        if topic is Topic.SMS:  # no subject: SMS have none
            request: Any = {"Message": message.sms}
            attributes |= SMS_TYPE
        else:
            request = {"Message": message.email, "Subject": message.subject}
        encoded: Any = {
            name: {"DataType": data_type, "StringValue": value} for name, data_type, value in encode(attributes)
        }
        try:
            answer = self._sns.publish(TopicArn=self._arns[topic], MessageAttributes=encoded, **request)
        except ClientError as error:
            if error.response["Error"]["Code"] in REFUSALS:
                raise MessageRefusedError(error.response["Error"].get("Message", "")) from error
            raise
        return answer["MessageId"]
