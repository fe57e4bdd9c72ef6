"""The page behind its URL, as deployed, on a local AWS that enforces IAM: sign-in, API, metrics, rights."""

import base64
import gzip
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from botocore.exceptions import ClientError

from popwatch.web.authentication import COOKIE
from tests.e2e.deployed import PROJECT, Deployed

pytestmark = pytest.mark.local_stack


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack with a page, where every call is checked against the caller's role."""
    folder = tmp_path_factory.mktemp("page")
    with Deployed.running(PROJECT, folder, {"AUTH": "true"}, Page="on") as found:
        found.put_targets({"target_id": "mail/berlin 1", "host": "127.0.0.1", "port": 1, "name": "Mail <Berlin>"})
        assert found.tick() is None
        yield found


@pytest.fixture(scope="module")
def ask(guarded: Deployed) -> Callable[..., Reply]:
    """Ask the function's URL, as the local AWS serves it."""
    url_id = urlsplit(guarded.local.outputs["ReportUrl"]).netloc.split(".")[0]

    def request(path: str, method: str = "GET", *, body: str | None = None, **headers: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", guarded.local.port, timeout=300)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            named["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, f"/_aws/lambda-url/{url_id}{path}", body, named)
        answer = connection.getresponse()
        found = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        connection.close()
        return found

    return request


@pytest.fixture(scope="module")
def password(guarded: Deployed) -> str:
    """The generated password, as the command prints it."""
    arguments, folder = guarded.popwatch("page", "--password")
    shown = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
    assert guarded.local.outputs["ReportUrl"] in shown.stderr
    return shown.stdout.removesuffix("\n")


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


def test_nothing_is_shown_without_the_password(ask: Callable[..., Reply]) -> None:
    """People are redirected to the sign-in page, programs get a 401; only what the sign-in page needs is public."""
    assert (ask("/").status, ask("/").headers["location"]) == (303, "sign-in")
    for path in ("/api/status", "/api/targets/mail", "/api/timelines?id=x", "/metrics", "/page.js", "/unknown"):
        assert ask(path).status == 401, path
        assert "Berlin" not in ask(path).body.decode()
    assert ask("/metrics").headers["www-authenticate"].startswith("Basic")
    assert [ask(path).status for path in ("/sign-in", "/page.css", "/icon.svg")] == [200, 200, 200]
    assert ask("/api/status", Cookie=f"{COOKIE}=9999999999.AAAA").status == 401


def test_only_the_page_is_asked(ask: Callable[..., Reply]) -> None:
    """The local AWS goes by the path, whichever service the rest of a request names."""
    assert (ask("/?Action=ListQueues").status, ask("/?Action=ListQueues").headers["location"]) == (303, "sign-in")
    asked = ask("/api/status", "POST", body="Action=ListTopics", X_Amz_Target="DynamoDB_20120810.ListTables")
    assert (asked.status, asked.json) == (404, {"error": "Only /sign-in and /sign-out accept POST."})


def test_a_person_signs_in(ask: Callable[..., Reply], password: str) -> None:
    """The password gives a cookie, and the cookie the page and the API, compressed if the client accepts that."""
    answer = ask("/sign-in", "POST", body=urlencode({"password": password}))
    assert (answer.status, answer.headers["location"]) == (303, "./")
    cookie, _, attributes = answer.headers["set-cookie"].partition(";")
    assert {part.strip() for part in attributes.split(";")} == {
        "Max-Age=43200",
        "Path=/",
        "Secure",
        "HttpOnly",
        "SameSite=Strict",
    }
    page = ask("/", Cookie=cookie)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "max-age" in page.headers["strict-transport-security"]
    script = ask("/page.js", Cookie=cookie, Accept_Encoding="gzip, br")
    assert script.headers["content-encoding"] == "gzip"
    assert gzip.decompress(script.body) == ask("/page.js", Cookie=cookie).body
    assert ask("/page.js", Cookie=cookie, If_None_Match=script.headers["etag"]).status == 304
    [target] = ask("/api/status", Cookie=cookie).json["targets"]
    assert (target["name"], target["state"], target["reason"]) == ("Mail <Berlin>", "warn", "refused")
    details = ask("/api/targets/mail%2Fberlin%201", Cookie=cookie)
    assert details.json["target_id"] == "mail/berlin 1"
    assert [event["state"] for event in details.json["events"]] == ["warn"]
    assert ask("/api/timelines?id=mail%2Fberlin+1", Cookie=cookie).json["mail/berlin 1"]["days"]
    assert ask("/api/targets/unknown", Cookie=cookie).status == 404


