"""docs/page.md agrees with the code."""

import re
from pathlib import Path

from popwatch.web.authentication import SESSION
from popwatch.web.metrics import FAMILIES
from popwatch.web.views import MAX_TIMELINES

DOC = (Path(__file__).parents[2] / "docs" / "page.md").read_text()
PROSE = " ".join(DOC.split())


def test_every_metric_is_documented() -> None:
    """The table lists the metrics of the code, in their order, and no other."""
    assert re.findall(r"^\| `((?:probe|popwatch)_[a-z_]+)` \|", DOC, re.MULTILINE) == [
        family.name for family in FAMILIES
    ]


def test_limits_are_those_of_the_code() -> None:
    """The session, the number of timelines."""
    assert f"a signed cookie for {int(SESSION.total_seconds() // 3600)} hours" in PROSE
    assert f"`timeline` of up to {MAX_TIMELINES} targets" in PROSE
