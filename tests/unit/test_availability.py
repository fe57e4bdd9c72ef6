"""The arithmetic of availability against cases worked by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.model.health import State, Transition
from popwatch.model.outcomes import ErrorCode
from popwatch.reports.availability import Durations, Period, Span, by_day, by_hour, durations, known_since, spans, total

START = datetime(2026, 10, 1, tzinfo=UTC)
DAY = Period(START, START + timedelta(hours=24))


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def changes(states: str) -> list[Transition]:
    """Transitions written as `up 2 warn 2.5 down 4 up`: states, and the hours at which they change."""
    words = states.split()
    found = []
    for position in range(0, len(words) - 2, 2):
        previous, hour, state = words[position : position + 3]
        time = at(float(hour))
        found.append(Transition(State(previous), State(state), time, None, ErrorCode.TIMED_OUT, "no-greeting"))
    return found


def of(states: str, period: Period = DAY, inconclusive: timedelta = timedelta()) -> Durations:
    found = changes(states)
    last = State(states.rsplit(maxsplit=1)[-1])
    return durations(spans(found, last, found[-1].at if found else at(-100), period), inconclusive)


def test_all_up() -> None:
    """No transition since before the period: up throughout."""
    found = of("up")
    assert (found.up, found.down, found.availability, found.outages) == (hours(24), hours(0), 1.0, ())
    assert (found.mttr, found.mtbf) == (None, None)


def test_an_outage_begins_with_its_first_failed_test() -> None:
    """Warn at 2:00, down at 2:30, up at 4:00: two hours down, by the error that made it down."""
    found = of("up 2 warn 2.5 down 4 up")
    assert (found.up, found.down) == (hours(22), hours(2))
    assert found.availability == pytest.approx(22 / 24)
    [outage] = found.outages
    assert (outage.begin, outage.end, outage.down) == (at(2), at(4), hours(2))
    assert (outage.error, outage.reason) == ("timed-out", "no-greeting")
    assert (outage.begun_before, outage.goes_on) == (False, False)
    assert (found.mttr, found.mtbf) == (hours(2), hours(22))


def test_failures_that_never_reach_down_count_as_up() -> None:
    """A quarter of an hour in warn is shown separately, and is not an outage."""
    found = of("up 2 warn 2.25 up")
    assert (found.up, found.down, found.outages) == (hours(24), hours(0), ())
    assert (found.brief, found.brief_failures) == (hours(0.25), 1)


def test_lost_is_down() -> None:
    """An outage goes on after its last alert."""
    found = of("up 1 warn 2 down 3 lost 9 up")
    assert (found.down, len(found.outages)) == (hours(8), 1)


def test_maintenance_inside_an_outage_is_not_down() -> None:
    """Down from 2 to 10 with maintenance from 4 to 6: six hours down, one outage."""
    found = of("up 2 down 4 maintenance 6 down 10 up")
    assert (found.down, found.maintenance, found.up) == (hours(6), hours(2), hours(16))
    [outage] = found.outages
    assert (outage.begin, outage.end, outage.down) == (at(2), at(10), hours(6))


def test_maintenance_that_ends_well_ends_the_outage() -> None:
    """The first judged test after maintenance passed."""
    found = of("up 2 down 4 maintenance 6 up")
    assert (found.down, found.maintenance, found.up) == (hours(2), hours(2), hours(20))


@pytest.mark.parametrize(
    ("ended", "down", "maintenance", "up"),
    [(3, 1, 2, 21), (4, 2, 2, 20), (5, 2, 2, 20), (6, 2, 2, 20), (6.5, 2.5, 2, 19.5)],
)
def test_outage_ends_with_the_first_of_several_passes(ended: float, down: float, maintenance: float, up: float) -> None:
    """Down from 2, in maintenance from 4 to 6, up since 7: the passed test that ended it may lie anywhere before."""
    *before, last = changes("up 2 down 4 maintenance 6 down 7 up")
    found = durations(spans([*before, replace(last, run_ended_at=at(ended))], State.UP, at(7), DAY))
    assert (found.down, found.maintenance, found.up) == (hours(down), hours(maintenance), hours(up))
    [outage] = found.outages
    assert (outage.begin, outage.end) == (at(2), at(ended))


def test_maintenance_of_a_healthy_target_counts_as_nothing() -> None:
    """Neither up nor down."""
    found = of("up 2 maintenance 5 up")
    assert (found.up, found.maintenance, found.availability) == (hours(21), hours(3), 1.0)


def test_outage_across_both_edges() -> None:
    """Down since before the period and until after it: cut at the edges, and said so."""
    found = of("up -5 warn -4 down 30 up")
    assert (found.down, found.availability) == (hours(24), 0.0)
    [outage] = found.outages
    assert (outage.begun_before, outage.goes_on) == (True, True)


def test_outage_that_goes_on() -> None:
    """Down at 20:00 and not up yet: four hours so far."""
    found = of("up 19 warn 20 down")
    [outage] = found.outages
    assert (outage.down, outage.goes_on) == (hours(5), True)


def test_what_is_not_known_is_untested() -> None:
    """A target added at noon has no availability before it."""
    found = of("untested 12 up")
    assert (found.untested, found.up, found.availability) == (hours(12), hours(12), 1.0)
    never = durations(spans([], State.UNTESTED, None, DAY))
    assert (never.untested, never.availability) == (hours(24), None)


def test_a_state_lasts_as_long_as_its_transition_says() -> None:
    """The transition that began it has expired, but the one that ended it says when that was."""
    change = Transition(State.UP, State.WARN, at(12), hours(4))
    found = durations(spans([change], State.WARN, at(12), DAY))
    assert (found.untested, found.up, found.brief) == (hours(8), hours(16), hours(12))


def test_a_state_without_transitions_is_known_since_it_began() -> None:
    """The transition that made it up has expired; the record still says since when."""
    found = durations(spans([], State.UP, at(6), DAY))
    assert (found.untested, found.up) == (hours(6), hours(18))


def test_a_target_that_was_removed_and_added_again_is_not_up_in_between() -> None:
    """Even if the removal was not recorded: the record is new, so the time before it is not known."""
    first, again = Transition(State.WARN, State.UP, at(2), hours(1)), Transition(State.UNTESTED, State.UP, at(12))
    found = durations(spans([first, again], State.UP, at(12), DAY))
    assert (found.up, found.untested) == (hours(13), hours(11))
    gone = durations(spans([first], State.UNTESTED, None, DAY))
    assert (gone.up, gone.untested) == (hours(1), hours(23))


def test_what_nobody_watched_is_not_up() -> None:
    """popwatch itself had stopped from 3 to 5 and from 9 to 13; a target that was down before counts as down then."""
    found = changes("up 10 warn 10.5 down 14 up")
    gaps = [(at(9), at(13)), (at(3), at(5)), (at(23), at(30))]
    seen = durations(spans(found, State.UP, at(14), DAY, gaps))
    assert (seen.untested, seen.down, seen.up) == (hours(4), hours(4), hours(16))
    assert len(seen.outages) == 1


@pytest.mark.parametrize(("end", "down"), [(2.25, 0.25), (2.5, 0.5), (3, 1), (5, 3)])
def test_failures_that_reach_down_after_the_period_are_an_outage(end: float, down: float) -> None:
    """Warn from 2, in maintenance or not at the end of the period, down since: not a brief failure."""
    period = Period(START, at(end))
    for history in ("up 2 warn 5 down", "up 2 warn 5 down 9 up", "up 2 warn 6 maintenance 7 warn 8 down"):
        found = of(history, period)
        assert (found.down, found.up, found.brief_failures) == (hours(down), hours(2), 0)
        [outage] = found.outages
        assert (outage.begin, outage.end, outage.goes_on, outage.error) == (at(2), at(end), True, "")
        steps = by_hour(spans(changes(history), State.DOWN, at(5), period))
        assert steps[2][1] == {"down": min(down, 1) * 3600}


@pytest.mark.parametrize("history", ["up 2 warn", "up 2 warn 5 up 6 warn 7 down", "up 2 warn 5 suspended 6 up 7 down"])
def test_failures_that_did_not_reach_down_after_the_period_are_brief(history: str) -> None:
    """Nothing more is known yet, or the run ended: what failed after that is another one."""
    found = of(history, Period(START, at(3)))
    assert (found.up, found.brief, found.brief_failures, found.outages) == (hours(3), hours(1), 1, ())


@pytest.mark.parametrize("begin", [2.25, 2.5, 3, 4, 5, 6, 7])
@pytest.mark.parametrize(
    "history", ["up 2 warn 2.5 down 4 maintenance 6 down 10 up", "up 2 warn 4 maintenance 6 down 10 up"]
)
def test_an_outage_that_began_before_the_period_begins_with_it(begin: float, history: str) -> None:
    """In maintenance too, and where the period begins with a transition of the run."""
    [outage] = of(history, Period(at(begin), at(24))).outages
    assert (outage.begin, outage.begun_before, outage.end) == (at(begin), True, at(10))
    assert outage.down == hours(10 - begin) - max(timedelta(), min(hours(2), hours(6 - begin)))


@pytest.mark.parametrize("passed", [4.5, 5.5, None])
def test_an_outage_after_a_maintenance_that_began_well_did_not_begin_before(passed: float | None) -> None:
    """The period begins at 5; the run before had ended at 4:30 or 5:30, or there was none."""
    before, ended = "up 2 down 4" if passed else "up 4", at(passed) if passed else None
    known = [
        replace(change, run_ended_at=ended if change.at == at(6) else None)
        for change in changes(f"{before} maintenance 6 down 10 up")
    ]
    [outage] = durations(spans(known, State.UP, at(10), Period(at(5), at(24)))).outages
    assert (outage.begin, outage.begun_before) == (at(6), False)


def test_maintenance_alone_is_not_an_outage() -> None:
    """A period that lies in the maintenance of an outage has no outage, nor a brief failure."""
    found = of("up 2 down 4 maintenance 6 down 10 up", Period(at(4.5), at(5.5)))
    assert (found.maintenance, found.outages, found.brief_failures) == (hours(1), (), 0)


def test_an_outage_that_begins_with_the_period_did_not_begin_before() -> None:
    """Its transition is at the begin of the period, which belongs to the period."""
    [outage] = of("up 0 down 4 up").outages
    assert (outage.begin, outage.begun_before, outage.reason) == (at(0), False, "no-greeting")


def test_suspension_ends_an_outage() -> None:
    """Suspended while down: its state is not known from then on."""
    found = of("up 2 down 4 suspended 10 up")
    assert (found.down, found.suspended, found.up) == (hours(2), hours(6), hours(16))


def test_inconclusive_time_is_taken_from_up() -> None:
    """Two inconclusive minutes are neither up nor down."""
    found = of("up", inconclusive=timedelta(minutes=2))
    assert (found.up, found.inconclusive) == (hours(24) - timedelta(minutes=2), timedelta(minutes=2))


def test_targets_add_up() -> None:
    """A group's availability is that of its targets' hours together, not the mean of their shares."""
    whole = total([of("up"), of("up 12 down"), of("suspended 23 up 23.5 down")])
    assert whole.availability == pytest.approx((24 + 12 + 0.5) / (24 + 24 + 1))
    assert len(whole.outages) == 2


@given(
    st.lists(st.tuples(st.sampled_from([*State]), st.floats(-30, 60)), max_size=15),
    st.lists(st.tuples(st.floats(-30, 60), st.floats(0, 9)), max_size=4),
    st.none() | st.floats(0, 20),
)
def test_times_are_the_whole_period(
    history: list[tuple[State, float]], gaps: list[tuple[float, float]], lasted: float | None
) -> None:
    """Whatever happened, every second of the period is counted exactly once."""
    history = sorted(history, key=lambda it: it[1])
    states = [State.UP, *(state for state, _ in history)]
    length = None if lasted is None else hours(lasted)
    found = [
        Transition(previous, state, at(hour), length) for previous, (state, hour) in zip(states, history, strict=False)
    ]
    unwatched = [(at(begin), at(begin + length)) for begin, length in gaps]
    cut = spans(found, states[-1], found[-1].at if found else None, DAY, unwatched)
    assert all(before.end == after.begin for before, after in pairwise(cut))
    result = durations(cut, timedelta(minutes=1))
    parts = (result.up, result.down, result.maintenance, result.untested, result.suspended, result.inconclusive)
    assert sum(parts, timedelta()) == DAY.length
    assert min(parts) >= timedelta()


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", {"2026-10-24": 2, "2026-10-25": 24, "2026-10-26": 6}),
        ("Europe/Berlin", {"2026-10-25": 25, "2026-10-26": 7}),
        ("Asia/Kolkata", {"2026-10-25": 20.5, "2026-10-26": 11.5}),
        ("America/Los_Angeles", {"2026-10-24": 9, "2026-10-25": 23}),
    ],
)
def test_a_day_is_that_of_its_zone(zone: str, days: dict[str, float]) -> None:
    """From midnight to midnight there, 25 hours where the clocks are put back."""
    begin = datetime(2026, 10, 24, 22, tzinfo=UTC)
    found = by_day([Span(begin, begin + hours(32), State.UP)], ZoneInfo(zone))
    assert {f"{day:%Y-%m-%d}": seconds for day, seconds in found} == {
        day: {"up": count * 3600} for day, count in days.items()
    }


@given(
    st.integers(0, 700 * 24 * 60).map(lambda minutes: DAY.begin + timedelta(minutes=minutes)),
    st.sampled_from(
        ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut", "Asia/Kathmandu")
    ),
    st.integers(1, 200_000),
)
def test_days_and_hours_lose_nothing(begin: datetime, zone: str, length: int) -> None:
    """Their seconds are those of the spans, and none is longer than it can be, wherever clocks change."""
    found = [Span(begin, begin + timedelta(seconds=length), State.UP)]
    for parts, most in ((by_day(found, ZoneInfo(zone)), 25), (by_hour(found, ZoneInfo(zone)), 1)):
        assert sum(seconds["up"] for _, seconds in parts) == pytest.approx(length)
        assert max(seconds["up"] for _, seconds in parts) <= most * 3600 + 0.001


def test_hours_count_as_days_do() -> None:
    """What failed briefly is up, what reached down is down; known is what is not untested at first."""
    found = [
        Span(at(0), at(1.5), State.UNTESTED),
        Span(at(1.5), at(2), State.UP),
        Span(at(2), at(2.25), State.WARN),
        Span(at(2.25), at(2.5), State.UP),
        Span(at(2.5), at(3.25), State.DOWN),
    ]
    assert by_hour(found) == [
        (at(0), {"untested": 3600.0}),
        (at(1), {"untested": 1800.0, "up": 1800.0}),
        (at(2), {"up": 1800.0, "down": 1800.0}),
        (at(3), {"down": 900.0}),
    ]
    assert known_since(found) == at(1.5)
    assert known_since(found[:1]) is None
