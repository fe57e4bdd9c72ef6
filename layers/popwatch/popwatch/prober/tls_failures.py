"""Why TLS failed: OpenSSL's codes and words as reasons of an outcome, with a sentence for people. No I/O."""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from popwatch.model.outcomes import TLS_ALERT_REASON, Role
from popwatch.prober.x509 import certificates, parse

_EARLY, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED."""

_NO_ISSUER = (20, 21)
"""X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE."""

_VERIFY_REASONS = {
    _EARLY: "tls-certificate-not-yet-valid",
    _EXPIRED: "tls-certificate-expired",
    2: "tls-untrusted",  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
    18: "tls-untrusted",  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    19: "tls-untrusted",  # X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    **dict.fromkeys(_NO_ISSUER, "tls-untrusted"),
    62: "tls-name-mismatch",  # X509_V_ERR_HOSTNAME_MISMATCH
    64: "tls-name-mismatch",  # X509_V_ERR_IP_ADDRESS_MISMATCH
    66: "tls-weak-key",  # X509_V_ERR_EE_KEY_TOO_SMALL
    67: "tls-weak-key",  # X509_V_ERR_CA_KEY_TOO_SMALL
    68: "tls-weak-signature",  # X509_V_ERR_CA_MD_TOO_WEAK
}
"""OpenSSL's codes (openssl/x509_vfy.h); all others mean that a certificate breaks a rule: `tls-chain-invalid`."""

_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_(?:ALERT_)?(.+)")
"""How OpenSSL names an alert that the server sent: SSLV3_ALERT_HANDSHAKE_FAILURE, TLSV1_UNRECOGNIZED_NAME."""

_NO_CLIENT_CERTIFICATE = {
    "handshake failure",  # TLS 1.2 has no alert of its own for it (RFC 5246 section 7.4.6)
    "bad certificate",
    "certificate unknown",
    "certificate required",
    "unknown ca",
    "access denied",
}
"""Alerts by which servers refuse a client that has no certificate."""

_NO_VERSION = {"UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE"}

_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}

_WEAK_KEYS = {"DH_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL"}


@dataclass(frozen=True, slots=True)
class TlsFailure(Exception):
    """A handshake or a record failed: the outcome's reason, and what was seen."""

    reason: str
    detail: str


def untrusted(error: ssl.SSLCertVerificationError, built: Sequence[bytes], sent: Sequence[bytes]) -> TlsFailure:
    """Why a chain was refused. `built` is what OpenSSL made of what was `sent`; both are empty if not known."""
    code, now = error.verify_code, datetime.now(UTC)
    reason = _VERIFY_REASONS.get(code, "tls-chain-invalid")
    chain = certificates(built)
    over = next((it for it in chain if it.expires <= now), None)
    early = next((it for it in chain if it.begins > now), None)
    leaf = parse(sent[0]) if len(sent) == 1 else None
    if code == _EXPIRED and over:
        reason = reason if over.role is Role.LEAF else "tls-chain-expired"
        return TlsFailure(reason, f"The {over} expired on {over.expires:%Y-%m-%d} at {over.expires:%H:%M} UTC.")
    if code == _EARLY and early:
        return TlsFailure(reason, f"The {early} is valid from {early.begins:%Y-%m-%d} at {early.begins:%H:%M} UTC on.")
    if code in _NO_ISSUER and leaf and not leaf.self_issued:
        alone = f'The server sends its own certificate alone; the issuer, "{leaf.issuer}", is neither sent nor trusted.'
        return TlsFailure("tls-issuer-missing", alone)
    return TlsFailure(reason, f"OpenSSL says: {error.verify_message.rstrip('.')}.")


def failure(error: ssl.SSLError, *, wants_certificate: bool) -> TlsFailure:
    """Why a handshake or a record failed: what the server said in an alert, else what OpenSSL found.

    `wants_certificate`: the server has asked for a certificate of the client, or may have asked.
    """
    found = error.reason or "UNKNOWN"
    words = found.replace("_", " ").lower()
    if found in _NO_TLS:
        return TlsFailure("plain-text-on-tls-port", "The server does not speak TLS on this port.")
    if found in _NO_VERSION:
        return TlsFailure("tls-version-unsupported", f"The server offers no TLS version that is accepted ({words}).")
    if found == "UNSAFE_LEGACY_RENEGOTIATION_DISABLED":
        return TlsFailure("tls-legacy-renegotiation", "The server does not support secure renegotiation (RFC 5746).")
    if found in _WEAK_KEYS:
        return TlsFailure("tls-weak-key", f"OpenSSL says: {words}.")
    alert = _ALERT.fullmatch(found)
    if not alert:
        return TlsFailure("tls-handshake-failed", f"OpenSSL says: {words}.")
    name = alert[1].replace("_", " ").lower()
    detail = f"The server refused with the TLS alert: {name}."
    if name == "protocol version":
        return TlsFailure("tls-version-unsupported", detail)
    if wants_certificate and name in _NO_CLIENT_CERTIFICATE:
        return TlsFailure("tls-client-certificate-required", detail)
    return TlsFailure(f"{TLS_ALERT_REASON}{name.replace(' ', '-')}", detail)
