"""`popwatch verify` on the deployed local stack by the fast clock, with ticks given as Scheduler would give them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import click
from botocore.exceptions import ClientError

from popwatch_cli.commands.verify import lines_of, run
from popwatch_cli.options import STACK_NAME
from popwatch_cli.verification.rules import VerificationResult
from popwatch_cli.verification.temporary import Server, Temporary
from tests.e2e.deployed import Deployed, SteppedStack

SPEED = 20
"""How much faster than the real clock a verification goes: a retest comes after a second, the least that SQS takes."""

MINUTE = 60


@dataclass
class FastTime:
    """The clock and the sleep of a verification. Each simulated minute brings a tick if the schedule is enabled."""

    stepped: SteppedStack
    elapsed: float = 0.0
    lines: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Step the clock; a tick comes when it passes a minute."""
        before, self.elapsed = self.elapsed, self.elapsed + seconds
        self.stepped.clock.set(self.elapsed)
        minute = self.elapsed // MINUTE
        if minute > before // MINUTE and schedule_of(self.stepped.stack)["State"] == "ENABLED":
            with suppress(ClientError):  # as Scheduler: a function that cannot be invoked is not its affair
                self.stepped.stack.tick(self.stepped.start + timedelta(minutes=minute))
        time.sleep(seconds / SPEED)

    def show(self, check: VerificationResult) -> None:
        """Keep a check as people see it."""
        self.lines += map(click.unstyle, lines_of(check))


def verify(stack: Deployed, server: Server | None = None) -> tuple[dict[str, VerificationResult], list[str]]:
    """Verify the stack by the fast clock; its checks by their names, and as they were shown."""
    with stack.by_stepped_clock(SPEED) as stepped:
        return verify_stepped(stepped, server)


def verify_stepped(
    stepped: SteppedStack, server: Server | None = None
) -> tuple[dict[str, VerificationResult], list[str]]:
    """Verify a stack whose clock is stepped already."""
    fast = FastTime(stepped)
    temporary = Temporary.starting(stepped.stack.installation, server)
    found = run(temporary, fast.show, stepped.clock.now, fast.sleep)
    assert temporary.leftovers() == []
    return {check.name: check for check in found}, fast.lines


def schedule_of(stack: Deployed) -> dict[str, Any]:
    """The stack's schedule, as the local AWS has it."""
    found = stack.local.client("cloudformation").describe_stack_resource(
        StackName=STACK_NAME, LogicalResourceId="CheckTargetsFunctionEachMinute"
    )
    name = found["StackResourceDetail"]["PhysicalResourceId"]
    answer: dict[str, Any] = stack.local.client("scheduler").get_schedule(Name=name)
    return answer


@contextmanager
def schedule_set(stack: Deployed, state: str) -> Iterator[None]:
    """The schedule in another state, for a while."""
    there = schedule_of(stack)
    kept = {name: there[name] for name in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description")}
    client = stack.local.client("scheduler")
    client.update_schedule(**kept, State=state)
    yield
    client.update_schedule(**kept, State=there["State"])


@contextmanager
def operator(stack: Deployed) -> Iterator[None]:
    """Somebody receives the alarms."""
    sns, topic = stack.local.client("sns"), stack.local.outputs["OperatorTopicArn"]
    queue = stack.local.client("sqs").create_queue(QueueName="operators")["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:000000000000:{queue.rpartition('/')[2]}"
    found = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    yield
    sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])
