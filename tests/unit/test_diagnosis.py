"""What is found of facts, and what is not."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from popwatch.decisions.batches import Batch, HourOfBatch, PlannedTest, to_messages
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import Health, State
from popwatch.model.records import Record
from popwatch.model.text import iso
from popwatch_cli.doctor.rules import (
    alert_coverage,
    batch_queue,
    dead_letters,
    stack,
    subscriptions,
    sweeps,
    tables,
)
from popwatch_cli.doctor.rules import (
    overdue as overdue_rules,
)
from popwatch_cli.doctor.rules import (
    targets as target_rules,
)
from popwatch_cli.doctor.rules.findings import Checked, Finding, Kind, Severity, exit_code, some, summary, worst_first
from popwatch_cli.rehearsal.filter_policies import Subscription
from tests.ailments import (
    ALARM,
    ALERT_TOPIC,
    DEAD_LETTERS,
    ENVIRONMENT,
    EXAMPLES,
    FIGURES,
    FUNCTION,
    HEARD,
    LAMBDA,
    MAIL,
    MAPPING,
    NOW,
    OPERATOR_TOPIC,
    PUBLISH,
    QUEUE,
    SCHEDULE,
    TABLE,
    TICK,
    UP,
    by_id,
    of_items,
    owing,
    policy,
    seen,
    target,
)

MINUTE = timedelta(minutes=1)
STOPS = {
    Kind.SCHEDULE_GONE, Kind.SCHEDULE_OFF, Kind.SCHEDULE_CHANGED,
    Kind.FUNCTION_GONE, Kind.FUNCTION_NOT_ACTIVE, Kind.FUNCTION_DRIFTED, Kind.FUNCTION_STOPPED,
    Kind.BATCHES_GONE, Kind.BATCHES_OFF, Kind.QUEUE_GONE,
    Kind.NO_SWEEP, Kind.SWEEPS_STOPPED, Kind.SWEEPS_AHEAD,
    Kind.TABLE_GONE, Kind.TABLE_NOT_ACTIVE, Kind.TABLE_KEY,
    Kind.TOPIC_GONE, Kind.TOPIC_DENIES, Kind.NO_SUBSCRIPTION, Kind.NONE_CONFIRMED, Kind.UNHEARD, Kind.SMS_SPENT,
    Kind.BAD_FIELD, Kind.OVERDUE, Kind.ALERTS_OWED,
}  # fmt: skip
"""What keeps alerts from being sent or targets from being watched."""


def kinds(found: Iterable[Finding]) -> list[Kind]:
    return [finding.kind for finding in found]


def whats(found: Iterable[Finding]) -> list[str]:
    return [finding.what for finding in found]


def test_there_is_an_example_of_each_kind() -> None:
    """In the order of the kinds, so that the docs can show them."""
    assert kinds(EXAMPLES) == list(Kind)


@pytest.mark.parametrize("finding", EXAMPLES, ids=lambda found: found.kind)
def test_each_kind(finding: Finding) -> None:
    """A sentence that says what, one that says what to do, and how bad it is."""
    assert finding.severity is (Severity.BROKEN if finding.kind in STOPS else Severity.WARNING)
    for sentence in (finding.what, finding.do):
        assert re.fullmatch(r"[^\n]+[.?!]", sentence), sentence


SOUND: dict[str, Iterable[Finding]] = {
    "schedule": stack.of_schedule(SCHEDULE, FUNCTION, NOW),
    "function": stack.of_function(LAMBDA, ENVIRONMENT),
    "function-asleep": stack.of_function(replace(LAMBDA, state="Inactive"), ENVIRONMENT),
    "function-with-more-variables": stack.of_function(
        replace(LAMBDA, environment={**ENVIRONMENT, "LOG": "x"}), ENVIRONMENT
    ),
    "no-reservation": stack.of_reserved(FUNCTION, None),
    "reservation": stack.of_reserved(FUNCTION, 5),
    "figures": stack.of_figures(FIGURES),
    "mapping": batch_queue.of_mapping(MAPPING),
    "mapping-that-starts": batch_queue.of_mapping(replace(MAPPING, state="Enabling", parallel=None)),
    "queue": batch_queue.of_queue(QUEUE, 120, DEAD_LETTERS),
    "dead-letter-queue": batch_queue.of_dead_letter_queue(True),
    "stack": stack.of_stack("popwatch", "UPDATE_COMPLETE"),
    "mark": sweeps.of_mark(TICK, NOW),
    "no-gaps": sweeps.of_gaps([]),
    "concurrency": batch_queue.of_concurrency(10, None, 10, 1),
    "concurrency-without-a-limit": batch_queue.of_concurrency(1000, None, None, 64),
    "clock": stack.of_clock(timedelta(seconds=-2)),
    "table": tables.of_table(tables.HISTORY, "h", TABLE[tables.HISTORY]),
    "expiry": tables.of_expiry("h", True, "expires_at"),
    "recovery": tables.of_recovery("t", True),
    "alert-topic": subscriptions.of_alert_topic(ALERT_TOPIC),
    "operator-topic": subscriptions.of_operator_topic(OPERATOR_TOPIC),
    "subscriptions": subscriptions.of_subscriptions([MAIL]),
    "sandbox": subscriptions.of_sandbox(False),
    "spend": subscriptions.of_spend(1.0, 10.0),
    "alarms": subscriptions.of_alarms([ALARM.name], [ALARM]),
    "alarms-that-are-heard": subscriptions.of_listeners([ALARM], HEARD),
    "targets": target_rules.of_targets_at_all(by_id(target(enabled=False), target("b"))),
    "items": of_items({"target_id": "a", "host": "h", "subject": "{host}"}, {"target_id": DEFAULTS_ID, "port": 995}),
    "due": overdue_rules.of_due(seen(target(), tested=["mail-berlin"]), NOW),
    "suspended": overdue_rules.of_due(seen(target(enabled=False), health=None), NOW),
    "parents": target_rules.of_parents(by_id(target("a"), target("b", depends_on="a"))),
    "policies": target_rules.of_policies([target(maintenance=[{"from": "02:00", "until": "04:00"}])], NOW),
    "owed-a-moment-ago": overdue_rules.of_owed([owing(NOW - 2 * MINUTE)], 2 * MINUTE, NOW),
    "letters": dead_letters.of_letters(0, []),
    "reach": alert_coverage.of_reach([target(), target("b", max_alerts=1)], [MAIL]),
    "reach-nobody-subscribes": alert_coverage.of_reach([target()], []),
}  # fmt: skip


@pytest.mark.parametrize("found", SOUND.values(), ids=SOUND)
def test_what_is_well_is_not_found(found: Iterable[Finding]) -> None:
    """Sound facts have no findings."""
    assert list(found) == []


def test_all_that_is_wrong_with_a_schedule() -> None:
    """Each change is told."""
    wrong = replace(
        SCHEDULE, expression="rate(1 hour)", target="arn:aws:lambda:x:1:function:old", payload="{}", ends=NOW - MINUTE
    )
    assert whats(stack.of_schedule(wrong, FUNCTION, NOW)) == [
        "The schedule popwatch-each-minute is rate(1 hour) instead of rate(1 minute).",
        f"The schedule popwatch-each-minute wakes old instead of {FUNCTION}.",
        "The schedule popwatch-each-minute does not hand over <aws.scheduler.scheduled-time>, so each sweep ends in an "
        "error.",
        "The schedule popwatch-each-minute has ended at 2026-11-25 02:59:30 UTC.",
    ]


def test_a_function_that_is_being_made() -> None:
    """A minute later it runs."""
    (found,) = stack.of_function(replace(LAMBDA, state="Pending"), ENVIRONMENT)
    assert (found.severity, found.what) == (Severity.WARNING, f"The function {FUNCTION} is being made or updated.")


def test_a_mapping_that_changes_what_comes_back() -> None:
    """A failed message must come back alone, and AWS's own word of trouble is passed on."""
    wrong = replace(MAPPING, reports_failures=False, last_result="PROBLEM: Function call failed\x1b[31m")
    assert whats(batch_queue.of_mapping(wrong)) == [
        "The batch queue's event source mapping does not take back single failed messages (ReportBatchItemFailures).",
        "The batch queue's event source mapping has trouble: PROBLEM: Function call failed?[31m.",
    ]


