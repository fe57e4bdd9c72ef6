"""`popwatch cost`: what AWS charges for a fleet in a month, and what the alternatives cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.resources import files
from math import ceil
from typing import Any

import click

from popwatch.model.fields import TlsMode
from popwatch.model.targets import Policy
from popwatch.model.text import clean
from popwatch.prober.lookups import BEGUN_PER_SECOND
from popwatch_cli.bill import (
    CALL_SECONDS,
    COLD_STARTS,
    CONVERSATION_SECONDS,
    DAYS,
    LOGIN_SECONDS,
    Charge,
    Fleet,
    Measured,
    Price,
    alternatives,
    bill,
    mean_logins,
    mean_tests,
    measured_from,
)
from popwatch_cli.errors import UserError, user_message
from popwatch_cli.installation import find
from popwatch_cli.options import (
    REGION,
    SecondsOption,
    StackChoice,
    WholeNumber,
    quoted,
    refuse_ineffective,
    region_hint,
)
from popwatch_cli.output.columns import Column, cut, fitting, left_out, lines_of, widest, width_of
from popwatch_cli.output.terminal import line_width, say
from popwatch_cli.target_items import targets_of

PRICED_REGION = "us-east-1"
"""The region whose prices are known; those of others are near them."""

NAME = ""
RANKS = {NAME: 0, "a month": 3, "without free": 2, "with free": 1}
"""The columns in their order; where not all have room, the one with the highest number is left out first."""

SHORTEST_NAME = 24
"""Characters of a charge's name for which there is always room."""

ASSUMED = (
    f"Assumed: {CALL_SECONDS * 1000:.0f} ms for a call to AWS, {CONVERSATION_SECONDS:.1f} s for the slowest healthy"
    f" server, {COLD_STARTS // DAYS} cold starts a day.",
    "A Lambda core is as fast as the measured one. One page is open all month.",
    "Targets that are down do not answer, and each has an outage a day with four emails.",
    "Traffic between AWS services is free. What a server offers changes once a month.",
    f"All targets are names, which are resolved at {BEGUN_PER_SECOND:.0f} a second.",
)
ASSUMED_OF_LOGINS = (
    f"A login takes {LOGIN_SECONDS:.1f} s more, and is accepted.",
    "Parameter Store keeps credentials free of charge.",
    "KMS charges for decrypting one, once in each execution environment.",
)
ASSUMED_OF_NAT = (
    "DynamoDB is reached by its own endpoint, which is free, and not through the NAT gateways.",
    "What servers answer is not counted.",
)


class Share(click.ParamType):
    """An option that takes a share, such as `1%` or `0.01`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share, from 0 to 1."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"{quoted(text)} is not a share: write 1% or 0.01.", param, ctx)
        return share


SHARE = Share()


@click.command()
@click.option(
    "--targets",
    "count",
    type=WholeNumber(1, 100_000),
    show_default="the targets of the stack",
    help="Number of targets.",
)
@click.option(
    "--delay",
    type=SecondsOption(10, 86_400),
    default=60,
    show_default=True,
    help="With --targets: their `delay_up`, such as 5m.",
)
@click.option("--tls", type=SHARE, default="0", help="With --targets: the share of them that use TLS.")
@click.option(
    "--login",
    type=SHARE,
    default="0",
    help="With --targets: the share of them that log in every five minutes, which takes TLS.",
)
@click.option(
    "--credentials",
    type=WholeNumber(1, 10_000),
    default=1,
    show_default=True,
    help="With --login: the number of credentials that these share.",
)
@click.option("--down", type=SHARE, default="0", help="The share of targets that are always down, such as 1%.")
@click.option("--page", is_flag=True, help="Add the web page's cost, with one browser open all month.")
@click.option(
    "--nat", type=WholeNumber(0, 20), default=0, help="Number of NAT gateways, with which a VPC has fixed addresses."
)
@click.option("--memory", type=WholeNumber(128, 3008), default=512, show_default=True, help="`MemorySize` in MB.")
@click.option(
    "--region",
    type=REGION,
    metavar="NAME",
    help=f"Region whose prices apply, and of the stack.  [default for prices: {PRICED_REGION}]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def cost(
    choice: Any,
    *,
    count: int | None,
    delay: float,
    tls: float,
    login: float,
    credentials: int,
    down: float,
    page: bool,
    nat: int,
    memory: int,
    region: str | None,
    as_json: bool,
) -> None:
    """Estimate the monthly bill, without and with AWS's always-free allowances.

    \b
    Examples:
      popwatch cost
      popwatch cost --targets 1000 --delay 60
      popwatch cost --targets 1000 --delay 300 --down 1% --page
      popwatch cost --targets 1000 --login 100% --credentials 20
    """
    if count is None:
        refuse_ineffective(
            {"delay", "tls", "login", "credentials"}, "without --targets: the stack's targets have their own"
        )
    if not login:
        refuse_ineffective({"credentials"}, "without --login")
    wanted = region or choice.region or PRICED_REGION
    priced = wanted if wanted in _read("prices.json") else PRICED_REGION
    as_of, prices = read_prices(priced)
    if count is None:
        fleet = fleet_of(_read_items(_stack(choice, region)))
    else:
        fleet = Fleet(count, mean_tests([round(delay)] * count), tls=max(tls, login), login=login)
        if login:
            logins = login * mean_logins([Policy(delay_up=round(delay), login="one")] * count)
            fleet = replace(fleet, logins=logins, credentials=min(credentials, ceil(login * count)))
    fleet = replace(fleet, down=down, page=page, memory_mb=memory, nat_gateways=nat)
    charges, others = bill(fleet, prices, read_measured()), alternatives(fleet, prices)
    if as_json:
        content = {
            "region": wanted,
            "prices_of": priced,
            "as_of": as_of,
            "fleet": asdict(fleet),
            "charges": [asdict(charge) for charge in charges],
            "usd_without_free": sum(charge.without_free for charge in charges),
            "usd_with_free": sum(charge.with_free for charge in charges),
            "instead": others,
        }
        click.echo(json.dumps(content))
    else:
        say("\n".join(to_lines(fleet, charges, others, f"{priced}, {as_of}", line_width())))
        if priced != wanted:
            without = f"popwatch has no prices of {clean(wanted, 40)}"
            say(f"{without}: this is what it would cost in {priced}.{region_hint(wanted)}")


def _stack(choice: StackChoice, region: str | None) -> StackChoice:
    """The stack that is meant: with --local, --region is about prices alone."""
    return replace(choice, region=None if choice.local else region or choice.region)


def _read_items(choice: StackChoice) -> Mapping[str, Any]:
    """The items of the stack's targets. Raises UserError, which says how to do without a stack."""
    try:
        return find(choice).target_table.read()
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        raise UserError(f"{message} For an estimate without a stack: `popwatch cost --targets 100`.") from error


