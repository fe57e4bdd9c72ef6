"""Prints outcomes: as JSON for programs, step by step with advice for people. No I/O."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from popwatch.alerts.advice import advice
from popwatch.model.fields import TlsMode
from popwatch.model.outcomes import LoginVerdict, Outcome, Phase, RttSource
from popwatch.model.targets import Target, endpoint
from popwatch.model.text import clean, counted, iso, milliseconds

TIMES = ("rtt_ms", "dns_ms", "connect_ms", "tls_ms", "greeting_ms", "login_ms", "quit_ms")

NAME_SHOWN = 128
"""Characters of a target's id that are printed."""


OF_ALL_STEPS = {"too-slow", "mailbox-too-full"}
"""Reasons of tests in which each step went well."""

REFUSALS = {
    LoginVerdict.IN_USE: "Not logged in: another session uses the mailbox now, which is not a fault.",
    LoginVerdict.LOGIN_DELAY: "Not logged in: the server wants more time between two logins, which is not a fault.",
    LoginVerdict.REJECTED: "The server does not accept the user or the password.",
}
"""What refusals mean that are not the server's fault."""


def succeeded(outcome: Outcome) -> bool:
    """Whether the test passed, and a login with it was not rejected."""
    rejected = outcome.login is not None and outcome.login.verdict is LoginVerdict.REJECTED
    return outcome.passed and not rejected


def to_json(target: Target, outcome: Outcome) -> dict[str, Any]:
    """The outcome with the names of `docs/command.md`; durations in ms, times in ISO 8601, None if unknown."""
    return {
        "target_id": target.target_id,
        "result": "passed" if outcome.passed else "failed",
        "error": outcome.error,
        "message": outcome.message,
        "reason": outcome.reason,
        "detail": _detail(target, outcome),
        "phase": outcome.phase,
        "rtt_source": outcome.rtt_source,
        **{name: _rounded(getattr(outcome, name)) for name in TIMES},
        "address": outcome.address,
        "failed_addresses": list(outcome.failed_addresses),
        "passed_over": list(outcome.failed_first),
        "untested_addresses": outcome.untested_addresses,
        "address_age_seconds": outcome.address_age_seconds,
        "greeting": outcome.greeting,
        "tls_version": outcome.tls_version,
        "certificate_expires": iso(outcome.certificate_expires) if outcome.certificate_expires else None,
        "certificates": [
            {
                "role": found.role.value,
                "subject": found.subject,
                "expires": iso(found.expires),
                "lifetime_seconds": found.lifetime.total_seconds(),
            }
            for found in outcome.certificates
        ],
        "remarks": list(outcome.remarks),
        "login": asdict(outcome.login) if outcome.login else None,
        "started_at": iso(outcome.started_at),
    }


def steps(target: Target, outcome: Outcome, now: datetime) -> Iterator[tuple[str, str, str]]:
    """The steps of the test in their order: name, duration, and what the server showed."""
    shown = {
        "dns": "",
        "connect": outcome.address,
        "tls": ", ".join(part for part in (outcome.tls_version, _certificate(outcome, now)) if part),
        "greeting": outcome.greeting,
        "login": _mailbox(outcome),
        "quit": "",
    }
    middle = ("greeting", "tls") if target.tls is TlsMode.STARTTLS else ("tls", "greeting")
    failed = "test" if outcome.reason in OF_ALL_STEPS else outcome.phase.value if outcome.error else ""
    for name in ("dns", "connect", *middle, "login", "quit"):
        duration_ms = getattr(outcome, f"{name}_ms")
        if duration_ms is not None and name != failed:
            yield name, f"{milliseconds(duration_ms)} ms", shown[name]
    if outcome.error and outcome.phase is not Phase.CONFIGURATION:
        yield failed, "failed", outcome.reason


def conclusion(target: Target, outcome: Outcome) -> list[str]:
    """The result in one line, with remarks; after a failure also the detail and the advice."""
    if outcome.passed:
        clock = "by the kernel's clock" if outcome.rtt_source is RttSource.KERNEL else "by the program's clock"
        passed = f"PASSED  {endpoint(target)} answered after {milliseconds(outcome.rtt_ms)} ms ({clock})"
        remarks = [*outcome.address_remarks, *(f"Remark: {remark}." for remark in outcome.remarks)]
        refusal = REFUSALS.get(outcome.login.verdict) if outcome.login else None
        if outcome.login and refusal:
            remarks = [f"The server said: {outcome.login.said}", *remarks]
        if refusal and succeeded(outcome):
            remarks = [refusal, *remarks]
        first = passed if succeeded(outcome) else f"REFUSED {refusal}"
        return [first, *(f"        {line}" for line in remarks)]
    addresses = (f"        {remark}" for remark in outcome.address_remarks)
    lines = [f"FAILED  {outcome.message}", f"        {_detail(target, outcome)}", *addresses]
    advised = advice(outcome, _as_option)
    return [*lines, f"        {advised}"] if advised else lines


def _as_option(field: str, value: str) -> str:
    """A field of a target as the option of `popwatch test`: `--tls implicit`, `--no-quit`, `--ca`."""
    option = {"ca_pem": "ca", "check_quit": "no-quit", "verify_tls": "no-verify"}.get(field, field).replace("_", "-")
    return f"--{option} {value}" if value not in ("", "true", "false") else f"--{option}"


def to_line(target: Target, outcome: Outcome) -> str:
    """One line for each of many targets."""
    name = clean(target.target_id, NAME_SHOWN)
    addresses = "".join(f"  {remark}" for remark in outcome.address_remarks)
    if outcome.passed:
        return f"passed  {name}  {endpoint(target)}  {milliseconds(outcome.rtt_ms)} ms{addresses}"
    why = f"{outcome.message} ({outcome.reason}): {_detail(target, outcome)}"
    return f"failed  {name}  {endpoint(target)}  {why}{addresses}"


def _detail(target: Target, outcome: Outcome) -> str:
    """What was seen; of wrong fields all of it, of which an outcome, since it is stored, has the beginning."""
    if outcome.phase is Phase.CONFIGURATION and target.problems:
        return " ".join(problem.explanation for problem in target.problems)
    return outcome.detail


def summary(*, passed: int, failed: int) -> str:
    """The last line after those of many targets."""
    return f"{counted(passed + failed, 'target')}: {passed} passed, {failed} failed."


def _certificate(outcome: Outcome, now: datetime) -> str:
    """The certificate of the chain that expires first."""
    first = min(outcome.certificates, key=lambda found: found.expires, default=None)
    if first is None:
        return ""
    days = counted((first.expires - now) // timedelta(days=1), "day")
    return f"{first} valid for {days}, until {first.expires:%Y-%m-%d}"


def _mailbox(outcome: Outcome) -> str:
    """What the mailbox holds, if it was opened."""
    login = outcome.login
    if not login or login.messages is None or login.octets is None:
        return ""
    return f"{counted(login.messages, 'message')}, {counted(login.octets, 'octet')}"


def _rounded(time: float | None) -> float | None:
    return None if time is None else round(time, 3)
