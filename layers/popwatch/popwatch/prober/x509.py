"""Reads what popwatch needs of an X.509 certificate: its names, and from when until when it is valid.

Python's `ssl` decodes a certificate only if it has verified it, and popwatch reports unverified ones too. The names are
the fourth and the sixth field of `tbsCertificate`, with `validity` between them (RFC 5280 section 4.1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from itertools import islice

from popwatch.model.outcomes import CERTIFICATE_TIMES, SUBJECT_SHOWN, Certificate, Role
from popwatch.model.text import clean

CACHED_BYTES = 4096
"""Longer certificates are not kept: a server may send 256 KB, another one at every test."""

_VERSION, _EXTENSIONS, _UTC_TIME, _BMP_STRING = 0xA0, 0xA3, 0x17, 0x1E

_ALTERNATIVE_NAMES, _DNS_NAME, _IP_ADDRESS = bytes.fromhex("551d11"), 0x82, 0x87
"""subjectAltName, and what is a DNS name and an IP address in it (RFC 5280 section 4.2.1.6)."""

_ADDRESS_OCTETS = (4, 16)
"""Octets of an IPv4 and an IPv6 address."""

LONGEST_NAME = 253
"""Characters of a DNS name (RFC 1035 section 2.3.4)."""

_NAMING = (bytes.fromhex("550403"), bytes.fromhex("55040b"), bytes.fromhex("55040a"))
"""Object identifiers (X.520): common name, organizational unit, organization; the first that a name has is shown.

One without a common name, as of Let's Encrypt's profiles tlsserver and shortlived, is called by its first DNS name.
"""


@dataclass(frozen=True, slots=True)
class X509:
    """A certificate: what its subject and issuer are called, cleaned and cut, and its dates.

    `self_issued` says that both names are the same, as those of a root.
    """

    subject: str
    issuer: str
    self_issued: bool
    begins: datetime
    expires: datetime


def parse(der: bytes) -> X509 | None:
    """The certificate in DER; None for bytes that are not a certificate."""
    return _parse_cached(der) if len(der) <= CACHED_BYTES else _parse(der)


def certificates(chain: Sequence[bytes]) -> tuple[Certificate, ...]:
    """The certificates of a chain in DER, the server's own first."""
    found = []
    for position, der in enumerate(chain):
        known = parse(der)
        if known:
            is_root = position == len(chain) - 1 and known.self_issued
            role = Role.LEAF if position == 0 else Role.ROOT if is_root else Role.INTERMEDIATE
            lifetime = max(known.expires - known.begins, timedelta())
            found.append(Certificate(role, known.subject, known.expires, lifetime))
    return tuple(found)


def names_of(der: bytes) -> frozenset[str]:
    """The DNS names and IP addresses that a certificate in DER is for; none of bytes that are not a certificate.

    Names are in lower case and without a final dot. The common name counts only if there is no DNS name (RFC 6125
    section 6.4.4).
    """
    try:
        _, subject = next(islice(_fields(der), 4, None), (0, b""))
        names = _dns_names(der) or [clean(_attributes(subject).get(_NAMING[0], ""), LONGEST_NAME)]
    except (IndexError, ValueError):
        return frozenset()
    found = {name.lower().removesuffix(".") for name in names} | set(_ip_addresses(der))
    return frozenset(found - {""})


def _fields(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of the fields of `tbsCertificate`, without the version, which version 1 leaves out."""
    _, certificate, _ = _element(der, 0)
    _, body, _ = _element(certificate, 0)
    return (field for field in _elements(body) if field[0] != _VERSION)


def _dns_names(der: bytes) -> list[str]:
    """The DNS names of a certificate's extensions, in their order; none if these cannot be read."""
    return [name.decode("ascii", "replace") for name in _alternative_names(der, _DNS_NAME)]


def _ip_addresses(der: bytes) -> list[str]:
    """The IP addresses of a certificate's extensions, as people write them; none if these cannot be read."""
    found = _alternative_names(der, _IP_ADDRESS)
    return [str(ip_address(octets)) for octets in found if len(octets) in _ADDRESS_OCTETS]


def _alternative_names(der: bytes, kind: int) -> list[bytes]:
    """The alternative names of one kind of a certificate, in their order; none if its extensions cannot be read."""
    try:
        found = (name for tag, content in _fields(der) if tag == _EXTENSIONS for name in _general_names(content))
        return [name for tag, name in found if tag == kind]
    except (IndexError, ValueError):
        return []


def _general_names(explicit: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of the alternative names among the extensions of a certificate."""
    _, extensions, _ = _element(explicit, 0)
    for _, extension in _elements(extensions):
        (_, identifier), *_, (_, value) = _elements(extension)
        if identifier == _ALTERNATIVE_NAMES:
            _, names, _ = _element(value, 0)
            yield from _elements(names)


def _parse(der: bytes) -> X509 | None:
    try:
        _, _, (_, issuer), (_, validity), (_, subject) = islice(_fields(der), 5)  # after serial number and algorithm
        begins, expires = (_parse_time(kind, text.decode("ascii")) for kind, text in islice(_elements(validity), 2))
        name = _shown(subject, _dns_names(der))
        return X509(name, _shown(issuer), subject == issuer, begins, expires)
    except (IndexError, ValueError):
        return None


_parse_cached = lru_cache(maxsize=1024)(_parse)
"""Servers show the same bytes at every test, and share their intermediates and roots."""


def _shown(name: bytes, dns_names: Sequence[str] = ()) -> str:
    """A distinguished name as people call it: one of its attributes, or a DNS name, or an empty text."""
    found = {identifier: clean(text, SUBJECT_SHOWN) for identifier, text in _attributes(name).items()}
    common, *others = (found.get(identifier, "") for identifier in _NAMING)
    return next(filter(None, [common, *(clean(one, SUBJECT_SHOWN) for one in dns_names[:1]), *others]), "")


def _attributes(name: bytes) -> dict[bytes, bytes | str]:
    """The texts of a distinguished name by their object identifiers, of each the first one."""
    found: dict[bytes, bytes | str] = {}
    for _, attributes in _elements(name):
        _, attribute, _ = _element(attributes, 0)
        _, identifier, end = _element(attribute, 0)
        kind, value, _ = _element(attribute, end)
        found.setdefault(identifier, value.decode("utf-16-be", "replace") if kind == _BMP_STRING else value)
    return found


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element of a sequence."""
    position = 0
    while position < len(data):
        tag, content, position = _element(data, position)
        yield tag, content


def _element(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Tag and content of the DER element at `position`, and the position of the next one (X.690 section 8.1)."""
    tag, length = data[position], data[position + 1]
    start = position + 2
    if length & 0x80:  # long form: the low bits count the octets of the length
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size])
        start += size
    if start + length > len(data):
        raise ValueError("the element is longer than its data")
    return tag, data[start : start + length], start + length


def _parse_time(kind: int, text: str) -> datetime:
    """UTCTime with two digits of the year (1950 to 2049), or GeneralizedTime with four (RFC 5280 section 4.1.2.5).

    What a certificate has before 1950, against the RFC, counts as 1950: not every time zone can write the year 1.
    """
    if kind == _UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    time = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return max(time, CERTIFICATE_TIMES.earliest)
