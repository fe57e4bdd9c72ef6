"""Addresses: which may be tested and in which order, and how the outcomes of all addresses of a host become one."""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from popwatch.model.outcomes import DETAIL_SHOWN, Outcome
from popwatch.model.targets import Target
from popwatch.model.text import clean

HasRoute = Callable[[str, int], bool]
"""Whether there is a route to an IPv6 address and port."""

MOST_ADDRESSES = 16
"""Addresses of one host that are tested; with more, one name could use up the descriptors of all tests."""

_CLOUD = ipaddress.ip_network("fd00:ec2::/32")
"""AWS's instance metadata over IPv6; over IPv4 it is link-local (169.254.169.254)."""

_EMBEDDING = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))
"""The last 32 bits are an IPv4 address: compatible, translated (RFC 2765), NAT64 (RFC 6052, RFC 8215)."""


@lru_cache(maxsize=16_384)
def is_local(address: str) -> bool:
    """Whether an address belongs to the prober's own machine, or to the cloud's services for this machine.

    Loopback, link-local, multicast, unspecified (the kernel connects it to loopback), and IPv6 forms of these.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _CLOUD:
            return True
        parsed = _embedded(parsed) or parsed
    # All of 0.0.0.0/8 means "this host on this network" (RFC 1122 section 3.2.1.3).
    own_network = isinstance(parsed, ipaddress.IPv4Address) and parsed in ipaddress.ip_network("0.0.0.0/8")
    return parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast or own_network


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which a gateway or the kernel would translate an IPv6 one."""
    if any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    _, client = address.teredo or (None, None)
    return address.ipv4_mapped or address.sixtofour or client


@dataclass(slots=True)
class AddressGroup:
    """The tests of one host's addresses: how many are still running, and the outcomes of the others by address."""

    target: Target
    missing: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> Outcome | None:
        """Add the outcome of one address. Returns the outcome of all once the last has arrived."""
        self.outcomes[outcome.address] = outcome
        self.missing -= 1
        return None if self.missing else combine(list(self.outcomes.values()))


def combine(outcomes: list[Outcome]) -> Outcome:
    """One outcome for all addresses: passed if one of them passed; the failed ones are named in it."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    passed = [outcome for outcome in outcomes if outcome.passed]
    failures = tuple(f"{outcome.address}: {outcome.reason}" for outcome in sorted(failed, key=lambda it: it.address))
    if passed:
        return replace(passed[0], failed_addresses=failures)
    if len(failed) == 1:
        return failed[0]
    return replace(failed[0], detail=clean(f"All {len(failed)} addresses fail. {'; '.join(failures)}.", DETAIL_SHOWN))


def is_address(host: str) -> bool:
    """Whether a host is an IP address and needs no lookup."""
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
        else:  # inet_pton, since most hosts are names: an exception of `ipaddress` takes four times as long
            socket.inet_pton(socket.AF_INET, host)
    except (ValueError, OSError):
        return False
    return True


def interleave(addresses: tuple[str, ...]) -> list[str]:
    """The addresses with alternating families, beginning with that of the first (RFC 8305 section 4)."""
    if len(addresses) < 2:
        return list(addresses)
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    first, second = (six, four) if ":" in addresses[0] else (four, six)
    both = [address for pair in zip(first, second, strict=False) for address in pair]
    longer = first if len(first) > len(second) else second
    return both + longer[min(len(first), len(second)) :]


def has_route(address: str, port: int) -> bool:
    """Whether the kernel has a route to an IPv6 address. Connecting a datagram socket looks it up and sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect(sockaddr(address, port))
    except OSError:
        return False
    return True


def sockaddr(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """The argument of `connect` for an address; a scope such as `fe80::1%eth0` is kept."""
    if ":" not in address:
        return address, port
    name, _, scope = address.partition("%")
    if not scope:
        return name, port, 0, 0
    return name, port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
