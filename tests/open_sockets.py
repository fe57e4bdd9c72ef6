"""Open descriptors of this process, so that a test which leaves one open fails, and not a later one.

A listener that has been forgotten is closed by the garbage collector at some time, with a ResourceWarning that becomes
the failure of whatever test runs then.
"""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK

DESCRIPTORS = Path("/proc/self/fd")


def descriptors() -> dict[int, str]:
    """The descriptors that this process has open, each with what it is: a path, or the kind and the inode."""
    found = {}
    for entry in DESCRIPTORS.iterdir():
        with suppress(OSError):  # that of this listing is closed by now, and so may others be
            found[int(entry.name)] = str(entry.readlink())
    return found


def left_open(before: Mapping[int, str], *, seconds: float = 300) -> list[str]:
    """What this process has open and had not `before`, once servers have had so long to close their ends."""
    end = time.monotonic() + seconds
    while len(found := descriptors()) > len(before) and time.monotonic() < end:
        time.sleep(0.01)
    if len(found) <= len(before):
        return []
    return [_described(number, what) for number, what in found.items() if before.get(number) != what]


def _described(descriptor: int, what: str) -> str:
    """What it is, and for a socket its ends."""
    if not what.startswith("socket:"):
        return what
    with suppress(OSError):
        sock = socket.socket(fileno=descriptor)
        try:
            ends = f"{sock.getsockname()} to {sock.getpeername()}"
        finally:
            sock.detach()
        return f"{what} {ends}"
    return what


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
