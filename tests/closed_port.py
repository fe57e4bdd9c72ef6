"""A port that refuses connections for as long as a test needs it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nothing listens, at any address, but what the test itself starts there.

    The kernel gives out a port that is free at one address, although another server may have it at the next one; and
    one that is not held may be given to another test.
    """
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # only now: from here on listeners may join it
        yield int(holder.getsockname()[1])
