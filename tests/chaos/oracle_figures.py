"""The figures of a message, recomputed from the servers' log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from math import ceil

from tests.chaos.record import CampaignRecord, Message, Run, Test

TICK_TO_TEST = timedelta(seconds=75)
"""Last good may be the time of a tick, so about a minute before the test."""

SECOND = timedelta(seconds=1)
_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
_SPAN = r"((?:\d+ (?:d|h|min|s) ?)+)"
_TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC"


@dataclass(frozen=True, slots=True)
class Figures:
    """What an email says; what it does not say is None, or 0."""

    failures: int = 0
    uncounted: int = 0
    between: int = 0
    changes: int = 0
    alerts: int | None = None
    number: int | None = None
    most: int | None = None
    failing_since: datetime | None = None
    failing_for: str = ""
    down_for: str = ""
    passed_at: datetime | None = None
    confirmed_at: datetime | None = None
    confirmed_by: int | None = None
    last_good: datetime | None = None
    tested_at: datetime | None = None
    next_in: str = ""
    next_at: str = ""
    next_within: str = ""
    following: str = ""
    following_number: int | None = None
    last_alert: bool = False
    acknowledged: bool = False
    held_back: bool = False
    failed_anew: datetime | None = None
    address: str = ""
    next_test: datetime | None = None
    runbook: str = ""
    own: str = ""
    """The field of the user's own text that it is, if it is one."""


@cache
def figures_of(text: str) -> Figures:
    """The figures in an email."""
    words = " ".join(text.split())

    own = "recovered_email" if words.startswith("Own words on the end:") else ""
    own = own or ("email" if words.startswith("Own words on ") else "")

    def first(pattern: str) -> str:
        found = re.search(pattern, words)
        return found[1].strip() if found else ""

    def number(pattern: str) -> int | None:
        found = first(pattern)
        return int(found) if found else None

    def time(pattern: str) -> datetime | None:
        found = first(pattern)
        return datetime.fromisoformat(f"{found}+00:00") if found else None

    return Figures(
        failures=number(r"(\d+) failed tests?(?: in a row)?[, ]") or number(r"(\d+) failed tests? in a row") or 0,
        uncounted=number(r"(\d+) more in maintenance") or 0,
        between=number(r"(\d+) passed between them") or 0,
        changes=number(r"or back more than (\d+) times") or 0,
        alerts=number(r"(?:row|test|maintenance|between them), (\d+) alerts?"),
        number=number(r"\(alert (\d+) of"),
        most=number(r"\(alert \d+ of (\d+)\)"),
        failing_since=time(rf"Failing since {_TIME}"),
        failing_for=first(rf"Failing for {_SPAN}"),
        down_for=first(rf"(?:It was|It had been|it was) down for {_SPAN}"),
        passed_at=time(rf"Passed at {_TIME}") or time(rf"was UP again at {_TIME}"),
        confirmed_at=time(rf"Confirmed at {_TIME}"),
        confirmed_by=number(r"Confirmed at [-0-9: ]* UTC, (\d+) passed"),
        tested_at=time(rf"Tested at {_TIME}"),
        last_good=time(rf"Last good {_TIME}"),
        next_in=first(rf"Next test in {_SPAN}"),
        next_at=first(r"Next test in [^,]*, at (\d\d:\d\d:\d\d) UTC"),
        next_within=first(rf"Next test within {_SPAN}"),
        following=first(rf"follows in about {_SPAN}"),
        following_number=number(r"Alert (\d+) of \d+ follows"),
        last_alert="This was the last alert of this outage" in words,
        acknowledged="Acknowledged" in words,
        held_back="was held back during maintenance or a silence" in words,
        address=first(r"Server .*? address ([0-9.]+)"),
        next_test=time(rf"Next test {_TIME}"),
        runbook=first(r"Runbook (http\S+)"),
        own=own,
        failed_anew=time(rf"Its newest test, at {_TIME}, failed"),
    )


def span(text: str) -> tuple[float, float]:
    """The seconds that words such as `2 min 5 s` stand for: from, until before."""
    parts = re.findall(r"(\d+) (d|h|min|s)", text)
    seconds = sum(int(count) * _UNITS[unit] for count, unit in parts)
    least = _UNITS[parts[-1][1]] if parts else 1
    shown = 1 if seconds < 3_600 else 60 if seconds < 86_400 else 3_600
    return seconds, seconds + min(least, shown)


def wrong_figures(record: CampaignRecord, run: Run, message: Message, failure_indexes: Sequence[int]) -> Iterator[str]:
    """Each figure of a message about a run that is not what the servers' log says."""
    said, what = figures_of(message.text), f"{message.event} {message.number} of {run.since:%Y-%m-%d %H:%M:%S}"
    if message.summary:
        return
    if message.event == "down" and message.number <= len(failure_indexes):
        test = run.failed[failure_indexes[message.number - 1] - 1]
        yield from (f"{what}: {wrong}" for wrong in _wrong_in_down(run, message, said, test))
    elif message.event == "recovered" and run.end:
        yield from (f"{what}: {wrong}" for wrong in _wrong_in_recovered(run, said, failure_indexes))
    if said.failing_since != run.since.replace(microsecond=0):
        yield f"{what}: failing since {said.failing_since}, not {run.since}"
    yield from (f"{what}: {wrong}" for wrong in _wrong_last_good(record, run, said))


