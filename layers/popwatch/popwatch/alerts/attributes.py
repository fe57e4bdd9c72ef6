"""Message attributes as SNS takes them, and their size. Pure."""

import json
from collections.abc import Iterator

from popwatch.model.messages import Attributes

MESSAGE_BYTES = 262_144
"""Bytes of a message in UTF-8, with the names, types and values of its attributes.

docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html: 256 KiB, and more only for topics without email and SMS.
"""


def encode(attributes: Attributes) -> Iterator[tuple[str, str, str]]:
    """Each attribute's name, data type and value, as SNS takes them.

    Lists are JSON in UTF-8: escapes would make a character of three bytes one of six.
    """
    for name, value in attributes.items():
        match value:
            case int():
                yield name, "Number", str(value)
            case tuple():
                yield name, "String.Array", json.dumps(value, ensure_ascii=False)
            case _:
                yield name, "String", value


def size_of(attributes: Attributes) -> int:
    """The bytes that the attributes add to a message's size."""
    return sum(len(part.encode()) for encoded in encode(attributes) for part in encoded)
