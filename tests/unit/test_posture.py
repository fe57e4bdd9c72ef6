"""What got worse between two postures: each change one finding, nothing for what was not tested or got better."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.outcomes import Certificate, Role
from popwatch.model.posture import _KNOWN as KNOWN
from popwatch.model.posture import (
    LONGEST_SUMMARY,
    MAX_SIBLINGS,
    NO,
    NOT_TESTED,
    YES,
    Answer,
    CapaReply,
    Posture,
    PostureChange,
    PostureFindingKind,
    PostureSummary,
    Sibling,
    change_of,
    finding_names,
    findings,
    parse_summary,
    pending_finding,
    pending_text,
    still_holds,
    worse,
)
from popwatch.model.serialization import deserialize, serialize

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
LIFETIME = timedelta(days=90)


def certificate(begins: datetime, subject: str = "pop.example.net") -> Certificate:
    return Certificate(Role.LEAF, subject, begins + LIFETIME, LIFETIME)


def lasting(shown: Certificate, until: datetime) -> Certificate:
    """The same one, which ends at another time."""
    return replace(shown, expires=until, lifetime=until - shown.begins)


def sibling(port: int, shown: Certificate) -> Sibling:
    """With a certificate for the same names."""
    return Sibling(port, shown, covers_names=True)


OFFER = CapaReply(("TOP", "UIDL", "USER"), ("PLAIN", "SCRAM-SHA-256"))
OWN = certificate(NOW - timedelta(days=60))
GOOD = Posture(
    NOW,
    stls=YES,
    user_in_clear=NO,
    tls_1_0=NO,
    tls_1_1=NO,
    chain=YES,
    in_clear=CapaReply(("STLS", "UIDL")),
    in_tls=OFFER,
    certificate=OWN,
    siblings=(sibling(995, OWN), sibling(993, OWN)),
)
NEWER = certificate(NOW - timedelta(days=1))
EXPIRED = certificate(NOW - timedelta(days=91))
CHANGES: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "STLS gone": ({"stls": NO, "in_tls": None, "in_clear": CapaReply(("UIDL",))}, [("stls-gone", "")]),
    "STLS listed and refused": (
        {"stls": NO, "in_tls": None, "in_clear": CapaReply(("STLS", "UIDL"))},
        [("stls-gone", "listed")],
    ),
    "STLS accepted, and no TLS": (
        {"stls": NO, "stls_reason": "tls-alert-handshake-failure", "in_tls": None},
        [("stls-gone", "tls-alert-handshake-failure")],
    ),
    "STLS accepted, and plain text with the reply": (
        {"stls": NO, "stls_reason": "stls-injection", "in_tls": None},
        [("stls-gone", "stls-injection")],
    ),
    "USER in the clear": ({"user_in_clear": YES}, [("plaintext-login-allowed", "")]),
    "PLAIN in the clear": ({"in_clear": CapaReply(("STLS",), ("PLAIN",))}, [("plaintext-login-allowed", "")]),
    "LOGIN in the clear": ({"in_clear": CapaReply(("STLS",), ("LOGIN",))}, [("plaintext-login-allowed", "")]),
    "XOAUTH2 in the clear": ({"in_clear": CapaReply(("STLS",), ("XOAUTH2",))}, [("plaintext-login-allowed", "")]),
    "OAUTHBEARER in the clear": (
        {"in_clear": CapaReply(("STLS",), ("OAUTHBEARER",))},
        [("plaintext-login-allowed", "")],
    ),
    "SCRAM in the clear": ({"in_clear": CapaReply(("STLS",), ("SCRAM-SHA-256", "GSSAPI"))}, []),
    "TLS 1.0": ({"tls_1_0": YES}, [("tls10-accepted", "")]),
    "TLS 1.1": ({"tls_1_1": YES}, [("tls11-accepted", "")]),
    "chain": ({"chain": NO, "chain_reason": "tls-issuer-missing"}, [("chain-not-trusted", "tls-issuer-missing")]),
    "weak one in TLS": (
        {"in_tls": replace(OFFER, mechanisms=(*OFFER.mechanisms, "NTLM"))},
        [("weak-mechanism-offered", "NTLM")],
    ),
    "weak one in the clear": (
        {"in_clear": CapaReply(("STLS", "UIDL"), ("CRAM-MD5",))},
        [("weak-mechanism-offered", "CRAM-MD5")],
    ),
    "mechanism removed": (
        {"in_tls": replace(OFFER, mechanisms=("SCRAM-SHA-256",))},
        [("mechanism-removed", "PLAIN")],
    ),
    "two mechanisms removed": (
        {"in_tls": replace(OFFER, mechanisms=())},
        [("mechanism-removed", "PLAIN"), ("mechanism-removed", "SCRAM-SHA-256")],
    ),
    "capability removed": (
        {"in_tls": replace(OFFER, capabilities=("TOP", "USER"))},
        [("capability-removed", "UIDL")],
    ),
    "CAPA refused": ({"in_tls": CapaReply(capa_supported=False)}, [("capabilities-gone", "")]),
    "sibling newer": (
        {"siblings": (sibling(995, NEWER), sibling(993, OWN))},
        [("certificate-not-reloaded", "995")],
    ),
    "both siblings newer": (
        {"siblings": (sibling(995, NEWER), sibling(993, NEWER))},
        [("certificate-not-reloaded", "993"), ("certificate-not-reloaded", "995")],
    ),
    "several at once": (
        {"user_in_clear": YES, "tls_1_0": YES, "chain": NO},
        [("plaintext-login-allowed", ""), ("tls10-accepted", ""), ("chain-not-trusted", "")],
    ),
    "certificate renewed everywhere": (
        {"certificate": NEWER, "siblings": (sibling(995, NEWER), sibling(993, NEWER))},
        [],
    ),
    "sibling made in the same hour": (
        {"siblings": (sibling(995, certificate(OWN.begins + timedelta(hours=1))), sibling(993, OWN))},
        [],
    ),
    "sibling newer, and not valid yet": (
        {"siblings": (sibling(995, certificate(NOW + timedelta(seconds=1))), sibling(993, OWN))},
        [],
    ),
    "sibling newer, and valid since a second": (
        {"siblings": (sibling(995, certificate(NOW - timedelta(seconds=1))), sibling(993, OWN))},
        [("certificate-not-reloaded", "995")],
    ),
    "sibling newer, and expired": ({"siblings": (sibling(995, lasting(NEWER, NOW)), sibling(993, OWN))}, []),
    "sibling newer, and ends with the server's": (
        {"siblings": (sibling(995, lasting(NEWER, OWN.expires)), sibling(993, OWN))},
        [("certificate-not-reloaded", "995")],
    ),
    "sibling newer, and ends earlier": (
        {"siblings": (sibling(995, lasting(NEWER, OWN.expires - timedelta(seconds=1))), sibling(993, OWN))},
        [],
    ),
    "both expired": (
        {"certificate": EXPIRED, "siblings": (sibling(995, lasting(NEWER, NOW)), sibling(993, EXPIRED))},
        [],
    ),
    "sibling self-signed": (
        {"siblings": (replace(sibling(995, NEWER), self_signed=True), sibling(993, OWN))},
        [],
    ),
    "sibling of another name": ({"siblings": (Sibling(995, NEWER), sibling(993, OWN))}, []),
    "sibling of the same names that is called otherwise": (
        {"siblings": (sibling(995, certificate(NEWER.begins, "")), sibling(993, OWN))},
        [("certificate-not-reloaded", "995")],
    ),
    "a sibling more, newer": ({"siblings": (*GOOD.siblings, sibling(465, NEWER))}, []),
    "sibling closed": ({"siblings": (Sibling(995, None, "refused"), sibling(993, OWN))}, []),
    "capability added": ({"in_tls": replace(OFFER, capabilities=(*OFFER.capabilities, "UTF8"))}, []),
    "less in the clear": ({"in_clear": CapaReply(("STLS",))}, []),
    "an unknown capability": ({"in_tls": replace(OFFER, capabilities=(*OFFER.capabilities, "XYZ 1"))}, []),
    "nothing tested": ({it.name: it.default for it in fields(Posture) if it.name != "tested_at"}, []),
}


def named(before: PostureSummary, now: Posture) -> list[tuple[str, str]]:
    return [(it.kind, it.about) for it in worse(before, now)]


@pytest.mark.parametrize(("changed", "expected"), CHANGES.values(), ids=CHANGES)
def test_each_change(changed: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """One finding for each change for the worse, also by way of the summary that is kept; none for the way back."""
    now = replace(GOOD, **changed)
    kept = parse_summary(str(GOOD.summary))
    assert kept == GOOD.summary
    assert named(kept, now) == expected
    back = [("capability-removed", "UTF8")] if "UTF8" in repr(changed) else []
    assert named(now.summary.filled_from(kept), GOOD) == back


@pytest.mark.parametrize("lost", [it.name for it in fields(Posture) if it.name not in ("tested_at", "address")])
def test_what_was_not_tested_is_no_change(lost: str) -> None:
    """Neither before nor now; and a change across a gap is still found."""
    default: Any = next(it.default for it in fields(Posture) if it.name == lost)
    unknown = replace(GOOD, **{lost: default})
    assert worse(GOOD.summary, unknown) == []
    for changed, expected in CHANGES.values():
        now = replace(GOOD, **changed)
        assert set(named(unknown.summary, now)) <= set(expected)
        assert named(unknown.summary.filled_from(GOOD.summary), now) == expected


@pytest.mark.parametrize("days", [1, 2])
def test_what_was_removed_while_capa_was_refused_is_found_with_the_next_answer(days: int) -> None:
    """By comparison with the last answer. The refusal itself is found once; what it hides is not a fault."""
    weak = replace(GOOD, in_tls=replace(OFFER, mechanisms=("PLAIN", "SCRAM-SHA-256", "CRAM-MD5")))
    refused = replace(GOOD, in_tls=CapaReply(capa_supported=False))
    assert named(weak.summary, refused) == [("capabilities-gone", "")]
    kept = weak.summary
    for _ in range(days):
        kept = refused.kept_after(parse_summary(str(kept)))
    assert (named(kept, refused), finding_names(kept)) == ([], [])
    assert named(kept, weak) == []
    assert named(kept, GOOD) == []
    fewer = replace(GOOD, in_tls=replace(OFFER, mechanisms=("PLAIN", "NTLM"), capabilities=("TOP", "USER")))
    assert named(kept, fewer) == [
        ("weak-mechanism-offered", "NTLM"),
        ("mechanism-removed", "SCRAM-SHA-256"),
        ("capability-removed", "UIDL"),
    ]
    pending = "mechanism-removed:PLAIN"
    assert still_holds(pending, refused.kept_after(replace(GOOD, in_tls=CapaReply(("TOP",))).summary))


def test_a_first_weak_mechanism_on_a_side_that_was_not_tested() -> None:
    """Whether it was there before is not known."""
    now = replace(GOOD, in_tls=replace(OFFER, mechanisms=("CRAM-MD5",)))
    assert named(replace(GOOD, in_tls=None).summary, now) == []
    assert named(replace(GOOD, in_tls=CapaReply(capa_supported=False)).summary, now) == []


def test_plain_text_with_the_reply_to_stls_says_nothing_of_tls() -> None:
    """No handshake was tried: that TLS is not established, or nothing can be encrypted, is not known."""
    posture = replace(GOOD, stls=NO, stls_reason="stls-injection", in_tls=None)
    for found in (*findings(posture), *worse(GOOD.summary, posture)):
        assert "plain text follows" in found.text.lower()
        assert "established" not in found.text
        assert "encrypted" not in found.text


def test_a_token_that_was_taken_without_tls_before_it_counted_is_no_change() -> None:
    """An earlier version kept of such a server that it refuses the login without TLS."""
    now = replace(GOOD, in_clear=CapaReply(("STLS",), ("XOAUTH2",)))
    kept = replace(now.summary, plaintext_login=NO)
    assert named(kept, now) == []
    assert finding_names(now.kept_after(kept)) == ["plaintext-login-allowed"]
    refused = replace(kept, in_clear=frozenset({"SASL XOAUTH2"}))
    assert named(refused, now) == [("plaintext-login-allowed", "")]


def test_without_tls_the_offer_in_the_clear_counts() -> None:
    """A server that never had TLS: what it removes is found there."""
    before = replace(GOOD, stls=NO, in_tls=None, in_clear=OFFER)
    now = replace(before, in_clear=replace(OFFER, capabilities=("TOP", "USER")))
    assert named(before.summary, now) == [("capability-removed", "UIDL")]


@pytest.mark.parametrize("kind", PostureFindingKind)
def test_each_kind_has_its_texts(kind: PostureFindingKind) -> None:
    """What, the RFC, what to do; without a brace that was not filled in."""
    changed = [it for changed, _ in CHANGES.values() for it in worse(GOOD.summary, replace(GOOD, **changed))]
    found = [it for it in changed if it.kind is kind]
    assert found
    for it in found:
        assert it.text.endswith(".")
        assert it.action.endswith(".")
        assert it.source.startswith(("RFC ", "Microsoft's MS-"))
        assert "{" not in it.text + it.action + it.source
        assert it.about in it.text


SOURCES = {
    "ANONYMOUS": "RFC 4505",
    "CRAM-MD5": "RFC 2195",
    "DIGEST-MD5": "RFC 6331",
    "KERBEROS_V4": "RFC 2222 section 7.1, obsoleted by RFC 4422",
    "NTLM": "Microsoft's MS-NLMP section 1.6",
    "TOP": "RFC 2449 section 6.1, RFC 1939 section 7",
    "USER": "RFC 2449 section 6.2, RFC 1939 section 7",
    "RESP-CODES": "RFC 2449 section 6.4",
    "PIPELINING": "RFC 2449 section 6.6",
    "UIDL": "RFC 2449 section 6.8, RFC 1939 section 7",
    "AUTH-RESP-CODE": "RFC 3206 section 6",
    "UTF8": "RFC 6856 section 2",
}


def test_each_mechanism_and_capability_has_its_own_source() -> None:
    """A document that defines it, or says that it is weak or obsolete."""
    mechanisms = tuple(it.removeprefix("SASL ") for it in KNOWN[14:])
    none, all_ = CapaReply(), CapaReply(KNOWN[1:14], mechanisms)
    weak = worse(replace(GOOD, in_tls=none).summary, replace(GOOD, in_tls=all_))
    removed = worse(replace(GOOD, in_tls=all_).summary, replace(GOOD, in_tls=none))
    found = [*weak, *(it for it in removed if it.kind == PostureFindingKind.CAPABILITY_REMOVED)]
    assert {it.about: it.source for it in found} == SOURCES


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("tls-untrusted", "authority that clients trust"),
        ("tls-issuer-missing", "followed by every intermediate one"),
        ("tls-chain-expired", "install the chain that its authority issues now"),
        ("tls-chain-invalid", "A certificate breaks a rule"),
        ("tls-certificate-expired", "Renew the certificate"),
        ("tls-certificate-not-yet-valid", "a clock is wrong"),
        ("tls-name-mismatch", "for the name by which clients reach this server"),
        ("tls-weak-key", "2,048 bits"),
        ("tls-weak-signature", "SHA-256"),
        ("of a later version", "a whole chain of certificates that are valid"),
    ],
)
def test_what_to_do_about_a_chain_fits_the_reason(reason: str, words: str) -> None:
    """Sending intermediate certificates mends one reason alone, and renewing another one."""
    [found] = worse(GOOD.summary, replace(GOOD, chain=NO, chain_reason=reason))
    assert words in found.action
    assert ("fullchain" in found.action) is (reason == "tls-issuer-missing")
    assert ("Renew the certificate" in found.action) is (reason == "tls-certificate-expired")


@pytest.mark.parametrize("changed", [changed for changed, _ in CHANGES.values()], ids=CHANGES)
def test_an_alert_says_what_the_posture_test_found(changed: dict[str, Any]) -> None:
    """Also once it has waited in the record, of which nothing but a kind and what it is about is left."""
    for found in worse(GOOD.summary, replace(GOOD, **changed)):
        assert pending_finding(pending_text(found)) == found


answers = st.sampled_from(list(Answer))
offers = st.none() | st.frozensets(st.sampled_from(KNOWN))
ports = st.dictionaries(st.integers(1, 65_535), st.booleans(), max_size=MAX_SIBLINGS)
summaries = st.builds(
    PostureSummary, answers, answers, answers, answers, answers, offers, offers, ports, st.sampled_from(["", "00ff"])
)


@pytest.mark.parametrize("name", ["CRAM-SHA1", "CRAM-SHA256", "KERBEROS_V5", "SCRAM-SHA-512-PLUS", "XOAUTH2"])
def test_each_registered_mechanism_is_missed(name: str) -> None:
    """Also one that few servers offer; one that no registry has is not compared."""
    before = replace(GOOD, in_tls=replace(OFFER, mechanisms=(*OFFER.mechanisms, name, "X-OWN")))
    kept = parse_summary(str(before.summary))
    assert kept
    assert named(kept, GOOD) == [("mechanism-removed", name)]


def test_the_largest_summary() -> None:
    """All bits of both sides, and all ports."""
    newer = {65_535 - number: True for number in range(MAX_SIBLINGS)}
    largest = PostureSummary(in_clear=frozenset(KNOWN), in_tls=frozenset(KNOWN), newer=newer, server="00ff")
    assert len(str(largest).encode()) <= LONGEST_SUMMARY
    assert parse_summary(str(largest)) == largest


@given(summaries)
def test_a_summary_is_small_and_read_again(summary: PostureSummary) -> None:
    """At most 100 bytes, and the same summary again."""
    assert len(str(summary).encode()) <= LONGEST_SUMMARY
    assert parse_summary(str(summary)) == summary


@given(summaries, summaries)
def test_what_is_kept_has_no_gaps(before: PostureSummary, now: PostureSummary) -> None:
    """What is known now, else what was known; small as any."""
    kept = now.filled_from(before)
    assert now.filled_from(None) == now
    assert len(str(kept)) <= LONGEST_SUMMARY
    assert kept.stls is (before.stls if now.stls is NOT_TESTED else now.stls)
    assert set(now.newer.items()) <= set(kept.newer.items())


lines = st.lists(st.sampled_from(KNOWN[1:14]), unique=True).map(tuple)
mechanisms = st.lists(st.sampled_from([it.removeprefix("SASL ") for it in KNOWN[14:]]), unique=True).map(tuple)
made_offers = st.none() | st.builds(CapaReply, lines, mechanisms)
made_siblings = st.lists(
    st.builds(Sibling, st.integers(1, 9), st.sampled_from([None, OWN, NEWER])), unique_by=lambda it: it.port
).map(tuple)
postures = st.builds(
    Posture,
    st.just(NOW),
    stls=answers,
    user_in_clear=answers,
    tls_1_0=answers,
    tls_1_1=answers,
    chain=answers,
    in_clear=made_offers,
    in_tls=made_offers,
    certificate=st.sampled_from([None, OWN, NEWER]),
    siblings=made_siblings,
)


@given(postures)
def test_no_change_is_no_finding(posture: Posture) -> None:
    """Whatever the posture is."""
    assert worse(posture.summary, posture) == []
    assert worse(posture.summary.filled_from(GOOD.summary), posture) == []


@given(postures, postures)
def test_a_change_back_and_forth_is_found_once_each_way(before: Posture, now: Posture) -> None:
    """No change is worse in both directions, and nothing is found that the posture does not show."""
    there, back = named(before.summary, now), named(now.summary, before)
    assert not set(there) & set(back)
    assert len(there) == len(set(there))
    shown = {(it.kind, it.about) for it in findings(now)}
    assert {it for it in there if "removed" not in it[0] and it[0] != "capabilities-gone"} <= shown


@given(postures)
def test_better_is_no_finding(posture: Posture) -> None:
    """Every fault mended, nothing removed: no finding."""

    def with_more(offer: CapaReply | None) -> CapaReply | None:
        if offer is None:
            return None
        kept = tuple(
            it for it in offer.mechanisms if it not in ("ANONYMOUS", "CRAM-MD5", "DIGEST-MD5", "NTLM", "KERBEROS_V4")
        )
        return replace(offer, capabilities=(*offer.capabilities, "XNEW"), mechanisms=kept)

    clear = with_more(posture.in_clear)
    better = replace(
        posture,
        stls=YES,
        user_in_clear=NO,
        tls_1_0=NO,
        tls_1_1=NO,
        chain=YES,
        in_clear=replace(clear, mechanisms=()) if clear and posture.in_tls else clear,
        in_tls=with_more(posture.in_tls),
        siblings=tuple(replace(it, certificate=posture.certificate) for it in posture.siblings),
    )
    assert named(posture.summary, better) == []


def test_a_change_names_what_got_worse_and_better() -> None:
    """What was not tested now is neither; of the first posture it is what should be otherwise."""
    before = replace(GOOD, stls=NO, tls_1_1=YES).summary
    now = replace(GOOD, user_in_clear=YES, tls_1_1=NOT_TESTED)
    assert str(change_of(before, now)) == "worse: plaintext-login-allowed; better: stls-gone"
    assert str(change_of(None, now)) == "first test, found: plaintext-login-allowed"
    assert str(change_of(None, GOOD)) == "first test, nothing found"
    assert str(change_of(None, Posture(GOOD.tested_at))) == "first test, nothing could be asked"
    assert str(change_of(GOOD.summary, GOOD)) == "it offers something else"


@given(postures)
def test_a_change_is_stored_and_read_again(posture: Posture) -> None:
    """As JSON, with all that was answered."""
    change = change_of(GOOD.summary, posture)
    assert deserialize(PostureChange, json.loads(json.dumps(serialize(change)))) == change


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "2yyyyy.-.-.",
        "1yyyy.-.-.",
        "1yyyyy.x.-.",
        "1yyyyy.-.-.995",
        "1y.y.y.y.y",
        "1yyyyy.-.-.n",
        "1yyyyy.-.-..xy",
        "1yyyyy.-.-..00.00",
    ],
)
def test_another_text_is_no_summary(text: str) -> None:
    """Such as one of a later version."""
    assert parse_summary(text) is None
    assert parse_summary(f"{GOOD.summary}@{text}") is None
