"""Open descriptors of this process, so that a test which leaves one open fails, and not a later one.

A listener that has been forgotten is closed by the garbage collector at some time, with a ResourceWarning that becomes
the failure of whatever test runs then.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK

DESCRIPTORS = Path("/proc/self/fd")

CLOSING_SECONDS = 60
"""How long servers in this process may take to close their ends of connections, on a busy machine."""


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(DESCRIPTORS.iterdir()))


def leaves_nothing_open(do: Callable[[], object]) -> bool:
    """Whether this process has no more descriptors open after `do` than before, once servers have closed their ends.

    Of three times once: threads that earlier tests have left may open one meanwhile, but what leaves one open always
    does.
    """
    return any(_leaves_as_many(do) for _ in range(3))


def _leaves_as_many(do: Callable[[], object]) -> bool:
    before = descriptors()
    do()
    end = time.monotonic() + CLOSING_SECONDS
    while descriptors() > before and time.monotonic() < end:
        time.sleep(0.01)
    return descriptors() <= before


def listeners() -> frozenset[int]:
    """The inodes of the TCP sockets of this process that listen; none where there is no /proc.

    Each socket is asked itself: the tables in /proc/net have those of all processes, and take milliseconds to read.
    """
    return frozenset(_listening())


def _listening() -> Iterator[int]:
    for entry in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
        with suppress(OSError):  # that of this listing is closed by now
            descriptor = int(entry.name)
            found = os.fstat(descriptor)
            if S_ISSOCK(found.st_mode) and _listens(descriptor):
                yield found.st_ino


def _listens(descriptor: int) -> bool:
    sock = socket.socket(fileno=descriptor)
    try:
        is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
        return is_tcp and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        sock.detach()
