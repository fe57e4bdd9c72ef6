"""The status of targets as people see it, the worst first. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from popwatch.decisions.login_attempts import (
    failed_before,
    next_attempt_at,
    others_first_until,
    why_it_waits,
    without_future,
)
from popwatch.decisions.schedule import STOPPED_AFTER, login_postponed_until, longest_time_to_alert, next_slot
from popwatch.decisions.throttling import held_until
from popwatch.model.credential_state import CredentialState
from popwatch.model.health import Health, LoginFailure, Recovery, State
from popwatch.model.interventions import Acknowledgement, Silence, Suspension
from popwatch.model.outcomes import DETAIL_SHOWN, Certificate, ErrorCode, LoginVerdict, Outcome, untested_remark
from popwatch.model.posture import finding_names, parse_summary
from popwatch.model.records import Record
from popwatch.model.samples import Mailbox, Sample
from popwatch.model.targets import Policy, Target, tls_relaxations
from popwatch.model.text import clean, counted, how_often, iso, milliseconds, natural_order, utc

SEVERITY = (State.LOST, State.DOWN, State.WARN, State.UNTESTED, State.MAINTENANCE, State.SUSPENDED, State.UP)
"""The states, worst first: the order of every list of targets; those in one state are in natural order of the name."""


@dataclass(frozen=True, slots=True)
class NewestTests:
    """What the newest samples hold: each target's last test, by its tick and sample, the tick of its last pass, and its
    mailbox at its last login, with the tick of that. `logins` are the last ones that neither passed nor failed. `since`
    is how far back a test of each target was looked for.
    """

    samples: dict[str, tuple[datetime, Sample]] = field(default_factory=dict)
    passed: dict[str, datetime] = field(default_factory=dict)
    mailboxes: dict[str, tuple[datetime, Mailbox]] = field(default_factory=dict)
    logins: dict[str, tuple[datetime, LoginVerdict]] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)


class CheckStatus(IntEnum):
    """The overall status of targets, as exit codes of monitoring plugins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


