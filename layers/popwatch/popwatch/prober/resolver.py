"""The addresses of hosts that are names: what is known without a question, and what one `Prober.run` leaves the next.

The clock of cached answers is the realtime clock: a function's environment stands still between its invocations, and
the monotonic clock may stand still with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from popwatch.model.fields import Family
from popwatch.prober.name_servers import Hosts, NameServers, system_hosts, system_name_servers

FRESH_SECONDS = 50.0
"""For so long an answer is used without asking again: retests do not ask, the tick of the next minute does."""

STALE_SECONDS = 120.0
"""For so long an answer is cached, and used although it is stale if the name servers fail (as in RFC 8767)."""


class Name(NamedTuple):
    """What is looked up: the addresses of a host, of one family or of both."""

    host: str
    family: Family = Family.ANY


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The addresses of a host, or the reason why there are none.

    `age_seconds` is the age of a stale answer, used since the name servers failed, else None.
    """

    name: Name
    addresses: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""
    age_seconds: float | None = None


class AnswerCache:
    """The last addresses of each name, with the time of the answer by `clock` (seconds since the epoch)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: dict[Name, tuple[float, tuple[str, ...]]] = {}

    def keep(self, name: Name, addresses: tuple[str, ...]) -> None:
        """Keep an answer that has just come."""
        self._answers[name] = self._clock(), addresses

    def forget(self, name: Name) -> None:
        """Forget a name of which a name server has said that it has no addresses."""
        self._answers.pop(name, None)

    def find(self, name: Name, within: float) -> tuple[float, tuple[str, ...]] | None:
        """The age in seconds and the addresses of an answer that is not older than `within`."""
        answer = self._answers.get(name)
        if answer is None:
            return None
        age = self._clock() - answer[0]
        return (age, answer[1]) if 0 <= age <= within else None  # below 0 if the clock has been set

    def forget_old(self) -> None:
        """Forget what is too old to be used, so that names that are no longer tested take no memory."""
        for name in list(self._answers):
            if not self.find(name, STALE_SECONDS):
                self.forget(name)


class Resolver:
    """How names are resolved: cached answers; name servers and a hosts file, both read again for each `Prober.run`."""

    def __init__(
        self,
        *,
        name_servers: Callable[[], NameServers] = system_name_servers,
        hosts: Callable[[], Hosts] = system_hosts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.read_name_servers, self.read_hosts = name_servers, hosts
        self.cache = AnswerCache(clock)
