"""Report, history, page and API show the same availability of the same data, to the last digit."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from popwatch.aws.store import Resolution, Store, SweepCheckpoint, Tables
from popwatch.decisions.schedule import batch_of
from popwatch.model.health import Health, State, Transition
from popwatch.model.outcomes import ErrorCode
from popwatch.model.records import OutboxEntry, Record
from popwatch.model.samples import Sample
from popwatch.model.text import iso
from popwatch.reports.totals import add_up, merge_by_target
from popwatch.web.http import Request
from popwatch.web.site import Site
from popwatch.web.views import Views
from popwatch_cli.installation import LOCAL_OUTPUTS, Installation, find_local
from tests.integration.conftest import Do

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = datetime(2020, 3, 1, 10, 40, tzinfo=UTC)
MIDNIGHT, CREATED, PERIOD_BEGIN = NOW.replace(hour=0, minute=0), NOW - DAY, NOW - timedelta(days=90)
ADDED_UP = NOW.replace(hour=9, minute=0)
"""The last hour that has been added up; after it there are only samples."""

FIRST_FAILED, DOWN, PASSED = (CREATED.replace(hour=hour, minute=minute) for hour, minute in ((20, 0), (20, 2), (21, 0)))
BLIP = NOW.replace(hour=4, minute=0)
INCONCLUSIVE = {
    begin + MINUTE * minute
    for begin in (CREATED.replace(hour=15, minute=0), NOW.replace(hour=3, minute=0), NOW.replace(hour=10, minute=5))
    for minute in range(10)
}
"""Thirty minutes: ten in a day that has been added up, ten in an hour, and ten that are only in samples."""

PASS, FAIL = Sample(12.5), Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting")
UNJUDGED = Sample(error=ErrorCode.CANNOT_CONNECT, reason="unreachable", inconclusive=True)


def samples_at(tick: datetime) -> dict[str, Sample]:
    """What a tick's tests find: `a` is down for an hour, `b` fails once, both have inconclusive tests."""
    if tick in INCONCLUSIVE:
        return {"a": UNJUDGED, "b": UNJUDGED}
    return {"a": FAIL if FIRST_FAILED <= tick < PASSED else PASS, "b": FAIL if tick == BLIP else PASS}


def only(names: Iterable[str], tick: datetime) -> dict[str, Sample]:
    """What the tests of those targets find."""
    return {name: samples_at(tick)[name] for name in names}


def ticks(begin: datetime, end: datetime) -> Iterable[datetime]:
    return (begin + MINUTE * minute for minute in range(int((end - begin) / MINUTE)))


def write_tests(store: Store) -> None:
    """A day of tests: yesterday under one batch and as a day, today under two, as hours and samples."""
    hours = [
        add_up(map(samples_at, ticks(max(hour, CREATED), hour + HOUR)))
        for hour in (CREATED.replace(minute=0) + HOUR * number for number in range(14))
    ]
    store.put_day(1, 0, MIDNIGHT - DAY, merge_by_target(hours))
    for batch in range(2):
        mine = [name for name in "ab" if batch_of(name, 2) == batch]
        for hour in (MIDNIGHT + HOUR * number for number in range(10)):
            store.put_hour(2, batch, hour, add_up(only(mine, tick) for tick in ticks(hour, hour + HOUR)))
        for tick in ticks(ADDED_UP + HOUR, NOW):
            store.put_samples(2, batch, tick, "g", only(mine, tick))
    store.put_checkpoint(SweepCheckpoint(NOW, ADDED_UP, {"1": iso(MIDNIGHT), "2": iso(NOW)}))


def write_changes(store: Store, name: str, *changes: Transition) -> None:
    """The transitions of a target, and the record that they lead to."""
    for version, change in enumerate(changes, 1):
        store.put_transition(name, OutboxEntry(version, change.at, change.at, change))
    assert store.commit(Record(name, len(changes), NOW, Health(State.UP, changes[-1].at)), 0) is None


def without_expiry(stack: Installation) -> Installation:
    """The stack, of which nothing ever expires."""
    kept = {"SamplesDays": "36500", "RecordsDays": "36500"}
    outputs = {"endpoint": stack.endpoint, "region": stack.region, "outputs": {**stack.outputs, **kept}}
    LOCAL_OUTPUTS.write_text(json.dumps(outputs))
    return find_local()


@pytest.fixture
def past(stack: Installation) -> Installation:
    """The stack with a past of which nothing ever expires."""
    installation = without_expiry(stack)
    write_tests(installation.store)
    created = Transition(State.UNTESTED, State.UP, CREATED)
    failed = (ErrorCode.TIMED_OUT, "no-greeting")
    write_changes(
        installation.store,
        "a",
        created,
        Transition(State.UP, State.WARN, FIRST_FAILED, FIRST_FAILED - CREATED, *failed),
        Transition(State.WARN, State.DOWN, DOWN, DOWN - FIRST_FAILED, *failed),
        Transition(State.DOWN, State.UP, PASSED, PASSED - DOWN),
    )
    write_changes(
        installation.store,
        "b",
        created,
        Transition(State.UP, State.WARN, BLIP, BLIP - CREATED, *failed),
        Transition(State.WARN, State.UP, BLIP + MINUTE, MINUTE),
    )
    return installation


