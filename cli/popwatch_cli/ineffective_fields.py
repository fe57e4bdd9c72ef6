"""Fields of a target that can never have an effect, or hardly the meant one, because of another of its fields. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from popwatch.model.fields import DEFAULTS_ID, Family, TlsMode, TlsVersion, is_blank
from popwatch.model.targets import Problem, Target, parse_target
from popwatch.model.windows import WeeklyWindow
from popwatch_cli.target_items import problem_lines, shown, shown_id, without_id

NONE: Mapping[str, Mapping[str, Any]] = {}

Reason = Callable[[Target], str]
"""Why a field of a target has no effect, as the end of a sentence; empty if it has one."""


def ineffective_fields(
    items: Iterable[Mapping[str, Any]], defaults: Mapping[str, Any], before: Mapping[str, Mapping[str, Any]] = NONE
) -> list[str]:
    """A sentence for each field that can never have an effect, with the targets of which that is so.

    Not of `_defaults`, whose fields are for targets that have others of their own, nor of what was so `before`.
    """
    owners: dict[str, list[str]] = {}
    for item in items:
        name = str(item["target_id"])
        known = ineffective_fields_of(before[name], before.get(DEFAULTS_ID, {})) if name in before else []
        for problem in ineffective_fields_of(item, defaults):
            if problem not in known:
                owners.setdefault(problem.explanation, []).append(shown_id(name))
    return problem_lines(owners)


def ineffective_fields_of(item: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Problem]:
    """The item's own fields that can never have an effect, each with a sentence that says why."""
    if item["target_id"] == DEFAULTS_ID:
        return []
    target = parse_target(item, without_id(defaults))
    if target.problems:
        return []
    reasons = ((name, why(target)) for name, why in _REASONS.items() if not is_blank(item.get(name)))
    ineffective = [Problem(name, f"The field `{name}` has no effect: {reason}.") for name, reason in reasons if reason]
    others = (_windows_of_whole_days, _port_of_another_tls, _several_groups)
    return [*ineffective, *(problem for found in others for problem in found(item, target))]


def _several_groups(item: Mapping[str, Any], target: Target) -> list[Problem]:
    """Words with commas between them: a target has one group, and such a list would be its name."""
    names = [part.strip() for part in target.group.split(",")]
    if is_blank(item.get("group")) or len(names) < 2 or not all(name and " " not in name for name in names):
        return []
    listed = shown(",".join(names))
    sentence = f"The field `group` is one name, with a comma in it. To be in several groups use tags: tags={listed}."
    return [Problem("group", sentence)]


def _port_of_another_tls(item: Mapping[str, Any], target: Target) -> list[Problem]:
    """A usual port beside a `tls` that no server has there (RFC 8314 section 3.1)."""
    usual = {995: (TlsMode.IMPLICIT, "with TLS"), 110: (TlsMode.NONE, "without TLS")}
    mode, how = usual.get(target.port, (target.tls, ""))
    suits = target.tls is mode or (target.port == 110 and target.tls is TlsMode.STARTTLS)
    if suits or is_blank(item.get("port")):
        return []
    meant = f"`tls` is {target.tls}: {mode} is usual there"
    return [Problem("port", f"The field `port` is {target.port}, at which POP3 begins {how}, and {meant}.")]


def _windows_of_whole_days(item: Mapping[str, Any], target: Target) -> list[Problem]:
    """A window that ends when it begins goes on past midnight for a whole day, which leaves no time for alerts."""
    windows = () if is_blank(item.get("maintenance")) else target.policy.maintenance
    whole = next((it for it in windows if isinstance(it, WeeklyWindow) and it.start == it.end), None)
    if whole is None:
        return []
    at = f"{whole.start:%H:%M}"
    sentence = f"The field `maintenance` has a window from {at} until {at}: it is 24 hours long, without alerts."
    return [Problem("maintenance", sentence)]


