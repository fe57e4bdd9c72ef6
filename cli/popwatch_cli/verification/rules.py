"""The checks of a verification: what each shows, judged by the evidence so far. Pure.

A rule returns None as long as its check cannot be decided; once the evidence is over it decides. Its sentences name no
account, resource, receiver or target of the user.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from statistics import median

from popwatch.model.health import Transition
from popwatch.model.outcomes import RttSource
from popwatch.model.text import counted, duration, milliseconds
from popwatch_cli.doctor.rules.findings import FindingKind
from popwatch_cli.verification.evidence import Evidence, MetricState, QueueRole, Source, TopicRole

SWEEPS = timedelta(minutes=4)
"""How long two sweeps may take: Scheduler fires anywhere within its minute, so two ticks may be 119 s apart."""

NEXT = timedelta(minutes=2)
"""How long each step after a sweep may take: a retest, a delivery, an alarm's action."""

FILTERS_IN_EFFECT = timedelta(minutes=15)
"""How long a new filter policy may take to take full effect.

docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html"""

FILTERED = timedelta(seconds=20)
"""How long after a message that a filter policy let through it is clear that another one has stopped it."""

METRICS = timedelta(minutes=8)
"""How long a metric of the first sweep may take to arrive."""

LONGEST_RUN = timedelta(minutes=19)
"""When all evidence is over; what is temporary is removed within the minute after."""

SLOW_LOOKUP_MS = 1000.0
"""A lookup that takes longer than this takes a tenth of a test's usual deadline."""

ONLY_SOMETIMES = {"Dropped", "Inconclusive", "PlainMessages", "RefusedSignIns", "TicksRefused"}
"""popwatch's own metrics that are sent only if there is something to count."""

RUN_DOCTOR = "Run `popwatch doctor`, which names it and the remedy."
READ_LOG = "Read the function's log (its name is the stack's output LogGroup), and run `popwatch doctor`."
AGAIN = "Run `popwatch verify` again."


class Verdict(StrEnum):
    """What a check shows. The local AWS cannot show all: what it imitates differently, or not at all."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The result of a check: a sentence, what to do unless it passed, and its figures."""

    name: str
    verdict: Verdict
    sentence: str
    next_step: str = ""
    figures: Mapping[str, object] = field(default_factory=dict)


RuleResult = tuple[Verdict, str, str, Mapping[str, object]]
"""What a rule says: the verdict, a sentence, what to do, and figures, as `VerificationResult` has them."""
Rule = Callable[[Evidence], RuleResult | None]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to verify: its name, the source that it needs, and the check without which it cannot be shown."""

    name: str
    rule: Rule
    source: Source
    needs: str = ""


def decide(evidence: Evidence, decided: Mapping[str, VerificationResult]) -> list[VerificationResult]:
    """The results of the checks that the evidence decides now, in their order, beside those that are `decided`
    already."""
    results: dict[str, VerificationResult] = {}
    for check in _open(evidence, decided):
        result = _decide(check, evidence, {**decided, **results})
        if result:
            results[check.name] = result
    return list(results.values())


def is_complete(evidence: Evidence, decided: Collection[str]) -> bool:
    """Whether every check has been decided."""
    return not _open(evidence, decided)


def exit_code(results: Sequence[VerificationResult]) -> int:
    """0 only if every check has passed; 2 if any has failed; 1 if any is unknown or not shown."""
    verdicts = {result.verdict for result in results}
    if Verdict.FAILED in verdicts:
        return 2
    return 0 if verdicts == {Verdict.PASSED} else 1


def _open(evidence: Evidence, decided: Collection[str]) -> list[Check]:
    """The checks that are not decided; that of a server only if the user named one."""
    asked = [check for check in CHECKS if check.rule is not _server or evidence.server_is_named]
    return [check for check in asked if check.name not in decided]


def _decide(check: Check, evidence: Evidence, decided: Mapping[str, VerificationResult]) -> VerificationResult | None:
    ruled = check.rule(evidence)
    if ruled and ruled[0] in (Verdict.PASSED, Verdict.NOT_SHOWN):
        return VerificationResult(check.name, *ruled)
    # What has not passed is explained by what AWS refuses to tell, or by the check that it rests on.
    if check.source in evidence.refused:
        what = f"AWS refuses to show {check.source}: {evidence.refused[check.source]}."
        return VerificationResult(
            check.name, Verdict.UNKNOWN, what, "docs/deploying.md lists the permissions that `verify` needs."
        )
    base = decided.get(check.needs)
    if base and base.verdict in (Verdict.FAILED, Verdict.UNKNOWN):
        sentence = f"It cannot be shown as long as `{base.name}` has not passed."
        return VerificationResult(
            check.name, Verdict.UNKNOWN, sentence, f"Fix `{base.name}` first, then run this again."
        )
    return VerificationResult(check.name, *ruled) if ruled else None


def _passed(sentence: str, **figures: object) -> RuleResult:
    return Verdict.PASSED, sentence, "", figures


def _failed(sentence: str, next_step: str, **figures: object) -> RuleResult:
    return Verdict.FAILED, sentence, next_step, figures


def _unknown(sentence: str, next_step: str) -> RuleResult:
    return Verdict.UNKNOWN, sentence, next_step, {}


def _not_shown(why: str, **figures: object) -> RuleResult:
    return Verdict.NOT_SHOWN, f"Not shown by the local AWS: {why}", "", figures


def _found(evidence: Evidence, sentences: Mapping[FindingKind, str], next_step: str = RUN_DOCTOR) -> RuleResult | None:
    """A failure that the stack's configuration explains."""
    return next((_failed(sentences[kind], next_step) for kind in sentences if kind in evidence.findings), None)


