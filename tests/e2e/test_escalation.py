"""The filter policies of docs/escalation.md on the local stack's SNS, and the function that forwards alerts."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from popwatch.aws.alert_topics import AlertTopics
from popwatch.model.messages import Topic
from tests.e2e.deployed import Deployed
from tests.escalations import alerts, documented_policies, forwarder

pytestmark = pytest.mark.local_stack


class Webhook:
    """A web server that accepts what is posted to it, as Slack and PagerDuty do."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                webhook.received.append(json.loads(self.rfile.read(length)))
                self.send_response(202)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """No log."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    yield server
    server.close()


def subscribe(stack: Deployed, name: str, policy: dict[str, Any]) -> str:
    """A queue that subscribes to the alert topic with a policy; its URL."""
    sqs, sns = stack.local.client("sqs"), stack.local.client("sns")
    url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    attributes = {"FilterPolicy": json.dumps(policy)} if policy else {}
    topic = stack.local.outputs["AlertTopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
    return url


def received(stack: Deployed, url: str) -> list[dict[str, Any]]:
    """The messages that SNS has put into a queue."""
    sqs = stack.local.client("sqs")
    bodies: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            bodies.append(json.loads(message["Body"]))
    return bodies


def publish_all(stack: Deployed) -> None:
    outputs = stack.local.outputs
    topics = AlertTopics(stack.local.client("sns"), outputs["AlertTopicArn"], outputs["SmsTopicArn"])
    for alert in alerts():
        topics.publish(Topic.ALERT, alert)


def test_policies_deliver_what_the_table_says(stack: Deployed) -> None:
    """Each policy of the docs, with a real subscription, receives the alerts that its row marks, and no other."""
    urls = [
        subscribe(stack, f"row-{number}", documented.policy) for number, documented in enumerate(documented_policies())
    ]
    everything = subscribe(stack, "everything", {})
    publish_all(stack)
    subjects = [alert.subject for alert in alerts()]
    arrived: list[str] = []

    def all_are_there() -> bool:
        arrived.extend(message["Subject"] for message in received(stack, everything))
        return len(arrived) == len(subjects)

    stack.wait_for("all alerts", all_are_there)
    wrong = {}
    for documented, url in zip(documented_policies(), urls, strict=True):
        expected = [subject for subject, passes in zip(subjects, documented.passes, strict=True) if passes]
        found = [message["Subject"] for message in received(stack, url)]
        if sorted(found) != sorted(expected):
            wrong[documented.purpose] = found
    assert wrong == {}


def test_the_function_hands_alerts_on(stack: Deployed, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SNS really delivers, forwarded: a text for Slack, an incident opened and resolved for PagerDuty."""
    url = subscribe(stack, "function", {})
    publish_all(stack)
    messages: list[dict[str, Any]] = []

    def all_are_there() -> bool:
        messages.extend(received(stack, url))
        return len(messages) == len(alerts())

    stack.wait_for("all alerts", all_are_there)
    namespace: dict[str, Any] = {}
    exec(compile(forwarder(), "docs/escalation.md", "exec"), namespace)
    event = {"Records": [{"Sns": message} for message in messages]}
    monkeypatch.setenv("WEBHOOK_URL", webhook.url)
    namespace["handler"](event, None)
    texts = [body["text"] for body in webhook.received]
    assert len(texts) == len(alerts())
    assert any(text.startswith("*DOWN 1/3: Mail Berlin (pop.example.net:110)*\n") for text in texts)
    webhook.received.clear()
    monkeypatch.setenv("ROUTING_KEY", "key")
    monkeypatch.setenv("PAGERDUTY_URL", webhook.url)
    namespace["handler"](event, None)
    berlin = [body["event_action"] for body in webhook.received if body["dedup_key"] == "popwatch/mail-berlin"]
    assert sorted(berlin) == ["resolve", "resolve", "trigger", "trigger"]
    assert {body["routing_key"] for body in webhook.received} == {"key"}
    assert namespace["escaped"]("<!channel> & <https://x>") == "&lt;!channel&gt; &amp; &lt;https://x&gt;"
