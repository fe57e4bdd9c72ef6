"""`popwatch verify` on moto, which runs no function: what it asks for, what it leaves behind, what it gives away."""

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import boto3
import click
import pytest

from popwatch.model.outcomes import ErrorCode
from popwatch_cli.commands.verify import _announce, receivers_of, run, to_json
from popwatch_cli.errors import UserError
from popwatch_cli.installation import Installation
from popwatch_cli.rehearsal.simulation import first_alert, simulate
from popwatch_cli.verification.rules import LONGEST_RUN, Verdict, VerificationResult
from popwatch_cli.verification.temporary import RUN_ID, Server, Temporary
from tests.iam import ARN, Identity, Permission
from tests.integration.night import EVENING, Night, new_night
from tests.integration.test_docs_permissions import ALARM, EVERY, _named, arn, rows, set_up_stack

LOG = "popwatch-log"


@pytest.fixture
def night() -> Iterator[Night]:
    """A stack in the evening, with what the doctor looks at, and a log."""
    with new_night() as found:
        set_up_stack(found)
        boto3.client("logs").create_log_group(logGroupName=LOG)
        boto3.client("cloudwatch").put_metric_alarm(
            AlarmName=ALARM, Namespace="popwatch", MetricName="SweepLag", Statistic="Sum", Period=60,
            EvaluationPeriods=1, Dimensions=[{"Name": "service", "Value": "popwatch"}], Threshold=1,
            ComparisonOperator="LessThanThreshold", AlarmActions=[found.outputs["OperatorTopicArn"]],
        )  # fmt: skip
        yield found


class Waiting:
    """A clock that only moves when somebody sleeps; before that it does something, with the number of the round."""

    def __init__(self, act: Callable[[int], object] = lambda _: None) -> None:
        self.now, self.rounds, self.act = datetime.now(UTC), 0, act

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.rounds += 1
        self.act(self.rounds)
        self.now += timedelta(seconds=seconds)


def temporary_of(night: Night, server: Server | None = None) -> Temporary:
    outputs = {**night.outputs, "LogGroup": LOG}
    return Temporary.starting(Installation("popwatch", outputs, region="us-east-1"), server)


def verify(temporary: Temporary, waiting: Waiting | None = None) -> list[VerificationResult]:
    waiting = waiting or Waiting()
    return run(temporary, lambda _: None, waiting.clock, waiting.sleep)


def test_the_page_lists_what_it_asks_aws_for(night: Night) -> None:
    """The permissions of docs/verifying.md are enough, and none is needless; wildcards stand for its own names."""
    own = {
        "the queues": ARN.format("sqs", "popwatch-verify-*"),
        "the alarm": ARN.format("cloudwatch", "alarm:popwatch-verify-*"),
        "the alarms": ARN.format("cloudwatch", "alarm:*"),
        "LogGroup": ARN.format("logs", f"log-group:{LOG}"),
    }
    named = [
        *_named(rows("deploying.md")[EVERY]),
        *(each for row in rows("verifying.md").values() for each in _named(row)),
    ]
    identity = Identity([Permission(action, own.get(name) or arn(night, name)) for action, name in named])
    assert boto3.DEFAULT_SESSION is not None
    with identity.watching(boto3.DEFAULT_SESSION.events):
        assert boto3.client("cloudformation").describe_stacks(StackName="popwatch")["Stacks"]
        temporary = temporary_of(night)
        receivers_of(temporary)
        verify(temporary, Waiting(lambda _: night.sns.publish(TopicArn=night.topic, Message="a real alert")))
    assert sorted(identity.refused) == []
    assert sorted(identity.needless) == []


def test_nothing_is_invoked(night: Night) -> None:
    """Without a schedule and a function there is nothing to see; it ends in time, with a sentence for each check."""
    waiting = Waiting()
    checks = {check.name: check for check in verify(temporary_of(night), waiting)}
    assert checks["schedule"].verdict is Verdict.FAILED
    assert checks["alert"].verdict is Verdict.UNKNOWN
    assert waiting.rounds * 5 <= LONGEST_RUN.total_seconds()


def left_behind(night: Night) -> list[str]:
    return temporary_of(night).leftovers()


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_an_interrupt_leaves_nothing_behind(night: Night, rounds: int) -> None:
    """Targets, alarm, subscriptions and queues go, whenever Ctrl-C comes."""

    def interrupt(round_number: int) -> None:
        if round_number == rounds:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(temporary_of(night, Server("pop.example.net", 110)), Waiting(interrupt))
    assert left_behind(night) == []


