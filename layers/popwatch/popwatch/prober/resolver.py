"""The addresses of hosts that are names: what is known without a question, and what is kept from one run to the next.

The clock of kept answers is the realtime clock: a function's environment stands still between its invocations, and the
monotonic clock may stand still with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from popwatch.prober.dns_messages import Kind
from popwatch.prober.name_servers import Hosts, NameServers, system_hosts, system_name_servers

FRESH_SECONDS = 50.0
"""For so long an answer is used without asking again: retests do not ask, the tick of the next minute does."""

KEPT_SECONDS = 120.0
"""For so long an answer is kept, to stand in for name servers that fail."""


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The addresses of a host, or the reason why there are none.

    `age_seconds` is the age of a kept answer that stands in for name servers that failed, else None.
    """

    host: str
    addresses: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""
    age_seconds: float | None = None


class KeptAnswers:
    """The last addresses of each name, with the time of the answer by `clock` (seconds since the epoch)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: dict[str, tuple[float, tuple[str, ...]]] = {}

    def keep(self, host: str, addresses: tuple[str, ...]) -> None:
        """Keep an answer that has just come."""
        self._answers[host] = self._clock(), addresses

    def forget(self, host: str) -> None:
        """Forget a name of which a name server has said that it has no addresses."""
        self._answers.pop(host, None)

    def find(self, host: str, within: float) -> tuple[float, tuple[str, ...]] | None:
        """The age in seconds and the addresses of an answer that is not older than `within`."""
        answer = self._answers.get(host)
        if answer is None:
            return None
        age = self._clock() - answer[0]
        return (age, answer[1]) if 0 <= age <= within else None  # below 0 if the clock has been set

    def forget_old(self) -> None:
        """Forget what is too old to be used, so that names that are no longer tested take no memory."""
        for host in list(self._answers):
            if not self.find(host, KEPT_SECONDS):
                self.forget(host)


class Resolver:
    """How names are resolved: by which name servers and hosts file, both read anew for each run, and kept answers.

    With `family` only addresses of that kind are looked up.
    """

    def __init__(
        self,
        *,
        name_servers: Callable[[], NameServers] = system_name_servers,
        hosts: Callable[[], Hosts] = system_hosts,
        family: Kind | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.read_name_servers, self.read_hosts, self.family = name_servers, hosts, family
        self.kept = KeptAnswers(clock)
