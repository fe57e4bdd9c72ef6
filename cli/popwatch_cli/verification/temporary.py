"""What a verification creates in the stack's account, and how all of it is removed again.

Every name begins with a prefix of the stack, so that the next run finds whatever is left of one that was killed.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.targets import Target, parse_target
from popwatch_cli.installation import Installation
from popwatch_cli.subscriptions import list_subscriptions
from popwatch_cli.target_items import TEMPORARY, without_id
from popwatch_cli.topic_queues import policy_for
from popwatch_cli.verification.evidence import QueueRole, TopicRole

OUTPUTS = {
    TopicRole.ALERTS: "AlertTopicArn",
    TopicRole.SMS: "SmsTopicArn",
    TopicRole.OPERATOR: "OperatorTopicArn",
}
"""The stack's outputs that name its topics; a stack of an earlier version lacks some."""

NEVER_AN_EVENT = "verify-other"
"""An event that no alert has: a filter policy for it stops every alert."""

LONG_AGO = {"from": "2000-01-01T00:00Z", "until": "2000-01-01T00:01Z"}

TEST = "This is a TEST by `popwatch verify`. Nothing has happened."

RUN_ID = "%Y%m%d%H%M%S"
"""The id of a run is the time at which it began (UTC)."""

QUEUE_SECONDS = 1.0
"""How long SQS wants one to wait for a new queue: "at least one second after the queue is created".

docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
"""

Remove = Callable[[], object]
Sleep = Callable[[float], None]


