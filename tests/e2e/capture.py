"""Captures packets of the loopback: the TCP payloads that someone on the path would see, by the server's port.

Needs root. A packet of the loopback is seen twice, as it leaves and as it arrives; only the second is kept.
"""

import socket
import struct
import threading
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

IPV4_PACKETS = 0x0800
"""ETH_P_IP of linux/if_ether.h: the tests connect to 127.0.0.1."""

SOL_PACKET, STATISTICS, FORCE_BUFFER = 263, 6, 33
"""SOL_PACKET of linux/socket.h, PACKET_STATISTICS of linux/if_packet.h, SO_RCVBUFFORCE of asm-generic/socket.h."""

BUFFER = 64 << 20
LONGEST_PACKET = 1 << 17
"""Bytes; a packet of the loopback has up to 64 KiB."""

Flow = tuple[int, int]
"""The ports that a segment goes from and to."""


@dataclass(slots=True)
class Capture:
    """The payloads between clients and some ports, as segments by their sequence number, for each direction."""

    ports: Sequence[int]
    segments: defaultdict[Flow, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, packet: bytes) -> None:
        """Keep the payload of an IPv4 packet, if it is TCP from or to one of the ports. One sent again counts once."""
        header = (packet[0] & 15) * 4
        tcp = packet[header : int.from_bytes(packet[2:4])]
        if packet[9] != socket.IPPROTO_TCP:
            return
        flow, sequence = (int.from_bytes(tcp[:2]), int.from_bytes(tcp[2:4])), int.from_bytes(tcp[4:8])
        payload = tcp[(tcp[12] >> 4) * 4 :]
        if payload and not {*flow}.isdisjoint(self.ports):
            self.segments[flow][sequence] = payload

    def sent_to(self, port: int) -> list[bytes]:
        """The bytes of the client of each connection to a port."""
        return [_joined(kept) for (_, to), kept in self.segments.items() if to == port]

    def sent_by(self, port: int) -> list[bytes]:
        """The bytes of the server of each connection to a port."""
        return [_joined(kept) for (source, _), kept in self.segments.items() if source == port]

    def found(self, parts: Sequence[bytes]) -> set[bytes]:
        """Those of `parts` that were sent, by whichever side."""
        streams = [_joined(kept) for kept in self.segments.values()]
        return {part for part in parts if any(part in stream for stream in streams)}


def _joined(segments: Mapping[int, bytes]) -> bytes:
    """The bytes of one direction, in the order of their sequence numbers, which wrap."""
    first = next(iter(segments))
    return b"".join(segments[number] for number in sorted(segments, key=lambda number: (number - first) % (1 << 32)))


@contextmanager
def capturing(*ports: int) -> Iterator[Capture]:
    """Capture the packets of the ports during the block. Fails if the kernel has dropped one."""
    capture, ended = Capture(ports), threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(IPV4_PACKETS)) as sniffer:
        sniffer.setsockopt(socket.SOL_SOCKET, FORCE_BUFFER, BUFFER)
        sniffer.bind(("lo", IPV4_PACKETS))
        sniffer.settimeout(0.1)
        thread = threading.Thread(target=_capture, args=(sniffer, capture, ended))
        thread.start()
        try:
            yield capture
        finally:
            ended.set()
            thread.join()
        _, dropped = struct.unpack("II", sniffer.getsockopt(SOL_PACKET, STATISTICS, 8))
        assert dropped == 0


def _capture(sniffer: socket.socket, capture: Capture, ended: threading.Event) -> None:
    """Take packets until the block has ended, then those that wait: a packet is there as soon as it was sent."""
    while not ended.is_set():
        with suppress(TimeoutError):
            _receive(sniffer, capture)
    sniffer.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            _receive(sniffer, capture)


def _receive(sniffer: socket.socket, capture: Capture) -> None:
    packet, (_, _, kind, *_) = sniffer.recvfrom(LONGEST_PACKET)
    if kind != socket.PACKET_OUTGOING:
        capture.add(packet)


def forms_of(user: str, password: str) -> list[bytes]:
    """A user and a password as they must not be seen: plain, and in Base64 wherever they begin in it."""
    return [
        user.encode(),
        password.encode(),
        *(aligned(password.encode(), offset) for offset in range(3)),
        b64encode(f"\0{user}\0{password}".encode()),
    ]


def aligned(secret: bytes, offset: int) -> bytes:
    """The characters of Base64 that hold nothing but a secret which `offset` bytes, modulo 3, stand before."""
    first = -(-offset * 8 // 6)
    return b64encode(bytes(offset) + secret)[first : (offset + len(secret)) * 8 // 6]
