"""The posture test against real servers: each fault that is switched on is found at the next test, and nothing else."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from tempfile import NamedTemporaryFile

import pytest

from popwatch.model.posture import NO, YES, Posture, PostureIssue, worse
from popwatch.model.targets import parse_target
from popwatch.prober.posture import probe_postures
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.local.stack import free_port
from tests.chains import NAME, CertifiedKey, Chain
from tests.e2e.posture_servers import HOST, MIDDLE, OWN, RENEWED, ROOT_PEM, SERVERS, Server, Setup, running

pytestmark = [pytest.mark.debian, pytest.mark.timeout(120)]

GOOD = Setup()
SIBLING_PORT = free_port(0)
SWITCHES = {
    "STLS off": (replace(GOOD, stls=False), [PostureIssue.STLS_GONE]),
    "plaintext allowed": (replace(GOOD, plaintext=True), [PostureIssue.PLAINTEXT_LOGIN]),
    "mechanism removed": (replace(GOOD, mechanisms=("PLAIN",)), [PostureIssue.MECHANISM_REMOVED]),
    "weak mechanism": (replace(GOOD, mechanisms=(*GOOD.mechanisms, "CRAM-MD5")), [PostureIssue.WEAK_MECHANISM]),
    "capability removed": (replace(GOOD, capabilities=("TOP", "USER")), [PostureIssue.CAPABILITY_REMOVED]),
    "TLS 1.0 on": (replace(GOOD, lowest="1.0"), [PostureIssue.TLS_1_0, PostureIssue.TLS_1_1]),
    "TLS 1.1 on": (replace(GOOD, lowest="1.1"), [PostureIssue.TLS_1_1]),
    "chain cut": (replace(GOOD, whole=False), [PostureIssue.CHAIN]),
    "certificate not reloaded": (GOOD, [PostureIssue.NOT_RELOADED]),
}


def posture_of(port: int, siblings: list[int]) -> Posture:
    fields: dict[str, object] = {
        "target_id": "x",
        "host": HOST,
        "port": port,
        "tls_name": NAME,
        "ca_pem": ROOT_PEM,
        "max_test_seconds": 5,
        "siblings": siblings,
    }
    [(_, found)] = probe_postures([parse_target(fields)])
    assert not found.problem, found
    return found


@pytest.fixture(scope="module", params=SERVERS, ids=[server.package for server in SERVERS])
def server(request: pytest.FixtureRequest) -> Server:
    """Each kind of server."""
    found: Server = request.param
    if found.missing:
        pytest.skip(found.missing)
    return found


@pytest.fixture(scope="module")
def before(server: Server) -> Posture:
    """The posture of the server without a fault, beside another one with its certificate; the same a second time."""
    with running(server, GOOD) as port, _sibling(OWN) as other:
        found = posture_of(port, [other])
        assert (found.stls, found.tls_1_0, found.tls_1_1, found.chain) == (YES, NO, NO, YES), found
        assert worse(found.summary, posture_of(port, [other])) == []
    return found


@contextmanager
def _sibling(shown: CertifiedKey) -> Iterator[int]:
    """Another service of the host, with TLS from the first byte."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with NamedTemporaryFile("w", suffix=".pem") as file, ScriptedServer() as served:
        file.write(Chain(shown.key, [shown.certificate, MIDDLE.certificate], []).server_pem)
        file.flush()
        context.load_cert_chain(file.name)
        yield served.listen("imap", host=HOST, port=SIBLING_PORT, tls=context)


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_is_found(server: Server, before: Posture, switch: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One finding for each change, each with its text; back again is none."""
    if switch not in server.switches:
        pytest.skip(f"{server.package} has no such switch")
    setup, expected = SWITCHES[switch]
    shown = RENEWED if switch == "certificate not reloaded" else OWN
    with running(server, setup) as port, _sibling(shown) as other:
        changed = posture_of(port, [other])
    found = worse(before.summary, changed)
    with capsys.disabled():
        print("".join(f"\n{server.package}, {switch}: {it.text} {it.action} ({it.source})" for it in found), end="")
    assert sorted(it.kind for it in found) == sorted(expected)
    assert worse(changed.summary.filled_from(before.summary), before) == []
