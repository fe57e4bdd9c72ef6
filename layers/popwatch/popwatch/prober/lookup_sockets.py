"""The sockets of the lookups of one `Prober.run`: one to each name server, and one for each reply that is
too long for a datagram.
"""

import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass

from popwatch.prober.addresses import sockaddr
from popwatch.prober.lookups import Lookups, Question
from popwatch.prober.poller import Poller
from popwatch.prober.resolver import LookupResult

RECEIVE_SIZE = 65_535
"""The longest message of the DNS."""

READS_PER_ITERATION = 256
"""Messages that are read from a name server before the loop goes on: a flood of them must not stop the tests."""


MAX_STREAMS = 20
"""Replies that are fetched by TCP at once: their descriptors are of those that the tests leave for everything else."""


@dataclass(slots=True)
class _Stream:
    """A question that is asked by TCP: two bytes with its length come before each message (RFC 1035 section 4.2.2)."""

    sock: socket.socket
    server: int
    question: Question
    sent: bool = False
    received: bytes = b""


class LookupSockets:
    """Sends questions and takes replies, without blocking. The sockets are opened when the first question is sent."""

    def __init__(self, lookups: Lookups, poller: Poller) -> None:
        self._lookups, self._poller = lookups, poller
        self._datagrams: dict[int, socket.socket] = {}
        self._streams: dict[int, _Stream] = {}

    def advance(self, now: float) -> list[LookupResult]:
        """Read what has come, and send what is due; returns the lookups that have ended."""
        if self._lookups.under_way:
            for server, sock in self._datagrams.items():
                self._receive(server, sock)
        for server, question in self._lookups.sends(now):
            self._send(server, question, now)
        for descriptor, stream in list(self._streams.items()):
            if stream.question.ended:
                self._close_stream(descriptor)
        return self._lookups.results()

    def ready(self, descriptor: int) -> None:
        """Handle an event of a stream. Events of other sockets only wake the loop: `advance` reads what has come."""
        if descriptor in self._streams:
            try:
                self._advance_stream(self._streams[descriptor])
            except OSError:
                self._close_stream(descriptor)

    def close(self) -> None:
        """Close all sockets."""
        for descriptor in list(self._streams):
            self._close_stream(descriptor)
        for sock in self._datagrams.values():
            self._poller.unregister(sock)
            sock.close()

    def _send(self, server: int, question: Question, now: float) -> None:
        try:
            self._datagram(server).send(question.message)
        except BlockingIOError:
            pass  # the kernel's buffer is full: lost, like one that the network loses, and repeated
        except OSError as error:
            self._lookups.fail(question, f"The name server cannot be reached: {error.strerror}.", now)

    def _datagram(self, server: int) -> socket.socket:
        """The socket to a name server. It is connected: the kernel drops what comes from elsewhere."""
        sock = self._datagrams.get(server)
        if sock is None:
            sock = self._open(server, socket.SOCK_DGRAM)
            try:
                sock.connect(sockaddr(*self._lookups.name_servers.servers[server]))
            except OSError:
                sock.close()
                raise
            self._datagrams[server] = sock
            self._poller.register(sock)
            self._poller.connected(sock)
        return sock

    def _open(self, server: int, kind: socket.SocketKind) -> socket.socket:
        address, _ = self._lookups.name_servers.servers[server]
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        sock.setblocking(False)
        return sock

    def _receive(self, server: int, sock: socket.socket) -> None:
        for _ in range(READS_PER_ITERATION):
            try:
                data = sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier send; it is reported once, and the question is repeated
            by_tcp = self._lookups.receive(data, server, time.monotonic())
            asked = [stream.question for stream in self._streams.values()]
            if by_tcp and by_tcp not in asked and len(asked) < MAX_STREAMS:
                self._open_stream(server, by_tcp)

    def _open_stream(self, server: int, question: Question) -> None:
        with suppress(OSError):  # the datagram is repeated, and with it this attempt
            sock = self._open(server, socket.SOCK_STREAM)
            self._streams[sock.fileno()] = _Stream(sock, server, question)
            self._poller.register(sock)
            sock.connect_ex(sockaddr(*self._lookups.name_servers.servers[server]))

    def _advance_stream(self, stream: _Stream) -> None:
        """Send the question once the connection is there, and read the reply to its end."""
        with suppress(BlockingIOError):
            if not stream.sent:
                message = stream.question.message
                stream.sock.send(struct.pack("!H", len(message)) + message)
                stream.sent = True
                self._poller.connected(stream.sock)
            while data := stream.sock.recv(RECEIVE_SIZE):
                stream.received += data
                if len(stream.received) >= 2 and len(stream.received) >= 2 + int.from_bytes(stream.received[:2]):
                    break
            # Truncated still, or not a reply at all: the question stays open, and is given up in its time.
            self._lookups.receive(stream.received[2:], stream.server, time.monotonic())
            self._close_stream(stream.sock.fileno())

    def _close_stream(self, descriptor: int) -> None:
        stream = self._streams.pop(descriptor)
        self._poller.unregister(stream.sock)
        stream.sock.close()
