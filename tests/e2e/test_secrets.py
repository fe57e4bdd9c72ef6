"""What is left of passwords after logins of a deployed stack: a search for them, in many forms, wherever they could be.

Accepted, wrong, refused with the password in the server's own words, by access tokens, and damaged; on a local AWS that
enforces IAM. What Python writes of a crash is searched as well. The function's memory holds the secrets that it sends
(docs/threats.md): of that nothing is searched, and no core is written (test_credential_reading.py).
"""

import json
import ssl
from base64 import b64encode
from binascii import hexlify
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, quote_plus, urlsplit

import pytest
import trustme

from popwatch.model.stored_credentials import path_of
from popwatch_cli.local.alert_feed import QUEUE_NAME, SMS_QUEUE_NAME
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.local.scripted_pop3.logins import PASSWORD
from tests.e2e.deployed import PROJECT, Deployed
from tests.e2e.killing import suppressed_tick
from tests.integration.test_access_tokens import Endpoint, http
from tests.tables import NAMES

pytestmark = pytest.mark.faults

RIGHT = PASSWORD.decode()
WRONG = 'canary "wrong"/&+=7d\\%'
CLIENT = "canary~client/+&=1"
TOKEN = "eyJ0eXAi.canary-token_1~="
DAMAGED = "canary-damaged-1"
SECRETS = (RIGHT, WRONG, CLIENT, TOKEN, DAMAGED)

REPEATS = "login-repeats"
"""A server that answers with what it was sent."""


@dataclass(frozen=True, slots=True)
class Case:
    """A target with a credential of its own, of the same name: its server, and what is stored."""

    name: str
    script: str
    secret: str
    mechanism: str = "user"
    endpoint: str = ""


CASES = (
    Case("right", "login", RIGHT),
    Case("plain", "login", RIGHT, "plain"),
    Case("apop", "login", RIGHT, "apop"),
    Case("wrong", "login", WRONG),
    Case("wrong-plain", "login", WRONG, "plain"),
    Case("in-use", "login-refused:[IN-USE] locked", RIGHT),
    Case("sys-temp", "login-refused:[SYS/TEMP] no", RIGHT),
    Case("repeats", REPEATS, RIGHT),
    Case("repeats-plain", REPEATS, WRONG, "plain"),
    Case("token", "login", CLIENT, "xoauth2", "grants"),
    Case("token-repeats", REPEATS, CLIENT, "xoauth2", "grants-another"),
    Case("no-token", "login", CLIENT, "xoauth2", "repeats"),
    Case("closes", "login-close", RIGHT),
)


def forms(secret: str) -> Iterator[tuple[str, str]]:
    """A secret as programs write it: each form with its name."""
    yield "plain", secret
    yield "JSON", json.dumps(secret)[1:-1]
    yield "JSON in JSON", json.dumps(json.dumps(secret)[1:-1])[1:-1]
    yield "Python", repr(secret)[1:-1]
    yield "percent-encoded", quote(secret, safe="")
    yield "form-encoded", quote_plus(secret)
    yield "hexadecimal", hexlify(secret.encode()).decode()
    yield "reversed", secret[::-1]
    yield "reversed JSON", json.dumps(secret)[1:-1][::-1]
    for skipped in range(3):  # wherever in a longer text it begins; the first and last letters depend on what is around
        coded = b64encode(b"x" * skipped + secret.encode()).decode()
        yield f"Base64 at {skipped}", coded[4 if skipped else 0 : len(coded) // 4 * 4 - 4]


def leaks(where: str, text: str) -> list[str]:
    """Each secret that a text has, with its form."""
    return [f"{name} of {secret!r} in {where}" for secret in SECRETS for name, form in forms(secret) if form in text]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Deployed]:
    """The stack with its page, where every call is checked against the caller's role."""
    trusted = authority.cert_pem.bytes().decode()
    folder = tmp_path_factory.mktemp("secrets")
    with Deployed.running(PROJECT, folder, {"AUTH": "true"}, trusted_pem=trusted, Page="on") as found:
        yield found


@pytest.fixture(scope="module")
def endpoints(authority: trustme.CA) -> Iterator[dict[str, Endpoint]]:
    """Token servers: one grants a token that is right, one another, one refuses and repeats the secret."""

    def granted(token: str) -> bytes:
        return http("200 OK", {"token_type": "Bearer", "expires_in": 3599, "access_token": token})

    refusal = {"error": "invalid_client", "error_description": f"not the secret: {CLIENT}"}
    found = {
        "grants": Endpoint(authority, granted(RIGHT)),
        "grants-another": Endpoint(authority, granted(TOKEN)),
        "repeats": Endpoint(authority, http("401 Unauthorized", refusal)),
    }
    yield found
    for endpoint in found.values():
        endpoint.close()


@pytest.fixture(scope="module")
def pop3() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