IN_JSON: Mapping[CheckStatus, str] = {
    CheckStatus.OK: "well",
    CheckStatus.WARNING: "warn",
    CheckStatus.CRITICAL: "down",
    CheckStatus.UNKNOWN: "unknown",
}
"""The overall status as the JSON of the command and the API has it."""


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target with its health and its last test, which failed if it has an `error`.

    An `inconclusive` test failed, perhaps because of the monitor's own network, and was not judged. `mailbox` is what
    the last login counted, and when; `login_problem` is why tests do not log in although the target has a `login`.
    `login` is what the last login came to, and when, if it neither passed nor failed. `next_login_at` is the earliest
    time of the next login of a target in an outage of its login.
    """

    target: Target
    health: Health
    tested_at: datetime | None = None
    rtt_ms: float | None = None
    error: ErrorCode | None = None
    reason: str = ""
    detail: str = ""
    next_test_at: datetime | None = None
    inconclusive: bool = False
    last_good_at: datetime | None = None
    failed_addresses: tuple[str, ...] = ()
    untested_addresses: int = 0
    mailbox: tuple[datetime, Mailbox] | None = None
    login_problem: str = ""
    login: tuple[datetime, LoginVerdict] | None = None
    next_login_at: datetime | None = None

    @property
    def state(self) -> State:
        """Its state; a disabled target is suspended, even if no sweep has noticed it yet."""
        return self.health.state if self.target.policy.enabled else State.SUSPENDED

    @property
    def since(self) -> datetime | None:
        """Since when it is in its state; None if that is not known, as of a suspension that no sweep has noticed yet.

        What the record has is the time of the state that the last sweep found.
        """
        if self.state is self.health.state:
            return self.health.since
        suspended = self.target.policy.suspended
        return suspended.window.start if suspended else None

    @property
    def acknowledgement(self) -> Acknowledgement | None:
        """Who has acknowledged the present outage, if anybody has."""
        return self.target.policy.acknowledgement_of(self.health.failing_since)

    @property
    def throttled_until(self) -> datetime | None:
        """Until when its alerts are held, as there were too many; its next test may come later."""
        return held_until(self.health, self.target.policy)

    def silence(self, now: datetime) -> Silence | None:
        """The silence that holds its alerts back now, if there is one."""
        silence = self.target.policy.silence
        return silence if silence and silence.window.contains(now) else None

    def suspension(self, now: datetime) -> Suspension | None:
        """The suspension that ends by itself, if it is for that alone that it is suspended now."""
        suspended = self.target.policy.suspended
        return suspended if suspended and self.state is State.SUSPENDED and now < suspended.window.end else None

    def certificate_days(self, now: datetime) -> int | None:
        """Days until its certificate expires, if one is known."""
        expires = self.health.certificate_expires
        return (expires - now) // timedelta(days=1) if expires else None

    def check_status(self) -> CheckStatus:
        """Its part in the overall status; an acknowledged outage is a warning."""
        match self.state:
            case State.DOWN | State.LOST:
                return CheckStatus.WARNING if self.acknowledgement else CheckStatus.CRITICAL
            case State.WARN:
                return CheckStatus.WARNING
            case _:
                return CheckStatus.OK

    def remarks(self, now: datetime) -> list[str]:
        """Further facts about it, a few words each."""
        health, silence, acknowledged = self.health, self.silence(now), self.acknowledgement
        suspended = self.suspension(now)
        found = [
            f"caused by {clean(health.caused_by, 128)}" if health.caused_by else "",
            _recovery_remark(health.recovery, self.target.policy),
            f"acknowledged{_by_and_why(acknowledged.by, acknowledged.why)}" if acknowledged else "",
            f"silenced until {utc(silence.window.end)}{_by_and_why(silence.by, silence.why)}" if silence else "",
            f"suspended until {utc(suspended.window.end)}{_by_and_why(suspended.by, suspended.why)}"
            if suspended
            else "",
            "resumed: the next sweep applies it"
            if self.state is State.SUSPENDED and self.target.policy.enabled
            else "",
            "flapping" if health.flapping else "",
            _slow_remark(self.target.policy, self.rtt_ms) if health.slow else "",
            f"too many alerts: held until {utc(self.throttled_until)}" if self.throttled_until else "",
            _degraded_remark(health.failed_addresses) if health.degraded_tests else "",
            untested_remark(self.untested_addresses).lower() if self.untested_addresses else "",
            _posture_remark(health.posture),
            _login_remark(self),
            f"tested without a login: {self.login_problem}" if self.login_problem else "",
            *tls_relaxations(self.target),
            "not judged: nearly all targets failed at once" if self.inconclusive else "",
            certificate_remark(health.expiring_certificate, now) if health.expiring_certificate else "",
        ]
        return [remark for remark in found if remark]


def overall_status(targets: Sequence[TargetStatus], last_tick: datetime | None, now: datetime) -> CheckStatus:
    """The worst status among targets; unknown if popwatch itself has stopped."""
    if has_stopped(last_tick, now):
        return CheckStatus.UNKNOWN
    return max((target.check_status() for target in targets), default=CheckStatus.OK)


def has_stopped(last_tick: datetime | None, now: datetime) -> bool:
    """Whether popwatch itself has stopped: no sweep has been completed for `STOPPED_AFTER`."""
    return last_tick is None or now - last_tick > STOPPED_AFTER


def target_status_to_json(status: TargetStatus, now: datetime) -> dict[str, Any]:
    """A target's status for programs: strings, numbers, booleans, times in ISO 8601 (UTC), null for no value."""
    target, health, policy = status.target, status.health, status.target.policy
    silence, suspended, acknowledged = status.silence(now), status.suspension(now), status.acknowledgement
    mailbox_at, mailbox = status.mailbox or (None, None)
    return {
        "target_id": target.target_id,
        "name": target.name,
        "host": target.host,
        "port": target.port,
        "tls": target.tls.value,
        "group": target.group or None,
        "tags": list(target.tags),
        "runbook": target.runbook or None,
        "notes": target.notes or None,
        "state": status.state.value,
        "since": _iso(status.since),
        "failing_since": _iso(health.failing_since),
        "failures": health.failures,
        "passes": health.recovery.passes if health.recovery else None,
        "passes_per_recovery": policy.passes_per_recovery,
        "alerts_sent": health.alerts_sent,
        "max_alerts": policy.max_alerts,
        "tested_at": _iso(status.tested_at),
        "result": _result(status),
        "rtt_ms": status.rtt_ms,
        "error": status.error.value if status.error else None,
        "message": status.error.message if status.error else None,
        "reason": status.reason or None,
        "detail": status.detail or None,
        "inconclusive": status.inconclusive,
        "next_test_at": _iso(status.next_test_at),
        "last_good_at": _iso(status.last_good_at),
        "certificate_expires": _iso(health.certificate_expires),
        "certificate_days": status.certificate_days(now),
        "caused_by": health.caused_by or None,
        "flapping": health.flapping,
        "slow": health.slow,
        "throttled_until": _iso(status.throttled_until),
        "half_up": health.degraded_tests > 0,  # degraded: the older name stays, since programs read it
        "failed_addresses": list(status.failed_addresses),
        "untested_addresses": status.untested_addresses,
        "messages": mailbox.messages if mailbox else None,
        "octets": mailbox.octets if mailbox else None,
        "mailbox_at": _iso(mailbox_at),
        "login_problem": status.login_problem or None,
        "login_failure": _login_failure_to_json(health.login_failure),
        "next_login_at": _iso(status.next_login_at),
        "posture": _posture_to_json(health.posture),
        "silenced_until": _iso(silence.window.end) if silence else None,
        "silenced_by": silence.by if silence else None,
        "silenced_why": silence.why if silence else None,
        "suspended_until": _iso(suspended.window.end) if suspended else None,
        "suspended_by": suspended.by if suspended else None,
        "suspended_why": suspended.why if suspended else None,
        "acknowledged_by": acknowledged.by if acknowledged else None,
        "acknowledged_why": acknowledged.why if acknowledged else None,
        "longest_notice_seconds": int(
            longest_time_to_alert(policy, target.max_test_seconds, login_delay=health.login_delay).total_seconds()
        ),
        "problems": [problem.explanation for problem in target.problems],
        "remarks": status.remarks(now),
    }


