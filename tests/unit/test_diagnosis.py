"""The findings of each rule: what is found, and what is not."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from popwatch.decisions.batches import Batch, PlannedTest, RollupJob, to_messages
from popwatch.model.credential_state import CredentialState, Refusal
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.health import Health, State
from popwatch.model.records import Record
from popwatch.model.text import iso
from popwatch_cli.doctor.rules import (
    alert_coverage,
    batch_queue,
    credentials,
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
from popwatch_cli.doctor.rules.findings import (
    CheckResult,
    Finding,
    FindingKind,
    Severity,
    exit_code,
    some,
    summary,
    worst_first,
)
from popwatch_cli.rehearsal.filter_policies import Subscription
from tests.doctor_findings import (
    ALARM,
    ALERT_TOPIC,
    DEAD_LETTERS,
    ENVIRONMENT,
    EXAMPLES,
    FUNCTION,
    LAMBDA,
    MAIL,
    MAPPING,
    METRICS,
    NOW,
    OPERATOR_TOPIC,
    PUBLISH,
    QUEUE,
    RECEIVED,
    SCHEDULE,
    TABLE,
    TICK,
    UP,
    USERS,
    by_id,
    of_items,
    policy,
    seen,
    target,
    with_pending_alert,
)

MINUTE = timedelta(minutes=1)
STOPS = {
    FindingKind.SCHEDULE_GONE, FindingKind.SCHEDULE_OFF, FindingKind.SCHEDULE_CHANGED, FindingKind.FUNCTION_GONE,
    FindingKind.FUNCTION_NOT_ACTIVE, FindingKind.FUNCTION_DRIFTED, FindingKind.METRICS_DROPPED,
    FindingKind.FUNCTION_STOPPED, FindingKind.BATCHES_GONE, FindingKind.BATCHES_OFF, FindingKind.QUEUE_GONE,
    FindingKind.NO_SWEEP, FindingKind.SWEEPS_STOPPED, FindingKind.CHECKPOINT_DAMAGED, FindingKind.TABLE_GONE,
    FindingKind.TABLE_NOT_ACTIVE, FindingKind.TABLE_KEY, FindingKind.TOPIC_GONE, FindingKind.TOPIC_DENIES,
    FindingKind.NO_SUBSCRIPTION, FindingKind.NONE_CONFIRMED, FindingKind.UNREPORTED, FindingKind.SMS_SPENT,
    FindingKind.BAD_FIELD, FindingKind.OVERDUE, FindingKind.ALERTS_PENDING,
}  # fmt: skip
"""What keeps alerts from being sent or targets from being watched."""


NOTES = {FindingKind.ANYONE_MAY_UNSUBSCRIBE, FindingKind.SMS_NOT_LOGGED}
"""What is not a fault: the exit code does not count it."""


def kinds(found: Iterable[Finding]) -> list[FindingKind]:
    return [finding.kind for finding in found]


def whats(found: Iterable[Finding]) -> list[str]:
    return [finding.what for finding in found]


def test_there_is_an_example_of_each_kind() -> None:
    """In the order of the kinds, so that the docs can show them."""
    assert kinds(EXAMPLES) == list(FindingKind)


@pytest.mark.parametrize("finding", EXAMPLES, ids=lambda found: found.kind)
def test_each_kind(finding: Finding) -> None:
    """A sentence that says what, one that says what to do, and how bad it is."""
    usual = Severity.NOTE if finding.kind in NOTES else Severity.WARNING
    assert finding.severity is (Severity.BROKEN if finding.kind in STOPS else usual)
    for sentence in (finding.what, finding.do):
        assert re.fullmatch(r"[^\n]+[.?!]", sentence), sentence


SOUND: dict[str, Iterable[Finding]] = {
    "schedule": stack.check_schedule(SCHEDULE, FUNCTION, NOW),
    "function": stack.check_function(LAMBDA, ENVIRONMENT),
    "function-asleep": stack.check_function(replace(LAMBDA, state="Inactive"), ENVIRONMENT),
    "function-that-logs-more": stack.check_function(replace(LAMBDA, log_filter="DEBUG"), ENVIRONMENT),
    "function-with-more-variables": stack.check_function(
        replace(LAMBDA, environment={**ENVIRONMENT, "LOG": "x"}), ENVIRONMENT
    ),
    "no-reservation": stack.check_reserved(FUNCTION, None),
    "reservation": stack.check_reserved(FUNCTION, 5),
    "metrics": stack.check_metrics(METRICS),
    "mapping": batch_queue.check_mapping(MAPPING),
    "mapping-that-starts": batch_queue.check_mapping(replace(MAPPING, state="Enabling", parallel=None)),
    "queue": batch_queue.check_queue(QUEUE, 120, DEAD_LETTERS),
    "dead-letter-queue": batch_queue.check_dead_letter_queue(True),
    "stack": stack.check_stack("popwatch", "UPDATE_COMPLETE"),
    "checkpoint": sweeps.check_checkpoint(TICK, NOW),
    "no-gaps": sweeps.check_gaps([]),
    "concurrency": batch_queue.check_concurrency(10, None, 10, 1),
    "concurrency-without-a-limit": batch_queue.check_concurrency(1000, None, None, 64),
    "clock": stack.check_clock(timedelta(seconds=-2)),
    "table": tables.check_table(tables.HISTORY, "h", TABLE[tables.HISTORY]),
    "expiry": tables.check_expiry("h", True, "expires_at"),
    "recovery": tables.check_recovery("t", True),
    "alert-topic": subscriptions.check_alert_topic(ALERT_TOPIC),
    "operator-topic": subscriptions.check_operator_topic(OPERATOR_TOPIC),
    "subscriptions": subscriptions.check_subscriptions([MAIL]),
    "sandbox": subscriptions.check_sandbox(False),
    "spend": subscriptions.check_spend(1.0, 10.0),
    "alarms": subscriptions.check_alarms([ALARM.name], [ALARM]),
    "alarms-with-receivers": subscriptions.check_alarm_receivers([ALARM], RECEIVED),
    "targets": target_rules.check_any_targets(by_id(target(enabled=False), target("b"))),
    "items": of_items({"target_id": "a", "host": "h", "subject": "{host}"}, {"target_id": DEFAULTS_ID, "port": 995}),
    "due": overdue_rules.check_targets(seen(target(), tested=["mail-berlin"]), NOW),
    "suspended": overdue_rules.check_targets(seen(target(enabled=False), health=None), NOW),
    "parents": target_rules.check_parents(by_id(target("a"), target("b", depends_on="a"))),
    "policies": target_rules.check_policies([target(maintenance=[{"from": "02:00", "until": "04:00"}])], NOW),
    "pending-for-two-minutes": overdue_rules.check_pending_alerts(
        [with_pending_alert(NOW - 2 * MINUTE)], 2 * MINUTE, NOW
    ),
    "logins": credentials.check_credentials(
        [
            CredentialState("monitor", passed_at=NOW),
            CredentialState("monitor", problem="credential-missing", problem_since=NOW - 14 * MINUTE),
            CredentialState("monitor", passed_at=NOW, refusals=(Refusal("mail-rome", 1, NOW),)),
            CredentialState("monitor", rejections=1, refusals=(Refusal("mail-rome", 2, NOW),)),
        ], USERS, NOW
    ),
    "dead-letters": dead_letters.check_dead_letters(0, []),
    "coverage": alert_coverage.check_coverage([target(), target("b", max_alerts=1)], [MAIL]),
    "coverage-without-subscriptions": alert_coverage.check_coverage([target()], []),
}  # fmt: skip


@pytest.mark.parametrize("found", SOUND.values(), ids=SOUND)
def test_what_is_well_is_not_found(found: Iterable[Finding]) -> None:
    """What is as it should be has no findings."""
    assert list(found) == []


def test_a_login_that_one_target_refuses() -> None:
    """It is named alone: the others log in."""
    state = CredentialState("monitor", passed_at=NOW, refusals=(Refusal("mail-rome", 2, NOW, certain=True),))
    [found] = credentials.check_credentials([state], USERS, NOW)
    assert (found.kind, found.names) == (FindingKind.CREDENTIAL_REFUSED, ("mail-rome",))
    assert "refused twice or more by mail-rome, and is accepted by others" in found.what


@pytest.mark.parametrize(("certain", "first_step"), [(True, "Store the right one"), (False, credentials.LOOK)])
def test_a_login_that_is_refused_may_be_the_fault_of_the_server(certain: bool, first_step: str) -> None:
    """Without a response code a dead backend says no more than a wrong password does."""
    state = CredentialState("monitor", accepted_at=NOW, rejections=2, rejected_by="mail-rome", certain=certain)
    [found] = credentials.check_credentials([state], USERS, NOW)
    assert found.do.startswith(first_step)
    assert "popwatch credentials put monitor" in found.do


def test_all_that_is_wrong_with_a_schedule() -> None:
    """Each difference is a finding."""
    wrong = replace(
        SCHEDULE, expression="rate(1 hour)", target="arn:aws:lambda:x:1:function:old", payload="{}", ends=NOW - MINUTE
    )
    assert whats(stack.check_schedule(wrong, FUNCTION, NOW)) == [
        "The schedule popwatch-each-minute runs at rate(1 hour) instead of rate(1 minute).",
        f"The schedule popwatch-each-minute invokes old instead of {FUNCTION}.",
        "The schedule popwatch-each-minute does not pass on <aws.scheduler.scheduled-time>: every sweep fails.",
        "The schedule popwatch-each-minute ended at 2026-11-25 02:59:30 UTC: nothing is tested.",
    ]


def test_a_function_that_is_being_made() -> None:
    """A minute later it runs."""
    (found,) = stack.check_function(replace(LAMBDA, state="Pending"), ENVIRONMENT)
    assert (found.severity, found.what) == (Severity.WARNING, f"The function {FUNCTION} is being created or updated.")


def test_a_mapping_that_changes_what_comes_back() -> None:
    """A failed message must be repeated alone, and a problem that AWS reports is passed on."""
    wrong = replace(MAPPING, reports_failures=False, last_result="PROBLEM: Function call failed\x1b[31m")
    assert whats(batch_queue.check_mapping(wrong)) == [
        "The batch queue's event source mapping lacks ReportBatchItemFailures: one failed message repeats all "
        "messages of its invocation.",
        "The batch queue's event source mapping reports a problem: PROBLEM: Function call failed?[31m.",
    ]


def test_a_queue_that_keeps_nothing() -> None:
    """Failed messages must go to the stack's own dead-letter queue."""
    assert kinds(batch_queue.check_queue(replace(QUEUE, dead_letters_to=""), 120, DEAD_LETTERS)) == [
        FindingKind.QUEUE_CHANGED
    ]
    assert kinds(batch_queue.check_dead_letter_queue(False)) == [FindingKind.QUEUE_GONE]


