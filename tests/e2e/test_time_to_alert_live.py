"""An outage is alerted within the time that popwatch states, on the local stack in real time."""

import pytest

from tests.bench.bench_time_to_alert_live import outages

pytestmark = [pytest.mark.local_stack, pytest.mark.faults]


def test_no_outage_on_the_local_stack_is_alerted_later_than_stated() -> None:
    """Ten servers, short delays; `make bench BENCH=time_to_alert_live` does the same with 200 and all delays."""
    found = outages(10, delays=(10, 20, 30, 60), failures=(1, 2, 3), longest=200, within=30)
    assert len(found) == 10
    late = [outage for outage in found if outage.share > 1]
    assert not late, late[0]
