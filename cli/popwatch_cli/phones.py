"""Phones that are subscribed to the alert topic by hand, and their move to the topic whose texts are made for phones.

The alert topic's text is that of an email: by SMS it would arrive in several parts, each of which costs money.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from popwatch_cli.installation import Installation

OWN_SUBSCRIPTION = "AlertPhoneSubscription"
"""The subscription that the template makes: CloudFormation moves it, so it is not one to move by hand."""

KEPT = ("FilterPolicyScope", "FilterPolicy", "RedrivePolicy")
"""The attributes of a subscription that move with it; others do not apply to SMS."""


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone's subscription: its ARN, its whole number, and the attributes that move with it."""

    arn: str
    number: str
    attributes: Mapping[str, str]


def phones_on_alert_topic(installation: Installation) -> list[Phone]:
    """The phones that somebody subscribed to the alert topic. Raises what botocore raises."""
    own = _own_subscription(installation)
    phones = _phones(installation.client("sns"), installation.outputs["AlertTopicArn"])
    return [phone for phone in phones if phone.arn != own]


def move_phone(sns: Any, phone: Phone, sms_topic_arn: str) -> None:
    """Subscribe a phone to the SMS topic with its filter policy, then end its subscription to the alert topic.

    In this order, so that a phone that was moved by half receives alerts twice rather than never; the next call does
    the rest. A number that the SMS topic has already keeps the policy that it has there: SNS would refuse another one.
    """
    if not any(there.number == phone.number for there in _phones(sns, sms_topic_arn)):
        sns.subscribe(TopicArn=sms_topic_arn, Protocol="sms", Endpoint=phone.number, Attributes=dict(phone.attributes))
    sns.unsubscribe(SubscriptionArn=phone.arn)


def _phones(sns: Any, topic_arn: str) -> Iterator[Phone]:
    for page in sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic_arn):
        for found in page["Subscriptions"]:
            if found["Protocol"] == "sms" and found["SubscriptionArn"].startswith("arn:"):
                try:
                    answer = sns.get_subscription_attributes(SubscriptionArn=found["SubscriptionArn"])
                except sns.exceptions.NotFoundException:  # it has ended since it was listed
                    continue
                attributes = answer["Attributes"]
                kept = {name: attributes[name] for name in KEPT if attributes.get(name)}
                yield Phone(found["SubscriptionArn"], found["Endpoint"], kept)


def _own_subscription(installation: Installation) -> str:
    pages = installation.client("cloudformation").get_paginator("list_stack_resources")
    for page in pages.paginate(StackName=installation.stack):
        for summary in page["StackResourceSummaries"]:
            if summary["LogicalResourceId"] == OWN_SUBSCRIPTION:
                return str(summary.get("PhysicalResourceId", ""))
    return ""
