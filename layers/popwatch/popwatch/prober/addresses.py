"""Tests of every address of a host, and the one outcome they come to."""

from dataclasses import dataclass, field, replace

from popwatch.outcomes import DETAIL_SHOWN, Outcome, clean
from popwatch.targets import Target

MOST_ADDRESSES = 16
"""Addresses of one host that are tested; more would let one name use up the descriptors of all."""


@dataclass(slots=True)
class Party:
    """The tests of one host's addresses that are still under way, and what the others found, by address."""

    target: Target
    missing: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def take(self, outcome: Outcome) -> Outcome | None:
        """Take one address's outcome; the outcome of them all, once it is the last."""
        self.outcomes[outcome.address] = outcome
        self.missing -= 1
        return None if self.missing else combine(list(self.outcomes.values()))


def combine(outcomes: list[Outcome]) -> Outcome:
    """What the tests of all addresses come to: passed if one passed, with those that failed named beside it."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    passed = [outcome for outcome in outcomes if outcome.passed]
    seen = tuple(f"{outcome.address}: {outcome.reason}" for outcome in sorted(failed, key=lambda it: it.address))
    if passed:
        return replace(passed[0], failed_addresses=seen)
    if len(failed) == 1:
        return failed[0]
    return replace(failed[0], detail=clean(f"All {len(failed)} addresses fail. {'; '.join(seen)}.", DETAIL_SHOWN))
