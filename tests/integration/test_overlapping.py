"""Tests that take long, in simulated time: a sweep falls while a retest is in flight, and neither is lost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import cycle
from math import ceil
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.outcomes import ErrorCode, Outcome, Phase
from popwatch.model.records import PublishedAlert
from popwatch.model.targets import Target, parse_target
from tests.chaos.engine import Engine, Killed
from tests.in_memory import Inline
from tests.integration.world import NOON, World

START_SECONDS = 1
"""From a message's time until its invocation begins."""


class SlowWorld(World):
    """A world whose invocations overlap. From `fails_at` on the server is silent, and each test takes its deadline."""

    def __init__(self, fails_at: float) -> None:
        self.engine, self.fails_at = Engine(), fails_at
        self.failed: list[datetime] = []
        super().__init__(endpoint=None, threads=Inline)

    @property
    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.engine.now)

    @now.setter
    def now(self, _: datetime) -> None:
        """Only the engine moves the clock."""

    def outcome(self, target: Target) -> Outcome:
        began = self.now
        if self.engine.now < self.fails_at:
            return Outcome(began, Phase.QUIT, rtt_ms=12.5)
        self.engine.sleep(target.max_test_seconds)
        self.failed.append(self.now)
        return Outcome(began, Phase.GREETING, ErrorCode.TIMED_OUT, "no-greeting", "It said nothing.")

    def run(self, until: float, tick_seconds: Sequence[int]) -> None:
        """Ticks that come at these seconds of their minutes, in turn, and messages a second after their time."""
        for minute, second in zip(range(int(until / 60) + 1), cycle(tick_seconds), strict=False):
            tick = NOON + timedelta(minutes=minute)
            self.engine.at(minute * 60 + second, partial(self._begin, partial(self._do_tick, tick)))
        for second in range(int(until)):
            self.engine.at(second + 0.5, self._receive_due)
        self.engine.run(until)
        self.engine.close()

    def _do_tick(self, tick: datetime) -> None:
        self.sweep().run_tick(tick)

    def _begin(self, invocation: Callable[[], object]) -> None:
        def run() -> None:
            with suppress(Killed):  # the end of the simulation
                invocation()

        self.engine.spawn(run)

    def _receive_due(self) -> None:
        before = self.now - timedelta(seconds=START_SECONDS)
        for message in [message for message in self.queue if message[0] <= before]:
            self.queue.remove(message)
            self._begin(partial(self.do_message, message))

    def first_alert_at(self) -> datetime:
        return min(
            event.what.sent_at for event in self.store.read_events("t") if isinstance(event.what, PublishedAlert)
        )


@contextmanager
def silent_server(
    fails_at: float, until: float, tick_seconds: Sequence[int] = (0,), **fields: Any
) -> Iterator[SlowWorld]:
    """What happens with a target whose server falls silent."""
    with mock_aws():
        world = SlowWorld(fails_at)
        world.put_target("t", name="t", **fields)
        world.run(until, tick_seconds)
        yield world


@pytest.mark.parametrize(
    ("delay", "deadline", "uncounted"), [(50, 48, 0), (45, 45, 0), (31, 30, 0), (59, 59, 1), (30, 25, 0)]
)
def test_every_failed_test_counts(delay: int, deadline: int, uncounted: int) -> None:
    """A silent server on a short delay, its deadline near it: what was tested is what is counted, and in time.

    Where the first test ends as the next tick comes, both plan one of the tests that follow.
    """
    fields: dict[str, Any] = {"delay_warn": delay, "delay_down": delay, "delay_lost": delay}
    fields |= {"max_test_seconds": deadline, "failures_per_alert": 5}
    target = parse_target({"target_id": "t", "host": "pop.example.net", **fields})
    longest = longest_time_to_alert(target.policy, target.max_test_seconds)
    with silent_server(fails_at=61, until=900, **fields) as world:
        alerted, record = world.first_alert_at(), world.store.read_records()[1]["t"]
    assert alerted - (NOON + timedelta(seconds=61)) <= longest
    assert record.health.failures == len(world.failed) - uncounted
    expected = (900 - 120 - deadline) // (delay + START_SECONDS + 0.5)
    assert record.health.failures >= expected


TICK_SECONDS = (45, 38, 0, 19, 6, 46, 0, 20, 57, 19, 0, 32)


