"""Stub servers as benchmarks use them: started, asked for their stamps, ended."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.bench.stub_server import PORT, STAMP

PROGRAM = Path(__file__).with_name("stub_server.py")


class RunningStub:
    """A stub server in a process of its own: greets after `delay` seconds on each of its ports, or is `silent`."""

    def __init__(self, delay: str, ports: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), delay, str(ports)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout
        self.ports: list[int] = [PORT.unpack(self.process.stdout.read(PORT.size))[0] for _ in range(ports)]

    def stop(self) -> dict[int, float]:
        """End it; when it greeted on each port last, in seconds of the realtime clock."""
        output, _ = self.process.communicate()
        return dict(STAMP.iter_unpack(output))


@contextmanager
def stub(delay: str, ports: int = 1) -> Iterator[RunningStub]:
    """A stub server for as long as the block runs."""
    running = RunningStub(delay, ports)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.communicate()


@dataclass(frozen=True, slots=True)
class TlsStub:
    """A running server with TLS: its ports, and the authority (PEM) that vouches for it as 127.0.0.1."""

    ports: list[int]
    authority: str
    process: subprocess.Popen[str]

    def stop(self) -> dict[str, float]:
        """End it; when it greeted last at each address, in seconds of the realtime clock."""
        return greeted(self.process)


def greeted(process: "subprocess.Popen[str]") -> dict[str, float]:
    """What a server that is ended now prints: each address, and when it greeted there last."""
    output, _ = process.communicate()
    return {address: float(at) for address, at in (line.split() for line in output.splitlines())}


@contextmanager
def tls_stub(ports: int = 1, delay_seconds: float = 0.0) -> Iterator[TlsStub]:
    """A server with TLS on all loopback addresses while the block runs."""
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM.with_name("tls_server.py")), str(certificate), str(ports), str(delay_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        try:
            found = [int(port) for port in process.stdout.readline().split()]
            yield TlsStub(found, authority.cert_pem.bytes().decode(), process)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