def seconds_by_kind(days: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The seconds of all days together."""
    total: dict[str, float] = {}
    for day in days:
        for kind, seconds in day.items():
            if kind != "day":
                total[kind] = total.get(kind, 0.0) + seconds
    return total


@pytest.mark.parametrize(("name", "availability"), [("a", 22.5 / 23.5), ("b", 1.0)])
def test_all_show_the_same_availability(do: Do, past: Installation, name: str, availability: float) -> None:
    """A day with an hour down and thirty inconclusive minutes is 95.74 % wherever it is shown."""
    period = ("--since", iso(PERIOD_BEGIN), "--until", iso(NOW))
    report = json.loads(do("report", *period, "--format", "json"))
    [line] = [line for line in report["targets"] if line["target_id"] == name]
    history = json.loads(do("history", name, *period, "--json"))
    views = Views(past.store, lambda: NOW, max_age=timedelta())
    site = Site(Views(past.store, lambda: NOW, max_age=timedelta()), None, refresh_seconds=5)
    timelines = [
        views.timelines([name])[name],
        (views.target(name) or {})["timeline"],
        json.loads(site.answer(Request("GET", "/api/timelines", {"id": [name]})).body)[name],
        json.loads(site.answer(Request("GET", f"/api/targets/{name}")).body)["timeline"],
    ]
    shown = [line["availability"], history["availability"], *(timeline["availability"] for timeline in timelines)]
    assert shown == [availability] * 6
    assert line["inconclusive_seconds"] == 1800

    outages = (views.target(name) or {})["outages"]
    assert line["outages"] == history["outages"] == outages
    assert [timeline["outage_count"] for timeline in timelines] == [len(outages)] * 4
    assert all(timeline == timelines[0] for timeline in timelines)
    seconds = seconds_by_kind(timelines[0]["days"])
    assert seconds.get("down", 0.0) == line["down_seconds"]
    assert seconds["up"] == line["up_seconds"] + line["inconclusive_seconds"]
    assert seconds["untested"] == line["untested_seconds"]

    figures = ("tests", "passes", "failures", "rtt_p50_ms", "rtt_p95_ms", "rtt_p99_ms")
    assert {figure: line[figure] for figure in figures} == {figure: history[figure] for figure in figures}
    assert line["tests"] == DAY / MINUTE


PARTS = [(19, 0), (20, 1), (20, 2), (20, 20), (20, 45), (22, 0)]
"""Hours and minutes at which an outage from 20:00 to 21:00 is cut, with a maintenance from 20:10 to 20:30."""


def test_each_part_of_an_outage_is_down(do: Do, stack: Installation) -> None:
    """Report and history of adjacent periods: the first failures too, and it never begins after a maintenance."""
    ends = FIRST_FAILED + 10 * MINUTE, FIRST_FAILED + 30 * MINUTE
    states = [State.UP, State.WARN, State.DOWN, State.MAINTENANCE, State.DOWN, State.UP]
    times = [CREATED, FIRST_FAILED, DOWN, *ends, PASSED]
    changes = [
        Transition(previous, state, at, at - began if began else None)
        for previous, state, began, at in zip([State.UNTESTED, *states], states, [None, *times], times, strict=False)
    ]
    store = without_expiry(stack).store
    write_changes(store, "a", *changes)
    store.put_checkpoint(SweepCheckpoint(NOW, ADDED_UP, {"1": iso(MIDNIGHT)}))
    found = []
    for begin, end in pairwise(CREATED.replace(hour=hour, minute=minute) for hour, minute in PARTS):
        period = ("--since", iso(begin), "--until", iso(end))
        [line] = json.loads(do("report", "a", *period, "--format", "json"))["targets"]
        history = json.loads(do("history", "a", *period, "--json"))
        assert (line["outages"], line["availability"]) == (history["outages"], history["availability"])
        [outage] = line["outages"]
        found.append((outage["begin"], outage["begun_before"], outage["goes_on"], outage["down_seconds"]))
    begins = [iso(FIRST_FAILED + minutes * MINUTE) for minutes in (0, 1, 2, 20, 45)]
    assert found == [
        (begins[0], False, True, 60),
        (begins[1], True, True, 60),
        (begins[2], True, True, 480),
        (begins[3], True, True, 900),
        (begins[4], True, False, 900),
    ]


class RecordingStore(Store):
    """Notes what is asked of inconclusive tests."""

    def __init__(self, of: Installation) -> None:
        self.asked: list[Resolution] = []
        targets, status, history = (of.outputs[f"{name}Table"] for name in ("Targets", "Status", "History"))
        tables = Tables(targets, status, history, of.samples_kept, of.history_kept)
        super().__init__(of.client("dynamodb"), tables, lambda: NOW)

    def read_inconclusive(
        self, part: Resolution, batches: int, batch: int, since: datetime, until: datetime
    ) -> Iterator[tuple[datetime, Mapping[str, int]]]:
        self.asked.append(part)
        return super().read_inconclusive(part, batches, batch, since, until)


def test_the_page_reads_past_days_once(past: Installation) -> None:
    """They do not change, and 90 days of a large batch cost thousands of read units; samples are read each time."""
    store = RecordingStore(past)
    views = Views(store, lambda: NOW, max_age=timedelta())
    first = views.timelines(["a"])
    assert set(store.asked) == {"days", "hours", "samples"}
    store.asked.clear()
    assert views.timelines(["a"]) == first
    assert set(store.asked) == {"samples"}
    store.put_samples(2, batch_of("a", 2), NOW - MINUTE, "late", {"a": UNJUDGED})
    before, after = first["a"]["availability"], views.timelines(["a"])["a"]["availability"]
    assert (before, after) == (22.5 / 23.5, (22.5 - 1 / 60) / (23.5 - 1 / 60))
