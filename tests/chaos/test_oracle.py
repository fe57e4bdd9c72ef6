"""The oracle finds planted mistakes alone, without the model."""

import pytest

from tests.chaos import campaign
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_bugs import ELSEWHERE, IN_JUDGE, planted
from tests.chaos.world import World

HOURS_TO_FIND_A_MISTAKE = 60.0
SOON = ("one failure more", "every second alert dropped")
"""These are found within seconds."""


@pytest.mark.parametrize("name", SOON)
def test_mistakes_are_found_by_the_oracle_alone(name: str) -> None:
    """So a short run is not blind."""
    assert is_found(name)


@pytest.mark.faults
@pytest.mark.parametrize("name", [*IN_JUDGE, *ELSEWHERE])
def test_each_mistake_is_found_by_the_oracle_alone(name: str) -> None:
    """Within some days of chaos."""
    assert is_found(name)


def is_found(name: str) -> bool:
    """Whether the oracle finds a mistake."""
    with planted(name):
        for plan in campaign.plans("oracle", HOURS_TO_FIND_A_MISTAKE):
            world = World(plan.seed)
            world.run(campaign.CHAOS_HOURS, campaign.CALM_HOURS)
            world.close()
            if Oracle(world.evidence.facts, world.evidence.times).run():
                return True
    return False