def _waited(evidence: Evidence, timeout: timedelta, since: timedelta = timedelta()) -> bool:
    return evidence.over or evidence.elapsed >= since + timeout


def _schedule(evidence: Evidence) -> RuleResult | None:
    """The schedule fires, and how late."""
    late = [
        (outcome.started_at - tick).total_seconds()
        for tick, outcome in evidence.tests.items()
        if tick in evidence.ticks
    ]
    if len(evidence.ticks) >= 2 and (late or _waited(evidence, SWEEPS)):
        when = f", and tests began {min(late):.1f} to {max(late):.1f} s after their tick" if late else ""
        sentence = f"The schedule fires: {counted(len(evidence.ticks), 'tick')} in {duration(evidence.elapsed)}{when}."
        return _passed(sentence, ticks=len(evidence.ticks), seconds_late=[round(seconds, 1) for seconds in late])
    if evidence.ticks and not _waited(evidence, SWEEPS):
        return None
    explained = _found(
        evidence,
        {
            FindingKind.SCHEDULE_GONE: "The schedule does not exist, so nothing is tested.",
            FindingKind.SCHEDULE_OFF: "The schedule is disabled, so nothing is tested.",
            FindingKind.SCHEDULE_CHANGED: (
                "The schedule was changed: it does not invoke the function each minute as it must."
            ),
        },
    )
    if explained or not _waited(evidence, SWEEPS):
        return explained
    if evidence.log_lines:
        return _passed(f"The schedule fires: the function was invoked and has logged in {duration(evidence.elapsed)}.")
    if evidence.findings & {FindingKind.FUNCTION_GONE, FindingKind.FUNCTION_STOPPED}:
        return _unknown("Whether the schedule fires is not known: Lambda does not run the function.", RUN_DOCTOR)
    return _failed(f"The function was not invoked in {duration(evidence.elapsed)}.", RUN_DOCTOR)


def _sweeps(evidence: Evidence) -> RuleResult | None:
    """Sweeps end."""
    if len(evidence.ticks) >= 2:
        return _passed(f"Sweeps end: those of {counted(len(evidence.ticks), 'tick')}.", sweeps=len(evidence.ticks))
    explained = _found(
        evidence,
        {
            FindingKind.FUNCTION_GONE: "The function that tests does not exist.",
            FindingKind.FUNCTION_STOPPED: "Lambda does not run the function: its reserved concurrency is 0.",
            FindingKind.TABLE_GONE: "A table does not exist, so every sweep fails.",
        },
    )
    if explained or not _waited(evidence, SWEEPS):
        return explained
    if FindingKind.FUNCTION_NOT_ACTIVE in evidence.findings:  # right after a deployment it may become active by itself
        return _failed("Lambda does not run the function: it was not active.", RUN_DOCTOR)
    errors = f" Its log has {counted(evidence.log_errors, 'error')}." if evidence.log_errors else ""
    return _failed(f"The function is invoked, and no sweep ended in {duration(evidence.elapsed)}.{errors}", READ_LOG)


