"""A short campaign over the deployed local stack, and proof that it would not be blind."""

from collections.abc import Iterator

import pytest

from tests.chaos.__main__ import with_section
from tests.chaos.live import campaign
from tests.chaos.live.installation import Round
from tests.e2e.deployed import Deployed

PLANTED = {
    "refusal taken for an answer": {"outage": 0.4, "server_changed": 0.4},
    "recorded before SNS answered": {"server_changed": 0.4},
}
"""Bugs that the live campaign must find, each with the fault rates at which it shows soon."""


@pytest.fixture
def stack(deployed: Deployed) -> Iterator[Deployed]:
    """The stack, with empty tables and queues after a campaign; one begins with these."""
    yield deployed
    deployed.clear()


def test_nothing_is_lost_or_invented_on_the_deployed_stack(stack: Deployed) -> None:
    """Some minutes by the function's clock: calls fail, processes die, and every promise is kept."""
    figures = campaign.Figures()
    rates = {"server_changed": 0.2, "storm": 0.0, "killed_midway": 0.4}
    plan = Round("brief 0", chaos=20, fault_free=35, independent=True, fault_rates=rates)
    campaign.run(stack, plan, figures)
    assert not figures.findings, figures.findings[0]
    assert figures.counted.alerts_found == figures.counted.alerts_expected > 0
    assert figures.counted.transitions_found == figures.counted.transitions_expected > 10
    assert figures.ended["killed"] > 0


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_are_found_on_the_deployed_stack(stack: Deployed, name: str) -> None:
    """An alert recorded as sent, which SNS did not accept or not yet, is found in the deployed function as that."""
    rates = PLANTED[name]
    plan = Round("bugs", 300, 0, independent=True, fault_rates=rates, bug=name, refusing=("sns",))
    assert campaign.shows(stack, plan, ("recorded unsent",))


def test_measurements_of_one_kind_leave_those_of_the_other() -> None:
    """A section is replaced, or put at the end, and the rest of the page stays."""
    page = with_section("# Title\n", "One", "first")
    page = with_section(page, "Two", "second")
    assert page == "# Title\n\n## One\n\nfirst\n\n## Two\n\nsecond\n"
    assert with_section(page, "One", "again") == page.replace("first", "again")
