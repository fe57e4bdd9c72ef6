"""What a server offers and permits: a `Posture`, the summary of it that is kept, and what got worse. No I/O.

What could not be asked is `Answer.NOT_TESTED`, and never counts as a change. A change for the better is not a finding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from popwatch.model.outcomes import Certificate

LONGEST_SUMMARY = 100
"""Bytes of a summary in a record."""

MAX_SIBLINGS = 9
"""Other ports of a host whose certificates are compared, as many as the field `siblings` takes and one more."""

RENEWED_AFTER = timedelta(days=1)
"""A certificate that begins later by more is newer. The RSA and the ECDSA one of a host are made within minutes."""

PLAIN_TEXT = "stls-injection"
"""The reason of a test that ended since plain text came with the reply to STLS: no TLS handshake was tried."""

_CLOSED = "refused"
"""The reason of a sibling at whose port nothing listens."""

_SUMMARY_VERSION = "1"


class Answer(StrEnum):
    """The answer to a question about a server."""

    YES = "yes"
    NO = "no"
    NOT_TESTED = "not tested"


YES, NO, NOT_TESTED = Answer

_LETTERS = {YES: "y", NO: "n", NOT_TESTED: "-"}
_ANSWERS = {letter: answer for answer, letter in _LETTERS.items()}

_CAPA_ANSWERED = "CAPA"
"""In a summary: CAPA was answered. Without it CAPA is refused, and the rest is what the last answer had."""

_CAPABILITIES = (
    *("TOP", "USER", "SASL", "RESP-CODES", "LOGIN-DELAY", "PIPELINING", "EXPIRE", "UIDL", "IMPLEMENTATION"),
    *("STLS", "AUTH-RESP-CODE", "UTF8", "LANG"),
)
_MECHANISMS = (
    *("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "GSS-SPNEGO", "KERBEROS_V4", "EXTERNAL"),
    *("ANONYMOUS", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256"),
    *("SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "OTP"),
    *("CRAM-SHA1", "CRAM-SHA256"),  # Courier's own
    *("9798-M-DSA-SHA1", "9798-M-ECDSA-SHA1", "9798-M-RSA-SHA1-ENC", "9798-U-DSA-SHA1", "9798-U-ECDSA-SHA1"),
    *("9798-U-RSA-SHA1-ENC", "EAP-AES128", "EAP-AES128-PLUS", "ECDH-X25519-CHALLENGE", "ECDSA-NIST256P-CHALLENGE"),
    *("GS2-KRB5", "GS2-KRB5-PLUS", "KERBEROS_V5", "NMAS-SAMBA-AUTH", "NMAS_AUTHEN", "NMAS_LOGIN", "OAUTH10A"),
    *("OPENID20", "SAML20", "SECURID", "SKEY", "SPNEGO", "SPNEGO-PLUS", "SXOVER-PLUS", "XOAUTH"),
)
_KNOWN = (_CAPA_ANSWERED, *_CAPABILITIES, *(f"SASL {name}" for name in _MECHANISMS))
"""What a summary has a bit for, in this order: append only. The registries of IANA, "POP3 Extension Mechanism" and
"SASL Mechanisms". What is not in it is shown, but its removal is not noticed."""

_NEEDED = {
    "TOP": "RFC 2449 section 6.1, RFC 1939 section 7",
    "USER": "RFC 2449 section 6.2, RFC 1939 section 7",
    "RESP-CODES": "RFC 2449 section 6.4",
    "PIPELINING": "RFC 2449 section 6.6",
    "UIDL": "RFC 2449 section 6.8, RFC 1939 section 7",
    "AUTH-RESP-CODE": "RFC 3206 section 6",
    "UTF8": "RFC 6856 section 2",
}
"""Capabilities that clients use, so that they miss one that is removed, and where each is defined."""

_WEAK = {
    "ANONYMOUS": "RFC 4505",
    "CRAM-MD5": "RFC 2195",
    "DIGEST-MD5": "RFC 6331",
    "KERBEROS_V4": "RFC 2222 section 7.1, obsoleted by RFC 4422",
    "NTLM": "Microsoft's MS-NLMP section 1.6",
}
"""Mechanisms that should not be offered, and where that, or the mechanism, is written.

