"""docs/operating.md shows the bill as the command prints it."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from popwatch_cli.main import cli

OPERATING = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
SHOWN = re.findall(r"^    \$ popwatch (cost .*)\n((?:    .*\n|\n)*)", OPERATING, re.MULTILINE)


def test_something_is_shown() -> None:
    """The page shows a bill."""
    assert SHOWN


@pytest.mark.parametrize(("arguments", "output"), SHOWN)
def test_bills_are_as_printed(arguments: str, output: str) -> None:
    """Each bill on the page is what its command prints."""
    ran = CliRunner().invoke(cli, arguments.split(), catch_exceptions=False)
    assert [line.rstrip() for line in ran.output.strip().splitlines()] == [
        line.removeprefix("    ").rstrip() for line in output.strip("\n").splitlines()
    ]
