"""The function behind the page's URL: sign-in, page, JSON API and `/metrics`, read from the tables."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools.metrics import MetricUnit, single_metric
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from function_log import new_logger
from popwatch.aws.store import Store, Tables
from popwatch.config import PageSettings
from popwatch.web.authentication import Authentication, PageSecret
from popwatch.web.http import (
    TOO_MANY_PARAMETERS,
    Request,
    Response,
    TooManyParametersError,
    cookies_of,
    query_of,
)
from popwatch.web.site import Site
from popwatch.web.views import Views

REFRESH_SECONDS = 15.0
SECRET_SECONDS = 60
"""How long an old password is still accepted, and a new one refused, after it was changed."""

LARGEST_PAYLOAD = 6 * 1024 * 1024
"""Bytes of a function's response; with a larger one Lambda fails (AWS: lambda/latest/dg/gettingstarted-limits.html)."""

ENVELOPE = 4096
"""Bytes of a response's JSON beside the body: status and headers, for which half of it is enough."""

LARGEST_SENT = (LARGEST_PAYLOAD - ENVELOPE) // 4 * 3
"""Bytes of a body, which base64 makes larger by a third."""

_CALLS = Config(
    connect_timeout=2, read_timeout=5, max_pool_connections=16, retries={"mode": "standard", "total_max_attempts": 3}
)

logger = new_logger()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Answer a request of the function's URL."""
    try:
        request = _from_url(event)
    except TooManyParametersError:
        return _to_url(TOO_MANY_PARAMETERS.finished(Request("GET", str(event.get("rawPath") or "/"))))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return _to_url(_NOT_A_REQUEST.finished(_PLAIN))
    return _to_url(_sendable(_site().answer(request)))


_PLAIN = Request("GET", "/")
_NOT_A_REQUEST = Response(400, b"This is not a request from a function URL.\n")


def _from_url(event: Mapping[str, Any]) -> Request:
    """The request in an event of a function URL (payload format 2.0).

    Raises KeyError, TypeError, AttributeError, ValueError or RecursionError for any other event.
    """
    http = event["requestContext"]["http"]
    headers = {name.lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    body = str(event.get("body") or "")
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body).decode("utf-8", "replace")
    return Request(
        method=str(http["method"]),
        path=str(event.get("rawPath") or "/"),
        query=query_of(str(event.get("rawQueryString") or "")),
        headers=headers,
        cookies=cookies_of("; ".join(event.get("cookies") or ()) or headers.get("cookie", "")),
        body=body,
    )


def _sendable(response: Response) -> Response:
    """The response, or a sentence instead if Lambda could not send it."""
    size = len(response.body)
    if size <= LARGEST_SENT:
        return response
    if "Content-Encoding" in response.headers:
        status, advice = 500, "`popwatch page` on your own machine sends answers of any size."
    else:
        status, advice = 406, "Send the header `Accept-Encoding: gzip`, as `curl --compressed` does."
    explained = f"This answer is {size / 1e6:.1f} MB, and Lambda can send {LARGEST_SENT / 1e6:.1f} MB. {advice}"
    return Response.of_json({"error": explained}, status).finished(_PLAIN)


def _to_url(response: Response) -> dict[str, Any]:
    cookie = response.headers.get("Set-Cookie")
    return {
        "statusCode": response.status,
        "headers": {name: value for name, value in response.headers.items() if name != "Set-Cookie"} | _ONLY_TLS,
        "cookies": [cookie] if cookie else [],
        "body": base64.b64encode(response.body).decode(),
        "isBase64Encoded": True,
    }


_ONLY_TLS = {"Strict-Transport-Security": "max-age=31536000"}


def _clock() -> datetime:
    return datetime.now(UTC)


@cache
def _site() -> Site:
    """The site, over clients that are kept as long as the execution environment."""
    settings = PageSettings.from_env()
    dynamodb = boto3.client("dynamodb", config=_CALLS)
    secrets = SecretsProvider(boto3_client=boto3.client("secretsmanager", config=_CALLS))

    def read_secret() -> PageSecret:
        return PageSecret.parse(str(secrets.get(settings.secret_arn, max_age=SECRET_SECONDS)))

    tables = Tables(settings.targets_table, settings.status_table, settings.history_table)
    views = Views(Store(dynamodb, tables, _clock), _clock, max_age=timedelta(seconds=REFRESH_SECONDS / 2))
    return Site(views, Authentication(read_secret, _clock, _count_refusal), refresh_seconds=REFRESH_SECONDS)


def _count_refusal() -> None:
    """Count a wrong password in the metric `RefusedSignIns`, which does not exist before the first one."""
    with single_metric(name="RefusedSignIns", unit=MetricUnit.Count, value=1):
        pass