RFC 4422 replaces RFC 2222 without the mechanism KERBEROS_V4. MS-NLMP, which defines NTLM, discourages its use:
https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-nlmp/505a64e4-089c-47ec-bad8-32b9c2cd8da9
"""

_SOURCES = {**_WEAK, **_NEEDED}
"""Where a mechanism or a capability is written about."""

_BEARER = ("XOAUTH2", "OAUTHBEARER")
"""Mechanisms that send an access token as it is. Whoever reads it can log in with it (RFC 7628 section 5)."""

_PLAINTEXT = ("PLAIN", "LOGIN", *_BEARER)


@dataclass(frozen=True, slots=True)
class CapaReply:
    """The reply to CAPA: capabilities with their arguments, one line each, and the SASL mechanisms.

    `capa_supported` is false if the server does not know CAPA.
    """

    capabilities: tuple[str, ...] = ()
    mechanisms: tuple[str, ...] = ()
    capa_supported: bool = True

    @property
    def known(self) -> frozenset[str]:
        """What of it a summary keeps."""
        if not self.capa_supported:
            return frozenset()
        names = {line.split()[0] for line in self.capabilities} | {f"SASL {name}" for name in self.mechanisms}
        return frozenset({_CAPA_ANSWERED, *names.intersection(_KNOWN)})


@dataclass(frozen=True, slots=True)
class Sibling:
    """Another port of the host: its certificate, or why it is not known.

    `is_same`: it is the server's own certificate. `covers_names`: each DNS name and IP address of the server's is one
    of it, too. `self_signed`: its subject is its issuer, unlike with the server's own.
    """

    port: int
    certificate: Certificate | None = None
    reason: str = ""
    is_same: bool = False
    covers_names: bool = False
    self_signed: bool = False

    def is_renewal_of(self, own: Certificate, now: datetime) -> bool:
        """Whether its certificate is the server's own, renewed: one that the server should use now instead."""
        other = self.certificate
        if other is None or not self.covers_names or self.self_signed:
            return False
        is_valid = other.begins <= now < other.expires
        return is_valid and other.begins > own.begins + RENEWED_AFTER and other.expires >= own.expires


@dataclass(frozen=True, slots=True)
class PostureSummary:
    """What of a posture is kept and compared: answers, what is offered (`None` if not tested), newer certificates.

    `newer`: of each sibling whether its certificate is newer than the one served here. `server` is a short name of
    what was asked (see `targets.server_fingerprint`); empty in a summary of an earlier version.
    """

    stls: Answer = NOT_TESTED
    plaintext_login: Answer = NOT_TESTED
    tls_1_0: Answer = NOT_TESTED
    tls_1_1: Answer = NOT_TESTED
    chain: Answer = NOT_TESTED
    in_clear: frozenset[str] | None = None
    in_tls: frozenset[str] | None = None
    newer: Mapping[int, bool] = field(default_factory=dict)
    server: str = ""

    def __str__(self) -> str:
        letters = "".join(
            _LETTERS[it] for it in (self.stls, self.plaintext_login, self.tls_1_0, self.tls_1_1, self.chain)
        )
        ports = "".join(f"{port}{'n' if newer else 'o'}" for port, newer in sorted(self.newer.items()))
        server = f".{self.server}" if self.server else ""
        return f"{_SUMMARY_VERSION}{letters}.{_as_bits(self.in_clear)}.{_as_bits(self.in_tls)}.{ports}{server}"

    def is_of(self, server: str) -> bool:
        """Whether it is of that server, as far as it says."""
        return self.server in ("", server)

    def filled_from(self, before: "PostureSummary | None") -> "PostureSummary":
        """The summary with what is known from before where this one was not tested, or CAPA was refused."""
        if before is None:
            return self
        names = ("stls", "plaintext_login", "tls_1_0", "tls_1_1", "chain")
        kept = {name: getattr(before, name) for name in names if getattr(self, name) is NOT_TESTED}
        newer = {port: it for port, it in before.newer.items() if port not in self.newer} | dict(self.newer)
        return replace(
            self,
            in_clear=_last_known(before.in_clear, self.in_clear),
            in_tls=_last_known(before.in_tls, self.in_tls),
            newer=dict(list(newer.items())[-MAX_SIBLINGS:]),
            **kept,
        )


