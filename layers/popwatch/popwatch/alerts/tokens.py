"""The tokens of alert texts: what each means and how its value is made. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from popwatch.alerts.templates import TemplateError, fill
from popwatch.decisions.judging import time_to_next_test
from popwatch.decisions.schedule import login_postponed_until, next_test_by
from popwatch.model.health import Alert, AlertEvent, EndedOutage, Health, Judgement
from popwatch.model.interventions import Acknowledgement
from popwatch.model.outcomes import DETAIL_SHOWN, Outcome, Phase
from popwatch.model.targets import Target
from popwatch.model.text import UNKNOWN, clean, duration, milliseconds, utc

OF_RECOVERY = "recovered_"
"""The beginning of the names of templates for recoveries alone."""

TEMPLATES = ("subject", "email", "sms", "recovered_subject", "recovered_email", "recovered_sms")
"""The fields of a target that hold templates: texts with tokens."""

TOKENS_LISTED = "docs/alerts.md lists the tokens"
"""The end of every problem with a template."""

USUAL_STACK = "popwatch"
"""The stack's name by default. Alerts of any other stack say its name, since there may be several."""

LOCAL_STACK = "the local stack"
"""The name of the stack of `make run`; a blank is in no name that CloudFormation takes."""

TAGS_SHOWN = 200
"""Characters of a target's tags, all together."""


@dataclass(frozen=True, slots=True)
class AlertContext:
    """What the texts of an alert are made of: the target, its health before the test, the outcome, the judgement.

    `stack` is the name of the installation that sends the alert.
    """

    target: Target
    before: Health
    judgement: Judgement
    outcome: Outcome
    now: datetime
    stack: str = USUAL_STACK

    @property
    def alert(self) -> Alert:
        """The alert itself; raises ValueError if the judgement has none."""
        if self.judgement.alert is None:
            raise ValueError("the judgement has no alert to render")
        return self.judgement.alert

    @property
    def late_recovery(self) -> EndedOutage | None:
        """The outage of a recovery that was held back until now, else None."""
        return self.before.ended_outage if self.alert.event is AlertEvent.RECOVERED else None

    @property
    def outage(self) -> Health:
        """The health that describes the outage: a recovery has reset it, so then it is the health before."""
        ended = self.late_recovery
        if ended:
            return replace(
                self.before,
                failing_since=ended.failing_since,
                failures=ended.failures,
                alerts_sent=ended.alerts_sent,
                failures_in_maintenance=ended.failures_in_maintenance,
                last_good_at=ended.last_good_at,
                last_good_rtt_ms=ended.last_good_rtt_ms,
                passes_in_outage=ended.passes_in_outage,
            )
        return self.before if self.alert.event is AlertEvent.RECOVERED else self.judgement.health

    @property
    def passed_at(self) -> datetime:
        """Of a recovery: the passed test that ended the outage, which is the first of several if it takes several."""
        late, recovery = self.late_recovery, self.before.recovery
        if late:
            return late.passed_at
        return recovery.began_at if recovery else self.now

    @property
    def passed_rtt_ms(self) -> float | None:
        """The round-trip time of that test."""
        ended = self.late_recovery or self.before.recovery
        return ended.rtt_ms if ended else self.outcome.rtt_ms

    @property
    def acknowledgement(self) -> Acknowledgement | None:
        """The acknowledgement of this outage, if there is one."""
        return self.target.policy.acknowledgement_of(self.outage.failing_since)

    @property
    def certificate_expires(self) -> datetime | None:
        """When the certificate expires that a warning is about; else the first time at which one does."""
        is_warning = self.alert.event is AlertEvent.CERTIFICATE
        return self.judgement.health.certificate_warned_of if is_warning else self.outcome.certificate_expires

    @property
    def next_test_at(self) -> datetime:
        """When the target is tested again, at the latest."""
        return next_test_by(self.judgement.health, self.target.policy, self.now)

    @property
    def next_login_from(self) -> datetime | None:
        """From when on a test logs in again, after a failed login, if that is later than the next test."""
        if self.outcome.phase is not Phase.LOGIN:
            return None
        until = login_postponed_until(self.judgement.health, self.target.policy)
        return until if until and until > self.next_test_at else None

    @property
    def next_failure_in(self) -> timedelta:
        """How long it takes about until the next test can fail as this one did."""
        wait = self.next_test_at - self.now
        login_from = self.next_login_from
        return wait * ceil((login_from - self.now) / wait) if login_from else wait

    @property
    def next_alert_in(self) -> timedelta:
        """How long it takes about until so many more tests can fail as this one did that the next alert is due."""
        health, policy = self.judgement.health, self.target.policy
        between = self.next_failure_in if self.next_login_from else time_to_next_test(health, policy)
        return self.next_failure_in + (policy.failures_per_alert - 1) * between

    @property
    def alert_id(self) -> str:
        """Identifies this alert: a second message with the same id is a copy."""
        outage, alert = self.outage, self.alert
        since = outage.failing_since if alert.held is None else None  # one outage may be throttled several times
        return f"{self.target.target_id}/{alert.event}/{outage.alerts_sent}/{utc(since or self.now)}"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as `docs/alerts.md` lists it."""

    name: str
    meaning: str
    value: Callable[[AlertContext], str]


def values_of(context: AlertContext) -> dict[str, str]:
    """The value of every token."""
    return {token.name: token.value(context) for token in TOKENS}


def shown_tags(target: Target) -> str:
    """A target's tags as alerts show them."""
    return clean(", ".join(target.tags), TAGS_SHOWN)


