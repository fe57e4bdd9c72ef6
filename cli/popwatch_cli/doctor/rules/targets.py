"""What the user has configured: fields, duplicates, dependencies, policies under which no one is notified. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from shlex import quote

from popwatch.alerts.tokens import TEMPLATES, TOKENS_LISTED
from popwatch.decisions.planning import in_cycles
from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.fields import DEFAULTS_ID, Family
from popwatch.model.targets import Policy, Problem, Target, endpoint
from popwatch.model.text import clean, duration
from popwatch_cli.doctor.rules.findings import Finding, FindingKind, broken, of_targets, some, targets_that, warning

LATE_ALERT = timedelta(hours=6)
"""A policy under which an outage may be reported later than this is rarely intended."""

ALL_WEEK = timedelta(days=8)
"""Maintenance without a gap in this time does not come from a weekly window."""

STEP = timedelta(minutes=15)
SHOWN = 60


def check_items(mistakes: Mapping[str, Sequence[Problem]], targets: Mapping[str, Target]) -> Iterator[Finding]:
    """What is wrong with the items' own fields; the same mistake in many targets is one finding."""
    shared: dict[tuple[Problem, bool], list[str]] = defaultdict(list)
    for name, problems in mistakes.items():
        suspended = name in targets and not targets[name].policy.enabled
        for problem in problems:
            shared[problem, suspended].append(name)
    for (problem, suspended), names in shared.items():
        yield _item_finding(problem, names, suspended=suspended)


def _item_finding(problem: Problem, names: Sequence[str], *, suspended: bool) -> Finding:
    explanation = clean(problem.explanation, 300)
    put = f"popwatch targets put {quote(names[0])} {problem.field}=VALUE"
    do = f"Correct it with `{put}`; docs/targets.md lists every field."
    if _is_template(problem):
        subject = _subject(
            names, one="uses the built-in text instead of its own", many="use the built-in text instead of their own"
        )
        return warning(FindingKind.BAD_TEMPLATE, f"{subject}: {explanation}", do, names)
    subject = _subject(names, one="cannot be tested", many="cannot be tested")
    severity = warning if suspended else broken
    return severity(FindingKind.BAD_FIELD, f"{subject}: {explanation}", do, names)


def check_unknown_fields(sentences: Sequence[str]) -> Iterator[Finding]:
    """Fields that popwatch does not know; most are misspelt."""
    for sentence in sentences:
        yield warning(
            FindingKind.UNKNOWN_FIELD,
            sentence,
            "Spell it as in docs/targets.md, or remove it if it is not meant for popwatch.",
        )


def check_any_targets(targets: Mapping[str, Target]) -> Iterator[Finding]:
    """Whether there is anything to watch."""
    if not targets:
        yield warning(
            FindingKind.NO_TARGETS,
            "There are no targets: nothing is watched.",
            "Add some: `popwatch targets put ID host=NAME`, or `popwatch targets import FILE`.",
        )
    elif not any(target.policy.enabled for target in targets.values()):
        yield warning(
            FindingKind.ALL_SUSPENDED,
            f"All {len(targets)} targets are suspended: nothing is watched."
            if len(targets) > 1
            else f"The only target, {next(iter(targets))}, is suspended: nothing is watched.",
            "Resume them: `popwatch resume ID`, or set `enabled` to true.",
        )


def check_duplicates(targets: Iterable[Target]) -> Iterator[Finding]:
    """Servers that are watched twice: each of their outages is reported twice.

    One target for IPv4 and one for IPv6 watch different addresses.
    """
    shared: dict[tuple[str, Family], list[str]] = defaultdict(list)
    for target in targets:
        if target.policy.enabled and not target.problems:
            shared[endpoint(target), target.family].append(target.target_id)
    for (server, _), names in shared.items():
        if len(names) > 1:
            yield warning(
                FindingKind.DUPLICATE,
                f"{clean(server, SHOWN)} is watched by {len(names)} targets ({some(names)}): each outage is reported "
                f"{len(names)} times.",
                f"If this is not intended, remove all but one: `popwatch targets remove {quote(names[1])}`.",
                names,
            )


