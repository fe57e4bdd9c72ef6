"""A short campaign over the product, and proof that a longer one would not be blind."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from popwatch.config import Settings
from popwatch.decisions.schedule import LARGEST_BATCH
from tests.chaos import campaign
from tests.chaos.bugs import BUGS
from tests.chaos.campaign import Plan
from tests.chaos.expectations import ExpectedState
from tests.chaos.facts import Configured, FaultFree, Policy
from tests.chaos.faults import OF_PEOPLE
from tests.chaos.model import Audit
from tests.chaos.versions import code_of
from tests.chaos.world import Upgrade
from tests.older_versions import FIRST_VERSION, FLAT_VERSION

TESTS = Path(__file__).resolve().parents[1]
HOURS_TO_FIND_A_BUG = 240.0
RARE = (
    "delivery not looked up",
    "one topic taken for both",
    "one topic is enough",
    "nothing claimed",
    "last alert forgotten",
    "flapping forgotten",
    "missed ticks forgotten",
)
"""Few installations show these; others are found as the same kinds of findings within hours."""

BRIEF = Plan("bugs/8", (0.25,))
SHOWN_BY = {
    "tick forgotten": Plan("bugs/7", (0.5,)),
    "other topic forgotten": Plan("bugs/4", (0.25,)),
    "hour cut": Plan("bugs/8", (1.0,)),
    "refusal taken for an answer": Plan("bugs/7", (0.25,)),
    "nothing delivered": Plan("bugs/4", (0.25,)),
    "delivered too soon": Plan("bugs/2", (0.25,)),
    "summary taken for sent": Plan("bugs/7", (0.25,)),
    "recovery not sent": Plan("bugs/5", (0.25,)),
    "parent ignored": Plan("bugs/1", (0.25,)),
    "ended outage forgotten": Plan("a/0", (0.25,)),
    "silence not read again": Plan("bugs/2", (0.25,)),
    "forgotten with an outbox": Plan("bugs/38", (0.25,)),
    "missed ticks forgotten": Plan("bugs/9", (1.0,)),
    "flapping forgotten": Plan("bugs/3", (1.0,)),
    "last alert forgotten": Plan("bugs/3", (1.0,)),
    "delivery not looked up": Plan("bugs/4", (1.0,)),
}
"""Brief installations that show a bug. They are tried before the usual ones, of which the first few may not show it;
most bugs are found in `BRIEF`.
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_nothing_is_lost_or_invented(seed: str) -> None:
    """A day of chaos in several installations: every promise is kept."""
    figures = campaign.run(seed, 12)
    assert not figures.findings, f"{figures.findings[0][0].seed}: {figures.findings[0][1]}"
    assert figures.alerts_found == figures.alerts_expected > 50
    assert figures.transitions_found == figures.transitions_expected > 100


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.faults if name in RARE else ()) for name in BUGS]
)
def test_planted_bugs_are_found(name: str) -> None:
    """Each bug is found, as what it is, within some days of chaos; most are within minutes, which are tried first."""
    bug = BUGS[name]
    for plan in (SHOWN_BY.get(name, BRIEF), *campaign.plans("bugs", HOURS_TO_FIND_A_BUG)):
        _, verdict = replace(plan, code=bug.code, fault_rates=bug.fault_rates).run()
        if any(finding.kind in bug.found_as for finding in verdict.findings):
            return
    pytest.fail(f"{name}: not found in {HOURS_TO_FIND_A_BUG:.0f} hours")


def test_failure_is_made_smaller_and_told() -> None:
    """A finding is shown with a part of the faults around it, and what led to it."""
    plan = replace(next(campaign.plans("bugs", 6)), code=BUGS["transition dropped"].code, rounds=(1.5,))
    world, verdict = plan.run()
    smaller, small_world, finding = campaign.shrink(plan, verdict.findings[0], seconds=3)
    assert finding.kind == "transition lost"
    assert len(small_world.faults.names) < len(world.faults.names) / 2
    assert f"{finding.target} version" in campaign.trace(small_world, finding)
    assert any(found.kind == finding.kind for found in smaller.run()[1].findings)


