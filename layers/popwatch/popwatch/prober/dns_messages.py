"""DNS messages (RFC 1035 section 4): a question for the addresses of a name, and what a reply to it says. No I/O.

A stub resolver needs no more: the name server follows aliases, and its reply has the addresses at their end.
"""

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum


class RecordType(IntEnum):
    """The type of a record: IPv4 (RFC 1035) or IPv6 (RFC 3596)."""

    A = 1
    AAAA = 28


NO_ERROR, NO_SUCH_NAME = 0, 3
"""Response codes that answer a question; with any other the name server has failed."""

_HEADER, _RECORD = struct.Struct("!6H"), struct.Struct("!2HIH")
_RECURSION_DESIRED, _IS_REPLY, _TRUNCATED, _CODE = 0x0100, 0x8000, 0x0200, 0x000F
_INTERNET, _POINTER = 1, 0xC0
_LONGEST_LABEL, _LONGEST_NAME = 63, 255
_FAMILIES = {RecordType.A: (socket.AF_INET, 4), RecordType.AAAA: (socket.AF_INET6, 16)}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: the message_id and the question that it answers, its response code, and the addresses in it.

    `name` is in wire form, in lower case. `truncated` means that addresses may be missing.
    """

    message_id: int
    name: bytes
    record_type: int
    code: int
    truncated: bool
    addresses: tuple[str, ...]


def encode_name(name: str) -> bytes:
    """A name in wire form, in lower case. Raises UnicodeError if it cannot be a name of the DNS."""
    text = name.removesuffix(".").lower()
    labels = (text.encode() if text.isascii() else text.encode("idna")).split(b".")
    encoded = b"".join(bytes([len(label)]) + label for label in labels if len(label) <= _LONGEST_LABEL) + b"\0"
    if not all(0 < len(label) <= _LONGEST_LABEL for label in labels) or len(encoded) > _LONGEST_NAME:
        raise UnicodeError(f"{name[:80]!r} cannot be a name: a part of it is empty or too long.")
    return encoded


def question(message_id: int, name: bytes, record_type: RecordType) -> bytes:
    """A message that asks for records of one type of a name in wire form."""
    return _HEADER.pack(message_id, _RECURSION_DESIRED, 1, 0, 0, 0) + name + struct.pack("!2H", record_type, _INTERNET)


def read_reply(data: bytes) -> Reply | None:
    """A reply; None if the bytes are not a reply to one question."""
    try:
        message_id, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
        if not flags & _IS_REPLY or questions != 1:
            return None
        position = _end_of_name(data, _HEADER.size)
        name = data[_HEADER.size : position].lower()
        record_type, _ = struct.unpack_from("!2H", data, position)
        truncated = bool(flags & _TRUNCATED)
        addresses = _addresses(data, position + 4, record_type, answers, truncated=truncated)
    except (struct.error, IndexError, ValueError):
        return None
    return Reply(message_id, name, record_type, flags & _CODE, truncated, tuple(dict.fromkeys(addresses)))


def _addresses(data: bytes, position: int, record_type: int, answers: int, *, truncated: bool) -> list[str]:
    """The addresses of the answers. Raises ValueError or the like for bytes that end too early without saying so."""
    found: list[str] = []
    family, size = _FAMILIES.get(record_type, (socket.AF_INET, -1))  # type: ignore[call-overload]
    try:
        for _ in range(answers):
            position = _end_of_name(data, position)
            found_type, record_class, _, length = _RECORD.unpack_from(data, position)
            position += _RECORD.size + length
            if position > len(data):
                raise ValueError("a record is longer than its message")
            if found_type == record_type and record_class == _INTERNET and length == size:
                found.append(socket.inet_ntop(family, data[position - length : position]))
    except (struct.error, IndexError, ValueError):
        if not truncated:
            raise
    return found


def _end_of_name(data: bytes, position: int) -> int:
    """The position after a name. A pointer ends it: where it leads does not matter here."""
    while length := data[position]:
        if length >= _POINTER:
            return position + 2
        position += 1 + length
    return position + 1
