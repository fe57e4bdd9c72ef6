"""What goes wrong, and how often: every draw comes from one seeded generator, and every fault is numbered and counted."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from random import Random

OUTAGE_SECONDS = (5.0, 180.0)
"""How long a service of AWS refuses everything, when it does."""


CHANGES = ("config_changed", "target_removed", "target_added", "server_changed", "storm")
"""What is no fault, but goes on in the world meanwhile."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Probabilities: of each attempt of an AWS call, of each tick, of each message, of each minute for the rest."""

    refused: float = 0.01
    throttled: float = 0.01
    delayed: float = 0.01
    answer_lost: float = 0.006
    killed_before: float = 0.002
    killed_after: float = 0.002
    stale_read: float = 0.05
    outage: float = 0.003
    tick_lost: float = 0.02
    tick_doubled: float = 0.03
    tick_late: float = 0.02
    message_doubled: float = 0.05
    message_late: float = 0.05
    clock_skewed: float = 0.2
    config_changed: float = 0.03
    target_removed: float = 0.004
    target_added: float = 0.006
    server_changed: float = 0.04
    storm: float = 0.004

    def scaled(self, factor: float) -> "Rates":
        """All of them, more or less often."""
        return replace(self, **{name: getattr(self, name) * factor for name in self.__slots__})


CALM = Rates().scaled(0.0)


@dataclass(slots=True)
class Faults:
    """Draws faults. `spared` are numbers of faults that do not happen, which is how a failure is made smaller."""

    random: Random
    rates: Rates
    spared: Collection[int] = ()
    told: Callable[[str], None] = field(default=lambda _: None)
    counts: Counter[str] = field(default_factory=Counter)
    drawn: int = 0

    def strikes(self, kind: str) -> bool:
        """Whether a fault happens now."""
        rate: float = getattr(self.rates, kind)
        if not rate or self.random.random() >= rate:
            return False
        self.drawn += 1
        if self.drawn in self.spared:
            return False
        self.counts[kind] += 1
        self.told(f"fault {self.drawn}: {kind.replace('_', ' ')}")
        return True

    def uniform(self, least: float, most: float) -> float:
        """A number between two."""
        return self.random.uniform(least, most)