@pytest.fixture(scope="module")
def watch(
    deployed: Deployed, authority: trustme.CA, endpoints: dict[str, Endpoint], pop3: ScriptedServer
) -> Callable[[Case], int]:
    """Start the server of a case, and store its credential and its target; the server's port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    fields = {"host": "127.0.0.1", "tls": "implicit", "ca_pem": authority.cert_pem.bytes().decode()}

    def put(case: Case) -> int:
        words = ["put", case.name, "--user", "anna", "--mechanism", case.mechanism, "--secret-file", "-"]
        if case.endpoint:
            words += ["--client-id", "an-id", "--token-url", f"https://localhost:{endpoints[case.endpoint].port}/token"]
        code, said = deployed.command("credentials", *words, said=case.secret)
        assert code == 0, said
        assert leaks("popwatch credentials put", said) == []
        port = pop3.listen(case.script, tls=context)
        login = {"login": case.name, "login_every": 60, "failures_per_alert": 1, "delay_down": 10}
        deployed.put_targets(fields | login | {"target_id": case.name, "port": port})
        return port

    return put


@pytest.fixture(scope="module")
def ports(deployed: Deployed, watch: Callable[[Case], int]) -> dict[str, int]:
    """The ports of the servers of all cases, after ticks at which all have logged in."""
    found = {case.name: watch(case) for case in CASES}
    broken = f'{{"user": "anna", "secret": "{DAMAGED}"'
    deployed.local.client("ssm").put_parameter(Name=path_of("popwatch") + "damaged", Value=broken, Type="SecureString")
    deployed.put_targets({"target_id": "damaged", "host": "127.0.0.1", "tls": "implicit", "login": "damaged"})
    for minutes in (3, 2, 1):
        assert deployed.tick(datetime.now(UTC) - timedelta(minutes=minutes)) is None
    return found


def test_every_form_is_found() -> None:
    """The search itself: a secret in each form is found in a longer text."""
    for secret in SECRETS:
        for name, form in forms(secret):
            assert leaks("a text", f"...{form}..."), (secret, name)
        for around in ("", "a", "ab"):
            assert leaks("a text", b64encode(f"{around}{secret} and more".encode()).decode())
    assert leaks("a text", "canary") == []


def test_the_secrets_were_sent(ports: dict[str, int], pop3: ScriptedServer, endpoints: dict[str, Endpoint]) -> None:
    """To the servers, by the mechanism of each, and to the token servers: so there was something to leak."""
    sent = {
        name: b"".join(line for connection in pop3.connections(port) for line in connection.lines)
        for name, port in ports.items()
    }
    assert f"PASS {RIGHT}".encode() in sent["right"]
    assert f"PASS {WRONG}".encode() in sent["wrong"]
    assert b64encode(f"\0anna\0{WRONG}".encode()) in sent["repeats-plain"]
    assert b"APOP anna" in sent["apop"]
    assert b64encode(f"user=anna\1auth=Bearer {RIGHT}\1\1".encode()) in sent["token"]
    assert b64encode(f"user=anna\1auth=Bearer {TOKEN}\1\1".encode()) in sent["token-repeats"]
    assert b"AUTH" not in sent["no-token"]
    assert all(quote_plus(CLIENT, safe="~") in endpoint.requests[0] for endpoint in endpoints.values())


@pytest.mark.usefixtures("ports")
def test_tables(deployed: Deployed) -> None:
    """Every item of every table."""
    client = deployed.local.client("dynamodb")
    for name in NAMES:
        items = [
            item
            for page in client.get_paginator("scan").paginate(TableName=deployed.local.outputs[f"{name}Table"])
            for item in page["Items"]
        ]
        assert len(items) > len(CASES) or name == "History"
        assert leaks(name, json.dumps(items, default=str)) == []


@pytest.mark.usefixtures("ports")
def test_messages(deployed: Deployed) -> None:
    """All that SNS has delivered, with attributes, and what a sweep sends to the batch queue and no one receives."""
    client, sqs = deployed.local.client("lambda"), deployed.local.client("sqs")
    alerts = bodies(deployed, sqs.get_queue_url(QueueName=QUEUE_NAME)["QueueUrl"])
    attributes = [json.loads(body)["MessageAttributes"] for body in alerts]
    named = {(one["event"]["Value"], one["target_id"]["Value"]) for one in attributes}
    assert named >= {("down", "repeats"), ("down", "sys-temp"), ("credential", "wrong")}
    sms = bodies(deployed, sqs.get_queue_url(QueueName=SMS_QUEUE_NAME)["QueueUrl"])
    assert sms
    [mapping] = client.list_event_source_mappings()["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        assert deployed.tick() is None
        deployed.wait_for("a retest", lambda: waiting(deployed, "BatchQueueUrl"))
        retests = bodies(deployed, deployed.local.outputs["BatchQueueUrl"])
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    assert any("repeats" in body for body in retests)
    for body in (*alerts, *sms, *retests):
        assert leaks("a message", body) == []


@pytest.mark.usefixtures("ports")
def test_page_and_commands(deployed: Deployed) -> None:
    """The page's API, `/metrics`, and what the commands print, with all they have."""
    code, password = deployed.command("page", "--password")
    assert code == 0
    for path in ("/metrics", "/api/status", *(f"/api/targets/{case.name}" for case in CASES)):
        assert leaks(path, asked(deployed, path, password.splitlines()[0])) == []
    for words in (
        ("status", "-v"),
        ("status", "-v", "--json"),
        *(("status", "-v", name) for name in ("repeats", "wrong", "token-repeats")),
        ("history", "-v", "--all"),
        ("history", "-v", "--all", "--json"),
        ("report", "-v", "--since", "2h"),
        ("report", "-v", "--since", "2h", "--json"),
        ("doctor", "-v"),
        ("targets", "show", "-v", "--all"),
        ("credentials", "list", "-v"),
        ("credentials", "list", "-v", "--json"),
    ):
        code, said = deployed.command(*words)
        assert code in (0, 1, 2), (words, said)
        assert len(said) > 100, (words, said)
        assert leaks(" ".join(words), said) == []


