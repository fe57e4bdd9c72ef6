"""A TCP proxy on the loopback that keeps all bytes of a client: what someone on the path would see."""

import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from popwatch_cli.local.stack import free_port
from tests.e2e.real_servers import start

BETWEEN = """
foreground = yes
pid =
[from the client]
accept = 127.0.0.1:{port}
cert = {folder}/cert.pem
key = {folder}/key.pem
connect = 127.0.0.1:{tap}
[to the server]
client = yes
accept = 127.0.0.1:{plain}
connect = 127.0.0.1:{tls_port}
"""


@dataclass(slots=True)
class Tap:
    """Its port, and the bytes that clients sent so far, one entry for each connection."""

    port: int
    sent: list[bytearray] = field(default_factory=list)


@contextmanager
def tapping(to_port: int) -> Iterator[Tap]:
    """A proxy to a port of the loopback."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        tap = Tap(listener.getsockname()[1])
        accepting = threading.Thread(target=_accept, args=(listener, to_port, tap), daemon=True)
        accepting.start()
        yield tap
        listener.shutdown(socket.SHUT_RDWR)
    accepting.join(10)


@contextmanager
def tapping_within_tls(tls_port: int, folder: Path) -> Iterator[Tap]:
    """A proxy to a TLS port, with the server's own certificate of the folder: what the server itself reads.

    Two stunnels, and between them a proxy.
    """
    port, plain = free_port(0), free_port(0)
    with tapping(plain) as between:
        config = folder / "between.conf"
        given = {"port": port, "plain": plain, "tap": between.port, "tls_port": tls_port}
        config.write_text(BETWEEN.format(folder=folder, **given))
        process = start(["/usr/bin/stunnel", str(config)], folder)
        try:
            yield Tap(port, between.sent)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)


def _accept(listener: socket.socket, to_port: int, tap: Tap) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            tap.sent.append(kept := bytearray())
            threading.Thread(target=_carry, args=(client, to_port, kept), daemon=True).start()


def _carry(client: socket.socket, to_port: int, kept: bytearray) -> None:
    """Carry bytes both ways until one side has ended."""
    with suppress(OSError), client, socket.create_connection(("127.0.0.1", to_port)) as server:
        while True:
            for source in select.select([client, server], [], [])[0]:
                data = source.recv(65_536)
                if source is client:
                    kept += data
                if not data:
                    return
                (server if source is client else client).sendall(data)
