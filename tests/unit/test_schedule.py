"""What is due when: slots, retests, missed ticks, batches."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popwatch.decisions.judging import TICK
from popwatch.decisions.schedule import (
    LARGEST_BATCH,
    batch_count,
    batch_of,
    chunks,
    digest_of,
    is_due,
    is_stale,
    late_seconds_of,
    longest_time_to_alert,
    next_due,
    next_slot,
    next_test_by,
    retest_at,
)
from popwatch.model.health import Health, State
from popwatch.model.targets import Policy

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POLICY = Policy()
UP = Health(State.UP, since=NOON)


def ticks(count: int) -> list[datetime]:
    return [NOON + TICK * step for step in range(1, count + 1)]


def due_ticks(name: str, policy: Policy, count: int) -> list[datetime]:
    """The ticks at which an up target is due when every tick is completed."""
    return [
        tick
        for tick in ticks(count)
        if next_due(name, UP, policy, tested_tick=None, after=tick - TICK, tick=tick) == tick
    ]


@given(st.text(min_size=1, max_size=40), st.integers(10, 7200))
def test_up_target_is_tested_once_per_delay(name: str, delay: int) -> None:
    """Over six hours an up target is due as often as its delay says, at most once a tick."""
    expected = min(6 * 60, 6 * 3600 // delay)
    assert abs(len(due_ticks(name, replace(POLICY, delay_up=delay), 6 * 60)) - expected) <= 1


@given(st.text(min_size=1, max_size=40), st.integers(10, 7200))
def test_next_test_of_an_up_target_is_not_later_than_its_alert_says(name: str, delay: int) -> None:
    """A delay of 90 s ends at a tick, up to 120 s later; one below a minute is kept by a retest."""
    policy = replace(POLICY, delay_up=delay)
    promised = next_test_by(UP, policy, NOON)
    due = retest_at(UP, policy, NOON, NOON + TICK) or due_ticks(name, policy, 122)[0]
    assert due <= promised
    failing = replace(UP, state=State.WARN, next_test_at=NOON + timedelta(seconds=delay))
    assert next_test_by(failing, policy, NOON) == failing.next_test_at


def test_slots_of_a_fleet_are_spread() -> None:
    """Of 500 targets tested every five minutes, no tick gets more than twice its share."""
    policy = replace(POLICY, delay_up=300)
    by_tick = [sum(tick in due_ticks(f"t{n}", policy, 5) for n in range(500)) for tick in ticks(5)]
    assert sum(by_tick) == 500
    assert max(by_tick) < 200


def test_missed_ticks_are_caught_up() -> None:
    """After a pause every up target with a slot in it is due at the first tick, whatever its delay."""
    policy = replace(POLICY, delay_up=3600)
    names = [f"t{n}" for n in range(100)]
    due = [next_due(n, UP, policy, tested_tick=None, after=NOON - timedelta(hours=1), tick=NOON) for n in names]
    assert due == [NOON] * 100


@pytest.mark.parametrize(
    ("next_test", "due"),
    [(-300, 0), (0, 0), (30, 30), (59, 59), (60, None), (600, None)],
)
def test_failing_target_is_due_at_its_next_test(next_test: int, due: int | None) -> None:
    """It is due now if that time has come, later if it lies before the next tick, else not yet."""
    health = Health(State.WARN, failures=1, next_test_at=NOON + timedelta(seconds=next_test))
    expected = None if due is None else NOON + timedelta(seconds=due)
    policy = replace(POLICY, delay_warn=59)
    assert next_due("t", health, policy, tested_tick=None, after=NOON - TICK, tick=NOON) == expected


@pytest.mark.parametrize("delay", [60, 61, 90, 119, 120, 300])
@pytest.mark.parametrize("tested", [0, 15, 45])
def test_a_delay_of_a_minute_or_more_ends_at_a_tick(delay: int, tested: int) -> None:
    """At the first one after it, also where the last test was made between two ticks; and not twice."""
    policy, health = replace(POLICY, delay_warn=delay), Health(State.WARN, failures=1)
    at = NOON + timedelta(seconds=tested)
    due = [
        (tick, next_due("t", health, policy, tested_tick=at, after=tick - TICK, tick=tick))
        for tick in (NOON + number * TICK for number in range(8))
        if tick > at
    ]
    expected = NOON + ceil((tested + delay) / 60) * TICK
    assert next(tick for tick, found in due if found) == expected
    assert all(found in (None, tick) for tick, found in due)
    assert is_due("t", health, policy, at, expected)
    assert not is_due("t", health, policy, at, expected - TICK)


@pytest.mark.parametrize(
    ("delay", "tested", "due"),
    [
        (50, -60, 40),  # the retest of -10 s is in flight: what follows it comes 50 s later
        (50, -70, 30),
        (45, -90, 0),  # and that of -45 s
        (45, -100, 35),
        (30, -60, 0),
        (59, -60, 58),
        (50, -300, 0),  # a retest of 250 s ago has been lost
        (60, -90, 0),  # no retest: left to this tick
        (300, -400, 0),
    ],
)
def test_a_tick_plans_what_follows_a_retest_in_flight(delay: int, tested: int, due: int) -> None:
    """A test at the tick itself would be the second within the delay, and not count."""
    policy, health = replace(POLICY, delay_warn=delay), Health(State.WARN, failures=1)
    at = NOON + timedelta(seconds=tested)
    planned = next_due("t", health, policy, tested_tick=at, after=NOON - TICK, tick=NOON)
    assert planned == NOON + timedelta(seconds=due)


@given(st.integers(10, 59), st.integers(1, 119), st.integers(0, 59))
def test_the_chain_goes_on_from_either_end(delay: int, tested: int, at: int) -> None:
    """What a tick plans beside a retest in flight is due once that has been judged, and if it never is."""
    policy, health = replace(POLICY, delay_warn=delay), Health(State.WARN, failures=1)
    before = NOON - timedelta(seconds=tested)
    planned = next_due("t", health, policy, tested_tick=before, after=NOON - TICK, tick=NOON)
    if planned is None:
        return
    retests = [before + timedelta(seconds=delay * number) for number in range(1, 13)]
    assert planned in retests
    assert NOON <= planned < NOON + TICK
    for judged in (before, *(retest for retest in retests if retest < planned)):
        assert is_due("t", health, policy, judged, planned)
    assert not is_due("t", health, policy, NOON + timedelta(seconds=at), NOON)


def test_shortened_delay_takes_effect_at_once() -> None:
    """A lost target whose user shortens the delay need not wait for the old one."""
    health = Health(State.LOST, failures=9, next_test_at=NOON + timedelta(days=1))
    policy = replace(POLICY, delay_lost=60)
    assert next_due("t", health, policy, tested_tick=NOON - TICK, after=NOON - TICK, tick=NOON) == NOON


@pytest.mark.parametrize("state", [State.UNTESTED, State.SUSPENDED])
def test_new_and_resumed_targets_are_due_at_once(state: State) -> None:
    """The first test of a target with `delay_up: 86400` does not wait a day."""
    policy = replace(POLICY, delay_up=86_400)
    assert next_due("t", Health(state), policy, tested_tick=None, after=NOON - TICK, tick=NOON) == NOON


def test_disabled_target_is_never_due() -> None:
    """A suspended target is not tested in any state."""
    policy = replace(POLICY, enabled=False)
    due = [next_due("t", Health(state), policy, tested_tick=None, after=NOON - TICK, tick=NOON) for state in State]
    assert due == [None] * len(State)


def test_judged_tick_is_not_due_again() -> None:
    """The tick that was judged, and any before it, are over; the next one is due."""
    health = Health(State.WARN, failures=1, next_test_at=NOON + TICK)
    assert not is_due("t", health, POLICY, NOON, NOON)
    assert not is_due("t", health, POLICY, NOON, NOON - TICK)
    assert is_due("t", health, POLICY, NOON, NOON + TICK)


def test_retest_ends_at_the_next_tick() -> None:
    """A delay of 30 s leads to a test at 0:30 and leaves 1:00 to the next tick."""
    policy = replace(POLICY, delay_warn=30)
    warn = Health(State.WARN, failures=1)
    half = NOON + timedelta(seconds=30)
    assert retest_at(warn, policy, NOON, NOON + TICK) == half
    assert retest_at(warn, policy, half, NOON + TICK) is None


def test_stale_after_the_delay() -> None:
    """A test that comes after its target's next one is due has been overtaken; a daily one has not."""
    assert is_stale(UP, POLICY, NOON, NOON + TICK)
    assert not is_stale(UP, POLICY, NOON, NOON + timedelta(seconds=59))
    assert not is_stale(UP, replace(POLICY, delay_up=86_400), NOON, NOON + timedelta(hours=23))


