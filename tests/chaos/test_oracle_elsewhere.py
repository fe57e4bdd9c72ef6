"""The oracle alone finds mistakes that are planted in planning, and in what delivers alerts.

Apart from those in `judge`, since all tests of a file run one after the other.
"""

import pytest

from tests.chaos.oracle_bugs import OUTSIDE_JUDGE
from tests.chaos.oracle_search import each, is_found


@pytest.mark.parametrize("name", each(OUTSIDE_JUDGE))
def test_each_mistake_elsewhere_is_found_by_the_oracle_alone(name: str) -> None:
    """Within some days of chaos."""
    assert is_found(name)
