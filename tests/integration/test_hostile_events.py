"""Whatever event the functions get: a clear ValueError or an answer, at once."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import check_targets
import show_report
from popwatch.web.authentication import LONGEST_PASSWORD
from popwatch.web.http import LARGEST_BODY, MAX_PARAMETERS
from tests.integration.world import new_world

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
FEW = settings(max_examples=100, deadline=None)


@dataclass(frozen=True)
class Context:
    """What Lambda says about an invocation."""

    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn"
    aws_request_id: str = "id"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


@pytest.fixture(scope="module", autouse=True)
def functions() -> Iterator[None]:
    """Both functions over a world of their own."""
    with new_world() as world, pytest.MonkeyPatch.context() as environment:
        secret = boto3.client("secretsmanager").create_secret(Name="page", SecretString="correct horse")
        for name, value in {
            "TARGETS_TABLE": "Targets",
            "STATUS_TABLE": "Status",
            "HISTORY_TABLE": "History",
            "ALERT_TOPIC_ARN": world.topic,
            "SMS_TOPIC_ARN": world.sms_topic,
            "BATCH_QUEUE_URL": world.email_queue,
            "REPORT_SECRET_ARN": secret["ARN"],
            "POWERTOOLS_METRICS_NAMESPACE": "popwatch",
            "POWERTOOLS_SERVICE_NAME": "mail-eu",
            "SHOWN_STACK": "the local stack",
        }.items():
            environment.setenv(name, value)
        caches = (check_targets._dependencies, check_targets._settings, show_report._site)
        for cached in caches:
            cached.cache_clear()
        yield
        for cached in caches:
            cached.cache_clear()


def test_credentials_are_kept_below_the_name_of_the_stack() -> None:
    """Whatever name its alerts show."""
    logins = check_targets._dependencies().logins
    assert logins is not None
    assert logins._credentials._path == "/popwatch/mail-eu/credentials/"


def shown(event: Any) -> Any:
    context: Any = Context()
    return show_report.handler(event, context)


def checked(event: Any) -> Any:
    context: Any = Context()
    return check_targets.handler(event, context)


@FEW
@given(JSON)
@example({"scheduled_time": "0001-01-01T00:00+14:00"})
@example({"scheduled_time": 5})
@example("Records")
@example(7)
def test_ticks_of_any_json_are_refused(event: Any) -> None:
    """An event that is not a tick raises an error that says what a tick looks like."""
    with pytest.raises(ValueError, match="scheduled_time"):
        checked(event)


@FEW
@given(st.lists(JSON, max_size=2) | JSON)
def test_records_of_any_json_fail_by_themselves(records: Any) -> None:
    """Messages that popwatch did not write fail: the queue keeps them and then moves them to the dead letters."""
    entries = records if isinstance(records, list) else [records]
    event = {"Records": [{"messageId": str(at), "body": json.dumps(entry)} for at, entry in enumerate(entries)]}
    if entries:
        with pytest.raises(ValueError, match="not a batch of popwatch"):
            checked(event)


def test_a_message_that_fails_takes_no_other_with_it() -> None:
    """Only it returns to the queue, should a stack's batch size be more than one."""
    [hour] = json.loads((Path(__file__).parents[2] / "events" / "hour.json").read_text())["Records"]
    bodies = {"first": hour["body"], "second": "{}", "third": hour["body"]}
    answer = checked({"Records": [{"messageId": name, "body": body} for name, body in bodies.items()]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "second"}]}


URL = st.fixed_dictionaries(
    {
        "requestContext": st.fixed_dictionaries(
            {
                "http": st.fixed_dictionaries(
                    {"method": st.sampled_from(["GET", "POST", "HEAD", "x"])}, optional={"sourceIp": JSON}
                )
            }
        )
    },
    optional={
        "rawPath": st.sampled_from(["/", "/sign-in", "/api/status", "/api/targets/%ff"]) | JSON,
        "rawQueryString": st.text(max_size=30) | JSON,
        "headers": st.dictionaries(
            st.sampled_from(["authorization", "cookie", "accept-encoding", "if-none-match", "sec-fetch-site"]),
            JSON | st.text(),
        )
        | JSON,
        "cookies": st.lists(st.text(max_size=30), max_size=3) | JSON,
        "body": st.text(max_size=100) | JSON,
        "isBase64Encoded": st.booleans() | JSON,
    },
)


@FEW
@given(JSON | URL)
@example({"requestContext": {"http": {"method": "POST"}}, "body": "&" * 6_000_000, "rawPath": "/sign-in"})
@example({"requestContext": {"http": {"method": "POST"}}, "body": "a&" * 4_000, "rawPath": "/sign-in"})
@example({"requestContext": {"http": {"method": "GET"}}, "rawQueryString": "a=&" * (MAX_PARAMETERS + 1)})
@example({"requestContext": {"http": {"method": "GET"}}, "body": "!", "isBase64Encoded": True})
@example(
    {"requestContext": {"http": {"method": "GET", "sourceIp": "fe80::1%x"}}, "headers": {"authorization": "Basic Og=="}}
)
def test_the_page_answers_any_event(event: Any) -> None:
    """With a status, a body that can be sent, and never with anything that needs a sign-in."""
    answer = shown(event)
    assert answer["statusCode"] in (200, 303, 304, 400, 401, 403, 404, 405, 413)
    assert "targets" not in json.dumps(answer)
    json.dumps(answer)


def test_too_many_parameters_are_named() -> None:
    """Not as an event that comes from elsewhere."""
    url = {"requestContext": {"http": {"method": "GET"}}, "rawPath": "/api/timelines"}
    answer = shown(url | {"rawQueryString": "id=a&" * (MAX_PARAMETERS + 1)})
    assert answer["statusCode"] == 400
    assert b"more than 100 parameters" in base64.b64decode(answer["body"])


def test_passwords_of_any_length_are_wrong() -> None:
    """The longest form that is read costs no more than any other."""
    assert LARGEST_BODY > LONGEST_PASSWORD
    event = {"requestContext": {"http": {"method": "POST"}}, "rawPath": "/sign-in", "body": "password=" + "x" * 9_000}
    assert shown(event)["statusCode"] == 401
