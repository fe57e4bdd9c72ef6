"""Prints outcomes: as JSON for programs, step by step with advice for people. No I/O."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from popwatch.model.fields import TlsMode
from popwatch.model.outcomes import ErrorCode, Outcome, Phase, RttSource
from popwatch.model.targets import Target, endpoint
from popwatch.model.text import clean, iso, milliseconds
from popwatch.prober.tls_failures import ALERT_REASON

TIMES = ("rtt_ms", "dns_ms", "connect_ms", "tls_ms", "greeting_ms", "quit_ms")

NAME_SHOWN = 128
"""Characters of a target's id that are printed."""

ADVICE = {
    "refused": "Nothing listens on this port, or a firewall rejects it. POP3 and STLS use 110, implicit TLS uses 995.",
    "connect-timed-out": "A firewall may drop the packets, or the address is not in use.",
    "unreachable": "There is no route to the address from here.",
    "forbidden-address": "Give the server's own address; on a laptop, deploy with AllowLocalTargets=true.",
    "no-ipv6-route": "Give the server an IPv4 address, or test from a network with IPv6.",
    "no-such-name": "Check the spelling of the name.",
    "no-address-record": "The name exists, but has no such record (A for IPv4, AAAA for IPv6).",
    "dns-failure": "The name servers, or those of the name's zone, failed: try again, or ask another one.",
    "dns-timed-out": "The name servers, or those of the name's zone, did not answer in time.",
    "no-greeting": "A TLS server waits for the client: is this a port for implicit TLS (--tls implicit)?",
    "tls-on-plain-port": "This is a TLS server: use --tls implicit.",
    "plain-text-on-tls-port": "This server speaks plain text: use --tls starttls or --tls none.",
    "smtp-greeting": "This is a mail submission or transfer port. POP3 uses 110 or 995.",
    "ftp-greeting": "This is an FTP port. POP3 uses 110 or 995.",
    "smtp-or-ftp-greeting": "This is a mail transfer or FTP port. POP3 uses 110 or 995.",
    "imap-greeting": "This is an IMAP port. POP3 uses 110 or 995.",
    "ssh-greeting": "This is an SSH port. POP3 uses 110 or 995.",
    "http-greeting": "This is a web server's port. POP3 uses 110 or 995.",
    "unexpected-greeting": "If that is how this server greets, accept it with --greeting.",
    "expected-text-missing": "Another server may answer here. If this one greets otherwise now, change --expect.",
    "closed-before-greeting": "The server may refuse this client, or have too many connections: see its log.",
    "no-tls-answer": "Is this a port for plain text (--tls none) or STLS (--tls starttls)?",
    "tls-handshake-failed": "The log of the server may say more.",
    "tls-version-unsupported": "The server is old: accept its version with --tls-min 1.0 or 1.1, or update it.",
    "tls-legacy-renegotiation": "Update the server, or accept it as it is with --legacy-renegotiation.",
    "tls-client-certificate-required": (
        "The server admits only clients with a certificate, which popwatch does not have: watch another port of it."
    ),
    "tls-alert-handshake-failure": (
        "There is no cipher in common: popwatch needs ECDHE with AES or ChaCha20; --tls-min 1.0 allows older ones."
    ),
    "tls-alert-unrecognized-name": "The server does not serve this name: give another with --tls-name.",
    "no-quit-reply": "If this server never answers QUIT, do not wait for the reply: --no-quit.",
    "stls-refused": "The server does not offer STLS on this port: use --tls implicit on port 995.",
    "tls-certificate-not-yet-valid": "Compare the clocks of the server and of this machine.",
    "service-unavailable": "The server answers, but says that it cannot serve clients now.",
    "tls-certificate-expired": "Renew the certificate, and let the server load it; --no-verify skips the check.",
    "tls-chain-expired": "The server must send another: install the chain that its authority issues now.",
    "tls-chain-invalid": "A certificate breaks a rule: have it issued anew, or skip the check with --no-verify.",
    "tls-issuer-missing": (
        "The server must send the intermediate certificate too (fullchain.pem, not cert.pem). "
        "If the issuer is your own authority, give it with --ca."
    ),
    "tls-weak-key": "RSA keys need 2,048 bits: have it issued for a new key, or accept old servers with --tls-min 1.1.",
    "tls-weak-signature": "SHA-1 is not accepted: have it issued anew, or accept old servers with --tls-min 1.1.",
    "tls-name-mismatch": "The certificate is for another name: give that name with --tls-name.",
    "tls-untrusted": "The certificate's authority is not known: give your own with --ca, or use --no-verify.",
}
"""What to do, by reason, unless the reason already says it."""


