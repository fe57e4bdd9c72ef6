"""A fleet with a history, for the page: targets in every state, 90 days of outages, a day of round-trip times."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from popwatch.aws.store import SweepCheckpoint
from popwatch.decisions.early_warnings import find_expiring_certificate
from popwatch.decisions.schedule import batch_count, batch_of
from popwatch.model.health import FAILING, Health, State, Transition
from popwatch.model.outcomes import Certificate, ErrorCode, Outcome, Phase, Role
from popwatch.model.records import OutboxEntry, Record
from popwatch.model.samples import Sample
from popwatch.web.authentication import Authentication
from popwatch.web.site import Site
from popwatch.web.views import ReadReceivers, Views
from popwatch_cli.web_server import served
from tests.integration.world import MINUTE, World

CITIES = ("Berlin", "Rome", "Oslo", "Paris", "Madrid", "Vienna", "Prague", "Lisbon", "Dublin", "Athens")
GROUPS = ("customers", "staff", "archive", "partners")
ERRORS = (
    (ErrorCode.TIMED_OUT, "no-greeting"),
    (ErrorCode.CANNOT_CONNECT, "refused"),
    (ErrorCode.PROTOCOL, "smtp-greeting"),
    (ErrorCode.DISCONNECTED, "closed-before-greeting"),
)
STEP, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)


def put_fleet(world: World, count: int, seed: int = 7, *, samples: bool = True) -> None:
    """Write a fleet of this many targets into the tables, as of the world's present; its samples take longest."""
    rng = Random(seed)
    names = [f"mail-{CITIES[number % 10].lower()}-{number:03}" for number in range(count)]
    batches = batch_count(count)
    for number, name in enumerate(names):
        _put_target(world, name, number)
        _put_past(world, name, number, rng)
    if samples:
        _put_samples(world, names, batches)
    last_hour = world.now.replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    world.store.put_checkpoint(SweepCheckpoint(world.now, last_hour, {str(batches): world.now.isoformat()}))


@contextmanager
def page_of(
    world: World,
    authentication: Authentication | None = None,
    refresh_seconds: float = 0.5,
    receivers: ReadReceivers = lambda _: None,
) -> Iterator[str]:
    """The page of a world while the block runs; its address."""
    views = Views(world.store, lambda: world.now, max_age=timedelta(), receivers=receivers)
    with served(Site(views, authentication, refresh_seconds=refresh_seconds), 0) as address:
        yield address


def watch_for(world: World, minutes: int) -> None:
    """Sweep three targets each minute from the world's present on: `steady`, `broken` halfway, `shaky` at the end.

    The present is then 20 s after the last sweep. A fourth target, `slow`, is tested each ten minutes.
    """
    begin = world.now
    for name in ("steady", "broken", "shaky"):
        world.put_target(name, group="customers", tags=["eu", name])
    world.put_target("slow", delay_up=600)
    for minute in range(minutes):
        if minute == minutes // 2:
            world.failing["broken"] = ErrorCode.TIMED_OUT
        if minute == minutes - 1:
            world.failing["shaky"] = ErrorCode.CANNOT_CONNECT
        world.minute(begin + minute * MINUTE)
    world.now = begin + (minutes - 1) * MINUTE + timedelta(seconds=20)


def put_record(world: World, name: str, state: State, since: datetime, **fields: Any) -> None:
    """Write a target's record."""
    old = world.store.read_record(name)
    failing = state in FAILING
    health = Health(state, since, failing_since=since if failing else None, failures=4 if failing else 0)
    outcome = None
    if failing:
        error, reason = fields.pop("error", ERRORS[0])
        detail = fields.pop("detail", "The server accepted the connection and said nothing.")
        outcome = Outcome(world.now, Phase.GREETING, error, reason, detail)
    health = replace(health, **fields)
    record = Record(name, old.version + 1, world.now - timedelta(seconds=10), health, outcome)
    assert world.store.commit(record, old.version) is None


def put_transition(world: World, name: str, version: int, previous: State, state: State, at: datetime) -> None:
    """Write a transition into History."""
    error, reason = ERRORS[version % len(ERRORS)] if state in FAILING else (None, "")
    transition = Transition(previous, state, at, None, error, reason)
    world.store.put_transition(name, OutboxEntry(version, at, at, transition))


def _put_target(world: World, name: str, number: int) -> None:
    city, group = CITIES[number % 10], GROUPS[number % 4]
    fields: dict[str, Any] = {"name": f"Mail {city} {number:03}", "host": f"pop{number}.example.net", "group": group}
    if number % 3 == 1:
        fields |= {"tls": "implicit"}
    if number % 29 == 7:
        fields |= {"enabled": False}
    world.put_target(name, tags=["dovecot", city.lower()], **fields)


def _put_past(world: World, name: str, number: int, rng: Random) -> None:
    """Outages of the last 90 days, and the present state: most are up, every seventeenth is not."""
    now, version = world.now, 0
    begin = now - timedelta(days=rng.uniform(20, 120))
    put_transition(world, name, version, State.UNTESTED, State.UP, begin)
    at = begin
    while (at := at + timedelta(days=rng.expovariate(1 / 25))) < now - DAY:
        length = timedelta(minutes=rng.choice([4, 9, 25, 70, 300, 900]))
        for previous, state, later in (
            (State.UP, State.WARN, 0),
            (State.WARN, State.DOWN, 2),
            (State.DOWN, State.UP, 3),
        ):
            version += 1
            put_transition(world, name, version, previous, state, at + length * later / 3)
        begin = at + length
    states = {3: State.DOWN, 20: State.WARN, 37: State.LOST, 54: State.MAINTENANCE, 71: State.UNTESTED}
    state = states.get(number % 170 if number > 4 else {1: 3, 2: 20, 3: 54}.get(number, 0), State.UP)
    if state is State.UNTESTED:
        return
    since = begin
    if state is not State.UP:
        since = now - timedelta(minutes=7 + number % 50)
        put_transition(world, name, version + 1, State.UP, state, since)
    certificate = now + timedelta(days=5 + number % 80) if number % 3 == 1 else None
    shown = (Certificate(Role.LEAF, name, certificate, timedelta(days=90)),) if certificate else ()
    put_record(
        world,
        name,
        state,
        since,
        alerts_sent=int(state is State.DOWN),
        certificate_expires=certificate,
        expiring_certificate=find_expiring_certificate(shown, None, now),
    )


def _put_samples(world: World, names: list[str], batches: int) -> None:
    """A day of samples, one item in five minutes: slower by day, with a gap of failures at noon."""
    for step in range(int(DAY / STEP)):
        tick = world.now - DAY + STEP * (step + 1) - timedelta(seconds=20)
        wave = 1 + 0.5 * math.sin(step / 288 * 2 * math.pi)
        parts: dict[int, dict[str, Sample]] = {}
        for number, name in enumerate(names):
            rtt = round((8 + number % 40) * wave * (1 + ((step * 7919 + number * 104729) % 100) / 150), 2)
            fails = number % 10 == 1 and 130 <= step < 142
            sample = Sample(error=ErrorCode.TIMED_OUT, reason="no-greeting") if fails else Sample(rtt)
            parts.setdefault(batch_of(name, batches), {})[name] = sample
        for batch, results in parts.items():
            world.store.put_samples(batches, batch, tick, "0", results)