def template_fault(template: str) -> str:
    """What is wrong with a template, or an empty text."""
    try:
        fill(template, {token.name: "" for token in TOKENS}, len(template))
    except TemplateError as error:
        return str(error)
    return ""


def _time(time: datetime | None) -> str:
    return utc(time) if time else UNKNOWN


def _local_time(context: AlertContext) -> str:
    return context.now.astimezone(context.target.timezone).strftime("%Y-%m-%d %H:%M:%S %Z")


def _certificate_days(context: AlertContext) -> str:
    expires = context.certificate_expires
    return str((expires - context.now) // timedelta(days=1)) if expires else UNKNOWN


def _acknowledged_by(context: AlertContext) -> str:
    acknowledgement = context.acknowledgement
    return (acknowledgement.by or "somebody") if acknowledgement else UNKNOWN


TOKENS = (
    Token("name", "the target's name", lambda it: it.target.name),
    Token("target_id", "its id", lambda it: it.target.target_id),
    Token("host", "its host", lambda it: it.target.host),
    Token("port", "its port", lambda it: str(it.target.port)),
    Token("tls", "none, implicit or starttls", lambda it: it.target.tls.value),
    Token("group", "its group", lambda it: it.target.group),
    Token("tags", "its tags", lambda it: shown_tags(it.target)),
    Token("event", "down or recovered", lambda it: it.alert.event.value),
    Token("state", "the state now", lambda it: it.judgement.health.state.value),
    Token("previous_state", "the state before this test", lambda it: it.before.state.value),
    Token("error", "the error's code", lambda it: it.outcome.error.value if it.outcome.error else ""),
    Token("message", "the error's fixed message", lambda it: it.outcome.message),
    Token("reason", "the reason, finer than the error", lambda it: clean(it.outcome.reason, DETAIL_SHOWN)),
    Token("detail", "what was seen, as a sentence", lambda it: clean(it.outcome.detail, DETAIL_SHOWN)),
    Token("greeting", "the server's greeting", lambda it: clean(it.outcome.greeting, DETAIL_SHOWN)),
    Token("address", "the address that was tested", lambda it: it.outcome.address),
    Token("phase", f"where the test ended: {', '.join(Phase)}", lambda it: it.outcome.phase.value),
    Token("rtt_ms", "this test's round-trip time in ms", lambda it: milliseconds(it.outcome.rtt_ms)),
    Token("failures", "failed tests of the outage, without those in maintenance", lambda it: str(it.outage.failures)),
    Token("failures_per_alert", "failures in a row for each alert", lambda it: str(it.target.policy.failures_per_alert)),
    Token("alert_number", "the number of this alert in the outage; in a recovery, how many there were", lambda it: str(it.outage.alerts_sent)),
    Token("max_alerts", "alerts per outage at most", lambda it: str(it.target.policy.max_alerts)),
    Token("since", "when this state began", lambda it: _time(it.judgement.health.since)),
    Token("failing_since", "the first failed test of the outage", lambda it: _time(it.outage.failing_since)),
    Token("outage", "how long the outage has lasted, or had when it ended", lambda it: duration(it.alert.outage)),
    Token("time", "the time of this test, UTC", lambda it: utc(it.now)),
    Token("local_time", "the same in the target's `timezone`", _local_time),
    Token("last_good", "the last passed test before the outage", lambda it: _time(it.outage.last_good_at)),
    Token("last_good_rtt_ms", "its round-trip time in ms", lambda it: milliseconds(it.outage.last_good_rtt_ms)),
    Token("next_test", "when it is tested again, at the latest", lambda it: utc(it.next_test_at)),
    Token("certificate_days", "days until the certificate expires", _certificate_days),
    Token("runbook", "what to do about an outage, as the target says", lambda it: it.target.runbook),
    Token("notes", "what else the target says of itself", lambda it: clean(it.target.notes, DETAIL_SHOWN)),
    Token("depends_on", "the targets that it depends on", lambda it: ", ".join(it.target.policy.depends_on)),
    Token("acknowledged_by", "who acknowledged the outage", _acknowledged_by),
    Token("alert_id", "identifies the alert; a copy has the same id", lambda it: it.alert_id),
    Token("stack", "the name of the stack that sends the alert", lambda it: it.stack),
)  # fmt: skip
"""Every token; `docs/alerts.md` is checked against it."""
