"""When a target's posture is tested, and what its health keeps of it. Pure; times are arguments."""

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b

from popwatch.decisions.early_warnings import DAY
from popwatch.decisions.schedule import TICK, next_slot
from popwatch.model.health import Health, State
from popwatch.model.posture import Posture, parse_summary, pending_text, still_holds, worse
from popwatch.model.targets import Target, server_fingerprint

HOUR_OF_DAY = timedelta(hours=1)
"""Postures are tested at 24 times of the day, those of many targets at once: an invocation waits for servers, and each
wait is paid for."""

MAX_PENDING = 20
"""Changes that wait to be alerted; a server has about thirty things that could be otherwise."""


def is_posture_due(target: Target, health: Health, tick: datetime) -> bool:
    """Whether the posture of a target that is tested at `tick` is tested too: once a day, at a time of its own.

    Only while it is up. Nothing is stored of when that was: of each day one of the target's own slots has the test, as
    with logins, and a day on which that slot is lost, or fails, is left out.
    """
    if not target.posture or health.state is not State.UP:
        return False
    interval = max(timedelta(seconds=target.policy.delay_up), TICK)
    slot = next_slot(target.target_id, int(interval.total_seconds()), tick) - interval
    # The slots of a minute are tested at the tick that ends it: those of one time of the day by one invocation.
    after = int((slot + TICK).timestamp()) - 1 - _time_of_day(target.target_id)
    return after % int(DAY.total_seconds()) < interval.total_seconds()


def with_posture(target: Target, health: Health, posture: Posture) -> Health:
    """The health with what is kept of a posture, and what got worse since the last one to be alerted.

    What got better meanwhile is no longer to be alerted. It is the same if nothing has changed, or nothing was asked.
    """
    if posture.problem:
        return health
    health = with_present_posture(target, health)
    before = parse_summary(health.posture)
    changes = map(pending_text, worse(before, posture)) if before else ()
    kept = posture.kept_after(before, server_fingerprint(target))
    waiting = (it for it in health.posture_pending if still_holds(it, kept))
    pending = tuple(dict.fromkeys((*waiting, *changes)))[:MAX_PENDING]
    return replace(health, posture=str(kept), posture_pending=pending)


def with_present_posture(target: Target, health: Health) -> Health:
    """The health without what is kept of a posture, and is to be alerted, that the target no longer has.

    Its posture is no longer tested, or it describes another server by now.
    """
    if not health.posture and not health.posture_pending:
        return health
    known = parse_summary(health.posture)
    is_present = target.posture and (known is None or known.is_of(server_fingerprint(target)))
    return health if is_present else replace(health, posture="", posture_pending=())


def _time_of_day(target_id: str) -> int:
    """Seconds from the beginning of a day (UTC) to the time of a target's own in it."""
    number = int.from_bytes(blake2b(target_id.encode("utf-8", "replace"), digest_size=4, person=b"posture").digest())
    return int(HOUR_OF_DAY.total_seconds()) * (number % (DAY // HOUR_OF_DAY))
