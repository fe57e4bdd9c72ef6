"""What goes wrong, and how often: all draws come from seeded generators, and every fault is named and counted."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

Choice = TypeVar("Choice")

OUTAGE_SECONDS = (5.0, 180.0)
"""How long a service of AWS refuses everything, when it does."""


FACTORS = (0.0, 0.3, 1.0, 1.0, 3.0, 8.0)
"""How much more often than usual a fault occurs in an installation."""

CHANGES = (
    *("server_changed", "storm", "round_trips_changed", "addresses_changed", "certificate_changed"),
    *("login_changed", "password_changed"),
    "posture_changed",
)
"""Changes of servers, which are not faults, but happen meanwhile."""

OF_PEOPLE = (
    *("config_changed", "target_removed", "target_added", "target_renamed", "file_imported", "schedule_changed"),
    "credential_changed",
)
"""What people do; a `config_changed` is one of many kinds."""


OF_LOGINS = ("login_changed", "password_changed", "credential_changed", "parameters_unavailable", "parameters_denied")
"""What only happens in installations whose targets log in."""

NOT_DRAWN = (*OF_LOGINS, "posture_changed")
"""What does not happen in usual installations."""

QUIET = 0.02
"""How often a server changes at most, where nothing goes wrong."""


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
    config_changed: float = 0.05
    target_removed: float = 0.003
    target_added: float = 0.006
    target_renamed: float = 0.002
    file_imported: float = 0.006
    schedule_changed: float = 0.01
    server_changed: float = 0.04
    round_trips_changed: float = 0.02
    addresses_changed: float = 0.02
    certificate_changed: float = 0.005
    storm: float = 0.004
    login_changed: float = 0.015
    password_changed: float = 0.003
    credential_changed: float = 0.004
    parameters_unavailable: float = 0.003
    parameters_denied: float = 0.001
    posture_changed: float = 0.0
    killed_midway: float = 0.0
    """Between any two instructions; only of a real process (of each of its invocations)."""
    answers_lost: float = 0.1
    """Of a call whose answer is lost: none of its repeats reaches AWS."""

    def draw(self, random: Random) -> "Rates":
        """Some of them often, some never: what hides behind one fault is met where there are few of the others."""
        drawn = {name: getattr(self, name) for name in Rates.__slots__ if name not in NOT_DRAWN}
        rates = {name: min(0.5, rate * random.choice(FACTORS)) for name, rate in drawn.items()}
        return Rates(**rates | dict.fromkeys(NOT_DRAWN, 0.0))

    def with_logins(self, random: Random) -> "Rates":
        """The same where targets log in."""
        return replace(self, **{name: getattr(Rates(), name) * random.choice(FACTORS) for name in OF_LOGINS})

    def without_faults(self) -> "Rates":
        """Nothing goes wrong, and little changes: so it shows how soon people are alerted of an outage."""
        kept = {name: 0.2 * getattr(self, name) for name in OF_PEOPLE}
        kept |= {name: min(getattr(self, name), QUIET) for name in CHANGES}
        return replace(NO_FAULTS, **kept)


NO_FAULTS = Rates(**dict.fromkeys(Rates.__slots__, 0.0))


@dataclass(slots=True)
class FaultLog:
    """What faults there were: their names, in order, and how many of a kind. `excluded` are those that are not to
    be."""

    rates: Rates
    excluded: Collection[str] = ()
    counts: Counter[str] = field(default_factory=Counter)
    interventions: Counter[str] = field(default_factory=Counter)
    """What people did, by kind."""
    names: list[str] = field(default_factory=list)


class Faults:
    """The faults of one thing: a minute of the world, an invocation, a message.

    Each draws from a generator of its own, seeded by its name. So a fault that is excluded changes what follows from
    it, and no other faults: that is what makes a failure small.
    """

    def __init__(self, fault_log: FaultLog, scope: str, seed: str, report: Callable[[str], None] | None = None) -> None:
        self.fault_log, self._scope, self._report = fault_log, scope, report
        self._random = Random(f"{seed} {scope}")
        self._drawn: Counter[str] = Counter()

    def occurs(self, kind: str) -> bool:
        """Whether a fault happens now."""
        rate: float = getattr(self.fault_log.rates, kind)
        if not rate or self._random.random() >= rate:
            return False
        self._drawn[kind] += 1
        name = f"{self._scope}: {kind.replace('_', ' ')} {self._drawn[kind]}"
        if name in self.fault_log.excluded:
            return False
        self.fault_log.names.append(name)
        self.fault_log.counts[kind] += 1
        if self._report and kind not in CHANGES + OF_PEOPLE:
            self._report(f"fault: {kind.replace('_', ' ')}")
        return True

    def choice(self, choices: Sequence[Choice]) -> Choice:
        """One of several."""
        return self._random.choice(choices)

    def uniform(self, least: float, most: float) -> float:
        """A number between two."""
        return self._random.uniform(least, most)
