"""Which addresses may be tested, and tests of every address of a host with the one outcome they come to."""

import ipaddress
from dataclasses import dataclass, field, replace
from functools import lru_cache

from popwatch.model.outcomes import DETAIL_SHOWN, Outcome
from popwatch.model.targets import Target
from popwatch.model.text import clean

MOST_ADDRESSES = 16
"""Addresses of one host that are tested; more would let one name use up the descriptors of all."""

_CLOUD = ipaddress.ip_network("fd00:ec2::/32")
"""Where AWS has its metadata over IPv6; over IPv4 it is link-local (169.254.169.254)."""

_CARRIERS = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))
"""IPv6 whose last 32 bits are an IPv4 address: compatible, translated (RFC 2765), NAT64 (RFC 6052, RFC 8215)."""


@lru_cache(maxsize=16_384)
def is_local(address: str) -> bool:
    """Whether an address is of the prober's own machine, or of the cloud's services for that machine alone.

    Loopback, link-local, unspecified (which the kernel takes for loopback), and what means one of them as IPv6.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found in _CLOUD:
            return True
        found = _carried(found) or found
    whole = isinstance(found, ipaddress.IPv4Address) and found in ipaddress.ip_network("0.0.0.0/8")
    return found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast or whole


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway or the kernel would make of an IPv6 one."""
    if any(address in network for network in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    _, client = address.teredo or (None, None)
    return address.ipv4_mapped or address.sixtofour or client


@dataclass(slots=True)
class AddressGroup:
    """The tests of one host's addresses that are still under way, and what the others found, by address."""

    target: Target
    missing: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def take(self, outcome: Outcome) -> Outcome | None:
        """Take one address's outcome; the outcome of them all, once it is the last."""
        self.outcomes[outcome.address] = outcome
        self.missing -= 1
        return None if self.missing else combine(list(self.outcomes.values()))


def combine(outcomes: list[Outcome]) -> Outcome:
    """What the tests of all addresses come to: passed if one passed, with those that failed named beside it."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    passed = [outcome for outcome in outcomes if outcome.passed]
    seen = tuple(f"{outcome.address}: {outcome.reason}" for outcome in sorted(failed, key=lambda it: it.address))
    if passed:
        return replace(passed[0], failed_addresses=seen)
    if len(failed) == 1:
        return failed[0]
    return replace(failed[0], detail=clean(f"All {len(failed)} addresses fail. {'; '.join(seen)}.", DETAIL_SHOWN))