@dataclass(frozen=True, slots=True)
class Posture:
    """What a server offers and permits. `problem` says why nothing could be asked; empty if it could.

    `in_clear` and `in_tls` are the replies to CAPA, `None` if it was not asked. `chain`: whether the certificate's
    chain is whole and trusted, and `chain_reason` why not. `certificate` is the server's own, verified or not.
    `user_in_clear`: whether USER is accepted without TLS; `user_problem` says why that is not known, empty if it is.
    `tls_problem` says why TLS was not established, empty if it was. `stls` is no, too, if STLS is accepted and no TLS
    follows: then `stls_reason` is the reason of that failure, as of a test, else empty.
    """

    tested_at: datetime
    address: str = ""
    problem: str = ""
    stls: Answer = NOT_TESTED
    stls_reason: str = ""
    user_in_clear: Answer = NOT_TESTED
    user_problem: str = ""
    tls_1_0: Answer = NOT_TESTED
    tls_1_1: Answer = NOT_TESTED
    chain: Answer = NOT_TESTED
    chain_reason: str = ""
    tls_version: str = ""
    tls_problem: str = ""
    in_clear: CapaReply | None = None
    in_tls: CapaReply | None = None
    certificate: Certificate | None = None
    siblings: tuple[Sibling, ...] = ()

    @property
    def plaintext_login(self) -> Answer:
        """Whether a password or an access token would be taken without TLS: by USER and PASS, or by a SASL mechanism
        that sends it as it is."""
        if self.user_in_clear is YES or (self.in_clear and set(self.in_clear.mechanisms) & set(_PLAINTEXT)):
            return YES
        return self.user_in_clear

    @property
    def refuses_listed_stls(self) -> bool:
        """Whether STLS is in the reply to CAPA, and is refused."""
        is_refused = self.stls is NO and not self.stls_reason
        return is_refused and self.in_clear is not None and "STLS" in self.in_clear.known

    @property
    def summary(self) -> PostureSummary:
        """What of it is kept."""
        return PostureSummary(
            self.stls,
            self.plaintext_login,
            self.tls_1_0,
            self.tls_1_1,
            self.chain,
            self.in_clear.known if self.in_clear else None,
            self.in_tls.known if self.in_tls else None,
            dict(self._compared()),
        )

    def kept_after(self, before: PostureSummary | None, server: str = "") -> PostureSummary:
        """What is kept once `before` was: of other ports none that is closed now, or that is no longer asked."""
        kept = replace(self.summary.filled_from(before), server=server)
        if self.certificate is None:  # then no other port was asked
            return kept
        asked = {it.port for it in self.siblings if it.reason != _CLOSED}
        return replace(kept, newer={port: newer for port, newer in kept.newer.items() if port in asked})

    def _compared(self) -> Iterator[tuple[int, bool]]:
        own = self.certificate
        for sibling in self.siblings[:MAX_SIBLINGS]:
            if own and sibling.certificate:
                yield sibling.port, sibling.is_renewal_of(own, self.tested_at)


@dataclass(frozen=True, slots=True)
class PostureChange:
    """A posture that differs from the one before, as History has it, or the first of a target.

    `worse` and `better` are the kinds of what got so, each with the mechanism, the capability or the port that it is
    about. Of the first, `worse` is what should be otherwise.
    """

    posture: Posture
    worse: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    first: bool = False

    def __str__(self) -> str:
        if self.first and self.posture.summary == PostureSummary():
            return "first test, nothing could be asked"
        if self.first:
            return f"first test, found: {', '.join(self.worse)}" if self.worse else "first test, nothing found"
        named = {"worse": self.worse, "better": self.better}
        return (
            "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in named.items() if kinds)
            or "it offers something else"
        )


def change_of(before: PostureSummary | None, posture: Posture) -> PostureChange:
    """What History has of a posture that changes what is kept."""
    if before is None:
        return PostureChange(posture, tuple(finding_names(posture.summary)), first=True)
    fixed = set(finding_names(before)) - set(finding_names(posture.kept_after(before)))
    return PostureChange(
        posture,
        tuple(_name_of(it.kind, it.about) for it in worse(before, posture)),
        tuple(name for name in finding_names(before) if name in fixed),
    )


def parse_summary(text: str) -> PostureSummary | None:
    """The summary that `str` wrote; None for any other text, such as one of a later version."""
    try:
        head, in_clear, in_tls, ports, *servers = text.split(".")
        if head[:1] != _SUMMARY_VERSION or len(text) > LONGEST_SUMMARY:
            return None
        stls, plaintext, tls_1_0, tls_1_1, chain = (_ANSWERS[letter] for letter in head[1:])
        newer = {int(port): kind == "n" for port, kind in _ports(ports)}
        server = _server_name(servers)
        offers = _of_bits(in_clear), _of_bits(in_tls)
        return PostureSummary(stls, plaintext, tls_1_0, tls_1_1, chain, *offers, newer, server)
    except (ValueError, KeyError):
        return None


