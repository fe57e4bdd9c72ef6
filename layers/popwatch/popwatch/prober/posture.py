"""The posture test: what a server offers and permits, by a few short connections one after another.

Each connection is a probe of the prober's loop, so it has the deadline, the descriptors and the refusal of local
addresses of every test. Targets are tested side by side; a server never has more than one of these connections at a
time, since many allow only a few from one address.
"""

import errno
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from popwatch.model.fields import TlsMode, TlsVersion
from popwatch.model.outcomes import TLS_ALERT_REASON, ErrorCode, Outcome, Phase
from popwatch.model.posture import CHAIN_ADVICE, MAX_SIBLINGS, PLAIN_TEXT, Answer, CapaReply, Posture, Sibling
from popwatch.model.targets import Target
from popwatch.model.text import clean
from popwatch.prober.capabilities import Capabilities
from popwatch.prober.loop import Prober
from popwatch.prober.pop3 import Conversation
from popwatch.prober.posture_conversation import (
    PostureConversation,
    PostureQuestion,
    in_trouble,
    is_temporary,
    wants_tls,
)
from popwatch.prober.probe import Loop, Probe
from popwatch.prober.resolver import LookupResult
from popwatch.prober.tls import TlsEngine, can_offer, old_context
from popwatch.prober.x509 import names_of, parse

POP3_PORT, POP3S_PORT = 110, 995
"""The two ports of POP3: in the clear with STLS (RFC 2595), and TLS from the first byte (RFC 8314 section 3.1)."""

CAPABILITY_SHOWN = 80
"""Characters of a capability with its arguments."""

CAPABILITIES_SHOWN = 40
"""Capabilities of a posture; servers offer about ten."""

USER_REPLY_SHOWN = 200
"""Characters of the reply to USER."""

_VERSION_REFUSED = ("tls-version-unsupported", "closed-in-tls-handshake", "reset")
"""Why a handshake of one version failed, if the server refused that version; also any alert of it."""

_STLS_REFUSED = ("stls-refused", "unexpected-reply")
"""Why a conversation failed, if STLS was answered, and not by +OK."""

_NO_TLS = ("plain-text-on-tls-port", PLAIN_TEXT, "tls-handshake-failed", "closed-in-tls-handshake")
"""Why a handshake failed, if it fails with every client; also any alert of the server, and a reset by it.

Dovecot without a certificate says so in plain text, right behind its reply to STLS or a little later.
"""

_OF_THE_VERSION = "tls-version-unsupported"
"""Why a handshake failed, if it may succeed with an older client."""

_UNTRUSTED = frozenset(CHAIN_ADVICE)
"""Why a handshake failed, if the chain is not trusted."""

_TLS_NOT_ACCEPTED = {*_UNTRUSTED, "tls-client-certificate-required", "tls-legacy-renegotiation"}
"""Why a handshake failed, if the server has TLS and popwatch does not accept it, or is not accepted itself."""

MakeProber = Callable[..., Prober]
"""`Prober`, or what makes one from `make_probe`: with a shared resolver, without local addresses and so on."""


@dataclass(frozen=True, slots=True)
class _Connection:
    """One connection: to what, what is asked, and in which version of TLS alone, if that matters.

    With `handshake_only` it ends after the TLS handshake: another service than POP3 listens there.
    """

    target: Target
    questions: Sequence[PostureQuestion] = ()
    version: TlsVersion | None = None
    handshake_only: bool = False


@dataclass(frozen=True, slots=True)
class _Result:
    """How a connection ended, and what was answered.

    `certificate` is the server's own in DER. `reset`: the server has closed the connection without reading all of it.
    """

    outcome: Outcome
    replies: Sequence[Capabilities | None]
    user_reply: bytes
    certificate: bytes = b""
    reset: bool = False


