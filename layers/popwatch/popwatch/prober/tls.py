"""TLS without I/O: contexts that tests share, an engine over memory buffers, and reasons why a handshake failed."""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import certifi

from popwatch.model.outcomes import Certificate, Role
from popwatch.prober.x509 import X509, parse

READ_SIZE = 4096

_VERIFY_REASONS = {
    9: "tls-certificate-not-yet-valid",  # X509_V_ERR_CERT_NOT_YET_VALID
    10: "tls-certificate-expired",  # X509_V_ERR_CERT_HAS_EXPIRED
    62: "tls-name-mismatch",  # X509_V_ERR_HOSTNAME_MISMATCH
    64: "tls-name-mismatch",  # X509_V_ERR_IP_ADDRESS_MISMATCH
}

_VERIFY_FLAGS = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
"""A certificate of `ca_pem` ends the chain, a root or not (RFC 5280 section 6.1: a trust anchor is what is trusted).

Not VERIFY_X509_STRICT, which refuses roots without key identifiers or with a basicConstraints that is not critical:
private authorities made by easy-rsa or by hand (https://github.com/python/cpython/issues/107361).
"""

_CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Python's own list (Modules/_ssl.c), which a build with `--with-ssl-default-suites=openssl` does not use.

Security level 2 refuses RSA keys below 2,048 bits and signatures with SHA-1.
"""

_DER = 2
"""`_ssl.ENCODING_DER`: the format in which the private object gives a certificate."""

_LEGACY_SERVER_CONNECT = 0x4
"""SSL_OP_LEGACY_SERVER_CONNECT, on by default until OpenSSL 3: servers without secure renegotiation (RFC 5746)."""


@dataclass(frozen=True, slots=True)
class TlsFailure(Exception):
    """A handshake or a record failed: the outcome's reason, and OpenSSL's message."""

    reason: str
    detail: str


class TlsEnded(Exception):
    """The server has closed the TLS connection, or the stream has ended."""


@lru_cache(maxsize=64)
def context(verify: bool, ca_pem: str) -> ssl.SSLContext:
    """The context that targets with these settings share. Raises ValueError if OpenSSL cannot read `ca_pem`.

    Cached, because loading the root certificates costs more CPU time than a test. Everything that decides about a
    certificate is set here, and not by Python's defaults: these differ between versions (3.13 made verification
    strict) and between builds (a distribution may hand ciphers and the lowest version over to its own OpenSSL policy),
    and `popwatch test` on a laptop has to agree with the function.
    """
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.set_ciphers(_CIPHERS)
    found.options &= ~_LEGACY_SERVER_CONNECT
    if not verify:
        found.check_hostname = False
        found.verify_mode = ssl.CERT_NONE
        return found
    found.verify_flags = _VERIFY_FLAGS
    found.hostname_checks_common_name = True
    try:
        if ca_pem:
            found.load_verify_locations(cadata=ca_pem)
        else:
            found.load_verify_locations(cafile=certifi.where())
    except ssl.SSLError as error:
        raise ValueError(f"OpenSSL cannot read it ({error.reason or 'no reason given'})") from None
    return found


class TlsEngine:
    """One TLS connection: takes bytes from the network, gives bytes for it.

    OpenSSL works on two memory buffers (`ssl.MemoryBIO`) instead of a socket. So the prober does all reads itself, with
    their time stamps and limits, and STLS can begin in the middle of a connection. SNI is sent unless the name is an IP
    address, which SNI cannot hold (RFC 6066 section 3).
    """

    def __init__(self, shared: ssl.SSLContext, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = shared.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.established = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the network; empty bytes mean the end of the stream."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def handshake(self) -> bool:
        """Continue the handshake; true once it is complete. Raises TlsFailure or TlsEnded."""
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
        """The next decrypted bytes, empty until more arrive. Raises TlsFailure, or TlsEnded at the end."""
        try:
            data = self._tls.read(READ_SIZE)
        except ssl.SSLWantReadError:
            return b""
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise TlsEnded from None
        except ssl.SSLError as error:
            raise _failure(error) from None
        if not data:  # the server sent close_notify
            raise TlsEnded
        return data

    def encrypt(self, data: bytes) -> bytes:
        """`data` encrypted, to be sent; empty if the connection cannot carry data (no longer, or not yet)."""
        with suppress(ssl.SSLError):
            self._tls.write(data)
        return self.data_to_send()

    def close(self) -> None:
        """Queue close_notify (RFC 8446 section 6.1) if the handshake was completed."""
        # unwrap() also waits for the server's close_notify: SSLWantReadError, and the connection is closed without it.
        with suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()

    def data_to_send(self) -> bytes:
        """Bytes to be sent."""
        return self._outgoing.read()

    @property
    def version(self) -> str:
        """The TLS version, such as TLSv1.3."""
        return self._tls.version() or ""

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The chain that was verified, the server's own certificate first; if nothing is verified, that one alone."""
        return tuple(_certificates(self._verified() or self._leaf()))

    @property
    def unneeded(self) -> tuple[X509, ...]:
        """The certificates that the server sent and that the verified chain does without."""
        used = self._verified()
        sent = [der for der in self._chain("get_unverified_chain") if der not in used] if used else []
        return tuple(found for found in map(parse, sent) if found)

    def _verified(self) -> tuple[bytes, ...]:
        return () if self._tls.context.verify_mode is ssl.CERT_NONE else self._chain("get_verified_chain")

    def _leaf(self) -> tuple[bytes, ...]:
        der = self._tls.getpeercert(binary_form=True)
        return (der,) if der else ()

    def _chain(self, method: str) -> tuple[bytes, ...]:
        """A chain in DER, empty if this Python does not tell.

        `SSLObject.get_verified_chain` is public from Python 3.13 on; 3.11 and 3.12 have the same functions in the
        private object that it asks (https://github.com/python/cpython/issues/109109).
        """
        get = getattr(self._tls, method, None) or getattr(getattr(self._tls, "_sslobj", None), method, None)
        return tuple(it if isinstance(it, bytes) else it.public_bytes(_DER) for it in (get() if get else None) or ())


def _certificates(chain: tuple[bytes, ...]) -> Iterator[Certificate]:
    for position, der in enumerate(chain):
        found = parse(der)
        if found:
            ends = position == len(chain) - 1 and found.self_issued
            role = Role.LEAF if position == 0 else Role.ROOT if ends else Role.INTERMEDIATE
            yield Certificate(role, found.subject, found.expires, max(found.expires - found.begins, timedelta()))


def _failure(error: ssl.SSLError) -> TlsFailure:
    reason = error.reason or "UNKNOWN"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return TlsFailure("plain-text-on-tls-port", "The server does not speak TLS on this port.")
    return TlsFailure("tls-handshake-failed", reason.replace("_", " ").lower())