def _test(evidence: Evidence) -> RuleResult | None:
    """The temporary target is tested, and found to fail for the true reason."""
    if evidence.tests:
        outcome = next(iter(evidence.tests.values()))
        found = outcome.reason or outcome.error or "passed"
        if outcome.reason in evidence.expected_reasons:
            return _passed(f"The temporary target is tested, and fails as it must: {found}.", reason=found)
        sentence = f"The temporary target is tested, but not found to fail as it must: {found}."
        return _failed(sentence, "Look at the network and the resolver of the function's VPC.", reason=str(found))
    if not _waited(evidence, SWEEPS):
        return None
    if FindingKind.FUNCTION_DRIFTED in evidence.findings:
        sentence = "Sweeps end but do not test the temporary target: the function's environment is not this stack's."
        return _failed(sentence, RUN_DOCTOR)
    return _failed("Sweeps end but do not test the temporary target.", READ_LOG)


def _queue(evidence: Evidence) -> RuleResult | None:
    """A test between two ticks came through the batch queue."""
    ticks = evidence.ticks
    between = [tick for tick in evidence.tests if tick not in ticks and any(later > tick for later in ticks)]
    if between:
        late = min((evidence.tests[tick].started_at - tick).total_seconds() for tick in between)
        sentence = f"Batches come through the queue: one was tested {max(late, 0.0):.1f} s after it was due."
        return _passed(sentence, batches=len(between))
    explained = _found(
        evidence,
        {
            FindingKind.QUEUE_GONE: "The batch queue does not exist: batches and retests are lost.",
            FindingKind.BATCHES_GONE: "Nothing reads the batch queue: its event source mapping does not exist.",
            FindingKind.BATCHES_OFF: "Nothing reads the batch queue: its event source mapping is disabled.",
        },
    )
    if explained or not (evidence.tests and _waited(evidence, SWEEPS + NEXT)):
        return explained
    return _failed("No test between two ticks came through the batch queue.", READ_LOG)


def _history(evidence: Evidence) -> RuleResult | None:
    """History has the transition and the alert."""
    if evidence.alerts:
        return _passed("History has the alert, with the id that SNS gave it.")
    has_transition = any(isinstance(event.what, Transition) for event in evidence.events)
    if not (evidence.tests and _waited(evidence, SWEEPS)):
        return None
    if has_transition:
        return _failed("History has the change of state, but no alert: SNS has accepted none.", READ_LOG)
    return _failed("History has nothing of the temporary target: the function could not write there.", READ_LOG)


def _alert(evidence: Evidence) -> RuleResult | None:
    """The alert arrives in a queue without a filter."""
    first = evidence.arrived(QueueRole.ALL)
    texts = evidence.arrived(QueueRole.ALL, TopicRole.SMS)
    if first and (texts or not evidence.has_sms_topic):
        both = ", and by the SMS topic" if texts else ""
        sentence = f"The alert arrives: {duration(first[0].after)} after the target was put{both}."
        return _passed(sentence, seconds=round(first[0].after.total_seconds()))
    explained = _found(
        evidence,
        {
            FindingKind.TOPIC_GONE: "A topic does not exist: no alert can be sent.",
            FindingKind.TOPIC_DENIES: "The policy of a topic denies publishing: alerts cannot be sent.",
        },
    )
    if explained:
        return explained
    if not (evidence.tests and _waited(evidence, SWEEPS + NEXT)):
        return None
    if first:
        return _failed("The alert arrives by the alert topic, but not by the SMS topic.", READ_LOG)
    if evidence.alerts:
        return _failed("SNS has accepted the alert, and does not deliver it.", "Look at the topic's delivery status.")
    if evidence.alert_pending:
        return _failed("The alert was not accepted by SNS: it stays in the outbox.", READ_LOG)
    return _failed("The target failed, and no alert was made.", AGAIN)


