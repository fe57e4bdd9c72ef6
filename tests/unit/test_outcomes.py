"""The six errors word for word, and text from a server made safe."""

from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.outcomes import ErrorCode
from popwatch.model.text import clean


def test_messages_word_for_word() -> None:
    """Codes and messages, to the letter."""
    assert {code.value: code.message for code in ErrorCode} == {
        "missing-fields": "Configuration information for this item is missing some required fields",
        "cannot-connect": "Unable to connect to the remote device",
        "no-address": "Could not obtain an IP address for the remote device",
        "timed-out": "The remote device timed out before sending a response",
        "disconnected": "Unexpected disconnection from the remote device",
        "protocol": "The response from the remote device does not adhere to protocol specification",
    }


def test_clean() -> None:
    """Escape characters, bidi overrides and line breaks are replaced; letters stay."""
    assert clean(b"+OK \x1b[31mready\r\nSubject: x", 80) == "+OK ?[31mready Subject: x"
    assert clean("caf\u00e9 \u202eevil", 80) == "caf\u00e9 ?evil"
    assert clean("caf\u00e9".encode("latin-1"), 80) == "caf\u00e9"
    assert clean(b"x" * 100, 10) == "xxxxxxx..."


@given(st.binary(max_size=2000) | st.text(max_size=2000), st.integers(3, 300))
def test_clean_is_one_short_line(said: bytes | str, limit: int) -> None:
    """Whatever a server sends, one line of printable characters is shown, not longer than the limit."""
    shown = clean(said, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