@pytest.mark.parametrize(("fleet", "count"), [(0, 1), (1, 1), (800, 1), (801, 2), (1600, 2), (1601, 4), (100_000, 128)])
def test_batch_count(fleet: int, count: int) -> None:
    """The number of batches is the smallest power of two that keeps them at 800 or fewer."""
    assert batch_count(fleet) == count


def test_batches_are_even() -> None:
    """Targets fall into batches about evenly, so no batch grows past what one process can hold."""
    sizes = [0] * 8
    for n in range(8 * LARGEST_BATCH):
        sizes[batch_of(f"mail-{n}.example.net", 8)] += 1
    assert max(sizes) < 900


def test_batch_splits_in_two_when_the_number_doubles() -> None:
    """Doubling the batches cuts each in two, so a reader knows where a target's older samples lie."""
    for n in range(200):
        assert batch_of(f"t{n}", 16) % 8 == batch_of(f"t{n}", 8)


def test_the_digest_is_of_the_set() -> None:
    """A set of targets has one name in any order, and another set another."""
    assert digest_of(["a", "b"]) == digest_of(["b", "a"]) != digest_of(["a", "c"])


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], []),
        ([5], [[5]]),
        ([500], [[500]]),
        ([40, 40, 40], [[40, 40], [40]]),
        ([50, 50], [[50, 50]]),
        ([1, 500, 99, 1, 1], [[1], [500], [99, 1], [1]]),
    ],
)
def test_chunks(sizes: list[int], parts: list[list[int]]) -> None:
    """As many as fit come together, and one above the limit comes alone; each size is read once."""
    once = iter(sizes)
    assert [sizes[some] for some in chunks(once, 100)] == parts


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (Policy(), 60 + 2 * 60 + 60 + 10),
        (Policy(failures_per_alert=1), 60 + 60 + 10),
        (Policy(delay_warn=20), 60 + 2 * 20 + 60 + 10),
        (Policy(delay_up=90, delay_warn=70), 120 + 2 * 120 + 60 + 10),
        (Policy(failures_per_alert=1, depends_on=("gateway",)), 60 + 60 + 60 + 10),
        (Policy(login="monitor"), 300 + 2 * 60 + 60 + 10),
        (Policy(login="monitor", login_every=100), 120 + 2 * 60 + 60 + 10),
        (Policy(login="monitor", delay_up=600), 600 + 2 * 60 + 60 + 10),
    ],
)
def test_longest_time_to_alert(policy: Policy, seconds: int) -> None:
    """The delay while up, those in warn, a tick that comes late in its minute, and the last test's deadline."""
    assert longest_time_to_alert(policy, 10) == timedelta(seconds=seconds)