def prefix_of(stack: str) -> str:
    """How the names of what `popwatch verify` makes in a stack begin. SQS takes 80 characters, stacks may have 128."""
    return f"{TEMPORARY}{blake2b(stack.encode(), digest_size=3).hexdigest()}-"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that the user named, which must pass."""

    host: str
    port: int


@dataclass(slots=True)
class Temporary:
    """The temporary things of one run, `run_id` being its name, over the stack's clients.

    The target that must fail is a name under `.invalid`, which exists nowhere (RFC 6761 section 6.4): no one is
    bothered, and it fails as fast as the resolver answers, which is measured by it. On the local AWS it is a port of
    this machine on which no one listens, so that the local stack needs no resolver.
    """

    installation: Installation
    run_id: str
    server: Server | None = None
    earlier: frozenset[str] = frozenset()
    """The ids of earlier runs that are over: what is left of them is removed, too."""

    @classmethod
    def starting(cls, installation: Installation, server: Server | None) -> "Temporary":
        """Those of a run that begins now."""
        return cls(installation, datetime.now(UTC).strftime(RUN_ID), server)

    def client(self, service: str) -> Any:
        """The installation's client of a service."""
        return self.installation.client(service)

    @property
    def prefix(self) -> str:
        """How the names of all runs of this stack begin."""
        return prefix_of(self.installation.stack)

    @property
    def alarm(self) -> str:
        """The name of the alarm."""
        return f"{self.prefix}{self.run_id}"

    @property
    def server_id(self) -> str:
        """The target that is the user's server."""
        return f"{self.prefix}{self.run_id}-server"

    def failing_id(self, number: int) -> str:
        """The target that must fail: the first, or the second, which causes another alert."""
        return f"{self.prefix}{self.run_id}-{number}"

    @property
    def expected_reasons(self) -> frozenset[str]:
        """The reasons for which the temporary target truly fails."""
        return frozenset({"refused"} if self.installation.endpoint else {"no-such-name", "no-address-record"})

    @property
    def topics(self) -> Mapping[TopicRole, str]:
        """The stack's topics."""
        outputs = self.installation.outputs
        return {role: outputs[name] for role, name in OUTPUTS.items() if name in outputs}

    def failing_target(self, number: int) -> dict[str, object]:
        """The item of the target that must fail: one alert at its first failure, then a retest each 20 seconds."""
        host = {"host": "127.0.0.1", "port": 9} if self.installation.endpoint else {"host": "popwatch-verify.invalid"}
        return {
            "target_id": self.failing_id(number),
            "name": "TEST by popwatch verify",
            **host,
            "tls": "none",
            "failures_per_alert": 1,
            "max_alerts": 1,
            "delay_warn": 20,
            "delay_down": 20,
            "delay_lost": 20,
            "enabled": True,
            # Windows of the user's own defaults would suppress the alert: these are over.
            "maintenance": [LONG_AGO],
            "silence": LONG_AGO,
            "subject": "TEST of popwatch: {name}",
            "email": f"{TEST}\n\nThe target {{target_id}} fails on purpose, and is removed when the test ends.\n",
            "sms": "TEST {target_id}: nothing has happened.",
        }

    def parsed_target(self) -> Target:
        """That target as the function reads it, with the user's own defaults."""
        return parse_target(self.failing_target(1), without_id(self.installation.target_table.get(DEFAULTS_ID) or {}))

    def put_failing_target(self, number: int) -> None:
        """Put the target that must fail; the one before it, if any, is removed, so that it is not alerted again."""
        old = [self.failing_id(number - 1)] if number > 1 else []
        self.installation.target_table.write([self.failing_target(number)], old)

    def put_server(self) -> None:
        """Put the user's server, which causes no alert whatever its tests find."""
        if self.server is None:
            return
        tls = "implicit" if self.server.port == 995 else "none"
        item = {"target_id": self.server_id, "name": "TEST by popwatch verify", "tls": tls, "max_alerts": 0}
        item |= {"host": self.server.host, "port": self.server.port, "delay_up": 60, "enabled": True}
        self.installation.target_table.write([item])

    def subscribe_queues(self, sleep: Sleep) -> dict[QueueRole, str]:
        """Create the queues and subscribe them once they can be used; their URLs.

        SNS needs the topic to be named in the queue's policy. It needs a key of KMS only if the queue is encrypted with
        one (docs.aws.amazon.com/sns/latest/dg/sns-enable-encryption-for-topic-sqs-queue-subscriptions.html); these have
        SQS's own encryption, and how the topic is encrypted does not matter to its subscribers.
        """
        urls = {role: self._create_queue(role) for role in QueueRole}
        sleep(QUEUE_SECONDS)
        alerts = self.topics[TopicRole.ALERTS]
        matching = {"event": ["down"], "target_id": [{"prefix": f"{self.prefix}{self.run_id}"}]}
        self._subscribe(alerts, QueueRole.OTHER, {"event": [NEVER_AN_EVENT]})
        self._subscribe(alerts, QueueRole.MATCHING, matching)
        for topic in self.topics.values():
            self._subscribe(topic, QueueRole.ALL)
        return urls

    def put_alarm(self) -> None:
        """Create an alarm on a metric that does not exist, with the action of the stack's alarms, and set it off.

        Missing data keeps its state. docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_SetAlarmState.html:
        "When the updated state differs from the previous value, the action configured for the appropriate state is
        invoked."
        """
        cloudwatch = self.client("cloudwatch")
        cloudwatch.put_metric_alarm(
            AlarmName=self.alarm,
            AlarmDescription=TEST,
            Namespace="popwatch-verify",
            MetricName="nothing",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="ignore",
            AlarmActions=[self.topics[TopicRole.OPERATOR]],
        )
        cloudwatch.set_alarm_state(AlarmName=self.alarm, StateValue="ALARM", StateReason=TEST)

    def leftovers(self) -> list[str]:
        """The names of everything of this run or another one that is there. Raises botocore's errors."""
        return [name for find in self._kinds.values() for name, _ in find()]

    def run_of(self, name: str) -> str:
        """The id of the run that something belongs to."""
        return name.partition(self.prefix)[2].partition("-")[0]

    def remove(self) -> list[str]:
        """Remove everything of this run and of `earlier` ones; what AWS refuses to find or to remove, by name or kind.

        What belongs to a run of which nothing is known stays: it may have begun meanwhile. Targets come first, so that
        no further alert is caused, and queues last.
        """
        left: list[str] = []
        for kind, find in self._kinds.items():
            try:
                found = list(find())
            except (BotoCoreError, ClientError):
                left.append(kind)
                continue
            for name, remove in found:
                if self.run_of(name) not in {self.run_id, *self.earlier}:
                    continue
                try:
                    remove()
                except (BotoCoreError, ClientError):
                    left.append(name)
        return left

    @property
    def _kinds(self) -> dict[str, Callable[[], Iterable[tuple[str, Remove]]]]:
        return {
            "temporary targets": self._targets,
            "temporary alarms": self._alarms,
            "temporary subscriptions": self._subscriptions,
            "temporary queues": self._queues,
        }

    def _create_queue(self, role: QueueRole) -> str:
        """A queue that the stack's topics may send to, and no one else."""
        policy = policy_for(list(self.topics.values()), self._queue_arn(role))
        attributes = {"Policy": policy, "SqsManagedSseEnabled": "true", "MessageRetentionPeriod": "3600"}
        url: str = self.client("sqs").create_queue(QueueName=self._queue_name(role), Attributes=attributes)["QueueUrl"]
        return url

    def _subscribe(self, topic: str, role: QueueRole, policy: Mapping[str, object] | None = None) -> None:
        attributes = {"FilterPolicy": json.dumps(policy)} if policy else {}
        arn = self._queue_arn(role)
        self.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)

    def _queue_name(self, role: QueueRole) -> str:
        return f"{self.prefix}{self.run_id}-{role}"

    def _queue_arn(self, role: QueueRole) -> str:
        """A queue is in the account and region of the topics."""
        return (
            f"{self.topics[TopicRole.ALERTS].rsplit(':', 1)[0].replace(':sns:', ':sqs:', 1)}:{self._queue_name(role)}"
        )

    def _targets(self) -> Iterator[tuple[str, Remove]]:
        for target_id in self.installation.target_table.read():
            if target_id.startswith(self.prefix):
                yield f"target {target_id}", partial(self.installation.target_table.write, (), [target_id])

    def _alarms(self) -> Iterator[tuple[str, Remove]]:
        cloudwatch = self.client("cloudwatch")
        for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=self.prefix):
            for alarm in page["MetricAlarms"]:
                name = alarm["AlarmName"]
                yield f"alarm {name}", partial(cloudwatch.delete_alarms, AlarmNames=[name])

    def _subscriptions(self) -> Iterator[tuple[str, Remove]]:
        sns = self.client("sns")
        for topic in self.topics.values():
            for found in list_subscriptions(sns, topic):
                queue = found["Endpoint"].rpartition(":")[2]
                if queue.startswith(self.prefix):
                    arn = found["SubscriptionArn"]
                    yield f"subscription of {queue}", partial(sns.unsubscribe, SubscriptionArn=arn)

    def _queues(self) -> Iterator[tuple[str, Remove]]:
        """The queues that SQS lists, and those of this run, which it may not list yet."""
        sqs = self.client("sqs")
        pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=self.prefix)
        urls = {url for page in pages for url in page.get("QueueUrls", ())}
        for role in QueueRole:
            with suppress(sqs.exceptions.QueueDoesNotExist):
                urls.add(sqs.get_queue_url(QueueName=self._queue_name(role))["QueueUrl"])
        for url in sorted(urls):
            yield f"queue {url.rpartition('/')[2]}", partial(sqs.delete_queue, QueueUrl=url)
