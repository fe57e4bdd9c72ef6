"""Listening sockets of this process, so that a test which leaves one open fails, and not a later one.

A listener that has been forgotten is closed by the garbage collector at some time, with a ResourceWarning that becomes
the failure of whatever test runs then.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LISTEN = "0A"
"""The state in /proc/net/tcp (Linux: include/net/tcp_states.h)."""

TABLES = ("tcp", "tcp6")


def listeners() -> frozenset[str]:
    """The inodes of the TCP sockets of this process that listen; none where there is no /proc."""
    open_here = frozenset(_sockets())
    return open_here & frozenset(_listening()) if open_here else open_here


def _sockets() -> Iterator[str]:
    folder = Path("/proc/self/fd")
    for descriptor in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):  # that of this listing is closed by now
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]


def _listening() -> Iterator[str]:
    for table in TABLES:
        with suppress(OSError):
            for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN:
                    yield fields[9]
