"""The monthly bill in USD, without and with AWS's always-free allowances, by what `popwatch cost` works out.

Nothing is measured here: it is arithmetic over the inputs above and the prices of us-east-1. `down` are 1 % of the
targets, silent all the time; the page is open all month. Logins are every five minutes; the targets share credentials.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from popwatch.model.text import counted
from popwatch_cli.bill import Fleet, alternatives, bill
from popwatch_cli.commands.cost import read_measured, read_prices

SIZES, DELAYS = (10, 100, 1000, 10_000), (60, 300)
MEMORIES = (128, 256, 512, 1024, 1769)
CREDENTIALS = (1, 20, 100, 1000)
WITHOUT, WITH = 6.0, 2.0
"""What 1,000 healthy targets may cost each minute."""


def main() -> None:
    """Print the tables."""
    print("\n".join([*fleets(), "", *memories(), "", *beyond_greetings(), "", *instead(), "", goal()]))


def totals(fleet: Fleet, left_out: tuple[str, ...] = ()) -> tuple[float, float]:
    """The bill without and with the allowances, without the lines that begin with one of these."""
    charges = bill(fleet, read_prices("us-east-1")[1], read_measured())
    lines = [line for line in charges if not line.name.startswith(left_out)] if left_out else charges
    return sum(line.without_free for line in lines), sum(line.with_free for line in lines)


def shown(fleet: Fleet) -> str:
    return f"{usd(totals(fleet)):>20}"


def usd(found: Iterable[float]) -> str:
    """USD without and with the allowances."""
    return " / ".join(f"{each:,.2f}" for each in found)


def fleets() -> Iterator[str]:
    """By size and delay; healthy, with some down, with TLS, with the page."""
    yield f"{'targets':>8}{'delay':>7}{'healthy':>20}{'1 % down':>20}{'all TLS':>20}{'page':>20}{'page, 1 % down':>20}"
    for count in SIZES:
        for delay in DELAYS:
            tests = count * 60 / delay
            healthy = Fleet(count, tests)
            open_page = replace(healthy, page=True)
            kinds = (healthy, replace(healthy, down=0.01), replace(healthy, tls=1.0), open_page)
            cells = "".join(map(shown, (*kinds, replace(open_page, down=0.01))))
            yield f"{count:>8,}{delay:>7}{cells}"


def memories() -> Iterator[str]:
    """1,000 targets each minute, by `MemorySize`."""
    yield f"{'MB':>8}{'healthy':>27}{'1 % down':>20}    1,000 targets each minute, by MemorySize"
    for memory in MEMORIES:
        healthy, down = (shown(Fleet(1000, 1000.0, share, memory_mb=memory)) for share in (0.0, 0.01))
        yield f"{memory:>8,}{'':>7}{healthy}{down}"


def beyond_greetings() -> Iterator[str]:
    """1,000 targets with TLS each minute: what postures and logins cost."""
    yield f"{'1,000 targets with TLS each minute':<55}{'a month':>20}{'more':>20}"
    secure = Fleet(1000, 1000.0, tls=1.0)
    logging_in = replace(secure, login=1.0, logins=200.0)
    alone, with_postures = totals(secure, ("postures:",)), totals(secure)
    yield f"  {'tests alone':<53}{usd(alone):>20}"
    yield f"  {'and postures':<53}{usd(with_postures):>20}{usd(more(with_postures, alone)):>20}"
    beside = {f"and logins, {counted(n, 'credential')}": replace(logging_in, credentials=n) for n in CREDENTIALS}
    for name, fleet in (beside | {"and a fifth more tests, instead of logins": replace(secure, tests=1200.0)}).items():
        found = totals(fleet)
        yield f"  {name:<53}{usd(found):>20}{usd(more(found, with_postures)):>20}"


def more(found: tuple[float, float], before: tuple[float, float]) -> tuple[float, float]:
    """What a bill has beyond another."""
    return found[0] - before[0], found[1] - before[1]


def instead() -> Iterator[str]:
    """1,000 targets each minute by other ways."""
    yield "1,000 targets each minute otherwise:"
    for name, usd in alternatives(Fleet(1000, 1000.0), read_prices("us-east-1")[1]).items():
        yield f"  {name:<76}{usd:>12,.2f}"


def goal() -> str:
    """What became of the promise."""
    without, with_free = totals(Fleet(1000, 1000.0))
    met = without < WITHOUT and with_free < WITH
    return (
        f"Goal, 1,000 healthy targets each minute under {WITH:.0f} USD with the allowances and {WITHOUT:.0f} without: "
        f"{'met' if met else 'missed'}, {with_free:.2f} and {without:.2f}."
    )


if __name__ == "__main__":
    main()