def test_a_retest_waits_for_the_end_of_the_test_before_it() -> None:
    """With a deadline above the delay, a silent server is tested as often as deadline and queue allow."""
    assert longest_time_to_alert(Policy(delay_warn=20), 45) == timedelta(seconds=60 + 2 * (45 + 1) + 60 + 45)


@pytest.mark.parametrize("failures", range(1, 6))
@pytest.mark.parametrize("deadline", [2, 5, 10, 20, 30])
def test_longest_time_to_alert_is_what_its_tests_take(deadline: int, failures: int) -> None:
    """A test in each delay, or one after the other where each takes longer; nothing above that, for any delays."""
    for up, warn in product([10, 15, 20, 30, 45, 59, 60, 90, 120, 300], repeat=2):
        policy = Policy(delay_up=up, delay_warn=warn, failures_per_alert=failures)
        between = warn if warn < 60 else 60 * ceil(warn / 60)
        by_delays = 60 * ceil(up / 60) + (failures - 1) * between + 60 + deadline
        one_after_the_other = 60 * ceil(up / 60) + 60 + (failures - 1) * (deadline + 1) + deadline
        longest = longest_time_to_alert(policy, deadline).total_seconds()
        assert longest == max(by_delays, one_after_the_other)
        assert longest == by_delays or deadline >= warn