def _server_name(parts: list[str]) -> str:
    """The name that `targets.server_fingerprint` made. Raises ValueError for other parts."""
    if not parts:
        return ""
    [name] = parts
    return bytes.fromhex(name).hex()


def _ports(text: str) -> Iterator[tuple[str, str]]:
    number = ""
    for letter in text:
        if letter in "no":
            yield number, letter
            number = ""
        else:
            number += letter
    if number:
        raise ValueError("a port without its letter")


def _last_known(before: frozenset[str] | None, now: frozenset[str] | None) -> frozenset[str] | None:
    """What is kept of an offer: once CAPA is refused, that of the last answer, to be compared with the next one."""
    if now is None or before is None:
        return before if now is None else now
    return now if _CAPA_ANSWERED in now else before - {_CAPA_ANSWERED}


def _as_bits(names: frozenset[str] | None) -> str:
    return "-" if names is None else f"{sum(1 << place for place, name in enumerate(_KNOWN) if name in names):x}"


def _of_bits(text: str) -> frozenset[str] | None:
    if text == "-":
        return None
    bits = int(text, 16)
    return frozenset(name for place, name in enumerate(_KNOWN) if bits >> place & 1)


class PostureFindingKind(StrEnum):
    """Kinds of findings; their names are part of the JSON."""

    STLS_GONE = "stls-gone"
    PLAINTEXT_LOGIN = "plaintext-login-allowed"
    TLS_1_0 = "tls10-accepted"
    TLS_1_1 = "tls11-accepted"
    CHAIN = "chain-not-trusted"
    NOT_RELOADED = "certificate-not-reloaded"
    WEAK_MECHANISM = "weak-mechanism-offered"
    MECHANISM_REMOVED = "mechanism-removed"
    CAPABILITY_REMOVED = "capability-removed"
    CAPABILITIES_GONE = "capabilities-gone"


@dataclass(frozen=True, slots=True)
class PostureFinding:
    """Something about a server that should be otherwise: what, where that is written, and what to do.

    `about` is the mechanism, the capability or the port that it is about, or why a chain is not trusted. Of STLS it is
    `listed` if CAPA lists it all the same, why no TLS follows if it is accepted, and else empty.
    """

    kind: PostureFindingKind
    about: str
    text: str
    source: str
    action: str


@dataclass(frozen=True, slots=True)
class _Wording:
    """The texts of a kind: as it is now, as a change, the source, and what to do. `{about}` is filled in."""

    state: str
    change: str
    source: str
    action: str


CHAIN_ADVICE = {
    "tls-untrusted": (
        "Use a certificate of an authority that clients trust. If it is of your own authority, give that authority's"
        " certificate in the target's `ca_pem`; if it is signed by itself on purpose, this one."
    ),
    "tls-issuer-missing": (
        "Let the server send its certificate followed by every intermediate one (the file that authorities call"
        " fullchain), and reload it. If the issuer is your own authority, give its certificate in the target's"
        " `ca_pem`."
    ),
    "tls-chain-expired": (
        "An intermediate certificate or the root has expired: install the chain that its authority issues now, and"
        " reload the server. If it is the root of your own authority, renew that, also in the target's `ca_pem`."
    ),
    "tls-chain-invalid": (
        "A certificate breaks a rule: its purpose, or what its issuer may sign, as where the issuer is not an"
        " authority. Have it issued again by an authority, and reload the server."
    ),
    "tls-certificate-expired": "Renew the certificate, and reload the server.",
    "tls-certificate-not-yet-valid": (
        "It was installed too early, or a clock is wrong: use the one before until it is valid, or compare the clock"
        " of the machine that issued it with that of the one that tests."
    ),
    "tls-name-mismatch": "Use a certificate for the name by which clients reach this server.",
    "tls-weak-key": "Use a certificate, and intermediate ones, with RSA keys of 2,048 bits or more, or ECDSA keys.",
    "tls-weak-signature": "Use a certificate, and intermediate ones, that are signed with SHA-256.",
}
"""What to do about a chain that is not trusted, by the reason of the failed test."""

_WHOLE_CHAIN = (
    "Let the server send a whole chain of certificates that are valid, and of an authority that clients trust."
)
"""For a reason of a later version."""

