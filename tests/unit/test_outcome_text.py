"""The text of an outcome for people."""

from dataclasses import replace
from pathlib import Path

from popwatch.prober import loop, pop3
from popwatch.prober.tls_failures import ALERT_REASON
from popwatch_cli.output.outcome import ADVICE, conclusion, to_line
from tests.examples import FAILED, PASSED, target


def test_advice_is_for_reasons_that_exist() -> None:
    """Every reason with advice is one that the prober gives, or an alert of TLS by OpenSSL's name."""
    files = [Path(pop3.__file__), *Path(loop.__file__).parent.glob("*.py")]
    sources = "".join(path.read_text() for path in files)
    alerts = [f"{ALERT_REASON}{name}" for name in ("handshake-failure", "unrecognized-name")]
    assert [reason for reason in ADVICE if f'"{reason}"' not in sources] == alerts


def test_a_failure_says_message_detail_and_advice() -> None:
    """The exact message, then the detail, then what to do."""
    assert conclusion(target(), FAILED) == [
        "FAILED  The remote device timed out before sending a response",
        "        The server accepted the connection and said nothing.",
        f"        {ADVICE['no-greeting']}",
    ]


def test_a_reason_without_advice_says_none() -> None:
    """Without advice there is no empty line."""
    assert len(conclusion(target(), replace(FAILED, reason="odd"))) == 2


def test_lines_of_many_targets() -> None:
    """Result, id, server, and the round-trip time or the error."""
    assert to_line(target(), PASSED) == "passed  mail-berlin  pop.example.net:110  12.5 ms"
    assert to_line(target(), FAILED) == (
        "failed  mail-berlin  pop.example.net:110  The remote device timed out before sending a response "
        "(no-greeting): The server accepted the connection and said nothing."
    )
