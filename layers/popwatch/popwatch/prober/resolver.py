"""Names resolved aside: `getaddrinfo` blocks and cannot be stopped, so it runs in threads of its own.

A resolver that never answers holds one thread and nobody else. Threads are daemons: they end with the process.
"""

import ipaddress
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

Resolve = Callable[[str], list[str]]
"""A name to its addresses, best first; raises OSError (`socket.gaierror`) where there are none."""

HasRoute = Callable[[str, int], bool]
"""Whether there is a way to an IPv6 address and port."""

MOST_THREADS = 512
"""Lookups under way at once; a Lambda allows 1,024 threads. Above it a lookup waits for another's end."""

IDLE_SECONDS = 5.0
"""How long a thread without work stays."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lookup found: addresses, or the reason why there are none."""

    host: str
    addresses: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""


def resolve(host: str) -> list[str]:
    """The addresses of a name as the operating system finds them, in the order of RFC 6724."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


Deliver = Callable[[Answer], None]


class Names:
    """Lookups in threads, which come when they are needed and leave when they are not.

    There is a thread for each lookup without an answer, up to MOST_THREADS, so that none waits behind a stuck one.
    """

    def __init__(self, resolver: Resolve) -> None:
        self._resolve = resolver
        self._wanted: SimpleQueue[tuple[str, Deliver]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._unanswered = 0

    def look_up(self, host: str, deliver: Deliver) -> None:
        """Begin a lookup; `deliver` is called with its answer, from a thread."""
        with self._lock:
            self._unanswered += 1
            start = self._threads < min(self._unanswered, MOST_THREADS)
            self._threads += start
        self._wanted.put((host, deliver))
        if start:
            self._start()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, daemon=True, name="popwatch-names").start()
        except RuntimeError:  # no more threads: the lookup waits for another's, and at worst its own target fails
            with self._lock:
                self._threads -= 1

    def _work(self) -> None:
        while wanted := self._next():
            host, deliver = wanted
            answer = _answer(host, self._resolve)
            with self._lock:
                self._unanswered -= 1
            deliver(answer)

    def _next(self) -> tuple[str, Deliver] | None:
        """The next lookup, or None when the thread is not needed any more."""
        while True:
            try:
                return self._wanted.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._threads > self._unanswered:
                        self._threads -= 1
                        return None


def is_address(host: str) -> bool:
    """Whether a host is an address already."""
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
        else:
            socket.inet_pton(socket.AF_INET, host)
    except (ValueError, OSError):
        return False
    return True


def interleave(addresses: tuple[str, ...]) -> list[str]:
    """The addresses with their families in turn, the first one's first (RFC 8305 section 4)."""
    if len(addresses) < 2:
        return list(addresses)
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    first, second = (six, four) if ":" in addresses[0] else (four, six)
    both = [address for pair in zip(first, second, strict=False) for address in pair]
    longer = first if len(first) > len(second) else second
    return both + longer[min(len(first), len(second)) :]


def has_route(address: str, port: int) -> bool:
    """Whether the kernel knows a way to an IPv6 address; connecting a datagram socket asks it and sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect(sockaddr(address, port))
    except OSError:
        return False
    return True


def sockaddr(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """What `connect` takes for an address; a scope such as `fe80::1%eth0` is kept."""
    if ":" not in address:
        return address, port
    name, _, scope = address.partition("%")
    return name, port, 0, (int(scope) if scope.isdigit() else socket.if_nametoindex(scope)) if scope else 0


def _answer(host: str, resolver: Resolve) -> Answer:
    try:
        addresses = tuple(resolver(host))
    except socket.gaierror as error:
        return Answer(host, reason=_REASONS.get(error.errno or 0, "dns-error"), detail=str(error.strerror or error))
    except (OSError, UnicodeError) as error:
        return Answer(host, reason="dns-error", detail=str(error))
    return Answer(host, addresses) if addresses else Answer(host, reason="no-address-record")


_REASONS = {
    socket.EAI_NONAME: "no-such-name",
    socket.EAI_AGAIN: "dns-failure",
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): "no-address-record",
}
