"""Whether sweeps take place: the mark of the last one, and gaps between the samples of the past hours. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from popwatch.decisions.schedule import TICK
from popwatch.model.health import State
from popwatch.model.records import Record
from popwatch.model.targets import Target
from popwatch.model.text import duration, utc
from popwatch.reports.status import has_stopped
from popwatch_cli.doctor.rules.findings import Finding, Kind, broken, warning

LOOKBACK = timedelta(hours=6)
"""How far back gaps are looked for."""

AHEAD = timedelta(minutes=2)
LATE_AFTER = timedelta(seconds=150)
"""A last sweep older than this was not followed by the next one in time."""

Gap = tuple[datetime, datetime]


def of_mark(swept_at: datetime | None, now: datetime) -> Iterator[Finding]:
    """Whether the last completed tick is where it should be."""
    if swept_at is None:
        yield broken(
            Kind.NO_SWEEP,
            "There was no sweep yet: nothing is being watched.",
            "Wait two minutes after the first deployment; then see what else is found here, and the function's log.",
        )
    elif has_stopped(swept_at, now):
        yield broken(
            Kind.SWEEPS_STOPPED,
            f"The last sweep was {duration(now - swept_at)} ago, at {utc(swept_at)}: nothing is being watched.",
            "See what else is found here, and the function's log: schedule, function or a permission is at fault.",
        )
    elif swept_at > now + AHEAD:
        yield broken(
            Kind.SWEEPS_AHEAD,
            f"The last completed tick is {utc(swept_at)}, {duration(swept_at - now)} from now: until then every sweep "
            "takes itself for a repeat and tests nothing.",
            "Delete the item `_sweep` of the Status table: the next sweep begins anew.",
        )
    elif now - swept_at > LATE_AFTER:
        yield warning(
            Kind.SWEEPS_LATE,
            f"The last sweep was {duration(now - swept_at)} ago: a tick is missing or takes long.",
            "Run `popwatch doctor` again in a minute; if it stays so, the function's log says why.",
        )


def of_gaps(gaps: Sequence[Gap]) -> Iterator[Finding]:
    """What was missed in the past hours: later sweeps made up for it, but nobody was told in the meantime."""
    if gaps:
        begin, end = max(gaps, key=lambda gap: gap[1] - gap[0])
        span = f"from {begin:%H:%M} to {end:%H:%M} UTC ({duration(end - begin)})"
        others = f" in {len(gaps)} gaps of the last {duration(LOOKBACK)}, the longest" if len(gaps) > 1 else ""
        yield warning(
            Kind.SWEEPS_MISSED,
            f"No sweep tested anything{others} {span}.",
            "See the function's log and the schedule's metrics of that time. Later sweeps have made up for it.",
        )


def witness(targets: Iterable[Target], records: Mapping[str, Record]) -> Target | None:
    """The target whose samples show best that sweeps took place: up for longest among the most often tested.

    A target that fails is tested at times of its own, and one that is off not at all.
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
    """Where the ticks at which a batch was tested lie further apart than they may.

    A target that is up is tested each `delay_up`, at the next tick; `least` more is not missed.
    """
    allowed = max(timedelta(seconds=delay_up), TICK) + least
    moments = [since, *sorted(ticks), until]
    return [(before, after) for before, after in pairwise(moments) if after - before > allowed]
