"""When a target's posture is tested, and what its health keeps of it. Pure; times are arguments."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from popwatch.decisions.early_warnings import DAY
from popwatch.decisions.schedule import TICK
from popwatch.model.health import Health, State
from popwatch.model.posture import Posture, StoredPosture, parse_stored_posture, pending_text, worse
from popwatch.model.targets import Target

HOUR_OF_DAY = timedelta(hours=1)
"""Postures are tested at 24 times of the day, those of many targets at once: an invocation waits for servers, and each
wait is paid for."""

MOST_PENDING = 20
"""Changes that wait to be alerted; a server has about thirty things that could be otherwise."""


def is_posture_due(target: Target, health: Health, tick: datetime) -> bool:
    """Whether the posture of a target that is tested at `tick` is tested too: once a day, at a time of its own.

    Only while it is up. A target of which no posture is known yet waits for its time, so that an upgrade does not test
    all postures of a fleet at once.
    """
    if not target.posture or health.state is not State.UP:
        return False
    begins = _last_posture_time(target.target_id, tick)
    stored = parse_stored_posture(health.posture)
    if stored is None:
        return tick - begins < max(HOUR_OF_DAY, timedelta(seconds=target.policy.delay_up) + TICK)
    return stored.at < begins


def with_posture(health: Health, posture: Posture) -> Health:
    """The health with what is stored of a posture, and what got worse since the last one to be alerted.

    A posture that could not be asked changes nothing but its time: the next one is tested the next day.
    """
    stored = parse_stored_posture(health.posture)
    before = stored.summary if stored else None
    changes = map(pending_text, worse(before, posture)) if before else ()
    pending = tuple(dict.fromkeys((*health.posture_pending, *changes)))[:MOST_PENDING]
    now = StoredPosture(posture.summary.filled_from(before), posture.tested_at)
    return replace(health, posture=str(now), posture_pending=pending)


def _last_posture_time(target_id: str, tick: datetime) -> datetime:
    """The last time of a target's own in the day, at `tick` or before it."""
    number = int.from_bytes(blake2b(target_id.encode("utf-8", "replace"), digest_size=4, person=b"posture").digest())
    offset = int(HOUR_OF_DAY.total_seconds()) * (number % (DAY // HOUR_OF_DAY))
    passed = int(tick.timestamp()) - offset
    day = int(DAY.total_seconds())
    return datetime.fromtimestamp(passed // day * day + offset, UTC)
