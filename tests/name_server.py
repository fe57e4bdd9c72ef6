"""A name server on the loopback: answers with the addresses that a test gives it, loses packets, and is silent at will.

It stands in for AWS's resolver, with its limit of 1,024 packets a second for each network interface: what is beyond is
dropped without a word (docs.aws.amazon.com/whitepapers/latest/hybrid-cloud-dns-options-for-vpc/constraints.html).
"""

import random
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from popwatch.prober.dns_messages import RecordType
from popwatch.prober.name_servers import NameServers
from popwatch.prober.resolver import Resolver

SERVFAIL, NXDOMAIN = 2, 3
SILENT = "silent"
"""Instead of addresses: no answer to any question for the name."""

Zone = Mapping[str, list[str] | int | str]
"""For each name its addresses, a response code, or SILENT. Names that are not in it do not exist."""


@dataclass
class NameServer:
    """Answers in a thread of its own. What a test changes holds from the next question on.

    `lost` is the share of packets that are lost in each direction; `limit` is how many a second are taken; `no_aaaa`
    is for a server that never answers a question for AAAA; `truncates` for one that answers by TCP only.
    """

    zone: Zone = field(default_factory=dict)
    lost: float = 0.0
    limit: int = 0
    silent: bool = False
    no_aaaa: bool = False
    truncates: bool = False
    delay: float = 0.0
    asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    dropped: int = 0

    def __enter__(self) -> "NameServer":
        self._random = random.Random(20_261_127)  # the same packets are lost in each run
        self._udp, self._tcp = _same_port()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._udp.getsockname())
        with suppress(OSError):
            self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()
        for thread in self._threads:
            thread.join()
        self._udp.close()

    @property
    def port(self) -> int:
        """Its port, for datagrams and streams."""
        return int(self._udp.getsockname()[1])

    def resolver(self, *, search: tuple[str, ...] = (), clock: Callable[[], float] = time.time) -> Resolver:
        """A resolver that asks this server alone, and has an empty hosts file."""
        servers = NameServers((("127.0.0.1", self.port),), search)
        return Resolver(name_servers=lambda: servers, hosts=dict, clock=clock)

    def _serve_udp(self) -> None:
        taken: deque[float] = deque()
        while True:
            data, sender = self._udp.recvfrom(4096)
            if not data:
                return
            now = time.monotonic()
            self.times.append(now)
            while taken and taken[0] <= now - 1:
                taken.popleft()
            if self.limit and len(taken) >= self.limit:
                self.dropped += 1
                continue
            taken.append(now)
            if self._loses():
                continue
            answer = self._answer(data, by_tcp=False)
            if answer and not self._loses():
                time.sleep(self.delay)
                self._udp.sendto(answer, sender)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                data = connection.recv(4096)
                answer = self._answer(data[2:], by_tcp=True)
                if answer:  # in two pieces, as a network may
                    connection.sendall(struct.pack("!H", len(answer)) + answer[:5])
                    time.sleep(0.01)
                    connection.sendall(answer[5:])

    def _loses(self) -> bool:
        return self._random.random() < self.lost

    def _answer(self, data: bytes, *, by_tcp: bool) -> bytes | None:
        number = int.from_bytes(data[:2])
        question = data[12:]
        labels, position = [], 0
        while length := question[position]:
            labels.append(question[position + 1 : position + 1 + length].decode())
            position += 1 + length
        name, record_type = ".".join(labels), int.from_bytes(question[position + 1 : position + 3])
        self.asked[name, record_type] += 1
        found = self.zone.get(name, NXDOMAIN)
        if self.silent or found == SILENT or (self.no_aaaa and record_type == RecordType.AAAA):
            return None
        code = found if isinstance(found, int) else 0
        listed = [ip_address(it) for it in found] if isinstance(found, list) else []
        addresses = [it.packed for it in listed if (it.version == 6) == (record_type == RecordType.AAAA)]
        truncated = self.truncates and not by_tcp and bool(addresses)
        if truncated:
            addresses = []
        flags = 0x8180 | (0x0200 if truncated else 0) | code
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!2HIH", record_type, 1, 300, len(packed)) + packed for packed in addresses
        )
        return struct.pack("!6H", number, flags, 1, len(addresses), 0, 0) + question + records


def _same_port() -> tuple[socket.socket, socket.socket]:
    """A socket for datagrams and one that listens, at a port that is free for both."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        udp.bind(("127.0.0.1", 0))
        with suppress(OSError):
            return udp, socket.create_server(udp.getsockname())
        udp.close()
