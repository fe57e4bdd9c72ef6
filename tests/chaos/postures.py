"""What simulated servers offer, how that changes, and what they answer; and people who change it.

An installation of days has few targets, which are tested every half hour or hour, and asked once a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from popwatch.model.outcomes import Certificate, Role
from popwatch.model.posture import NO, NOT_TESTED, YES, Answer, CapaReply, Posture, Sibling
from popwatch.model.targets import Target
from tests.chaos import facts
from tests.chaos.faults import Faults, Rates
from tests.chaos.people import Change, Configured, Situation

CHAOS_HOURS, CALM_HOURS = 116.0, 4.0
"""Of an installation of days."""

DELAYS_UP = (1800, 3600, 3600)
ANSWERS_AGAIN = 0.05
"""How likely a server that fails answers again after each minute."""

OTHER_PORTS = (995, 993)
"""Ports of each server whose certificates are compared with the one served at the port that is tested."""

STRONG, WEAK = ("PLAIN", "LOGIN", "SCRAM-SHA-256"), ("CRAM-MD5", "NTLM")
CAPABILITIES = ("TOP", "UIDL", "PIPELINING", "RESP-CODES")
REASONS = ("tls-issuer-missing", "tls-name-mismatch", "tls-certificate-expired")
HIDDEN = ("stls", "plain", "tls10", "tls11", "chain", "in_clear", "in_tls", "certificate")
"""What may not be tested, though the server answers."""

WITHOUT_TLS = "tls-alert-handshake-failure"
"""Why no TLS follows STLS, of some of the servers that have lost it."""

_TURNED = ("stls", "plain", "tls10", "tls11", "capa")
_OF_DAYS = {
    "config_changed": 0.0008,
    "target_removed": 0.00004,
    "target_added": 0.003,
    "target_renamed": 0.00003,
    "file_imported": 0.0,
    "schedule_changed": 0.0,
    "server_changed": 0.0003,
    "round_trips_changed": 0.0005,
    "addresses_changed": 0.0,
    "certificate_changed": 0.0002,
    "storm": 0.0,
    "posture_changed": 0.004,
}
"""Of each minute: about two changes of each kind a day."""


@dataclass(slots=True)
class Offered:
    """What a server offers and permits. `newer` are the other ports whose certificate is newer, `closed` those at
    which nothing listens; `hidden` is what cannot be asked."""

    stls: bool = True
    plain: bool = False
    tls10: bool = False
    tls11: bool = False
    capa: bool = True
    chain: str = ""
    mechanisms: frozenset[str] = frozenset(STRONG)
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    newer: frozenset[int] = frozenset()
    closed: frozenset[int] = frozenset()
    hidden: frozenset[str] = field(default_factory=frozenset)

    def change(self, faults: Faults) -> str:
        """One thing becomes otherwise: what."""
        kind = faults.choice([*_TURNED, "chain", "strong", "strong", "weak", "capability", "port", "port", "hidden"])
        match kind:
            case "chain":
                self.chain = "" if self.chain else faults.choice(REASONS)
            case "strong" | "weak":
                self.mechanisms ^= {faults.choice(STRONG if kind == "strong" else WEAK)}
            case "capability":
                self.capabilities ^= {faults.choice(CAPABILITIES)}
            case "port":
                port = {faults.choice(OTHER_PORTS)}
                if faults.uniform(0, 1) < 0.25:
                    self.closed ^= port
                else:
                    self.newer ^= port
            case "hidden":
                hidden = frozenset(faults.choice(HIDDEN) for _ in range(faults.choice([1, 2, 5])))
                self.hidden = frozenset() if self.hidden else hidden
            case _:
                setattr(self, kind, not getattr(self, kind))
        return kind

    @property
    def accepts_stls_in_vain(self) -> bool:
        """Whether STLS that is gone is accepted, and no TLS follows: by what else is offered, which changes often."""
        return not self.stls and len(self.mechanisms | self.capabilities) % 2 == 0

    def answers(self, *, implicit: bool) -> dict[str, object]:
        """What is found, by question; what cannot be asked is left out. A port that is closed is None."""
        tls = implicit or (self.stls and "stls" not in self.hidden)
        found: dict[str, object] = {}
        if not implicit:
            found["stls"] = self.stls
            found |= {"stls_reason": WITHOUT_TLS} if self.accepts_stls_in_vain else {}
            found["in_clear"] = self._offers(self.mechanisms if self.plain else frozenset())
        if tls:
            found |= {"tls10": self.tls10, "tls11": self.tls11, "chain": self.chain}
            found["in_tls"] = self._offers(self.mechanisms)
            found |= {} if "certificate" in self.hidden else self._ports()
        found = {name: it for name, it in found.items() if name.removesuffix("_reason") not in self.hidden}
        in_clear = found.get("in_clear", frozenset())
        if isinstance(in_clear, frozenset) and in_clear & {"SASL PLAIN", "SASL LOGIN"}:
            found["plain"] = True
        elif not implicit and "plain" not in self.hidden:
            found["plain"] = self.plain
        return found

    def _offers(self, mechanisms: frozenset[str]) -> frozenset[str]:
        if not self.capa:
            return frozenset()
        return frozenset({"CAPA", *self.capabilities, *(f"SASL {name}" for name in mechanisms)})

    def _ports(self) -> dict[str, object]:
        return {f"port {port}": None if port in self.closed else port in self.newer for port in OTHER_PORTS}


def posture_of(offered: Offered, target: Target, now: datetime) -> Posture:
    """What the product's prober would say of a server."""
    implicit = target.tls == "implicit"
    found = offered.answers(implicit=implicit)

    def answer(name: str) -> Answer:
        return NOT_TESTED if name not in found else YES if found[name] else NO

    def reply(name: str) -> CapaReply | None:
        offers = found.get(name)
        if not isinstance(offers, frozenset):
            return None
        names = sorted(offers - {"CAPA"})
        mechanisms = tuple(it.removeprefix("SASL ") for it in names if it.startswith("SASL "))
        capabilities = tuple(it for it in names if not it.startswith("SASL "))
        return CapaReply(capabilities, mechanisms, capa_supported=bool(offers))

    chain = NOT_TESTED if "chain" not in found else NO if found["chain"] else YES
    ports = [name for name in found if name.startswith("port ")]
    return Posture(
        now,
        address="192.0.2.7",
        stls=answer("stls"),
        stls_reason=str(found.get("stls_reason", "")),
        user_in_clear=NOT_TESTED if "plain" in offered.hidden else answer("plain"),
        tls_1_0=answer("tls10"),
        tls_1_1=answer("tls11"),
        chain=chain,
        chain_reason=str(found.get("chain", "")),
        in_clear=reply("in_clear"),
        in_tls=reply("in_tls"),
        certificate=_certificate(now, newer=False) if ports else None,
        siblings=tuple(_sibling(int(name[5:]), found[name], now) for name in ports),
    )


