"""What SNS refuses of a message, and what it drops, by its documents: imitations of SNS are more generous. Pure.

docs.aws.amazon.com/sns/latest/api/API_Publish.html, API_MessageAttributeValue.html
docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html
"""

import json
import re
from collections.abc import Mapping

MESSAGE_BYTES = 262_144
SUBJECT_CHARACTERS = 99

Values = Mapping[str, tuple[str, str]]
"""Message attributes: name -> data type and value."""

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What XML 1.0 cannot carry."""

_LINE_OR_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ABOVE_FFFF = re.compile("[\U00010000-\U0010ffff]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def refusal_of(message: str, subject: str | None, attributes: Values) -> tuple[str, str] | None:
    """Why SNS refuses a message: the error's code and text; None if it takes it."""
    for name, (data_type, value) in attributes.items():
        reason = _refusal_of_attribute(name, data_type, value)
        if reason:
            return "ParameterValueInvalid", f"The message attribute '{name}' {reason}."
    size = len(message.encode()) + sum(
        len(f"{name}{kind}{value}".encode()) for name, (kind, value) in attributes.items()
    )
    if not message:
        return "InvalidParameter", "Invalid parameter: Empty message"
    if size > MESSAGE_BYTES:
        return "InvalidParameter", "Invalid parameter: Message too long"
    if _CONTROL.search(message):
        return "InvalidParameter", "Invalid parameter: Message"
    if subject is not None and (not subject or len(subject) > SUBJECT_CHARACTERS or _LINE_OR_CONTROL.search(subject)):
        return "InvalidParameter", "Invalid parameter: Subject"
    return None


def attributes_delivered(structure: str | None, attributes: Values) -> Values:
    """The attributes that arrive: none with `MessageStructure=json`."""
    return {} if structure == "json" else attributes


def _refusal_of_attribute(name: str, data_type: str, value: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > 256:
        return "has a name that is not allowed"
    if not data_type or not value:
        return f"must contain non-empty message attribute value for message attribute type '{data_type}'"
    if _CONTROL.search(value) or _ABOVE_FFFF.search(value):
        return "has an invalid attribute value"
    if data_type == "Number" and not _NUMBER.fullmatch(value):
        return "is not a number"
    if data_type == "String.Array":
        try:
            return "" if isinstance(json.loads(value), list) else "is not a list"
        except ValueError:
            return "is not a list"
    return ""
