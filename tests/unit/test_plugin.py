"""The plugin's line and exit code, in check_pop's format."""

from dataclasses import replace
from datetime import timedelta

import pytest

from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch_cli.output.nagios_plugin import Thresholds, plugin_result
from tests.examples import START, target

PASSED = Outcome(START, Phase.QUIT, rtt_ms=12.345, greeting="+OK ready")
MONTH = replace(PASSED, certificate_expires=START + timedelta(days=30, hours=1))


def failed(error: ErrorCode, phase: Phase, reason: str, **fields: str) -> Outcome:
    return Outcome(START, phase, error, reason, "A sentence.", **fields)  # type: ignore[arg-type]


def run_plugin(outcome: Outcome, thresholds: Thresholds | None = None, **fields: object) -> tuple[int, str]:
    result = plugin_result(target(**fields), outcome, thresholds or Thresholds(), START)
    return result.code, result.line


def test_the_line_of_a_pass() -> None:
    """Exactly the format of monitoring-plugins 2.x."""
    assert run_plugin(PASSED) == (
        0,
        "POP OK - 0.012 second response time on pop.example.net port 110 [+OK ready]"
        "|time=0.012345s;;;0.000000;10.000000",
    )


def test_implicit_tls_is_spop() -> None:
    """The name and port of check_spop."""
    assert run_plugin(PASSED, tls="implicit")[1].startswith(
        "SPOP OK - 0.012 second response time on pop.example.net port 995"
    )


def test_each_failing_address_is_named() -> None:
    """A warning if another one passes, else as critical as any failure."""
    addresses = ("192.0.2.8: refused", "192.0.2.9: no-greeting")
    code, line = run_plugin(replace(PASSED, failed_addresses=addresses))
    assert (code, line.partition("|")[0]) == (
        1,
        "POP WARNING - 0.012 second response time on pop.example.net port 110 [+OK ready], "
        "fails: 192.0.2.8: refused; 192.0.2.9: no-greeting",
    )
    outcome = replace(failed(ErrorCode.TIMED_OUT, Phase.GREETING, "no-greeting"), failed_addresses=addresses)
    code, line = run_plugin(outcome)
    assert code == 2
    assert line.endswith("fails: 192.0.2.8: refused; 192.0.2.9: no-greeting")


@pytest.mark.parametrize(
    ("seconds", "code", "status"),
    [(0.1, 0, "OK"), (0.5, 0, "OK"), (0.501, 1, "WARNING"), (2.0, 1, "WARNING"), (2.1, 2, "CRITICAL")],
)
def test_time_thresholds_are_strictly_greater(seconds: float, code: int, status: str) -> None:
    """`time > w` warns, `time > c` is critical."""
    found = run_plugin(replace(PASSED, rtt_ms=seconds * 1000), Thresholds(0.5, 2.0))
    assert found[0] == code
    assert found[1].startswith(f"POP {status} - ")
    assert ";0.500000;2.000000;0.000000;10.000000" in found[1]


@pytest.mark.parametrize(
    ("error", "phase", "reason", "code"),
    [
        (ErrorCode.CANNOT_CONNECT, Phase.CONNECT, "refused", 2),
        (ErrorCode.CANNOT_CONNECT, Phase.CONNECT, "unreachable", 2),
        (ErrorCode.NO_ADDRESS, Phase.DNS, "no-such-name", 2),
        (ErrorCode.TIMED_OUT, Phase.GREETING, "no-greeting", 2),
        (ErrorCode.DISCONNECTED, Phase.GREETING, "reset", 2),
        (ErrorCode.PROTOCOL, Phase.GREETING, "smtp-greeting", 2),
        (ErrorCode.PROTOCOL, Phase.QUIT, "quit-refused", 2),
        (ErrorCode.PROTOCOL, Phase.TLS, "tls-certificate-expired", 2),
        (ErrorCode.MISSING_FIELDS, Phase.CONFIGURATION, "invalid-field: port", 3),
    ],
)
def test_failures(error: ErrorCode, phase: Phase, reason: str, code: int) -> None:
    """Every failure is critical, a wrong greeting too; an invalid configuration is unknown."""
    assert run_plugin(failed(error, phase, reason))[0] == code


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 1), ("crit", 2)])
def test_refused_and_mismatch_levels(level: str, code: int) -> None:
    """`-r` is for refused connections only, `-M` for wrong greetings only; the text still says what happened."""
    refused = failed(ErrorCode.CANNOT_CONNECT, Phase.CONNECT, "refused")
    wrong = failed(ErrorCode.PROTOCOL, Phase.GREETING, "smtp-greeting", greeting="220 x")
    assert run_plugin(refused, Thresholds(refused=level))[0] == code
    assert run_plugin(wrong, Thresholds(mismatch=level))[0] == code
    assert run_plugin(wrong, Thresholds(refused=level))[0] == run_plugin(refused, Thresholds(mismatch=level))[0] == 2
    assert "Unable to connect" in run_plugin(refused, Thresholds(refused=level))[1]


@pytest.mark.parametrize(("warn", "crit", "code"), [(10, 0, 0), (30, 14, 1), (60, 30, 2), (60, 14, 1)])
def test_certificate_days(warn: int, crit: int, code: int) -> None:
    """`-D warn,crit`: the days left are in the text if too few, and always in the performance data."""
    found = run_plugin(MONTH, Thresholds(warning_days=warn, critical_days=crit))
    assert found[0] == code
    assert ("expires in 30 days" in found[1]) == bool(code)
    assert found[1].endswith(f"cert_days=30;{warn};{crit}")


def test_a_certificate_that_was_not_seen_is_critical() -> None:
    """`-D` on a plain connection finds no certificate."""
    assert run_plugin(PASSED, Thresholds(warning_days=30))[0] == 2


def test_the_bar_of_the_performance_data_is_the_only_one() -> None:
    """A server cannot forge performance data."""
    hostile = replace(PASSED, greeting="+OK |time=0s;;;;")
    assert run_plugin(hostile)[1].count("|") == 1
