"""Kernel receive time stamps: when bytes arrived, even if the program reads them late.

Linux stamps each received segment (SO_TIMESTAMPING with software receive stamps; for TCP since 4.13) and returns the
stamp with `recvmsg`: that of the last segment whose bytes were read. Source: kernel documentation,
networking/timestamping.
"""

import socket
import struct
import sys

_SO_TIMESTAMPING = 37  # asm-generic/socket.h; the same on x86_64 and aarch64
_FLAGS = (1 << 3) | (1 << 4)  # SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
_TIMESPEC = struct.Struct("@qq")
# The kernel returns three timespecs (struct scm_timestamping); the first is the software stamp.
_ANCILLARY = socket.CMSG_SPACE(3 * _TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0

AVAILABLE = sys.platform == "linux"


def enable(sock: socket.socket) -> bool:
    """Ask for stamps on a socket; false if the kernel refuses."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _FLAGS)
    except OSError:
        return False
    return True


def keep_enabled() -> socket.socket | None:
    """A socket that keeps the kernel's stamping switched on until it is closed.

    The kernel switches stamping on in the background after the first socket asks for it (net_enable_timestamp), and off
    with the last one. Segments that arrive before it is on have no stamp.
    """
    if not AVAILABLE:
        return None
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    enable(sock)
    return sock


def receive(sock: socket.socket, size: int) -> tuple[bytes, float | None]:
    """Up to `size` bytes, and when the last of them arrived: seconds of the realtime clock, None without a stamp."""
    data, ancillary, _, _ = sock.recvmsg(size, _ANCILLARY)
    for level, kind, value in ancillary:
        if kind == _SO_TIMESTAMPING and level == socket.SOL_SOCKET and len(value) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            return data, (seconds + nanoseconds / 1e9) if seconds else None
    return data, None
