"""Kinds of certificate chains, with what popwatch must say of each: `tls.context` decides, on every Python alike."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
NAME = "pop.example.net"
UNTRUSTED, NO_ISSUER, INVALID, EXPIRED, CHAIN_EXPIRED, EARLY, MISMATCH, WEAK_KEY, WEAK_SIGNATURE = (
    "tls-untrusted",
    "tls-issuer-missing",
    "tls-chain-invalid",
    "tls-certificate-expired",
    "tls-chain-expired",
    "tls-certificate-not-yet-valid",
    "tls-name-mismatch",
    "tls-weak-key",
    "tls-weak-signature",
)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Chain:
    """What a server presents, what the target trusts, which name it asks for, and the reason of the failure, if any."""

    key: Key
    presented: Sequence[x509.Certificate]
    trusted: Sequence[x509.Certificate]
    reason: str = ""
    name: str = NAME

    @property
    def expires(self) -> datetime.datetime:
        return self.presented[0].not_valid_after_utc

    @property
    def seen(self) -> tuple[str, str, str]:
        """What a test needs of it: the server's PEM, the trusted PEM, the name."""
        return self.server_pem, _pem(self.trusted), self.name

    @property
    def server_pem(self) -> str:
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return key.decode() + _pem(self.presented)


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A certificate with its key, which may sign others."""

    key: Key
    certificate: x509.Certificate

    def again(self, signer: "CertifiedKey", days: tuple[int, int] = (-1, 300)) -> x509.Certificate:
        """The same name and key, signed by another authority: a cross-signed certificate."""
        return made(self.certificate.subject, self.key, signer, authority(), days=days).certificate


Extensions = Sequence[tuple[x509.ExtensionType, bool]]


def authority(critical: bool = True, length: int | None = None) -> Extensions:
    """The extensions of a certificate authority."""
    return [(x509.BasicConstraints(ca=True, path_length=length), critical), (_usage(signs_certificates=True), True)]


def server(*names: str) -> Extensions:
    """The extensions of a server's certificate for names or addresses; a plain one has no others."""
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName([_general_name(name) for name in names or (NAME,)]), False),
    ]