class _PostureProbe(Probe):
    """A probe that asks what its connection is for."""

    def __init__(self, round_: "_Round", target: Target, loop: Loop, **options: Any) -> None:
        self._purpose = round_.connections[target.target_id]
        self.posture_conversation = PostureConversation(
            self._purpose.questions,
            greetings=[prefix.encode() for prefix in target.greeting],
            check_quit=target.check_quit,
        )
        self.certificate, self.reset = b"", False
        super().__init__(target, loop, **options)
        round_.probes[target.target_id].append(self)

    @property
    def address(self) -> str:
        """The address that it has connected to."""
        return str(self._fields.get("address", ""))

    def resolved(self, result: LookupResult) -> None:
        """Of several addresses always the same is asked first: name servers rotate them, and servers may be unlike."""
        super().resolved(replace(result, addresses=tuple(sorted(result.addresses, key=_order))))

    def _begin_conversation(self) -> Conversation:
        return self.posture_conversation

    def _tls_context(self) -> Any:
        return old_context(self._purpose.version) if self._purpose.version else super()._tls_context()

    def _handle_established(self, engine: TlsEngine) -> None:
        self.certificate = engine.own_certificate
        super()._handle_established(engine)
        if self._purpose.handshake_only:
            self._end()

    def _end_broken(self, error: OSError) -> None:
        # What else breaks a connection, such as a router that has no route any more, is not the server's doing.
        self.reset = error.errno in (errno.ECONNRESET, errno.EPIPE)
        super()._end_broken(error)


def _order(address: str) -> tuple[bool, str]:
    """IPv6 first, as in every test; one that has no route is left out later."""
    return ":" not in address, address


class _Round:
    """One connection to each of many servers, side by side.

    A result comes with its target, whose id is the connection's number meanwhile: it tells from which one it is.
    """

    def __init__(self, connections: Sequence[_Connection]) -> None:
        self.connections = {
            str(number): replace(it, target=replace(it.target, target_id=str(number)))
            for number, it in enumerate(connections)
        }
        self.probes: defaultdict[str, list[_PostureProbe]] = defaultdict(list)

    def run(self, make_prober: MakeProber, end_by: float | None) -> list[_Result | None]:
        """The results in the order of the connections; None for one that there was no time for."""
        found: dict[str, _Result] = {}
        prober = make_prober(make_probe=partial(_PostureProbe, self))
        for arrivals in prober.run([it.target for it in self.connections.values()], end_by=end_by):
            for target, outcome in arrivals:
                found[target.target_id] = self._result(target.target_id, outcome)
        return [found.get(key) for key in self.connections]

    def _result(self, key: str, outcome: Outcome) -> _Result:
        """Of several addresses that were tried, what the one answered that the outcome is of."""
        probes = self.probes[key]
        asked = next((it for it in probes if it.address == outcome.address), probes[-1])
        said = asked.posture_conversation
        return _Result(outcome, said.replies, said.user_reply, asked.certificate, asked.reset)


Connections = Generator[_Connection, _Result | None, Posture]


def probe_postures(
    targets: Sequence[Target], make_prober: MakeProber = Prober, *, end_by: float | None = None
) -> Iterator[tuple[Target, Posture]]:
    """The postures of targets, each as soon as it is known.

    Takes at most the targets' `max_test_seconds` for each connection, of which there are up to five and one for each
    sibling; what does not end before `end_by` (monotonic clock) is not tested.
    """
    # Each generator yields what to connect to, is sent the result, and ends with the posture.
    running = [(target, _connections(target)) for target in targets]
    waiting = [(target, connections, next(connections)) for target, connections in running]
    while waiting:
        results = _Round([connection for _, _, connection in waiting]).run(make_prober, end_by)
        further = []
        for (target, connections, _), result in zip(waiting, results, strict=True):
            try:
                further.append((target, connections, connections.send(result)))
            except StopIteration as end:
                yield target, end.value
        waiting = further


