"""Early warnings beside passed and failed: a target that changes too often, a certificate that expires. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from popwatch.model.health import Changes

HOUR = timedelta(hours=1)
QUIET_SPANS = 2
"""A flapping target is steady after this many times the average span between the changes that are allowed."""


def with_change(changes: Changes, now: datetime, per_hour: int) -> Changes:
    """The last hour's changes and one more; no more of them than it takes to see that they are too many."""
    return (*(change for change in changes if change > now - HOUR), now)[-(per_hour + 1) :] if per_hour else ()


def are_too_many(changes: Changes, now: datetime, per_hour: int) -> bool:
    """Whether there were more than `per_hour` changes in the hour before `now`; 0 means that any number is allowed."""
    return per_hour > 0 and sum(change > now - HOUR for change in changes) > per_hour


def is_steady(changes: Changes, now: datetime, per_hour: int) -> bool:
    """Whether the last change was long enough ago for a flapping target to count as steady again."""
    return not (changes and per_hour) or now - changes[-1] >= QUIET_SPANS * HOUR / per_hour


def warning_days(expires: datetime, days: Sequence[int], now: datetime) -> int | None:
    """The smallest of `days` within which a certificate expires, or None if it lasts longer than all of them."""
    left = (expires - now) // timedelta(days=1)
    return min((limit for limit in days if left <= limit), default=None)
