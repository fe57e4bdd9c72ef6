"""When targets are due, and how a sweep is cut into batches. Pure; times are arguments.

A tick is a key, not a clock: EventBridge Scheduler may fire at any second of its minute, so two ticks may be a second
apart or two minutes. What is planned is counted by ticks; how late something comes is measured by the clock.

A tick comes once a minute and is responsible for the time until the next one. A target that is up is due when one of
its slots lies after the last completed tick and not after this one, so that what a missed tick left out is tested at
the next. Slots lie `delay_up` apart, at an offset of the target's own, which spreads the load. A failing target is due
at its own next test.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import ceil

from popwatch.decisions.judging import TICK, delay_seconds, time_to_next_test, whole_ticks
from popwatch.model.health import FAILING, Health, State
from popwatch.model.targets import Policy
from popwatch.model.time_limits import OLDEST_TICK, TICK_AHEAD

STOPPED_AFTER = timedelta(minutes=5)
"""A last sweep older than this means that popwatch itself has stopped."""

IN_FLIGHT = timedelta(minutes=3)
"""After this time a retest has ended: it began a minute late, took the longest deadline, and was committed."""

SHORTEST_DELAY = 10
"""Seconds: the least that the fields of the delays take."""

MAX_LATE_SECONDS = 120
"""Seconds: a tick may come a minute late, and the test before it may take another."""

MAX_QUEUE_DELAY = timedelta(minutes=15)
"""A message sent so long after its tick was moved back from the dead-letter queue: requeueing ends much earlier."""

LONGEST_DELAY_AFTER_FAILURE = timedelta(minutes=15)
"""The most of a server's LOGIN-DELAY that is kept after a failed login: an outage must not go unreported for a day."""

COMMITTED_WITHIN_SECONDS = 5
"""How long a retest takes beside its test: until its message is received, and its outcome is committed."""

MESSAGE_TIME = timedelta(seconds=1)
"""How long a message of the queue takes until its tests begin."""

LARGEST_BATCH = 800
"""Targets of a batch on average. A silent server makes its whole invocation wait, so few large batches cost less than
many small ones; a Lambda's 1,024 descriptors are the ceiling."""


def next_due(
    target_id: str, health: Health, policy: Policy, *, tested_tick: datetime | None, after: datetime, tick: datetime
) -> datetime | None:
    """When a target is to be tested: at `tick`, at a time before the next tick, or (`None`) at neither.

    `after` is the last completed tick, `tested_tick` the tick of the last judged test. The delays are those of the
    policy now: one that was shortened takes effect at once. One of a minute or more ends at a tick: between two ticks
    the test would often be in flight as the next tick is planned, which would plan it again.
    """
    if not policy.enabled:
        return None
    match health.state:
        case State.UNTESTED | State.SUSPENDED:
            return tick
        case State.UP | State.MAINTENANCE:
            return tick if next_slot(target_id, policy.delay_up, after) <= tick else None
        case _:
            planned = _planned(health, policy, tested_tick) or tick
            if (delay := delay_seconds(health, policy)) >= TICK.total_seconds():
                return tick if planned <= tick else None
            planned = _not_before(tick, planned, delay)
            return planned if planned < tick + TICK else None