@pytest.mark.parametrize("delay", [61, 90, 119, 150])
def test_no_test_of_a_longer_delay_is_in_flight_at_the_next_tick(delay: int) -> None:
    """Ticks come at any second of their minute: what such a delay plans is tested once."""
    fields: dict[str, Any] = {"delay_down": delay, "delay_lost": delay, "failures_per_alert": 1, "max_test_seconds": 1}
    with silent_server(fails_at=181, until=1200, tick_seconds=TICK_SECONDS, **fields) as world:
        record = world.store.read_records()[1]["t"]
    assert record.health.failures == len(world.failed)
    assert len(world.failed) >= 900 // (60 * ceil(delay / 60))


def test_a_test_that_comes_too_soon_plans_the_next_one() -> None:
    """The first failure of a short `delay_up` ends while the next tick's test is in flight, which then does not count.

    Silent from 0:44 on: the test of 0:45 ends at 1:26, that of the tick 1:00 at 1:40, and the one after 0:45 is due at
    1:30. It begins when the one of 1:00 has ended, and not at the next tick.
    """
    fields: dict[str, Any] = {"delay_up": 45, "delay_warn": 45, "max_test_seconds": 40, "failures_per_alert": 2}
    with silent_server(fails_at=44, until=240, **fields) as world:
        assert world.first_alert_at() - NOON < timedelta(seconds=145)


@pytest.mark.parametrize(
    ("ticks", "fails_at", "delays", "deadline", "failures"),
    [
        ("LELEELLELLLLELEL", 181, (60, 45, 10), 1, 9),
        ("ELEEELELELLELELL", 144, (30, 45, 10), 30, 8),
        ("LELEEELLELELEELE", 77, (60, 50, 59), 20, 9),
        ("EELELELELEELLELL", 104, (60, 15, 20), 5, 10),
        ("LEEELEELELEEELLE", 131, (60, 20, 15), 20, 8),
        ("LEELLEELEELELLEL", 199, (60, 59, 10), 5, 5),
        ("SLELSLSSSLLSSESL", 144, (60, 10, 10), 15, 8),
        ("LLEELSLSESSSSSSS", 195, (60, 15, 10), 15, 6),
        ("SSSLSLSLSLSLSLSL", 74, (60, 10, 10), 20, 8),
    ],
    ids=[
        "the tick after the first failure took it for up",
        "two ticks took it for up",
        "the tick before was late, and its retests are under way",
        "the same, with a shorter deadline",
        "a late tick plans what an early one left to it",
        "the test after the first alert was planned by the longer delay before it",
        "the tick after the first failure took it for up, and came a delay later",
        "the same, a second before the first failed test ended",
        "the tick before was late, and tests take longer than the delay",
    ],
)
def test_alerts_come_in_time_though_ticks_are_early_and_late(
    ticks: str, fails_at: int, delays: tuple[int, int, int], deadline: int, failures: int
) -> None:
    """Early ticks at second 0 of their minute, some at 13, and late ones at 59: the first two alerts are in time."""
    fields: dict[str, Any] = dict(zip(("delay_up", "delay_warn", "delay_down"), delays, strict=True))
    fields |= {"max_test_seconds": deadline, "failures_per_alert": failures}
    target = parse_target({"target_id": "t", "host": "pop.example.net", **fields})
    longest = [longest_time_to_alert(target.policy, deadline, number).total_seconds() for number in (1, 2)]
    seconds = [{"E": 0, "S": 13, "L": 59}[tick] for tick in ticks]
    with silent_server(fails_at, fails_at + longest[1] + 60, seconds, **fields) as world:
        sent = [event.what.sent_at for event in world.store.read_events("t") if isinstance(event.what, PublishedAlert)]
    took = [(at - NOON).total_seconds() - fails_at for at in sorted(sent)[:2]]
    assert all(actual <= stated for actual, stated in zip(took, longest, strict=True)), (took, longest)


POLICIES = st.fixed_dictionaries(
    {
        "delay_up": st.integers(10, 120),
        "delay_warn": st.integers(10, 120),
        "max_test_seconds": st.integers(1, 60),
        "failures_per_alert": st.integers(1, 5),
    }
)


@pytest.mark.long
@settings(max_examples=8, deadline=None, suppress_health_check=[*HealthCheck])
@given(POLICIES, st.integers(60, 180), st.integers(0, 3))
def test_the_first_alert_comes_in_time(fields: dict[str, Any], fails_at: int, tick_second: int) -> None:
    """Whatever the delays, the deadline, and the second at which the server falls silent."""
    target = parse_target({"target_id": "t", "host": "pop.example.net", **fields})
    longest = longest_time_to_alert(target.policy, target.max_test_seconds)
    until = fails_at + longest.total_seconds() + 120
    with silent_server(fails_at, until, (tick_second,), **fields) as world:
        assert world.first_alert_at() - NOON - timedelta(seconds=fails_at) <= longest