def test_a_reservation_that_is_too_small() -> None:
    """It counts instead of what the account has left."""
    (found,) = batch_queue.check_concurrency(1000, 2, 10, 1)
    assert (
        found.what == "The reservation of the function allows 2 invocations at once, but popwatch needs 3 for 1 batch."
    )
    assert list(batch_queue.check_concurrency(1000, 0, 10, 1)) == [], "a stopped function is another finding"


def test_sweeps_that_take_long() -> None:
    """The longest lag of the last hour."""
    (found,) = stack.check_metrics(replace(METRICS, lag_seconds=171.4))
    assert (found.kind, found.what) == (FindingKind.SWEEPS_LATE, "A sweep in the last hour ended 171 s after its tick.")


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
    """The sentence has the longest."""
    (found,) = sweeps.check_gaps([(TICK - 50 * MINUTE, TICK - 40 * MINUTE), (TICK - 9 * MINUTE, TICK)])
    assert (
        found.what
        == "No sweep tested anything in 2 gaps in the last 6 h, the longest from 02:10 to 02:20 UTC (10 min)."
    )


def test_the_baseline_target_is_up_and_tested_often() -> None:
    """A target that fails, is suspended, or is tested seldom shows little about sweeps."""
    healths = {"often": UP, "seldom": UP, "down": Health(State.DOWN, NOW), "off": UP}
    targets = [target("off", enabled=False), target("down"), target("seldom", delay_up=600), target("often")]
    records = {name: Record(name, 1, TICK, health) for name, health in healths.items()}
    assert sweeps.baseline_target(targets, records) == targets[-1]
    assert sweeps.baseline_target(targets[:2], records) is None


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ({**PUBLISH, "Effect": "Deny", "Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}, []),
        ({**PUBLISH, "Effect": "Deny", "Principal": "*", "Action": "sns:Subscribe"}, []),
        ({**PUBLISH, "Effect": "Deny", "Action": ["SNS:Publish"]}, [FindingKind.TOPIC_DENIES]),
        ({**PUBLISH, "Principal": "*", "Action": "sns:*"}, [FindingKind.TOPIC_OPEN]),
        ({**PUBLISH, "Principal": {"AWS": ["*"]}, "Condition": {"StringEquals": {"AWS:SourceOwner": "1"}}}, []),
    ],
)
def test_topic_policies(statement: dict[str, Any], found: list[FindingKind]) -> None:
    """Only a statement that applies to everybody at all times is certain to have an effect."""
    assert kinds(subscriptions.check_alert_topic(replace(ALERT_TOPIC, statements=(PUBLISH, statement)))) == found


