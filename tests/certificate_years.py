"""A year of certificates of each lifetime, renewed in time or not: which warnings `judge` sends.

`python -m tests.certificate_years` prints the table that docs/interventions.md shows.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta

from popwatch.decisions.judging import judge
from popwatch.model.health import AlertEvent, Health, State
from popwatch.model.targets import Policy
from popwatch.model.text import duration
from tests.examples import PASSED, START, certificate, certified

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
YEAR = 365 * DAY
POLICY = Policy()
LIFETIMES = (6, 45, 64, 90, 100, 200, 398)

Left = Callable[[timedelta], timedelta]

RENEWALS: dict[str, Left] = {
    "half": lambda lifetime: lifetime / 2,
    "third": lambda lifetime: lifetime / 3,
    "30 days": lambda _: 30 * DAY,
    "25 days": lambda _: 25 * DAY,
}
"""How much of a lifetime is left when a certificate is renewed: by ACME clients, and by hand."""


def healthy_years() -> Iterator[tuple[int, str]]:
    """The cases: a lifetime in days and how it is renewed, where there is that much of it."""
    for days in LIFETIMES:
        for name, left in RENEWALS.items():
            if left(days * DAY) < days * DAY and (name != "half" or days == 6):
                yield days, name


def year(days: int, renewal: str = "", every: timedelta | None = None) -> list[timedelta]:
    """How long the certificate still lasts at each warning of a year, or of its lifetime if nothing renews it."""
    lifetime, step = days * DAY, every or (HOUR if days < 30 else 4 * HOUR)
    expires, health, now, found = START + lifetime, Health(State.UP, START), START, []
    while now < START + max(YEAR, lifetime) and now < expires:
        judgement = judge(health, certified(PASSED, certificate(expires, days)), POLICY, now)
        if judgement.alert:
            assert judgement.alert.event is AlertEvent.CERTIFICATE
            found.append(expires - now)
        health, now = judgement.health, now + step
        if renewal and expires - now < RENEWALS[renewal](lifetime):
            expires = now + lifetime
    return found


def table() -> Iterator[str]:
    """The lines of the table: warnings of a year, and of a certificate that nothing renews."""
    healthy = set(healthy_years())
    yield (
        f"{'lifetime':>8}  " + "  ".join(f"{name:>7}" for name in RENEWALS) + "  not renewed: warned when this is left"
    )
    for days in LIFETIMES:
        counts = (str(len(year(days, name))) if (days, name) in healthy else "-" for name in RENEWALS)
        broken = ", ".join(duration(left) for left in year(days))
        yield f"{days:>6} d  " + "  ".join(f"{count:>7}" for count in counts) + f"  {broken}"


if __name__ == "__main__":
    for line in table():
        print(line)
