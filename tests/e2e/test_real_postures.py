"""The posture test against real servers: each fault that is switched on is found and alerted, and nothing else.

docs/posture.md shows the alerts in a table, to which each test holds what it sees.
"""

import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import pytest

from popwatch.alerts.rendering import render
from popwatch.decisions.judging import judge
from popwatch.decisions.posture_tests import with_posture
from popwatch.model.health import Health, State
from popwatch.model.outcomes import Outcome, Phase
from popwatch.model.posture import (
    NO,
    PLAIN_TEXT,
    YES,
    Posture,
    PostureFinding,
    PostureFindingKind,
    pending_finding,
    worse,
)
from popwatch.model.targets import Target, parse_target
from popwatch.prober.posture import probe_postures
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from popwatch_cli.local.stack import free_port
from tests.chains import NAME, CertifiedKey, Chain
from tests.e2e import login_servers
from tests.e2e.posture_servers import (
    HOST,
    MIDDLE,
    OF_ANOTHER_NAME,
    OWN,
    RENEWED,
    ROOT_PEM,
    SERVERS,
    Server,
    Setup,
    running,
)
from tests.integration.test_sweep_postures import NAME as TESTED_AT_NOON
from tests.integration.test_sweep_postures import run_day
from tests.integration.world import new_world

pytestmark = pytest.mark.debian

PAGE = Path(__file__).parents[2] / "docs" / "posture.md"
SIBLING_SHOWN = 993
"""In the table, in place of the free port that the test finds."""

REASON_SHOWN = "plain-text-on-tls-port"
"""In the table, in place of the reason for which TLS is not established: it is Dovecot's as a rule."""

GOOD = Setup()
SIBLING_PORT = free_port(0)
SWITCHES = {
    "STLS off": (replace(GOOD, stls=False), [PostureFindingKind.STLS_GONE]),
    "certificate damaged": (replace(GOOD, damaged=True), [PostureFindingKind.STLS_GONE]),
    "plaintext allowed": (replace(GOOD, plaintext=True), [PostureFindingKind.PLAINTEXT_LOGIN]),
    "mechanism removed": (replace(GOOD, mechanisms=("PLAIN",)), [PostureFindingKind.MECHANISM_REMOVED]),
    "weak mechanism": (replace(GOOD, mechanisms=(*GOOD.mechanisms, "CRAM-MD5")), [PostureFindingKind.WEAK_MECHANISM]),
    "capability removed": (replace(GOOD, capabilities=("TOP", "USER")), [PostureFindingKind.CAPABILITY_REMOVED]),
    "TLS 1.0 on": (replace(GOOD, lowest="1.0"), [PostureFindingKind.TLS_1_0, PostureFindingKind.TLS_1_1]),
    "TLS 1.1 on": (replace(GOOD, lowest="1.1"), [PostureFindingKind.TLS_1_1]),
    "certificate swapped": (replace(GOOD, shown=OF_ANOTHER_NAME), [PostureFindingKind.CHAIN]),
    "chain cut": (replace(GOOD, whole=False), [PostureFindingKind.CHAIN]),
    "certificate not reloaded": (GOOD, [PostureFindingKind.NOT_RELOADED]),
}


def item_of(server: Server, port: int, sibling: int) -> dict[str, object]:
    """The fields of a server as a target."""
    return {
        "host": HOST,
        "port": port,
        "tls": server.tls,
        "tls_name": NAME,
        "ca_pem": ROOT_PEM,
        "max_test_seconds": 5,
        "siblings": [sibling],
    }


def target_of(server: Server, port: int, sibling: int) -> Target:
    """A server as a target."""
    return parse_target({"target_id": "x", **item_of(server, port, sibling)})


def posture_of(target: Target) -> Posture:
    """What a server offers now."""
    [(_, found)] = probe_postures([target])
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
        target = target_of(server, port, other)
        found = posture_of(target)
        assert (found.tls_1_0, found.tls_1_1, found.chain) == (NO, NO, YES), found
        assert (found.stls is YES) is ("STLS off" not in server.lacks)
        assert worse(found.summary, posture_of(target)) == []
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


def rows() -> dict[str, list[str]]:
    """The table of docs/posture.md: the alerts of a switch, and a cell for each server."""
    _, _, part = PAGE.read_text().partition("\n## On real servers\n")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1:] for cells in lines}


def cell(server: Server, switch: str) -> str:
    """What the table says of a server."""
    return rows()[switch][1 + SERVERS.index(server)]