def _filter(evidence: Evidence) -> RuleResult | None:
    """The alert passes a filter policy by its attributes, and another policy stops it."""
    everything, others = evidence.arrived(QueueRole.ALL), evidence.arrived(QueueRole.OTHER)
    stopped = {one.message_id for one in others}
    for one in evidence.arrived(QueueRole.MATCHING):
        if one.message_id not in stopped and _waited(evidence, FILTERED, one.after):
            return _judge_attributes(evidence, one.attributes)
    bare = [one for one in everything if not one.attributes]
    if bare:
        sentence = "The alert arrives without its message attributes, so no filter policy can let it pass."
        return _failed(sentence, "Deploy this version again. If that changes nothing, report it.")
    second = evidence.second_alert_after
    if evidence.over or (others and second and _waited(evidence, SWEEPS + NEXT, second)):
        if others:
            what = (
                f"A filter policy that must stop the alert lets it pass, {duration(evidence.elapsed)} after it was set."
            )
            return _unknown(what, AGAIN)
        return _failed("The alert does not pass a filter policy that names its own attributes.", AGAIN)
    if everything and not others and _waited(evidence, NEXT, everything[0].after):
        return _failed("The alert does not pass a filter policy that names its own attributes.", AGAIN)
    return None


def _judge_attributes(evidence: Evidence, found: Mapping[str, str]) -> RuleResult:
    lacking = sorted(evidence.expected_attributes - set(found))
    if lacking:
        return _failed(f"The alert arrives without the attributes {', '.join(lacking)}.", "Report it: it is a bug.")
    names = ", ".join(sorted(found))
    return _passed(f"Filter policies work: one let the alert pass, and one stopped it, by {names}.")


def _receivers(evidence: Evidence) -> RuleResult | None:
    """People receive alerts and alarms."""
    problems = {
        FindingKind.NO_SUBSCRIPTION: "No one receives alerts: the alert topic has no subscription.",
        FindingKind.NONE_CONFIRMED: "No one receives alerts: no subscription is confirmed.",
        FindingKind.UNCONFIRMED: "A receiver has not confirmed the subscription, and receives nothing.",
        FindingKind.SMS_SPENT: "Phones receive nothing until the month ends: the account's limit for SMS is reached.",
        FindingKind.SMS_SANDBOX: "Only verified phones receive SMS: the account is in the SMS sandbox.",
        FindingKind.ALARM_UNREPORTED: "No one receives the alarms: no subscription to their topic is confirmed.",
    }
    step = "`popwatch doctor` names the receivers, and what each needs: often to follow the link in AWS's message."
    if evidence.is_local and evidence.findings & problems.keys() == {FindingKind.ALARM_UNREPORTED}:
        return _not_shown("no one needs to receive its alarms, as it ends with the terminal that shows it.")
    explained = _found(evidence, problems, step)
    return explained or _passed("Alerts and alarms have receivers, and all of them have confirmed.")


def _operator(evidence: Evidence) -> RuleResult | None:
    """A temporary alarm's action arrives by the operator topic."""
    arrived = evidence.arrived(QueueRole.ALL, TopicRole.OPERATOR)
    if arrived and evidence.alarm_set is not None:
        seconds = max((arrived[0].after - evidence.alarm_set).total_seconds(), 0.0)
        return _passed(f"An alarm reaches the operator topic in {seconds:.0f} s.", seconds=round(seconds))
    explained = _found(
        evidence,
        {
            FindingKind.TOPIC_GONE: "A topic does not exist: alarms may reach no one.",
            FindingKind.ALARM_KEY: "The operator topic is encrypted with AWS's own key, which alarms may not use.",
            FindingKind.TOPIC_DENIES: "The policy of the operator topic does not let CloudWatch publish.",
        },
    )
    if explained or not _waited(evidence, NEXT, evidence.alarm_set or timedelta()):
        return explained
    return _failed("The action of a temporary alarm does not reach the operator topic.", RUN_DOCTOR)