def _result(status: TargetStatus) -> str | None:
    if status.tested_at is None:
        return None
    return "failed" if status.error else "passed"


def _iso(time: datetime | None) -> str | None:
    return iso(time) if time else None


def _recovery_remark(recovery: Recovery | None, policy: Policy) -> str:
    return f"recovering: {recovery.passes} of {policy.passes_per_recovery} passed" if recovery else ""


LOGINS: Mapping[LoginVerdict, str] = {
    LoginVerdict.IN_USE: "the mailbox is in use by another session (IN-USE)",
    LoginVerdict.LOGIN_DELAY: "the server refused the login as too soon (LOGIN-DELAY)",
    LoginVerdict.REJECTED: "the server rejected the credential (AUTH)",
}
"""What is said of logins that neither pass nor fail a test."""


def why_login_outage_lasts(health: Health) -> str:
    """Why a target stays in an outage of its login although tests pass, in a few words; empty if it does not."""
    if not health.has_login_outage or not health.is_failing or health.recovery:
        return ""
    failed = health.login_failure
    at = f" at {utc(failed.at)} ({failed.reason})" if failed else ""
    return f"the login failed last{at}: only one that is accepted ends this"


def next_login(health: Health, policy: Policy) -> str:
    """From when on a test in an outage of the login logs in, if the next one does not, as the server wants time."""
    until = login_postponed_until(health, policy)
    if until is None or (health.next_test_at and until <= health.next_test_at):
        return ""
    return f"next login after {utc(until)} (LOGIN-DELAY {health.login_delay} s)"


def _login_remark(status: TargetStatus) -> str:
    """What the last login came to where the test says nothing of it, and when the next one is if no test shows it."""
    policy = status.target.policy
    since = why_login_outage_lasts(status.health) if status.error is None and policy.login else ""
    following = next_login(status.health, policy) if status.next_login_at else ""
    last = f"last login at {utc(status.login[0])}: {LOGINS[status.login[1]]}" if status.login else ""
    return "; ".join(one for one in (since, following, last) if one)


def posture_findings(text: str) -> Sequence[str]:
    """What a server offers or permits and should not, by what its record keeps of it."""
    summary = parse_summary(text)
    return finding_names(summary) if summary else []