def _shown(it: PostureFinding, sibling: int) -> str:
    """An alert as the table has it, where servers may differ in the port and in how TLS fails."""
    if it.about == PLAIN_TEXT:  # Dovecot's sentence in plain text may come with its reply to STLS, or after it
        it = pending_finding(f"{it.kind}:{REASON_SHOWN}") or it
    text = f"{it.text} {it.action} ({it.source})".replace(str(sibling), str(SIBLING_SHOWN))
    return text.replace(f"({it.about})", f"({REASON_SHOWN})") if it.kind is PostureFindingKind.STLS_GONE else text


def alerts(target: Target, before: Posture, changed: Posture) -> list[PostureFinding]:
    """What the tests after a second posture test alert, one with each: each email says what got worse, what to do."""
    now, found = datetime.now(UTC), []
    health = with_posture(target, with_posture(target, Health(State.UP, now), before), changed)
    assert judge(health, Outcome(now, Phase.QUIT, rtt_ms=12.5), target.policy, now).alert is None
    health = with_posture(target, health, replace(changed, tested_at=now))
    while health.posture_pending:
        passed = Outcome(now, Phase.QUIT, rtt_ms=12.5)
        judgement = judge(health, passed, target.policy, now)
        assert judgement.alert
        assert judgement.alert.worse
        email = " ".join(render(target, health, judgement, passed, now).email.split())
        assert judgement.alert.worse.text in email
        assert judgement.alert.worse.action in email
        found.append(judgement.alert.worse)
        health = judgement.health
    return found


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_is_found(server: Server, before: Posture, switch: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One alert for each change, each with its text, as the table of the page shows them; back again brings none."""
    if switch in server.lacks:
        assert cell(server, switch) == server.lacks[switch]
        pytest.skip(f"{server.package} has no such switch: {server.lacks[switch]}")
    setup, expected = SWITCHES[switch]
    also = [server.also[switch]] if switch in server.also else []
    shown = RENEWED if switch == "certificate not reloaded" else OWN
    with running(server, setup) as port, _sibling(shown) as other:
        target = target_of(server, port, other)
        changed = posture_of(target)
    found = alerts(target, before, changed)
    texts = [_shown(it, other) for it in found]
    with capsys.disabled():
        print("".join(f"\n{server.package}, {switch}: {text}" for text in texts), end="")
    assert sorted(it.kind for it in found) == sorted([*expected, *also])
    assert worse(changed.summary.filled_from(before.summary), before) == []
    of_switch = [text for it, text in zip(found, texts, strict=True) if it.kind in expected]
    assert rows()[switch][0] == "<br>".join(of_switch)
    assert cell(server, switch) == ", ".join(["found", *also])


def _remove_certificate(place: login_servers.Place) -> None:
    (place.folder / "cyrus" / "cert.pem").unlink()


def test_a_certificate_that_is_gone_at_cyrus() -> None:
    """It lists STLS, and refuses it by [SYS/PERM]."""
    if missing := login_servers.missing(login_servers.CYRUS):
        pytest.skip(missing)
    found = []
    for fill in (None, _remove_certificate):
        kind = replace(login_servers.CYRUS, fill=fill)
        with TemporaryDirectory(prefix="cyrus") as folder, login_servers.running(kind, Path(folder)) as served:
            fields = {"host": "127.0.0.1", "port": served.port, "ca_pem": served.authority_pem}
            target = parse_target({"target_id": "x", "max_test_seconds": 5, **fields})
            found.append(posture_of(target))
    before, changed = found
    [alert] = alerts(target, before, changed)
    assert (before.stls, alert.kind, alert.about) == (YES, PostureFindingKind.STLS_GONE, "listed")
    assert "[SYS/PERM]" in changed.tls_problem


def test_thirty_quiet_days(server: Server) -> None:
    """A server that stays as it is brings no message, whatever it says at each of its posture tests."""
    asked: list[Posture] = []
    with _sibling(OWN) as other, running(server, GOOD) as port, new_world(with_servers=True) as world:

        def probe(targets: Sequence[Target], _: float) -> Iterable[tuple[Target, Posture]]:
            for target, found in probe_postures(targets):
                asked.append(found)
                yield target, replace(found, tested_at=world.now)

        world.probe_postures = probe
        # The certificates of the tests expire in the simulated month.
        world.put_target(TESTED_AT_NOON, certificate_warn_days=[], **item_of(server, port, other))
        for day in range(31):
            run_day(world, day, minutes=2)
        assert [it.problem for it in asked] == [""] * 31
        assert world.state(TESTED_AT_NOON) == "up"
        assert world.received() == []
