"""The character sets that alerts must keep to: ASCII for a subject, GSM-7 for an SMS, XML 1.0 for the rest. Pure.

GSM-7 is the default alphabet of 3GPP TS 23.038 section 6.2.1. One part of an SMS holds 160 septets of it; a single
character outside it would make the whole text UCS-2, of which one part holds 70 characters: so none is used.
"""

import re
import unicodedata
from collections.abc import Iterable

PART_SEPTETS = 160
"""Septets of one part of an SMS."""

DISPLAY_NAME = "popwatch"
"""The display name of the SMS topic in template.yaml."""

SMS_SEPTETS = PART_SEPTETS - len(f"{DISPLAY_NAME}> ")
"""Septets that are left to a text: SNS puts the topic's display name, in capitals, `>` and a space before it.

docs.aws.amazon.com/sns/latest/dg/sms_sending-overview.html
"""

FALLBACK_LENGTH = 2000
"""Characters of a text of a fallback message."""

SUBJECT_LENGTH = 99
"""Characters of a subject; SNS takes fewer than 100, on one line. It takes UTF-8 by now; ASCII is always right."""

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 (section 2.2), and so SNS, cannot carry, and the characters that change the direction of writing."""

_ABOVE_FFFF = re.compile("[\U00010000-\U0010ffff]")

_BASIC = frozenset(
    "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà\n\r"
)
_EXTENSION = frozenset("^{}\\[~]|€")
"""Characters that GSM-7 sends as an escape septet and one more."""

_SIMILAR = {
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
"""ASCII for characters that Unicode does not decompose into ASCII and marks."""


def to_subject(text: str) -> str:
    """The text as a subject that SNS takes: ASCII, one line, cut, never empty."""
    line = _one_line(map(_to_ascii, text))
    return (line if len(line) <= SUBJECT_LENGTH else line[: SUBJECT_LENGTH - 3] + "...") or "popwatch"


def to_email(text: str) -> str:
    """The text without the characters for which SNS refuses a whole message; line ends are LF."""
    return _UNFIT.sub("?", text.replace("\r\n", "\n").replace("\r", "\n"))


def to_attribute(text: str) -> str:
    """The text without the characters for which SNS refuses an attribute: also those above U+FFFF.

    github.com/aws/aws-sdk-java-v2/issues/5828
    """
    return _ABOVE_FFFF.sub("?", to_email(text))


def to_ascii_text(text: str, length: int = FALLBACK_LENGTH) -> str:
    """The beginning of the text in printable ASCII; line ends stay."""
    lines = (_one_line(map(_to_ascii, line)) for line in text[:length].split("\n"))
    return "\n".join(lines)[:length]


def to_sms(text: str, septets: int = SMS_SEPTETS) -> str:
    """The text as one part of an SMS: GSM-7 characters, one line, at most so many septets."""
    line = _one_line(map(_to_gsm, text))
    if count_septets(line) <= septets:
        return line
    line = line[:septets]  # a character takes a septet at least: a summary names hundreds of targets
    # Character by character, as those of the extension take two septets: the length in characters says too little.
    while line and count_septets(line) > septets - 3:
        line = line[:-1]
    return line.rstrip() + "..."


def is_gsm(character: str) -> bool:
    """Whether GSM-7 with its extension has the character."""
    return character in _BASIC or character in _EXTENSION


def count_septets(text: str) -> int:
    """The septets of a text of GSM-7 characters."""
    return sum(2 if character in _EXTENSION else 1 for character in text)


def _one_line(characters: Iterable[str]) -> str:
    return " ".join("".join(characters).split())


def _to_gsm(character: str) -> str:
    return character if is_gsm(character) else _to_ascii(character).replace("`", "'")  # GSM-7 has no backtick


def _to_ascii(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else " "
    if character in _SIMILAR:
        return _SIMILAR[character]
    letter = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letter or (" " if character.isspace() else "?")