@pytest.mark.parametrize(
    ("delay", "elapsed", "due"),
    [
        (10, 0, 10),
        (10, 15, 10),  # late already, and the only one that is
        (10, 30.2, 30),  # those of 10 and 20 s were not possible
        (20, 30.2, 20),
        (30, 30.2, 30),
        (59, 59.5, 59),  # the next tick has come, and takes it for one in flight
        (20, 60.2, None),
        (60, 0, None),
    ],
)
def test_a_long_test_is_followed_by_the_one_whose_time_has_come(delay: int, elapsed: float, due: int | None) -> None:
    """A silent server on a delay shorter than the deadline: no queue of tests builds up, and no time is left out."""
    policy, health = replace(POLICY, delay_warn=delay), Health(State.WARN, failures=1)
    found = retest_at(health, policy, NOON, NOON + TICK, timedelta(seconds=elapsed))
    assert found == (None if due is None else NOON + timedelta(seconds=due))


@pytest.mark.parametrize(
    ("delay", "own", "late", "expected"),
    [
        (30, 2, 2, 2),
        (30, 4, 2, 2),
        (30, 31, 2, 2),
        (30, 32, 2, 32),  # a test of this tick would overtake the retest of the late one before it
        (30, 59, 1, 59),
        (30, 8, 59, 8),
        (30, 49, 59, 49),
        (30, 50, 59, 59),
        (30, 121, 1, 1),  # no tick is so late
        (30, -20, 1, 1),
        (60, 59, 1, 1),
        (10, 12, 2, 12),
    ],
)
def test_retests_keep_the_lateness_of_their_first(delay: int, own: int, late: int, expected: int) -> None:
    """Whichever tick plans them; those that overtake no other come with the rest."""
    policy, health = replace(POLICY, delay_warn=delay), Health(State.WARN, failures=1)
    began, tick = NOON + timedelta(seconds=own), NOON + timedelta(minutes=1)
    assert late_seconds_of(health, policy, NOON, began, tick, late_seconds=late, max_test_seconds=10) == expected
    assert late_seconds_of(UP, policy, NOON, began, tick, late_seconds=late, max_test_seconds=10) == late
    assert late_seconds_of(health, policy, None, None, tick, late_seconds=late, max_test_seconds=10) == late


@pytest.mark.parametrize(
    ("own", "late", "deadline", "expected"),
    [
        (1, 0, 20, 50),  # the tick before this came 50 seconds late, or just now: its tests are to come
        (1, 0, 45, 0),  # or the test is in flight
        (40, 0, 10, 40),
        (1, 30, 20, 60),  # no tick is later than a minute
        (1, 59, 20, 59),
    ],
)
def test_retests_are_as_late_as_the_tick_that_plans_the_one_in_flight(
    own: int, late: int, deadline: float, expected: int
) -> None:
    """Two ticks may come a second apart: the second must not plan what would overtake the retests of the first."""
    policy, health = replace(POLICY, delay_warn=30), Health(State.WARN, failures=1)
    tested, tick = NOON + timedelta(seconds=40), NOON + timedelta(minutes=2)
    began = tested + timedelta(seconds=own)
    found = late_seconds_of(health, policy, tested, began, tick, late_seconds=late, max_test_seconds=deadline)
    assert found == expected


