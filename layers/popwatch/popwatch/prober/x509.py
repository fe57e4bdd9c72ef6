"""Reads one field of an X.509 certificate: when it expires.

Python's `ssl` decodes a certificate only if it has verified it, and popwatch reports the expiry of unverified ones too.
`validity` is the fifth field of `tbsCertificate` (RFC 5280 section 4.1): the reader skips the four before it.
"""

from datetime import UTC, datetime

_VERSION, _UTC_TIME = 0xA0, 0x17


def expires(der: bytes) -> datetime | None:
    """`notAfter` of a DER certificate; None for bytes that are not a certificate."""
    try:
        _, certificate, _ = _element(der, 0)
        _, body, _ = _element(certificate, 0)
        position = _element(body, 0)[2] if body[0] == _VERSION else 0  # version 1 certificates leave the version out
        for _ in range(3):  # serial number, signature algorithm, issuer
            position = _element(body, position)[2]
        _, validity, _ = _element(body, position)
        kind, text, _ = _element(validity, _element(validity, 0)[2])
        return _parse_time(kind, text.decode("ascii"))
    except (IndexError, ValueError):
        return None


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
    """UTCTime with two digits of the year (1950 to 2049), or GeneralizedTime with four (RFC 5280 section 4.1.2.5)."""
    if kind == _UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
