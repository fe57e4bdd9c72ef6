"""Limits of password attempts, counted in History: all execution environments of the function share the counts.

History   sign-in#NETWORK  <window>   `attempts` of a network in a window of time
          sign-in#all      <window>   wrong attempts of all networks

An attempt is counted before the password is compared, in one conditional write: parallel attempts do not get past the
limit.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from popwatch.aws.items import from_item, to_item
from popwatch.model.text import iso

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WINDOW = timedelta(minutes=15)
MOST_PER_NETWORK = 10
"""Wrong attempts of one network in a window; further ones are refused until the next window."""

MOST_OF_ALL = 500
"""Wrong attempts of all networks in a window; further attempts of any network are refused until the next window."""


class SignInLimits:
    """Counts attempts through a DynamoDB client. Raises botocore's exceptions once its retries are used up."""

    def __init__(self, dynamodb: "DynamoDBClient", history_table: str) -> None:
        self._dynamodb, self._table = dynamodb, history_table

    def count_attempt(self, source: str, now: datetime) -> bool:
        """Count an attempt from an address. False if there have been too many: the password may not be compared."""
        response = self._dynamodb.get_item(TableName=self._table, Key=_key("all", now))
        if "Item" in response and from_item(response["Item"])["attempts"] >= MOST_OF_ALL:
            return False
        return self._add(network_of(source), now, MOST_PER_NETWORK)

    def reset(self, source: str, now: datetime) -> None:
        """The password was right: forget the attempts of the address's network."""
        self._dynamodb.delete_item(TableName=self._table, Key=_key(network_of(source), now))

    def count_wrong(self, now: datetime) -> None:
        """The password was wrong: count the attempt among those of all networks."""
        self._add("all", now, MOST_OF_ALL)

    def _add(self, network: str, now: datetime, most: int) -> bool:
        expires_at = int((_window(now) + 2 * WINDOW).timestamp())
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(network, now),
                UpdateExpression="ADD attempts :one SET expires_at = :expires_at",
                ConditionExpression="attribute_not_exists(attempts) OR attempts < :most",
                ExpressionAttributeValues=to_item({":one": 1, ":most": most, ":expires_at": expires_at}),
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True


def seconds_left(now: datetime) -> int:
    """Seconds until the next window."""
    return int((_window(now) + WINDOW - now).total_seconds()) + 1


def network_of(source: str) -> str:
    """The network whose attempts count together: an IPv4 address, or an IPv6 /64, which usually is one customer's."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return "unknown"
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def _window(now: datetime) -> datetime:
    return datetime.fromtimestamp(now.timestamp() // WINDOW.total_seconds() * WINDOW.total_seconds(), UTC)


def _key(network: str, now: datetime) -> Any:
    return to_item({"pk": f"sign-in#{network}", "sk": iso(_window(now))})
