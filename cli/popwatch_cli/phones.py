"""Phones that are subscribed to the alert topic by hand, and their move to the topic whose texts are made for phones.

The alert topic's text is that of an email: by SMS it would arrive in several parts, each of which costs money.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from popwatch_cli.installation import Resources
from popwatch_cli.subscriptions import has_arn, list_subscriptions, read_attributes

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


def phones_on_alert_topic(sns: Any, alert_topic_arn: str, resources: Resources) -> list[Phone]:
    """The phones that someone subscribed to the alert topic. Raises what botocore raises."""
    _, own = resources.get(OWN_SUBSCRIPTION, ("", ""))
    return [phone for phone in _phones(sns, alert_topic_arn) if phone.arn != own]


def move_phone(sns: Any, phone: Phone, sms_topic_arn: str) -> None:
    """Subscribe a phone to the SMS topic with its filter policy, then end its subscription to the alert topic.

    In this order, so that a phone that was moved by half receives alerts twice rather than never; the next call does
    the rest. A number that the SMS topic has already keeps the policy that it has there: SNS would refuse another one.
    """
    if not any(there.number == phone.number for there in _phones(sns, sms_topic_arn)):
        sns.subscribe(TopicArn=sms_topic_arn, Protocol="sms", Endpoint=phone.number, Attributes=dict(phone.attributes))
    sns.unsubscribe(SubscriptionArn=phone.arn)


def _phones(sns: Any, topic_arn: str) -> Iterator[Phone]:
    for found in list_subscriptions(sns, topic_arn):
        if found["Protocol"] == "sms" and has_arn(found):
            attributes = read_attributes(sns, found["SubscriptionArn"])
            if attributes is not None:
                kept = {name: attributes[name] for name in KEPT if attributes.get(name)}
                yield Phone(found["SubscriptionArn"], found["Endpoint"], kept)