_OLD_TLS = "Set the lowest version to TLS 1.2 (Dovecot: ssl_min_protocol = TLSv1.2), and restart the server."

_WORDINGS = {
    PostureFindingKind.STLS_GONE: _Wording(
        "The server does not offer STLS: on this port nothing can be encrypted.",
        "STLS is gone: the server offered it before, and refuses it now.",
        "RFC 2595 section 4, RFC 8314 section 4.1",
        "Switch TLS on in the server's configuration, and look for a device on the network path that removes STLS."
        " Until then a client that does not insist on TLS sends its password in the clear.",
    ),
    PostureFindingKind.PLAINTEXT_LOGIN: _Wording(
        "The server asks for a password or an access token without TLS: anyone on the network path can read it.",
        "The server asks for a password or an access token without TLS now; before, it refused.",
        "RFC 2595 section 2.3, RFC 8314 section 4.1, RFC 7628 section 5",
        "Let the server refuse logins without TLS (Dovecot 2.3: disable_plaintext_auth = yes; 2.4:"
        " auth_allow_cleartext = no).",
    ),
    PostureFindingKind.TLS_1_0: _Wording(
        "The server accepts TLS 1.0.", "The server accepts TLS 1.0 now; before, it refused.", "RFC 8996", _OLD_TLS
    ),
    PostureFindingKind.TLS_1_1: _Wording(
        "The server accepts TLS 1.1.",
        "The server accepts TLS 1.1 now; before, it refused.",
        "RFC 8996, RFC 8997",
        _OLD_TLS,
    ),
    PostureFindingKind.CHAIN: _Wording(
        "The certificate's chain is not trusted ({about}).",
        "The certificate's chain is no longer trusted ({about}).",
        "RFC 8446 section 4.4.2, RFC 7817",
        "{action}",
    ),
    PostureFindingKind.NOT_RELOADED: _Wording(
        "Port {about} of the host shows a newer certificate: renewed, not reloaded.",
        "Port {about} of the host shows a newer certificate now: renewed, not reloaded.",
        "RFC 7817",
        "Reload this server: it keeps the certificate that it had read when it started.",
    ),
    PostureFindingKind.WEAK_MECHANISM: _Wording(
        "The server offers the weak mechanism {about}.",
        "The server offers the weak mechanism {about} now; before, it did not.",
        "{source}",
        "Remove {about} from the server's mechanisms; inside TLS, PLAIN or SCRAM-SHA-256 is better.",
    ),
    PostureFindingKind.MECHANISM_REMOVED: _Wording(
        "",
        "The server no longer offers the mechanism {about}: clients that use it cannot log in.",
        "RFC 5034 section 3",
        "If that was not meant, add {about} to the server's mechanisms again.",
    ),
    PostureFindingKind.CAPABILITY_REMOVED: _Wording(
        "",
        "The server no longer offers {about}: clients that need it stop working.",
        "{source}",
        "If that was not meant, compare the server's configuration with that of before its last change.",
    ),
    PostureFindingKind.CAPABILITIES_GONE: _Wording(
        "",
        "The server no longer answers CAPA: clients cannot see what it offers.",
        "RFC 2449 section 5",
        "Look at what was changed: another program, or a proxy, may answer on this port.",
    ),
}

_LISTED = "listed"
_LISTED_STLS_REFUSED = _Wording(
    "CAPA lists STLS, and the server refuses it: on this port nothing can be encrypted.",
    "STLS is gone: the server offered it before, and refuses it now, though it is listed in the reply to CAPA.",
    _WORDINGS[PostureFindingKind.STLS_GONE].source,
    "See the server's log: it may not be able to read its certificate or its key. Until that is fixed, a client that"
    " does not insist on TLS sends its password in the clear.",
)
_STLS_WITHOUT_TLS = _Wording(
    "The server accepts STLS, and TLS is then not established ({about}): on this port nothing can be encrypted.",
    "STLS is as good as gone: the server accepts it, and TLS is then no longer established ({about}).",
    _WORDINGS[PostureFindingKind.STLS_GONE].source,
    "See the server's log: its certificate or its key may be missing or damaged, or one may not fit the other, as after"
    " a renewal that failed. Fix that, and reload the server; if these are in order, look for a device on the network"
    " path that breaks TLS off. Until then a client that does not insist on TLS may send its password in the clear.",
)
_PLAIN_TEXT_AFTER_STLS = _Wording(
    "The server accepts STLS, and plain text follows its reply before TLS ({about}): popwatch then stops.",
    "Plain text follows the server's reply to STLS now, before TLS ({about}), and popwatch then stops; before, TLS"
    " followed.",
    _WORDINGS[PostureFindingKind.STLS_GONE].source,
    "See the server's log: it may say in that text that it cannot use its certificate or its key. Fix that, and reload"
    " the server; if these are in order, update the server, or look for a device on the network path that adds text."
    " Until then clients may refuse to go on, and one that does not insist on TLS may send its password in the clear.",
)
"""In place of the texts of a server that has no STLS."""


