"""docs/operating.md and docs/networks.md show bills as the command prints them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from popwatch_cli.main import cli

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [(DOCS / page).read_text() for page in ("operating.md", "networks.md")]
SHOWN = [
    shown
    for page in PAGES
    for shown in re.findall(r"^    \$ popwatch (cost .*)\n((?:    .*\n|\n)*)", page, re.MULTILINE)
]


def test_something_is_shown() -> None:
    """Each page shows a bill, and one is with a NAT gateway."""
    assert len(SHOWN) >= len(PAGES)
    assert any("--nat" in arguments for arguments, _ in SHOWN)


@pytest.mark.parametrize(("arguments", "output"), SHOWN)
def test_bills_are_as_printed(arguments: str, output: str) -> None:
    """Each bill on the page is what its command prints."""
    ran = CliRunner().invoke(cli, arguments.split(), catch_exceptions=False)
    assert [line.rstrip() for line in ran.output.strip().splitlines()] == [
        line.removeprefix("    ").rstrip() for line in output.strip("\n").splitlines()
    ]


def test_what_postures_cost_is_as_computed() -> None:
    """Without TLS and with it, without the allowances; with them it is the same."""
    sums = []
    for tls in ("0%", "100%"):
        ran = CliRunner().invoke(cli, ["cost", "--targets", "1000", "--tls", tls, "--json"], catch_exceptions=False)
        charges = [one for one in json.loads(ran.output)["charges"] if one["name"].startswith("postures")]
        sums.append([sum(one[column] for one in charges) for column in ("with_free", "without_free")])
    [(free, plain), (free_with_tls, all_tls)] = sums
    said = [float(figure) for figure in re.findall(r"(\d\.\d{3}) USD", (DOCS / "posture.md").read_text("utf-8"))]
    assert said == [round(it, 3) for it in (free, plain, all_tls)]
    assert round(free_with_tls, 3) == said[0]