def test_a_queue_that_keeps_nothing() -> None:
    """What fails must go to the stack's own dead-letter queue."""
    assert kinds(batch_queue.of_queue(replace(QUEUE, dead_letters_to=""), 120, DEAD_LETTERS)) == [Kind.QUEUE_CHANGED]
    assert kinds(batch_queue.of_dead_letter_queue(False)) == [Kind.QUEUE_GONE]


def test_a_reservation_that_is_too_small() -> None:
    """It counts instead of what the account has left."""
    (found,) = batch_queue.of_concurrency(1000, 2, 10, 1)
    assert found.what == "The function's reservation lets 2 invocations run at once; popwatch needs 3 for its 1 batch."
    assert list(batch_queue.of_concurrency(1000, 0, 10, 1)) == [], "a function that is stopped is told of elsewhere"


def test_sweeps_that_take_long() -> None:
    """The longest lag of the last hour."""
    (found,) = stack.of_figures(replace(FIGURES, lag_seconds=131.4))
    assert (found.kind, found.what) == (Kind.SWEEPS_LATE, "A sweep of the last hour ended 131 s after its tick.")


@pytest.mark.parametrize(
    ("ages", "delay_up", "gaps"),
    [
        (range(60), 60, []),
        ([age for age in range(60) if age not in (30, 31)], 60, []),
        ([age for age in range(60) if age not in (30, 31, 32)], 60, [(33, 29)]),
        (range(0, 60, 5), 300, []),
        ([0, 5, 10, 20, 25, 40, 45, 50, 55], 300, [(40, 25), (20, 10)]),
        ([], 60, [(60, 0)]),
    ],
)
def test_gaps(ages: Iterable[int], delay_up: int, gaps: list[tuple[int, int]]) -> None:
    """Ticks further apart than the delay and two minutes, from the beginning to the last sweep."""
    found = sweeps.gaps_between([TICK - age * MINUTE for age in ages], delay_up, TICK - 60 * MINUTE, TICK)
    assert [((TICK - begin) // MINUTE, (TICK - end) // MINUTE) for begin, end in found] == gaps


def test_several_gaps_are_one_finding() -> None:
    """The longest is named."""
    (found,) = sweeps.of_gaps([(TICK - 50 * MINUTE, TICK - 40 * MINUTE), (TICK - 9 * MINUTE, TICK)])
    assert (
        found.what
        == "No sweep tested anything in 2 gaps of the last 6 h, the longest from 02:10 to 02:20 UTC (10 min)."
    )


def test_the_witness_is_up_and_tested_often() -> None:
    """A target that fails, is off, or is tested seldom says little of sweeps."""
    healths = {"often": UP, "seldom": UP, "down": Health(State.DOWN, NOW), "off": UP}
    targets = [target("off", enabled=False), target("down"), target("seldom", delay_up=600), target("often")]
    records = {name: Record(name, 1, TICK, health) for name, health in healths.items()}
    assert sweeps.witness(targets, records) == targets[-1]
    assert sweeps.witness(targets[:2], records) is None


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ({**PUBLISH, "Effect": "Deny", "Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}, []),
        ({**PUBLISH, "Effect": "Deny", "Principal": "*", "Action": "sns:Subscribe"}, []),
        ({**PUBLISH, "Effect": "Deny", "Action": ["SNS:Publish"]}, [Kind.TOPIC_DENIES]),
        ({**PUBLISH, "Principal": "*", "Action": "sns:*"}, [Kind.TOPIC_OPEN]),
        ({**PUBLISH, "Principal": {"AWS": ["*"]}, "Condition": {"StringEquals": {"AWS:SourceOwner": "1"}}}, []),
    ],
)
def test_topic_policies(statement: dict[str, Any], found: list[Kind]) -> None:
    """Only what holds for everybody at all times is sure."""
    assert kinds(subscriptions.of_alert_topic(replace(ALERT_TOPIC, statements=(PUBLISH, statement)))) == found


def test_operator_topics() -> None:
    """Alarms must be let publish; its absence is no outage of alerts."""
    assert kinds(subscriptions.of_operator_topic(replace(OPERATOR_TOPIC, statements=(PUBLISH,)))) == [Kind.TOPIC_DENIES]
    (gone,) = subscriptions.of_operator_topic(None)
    assert (gone.kind, gone.severity) == (Kind.TOPIC_GONE, Severity.WARNING)


def test_operators_who_have_not_confirmed() -> None:
    """They are named if somebody else has; if nobody has, the alarms are unheard."""
    waiting = replace(MAIL, confirmed=False)
    assert whats(subscriptions.of_operators([MAIL, waiting, waiting])) == [
        "email o...@example.net, email o...@example.net have not confirmed and receive no alarms of popwatch itself."
    ]
    assert list(subscriptions.of_operators([waiting])) == list(subscriptions.of_operators([])) == []


def test_an_alarm_that_tells_something_else() -> None:
    """What is no topic is taken to be heard; one heard destination is enough."""
    elsewhere = replace(ALARM, actions=("arn:aws:ssm-incidents::1:response-plan/x", *ALARM.actions))
    assert list(subscriptions.of_listeners([elsewhere], {ALARM.actions[0]: []})) == []


def test_a_thousand_targets_that_nobody_hears_of_are_one_line() -> None:
    """A count and some names."""
    targets = [target(f"t{number:04}", group=f"g{number % 50}", tags=[f"n{number}"]) for number in range(1000)]
    found = list(alert_coverage.of_reach(targets, [policy(group=["g1", "g2"])]))
    assert whats(found) == ["No alert of an outage of 960 targets (t0000, t0003, t0004 and 957 more) reaches anybody."]
    assert len(found[0].names) == 960


def test_maintenance_does_not_hide_what_is_unheard() -> None:
    """Whatever hours a target has off, its outages of other hours are what is asked about."""
    nightly = target(maintenance=[{"days": "daily", "from": "00:00", "until": "02:00"}])
    found = list(alert_coverage.of_reach([nightly], [policy(group=["another"])]))
    assert Kind.UNHEARD in kinds(found)


def test_an_error_that_nobody_hears_of() -> None:
    """A policy on errors may let all but one through."""
    heard = ["cannot-connect", "no-address", "timed-out", "disconnected", "missing-fields", {"exists": False}]
    (found,) = alert_coverage.of_reach([target(max_alerts=1)], [policy(error=heard)])
    assert found.kind is Kind.PARTLY_UNHEARD
    assert "nobody hears of alert 1 (where the error is protocol)" in found.what


def test_events_that_nobody_hears_of() -> None:
    """The end of an outage, a certificate, half up: each is named, for those targets that may have it."""
    plain, rich = target("a", flap_per_hour=0), target("b", flap_per_hour=0, tls="implicit", all_addresses=True)
    found = list(alert_coverage.of_reach([plain, rich], [policy(event=["down"])]))
    assert [finding.what.partition("; ")[0].rstrip(".") for finding in found] == [
        "Of target a, nobody hears of the recovery",
        "Of target b, nobody hears of the recovery, being half up, being whole again and the certificate's end",
    ]


def test_a_subscription_for_summaries_or_tests_is_not_deaf() -> None:
    """It is there for what no single target brings."""
    for event in ("summary", "test"):
        assert Kind.FILTER_BLOCKS_ALL not in kinds(alert_coverage.of_reach([target()], [MAIL, policy(event=[event])]))


def test_a_policy_on_the_body_is_deaf() -> None:
    """And what to do about it is something else."""
    deaf = Subscription("sqs", "q", policy={"event": ["down"]}, by_body=True)
    (found,) = alert_coverage.of_reach([target()], [MAIL, deaf])
    assert found.do == "Alerts are texts: set its FilterPolicyScope to MessageAttributes."


def test_who_is_told_of_nothing_is_not_missed() -> None:
    """Suspended targets, and those without alerts, reach nobody by their user's will."""
    targets = [target("a", enabled=False), target("b", max_alerts=0)]
    assert list(alert_coverage.of_reach(targets, [policy(group=["another"])])) == []


def test_the_same_mistake_is_told_once() -> None:
    """With the targets that share it; those that are suspended are worth a warning only."""
    found = of_items(
        *({"target_id": f"t{number}", "host": "h", "tls": "ssl"} for number in range(6)),
        {"target_id": "off", "host": "h", "tls": "ssl", "enabled": False},
        {"target_id": DEFAULTS_ID, "delay_up": 1},
    )
    said = "The field `tls` cannot be used: `ssl` is not one of none, implicit, starttls."
    assert [(finding.severity.name, finding.what) for finding in found] == [
        ("BROKEN", f"6 targets (t0, t1, t2 and 3 more) cannot be tested: {said}"),
        ("WARNING", f"Target off cannot be tested: {said}"),
        (
            "BROKEN",
            "The item _defaults, which holds for all targets, is wrong: The field `delay_up` cannot be used: `1` is "
            "not between 10 and 86400.",
        ),
    ]


def test_duplicates_are_compared_as_they_are_connected_to() -> None:
    """Letter case, the final dot, brackets, and a port by default make no other server; another port does."""
    one, other = target("a", host="[2001:db8::1]", tls="implicit"), target("b", host="2001:DB8::1", port=995)
    assert whats(target_rules.of_duplicates([one, other, target("c", host="2001:db8::1")])) == [
        "[2001:db8::1]:995 is watched by 2 targets (a, b): each outage is told 2 times."
    ]


@pytest.mark.parametrize(
    ("health", "fields", "overdue"),
    [
        (UP, {}, True),
        (UP, {"delay_up": 3600}, False),
        (replace(UP, since=NOW - 5 * MINUTE), {}, False),
        (Health(State.DOWN, NOW, next_test_at=NOW - 2 * MINUTE), {}, False),
        (Health(State.DOWN, NOW, next_test_at=NOW - 4 * MINUTE), {}, True),
        (UP, {"enabled": False}, False),
    ],
)
def test_overdue(health: Health, fields: dict[str, Any], overdue: bool) -> None:
    """By the record of a failing target, by the samples of one that is up and tested often."""
    assert (kinds(overdue_rules.of_due(seen(target(**fields), health=health), NOW)) == [Kind.OVERDUE]) is overdue


def test_nothing_is_overdue_while_there_are_no_sweeps() -> None:
    """That is said once, and not of each target."""
    stopped = replace(seen(target()), swept_at=NOW - 10 * MINUTE)
    assert list(overdue_rules.of_due(stopped, NOW)) == []
    assert list(overdue_rules.of_due(replace(seen(target(), health=None), swept_at=None), NOW)) == []


def test_silent_for_ever() -> None:
    """A silence of a month, and windows that leave no gap between them."""
    silence = {"from": "2026-11-01T00:00Z", "until": "2026-12-24T00:00Z"}
    halves = [{"from": "00:00", "until": "12:00"}, {"from": "12:00", "until": "24:00"}]
    found = target_rules.of_policies([target("a", silence=silence), target("b", maintenance=halves)], NOW)
    assert [finding.names for finding in found] == [("a", "b")]


def letter(body: str, **attributes: str) -> dead_letters.Letter:
    return dead_letters.read_letter(body, attributes)


def batch_of(*delays: int) -> str:
    tests = tuple(
        PlannedTest(target(f"t{delay}", delay_up=delay), Record(f"t{delay}", 1, TICK, UP)) for delay in delays
    )
    (body,) = to_messages(Batch(TICK - 40 * MINUTE, TICK - 39 * MINUTE, 1, 0, tests, {}))
    return body


HOUR = to_messages(HourOfBatch(TICK.replace(minute=0) - 2 * timedelta(hours=1), 1, 0))
AT = {"scheduled_time": iso(TICK - 40 * MINUTE)}
FROM_LAMBDA = {
    "requestContext": {"condition": "RetriesExhausted"},
    "requestPayload": AT,
    "responsePayload": {"errorMessage": "Task timed out"},
}


@pytest.mark.parametrize(
    ("body", "attributes", "fate", "sentence"),
    [
        (json.dumps(AT), {}, "drop", "The tick of 2026-11-25 02:20:00 UTC is dropped: later ticks have made up for"),
        (json.dumps(FROM_LAMBDA), {}, "drop", "The tick of 2026-11-25 02:20:00 UTC is dropped"),
        (json.dumps({"scheduled_time": "<aws"}), {"SCHEDULED_TIME": iso(TICK)}, "drop", "The tick of 2026-11-25 03:00"),
        (json.dumps({"scheduled_time": "<aws"}), {}, "keep", "A tick without a time is kept"),
        (json.dumps({"scheduled_time": iso(TICK + MINUTE)}), {}, "keep", "The tick of 2026-11-25 03:01:00 UTC is kept"),
        (next(HOUR), {}, "send", "The hour of 2026-11-25 01:00:00 UTC, to be added up, goes back to the batch queue."),
        (batch_of(60, 300), {}, "drop", "The batch of 2026-11-25 02:20:00 UTC (2 targets) is dropped: it has been"),
        (
            batch_of(60, 3600),
            {},
            "send",
            "The batch of 2026-11-25 02:20:00 UTC (2 targets) goes back to the batch queue: 1 test of it can still be",
        ),
        ("hello", {}, "keep", "A message that is none of popwatch's is kept"),
        ('{"requestPayload": [1]}', {}, "keep", "A message that is none of popwatch's is kept"),
        ("[" * 100_000, {}, "keep", "A message that is none of popwatch's is kept"),
    ],
)  # fmt: skip
def test_where_dead_letters_belong(body: str, attributes: dict[str, str], fate: str, sentence: str) -> None:
    """Ticks were made up for, batches are overtaken or go back, an hour always goes back; all else stays."""
    verdict = dead_letters.decide(letter(body, **attributes), TICK, NOW)
    assert verdict.fate == fate
    assert verdict.sentence.startswith(sentence)


def test_a_tick_is_kept_until_a_later_one_has_been_completed() -> None:
    """Before the first sweep nothing has made up for it."""
    assert dead_letters.decide(letter(json.dumps(AT)), None, NOW).fate is dead_letters.Fate.KEEP


def test_why_letters_died() -> None:
    """Lambda's or Scheduler's word, cleaned; and a count of each kind."""
    dead = [letter(json.dumps(FROM_LAMBDA)), letter(json.dumps(AT), ERROR_MESSAGE="no\x1brole"), letter(batch_of(60))]
    assert [found.why for found in dead] == ["Task timed out", "no?role", ""]
    (found,) = dead_letters.of_letters(5, dead)
    assert found.what.startswith(
        "5 dead letters: 2 ticks, 1 batch, the oldest of 2026-11-25 02:20:00 UTC. AWS says: Task"
    )


def test_exit_codes_and_summary() -> None:
    """The worst finding decides; what is not known does not, unless nothing is known."""
    well, unknown = Checked("a"), Checked("b", unknown="AWS answers AccessDenied to GetSchedule")
    warns, breaks = Checked("c", (EXAMPLES[5],)), Checked("d", (EXAMPLES[5], EXAMPLES[0]))
    assert [exit_code(found) for found in ([well, unknown], [unknown, unknown], [warns, unknown], [warns, breaks])] == [
        0, 3, 1, 2,
    ]  # fmt: skip
    assert summary([well]) == "1 check: 1 well."
    assert summary([well, warns, breaks, unknown]) == (
        "4 checks: 1 well, 2 with findings (1 broken, 2 warnings), 1 not known."
    )
    assert [finding.severity.name for finding in worst_first([warns, breaks])] == ["BROKEN", "WARNING", "WARNING"]


def test_some_names() -> None:
    """Three, and the number of the others, unless that is one."""
    assert [some(list("abcde"[:count])) for count in (1, 4, 5)] == ["a", "a, b, c, d", "a, b, c and 2 more"]