def _slow(target: Target) -> str:
    limit = target.policy.slow_rtt_ms
    if not limit:
        return ""
    if 0 < target.max_rtt_ms <= limit:
        return f"a test that is so slow has failed already, as `max_rtt_ms` is {target.max_rtt_ms:g}"
    return _beyond_deadline(limit, target)


def _too_slow(target: Target) -> str:
    return _beyond_deadline(target.max_rtt_ms, target)


def _beyond_deadline(limit: float, target: Target) -> str:
    ends = target.max_test_seconds
    return f"a test ends before, as `max_test_seconds` is {ends:g}" if limit >= ends * 1000 else ""


def _delay_warn(target: Target) -> str:
    policy = target.policy
    never = policy.failures_per_alert == 1 and policy.passes_per_recovery == 1
    return "with `failures_per_alert` 1 the state is never `warn`" if never else ""


def _delay_down(target: Target) -> str:
    return "with `max_alerts` 0 a target that is down is tested by `delay_lost`" if not target.policy.max_alerts else ""


def _recovery_text(target: Target) -> str:
    return "" if target.policy.alert_recovery else "`alert_recovery` is false"


def _of_login(target: Target) -> str:
    return "" if target.policy.login else "without `login` no test of the stack logs in"


def _siblings(target: Target) -> str:
    return "" if target.posture or not target.siblings else "`posture` is false"


def _of_tls(given: Callable[[Target], bool], *, in_postures: bool) -> Reason:
    """The reason of a field that matters in TLS alone, maybe also in the TLS of postures."""

    def why(target: Target) -> str:
        if target.tls is not TlsMode.NONE or not given(target) or (in_postures and target.posture):
            return ""
        return "the target has no `tls`" + (", and `posture` is false" if in_postures else "")

    return why


def _renegotiation(target: Target) -> str:
    if target.legacy_renegotiation and target.tls_min is TlsVersion.TLS_1_3:
        return "TLS 1.3, the lowest version by `tls_min`, has no renegotiation"
    return _of_tls(lambda it: it.legacy_renegotiation, in_postures=True)(target)


def _addresses(given: Callable[[Target], bool]) -> Reason:
    def why(target: Target) -> str:
        is_address = ":" in target.host or target.host.rpartition(".")[2].isdigit()  # no name ends with a number
        return "`host` is one address" if is_address and given(target) else ""

    return why


def _schedules(target: Target) -> str:
    return "" if target.policy.maintenance else "the target has no `maintenance` that names one of them"


_REASONS: Mapping[str, Reason] = {
    "slow_rtt_ms": _slow,
    "max_rtt_ms": _too_slow,
    "delay_warn": _delay_warn,
    "delay_down": _delay_down,
    **dict.fromkeys(("recovered_subject", "recovered_email", "recovered_sms"), _recovery_text),
    **dict.fromkeys(("login_every", "max_messages", "max_octets"), _of_login),
    "siblings": _siblings,
    "verify_tls": _of_tls(lambda it: not it.verify_tls, in_postures=False),
    "certificate_warn_days": _of_tls(lambda it: bool(it.policy.certificate_warn_days), in_postures=False),
    "ca_pem": _of_tls(lambda it: bool(it.ca_pem), in_postures=True),
    "tls_name": _of_tls(lambda it: bool(it.tls_name), in_postures=True),
    "tls_min": _of_tls(lambda it: it.tls_min is not TlsVersion.TLS_1_2, in_postures=True),
    "legacy_renegotiation": _renegotiation,
    "family": _addresses(lambda it: it.family is not Family.ANY),
    "all_addresses": _addresses(lambda it: it.all_addresses),
    "schedules": _schedules,
}
"""The reason of each field that another one can leave without any effect.

`ca_pem` of a target with `verify_tls: false` is not among them, nor are texts of alerts with `max_alerts` 0: postures
are verified all the same, and the recovery of an outage that was alerted before is still sent.
"""
