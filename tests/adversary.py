"""A server that wants as many messages sent as it can, and knows popwatch's code and the target's settings.

At each test it chooses the outcome: whether it fails, whether one of its addresses fails, whether it shows another
certificate that expires soon.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import cycle, product
from random import Random

from popwatch.decisions.judging import delay_seconds, judge
from popwatch.model.health import UNTESTED, Health, Judgement
from popwatch.model.outcomes import Outcome
from popwatch.model.targets import Policy
from tests.examples import FAILED, PASSED, START, certificate, certified

DAY = timedelta(days=1)
MOVES = ".xdcb"
"""Passes, fails, passes but for one address (degraded), shows another certificate, both."""

Program = Sequence[tuple[str, int]]
"""Moves, each made so many times in a row; the program is repeated."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """What came of it: when messages were sent, and how many would have been without the limit."""

    sent: tuple[datetime, ...]
    due: int
    days: float

    @property
    def best_day(self) -> int:
        """The most messages within 24 hours."""
        return max((sum(first <= at < first + DAY for at in self.sent) for first in self.sent), default=0)

    @property
    def due_each_day(self) -> float:
        """Messages that would have been sent in 24 hours."""
        return self.due / self.days


def play(policy: Policy, program: Program, days: float = 2) -> ProgramResult:
    """Repeat a program of moves for some days."""
    moves = cycle([move for move, times in program for _ in range(times)])
    return _play(policy, lambda *_: next(moves), days)


def look_ahead(policy: Policy, tests: int, days: float = 2) -> ProgramResult:
    """At each test, make the move after which most messages can follow within so many tests."""

    def choose(health: Health, now: datetime, number: int) -> str:
        def messages(moves: Sequence[str]) -> tuple[float, int]:
            found, at, then = 0.0, now, health
            for ahead, move in enumerate(moves):
                judgement = judge(then, _outcome(move, number + ahead, at), policy, at)
                found += (judgement.alert is not None) * (1 - ahead / 1000)
                then, at = judgement.health, at + timedelta(seconds=delay_seconds(judgement.health, policy))
            return found, then.failures  # else a run of failures, which leads to the next message

        return max(product(MOVES, repeat=tests), key=messages)[0]

    return _play(policy, choose, days)


def search(policy: Policy, programs: int, seed: str, days: float = 2) -> tuple[Program, ProgramResult]:
    """The best of so many programs, each a change of the best so far or, now and then, another one."""
    random = Random(seed)
    best: Program = [(".", 1)]
    played = play(policy, best, days)
    for _ in range(programs):
        tried = _changed(best, random) if random.random() < 0.8 else _drawn(random)
        found = play(policy, tried, days)
        if (found.best_day, found.due) > (played.best_day, played.due):
            best, played = tried, found
    return best, played


def _drawn(random: Random) -> Program:
    return [(random.choice(MOVES), random.randint(1, 12)) for _ in range(random.randint(1, 8))]


def _changed(program: Program, random: Random) -> Program:
    """The same with one step more, one less, or another one."""
    number = random.randrange(len(program))
    step = [] if len(program) > 1 and random.random() < 0.3 else [(random.choice(MOVES), random.randint(1, 12))]
    return [*program[:number], *step, *program[number + random.choice((0, 1)) :]] or program


def _play(policy: Policy, choose: Callable[[Health, datetime, int], str], days: float) -> ProgramResult:
    sent: list[datetime] = []
    due = 0
    for at, before, judgement in _judgements(policy, choose, days):
        held = judgement.health.throttled
        if judgement.alert:
            sent.append(at)
        begins_or_ends = judgement.alert and judgement.alert.held
        due += bool(judgement.alert and not begins_or_ends)
        known = before.throttled.events if before.throttled else {}
        now_held = judgement.alert.held if begins_or_ends and judgement.alert else held
        due += sum(now_held.events.values()) - sum(known.values()) if now_held else 0
    return ProgramResult(tuple(sent), due, days)


def _judgements(
    policy: Policy, choose: Callable[[Health, datetime, int], str], days: float
) -> Iterator[tuple[datetime, Health, Judgement]]:
    health, now, number = UNTESTED, START, 0
    while now < START + days * DAY:
        judgement = judge(health, _outcome(choose(health, now, number), number, now), policy, now)
        yield now, health, judgement
        health, number = judgement.health, number + 1
        now += timedelta(seconds=delay_seconds(health, policy))


def _outcome(move: str, number: int, now: datetime) -> Outcome:
    if move == "x":
        return FAILED
    outcome = replace(PASSED, failed_addresses=("192.0.2.8: refused",)) if move in "db" else PASSED
    return certified(outcome, certificate(now + DAY - number * timedelta(seconds=61))) if move in "cb" else outcome
