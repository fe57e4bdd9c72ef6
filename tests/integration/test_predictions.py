"""`simulate` and `replay` compared with complete sweeps: what they predict is what happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from popwatch.decisions.batches import RequestedTests, to_messages
from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.health import Transition
from popwatch.model.outcomes import ErrorCode, LoginVerdict, Outcome
from popwatch.model.records import PublishedAlert
from popwatch.model.targets import Target, parse_target
from popwatch.model.text import iso
from popwatch.queries.history import read_samples_of_all
from popwatch.reports.availability import Period
from popwatch_cli.rehearsal.past_tests import Parent, compare, samples_of_runs
from popwatch_cli.rehearsal.simulation import first_alert, simulate
from tests.in_memory import Inline
from tests.integration.logins import with_logins
from tests.integration.world import MINUTE, NOON, World
from tests.strict_ssm import strict_ssm

SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])
SECOND = timedelta(seconds=1)
SECONDS = st.integers(10, 190)
POLICIES = st.fixed_dictionaries(
    {
        "delay_up": SECONDS,
        "delay_warn": SECONDS,
        "delay_down": SECONDS,
        "delay_lost": SECONDS,
        "failures_per_alert": st.integers(1, 4),
        "max_alerts": st.integers(0, 3),
        "flap_per_hour": st.sampled_from([0, 1, 3, 6]),
        "alert_recovery": st.booleans(),
    }
)


class OutageWorld(World):
    """A world in which one server fails from one second to another."""

    outage: tuple[timedelta, timedelta] = (timedelta(), timedelta())

    def outcome(self, target: Target) -> Outcome:
        begin, end = self.outage
        self.failing = {"t": ErrorCode.TIMED_OUT} if begin < self.now - NOON < end else {}
        return super().outcome(target)


EACH_MINUTE = {"delay_up": 60, "delay_warn": 60, "delay_down": 60, "delay_lost": 60, "failures_per_alert": 2}


@contextmanager
def new_outage_world() -> Iterator[OutageWorld]:
    with mock_aws():
        world = OutageWorld(endpoint=None, in_memory=True)
        yield world
        world.close()


FAILS_AS_A_TICK_COMES = {"delay_up": 19, "delay_warn": 10, "delay_down": 10, "delay_lost": 10, "failures_per_alert": 1}
TIMES = st.none() | st.tuples(st.integers(1, 900), st.integers(20, 600))
"""Seconds from the first test to the beginning of an intervention, and its length."""


def interventions(**times: tuple[int, int] | None) -> dict[str, dict[str, str]]:
    """The fields of a target with interventions that begin and end by themselves."""
    return {
        name: {"from": iso(NOON + begin * SECOND), "until": iso(NOON + (begin + length) * SECOND)}
        for name, (begin, length) in ((name, time) for name, time in times.items() if time)
    }


@SLOW
@example(policy=FAILS_AS_A_TICK_COMES, number=0, outage=2, after=56, silence=None, suspended=None)
@example(policy=EACH_MINUTE, number=1, outage=900, after=30, silence=(140, 300), suspended=None)
@example(policy=EACH_MINUTE | {"delay_down": 15}, number=1, outage=900, after=30, silence=None, suspended=(170, 300))
@given(
    policy=POLICIES,
    number=st.integers(0, 99),
    outage=st.integers(1, 900),
    after=st.integers(0, 150),
    silence=TIMES,
    suspended=TIMES,
)
def test_simulated_is_what_sweeps_do(
    *,
    policy: dict[str, Any],
    number: int,
    outage: int,
    after: int,
    silence: tuple[int, int] | None,
    suspended: tuple[int, int] | None,
) -> None:
    """With any delays: the same tests at the same seconds, the same states and alerts, and none later than promised.

    A test that the first failed one of a run and the tick after it have both planned is one test. A silence and a
    suspension hold alerts from a little before their time, as they do there.
    """
    policy = policy | interventions(silence=silence, suspended=suspended)
    target = parse_target({"target_id": "t", "host": "pop.example.net", "name": f"t{number}", **policy})
    length, begins_after = timedelta(seconds=outage), timedelta(seconds=after)
    steps = list(simulate(target, length, ErrorCode.TIMED_OUT, NOON, begins_after=begins_after))
    with new_outage_world() as world:
        world.put_target("t", name=f"t{number}", **policy)
        world.outage = begins_after, begins_after + length
        last, minute = steps[-1].at, 0
        while NOON + MINUTE * minute <= last:
            world.minute(NOON + MINUTE * minute)
            minute += 1
        tested = list(dict.fromkeys(when for when, _ in world.tested if when <= last))
        events = [event for event in world.store.read_events("t") if event.tick <= last]
    assert tested == [step.at for step in steps]
    changes = list(zip([None, *steps], steps, strict=False))
    expected = [
        (step.at, step.health.state)
        for before, step in changes
        if before is None or before.health.state is not step.health.state
    ]
    states = sorted((event.tick, event.what.state) for event in events if isinstance(event.what, Transition))
    assert states == expected or suspended  # there are steps of tests only
    alerts = [(event.tick, event.what.message.subject) for event in events if isinstance(event.what, PublishedAlert)]
    assert sorted(alerts) == [(step.at, step.message.subject) for step in steps if step.message]
    first = first_alert(steps)
    if first and not (silence or suspended):
        late = first.at - NOON - begins_after + timedelta(seconds=target.max_test_seconds)
        assert late <= longest_time_to_alert(target.policy, target.max_test_seconds)


PATTERNS = st.lists(st.sampled_from(".....xxx"), min_size=5, max_size=40).map("".join)
"""What a server does at each tick: `.` passes, `x` fails."""


FIRST_FAILURE_ALERTS = {
    "delay_warn": 10,
    "delay_down": 10,
    "max_alerts": 1,
    "flap_per_hour": 0,
    "failures_per_alert": 1,
}
"""A parent that fails in the same minute is noticed only as the alert is decided."""


WINDOWS = st.none() | st.tuples(st.integers(0, 20), st.integers(1, 20))
REQUESTS = st.lists(st.integers(0, 40 * 60).filter(lambda second: second % 60), max_size=6)
"""The seconds at which `popwatch retest` asks for a test, between two ticks."""


@SLOW
@example(policy=FIRST_FAILURE_ALERTS, pattern=".....x", parent=".....x", depends=True, silence=None, requests=[])
@example(
    policy=FIRST_FAILURE_ALERTS | {"failures_per_alert": 2, "delay_warn": 60},
    pattern="....xx",
    parent=".....x",
    depends=True,
    silence=None,
    requests=[],
)
@example(
    policy=FIRST_FAILURE_ALERTS | {"failures_per_alert": 3, "delay_up": 60, "delay_warn": 600},
    pattern="...xxxxxxxxx....",
    parent="",
    depends=False,
    silence=None,
    requests=[200, 210, 220, 400],
)
@example(
    policy=FIRST_FAILURE_ALERTS | {"failures_per_alert": 3, "delay_up": 60, "delay_warn": 141, "delay_down": 101},
    pattern="..xxxxxxxxx...",
    parent="",
    depends=False,
    silence=None,
    requests=[265, 265, 407, 407],
)
@example(
    policy=FIRST_FAILURE_ALERTS | {"delay_up": 10, "delay_lost": 10},
    pattern="..x....",
    parent=".x....",
    depends=True,
    silence=None,
    requests=[],
)
@example(
    policy=FIRST_FAILURE_ALERTS | {"delay_up": 10, "delay_down": 150},
    pattern="x.x....",
    parent=".x.....",
    depends=True,
    silence=None,
    requests=[151],
)
@example(
    policy=FIRST_FAILURE_ALERTS | {"delay_up": 83, "delay_warn": 152, "delay_down": 20, "failures_per_alert": 2},
    pattern=".xxxxx.",
    parent="....x.",
    depends=True,
    silence=None,
    requests=[140, 211, 280, 332],
)
@given(policy=POLICIES, pattern=PATTERNS, parent=PATTERNS, depends=st.booleans(), silence=WINDOWS, requests=REQUESTS)
def test_replayed_is_what_happened(
    *,
    policy: dict[str, Any],
    pattern: str,
    parent: str,
    depends: bool,
    silence: tuple[int, int] | None,
    requests: list[int],
) -> None:
    """Unchanged settings give exactly the alerts that were sent, with a gateway, a maintenance window, and retests."""
    fields = dict(policy)
    if depends:
        fields["depends_on"] = "gateway"
    if silence:
        begin, length = silence
        window = {"from": (NOON + MINUTE * begin).isoformat(), "until": (NOON + MINUTE * (begin + length)).isoformat()}
        fields["maintenance"] = [window]
    with mock_aws():
        world = World(endpoint=None, in_memory=True, threads=Inline)  # the gateway first: threads may come in any order
        world.put_target("t", **fields)
        world.put_target("gateway")
        for second in requests:
            at = NOON + timedelta(seconds=second)
            world.queue += [(at, body) for body in to_messages(RequestedTests(at, ("t",)))]
        for minute, sign in enumerate(pattern):
            gateway = parent[minute] if minute < len(parent) else "."
            failing = {"t": sign, "gateway": gateway}
            world.failing = {name: ErrorCode.TIMED_OUT for name, it in failing.items() if it == "x"}
            world.minute(NOON + MINUTE * minute)
        checkpoint, _ = world.store.read_records()
        samples = read_samples_of_all(world.store, checkpoint, {"t", "gateway"}, Period(NOON, world.now + MINUTE))
        sent = len(world.alerts_recorded("t"))
        world.close()
    target = parse_target({"target_id": "t", "host": "h", **fields})
    parents = [Parent("gateway", samples_of_runs(samples["gateway"]))] if depends else []
    found = compare("t", samples["t"], target.policy, target.policy, MINUTE, parents=(parents, parents))
    assert (found.before.alerts, found.after.alerts) == (sent, sent)


LOGINS = {
    "f": LoginVerdict.FAILED,
    "c": LoginVerdict.UNCLEAR,
    "u": LoginVerdict.IN_USE,
    "d": LoginVerdict.LOGIN_DELAY,
    "r": LoginVerdict.REJECTED,
    ".": LoginVerdict.PASSED,
}
"""What a login comes to at each tick; at an `x` the server does not greet."""


@pytest.mark.long
@SLOW
@example(policy=EACH_MINUTE, pattern="...ffffuffuff....", passes=1)
@example(policy=EACH_MINUTE, pattern="...ffrrrrrrrrr....", passes=1)
@given(POLICIES, st.lists(st.sampled_from("...xffffcudr"), min_size=5, max_size=40).map("".join), st.integers(1, 3))
def test_replayed_logins_are_what_happened(policy: dict[str, Any], pattern: str, passes: int) -> None:
    """Only an accepted login ends an outage of the login, or the greeting once no login can be tested any more."""
    fields = policy | {"login": "monitor", "login_every": 60, "tls": "implicit", "passes_per_recovery": passes}
    with mock_aws(), strict_ssm():
        world = World(endpoint=None, in_memory=True, threads=Inline)
        world.logins = with_logins(world, boto3.client("ssm", region_name="us-east-1"))
        world.put_target("t", **fields)
        for minute, sign in enumerate(pattern):
            world.failing = {"t": ErrorCode.TIMED_OUT} if sign == "x" else {}
            world.verdicts["t"] = LOGINS.get(sign, LoginVerdict.PASSED)
            world.minute(NOON + MINUTE * minute)
        checkpoint, _ = world.store.read_records()
        samples = read_samples_of_all(world.store, checkpoint, {"t"}, Period(NOON, world.now + MINUTE))["t"]
        sent = world.alerts_recorded("t")
        world.close()
    policy_of_target = parse_target({"target_id": "t", "host": "h", **fields}).policy
    assert compare("t", samples, policy_of_target, policy_of_target, MINUTE).before.alerts == len(sent)