def made(
    subject: str | x509.Name,
    key: Key | None = None,
    signer: CertifiedKey | None = None,
    extensions: Extensions = (),
    *,
    days: tuple[int, int] = (-1, 300),
    key_ids: bool = True,
    serial: int | None = None,
) -> CertifiedKey:
    """A certificate that is signed by another holder, or by itself; its days count from now."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    signing = signer.key if signer else own
    name = _name(subject) if isinstance(subject, str) else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer.certificate.subject if signer else name)
        .public_key(own.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
    )
    if key_ids:
        extensions = [
            *extensions,
            (x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False),
        ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    digest = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return CertifiedKey(own, builder.sign(signing, digest))


def chains() -> dict[str, Chain]:
    """The table: every kind of chain by name."""
    root = made("Root", extensions=authority())
    other = made("Another root", extensions=authority())
    middle = made("Intermediate", None, root, authority())
    plain = made(NAME, None, middle, server())
    direct = made(NAME, None, root, server())
    own = made(NAME, extensions=server())
    found = {
        "root, intermediate, server": Chain(plain.key, [plain.certificate, middle.certificate], [root.certificate]),
        "root and server": Chain(direct.key, [direct.certificate], [root.certificate]),
        "of another root": Chain(direct.key, [direct.certificate], [other.certificate], NO_ISSUER),
        "the server's own certificate is trusted": Chain(direct.key, [direct.certificate], [direct.certificate]),
        "self-signed and trusted": Chain(own.key, [own.certificate], [own.certificate]),
        "self-signed": Chain(own.key, [own.certificate], [root.certificate], UNTRUSTED),
        "intermediate is trusted": Chain(plain.key, [plain.certificate, middle.certificate], [middle.certificate]),
        "intermediate is trusted and not presented": Chain(plain.key, [plain.certificate], [middle.certificate]),
        "intermediate is missing": Chain(plain.key, [plain.certificate], [root.certificate], NO_ISSUER),
        "intermediate is there, of another root": Chain(
            plain.key, [plain.certificate, middle.certificate], [other.certificate], UNTRUSTED
        ),
        "with a root that is not trusted": Chain(
            plain.key, [plain.certificate, middle.certificate, root.certificate], [other.certificate], UNTRUSTED
        ),
        "in another order": Chain(
            plain.key, [plain.certificate, root.certificate, middle.certificate], [root.certificate]
        ),
        "with a certificate that is not part of it": Chain(
            plain.key, [plain.certificate, other.certificate, middle.certificate], [root.certificate]
        ),
    }
    return found | _private_roots() | _dates(root) | _cross_signed() | _names(root) | _rules(root) | _strength(root)


def _private_roots() -> dict[str, Chain]:
    """Authorities as made by hand or by easy-rsa, which strict verification refuses."""
    found = {}
    for kind, root in {
        "root without key identifiers": made("Root", extensions=authority(), key_ids=False),
        "root with basicConstraints not critical": made("Root", extensions=authority(critical=False)),
        "root without key usage": made("Root", extensions=authority()[:1]),
        "root in the manner of easy-rsa": _easy_rsa_root(),
    }.items():
        signed = made(NAME, None, root, server())
        found[kind] = Chain(signed.key, [signed.certificate], [root.certificate])
    root = made("Root", extensions=authority())
    bare = made(NAME, None, root, server(), key_ids=False)
    found["server without key identifiers"] = Chain(bare.key, [bare.certificate], [root.certificate])
    nameless = made(x509.Name([]), None, root, server())
    found["server without a subject"] = Chain(nameless.key, [nameless.certificate], [root.certificate])
    return found


def _easy_rsa_root() -> CertifiedKey:
    """basicConstraints not critical, and an authority key identifier with issuer and serial number.

    https://github.com/OpenVPN/easy-rsa/issues/1418
    """
    key, serial = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number()
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier(identifier.digest, [x509.DirectoryName(_name("Easy-RSA CA"))], serial)
    extensions = [(extension, False) for extension, _ in authority()] + [(identifier, False), (issuer, False)]
    return made("Easy-RSA CA", key, None, extensions, key_ids=False, serial=serial)


def _dates(root: CertifiedKey) -> dict[str, Chain]:
    expired, early = made(NAME, None, root, server(), days=(-90, -1)), made(NAME, None, root, server(), days=(1, 90))
    old_middle = made("Intermediate", None, root, authority(), days=(-90, -1))
    of_old_middle = made(NAME, None, old_middle, server())
    old_root = made("Root", extensions=authority(), days=(-90, -1))
    of_old_root = made(NAME, None, old_root, server())
    presented = [of_old_middle.certificate, old_middle.certificate]
    return {
        "expired": Chain(expired.key, [expired.certificate], [root.certificate], EXPIRED),
        "not yet valid": Chain(early.key, [early.certificate], [root.certificate], EARLY),
        "intermediate has expired": Chain(of_old_middle.key, presented, [root.certificate], CHAIN_EXPIRED),
        "root has expired": Chain(of_old_root.key, [of_old_root.certificate], [old_root.certificate], CHAIN_EXPIRED),
        "expired and trusted itself": Chain(expired.key, [expired.certificate], [expired.certificate], EXPIRED),
    }


def _cross_signed() -> dict[str, Chain]:
    """A root that an older one signed too, as Let's Encrypt's was by one that expired in 2021."""
    older, expired = made("Older", extensions=authority()), made("Old", extensions=authority(), days=(-90, -1))
    root = made("Root", extensions=authority())
    signed = made(NAME, None, root, server())
    by_older, by_expired = root.again(older), root.again(expired)
    return {
        "cross-signed, the newer root is trusted": Chain(
            signed.key, [signed.certificate, by_older], [root.certificate]
        ),
        "cross-signed, the older root is trusted": Chain(
            signed.key, [signed.certificate, by_older], [older.certificate]
        ),
        "cross-signed by a root that has expired": Chain(
            signed.key, [signed.certificate, by_expired], [expired.certificate, root.certificate]
        ),
    }


def _names(root: CertifiedKey) -> dict[str, Chain]:
    """Names as in RFC 6125; the common name counts where there is no subjectAltName."""

    def asked(name: str, *held: str, reason: str = "") -> Chain:
        signed = made(NAME, None, root, server(*held))
        return Chain(signed.key, [signed.certificate], [root.certificate], reason, name)

    bare = made(NAME, None, root, server()[:1])
    return {
        "another name": asked(NAME, "mail.example.net", reason=MISMATCH),
        "one of several names": asked(NAME, "mail.example.net", NAME),
        "wildcard": asked(NAME, "*.example.net"),
        "wildcard for one label": asked("a.pop.example.net", "*.example.net", reason=MISMATCH),
        "wildcard within a label": asked(NAME, "p*.example.net", reason=MISMATCH),
        "address": asked("192.0.2.1", "192.0.2.1"),
        "another address": asked("192.0.2.2", "192.0.2.1", reason=MISMATCH),
        "IPv6 address": asked("2001:db8::1", "2001:db8::1"),
        "address, and a certificate for a name": asked("192.0.2.1", NAME, reason=MISMATCH),
        "name in the subject alone": Chain(bare.key, [bare.certificate], [root.certificate]),
        "another name in the subject alone": Chain(
            bare.key, [bare.certificate], [root.certificate], MISMATCH, "mail.example.net"
        ),
    }


def _rules(root: CertifiedKey) -> dict[str, Chain]:
    """What authorities allow, and what certificates are for."""

    def below(signer: CertifiedKey, *extra: tuple[x509.ExtensionType, bool], reason: str = INVALID) -> Chain:
        signed = made(NAME, None, signer, [*server(), *extra])
        presented = [signed.certificate, *([] if signer is root else [signer.certificate])]
        return Chain(signed.key, presented, [root.certificate], reason)

    only = x509.NameConstraints(permitted_subtrees=[x509.DNSName("example.org")], excluded_subtrees=None)
    short = made("Short", None, root, authority(length=0))
    return {
        "signed by a server": below(made(NAME, None, root, server())),
        "signed by an authority without basicConstraints": below(made("Bare", None, root)),
        "signed by an authority that may not sign certificates": below(
            made("Mute", None, root, [*authority()[:1], (_usage(signs_certificates=False), True)])
        ),
        "name outside of what the authority may sign": below(made("Narrow", None, root, [*authority(), (only, True)])),
        "longer than the authority allows": below(made("Below", None, short, authority()), reason=UNTRUSTED),
        "for clients alone": below(root, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)),
        "for servers": below(root, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False), reason=""),
        "with an unknown critical extension": below(
            root, (x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True)
        ),
    }


def _strength(root: CertifiedKey) -> dict[str, Chain]:
    """Keys and signatures: OpenSSL's security level 2."""

    def signed(key: Key, reason: str = "") -> Chain:
        found = made(NAME, key, root, server())
        return Chain(key, [found.certificate], [root.certificate], reason)

    strong = made("RSA root", rsa.generate_private_key(65537, 2048), None, authority())
    weak = made(NAME, None, strong, server())
    return {
        "signed with SHA-1": Chain(
            weak.key, [_with_sha1(weak.certificate, strong)], [strong.certificate], WEAK_SIGNATURE
        ),
        "RSA of 1,024 bits": signed(rsa.generate_private_key(65537, 1024), WEAK_KEY),
        "RSA of 2,048 bits": signed(rsa.generate_private_key(65537, 2048)),
        "ECDSA on P-384": signed(ec.generate_private_key(ec.SECP384R1())),
        "Ed25519": signed(ed25519.Ed25519PrivateKey.generate()),
    }


def _with_sha1(certificate: x509.Certificate, signer: CertifiedKey) -> x509.Certificate:
    """The certificate signed with RSA and SHA-1 instead of SHA-256, as `cryptography` no longer does itself."""
    assert isinstance(signer.key, rsa.RSAPrivateKey)
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")  # RFC 8017, appendix C
    body = certificate.tbs_certificate_bytes.replace(sha256, sha1)
    signature = signer.key.sign(body, padding.PKCS1v15(), hashes.SHA1())
    whole = certificate.public_bytes(serialization.Encoding.DER).replace(sha256, sha1)
    return x509.load_der_x509_certificate(whole[: -len(signature)] + signature)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(found.public_bytes(serialization.Encoding.PEM).decode() for found in certificates)
