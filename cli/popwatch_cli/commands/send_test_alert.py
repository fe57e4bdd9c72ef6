"""`popwatch alert-test`: a marked alert through the real topic, to check before an outage that alerts arrive."""

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from popwatch.alerts.character_sets import to_sms, to_subject
from popwatch.aws.alert_topics import AlertTopics, MessageRefusedError
from popwatch.decisions.judging import TICK
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import ErrorCode
from popwatch.model.targets import Target
from popwatch.model.text import utc
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation, find
from popwatch_cli.options import Choice
from popwatch_cli.output.terminal import say
from popwatch_cli.rehearsal.filter_policies import reaches
from popwatch_cli.rehearsal.simulation import first_alert, simulate, without_suppression
from popwatch_cli.selection import Selection, selecting
from popwatch_cli.subscriptions import Subscribers, read_subscribers
from popwatch_cli.target_items import targets_of, whole

NO_RECEIVER_CODE = 2


@click.command("alert-test")
@selecting(required=True)
@click.option(
    "--as",
    "event",
    type=Choice(["test", "down"]),
    default="test",
    show_default=True,
    help="Message attributes of the alert: `test`, or those of an outage's first `down` alert.",
)
@click.pass_obj
def alert_test(choice: Any, *, selection: Selection, event: str) -> None:
    """Publish a test alert, marked TEST, to both topics; show what SNS accepted and who receives it.

    Exit code 2 if any test alert has no receiver.

    \b
    Examples:
      popwatch alert-test mail-berlin
      popwatch alert-test --group customers --as down
    """
    installation = find(choice)
    targets = selection.of(targets_of(installation.target_table.read())).values()
    subscribers = read_subscribers(installation.client("sns"), installation.alert_topic_arns)
    tests = [make_test(target, event, datetime.now(UTC), installation.name) for target in targets]
    received = [_publish(installation, subscribers, test) for test in tests]
    for sentence in subscribers.obstacles:
        say(sentence)
    for sentence in subscribers.unknown:
        say(f"Not known: {sentence}")
    sys.exit(0 if all(received) else NO_RECEIVER_CODE)


def make_test(target: Target, event: str, now: datetime, stack: str) -> AlertMessage:
    """The test alert of a target. Its texts always say TEST; its attributes depend on `event`."""
    start = now.replace(second=0, microsecond=0)
    unsuppressed = without_suppression(target)
    alerted = replace(
        unsuppressed, policy=replace(unsuppressed.policy, max_alerts=max(1, unsuppressed.policy.max_alerts))
    )
    steps = simulate(alerted, timedelta(days=13), ErrorCode.TIMED_OUT, start - TICK, stack=stack)
    step = first_alert(steps)
    if step is None or step.message is None:
        raise UserError(
            f"{whole(target.target_id)} has no alert to test: with its delays there is none within two weeks."
        )
    down = step.message
    body = (
        f"This is a TEST by popwatch at {utc(now)}. Nothing has happened.\n\n"
        f"A real alert of {target.name} is sent in the same way and looks like this:\n\n{down.email}"
    )
    attributes = dict(down.attributes)
    if event == "test":
        attributes = {name: value for name, value in attributes.items() if name in ("target_id", "group", "tags")}
        attributes["event"] = "test"
    return replace(
        down,
        subject=to_subject(f"TEST: {down.subject}"),
        email=body,
        sms=to_sms(f"TEST: {down.sms}"),
        attributes=attributes,
    )


def _publish(installation: Installation, subscribers: Subscribers, message: AlertMessage) -> bool:
    """Publish one to each topic and print who receives it; whether anyone does."""
    outputs = installation.outputs
    if "SmsTopicArn" not in outputs:
        raise UserError("The stack was deployed by an older version, without an SMS topic: deploy it again first.")
    topics = AlertTopics(installation.client("sns"), outputs["AlertTopicArn"], outputs["SmsTopicArn"])
    for topic, what in ((Topic.ALERT, repr(message.subject)), (Topic.SMS, "its SMS")):
        try:
            message_id = topics.publish(topic, message)
        except MessageRefusedError as error:
            raise UserError(f"{whole(message.target_id)}: SNS refuses {what}: {error}.") from error
        say(f"{whole(message.target_id)}: SNS has accepted {what} as {message_id}.")
    received = False
    for found in subscribers.subscriptions:
        reached = reaches(found, message.attributes)
        received = received or reached
        why = "" if found.confirmed else " (not confirmed)"
        say(f"  {'reaches' if reached else 'does not reach'} {found.receiver}{why}")
    if not received:
        say("  No one receives it: subscribe to the topic, confirm a subscription, or widen a filter policy.")
    return received
