"""Prints an outcome as a Nagios plugin: exit code and line of check_pop. No I/O.

The format is that of monitoring-plugins 2.x (plugins/check_tcp.c). Unlike check_pop, by default a wrong greeting is
critical, the reply to QUIT is checked, and certificates are verified.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from popwatch.model.fields import TlsMode
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Target
from popwatch.model.text import counted

LEVELS = {"ok": 0, "warn": 1, "crit": 2}
STATUSES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
UNKNOWN_CODE = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The plugin's options: seconds (`-w`, `-c`), days of the certificate (`-D`), levels (`-r`, `-M`)."""

    warning_seconds: float | None = None
    critical_seconds: float | None = None
    warning_days: int | None = None
    critical_days: int = 0
    refused: str = "crit"
    mismatch: str = "crit"


@dataclass(frozen=True, slots=True)
class PluginResult:
    """The plugin's exit code and its line."""

    code: int
    line: str


def plugin_result(target: Target, outcome: Outcome, thresholds: Thresholds, now: datetime) -> PluginResult:
    """The result that a plugin gives for an outcome."""
    name = "SPOP" if target.tls is TlsMode.IMPLICIT else "POP"
    code, text = _judge(target, outcome, thresholds, now)
    data = _performance_data(target, outcome, thresholds, now)
    line = f"{name} {STATUSES[code]} - {_one_line(text)}"
    return PluginResult(code, f"{line}|{' '.join(data)}" if data else line)


def unknown(text: str) -> str:
    """The line if the test could not be made; its exit code is `UNKNOWN_CODE`."""
    return f"POP {STATUSES[UNKNOWN_CODE]} - {_one_line(text)}"


def _one_line(text: str) -> str:
    """Without line breaks, and without the bar that begins a plugin's performance data."""
    return " ".join(text.split()).replace("|", "/")


def _judge(target: Target, outcome: Outcome, thresholds: Thresholds, now: datetime) -> tuple[int, str]:
    where = f"on {target.host} port {target.port}"
    if outcome.error is None:
        shown = f" [{outcome.greeting}]" if outcome.greeting else ""
        seconds = (outcome.rtt_ms or 0.0) / 1000
        by_days, about_days = _by_days(outcome, thresholds, now)
        text = f"{seconds:.3f} second response time {where}{shown}"
        degraded = LEVELS["warn"] if outcome.failed_addresses else LEVELS["ok"]
        return max(
            _by_time(seconds, thresholds), by_days, degraded
        ), f"{text}{about_days if by_days else ''}{_fails(outcome)}"
    if outcome.error is ErrorCode.MISSING_FIELDS:
        return UNKNOWN_CODE, outcome.detail
    if outcome.error is ErrorCode.PROTOCOL and outcome.phase is Phase.GREETING:
        text = f"Unexpected response from host/socket: {outcome.greeting} ({outcome.reason})"
        return LEVELS[thresholds.mismatch], text
    code = LEVELS[thresholds.refused] if outcome.reason == "refused" else LEVELS["crit"]
    return code, f"{outcome.message} ({outcome.reason}) {where}{_fails(outcome)}"


def _fails(outcome: Outcome) -> str:
    return f", fails: {'; '.join(outcome.failed_addresses)}" if outcome.failed_addresses else ""


def _by_time(seconds: float, thresholds: Thresholds) -> int:
    """Compared as in check_tcp: strictly greater."""
    if thresholds.critical_seconds is not None and seconds > thresholds.critical_seconds:
        return 2
    return int(thresholds.warning_seconds is not None and seconds > thresholds.warning_seconds)


def _by_days(outcome: Outcome, thresholds: Thresholds, now: datetime) -> tuple[int, str]:
    if thresholds.warning_days is None:
        return 0, ""
    if outcome.certificate_expires is None:
        return 2, ", the server showed no certificate"
    days = _days_left(outcome.certificate_expires, now)
    code = 2 if days <= thresholds.critical_days else int(days <= thresholds.warning_days)
    return code, f", the certificate expires in {counted(days, 'day')}"


def _performance_data(target: Target, outcome: Outcome, thresholds: Thresholds, now: datetime) -> Sequence[str]:
    data: list[str] = []
    if outcome.rtt_ms is not None:
        limits = (thresholds.warning_seconds, thresholds.critical_seconds)
        shown = ";".join("" if limit is None else f"{limit:.6f}" for limit in limits)
        data.append(f"time={outcome.rtt_ms / 1000:.6f}s;{shown};0.000000;{target.max_test_seconds:.6f}")
    if thresholds.warning_days is not None and outcome.certificate_expires:
        days = _days_left(outcome.certificate_expires, now)
        data.append(f"cert_days={days};{thresholds.warning_days};{thresholds.critical_days}")
    return data


def _days_left(expires: datetime, now: datetime) -> int:
    return (expires - now) // timedelta(days=1)
