"""What the user has written: fields, duplicates, dependence, policies under which nobody is told. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from popwatch.alerts.tokens import TEMPLATES, TOKENS_LISTED
from popwatch.decisions.planning import in_cycles
from popwatch.decisions.schedule import longest_notice
from popwatch.model.fields import DEFAULTS_ID
from popwatch.model.targets import Policy, Problem, Target, place
from popwatch.model.text import clean, duration
from popwatch_cli.doctor.rules.findings import Finding, Kind, broken, of_targets, some, warning

LATE_NOTICE = timedelta(hours=6)
"""An outage that may go unnoticed for longer is rarely meant."""

ALL_WEEK = timedelta(days=8)
"""A maintenance that has no gap in this time is no weekly window."""

STEP = timedelta(minutes=15)
SHOWN = 60


def of_items(mistakes: Mapping[str, Sequence[Problem]], targets: Mapping[str, Target]) -> Iterator[Finding]:
    """What is wrong with the items' own fields; the same mistake of many targets is one finding."""
    shared: dict[tuple[Problem, bool], list[str]] = defaultdict(list)
    for name, problems in mistakes.items():
        for problem in problems:
            shared[problem, name in targets and not targets[name].policy.enabled].append(name)
    for (problem, suspended), names in shared.items():
        said, do = clean(problem.explanation, 300), _mend(names, problem.field)
        if _is_template(problem):
            what = _whose(names, one="has a text that is not used", many="have a text that is not used")
            yield warning(Kind.BAD_TEMPLATE, f"{what}: {said}", do, names)
            continue
        found = f"{_whose(names, one='cannot be tested', many='cannot be tested')}: {said}"
        yield (warning if suspended else broken)(Kind.BAD_FIELD, found, do, names)


def of_unknown_fields(sentences: Sequence[str]) -> Iterator[Finding]:
    """Fields that popwatch does not know, which are often misspelt."""
    for sentence in sentences:
        yield warning(
            Kind.UNKNOWN_FIELD, sentence, "Write it as docs/targets.md has it, or remove it if it is not for popwatch."
        )


def of_targets_at_all(targets: Mapping[str, Target]) -> Iterator[Finding]:
    """Whether there is anything to watch."""
    if not targets:
        yield warning(
            Kind.NO_TARGETS,
            "There are no targets: nothing is watched.",
            "Write some: `popwatch targets put ID host=NAME`, or `popwatch targets import FILE`.",
        )
    elif not any(target.policy.enabled for target in targets.values()):
        yield warning(
            Kind.ALL_SUSPENDED,
            f"All {len(targets)} targets are suspended: nothing is watched."
            if len(targets) > 1
            else f"The only target, {next(iter(targets))}, is suspended: nothing is watched.",
            "Resume them: `popwatch resume ID`, or set `enabled` to true.",
        )


def of_duplicates(targets: Iterable[Target]) -> Iterator[Finding]:
    """Servers that are watched twice: each of their outages is told twice."""
    shared: dict[str, list[str]] = defaultdict(list)
    for target in targets:
        if target.policy.enabled and not target.problems:
            shared[place(target)].append(target.target_id)
    for server, names in shared.items():
        if len(names) > 1:
            yield warning(
                Kind.DUPLICATE,
                f"{clean(server, SHOWN)} is watched by {len(names)} targets ({some(names)}): each outage is told "
                f"{len(names)} times.",
                f"Remove all but one: `popwatch targets remove {names[1]}`, if they are not meant.",
                names,
            )


def of_parents(targets: Mapping[str, Target]) -> Iterator[Finding]:
    """Targets that depend on what is not there, or on themselves: such a dependence holds no alert back."""
    missing: dict[str, list[str]] = defaultdict(list)
    for target in targets.values():
        parent = target.policy.depends_on
        if parent and parent not in targets:
            missing[parent].append(target.target_id)
    for parent, names in missing.items():
        yield warning(
            Kind.PARENT_MISSING,
            f"{of_targets(names, one='depends', many='depend')} on {clean(parent, SHOWN)}, which is no target: "
            "no alert is held back.",
            "Write the id of a target into `depends_on`, or remove the field.",
            names,
        )
    in_one = in_cycles(targets)
    circle = [name for name in targets if name in in_one]
    if circle:
        yield warning(
            Kind.PARENT_CIRCLE,
            f"{of_targets(circle, one='depends on itself', many='depend on one another in a circle')}: "
            "no alert is held back.",
            "Remove `depends_on` from the one that depends on nothing else.",
            circle,
        )


def of_policies(targets: Iterable[Target], now: datetime) -> Iterator[Finding]:
    """Policies under which nobody is told, or very late."""
    active = [target for target in targets if target.policy.enabled]
    never = [target.target_id for target in active if not target.policy.max_alerts]
    if never:
        yield warning(
            Kind.NEVER_ALERTED,
            f"{of_targets(never, one='is', many='are')} never alerted of: `max_alerts` is 0.",
            "Set `max_alerts` to 1 or more, if somebody is to be told.",
            never,
        )
    silent = _always_silent(active, now)
    if silent:
        yield warning(
            Kind.ALWAYS_SILENT,
            f"{of_targets(silent, one='is', many='are')} in maintenance without a break for the next "
            f"{duration(ALL_WEEK)}: nobody is told of outages.",
            f"End it with `popwatch unsilence {silent[0]}`, or mend the windows in `maintenance`.",
            silent,
        )
    late = [(notice, target.target_id) for target in active if (notice := _notice(target)) > LATE_NOTICE]
    if late:
        names = [name for _, name in late]
        yield warning(
            Kind.NOTICED_LATE,
            f"An outage of {_named(names)} is told after up to {duration(max(late)[0])}.",
            "Delays are in seconds: shorten `delay_up` or `delay_warn`, or lower `failures_per_alert`.",
            names,
        )


def _is_template(problem: Problem) -> bool:
    """Whether a text of the user's own cannot be filled: the built-in one is sent instead, and the target tested."""
    return problem.field in TEMPLATES and TOKENS_LISTED in problem.explanation


def _whose(names: Sequence[str], *, one: str, many: str) -> str:
    if names[0] == DEFAULTS_ID:
        return f"The item {DEFAULTS_ID}, which holds for all targets, is wrong"
    return of_targets([clean(name, SHOWN) for name in names], one=one, many=many)


def _mend(names: Sequence[str], field: str) -> str:
    return f"Mend it with `popwatch targets put {names[0]} {field}=VALUE`; docs/targets.md has every field."


def _named(names: Sequence[str]) -> str:
    return f"target {names[0]}" if len(names) == 1 else f"{len(names)} targets ({some(names)})"


def _notice(target: Target) -> timedelta:
    return longest_notice(target.policy, target.max_test_seconds) if target.policy.max_alerts else timedelta()


def _always_silent(targets: Iterable[Target], now: datetime) -> list[str]:
    """Those in maintenance at each moment that is looked at; targets with the same windows are looked at once."""
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