@pytest.mark.usefixtures("ports")
def test_processes(deployed: Deployed) -> None:
    """Those of both functions, while they run, and the local AWS: neither arguments nor environment."""
    running = deployed.process_ids()
    assert len(running) >= 2
    for process_id in (*running, deployed.local.process_id):
        for part in ("cmdline", "environ"):
            text = Path(f"/proc/{process_id}/{part}").read_text("utf-8", "replace")
            assert text
            assert leaks(f"{part} of {process_id}", text) == []


@pytest.mark.usefixtures("ports")
def test_exceptions(deployed: Deployed, watch: Callable[[Case], int], pop3: ScriptedServer) -> None:
    """A sweep that fails after a login, since its alert reaches no topic: what Lambda answers."""
    port = watch(Case("late", REPEATS, RIGHT))
    deployed.configure(ALERT_TOPIC_ARN=deployed.local.outputs["AlertTopicArn"] + "-none")
    try:
        error = deployed.tick()
    finally:
        deployed.configure(**deployed.original)
    assert any(b"PASS" in line for connection in pop3.connections(port) for line in connection.lines)
    assert error["errorMessage"], error
    assert leaks("the error", json.dumps(error)) == []


@pytest.mark.usefixtures("ports")
def test_crashes(deployed: Deployed, watch: Callable[[Case], int], pop3: ScriptedServer, tmp_path: Path) -> None:
    """What Python writes where the function's process is aborted after a login; the next one goes on."""
    port = watch(Case("crash", REPEATS, RIGHT))
    text = tmp_path / "crash"
    with deployed.handled_by("tests.crashing_function", {"CRASH_TEXT": str(text)}):
        suppressed_tick(deployed, datetime.now(UTC))
    assert any(b"PASS" in line for connection in pop3.connections(port) for line in connection.lines)
    said = text.read_text("utf-8", "replace")
    assert "Fatal Python error: Aborted" in said
    assert "crashing_function.py" in said
    assert leaks("the text of a crash", said) == []
    assert deployed.tick() is None


@pytest.mark.usefixtures("ports")
def test_logs(deployed: Deployed) -> None:
    """Of both functions, their lines of metrics too, and of the local AWS itself; the last of these tests."""
    logs, lines = deployed.local.client("logs"), list[str]()
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        lines += [event["message"] for page in pages for event in page["events"]]
    text = "\n".join(lines)
    for known in ("CloudWatchMetrics", "repeats", "damaged"):
        assert known in text, known
    assert leaks("the log", text) == []
    assert leaks("the log of the local AWS", (deployed.local.folder / "aws.log").read_text("utf-8", "replace")) == []


def bodies(deployed: Deployed, queue_url: str) -> list[str]:
    """The messages of a queue, which are deleted."""
    sqs, found = deployed.local.client("sqs"), list[str]()
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", []):
        found += [message["Body"] for message in messages]
        for message in messages:
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    return found


def waiting(deployed: Deployed, name: str) -> int:
    """How many messages of a queue of the stack could be received now."""
    names = ["ApproximateNumberOfMessages"]
    answer = deployed.local.client("sqs").get_queue_attributes(
        QueueUrl=deployed.local.outputs[name], AttributeNames=names
    )
    return int(answer["Attributes"][names[0]])


def asked(deployed: Deployed, path: str, password: str) -> str:
    """What the page's function answers."""
    url_id = urlsplit(deployed.local.outputs["ReportUrl"]).netloc.split(".")[0]
    connection = HTTPConnection("127.0.0.1", deployed.local.port, timeout=300)
    basic = "Basic " + b64encode(f"anyone:{password}".encode()).decode()
    connection.request("GET", f"/_aws/lambda-url/{url_id}{path}", None, {"Authorization": basic})
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    assert answer.status == 200, (path, said)
    return said
