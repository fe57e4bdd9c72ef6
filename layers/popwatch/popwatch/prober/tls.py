"""TLS without I/O: contexts that tests share, and an engine over memory buffers."""

import ssl
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache

import certifi

from popwatch.model.fields import TlsVersion
from popwatch.model.outcomes import Certificate
from popwatch.prober.tls_failures import TlsFailure, failure, untrusted
from popwatch.prober.x509 import X509, certificates, parse

READ_SIZE = 4096

LONGEST_CHAIN = 10
"""Certificates of a chain that are read; OpenSSL verifies up to 100, public chains have 2 to 4."""

_VERIFY_FLAGS = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
"""A certificate of `ca_pem` ends the chain, a root or not (RFC 5280 section 6.1: a trust anchor is what is trusted).

Not VERIFY_X509_STRICT, which refuses roots without key identifiers or with a basicConstraints that is not critical:
private authorities made by easy-rsa or by hand (https://github.com/python/cpython/issues/107361).
"""

_CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Python's own list (Modules/_ssl.c), which a build with `--with-ssl-default-suites=openssl` does not use.

Without DHE: the server chooses its size, and one of 10,000 bits takes the loop 0.66 s. Security level 2 refuses RSA
keys below 2,048 bits and signatures with SHA-1.
"""

_OLD_CIPHERS = "@SECLEVEL=0:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:RSA+AES:!aNULL:!eNULL:!aDSS:!AESCCM"
"""For a target with `tls_min` below 1.2. OpenSSL 3 offers TLS 1.0 and 1.1 at level 0 only, as they sign with SHA-1."""

_VERSIONS = {
    TlsVersion.TLS_1_0: ssl.TLSVersion.TLSv1,
    TlsVersion.TLS_1_1: ssl.TLSVersion.TLSv1_1,
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}

_HANDSHAKE, _CERTIFICATE = b"\x16", b"\x0b"
"""Types of a record and of a message in it (RFC 5246 sections 6.2.1 and 7.4), which a client sends if asked to."""

_DER = 2
"""`_ssl.ENCODING_DER`: the format in which the private object gives a certificate."""

_LEGACY_SERVER_CONNECT = 0x4
"""SSL_OP_LEGACY_SERVER_CONNECT, on by default until OpenSSL 3: servers without secure renegotiation (RFC 5746)."""


@dataclass(frozen=True, slots=True)
class UnusableSetting(Exception):
    """A field of the target with which no context can be made, and why."""

    field: str
    why: str


class TlsEnded(Exception):
    """The server has closed the TLS connection, or the stream has ended."""


@lru_cache(maxsize=64)
def context(
    verify: bool, ca_pem: str, lowest: TlsVersion = TlsVersion.TLS_1_2, legacy_renegotiation: bool = False
) -> ssl.SSLContext:
    """The context that targets with these settings share. Raises UnusableSetting.

    Cached, because loading the root certificates costs more CPU time than a test. Everything that decides about a
    certificate is set here, and not by Python's defaults: these differ between versions (3.13 made verification
    strict) and between builds (a distribution may hand ciphers and the lowest version over to its own OpenSSL policy),
    and `popwatch test` on a laptop has to agree with the function.
    """
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _set_lowest_version(found, lowest)
    found.set_ciphers(_CIPHERS if lowest >= TlsVersion.TLS_1_2 else _OLD_CIPHERS)
    if legacy_renegotiation:
        found.options |= _LEGACY_SERVER_CONNECT
    else:
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
        raise UnusableSetting("ca_pem", f"OpenSSL cannot read it ({error.reason or 'no reason given'})") from None
    return found


@cache
def old_context(version: TlsVersion) -> ssl.SSLContext:
    """A context that offers this version of TLS alone, and verifies nothing: to learn whether a server accepts it.

    The security level is that of this context, and of no other connection. Raises UnusableSetting.
    """
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _set_lowest_version(found, version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found.maximum_version = _VERSIONS[version]
    found.set_ciphers(_OLD_CIPHERS)
    found.options |= _LEGACY_SERVER_CONNECT
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    return found


@cache
def can_offer(version: TlsVersion) -> bool:
    """Whether the OpenSSL of this machine can begin a handshake in this version alone.

    Builds and policies of distributions leave old versions out: nothing can then be said about a server.
    """
    try:
        engine = TlsEngine(old_context(version), "localhost")
        engine.handshake()
    except (UnusableSetting, TlsFailure):
        return False
    return bool(engine.data_to_send())


def _set_lowest_version(found: ssl.SSLContext, lowest: TlsVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1 are deprecated, and asked for
        try:
            found.minimum_version = _VERSIONS[lowest]
        except ValueError:
            raise UnusableSetting("tls_min", f"the OpenSSL of this machine is built without TLS {lowest}") from None


class TlsEngine:
    """One TLS connection: takes bytes from the network, gives bytes for it.

    OpenSSL works on two memory buffers (`ssl.MemoryBIO`) instead of a socket. So the prober does all reads itself, with
    their time stamps and limits, and STLS can begin in the middle of a connection. SNI is sent unless the name is an IP
    address, which SNI cannot hold (RFC 6066 section 3).
    """

    def __init__(self, shared: ssl.SSLContext, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = shared.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.established = self._asked_for_certificate = False

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
            raise untrusted(error, self._chain("get_verified_chain"), self._chain("get_unverified_chain")) from None
        except ssl.SSLError as error:
            raise failure(error, wants_certificate=self._asked_for_certificate or self.established) from None
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
            raise failure(error, wants_certificate=self._asked_for_certificate or self.established) from None
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
        data = self._outgoing.read()
        if not self.established and data[:1] == _HANDSHAKE and data[5:6] == _CERTIFICATE:
            self._asked_for_certificate = True
        return data

    @property
    def verified(self) -> bool:
        """Whether the handshake is complete, and chain, dates and name of the certificate were verified in it."""
        settings = self._tls.context
        return self.established and settings.verify_mode is ssl.CERT_REQUIRED and settings.check_hostname

    @property
    def version(self) -> str:
        """The TLS version, such as TLSv1.3."""
        return self._tls.version() or ""

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The chain that was verified, the server's own certificate first; if nothing is verified, that one alone."""
        return certificates((self._verified() or self._leaf())[:LONGEST_CHAIN])

    @property
    def own_certificate(self) -> bytes:
        """The server's own certificate in DER, verified or not; empty before the handshake is complete."""
        return next(iter(self._leaf()), b"")

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
