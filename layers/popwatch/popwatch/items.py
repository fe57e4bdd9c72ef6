"""DynamoDB's form of an item, to and from plain Python values: texts, numbers, truths, lists, maps."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

Plain = dict[str, Any]
"""An item as plain values."""


class _Deserializer(TypeDeserializer):
    """boto3's own, but for numbers: that one raises for what DynamoDB writes out with over 38 digits (1E+120)."""

    def _deserialize_n(self, value: str) -> Decimal:
        return Decimal(value)


_serializer, _deserializer = TypeSerializer(), _Deserializer()


def to_item(plain: Mapping[str, object]) -> dict[str, Any]:
    """The item, each value with its type; raises TypeError for what DynamoDB has no type for."""
    return {name: _serializer.serialize(_decimals(value)) for name, value in plain.items()}


def from_item(item: Mapping[str, Any]) -> Plain:
    """The plain values of an item, whoever wrote it: sets become lists, and binary data a text that says so."""
    return {name: _plain(_deserializer.deserialize(value)) for name, value in item.items()}


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


def _plain(value: Any) -> Any:
    """A DynamoDB value as JSON would hold it; binary data, which no field takes, becomes a text that says so."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {name: _plain(entry) for name, entry in value.items()}
        case list():
            return [_plain(entry) for entry in value]
        case set():
            return sorted((_plain(entry) for entry in value), key=str)
        case str() | bool() | None:
            return value
        case _:
            return "(binary data)"