def _connections(target: Target) -> Connections:
    """The connections to one server, one after another; the end is its posture."""
    begins_in_clear = target.tls is not TlsMode.IMPLICIT
    relaxed = replace(target, verify_tls=False, all_addresses=False, expect=(), max_rtt_ms=0.0)
    if begins_in_clear:
        relaxed = replace(relaxed, tls=TlsMode.STARTTLS)
    stls = (PostureQuestion.STLS,) if begins_in_clear else ()
    before_tls = (PostureQuestion.CAPA, *stls) if begins_in_clear else ()
    first = yield _Connection(relaxed, (*before_tls, PostureQuestion.CAPA))
    posture = _posture(first, begins_in_clear=begins_in_clear)
    if first is None or posture.problem:
        return posture
    # The later connections are to the same address of the host: another one may be another server.
    relaxed = replace(relaxed, host=posture.address)
    if begins_in_clear:
        user = yield _Connection(replace(relaxed, tls=TlsMode.NONE), (PostureQuestion.USER,))
        takes_user = _takes_user(user, posture.in_clear)
        why = _why_not_known(user) if takes_user is Answer.NOT_TESTED else ""
        posture = replace(posture, user_in_clear=takes_user, user_problem=why)
        if not _has_accepted_stls(first.outcome):
            return posture
    accepted: dict[TlsVersion, Answer] = {}
    for version in (TlsVersion.TLS_1_0, TlsVersion.TLS_1_1):
        accepted[version] = Answer.NOT_TESTED
        if can_offer(version):
            accepted[version] = _accepts((yield _Connection(relaxed, stls, version=version)))
    last = yield _Connection(replace(relaxed, verify_tls=True), stls)
    if begins_in_clear and posture.stls is not Answer.YES:
        posture = _with_stls(posture, first, last, accepted.values())
    elif not any(_has_tls(it.outcome) for it in (first, last) if it) and Answer.YES not in accepted.values():
        return _not_asked(first.outcome)
    chain, why = _trusts(last)
    if chain is Answer.NOT_TESTED:
        # No handshake succeeds any more: what ended the others may not have been their version.
        accepted = {it: Answer.NOT_TESTED if found is Answer.NO else found for it, found in accepted.items()}
    posture = replace(
        posture,
        tls_1_0=accepted[TlsVersion.TLS_1_0],
        tls_1_1=accepted[TlsVersion.TLS_1_1],
        chain=chain,
        chain_reason=why,
    )
    if posture.certificate is None:
        return posture
    found = []
    for port in _sibling_ports(target.port, target.siblings):
        found.append(_sibling(port, first, (yield _to_sibling(relaxed, port))))
    return replace(posture, siblings=tuple(found))


def _posture(first: _Result | None, *, begins_in_clear: bool) -> Posture:
    """What the first connection shows; a problem if there is not even a greeting, or a TLS server."""
    if first is None:
        return Posture(datetime.now(UTC), problem="There was no time left to test it.")
    outcome = first.outcome
    reached = outcome.rtt_ms is not None or (outcome.phase is Phase.TLS and outcome.error is ErrorCode.PROTOCOL)
    if not reached:
        return _not_asked(outcome)
    replies = [*map(_capa_reply, first.replies), None, None]
    in_clear, in_tls = replies[:2] if begins_in_clear else (None, replies[0])
    secure = bool(outcome.tls_version)
    return Posture(
        outcome.started_at,
        outcome.address,
        stls=_has_stls(outcome) if begins_in_clear else Answer.NOT_TESTED,
        tls_version=outcome.tls_version,
        tls_problem="" if secure else _why_no_tls(outcome),
        in_clear=in_clear,
        in_tls=in_tls if secure else None,
        certificate=outcome.certificates[0] if outcome.certificates else None,
    )


def _not_asked(outcome: Outcome) -> Posture:
    return Posture(outcome.started_at, outcome.address, f"{outcome.message} ({outcome.reason}): {outcome.detail}")


def _why_no_tls(outcome: Outcome) -> str:
    return "Plain text came after the reply to STLS." if outcome.reason == PLAIN_TEXT else outcome.detail


def _capa_reply(offered: Capabilities | None) -> CapaReply | None:
    """The reply to CAPA as people read it: each line cleaned and cut."""
    if offered is None:
        return None
    lines = (" ".join((name, *words)) for name, words in offered.arguments.items())
    return CapaReply(
        tuple(clean(line, CAPABILITY_SHOWN) for line in lines)[:CAPABILITIES_SHOWN],
        tuple(clean(name, CAPABILITY_SHOWN) for name in offered.mechanisms)[:CAPABILITIES_SHOWN],
        offered.capa_supported,
    )


def _takes_user(result: _Result | None, in_clear: CapaReply | None) -> Answer:
    """Whether USER is accepted before TLS.

    A server that lists USER (RFC 2449 section 6.2) and refuses it is in trouble, or does not know that name, unless it
    says that it wants TLS: Courier lists USER in any case.
    """
    reply = result.user_reply if result else b""
    if not reply or in_trouble(reply):
        return Answer.NOT_TESTED
    if reply.startswith(b"+OK"):
        return Answer.YES
    listed = in_clear is not None and "USER" in in_clear.known
    return Answer.NOT_TESTED if listed and not wants_tls(reply) else Answer.NO


def _why_not_known(result: _Result | None) -> str:
    """Why it is not known whether USER is accepted: what the server said to it, or why it said nothing."""
    if result is None:
        return "there was no time left to ask"
    if result.user_reply:
        return f"the server said {clean(result.user_reply, USER_REPLY_SHOWN)}"
    return f"USER was not answered ({result.outcome.reason or 'the connection ended'})"