def _posture_remark(text: str) -> str:
    found = posture_findings(text)
    return f"posture: {', '.join(found)}" if found else ""


def _posture_to_json(text: str) -> dict[str, Any] | None:
    summary = parse_summary(text)
    return {"digest": str(summary), "findings": finding_names(summary)} if summary else None


def _login_failure_to_json(failure: LoginFailure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    error = failure.error
    return {"at": iso(failure.at), "error": error.value, "message": error.message, "reason": failure.reason}


def _slow_remark(policy: Policy, rtt_ms: float | None) -> str:
    """That it is slow, with the limit of now: it may have been another one, or there may be none any more."""
    limit = milliseconds(policy.slow_rtt_ms)
    if not policy.slow_rtt_ms:
        return "slow: not compared any more (`slow_rtt_ms` is 0)"
    if rtt_ms is not None and rtt_ms > policy.slow_rtt_ms:
        return f"slow: over {limit} ms"
    return f"slow: until {counted(policy.failures_per_alert, 'test', 'tests in a row')} took at most {limit} ms"


def _degraded_remark(addresses: Sequence[str]) -> str:
    """That addresses fail, and which; a record of an earlier version does not say which."""
    return f"degraded, fails: {'; '.join(addresses)}" if addresses else "degraded"


def certificate_remark(expiring: Certificate, now: datetime) -> str:
    """That a certificate expires soon: `certificate: 13 days left`, `intermediate certificate "R11" expired`."""
    days = (expiring.expires - now) // timedelta(days=1)
    return f"{expiring} expired" if days < 0 else f"{expiring}: {counted(days, 'day')} left"


def _by_and_why(by: str, why: str) -> str:
    """` by NAME: REASON`, as far as they are known."""
    return f"{f' by {by}' if by else ''}{f': {why}' if why else ''}"


def target_statuses(
    targets: Mapping[str, Target],
    records: Mapping[str, Record],
    newest: NewestTests,
    now: datetime,
    credentials: Mapping[str, CredentialState] | None = None,
) -> list[TargetStatus]:
    """The status of each target, the worst first; the `newest` tests may be newer than the records.

    `credentials` are how logins with each credential went, by its name.
    """
    found = [
        replace(
            _with_login(
                _status(target, records.get(name) or Record(name), newest, now),
                (credentials or {}).get(target.policy.login),
                now,
            ),
            last_good_at=_last_good_at(target, records.get(name), newest),
            mailbox=newest.mailboxes.get(name) if target.policy.login else None,
            login=newest.logins.get(name) if target.policy.login else None,
        )
        for name, target in targets.items()
    ]
    return sorted(found, key=lambda status: (SEVERITY.index(status.state), natural_order(status.target.name)))


def _with_login(status: TargetStatus, state: CredentialState | None, now: datetime) -> TargetStatus:
    """The status with why its tests do not log in, and when the next one does; `state` is that of its credential."""
    target, health = status.target, status.health
    problem, until = _login_wait(target, state, health, now)
    may_log_in = target.policy.enabled and target.policy.login and (until or not problem)
    if not (may_log_in and health.has_login_outage):
        return replace(status, login_problem=problem)
    times = (status.next_test_at, login_postponed_until(health, target.policy), until)
    return replace(status, login_problem=problem, next_login_at=max((time for time in times if time), default=None))


def _login_wait(
    target: Target, state: CredentialState | None, health: Health, now: datetime
) -> tuple[str, datetime | None]:
    """Why tests of a target do not log in, in a few words, and until when; None for until the credential changes.

    Empty if they do, if it has no `login`, or if it is not tested at all, as one that is suspended or has a problem.
    """
    name, is_tested = target.policy.login, target.policy.enabled and not target.problems
    if not name or state is None or not is_tested:
        return "", None
    if state.problem:
        return f"{state.problem.replace('-', ' ')} ({name}) when it was last read", None
    state = without_future(state, now)  # as the next login has it
    refusal, shown = state.refusal_of(target.target_id), f"credential {state.shown}"
    if state.blocked_for_good:
        return f"{shown} refused {how_often(state.rejections)}, last by {clean(state.rejected_by, 128)}", None
    if refusal and refusal.blocks_for_good:
        return f"{shown} refused {how_often(refusal.count)} here, and accepted elsewhere", None
    since = health.failing_since if health.login_failed else None
    first = others_first_until(state, target.target_id)
    if first and now < first:
        again = f"tried again after {first:%Y-%m-%d %H:%M} UTC, or by another target first"
        return f"{shown} refused here once, {again}", first
    due = next_attempt_at(state, target.target_id, failed_earlier=failed_before(since, state.revision))
    return (why_it_waits(state, target.target_id, due), due) if due and due > now else ("", None)


def why_without_login(target: Target, state: CredentialState, before: Record, now: datetime) -> str:
    """Why a passed test that someone asked for did not log in, in a few words.

    `state` is how logins with its credential went, `before` the record before the test.
    """
    if before.health.is_failing and not before.health.login_failed:
        return "the outage began before the login, and a greeting ends it; a later test logs in"
    problem, _ = _login_wait(target, state, before.health, now)
    if problem:
        return problem
    if before.health.login_delay:
        return f"the server wants {before.health.login_delay} s between two logins (LOGIN-DELAY)"
    if state.tried_at and state.tried_by != target.target_id:
        return f"{clean(state.tried_by, 128)} tries the credential {state.name} first"
    return f"the credential {state.name} could not be used in time; a later test logs in"


def _last_good_at(target: Target, record: Record | None, newest: NewestTests) -> datetime | None:
    """The last passed test: in the record of a target that fails, and as a rule only in the samples of any other.

    None if it is not known, as of a target that starts over after it was suspended.
    """
    passed, since = newest.passed.get(target.target_id), newest.since.get(target.target_id)
    if record is None:
        return passed
    if _starts_over(target, record.health):
        return None
    written = record.health.last_good_at
    if record.health.is_failing:
        # Of an outage in which tests passed, though not enough of them, the record has the time of the last pass only
        # if that was the last test.
        if record.outcome and record.outcome.passed:
            return record.outcome.started_at
        return passed or written if record.health.passes_in_outage else written
    if written and since and written < since:  # others may have passed after it
        return passed
    return max((time for time in (written, passed) if time), default=None)


def _starts_over(target: Target, health: Health) -> bool:
    """Whether it is suspended, or was until now, so that nothing is known of its tests."""
    return not target.policy.enabled or health.state is State.SUSPENDED


def _is_last_test(record: Record, outcome: Outcome, since: datetime | None) -> bool:
    """Whether no test came after the `outcome` of a record. No sample is newer, and they were read back to `since`.

    Each test of a target that fails writes its record, but of those that pass only the first does.
    """
    if outcome.error or record.health.is_failing or since is None:
        return True
    return record.tick is not None and record.tick >= since


def _status(target: Target, record: Record, newest: NewestTests, now: datetime) -> TargetStatus:
    health, outcome = record.health, record.outcome
    next_test_at = _next_test_at(target, health, now)
    if _starts_over(target, health):
        return TargetStatus(target, health, next_test_at=next_test_at)
    found = newest.samples.get(target.target_id)
    if found and (record.tick is None or found[0] > record.tick or outcome is None):
        tested_at, sample = found
        reason = clean(sample.reason, DETAIL_SHOWN)
        return TargetStatus(
            target,
            health,
            tested_at,
            sample.rtt_ms,
            sample.error,
            reason,
            "",
            next_test_at,
            sample.inconclusive,
            failed_addresses=() if sample.error else health.failed_addresses,
            untested_addresses=0 if sample.error else health.untested_addresses,
        )
    if outcome is None or not _is_last_test(record, outcome, newest.since.get(target.target_id)):
        return TargetStatus(target, health, next_test_at=next_test_at)
    return TargetStatus(
        target,
        health,
        outcome.started_at.replace(microsecond=0),
        outcome.rtt_ms,
        outcome.error,
        outcome.reason,
        outcome.detail,
        next_test_at,
        failed_addresses=outcome.failed_addresses,
        untested_addresses=outcome.untested_addresses,
    )


def _next_test_at(target: Target, health: Health, now: datetime) -> datetime | None:
    suspended = target.policy.suspended
    if not target.policy.enabled:
        return suspended.window.end if suspended and now < suspended.window.end else None
    return health.next_test_at or next_slot(target.target_id, target.policy.delay_up, now)
