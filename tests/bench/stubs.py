"""Stub servers as benchmarks use them: started, asked for their stamps, ended."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from stub_server import PORT, STAMP

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


@contextmanager
def tls_stub(ports: int = 1) -> Iterator[tuple[list[int], str]]:
    """A stub server with TLS: its ports, and the authority (PEM) that vouches for it as 127.0.0.1."""
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM.with_name("tls_server.py")), str(certificate), str(ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        try:
            yield [int(port) for port in process.stdout.readline().split()], authority.cert_pem.bytes().decode()
        finally:
            process.kill()
            process.communicate()
