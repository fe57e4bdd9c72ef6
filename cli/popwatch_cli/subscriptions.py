"""The subscriptions of topics, and what may keep SMS from arriving, as SNS reports them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from popwatch_cli.rehearsal.filter_policies import Subscription
from popwatch_cli.target_items import TEMPORARY

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


@dataclass(frozen=True, slots=True)
class Subscribers:
    """The subscriptions of topics, with sentences on what may keep alerts from them and on what is not known."""

    subscriptions: tuple[Subscription, ...]
    obstacles: tuple[str, ...] = field(default=())
    unknown: tuple[str, ...] = field(default=())


def read_subscribers(sns: "SNSClient", topic_arns: Iterable[str]) -> Subscribers:
    """The subscribers of topics. Raises botocore's errors if the subscriptions themselves cannot be read."""
    subscriptions = tuple(read_subscriptions(sns, *topic_arns))
    if not any(subscription.protocol == "sms" for subscription in subscriptions):
        return Subscribers(subscriptions)
    obstacles: list[str] = []
    unknown: list[str] = []
    try:
        if sns.get_sms_sandbox_account_status()["IsInSandbox"]:
            obstacles.append(
                "The account is in the SMS sandbox: only phone numbers that have been verified receive SMS. "
                "Ask AWS to move it out."
            )
    except (ClientError, KeyError) as error:
        unknown.append(f"Whether the account is in the SMS sandbox: {_why(error)}.")
    try:
        limit = read_spend_limit(sns)
        amount = f"{limit} USD" if limit else "the account's quota, 1 USD in a new account"
        obstacles.append(f"SNS stops SMS for this month at {amount} (MonthlySpendLimit).")
    except (ClientError, KeyError) as error:
        unknown.append(f"The monthly spend limit for SMS: {_why(error)}.")
    return Subscribers(subscriptions, tuple(obstacles), tuple(unknown))


def read_subscriptions(sns: "SNSClient", *topic_arns: str) -> Iterator[Subscription]:
    """The subscriptions of topics, whose masked addresses differ where the addresses do. Raises botocore's errors.

    The queues of a `popwatch verify` that is under way are no one's receivers.
    """
    all_listed = (found for topic_arn in topic_arns for found in list_subscriptions(sns, topic_arn))
    listed = [found for found in all_listed if not found["Endpoint"].rpartition(":")[2].startswith(TEMPORARY)]
    masks = masks_of((found["Protocol"], found["Endpoint"]) for found in listed)
    for found in listed:
        protocol, address = found["Protocol"], masks[found["Protocol"], found["Endpoint"]]
        if not has_arn(found):
            yield Subscription(protocol, address, confirmed=False)
            continue
        attributes = read_attributes(sns, found["SubscriptionArn"])
        if attributes is None:
            continue
        policy = json.loads(attributes.get("FilterPolicy") or "{}")
        by_body = attributes.get("FilterPolicyScope") == "MessageBody"
        confirmed = attributes.get("PendingConfirmation", "false") != "true"
        by_link = protocol.startswith("email") and attributes.get("ConfirmationWasAuthenticated") == "false"
        yield Subscription(protocol, address, confirmed, policy or None, by_body, by_link and confirmed)


def list_subscriptions(sns: "SNSClient", topic_arn: str) -> Iterator[Mapping[str, Any]]:
    """The subscriptions of one topic as SNS lists them, without those that have ended. Raises botocore's errors.

    One that was ended by the link in an email is listed for 72 hours more, with `Deleted` in place of its ARN:
    repost.aws/knowledge-center/sns-cross-account-subscription
    """
    for page in sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic_arn):
        yield from (found for found in page["Subscriptions"] if found["SubscriptionArn"] != "Deleted")


def read_spend_limit(sns: "SNSClient") -> str | None:
    """The account's own limit for SMS, in USD a month. Raises botocore's errors.

    None if SNS names none: "By default, the spend limit is set to the maximum allowed by Amazon SNS", which is the
    account's quota, 1 USD in a new account (docs.aws.amazon.com/sns/latest/api/API_SetSMSAttributes.html).
    """
    return sns.get_sms_attributes(attributes=["MonthlySpendLimit"])["attributes"].get("MonthlySpendLimit")


def has_arn(listed: Mapping[str, Any]) -> bool:
    """Whether a listed subscription has an ARN: until it is confirmed, SNS lists `PendingConfirmation` instead."""
    return bool(listed["SubscriptionArn"].startswith("arn:"))


def read_attributes(sns: "SNSClient", subscription_arn: str) -> Mapping[str, str] | None:
    """The attributes of a subscription; None if it has ended since it was listed. Raises botocore's other errors."""
    try:
        return sns.get_subscription_attributes(SubscriptionArn=subscription_arn)["Attributes"]
    except sns.exceptions.NotFoundException:
        return None


def masks_of(endpoints: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Protocols and endpoints, each endpoint masked; where two would look the same, with what tells them apart."""
    alike: dict[tuple[str, str], set[str]] = {}
    for protocol, endpoint in endpoints:
        alike.setdefault((protocol, masked(protocol, endpoint)), set()).add(endpoint)
    masks: dict[tuple[str, str], str] = {}
    for (protocol, _), same in alike.items():
        more = 0
        while len({masked(protocol, endpoint, more) for endpoint in same}) < len(same):
            more += 1  # ends at the latest when all characters are shown
        masks |= {(protocol, endpoint): masked(protocol, endpoint, more) for endpoint in same}
    return masks


def masked(protocol: str, endpoint: str, more: int = 0) -> str:
    """An endpoint in a form that may be shown: enough to recognize it, not enough to use it.

    With `more` characters, of an address of the web of its hash, since its path may be a secret.
    """
    match protocol:
        case "email" | "email-json":
            name, _, host = endpoint.partition("@")
            return f"{name[: 1 + more]}...@{host}"
        case "sms":
            return f"{endpoint[:3]}...{endpoint[-4 - more :]}"
        case "http" | "https":
            digest = f" ({sha256(endpoint.encode()).hexdigest()[: 3 + more]})" if more else ""
            return f"{'/'.join(endpoint.split('/')[:3])}/...{digest}"
        case _:
            return ":".join(endpoint.split(":")[-1 - more :])


def _why(error: Exception) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else "AWS does not say"
