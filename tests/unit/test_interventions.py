"""Silences and acknowledgements as `popwatch silence` and `ack` write them, and as people may by hand."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from popwatch.decisions.planning import plan
from popwatch.model.health import UNTESTED, State
from popwatch.model.records import Record
from popwatch.model.targets import parse_target, parse_targets, with_interventions
from popwatch.reports.status import NewestTests, TargetStatus, target_status_to_json, target_statuses

BASE = {"target_id": "t", "host": "pop.example.net"}
NOW = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)


def test_silence_is_maintenance_while_it_lasts() -> None:
    """Between its times the target is in maintenance, and it says who asked for it."""
    window = {"from": "2026-11-24T20:00Z", "until": "2026-11-24T22:00Z", "why": " new\tdisk ", "by": "night-shift"}
    policy = parse_target(BASE | {"silence": window}).policy
    assert policy.in_maintenance(NOW)
    assert not policy.in_maintenance(NOW.replace(hour=22))
    assert policy.silence is not None
    assert (policy.silence.why, policy.silence.by) == ("new disk", "night-shift")


def test_times_without_offset_are_the_targets_own() -> None:
    """21:30 in Berlin is 20:30 UTC."""
    window = {"from": "2026-11-24T21:30", "until": "2026-11-24T22:30"}
    policy = parse_target(BASE | {"silence": window, "timezone": "Europe/Berlin"}).policy
    assert policy.in_maintenance(NOW.replace(hour=20, minute=45))


def test_acknowledgement_is_of_one_outage() -> None:
    """The time of the first failed test identifies it."""
    policy = parse_target(BASE | {"acknowledged": {"outage": "2026-11-24T21:00Z", "by": "night-shift"}}).policy
    assert policy.acknowledgement_of(NOW)
    assert not policy.acknowledgement_of(NOW.replace(minute=1))
    assert not policy.acknowledgement_of(None)


@pytest.mark.parametrize(
    ("field", "value", "explanation"),
    [
        ("silence", "two hours", "it must be a map; `popwatch silence`, `ack` and `suspend --for` write it"),
        ("suspended", {"from": "2026-11-24T20:00Z", "until": "2026-11-24T20:00Z"}, "must be later"),
        ("silence", {"from": "2026-11-24T20:00Z"}, "it needs `until`"),
        ("silence", {"from": "2026-11-24T20:00Z", "until": "2026-11-24T19:00Z"}, "must be later"),
        ("silence", {"from": "x", "until": "y", "who": "z"}, "it has no field `who`"),
        ("acknowledged", {"outage": "yesterday"}, "ISO 8601"),
        ("certificate_warn_days", "soon", "is not a number"),
        ("certificate_warn_days", [400], "is not between 0 and 365"),
        ("flap_per_hour", 61, "is not between 0 and 60"),
    ],
)
def test_mistakes_are_named(field: str, value: object, explanation: str) -> None:
    """The problem names the field and says what to write."""
    [problem] = parse_target(BASE | {field: value}).problems
    assert problem.field == field
    assert explanation in problem.explanation


@pytest.mark.parametrize("days", [[1, "7", 30], "30, 7, 1", {30, 7, 1}, ["30", 7, 7, 1]])
def test_days_in_any_form(days: object) -> None:
    """Numbers as numbers or strings, as a list, a set or with commas; greatest first."""
    assert parse_target(BASE | {"certificate_warn_days": days}).policy.certificate_warn_days == (30, 7, 1)


SILENCE = {"from": "2026-11-24T21:30", "until": "2026-11-24T22:30"}
DEFAULTS = {"timezone": "Europe/Berlin", "failures_per_alert": 2, "maintenance": [SILENCE]}


def test_present_interventions_replace_those_of_the_plan() -> None:
    """A silence that came and an acknowledgement that went; what is from the user's defaults stays, times too."""
    planned = parse_target(BASE | {"acknowledged": {"outage": "2026-11-24T21:00Z"}}, DEFAULTS)
    policy = with_interventions(planned, BASE | {"silence": SILENCE, "failures_per_alert": 7})
    assert policy.silence is not None
    assert policy.silence.window.contains(NOW.replace(hour=20, minute=45))
    assert not policy.silence.window.contains(NOW.replace(minute=45))
    assert policy.acknowledged is None
    assert policy.maintenance == planned.policy.maintenance != ()
    assert policy.failures_per_alert == 2