def _has_accepted_stls(outcome: Outcome) -> bool:
    return bool(outcome.tls_version) or outcome.phase is Phase.TLS


def _has_stls(outcome: Outcome) -> Answer:
    """Whether STLS is there. The phase begins with the greeting: what broke the CAPA before it says nothing."""
    if _has_tls(outcome):
        return Answer.YES
    refused = outcome.phase is Phase.STLS and outcome.reason in _STLS_REFUSED
    return Answer.NO if refused and not is_temporary(outcome.detail.encode()) else Answer.NOT_TESTED


def _has_tls(outcome: Outcome) -> bool:
    """Whether the server has TLS, if perhaps none that popwatch accepts: what it has it showed in the handshake."""
    return bool(outcome.tls_version) or (outcome.phase is Phase.TLS and outcome.reason in _TLS_NOT_ACCEPTED)


def _with_stls(posture: Posture, first: _Result, last: _Result | None, older: Iterable[Answer]) -> Posture:
    """The posture with whether TLS follows an accepted STLS, by more than one connection: one may fail by chance.

    It is as good as gone if no TLS followed in the first one and in the last one, by the server's own doing, and in
    none of an older version, where one could be offered. The reason is of one that tried a handshake, if there is one.
    """
    versions = list(older)
    if Answer.YES in versions or (last and _has_tls(last.outcome)):
        return replace(posture, stls=Answer.YES)
    if last and all(_has_no_tls(it, versions) for it in (first, last)):
        tried = last.outcome if first.outcome.reason == PLAIN_TEXT else first.outcome
        return replace(posture, stls=Answer.NO, stls_reason=tried.reason, tls_problem=_why_no_tls(tried))
    return posture


def _has_no_tls(result: _Result, older: Sequence[Answer]) -> bool:
    """Whether a server that has accepted STLS broke off the handshake, or sent something else than TLS."""
    outcome = result.outcome
    if outcome.phase is not Phase.TLS:
        return False
    if outcome.reason == _OF_THE_VERSION:
        return all(it is Answer.NO for it in older)
    return outcome.reason in _NO_TLS or outcome.reason.startswith(TLS_ALERT_REASON) or result.reset


def _accepts(result: _Result | None) -> Answer:
    """Whether a server accepted the only version that was offered. What else can end a handshake says nothing."""
    if result is None:
        return Answer.NOT_TESTED
    outcome = result.outcome
    if outcome.tls_version:
        return Answer.YES
    reason = outcome.reason
    refused = reason in _VERSION_REFUSED or reason.startswith(TLS_ALERT_REASON)
    return Answer.NO if outcome.phase is Phase.TLS and refused else Answer.NOT_TESTED


def _trusts(result: _Result | None) -> tuple[Answer, str]:
    """Whether the chain was verified, and why not."""
    if result and result.outcome.tls_version:
        return Answer.YES, ""
    if result and result.outcome.reason in _UNTRUSTED:
        return Answer.NO, result.outcome.reason
    return Answer.NOT_TESTED, ""


def _sibling_ports(port: int, named: Sequence[int]) -> list[int]:
    """The other port of POP3, then those that are named."""
    other = {POP3_PORT: (POP3S_PORT,), POP3S_PORT: (POP3_PORT,)}.get(port, ())
    return [it for it in dict.fromkeys((*other, *named)) if it != port][:MAX_SIBLINGS]


def _to_sibling(relaxed: Target, port: int) -> _Connection:
    """A connection to another port of the host, for its certificate alone."""
    if port == POP3_PORT:
        return _Connection(replace(relaxed, port=port, tls=TlsMode.STARTTLS), (PostureQuestion.STLS,))
    secure = replace(relaxed, port=port, tls=TlsMode.IMPLICIT)
    return _Connection(secure, handshake_only=port != POP3S_PORT)


def _sibling(port: int, own: _Result, result: _Result | None) -> Sibling:
    if result is None:
        return Sibling(port, reason="not tested")
    certificates = result.outcome.certificates
    if not certificates:
        return Sibling(port, reason=result.outcome.reason)
    names = names_of(own.certificate)
    return Sibling(
        port,
        certificates[0],
        is_same=own.certificate == result.certificate,
        covers_names=bool(names) and names <= names_of(result.certificate),
        self_signed=_is_self_issued(result.certificate) and not _is_self_issued(own.certificate),
    )


def _is_self_issued(certificate: bytes) -> bool:
    known = parse(certificate)
    return known is not None and known.self_issued
