"""Queues of the command's own that are subscribed to the stack's topics: their policy, and what arrives in them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any


def policy_for(topic_arns: Sequence[str], queue_arn: str) -> str:
    """The policy of a queue to which these topics may send, and no one else."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": list(topic_arns)}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def take_messages(sqs: Any, queue_url: str) -> Iterator[Any]:
    """The bodies of all messages that are in a queue, parsed; each message is deleted once its body has been used."""
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            yield json.loads(message["Body"])
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