def test_operator_topics() -> None:
    """CloudWatch must be allowed to publish; without the topic alerts are still sent."""
    assert kinds(subscriptions.check_operator_topic(replace(OPERATOR_TOPIC, statements=(PUBLISH,)))) == [
        FindingKind.TOPIC_DENIES
    ]
    (gone,) = subscriptions.check_operator_topic(None)
    assert (gone.kind, gone.severity) == (FindingKind.TOPIC_GONE, Severity.WARNING)


def test_operators_who_have_not_confirmed() -> None:
    """They are listed if someone else has; if no one has, that is a finding about the alarms."""
    waiting = replace(MAIL, confirmed=False)
    assert whats(subscriptions.check_operators([MAIL, waiting, waiting])) == [
        "email o...@example.net, email o...@example.net have not confirmed and receive no alarms of popwatch itself."
    ]
    assert list(subscriptions.check_operators([waiting])) == list(subscriptions.check_operators([])) == []


def test_an_alarm_that_notifies_something_else() -> None:
    """An action that is not a topic is assumed to reach someone; one such action is enough."""
    elsewhere = replace(ALARM, actions=("arn:aws:ssm-incidents::1:response-plan/x", *ALARM.actions))
    assert list(subscriptions.check_alarm_receivers([elsewhere], {ALARM.actions[0]: []})) == []


