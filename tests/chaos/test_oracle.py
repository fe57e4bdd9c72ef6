"""What the oracle knows of runs of tests and of what is delivered, in small."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos import record
from tests.chaos.facts import Configured, Ended, Fact, Judged, Policy, PublishedText, Requeued
from tests.chaos.oracle import _changes
from tests.chaos.oracle_delivery import Deliveries
from tests.chaos.oracle_servers import PAIRS, rows
from tests.chaos.oracle_times import Times
from tests.chaos.record import NEVER, Lifetime, runs

BEGIN = datetime(2026, 3, 1, 21, tzinfo=UTC)


def lifetime_of(outcomes: str, passes_per_recovery: int = 1) -> Lifetime:
    """Tests a minute apart: `p` passed, `f` failed; a capital in maintenance, and `?` passed in a killed invocation."""
    found = []
    for number, outcome in enumerate(outcomes):
        began = BEGIN + timedelta(minutes=number)
        policy = Policy(2, silenced=outcome.isupper(), passes_per_recovery=passes_per_recovery)
        passed, committed = outcome.lower() in "p?", NEVER if outcome == "?" else 2 * number + 1
        found.append(record.Test("mail-1", 2 * number, began, number, began, passed, policy, committed))
    return Lifetime("mail-1", found)


@pytest.mark.parametrize(
    ("outcomes", "failed", "passed_at", "between"),
    [
        ("ffppp", 2, [2], 0),
        ("ffppfppp", 3, [5], 2),
        ("ffpPp", 2, [2], 0),
        ("ffppFppp", 2, [5], 2),
        ("ffpp?p", 2, [2], 0),
        ("fpffppp", 2, [1, 4], 0),
        ("ffpp", 2, [], 0),
    ],
    ids=["at once", "cut", "maintenance counts", "cut in maintenance", "lost one does not count", "brief", "not yet"],
)
def test_an_outage_ends_with_the_first_of_several_passed_tests(
    outcomes: str, failed: int, passed_at: list[int], between: int
) -> None:
    """docs/outages.md, "The recovery", with three passed tests; what is said of the last run."""
    found = runs(lifetime_of(outcomes, passes_per_recovery=3))
    ends = [(one.end.began - BEGIN) // timedelta(minutes=1) for one in found if one.end]
    assert (len(found[-1].failed), ends, len(found[-1].between)) == (failed, passed_at, between)


def test_a_test_under_an_intervention_just_written_is_no_certain_change() -> None:
    """Its result may have been judged by the item as it was when the message was committed, or as planned."""
    known = lifetime_of("ppff")
    assert [certain for _, certain in _changes(known)] == [True]
    known.tests[2] = replace(known.tests[2], unambiguous=False)
    assert [certain for _, certain in _changes(known)] == [False]


def test_it_is_doubtful_which_run_goes_on_after_a_pass_if_the_failure_before_it_may_not_count() -> None:
    """With the failure it was an outage, which three passed tests end; without it a brief failure, over with one."""
    known = lifetime_of("ffpffppp", 3)
    known.tests[1] = replace(known.tests[1], unambiguous=False)
    assert [(len(one.failed), one.doubtful, one.end is not None) for one in runs(known)] == [
        (2, False, True),
        (2, True, True),
    ]


@pytest.mark.parametrize(
    ("outcomes", "without_login", "doubtful"),
    [("ffpppf", [], False), ("ffppf", [], True), ("ffppFpf", [], True), ("ffppppf", [3, 4], True)],
    ids=["over", "not enough", "cut off in maintenance", "without a login"],
)
def test_a_run_that_may_go_on_is_over_after_enough_passed_tests(
    outcomes: str, without_login: list[int], doubtful: bool
) -> None:
    """Three in a row; those that do not log in may leave it as it is."""
    known = lifetime_of(outcomes, 3)
    known.tests[1] = replace(known.tests[1], unambiguous=False)
    for number in without_login:
        policy = replace(known.tests[number].policy, login="shared")
        known.tests[number] = replace(known.tests[number], policy=policy)
    assert runs(known)[-1].doubtful is doubtful


@pytest.mark.parametrize(
    ("how", "given_back", "certain"), [("well", False, True), ("killed", False, False), ("well", True, False)]
)
def test_a_test_that_changed_nothing_was_committed_if_who_made_it_had_nothing_left(
    how: str, given_back: bool, certain: bool
) -> None:
    """One that died, or gave the test back to the queue, may not have."""
    (test,) = lifetime_of("?").tests
    back: list[Fact] = [Requeued(0, test.invocation, test.target)] if given_back else []
    known = record.CampaignRecord([*back, Ended(1, test.invocation, how, BEGIN)], [BEGIN] * 2)
    assert (known.committed_by_its_end(test) != NEVER) is certain


def test_lost_tests_are_none_of_enough_in_a_row() -> None:
    """Those of killed invocations, which committed nothing, have not brought `degraded` nearer."""
    known = [replace(test, failed_addresses=1) for test in lifetime_of("p?p?").tests]
    assert rows(known, PAIRS[0], lambda test: test.committed == NEVER, begins=True) == (4, 2)


@pytest.mark.parametrize(
    ("login", "deadline", "waits"),
    [("shared", 20, False), ("shared", 10, True), ("", 10.0, False), ("", 20, True), ("", 1.5, True)],
)
def test_a_deadline_that_is_written_as_it_was_changes_no_target(login: str, deadline: float, waits: bool) -> None:
    """docs/targets.md: `max_test_seconds` is 10 where none is given, and 20 with `login`."""
    policy, later = Policy(2, login=login), BEGIN + timedelta(minutes=10)
    written = Configured(1, "mail-1", later, policy, connection_fields=(("max_test_seconds", deadline),))
    times = [BEGIN, later, later + timedelta(hours=1)]
    known = record.CampaignRecord(
        [Configured(0, "mail-1", BEGIN, policy), written, Ended(2, 0, "well", times[-1])], times
    )
    found = list(Times(known, {}, Counter())._judge_changes("mail-1"))
    assert [one.kind for one in found] == ["not tested"] * waits


@pytest.mark.parametrize(
    ("earlier", "by", "late"),
    [
        ("", 2, True),
        ("recovered/1/2026-03-01 20:40:00", 2, False),
        ("down/1/2026-03-01 20:40:00", 2, False),
        ("down/1/2026-03-01 21:00:00", 2, True),
        ("recovered/1/2026-03-01 20:40:00", 3, True),
    ],
    ids=["nothing", "another", "of an earlier outage", "the same on another topic", "of another sender, which is over"],
)
def test_who_sends_what_was_left_on_one_topic_sends_what_is_behind_it(earlier: str, by: int, late: bool) -> None:
    """docs/outages.md, "In order": History shows that an earlier message, accepted by one topic, was sent again."""
    test = replace(lifetime_of("f").tests[0], invocation=1, committed=0)
    before = [published(3, by, "history", earlier)] if earlier else []
    sent = published(4, 2, "alert", "down/1/2026-03-01 21:00:00")
    ends = [Ended(1, 1, "well", BEGIN), Ended(2, 3, "well", BEGIN), Ended(5, 2, "well", BEGIN)]
    known = record.CampaignRecord([*ends, *before, sent], [BEGIN] * 6)
    judge = Deliveries(known, {"mail-1": known.messages}, simulated=True)
    found = list(judge.judge(test, known.messages[-1:], "down 1"))
    assert [one.kind for one in found] == ["alert late"] * late


@pytest.mark.parametrize(
    ("claimed_by", "how", "late"),
    [(None, "error", True), (2, "error", False), (2, "well", True), (3, "error", True)],
    ids=["not claimed", "one that failed", "one that ended well", "the one that ended well"],
)
def test_who_claims_a_doubled_message_first_sends_for_both(claimed_by: int | None, how: str, late: bool) -> None:
    """Two test anew what was given back: one that ends well may not send what the other has claimed."""
    tests = [replace(lifetime_of("f").tests[0], invocation=number, made_order=number) for number in (1, 2, 3)]
    test = replace(tests[0], committed=2)
    claim = [Judged(4, claimed_by, "mail-1", 2, test.tick, BEGIN, "down", 1, 1, (), True)] if claimed_by else []
    ends: list[Fact] = [
        Requeued(1, 1, "mail-1"),
        Ended(3, 1, "well", BEGIN),
        Ended(5, 3, "well", BEGIN),
        Ended(6, 2, how, BEGIN),
    ]
    later = Judged(7, 4, "mail-1", 3, test.tick, BEGIN, "down", 1, 1, (), True)
    known = record.CampaignRecord(
        [*ends, *claim, later, published(8, 4, "alert", "down/1/2026-03-01 21:00:00")], [BEGIN] * 9
    )
    known.tests["mail-1"] = [test, *tests[1:]]
    judge = Deliveries(known, {"mail-1": known.messages}, simulated=True)
    found = list(judge.judge(test, known.messages, "down 1"))
    assert [one.kind for one in found] == ["alert late"] * late


@pytest.mark.parametrize(("time", "late"), [("20:00:00", False), ("21:00:00", True)], ids=["an earlier outage", "none"])
def test_who_has_the_rest_of_an_earlier_alert_sends_what_comes_behind_it(time: str, late: bool) -> None:
    """One topic has taken the earlier alert before, so that it is handed over last where both are sent."""
    test = replace(lifetime_of("f").tests[0], invocation=1, made_order=1, committed=2)
    ends: list[Fact] = [Ended(3, 1, "well", BEGIN), Ended(6, 2, "killed", BEGIN)]
    sent = published(4, 2, "alert", "down/1/2026-03-01 21:00:00")
    rest = published(5, 2, "history", f"down/1/2026-03-01 {time}")
    known = record.CampaignRecord([*ends, sent, rest], [BEGIN] * 7)
    known.tests["mail-1"] = [test]
    judge = Deliveries(known, {"mail-1": known.messages}, simulated=True)
    found = list(judge.judge(test, [known.messages[0]], "down 1"))
    assert [one.kind for one in found] == ["alert late"] * late


def published(order: int, invocation: int, channel: str, alert: str) -> PublishedText:
    """The words of an alert about `mail-1`, as far as they name it."""
    return PublishedText(order, invocation, channel, f"Alert mail-1/{alert} UTC: an alert may arrive", "", {}, True)