def _wrong_in_down(run: Run, message: Message, said: Figures, test: Test) -> Iterator[str]:
    policy = test.policy
    if not agrees(said.failing_for, test.began - run.since):
        yield f"failing for {said.failing_for}, not {test.began - run.since}"
    uncounted = sum(1 for one in run.uncounted if one.order < test.order)
    if said.uncounted != uncounted and not said.own:
        yield f"{said.uncounted} more in maintenance, not {uncounted}"
    between = sum(1 for one in run.between if one.order < test.order)
    if said.between != between and not said.own:
        yield f"{said.between} passed between them, not {between}"
    if (said.number, said.most) != (message.number, policy.max_alerts):
        yield f"alert {said.number} of {said.most}, not {message.number} of {policy.max_alerts}"
    if test.address and said.address != test.address:
        yield f"the address is {said.address}, not {test.address}"
    last = message.number >= policy.max_alerts
    seconds = policy.delay_lost if last else policy.delay_down
    wait = _until_next(test.tick.second, seconds)
    following = wait + (policy.failures_per_alert - 1) * _until_next(0, seconds)
    if said.own:
        if said.next_test is None or abs(said.next_test - test.began - wait) > SECOND:
            yield f"next test at {said.next_test}, not {test.began + wait}"
        return
    if not agrees(said.next_in, wait):
        yield f"next test in {said.next_in}, not {wait}"
    if said.next_at and said.next_at != f"{test.began + wait:%H:%M:%S}":
        yield f"next test at {said.next_at}, not {test.began + wait}"
    if said.last_alert != last:
        yield f"last alert: {said.last_alert}"
    if not last and not (said.following_number == message.number + 1 and agrees(said.following, following)):
        yield f"alert {said.following_number} follows in about {said.following}, not {following}"


def _until_next(second: int, delay: int) -> timedelta:
    """From a test at a second of its minute to the next: a delay of a minute or more ends at a tick, a whole minute."""
    return timedelta(seconds=delay if delay < 60 else ceil((second + delay) / 60) * 60 - second)


def _wrong_in_recovered(run: Run, said: Figures, failure_indexes: Sequence[int]) -> Iterator[str]:
    end = run.end
    assert end is not None
    if said.own:
        own = said.failing_for or said.down_for, said.failures, said.number if said.alerts is None else said.alerts
        if not agrees(own[0], end.began - run.since) or own[1:] != (len(run.failed), len(failure_indexes)):
            yield f"{own}, not {end.began - run.since}, {len(run.failed)} failed, {len(failure_indexes)} alerts"
        return
    if said.passed_at != end.began.replace(microsecond=0):
        yield f"passed at {said.passed_at}, not {end.began}"
    if not agrees(said.down_for, end.began - run.since):
        yield f"was down for {said.down_for}, not {end.began - run.since}"
    counts, true = (
        (said.failures, said.uncounted, said.between, said.alerts),
        (len(run.failed), len(run.uncounted), len(run.between), len(failure_indexes)),
    )
    if counts != true:
        yield f"failures, more in maintenance, passed between them, alerts are {counts}, not {true}"
    confirmed = run.confirmed
    assert confirmed is not None
    expected = (None, None) if len(run.passes) == 1 else (confirmed.began.replace(microsecond=0), len(run.passes))
    if (said.confirmed_at, said.confirmed_by) not in {expected, *([(None, None)] if said.held_back else [])}:
        yield f"confirmed at {said.confirmed_at} by {said.confirmed_by} tests, not {expected}"


def _is_dropped(record: CampaignRecord, test: Test) -> bool:
    """Whether a test was given back, or one of its tick or a later one had been committed before it was made."""
    before = [one for one in record.tests[test.target] if one is not test and one.committed < test.made_order]
    return record.was_given_back(test) or any(one.tick >= test.tick for one in before)


def _wrong_last_good(record: CampaignRecord, run: Run, said: Figures) -> Iterator[str]:
    before = [
        test
        for test in record.tests[run.lifetime.target]
        if test.passed and test.tick < run.failed[0].tick and run.lifetime.tests[0].order <= test.order
    ]
    if said.last_good is None:
        return
    meant = [test for test in before if said.last_good in (_to_second(test.tick), _to_second(test.began))]
    if not meant:
        yield f"last good {said.last_good}, when it did not pass before {run.since}"
        return
    newer = [
        test
        for test in before
        if test.tick > max(meant[-1].tick, said.last_good) and test.began - said.last_good > TICK_TO_TEST
    ]
    # A message that comes twice replaces what the first time found: of two tests of a tick the last one is known.
    last = {test.tick: test for test in record.tests[run.lifetime.target]}
    newer = [test for test in newer if last[test.tick] is test and not (test.says_nothing or test.may_end_run)]
    known = run.failed[0].order  # what a sweep that goes on then has found may not have been written
    kept = [test for test in newer if not _is_dropped(record, test)]
    if any(record.ended_well(test.invocation, before=known) for test in kept) and not record.fleet_changed(
        newer[0], run.failed[0].made_order
    ):
        yield f"last good {said.last_good}, not {newer[-1].tick}"


def _to_second(time: datetime) -> datetime:
    return time.replace(microsecond=0)


def agrees(words: str, true: timedelta) -> bool:
    """Whether a printed duration is that of the servers' log, to the second."""
    least, most = span(words)
    return bool(words) and least - 1 < true.total_seconds() < most + 1
