"""Posture tests beside tests that only greet, plain and in TLS, and what they add to records and to History.

The servers are scripted, in a thread of their own, and answer CAPA, USER and STLS as Dovecot does by default. CPU time
is of the prober's thread, the median of some rounds. The bill counts one connection more, to another port of the host
(`siblings`), and takes each for a whole test in TLS or without.
"""

import json
import ssl
import statistics
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from popwatch.aws.items import to_item
from popwatch.model.posture import Posture, change_of
from popwatch.model.serialization import serialize
from popwatch.model.targets import Target, parse_target
from popwatch.prober.loop import Prober
from popwatch.prober.posture import probe_postures
from popwatch_cli.bill import PLAIN_CONNECTIONS, POSTURE_BYTES, POSTURE_WRITES, TLS_CONNECTIONS
from popwatch_cli.commands.cost import read_measured
from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests import chains
from tests.bench.bench_inputs import item_bytes
from tests.chains import NAME, Chain, made

TARGETS, ROUNDS = 50, 5
WRITE_UNIT = 1024
"""Bytes that a write unit of DynamoDB takes."""

OFFERS = (
    "offers:clear=TOP,UIDL,RESP-CODES,PIPELINING,AUTH-RESP-CODE,STLS,SASL"
    ";tls=TOP,UIDL,RESP-CODES,PIPELINING,AUTH-RESP-CODE,USER,SASL PLAIN LOGIN"
)


def main() -> None:
    """Print the figures."""
    print("\n".join(figures(TARGETS, ROUNDS)))


def figures(count: int, rounds: int) -> list[str]:
    """The lines of so many targets."""
    with ScriptedServer() as server, TemporaryDirectory() as folder:
        secure = fleet(server, Path(folder), count)
        plain = [parse_target({"target_id": it.target_id, "host": it.host, "port": it.port}) for it in secure]
        cpu = {
            "a test, plain": cpu_each(lambda: tested(plain), count, rounds),
            "a test, STLS": cpu_each(lambda: tested(secure), count, rounds),
        }
        before = len(server.connections(secure[0].port))
        postures = [posture for _, posture in probe_postures(secure)]
        connections = len(server.connections(secure[0].port)) - before
        cpu["a posture test"] = cpu_each(lambda: len(list(probe_postures(secure))), count, rounds)
    if wrong := [posture.problem for posture in postures if posture.problem or posture.chain != "yes"]:
        raise RuntimeError(f"Not every posture was tested: {wrong[0]}")
    cpu["  in the bill, with a sibling"] = billed_cpu()
    return [
        *(f"{what:<32}{seconds * 1e6:>9,.0f} us of CPU time" for what, seconds in cpu.items()),
        f"{'connections':<32}{connections:>9} ({TLS_CONNECTIONS} in the bill)",
        *sizes(postures[0]),
    ]


def sizes(posture: Posture) -> list[str]:
    """What a posture adds to a record, and what it takes in History when it has changed."""
    kept = len("posture") + 1 + len(str(posture.kept_after(None, "0000")))
    item = to_item({"pk": "target#mail-berlin", "sk": "posture#2026-11-23T03:12:00Z#", "expires_at": 1_800_000_000})
    in_history = item_bytes(item | to_item(json.loads(json.dumps(serialize(change_of(None, posture))))))
    units = 1 + ceil(in_history / WRITE_UNIT)
    return [
        f"{'in a record':<32}{kept:>9} bytes ({POSTURE_BYTES} in the bill)",
        f"{'in History':<32}{in_history:>9,} bytes",
        f"{'a change':<32}{units:>9} write units ({POSTURE_WRITES} in the bill)",
    ]


def billed_cpu() -> float:
    """CPU seconds of a posture test of a target with TLS in the bill."""
    measured = read_measured()
    return TLS_CONNECTIONS * measured.test_cpu.each + (TLS_CONNECTIONS - PLAIN_CONNECTIONS) * measured.tls_cpu


def cpu_each(run: Callable[[], int], count: int, rounds: int) -> float:
    """Seconds of CPU time for each of `count` targets, the median of the rounds."""
    found = []
    for _ in range(rounds):
        before = time.thread_time()
        if run() != count:
            raise RuntimeError("Not every target was tested, or not every test passed.")
        found.append((time.thread_time() - before) / count)
    return statistics.median(found)


def tested(targets: list[Target]) -> int:
    """How many of the targets pass."""
    return sum(outcome.passed for arrivals in Prober().run(targets) for _, outcome in arrivals)


def fleet(server: ScriptedServer, folder: Path, count: int) -> list[Target]:
    """Targets with STLS, each of a port of its own."""
    root = made("Root", extensions=chains.authority())
    leaf = made(NAME, None, root, chains.server(), days=(-10, 80))
    (folder / "server.pem").write_text(Chain(leaf.key, [leaf.certificate], []).server_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    fields = {
        "host": "127.0.0.1",
        "tls": "starttls",
        "tls_name": NAME,
        "ca_pem": Chain(root.key, [], [root.certificate]).seen[1],
    }
    return [
        parse_target({"target_id": f"t{number}", "port": server.listen(OFFERS, stls=context), **fields})
        for number in range(count)
    ]


if __name__ == "__main__":
    main()
