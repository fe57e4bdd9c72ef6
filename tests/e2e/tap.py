"""A TCP proxy on the loopback that keeps all bytes of a client: what someone on the path would see."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


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
