"""Past tests judged again under other settings. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter

from popwatch.decisions.judging import TICK
from popwatch.model.health import AlertEvent, Judgement
from popwatch.model.outcomes import ErrorCode, LoginResult, LoginVerdict, Outcome, Phase
from popwatch.model.samples import Sample
from popwatch.model.targets import Policy, Target, mailbox_excess
from popwatch.reports.availability import Period
from popwatch_cli.rehearsal.simulation import rejudge

Samples = Sequence[tuple[datetime, Sample]]
"""Samples with their ticks, oldest first."""

LIMITS = ("max_rtt_ms", "max_messages", "max_octets")
"""The fields by which past tests can be judged again, though they belong to the test: samples have what they limit."""


LAST_TESTS = 12
"""Tests of a parent by which the second of the ticks is known: with a delay of 10 seconds, those of two minutes."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A target's samples judged by a policy: alerts, those that were noise, how late each outage was noticed."""

    alerts: int
    noise: int
    noticed: tuple[timedelta | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A target's outages, under the present and the changed policy."""

    target_id: str
    outages: tuple[Period, ...]
    before: ReplayResult
    after: ReplayResult


@dataclass(frozen=True, slots=True)
class Parent:
    """The target that another depends on, and its samples of runs of failures (`samples_of_runs`)."""

    target_id: str
    of_runs: Samples

    def was_failing(self, at: datetime) -> bool:
        """Whether it was in a run of failures at a time."""
        before = bisect_right(self.of_runs, at, key=itemgetter(0))
        return before > 0 and self.of_runs[before - 1][1].error is not None

    def was_tested_minutes_before(self, at: datetime) -> bool:
        """Whether one of its last tests began a whole number of minutes before a time, or at it."""
        before = bisect_right(self.of_runs, at, key=itemgetter(0))
        last = self.of_runs[max(before - LAST_TESTS, 0) : before]
        return any(not (at - tick) % TICK for tick, _ in last)


def samples_of_runs(samples: Samples) -> Samples:
    """The samples of tests that began a run of failures, went on with it or ended it, in maintenance too.

    Left out are those that did not count, and in a run in which a login failed the passed tests whose login was not
    accepted.
    """
    found: list[tuple[datetime, Sample]] = []
    is_failing = login_failed = False
    for tick, sample in samples:
        if _is_left_out(sample) or (sample.rtt_ms is not None and login_failed and not _is_login_accepted(sample)):
            continue
        found.append((tick, sample))
        is_failing = sample.error is not None and (is_failing or not sample.in_maintenance)
        login_failed = is_failing and (login_failed or sample.login is LoginVerdict.FAILED)
    return found


def all_failing(parents: Sequence[Parent], at: datetime) -> str:
    """The ids of the parents, if the last test of each by `at` failed, else ""."""
    return ", ".join(it.target_id for it in parents) if all(it.was_failing(at) for it in parents) else ""


def all_failing_as_planned(parents: Sequence[Parent], at: datetime) -> str:
    """The same as a test of `at` was planned: before the first test of its minute, or by itself between two ticks.

    As `popwatch retest` asks for it. Ticks are whole minutes apart, and parents are tested at them.
    """
    if parents and not any(it.was_tested_minutes_before(at) for it in parents):
        return all_failing(parents, at)
    return all_failing(parents, at.replace(second=0, microsecond=0) - timedelta(microseconds=1))


def under_limits(samples: Samples, target: Target) -> Samples:
    """The samples as the target's limits would have had them: a passed test above one of them has failed.

    A test that failed by another limit stays a failed one, since what it measured has not been kept.
    """
    return [(tick, _under_limits(sample, target)) for tick, sample in samples]


def _under_limits(sample: Sample, target: Target) -> Sample:
    if sample.rtt_ms is None:
        return sample
    if 0 < target.max_rtt_ms < sample.rtt_ms:
        return Sample(None, ErrorCode.TIMED_OUT, "too-slow", mailbox=sample.mailbox)
    box = sample.mailbox
    if box and mailbox_excess(target, box.messages, box.octets):
        return Sample(None, ErrorCode.PROTOCOL, "mailbox-too-full", mailbox=box, login=LoginVerdict.FAILED)
    return sample


def compare(
    name: str,
    samples: Samples,
    present: Policy,
    changed: Policy,
    noise: timedelta,
    *,
    limited: Samples | None = None,
    parents: tuple[Sequence[Parent], Sequence[Parent]] = ((), ()),
    since: datetime | None = None,
) -> Comparison:
    """Judge a target's samples by two policies; runs of failures shorter than `noise` do not count as outages.

    `parents` are those of `present` and those of `changed`.

    `limited` are the samples under the limits that belong to `changed`, if those differ; what fails by them is part of
    an outage. Samples before `since` are judged, so that an outage that has begun by then is known, but not counted.
    Tests that were inconclusive or uncounted, or failed in maintenance or under a silence, were not judged then, and
    are not judged now.
    """
    outcomes = _outcomes(samples)
    of_changed = outcomes if limited is None else _outcomes(limited)
    found = runs_of(_outcomes(samples_of_runs(samples if limited is None else limited)))
    runs = [run for run in found if since is None or run.end >= since]
    outages = tuple(run for run in runs if run.length >= noise)

    def result_of(policy: Policy, outcomes: Sequence[Outcome], parents: Sequence[Parent]) -> ReplayResult:
        of_parents = partial(all_failing_as_planned, parents), partial(all_failing, parents)
        judged = rejudge(replace(policy, silence=None, acknowledged=None), outcomes, *of_parents)
        return _result([(at, judgement) for at, judgement in judged if since is None or at >= since], outages)

    before, after = parents
    return Comparison(name, outages, result_of(present, outcomes, before), result_of(changed, of_changed, after))


def _outcomes(samples: Samples) -> list[Outcome]:
    """The outcomes of those tests that are judged."""
    return [_outcome(tick, it) for tick, it in samples if not (_is_left_out(it) or it.in_maintenance)]


def _is_left_out(sample: Sample) -> bool:
    """Whether the test has changed no health, neither in maintenance nor otherwise."""
    is_damaged = sample.rtt_ms is None and sample.error is None
    return sample.inconclusive or sample.uncounted or is_damaged


def _is_login_accepted(sample: Sample) -> bool:
    """Whether a passed test ends a run in which a login failed."""
    return bool(sample.mailbox) or sample.ends_login_run or sample.login is LoginVerdict.PASSED


def runs_of(outcomes: Sequence[Outcome]) -> list[Period]:
    """The runs of failed tests, each from its first test to the next passed one, or to the last test of all."""
    runs: list[Period] = []
    begin: datetime | None = None
    for outcome in outcomes:
        if not outcome.passed:
            begin = begin or outcome.started_at
        elif begin:
            runs.append(Period(begin, outcome.started_at))
            begin = None
    return [*runs, Period(begin, outcomes[-1].started_at)] if begin else runs


def _result(judged: Sequence[tuple[datetime, Judgement]], outages: Sequence[Period]) -> ReplayResult:
    alerts = [(at, judgement.alert) for at, judgement in judged if judgement.alert]
    downs = [at for at, alert in alerts if alert.event is AlertEvent.DOWN]
    noise = sum(not any(run.begin <= at <= run.end for run in outages) for at in downs)
    # With `passes_per_recovery` a run may go on with an outage that has been alerted before it.
    alerted_before = {
        at for at, it in judged if it.health.alerts_sent and it.health.failing_since != at and at not in downs
    }
    noticed = [
        timedelta()
        if run.begin in alerted_before
        else next((at - run.begin for at in downs if run.begin <= at <= run.end), None)
        for run in outages
    ]
    return ReplayResult(len(alerts), noise, tuple(noticed))


def _outcome(tick: datetime, sample: Sample) -> Outcome:
    verdict = LoginVerdict.PASSED if sample.error is None and _is_login_accepted(sample) else sample.login
    login = LoginResult(verdict) if verdict else None
    if sample.error:
        return Outcome(tick, Phase.CONNECT, sample.error, sample.reason, login=login)
    unknown_addresses = ("?",) * sample.degraded  # only their number has been kept
    return Outcome(tick, Phase.QUIT, rtt_ms=sample.rtt_ms, failed_addresses=unknown_addresses, login=login)
