"""What goes over the wire between the function and AWS: calls as botocore writes them, refusals as AWS does."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

HEADER = "x-chaos-invocation"
"""Says whose call it is."""

WRITES = frozenset({"PutItem", "DeleteItem", "Publish", "SendMessage"})
_MESSAGE_ID = re.compile(rb"<MessageId>([^<]+)</MessageId>")


@dataclass(frozen=True, slots=True)
class Call:
    """A call: of which service, which operation, its parameters, and how it came."""

    service: str
    operation: str
    request: dict[str, Any]
    headers: Mapping[str, str]
    body: bytes

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.operation in WRITES


@dataclass(frozen=True, slots=True)
class Answer:
    """What AWS says to a call."""

    status: int
    body: bytes
    content_type: str

    @property
    def accepts(self) -> bool:
        """Whether the call has taken effect."""
        return self.status == 200


def read_call(headers: Mapping[str, str], body: bytes) -> Call:
    """A call of DynamoDB or SQS, in JSON, or one of SNS, as a form."""
    target = headers.get("X-Amz-Target", "")
    if not target:
        form = dict(parse_qsl(body.decode()))
        return Call("sns", form["Action"], {**form, "MessageAttributes": _attributes(form)}, headers, body)
    service = "sqs" if target.startswith("AmazonSQS") else "dynamodb"
    return Call(service, target.partition(".")[2], json.loads(body), headers, body)


def refuse(call: Call, *, throttled: bool) -> Answer:
    """A refusal in the service's own form: a failure of its own, or throttling."""
    if call.service == "sns":
        code = "Throttling" if throttled else "InternalError"
        said = f"<ErrorResponse><Error><Type>Receiver</Type><Code>{code}</Code><Message>Chaos.</Message></Error>"
        return Answer(400 if throttled else 500, f"{said}</ErrorResponse>".encode(), "text/xml")
    throttling = "ThrottlingException" if call.service == "dynamodb" else "RequestThrottled"
    said = json.dumps({"__type": throttling if throttled else "InternalServerError", "message": "Chaos."})
    return Answer(400 if throttled else 500, said.encode(), "application/x-amz-json-1.0")


def _attributes(form: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The message attributes of a form, as boto3 takes them."""
    names = {key.removesuffix(".Name"): name for key, name in form.items() if key.endswith(".Name")}
    return {name: {"StringValue": form[f"{key}.Value.StringValue"]} for key, name in names.items()}


def message_id_of(answer: Answer) -> str:
    """The id that SNS gave a message."""
    found = _MESSAGE_ID.search(answer.body)
    assert found, answer
    return found[1].decode()
