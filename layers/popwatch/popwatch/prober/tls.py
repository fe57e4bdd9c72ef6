"""TLS over bytes: contexts that tests share, an engine that does no I/O, and why a handshake failed."""

import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import certifi

from popwatch.prober.x509 import expires

READ_SIZE = 4096

_VERIFY_REASONS = {
    9: "tls-certificate-not-yet-valid",  # X509_V_ERR_CERT_NOT_YET_VALID
    10: "tls-certificate-expired",  # X509_V_ERR_CERT_HAS_EXPIRED
    62: "tls-name-mismatch",  # X509_V_ERR_HOSTNAME_MISMATCH
    64: "tls-name-mismatch",  # X509_V_ERR_IP_ADDRESS_MISMATCH
}


@dataclass(frozen=True, slots=True)
class TlsFailure(Exception):
    """A handshake or a record that went wrong: the reason's word, and what OpenSSL said of it."""

    reason: str
    detail: str


class TlsEnded(Exception):
    """The other side has closed the TLS connection."""


@lru_cache(maxsize=64)
def context(verify: bool, ca_pem: str) -> ssl.SSLContext:
    """The context for targets that agree in these; loading the roots costs more than a test. Raises ValueError.

    A ValueError says that `ca_pem` holds no certificates that OpenSSL can read.
    """
    if not verify:
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        return unverified
    try:
        if ca_pem:
            return ssl.create_default_context(cadata=ca_pem)
        return ssl.create_default_context(cafile=certifi.where())
    except ssl.SSLError as error:
        raise ValueError(f"OpenSSL cannot read it ({error.reason or 'no reason given'})") from None


class TlsEngine:
    """One TLS connection as bytes in, bytes out. SNI is always sent, but for addresses, which it has no form for."""

    def __init__(self, shared: ssl.SSLContext, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = shared.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.established = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the wire; none means the end of the stream."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is complete. Raises TlsFailure, or TlsEnded."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise TlsEnded from None
        except ssl.SSLCertVerificationError as error:
            reason = _VERIFY_REASONS.get(error.verify_code, "tls-untrusted")
            raise TlsFailure(reason, error.verify_message) from None
        except ssl.SSLError as error:
            raise _failure(error) from None
        self.established = True
        return True

    def read(self) -> bytes:
        """What has arrived in plain, empty if nothing has. Raises TlsFailure, or TlsEnded where the peer has closed."""
        try:
            data = self._tls.read(READ_SIZE)
        except ssl.SSLWantReadError:
            return b""
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise TlsEnded from None
        except ssl.SSLError as error:
            raise _failure(error) from None
        if not data:  # close_notify has come
            raise TlsEnded
        return data

    def encrypt(self, data: bytes) -> bytes:
        """`data` for the wire; nothing where the connection is not, or no longer, able to carry it."""
        with suppress(ssl.SSLError):
            self._tls.write(data)
        return self.data_to_send()

    def close(self) -> None:
        """Say goodbye with close_notify, if the handshake was completed."""
        with suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()

    def data_to_send(self) -> bytes:
        """Bytes for the wire."""
        return self._outgoing.read()

    @property
    def version(self) -> str:
        """The protocol's version, such as TLSv1.3."""
        return self._tls.version() or ""

    @property
    def certificate_expires(self) -> datetime | None:
        """Until when the peer's certificate is valid, verified or not."""
        der = self._tls.getpeercert(binary_form=True)
        return expires(der) if der else None


def _failure(error: ssl.SSLError) -> TlsFailure:
    word = error.reason or "UNKNOWN"
    if word in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return TlsFailure("plain-text-on-tls-port", "The server does not speak TLS on this port.")
    return TlsFailure("tls-handshake-failed", word.replace("_", " ").lower())
