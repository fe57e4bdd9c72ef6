"""Addresses: which may be tested and in which order, and how the outcomes of all addresses of a host become one."""

import ipaddress
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b

from popwatch.model.outcomes import DETAIL_SHOWN, Certificate, Outcome, Phase
from popwatch.model.targets import Target
from popwatch.model.text import clean

HasRoute = Callable[[str, int], bool]
"""Whether there is a route to an IPv6 address and port."""

MAX_ADDRESSES = 16
"""Addresses of one host that a test connects to; else the owner of a zone could use popwatch as a port scanner."""

MAX_CONSIDERED = 128
"""Addresses of which a test finds out whether they may be connected to: a reply of the DNS can hold thousands, and to
find out takes 50 microseconds for each, in which no other test goes on."""

_NEVER = datetime.max.replace(tzinfo=UTC)

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
    """The tests of one host's addresses: how many have not ended, and the outcomes of the others.

    `login_begun` once one of them, with `all_addresses`, has begun to log in. A target with `all_addresses` waits for
    all of them, any other one ends with the first that passes.
    """

    target: Target
    missing: int = 1
    outcomes: list[Outcome] = field(default_factory=list)
    ended: bool = False
    login_begun: bool = False

    def add(self, outcome: Outcome) -> Outcome | None:
        """Add an outcome. Returns that of the whole test once it is known."""
        self.outcomes.append(outcome)
        self.missing -= 1
        self.ended = not self.missing or (outcome.passed and not self.target.all_addresses)
        return combine(self.outcomes, every=self.target.all_addresses) if self.ended else None


def combine(outcomes: Sequence[Outcome], *, every: bool) -> Outcome:
    """One outcome for all addresses: passed if one of them passed; the failed ones are named in it.

    Of those that passed, the one whose certificate expires first stands for all, with the certificates of all, else
    the first that arrived; of those that failed, the one that got furthest: it shows most of what is wrong. Only one
    address is logged in to: if that fails, the greetings of the others are no pass.
    """
    if len(outcomes) == 1 and not outcomes[0].failed_addresses:
        return outcomes[0]
    failures = {
        text.rpartition(": ")[0]: text
        for outcome in outcomes
        for text in (*outcome.failed_addresses, *outcome.failed_first, *_as_failure(outcome))
    }
    named = tuple(failures[address] for address in sorted(failures))
    logged_in = next((outcome for outcome in outcomes if outcome.login), None)
    passed = [outcome for outcome in outcomes if outcome.passed]
    if passed and logged_in and logged_in.error:
        return replace(logged_in, failed_addresses=named)
    if passed:
        first = min(passed, key=lambda it: it.certificate_expires or _NEVER)
        if not every:
            return replace(first, failed_first=named)
        found = replace(first, failed_addresses=named, certificates=_certificates(passed))
        return replace(found, login=logged_in.login, login_ms=logged_in.login_ms) if logged_in else found
    furthest = max(outcomes, key=lambda it: list(Phase).index(it.phase))
    if logged_in:
        furthest = replace(furthest, login=logged_in.login, login_ms=logged_in.login_ms)
    if len(named) < 2:
        return furthest
    return replace(furthest, failed_addresses=named, detail=_all_fail(named, furthest.untested_addresses))


def _certificates(passed: Sequence[Outcome]) -> tuple[Certificate, ...]:
    """Those of all addresses, each once; one that only some addresses show says which."""
    shown: dict[Certificate, list[str]] = {}
    for outcome in passed:
        for certificate in outcome.certificates:
            shown.setdefault(certificate, []).append(outcome.address)
    return tuple(
        certificate if len(addresses) == len(passed) else replace(certificate, address=_some(sorted(addresses)))
        for certificate, addresses in shown.items()
    )


def _some(addresses: Sequence[str]) -> str:
    rest = f" and {len(addresses) - 2} more" if len(addresses) > 2 else ""
    return f"{', '.join(addresses[:2])}{rest}"


def _as_failure(outcome: Outcome) -> tuple[str, ...]:
    return () if outcome.passed or not outcome.address else (f"{outcome.address}: {outcome.reason}",)


def _all_fail(failures: Sequence[str], untested: int) -> str:
    """That all addresses fail: each with its reason, or if there is no room for that, the reasons with their number."""
    rest = f" {untested} more {'was' if untested == 1 else 'were'} not tested." if untested else ""
    tested = f"All {len(failures)} {'tested ' if untested else ''}addresses fail"
    text = f"{tested}. {'; '.join(failures)}.{rest}"
    if len(text) <= DETAIL_SHOWN:
        return text
    reasons = Counter(failure.rpartition(": ")[2] for failure in failures)
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"{clean(f'{tested}: {counts}', DETAIL_SHOWN - len(rest) - 1)}.{rest}"


def choose(addresses: Sequence[str], most: int = MAX_ADDRESSES) -> list[str]:
    """The addresses that a test may connect to, in the order in which they are tried (RFC 8305 section 4).

    Of more than `most` always the same are taken, or the result would depend on the draw; which ones is decided by a
    hash of each, so that they are spread over a block of neighbours that fail together.
    """
    ordered = interleave(addresses)
    if len(ordered) <= most:
        return ordered
    spread = sorted(ordered, key=lambda address: blake2b(address.encode(), digest_size=8).digest())
    chosen = set(interleave(spread)[:most])
    return [address for address in ordered if address in chosen]


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


def interleave(addresses: Sequence[str]) -> list[str]:
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
