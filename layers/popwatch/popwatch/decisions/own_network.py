"""Whether the monitor's own network is to blame when nearly all tests of a batch fail at once. Pure.

A monitor that has lost its network sees every server fail. When nearly all targets that passed before fail in one tick
for reasons of the network, in several networks, or when no reference host can be reached either, the outcomes prove
nothing about the servers. As long as that is still possible, the cause is undecided.
"""

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Target

LEAST_TARGETS = 10
"""Targets that passed before: of fewer, all may well fail at once for reasons of their own."""

LEAST_NETWORKS = 3
"""Networks in which tests failed: servers of one or two may share a fault of their own."""

NEARLY_ALL = 0.9
"""The share of the targets that passed before which must fail."""

MAX_TICKS = 2
"""Ticks in `LOOKBACK_MINUTES` whose outcomes may be inconclusive; what fails after that is judged."""

LOOKBACK_MINUTES = 15

_REASONS = {
    ErrorCode.NO_ADDRESS: {"dns-timed-out", "dns-failure", "dns-error"},
    ErrorCode.CANNOT_CONNECT: {
        "unreachable",
        "connect-timed-out",
        "not-permitted",
        "no-ipv6-route",
        "out-of-descriptors",
    },
}
"""Failures in which no server took part. A refusal is a server's answer."""


class FaultCause(StrEnum):
    """What caused the failures: the monitor's own network, the servers, or not decided yet."""

    UNDECIDED = "undecided"
    MONITOR_NETWORK = "ours"
    SERVERS = "theirs"


@dataclass(slots=True)
class NetworkFaultDetector:
    """Counts the outcomes of the `expected` targets of a batch that passed before, as they arrive.

    `references_reached` is whether any reference host could be reached; None while that is not known, or there is none.
    """

    expected: int
    awaits_references: bool = False
    references_reached: bool | None = None
    failed: int = 0
    others: int = 0
    networks: set[str] = field(default_factory=set)

    def add(self, target: Target, outcome: Outcome) -> None:
        """Count the outcome of a target that passed before."""
        if is_of_network(outcome):
            self.failed += 1
            self.networks.add(network_of(target, outcome))
        else:
            self.others += 1

    @property
    def cause(self) -> FaultCause:
        """What caused the failures, by the outcomes that have arrived."""
        if self.references_reached is False:
            return FaultCause.MONITOR_NETWORK
        enough = self.expected >= LEAST_TARGETS
        nearly_all = NEARLY_ALL * self.expected
        if enough and self.failed >= nearly_all and len(self.networks) >= LEAST_NETWORKS:
            return FaultCause.MONITOR_NETWORK
        still_possible = enough and self.expected - self.others >= nearly_all
        awaits_references = self.awaits_references and self.references_reached is None and self.failed > 0
        return FaultCause.UNDECIDED if still_possible or awaits_references else FaultCause.SERVERS


def is_of_network(outcome: Outcome) -> bool:
    """Whether a test failed before any server could take part in it."""
    return outcome.error is not None and outcome.reason in _REASONS.get(outcome.error, ())


def has_been_reached(outcome: Outcome) -> bool:
    """Whether the test of a reference host got as far as the host, whatever it said."""
    return outcome.phase not in (Phase.DNS, Phase.CONNECT) or outcome.reason == "refused"


def network_of(target: Target, outcome: Outcome) -> str:
    """The network of a target: the /24 or /48 of its address, or the last two labels of its name."""
    address = (outcome.address or target.host).partition("%")[0]
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return domain_of(target.host)
    return str(ipaddress.ip_network((address, 24 if version == 4 else 48), strict=False))


def domain_of(host: str) -> str:
    """The last two labels of a name: what its owner usually registered."""
    return ".".join(host.removesuffix(".").split(".")[-2:])
