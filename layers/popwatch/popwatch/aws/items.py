"""DynamoDB's form of an item, to and from plain Python values: texts, numbers, truths, lists, maps."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeSerializer

Plain = dict[str, Any]
"""An item as plain values."""

_BINARY = "(binary data)"
"""What stands for binary data, which no field takes."""

FLOAT_DIGITS = 15
"""Digits of a number that a float surely keeps."""

_serializer = TypeSerializer()


def to_item(plain: Mapping[str, object]) -> dict[str, Any]:
    """The item, each value with its type; raises TypeError for what DynamoDB has no type for."""
    return {name: _serializer.serialize(_decimals(value)) for name, value in plain.items()}


def from_item(item: Mapping[str, Any]) -> Plain:
    """The plain values of an item, whoever wrote it: sets become lists, and binary data a text that says so.

    Not by boto3, which takes three times as long over a month's report, and raises for a number that DynamoDB writes
    out with over 38 digits (1E+120).
    """
    return {name: value["S"] if "S" in value else _plain(value) for name, value in item.items()}


def _decimals(value: object) -> object:
    """`value` with floats as decimals, the only numbers with a fraction that boto3 takes."""
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
    """A DynamoDB value, which is a map of its type to it, as JSON would hold it."""
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
