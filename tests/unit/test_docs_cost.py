"""docs/operating.md and docs/networks.md show bills as the command prints them."""

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