_SHOWN_AS = (PostureFindingKind.CHAIN, PostureFindingKind.STLS_GONE)
"""Kinds of which only the posture itself knows all."""


def findings(posture: Posture) -> list[PostureFinding]:
    """What should be otherwise in a posture, whatever it was before."""
    return [_finding_of(posture, kind, about, changed=False) for kind, about in _kinds_found(posture.summary)]


def worse(before: PostureSummary, posture: Posture) -> list[PostureFinding]:
    """What got worse since `before`: one finding for each change. Nothing that was not tested both times."""
    now = posture.summary
    found = [it for it in _kinds_found(now) if _was_absent(before, now, *it)]
    changed = (*found, *_removed(before, now))
    return [_finding_of(posture, kind, about, changed=True) for kind, about in changed]


def finding_names(summary: PostureSummary) -> list[str]:
    """What a summary shows by itself: kinds of findings, each with the mechanism or the port that it is about."""
    return [_name_of(*found) for found in _kinds_found(summary)]


def _name_of(kind: PostureFindingKind, about: str) -> str:
    return f"{kind} {about}".strip()


def pending_text(found: PostureFinding) -> str:
    """A change as a record has it: `kind:about`."""
    return f"{found.kind}:{found.about}"


def pending_finding(pending: str) -> PostureFinding | None:
    """The finding of a change that a record has; None if its kind is of a later version."""
    kind, _, about = pending.partition(":")
    return _finding(PostureFindingKind(kind), about, changed=True) if kind in set(PostureFindingKind) else None


def still_holds(pending: str, kept: PostureSummary) -> bool:
    """Whether a change that a record has is still so, by what is kept of a posture; one of an unknown kind is."""
    kind, _, about = pending.partition(":")
    offered = (kept.in_clear if kept.in_tls is None else kept.in_tls) or frozenset()
    match kind:
        case PostureFindingKind.MECHANISM_REMOVED:
            return f"SASL {about}" not in offered
        case PostureFindingKind.CAPABILITY_REMOVED:
            return about not in offered
        case PostureFindingKind.CAPABILITIES_GONE:
            return _CAPA_ANSWERED not in offered
        case PostureFindingKind.CHAIN:
            return kept.chain is NO
        case PostureFindingKind.STLS_GONE:
            return kept.stls is NO
        case _:
            return kind not in set(PostureFindingKind) or (kind, about) in set(_kinds_found(kept))


def is_shown(pending: str, posture: Posture, kept: PostureSummary) -> bool:
    """Whether a posture shows a change that a record has; what it did not ask does not show.

    `kept` is what is kept of it and of earlier ones.
    """
    kind, _, _ = pending.partition(":")
    now = posture.summary
    if kind not in (
        PostureFindingKind.MECHANISM_REMOVED,
        PostureFindingKind.CAPABILITY_REMOVED,
        PostureFindingKind.CAPABILITIES_GONE,
    ):
        return still_holds(pending, now)
    offered = now.in_clear if kept.in_tls is None else now.in_tls
    is_answer = offered is not None and (kind == PostureFindingKind.CAPABILITIES_GONE or _CAPA_ANSWERED in offered)
    return is_answer and still_holds(pending, kept)


def as_shown(pending: str, posture: Posture) -> str:
    """A change that a record has, as a posture that shows it does: why a chain is not trusted, and how STLS fails."""
    kind, _, about = pending.partition(":")
    if kind not in _SHOWN_AS:
        return pending
    return pending_text(_finding_of(posture, PostureFindingKind(kind), about, changed=True))