def test_seed_makes_the_same_campaign_again() -> None:
    """The same seed gives the same facts in another process, whose hashes differ."""
    say = "from tests.chaos.campaign import Plan; print(hash_of(Plan('again', (2.0,)).run()[0]))"
    prelude = "import hashlib, logging; logging.disable()\n"
    hash_of = "def hash_of(world): return hashlib.sha256(repr(world.evidence.facts).encode()).hexdigest()\n"
    seen = {
        subprocess.run(
            [sys.executable, "-c", prelude + hash_of + say],
            env={"PYTHONPATH": f"{TESTS.parent}:{TESTS.parent / 'layers/popwatch'}", "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_report_names_every_fault() -> None:
    """The figures that are printed hold each kind of fault and what was lost."""
    figures = campaign.Figures()
    plan = Plan("report", (1.0,))
    figures.add(plan, *plan.run())
    text = campaign.report(figures)
    faults = {kind for kind in figures.faults if kind not in OF_PEOPLE}
    for kind in (*faults, *figures.interventions, "alerts lost", "transitions lost", "invented"):
        assert kind in text or kind.replace("_", " ") in text


BEGIN = datetime(2026, 3, 1, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "tested_at", "now", "is_right"),
    [
        ("maintenance", [8.5, 9.5], 10.9, True),
        ("maintenance", [9.5, 10.5], 10.9, True),
        ("maintenance", [10.5, 11.5], 13.0, False),
        ("maintenance", [], 13.0, False),
        ("up", [3.5, 4.5], 5.9, True),
        ("up", [8.5, 9.5], 10.9, False),
        ("up", [10.5, 11.5], 13.0, True),
        ("warn", [10.5, 11.5], 13.0, False),
    ],
)
def test_a_window_shows_in_the_state_with_the_next_test(
    state: str, tested_at: list[float], now: float, is_right: bool
) -> None:
    """From minute 5 to minute 10 a target is in maintenance; its server answers, and it is tested each minute."""

    def at(minutes: float) -> datetime:
        return BEGIN + timedelta(minutes=minutes)

    policy, audit = Policy(3, delay_up=60), Audit()
    audit.configured["a"] = Configured(0, "a", BEGIN - timedelta(hours=1), policy, ((at(5), at(10)),))
    audit.expected_states["a"], audit.last_tests["a"] = ExpectedState(state), [at(minute) for minute in tested_at]
    verdict = audit.run([FaultFree(1, at(now), BEGIN, {"a": (policy, True)})])
    assert ("wrong state" not in {finding.kind for finding in verdict.findings}) is is_right


@pytest.mark.parametrize(("max_alerts", "lost"), [(3, ["no alert that it is steady again"]), (0, [])])
def test_steady_is_due_of_a_target_with_alerts(max_alerts: int, lost: list[str]) -> None:
    """docs/outages.md, "What is due": nothing ever is with `max_alerts` 0, but the `recovered` of an alerted outage."""
    audit, now, policy = Audit(), BEGIN + timedelta(hours=6), Policy(3, max_alerts, flap_per_hour=6)
    audit.configured["a"] = Configured(0, "a", BEGIN, policy)
    audit.expected_states["a"] = ExpectedState("up", flapping=True, changes=(BEGIN,))
    audit.last_tests["a"] = [now]
    found = audit.run([FaultFree(1, now, BEGIN, {"a": (policy, True)})]).findings
    assert [one.text for one in found if one.kind == "alert lost"] == lost


def test_an_invocation_tests_as_many_targets_as_the_schedule_says() -> None:
    """The setting that a campaign makes smaller is the schedule's own otherwise."""
    assert Settings("t", "s", "h", "a", "q", "p").largest_batch == LARGEST_BATCH


def test_upgrade_in_the_middle_of_chaos(tmp_path: Path) -> None:
    """The first version, then both at once for half an hour, then this one: nothing is lost."""
    upgrade_from(FIRST_VERSION, tmp_path)


@pytest.mark.long
def test_upgrade_from_the_version_before_in_the_middle_of_chaos(tmp_path: Path) -> None:
    """The last version with the old names, then both at once for half an hour, then this one: nothing is lost."""
    upgrade_from(FLAT_VERSION, tmp_path)


def upgrade_from(older: str, folder: Path) -> None:
    """Run an older version, then both at once, then this one; fails if a promise is broken."""
    try:
        code = code_of(older, TESTS.parent, folder)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip(f"This clone does not have commit {older[:7]}: it is shallow, or not a clone.")
    for number in range(4):
        plan = Plan(
            f"upgrade/{number}",
            (3.0,),
            fault_rates={"config_changed": 0.0, "file_imported": 0.0},
            upgrade=Upgrade(code, 1.0, 1.5),
        )
        world, verdict = plan.run()
        assert not verdict.findings, f"{plan.seed}: {verdict.findings[0]}"
        by_older = sum(what.endswith("by the older version") for _, _, what in world.trace)
        assert world.invocations * 0.15 < by_older < world.invocations * 0.8