def next_slot(target_id: str, delay: int, after: datetime) -> datetime:
    """The first slot after a time, of a target that is up; slots lie `delay` seconds apart, at whole seconds."""
    offset = _hash(target_id, b"phase") % delay
    passed = int(after.timestamp()) - offset
    return datetime.fromtimestamp((passed // delay + 1) * delay + offset, UTC)


def is_login_due(
    target_id: str,
    health: Health,
    policy: Policy,
    tick: datetime,
    now: datetime,
    *,
    between_ticks: bool = False,
    requested: bool = False,
) -> bool:
    """Whether the test of a target at `tick`, which begins `now`, logs in.

    `between_ticks` if no tick planned it, `requested` if someone has asked for it. These tests log in:

    - in an outage of the login, each, but for those within the server's LOGIN-DELAY, of which at most
      LONGEST_DELAY_AFTER_FAILURE is kept;
    - the first test of a target;
    - a requested one, which shows whether a new password is right, unless the server states a LOGIN-DELAY;
    - while the target is up, the test of each n-th of its slots, so that logins are `login_every` seconds apart.

    An accepted login in a slot is not stored. So where tests are less than a minute apart, or the server states a
    LOGIN-DELAY, no test between two ticks logs in: two of them may share a slot. The first slot after another login, of
    a new target or one that has recovered, may come before `login_every` has passed.
    """
    if not policy.login:
        return False
    if health.login_failed:
        return not _is_too_soon(health, _delay_after_failure(health), now)
    if health.is_failing:  # for another reason: the first greeting ends that
        return False
    if health.state in (State.UNTESTED, State.SUSPENDED):
        return True
    if requested:
        return not health.login_delay
    if between_ticks and (health.login_delay or timedelta(seconds=policy.delay_up) < TICK):
        return False
    if _is_too_soon(health, _login_delay(health), now):
        return False
    # The slots of a target are numbered through since 1970. The numbers with one remainder of its own have the logins,
    # so that those of many targets are spread evenly.
    interval = _test_interval(policy)
    slot = (int(tick.timestamp()) - _hash(target_id, b"phase") % interval) // interval
    slots = _slots_per_login(policy, _login_delay(health))
    return slot % slots == _hash(target_id, b"login") % slots


def login_interval(policy: Policy, login_delay: timedelta = timedelta()) -> int:
    """Seconds from one login of a target that is up to the next, if its server wants so much time between two."""
    return _slots_per_login(policy, login_delay) * _test_interval(policy)


def login_postponed_until(health: Health, policy: Policy) -> datetime | None:
    """Before which time no test in an outage of the login logs in, as the server wants time between two logins.

    The time may have passed. None if the server states no such time, or the target is in no such outage.
    """
    if not (policy.login and health.has_login_outage and health.login_delay and health.login_at):
        return None
    return health.login_at + _delay_after_failure(health)


def _delay_after_failure(health: Health) -> timedelta:
    return min(_login_delay(health), LONGEST_DELAY_AFTER_FAILURE)


def _login_delay(health: Health) -> timedelta:
    """The time that the server wants between two logins: no stated one is above a day."""
    return min(timedelta(seconds=health.login_delay), timedelta(days=1))


def _is_too_soon(health: Health, delay: timedelta, now: datetime) -> bool:
    """Whether the last login that is stored was tried less than a delay ago; a clock may have been set back since."""
    return health.login_at is not None and timedelta() <= now - health.login_at < delay


def _slots_per_login(policy: Policy, login_delay: timedelta = timedelta()) -> int:
    """Of so many slots one has a login. A tick may come a minute late, so a LOGIN-DELAY is kept with a minute more."""
    between = timedelta(seconds=policy.login_every)
    if login_delay:
        between = max(between, login_delay + TICK)
    return ceil(between / timedelta(seconds=_test_interval(policy)))


def _test_interval(policy: Policy) -> int:
    """Seconds from one test that might log in to the next."""
    return max(policy.delay_up, int(TICK.total_seconds()))


def is_due(target_id: str, health: Health, policy: Policy, tested_tick: datetime | None, tick: datetime) -> bool:
    """Whether a test planned for `tick` may still be judged on a health that another sweep has changed since."""
    if not policy.enabled or (tested_tick is not None and tested_tick >= tick):
        return False
    if health.state in FAILING:
        return (_planned(health, policy, tested_tick) or tick) <= tick
    return next_due(target_id, health, policy, tested_tick=tested_tick, after=tick - TICK, tick=tick) == tick


def is_retested_between_ticks(health: Health, policy: Policy) -> bool:
    """Whether a target fails, and its next test is planned by a delay under a minute."""
    return health.state in FAILING and delay_seconds(health, policy) < TICK.total_seconds()


def retest_at(
    health: Health, policy: Policy, tick: datetime, next_tick: datetime, elapsed: timedelta = timedelta()
) -> datetime | None:
    """When a target that was tested at `tick` is due again; None if the next tick comes first, and plans its test.

    `elapsed` is the time since `tick`, less the lateness of its sweep. If the test took longer than the delay, one test
    follows at once, in place of all that were due meanwhile. A retest that is due before `next_tick` is made even if
    that tick has come by now, as its plan leaves the time until then to retests in flight (see `_not_before`).
    """
    step = timedelta(seconds=delay_seconds(health, policy))
    due = _due_after(tick, elapsed, step)
    return due if policy.enabled and due < next_tick else None


def late_seconds_of(
    health: Health,
    policy: Policy,
    tested_tick: datetime | None,
    began: datetime | None,
    tick: datetime,
    *,
    late_seconds: int,
    max_test_seconds: float,
) -> int:
    """How late the test of a failing target comes, if the sweep that plans it is `late_seconds` late.

    As late as the sweep, so that one message carries many tests, unless tests of a target with a short delay would then
    overtake each other: the first test of an early tick would come before the last retest of a late one, which would
    not be counted. Such a target keeps the lateness of its last test, which was planned for `tested_tick` and `began`
    then. The test after that one may have been planned by a tick between it and this one. If it should have ended by
    now and has not, that tick was late as well: its tests are still to come, and the target takes that lateness for its
    own. If the last test is longer ago than `IN_FLIGHT`, its retests have been lost, as in a slow queue: the sweep's
    lateness counts again, as the target would else wait for them for ever.
    """
    delay = delay_seconds(health, policy)
    if health.state not in FAILING or delay >= TICK.total_seconds() or tested_tick is None or began is None:
        return late_seconds
    if tick - tested_tick > IN_FLIGHT:
        return late_seconds
    own = round((began - tested_tick).total_seconds())
    planned = _due_after(tested_tick, timedelta(seconds=max_test_seconds), timedelta(seconds=delay))
    if tested_tick < planned.replace(second=0, microsecond=0) < tick:  # by the tick of that minute
        waited = late_seconds + round((tick - planned).total_seconds())
        if waited > own + max_test_seconds + COMMITTED_WITHIN_SECONDS:
            own = max(own, min(waited, int(TICK.total_seconds())))
    # The sweep's tests would come a whole delay before the retests in flight, or these so long before the sweep's.
    overtakes = own >= late_seconds + delay or own <= late_seconds - SHORTEST_DELAY
    return own if overtakes and 0 <= own <= MAX_LATE_SECONDS else late_seconds


def own_late_seconds(health: Health, tested: datetime | None, began: datetime | None) -> int:
    """The seconds from the tick of a failing target's last test until it began, as many as a test on request then has.

    Its time by the schedule is thus never later than that by the clock: it does not count before a delay has passed.
    """
    if health.state not in FAILING or tested is None or began is None:
        return 0
    return min(max(round((began - tested).total_seconds()), 0), MAX_LATE_SECONDS)


def longest_time_to_alert(
    policy: Policy, max_test_seconds: float, number: int = 1, *, login_delay: int = 0
) -> timedelta:
    """The longest time from the beginning of an outage to its first alert, or to the `number`-th.

    In the worst case the outage begins right after a passed test, a tick comes a minute after it is due, as EventBridge
    Scheduler fires anywhere within its minute, and the last test takes its whole deadline. Delays of a minute and more
    end at a tick. Nothing holds the alerts back. `login_delay` is the LOGIN-DELAY that the server has stated, in
    seconds: an outage of the login alone waits for it.
    """
    failures, delay = policy.failures_per_alert, policy.delay_warn
    if failures == 1 and policy.depends_on:  # it is down at once, and the alert comes with the second failure
        failures, delay = 2, policy.delay_down
    # An outage of the login alone shows at the next test that logs in, and a slot within LOGIN-DELAY is left out.
    stated = timedelta(seconds=login_delay if policy.login else 0)
    first = login_interval(policy, stated) + login_delay if policy.login else policy.delay_up
    between = _between_failures(delay, max_test_seconds, stated)
    wait = whole_ticks(timedelta(seconds=first)) + (failures - 1) * between
    if number > 1:
        if policy.delay_down >= TICK.total_seconds():  # the tests after the first alert are made at ticks
            wait = whole_ticks(wait)
        between_down = _between_failures(policy.delay_down, max_test_seconds, stated)
        # The test after the first alert may have been planned by the delay before it.
        wait += max(between - between_down, timedelta())
        wait += (number - 1) * policy.failures_per_alert * between_down
    return wait + TICK + timedelta(seconds=max_test_seconds)


def _between_failures(delay: int, max_test_seconds: float, login_delay: timedelta) -> timedelta:
    """The longest time between two failures; within LOGIN-DELAY no test logs in, so none of them fails at the login."""
    planned, test = timedelta(seconds=delay), timedelta(seconds=max_test_seconds)
    if planned < TICK:  # a retest begins once the test before it has ended, and its message has been received
        shortest = between = max(planned, test + MESSAGE_TIME)
    else:
        shortest, between = planned, max(whole_ticks(planned), test)
    if login_delay:
        between *= ceil((min(login_delay, LONGEST_DELAY_AFTER_FAILURE) + TICK) / shortest)
    return between


def next_test_by(health: Health, policy: Policy, tested_tick: datetime) -> datetime:
    """When a target that was just tested is tested again, at the latest: if it fails, at that time.

    A target that passes is tested at the first tick after its slot, so a delay of a minute and more ends at a tick.
    """
    if health.next_test_at:
        return health.next_test_at
    return tested_tick + time_to_next_test(health, policy)


def why_not_swept(tick: datetime, now: datetime) -> str:
    """Why a tick must not be swept, as the end of a sentence; empty if it may."""
    if tick > now + TICK_AHEAD:
        return "is in the future"
    return "is too old" if tick < now - OLDEST_TICK else ""


def receivable_at(tick: datetime, sent_at: datetime | None, delay_seconds: float | None) -> datetime:
    """When a message of `tick` could first be received: `delay_seconds` after SQS took it at `sent_at`.

    Without `sent_at` that is the tick. Messages of earlier versions do not say their delay, which led to their tick.
    One that was moved back from the dead-letter queue is as old as its tick.
    """
    if sent_at is None:
        return tick
    at = max(sent_at, tick) if delay_seconds is None else sent_at + timedelta(seconds=delay_seconds)
    return tick if at > tick + MAX_QUEUE_DELAY else at


def is_stale(health: Health, policy: Policy, since: datetime, now: datetime) -> bool:
    """Whether a test that could have been made `since` then comes so late that the next one takes its place."""
    return now >= since + max(timedelta(seconds=delay_seconds(health, policy)), TICK)


def batch_count(targets: int, largest: int = LARGEST_BATCH) -> int:
    """The number of batches for this many targets: a power of two that leaves `largest` in each on average, at most."""
    count = 1
    while targets > count * largest:
        count *= 2
    return count


def batch_of(target_id: str, batches: int) -> int:
    """The batch, from 0, that a target belongs to."""
    return _hash(target_id, b"batch") % batches


def digest_of(target_ids: Iterable[str]) -> str:
    """A digest of a set of targets: the same for the same set, whatever its order."""
    return blake2b("\n".join(sorted(target_ids)).encode(), digest_size=4).hexdigest()


def chunks(sizes: Iterable[int], limit: int) -> Iterator[slice]:
    """Slices of consecutive items of these sizes, each within `limit` together; an item above it comes alone."""
    begin = end = total = 0
    for end, size in enumerate(sizes, 1):
        if total + size > limit and begin < end - 1:
            yield slice(begin, end - 1)
            begin, total = end - 1, 0
        total += size
    if begin < end:
        yield slice(begin, end)


def _due_after(tick: datetime, elapsed: timedelta, delay: timedelta) -> datetime:
    """The time that a test of `tick` plans `elapsed` later: the last whole delay by then, or the first."""
    return tick + max(1, elapsed // delay) * delay


def _not_before(tick: datetime, planned: datetime, delay: int) -> datetime:
    """The time of a failing target's test for the plan of `tick`, if it was planned for `planned`, by a short delay.

    A test that was planned for before the tick is a retest in flight: a silent server takes a test's
    whole deadline. So the tick plans the one that follows it; a test at the tick would come too early to count, and
    the series of retests would end. One that was planned for longer ago than a retest may take has been lost.
    """
    if planned >= tick or tick - planned > IN_FLIGHT:
        return max(planned, tick)
    step = timedelta(seconds=delay)
    return planned + ceil((tick - planned) / step) * step


def _planned(health: Health, policy: Policy, tested_tick: datetime | None) -> datetime | None:
    if tested_tick is None:
        return health.next_test_at
    return tested_tick + timedelta(seconds=delay_seconds(health, policy))


def _hash(target_id: str, person: bytes) -> int:
    """A number of a target, another one for each purpose (`person`). Keys in History depend on it: it never changes."""
    return int.from_bytes(blake2b(target_id.encode("utf-8", "replace"), digest_size=4, person=person).digest())