def _actions(evidence: Evidence) -> RuleResult | None:
    """All alarms of the stack have the temporary alarm's action."""
    explained = _found(
        evidence,
        {
            FindingKind.ALARM_GONE: "An alarm of the stack does not exist.",
            FindingKind.ALARM_OFF: "An alarm of the stack has its actions switched off.",
            FindingKind.ALARM_WITHOUT_ACTION: "An alarm of the stack has no action.",
        },
    )
    if explained:
        return explained
    if evidence.alarms_with_action < evidence.alarms or not evidence.alarms:
        some = f"{evidence.alarms_with_action} of {counted(evidence.alarms, 'alarm')}"
        return _failed(f"Only {some} of the stack notify the operator topic.", RUN_DOCTOR)
    sentence = f"All {evidence.alarms} alarms of the stack have the temporary alarm's action."
    return _passed(sentence, alarms=evidence.alarms)


def _metrics(evidence: Evidence) -> RuleResult | None:
    """Every metric that the stack's alarms need arrives, with their dimensions."""
    if not evidence.metrics:
        return _unknown("The stack's alarms name no metric.", RUN_DOCTOR) if evidence.over else None
    missing = [metric for metric in evidence.metrics if not _is_there(metric)]
    count = len(evidence.metrics)
    figures = {f"{metric.namespace} {metric.name}": _is_there(metric) for metric in evidence.metrics}
    if not missing:
        rare = [metric.name for metric in evidence.metrics if not metric.arrives]
        seldom = f" ({', '.join(rare)}: by others with the same dimensions, as they are rarely sent)"
        sentence = f"All {counted(count, 'metric')} of the stack's alarms arrive{seldom if rare else ''}."
        return _passed(sentence, **figures)
    elsewhere = [metric.name for metric in missing if metric.elsewhere]
    if elsewhere and _waited(evidence, METRICS):
        what = (
            f"{', '.join(elsewhere)}: data arrives in this account, but none with the dimensions of the stack's alarm."
        )
        return _failed(what, "Deploy this version again: the alarm sees nothing.")
    own = [metric for metric in evidence.metrics if metric.namespace == "popwatch"]
    if evidence.is_local and len(evidence.ticks) >= 2 and not any(metric.arrives for metric in own):
        return _not_shown("it makes no metrics from the function's log, and its alarms do not support metric math.")
    if not evidence.over:
        return None
    names = ", ".join(metric.name for metric in missing)
    return _failed(f"{len(missing)} of {counted(count, 'metric')} do not arrive: {names}.", READ_LOG, **figures)


def _is_there(metric: MetricState) -> bool:
    """AWS's own metrics, and those that are sent only at need, are there if others with their dimensions are.

    SQS reports the age of a message only if there is one:
    docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    """
    related_is_enough = metric.namespace.startswith("AWS/") or metric.name in ONLY_SOMETIMES
    return metric.arrives or (related_is_enough and metric.related_metric_arrives)


def _server(evidence: Evidence) -> RuleResult | None:
    """The server that the user named passes."""
    if evidence.server and evidence.server.passed:
        rtt = milliseconds(evidence.server.rtt_ms)
        return _passed(f"The server that you named passes, in {rtt} ms.", rtt_ms=evidence.server.rtt_ms)
    if evidence.server:
        sentence = f"The server that you named fails: {evidence.server.message} ({evidence.server.reason})."
        return _failed(sentence, "`popwatch test` shows whether it passes from here.")
    if not _waited(evidence, SWEEPS):
        return None
    return _failed("The server that you named was not tested.", READ_LOG)


def _timestamps(evidence: Evidence) -> RuleResult | None:
    """Round-trip times are the kernel's."""
    outcome = evidence.server if evidence.server and evidence.server.rtt_source else evidence.passed
    if outcome is None:
        if evidence.is_local and evidence.tests:
            return _not_shown("the function runs on this machine's kernel.")
        if evidence.server_is_named and not _waited(evidence, SWEEPS):
            return None
        if len(evidence.ticks) < 2 and not evidence.over:
            return None
        return _unknown("No server has answered a test yet.", "Name one that answers: `popwatch verify --server HOST`.")
    source = outcome.rtt_source
    if evidence.is_local:
        return _not_shown(f"the function runs on this machine, whose clock was the {source}'s.", source=str(source))
    if source is RttSource.KERNEL:
        return _passed("The kernel's receive time stamps work in Lambda.", source=source.value)
    sentence = "A round-trip time was taken by the event loop: the kernel gave no time stamp."
    return _failed(sentence, "Times are a little too long on a busy function. Run it again; if it stays so, report it.")


