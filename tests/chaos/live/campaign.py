"""A campaign over the deployed local stack: rounds of chaos, each with a fault-free time after it, and the verdict on
each.

The same seed draws the same faults again, but processes and sockets vary in speed, so that they occur elsewhere.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from popwatch_cli.local.scripted_pop3 import ScriptedServer
from tests.chaos import campaign
from tests.chaos.facts import Finding
from tests.chaos.live.installation import Installation, Round
from tests.chaos.model import Audit, Verdict
from tests.chaos.oracle import Oracle
from tests.e2e.deployed import Deployed

REPOSITORY = Path(__file__).resolve().parents[3]
CHAOS_SECONDS, CALM_SECONDS = 150.0, 90.0
"""Of a round; its fault-free time is half an hour by the campaign's clock."""


@dataclass(slots=True)
class Figures:
    """What a live campaign counts: beside what a simulated one does, its time and how invocations ended."""

    seconds: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)
    counted: campaign.Figures = field(default_factory=campaign.Figures)
    findings: list[Finding] = field(default_factory=list)

    def add(self, installation: Installation, verdict: Verdict, seconds: float) -> None:
        """Count one round."""
        self.seconds += seconds
        self.counted.hours += seconds * installation.plan.pace.speed / 3600
        self.ended += Counter(one.over or "running" for one in installation.register.by_number.values())
        self.counted.count(installation, verdict)
        self.findings += verdict.findings


@contextmanager
def stack() -> Iterator[Deployed]:
    """The real template on the local stack; its schedule is off, as the campaign gives the ticks."""
    with TemporaryDirectory() as folder, Deployed.running(REPOSITORY, Path(folder)) as running:
        yield running


def rounds(seed: str, minutes: float) -> Iterator[Round]:
    """As many as the minutes take; at least one."""
    for number in range(max(1, int(minutes * 60 / (CHAOS_SECONDS + CALM_SECONDS)))):
        yield Round(f"{seed}/{number}", CHAOS_SECONDS, CALM_SECONDS)


def run(stack: Deployed, plan: Round, figures: Figures) -> Installation:
    """One round on a stack, counted into the figures."""
    began = monotonic()
    stack.clear()
    with ScriptedServer() as server, Installation(stack, server, plan).prepared() as installation:
        installation.run()
        delivered_facts = installation.delivered_facts()
        verdict = Audit().run(delivered_facts)
        oracle = Oracle(delivered_facts, installation.evidence.times, simulated=False)
        verdict.findings += [*oracle.run(), *installation.findings]
        verdict.judged += oracle.counted
        figures.add(installation, verdict, monotonic() - began)
    return installation


def shows(stack: Deployed, plan: Round, kinds: Collection[str]) -> bool:
    """Whether something of these kinds is found in a round, which ends then; not for what may still come later."""
    stack.clear()
    with ScriptedServer() as server, Installation(stack, server, plan).prepared() as installation:

        def found() -> bool:
            with installation.lock:
                facts = list(installation.evidence.facts)
            return any(finding.kind in kinds for finding in Audit().run(facts).findings)

        installation.run(stop=found)
        return found()


def report(figures: Figures) -> str:
    """The figures as they are printed."""
    first = [
        ("minutes", figures.seconds / 60),
        ("hours by the function's clock", figures.counted.hours),
        *((f"invocations that ended {how}", count) for how, count in sorted(figures.ended.items())),
    ]
    wrong = Counter(finding.kind for finding in figures.findings)
    return campaign.table([*first, *campaign.rows(figures.counted, wrong)])
