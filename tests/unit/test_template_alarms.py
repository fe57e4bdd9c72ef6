"""The alarms of the template: what each of them watches, and that all of them notify the operator topic."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

import check_targets
from popwatch.sweep.sweep import InvocationStats
from tests.lambda_runtime import emf

TEMPLATE = decode(str(Path(__file__).parents[2] / "template.yaml"))[0]
ALARMS: dict[str, dict[str, Any]] = {
    name: resource["Properties"]
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
STACK = ("service", {"Ref": "AWS::StackName"})
WATCHED: dict[str, list[tuple[str, str, tuple[str, object]]]] = {
    "NoSweepAlarm": [("popwatch", "TestsDue", STACK), ("popwatch", "Tests", STACK)],
    "UntestedAlarm": [("popwatch", "TestsDue", STACK), ("popwatch", "Tests", STACK)],
    "FunctionErrorsAlarm": [("AWS/Lambda", "Errors", ("FunctionName", {"Ref": "CheckTargetsFunction"}))],
    "DeadLettersAlarm": [
        (
            "AWS/SQS",
            "ApproximateNumberOfMessagesVisible",
            ("QueueName", {"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}),
        )
    ],
    "InconclusiveAlarm": [("popwatch", "Inconclusive", STACK)],
    "PlainMessagesAlarm": [("popwatch", "PlainMessages", STACK)],
    "AlertDeliveriesAlarm": [
        ("AWS/SNS", "NumberOfNotificationsFailed", ("TopicName", {"Fn::GetAtt": ["AlertTopic", "TopicName"]}))
    ],
    "SmsDeliveriesAlarm": [
        ("AWS/SNS", "NumberOfNotificationsFailed", ("TopicName", {"Fn::GetAtt": ["SmsTopic", "TopicName"]}))
    ],
}
"""Namespace, name and dimension of each metric. popwatch's own have the dimension that the function gives them."""


def test_every_alarm_notifies_the_operators() -> None:
    """An alarm without an action is seen by no one."""
    assert {name: alarm["AlarmActions"] for name, alarm in ALARMS.items()} == {
        name: [{"Ref": "OperatorTopic"}] for name in WATCHED
    }


@pytest.mark.parametrize("name", WATCHED)
def test_what_an_alarm_watches(name: str) -> None:
    """A metric or a dimension that no one sends would be an alarm that never alarm_times."""
    alarm = ALARMS[name]
    metrics = [entry["MetricStat"]["Metric"] for entry in alarm.get("Metrics", ()) if "MetricStat" in entry] or [alarm]
    found = [
        (metric["Namespace"], metric["MetricName"], (dimension["Name"], dimension["Value"]))
        for metric in metrics
        for dimension in metric["Dimensions"]
    ]
    assert found == WATCHED[name]


def test_the_function_sends_what_alarms_watch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Namespace and dimension are those of its environment in the template, by which Powertools makes its metrics."""
    variables = TEMPLATE["Resources"]["CheckTargetsFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_SERVICE_NAME"] == STACK[1]
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", variables["POWERTOOLS_METRICS_NAMESPACE"])
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "mail-eu")
    now = datetime.now(UTC)
    check_targets._count_due(now, 1)
    check_targets._publish_stats(
        "A sweep has ended.", InvocationStats(now, tests=1, inconclusive=1, fallback_messages=1)
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sent = {one for line in lines if "_aws" in line for one in emf.metrics(line)}
    watched = {
        (namespace, name, (("service", "mail-eu"),))
        for metrics in WATCHED.values()
        for namespace, name, _ in metrics
        if namespace == "popwatch"
    }
    assert watched <= sent


def test_alarms_may_publish_to_the_operator_topic() -> None:
    """docs.aws.amazon.com/sns/latest/dg/sns-key-management.html: of AWS's own key they may not, so it is not encrypted.

    The policy lets CloudWatch publish, for this account only.
    """
    resources = TEMPLATE["Resources"]
    assert "KmsMasterKeyId" not in resources["OperatorTopic"]["Properties"]
    [statement] = resources["OperatorTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "sns:Publish")
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
