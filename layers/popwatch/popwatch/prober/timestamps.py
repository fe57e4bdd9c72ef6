"""When bytes arrived, by the kernel's own clock: a program that reads late still knows.

Linux stamps each segment as it comes in (SO_TIMESTAMPING with software receive stamps; TCP since 4.13) and hands the
stamp out with `recvmsg`: that of the last segment whose bytes were read. Source: kernel documentation,
networking/timestamping.
"""

import socket
import struct
import sys

_SO_TIMESTAMPING = 37  # asm-generic/socket.h; the same on x86_64 and aarch64
_FLAGS = (1 << 3) | (1 << 4)  # SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
_TIMESPEC = struct.Struct("@qq")
_ANCILLARY = socket.CMSG_SPACE(3 * _TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0

AVAILABLE = sys.platform == "linux"


def enable(sock: socket.socket) -> bool:
    """Ask for stamps on a socket; whether the kernel agreed."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _FLAGS)
    except OSError:
        return False
    return True


def keeper() -> socket.socket | None:
    """A socket that, while it is open, keeps the kernel's stamping switched on.

    Stamping begins a moment after the first socket asks for it, and a segment that came before is stamped when it is
    read, which would make a late reader believe in a late server.
    """
    if not AVAILABLE:
        return None
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    enable(sock)
    return sock


def receive(sock: socket.socket, size: int) -> tuple[bytes, float | None]:
    """Up to `size` bytes, and when the last of them arrived, in seconds of the realtime clock, if the kernel says."""
    data, ancillary, _, _ = sock.recvmsg(size, _ANCILLARY)
    for level, kind, value in ancillary:
        if kind == _SO_TIMESTAMPING and level == socket.SOL_SOCKET and len(value) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            return data, (seconds + nanoseconds / 1e9) if seconds else None
    return data, None
