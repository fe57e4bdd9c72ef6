"""Which alerts a target's outages had: `popwatch history` counts them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from popwatch.model.health import AlertEvent, Transition
from popwatch.model.records import HistoryEvent, PublishedAlert
from popwatch.reports.availability import Outage


def count_alerts(outages: Sequence[Outage], events: Iterable[HistoryEvent]) -> list[int]:
    """How many `down` and `recovered` were sent about each of those outages, given oldest first.

    A `down` comes with a failed test of its outage. A `recovered` may have been held until the next outage had begun:
    it is about the last one that had ended when it came. Both are stored by the tick of their test, which is
    up to a minute before it.
    """
    known = list(events)
    began, ended = _ticks(known)
    counts = [0] * len(outages)
    for event in known:
        match event.what.message.event if isinstance(event.what, PublishedAlert) else None:
            case AlertEvent.DOWN:
                about = [began.get(it.begin, it.begin) <= event.tick <= it.end for it in outages]
            case AlertEvent.RECOVERED:
                about = [not it.goes_on and ended.get(it.end, it.end) <= event.tick for it in outages]
            case _:
                continue
        if any(about):
            counts[len(about) - 1 - about[::-1].index(True)] += 1
    return counts


def _ticks(events: Iterable[HistoryEvent]) -> tuple[Mapping[datetime, datetime], Mapping[datetime, datetime]]:
    """The ticks of the tests at which outages began and ended, by the times that reports have of both.

    An outage ends with a passed test, and with others after it, or with a test after a maintenance, it is known that
    it has.
    """
    changes = [(event.what, event.tick) for event in events if isinstance(event.what, Transition)]
    ticks = {change.at: tick for change, tick in changes}
    return ticks, ticks | {change.run_ended_at: tick for change, tick in changes if change.run_ended_at}
