"""Whether the oracle alone finds a mistake that is planted in the product."""

from collections.abc import Iterable
from typing import Any

import pytest

from tests.chaos import campaign
from tests.chaos.campaign import Plan
from tests.chaos.facts import Finding
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_bugs import planted
from tests.chaos.world import World

HOURS_TO_FIND_A_MISTAKE = 240.0

BRIEF = tuple(Plan(f"oracle/{number}", (1.0,)) for number in (2, 0, 7, 3, 1))
"""Installations of an hour, which together show most mistakes. They are tried first."""

SHOWN_BY = {
    "held back tests pass": "held/1",
    "left behind for ever": "left/61",
    "LOGIN-DELAY ends an outage": "delay/34",
    "recovery not cut off": "oracle/2",
    "change in a recovery": "oracle/2",
    "suspended parent holds": "oracle/4",
    "passed tests in an outage forgotten": "oracle/2",
    "later alerts overtake": "oracle/14",
    "given back, and taken over by no one": "oracle/3",
    "greeting ends an outage of the login": "oracle/30",
    "mailbox in use ends an outage": "oracle/30",
}
"""Mistakes that few installations show, and one that does: without the mistake nothing is wrong there."""

SOON = ("one failure more", "every second alert dropped", "rejections not counted")
"""These are found within seconds."""


def each(names: Iterable[str]) -> list[Any]:
    """A case for each mistake, of which few are looked for when the suite runs often."""
    return [pytest.param(name, marks=pytest.mark.long if name in SOON else pytest.mark.faults) for name in names]


def is_found(name: str) -> bool:
    """Whether the oracle finds a mistake."""
    first = [Plan(SHOWN_BY[name], (campaign.CHAOS_HOURS,))] if name in SHOWN_BY else BRIEF
    with planted(name):
        return any(found(plan) for plan in (*first, *campaign.plans("oracle", HOURS_TO_FIND_A_MISTAKE)))


def found(plan: Plan) -> list[Finding]:
    """What the oracle finds in an installation, without the model."""
    world = World(plan.seed, days=plan.days)
    for hours in plan.rounds:
        world.run(hours, plan.calm_hours)
    world.close()
    return Oracle(world.evidence.facts, world.evidence.times).run()
