"""The oracle alone finds mistakes that are planted in `judge`, and those about postures."""

import pytest

from tests.chaos.campaign import Plan
from tests.chaos.oracle_bugs import IN_JUDGE, OF_POSTURES, planted
from tests.chaos.oracle_search import each, found, is_found

HOURS_OF_DAYS = 50.0


@pytest.mark.parametrize("name", each(IN_JUDGE))
def test_each_mistake_in_judge_is_found_by_the_oracle_alone(name: str) -> None:
    """Within some days of chaos."""
    assert is_found(name)


@pytest.mark.faults
@pytest.mark.parametrize("name", OF_POSTURES)
def test_each_mistake_about_postures_is_found(name: str) -> None:
    """Within some days."""
    with planted(name):
        assert any(found(Plan(seed, (HOURS_OF_DAYS,), days=True)) for seed in ("postures/1", "postures/2"))
