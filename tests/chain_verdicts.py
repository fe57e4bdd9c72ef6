"""What this Python says of certificate chains: `python -m tests.chain_verdicts < CHAINS`, as JSON.

Needs nothing beside the standard library, the layer and certifi, so that any installed Python can be asked.
"""

import json
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from popwatch.prober.tls import TlsEngine, context
from popwatch.prober.tls_failures import TlsFailure

Verdict = tuple[str, str, list[str], list[str]]
"""The reason of the failure, or an empty one, when the server's certificate expires, and what the chain is.

The chain that was verified, and the subjects of what the server sent beside it; empty after a failure.
"""

ContextOf = Callable[[str], ssl.SSLContext]


def verdict(server_pem: str, ca_pem: str, name: str, context_of: ContextOf = lambda pem: context(True, pem)) -> Verdict:
    """A handshake in memory between popwatch and a server that presents these certificates."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_ciphers("DEFAULT:@SECLEVEL=0")  # a server that presents what it has
    with TemporaryDirectory() as folder:
        file = Path(folder) / "server.pem"
        file.write_text(server_pem)
        server.load_cert_chain(file)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = server.wrap_bio(incoming, outgoing, server_side=True)
    engine = TlsEngine(context_of(ca_pem), name)
    try:
        while not engine.handshake():
            incoming.write(engine.data_to_send())
            with suppress(ssl.SSLWantReadError):
                peer.do_handshake()
            engine.receive_data(outgoing.read())
    except TlsFailure as failure:
        return failure.reason, _expiry(server_pem), [], []
    chain = engine.certificates
    names = [f"{found.role} {found.subject}" for found in chain]
    return "", chain[0].expires.isoformat(), names, [found.subject for found in engine.unneeded]


def _expiry(server_pem: str) -> str:
    """The expiry as popwatch reads it without verification, which a failed handshake does not tell."""
    return verdict(server_pem, "", "any.example.net", lambda _: context(False, ""))[1]


def verdicts(chains: Mapping[str, tuple[str, str, str]], context_of: ContextOf) -> dict[str, Verdict]:
    return {kind: verdict(*chain, context_of) for kind, chain in chains.items()}


def main() -> None:
    """Read chains (kind: server's PEM, trusted PEM, name), print verdicts; `--defaults`: by Python's own context."""
    ours: ContextOf = lambda pem: context(True, pem)  # noqa: E731 - beside its alternative
    pythons: ContextOf = lambda pem: ssl.create_default_context(cadata=pem)  # noqa: E731
    print(json.dumps(verdicts(json.load(sys.stdin), pythons if "--defaults" in sys.argv else ours)))


if __name__ == "__main__":
    main()
