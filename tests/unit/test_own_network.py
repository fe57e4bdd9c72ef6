"""Whose fault it is when nearly all tests of a batch fail: the monitor's own network's, or the servers'."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from popwatch.decisions.own_network import FaultCause, NetworkFaultDetector, has_been_reached, is_of_network, network_of
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.targets import Target

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
PASSED = Outcome(NOW, Phase.QUIT, rtt_ms=1.0)
UNREACHABLE = Outcome(NOW, Phase.CONNECT, ErrorCode.CANNOT_CONNECT, "connect-timed-out")
REFUSED = Outcome(NOW, Phase.CONNECT, ErrorCode.CANNOT_CONNECT, "refused")


def target(number: int) -> Target:
    return Target(f"t{number}", f"t{number}", f"192.0.{number % 4}.{number + 1}")


def after(passed: int, lost: int, expected: int | None = None) -> NetworkFaultDetector:
    """The detector after so many outcomes of targets that passed before."""
    detector = NetworkFaultDetector(passed + lost if expected is None else expected)
    for number in range(passed + lost):
        detector.add(target(number), PASSED if number < passed else UNREACHABLE)
    return detector


@pytest.mark.parametrize(
    ("passed", "lost", "expected", "cause"),
    [
        (0, 10, 10, FaultCause.MONITOR_NETWORK),
        (1, 9, 10, FaultCause.MONITOR_NETWORK),
        (2, 8, 10, FaultCause.SERVERS),
        (0, 9, 9, FaultCause.SERVERS),
        (0, 5, 10, FaultCause.UNDECIDED),
        (1, 5, 10, FaultCause.UNDECIDED),
        (2, 0, 10, FaultCause.SERVERS),
        (0, 0, 500, FaultCause.UNDECIDED),
        (51, 400, 500, FaultCause.SERVERS),
    ],
)
def test_nearly_all_of_at_least_ten(passed: int, lost: int, expected: int, cause: FaultCause) -> None:
    """Nine tenths of ten or more targets decide; as long as they still can, nothing is decided."""
    assert after(passed, lost, expected).cause is cause


def test_one_network_is_theirs() -> None:
    """Servers of two networks may well fail together."""
    detector = NetworkFaultDetector(10)
    for number in range(10):
        detector.add(Target(f"t{number}", "", f"192.0.{number % 2}.9"), UNREACHABLE)
    assert detector.cause is not FaultCause.MONITOR_NETWORK


def test_answers_of_servers_are_no_failures_of_the_network() -> None:
    """Ten servers that refuse are reached."""
    detector = NetworkFaultDetector(10)
    for number in range(10):
        detector.add(target(number), REFUSED)
    assert detector.cause is FaultCause.SERVERS


@pytest.mark.parametrize(
    ("reached", "cause"),
    [(False, FaultCause.MONITOR_NETWORK), (True, FaultCause.SERVERS), (None, FaultCause.UNDECIDED)],
)
def test_reference_hosts_decide_for_small_fleets(reached: bool | None, cause: FaultCause) -> None:
    """With one failing target nothing is decided until a reference host has answered."""
    detector = NetworkFaultDetector(1, awaits_references=True, references_reached=reached)
    detector.add(target(1), UNREACHABLE)
    assert detector.cause is cause


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (PASSED, False),
        (UNREACHABLE, True),
        (REFUSED, False),
        (Outcome(NOW, Phase.DNS, ErrorCode.NO_ADDRESS, "dns-failure"), True),
        (Outcome(NOW, Phase.DNS, ErrorCode.NO_ADDRESS, "no-such-name"), False),
        (Outcome(NOW, Phase.GREETING, ErrorCode.TIMED_OUT, "no-greeting"), False),
    ],
)
def test_reasons_of_the_network(outcome: Outcome, expected: bool) -> None:
    """Only failures in which no server took part count."""
    assert is_of_network(outcome) is expected


def test_reference_is_reached_by_any_answer() -> None:
    """A web server that says nothing to a POP3 test is reached, and so is one that refuses."""
    assert has_been_reached(Outcome(NOW, Phase.GREETING, ErrorCode.TIMED_OUT, "no-greeting"))
    assert has_been_reached(REFUSED)
    assert not has_been_reached(UNREACHABLE)


@pytest.mark.parametrize(
    ("host", "address", "network"),
    [
        ("192.0.2.7", "", "192.0.2.0/24"),
        ("pop.example.net", "198.51.100.9", "198.51.100.0/24"),
        ("pop.example.net", "", "example.net"),
        ("2001:db8:1:2::3", "", "2001:db8:1::/48"),
        ("fe80::1", "fe80::1%eth0", "fe80::/48"),
    ],
)
def test_networks(host: str, address: str, network: str) -> None:
    """An address's prefix, else the name's last two labels."""
    assert network_of(Target("t", "t", host), replace(UNREACHABLE, address=address)) == network
