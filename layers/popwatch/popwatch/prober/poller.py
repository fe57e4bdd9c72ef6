"""Waiting for many sockets at once, as directly as the system allows: epoll where there is one, `selectors` elsewhere.

With epoll a socket is registered once, edge-triggered, for reading and writing alike: a test then costs one call to
register it and none to change its mind. Readers must therefore read until nothing is left: until a read brings less
than it had room for, or, where the report is doubtful, until there is nothing to read.
"""

import select
import selectors
import socket
from typing import Protocol

READABLE = 0x001
"""EPOLLIN, and selectors.EVENT_READ: there is something to read."""

DOUBTFUL = 0x008 | 0x010 | 0x2000
"""EPOLLERR, EPOLLHUP and EPOLLRDHUP, or a system that does not tell: ask the socket what has become of it."""

_EDGES = READABLE | 0x004 | 0x2000 | 1 << 31
"""EPOLLIN, EPOLLOUT, EPOLLRDHUP and EPOLLET."""

Report = tuple[int, int]
"""A descriptor, and bits of what has happened on it: READABLE, DOUBTFUL, others."""


class Poller(Protocol):
    """What the loop needs of either kind."""

    def watch(self, sock: socket.socket) -> None:
        """Report the socket when it has connected, and when it has something to read."""

    def connected(self, sock: socket.socket) -> None:
        """The socket is known to have connected: report it for reading only."""

    def unwatch(self, sock: socket.socket) -> None:
        """Forget the socket, which is about to be closed."""

    def wait(self, seconds: float) -> list[Report]:
        """What has happened, after `seconds` at the latest."""

    def close(self) -> None:
        """Give back what the poller holds."""


class EpollPoller:
    """Linux."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def watch(self, sock: socket.socket) -> None:
        """Register once for everything, edge-triggered."""
        self._epoll.register(sock.fileno(), _EDGES)

    def connected(self, sock: socket.socket) -> None:
        """Nothing to change: an edge is reported once."""

    def unwatch(self, sock: socket.socket) -> None:
        """Nothing to do: closing a descriptor takes it out."""

    def wait(self, seconds: float) -> list[Report]:
        """What epoll says."""
        return self._epoll.poll(seconds)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()


class SelectorPoller:
    """Anything else that Python knows."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, sock: socket.socket) -> None:
        """Wait for the connection and for data."""
        self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def connected(self, sock: socket.socket) -> None:
        """A connected socket is always writable: wait for data only."""
        self._selector.modify(sock, selectors.EVENT_READ)

    def unwatch(self, sock: socket.socket) -> None:
        """Take the socket out."""
        self._selector.unregister(sock)

    def wait(self, seconds: float) -> list[Report]:
        """What the selector says, which does not tell errors from readiness."""
        return [(key.fd, events | DOUBTFUL) for key, events in self._selector.select(seconds)]

    def close(self) -> None:
        """Close the selector."""
        self._selector.close()


def make_poller() -> Poller:
    """The best poller of this system."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()
