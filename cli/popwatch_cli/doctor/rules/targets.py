"""What the user has configured: fields, duplicates, dependencies, policies under which no one is notified. Pure."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from shlex import quote

from popwatch.alerts.tokens import TEMPLATES, TOKENS_LISTED
from popwatch.decisions.planning import cycles
from popwatch.decisions.schedule import longest_time_to_alert
from popwatch.model.fields import DEFAULTS_ID, FIELDS_BY_NAME, Family, is_blank
from popwatch.model.targets import NEEDED_BY_LOGIN, Item, Policy, Problem, Target, endpoint
from popwatch.model.text import clean, did_you_mean, duration, natural_order
from popwatch_cli.doctor.rules.findings import (
    Finding,
    FindingKind,
    broken,
    command,
    of_targets,
    some,
    targets_that,
    warning,
)

LATE_ALERT = timedelta(hours=6)
"""A policy under which an outage may be reported later than this is rarely intended."""

ALL_WEEK = timedelta(days=8)
"""Maintenance without a gap in this time does not come from a weekly window."""

STEP = timedelta(minutes=15)

MAX_COMPARED = 100_000
"""Pairs of names that are compared to find what may have been meant, which takes a second or two."""

SHOWN = 300

Items = Mapping[str, Item]
NO_ITEMS: Items = {}
"""Where it is not known which fields come from `_defaults`: each counts as the target's own."""


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
    do = _correction(problem, names)
    if _is_template(problem):
        subject = _subject(
            names, one="uses the built-in text instead of its own", many="use the built-in text instead of their own"
        )
        return warning(FindingKind.BAD_TEMPLATE, f"{subject}: {explanation}", do, names)
    subject = _subject(names, one="cannot be tested", many="cannot be tested")
    severity = warning if suspended else broken
    return severity(FindingKind.BAD_FIELD, f"{subject}: {explanation}", do, names)


def _correction(problem: Problem, names: Sequence[str]) -> str:
    """What to do about a field that cannot be used, or that is missing."""
    name = problem.field
    if NEEDED_BY_LOGIN in problem.explanation:
        needed = {"tls": "`tls` to implicit or starttls", "verify_tls": "`verify_tls` to true"}
        do = needed.get(name, "`tls_min` to 1.2 or 1.3")
        return f"Set {do}, or test without a login: {command('targets put', names, 'login=')}."
    if name not in FIELDS_BY_NAME or FIELDS_BY_NAME[name].default == "required":
        return f"Correct `{name}` as docs/targets.md says, or remove the target: {command('targets remove', names)}."
    allowed = FIELDS_BY_NAME[name].range
    removal = command("targets put", names, f"{name}=")
    return f"Set `{name}` as docs/targets.md says ({allowed}), or remove the field: {removal}."


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
            "Resume them: `popwatch resume --all`, or some of them by their ids.",
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
                f"If this is not intended, remove all but one: {command('targets remove', names[1:])}.",
                names,
            )


def check_parents(
    targets: Mapping[str, Target],
    items: Items = NO_ITEMS,
    *,
    missing_parent: str = "which is not a target: it holds back no alert.",
) -> Iterator[Finding]:
    """Targets that depend on what does not exist, or on themselves: such a dependency holds back no alert.

    `missing_parent` says what a parent means that is not among these `targets`.
    """
    missing: dict[str, list[str]] = defaultdict(list)
    for target in targets.values():
        for parent in target.policy.depends_on:
            if parent not in targets:
                missing[parent].append(target.target_id)
    for parent, names in missing.items():
        comparable = len(missing) * len(targets) <= MAX_COMPARED
        hint = clean(did_you_mean(parent, targets, mark=""), SHOWN) if comparable else ""
        removal = _without_parents([targets[name] for name in names], {parent}, items)
        yield warning(
            FindingKind.PARENT_MISSING,
            f"{targets_that(names, one='depends', many='depend')} on {clean(parent, SHOWN)}, "
            f"{missing_parent} {hint}".rstrip(),
            f"Set `depends_on` to the id of a target, or leave that one out: {removal}.",
            names,
        )
    found = cycles(targets)
    alone = sorted((names[0] for names in found if len(names) == 1), key=natural_order)
    if alone:
        removal = _without_parents([targets[alone[0]]], {alone[0]}, items)
        yield warning(
            FindingKind.PARENT_CYCLE,
            f"{targets_that(alone, one='depends on itself', many='depend on themselves')}: that holds back no alert.",
            f"Leave it out of its own `depends_on`: {removal}.",
            alone,
        )
    for names in (sorted(component, key=natural_order) for component in found if len(component) > 1):
        removal = _without_parents([targets[names[0]]], set(names), items)
        yield warning(
            FindingKind.PARENT_CYCLE,
            f"{len(names)} targets ({some(names)}) depend on one another in a cycle: no alert is held back.",
            f"Let one of them depend on none of the others: {removal}.",
            names,
        )


def _without_parents(targets: Sequence[Target], parents: Set[str], items: Items) -> str:
    """The command by which the first target, and others that depend on the same, no longer depend on these parents."""
    first = targets[0].policy.depends_on
    same = [target.target_id for target in targets if target.policy.depends_on == first]
    kept = [parent for parent in first if parent not in parents]
    change = quote(f"depends_on={json.dumps(kept, ensure_ascii=False)}") if kept else "depends_on="
    where = list(dict.fromkeys(_where_set(items, name, "depends_on") for name in same))
    return command("targets put", where, change)


def _where_set(items: Items, target_id: str, name: str) -> str:
    """The item that a field of a target comes from: its own, or `_defaults`."""
    item, defaults = items.get(target_id, {}), items.get(DEFAULTS_ID, {})
    return DEFAULTS_ID if is_blank(item.get(name)) and not is_blank(defaults.get(name)) else target_id


def check_policies(targets: Iterable[Target], now: datetime, items: Items = NO_ITEMS) -> Iterator[Finding]:
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
    yield from _check_maintenance(active, now, items)
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


def _check_maintenance(targets: Sequence[Target], now: datetime, items: Items) -> Iterator[Finding]:
    """Targets that are in maintenance at each time looked at, by their windows or by a silence."""
    by_windows = _always_in_maintenance(targets, now, lambda policy: replace(policy, silence=None))
    muted = _always_in_maintenance(targets, now, lambda policy: policy)
    by_silence = [name for name in muted if name not in set(by_windows)]
    if by_windows:
        where = list(dict.fromkeys(_where_set(items, name, "maintenance") for name in by_windows))
        removal = command("targets put", where, "maintenance=")
        yield _always_silent(by_windows, f"Correct the windows in `maintenance`, or remove them: {removal}.")
    if by_silence:
        yield _always_silent(by_silence, f"End it with {command('unsilence', by_silence)}.")


def _always_silent(names: Sequence[str], do: str) -> Finding:
    return warning(
        FindingKind.ALWAYS_IN_MAINTENANCE,
        f"{targets_that(names, one='is', many='are')} in maintenance without a break for the next "
        f"{duration(ALL_WEEK)}: no one is notified of outages.",
        do,
        names,
    )


def _always_in_maintenance(targets: Iterable[Target], now: datetime, assumed: Callable[[Policy], Policy]) -> list[str]:
    """The targets that always are, each by the policy `assumed` of its own; the same windows are looked at once."""
    known: dict[object, bool] = {}
    found = []
    for target in targets:
        policy = assumed(target.policy)
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
