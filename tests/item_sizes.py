"""The size of an item as DynamoDB counts it.

docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html: names and strings by their
UTF-8 bytes, a number 1 byte for two digits and 1 more, null and booleans 1, lists and maps 3 and 1 for each element.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

LARGEST_ITEM = 400 * 1024
"""docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html: 400 KB, names of attributes included."""


def size_of_item(item: Mapping[str, Any]) -> int:
    """Bytes of an item in DynamoDB's own form."""
    return sum(len(name.encode()) + size_of_value(value) for name, value in item.items())


def size_of_value(value: Mapping[str, Any]) -> int:
    """Bytes of one value, a map of its type to the value."""
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return (len(Decimal(content).normalize().as_tuple().digits) + 1) // 2 + 1
        case "NULL" | "BOOL":
            return 1
        case "L":
            return 3 + sum(1 + size_of_value(element) for element in content)
        case "M":
            return 3 + sum(1 + len(name.encode()) + size_of_value(element) for name, element in content.items())
        case _:
            raise NotImplementedError(kind)