def test_a_program_sends_the_password(ask: Callable[..., Reply], password: str) -> None:
    """With HTTP Basic, as Prometheus does, and any user name."""
    answer = ask("/metrics", Authorization=basic(password), Accept="application/openmetrics-text;version=1.0.0")
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.body.decode().endswith("# EOF\n")
    assert (
        'probe_success{target_id="mail/berlin 1",name="Mail <Berlin>",group="",server="127.0.0.1:1"} 0'
        in answer.body.decode()
    )


def test_it_changes_nothing(ask: Callable[..., Reply]) -> None:
    """Other methods and forms of other sites are refused."""
    assert ask("/api/status", "DELETE").status == 405
    assert ask("/sign-in", "POST", body="password=x", Sec_Fetch_Site="cross-site").status == 403


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(lambda its, out: its("dynamodb").put_item(TableName=out["TargetsTable"], Item={"target_id": {"S": "x"}}), id="write-a-target"),
        pytest.param(lambda its, out: its("dynamodb").delete_item(TableName=out["StatusTable"], Key={"target_id": {"S": "x"}}), id="delete-a-status"),
        pytest.param(lambda its, out: its("dynamodb").put_item(TableName=out["HistoryTable"], Item={"pk": {"S": "x"}, "sk": {"S": "x"}}), id="write-history"),
        pytest.param(lambda its, out: its("sns").publish(TopicArn=out["AlertTopicArn"], Message="x"), id="publish"),
        pytest.param(lambda its, out: its("sqs").send_message(QueueUrl=out["BatchQueueUrl"], MessageBody="x"), id="send-to-the-queue"),
        pytest.param(lambda its, _: its("secretsmanager").list_secrets(), id="list-secrets"),
        pytest.param(lambda its, out: its("secretsmanager").put_secret_value(SecretId=out["ReportSecretArn"], SecretString="x"), id="change-its-password"),
        pytest.param(lambda its, out: its("lambda").invoke(FunctionName=out["CheckTargetsFunction"]), id="run-the-other-function"),
    ],
)  # fmt: skip
def test_its_role_can_do_nothing_else(
    guarded: Deployed, attempt: Callable[[Callable[[str], Any], dict[str, str]], Any]
) -> None:
    """What the page does not need is denied."""
    with pytest.raises(ClientError) as denied:
        attempt(guarded.with_rights_of("ReportFunction"), guarded.local.outputs)
    assert denied.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException", "AuthorizationError"}


def test_the_other_function_cannot_read_the_password(guarded: Deployed) -> None:
    """Only the page's own role can."""
    secret = {"SecretId": guarded.local.outputs["ReportSecretArn"]}
    assert guarded.with_rights_of("ReportFunction")("secretsmanager").get_secret_value(**secret)["SecretString"]
    with pytest.raises(ClientError, match="AccessDenied"):
        guarded.with_rights_of("CheckTargetsFunction")("secretsmanager").get_secret_value(**secret)


def test_the_password_is_in_no_log_and_no_setting(guarded: Deployed, password: str) -> None:
    """Neither the function's environment nor its log holds it; the secret does."""
    configuration = guarded.local.client("lambda").get_function_configuration(
        FunctionName=guarded.local.outputs["ReportFunction"]
    )
    assert password not in json.dumps(configuration, default=str)
    logs = guarded.local.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]:
            assert password not in event["message"]
    secret = guarded.local.client("secretsmanager").get_secret_value(
        SecretId=configuration["Environment"]["Variables"]["REPORT_SECRET_ARN"]
    )
    assert secret["SecretString"] == password
    assert re.fullmatch(r"[A-Za-z0-9]{32}", password)