def fleet_of(items: Mapping[str, Any]) -> Fleet:
    """The enabled targets as a fleet that is up. Raises UserError if none is."""
    enabled = [target for target in targets_of(items).values() if target.policy.enabled]
    if not enabled:
        raise UserError("There are no targets yet: add some, or give a number with --targets.")
    names = [target.policy.login for target in enabled if target.policy.login]
    return Fleet(
        len(enabled),
        mean_tests([target.policy.delay_up for target in enabled]),
        tls=sum(target.tls is not TlsMode.NONE for target in enabled) / len(enabled),
        login=len(names) / len(enabled),
        logins=mean_logins(target.policy for target in enabled),
        credentials=len(set(names)),
    )


def to_lines(fleet: Fleet, charges: list[Charge], others: dict[str, float], prices: str, width: int) -> list[str]:
    """The bill as a table of at most `width` characters, with sentences, which may be longer."""
    tests = fleet.tests * DAYS * 1440
    targets = "target" if fleet.targets == 1 else "targets"
    return [
        f"{fleet.targets:,} {targets}, {tests:,.0f} tests in {DAYS} days; prices of {prices}, in USD",
        "",
        *_table(charges, width),
        "",
        "The same fleet by other means, free allowances included:",
        *(line for name, usd in others.items() for line in _alternative(name, usd, width)),
        "",
        *ASSUMED,
        *(ASSUMED_OF_LOGINS if fleet.logins else ()),
        *(ASSUMED_OF_NAT if fleet.nat_gateways else ()),
    ]


def _table(charges: Sequence[Charge], width: int) -> list[str]:
    """The charges and their sums, in lines of at most `width` characters; columns without room are named below."""
    sums = sum(it.without_free for it in charges), sum(it.with_free for it in charges)
    rows = [_cells(it.name, f"{it.quantity:,.2f}", it.without_free, it.with_free) for it in charges]
    rows.append(_cells("total", "", *sums))
    columns = [
        Column(title, rank, widest((title, *(row[title] for row in rows))), is_figure=title != NAME)
        for title, rank in RANKS.items()
    ]
    kept = fitting([replace(columns[0], least=SHORTEST_NAME), *columns[1:]], width)
    room = width - width_of(kept) + SHORTEST_NAME
    shown = [row | {NAME: cut(row[NAME], room)} for row in rows]
    remark = left_out(columns[1:], kept, f"--width {width_of(columns)} shows all columns.")
    return [*lines_of(shown, kept), *([remark] if remark else [])]


def _cells(name: str, quantity: str, without_free: float, with_free: float) -> dict[str, str]:
    return {NAME: name, "a month": quantity, "without free": f"{without_free:.2f}", "with free": f"{with_free:.2f}"}


def _alternative(name: str, usd: float, width: int) -> list[str]:
    """The price of other means, with its remark in brackets below."""
    means, _, remark = name.partition(" (")
    return [f"  {means:<{min(50, width - 12)}}{usd:>10,.2f}", f"    {remark.removesuffix(')')}"]


def read_prices(region: str) -> tuple[str, dict[str, Price]]:
    """The date and the prices of a region. Raises UserError for a region without prices."""
    known = _read("prices.json")
    if region not in known:
        raise UserError(f"There are no prices for {region}, only for {', '.join(known)}: choose one with --region.")
    return known[region]["as_of"], {name: Price(**price) for name, price in known[region]["prices"].items()}


def read_measured() -> Measured:
    """The measurements that `make bench WRITE=1` has written."""
    return measured_from(_read("measured.json")["inputs"])


@cache
def _read(name: str) -> Any:
    return json.loads((files("popwatch_cli") / name).read_text())