def check_parents(targets: Mapping[str, Target]) -> Iterator[Finding]:
    """Targets that depend on what does not exist, or on themselves: such a dependency holds back no alert."""
    missing: dict[str, list[str]] = defaultdict(list)
    for target in targets.values():
        for parent in target.policy.depends_on:
            if parent not in targets:
                missing[parent].append(target.target_id)
    for parent, names in missing.items():
        yield warning(
            FindingKind.PARENT_MISSING,
            f"{targets_that(names, one='depends', many='depend')} on {clean(parent, SHOWN)}, which is not a target: "
            "it holds back no alert.",
            "Set `depends_on` to the id of a target, or remove the field.",
            names,
        )
    cyclic = in_cycles(targets)
    names = [name for name in targets if name in cyclic]
    if names:
        yield warning(
            FindingKind.PARENT_CYCLE,
            f"{targets_that(names, one='depends on itself', many='depend on one another in a cycle')}: "
            "no alert is held back.",
            "Remove `depends_on` from the target that depends on nothing else.",
            names,
        )


def check_policies(targets: Iterable[Target], now: datetime) -> Iterator[Finding]:
    """Policies under which no one is notified, or only very late."""
    active = [target for target in targets if target.policy.enabled]
    never = [target.target_id for target in active if not target.policy.max_alerts]
    if never:
        yield warning(
            FindingKind.NEVER_ALERTED,
            f"{targets_that(never, one='never sends', many='never send')} alerts: `max_alerts` is 0.",
            "Set `max_alerts` to 1 or more if someone should be notified.",
            never,
        )
    muted = _always_in_maintenance(active, now)
    if muted:
        yield warning(
            FindingKind.ALWAYS_IN_MAINTENANCE,
            f"{targets_that(muted, one='is', many='are')} in maintenance without a break for the next "
            f"{duration(ALL_WEEK)}: no one is notified of outages.",
            f"End it with `popwatch unsilence {quote(muted[0])}`, or correct the windows in `maintenance`.",
            muted,
        )
    late = {
        target.target_id: time_to_alert
        for target in active
        if target.policy.max_alerts
        and (time_to_alert := longest_time_to_alert(target.policy, target.max_test_seconds)) > LATE_ALERT
    }
    if late:
        yield warning(
            FindingKind.ALERTED_LATE,
            f"An outage of {of_targets(list(late))} may be reported as late as {duration(max(late.values()))} after it "
            "begins.",
            "Delays are in seconds: shorten `delay_up` or `delay_warn`, or lower `failures_per_alert`.",
            late,
        )


def _is_template(problem: Problem) -> bool:
    """Whether a text of the user's own cannot be used: the built-in one is sent instead, and the target is tested."""
    return problem.field in TEMPLATES and TOKENS_LISTED in problem.explanation


def _subject(names: Sequence[str], *, one: str, many: str) -> str:
    if names[0] == DEFAULTS_ID:
        return f"The item {DEFAULTS_ID}, which applies to all targets, is wrong"
    return targets_that([clean(name, SHOWN) for name in names], one=one, many=many)


def _always_in_maintenance(targets: Iterable[Target], now: datetime) -> list[str]:
    """Targets that are in maintenance at each time looked at; targets with the same windows are looked at once."""
    known: dict[object, bool] = {}
    found = []
    for target in targets:
        policy = target.policy
        if not policy.in_maintenance(now):
            continue
        windows = (policy.maintenance, policy.silence)
        if windows not in known:
            known[windows] = _has_no_gap(policy, now)
        if known[windows]:
            found.append(target.target_id)
    return found


def _has_no_gap(policy: Policy, now: datetime) -> bool:
    return all(policy.in_maintenance(now + STEP * step) for step in range(ALL_WEEK // STEP))
