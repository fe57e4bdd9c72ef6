"""An outage is alerted within the time that popwatch states."""

import pytest

from tests.bench.bench_time_to_alert import Outage, outages


def late(found: list[Outage]) -> list[Outage]:
    return [outage for outage in found if outage.share > 1]


@pytest.mark.long
@pytest.mark.parametrize("installation", [0, 1, 43])
def test_no_outage_is_alerted_later_than_stated(installation: int) -> None:
    """Random delays, deadlines and ticks; `make bench BENCH=time_to_alert` does the same with 10,000 outages."""
    assert late(outages(150, number=installation)) == []


@pytest.mark.long
@pytest.mark.parametrize("installation", [0, 1])
def test_each_lost_tick_costs_a_minute_at_most(installation: int) -> None:
    """A tick of ten never comes: what is stated, and a minute for each that was lost before the alert."""
    found = outages(150, lost_ticks=0.1, number=installation)
    assert late(found) == []
    assert sum(outage.lost_ticks > 0 for outage in found) > 40
