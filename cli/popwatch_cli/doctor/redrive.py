"""The dead-letter queue: looked at without taking anything out, or emptied into where its messages belong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from popwatch_cli.doctor.rules.dead_letters import Fate, Letter, Verdict, decide, read_letter

HELD_SECONDS = 60
"""How long a message is hidden from others while it is looked at."""

MOST = 500
"""Messages that are looked at in one go."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the queue, and what it is."""

    receipt: str
    body: str
    letter: Letter


class DeadLetterQueue:
    """The queue over an SQS client. Raises what botocore raises."""

    def __init__(self, sqs: Any, url: str, batch_url: str) -> None:
        self._sqs, self._url, self._batch_url = sqs, url, batch_url

    def look(self) -> list[Letter]:
        """What lies in it; all of it is given back."""
        found = list(self._receive())
        for received in found:
            self._give_back(received)
        return [received.letter for received in found]

    def redrive(self, swept_at: datetime | None, now: datetime, tell: Callable[[Verdict], None]) -> int:
        """Put each message where it belongs, and tell of each; the number of those that stay.

        A message is sent before it is deleted: whatever happens in between, it is there at least once.
        """
        kept = []
        for received in self._receive():
            verdict = decide(received.letter, swept_at, now)
            if verdict.fate is Fate.SEND:
                self._sqs.send_message(QueueUrl=self._batch_url, MessageBody=received.body)
            if verdict.fate is Fate.KEEP:
                kept.append(received)
            else:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=received.receipt)
            tell(verdict)
        for received in kept:
            self._give_back(received)
        return len(kept)

    def _receive(self) -> Iterator[Received]:
        for _ in range(MOST // 10):
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=HELD_SECONDS,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            if not messages:
                return
            for message in messages:
                attributes = message.get("MessageAttributes", {}).items()
                texts = {name: str(value.get("StringValue", "")) for name, value in attributes}
                yield Received(message["ReceiptHandle"], message["Body"], read_letter(message["Body"], texts))

    def _give_back(self, received: Received) -> None:
        self._sqs.change_message_visibility(QueueUrl=self._url, ReceiptHandle=received.receipt, VisibilityTimeout=0)
