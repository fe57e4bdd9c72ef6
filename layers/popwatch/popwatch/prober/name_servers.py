"""What the operating system knows of names: its name servers and search domains (resolv.conf(5)), and hosts(5)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from popwatch.prober.addresses import is_address

RESOLV_CONF, HOSTS = Path("/etc/resolv.conf"), Path("/etc/hosts")

MAX_SERVERS = 3
"""Name servers that are used (MAXNS of resolv.conf(5))."""

MAX_DOTS = 15
"""The greatest `ndots` (resolv.conf(5))."""

PORT = 53

Hosts = Mapping[str, tuple[str, ...]]
"""Addresses by name, in lower case."""


@dataclass(frozen=True, slots=True)
class NameServers:
    """Name servers, as addresses and ports, in the order in which they are asked, and how names are completed.

    A name with fewer than `ndots` dots is tried with each domain of `search` first, any other as it is first.
    """

    servers: tuple[tuple[str, int], ...]
    search: tuple[str, ...] = ()
    ndots: int = 1

    def candidates(self, host: str) -> list[str]:
        """The names that are tried for a host, in their order. A dot at the end means the name as it is."""
        if host.endswith("."):
            return [host]
        completed = [f"{host}.{domain}" for domain in self.search]
        return [host, *completed] if host.count(".") >= self.ndots else [*completed, host]


def system_name_servers() -> NameServers:
    """Those of this system; the one of this machine, as the C library would use, if none is configured."""
    return read_resolv_conf(_text(RESOLV_CONF))


def system_hosts() -> Hosts:
    """The hosts file of this system. `localhost` is always known (RFC 6761 section 6.3)."""
    return {"localhost": ("127.0.0.1", "::1"), **read_hosts(_text(HOSTS))}


def read_resolv_conf(text: str) -> NameServers:
    """The name servers of a resolv.conf; what is not understood is ignored, as the C library does."""
    servers: list[tuple[str, int]] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for keyword, *values in _words(text):
        if keyword == "nameserver" and values and is_address(values[0]):
            servers.append((values[0], PORT))
        elif keyword in ("search", "domain"):
            search = tuple(value.strip(".").lower() for value in values if value.strip("."))
        elif keyword == "options":
            dots = [value.removeprefix("ndots:") for value in values if value.startswith("ndots:")]
            ndots = next((min(int(number), MAX_DOTS) for number in dots if number.isdecimal()), ndots)
    return NameServers(tuple(servers[:MAX_SERVERS]) or (("127.0.0.1", PORT),), search, ndots)


def read_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """The addresses of each name of a hosts file."""
    found: dict[str, tuple[str, ...]] = {}
    for address, *names in _words(text):
        if is_address(address):
            for name in dict.fromkeys(each.lower() for each in names):
                found[name] = (*found.get(name, ()), address)
    return found


def _words(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        words = line.partition("#")[0].partition(";")[0].split()
        if words:
            yield words


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
