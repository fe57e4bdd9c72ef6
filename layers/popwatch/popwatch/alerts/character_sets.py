"""The alphabets that alerts must keep to: ASCII for a subject, GSM-7 for an SMS, XML for the rest. Pure.

GSM-7 is the default alphabet of 3GPP TS 23.038 section 6.2.1: a text within it fits 160 septets into one part; one
character outside it makes all of them 16 bits wide, and three parts of one.
"""

import re
import unicodedata

SMS_SEPTETS = 160
"""Septets of one part of an SMS."""

SUBJECT_LENGTH = 99
"""Characters of a subject; SNS takes fewer than 100, ASCII only, one line."""

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, which XML 1.0 (section 2.2) and so SNS cannot carry, and what turns the direction of writing."""

_BASIC = frozenset(
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà\n\r"
)
_EXTENSION = frozenset("^{}\\[~]|€")
_PLAIN = {
    "ß": "ss",
    "æ": "ae",
    "Æ": "AE",
    "ø": "o",
    "Ø": "O",
    "œ": "oe",
    "Œ": "OE",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "Đ": "D",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2013": "-",
    "\u2014": "-",
    "\u2026": "...",
}
"""What Unicode's own decomposition does not give."""


def to_subject(text: str) -> str:
    """The text as a subject that SNS takes: ASCII, one line, cut, beginning with a letter, a digit or a mark."""
    line = " ".join("".join(map(_to_ascii, text)).split())
    return (line if len(line) <= SUBJECT_LENGTH else line[: SUBJECT_LENGTH - 3] + "...") or "popwatch"


def to_email(text: str) -> str:
    """The text without characters that SNS refuses a whole message for; line ends are LF."""
    return _UNFIT.sub("?", text.replace("\r\n", "\n").replace("\r", "\n"))


def to_sms(text: str, septets: int = SMS_SEPTETS) -> str:
    """The text as one part of an SMS: GSM-7 characters only, one line, at most so many septets."""
    line = " ".join("".join(map(_to_gsm, text)).split())
    if count_septets(line) <= septets:
        return line
    while line and count_septets(line) > septets - 3:
        line = line[:-1]
    return line.rstrip() + "..."


def is_gsm(character: str) -> bool:
    """Whether the GSM-7 alphabet, its extension included, has the character."""
    return character in _BASIC or character in _EXTENSION


def count_septets(text: str) -> int:
    """The septets that a text of GSM-7 characters takes; those of the extension take two."""
    return sum(2 if character in _EXTENSION else 1 for character in text)


def _to_gsm(character: str) -> str:
    return character if is_gsm(character) else _to_ascii(character).replace("`", "'")


def _to_ascii(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else " "
    if character in _PLAIN:
        return _PLAIN[character]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or (" " if character.isspace() else "?")