def test_alarms_of_a_local_stack_need_no_operator() -> None:
    """A note, which does not count: nothing can be done about it there."""
    [found] = subscriptions.check_alarm_receivers([ALARM], {ALARM.actions[0]: []}, local=True)
    assert (found.kind, found.severity) == (FindingKind.ALARM_UNREPORTED, Severity.NOTE)
    assert found.what.endswith("reaches no one: the local stack has no operator.")


def test_a_thousand_unreported_targets_are_one_line() -> None:
    """A count and some names."""
    targets = [target(f"t{number:04}", group=f"g{number % 50}", tags=[f"n{number}"]) for number in range(1000)]
    found = list(alert_coverage.check_coverage(targets, [policy(group=["g1", "g2"])]))
    assert whats(found) == [
        "No alert about an outage of 960 targets (t0000, t0003, t0004 and 957 more) reaches anyone."
    ]
    assert len(found[0].names) == 960


def test_maintenance_does_not_hide_what_is_unreported() -> None:
    """The simulated outage is outside of all maintenance windows."""
    nightly = target(maintenance=[{"days": "daily", "from": "00:00", "until": "02:00"}])
    found = list(alert_coverage.check_coverage([nightly], [policy(group=["another"])]))
    assert FindingKind.UNREPORTED in kinds(found)


