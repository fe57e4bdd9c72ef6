"""Certificates of any bytes: what is read of them, and that nothing else happens."""

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from popwatch.model.outcomes import SUBJECT_SHOWN, Certificate, Role
from popwatch.model.serialization import deserialize, serialize
from popwatch.prober.x509 import CACHED_BYTES, certificates, names_of, parse
from tests.chains import NAME, authority, made, server

PEM = Path(certifi.where()).read_text()
END = "-----END CERTIFICATE-----\n"
PUBLIC = [ssl.PEM_cert_to_DER_cert(f"{part[part.index('-----BEGIN') :]}{END}") for part in PEM.split(END)[:-1]]
ROOT = made("Root", extensions=authority())
OWN = made(NAME, None, ROOT, server()).certificate.public_bytes(Encoding.DER)


@pytest.mark.filterwarnings("ignore:Parsed a serial number:cryptography.utils.CryptographyDeprecationWarning")
def test_every_public_root_is_read() -> None:
    """Names and dates as another library reads them, of all that certifi has."""
    assert len(PUBLIC) > 100
    for der in PUBLIC:
        found, expected = parse(der), x509.load_der_x509_certificate(der)
        assert found is not None
        assert (found.begins, found.expires) == (expected.not_valid_before_utc, expected.not_valid_after_utc)
        assert found.self_issued
        names = {str(part.value) for part in expected.subject}
        assert found.subject in names
        [certificate] = certificates([der])
        assert (certificate.role, certificate.begins) == (Role.LEAF, found.begins)


@pytest.mark.parametrize(
    ("called", "names", "expected"),
    [
        (NAME, ["Mail.Example.net", "b.test"], {"mail.example.net", "b.test"}),
        (NAME, ["Mail.Example.net.", "mail.example.net"], {"mail.example.net"}),
        ("", ["b.test", "192.0.2.7"], {"b.test", "192.0.2.7"}),
        ("Mail.Example.net", [], {"mail.example.net"}),
        ("Mail.Example.net.", [], {"mail.example.net"}),
        ("Mail.Example.net", ["192.0.2.7"], {"mail.example.net", "192.0.2.7"}),
        ("", ["192.0.2.7", "2001:DB8:0::7"], {"192.0.2.7", "2001:db8::7"}),
        ("", [], set()),
    ],
)
def test_the_names_of_a_certificate(called: str, names: list[str], expected: set[str]) -> None:
    """Without case and final dot; what its subject is called counts only if there is no DNS name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)] if called else [])
    holder = made(subject, None, ROOT, server(*names) if names else ())
    assert names_of(holder.certificate.public_bytes(Encoding.DER)) == expected


@pytest.mark.parametrize(
    ("common", "unit", "names", "expected"),
    [
        ("pop", "Mail", ["a.test"], "pop"),
        ("", "Mail", ["A.test", "b.test"], "A.test"),
        ("", "Mail", ["192.0.2.7"], "Mail"),
        ("", "", ["a.test"], "a.test"),
        ("", "", ["x" * 300], "x" * (SUBJECT_SHOWN - 3) + "..."),
        ("", "", [], ""),
    ],
)
def test_what_a_certificate_is_called(common: str, unit: str, names: list[str], expected: str) -> None:
    """An alert says which one it is about: those without a common name have their first DNS name."""
    parts = [(NameOID.COMMON_NAME, common), (NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    subject = x509.Name([x509.NameAttribute(kind, text) for kind, text in parts if text])
    holder = made(subject, None, ROOT, server(*names) if names else ())
    found = parse(holder.certificate.public_bytes(Encoding.DER))
    assert found is not None
    assert found.subject == expected


@pytest.mark.filterwarnings("ignore:Parsed a serial number:cryptography.utils.CryptographyDeprecationWarning")
def test_the_names_of_every_public_root() -> None:
    """Authorities have no DNS names, whatever extensions they have: each is what it is called."""
    for der in PUBLIC:
        called = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert names_of(der) == {str(part.value).lower() for part in called}


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([OWN, PUBLIC[0], PUBLIC[-1]]),
    st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=3)), max_size=4),
    st.integers(0, 3000),
)
def test_a_certificate_with_other_bytes(der: bytes, changes: list[tuple[int, bytes]], length: int) -> None:
    """Changed anywhere, and cut: it is read or refused, and its names can be shown."""
    for position, data in changes:
        der = der[:position] + data + der[position + len(data) :]
    for found in (parse(der), parse(der[:length])):
        if found:
            assert found.begins.tzinfo is found.expires.tzinfo is not None
            assert all(len(name) <= SUBJECT_SHOWN and name.isprintable() for name in (found.subject, found.issuer))
    assert all(name == name.lower() for name in names_of(der) | names_of(der[:length]))
    for certificate in certificates([der, der[:length]]):
        assert certificate.begins <= certificate.expires


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Mostly no certificate, never an exception."""
    assert parse(data) is None or data[:1] == b"0"


def test_dates_before_1950_count_as_1950() -> None:
    """No certificate has them by the RFC, and in zones west of Greenwich the first hours of the year 1 are none."""
    der = made(NAME, None, ROOT, server(), days=(0, 12_000)).certificate.public_bytes(Encoding.DER)
    [expires] = re.findall(rb"20\d{12}Z", der)  # of a date after 2049; the other one has two digits of the year
    found = parse(der.replace(expires, b"00010101000000Z"))
    assert found is not None
    assert found.expires == datetime(1950, 1, 1, tzinfo=UTC)
    [certificate] = certificates([der.replace(expires, b"99991231235959Z")])
    assert certificate.expires == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert certificate.begins == parse(der).begins  # type: ignore[union-attr]
    assert deserialize(Certificate, serialize(certificate)) == certificate


def test_a_long_certificate_is_not_kept() -> None:
    """256 KB for each test of a hostile server would fill the function's memory."""
    names = [f"{number}.{'x' * 50}.example.net" for number in range(100)]
    der = made(NAME, None, ROOT, server(*names)).certificate.public_bytes(Encoding.DER)
    assert len(der) > CACHED_BYTES
    first, again = parse(der), parse(der)
    assert first == again is not None
    assert first is not again
    assert parse(OWN) is parse(OWN)