def _cpu(evidence: Evidence) -> RuleResult | None:
    """CPU time of a test."""
    spent, tests = sum(use.milliseconds for use in evidence.cpu), sum(use.tests for use in evidence.cpu)
    if evidence.is_local and len(evidence.ticks) >= 2:
        return _not_shown("the function runs on this machine's processor.")
    if tests and (len(evidence.cpu) >= 3 or evidence.over):
        each = spent / tests
        figures = {"cpu_ms_per_test": round(each, 2), "tests": tests, "invocations": len(evidence.cpu)}
        often = counted(len(evidence.cpu), "invocation")
        sentence = (
            f"A test costs {each:.1f} ms of CPU, the work of its sweep included: {counted(tests, 'test')} in {often}."
        )
        return _passed(sentence, **figures)
    if not evidence.over:
        return None
    return _unknown("No CPU time is in the function's log.", "Deploy with LogLevel=INFO, and run this again.")


def _resolver(evidence: Evidence) -> RuleResult | None:
    """How fast names are looked up."""
    if evidence.is_local and evidence.tests:
        return _not_shown("names are looked up by this machine's own resolver.")
    taken = [outcome.dns_ms for outcome in evidence.tests.values() if outcome.dns_ms is not None]
    if len(taken) >= 3 or (taken and evidence.over):
        middle, worst = median(taken), max(taken)
        figures = {"median_ms": round(middle, 1), "worst_ms": round(worst, 1), "lookups": len(taken)}
        times = counted(len(taken), "lookup")
        sentence = f"The resolver answers in {milliseconds(middle)} ms, at worst {milliseconds(worst)} ms: {times}."
        if middle < SLOW_LOOKUP_MS:
            return _passed(sentence, **figures)
        return _failed(sentence, "That is slow: look at the resolver of the function's VPC.", **figures)
    if evidence.over:
        return _unknown("No lookup was timed.", AGAIN)
    return None


def _versions(evidence: Evidence) -> RuleResult | None:
    """The versions of what runs."""
    if evidence.versions:
        named = ", ".join(f"{name} {version}" for name, version in evidence.versions.items())
        if evidence.is_local:
            return _not_shown(f"the function runs with this machine's own: {named}.", **evidence.versions)
        return _passed(f"What runs: {named}.", **evidence.versions)
    if not _waited(evidence, SWEEPS):
        return None
    step = "Deploy with LogLevel=INFO; they are logged when an execution environment starts."
    return _unknown("The function's log does not say which versions run.", step)


CHECKS = (
    Check("receivers", _receivers, Source.CONFIGURATION),
    Check("actions", _actions, Source.CONFIGURATION),
    Check("schedule", _schedule, Source.TABLES),
    Check("operator", _operator, Source.ALARM),
    Check("sweeps", _sweeps, Source.TABLES, needs="schedule"),
    Check("test", _test, Source.TABLES, needs="sweeps"),
    Check("queue", _queue, Source.TABLES, needs="test"),
    Check("history", _history, Source.TABLES, needs="test"),
    Check("alert", _alert, Source.QUEUES, needs="test"),
    Check("filter", _filter, Source.QUEUES, needs="alert"),
    Check("server", _server, Source.TABLES, needs="sweeps"),
    Check("timestamps", _timestamps, Source.TABLES, needs="sweeps"),
    Check("resolver", _resolver, Source.TABLES, needs="test"),
    Check("versions", _versions, Source.LOG, needs="sweeps"),
    Check("cpu", _cpu, Source.LOG, needs="sweeps"),
    Check("metrics", _metrics, Source.METRICS, needs="sweeps"),
)
"""Everything that is verified. The names are part of the command's JSON; docs/verifying.md lists them in this order."""


def needs_second_alert(evidence: Evidence) -> bool:
    """Whether an alert came before the filter policies were in effect, and another one is to show it now."""
    early = evidence.arrived(QueueRole.OTHER)
    return bool(early) and evidence.second_alert_after is None and evidence.elapsed >= FILTERS_IN_EFFECT
