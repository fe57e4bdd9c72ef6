"""Messages of the DNS: what is asked, what a reply says, and that no bytes of a name server raise."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.prober.dns_messages import RecordType, encode_name, question, read_reply

NAME = encode_name("Pop.Example.net.")


def reply(*records: bytes, flags: int = 0x8180, count: int | None = None, name: bytes = NAME) -> bytes:
    header = struct.pack("!6H", 7, flags, 1, len(records) if count is None else count, 0, 0)
    return header + name + struct.pack("!2H", RecordType.A, 1) + b"".join(records)


def record(record_type: int, data: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + struct.pack("!2HIH", record_type, 1, 300, len(data)) + data


ADDRESS = record(RecordType.A, socket.inet_aton("192.0.2.7"))
ALIAS = record(5, b"\x03mx1\xc0\x10")


def test_a_question() -> None:
    """The bytes of RFC 1035 section 4.1: a header that asks for recursion, then the name, its type and its class."""
    asked = question(0x1234, NAME, RecordType.AAAA)
    assert asked == b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03pop\x07example\x03net\0\x00\x1c\x00\x01"


def test_a_reply_with_an_alias() -> None:
    """The addresses at the end of the alias are found, each once, whoever owns them."""
    found = read_reply(
        reply(ALIAS, ADDRESS, record(RecordType.A, socket.inet_aton("192.0.2.8"), b"\x03mx1\0"), ADDRESS)
    )
    assert found is not None
    assert (found.message_id, found.name, found.record_type, found.code) == (7, NAME, RecordType.A, 0)
    assert found.addresses == ("192.0.2.7", "192.0.2.8")
    assert not found.truncated


def test_other_records_are_not_addresses() -> None:
    """Nor are addresses of the other family, of another class or of a wrong length."""
    other = (
        record(RecordType.AAAA, bytes(16)),
        record(RecordType.A, bytes(5)),
        b"\xc0\x0c" + struct.pack("!2HIH", 1, 3, 1, 4) + bytes(4),
    )
    found = read_reply(reply(*other))
    assert found is not None
    assert found.addresses == ()


def test_a_truncated_reply() -> None:
    """What is there before the cut is used, also if the last record is not whole."""
    found = read_reply(reply(ADDRESS, ADDRESS[:9], flags=0x8380))
    assert found is not None
    assert found.truncated
    assert found.addresses == ("192.0.2.7",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        reply(ADDRESS)[:11],
        reply(ADDRESS)[:20],
        reply(ADDRESS, flags=0x0100),  # a question
        reply(ADDRESS)[:-1],
        reply(ADDRESS, count=2),
        struct.pack("!6H", 7, 0x8180, 0, 0, 0, 0),
    ],
)
def test_what_is_not_a_reply(data: bytes) -> None:
    """Cut off without saying so, or not a reply to one question."""
    assert read_reply(data) is None


@given(st.binary(max_size=600) | st.binary(max_size=60).map(lambda tail: reply(ADDRESS)[:12] + tail))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever a name server sends is a reply or nothing."""
    read_reply(data)


@given(st.data())
def test_a_changed_reply_does_not_raise(data: st.DataObject) -> None:
    """A reply with some bytes changed, or cut."""
    changed = bytearray(reply(ALIAS, ADDRESS))
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    read_reply(bytes(changed[: data.draw(st.integers(0, len(changed)))]))


@pytest.mark.parametrize("name", ["", ".", "a..b", f"{'a' * 64}.test", ".".join(["a" * 60] * 5), "\u2603" * 70])
def test_what_cannot_be_a_name(name: str) -> None:
    """An empty or overlong part, or a name that is too long as a whole."""
    with pytest.raises(UnicodeError):
        encode_name(name)


def test_names_in_other_scripts() -> None:
    """A name that is not ASCII is asked for in its ASCII form (RFC 3490)."""
    assert encode_name("b\u00fccher.example") == b"\x0dxn--bcher-kva\x07example\0"