def test_a_delay_shorter_than_a_test_leaves_the_next_one_to_the_tick() -> None:
    """The test of 0:40 takes 20 s, so that the next is the tick's of 1:00, which was late; that of 2:00 comes early."""
    policy, health = replace(POLICY, delay_warn=10), Health(State.WARN, failures=1)
    tested, tick = NOON + timedelta(seconds=40), NOON + timedelta(minutes=2)
    began = tested + timedelta(seconds=15)
    for deadline, expected in ((20, 60), (10, 13)):
        assert (
            late_seconds_of(health, policy, tested, began, tick, late_seconds=13, max_test_seconds=deadline) == expected
        )


def test_a_tick_makes_tests_itself_where_messages_are_lost() -> None:
    """A target that is kept late is tested by messages; if none has led to a test for minutes, it waits for no more."""
    health, policy = Health(State.WARN, failures=1), replace(POLICY, delay_warn=10)
    began = NOON + timedelta(seconds=85)
    found = [
        late_seconds_of(
            health, policy, NOON, began, NOON + timedelta(minutes=minute), late_seconds=5, max_test_seconds=10
        )
        for minute in range(2, 6)
    ]
    assert found == [85, 85, 5, 5]


def test_update_of_popwatch_moves_nothing() -> None:
    """The batch of a target, its slots and the name of a set stay the same from version to version."""
    assert batch_of("mail.example.net", 1024) == 752
    assert next_slot("mail.example.net", 86_400, NOON) == datetime(2026, 11, 24, 11, 29, 39, tzinfo=UTC)
    assert digest_of(["mail.example.net", "pop.example.net"]) == "ddd323ea"


@pytest.mark.parametrize("delay", [60, 90, 3600])
def test_slots_lie_a_delay_apart_to_the_second(delay: int) -> None:
    """The slot after a slot is one delay later, and the one after the second before it is that slot."""
    slot = next_slot("t", delay, NOON)
    assert NOON < slot <= NOON + timedelta(seconds=delay)
    assert slot.microsecond == 0
    assert next_slot("t", delay, slot) == slot + timedelta(seconds=delay)
    assert next_slot("t", delay, slot - timedelta(seconds=1)) == slot


def test_id_that_is_not_text_has_a_batch() -> None:
    """A lone surrogate, which JSON can carry, stops no sweep."""
    assert batch_of("mail-\ud800", 8) in range(8)


def test_up_target_may_be_judged_at_its_own_slots_only() -> None:
    """A test planned for a tick is judged if the target's own slot lies in that minute, and once."""
    policy = replace(POLICY, delay_up=300)
    slots = {name: next_slot(name, 300, NOON) for name in ("a", "b", "c")}
    for name, slot in slots.items():
        due = [tick for tick in ticks(5) if is_due(name, UP, policy, None, tick)]
        assert due == [tick for tick in ticks(5) if tick - TICK < slot <= tick]
        assert not is_due(name, UP, policy, due[0], due[0])
    assert len(set(slots.values())) == 3


def test_shortened_delay_counts_for_a_test_that_is_to_be_judged() -> None:
    """By the old delay the next test would have been tomorrow; by the new one it is now."""
    health = Health(State.LOST, failures=9, next_test_at=NOON + timedelta(days=1))
    policy = replace(POLICY, delay_lost=60)
    assert is_due("t", health, policy, NOON - TICK, NOON)


@pytest.mark.parametrize("state", [State.UNTESTED, State.SUSPENDED])
def test_resumed_target_is_due_at_once_however_lately_it_was_tested(state: State) -> None:
    """The time of its earlier test does not count."""
    policy = replace(POLICY, delay_up=86_400)
    assert next_due("t", Health(state), policy, tested_tick=NOON - TICK, after=NOON - TICK, tick=NOON) == NOON