def test_an_error_that_is_unreported() -> None:
    """A policy on errors may let all but one through."""
    reported = ["cannot-connect", "no-address", "timed-out", "disconnected", "missing-fields", {"exists": False}]
    (found,) = alert_coverage.check_coverage([target(max_alerts=1)], [policy(error=reported)])
    assert found.kind is FindingKind.PARTLY_UNREPORTED
    assert "alerts of target mail-berlin: alert 1 (if the error is protocol)" in found.what


def test_events_that_are_unreported() -> None:
    """Recovery, certificate, degraded, posture: each is listed for the targets that may have it."""
    plain, rich = target("a", flap_per_hour=0), target("b", flap_per_hour=0, tls="implicit", all_addresses=True)
    found = list(alert_coverage.check_coverage([plain, rich], [policy(event=["down"])]))
    assert [finding.what.partition("; ")[0].rstrip(".") for finding in found] == [
        "No one receives these alerts of target a: recovery, worse posture",
        "No one receives these alerts of target b: recovery, degraded, restored, certificate expiry, worse posture",
    ]


def test_a_subscription_for_summaries_or_tests_is_not_blocked() -> None:
    """It receives messages that do not come from a single target."""
    for event in ("summary", "test"):
        assert FindingKind.FILTER_BLOCKS_ALL not in kinds(
            alert_coverage.check_coverage([target()], [MAIL, policy(event=[event])])
        )


def test_a_policy_on_the_body_blocks_all() -> None:
    """And the advice is another."""
    by_body = Subscription("sqs", "q", policy={"event": ["down"]}, by_body=True)
    (found,) = alert_coverage.check_coverage([target()], [MAIL, by_body])
    assert found.do == "Alerts are plain text: set its FilterPolicyScope to MessageAttributes."


def test_targets_without_alerts_are_not_unreported() -> None:
    """Their users do not want alerts of suspended targets and of those with `max_alerts` 0."""
    targets = [target("a", enabled=False), target("b", max_alerts=0)]
    assert list(alert_coverage.check_coverage(targets, [policy(group=["another"])])) == []


def test_the_same_mistake_is_one_finding() -> None:
    """With all targets that share it; for suspended targets it is only a warning."""
    found = of_items(
        *({"target_id": f"t{number}", "host": "h", "tls": "ssl"} for number in range(6)),
        {"target_id": "off", "host": "h", "tls": "ssl", "enabled": False},
        {"target_id": DEFAULTS_ID, "delay_up": 1},
    )
    said = "The field `tls` cannot be used: `ssl` is not one of none, implicit, starttls. Did you mean `implicit`?"
    assert [(finding.severity.name, finding.what) for finding in found] == [
        ("BROKEN", f"6 targets (t0, t1, t2 and 3 more) cannot be tested: {said}"),
        ("WARNING", f"Target off cannot be tested: {said}"),
        (
            "BROKEN",
            "The item _defaults, which applies to all targets, is wrong: The field `delay_up` cannot be used: `1` is "
            "not between 10 and 86400.",
        ),
    ]


def test_a_target_for_each_family_is_no_duplicate() -> None:
    """They watch different addresses of one name."""
    both = [target("a", host="h.example", family="ipv4"), target("b", host="h.example", family="ipv6")]
    assert not list(target_rules.check_duplicates(both))
    assert list(target_rules.check_duplicates([*both, target("c", host="h.example", family="ipv6")]))