def test_suspension_that_ended_meanwhile() -> None:
    """`enabled` is one of them, whether it is written or no longer."""
    off = parse_target(BASE | {"enabled": False})
    assert with_interventions(off, BASE).enabled
    assert not with_interventions(parse_target(BASE), BASE | {"enabled": "no"}).enabled


SUSPENDED = BASE | {"suspended": {"from": "2026-11-24T20:00Z", "until": "2026-11-24T22:00Z", "by": "night-shift"}}
UNTIL = NOW.replace(hour=22)


@pytest.mark.parametrize(
    ("at", "tested", "suspends"),
    [
        (NOW.replace(hour=19), True, False),
        (NOW.replace(hour=19, minute=59, second=40), False, True),  # by the clock of who wrote it, it has begun
        (NOW, False, True),
        (UNTIL - timedelta(seconds=1), False, True),
        (UNTIL, True, False),
    ],
)
def test_suspension_ends_by_itself(at: datetime, tested: bool, suspends: bool) -> None:
    """In its time a tick tests nothing, and makes it `suspended`; the first tick after it tests again."""
    targets = parse_targets([SUSPENDED], {}, at)
    planned = plan(at, at - timedelta(minutes=1), targets, {}, {})
    assert ([test.target.target_id for test in planned.now.tests], bool(planned.to_suspend)) == (
        ["t"] * tested,
        suspends,
    )


def test_suspension_is_not_there_for_a_target_that_is_off_anyway() -> None:
    """`enabled: false` of a file does not end by itself: nothing says so."""
    for time in (NOW, UNTIL):
        policy = parse_target(SUSPENDED | {"enabled": False}).policy.at(time)
        assert (policy.enabled, policy.suspended) == (False, None)


def test_suspension_holds_an_alert_that_is_under_way() -> None:
    """Before an alert the item is read again."""
    planned = parse_target(BASE)
    assert not with_interventions(planned, SUSPENDED).at(NOW).enabled
    assert with_interventions(planned, SUSPENDED).at(UNTIL).enabled


def test_status_says_until_when() -> None:
    """In words and in JSON, which are the page's too; it is tested next when it ends."""
    [status] = target_statuses(parse_targets([SUSPENDED], {}, NOW), {"t": Record("t")}, NewestTests(), NOW)
    assert (status.state, status.next_test_at) == (State.SUSPENDED, UNTIL)
    assert status.remarks(NOW) == ["suspended until 2026-11-24 22:00:00 UTC by night-shift"]
    found = target_status_to_json(status, NOW)
    assert found["since"] == "2026-11-24T20:00:00Z"
    assert (found["suspended_until"], found["suspended_by"]) == ("2026-11-24T22:00:00Z", "night-shift")


def test_status_between_an_intervention_and_the_next_sweep() -> None:
    """The record's time is that of the state before; of `enabled: false` the item does not have the time."""
    up = Record("t", health=replace(UNTESTED, state=State.UP, since=NOW - timedelta(hours=3)))
    paused = replace(up, health=replace(up.health, state=State.SUSPENDED))

    def status(item: Mapping[str, object], record: Record) -> TargetStatus:
        [found] = target_statuses(parse_targets([item], {}, NOW), {"t": record}, NewestTests(), NOW)
        return found

    assert status(SUSPENDED, up).since == NOW.replace(hour=20)
    assert status(BASE | {"enabled": False}, up).since is None
    assert status(BASE | {"enabled": False}, paused).since == up.health.since
    resumed = status(BASE, paused)
    assert (resumed.state, resumed.remarks(NOW)) == (State.SUSPENDED, ["resumed: the next sweep applies it"])
