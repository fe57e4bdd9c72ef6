"""Mistakes that the oracle must find alone: in `judge`, in planning, and in what delivers alerts.

Each is planted over the product's own functions for as long as a campaign runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from popwatch.alerts import layout, rendering
from popwatch.alerts.default_texts import TEXTS
from popwatch.decisions import judging, login_attempts, planning, posture_tests, schedule
from popwatch.decisions.batches import PlannedTest
from popwatch.model.credential_state import CredentialState
from popwatch.model.health import AlertEvent, Health, Judgement, State
from popwatch.model.outcomes import LoginVerdict
from popwatch.model.posture import Posture, PostureFinding, PostureSummary, findings
from popwatch.model.targets import Policy, Target
from popwatch.model.windows import WeeklyWindow
from popwatch.sweep import batch_tester, committer, logins
from popwatch.sweep.committer import Committer
from popwatch.sweep.logins import Logins
from popwatch.sweep.outbox import OutboxDelivery

JUDGE = judging.judge
ENDED, DUE = judging._ended_outage, judging._report_beside_outage
PLANNED, FAILING_NOW = planning._planned_test, Committer._failing_now
FIELD, OWN = rendering._template_field, rendering.OWN_TEXTS
AFTER_LOGIN, LEAVES_UNCONFIRMED = login_attempts.after_login, judging.leaves_login_unconfirmed
ALWAYS_RESTORED = replace(TEXTS[AlertEvent.RESTORED], headline=lambda _: "RESTORED")
NEXT_SLOT, DEGRADED, SLOW = schedule.next_slot, judging._report_degraded, judging._report_slow


def _health(change: Callable[[Health, Health], Health]) -> Callable[..., Judgement]:
    """`judge`, whose new health is changed; the function receives the one before it and the new one."""

    def judge(health: Health, *arguments: Any, **options: Any) -> Judgement:
        judged = JUDGE(health, *arguments, **options)
        return replace(judged, health=change(health, judged.health))

    return judge


def _policy(**fields: Callable[[Any], Any]) -> Callable[..., Judgement]:
    """`judge` by another policy: each field is made of its own value."""

    def judge(health: Health, outcome: Any, policy: Any, *arguments: Any, **options: Any) -> Judgement:
        other = replace(policy, **{name: change(getattr(policy, name)) for name, change in fields.items()})
        return JUDGE(health, outcome, other, *arguments, **options)

    return judge


def _no_alert(health: Health, *arguments: Any, **options: Any) -> Judgement:
    """Every second alert is not sent."""
    judged = JUDGE(health, *arguments, **options)
    drop = judged.alert and judged.health.failures % 2
    return replace(judged, alert=None) if drop else judged


def _earlier(health: Health, outcome: Any, policy: Any, now: Any, *arguments: Any, **options: Any) -> Judgement:
    """By the time of the test a minute before."""
    return JUDGE(health, outcome, policy, now - timedelta(minutes=1), *arguments, **options)


def _parentless(health: Health, outcome: Any, policy: Any, now: Any, *_: Any, **options: Any) -> Judgement:
    """The parent holds nothing."""
    return JUDGE(health, outcome, policy, now, "", **options)


def _counted_twice(before: Health, after: Health) -> Health:
    """Each failure counts as two."""
    return replace(after, failures=after.failures + 1) if after.failures > before.failures else after


def _since_latest(_: Health, after: Health) -> Health:
    """An outage begins with its latest failure."""
    return replace(after, failing_since=after.since) if after.state is State.DOWN else after


def _in_a_row_or_not(before: Health, after: Health) -> Health:
    """A failed test does not cut off the row of passed ones."""
    return replace(after, recovery=before.recovery) if after.failures > before.failures else after


def _changed_in_recovery(before: Health, after: Health) -> Health:
    """The first passed test of a recovery is a change."""
    begun = after.recovery if before.recovery is None else None
    return replace(after, changes=(*after.changes, begun.began_at)) if begun else after


IN_JUDGE: Mapping[str, Callable[..., Judgement]] = {
    "failure counted twice": _health(_counted_twice),
    "outage since it is down": _health(_since_latest),
    "failures in maintenance forgotten": _health(lambda _, after: replace(after, failures_in_maintenance=0)),
    "ended outage forgotten": _health(lambda _, after: replace(after, ended_outage=None)),
    "alerts counted anew": _health(lambda _, after: replace(after, alerts_sent=min(after.alerts_sent, 1))),
    "failure of the last alert forgotten": _health(lambda _, after: replace(after, alerted_at_failures=0)),
    "held alert forgotten": _health(
        lambda _, after: replace(after, alert_held=False, alerted_at_failures=after.failures)
    ),
    "flapping forgotten": _health(lambda _, after: replace(after, flapping=False)),
    "changes forgotten": _health(lambda _, after: replace(after, changes=after.changes[-2:])),
    "one failure more": _policy(failures_per_alert=lambda number: number + 1),
    "one failure less": _policy(failures_per_alert=lambda number: max(1, number - 1)),
    "one alert more": _policy(max_alerts=lambda number: number + 1),
    "one alert less": _policy(max_alerts=lambda number: max(0, number - 1)),
    "recovery though unwanted": _policy(alert_recovery=lambda _: True),
    "no recovery": _policy(alert_recovery=lambda _: False),
    "acknowledgement ignored": _policy(acknowledged=lambda _: None),
    "flapping ignored": _policy(flap_per_hour=lambda _: 0),
    "other delays": _policy(delay_down=lambda seconds: seconds + 60, delay_lost=lambda seconds: seconds + 60),
    "one passed test is enough": _policy(passes_per_recovery=lambda _: 1),
    "one passed test more": _policy(passes_per_recovery=lambda number: number + 1),
    "recovery not cut off": _health(_in_a_row_or_not),
    "recovery cut off in maintenance": _health(
        lambda _, after: replace(after, recovery=None) if after.state is State.MAINTENANCE else after
    ),
    "change in a recovery": _health(_changed_in_recovery),
    "passed tests in an outage forgotten": _health(lambda _, after: replace(after, passes_in_outage=0)),
    "days of warnings ignored": _policy(certificate_warn_days=lambda _: None),
    "every second alert dropped": _no_alert,
    "judged a minute earlier": _earlier,
    "parent ignored": _parentless,
}


def _next_due(target_id: str, health: Health, *arguments: Any, **options: Any) -> Any:
    """When it is due, but never while it is lost."""
    return None if health.state is State.LOST else schedule.next_due(target_id, health, *arguments, **options)


def _next_slot(target_id: str, delay: int, after: Any) -> Any:
    """The slots of three times the delay."""
    return NEXT_SLOT(target_id, 3 * delay, after)


def _any_parent(target: Any, record: Any, parents: Any, records: Any) -> PlannedTest:
    """Planned as if one parent that fails were enough, of several."""
    failing = [name for name in parents if name in records and records[name].health.is_failing]
    return PlannedTest(target, record, ", ".join(failing[:1]), tuple(parents))


def _suspended_too(target: Any, targets: Mapping[str, Any], _: Any) -> list[str]:
    """Parents, also those that are suspended."""
    return [name for name in target.policy.depends_on if name in targets]


Patch = tuple[Any, str, Any]

IN_PLANNING: Mapping[str, Sequence[Patch]] = {
    "never due after a collision": [(committer, "is_due", lambda *_: False)],
    "always due after a collision": [(committer, "is_due", lambda *_: True)],
    "never tested again once lost": [(planning, "next_due", _next_due)],
    "slots too far apart": [(schedule, "next_slot", _next_slot)],
    "retests forgotten": [(batch_tester, "retest_at", lambda *_, **__: None)],
    "one failing parent of several holds": [(planning, "_planned_test", _any_parent)],
    "suspended parent holds": [(planning, "watched_parents", _suspended_too)],
    "cycle holds": [(planning, "in_cycles", lambda _: set())],
    "changed target waits": [(planning, "_has_changed", lambda _: False)],
}


def _by_recovered_parents(target: Any, record: Any, parents: Any, records: Any) -> PlannedTest:
    """Planned as if parents that recover had recovered."""
    health = {name: one.health for name, one in records.items()}
    passing = {name: replace(one, state=State.UP) if one.recovery else one for name, one in health.items()}
    return PLANNED(target, record, parents, {name: replace(one, health=passing[name]) for name, one in records.items()})


def _failing_but_recovering(self: Any, test: PlannedTest) -> str:
    """The same as the parents are before the alert is committed."""
    recovering = any(self._store.read_record(name).health.recovery for name in test.parents)
    return "" if recovering else FAILING_NOW(self, test)


IN_RECOVERIES: Mapping[str, Sequence[Patch]] = {
    "outage until the last passed test": [
        (judging, "_ended_outage", lambda before, *rest: ENDED(replace(before, recovery=None), *rest))
    ],
    "recovering parent passes": [
        (planning, "_planned_test", _by_recovered_parents),
        (Committer, "_failing_now", _failing_but_recovering),
    ],
    "degraded before it has recovered": [
        (
            judging,
            "_report_beside_outage",
            lambda after, policy, *rest, **silenced: (
                (
                    judging._report_degraded(replace(after, degraded_tests=policy.failures_per_alert), policy)
                    if after.recovery
                    else None
                )
                or DUE(after, policy, *rest, **silenced)
            ),
        )
    ],
}


def _only(kind: str) -> Callable[[Any, str, Any], str]:
    """The field of a text, if that for recoveries alone is forgotten."""
    return lambda target, wanted, event: kind if wanted == kind and event in OWN else FIELD(target, wanted, event)


OF_THE_USER: Mapping[str, Sequence[Patch]] = {
    "recovered_subject ignored": [(rendering, "_template_field", _only("subject"))],
    "recovered_email ignored": [(rendering, "_template_field", _only("email"))],
    "recovered_sms ignored": [(rendering, "_template_field", _only("sms"))],
    "suspension ignored": [(Policy, "at", lambda policy, _: policy)],
    "suspended for ever": [(Policy, "at", lambda policy, _: replace(policy, enabled=not policy.suspended))],
    "windows of each week ignored": [(WeeklyWindow, "contains", lambda *_: False)],
}

OF_SERVERS: Mapping[str, Sequence[Patch]] = {
    "degraded at once": [
        (judging, "_report_degraded", lambda after, policy: DEGRADED(after, replace(policy, failures_per_alert=1)))
    ],
    "slow not reported": [(judging, "_report_slow", lambda *_: None)],
    "normal not reported": [
        (judging, "_report_slow", lambda after, policy: None if after.slow else SLOW(after, policy))
    ],
    "restored whatever is tested": [(layout, "TEXTS", {**TEXTS, AlertEvent.RESTORED: ALWAYS_RESTORED})],
    "certificate not reported": [(judging, "_report_certificate", lambda *_: None)],
    "certificate warned of anew": [(judging, "with_warnings", lambda sent, _: sent)],
}


def _unless(*verdicts: LoginVerdict) -> Callable[..., Any]:
    """What a login shows, unless it came to one of these."""
    return lambda state, revision, target_id, result, now: (
        None if result.verdict in verdicts else AFTER_LOGIN(state, revision, target_id, result, now)
    )


def _unconfirmed_unless(*verdicts: LoginVerdict) -> Callable[..., bool]:
    """Whether a passed test leaves a run of the login as it is, unless its login came to one of these."""
    return lambda before, outcome, policy: (
        LEAVES_UNCONFIRMED(before, outcome, policy) and not (outcome.login and outcome.login.verdict in verdicts)
    )


OF_LOGINS: Mapping[str, Sequence[Patch]] = {
    "greeting ends an outage of the login": [(judging, "leaves_login_unconfirmed", lambda *_: False)],
    "mailbox in use ends an outage": [(judging, "leaves_login_unconfirmed", _unconfirmed_unless(LoginVerdict.IN_USE))],
    "LOGIN-DELAY ends an outage": [
        (judging, "leaves_login_unconfirmed", _unconfirmed_unless(LoginVerdict.LOGIN_DELAY))
    ],
    "rejections not counted": [(logins, "after_login", _unless(LoginVerdict.REJECTED))],
    "refusals not counted": [(logins, "after_login", _unless(LoginVerdict.UNCLEAR))],
    "no wait after refusals": [(login_attempts, "next_attempt_at", lambda *_, **__: None)],
    "older credential tried": [(login_attempts, "is_newer", lambda *_: True)],
    "all try a new credential at once": [(logins, "begin_attempt", lambda *_, **__: None)],
    "held back tests pass": [(batch_tester, "with_skipped_login", lambda outcome, *_: outcome)],
    "rejected credential not reported": [(Logins, "_report", lambda *_: None)],
    "rejected credential reported again": [(CredentialState, "unreported", property(lambda state: state.blocked))],
}


def _every_fault(_: PostureSummary, posture: Posture) -> list[PostureFinding]:
    """All that should be otherwise, also what was so before."""
    return findings(posture)


def _is_up(target: Target, health: Health, _: datetime) -> bool:
    """Whatever the time of the day is."""
    return target.posture and health.state is State.UP


def _again(before: Health, after: Health, policy: Policy, now: datetime) -> tuple[Health, AlertEvent] | None:
    """What waits goes on waiting."""
    return (after, AlertEvent.POSTURE) if judging.was_posture_seen(before, policy, now) else None


def _waits(health: Health, *_: object) -> bool:
    """Whether anything waits, also if it was seen once, or long ago."""
    return bool(health.posture_pending)


FORGETS = (posture_tests, committer, batch_tester)
OF_POSTURES: Mapping[str, Sequence[Patch]] = {
    "posture never tested": [(batch_tester, "is_posture_due", lambda *_: False)],
    "posture tested with each test": [(batch_tester, "is_posture_due", _is_up)],
    "what was so before alerted": [(posture_tests, "worse", _every_fault)],
    "what was not tested forgotten": [(PostureSummary, "filled_from", lambda now, _: now)],
    "another server compared": [(where, "with_present_posture", lambda _, health: health) for where in FORGETS],
    "posture alerted again": [(judging, "_report_posture", _again)],
    "only one change alerted": [(posture_tests, "MAX_PENDING", 1)],
    "posture alerted without being seen again": [(judging, "was_posture_seen", _waits)],
    "posture not asked again": [(posture_tests, "_has_more_to_see", lambda *_: False)],
    "posture not kept": [(Committer, "commit_posture", lambda *_: False)],
}
"""These take an installation of days."""

OUTSIDE_JUDGE: Mapping[str, Sequence[Patch]] = {
    "later alerts overtake": [(OutboxDelivery, "_follow_another", lambda *_: False)],
    "given back, and taken over by no one": [(OutboxDelivery, "take_over_from", lambda *_: None)],
    "left behind for ever": [(OutboxDelivery, "deliver_left_by_ended", lambda _, record, *__: record)],
    "silenced since, alerted": [(Committer, "_present_policy", lambda _, target: target.policy)],
    "parent not read again": [(Committer, "_failing_now", lambda *_: "")],
    **IN_PLANNING,
    **IN_RECOVERIES,
    **OF_THE_USER,
    **OF_SERVERS,
    **OF_LOGINS,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The product with a mistake."""
    patches = (
        OUTSIDE_JUDGE.get(name)
        or OF_POSTURES.get(name)
        or [(where, "judge", IN_JUDGE[name]) for where in (committer, batch_tester)]
    )
    with ExitStack() as stack:
        for where, what, other in patches:
            stack.enter_context(patch.object(where, what, other))
        yield
