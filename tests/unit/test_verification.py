"""`popwatch verify`: each check of its result, judged by what was seen."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from samcli.yamlhelper import yaml_parse

from popwatch.model.health import State, Transition
from popwatch.model.messages import AlertMessage, Topic
from popwatch.model.outcomes import ErrorCode, Outcome, Phase, RttSource
from popwatch.model.records import HistoryEvent, PublishedAlert
from popwatch_cli.commands.verify import lines_of, parse_server, summary
from popwatch_cli.doctor.rules.findings import FindingKind
from popwatch_cli.errors import UserError
from popwatch_cli.verification.evidence import Arrival, CpuUse, Evidence, MetricState, QueueRole, Source, TopicRole
from popwatch_cli.verification.rules import (
    CHECKS,
    FILTERS_IN_EFFECT,
    LONGEST_RUN,
    ONLY_SOMETIMES,
    Verdict,
    VerificationResult,
    decide,
    exit_code,
    is_complete,
    needs_second_alert,
)
from popwatch_cli.verification.temporary import Server
from tests.lambda_runtime.function import PROJECT

START = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
ATTRIBUTES = {"event": "down", "state": "down", "target_id": "t", "error": "no-address", "alert_number": "1"}


def failed(late: float, reason: str = "no-such-name") -> Outcome:
    started_at = START + timedelta(seconds=late)
    return Outcome(started_at, Phase.DNS, ErrorCode.NO_ADDRESS, reason, dns_ms=2.0)


def passing() -> Outcome:
    return Outcome(START, Phase.QUIT, rtt_ms=20.0, rtt_source=RttSource.KERNEL)


def arrival(queue: QueueRole, topic: TopicRole = TopicRole.ALERTS, after: timedelta = MINUTE) -> Arrival:
    return Arrival(queue, topic, "m-1", after, ATTRIBUTES)


def sound() -> Evidence:
    """What is seen of a sound stack in AWS, at the end."""
    alert = PublishedAlert(AlertMessage("t", "TEST", "", "", "", {"event": "down"}), {Topic.ALERT: "m-1"}, START)
    transition = Transition(State.UNTESTED, State.DOWN, START)
    return Evidence(
        elapsed=LONGEST_RUN,
        over=True,
        ticks={START, START + MINUTE},
        expected_reasons=frozenset({"no-such-name"}),
        tests={START: failed(1.5), START + 20 * SECOND: failed(20.4), START + 40 * SECOND: failed(41)},
        events=[HistoryEvent(START, transition, 1), HistoryEvent(START, alert, 1)],
        has_sms_topic=True,
        arrivals=[
            arrival(QueueRole.ALL),
            arrival(QueueRole.ALL, TopicRole.SMS),
            arrival(QueueRole.ALL, TopicRole.OPERATOR, 2 * SECOND),
            arrival(QueueRole.MATCHING),
        ],
        expected_attributes=frozenset(ATTRIBUTES),
        alarm_set=timedelta(),
        alarms=2,
        alarms_with_action=2,
        metrics=[
            MetricState("popwatch", "SweepLag", arrives=True),
            MetricState("popwatch", "Inconclusive", related_metric_arrives=True),
            MetricState("AWS/SQS", "ApproximateAgeOfOldestMessage", related_metric_arrives=True),
        ],
        server_is_named=True,
        server=passing(),
        log_lines=12,
        cpu=[CpuUse(60, 12), CpuUse(40, 8)],
        versions={"popwatch": "0.1.0", "python": "3.13.1", "boto3": "1.35.6"},
    )


def checks(evidence: Evidence) -> dict[str, VerificationResult]:
    return {check.name: check for check in decide(evidence, {})}


def test_a_sound_stack() -> None:
    """Every check passes, with its figures."""
    found = checks(sound())
    assert {check.verdict for check in found.values()} == {Verdict.PASSED}
    assert list(found) == [check.name for check in CHECKS]
    assert exit_code(list(found.values())) == 0
    said = [check.sentence for check in found.values()]
    assert "The schedule fires: 2 ticks in 19 min, and tests began 1.5 to 1.5 s after their tick." in said
    assert "Batches come through the queue: one was tested 0.4 s after it was due." in said
    assert "The alert arrives: 1 min after the target was put, and by the SMS topic." in said
    assert "An alarm reaches the operator topic in 2 s." in said
    assert "A test costs 5.0 ms of CPU, the work of its sweep included: 20 tests in 2 invocations." in said
    assert "The resolver answers in 2 ms, at worst 2 ms: 3 lookups." in said
    assert "What runs: popwatch 0.1.0, python 3.13.1, boto3 1.35.6." in said
    assert found["cpu"].figures == {"cpu_ms_per_test": 5.0, "tests": 20, "invocations": 2}


Change = Callable[[Evidence], Evidence]
FAULTS: list[tuple[str, Change, str, Verdict, str]] = [
    (
        "schedule-off",
        lambda e: replace(e, ticks=set(), findings=frozenset({FindingKind.SCHEDULE_OFF}), elapsed=SECOND, over=False),
        "schedule",
        Verdict.FAILED,
        "The schedule is disabled, so nothing is tested.",
    ),
    ("never-invoked", lambda e: replace(e, ticks=set(), log_lines=0), "schedule", Verdict.FAILED, "The function was not invoked in 19 min."),
    ("function-fails", lambda e: replace(e, ticks=set(), log_errors=4), "sweeps", Verdict.FAILED, "The function is invoked, and no sweep ended in 19 min. Its log has 4 errors."),
    ("function-stopped", lambda e: replace(e, ticks=set(), findings=frozenset({FindingKind.FUNCTION_STOPPED})), "sweeps", Verdict.FAILED, "Lambda does not run the function: its reserved concurrency is 0."),
    ("function-gone", lambda e: replace(e, ticks=set(), log_lines=0, findings=frozenset({FindingKind.FUNCTION_GONE})), "schedule", Verdict.UNKNOWN, "Whether the schedule fires is not known: Lambda does not run the function."),
    ("not-tested", lambda e: replace(e, tests={}), "test", Verdict.FAILED, "Sweeps end but do not test the temporary target."),
    ("other-table", lambda e: replace(e, tests={}, findings=frozenset({FindingKind.FUNCTION_DRIFTED})), "test", Verdict.FAILED, "Sweeps end but do not test the temporary target: the function's environment is not this stack's."),
    ("wrong-reason", lambda e: replace(e, tests={START: failed(1, "dns-timed-out")}), "test", Verdict.FAILED, "The temporary target is tested, but not found to fail as it must: dns-timed-out."),
    ("mapping-off", lambda e: replace(e, tests={START: failed(1)}, findings=frozenset({FindingKind.BATCHES_OFF})), "queue", Verdict.FAILED, "Nothing reads the batch queue: its event source mapping is disabled."),
    ("no-retest", lambda e: replace(e, tests={START: failed(1)}), "queue", Verdict.FAILED, "No test between two ticks came through the batch queue."),
    ("no-history", lambda e: replace(e, events=[]), "history", Verdict.FAILED, "History has nothing of the temporary target: the function could not write there."),
    ("no-alert-in-history", lambda e: replace(e, events=e.events[:1]), "history", Verdict.FAILED, "History has the change of state, but no alert: SNS has accepted none."),
    ("refused", lambda e: replace(e, arrivals=[], events=e.events[:1], alert_pending=True), "alert", Verdict.FAILED, "The alert was not accepted by SNS: it stays in the outbox."),
    ("not-delivered", lambda e: replace(e, arrivals=[]), "alert", Verdict.FAILED, "SNS has accepted the alert, and does not deliver it."),
    ("no-alert", lambda e: replace(e, arrivals=[], events=[]), "alert", Verdict.FAILED, "The target failed, and no alert was made."),
    ("no-sms", lambda e: replace(e, arrivals=[a for a in e.arrivals if a.topic is not TopicRole.SMS]), "alert", Verdict.FAILED, "The alert arrives by the alert topic, but not by the SMS topic."),
    ("no-attributes", lambda e: replace(e, arrivals=[replace(a, attributes={}) for a in e.arrivals if a.queue is QueueRole.ALL]), "filter", Verdict.FAILED, "The alert arrives without its message attributes, so no filter policy can let it pass."),
    ("one-attribute-less", lambda e: replace(e, expected_attributes=e.expected_attributes | {"group"}), "filter", Verdict.FAILED, "The alert arrives without the attributes group."),
    ("not-passed", lambda e: replace(e, arrivals=[a for a in e.arrivals if a.queue is QueueRole.ALL]), "filter", Verdict.FAILED, "The alert does not pass a filter policy that names its own attributes."),
    ("not-stopped", lambda e: replace(e, arrivals=[*e.arrivals, arrival(QueueRole.OTHER)], second_alert_after=MINUTE), "filter", Verdict.UNKNOWN, "A filter policy that must stop the alert lets it pass, 19 min after it was set."),
    ("unconfirmed", lambda e: replace(e, findings=frozenset({FindingKind.UNCONFIRMED})), "receivers", Verdict.FAILED, "A receiver has not confirmed the subscription, and receives nothing."),
    ("alarm-lost", lambda e: replace(e, arrivals=[a for a in e.arrivals if a.topic is not TopicRole.OPERATOR]), "operator", Verdict.FAILED, "The action of a temporary alarm does not reach the operator topic."),
    ("no-action", lambda e: replace(e, findings=frozenset({FindingKind.ALARM_WITHOUT_ACTION})), "actions", Verdict.FAILED, "An alarm of the stack has no action."),
    ("another-action", lambda e: replace(e, alarms_with_action=1), "actions", Verdict.FAILED, "Only 1 of 2 alarms of the stack notify the operator topic."),
    ("dimension", lambda e: replace(e, metrics=[MetricState("popwatch", "SweepLag", elsewhere=True)]), "metrics", Verdict.FAILED, "SweepLag: data arrives in this account, but none with the dimensions of the stack's alarm."),
    ("no-metric", lambda e: replace(e, metrics=[*e.metrics, MetricState("popwatch", "Tests", related_metric_arrives=True)]), "metrics", Verdict.FAILED, "1 of 4 metrics do not arrive: Tests."),
    ("server-fails", lambda e: replace(e, server=failed(1)), "server", Verdict.FAILED, "The server that you named fails: Could not obtain an IP address for the remote device (no-such-name)."),
    ("loop", lambda e: replace(e, server=replace(passing(), rtt_source=RttSource.LOOP)), "timestamps", Verdict.FAILED, "A round-trip time was taken by the event loop: the kernel gave no time stamp."),
    ("no-greeting", lambda e: replace(e, server=None, server_is_named=False), "timestamps", Verdict.UNKNOWN, "No server has answered a test yet."),
    ("slow-resolver", lambda e: replace(e, tests={t: replace(o, dns_ms=1500.0) for t, o in e.tests.items()}), "resolver", Verdict.FAILED, "The resolver answers in 1500 ms, at worst 1500 ms: 3 lookups."),
    ("log-level", lambda e: replace(e, cpu=[]), "cpu", Verdict.UNKNOWN, "No CPU time is in the function's log."),
    ("no-versions", lambda e: replace(e, versions={}), "versions", Verdict.UNKNOWN, "The function's log does not say which versions run."),
    ("log-denied", lambda e: replace(e, versions={}, refused={Source.LOG: "AccessDeniedException to FilterLogEvents"}), "versions", Verdict.UNKNOWN, "AWS refuses to show the function's log: AccessDeniedException to FilterLogEvents."),
]  # fmt: skip


@pytest.mark.parametrize(("change", "name", "verdict", "sentence"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])  # fmt: skip
def test_each_fault_has_its_own_sentence(change: Change, name: str, verdict: Verdict, sentence: str) -> None:
    """The check that shows it, with a next step, and an exit code that is not 0."""
    found = checks(change(sound()))
    assert (found[name].verdict, found[name].sentence) == (verdict, sentence)
    assert found[name].next_step
    assert exit_code(list(found.values())) == (2 if Verdict.FAILED in {one.verdict for one in found.values()} else 1)


def test_what_rests_on_a_failed_check_is_unknown() -> None:
    """If nothing is tested, nothing is said of alerts; what does not rest on tests is shown all the same."""
    found = checks(Evidence(findings=frozenset({FindingKind.SCHEDULE_OFF}), expected_attributes=frozenset({"event"})))
    assert found["schedule"].verdict is Verdict.FAILED
    assert {name for name, check in found.items() if check.verdict is Verdict.UNKNOWN} >= {
        "sweeps",
        "test",
        "alert",
    } - set()
    assert found["receivers"].verdict is Verdict.PASSED


def test_nothing_is_decided_before_its_time() -> None:
    """A fresh run decides only what is read from the configuration; at the end everything is decided."""
    fresh = replace(sound(), elapsed=SECOND, over=False, ticks=set(), tests={}, events=[], arrivals=[], metrics=[], server=None, cpu=[], versions={}, log_lines=0)  # fmt: skip
    assert set(checks(fresh)) == {"receivers", "actions"}
    over = checks(replace(fresh, over=True, elapsed=LONGEST_RUN))
    assert is_complete(fresh, over)
    assert not is_complete(fresh, checks(fresh))


def test_a_message_that_came_too_soon_causes_a_second_alert() -> None:
    """Before filter policies hold, both queues get the alert: that says nothing, and a second one comes once they must."""
    early = [arrival(QueueRole.ALL), arrival(QueueRole.MATCHING), arrival(QueueRole.OTHER)]
    seen = replace(sound(), arrivals=early, elapsed=5 * MINUTE, over=False)
    assert "filter" not in checks(seen)
    assert not needs_second_alert(seen)
    assert needs_second_alert(replace(seen, elapsed=FILTERS_IN_EFFECT))
    late = Arrival(QueueRole.MATCHING, TopicRole.ALERTS, "m-2", 17 * MINUTE, ATTRIBUTES)
    again = replace(seen, arrivals=[*early, late], second_alert_after=FILTERS_IN_EFFECT, elapsed=18 * MINUTE)
    assert not needs_second_alert(again)
    assert checks(again)["filter"].verdict is Verdict.PASSED


def test_the_local_aws_does_not_show_all() -> None:
    """It makes no metrics of the log, and its function runs on this machine."""
    local = replace(sound(), is_local=True, metrics=[MetricState("popwatch", "SweepLag")])
    found = checks(local)
    named = {name for name, check in found.items() if check.verdict is Verdict.NOT_SHOWN}
    assert named == {"metrics", "cpu", "timestamps", "resolver", "versions"}
    assert all(found[name].sentence.startswith("Not shown by the local AWS: ") for name in named)
    assert exit_code(list(found.values())) == 1


@pytest.mark.parametrize(("also", "verdict"), [((), Verdict.NOT_SHOWN), ((FindingKind.UNCONFIRMED,), Verdict.FAILED)])
def test_no_one_needs_to_receive_the_alarms_of_a_local_stack(also: tuple[FindingKind, ...], verdict: Verdict) -> None:
    """It ends with the terminal that shows it; what is wrong with other receivers counts."""
    findings = frozenset({FindingKind.ALARM_UNREPORTED, *also})
    assert checks(replace(sound(), findings=findings))["receivers"].verdict is Verdict.FAILED
    assert checks(replace(sound(), is_local=True, findings=findings))["receivers"].verdict is verdict


def test_lines_for_people() -> None:
    """The verdict, the name, the sentence; the next step below."""
    check = VerificationResult("queue", Verdict.FAILED, "No test came.", "Look there.")
    assert list(lines_of(check))[1].strip() == "Look there."
    assert "FAILED" in next(lines_of(check))
    assert summary([check, VerificationResult("x", Verdict.PASSED, "y")]) == "2 checks: 1 passed, 1 failed."


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("pop.example.net", Server("pop.example.net", 110)),
        ("pop.example.net:995", Server("pop.example.net", 995)),
        ("[2001:db8::1]:110", Server("2001:db8::1", 110)),
    ],
)
def test_servers(text: str, server: Server) -> None:
    """A host, perhaps with a port."""
    assert parse_server(text) == server


@pytest.mark.parametrize("text", ["", "a:b", "host:0", "host:70000", "a b"])
def test_what_is_not_a_server(text: str) -> None:
    """Is refused with a sentence."""
    with pytest.raises(UserError, match="is not a server: write HOST or HOST:PORT"):
        parse_server(text)


def test_the_page_lists_every_check() -> None:
    """docs/verifying.md has the names in their order."""
    page = (PROJECT / "docs" / "verifying.md").read_text("utf-8").partition("| check |")[2]
    names = [row.split("`")[1] for row in page.splitlines() if row.startswith("| `")]
    assert names[: len(CHECKS)] == [check.name for check in CHECKS]


def test_every_alarm_metric_is_known() -> None:
    """The template's alarms on popwatch's own metrics: those always sent, and those that are not."""
    resources = yaml_parse((PROJECT / "template.yaml").read_text())["Resources"].values()
    alarms = [found["Properties"] for found in resources if found["Type"] == "AWS::CloudWatch::Alarm"]
    stats = [
        query["MetricStat"]["Metric"] for alarm in alarms for query in alarm.get("Metrics", ()) if "MetricStat" in query
    ]
    own = {one["MetricName"] for one in (*alarms, *stats) if one.get("Namespace") == "popwatch"}
    always = {"SweepLag", "Tests", "TestsDue"}
    assert own - always - ONLY_SOMETIMES == set()