def test_the_next_run_removes_what_a_killed_one_left(night: Night) -> None:
    """Everything is found by its name, whatever its run was called; real targets, alarms and queues stay."""
    killed = Temporary(temporary_of(night).installation, "20200101000000", Server("pop.example.net", 995))
    waiting = Waiting()
    killed.subscribe_queues(waiting.sleep)
    assert waiting.rounds == 1  # SQS: a new queue can be used after a second
    killed.put_server()
    killed.put_failing_target(1)
    killed.put_alarm()
    before = set(temporary_of(night).installation.target_table.read())
    found = left_behind(night)
    assert [name.split()[0] for name in found] == ["target"] * 2 + ["alarm"] + ["subscription"] * 5 + ["queue"] * 3
    next_run = temporary_of(night)
    assert {next_run.run_of(name) for name in found} == {killed.run_id}
    next_run.earlier = frozenset([killed.run_id])
    assert next_run.remove() == []
    assert left_behind(night) == []
    after = set(temporary_of(night).installation.target_table.read())
    assert before - after == {killed.failing_id(1), killed.server_id}
    assert boto3.client("cloudwatch").describe_alarms(AlarmNames=[ALARM])["MetricAlarms"]


def test_a_run_that_may_go_on_is_left_alone(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --yes the second run refuses; without, it asks. What began meanwhile is never removed by the other."""
    first, second = temporary_of(night), temporary_of(night)
    first.run_id = (datetime.now(UTC) - LONGEST_RUN).strftime(RUN_ID)
    first.put_alarm()
    _announce(second, ask=False, to_stderr=True)  # the other run has just begun, or is about to end
    first.put_failing_target(1)
    there = first.leftovers()
    assert len(there) == 2
    with pytest.raises(UserError, match="may be going on"):
        _announce(second, ask=False, to_stderr=True)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UserError, match=r"add --yes\. Nothing was created or sent\."):
        _announce(second, ask=True, to_stderr=True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with pytest.raises(click.Abort):
        _announce(second, ask=True, to_stderr=True)
    asked: list[str] = []

    def agree(text: str, **_: object) -> bool:
        asked.append(text)
        return True

    monkeypatch.setattr("click.confirm", agree)
    assert second.remove() == []
    assert first.leftovers() == there
    _announce(second, ask=True, to_stderr=True)
    assert asked == ["Was it killed?", "Go on?"]
    assert second.leftovers() == []
    first.run_id = (datetime.now(UTC) - 2 * LONGEST_RUN).strftime(RUN_ID)
    first.put_alarm()
    _announce(temporary_of(night), ask=False, to_stderr=True)
    assert second.leftovers() == []


def test_another_stack_is_left_alone(night: Night) -> None:
    """A run in another stack of the same account has other names."""
    here = temporary_of(night).installation
    other = Temporary(Installation("other", here.outputs, region="us-east-1"), "1")
    other.put_failing_target(1)
    assert left_behind(night) == []
    assert other.remove() == []


def test_what_cannot_be_removed_is_named(night: Night) -> None:
    """The rest is removed all the same."""
    temporary = temporary_of(night)
    temporary.put_failing_target(1)
    temporary.put_alarm()
    with Identity([]).watching(temporary.client("cloudwatch").meta.events):
        assert temporary.remove() == ["temporary alarms"]
    assert left_behind(night) == [f"alarm {temporary.alarm}"]


def test_the_users_own_defaults_hold_no_alert_back(night: Night) -> None:
    """Whatever `_defaults` says of silence and delays, the first failure sends an alert, and the next does not."""
    always = {"from": "2000-01-01T00:00Z", "until": "2100-01-01T00:00Z"}
    night.put_target(
        "_defaults", maintenance=[always], silence=always, enabled=False,
        failures_per_alert=9, max_alerts=0, delay_warn=600, delay_lost=600, port=995, tls="implicit",
    )  # fmt: skip
    target = temporary_of(night).parsed_target()
    assert target.problems == ()
    steps = list(simulate(target, timedelta(minutes=10), ErrorCode.NO_ADDRESS, EVENING))
    assert [step.message.event for step in steps if step.message] == ["down", "recovered"]
    assert first_alert(steps) == next(step for step in steps if not step.passed)
    assert not target.policy.is_silenced(datetime.now(UTC))


def test_json_gives_nothing_away(night: Night) -> None:
    """Neither account, region, addresses, names of resources nor the user's server."""
    temporary = temporary_of(night, Server("secret-pop.example.net", 995))
    checks = verify(temporary)
    text = json.dumps(to_json(checks, temporary.installation, datetime.now(UTC), datetime.now(UTC)))
    private = ["123456789012", "us-east-1", "secret-pop", "example.net", "arn:", *map(str, night.outputs.values())]
    assert [word for word in private if len(word) > 3 and word in text] == []


def test_receivers_are_listed_masked(night: Night) -> None:
    """Those of the alert by their filter policies, and those of the alarm."""
    night.sns.subscribe(TopicArn=night.topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:mine")
    night.sns.subscribe(
        TopicArn=night.topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:late",
        Attributes={"FilterPolicy": json.dumps({"alert_number": [{"numeric": [">=", 2]}]})},
    )  # fmt: skip
    found = receivers_of(temporary_of(night))
    assert "sqs mine (the alert)" in found
    assert not any("late" in one for one in found)
    assert any(one.endswith("(the alarm)") for one in found)
