"""What a server says it offers: read as RFC 2449 has it, whatever is sent instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.outcomes import LONGEST_LOGIN_DELAY
from popwatch.prober.capabilities import (
    MAX_LINES,
    NO_CAPA,
    Capabilities,
    CapabilityReader,
    TooManyLinesError,
)


def read(*lines: bytes) -> Capabilities:
    reader = CapabilityReader()
    for line in lines:
        assert reader.receive_line(line) is None
    found = reader.receive_line(b".")
    assert found
    return found


def test_a_reply_as_servers_send_it() -> None:
    """Names and arguments in upper case, whatever the server writes; SASL's are the mechanisms."""
    found = read(b"CAPA", b"TOP", b"AUTH-RESP-CODE", b"sasl Plain login", b"IMPLEMENTATION x y", b"STLS")
    assert "AUTH-RESP-CODE" in found
    assert "STLS" in found
    assert "USER" not in found
    assert found.mechanisms == ("PLAIN", "LOGIN")
    assert found.capa_supported


def test_a_server_without_capa_states_nothing() -> None:
    """That is not the same as a server that offers nothing."""
    assert not NO_CAPA.capa_supported
    assert NO_CAPA.mechanisms == ()
    assert read().capa_supported


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (b"LOGIN-DELAY 900", 900),
        (b"LOGIN-DELAY 900 USER", 900),
        (b"LOGIN-DELAY 0", 0),
        (b"LOGIN-DELAY", None),
        (b"LOGIN-DELAY -1", None),
        (b"LOGIN-DELAY soon", None),
        (b"LOGIN-DELAY 999999999", LONGEST_LOGIN_DELAY),
        (b"LOGIN-DELAY " + b"9" * 400, None),
        (b"TOP", None),
    ],
)
def test_login_delay(line: bytes, seconds: int | None) -> None:
    """Whole seconds, a day at most; anything else is not stated."""
    assert read(line).login_delay == seconds


def test_lines_are_counted() -> None:
    """A reply without an end fails; what was listed twice has the arguments of both."""
    assert read(*[b"SASL PLAIN", b"SASL LOGIN PLAIN"]).mechanisms == ("PLAIN", "LOGIN")
    reader = CapabilityReader()
    for _ in range(MAX_LINES):
        reader.receive_line(b"TOP")
    with pytest.raises(TooManyLinesError):
        reader.receive_line(b"TOP")


@given(st.lists(st.binary(max_size=60), max_size=MAX_LINES))
def test_any_lines_are_read(lines: list[bytes]) -> None:
    """No exception, and no more arguments than words that were sent."""
    reader = CapabilityReader()
    found = next((found for line in [*lines, b"."] if (found := reader.receive_line(line))), None)
    assert found
    assert sum(1 + len(arguments) for arguments in found.arguments.values()) <= sum(60 for _ in lines)
