"""A POP3 server for benchmarks, in a process of its own: many ports, a greeting after a delay, its own stamps.

One thread over epoll, so that it is not what limits a bench. `stub_server.py DELAY PORTS` prints its ports, and at the
end of its input its stamps: for each greeting its port, and the realtime clock when it was handed to the kernel. With
`silent` for the delay it never greets.
"""

import heapq
import resource
import select
import socket
import struct
import sys
import time
from contextlib import suppress

GREETING, BYE = b"+OK stub POP3 ready\r\n", b"+OK bye\r\n"
PORT, STAMP = struct.Struct("!i"), struct.Struct("!id")


class Stub:
    """The server: greets `delay` seconds after it accepted, or never (`None`)."""

    def __init__(self, delay: float | None, ports: int) -> None:
        self._delay = delay
        self._epoll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}
        self._connections: dict[int, socket.socket] = {}
        self._due: list[tuple[float, int]] = []
        self.stamps: list[tuple[int, float]] = []
        for _ in range(ports):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")  # all loopback addresses, no others
            listener.bind(("", 0))
            listener.listen(4096)
            listener.setblocking(False)
            self._listeners[listener.fileno()] = listener
            self._epoll.register(listener, select.EPOLLIN)
        self.ports = [listener.getsockname()[1] for listener in self._listeners.values()]

    def run(self, until: int) -> None:
        """Serve until a descriptor can be read: the parent's pipe, at its end."""
        self._epoll.register(until, select.EPOLLIN)
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else 1.0
            for descriptor, _ in self._epoll.poll(wait):
                if descriptor == until:
                    return
                if descriptor in self._listeners:
                    self._accept(self._listeners[descriptor])
                else:
                    self._hear(descriptor)
            self._greet()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                self._connections[connection.fileno()] = connection
                self._epoll.register(connection, select.EPOLLIN)
                if self._delay is not None:
                    heapq.heappush(self._due, (time.monotonic() + self._delay, connection.fileno()))

    def _greet(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            connection = self._connections.get(heapq.heappop(self._due)[1])
            if connection:
                with suppress(OSError):
                    port, stamp = connection.getsockname()[1], time.time()
                    connection.send(GREETING)
                    self.stamps.append((port, stamp))

    def _hear(self, descriptor: int) -> None:
        connection = self._connections.pop(descriptor)
        with suppress(OSError):
            if connection.recv(512):
                connection.send(BYE)
        self._epoll.unregister(descriptor)
        connection.close()


def main() -> None:
    """Serve until the input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    delay = None if sys.argv[1] == "silent" else float(sys.argv[1])
    stub = Stub(delay, int(sys.argv[2]))
    output = sys.stdout.buffer
    output.writelines(PORT.pack(port) for port in stub.ports)
    output.flush()
    stub.run(sys.stdin.fileno())
    output.writelines(STAMP.pack(port, stamp) for port, stamp in stub.stamps)


if __name__ == "__main__":
    main()
