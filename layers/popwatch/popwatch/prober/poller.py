"""Waiting for many sockets at once: epoll where the system has it, `selectors` elsewhere.

With epoll a socket is registered once, edge-triggered, for reading and writing: a test costs one `epoll_ctl` call, and
none to change what it waits for. An edge is reported once, so readers must empty the socket: until a read returns less
than it asked for (epoll(7), answer 9) or, with MAYBE_ENDED, until there is nothing to read.
"""

import select
import selectors
import socket
from typing import Protocol

READABLE = 0x001
"""EPOLLIN and selectors.EVENT_READ: there is something to read."""

MAYBE_ENDED = 0x008 | 0x010 | 0x2000
"""EPOLLERR, EPOLLHUP and EPOLLRDHUP: an error or the end of the stream, for which the socket has to be asked.

`selectors` does not distinguish these, so every event of SelectorPoller has them.
"""

_EDGES = READABLE | 0x004 | 0x2000 | 1 << 31
"""EPOLLIN, EPOLLOUT, EPOLLRDHUP and EPOLLET."""

SocketEvent = tuple[int, int]
"""A descriptor, and the bits of its events: READABLE, MAYBE_ENDED, others."""


class Poller(Protocol):
    """What the loop needs of both kinds."""

    def register(self, sock: socket.socket) -> None:
        """Report when the socket has connected, and when it has something to read."""

    def connected(self, sock: socket.socket) -> None:
        """The socket has connected: report only when it has something to read."""

    def unregister(self, sock: socket.socket) -> None:
        """Remove the socket, which is about to be closed."""

    def wait(self, seconds: float) -> list[SocketEvent]:
        """The events so far; waits at most `seconds` for the first."""

    def close(self) -> None:
        """Close the poller's descriptors."""


class EpollPoller:
    """epoll, on Linux."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def register(self, sock: socket.socket) -> None:
        """Register once for all events, edge-triggered."""
        self._epoll.register(sock.fileno(), _EDGES)

    def connected(self, sock: socket.socket) -> None:
        """Nothing to do: an edge, such as "writable", is reported once."""

    def unregister(self, sock: socket.socket) -> None:
        """Nothing to do: closing a descriptor removes it from epoll."""

    def wait(self, seconds: float) -> list[SocketEvent]:
        """Events as epoll reports them."""
        return self._epoll.poll(seconds)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()


class SelectorPoller:
    """Whatever `selectors` finds on other systems, level-triggered."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, sock: socket.socket) -> None:
        """Wait for the connection and for data."""
        self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def connected(self, sock: socket.socket) -> None:
        """A connected socket is always writable: wait for data only."""
        self._selector.modify(sock, selectors.EVENT_READ)

    def unregister(self, sock: socket.socket) -> None:
        """Unregister the socket."""
        self._selector.unregister(sock)

    def wait(self, seconds: float) -> list[SocketEvent]:
        """Events of the selector, which reports errors as readiness."""
        return [(key.fd, events | MAYBE_ENDED) for key, events in self._selector.select(seconds)]

    def close(self) -> None:
        """Close the selector."""
        self._selector.close()


def make_poller() -> Poller:
    """The fastest poller that this system has."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()