def test_duplicates_are_compared_as_they_are_connected_to() -> None:
    """Letter case, the final dot, brackets, and a default port do not make another server; another port does."""
    one, other = target("a", host="[2001:db8::1]", tls="implicit"), target("b", host="2001:DB8::1", port=995)
    assert whats(target_rules.check_duplicates([one, other, target("c", host="2001:db8::1")])) == [
        "[2001:db8::1]:995 is watched by 2 targets (a, b): each outage is reported 2 times."
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
    assert (
        kinds(overdue_rules.check_targets(seen(target(**fields), health=health), NOW)) == [FindingKind.OVERDUE]
    ) is overdue


def test_nothing_is_overdue_while_there_are_no_sweeps() -> None:
    """That is one finding, not one for each target."""
    stopped = replace(seen(target()), last_tick=NOW - 10 * MINUTE)
    assert list(overdue_rules.check_targets(stopped, NOW)) == []
    assert list(overdue_rules.check_targets(replace(seen(target(), health=None), last_tick=None), NOW)) == []


def test_silent_for_ever() -> None:
    """A silence of a month, and windows that leave no gap between them."""
    silence = {"from": "2026-11-01T00:00Z", "until": "2026-12-24T00:00Z"}
    halves = [{"from": "00:00", "until": "12:00"}, {"from": "12:00", "until": "24:00"}]
    found = target_rules.check_policies([target("a", silence=silence), target("b", maintenance=halves)], NOW)
    assert [(finding.names, finding.do) for finding in found] == [
        (("b",), "Correct the windows in `maintenance`, or remove them: `popwatch targets put b maintenance=`."),
        (("a",), "End it with `popwatch unsilence a`."),
    ]


def test_cycles_of_dependencies() -> None:
    """Each cycle is a finding, and those that depend on themselves are one; a dependency that comes from `_defaults` is
    removed there."""
    fleet = by_id(
        target("c2", depends_on=["c10", "gateway"]), target("c10", depends_on="c2"), target("self", depends_on="self"),
        target("d", depends_on="e"), target("e", depends_on="d"), target("gateway"),
    )  # fmt: skip
    items: dict[str, dict[str, Any]] = {name: {"depends_on": "own"} for name in fleet}
    items |= {DEFAULTS_ID: {"depends_on": "d"}, "d": {"depends_on": ""}}
    assert [(finding.what, finding.do) for finding in target_rules.check_parents(fleet, items)] == [
        (
            "Target self depends on itself: that holds back no alert.",
            "Leave it out of its own `depends_on`: `popwatch targets put self depends_on=`.",
        ),
        (
            "2 targets (c2, c10) depend on one another in a cycle: no alert is held back.",
            "Let one of them depend on none of the others: `popwatch targets put c2 'depends_on=[\"gateway\"]'`.",
        ),
        (
            "2 targets (d, e) depend on one another in a cycle: no alert is held back.",
            "Let one of them depend on none of the others: `popwatch targets put _defaults depends_on=`.",
        ),
    ]


def dead_letter(body: str, **attributes: str) -> dead_letters.DeadLetter:
    return dead_letters.read_dead_letter(body, attributes)


def batch_of(*delays: int) -> str:
    tests = tuple(
        PlannedTest(target(f"t{delay}", delay_up=delay), Record(f"t{delay}", 1, TICK, UP)) for delay in delays
    )
    (body,) = to_messages(Batch(TICK - 40 * MINUTE, TICK - 39 * MINUTE, 1, 0, tests, {}))
    return body


HOUR = to_messages(RollupJob(TICK.replace(minute=0) - 2 * timedelta(hours=1), 1, 0))
AT = {"scheduled_time": iso(TICK - 40 * MINUTE)}
FROM_LAMBDA = {
    "requestContext": {"condition": "RetriesExhausted"},
    "requestPayload": AT,
    "responsePayload": {"errorMessage": "Task timed out"},
}


@pytest.mark.parametrize(
    ("body", "attributes", "action", "sentence"),
    [
        (json.dumps(AT), {}, "drop", "The tick of 2026-11-25 02:20:00 UTC is dropped: later ticks have caught up."),
        (json.dumps(FROM_LAMBDA), {}, "drop", "The tick of 2026-11-25 02:20:00 UTC is dropped"),
        (json.dumps({"scheduled_time": "<aws"}), {"SCHEDULED_TIME": iso(TICK)}, "drop", "The tick of 2026-11-25 03:00"),
        (json.dumps({"scheduled_time": "<aws"}), {}, "keep", "A tick without a time is kept"),
        (json.dumps({"scheduled_time": iso(TICK + MINUTE)}), {}, "keep", "The tick of 2026-11-25 03:01:00 UTC is kept"),
        (next(HOUR), {}, "send", "The totals of the hour of 2026-11-25 01:00:00 UTC return to the batch queue: its"),
        (batch_of(60, 300), {}, "drop", "The batch of 2026-11-25 02:20:00 UTC (2 targets) is dropped: each of its"),
        (
            batch_of(60, 3600),
            {},
            "send",
            "The batch of 2026-11-25 02:20:00 UTC (2 targets) returns to the batch queue: 1 test can still be made.",
        ),
        ("hello", {}, "keep", "A message that is not popwatch's is kept"),
        ('{"requestPayload": [1]}', {}, "keep", "A message that is not popwatch's is kept"),
        ("[" * 100_000, {}, "keep", "A message that is not popwatch's is kept"),
    ],
)  # fmt: skip
def test_what_redrive_does(body: str, attributes: dict[str, str], action: str, sentence: str) -> None:
    """Ticks are dropped, batches are outdated or return, an hour always returns; all else is kept."""
    redrive = dead_letters.plan_redrive(dead_letter(body, **attributes), TICK, NOW)
    assert redrive.action == action
    assert redrive.sentence.startswith(sentence)


def test_a_tick_is_kept_until_a_later_one_has_been_completed() -> None:
    """Before the first sweep nothing has caught up."""
    assert dead_letters.plan_redrive(dead_letter(json.dumps(AT)), None, NOW).action is dead_letters.RedriveAction.KEEP


def test_why_letters_failed() -> None:
    """What Lambda or Scheduler reports, cleaned; and a count of each kind."""
    dead = [
        dead_letter(json.dumps(FROM_LAMBDA)),
        dead_letter(json.dumps(AT), ERROR_MESSAGE="no\x1brole"),
        dead_letter(batch_of(60)),
    ]
    assert [found.why for found in dead] == ["Task timed out", "no?role", ""]
    (found,) = dead_letters.check_dead_letters(5, dead)
    assert found.what.startswith(
        "5 dead letters: 2 ticks, 1 batch, the oldest of 2026-11-25 02:20:00 UTC. AWS reports: Task"
    )


def test_exit_codes_and_summary() -> None:
    """The worst finding decides; unknown results count only if all are unknown."""
    passed, unknown = CheckResult("a"), CheckResult("b", unknown="AWS answers AccessDenied to GetSchedule")
    warns, breaks = CheckResult("c", (EXAMPLES[5],)), CheckResult("d", (EXAMPLES[5], EXAMPLES[0]))
    results = [passed, unknown], [unknown, unknown], [warns, unknown], [warns, breaks]
    assert [exit_code(found) for found in results] == [0, 3, 1, 2]
    assert summary([passed]) == "1 check: 1 passed."
    assert summary([passed, warns, breaks, unknown]) == (
        "4 checks: 1 passed, 2 with findings (1 broken, 2 warnings), 1 unknown."
    )
    assert [finding.severity.name for finding in worst_first([warns, breaks])] == ["BROKEN", "WARNING", "WARNING"]


def test_some_names() -> None:
    """Three, and the number of the others, unless that is one."""
    assert [some(list("abcde"[:count])) for count in (1, 4, 5)] == ["a", "a, b, c, d", "a, b, c and 2 more"]


def test_notes_do_not_count() -> None:
    """They are shown last and counted in the summary, but the exit code stays 0."""
    with_note = CheckResult("x", tuple(subscriptions.check_sms_log("")))
    assert exit_code([with_note, CheckResult("y")]) == 0
    assert summary([with_note, CheckResult("y")]) == "2 checks: 1 passed, 1 with findings (1 note)."
    assert list(subscriptions.check_sms_log("arn:aws:iam::111122223333:role/sms")) == []
    assert list(subscriptions.check_phones([])) == []
    assert list(subscriptions.check_unsubscribing([Subscription("email", "o...@example.net")])) == []
