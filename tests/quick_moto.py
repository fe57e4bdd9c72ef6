"""moto and botocore without work that they do again for each call, always with the same result.

moto reads the model of a service, lists the methods of a class, finds out under which names a member of an answer may
stand in its own objects, and looks for each of the ten types in each value of DynamoDB, which has one. botocore
cleans the same few words for each User-Agent, and splits the same few names of events. Together they take half of what
a call to DynamoDB costs here. A good part of the rest is how moto finds the handler of a request, by the addresses of
all services, and makes a request of WSGI of it: one to DynamoDB goes to its handler. Each message of a topic is signed,
with a certificate made for it, which takes as long as the rest of a publication. And each mock prepares more than a
thousand addresses for `requests`, which nothing here uses.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from botocore import UNSIGNED, hooks, useragent
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.parsers import ResponseParserFactory
from moto.core import botocore_stubber, models, responses, serialize, utils
from moto.core.model_instances import reset_model_data
from moto.core.models import botocore_stubber as stubber_of_all
from moto.core.utils import iso_8601_datetime_with_milliseconds
from moto.dynamodb.responses import DynamoHandler
from moto.sns import models as sns
from moto.sqs import models as sqs

DYNAMODB = "https://dynamodb.us-east-1.amazonaws.com/"
REQUEST_ID = "A" * 52
AS_THEY_ARE = {"S", "N", "BOOL", "NULL"}
"""Types whose values are in JSON what they are."""

PARSERS = ResponseParserFactory()


def be_quick() -> None:
    """Have this process remember them from now on."""
    vars(responses)["get_service_model"] = cache(utils.get_service_model)
    vars(responses)["gen_amzn_requestid_long"] = _name_request
    vars(responses)["method_names_from_class"] = cache(utils.method_names_from_class)
    in_python = cache(utils.camelcase_to_underscores)
    for module in (responses, sns, sqs):
        vars(module)["camelcase_to_underscores"] = in_python
    vars(useragent)["sanitize_user_agent_string_component"] = cache(useragent.sanitize_user_agent_string_component)
    aliaser: Any = hooks.EventAliaser
    aliaser._alias_event_name = _remembering(aliaser._alias_event_name)
    _sign_no_message()
    _leave_requests_alone()
    _remember_names()
    _pass_over_other_types()
    _reach_dynamodb_at_once()
    _call_dynamodb_without_a_request()


def _name_request(headers: dict[str, Any]) -> str:
    """The id of any request, where moto draws 52 letters."""
    headers["x-amzn-requestid"] = REQUEST_ID
    return REQUEST_ID


def _remembering(method: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
    """A method that makes the same of a text for any object: botocore's aliases of events are a table."""
    known: dict[str, str] = {}

    def remembered(self: Any, text: str) -> str:
        if text not in known:
            known[text] = method(self, text)
        return known[text]

    return remembered


def _sign_no_message() -> None:
    subscription: Any = sns.Subscription

    def as_delivered(
        self: Any,
        message: str,
        message_id: str,
        subject: str | None,
        message_attributes: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What a queue receives, but for the signature and the addresses beside it."""
        optional = {"Subject": subject, "MessageAttributes": message_attributes}
        return {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": self.topic.arn,
            "Message": message,
            "Timestamp": iso_8601_datetime_with_milliseconds(),
            **{name: value for name, value in optional.items() if value},
        }

    subscription.get_post_data = as_delivered


def _leave_requests_alone() -> None:
    mock: Any = models.MockAWS

    def start(self: Any, reset: bool = True) -> None:
        stubber_of_all.enabled = True
        if reset:
            self.reset()

    def stop(self: Any, remove_data: bool) -> None:
        stubber_of_all.enabled = False
        if remove_data:
            self.reset()
            reset_model_data()

    mock._enable_patching, mock._disable_patching = start, stop


def _remember_names() -> None:
    picker: Any = serialize.XFormedAttributePicker
    names_of = picker.get_possible_keys

    def remembered(self: Any, context: Any) -> Iterator[str]:
        """The names depend on the member's shape, and on the class of the object that is asked for it."""
        known: dict[object, list[str]] = vars(context.shape).setdefault("names_in_moto", {})
        key = context.key, type(context.obj), tuple(self.alias_providers)
        if key not in known:
            known[key] = list(names_of(self, context))
        return iter(known[key])

    picker.get_possible_keys = remembered


def _pass_over_other_types() -> None:
    serializer: Any = serialize.BaseJSONSerializer
    structure = serializer._serialize_type_structure

    def of_its_type(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        """A value of DynamoDB: `{"S": "text"}`, which has no other member."""
        if shape.name != "AttributeValue" or type(value) is not dict or not value.keys() <= shape.members.keys():
            structure(self, serialized, value, shape, key)
            return
        if value.keys() <= AS_THEY_ARE:
            self._default_serialize(serialized, value, shape, key)
            return
        wrapper: dict[str, Any] = {}
        for name, member in value.items():
            self._serialize(wrapper, member, shape.members[name], name)
        self._default_serialize(serialized, wrapper, shape, key)

    serializer._serialize_type_structure = of_its_type


def _reach_dynamodb_at_once() -> None:
    stubber: Any = botocore_stubber.BotocoreStubber
    by_its_address = stubber.process_request

    def answer(self: Any, request: Any) -> Any:
        return by_its_address(self, request) if request.url != DYNAMODB else _ask(request.headers, request.body)

    stubber.process_request = answer


def _call_dynamodb_without_a_request() -> None:
    """Of clients that sign nothing, which are those of worlds: no hook is between a call and its answer but ours."""
    client: Any = BaseClient
    by_a_request = client._make_request

    def call(self: Any, operation: Any, request: dict[str, Any], context: dict[str, Any]) -> Any:
        if request["url"] != DYNAMODB or self.meta.config.signature_version is not UNSIGNED:
            return by_a_request(self, operation, request, context)
        status, headers, body = _ask(request["headers"], request["body"])
        answer = {
            "status_code": status,
            "headers": headers,
            "body": body.encode(),
            "context": {"operation_name": operation.name},
        }
        parsed: dict[str, Any] = {}
        self.meta.events.emit(
            f"before-parse.dynamodb.{operation.name}",
            operation_model=operation,
            response_dict=answer,
            customized_response_dict=parsed,
        )
        parser = PARSERS.create_parser("json")
        parsed = parser.parse(answer, operation.output_shape) | parsed
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            self._endpoint._add_modeled_error_fields(answer, parsed, operation, parser)
        return AWSResponse(DYNAMODB, status, headers, None), parsed

    client._make_request = call


def _ask(headers: Mapping[str, Any], body: bytes) -> Any:
    """The status, headers and body with which moto answers a request to DynamoDB."""
    handler: Any = DynamoHandler()
    texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in headers.items()}
    handler.uri_match = {}
    handler.headers, handler.querystring, handler.response_headers = texts, {}, {}
    handler.current_account, handler.region = handler.get_current_account(), "us-east-1"
    handler.parse_parameters(_Parts(body, texts))
    return handler.call_action()


class _Parts:
    """What moto's parser of parameters takes of a request."""

    method, path = "POST", "/"

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        self.data, self.headers, self.values = body, headers, dict[str, str]()
        self.content_type = headers["Content-Type"]
