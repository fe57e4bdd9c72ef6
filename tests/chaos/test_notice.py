"""People hear of an outage within the time that popwatch states."""

from tests.bench.bench_notice import outages


def test_no_outage_is_alerted_later_than_stated() -> None:
    """Random delays, deadlines and ticks; `make bench BENCH=notice` does the same with 10,000 outages."""
    found = outages(300)
    late = [outage for outage in found if outage.took is None or outage.took > outage.stated]
    assert not late, late[0]
