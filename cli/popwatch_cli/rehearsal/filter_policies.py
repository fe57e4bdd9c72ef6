"""Who receives an alert: filter policies of subscriptions, evaluated by the rules of SNS. Pure.

The rules: all names of a policy must match (AND); one of the conditions of a name is enough (OR); of an attribute that
is a list (`String.Array`) one element is enough. Sources:
docs.aws.amazon.com/sns/latest/dg/and-or-logic.html
docs.aws.amazon.com/sns/latest/dg/string-value-matching.html
docs.aws.amazon.com/sns/latest/dg/numeric-value-matching.html
docs.aws.amazon.com/sns/latest/dg/attribute-key-matching.html
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
    """A receiver and its filter: without a `policy` it receives everything; `address` is masked."""

    protocol: str
    address: str
    confirmed: bool = True
    policy: Mapping[str, Any] | None = None
    by_body: bool = False
    anyone_may_end: bool = False
    """Whether the link in each of its emails ends it, for anyone (`ConfirmationWasAuthenticated` is false)."""

    @property
    def receiver(self) -> str:
        """The receiver as it is shown to people: `email n...@example.net`."""
        return f"{self.protocol} {self.address}"


def reaches(subscription: Subscription, attributes: Attributes) -> bool:
    """Whether a message with these attributes is delivered to a subscription."""
    if not subscription.confirmed:
        return False
    if not subscription.policy:
        return True
    # A policy on the body matches JSON bodies only; the body of an alert is plain text, so none of them passes.
    return not subscription.by_body and matches(subscription.policy, attributes)


def matches(policy: Mapping[str, Any], attributes: Attributes) -> bool:
    """Whether a message with these attributes passes a policy."""
    for name, conditions in policy.items():
        if name == "$or":  # a list of policies, of which one has to match
            if not any(matches(part, attributes) for part in conditions):
                return False
        elif not _any_condition(conditions, attributes.get(name)):
            return False
    return True


def _any_condition(conditions: Any, value: object) -> bool:
    choices = conditions if isinstance(conditions, list | tuple) else [conditions]
    return any(_matches(condition, value) for condition in choices)


def _matches(condition: object, value: object) -> bool:
    # `exists` is the only condition that can match an absent attribute; even `anything-but` requires one.
    if isinstance(condition, Mapping) and "exists" in condition:
        return bool(condition["exists"]) == (value is not None)
    if value is None:
        return False
    values = value if isinstance(value, tuple) else (value,)
    return any(_matches_one(condition, entry) for entry in values)


def _matches_one(condition: object, value: object) -> bool:
    if not isinstance(condition, Mapping):
        return _equal(condition, value)
    return all(_operate(str(operator_name), operand, value) for operator_name, operand in condition.items())


def _operate(operator_name: str, operand: Any, value: object) -> bool:
    text = str(value)
    match operator_name:
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
        case _:  # SNS may know more operators: then say that no one receives it, the safe side of an error
            return False


def _equal(condition: object, value: object) -> bool:
    # Python's True == 1, but SNS keeps booleans, null, strings and numbers apart: "2" does not match 2.
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
