"""AWS as one invocation meets it: clients whose calls take time, fail, lose their answers, or are its last.

A call is up to five attempts, as botocore makes them in its standard mode (`functions/check_targets.py` sets so many).
An attempt whose answer is lost has taken effect; the next one meets what it left.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.hooks import HierarchicalEmitter

from tests.chaos.engine import Killed, Process
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Faults
from tests.chaos.tables import Tables, pages, refusal

Answer = TypeVar("Answer")

ATTEMPTS = 5
READ_TIMEOUT_SECONDS = 5.0
STALE_SECONDS = 2.0


class AwsTransport:
    """The calls to AWS of one process, with the faults that they meet."""

    def __init__(
        self,
        process: Process,
        faults: Faults,
        evidence: Evidence,
        service_outages: dict[str, float],
        died: Callable[[str], None],
        *,
        latency: float,
    ) -> None:
        self._latency = latency
        self._process, self._faults, self._service_outages, self._died = process, faults, service_outages, died
        self._evidence = evidence

    @property
    def evidence(self) -> Evidence:
        """Where what happens now is recorded as this process's doing."""
        self._evidence.invocation = self._process.number
        return self._evidence

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return self._process.engine.now

    def call(self, service: str, operation: str, effect: Callable[[bool], Answer]) -> Answer:
        """Make a call; `effect`, which receives whether its answer will arrive, is what AWS does."""
        error: Exception = refusal("InternalServerError", operation)
        for attempt in range(ATTEMPTS):
            if attempt:
                self._process.sleep(self._faults.uniform(0.05, min(20.0, 0.1 * 2**attempt)))
            self._die_if("killed_before", operation)
            self._process.sleep(self._latency + (self._faults.uniform(0.1, 4.0) if self._occurs("delayed") else 0.0))
            failure = self._failure(service, operation)
            if failure is not None:
                error = failure
                continue
            lost = self._occurs("answer_lost")
            answer = effect(not lost)
            if lost:
                self._process.sleep(READ_TIMEOUT_SECONDS)
                error = ReadTimeoutError(endpoint_url=service)
                if self._occurs("answers_lost"):
                    self._process.sleep(READ_TIMEOUT_SECONDS * (ATTEMPTS - attempt - 1))
                    break
                continue
            self._die_if("killed_after", operation)
            self._process.sleep(self._latency)
            return answer
        raise error

    def read_as_of(self) -> float:
        """The time as of which an eventually consistent read is answered."""
        return self.now - self._faults.uniform(0.0, STALE_SECONDS) if self._occurs("stale_read") else math.inf

    def _occurs(self, kind: str) -> bool:
        return self._faults.occurs(kind)

    def _failure(self, service: str, operation: str) -> ClientError | None:
        if self._service_outages.get(service, -1.0) > self.now:
            return refusal("InternalServerError", operation)
        if self._occurs("refused"):
            return refusal("InternalServerError", operation)
        return refusal("ThrottlingException", operation) if self._occurs("throttled") else None

    def _die_if(self, kind: str, operation: str) -> None:
        if self._occurs(kind):
            self._died(f"{kind.replace('_', ' ')} {operation}")
            raise Killed


class _Exceptions:
    ConditionalCheckFailedException = ClientError


class _Meta:
    """Where hooks are put into a client. None is called here: answers need no parsing."""

    events = HierarchicalEmitter()


class DynamoDB:
    """A DynamoDB client."""

    exceptions = _Exceptions()
    meta = _Meta()

    def __init__(self, transport: AwsTransport, tables: Tables) -> None:
        self._transport, self._tables = transport, tables

    def put_item(self, **request: Any) -> dict[str, Any]:
        """PutItem."""

        def effect(_: bool) -> dict[str, Any]:
            table = self._tables.by_name[request["TableName"]]
            old = table.items.get(table.key_of(request["Item"]))
            answer = self._tables.put_item(self._transport.now, request)
            self._transport.evidence.on_put(table.name, request["Item"], old)
            return answer

        return self._watched(request, lambda: self._transport.call("dynamodb", "PutItem", effect))

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """DeleteItem."""

        def effect(_: bool) -> dict[str, Any]:
            answer = self._tables.delete_item(self._transport.now, request)
            self._transport.evidence.on_delete(request["Key"])
            return answer

        return self._transport.call("dynamodb", "DeleteItem", effect)

    def get_item(self, **request: Any) -> dict[str, Any]:
        """GetItem."""
        return self._transport.call(
            "dynamodb", "GetItem", lambda _: self._tables.get_item(self._transport.read_as_of(), request)
        )

    def scan(self, **request: Any) -> dict[str, Any]:
        """Scan, one page."""
        return self._transport.call(
            "dynamodb", "Scan", lambda _: self._tables.scan(self._transport.read_as_of(), request)
        )

    def query(self, **request: Any) -> dict[str, Any]:
        """Query, one page."""
        return self._transport.call("dynamodb", "Query", lambda _: self._tables.query(request))

    def get_paginator(self, operation: str) -> "Paginator":
        """Pages of a scan or a query."""
        return Paginator(self.scan if operation == "scan" else self.query)

    def _watched(self, request: dict[str, Any], call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Add a write to History that was refused to the evidence, as its alert may be sent again."""
        try:
            return call()
        except (ClientError, ReadTimeoutError) as error:
            if isinstance(error, ReadTimeoutError) or "Conditional" not in error.response["Error"]["Code"]:
                self._transport.evidence.on_refused(request["TableName"], request["Item"])
            raise


class Paginator:
    """All pages of an operation."""

    def __init__(self, ask: Callable[..., dict[str, Any]]) -> None:
        self._ask = ask

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        """The pages, each asked for when it is wanted."""
        return pages(self._ask, request)


class Sns:
    """An SNS client."""

    def __init__(self, transport: AwsTransport) -> None:
        self._transport = transport

    def publish(self, **request: Any) -> dict[str, Any]:
        """Publish."""
        try:
            return self._transport.call(
                "sns", "Publish", lambda answered: self._transport.evidence.on_publish(request, answered)
            )
        except (ClientError, ReadTimeoutError):
            self._transport.evidence.on_not_accepted()
            raise


class Sqs:
    """An SQS client; `enqueue` takes a body and its delay."""

    def __init__(self, transport: AwsTransport, enqueue: Callable[[str, float], None]) -> None:
        self._transport, self._enqueue = transport, enqueue

    def send_message(self, **request: Any) -> dict[str, Any]:
        """SendMessage."""

        def effect(_: bool) -> dict[str, Any]:
            self._transport.evidence.on_send(request["MessageBody"])
            self._enqueue(request["MessageBody"], float(request["DelaySeconds"]))
            return {"MessageId": "sent"}

        return self._transport.call("sqs", "SendMessage", effect)
