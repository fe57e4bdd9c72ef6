"""The oracle alone finds mistakes that are planted in `judge`, and those about postures."""

import pytest

from tests.chaos.campaign import Plan
from tests.chaos.oracle_bugs import IN_JUDGE, OF_POSTURES, planted
from tests.chaos.oracle_search import each, found, is_found

USUAL = tuple(Plan(f"postures/{number}", (50.0,), days=True) for number in (1, 2))
SHOWN_BY = {
    "another server compared": Plan("postures/2", (25.0,), days=True),
    "what was so before alerted": Plan("postures/1", (25.0,), days=True),
    "what was not tested forgotten": Plan("postures/0", (25.0,), days=True),
    "posture tested with each test": Plan("postures/0", (6.0,), days=True),
    "posture not kept": Plan("postures/0", (12.0,), days=True),
}
"""Brief installations that show a mistake, tried before the usual ones: without the mistake nothing is wrong there."""


@pytest.mark.parametrize("name", each(IN_JUDGE))
def test_each_mistake_in_judge_is_found_by_the_oracle_alone(name: str) -> None:
    """Within some days of chaos."""
    assert is_found(name)


@pytest.mark.faults
@pytest.mark.parametrize("name", OF_POSTURES)
def test_each_mistake_about_postures_is_found(name: str) -> None:
    """Within some days."""
    first = [SHOWN_BY[name]] if name in SHOWN_BY else []
    with planted(name):
        assert any(found(plan) for plan in (*first, *USUAL))
