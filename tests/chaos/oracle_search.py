"""Whether the oracle alone finds a mistake that is planted in the product."""

from collections.abc import Iterable
from typing import Any

import pytest

from tests.chaos import campaign, postures
from tests.chaos.facts import Finding
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_bugs import planted
from tests.chaos.world import World

HOURS_TO_FIND_A_MISTAKE = 240.0

RARE = {
    "held back tests pass": ["held/1"],
    "left behind for ever": ["left/61"],
    "LOGIN-DELAY ends an outage": ["delay/34"],
}
"""Mistakes that few installations show, and some that do: without the mistake nothing is wrong there."""

SOON = ("one failure more", "every second alert dropped", "rejections not counted")
"""These are found within seconds."""


def each(names: Iterable[str]) -> list[Any]:
    """A case for each mistake, of which few are looked for when the suite runs often."""
    return [pytest.param(name, marks=pytest.mark.long if name in SOON else pytest.mark.faults) for name in names]


def is_found(name: str) -> bool:
    """Whether the oracle finds a mistake."""
    seeds = [plan.seed for plan in campaign.plans("oracle", HOURS_TO_FIND_A_MISTAKE)]
    with planted(name):
        for seed in RARE.get(name, seeds):
            world = World(seed)
            world.run(campaign.CHAOS_HOURS, campaign.CALM_HOURS)
            world.close()
            if Oracle(world.evidence.facts, world.evidence.times).run():
                return True
    return False


def found_in_days(seed: str, hours: float) -> list[Finding]:
    """What the oracle finds in an installation of days."""
    world = World(seed, days=True)
    world.run(hours, postures.CALM_HOURS)
    world.close()
    return Oracle(world.evidence.facts, world.evidence.times).run()
