"""DNS lookups in threads: `getaddrinfo` blocks and cannot be cancelled, so it may not run in the loop's thread.

A lookup that never returns holds one thread and delays no other lookup. The threads are daemons: they do not keep the
process alive.
"""

import ipaddress
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

Resolve = Callable[[str], list[str]]
"""Gives the addresses of a name, best first; raises OSError (`socket.gaierror`) if there are none."""

HasRoute = Callable[[str, int], bool]
"""Whether there is a route to an IPv6 address and port."""

MOST_THREADS = 512
"""Lookups at the same time; Lambda allows 1,024 threads. Further lookups wait until one of these has ended."""

IDLE_SECONDS = 5.0
"""A thread without work ends after this time."""


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The addresses of a host, or the reason why there are none."""

    host: str
    addresses: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""


def resolve(host: str) -> list[str]:
    """The addresses of a name as the operating system gives them, in the order of RFC 6724."""
    entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


Deliver = Callable[[LookupResult], None]


class Resolver:
    """Runs lookups in threads, which it starts when they are needed and which end when they are idle.

    There is one thread for each unfinished lookup, up to MOST_THREADS, so that no lookup waits behind a stuck one.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._queue: SimpleQueue[tuple[str, Deliver]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._unfinished = 0

    def look_up(self, host: str, deliver: Deliver) -> None:
        """Begin a lookup; `deliver` is called with its result, from a thread."""
        with self._lock:
            self._unfinished += 1
            start = self._threads < min(self._unfinished, MOST_THREADS)
            self._threads += start
        self._queue.put((host, deliver))
        if start:
            self._start()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, daemon=True, name="popwatch-resolver").start()
        except RuntimeError:
            # The system gives no more threads. The lookup waits for one that is running; at worst its target times out.
            with self._lock:
                self._threads -= 1

    def _run(self) -> None:
        while lookup := self._next():
            host, deliver = lookup
            result = _look_up(host, self._resolve)
            # Counted before the delivery: whoever then asks for the next name finds this thread free.
            with self._lock:
                self._unfinished -= 1
            deliver(result)

    def _next(self) -> tuple[str, Deliver] | None:
        """The next lookup, or None when this thread is no longer needed."""
        while True:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except Empty:
                # Under the lock that `look_up` takes: it counts this thread either as running or as ended.
                with self._lock:
                    if self._threads > self._unfinished:
                        self._threads -= 1
                        return None


def is_address(host: str) -> bool:
    """Whether a host is an IP address and needs no lookup."""
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
        else:  # inet_pton, since most hosts are names: an exception of `ipaddress` takes four times as long
            socket.inet_pton(socket.AF_INET, host)
    except (ValueError, OSError):
        return False
    return True


def interleave(addresses: tuple[str, ...]) -> list[str]:
    """The addresses with alternating families, beginning with that of the first (RFC 8305 section 4)."""
    if len(addresses) < 2:
        return list(addresses)
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    first, second = (six, four) if ":" in addresses[0] else (four, six)
    both = [address for pair in zip(first, second, strict=False) for address in pair]
    longer = first if len(first) > len(second) else second
    return both + longer[min(len(first), len(second)) :]


def has_route(address: str, port: int) -> bool:
    """Whether the kernel has a route to an IPv6 address. Connecting a datagram socket looks it up and sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect(sockaddr(address, port))
    except OSError:
        return False
    return True


def sockaddr(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """The argument of `connect` for an address; a scope such as `fe80::1%eth0` is kept."""
    if ":" not in address:
        return address, port
    name, _, scope = address.partition("%")
    if not scope:
        return name, port, 0, 0
    return name, port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope)


def _look_up(host: str, resolve: Resolve) -> LookupResult:
    try:
        addresses = tuple(resolve(host))
    except socket.gaierror as error:
        reason = _REASONS.get(error.errno or 0, "dns-error")
        return LookupResult(host, reason=reason, detail=str(error.strerror or error))
    except (OSError, UnicodeError) as error:
        return LookupResult(host, reason="dns-error", detail=str(error))
    return LookupResult(host, addresses) if addresses else LookupResult(host, reason="no-address-record")


_REASONS = {
    socket.EAI_NONAME: "no-such-name",
    socket.EAI_AGAIN: "dns-failure",
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): "no-address-record",
}
