"""Early warnings beside passed and failed: a target that changes too often, a certificate that expires. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from popwatch.model.health import CertificateWarning, Changes, Health
from popwatch.model.outcomes import Certificate
from popwatch.model.time_limits import DAY, HOUR

QUIET_INTERVALS = 2
"""A flapping target is steady after this many times the average interval between the changes that are allowed."""

LONGEST_LIFETIME = timedelta(days=398)
"""A lifetime above this counts as this: the most that a public certificate had until 2026-03-15.

https://cabforum.org/2025/04/11/ballot-sc081v3-introduce-schedule-of-reducing-validity-and-data-reuse-periods/
"""

FIRST_WARNING = timedelta(days=21)
"""The earliest warning by share of the lifetime: who renews by hand a month before has renewed by then."""

WARNINGS_PER_DAY = 3
"""The most warnings of a target's certificates in 24 hours: a server may show another certificate at each test."""

WARNINGS_AT_ONCE = 8
"""Certificates that one alert is about: of the addresses of a host, each may have its own."""

WARNINGS_KEPT = WARNINGS_PER_DAY * WARNINGS_AT_ONCE
"""Certificates and limits that are remembered of a target: at least those of the last 24 hours."""

CertificateWarnings = tuple[CertificateWarning, ...]


def with_change(changes: Changes, now: datetime, per_hour: int) -> Changes:
    """The last hour's changes and one more; no more of them than it takes to see that they are too many."""
    if not per_hour:
        return ()
    recent = [change for change in changes if change > now - HOUR]
    return (*recent, now)[-(per_hour + 1) :]


def are_too_many(changes: Changes, now: datetime, per_hour: int) -> bool:
    """Whether there were more than `per_hour` changes in the hour before `now`; 0 means that any number is allowed."""
    return per_hour > 0 and sum(change > now - HOUR for change in changes) > per_hour


def is_steady(changes: Changes, now: datetime, per_hour: int) -> bool:
    """Whether the last change was long enough ago for a flapping target to count as steady again."""
    return not (changes and per_hour) or now - changes[-1] >= QUIET_INTERVALS * HOUR / per_hour


def certificate_limits(lifetime: timedelta, days: Sequence[int] | None) -> tuple[timedelta, ...]:
    """The times before a certificate expires at which warnings are due, greatest first.

    Those of the user in `days`, if there are any. Else the first is a quarter of the lifetime, which an automatic
    renewal at a third (certbot) or at a half (6-day certificates) is never late for, but `FIRST_WARNING` at most; the
    others are a half and a quarter of the first.
    """
    if days is not None:
        return tuple(max(DAY, number * DAY) for number in days)
    first = min(min(lifetime, LONGEST_LIFETIME) / 4, FIRST_WARNING)
    return first, first / 2, first / 4


def shared_limits(certificates: Iterable[Certificate], days: Sequence[int] | None) -> Sequence[timedelta]:
    """The times at which warnings of certificates are due that expire at the same time, greatest first.

    Each counts by its own lifetime: an authority cuts the certificates that it issues to its own end.
    """
    return sorted({limit for it in certificates for limit in certificate_limits(it.lifetime, days)}, reverse=True)


def reached_limit(certificates: Sequence[Certificate], days: Sequence[int] | None, now: datetime) -> timedelta | None:
    """The smallest limit within which certificates expire that do so at the same time, or None if they last longer."""
    left = certificates[0].expires - now
    return min((limit for limit in shared_limits(certificates, days) if left <= limit), default=None)


def by_expiry(chain: Iterable[Certificate]) -> Mapping[datetime, Sequence[Certificate]]:
    """The certificates that expire at each time, the first to expire first."""
    found = defaultdict[datetime, list[Certificate]](list)
    for certificate in sorted(chain, key=lambda it: it.expires):
        found[certificate.expires].append(certificate)
    return found


def find_expiring_certificate(
    chain: Sequence[Certificate], days: Sequence[int] | None, now: datetime
) -> Certificate | None:
    """The first certificate of a chain to expire of those for which a warning has become due."""
    if not chain:  # as of each passed test without TLS
        return None
    groups = by_expiry(chain).values()
    return next((group[0] for group in groups if reached_limit(group, days, now) is not None), None)


def due_warnings(
    chain: Sequence[Certificate], sent: CertificateWarnings, days: Sequence[int] | None, now: datetime
) -> CertificateWarnings:
    """What to warn of now after what was `sent`: each certificate once at each limit, the first that is due first.

    One alert is about all of them. Whatever a server shows, `WARNINGS_PER_DAY` alerts are the
    most in 24 hours; what is due beyond that is sent later.
    """
    if len({warning.at for warning in sent if warning.at > now - DAY}) >= WARNINGS_PER_DAY:
        return ()
    limits = {expires: reached_limit(group, days, now) for expires, group in by_expiry(chain).items()}
    near = {expires: limit for expires, limit in limits.items() if limit is not None}
    # A warning that was sent is about its certificate at each limit that had been reached by then.
    warned = {(old.expires, limit) for old in sent for limit in near.values() if old.time_left <= limit}
    due = [expires for expires, limit in near.items() if (expires, limit) not in warned]
    return tuple(CertificateWarning(expires, near[expires], now) for expires in due[:WARNINGS_AT_ONCE])


def with_warnings(sent: CertificateWarnings, warnings: CertificateWarnings) -> CertificateWarnings:
    """What to remember: not what these have replaced, except of the last 24 hours, which counts."""
    replaced, now = {warning.expires for warning in warnings}, warnings[0].at
    kept = (old for old in sent if old.expires not in replaced or old.at > now - DAY)
    return (*kept, *warnings)[-WARNINGS_KEPT:]


def earlier_warning(
    health: Health, chain: Sequence[Certificate], days: Sequence[int] | None, now: datetime
) -> CertificateWarnings:
    """The last warning as versions stored it that knew days alone, so that an upgrade repeats none of them.

    It counts for the limit that has been reached by now: those versions warned at other times.
    """
    expires, number = health.certificate_warned_of, health.certificate_warned
    if expires is None or number is None:
        return ()
    its = by_expiry(chain).get(expires)
    reached = reached_limit(its, days, now) if its else None
    time_left = DAY * number if reached is None else min(reached, DAY * number)
    return (CertificateWarning(expires, time_left, now - DAY),)
