"""The dead-letter queue: looked at without taking anything out, or emptied."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from popwatch_cli.doctor.rules.dead_letters import DeadLetter, Redrive, RedriveAction, plan_redrive, read_dead_letter

HIDDEN_SECONDS = 120
"""How long a message is hidden from other receivers while it is looked at: longer than the requests for `MOST` take."""

VISIBLE_AGAIN = {"MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue"}
"""What SQS answers to a change of visibility if that time is over."""

MOST = 500
"""Messages that are looked at in one run."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the queue, and what it is."""

    receipt: str
    body: str
    letter: DeadLetter


class DeadLetterQueue:
    """The queue over an SQS client. Raises what botocore raises."""

    def __init__(self, sqs: Any, url: str, batch_url: str) -> None:
        self._sqs, self._url, self._batch_url = sqs, url, batch_url

    def look(self) -> list[DeadLetter]:
        """The queue's messages; all of them stay in it."""
        messages = list(self._receive())
        for received in messages:
            self._give_back(received)
        return [received.letter for received in messages]

    def redrive(self, last_tick: datetime | None, now: datetime, report: Callable[[Redrive], None]) -> int:
        """Send, drop or keep each message, and report it; returns the number of those that were kept.

        A message is sent before it is deleted: if the process dies in between, it is in both queues, but never lost.
        """
        kept = []
        for received in self._receive():
            redrive = plan_redrive(received.letter, last_tick, now)
            if redrive.action is RedriveAction.SEND:
                self._sqs.send_message(QueueUrl=self._batch_url, MessageBody=received.body)
            if redrive.action is RedriveAction.KEEP:
                kept.append(received)
            else:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=received.receipt)
            report(redrive)
        for received in kept:  # only now, or the next request would receive them again
            self._give_back(received)
        return len(kept)

    def _receive(self) -> Iterator[Received]:
        for _ in range(MOST // 10):
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            if not messages:
                return
            for message in messages:
                attributes = message.get("MessageAttributes", {}).items()
                texts = {name: str(value.get("StringValue", "")) for name, value in attributes}
                yield Received(message["ReceiptHandle"], message["Body"], read_dead_letter(message["Body"], texts))

    def _give_back(self, received: Received) -> None:
        try:
            self._sqs.change_message_visibility(QueueUrl=self._url, ReceiptHandle=received.receipt, VisibilityTimeout=0)
        except ClientError as error:
            if error.response["Error"]["Code"].rpartition(".")[2] not in VISIBLE_AGAIN:
                raise
