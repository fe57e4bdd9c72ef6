"""A short campaign over the deployed local stack, and proof that it sees."""

from collections.abc import Iterator

import pytest

from chaos.bugs import BUGS
from chaos.live import campaign
from chaos.live.installation import Round
from e2e.deployed import Deployed

pytestmark = pytest.mark.timeout(300)

FAILING = {"server_changed": 0.3, "storm": 0.0, "config_changed": 0.0}
ROUGH = {"server_changed": 0.1, "killed_midway": 0.1, "tick_lost": 0.1}


@pytest.fixture(scope="module")
def stack() -> Iterator[Deployed]:
    with campaign.stack() as running:
        yield running


def test_nothing_is_lost_or_invented(stack: Deployed) -> None:
    """Minutes of chaos by the function's clock, then calm: every promise is kept."""
    figures = campaign.Figures()
    campaign.run(stack, Round("short", chaos=25.0, calm=20.0, plain=True, weather=ROUGH), figures)
    assert not figures.findings, [str(finding) for finding in figures.findings]
    assert figures.counted.faults.total() > 10
    assert figures.counted.transitions_found == figures.counted.transitions_expected > 10


@pytest.mark.parametrize("name", ["transition dropped", "miscounted"])
def test_planted_bugs_are_found(stack: Deployed, name: str) -> None:
    """What a function with a bug does is found, as what it is."""
    figures = campaign.Figures()
    campaign.run(stack, Round("bugs", chaos=12.0, calm=5.0, plain=True, bug=name, weather=FAILING), figures)
    assert {finding.kind for finding in figures.findings} & set(BUGS[name].found_as)
