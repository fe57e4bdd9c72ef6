"""The queue of batches: work that another invocation of the same function does, now or up to 15 minutes later."""

from dataclasses import replace
from typing import TYPE_CHECKING

from popwatch.decisions.batches import Batch, Work, to_messages

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class BatchQueue:
    """Sends work to the queue over an SQS client; raises what botocore raises once its retries are used up."""

    def __init__(self, sqs: "SQSClient", queue_url: str) -> None:
        self._sqs, self._queue_url = sqs, queue_url

    def send(self, work: Work, delay_seconds: int = 0) -> int:
        """Send `work`, to be received after `delay_seconds` (0 to 900); returns the number of messages.

        A batch says its delay: SQS tells a receiver when a message was sent, and not when it could first be received.
        """
        sent = 0
        if isinstance(work, Batch):
            work = replace(work, delay_seconds=delay_seconds)
        for body in to_messages(work):
            self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=body, DelaySeconds=delay_seconds)
            sent += 1
        return sent
