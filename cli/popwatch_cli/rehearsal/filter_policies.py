"""Whom an alert reaches: SNS's filter policies evaluated as SNS does. Pure.

The rules are those of https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html: all names of a
policy must match, any of a name's conditions will do, and one element of a list of values is enough.
"""

import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from popwatch.model.messages import Attributes

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who receives what: `policy` None lets everything through; `address` is fit to be shown."""

    protocol: str
    address: str
    confirmed: bool = True
    policy: Mapping[str, Any] | None = None
    by_body: bool = False

    @property
    def receiver(self) -> str:
        """Who it is, as people are shown it: `email n...@example.net`."""
        return f"{self.protocol} {self.address}"


def reaches(subscription: Subscription, attributes: Attributes) -> bool:
    """Whether a message with these attributes is delivered to a subscription, once that is confirmed.

    popwatch's messages are texts, so a policy on their body (`by_body`) lets none of them through.
    """
    if not subscription.confirmed:
        return False
    if not subscription.policy:
        return True
    return not subscription.by_body and matches(subscription.policy, attributes)


def matches(policy: Mapping[str, Any], attributes: Attributes) -> bool:
    """Whether a policy lets a message with these attributes through."""
    for name, conditions in policy.items():
        if name == "$or":
            if not any(matches(part, attributes) for part in conditions):
                return False
        elif not _any_condition(conditions, attributes.get(name)):
            return False
    return True


def _any_condition(conditions: Any, value: object) -> bool:
    choices = conditions if isinstance(conditions, list | tuple) else [conditions]
    return any(_holds(condition, value) for condition in choices)


def _holds(condition: object, value: object) -> bool:
    if isinstance(condition, Mapping) and "exists" in condition:
        return bool(condition["exists"]) == (value is not None)
    if value is None:
        return False
    values = value if isinstance(value, tuple) else (value,)
    return any(_matches_one(condition, entry) for entry in values)


def _matches_one(condition: object, value: object) -> bool:
    if not isinstance(condition, Mapping):
        return _equal(condition, value)
    return all(_operate(str(word), operand, value) for word, operand in condition.items())


def _operate(word: str, operand: Any, value: object) -> bool:
    text = str(value)
    match word:
        case "prefix":
            return text.startswith(str(operand))
        case "suffix":
            return text.endswith(str(operand))
        case "equals-ignore-case":
            return text.lower() == str(operand).lower()
        case "wildcard":
            return _matches_wildcard(str(operand), text)
        case "anything-but":
            excluded = operand if isinstance(operand, list | tuple) else [operand]
            return not any(_matches_one(condition, value) for condition in excluded)
        case "numeric":
            return isinstance(value, int | float) and _compare(value, operand)
        case "cidr":
            return _in_network(text, str(operand))
        case _:
            return False


def _equal(condition: object, value: object) -> bool:
    if isinstance(condition, bool) or isinstance(value, bool) or condition is None:
        return condition is value
    if isinstance(condition, int | float) != isinstance(value, int | float):
        return False
    return condition == value


def _compare(value: float, operand: Sequence[Any]) -> bool:
    """Whether a number lies in a range written as `[">=", 2, "<", 5]`."""
    pairs = zip(operand[::2], operand[1::2], strict=False)
    return all(sign in _COMPARE and _COMPARE[sign](value, float(bound)) for sign, bound in pairs)


def _matches_wildcard(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def _in_network(text: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(text) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