def _certificate(now: datetime, *, newer: bool) -> Certificate:
    age = timedelta(days=2 if newer else 60)
    return Certificate(Role.LEAF, "mail.example.net", now - age + timedelta(days=90), timedelta(days=90))


def _sibling(port: int, newer: object, now: datetime) -> Sibling:
    if newer is None:
        return Sibling(port, reason="refused")
    return Sibling(port, _certificate(now, newer=bool(newer)), is_same=not newer, covers_names=True)


def asked_of(target: Target) -> str:
    """What a posture is of: the server, and how it is connected to; a name of the campaign's own."""
    return f"{target.host} {target.port} {target.tls == 'implicit'}"


def rates_of_days(rates: Rates, random: Random, *, quiet: bool) -> Rates:
    """Those of an installation of days."""
    factor = random.choice([0.5, 1.0, 2.0]) * (0.3 if quiet else 1.0)
    return replace(rates, **{name: rate * factor for name, rate in _OF_DAYS.items()})


def of_days(known: Configured, faults: Faults) -> Configured:
    """A new target in an installation of days: it depends on none, does not flap, and has no text of its own."""
    delay, most = faults.choice(DELAYS_UP), faults.choice([0, 1, 3, 3, 3])
    policy = replace(known.policy, delay_up=delay, max_alerts=most, flap_per_hour=0, depends_on=())
    return replace(known, policy=policy)


# ---- people


def _switch(known: Configured, _: Situation) -> Configured:
    return replace(known, posture=not known.posture)


def _hours(there: Situation) -> facts.Window:
    begin = there.now + timedelta(hours=there.faults.choice([0, 0, 1, 5]))
    return begin, begin + timedelta(hours=there.faults.choice([1, 3, 8]))


def _silence(known: Configured, there: Situation) -> Configured:
    return replace(known, silence=(there.now, there.now + timedelta(hours=there.faults.choice([2, 6, 12]))))


def _maintenance(known: Configured, there: Situation) -> Configured:
    return replace(known, maintenance=(*known.maintenance[-2:], _hours(there)))


def _suspension(known: Configured, there: Situation) -> Configured | None:
    until = there.now + timedelta(hours=there.faults.choice([1, 6]))
    return replace(known, suspended=(there.now, until)) if known.policy.enabled else None


OF_DAYS: Mapping[str, Change] = {
    "posture switched": _switch,
    "silence of hours": _silence,
    "maintenance of hours": _maintenance,
    "suspension of hours": _suspension,
}
"""What people do beside in an installation of days."""

KINDS: Sequence[str] = (
    *OF_DAYS,
    *("unsilence", "acknowledge", "suspend", "resume", "resume", "resume", "maintenance removed", "maintenance ended"),
    *("max_alerts changed", "host changed", "port changed", "tls changed", "limits of round trips changed"),
)
"""All that they do there."""