def to_json(target: Target, outcome: Outcome) -> dict[str, Any]:
    """The outcome with the names of `docs/command.md`; durations in ms, times in ISO 8601, None if unknown."""
    return {
        "target_id": target.target_id,
        "result": "passed" if outcome.passed else "failed",
        "error": outcome.error,
        "message": outcome.message,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "phase": outcome.phase,
        "rtt_source": outcome.rtt_source,
        **{name: _rounded(getattr(outcome, name)) for name in TIMES},
        "address": outcome.address,
        "failed_addresses": list(outcome.failed_addresses),
        "passed_over": list(outcome.passed_over),
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
        "started_at": iso(outcome.started_at),
    }


def steps(target: Target, outcome: Outcome, now: datetime) -> Iterator[tuple[str, str, str]]:
    """The steps of the test in their order: name, duration, and what the server showed."""
    shown = {
        "dns": "",
        "connect": outcome.address,
        "tls": ", ".join(part for part in (outcome.tls_version, _certificate(outcome, now)) if part),
        "greeting": outcome.greeting,
        "quit": "",
    }
    middle = ("greeting", "tls") if target.tls is TlsMode.STARTTLS else ("tls", "greeting")
    for name in ("dns", "connect", *middle, "quit"):
        duration_ms = getattr(outcome, f"{name}_ms")
        if duration_ms is not None:
            yield name, f"{milliseconds(duration_ms)} ms", shown[name]
    if outcome.error and outcome.phase is not Phase.CONFIGURATION:
        yield outcome.phase.value, "failed", outcome.reason


def conclusion(target: Target, outcome: Outcome) -> list[str]:
    """The result in one line, with remarks; after a failure also the detail and the advice."""
    if outcome.passed:
        clock = "by the kernel's clock" if outcome.rtt_source is RttSource.KERNEL else "by the program's clock"
        passed = f"PASSED  {endpoint(target)} answered after {milliseconds(outcome.rtt_ms)} ms ({clock})"
        remarks = [*outcome.address_notes, *(f"Remark: {remark}." for remark in outcome.remarks)]
        return [passed, *(f"        {line}" for line in remarks)]
    notes = (f"        {note}" for note in outcome.address_notes)
    lines = [f"FAILED  {outcome.message}", f"        {outcome.detail}", *notes]
    is_alert = outcome.reason.startswith(ALERT_REASON)
    advice = ADVICE.get(outcome.reason) or (ADVICE["tls-handshake-failed"] if is_alert else None)
    if outcome.error is ErrorCode.MISSING_FIELDS or advice is None:
        return lines
    return [*lines, f"        {advice}"]


def to_line(target: Target, outcome: Outcome) -> str:
    """One line for each of many targets."""
    name = clean(target.target_id, NAME_SHOWN)
    notes = "".join(f"  {note}" for note in outcome.address_notes)
    if outcome.passed:
        return f"passed  {name}  {endpoint(target)}  {milliseconds(outcome.rtt_ms)} ms{notes}"
    return f"failed  {name}  {endpoint(target)}  {outcome.message} ({outcome.reason}): {outcome.detail}{notes}"


def summary(*, passed: int, failed: int) -> str:
    """The last line after those of many targets."""
    return f"{passed + failed} targets: {passed} passed, {failed} failed."


def _certificate(outcome: Outcome, now: datetime) -> str:
    """The certificate of the chain that expires first."""
    first = min(outcome.certificates, key=lambda found: found.expires, default=None)
    if first is None:
        return ""
    return f"{first} valid for {(first.expires - now) // timedelta(days=1)} days, until {first.expires:%Y-%m-%d}"


def _rounded(time: float | None) -> float | None:
    return None if time is None else round(time, 3)