def _finding_of(posture: Posture, kind: PostureFindingKind, about: str, *, changed: bool) -> PostureFinding:
    """A finding with what only the posture knows: why a chain is not trusted, and how STLS fails."""
    match kind:
        case PostureFindingKind.CHAIN:
            about = posture.chain_reason
        case PostureFindingKind.STLS_GONE:
            about = _LISTED if posture.refuses_listed_stls else posture.stls_reason
    return _finding(kind, about, changed=changed)


def _kinds_found(now: PostureSummary) -> Iterator[tuple[PostureFindingKind, str]]:
    """The kinds of findings that a summary shows by itself, each with what it is about."""
    if now.stls is NO:
        yield PostureFindingKind.STLS_GONE, ""
    if now.plaintext_login is YES:
        yield PostureFindingKind.PLAINTEXT_LOGIN, ""
    if now.tls_1_0 is YES:
        yield PostureFindingKind.TLS_1_0, ""
    if now.tls_1_1 is YES:
        yield PostureFindingKind.TLS_1_1, ""
    if now.chain is NO:
        yield PostureFindingKind.CHAIN, ""
    for port, newer in sorted(now.newer.items()):
        if newer:
            yield PostureFindingKind.NOT_RELOADED, str(port)
    offers = [offer for offer in (now.in_clear, now.in_tls) if offer and _CAPA_ANSWERED in offer]
    for name in _WEAK:
        if any(f"SASL {name}" in offer for offer in offers):
            yield PostureFindingKind.WEAK_MECHANISM, name


def _was_absent(before: PostureSummary, now: PostureSummary, kind: PostureFindingKind, about: str) -> bool:
    """Whether it is known that a finding was not there before."""
    match kind:
        case PostureFindingKind.STLS_GONE:
            return before.stls is YES
        case PostureFindingKind.PLAINTEXT_LOGIN:
            return before.plaintext_login is NO and not _offered_in_clear(before, _BEARER)
        case PostureFindingKind.TLS_1_0:
            return before.tls_1_0 is NO
        case PostureFindingKind.TLS_1_1:
            return before.tls_1_1 is NO
        case PostureFindingKind.CHAIN:
            return before.chain is YES
        case PostureFindingKind.NOT_RELOADED:
            return before.newer.get(int(about)) is False
        case _:
            name = f"SASL {about}"
            sides = ((before.in_clear, now.in_clear), (before.in_tls, now.in_tls))
            offered_before = any(name in (was or ()) for was, _ in sides)
            return not offered_before and any(was and name in (offered or ()) for was, offered in sides)


def _offered_in_clear(kept: PostureSummary, mechanisms: Sequence[str]) -> bool:
    """Whether one of these was offered without TLS. An earlier version did not count those with an access token."""
    offered = kept.in_clear or frozenset()
    return _CAPA_ANSWERED in offered and any(f"SASL {name}" in offered for name in mechanisms)


def _removed(before: PostureSummary, now: PostureSummary) -> Iterator[tuple[PostureFindingKind, str]]:
    """What is no longer offered: inside TLS, or without it where neither time there was any."""
    if before.in_tls is not None or now.in_tls is not None:
        was, offered = before.in_tls, now.in_tls
    else:
        was, offered = before.in_clear, now.in_clear
    if not was or offered is None:
        return
    if _CAPA_ANSWERED not in offered:
        if _CAPA_ANSWERED in was:
            yield PostureFindingKind.CAPABILITIES_GONE, ""
        return
    for name in _MECHANISMS:
        if f"SASL {name}" in was - offered and name not in _WEAK:
            yield PostureFindingKind.MECHANISM_REMOVED, name
    for name in _NEEDED:
        if name in was - offered:
            yield PostureFindingKind.CAPABILITY_REMOVED, name


def _wording(kind: PostureFindingKind, about: str) -> _Wording:
    if kind is PostureFindingKind.STLS_GONE and about:
        by_about = {_LISTED: _LISTED_STLS_REFUSED, PLAIN_TEXT: _PLAIN_TEXT_AFTER_STLS}
        return by_about.get(about, _STLS_WITHOUT_TLS)
    return _WORDINGS[kind]


def _finding(kind: PostureFindingKind, about: str, *, changed: bool) -> PostureFinding:
    wording = _wording(kind, about)
    text, source, to_do = (
        part.format(about=about, action=CHAIN_ADVICE.get(about, _WHOLE_CHAIN), source=_SOURCES.get(about, ""))
        for part in (wording.change if changed else wording.state, wording.source, wording.action)
    )
    return PostureFinding(kind, about, text, source, to_do)
