"""When a target's posture is tested, and what its health keeps of it. Pure; times are arguments."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b

from popwatch.decisions.judging import TICK, was_posture_seen
from popwatch.decisions.schedule import next_slot
from popwatch.model.health import Health, State
from popwatch.model.posture import (
    Posture,
    PostureSummary,
    as_shown,
    is_shown,
    parse_summary,
    pending_text,
    still_holds,
    worse,
)
from popwatch.model.targets import Target, server_fingerprint
from popwatch.model.time_limits import DAY

HOUR_OF_DAY = timedelta(hours=1)
"""Postures are tested at 24 times of the day, those of many targets at once: an invocation waits for servers, and each
wait is paid for."""

_HOUR_SECONDS = int(HOUR_OF_DAY.total_seconds())

ASKED_ANEW = timedelta(minutes=10)
"""For so long, or three of its delays, a target with something to be alerted is asked with each test; then daily."""

MAX_PENDING = 20
"""Changes that wait to be alerted; a server has about thirty things that could be otherwise."""


def is_posture_due(target: Target, health: Health, tick: datetime) -> bool:
    """Whether the posture of a target that is tested at `tick` is tested too: once a day, at a time of its own.

    Only while it is up. Nothing is stored of when that was: of each day one of the target's own slots has the test, as
    with logins, and a day on which that slot is lost, or fails, is left out. What got worse is asked again with the
    next tests, so that an alert reports what is so now.
    """
    if not target.posture or health.state is not State.UP:
        return False
    interval = max(timedelta(seconds=target.policy.delay_up), TICK)
    # Times of the day are whole hours, and the slot began up to an interval ago. So at most ticks this says it all.
    if not health.posture_pending and (tick + TICK).timestamp() % _HOUR_SECONDS > 2 * interval.total_seconds():
        return False
    slot = next_slot(target.target_id, int(interval.total_seconds()), tick) - interval
    # The slots of a minute are tested at the tick that ends it: those of one time of the day by one invocation.
    after = int((slot + TICK).timestamp()) - 1 - _time_of_day(target.target_id)
    since_slot = timedelta(seconds=after % int(DAY.total_seconds()))
    return since_slot < interval or (
        _has_more_to_see(target, health, tick)
        and min(since_slot, *_times_since(tick, health)) < max(ASKED_ANEW, 3 * interval)
    )


def _has_more_to_see(target: Target, health: Health, tick: datetime) -> bool:
    """Whether anything waits for another posture test: all but the one that the test at `tick` alerts itself."""
    alerted = 1 if was_posture_seen(health, target.policy, tick) else 0
    return target.policy.max_alerts > 0 and len(health.posture_pending) > alerted


def _times_since(tick: datetime, health: Health) -> list[timedelta]:
    """How long ago the target came up, and how long ago what waits was last seen."""
    return [tick - time for time in (health.since, health.posture_seen_at) if time]


def with_posture(target: Target, health: Health, posture: Posture) -> Health:
    """The health with what is kept of a posture, and what got worse since the last one to be alerted.

    What got better meanwhile is no longer to be alerted. It is the same if nothing has changed, or nothing was asked;
    but while something is to be alerted it keeps when that was last seen.
    """
    if posture.problem:
        return health
    health = with_present_posture(target, health)
    before = parse_summary(health.posture)
    changes = map(pending_text, worse(before, posture)) if before else ()
    kept = posture.kept_after(before, server_fingerprint(target))
    pending, seen_at = _waiting(health, posture, kept, changes)
    return replace(health, posture=str(kept), posture_pending=pending, posture_seen_at=seen_at)


def _waiting(
    health: Health, posture: Posture, kept: PostureSummary, changes: Iterable[str]
) -> tuple[tuple[str, ...], datetime | None]:
    """What waits to be alerted after a posture, and when all of that was last seen again."""
    still = [it for it in health.posture_pending if still_holds(it, kept)]
    pending = tuple(dict.fromkeys((*still, *changes)))[:MAX_PENDING]
    if len(pending) > len(still) or not pending:
        return pending, None
    if not all(is_shown(it, posture, kept) for it in pending):
        return pending, health.posture_seen_at
    return tuple(as_shown(it, posture) for it in pending), posture.tested_at


def with_present_posture(target: Target, health: Health) -> Health:
    """The health without what is kept of a posture, and is to be alerted, that the target no longer has.

    Its posture is no longer tested, or it describes another server by now.
    """
    if not health.posture and not health.posture_pending:
        return health
    known = parse_summary(health.posture)
    is_present = target.posture and (known is None or known.is_of(server_fingerprint(target)))
    return health if is_present else replace(health, posture="", posture_pending=(), posture_seen_at=None)


def _time_of_day(target_id: str) -> int:
    """Seconds from the beginning of a day (UTC) to the time of a target's own in it."""
    number = int.from_bytes(blake2b(target_id.encode("utf-8", "replace"), digest_size=4, person=b"posture").digest())
    return _HOUR_SECONDS * (number % (DAY // HOUR_OF_DAY))
