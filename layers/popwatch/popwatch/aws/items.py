"""Items as DynamoDB sends them, to and from Python values: strings, numbers, booleans, lists, maps."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from popwatch.model.targets import Item

_BINARY = "(binary data)"
"""Replaces binary data, which no field takes."""

FLOAT_DIGITS = 15
"""A float keeps all digits of a number with at most this many (C's DBL_DIG)."""

_serializer = TypeSerializer()


def to_item(values: Mapping[str, object]) -> dict[str, Any]:
    """The item, each value with its type. Raises TypeError for values that DynamoDB has no type for."""
    return {name: _serializer.serialize(_decimals(value)) for name, value in values.items()}


def from_item(item: Mapping[str, Any]) -> Item:
    """The Python values of an item, even a hand-written one: sets become lists, binary data the string "(binary data)".

    boto3's own deserializer takes three times as long for a monthly report, and raises for numbers that DynamoDB sends
    with more than 38 digits (1E+120).
    """
    # Most values of a report are strings: they skip the call.
    return {name: value["S"] if "S" in value else _plain(value) for name, value in item.items()}


def _decimals(value: object) -> object:
    """`value` with decimals in place of floats, which boto3 refuses."""
    match value:
        case float():
            return Decimal(str(value))
        case Mapping():
            return {name: _decimals(entry) for name, entry in value.items()}
        case list() | tuple():
            return [_decimals(entry) for entry in value]
        case _:
            return value


def _plain(value: Mapping[str, Any]) -> Any:
    """A DynamoDB value, a map of its type to the value itself, as JSON would have it."""
    [(kind, entry)] = value.items()
    match kind:
        case "S" | "BOOL":
            return entry
        case "N":
            return _number(entry)
        case "M":
            return from_item(entry)
        case "L":
            return [_plain(part) for part in entry]
        case "SS":
            return sorted(entry)
        case "NS":
            return sorted(map(_number, entry), key=str)
        case "NULL":
            return None
        case "BS":
            return [_BINARY for _ in entry]
        case _:
            return _BINARY


def _number(text: str) -> int | float:
    if text.isdecimal():
        return int(text)
    if len(text) <= FLOAT_DIGITS and "E" not in text:
        short = float(text)
        return int(short) if short.is_integer() else short
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(number)
