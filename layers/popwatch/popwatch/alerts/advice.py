"""What to do about a failed test, by its reason: for alerts, and for `popwatch test`. Pure."""

import re
from collections.abc import Callable

from popwatch.model.outcomes import TLS_ALERT_REASON, ErrorCode, Outcome
from popwatch.model.posture import CHAIN_ADVICE

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
    "no-greeting": "A TLS server waits for the client: is this a port for implicit TLS ({tls=implicit})?",
    "tls-on-plain-port": "This is a TLS server: use {tls=implicit}.",
    "plain-text-on-tls-port": "This server speaks plain text: use {tls=starttls} or {tls=none}.",
    "smtp-greeting": "This is a mail submission or transfer port. POP3 uses 110 or 995.",
    "ftp-greeting": "This is an FTP port. POP3 uses 110 or 995.",
    "smtp-or-ftp-greeting": "This is a mail transfer or FTP port. POP3 uses 110 or 995.",
    "imap-greeting": "This is an IMAP port. POP3 uses 110 or 995.",
    "ssh-greeting": "This is an SSH port. POP3 uses 110 or 995.",
    "http-greeting": "This is a web server's port. POP3 uses 110 or 995.",
    "unexpected-greeting": "If that is how this server greets, accept it with {greeting}.",
    "expected-text-missing": "Another server may answer here. If this one greets otherwise now, change {expect}.",
    "closed-before-greeting": "The server may refuse this client, or have too many connections: see its log.",
    "no-tls-answer": "Is this a port for plain text ({tls=none}) or STLS ({tls=starttls})?",
    "tls-handshake-failed": "The log of the server may say more.",
    "tls-version-unsupported": "The server is old: accept its version with {tls_min=1.0} or 1.1, or update it.",
    "tls-legacy-renegotiation": "Update the server, or accept it as it is with {legacy_renegotiation=true}.",
    "tls-client-certificate-required": (
        "The server admits only clients with a certificate, which popwatch does not have: watch another of its ports."
    ),
    "tls-alert-handshake-failure": (
        "There is no cipher in common: popwatch needs ECDHE with AES or ChaCha20; {tls_min=1.0} allows older ones."
    ),
    "tls-alert-unrecognized-name": "The server does not serve this name: give another with {tls_name}.",
    "mailbox-too-full": "No one deletes its mail, or more comes than usual: see the mailbox, or raise its limit.",
    "too-slow": "It answers, but slower than its `max_rtt_ms` allows: see its load, and the network path to it.",
    "no-quit-reply": "If this server never answers QUIT, do not wait for the reply: {check_quit=false}.",
    "no-login-reply": "The server greets, and what is behind it does not answer: see the mail store, and its log.",
    "closed-before-login-reply": "The server ended the connection at the login: its log says why.",
    "login-sys-temp": "The server says that it has a fault which will pass: see its log, and the mail store.",
    "login-sys-perm": "The server says that a person must act: see its log, and this user's mailbox.",
    "login-failed": "The server refuses, and does not blame user or password: see its log, and the mail store.",
    "login-refused": (
        "The user or the password may be wrong, or the server may have a fault: it does not say which. See its log."
    ),
    "mechanism-not-offered": "The server does not offer this way to log in: use another mechanism.",
    "stat-refused": "The user is logged in, but the mailbox cannot be read: see the mail store.",
    "stls-refused": "The server refuses STLS on this port: use {tls=implicit} on port 995.",
    "stls-injection": (
        "Plain text followed the reply to STLS, before TLS began: someone on the network path may add replies "
        "(CVE-2020-14954), or the server is faulty. Use {tls=implicit} on port 995, and update the server."
    ),
    "tls-certificate-not-yet-valid": CHAIN_ADVICE["tls-certificate-not-yet-valid"],
    "service-unavailable": "The server answers, but says that it cannot serve clients now.",
    "tls-certificate-expired": "Renew the certificate, and let the server load it; {verify_tls=false} skips the check.",
    "tls-chain-expired": "The server must send another: install the chain that its authority issues now.",
    "tls-chain-invalid": "A certificate breaks a rule: get a new one, or skip the check with {verify_tls=false}.",
    "tls-issuer-missing": (
        "The server must send the intermediate certificate too (fullchain.pem, not cert.pem). "
        "If the issuer is your own authority, give it with {ca_pem}."
    ),
    "tls-weak-key": "RSA keys need 2,048 bits: have it issued for a new key, or accept old servers with {tls_min=1.1}.",
    "tls-weak-signature": "SHA-1 is not accepted: get a new one, or accept old servers with {tls_min=1.1}.",
    "tls-name-mismatch": "The certificate is for another name: give that name with {tls_name}.",
    "tls-untrusted": (
        "The certificate's authority is not known: give your own with {ca_pem}, or use {verify_tls=false}."
    ),
}
"""What to do, by reason, unless the reason already says it. Braces hold a field of a target, with its value if any."""

_FIELD = re.compile(r"\{(\w+)=?([^}]*)\}")


def advice(outcome: Outcome, write: Callable[[str, str], str]) -> str:
    """What to do about a failed test, or an empty text; `write` makes words of a field and its value, if it has one."""
    if outcome.error is ErrorCode.MISSING_FIELDS:
        return ""
    is_alert = outcome.reason.startswith(TLS_ALERT_REASON)
    text = ADVICE.get(outcome.reason) or (ADVICE["tls-handshake-failed"] if is_alert else "")
    return _FIELD.sub(lambda found: write(found[1], found[2]), text)


def as_field(name: str, value: str) -> str:
    """A field as `popwatch targets put` takes it: `tls=implicit`."""
    return f"`{name}={value}`" if value else f"`{name}`"
