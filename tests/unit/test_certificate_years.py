"""Simulated years of certificates: no needless warning, and one in time where the renewal is overdue."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.certificate_years import LIFETIMES, healthy_years, table, year

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(("days", "renewal"), list(healthy_years()))
def test_a_year_of_renewals_brings_no_warning(days: int, renewal: str) -> None:
    """Renewed by a program at a half or a third, or by hand 30 or 25 days before it expires."""
    assert year(days, renewal) == []


@pytest.mark.parametrize("every", [HOUR, DAY], ids=["hourly", "daily"])
@pytest.mark.parametrize("days", LIFETIMES)
def test_a_renewal_that_is_overdue_is_warned_of_in_time(days: int, every: timedelta) -> None:
    """With a sixteenth of the lifetime left, or 21 days, and an hour at least, even if tests are a day apart."""
    first, *_ = found = year(days, every=every)
    assert first > max(HOUR, min(days * DAY / 16, 20 * DAY))
    assert first <= min(days * DAY / 4, 21 * DAY)
    assert len(found) <= 3


@pytest.mark.long
def test_the_table_of_the_docs() -> None:
    """`docs/interventions.md` shows the simulated years as they are."""
    page = (Path(__file__).parents[2] / "docs" / "interventions.md").read_text()
    assert "".join(f"    {line}\n" for line in table()) in page
