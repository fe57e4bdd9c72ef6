"""The one thing popwatch reads from a certificate itself: until when it is valid.

Python decodes a certificate only if it has verified it, and the days left count for unverified ones too. Validity is
the fifth field of the first part (RFC 5280 section 4.1), so walking past four suffices.
"""

from datetime import UTC, datetime

_VERSION, _UTC_TIME = 0xA0, 0x17


def expires(der: bytes) -> datetime | None:
    """The moment `notAfter` of a DER certificate; None for bytes that are no certificate."""
    try:
        _, certificate, _ = _element(der, 0)
        _, body, _ = _element(certificate, 0)
        position = _element(body, 0)[2] if body[0] == _VERSION else 0
        for _ in range(3):  # serial number, signature algorithm, issuer
            position = _element(body, position)[2]
        _, validity, _ = _element(body, position)
        kind, text, _ = _element(validity, _element(validity, 0)[2])
        return _moment(kind, text.decode("ascii"))
    except (IndexError, ValueError):
        return None


def _element(data: bytes, position: int) -> tuple[int, bytes, int]:
    """The tag and content of the element at `position`, and where the next begins (X.690)."""
    tag, length = data[position], data[position + 1]
    start = position + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size])
        start += size
    if start + length > len(data):
        raise ValueError("the element ends behind its data")
    return tag, data[start : start + length], start + length


def _moment(kind: int, text: str) -> datetime:
    """UTCTime with two digits of the year (1950 to 2049), or GeneralizedTime with four (RFC 5280 section 4.1.2.5)."""
    if kind == _UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
