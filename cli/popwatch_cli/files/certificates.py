"""Certificates in files, of which nothing but the PEM blocks of certificates matters."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from popwatch.model.fields import pem_certificates
from popwatch_cli.errors import UserError

LARGEST_FILE = 8 * 1024 * 1024
"""Bytes; the bundles of systems, with comments and trust settings, have up to 2 MB."""


def read_certificates(path: Path) -> str:
    """The certificates of a file as PEM, without anything else that it holds. Raises UserError."""
    try:
        with path.open("rb") as file:  # a device has no size, so no more than the limit is read
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > LARGEST_FILE:
        raise UserError(f"{path} is larger than {LARGEST_FILE // 1024 // 1024} MB: give a file of certificates.")
    # PEM is ASCII (RFC 7468 section 2), and latin-1 takes the bytes of comments in any encoding. PowerShell's `>`
    # writes UTF-16 (learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_character_encoding).
    encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "latin-1"
    text = content.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    found = pem_certificates(text)
    if not found and re.search("-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----", text):
        raise UserError(f"{path} has a certificate without its end, -----END CERTIFICATE-----: copy the whole file.")
    if not found:
        raise UserError(
            f"{path} has no certificate between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----. Is it DER? "
            f"`openssl x509 -inform DER -in {path}` writes it so."
        )
    return found
