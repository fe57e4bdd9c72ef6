"""The longest time to the first alert: what popwatch states, beside what random outages took.

Installations of 12 targets are simulated by the campaign's clock (tests/chaos), without faults of AWS. Delays are from
10 to 300 s, deadlines from 2 to 30 s, `failures_per_alert` from 1 to 12. Each tick comes at any second of its minute;
in every second installation at the first or the last, by turns without any order. Each server fails now and then, at a
random time, by giving no answer until the deadline. Measured is the time from then until SNS has taken the alert;
stated is `longest_time_to_alert`, which `targets show`, `simulate` and the page show.
"""

import logging
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from popwatch.aws.items import to_item
from popwatch.decisions.judging import TICK
from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.targets import Target, parse_target
from tests.chaos import facts
from tests.chaos.faults import Faults, Rates
from tests.chaos.people import Configured
from tests.chaos.world import MINUTE, World

OUTAGES = 10_000
HOURS = 24.0
"""Of one installation; each has other policies."""

DELAYS = (10, 15, 20, 30, 45, 59, 60, 90, 120, 300)
DEADLINES = (2, 5, 10, 20, 30)
REST_SECONDS = 900.0
"""Beside the stated time, for the alert of an outage that took longer, and for the recovery after it."""


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage: seconds from its beginning to its alert, None if there was none, and those that were stated.

    `lost_ticks` never came in that time, each of which may cost a minute beside what is stated.
    """

    target: Target
    began: datetime
    stated: float
    took: float | None = None
    lost_ticks: int = 0

    @property
    def share(self) -> float:
        """Of the stated time, and a minute for each lost tick."""
        return self.took / (self.stated + self.lost_ticks * MINUTE) if self.took is not None else float("inf")


@dataclass(slots=True)
class TimesToAlert(World):
    """An installation whose servers fail now and then."""

    targets: dict[str, Target] = field(default_factory=dict)
    failed: list[Outage] = field(default_factory=list)
    lost: list[datetime] = field(default_factory=list)
    at_edges: bool = False

    def play(self) -> list[Outage]:
        """Its outages, each with the time to its alert."""
        self.engine.run(HOURS * 60 * MINUTE)
        self.close()
        sent: dict[str, list[datetime]] = {}
        for fact, at in zip(self.evidence.facts, self.evidence.times, strict=True):
            if isinstance(fact, facts.Sent) and fact.topic == "alert":
                for alert in fact.alerts:
                    if (alert.event, alert.number) == ("down", 1):
                        sent.setdefault(alert.target, []).append(at)
        return [self._alerted(outage, sent.get(outage.target.target_id, ())) for outage in self.failed]

    def _alerted(self, outage: Outage, sent: Iterable[datetime]) -> Outage:
        first = next((at for at in sent if at >= outage.began), None)
        if first is None:
            return outage
        lost = sum(outage.began - TICK < tick <= first for tick in self.lost)
        return replace(outage, took=(first - outage.began).total_seconds(), lost_ticks=lost)

    def _add_target(self, name: str, faults: Faults) -> None:
        policy = facts.Policy(
            max_alerts=1,  # one message for each outage: more would soon be too many
            alert_recovery=False,
            failures_per_alert=faults.choice(range(1, 13)),
            delay_up=faults.choice(DELAYS),
            delay_warn=faults.choice(DELAYS),
            delay_down=faults.choice(DELAYS),
        )
        known = Configured(policy)
        item = known.item(
            name, len(self.policies), host=f"{name}.example.net", max_test_seconds=faults.choice(DEADLINES)
        )
        World._add_target(self, name, faults)
        self.configured[name], self.policies[-1] = known, known
        item["tags"] = [str(len(self.policies) - 1)]
        self.tables.by_name["Targets"].put(to_item(item), self.engine.now)
        self.targets[name] = parse_target(item, {})
        self._fail_later(name, faults)

    def _minute(self) -> None:
        """Once a minute: a tick at any of its seconds, unless it is lost."""
        minute, faults = self.ticks * MINUTE, self._faults(f"minute {self.ticks}")
        self.ticks += 1
        self.engine.at(self.engine.now + MINUTE, self._minute)
        second = faults.choice([0.0, 59.0]) if self.at_edges else faults.uniform(0.0, 59.0)
        if faults.occurs("tick_lost"):
            self.lost.append(self.time_of(minute))
        else:
            self.engine.at(minute + second, partial(self._invoke_tick, self.time_of(minute)))

    def _fail_later(self, name: str, faults: Faults) -> None:
        policy = self.targets[name].policy  # by then the recovery before has been seen
        wait = 2 * max(policy.delay_up, policy.delay_down, policy.delay_lost, MINUTE) + faults.uniform(60.0, 900.0)
        self.engine.at(self.engine.now + wait, partial(self._fail, name, faults))

    def _fail(self, name: str, faults: Faults) -> None:
        target = self.targets[name]
        stated = longest_time_to_alert(target.policy, target.max_test_seconds).total_seconds()
        ends = self.engine.now + stated + REST_SECONDS
        if ends < HOURS * 60 * MINUTE:
            self.servers[name].answers = False
            self.failed.append(Outage(target, self.now(), stated))
            self.engine.at(ends, partial(self._recover, name, faults))

    def _recover(self, name: str, faults: Faults) -> None:
        self.servers[name].answers = True
        self._fail_later(name, faults)


def outages(count: int, lost_ticks: float = 0.0, number: int = 0) -> list[Outage]:
    """So many outages, of as many installations as it takes from the one with a number on.

    `lost_ticks` is the share of ticks that never come. They come at the edges of their minute where the number is odd.
    """
    found: list[Outage] = []
    fault_rates = {**dict.fromkeys(Rates.__slots__, 0.0), "tick_lost": lost_ticks}
    while len(found) < count:
        found += TimesToAlert(f"notice {number}", fault_rates=fault_rates, at_edges=number % 2 == 1).play()
        number += 1
    return found[:count]


def report(found: Sequence[Outage]) -> None:
    """Print how the outages compare with what was stated, and the worst of them."""
    late = [outage for outage in found if outage.share > 1]
    shares = [outage.share for outage in found]
    print(f"{len(found):,} outages, {len(late):,} of them alerted later than stated")
    print(f"share of the stated time: median {statistics.median(shares):.2f}, greatest {max(shares):.2f}")
    print(f"{'up':>5}{'warn':>6}{'deadline':>10}{'failures':>10}{'stated s':>10}{'took s':>9}   the worst")
    for outage in sorted(found, key=lambda one: -one.share)[:10]:
        policy = outage.target.policy
        took = "none" if outage.took is None else f"{outage.took:.1f}"
        print(
            f"{policy.delay_up:>5}{policy.delay_warn:>6}{outage.target.max_test_seconds:>10.0f}"
            f"{policy.failures_per_alert:>10}{outage.stated:>10.0f}{took:>9}"
        )


def main() -> None:
    """Simulate them, and print the report."""
    logging.disable()
    report(outages(OUTAGES))


if __name__ == "__main__":
    main()
