"""Availability: how long a target was up, down or neither in a period, and its outages. Pure; see docs/reports.md.

A target's transitions cut a period into spans of one state. An outage is a run of spans in `warn`, `down` and `lost`
that reached `down`: it begins with the first failed test, and ends with the first of the passed tests that end it,
though the state changes with the last of them. Maintenance inside a run does not count as down. Whether a run is an
outage is decided by the whole run, not by its part in the period, so that adjacent periods add up.

Report, history, page and API all get their figures from `target_availability`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo

from popwatch.decisions.judging import TICK
from popwatch.model.health import FAILING, Health, State, Transition
from popwatch.model.time_limits import DAY, HOUR
from popwatch.model.totals import Totals

ZERO = timedelta()

BY_HOUR = timedelta(days=3)
"""Of a target that has been watched for less than this, the hours are shown: as days it would have next to nothing."""


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time such as a month: from `begin` on, until just before `end`."""

    begin: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """From its begin to its end."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Span:
    """A time in one state, cut at the edges of the period. `why` is the transition that began it, if in the period.

    `run_ended` is, of a maintenance, the passed test in it that ended a run of failures. `continues_run` says whether a
    run of failures was under way when it began, `in_outage` whether its run reached `down`, in the period or not.
    """

    begin: datetime
    end: datetime
    state: State
    why: Transition | None = None
    run_ended: datetime | None = None
    continues_run: bool = False
    in_outage: bool = False

    @property
    def length(self) -> timedelta:
        """From its begin to its end."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Outage:
    """A run of failed tests that reached `down`, cut at the edges of the period.

    `down` is its length without the maintenance in it. `begun_before` and `goes_on` say whether the period cut it.
    `error` and `reason` are those of the test that made it `down`, if that test is in the period.
    """

    begin: datetime
    end: datetime
    down: timedelta
    begun_before: bool = False
    goes_on: bool = False
    error: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long a target was up, down and so on; the sum is the length of the period.

    `brief` is the part of `up` in which tests failed without reaching `down`, in `brief_failures` runs of failed tests.
    """

    up: timedelta = ZERO
    down: timedelta = ZERO
    maintenance: timedelta = ZERO
    untested: timedelta = ZERO
    suspended: timedelta = ZERO
    inconclusive: timedelta = ZERO
    brief: timedelta = ZERO
    brief_failures: int = 0
    outages: tuple[Outage, ...] = field(default=())

    @property
    def availability(self) -> float | None:
        """up / (up + down), or None if it was neither."""
        judged = self.up + self.down
        return self.up / judged if judged else None

    @property
    def mttr(self) -> timedelta | None:
        """The mean time to recovery: time down / number of outages."""
        return self.down / len(self.outages) if self.outages else None

    @property
    def mtbf(self) -> timedelta | None:
        """The mean time between failures: time up / number of outages."""
        return self.up / len(self.outages) if self.outages else None


@dataclass(frozen=True, slots=True)
class TargetAvailability:
    """One target in a period: its spans, the times that they add up to, and the totals of its tests."""

    spans: Sequence[Span]
    durations: Durations
    totals: Totals


def target_availability(
    transitions: Iterable[Transition],
    health: Health,
    totals: Totals,
    period: Period,
    gaps: Sequence[tuple[datetime, datetime]],
) -> TargetAvailability:
    """What a target was in a period: the one place where availability is computed.

    `health` is that of now. Of `totals`, only the number of inconclusive tests counts here: each takes a tick off
    the time up, since what is inconclusive at a tick is tested again at the next.
    """
    found = spans(transitions, health.state, health.since, period, gaps, run_ended=health.run_ended_at)
    return TargetAvailability(found, durations(found, totals.inconclusive * TICK), totals)


def spans(
    transitions: Iterable[Transition],
    state: State,
    since: datetime | None,
    period: Period,
    unwatched: Sequence[tuple[datetime, datetime]] = (),
    *,
    run_ended: datetime | None = None,
) -> list[Span]:
    """The spans of a period, from the transitions since it began, and the present `state` and its beginning `since`.

    Of a period that begins in a maintenance, the transition that began the maintenance says whether a run of failures
    was under way: earlier transitions count, if none between them and the period is missing.

    `run_ended` is the passed test that ended a run of failures before the present maintenance or in it.

    What is not known is `untested`: the time before the previous state of the oldest transition began, and the times
    `unwatched`, in which popwatch itself had stopped, if the target was up. A failing target counts as failing then.
    """
    known = sorted(transitions, key=lambda change: change.at)
    whole = _around(period, known)
    found = _with_runs(_spans_of(known, state, since, whole, run_ended))
    return [piece for span in found if (part := _within(span, period)) for piece in _cut(part, unwatched)]


def _around(period: Period, known: Sequence[Transition]) -> Period:
    """The period with all of those transitions, and some time in the states before and after them."""
    if not known:
        return period
    return Period(min(period.begin, known[0].at - TICK), max(period.end, known[-1].at + TICK))


def _spans_of(
    known: Sequence[Transition], state: State, since: datetime | None, period: Period, run_ended: datetime | None
) -> list[Span]:
    """The spans of a period that includes all transitions that are known."""
    found: list[Span] = []
    covered_to, why = period.begin, None  # `why` is the transition at `covered_to`, which began what follows
    for change in known:
        # `lasted` says when the previous state began: if that is later than the transition before, one is missing. The
        # time between them counts as untested, and the span after it has no known cause.
        began = max(change.at - change.lasted, covered_to) if change.lasted is not None else covered_to
        _add(found, Span(covered_to, began, State.UNTESTED))
        began_by = why if began == covered_to else None
        _add(found, Span(began, change.at, change.previous, began_by))
        found = _ended(found, change.run_ended_at)
        covered_to, why = change.at, change
    # Without transitions the state lasts since `since`, and nothing is known of the time before that.
    began = covered_to if known else max(since or period.end, covered_to)
    _add(found, Span(covered_to, min(began, period.end), State.UNTESTED))
    # A removed target has no health (`since` is None): it is untested from its last transition on.
    last_state = known[-1].state if known and since is not None else state
    _add(found, Span(began, period.end, last_state, why))
    return _ended(found, run_ended)


def _add(found: list[Span], span: Span) -> None:
    if span.begin < span.end:
        found.append(span)


def _with_runs(found: Sequence[Span]) -> list[Span]:
    """Those spans with what is known of their runs of failures as a whole."""
    known = {span.begin: (place > 0, _reached_down(run)) for run in _runs(found) for place, span in enumerate(run)}
    of_no_run = (False, False)
    marks = (known.get(span.begin, of_no_run) for span in found)
    return [
        replace(span, continues_run=continues, in_outage=outage)
        for span, (continues, outage) in zip(found, marks, strict=True)
    ]


def _within(span: Span, period: Period) -> Span | None:
    """The part of a span that lies in the period, if any of it does; the transition before the period is not in it."""
    begin, end = max(span.begin, period.begin), min(span.end, period.end)
    why = span.why if span.begin == begin else None
    return replace(span, begin=begin, end=end, why=why) if begin < end else None


def _ended(found: list[Span], at: datetime | None) -> list[Span]:
    """The spans up to now, the last run of failures among them ended by a passed test at this time, if there is one."""
    if at is None:
        return found
    first = next((place for place, span in enumerate(found) if span.end > at), len(found))
    ended = [piece for span in found[first:] for piece in _ended_span(span, at)]
    return found[:first] + ended


def _ended_span(span: Span, at: datetime) -> list[Span]:
    """A span that ends after the passed test that ended its run: it was up from then on, or in maintenance still."""
    if span.state is State.MAINTENANCE:
        return [replace(span, run_ended=at)]
    if span.state not in FAILING:
        return [span]
    failing, up = replace(span, end=at), replace(span, begin=max(span.begin, at), state=State.UP, why=None)
    return [failing, up] if span.begin < at else [up]


def _cut(span: Span, unwatched: Sequence[tuple[datetime, datetime]]) -> Iterator[Span]:
    """A span up without the times in which popwatch had stopped, which become untested; any other span unchanged."""
    left = span
    for begin, end in sorted(unwatched) if span.state is State.UP else ():
        if begin < left.end and end > left.begin:
            first, last = max(begin, left.begin), min(end, left.end)
            if left.begin < first:
                yield replace(left, end=first)
            yield Span(first, last, State.UNTESTED)
            left = replace(left, begin=last)
    if left.begin < left.end:
        yield left


def durations(found: Sequence[Span], inconclusive: timedelta = ZERO) -> Durations:
    """The lengths of those spans by what they count as; `inconclusive` is taken from the time up."""
    runs = _runs(found)
    outages = tuple(_outage(run, found) for run in runs if _reached_down(run))
    brief = [run for run in runs if not _reached_down(run)]
    down = sum((outage.down for outage in outages), ZERO)
    briefly = sum((span.length for run in brief for span in run if span.state in FAILING), ZERO)
    up = _time_in(found, State.UP) + briefly
    return Durations(
        up=up - min(inconclusive, up),
        down=down,
        maintenance=_time_in(found, State.MAINTENANCE),
        untested=_time_in(found, State.UNTESTED),
        suspended=_time_in(found, State.SUSPENDED),
        inconclusive=min(inconclusive, up),
        brief=briefly,
        brief_failures=len(brief),
        outages=outages,
    )


def by_day(found: Sequence[Span], zone: tzinfo = UTC) -> list[tuple[datetime, dict[str, float]]]:
    """Each day of a zone that those spans touch, with its seconds of `up`, `down`, `maintenance` and so on.

    A failing span counts as `down` if it belongs to an outage, else as `up`. A day begins at midnight, and has 23 or 25
    hours where the clocks change.
    """
    return _by_step(found, lambda time: _day_of(time, zone))


def by_hour(found: Sequence[Span], zone: tzinfo = UTC) -> list[tuple[datetime, dict[str, float]]]:
    """The same by hour: those of a zone may begin at half past an hour of UTC."""
    return _by_step(found, lambda time: _hour_of(time, zone))


def known_since(found: Sequence[Span]) -> datetime | None:
    """From when on those spans say what a target was, or None if they never do."""
    return next((span.begin for span in found if span.state is not State.UNTESTED), None)


def _by_step(
    found: Sequence[Span], step_of: Callable[[datetime], tuple[datetime, datetime]]
) -> list[tuple[datetime, dict[str, float]]]:
    outages = [run for run in _runs(found) if _reached_down(run)]
    down_from = {span.begin for run in outages for span in run if span.state in FAILING}
    steps: dict[datetime, dict[str, float]] = {}
    for span in found:
        kind = span.state.value
        if span.state in FAILING:
            kind = "down" if span.begin in down_from else "up"
        begin = span.begin
        while begin < span.end:
            step, step_end = step_of(begin)
            end = min(span.end, step_end)
            seconds = steps.setdefault(step, {})
            seconds[kind] = seconds.get(kind, 0.0) + (end - begin).total_seconds()
            begin = end
    return list(steps.items())


def _day_of(time: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """The day of a zone that a time is in: its midnight there, and the next one in UTC."""
    day = time.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return day, (day + DAY).astimezone(UTC)


def _hour_of(time: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    hour = time.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
    return hour, hour + HOUR


def total(parts: Sequence[Durations]) -> Durations:
    """The times of several targets together."""

    def add(name: str) -> timedelta:
        return sum((getattr(part, name) for part in parts), ZERO)

    return Durations(
        up=add("up"),
        down=add("down"),
        maintenance=add("maintenance"),
        untested=add("untested"),
        suspended=add("suspended"),
        inconclusive=add("inconclusive"),
        brief=add("brief"),
        brief_failures=sum(part.brief_failures for part in parts),
        outages=tuple(outage for part in parts for outage in part.outages),
    )


def _runs(found: Sequence[Span]) -> list[list[Span]]:
    """Runs of failing spans, with the maintenance between them or after them, up to a passed test in it.

    A run that began before the period may begin with maintenance. Maintenance alone is not a run.
    """
    runs: list[list[Span]] = []
    open_run: list[Span] = []
    for span in found:
        # With its run before the period, maintenance at the period's beginning is part of it: `continues_run`.
        in_maintenance = span.state is State.MAINTENANCE and (bool(open_run) or span.continues_run)
        # A passed test in the maintenance ended the run, so the rest of the span does not belong to it. One that is
        # later than the span's end is not in the period.
        ended = span.run_ended if in_maintenance and span.run_ended and span.run_ended < span.end else None
        if ended is None and (span.state in FAILING or in_maintenance):
            open_run.append(span)
            continue
        if ended and ended > span.begin:
            open_run.append(replace(span, end=ended))
        runs.append(open_run)
        open_run = []
    return [run for run in (*runs, open_run) if any(span.state in FAILING for span in run)]


def _reached_down(run: list[Span]) -> bool:
    """Whether a run of failing spans is an outage, or part of one, not a brief failure."""
    return any(span.in_outage or _is_down(span) for span in run)


def _outage(run: list[Span], found: Sequence[Span]) -> Outage:
    """The outage that a run is, or its part in the period."""
    why = next((span.why for span in run if _is_down(span)), None)
    return Outage(
        begin=run[0].begin,
        end=run[-1].end,
        down=sum((span.length for span in run if span.state in FAILING), ZERO),
        begun_before=run[0] is found[0] and (run[0].why is None or run[0].continues_run),
        goes_on=run[-1] is found[-1],
        error=str(why.error or "") if why else "",
        reason=why.reason if why else "",
    )


def _is_down(span: Span) -> bool:
    return span.state in (State.DOWN, State.LOST)


def _time_in(found: Sequence[Span], state: State) -> timedelta:
    return sum((span.length for span in found if span.state is state), ZERO)
