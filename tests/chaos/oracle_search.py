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
"""Installations of an hour, which together show most mistakes. They are tried first for all but those below."""

SHOWN_BY = {
    "retests forgotten": Plan("oracle/6", (1.0,)),
    "refusals not counted": Plan("oracle/8", (1.0,)),
    "suspended for ever": Plan("oracle/5", (1.0,)),
    "recovering parent passes": Plan("oracle/19", (1.0,)),
    "cycle holds": Plan("oracle/29", (1.0,)),
    "held back tests pass": Plan("held/1", (campaign.CHAOS_HOURS,)),
    "left behind for ever": Plan("left/61", (campaign.CHAOS_HOURS,)),
    "LOGIN-DELAY ends an outage": Plan("delay/34", (campaign.CHAOS_HOURS,)),
    "recovery not cut off": Plan("oracle/2", (campaign.CHAOS_HOURS,)),
    "change in a recovery": Plan("oracle/2", (campaign.CHAOS_HOURS,)),
    "suspended parent holds": Plan("oracle/4", (campaign.CHAOS_HOURS,)),
    "passed tests in an outage forgotten": Plan("oracle/2", (campaign.CHAOS_HOURS,)),
    "later alerts overtake": Plan("oracle/14", (campaign.CHAOS_HOURS,)),
    "given back, and taken over by no one": Plan("oracle/3", (campaign.CHAOS_HOURS,)),
    "greeting ends an outage of the login": Plan("oracle/30", (campaign.CHAOS_HOURS,)),
    "mailbox in use ends an outage": Plan("oracle/30", (campaign.CHAOS_HOURS,)),
}
"""Mistakes that few installations show, and one that does: without the mistake nothing is wrong there."""

QUICK = ("one failure more", "every second alert dropped", "rejections not counted")
"""These are found within seconds."""


def each(names: Iterable[str]) -> list[Any]:
    """A case for each mistake, of which few are looked for when the suite runs often."""
    return [pytest.param(name, marks=pytest.mark.long if name in QUICK else pytest.mark.faults) for name in names]


def is_found(name: str) -> bool:
    """Whether the oracle finds a mistake."""
    first = [SHOWN_BY[name]] if name in SHOWN_BY else BRIEF
    with planted(name):
        return any(found(plan) for plan in (*first, *campaign.plans("oracle", HOURS_TO_FIND_A_MISTAKE)))


def found(plan: Plan) -> list[Finding]:
    """What the oracle finds in an installation, without the model."""
    world = World(plan.seed, days=plan.days)
    for hours in plan.rounds:
        world.run(hours, plan.calm_hours)
    world.close()
    return Oracle(world.evidence.facts, world.evidence.times).run()
