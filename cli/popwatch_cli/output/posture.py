"""Prints postures: as JSON for programs, facts and findings for people. No I/O."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from popwatch.model.fields import TlsMode
from popwatch.model.outcomes import Certificate
from popwatch.model.posture import (
    MAX_SIBLINGS,
    PLAIN_TEXT,
    Answer,
    CapaReply,
    Posture,
    PostureFinding,
    PostureSummary,
    Sibling,
)
from popwatch.model.targets import Target, endpoint
from popwatch.model.text import clean, counted, iso

NAME_SHOWN = 128
"""Characters of a target's id that are printed."""

_LABEL = 18
_ACCEPTED = {Answer.YES: "accepted", Answer.NO: "refused", Answer.NOT_TESTED: "not tested"}


def to_json(
    target: Target,
    posture: Posture,
    found: Sequence[PostureFinding],
    worse: Sequence[PostureFinding] | None,
    summary: PostureSummary,
) -> dict[str, Any]:
    """The posture with the names of `docs/posture.md`; `worse` is None if there was nothing to compare it with."""
    return {
        "target_id": target.target_id,
        "host": target.host,
        "port": target.port,
        "tested_at": iso(posture.tested_at),
        "result": "failed" if posture.problem else "tested",
        "problem": posture.problem,
        "address": posture.address,
        "stls": posture.stls,
        "stls_reason": posture.stls_reason,
        "user_in_clear": posture.user_in_clear,
        "user_problem": posture.user_problem,
        "plaintext_login": posture.plaintext_login,
        "tls_1_0": posture.tls_1_0,
        "tls_1_1": posture.tls_1_1,
        "tls_version": posture.tls_version,
        "tls_problem": posture.tls_problem,
        "chain": posture.chain,
        "chain_reason": posture.chain_reason,
        "in_clear": _capa_json(posture.in_clear),
        "in_tls": _capa_json(posture.in_tls),
        "certificate": _certificate_json(posture.certificate),
        "siblings": [
            {"port": it.port, "reason": it.reason, "certificate": _certificate_json(it.certificate)}
            for it in _siblings(target, posture)
        ],
        "findings": [_finding_json(it) for it in found],
        "worse": None if worse is None else [_finding_json(it) for it in worse],
        "digest": str(summary),
    }


def _capa_json(reply: CapaReply | None) -> dict[str, Any] | None:
    if reply is None:
        return None
    return {
        "stated": reply.capa_supported,
        "capabilities": list(reply.capabilities),
        "mechanisms": list(reply.mechanisms),
    }


def _certificate_json(found: Certificate | None) -> dict[str, str] | None:
    if found is None:
        return None
    return {"subject": found.subject, "begins": iso(found.begins), "expires": iso(found.expires)}


def _finding_json(found: PostureFinding) -> dict[str, str]:
    return {
        "kind": found.kind,
        "about": found.about,
        "text": found.text,
        "source": found.source,
        "action": found.action,
    }


def to_text(target: Target, posture: Posture, found: Sequence[PostureFinding], width: int, heading: str) -> list[str]:
    """The facts of a server, then what was found, in lines of `width` characters."""
    name = clean(target.target_id, NAME_SHOWN)
    title = endpoint(target) if name in (target.host, endpoint(target)) else f"{name}  {endpoint(target)}"
    at = f"  ({posture.address})" if posture.address not in ("", target.host) else ""
    lines = [f"{title}{at}"]
    if posture.problem:
        return [*lines, *_wrapped("  not tested".ljust(_LABEL), posture.problem, width)]
    ports = ((f"port {it.port}", _sibling(it)) for it in _siblings(target, posture))
    for label, fact in (*_facts(target, posture), *ports):
        lines += _wrapped(f"  {label}".ljust(_LABEL), fact, width)
    lines.append(f"{heading}: {counted(len(found), 'finding') if found else 'nothing'}")
    for it in found:
        lines += _wrapped("  - ", it.text, width)
        lines += _wrapped("    ", f"{it.action} ({it.source})", width)
    return lines


def _wrapped(begin: str, text: str, width: int) -> list[str]:
    """Lines of which the first one begins so, and the others with as many blanks."""
    return textwrap.wrap(text, width, initial_indent=begin, subsequent_indent=" " * len(begin), break_on_hyphens=False)


def _facts(target: Target, posture: Posture) -> Iterator[tuple[str, str]]:
    if target.tls is not TlsMode.IMPLICIT:
        yield "before TLS", _capa_text(posture.in_clear)
        yield "USER before TLS", _not_known(posture.user_problem) or _ACCEPTED[posture.user_in_clear]
        yield "STLS", _stls_text(posture)
    if posture.stls is Answer.NO:
        return
    yield "TLS", posture.tls_version or f"not established: {posture.tls_problem}"
    yield "TLS 1.0, 1.1", f"{_ACCEPTED[posture.tls_1_0]}, {_ACCEPTED[posture.tls_1_1]}"
    if posture.tls_version:
        yield "in TLS", _capa_text(posture.in_tls)
    trusted = {Answer.YES: "whole and trusted", Answer.NO: f"not trusted: {posture.chain_reason}"}
    yield "chain", trusted.get(posture.chain, "not tested")
    if posture.certificate:
        yield "certificate", _certificate(posture.certificate)


def _stls_text(posture: Posture) -> str:
    match posture.stls:
        case Answer.YES:
            return "offered"
        case Answer.NO:
            return _no_stls_text(posture)
    return _not_known(posture.tls_problem) or "not tested"


def _no_stls_text(posture: Posture) -> str:
    if posture.stls_reason:
        what = "not tried" if posture.stls_reason == PLAIN_TEXT else "not established"
        return f"accepted, and TLS is then {what}: {posture.tls_problem}"
    return "listed by CAPA, and refused" if posture.refuses_listed_stls else "refused"


def _not_known(why: str) -> str:
    return f"not known: {why}" if why else ""


def _siblings(target: Target, posture: Posture) -> list[Sibling]:
    """The other ports that were asked, then those that are named and were not, with the reason."""
    asked = {it.port for it in posture.siblings}
    others = [port for port in dict.fromkeys(target.siblings) if port not in asked]
    return [*posture.siblings, *(Sibling(port, reason=_why_not_asked(port, target, posture)) for port in others)]


def _why_not_asked(port: int, target: Target, posture: Posture) -> str:
    if port == target.port:
        return "this is the port itself"
    if posture.certificate is None:
        return f"not asked, since port {target.port} shows none to compare with"
    return f"not asked, since at most {MAX_SIBLINGS} ports are"


def _capa_text(reply: CapaReply | None) -> str:
    if reply is None:
        return "not known: no reply to CAPA that says what is offered"
    if not reply.capa_supported:
        return "the server does not know CAPA"
    return ", ".join(reply.capabilities) or "CAPA lists nothing"


def _certificate(found: Certificate) -> str:
    named = f"{found.subject}, " if found.subject else ""
    return f"{named}valid from {_day(found.begins)} until {_day(found.expires)}"


def _sibling(sibling: Sibling) -> str:
    if sibling.certificate is None:
        return f"no certificate: {sibling.reason}"
    return "the same certificate" if sibling.is_same else _certificate(sibling.certificate)


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d}"
