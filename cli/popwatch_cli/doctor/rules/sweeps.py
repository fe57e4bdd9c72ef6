"""Whether sweeps take place: the checkpoint of the last one, and gaps between the samples of the last hours. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from popwatch.decisions.judging import TICK
from popwatch.model.health import State
from popwatch.model.records import Record
from popwatch.model.targets import Target
from popwatch.model.text import duration, utc
from popwatch.reports.status import has_stopped
from popwatch_cli.doctor.rules.findings import Finding, FindingKind, broken, warning

LOOKBACK = timedelta(hours=6)
"""How far back gaps are looked for."""

LATE_AFTER = timedelta(seconds=210)
"""If the last sweep is older than this, the next one is late: a tick may come after 59 seconds, and last 60."""

Gap = tuple[datetime, datetime]


def check_checkpoint(last_tick: datetime | None, now: datetime, damage: str = "") -> Iterator[Finding]:
    """Whether the last completed tick is where it should be; `damage` is why the one in the table is ignored."""
    if last_tick is None and damage:
        yield broken(
            FindingKind.CHECKPOINT_DAMAGED,
            f"The last completed tick is ignored, since {damage}: the time of the last sweep is unknown.",
            "Run `popwatch doctor` again in two minutes: the next sweep replaces it. If the finding remains, nothing "
            "is being watched: see the other findings, and the function's log.",
        )
    elif last_tick is None:
        yield broken(
            FindingKind.NO_SWEEP,
            "No sweep has been completed yet: nothing is being watched.",
            "Wait two minutes after the first deployment; then see the other findings, and the function's log.",
        )
    elif has_stopped(last_tick, now):
        yield broken(
            FindingKind.SWEEPS_STOPPED,
            f"The last sweep was {duration(now - last_tick)} ago, at {utc(last_tick)}: nothing is being watched.",
            "See the other findings, and the function's log: the cause is the schedule, the function or a permission.",
        )
    elif now - last_tick > LATE_AFTER:
        yield warning(
            FindingKind.SWEEPS_LATE,
            f"The last sweep was {duration(now - last_tick)} ago: a tick was missed, or its sweep takes long.",
            "Run `popwatch doctor` again in a minute. If the finding remains, the function's log shows why.",
        )


def check_gaps(gaps: Sequence[Gap]) -> Iterator[Finding]:
    """What was missed in the last hours: later sweeps caught up, but no one was notified in the meantime."""
    if gaps:
        begin, end = max(gaps, key=lambda gap: gap[1] - gap[0])
        span = f"from {begin:%H:%M} to {end:%H:%M} UTC ({duration(end - begin)})"
        several = f" in {len(gaps)} gaps in the last {duration(LOOKBACK)}, the longest" if len(gaps) > 1 else ""
        yield warning(
            FindingKind.SWEEPS_MISSED,
            f"No sweep tested anything{several} {span}.",
            "See the function's log and the schedule's metrics for that time. Later sweeps have caught up.",
        )


def baseline_target(targets: Iterable[Target], records: Mapping[str, Record]) -> Target | None:
    """The target whose samples show best that sweeps took place: up for longest among the most often tested.

    A failing target is tested at times of its own, and a suspended one not at all.
    """
    healthy = [
        (target.policy.delay_up, record.health.since, target.target_id, target)
        for target in targets
        if target.policy.enabled
        and (record := records.get(target.target_id))
        and record.health.state is State.UP
        and record.health.since
    ]
    return min(healthy, default=(0, None, "", None))[3]


def gaps_between(
    ticks: Iterable[datetime], delay_up: int, since: datetime, until: datetime, least: timedelta = 2 * TICK
) -> list[Gap]:
    """Where the ticks at which a batch was tested are further apart than they may be.

    A target that is up is tested each `delay_up`, at the next tick; up to `least` more does not count as missed.
    """
    allowed = max(timedelta(seconds=delay_up), TICK) + least
    times = [since, *sorted(ticks), until]
    return [(before, after) for before, after in pairwise(times) if after - before > allowed]
