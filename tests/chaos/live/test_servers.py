"""The campaign's servers do the same with TLS as without, and show the certificate of now."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from popwatch.model.outcomes import Outcome
from popwatch.model.targets import parse_target
from popwatch.prober.loop import Prober
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.chaos.faults import NO_FAULTS, FaultLog, Faults
from tests.chaos.live.servers import Servers

FAULTS = Faults(FaultLog(NO_FAULTS), "servers", "1")


@pytest.fixture
def servers() -> Iterator[Servers]:
    with ScriptedServer() as server:
        servers = Servers(server)
        servers.add("mail-0", FAULTS)
        yield servers


def probe(servers: Servers, tls: str) -> Outcome:
    server = servers.by_target["mail-0"]
    port = server.tls_port if tls == "implicit" else server.port
    item = {"target_id": "mail-0", "host": "127.0.0.1", "port": port, "tls": tls, "ca_pem": servers.ca_pem}
    return next(outcome for arrivals in Prober().run([parse_target(item)]) for _, outcome in arrivals)


def test_a_renewed_certificate_is_shown_at_once(servers: Servers) -> None:
    """Each test finds the present one, which its server knows as its own."""
    ends = []
    for _ in range(2):
        shown = probe(servers, "implicit").certificates[0]
        assert servers.has_shown("mail-0", shown.expires)
        ends.append(shown.expires)
        servers.renew("mail-0", FAULTS)
    assert ends[0] != ends[1]


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_both_ports_fail_and_answer_together(servers: Servers, tls: str) -> None:
    """A target that changes `tls` still is at the same server."""
    servers.change("mail-0", FAULTS, answers=False)
    assert not probe(servers, tls).passed
    servers.change("mail-0", FAULTS, answers=True)
    assert probe(servers, tls).passed


def test_a_busy_machine_is_no_wrong_outcome(servers: Servers) -> None:
    """A test that times out may be the machine's fault; one that fails otherwise contradicts a server that answers."""
    began = datetime.now(UTC)
    assert servers.was_too_busy("mail-0", began, timed_out=True)
    assert not servers.contradict("mail-0", began, passed=False, timed_out=True)
    assert servers.contradict("mail-0", began, passed=False, timed_out=False)
    servers.change("mail-0", FAULTS, answers=False)
    assert not servers.contradict("mail-0", began, passed=True, timed_out=False), "the server changed meanwhile"
    assert servers.contradict("mail-0", datetime.now(UTC), passed=True, timed_out=False)
    assert not servers.was_too_busy("mail-0", datetime.now(UTC), timed_out=True)
